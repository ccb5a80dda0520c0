"""TOML text to nodes: tomllib checks it, a small scanner finds the places."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence

from bot.errors import internal_error
from bot.rules.syntax.nodes import (
    MAX_DEPTH,
    MAX_NODES,
    TOO_MANY,
    Empty,
    Entry,
    Items,
    Keys,
    Node,
    Scalar,
    TooMuch,
    Unreadable,
    no_space,
    place,
)

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_NAME = r"""(?:[\w.-]|"[^"\n]*"|'[^'\n]*')+"""
_KEY = re.compile(rf"({_NAME})[ \t]*=[ \t]*$")
_STATEMENT = re.compile(rf"[ \t]*(\[|{_NAME}[ \t]*=)")
_VALUE_START = re.compile(r"[=,[{][ \t]*(?=[^\s=,[{\"'][^=,[{\"']*$)")
_TOKENS = re.compile(
    r"""\#[^\n]*|\"""(?:[^"\\]|\\.|"(?!""))*\"""|'''(?:[^']|'(?!''))*'''"""
    r"""|\"""|'''|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[][{}]|["']""",
    re.DOTALL,
)
_OPENS = {"]": "[", "}": "{"}
_QUOTES = ('"', "'", '"""', "'''")
_UNCLOSED_QUOTE = ("Illegal character '\\n'", "Unterminated string", "Expected \"'")
_SWITCH = re.compile(r"(?i:true|false|yes|no|on|off)\s*([,\]}#]|$)")
_ESCAPE = "\\ starts an escape in \"…\"; put the text in '…', or write \\\\"


def toml_error(text: str, error: ValueError) -> tuple[int, int, str]:
    """Line and column, from 1, and what to do there, for tomllib's error about that text."""
    problem = str(error)
    found = _PLACE.search(problem)
    offset = len(text.rstrip("\n"))
    if found and found[1]:
        rows = text.split("\n")
        offset = sum(len(row) + 1 for row in rows[: int(found[1]) - 1]) + int(found[2]) - 1
    problem = problem[: found.start()] if found else problem
    offset, message = _mistake(text, problem, offset)
    return (*place(text, offset), message)


def _mistake(text: str, problem: str, offset: int) -> tuple[int, str]:
    """The offset to point at, and the message."""
    start = text.rfind("\n", 0, offset) + 1
    rest = text[offset:].partition("\n")[0].strip()
    if problem.startswith("Exceeds the limit") and (number := _LONG_NUMBER.search(text)):
        return number.start(), "this number has too many digits"
    if problem.startswith("Cannot "):
        return _defined_twice(text, start)
    if problem.startswith("Escaped character is not a Unicode"):
        escape = text.rfind("\\", start, offset)
        return escape, "this escape is no character; write the character itself"
    if problem.startswith(("Unescaped", "Invalid hex")):
        return offset, _ESCAPE
    opened = _opened(text, offset)
    if opened and problem.startswith(_UNCLOSED_QUOTE):
        quote = next(mark for mark in reversed(_QUOTES) if text.startswith(mark, opened[-1]))
        return opened[-1], f"the {quote} opened here is not closed"
    if opened and problem.startswith("Unclosed inline") and not rest:
        return opened[-1], _unclosed("{")
    above = [at for at in opened if at < start]
    if above and (not rest or _STATEMENT.match(text, start)):
        return above[-1], _unclosed(text[above[-1]])
    if problem.startswith("Expected '='"):
        return _no_equals_sign(text, start, offset, rest)
    if problem.startswith("Invalid initial character") and not rest:
        return offset, _unclosed("{")
    if problem.startswith(("Invalid value", "Expected newline", "Unclosed")):
        return _value(text, problem, start, offset)
    return offset, f"invalid TOML: {problem[:1].lower()}{problem[1:]}"


def _opened(text: str, end: int) -> list[int]:
    """The offsets of the brackets, and of a quote, that are open at `end`."""
    found: list[int] = []
    for token in _TOKENS.finditer(text, 0, end):
        mark = token[0]
        if mark in _QUOTES:
            return [*found, token.start()]
        if mark in ("[", "{"):
            found.append(token.start())
        elif mark in _OPENS and found and text[found[-1]] == _OPENS[mark]:
            found.pop()
    return found


