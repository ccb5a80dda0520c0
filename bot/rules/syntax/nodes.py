"""A file's text as a tree of nodes with their places, the same for YAML and TOML."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 100_000
"""More than a thousand rules in one file need."""

TOO_MANY = f"more than {MAX_NODES:,} values, including those that aliases repeat"


_HIDDEN_LINE_END = re.compile("\r(?!\n)|[\x0b\x0c\x85\u2028\u2029]")
"""Editors show what follows as the same line, perhaps as part of a comment; YAML does not."""


_CONFLICT = re.compile(r"(?m)^<<<<<<< ")
_NO_SPACE = re.compile("[ \t]*([\u00a0\u2000-\u200b\u202f\u205f\u3000])")
"""What looks like a space at the start of a line; before a key, it belongs to the key."""


class Unreadable(Exception):
    """The text is not valid in its format. `line` and `column` count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        self.line = line
        self.column = column
        self.message = message
        super().__init__(message)


class NoSpace(Unreadable):
    """A line begins with what only looks like a space, so its depth is not the one meant."""


class Empty(Unreadable):
    """The text has no content."""


class TooMuch(Unreadable):
    """The text exceeds the limits of a rule file."""


class UnknownAlias(Unreadable):
    """The alias `name` is used here, but has no anchor before."""

    def __init__(self, line: int, column: int, name: str) -> None:
        self.name = name
        super().__init__(
            line, column, f"unknown alias *{name}; put text that starts with * in quotes"
        )


@dataclass(slots=True)
class Scalar:
    """One value. `source` is what the author wrote, without quotes.

    `value` is a text, a number, a flag or None. Dates and times of day stay texts.
    `lines` are the places where the lines of a template start; empty for any other text, and
    if the file writes them differently (escapes, folded lines).
    """

    value: str | int | float | bool | None
    source: str
    quoted: bool
    line: int
    column: int
    lines: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class Items:
    """A list."""

    items: list["Node"]
    line: int
    column: int


@dataclass(slots=True)
class Entry:
    """One key of a mapping, with the place of the key."""

    key: str
    line: int
    column: int
    node: "Node"


@dataclass(slots=True)
class Keys:
    """A mapping, in the order of the file; its place is that of its first key or its brace."""

    line: int
    column: int
    entries: dict[str, Entry] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def get(self, key: str) -> "Node | None":
        """The value under the key, None where the key is missing."""
        entry = self.entries.get(key)
        return entry.node if entry else None


Node = Scalar | Items | Keys


def no_space(row: str, line: int) -> NoSpace | None:
    """The error if the row, which is that line, begins with what only looks like a space."""
    found = _NO_SPACE.match(row)
    if found is None:
        return None
    name = f"U+{ord(found[1]):04X}"
    words = f"this invisible character ({name}) is no space; indent with plain spaces"
    return NoSpace(line, found.start(1) + 1, words)


def decoded(data: bytes) -> str:
    """The bytes as text with plain line ends; raises Unreadable if they are not UTF-8 text."""
    if len(data) > MAX_BYTES:
        raise Unreadable(1, 1, "the file is too big; it may have at most 1 MB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable(1, 1, "the file is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8", "replace")
        raise Unreadable(
            *place(good, len(good)), "not UTF-8 text; save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise Unreadable(*place(text, text.index("\0")), "this is a binary file, not text")
    if hidden := _HIDDEN_LINE_END.search(text):
        name = f"U+{ord(hidden[0]):04X}"
        raise Unreadable(
            *place(text, hidden.start()),
            f"this invisible character ({name}) ends a line for some programs; remove it",
        )
    if conflict := _CONFLICT.search(text):
        where = place(text, conflict.start())
        raise Unreadable(*where, "a merge conflict is left in this file; resolve it")
    return text.replace("\r\n", "\n")


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of an offset in the text."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def plain(node: Node) -> object:
    """The node as ordinary Python data."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {entry.key: plain(entry.node) for entry in node}
