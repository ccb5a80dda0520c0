"""YAML text to nodes: the YAML 1.2 core schema, with limits against alias bombs."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner, ScannerError
from ruamel.yaml.tokens import ScalarToken

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
    UnknownAlias,
    Unreadable,
    no_space,
    place,
)

Spot = tuple[int, int]
"""Line and column, from 1."""

_COMMENT = re.compile(r"(?m)^[^#\n]*[{\[][^#\n\]}]*[:,\[{] +(?P<mark>#)")
"""A comment inside brackets where a text was meant."""
_UNCLOSED = re.compile(r"expected ',' or '([]}])', but got .*")
_OPENING = {"]": "[", "}": "{"}
_COMMENT_HERE = "# starts a comment; put text that starts with # in quotes"
_ESCAPE = "\\ starts an escape in \"…\"; put the text in '…'"
_CONTINUES = "this line continues the text above; indent its dash as far as the others"
_TAB = "indent with spaces, not tabs"
_TAB_BEHIND_DASH = re.compile(r" *(?:- +)*-[ ]*\t")
_HALF = "this escape is half a character; write the character itself"
_TAG = "! starts a tag; put the text in quotes"
_ALIAS = "& and * start an alias; put the text in quotes"
_LATE_INDENT = "a blank line above has more spaces than this text; remove them"
_LONG_TEXT = "| and > start a text on the lines below; put this text in quotes"


@dataclass(frozen=True)
class _Error:
    """The parser's error: where it stopped, and where the current construct started."""

    text: str
    problem: str
    spot: Spot
    began: Spot | None

    def row(self, line: int) -> str:
        """A line of the text, empty if it does not exist."""
        rows = self.text.split("\n")
        return rows[line - 1] if 0 < line <= len(rows) else ""

    @property
    def before(self) -> str:
        """The line up to the spot."""
        return self.row(self.spot[0])[: self.spot[1] - 1]

    @property
    def after(self) -> str:
        """The line from the spot on."""
        return self.row(self.spot[0])[self.spot[1] - 1 :]

    def above(self, line: int) -> Iterator[int]:
        """The lines with something on them above the line, from the nearest one up."""
        for number in range(line - 1, 0, -1):
            if self.row(number).strip() and not self.row(number).lstrip().startswith("#"):
                yield number

    def levels(self, line: int) -> Iterator[int]:
        """Those of them that are indented less than all between, whose level is still open."""
        least = len(self.text)
        for number in self.above(line):
            if (indent := _indent(self.row(number))) < least:
                least = indent
                yield number


def yaml_fault(text: str, problem: str, spot: Spot, began: Spot | None) -> Unreadable:
    """The error with what to do, at the place to fix."""
    error = _Error(text, problem, spot, began)
    here = error.row(spot[0])
    indent = here[: len(here) - len(here.lstrip())]
    behind_dash = "not allowed here" in problem and _TAB_BEHIND_DASH.match(here)
    if "\t" in indent or behind_dash:
        return Unreadable(spot[0], here.index("\t") + 1, _TAB)
    if "<stream end>" in problem and (comment := _COMMENT.search(text)):
        where = place(text, comment.start("mark"))
        return Unreadable(*where, _COMMENT_HERE)
    for pattern, explain in _PROBLEMS:
        if pattern.match(problem):
            (line, column), words = explain(error)
            return Unreadable(line, column, words)
    return Unreadable(*spot, "invalid YAML; does some text need quotes?")


Said = tuple[Spot, str]


def _colon(error: _Error) -> Said:
    """A colon although this line, or the one before, already has its value."""
    line, _ = error.spot
    if re.match(r"\s*(- +)?[\w.*%-]+:\s+\S", error.before):
        return error.spot, 'text with ": " in it needs quotes'
    above = next((n for n in range(line - 1, 0, -1) if error.row(n).strip()), 0)
    row = error.row(above).partition(" #")[0].rstrip()
    if above and not re.search(r":(\s|$)", row):
        return _no_colon(replace(error, began=(above, _indent(row) + 1)))
    if above and not row.endswith(":") and _indent(error.row(line)) > _indent(row):
        return (line, _indent(error.row(line)) + 1), (
            f"this line is indented too far: line {above} already has a value"
        )
    return error.spot, "unexpected colon; text with a colon in it needs quotes"