def _unclosed(bracket: str) -> str:
    more = " on its line; for more lines use a [table]" if bracket == "{" else ""
    return f"the {bracket} opened here is not closed{more}"


def _defined_twice(text: str, start: int) -> tuple[int, str]:
    """A second key or table of one name, with the line of the first where it is written alike."""
    statement = re.compile(rf"[ \t]*(\[*[ \t]*{_NAME})").match(text, start)
    if statement is None:
        return start, "this key or table is already defined"
    written = statement[1]
    above = 0 if written.startswith("[") else text.rfind("\n[", 0, start) + 1
    same = re.compile(rf"^[ \t]*{re.escape(written)}[ \t]*[]=]", re.MULTILINE)
    first = same.search(text, above, start)
    line = f" on line {text.count(chr(10), 0, first.start()) + 1}" if first else ""
    return statement.start(1), f"{written.lstrip('[ ')} is already defined{line}"


def _no_equals_sign(text: str, start: int, offset: int, rest: str) -> tuple[int, str]:
    name = re.search(r"\w[\w-]*$", text[start:offset].rstrip())
    key = name[0] if name else "key"
    if rest.startswith(":"):
        return offset, f"TOML uses = instead of a colon: {key} = …"
    if rest and re.match(r"[^\s\w'\"[{]|[^\W\d_a-zA-Z]", text[offset:]):
        return offset, f'a key with {rest[0]} in it needs quotes: "…" = …'
    return offset, f"expected = after the key: {key} = …"


def _value(text: str, problem: str, start: int, offset: int) -> tuple[int, str]:
    """A value that tomllib cannot read, or something after one."""
    before = _VALUE_START.search(text, start, offset)
    header = text[start:offset].lstrip().startswith("[")
    if problem.startswith("Expected newline"):
        if before is None or header:
            return offset, "write one key and value per line"
        offset = before.end()
    elif problem.startswith("Unclosed"):
        if before is None or text[offset - 1].isspace():
            return offset, "a comma is missing here"
        offset = before.end()
    value = text[offset:].partition("\n")[0].strip()
    if not value:
        return offset, "the value is missing after ="
    if value.startswith("#"):
        return offset, "# starts a comment; put text that starts with # in quotes"
    if value[0] in ",]}=":
        return offset, f"a value is missing before this {value[0]}"
    if _SWITCH.match(value):
        return offset, "write true or false, in lower case; text needs quotes"
    key = _KEY.search(text, max(start, offset - 200), offset)
    return offset, f'text needs quotes: {key[1]} = "…"' if key else 'text needs quotes: "…"'


_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TOKEN = re.compile(r"[^\s,\]}#]+(?: \d\d:[^\s,\]}#]+)?")
_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9_]+)")
_LONG_NUMBER = re.compile(r"(?<![\w\"'])[-+]?[0-9_]{4000}")
_DEPTH = f"nested too deeply; the limit is {MAX_DEPTH} levels"
_STRINGS = {
    '"""': re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
    "'''": re.compile(r"'''(?:[^']|'(?!''))*'{3,5}"),
    '"': re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    "'": re.compile(r"'[^'\n]*'"),
}
# tomllib takes quadratic time over a key of many parts, so such a text never reaches it.
_LONG_KEY = re.compile(
    r"(?<![\w\"'-])(?:(?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')[ \t]*\.[ \t]*){60}"
)


def parse(text: str) -> Node:
    """The document as nodes; raises Unreadable with the place."""
    if found := _LONG_KEY.search(text):
        raise _Scanner(text).fault(found.start(), "a key with too many parts")
    try:
        tomllib.loads(text)
    except RecursionError:
        raise TooMuch(*place(text, _too_deep(text)), _DEPTH) from None
    except ValueError as error:
        line, column, message = toml_error(text, error)
        odd = no_space(text.split("\n")[line - 1], line)
        raise odd or Unreadable(line, column, message) from None
    except Exception as error:
        raise Unreadable(1, 1, f"this TOML can't be read: {internal_error(error)}") from error
    if not _BLANK.sub("", text, count=1):
        raise Empty(1, 1, "the file is empty; start it with version = 1")
    return _Scanner(text).document()


