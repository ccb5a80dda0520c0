"""Places in rule files: collect errors there, and read single values."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from bot.domain.subjects import Kind
from bot.errors import Fault
from bot.messages import duration
from bot.rules.syntax.nodes import Entry, Items, Keys, Node, Scalar, Unreadable
from bot.rules.syntax.nodes import place as offset_place
from bot.rules.syntax.synonyms import (
    NO_FIELD,
    NO_SUCH,
    flag_hint,
    suggestion,
    whole_number,
)
from bot.rules.units import percent

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_INSIDE = r"""(?:[^{}"']|"[^"]*"|'[^']*')*"""
_MAPPING = rf"\{{[\w%-]+: {_INSIDE}(?:\{{{_INSIDE}\}}{_INSIDE})*\}}"
_LIST = r"\[[^\[\]=]+\]"
_EXAMPLE = re.compile(
    rf"(?P<key>[a-z_]+): (?P<value>{_MAPPING}|{_LIST})"
    rf"|(?<!\{{)(?P<mapping>{_MAPPING})"
    rf"|(?<=such as )(?P<list>{_LIST})|(?<=write )(?P<written>{_LIST})|(?<=list: )(?P<of>{_LIST})"
    r"|(?:(?<=such as )|(?<=write )|(?<=add )|(?<=, or ))(?P<word>[a-z_]+): "
    r"(?P<text>no match|[\w/*.%'-]+)"
)
_PROSE = frozenset({"list", "words"})
"""Words before a colon in plain sentences."""


def in_toml(message: str) -> str:
    """The message with its examples in TOML."""
    return _EXAMPLE.sub(_translated, message).replace(", without dashes", ", not a list")


def _translated(found: re.Match[str]) -> str:
    from bot.rules.syntax.yaml import parse  # only when a file has an error: the daemon reads none

    parts = found.groupdict()
    key = parts["key"] or parts["word"]
    value = next(
        parts[name]
        for name in ("value", "mapping", "list", "written", "of", "text")
        if parts[name] is not None
    )
    try:
        written = _toml(parse(value))
    except Unreadable:
        return found[0]
    if key in _PROSE:
        return f"{key}: {written}"
    return f"{key} = {written}" if key else written


def _toml(node: Node) -> str:
    if isinstance(node, Items):
        return f"[{', '.join(map(_toml, node.items))}]"
    if isinstance(node, Keys):
        pairs = (f"{_key(entry.key)} = {_toml(entry.node)}" for entry in node)
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(node.value, bool):
        return str(node.value).lower()
    if isinstance(node.value, str):
        quote = "'" if '"' in node.value or "\\" in node.value else '"'
        return f"{quote}{node.value}{quote}"
    return node.source


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else f'"{name}"'


T = TypeVar("T")

_STRANGE = 100
_FEW = 20
"""Most names that a message lists."""


class Location(Struct, frozen=True):
    """A place in a file. `faults` and `warnings` are shared by all places of all files."""

    file: str
    faults: list[Fault]
    warnings: list[Fault]
    path: str = ""
    line: int = 1
    column: int = 1

    def at(self, name: str | int, where: Entry | Node) -> "Location":
        """The place of a key or item inside this one."""
        path = f"{self.path}.{name}" if self.path else str(name)
        return Location(self.file, self.faults, self.warnings, path, where.line, where.column)

    def on(self, where: Entry | Node) -> "Location":
        """This path with the line and column of the node."""
        return Location(self.file, self.faults, self.warnings, self.path, where.line, where.column)

    def fault(self, message: str) -> None:
        """Note an error here."""
        self.faults.append(self._fault(message))

    def warn(self, lint: str, message: str) -> None:
        """Note a warning here; it can be silenced."""
        self.warnings.append(self._fault(message, lint))

    def _fault(self, message: str, lint: str | None = None) -> Fault:
        if self.file.lower().endswith(".toml"):
            message = in_toml(message)
        return Fault(self.file, self.line, self.column, self.path, message, lint)

    @property
    def name(self) -> str:
        """The last part of the path that is not an index of a list, for messages."""
        parts = [part for part in self.path.split(".") if not part.isdigit()]
        return parts[-1] if parts else "the file"


def item_location(node: Node, index: int, place: Location) -> Location:
    """The place of a list's item, or of a single value used as a list."""
    if isinstance(node, Items):
        return place.at(index, node.items[index])
    return place.on(node)


def text_location(text: Node, place: Location, line: int, column: int) -> tuple[Location, str]:
    """The place of a position inside a text, or the text's own place and the line in words.

    `line` and `column` count from 1 within the text.
    """
    lines = text.lines if isinstance(text, Scalar) else ()
    if not lines:
        several = isinstance(text, Scalar) and "\n" in text.source.strip()
        return place.on(text), f" (line {line} of the text)" if several else ""
    row, begin = lines[min(line, len(lines)) - 1]
    return replace(place, line=row, column=begin + column - 1), ""


_TEMPLATE = re.compile(r"\{[{%]")


def without_templates(node: Node, place: Location, allowed: Collection[str] = ()) -> bool:
    """Whether no text is a template, except under the keys `allowed`; notes an error for each."""
    if isinstance(node, Items):
        found = [
            without_templates(item, place.at(index, item), allowed)
            for index, item in enumerate(node.items)
        ]
        return all(found)
    if isinstance(node, Keys):
        found = [
            _no_template(entry.key, place.at(entry.key, entry))
            and without_templates(entry.node, place.at(entry.key, entry), allowed)
            for entry in node
            if entry.key not in allowed
        ]
        return all(found)
    start = _TEMPLATE.search(node.source)
    if start is None:
        return True
    return _no_template(
        node.source, text_location(node, place, *offset_place(node.source, start.start()))[0]
    )


def _no_template(written: str, place: Location) -> bool:
    if _TEMPLATE.search(written):
        place.fault("templates work in slack.text only; write plain text here")
        return False
    return True


def plain_text(node: Node, place: Location) -> str | None:
    """A text that is no template."""
    return text(node, place) if without_templates(node, place) else None


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean friction?` or nothing."""
    meant = suggestion(word, known)
    return f"; did you mean {meant}?" if meant else ""


def listed(names: Collection[str], last: str = "or") -> str:
    """`a, b or c`."""
    names = list(names)
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def unknown(
    word: str, known: Collection[str], what: str = "key", *, kind: Kind | None = None
) -> str:
    """The error for an unknown name; `kind` has the fields if it should be the name of one."""
    name, colon, value = word.partition(":")
    if colon and suggestion(name, known):
        return f"add a space after the colon: {name}: {value}"
    if word and (word[0].isspace() or not word.isprintable()):
        return "invisible character; use plain spaces"
    reason = NO_SUCH.get(word.lower())
    if kind and not reason and word.lower() not in known:
        reason = NO_FIELD.get(kind, {}).get(word.lower().replace("-", "_"))
    if reason:
        return f"unknown {what}; {reason}"
    hint = nearest(word, known)
    tail = "" if hint or not 0 < len(known) <= _FEW else f"; known here: {', '.join(known)}"
    return f"unknown {what}{hint or tail}"


def mapping(
    node: Node,
    place: Location,
    known: Collection[str],
    required: Collection[str] = (),
    example: str = "",
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> Keys | None:
    """The node as a mapping with these keys only; None and an error if it is none.

    `elsewhere` says of keys that are unknown here where they belong.
    """
    if not isinstance(node, Keys):
        hint = f" such as {example}" if example else f" with the keys {listed(known, 'and')}"
        dashes = ", without dashes" if isinstance(node, Items) else ""
        place.on(node).fault(f"write a mapping{hint}{dashes}")
        return None
    strange = [entry for entry in node if entry.key not in known]
    if len(strange) > _STRANGE:
        place.on(node).fault(f"{len(strange):,} unknown keys; is this a rule file?")
        return None
    for entry in strange:
        where = elsewhere.get(entry.key)
        words = f"{entry.key} belongs under {where}" if where else unknown(entry.key, known)
        place.at(entry.key.strip(), entry).fault(words)
    meant = {suggestion(entry.key, known) for entry in strange}
    for key in required:
        if key not in node.entries and key not in meant:
            place.fault(f"the key {key} is missing")
    return node


def part(
    keys: Keys, key: str, place: Location, read: Callable[[Node, Location], T | None]
) -> T | None:
    """The value under a key; None if the key is missing or the value has an error."""
    entry = keys.entries.get(key)
    return read(entry.node, place.at(key, entry)) if entry else None


def text(node: Node, place: Location) -> str | None:
    """A text; a number, date or word is taken as written."""
    if isinstance(node, Scalar) and node.value is None:
        place.on(node).fault(f"{place.name} has no value")
    elif isinstance(node, Scalar):
        if node.source.strip():
            return node.source
        place.on(node).fault(f"{place.name} is empty")
    else:
        place.on(node).fault(f"{place.name} must be text")
    return None


def texts(node: Node, place: Location) -> tuple[str, ...] | None:
    """A text or a list of texts."""
    if not isinstance(node, Items):
        one = text(node, place)
        return None if one is None else (one,)
    if not node.items:
        place.on(node).fault(f"{place.name} has an empty list; write at least one value")
        return None
    read = [text(item, place.at(index, item)) for index, item in enumerate(node.items)]
    good = tuple(value for value in read if value is not None)
    return good if len(good) == len(read) else None


def flag(node: Node, place: Location) -> bool | None:
    """True or false."""
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    hint = flag_hint(node.source, quoted=node.quoted) if isinstance(node, Scalar) else ""
    place.on(node).fault(f"{place.name} must be true or false{hint}")
    return None


def is_number(node: Node) -> bool:
    """Whether the node is a finite number, written without quotes."""
    return (
        isinstance(node, Scalar)
        and isinstance(node.value, (int, float))
        and not isinstance(node.value, bool)
        and _finite(node.value)
    )


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def whole(low: int, high: int) -> Callable[[Node, Location], int | None]:
    """A reader for a whole number within these limits."""

    def read(node: Node, place: Location) -> int | None:
        if isinstance(node, Scalar) and type(node.value) is int and low <= node.value <= high:
            return node.value
        meant = whole_number(node.source) if isinstance(node, Scalar) else None
        hint = f"; did you mean {meant}?" if meant else ""
        place.on(node).fault(f"{place.name} must be a whole number from {low} to {high:,}{hint}")
        return None

    return read


def choice(*choices: str) -> Callable[[Node, Location], str | None]:
    """A reader for one of these words."""

    def read(node: Node, place: Location) -> str | None:
        source = node.source if isinstance(node, Scalar) else ""
        if source in choices:
            return source
        hint = nearest(source, choices) if source else ""
        place.on(node).fault(f"{place.name} must be one of {listed(choices)}{hint}")
        return None

    return read


def worded(parse: Callable[[str], T]) -> Callable[[Node, Location], T | None]:
    """A reader for text with a parser whose ValueError is the message."""

    def read(node: Node, place: Location) -> T | None:
        known = isinstance(node, Scalar) and node.value is not None
        source = node.source if known and isinstance(node, Scalar) else ""
        try:
            return parse(source)
        except ValueError as error:
            place.on(node).fault(str(error))
            return None

    return read


def share(node: Node, place: Location) -> float | None:
    """A percentage; a number below 1 without % gets a warning, it may be meant as a fraction."""
    value = worded(percent)(node, place)
    written = node.source.strip() if isinstance(node, Scalar) else ""
    if value is not None and 0 < value < 1 and not written.endswith("%"):
        place.on(node).warn(
            "fraction",
            f"this is less than one percent; write {value * 100:.6g}%, or {written}% if you "
            "mean that",
        )
    return value


def website_names(every: str) -> Callable[[Node, Location], tuple[str, ...] | None]:
    """A reader for names, ids or globs of websites; `every` says how to write all of them."""

    def read(node: Node, place: Location) -> tuple[str, ...] | None:
        found = texts(node, place)
        for index, name in enumerate(found or ()):
            here = item_location(node, index, place)
            if name.lower() in ("all", "any"):
                here.warn("unusual-value", f"no website is called {name}; {every}")
            elif "/" in name:
                here.warn(
                    "unusual-value", "write the website's name, such as myshop.com, not an address"
                )
        return found

    return read


def length(node: Node, place: Location) -> timedelta | None:
    """A duration above zero."""
    value = worded(duration)(node, place)
    if value is not None and not value:
        place.on(node).fault(f"{place.name} must be longer than 0 s")
        return None
    return value