def _no_colon(error: _Error) -> Said:
    line, column = error.began or error.spot
    begun = error.row(line)[column - 1 :]
    if found := re.match(r"([\w-]+:)([^\s:/]|/(?!/))", begun):
        return (line, column + found.end(1)), "add a space after the colon"
    if found := re.match(r"[\w-]+\s*=", begun):
        return (line, column + found.end() - 1), "write a colon instead of ="
    above = error.row(next(error.above(line), 0))
    if _indent(above) == column - 1 and re.match(r"\s*- ", above):
        return (line, column), _dash(begun)
    if _indent(above) == column - 1 and above.endswith(":") and re.fullmatch(r"[\w-]+ *", begun):
        key = above.strip()[:-1]
        return (line, column), f"indent this line more: it is the value of {key}"
    return (line, column), "add a colon after the key"


def _dash(text: str) -> str:
    """What to do with an item of a list that has no dash, or no space after it."""
    bare = text.lstrip("-").strip()
    item = f": - {bare}" if len(bare) <= _SHORT else ""
    missing = "add a space after the dash" if text[0] == "-" else "start the item with a dash"
    return f"{missing}{item}"


_SHORT = 40


def _indent(row: str) -> int:
    return len(row) - len(row.lstrip())


def _indentation(error: _Error) -> Said:
    """A line that fits no line above; or the one above, if that one alone is odd."""
    line, _ = error.spot
    row, here = error.row(line), _indent(error.row(line))
    spot = line, here + 1
    levels = list(error.levels(line))
    if row.lstrip().startswith("- "):
        levels = [it for it in levels if error.row(it).lstrip().startswith("- ")] or levels
    if not levels:
        return spot, "the indentation does not match the lines above"
    nearest = min(levels, key=lambda it: (abs(_indent(error.row(it)) - here), -it))
    depth = _indent(error.row(nearest))
    if here - depth > 1 and not row.lstrip().startswith("- "):
        return spot, f"this line is indented too far: line {nearest} already has a value"
    unit = min((it for n in error.above(line) if (it := _indent(error.row(n)))), default=1)
    if depth % unit and not here % unit:
        return (nearest, depth + 1), f"indent this line with {_spaces(here)}, as line {line}"
    return spot, f"indent this line with {_spaces(depth)}, as line {nearest}"


def _spaces(count: int) -> str:
    return "1 space" if count == 1 else f"{count} spaces"


def _begins(error: _Error) -> Said:
    return error.spot, f"text cannot start with {error.after[:1]}; put it in quotes"


def _behind(error: _Error) -> Said:
    if not error.before.strip():
        return _indentation(error)
    quote = error.before.rstrip()[-1:]
    if error.before.endswith("'"):
        return error.spot, "the quote ends the text here; write '' for a ' inside quotes"
    if quote == '"':
        return error.spot, "the quote ends the text here; put the whole text in '…'"
    return error.spot, "unexpected text after a value; put all of it in quotes"


def _not_closed(error: _Error) -> Said:
    found = _UNCLOSED.match(error.problem)
    opened = _OPENING[found[1]] if found else "[ or {"
    line, column = error.began or error.spot
    if comment := re.search(r"[:,\[{] +(#)", error.row(line)[column - 1 :]):
        return (line, column + comment.start(1)), _COMMENT_HERE
    other = error.after[:1]
    around = error.row(line)[: column - 1]
    closes = other in _OPENING and f"but got '{other}'" in error.problem
    if closes and _OPENING[other] not in around:
        where = f"column {column}" if line == error.spot[0] else f"line {line}"
        return error.spot, f"{other} closes the {opened} of {where}; write {found and found[1]}"
    if line == error.spot[0] and (word := re.search(r"[^,{\[\s]\s+([\w-]+) *$", error.before)):
        return (line, word.start(1) + 1), f"add a comma before {word[1]}"
    return (line, column), f"this {opened} is not closed"


def _closes_nothing(error: _Error) -> Said:
    other = error.after[:1]
    if 0 < error.before.count(_OPENING[other]) == error.before.count(other):
        return error.spot, f"one {other} too many; remove it"
    return error.spot, f"unexpected {other}; put the text in quotes"


def _same(words: str, *, at_start: bool = False) -> Callable[[_Error], Said]:
    return lambda error: ((at_start and error.began) or error.spot, words)