def with_items(text: str, path: tuple[str, ...], items: Sequence[Mapping[str, str]]) -> str:
    """The valid text with these tables at the end of the array at `path`; the rest stays.

    The values of the items are written as TOML. Without such an array they follow the last line of
    the table that would hold it. Returns an empty text if there is no such table.
    """
    holder = path[:-1]
    section, last = tuple[str, ...](), 0
    for brackets, parts, value, end in _Scanner(text).statements():
        name = (*(() if brackets else section), *(part for part, _line, _column in parts))
        section = name if brackets else section
        if name == path and not brackets and text[value] == "[":
            return _in_array(text, value, end, items)
        if name[: len(holder)] == holder:
            last = end
    if not last:
        return ""
    found = text.find("\n", last)
    end = len(text) if found < 0 else found
    tables = (
        f"\n\n[[{'.'.join(map(_key, path))}]]"
        + "".join(f"\n{_key(key)} = {value}" for key, value in item.items())
        for item in items
    )
    return f"{text[:end]}{''.join(tables)}{text[end:] or chr(10)}"


def _in_array(text: str, start: int, end: int, items: Sequence[Mapping[str, str]]) -> str:
    """The text with these at the end of the array between these offsets."""
    inner = text[start + 1 : end - 1]
    bare = _TOKENS.sub(_without_comment, inner).rstrip()
    comma = "," if bare and not bare.endswith(",") else ""
    before, rest = f"{text[: start + 1]}{inner[: len(bare)]}{comma}", inner[len(bare) :]
    if "\n" not in inner:
        return f"{before}{' ' if bare else ''}{', '.join(map(_inline, items))}{text[end - 1 :]}"
    first = re.search(r"\n([ \t]*)[^\s#]", inner)
    indent = first[1] if first else "    "
    kept = rest.rstrip(" \t")
    lines = "".join(f"{indent}{_inline(item)},\n" for item in items)
    newline = "" if kept.endswith("\n") else "\n"
    return f"{before}{kept}{newline}{lines}{rest[len(kept) :]}{text[end - 1 :]}"


def _without_comment(token: re.Match[str]) -> str:
    return " " * len(token[0]) if token[0].startswith("#") else token[0]


