"""A broken file read on around its errors: each rule that can't be read is left out, and named."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bot.rulebook.spans import Empty, Keys, Node, TooMuch, UnknownAlias, Unreadable

MOST_ERRORS = 10
"""A file that is broken in more places is given up: each costs another reading of all of it."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that stand or fall together: all of a rule or a budget, or what stands before them.

    `last` is the first line behind them. `section` and `name` are empty for the latter.
    """

    first: int
    last: int
    section: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        """The rule's dotted path."""
        return f"{self.section}.{self.name}" if self.name else self.section

    @property
    def unread(self) -> str:
        """What is not checked for an error here."""
        if not self.section:
            return "what stands before the rules was not checked"
        return f"the rest of this {self.section[:-1]} was not checked"


@dataclass(slots=True)
class Text:
    """What of a text could be read. `partly` tells that something was left out."""

    root: Node | None = None
    errors: list[tuple[str, Unreadable]] = field(default_factory=list)
    partly: bool = False

    def note(self, error: Unreadable, path: str = "", unread: str = "") -> None:
        """Keep an error with the path of what it is in, and what it leaves unchecked."""
        message = f"{error.message}; {unread}" if unread else error.message
        self.errors.append((path, Unreadable(error.line, error.column, message)))
        self.partly = True


Parse = Callable[[str, list[Unreadable]], Node]
Blocks = Callable[[list[str]], Iterator[Block]]


def readable(text: str, parse: Parse, blocks: Blocks) -> Text:
    """The text without the rules that can't be read; an error elsewhere ends it there."""
    found = Text()
    lines = text.split("\n")
    known: list[Block] = []
    left_out: list[Block] = []
    whole = True
    while True:
        doubles: list[Unreadable] = []
        try:
            found.root = parse("\n".join(lines), doubles)
        except Empty as error:
            if not found.partly:
                found.note(error)
            return found
        except Unreadable as error:
            if not whole:
                return found
            known = known or list(blocks(lines))
            block = next((it for it in known if it.first <= error.line < it.last), None)
            if block is None or len(left_out) == MOST_ERRORS or isinstance(error, TooMuch):
                found.note(error, "", "the rest of this file was not checked")
                whole = False
                del lines[(block.first if block else error.line) - 1 :]
                continue
            found.note(_traced(error, text, left_out), block.path, block.unread)
            left_out.append(block)
            lines[block.first - 1 : block.last - 1] = [""] * (block.last - block.first)
        else:
            found.errors += (("", double) for double in doubles)
            _drop(left_out, found.root)
            return found


def _traced(error: Unreadable, text: str, left_out: list[Block]) -> Unreadable:
    """The error; an alias may only be unknown since its anchor was left out."""
    lines = text.split("\n")
    if isinstance(error, UnknownAlias) and any(
        re.search(rf"&{re.escape(error.name)}\b", "\n".join(lines[it.first - 1 : it.last - 1]))
        for it in left_out
    ):
        why = f"&{error.name} stands where nothing can be read"
        return Unreadable(error.line, error.column, why)
    return error


def _drop(left_out: list[Block], root: Node) -> None:
    """What stands elsewhere of a rule that was left out; in TOML it may have several tables."""
    for block in left_out:
        section = root.get(block.section) if isinstance(root, Keys) else None
        if isinstance(section, Keys):
            section.entries.pop(block.name, None)


_SECTION = re.compile(r"(rules|budgets) *:\s*(#.*)?$")
_YAML_NAME = re.compile(r"""\s*["']?([A-Za-z0-9_-]*)""")


def yaml_blocks(lines: list[str]) -> Iterator[Block]:
    """The lines of each rule and budget of a YAML text, by their indentation."""
    section, name, begin, depth = "", "", 1, 0
    for number, line in enumerate(lines, 1):
        bare = line.lstrip(" ")
        indent = len(line) - len(bare)
        heads = _SECTION.match(line)
        if not bare.strip() or bare.startswith(("#", "\t", ":")):
            continue
        if not heads and (not section or (depth and indent > depth)):
            continue
        if begin < number:
            yield Block(begin, number, section, name)
        if heads:
            section, name, begin, depth = heads[1], "", len(lines) + 1, 0
        elif indent and indent >= depth:
            found = _YAML_NAME.match(line)
            name, begin, depth = found[1] if found else "", number, indent
        else:
            section, begin = "", len(lines) + 1
    if begin <= len(lines) and section:
        yield Block(begin, len(lines) + 1, section, name)


_TABLE = re.compile(
    r"""[ \t]*\[\[?[ \t]*([A-Za-z0-9_-]+)(?:[ \t]*\.[ \t]*["']?([A-Za-z0-9_-]+))?[^,]*$"""
)


def toml_blocks(lines: list[str]) -> Iterator[Block]:
    """The lines of each table of a TOML text."""
    section, name, begin = "", "", 1
    for number, line in enumerate(lines, 1):
        header = _TABLE.match(line)
        if header:
            if begin < number:
                yield Block(begin, number, section, name)
            inside = header[1] in ("rules", "budgets") and header[2]
            section, name = (header[1], header[2]) if inside else ("", "")
            begin = number if inside else len(lines) + 1
    if section:
        yield Block(begin, len(lines) + 1, section, name)