_PROBLEMS: tuple[tuple[re.Pattern[str], Callable[[_Error], Said]], ...] = tuple(
    (re.compile(pattern), explain)
    for pattern, explain in (
        (r"found character '[@`%*&]' that cannot start any token", _begins),
        (
            r"found character .* that cannot start",
            _same("text cannot start with this character; put it in quotes"),
        ),
        (r"mapping values are not allowed here", _colon),
        (r"could not find expected ':'", _no_colon),
        (r"expected <block end>, but found '<(block|scalar)", _behind),
        (r"expected <block end>, but found '[]}]'", _closes_nothing),
        (r"expected the node content, but found '[]}]'", _closes_nothing),
        (r"expected <block end>, but found", _indentation),
        (r"found unexpected end of stream", _same("this quote is not closed", at_start=True)),
        (r"expected the node content", _same("this [ or { is not closed", at_start=True)),
        (r"expected ',' or", _not_closed),
        (r"found unexpected ':'", _same("text with a colon in it needs quotes")),
        (r"sequence entries are not allowed here", _same("start a list on its own line")),
        (r"mapping keys are not allowed here", _same("text cannot start with ?; put it in quotes")),
        (r"found unknown escape|expected escape sequence", _same(_ESCAPE)),
        (r"found undefined tag|could not determine|expected URI|expected ' '", _same(_TAG)),
        (r"expected alphabetic|did not find expected", _same(_ALIAS, at_start=True)),
        (r"unsupported YAML version", _same("write %YAML 1.2, or leave this line out")),
        (re.escape(_LATE_INDENT), _same(_LATE_INDENT)),
        (r"expected chomping|expected indentation|expected a comment", _same(_LONG_TEXT)),
    )
)


_SURROGATE = re.compile("[\ud800-\udfff]")
_VERSIONS = ((1, 1), (1, 2))
_HIGH, _LOW = (rf"\\u[dD][{digits}][0-9a-fA-F]{{2}}" for digits in ("89aAbB", "c-fC-F"))
# Escapes of a text in "…": a pair that makes one character, half a pair, any other.
_ESCAPES = re.compile(
    rf"{_HIGH}{_LOW}|(?P<half>{_HIGH}|{_LOW}|\\U0000[dD][89a-fA-F])|\\.", re.DOTALL
)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_-]*)(?=(:)[ \n]|[],}])")
# ruamel takes quadratic time over a long tag.
_LONG_TAG = re.compile(r"![^\s\"']{500}")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def parse(text: str, duplicates: list[Unreadable] | None = None) -> Node:
    """The one document of the text; raises Unreadable with the place.

    A duplicate key is added to `duplicates`, if given, and its first value is kept.
    """
    if long := _LONG_TAG.search(text):
        raise Unreadable(*place(text, long.start()), "! starts a tag; put the text in quotes")
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner, yaml.Parser = _Scanner, _Parser
    try:
        tree = _Tree(yaml.parse(text), text)
        root = tree.document()
    except ReaderError as error:
        where = place(text, error.position)
        raise Unreadable(*where, f"invalid character {error.character!r}") from None
    except MarkedYAMLError as error:
        raise _unreadable(error, text) from None
    except Unreadable:
        raise
    except Exception as error:
        # The library also raises AssertionError, ValueError and others, none with a place.
        reader = yaml.reader
        problem = f"this YAML can't be read: {internal_error(error)}"
        raise Unreadable(reader.line + 1, reader.column + 1, problem) from error
    if duplicates is None and tree.duplicates:
        raise tree.duplicates[0]
    if duplicates is not None:
        duplicates += tree.duplicates
    return root


def scalar(source: str) -> str | int | float | bool | None:
    """What a plain (unquoted) YAML 1.2 scalar means: `NO`, `on`, `12:30` and dates are texts."""
    if source in _WORDS:
        return _WORDS[source]
    if len(source) > 40:
        return source
    if _INTEGER.fullmatch(source):
        return int(source, 0) if source[:2] in ("0o", "0x") else int(source)
    if _DECIMAL.fullmatch(source):
        return float(source)
    return source