def spelled(value: object) -> str:
    """The text, number, yes or no, list or mapping as TOML, on one line.

    Raises ValueError for what TOML does not have, such as None.
    """
    if isinstance(value, Mapping):
        return _inline({str(key): spelled(each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    raise ValueError(f"TOML has no {type(value).__name__}")


def _inline(item: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{_key(key)} = {value}' for key, value in item.items())}}}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else spelled(name)


def _too_deep(text: str) -> int:
    """The offset where the limit of brackets inside brackets is passed."""
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth > MAX_DEPTH:
            return token.start()
    return 0


class _Scanner:
    """Walks over valid TOML and notes the place of each key and value."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._line = 0
        self._nodes = 0
        self._root = Keys(1, 1)

    def document(self) -> Node:
        table = self._root
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return self._root
            if self._text.startswith("[[", self._at):
                table = self._array_table()
            elif self._peek() == "[":
                table = self._table()
            else:
                self._pair(table, 1)

    def statements(self) -> Iterator[tuple[int, list[tuple[str, int, int]], int, int]]:
        """Each header and pair: its brackets (0 for a pair), its name as `_key`, and the offsets
        of its value and of its end."""
        while True:
            self._skip(_BLANK)
            start = value = self._at
            if start >= len(self._text):
                return
            brackets = 2 if self._text.startswith("[[", start) else int(self._peek() == "[")
            self._at += brackets
            parts = self._key()
            self._at += brackets or 1  # the =
            if not brackets:
                self._skip(_SPACE)
                value = self._at
                self._value(1)
            yield brackets, parts, value, self._at

    def fault(self, offset: int, message: str) -> Unreadable:
        return Unreadable(*self._place(offset), message)

    def _place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset; the scanner moves forward, so the line is near."""
        starts = self._starts
        line = self._line
        while line + 1 < len(starts) and starts[line + 1] <= offset:
            line += 1
        while starts[line] > offset:
            line -= 1
        self._line = line
        return line + 1, offset - starts[line] + 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self._text, self._at)
        if found:
            self._at = found.end()

    def _table(self) -> Keys:
        self._at += 1
        parts = self._key()
        self._at += 1
        return self._descend(self._root, parts)

    def _array_table(self) -> Keys:
        self._at += 2
        *path, last = self._key()
        self._at += 2
        parent = self._descend(self._root, path)
        name, line, column = last
        if name not in parent.entries:
            parent.entries[name] = Entry(name, line, column, Items([], line, column))
        listed = parent.entries[name].node
        table = Keys(line, column)
        if isinstance(listed, Items):
            listed.items.append(table)
        return table

    def _descend(self, table: Keys, parts: list[tuple[str, int, int]]) -> Keys:
        """The table of the dotted key, created if necessary."""
        for name, line, column in parts:
            if name not in table.entries:
                table.entries[name] = Entry(name, line, column, Keys(line, column))
            node = table.entries[name].node
            if isinstance(node, Items):
                node = node.items[-1]
            if isinstance(node, Keys):
                table = node
        return table

    def _key(self) -> list[tuple[str, int, int]]:
        """The parts of a key, each with its place; the scanner is after them then."""
        parts = []
        while True:
            self._skip(_SPACE)
            start = self._at
            if self._peek() in ('"', "'"):
                name = self._string().source
            else:
                self._skip(_BARE)
                name = self._text[start : self._at]
            parts.append((name, *self._place(start)))
            self._skip(_SPACE)
            if self._peek() != ".":
                return parts
            self._at += 1

    def _pair(self, table: Keys, depth: int) -> None:
        *path, (name, line, column) = self._key()
        self._at += 1  # the =
        self._skip(_SPACE)
        node = self._value(depth)
        target = self._descend(table, path)
        target.entries[name] = Entry(name, line, column, node)

    def _value(self, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise TooMuch(*self._place(self._at), TOO_MANY)
        if depth > MAX_DEPTH:
            raise TooMuch(*self._place(self._at), _DEPTH)
        first = self._peek()
        if first == "[":
            return self._array(depth)
        if first == "{":
            return self._inline(depth)
        if first in ('"', "'"):
            return self._string()
        return self._bare()

    def _array(self, depth: int) -> Items:
        node = Items([], *self._place(self._at))
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._peek() == "]":
                self._at += 1
                return node
            if self._peek() == ",":
                self._at += 1
                continue
            node.items.append(self._value(depth + 1))

    def _inline(self, depth: int) -> Keys:
        node = Keys(*self._place(self._at))
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._peek() == "}":
                self._at += 1
                return node
            if self._peek() == ",":
                self._at += 1
                continue
            self._pair(node, depth + 1)

    def _string(self) -> Scalar:
        start = self._at
        mark = self._text[start : start + 3]
        quote = mark if mark in _STRINGS else mark[0]
        found = _STRINGS[quote].match(self._text, start)
        if found is None:
            raise self.fault(start, "this quote is not closed")
        self._at = found.end()
        raw = found.group()
        plain = "\\" not in raw
        bare = len(quote) == 1 and plain
        value = raw[1:-1] if bare else tomllib.loads(f"v={raw}")["v"]
        line, column = self._place(start)
        lines = (
            _lines(line, column + len(quote), raw[len(quote) :], value)
            if plain and "{" in raw
            else ()
        )
        return Scalar(value, value, True, line, column, lines)

    def _bare(self) -> Scalar:
        start = self._at
        found = _TOKEN.match(self._text, start)
        if found is None:
            raise self.fault(start, "a value is expected here")
        self._at = found.end()
        source = found.group()
        return Scalar(_bare_value(source), source, False, *self._place(start))


def _lines(line: int, column: int, raw: str, value: str) -> tuple[tuple[int, int], ...]:
    """The places where the lines of a text start, without a newline right after the quotes."""
    if raw.startswith("\n"):
        line, column = line + 1, 1
    further = range(line + 1, line + 1 + value.count("\n"))
    return ((line, column), *((row, 1) for row in further))


def _bare_value(source: str) -> str | int | float | bool:
    """A TOML value without quotes; dates and times stay as written."""
    if source in ("true", "false"):
        return source == "true"
    if _NUMBER.fullmatch(source):
        return int(source, 0) if source.lstrip("+-")[:2] in ("0x", "0o", "0b") else int(source)
    try:
        return float(source)
    except ValueError:
        return source