_SPACES = re.compile(" *")
_BLANKS = re.compile(r"[ \t]*")
_GAP = re.compile(r"[ \t]*(?:#[^\n\0]*)?")
"""White space, and the comment at the end of the line."""
_CHOMPING = re.compile(r"(?P<chomp>[+-]?)(?P<indent>[1-9]?)(?P<late>[+-]?)(?=[ \t\n\0])")
_NO_TEXT = " \t\n\0,[]{}"
"""After a ? inside brackets, these make it a sign and not the start of a text."""


class _Scanner(Scanner):
    """ruamel's scanner, with tabs and ? as YAML 1.2 has them, and faster where it is busy."""

    @cached_property
    def reader(self) -> Any:
        return self.loader.reader

    @property
    def scanner_processing_version(self) -> Any:
        return (1, 2)

    def scan_to_next_token(self) -> None:
        """Skip white space, comments and line ends; a tab that indents is an error."""
        reader = self.reader
        while True:
            gap = self._ahead(_GAP)
            if not self.flow_level and "\t" in gap.partition("#")[0]:
                row = reader.buffer[reader.pointer - reader.column : reader.pointer]
                if not row.strip() and reader.peek(len(gap)) not in "\n\0":
                    raise ScannerError(None, None, _TAB, reader.get_mark())
                self.allow_simple_key = False  # such as the key in `-<tab>key: value`
            self._forward(len(gap))
            if not self.scan_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain_spaces(self, indent: Any, start_mark: Any) -> Any:
        """The white space inside a text or after it; the library knows no tabs there."""
        blanks = self._ahead(_BLANKS)
        if "\t" not in blanks:
            return super().scan_plain_spaces(indent, start_mark)
        self._forward(len(blanks))
        return super().scan_plain_spaces(indent, start_mark) or [blanks]

    def scan_block_scalar_indicators(self, start_mark: Any) -> Any:
        """What follows | or >, perhaps with a tab behind."""
        reader = self.reader
        found = _CHOMPING.match(reader.buffer, reader.pointer)
        if found is None or (found["chomp"] and found["late"]):
            return super().scan_block_scalar_indicators(start_mark)
        self._forward(found.end() - reader.pointer)
        sign = found["chomp"] or found["late"]
        self._forward(len(self._ahead(_BLANKS)))
        return (sign == "+" if sign else None), (int(found["indent"]) if found["indent"] else None)

    def scan_block_scalar_indentation(self) -> Any:
        """The blank lines that a text after | or > begins with, and its indentation.

        The library refuses some: a blank line may be indented as much as the text, not more.
        """
        reader = self.reader
        breaks, deepest = [], 0
        end = reader.get_mark()
        while True:
            self._forward(len(self._ahead(_SPACES)))
            if reader.peek() != "\n":
                break
            deepest = max(deepest, reader.column)
            breaks.append(self.scan_line_break())
            end = reader.get_mark()
        if self.indent < reader.column < deepest:
            raise ScannerError(None, None, _LATE_INDENT, reader.get_mark())
        return breaks, max(deepest, reader.column), end

    def check_key(self) -> Any:
        """Whether this ? is a sign; inside brackets it may start a text."""
        return self.reader.peek(1) in (_NO_TEXT if self.flow_level else " \t\n\0")

    def check_plain(self) -> Any:
        return super().check_plain() or (self.flow_level and self.reader.peek() == "?")

    def _ahead(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.reader.buffer, self.reader.pointer)
        return found[0] if found else ""

    def _forward(self, length: int) -> None:
        """Move on within the line."""
        reader = self.reader
        reader.pointer += length
        reader.index += length
        reader.column += length

    def scan_yaml_directive_value(self, start_mark: Any) -> Any:
        """The version after %YAML; the library fails an assertion for other versions."""
        version = super().scan_yaml_directive_value(start_mark)
        if version not in _VERSIONS:
            raise ScannerError(None, None, "unsupported YAML version", start_mark)
        return version

    def need_more_tokens(self) -> bool:
        if self.done or not self.tokens:
            return not self.done
        if not self.possible_simple_keys:
            return False
        self.stale_possible_simple_keys()
        return bool(self.next_possible_simple_key() == self.tokens_taken)

    def scan_plain(self) -> Any:
        """A text without quotes; most are one word before a colon or inside brackets."""
        reader = self.reader
        word = _WORD.match(reader.buffer, reader.pointer)
        if word is None or not (word[2] == ":" or self.flow_context):
            return super().scan_plain()
        start = reader.get_mark()
        self._forward(len(word[1]))
        self.allow_simple_key = False
        return ScalarToken(word[1], True, start, reader.get_mark())

    def scan_flow_scalar(self, style: Any) -> Any:
        """A text in quotes; a line not indented more than its key is an error (YAML 1.2)."""
        try:
            token = super().scan_flow_scalar(style)
        except (ValueError, OverflowError):  # from chr()
            problem = "found unknown escape character"
            raise ScannerError("", None, problem, self.reader.get_mark()) from None
        start, end = token.start_mark, token.end_mark
        if style == '"' and _SURROGATE.search(token.value):
            token.value = self._joined(token.value, start.index, end.index)
        if start.line != end.line:
            rows = self.reader.buffer[start.index : end.index].split("\n")[1:]
            if any(row.strip() and len(row) - len(row.lstrip(" ")) <= self.indent for row in rows):
                problem = "found unexpected end of stream"
                raise ScannerError("", start, problem, end)
        return token

    def _joined(self, value: str, begin: int, end: int) -> str:
        """The text with the halves of characters joined, as JSON writes an emoji."""
        text = self.reader.buffer
        for escape in _ESCAPES.finditer(text, begin, end):
            if escape["half"]:
                raise Unreadable(*place(text, escape.start()), _HALF)
        return value.encode("utf-16", "surrogatepass").decode("utf-16")

    def check_token(self, *choices: Any) -> bool:
        while self.need_more_tokens():
            self.fetch_more_tokens()
        return bool(self.tokens) and (not choices or isinstance(self.tokens[0], choices))


class _Parser(Parser):
    """ruamel's parser, which looks its scanner up once."""

    @cached_property
    def scanner(self) -> Any:
        return self.loader.scanner


class _Tree:
    """Builds nodes from the parser's events; `MAX_DEPTH` bounds the recursion."""

    def __init__(self, events: Iterator[Any], text: str) -> None:
        self._events = events
        self._text = text
        self._anchors: dict[str, Node | None] = {}
        self._sizes: dict[int, int] = {}
        self._nodes = 0
        self._in_brackets = False
        self.duplicates: list[Unreadable] = []

    @cached_property
    def _rows(self) -> list[str]:
        return self._text.split("\n")

    def document(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise _at(event, "a second document starts here; use one file per document")
            elif isinstance(
                event, (ScalarEvent, AliasEvent, MappingStartEvent, SequenceStartEvent)
            ):
                root = self._node(event)
        if root is None:
            raise Empty(1, 1, "the file is empty; start it with version: 1")
        return root

    def _node(self, event: Any, depth: int = 1) -> Node:
        """The node that starts with the event, read to its end."""
        self._count(event, 1)
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self._nodes
        if isinstance(event, ScalarEvent):
            node: Node = self._scalar(event)
        else:
            if depth > MAX_DEPTH:
                limit = f"nested too deeply; the limit is {MAX_DEPTH} levels"
                raise TooMuch(event.start_mark.line + 1, event.start_mark.column + 1, limit)
            if event.anchor:
                self._anchors[event.anchor] = None  # known, not usable inside itself
            outside, self._in_brackets = self._in_brackets, bool(event.flow_style)
            is_mapping = isinstance(event, MappingStartEvent)
            node = self._keys(event, depth) if is_mapping else self._items(event, depth)
            self._in_brackets = outside
        if event.anchor:
            self._anchors[event.anchor] = node
            self._sizes[id(node)] = self._nodes - before + 1
        return node

    def _scalar(self, event: Any) -> Scalar:
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            raise _at(event, "! starts a tag; put the text in quotes")
        if event.anchor and not event.value and event.style is None:
            raise _at(event, "& starts an alias; put the text in quotes")
        quoted = event.style is not None or event.tag is not None
        if not quoted and not self._in_brackets:
            self._check_dashes(event)
        value = event.value if quoted else scalar(event.value)
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        return Scalar(value, event.value, quoted, line, column, self._lines(event))

    def _check_dashes(self, event: Any) -> None:
        """Refuse a text that was meant to be items of a list."""
        first, last = event.start_mark, event.end_mark
        before = self._rows[first.line][: first.column].strip() if event.value else "x"
        if not before and re.match(r"-\w", event.value) and isinstance(scalar(event.value), str):
            raise _at(event, _dash(self._rows[first.line].strip()))
        if before.rstrip("-"):
            return
        for number in range(first.line + 1, last.line + 1):
            row = self._rows[number][: last.column if number == last.line else None]
            if row.lstrip().startswith("- "):
                raise Unreadable(number + 1, _indent(row) + 1, _CONTINUES)

    def _items(self, start: Any, depth: int) -> Items:
        found = Items([], start.start_mark.line + 1, start.start_mark.column + 1)
        while not isinstance(event := next(self._events), SequenceEndEvent):
            found.items.append(self._node(event, depth + 1))
        return found

    def _keys(self, start: Any, depth: int) -> Keys:
        found = Keys(start.start_mark.line + 1, start.start_mark.column + 1)
        while not isinstance(event := next(self._events), MappingEndEvent):
            name = self._key(event)
            node = self._node(next(self._events), depth + 1)
            if first := found.entries.get(name):
                message = f"duplicate key {name}; it is already on line {first.line}"
                self.duplicates.append(_at(event, message))
                continue
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            found.entries[name] = Entry(name, line, column, _seen(node, name, line, column))
        return found

    def _lines(self, event: Any) -> tuple[tuple[int, int], ...]:
        """The places where the lines of a text start, if the file has them unchanged."""
        if "{" not in event.value:
            return ()  # no template
        start, end, style = event.start_mark, event.end_mark, event.style
        if style == "|":
            return self._block_lines(start.line + 1, event.value)
        marks = 2 if style else 0
        if start.line == end.line and end.column - start.column == len(event.value) + marks:
            return ((start.line + 1, start.column + 1 + marks // 2),)
        return ()

    def _block_lines(self, first: int, value: str) -> tuple[tuple[int, int], ...]:
        rows = value.rstrip("\n").split("\n")
        here = self._rows[first : first + len(rows)]
        indent = min(
            (len(raw) - len(row) for raw, row in zip(here, rows, strict=False) if row), default=0
        )
        return tuple((first + number, indent + 1) for number in range(1, len(rows) + 1))

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            mark = event.start_mark
            raise UnknownAlias(mark.line + 1, mark.column + 1, event.anchor)
        node = self._anchors[event.anchor]
        if node is None:
            raise _at(event, f"alias *{event.anchor} contains itself")
        self._count(event, self._sizes[id(node)])
        return node

    def _count(self, event: Any, more: int) -> None:
        self._nodes += more
        if self._nodes > MAX_NODES:
            raise TooMuch(event.start_mark.line + 1, event.start_mark.column + 1, TOO_MANY)

    def _key(self, event: Any) -> str:
        self._count(event, 1)
        if isinstance(event, AliasEvent):
            raise _at(event, "a key cannot be an alias; write the name")
        if isinstance(event, MappingStartEvent) and event.flow_style:
            raise _at(event, "text that starts with { needs quotes")
        if not isinstance(event, ScalarEvent):
            raise _at(event, "a key must be a name, not a list or a mapping")
        if event.value == "<<" and event.style is None:
            raise _at(event, "merge keys (<<) are not supported; repeat the keys")
        line = event.start_mark.line + 1
        if event.style is None and (odd := no_space(self._rows[line - 1], line)):
            raise odd
        return str(event.value)


def _seen(node: Node, key: str, line: int, column: int) -> Node:
    """A missing value gets the place after its key, not that of the next token."""
    if isinstance(node, Scalar) and not node.source and not node.quoted:
        return Scalar(None, "", False, line, column + len(key) + 1)
    return node


def _at(event: Any, message: str) -> Unreadable:
    mark = event.start_mark
    return Unreadable(mark.line + 1, mark.column + 1, message)


def _unreadable(error: MarkedYAMLError, text: str) -> Unreadable:
    spot, began = _spot(error.problem_mark), _spot(error.context_mark)
    problem = str(error.problem or error.context or "")
    fault = yaml_fault(text, problem, spot or began or (1, 1), began)
    rows = enumerate(text.split("\n")[: fault.line], 1)
    odd = (no_space(row, line) for line, row in rows if line >= fault.line - 1)
    return next(filter(None, odd), fault)


def _spot(mark: Any) -> tuple[int, int] | None:
    return (mark.line + 1, mark.column + 1) if mark else None
