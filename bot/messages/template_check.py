"""Check the message texts that rule authors write: every problem, with line and column.

Jinja2 reads the text and reports syntax errors; this module adds where exactly they are, words
for the mistakes that people make most, and what a text may not use.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.lexer import ignored_tokens
from jinja2.parser import Parser
from msgspec import Struct
from msgspec.structs import replace

from bot.domain.many import Many
from bot.domain.subjects import Kind
from bot.fields.catalogue import KINDS, sample, text_fields
from bot.messages.template_variables import LONGEST, known
from bot.messages.templates import ENVIRONMENT, FILTERS, TESTS, BadText, render
from bot.ports import Addresses, Task

_NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

SAMPLES: Mapping[Kind, Task] = MappingProxyType(
    {
        kind: Task(
            key=f"sample/{kind}",
            rule="sample-rule",
            summary="A sample",
            subject=sample(kind),
            matched=_NOON,
            now=_NOON + timedelta(minutes=3),
            why=("a reason",),
            results={"share": "T0KEN"},
        )
        for kind in KINDS
    }
)
"""One task for each kind of subject, with a value in every field."""


_MANY = Many(
    asked=15, within=timedelta(minutes=10), total=15, since=_NOON - timedelta(minutes=8),
    until=_NOON, worst=(sample("recordings"),),
)  # fmt: skip

IN_LINKS = ("url", "share_url", "runbook")
"""The names that may be used between < and > in a text: addresses that the bot made itself."""

_TRIED = Addresses(share_url="https://example.com/{token}")
_LOOP = ("index", "index0", "first", "last", "length")
_DEEPEST_LOOP = 2
_FEW = 14
_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Filter, nodes.Test, nodes.If, nodes.For, nodes.CondExpr, nodes.Compare,
    nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div,
    nodes.FloorDiv, nodes.Neg, nodes.Concat, nodes.List, nodes.Tuple, nodes.Slice,
    nodes.Keyword,
)  # fmt: skip
_FORBIDDEN: dict[type[nodes.Node], str] = {
    nodes.Dict: "a mapping in { } cannot be used here",
    nodes.Pow: "** cannot be used here; there is + - * /",
    nodes.Mod: "% cannot be used here; use is divisibleby(3)",
    nodes.Pos: "a + before a value cannot be used here; remove it",
}
_ARGUMENTS: dict[str, type] = {"default": object, "join": str, "round": int, "truncate": int}
"""Filters that take a value, and of which type; no other filter takes any."""
_TYPES = {str: "a text in quotes", int: "a whole number"}


class TextFault(Struct, frozen=True):
    """What is wrong in a text, and where: line and column count from 1."""

    line: int
    column: int
    message: str


def check_text(text: str, kind: Kind) -> list[TextFault]:
    """Everything wrong with a text for this kind of subject; empty if it can be used."""
    if len(text) > LONGEST:
        return [TextFault(1, 1, f"a text has at most {LONGEST} characters, this has {len(text)}")]
    if not text.strip():
        return [TextFault(1, 1, "the text is empty; remove it to get the bot's own message")]
    source = re.sub(r"\r\n?", "\n", text)
    try:
        tokens = _tokens(source)
        tree = _parsed(source, tokens)
    except _SyntaxFault as error:
        return _in_order(
            {_fault(source, error.offset, error.message), *_beside(source, error, kind)}
        )
    except RecursionError:
        return [TextFault(1, 1, "the text is nested too deeply")]
    faults = {
        _fault(source, _offset(tokens, found.line, found.word), found.message)
        for found in _problems(tree, kind)
    }
    return _in_order(faults) or _trial(source, tokens, kind)


def _in_order(faults: Collection[TextFault]) -> list[TextFault]:
    return sorted(faults, key=lambda fault: (fault.line, fault.column, fault.message))


_VALUE = re.compile(r"\{\{[^{}]*\}\}")
_LOOP_NAME = re.compile(r"\{%-?\s*for\s+(\w+)")


def _beside(text: str, error: "_SyntaxFault", kind: Kind) -> Iterator[TextFault]:
    """What is wrong with the other values of a text that has a syntax error."""
    bound = {"loop", *_LOOP_NAME.findall(text)}
    for value in _VALUE.finditer(text):
        if value.start() <= error.offset < value.end():
            continue
        try:
            tokens = _tokens(value[0])
            found = [
                it for it in _problems(_parsed(value[0], tokens), kind) if it.word not in bound
            ]
        except _SyntaxFault as other:
            yield _fault(text, value.start() + other.offset, other.message)
            continue
        for it in found:
            offset = value.start() + _offset(tokens, it.line, it.word)
            yield _fault(text, offset, it.message)
    with suppress(_SyntaxFault):
        read = [token for token in _tokens(text) if token.kind not in _SKIPPED]
        yield from (_fault(text, *_not_closed(block)) for block in _opened_blocks(read)[-1:])


def first_use(text: str, names: Collection[str]) -> tuple[int, int]:
    """Line and column of the first of these names in a text that has no syntax error."""
    tokens = _tokens(text)
    uses = (
        token.offset
        for before, token in zip([_NOTHING, *tokens], tokens, strict=False)
        if token.kind == "name" and token.value in names and before.value != "."
    )
    fault = _fault(text, next(uses, 0), "")
    return fault.line, fault.column


# Syntax: Jinja2's lexer and parser know what is wrong, but of the place only the line.


class _Token(Struct, frozen=True):
    kind: str
    value: str
    line: int
    offset: int


_NOTHING = _Token("", "", 0, 0)
_BLOCKS = ("if", "elif", "else", "endif", "for", "endfor")
_SKIPPED = (*ignored_tokens, "raw_begin", "raw_end")
"""What the parser never sees."""
_HINTS = {
    "&": "write and",
    "|": "write or; a filter has one |",
    "!": "write not, or != to compare",
    "=": "write == to compare",
    "?": "write {{ 'a' if … else 'b' }}",
    ":": "write filter values in ( ), such as default('…')",
    "}": "write }}",
    "'": "this quote is not closed",
    '"': "this quote is not closed",
    "\\": "write \\\\ for one backslash",
    "then": "leave it out",
    "if": "write elif",
}
"""What to do about the word or character that Jinja2 stopped at."""


class _SyntaxFault(Exception):
    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset, self.message = offset, message


def _tokens(text: str) -> list[_Token]:
    """What Jinja2's lexer finds, each with its offset in the text. Raises _SyntaxFault."""
    found: list[_Token] = []
    before = _NOTHING
    try:
        for line, kind, value in ENVIRONMENT.lex(text):
            # The lexer drops white space around blocks; the token itself is in the text.
            end = before.offset + len(before.value)
            token = _Token(kind, value, line, max(text.find(value, end), end))
            if value == before.value == "{":
                message = "braces inside braces; write the name alone"
                raise _SyntaxFault(before.offset, message)
            found.append(token)
            before = token
    except TemplateSyntaxError as error:
        raise _lexer_fault(text, before, str(error.message)) from None
    return found


def _lexer_fault(text: str, last: _Token, message: str) -> _SyntaxFault:
    if message.startswith("Missing end of"):
        closing = "#}" if "comment" in message else "{% endraw %}"
        return _SyntaxFault(last.offset, f"{last.value} is not closed; write {closing}")
    at = re.search(r" at (\d+)$", message)
    offset = int(at[1]) if at else last.offset + len(last.value)
    found = text[offset : offset + 1]
    if expected := re.search(r", expected '(.)'$", message):
        return _SyntaxFault(offset, f"expected {expected[1]} before {found}")
    return _SyntaxFault(offset, _unexpected(found))


def _unexpected(found: str) -> str:
    hint = _HINTS.get(found)
    return f"unexpected {found}; {hint}" if hint else f"unexpected {found}"


def _parsed(text: str, tokens: list[_Token]) -> nodes.Template:
    """The text as Jinja2's nodes. Raises _SyntaxFault."""
    read = [token for token in tokens if token.kind not in _SKIPPED]
    opened = _opened_blocks(read)
    parser = Parser(ENVIRONMENT, text)
    try:
        return parser.parse()
    except TemplateSyntaxError as error:
        left = sum(1 for _ in parser.stream)
        message = str(error.message)
    if message.endswith("escape"):  # in a string
        wrong = next(token for token in read if token.kind == "string" and "\\" in token.value)
        raise _SyntaxFault(wrong.offset, f"unexpected \\; {_HINTS[chr(92)]}")
    if left:
        place = len(read) - left
        place -= read[place].kind == "data"
        raise _SyntaxFault(read[place].offset, _parser_message(message, read[place]))
    last = next(token for token in reversed(read) if token.kind.startswith(("variable", "block")))
    if last.kind.endswith("_begin"):
        closing = "}}" if last.kind == "variable_begin" else "%}"
        raise _SyntaxFault(last.offset, f"{last.value} is not closed; write {closing}")
    if not opened:
        raise _SyntaxFault(last.offset, f"something is missing before {last.value}")
    raise _SyntaxFault(*_not_closed(opened[-1]))


def _not_closed(block: _Token) -> tuple[int, str]:
    word = block.value
    return block.offset, f"{{% {word} %}} is not closed; write {{% end{word} %}}"


def _opened_blocks(read: list[_Token]) -> list[_Token]:
    """The `if` and `for` that are not closed. Raises _SyntaxFault where a block can't be."""
    opened: list[_Token] = []
    for before, token in pairwise(read):
        if before.kind != "block_begin" or token.kind == "block_end":
            continue
        word = token.value
        if word not in _BLOCKS:
            raise _SyntaxFault(token.offset, f"unknown {{% {word} %}}; {_block_meant(word)}")
        if word in ("if", "for"):
            opened.append(token)
        elif not opened or (word == "endfor" and opened[-1].value != "for"):
            start = word.removeprefix("end") if word.startswith("end") else "if"
            message = f"there is no open {{% {start} %}} before {{% {word} %}}"
            raise _SyntaxFault(token.offset, message)
        elif word.startswith("end") and opened.pop().value != word.removeprefix("end"):
            raise _SyntaxFault(token.offset, "write {% endfor %} first")
    return opened


def _block_meant(word: str) -> str:
    if word in ("elseif", "elsif"):
        return "did you mean elif?"
    near = get_close_matches(word.lower(), _BLOCKS, 1, 0.7)
    return f"did you mean {near[0]}?" if near else "only if and for can be used here"


def _parser_message(message: str, found: _Token) -> str:
    """What Jinja2's parser says, without its names for the parts of a text."""
    if found.value in _HINTS:
        return _unexpected(found.value)
    expected = re.match(r"expected token '(.+)', got '.+'$", message)
    if expected is None:
        closes = found.value in ("}}", "%}", ")", "]")
        return (
            f"something is missing before {found.value}" if closes else f"unexpected {found.value}"
        )
    if expected[1].startswith("end of"):
        closing = "}}" if expected[1] == "end of print statement" else "%}"
        hint = {
            "name": "; use braces for each value",
            "string": "; a filter takes its value in ( )",
            "integer": "; a filter takes its value in ( )",
        }.get(found.kind, "")
        return f"expected {closing} before {found.value}{hint}"
    wanted = "a name" if expected[1] == "name" else expected[1]
    return f"expected {wanted} before {found.value}"


# Places.


def _fault(text: str, offset: int, message: str) -> TextFault:
    column = offset - text.rfind("\n", 0, offset)
    return TextFault(text.count("\n", 0, offset) + 1, column, message)


def _offset(tokens: list[_Token], line: int, word: str) -> int:
    """Where the word is in that line; without a word, the braces."""
    begin = 0
    for token in tokens:
        if token.kind.endswith("_begin") and (token.line <= line or not begin):
            begin = token.offset
        if token.line == line and token.kind != "data":
            if not word:
                return begin
            if token.value.strip("'\"") == word:
                return token.offset
    return begin


def _trial(text: str, tokens: list[_Token], kind: Kind) -> list[TextFault]:
    """What fails when the text is filled in for a sample subject that has everything."""
    message = _tried(text, kind)
    if not message:
        return []
    start = 0
    for token in tokens:
        if token.kind == "variable_begin":
            start = token.offset
        elif token.kind == "variable_end":
            alone = _tried(text[start : token.offset + len(token.value)], kind)
            if alone:
                return [_fault(text, start, alone)]
    return [TextFault(1, 1, message)]


def _tried(text: str, kind: Kind) -> str:
    try:
        render(text, replace(SAMPLES[kind], many=_MANY), _TRIED)
    except BadText as error:
        return str(error)
    return ""


# Meaning: what a text uses that this kind of subject does not have.


class _Found(Struct, frozen=True):
    """A problem: its line, the word to point at, and the message."""

    line: int
    word: str
    message: str


def _problems(tree: nodes.Template, kind: Kind) -> list[_Found]:
    return [
        *_forbidden(tree),
        *_loops(tree, 0),
        *_names(tree, kind),
        *_filters_and_tests(tree),
        *_links(tree),
    ]


def _forbidden(tree: nodes.Node) -> Iterator[_Found]:
    for node in tree.find_all(nodes.Node):
        if isinstance(node, nodes.Call):
            yield _call(node)
        elif not isinstance(node, (*_ALLOWED, nodes.Pair)):
            name = type(node).__name__.lower()
            message = _FORBIDDEN.get(type(node), f"{name} cannot be used here")
            yield _Found(node.lineno, "", message)


def _call(call: nodes.Call) -> _Found:
    """A call: most are filters, written as in other languages."""
    called = call.node
    if isinstance(called, nodes.Getattr):
        name, value = called.attr, _base(called.node) or "…"
    else:
        first = call.args[0] if call.args else None
        name, value = _base(called) or "", (_base(first) if first else None) or "country"
    near = get_close_matches(name, FILTERS, 1)
    example = f": {value} | {near[0]}" if near else ""
    return _Found(call.lineno, name, f"functions cannot be called here; use a filter{example}")


def _loops(node: nodes.Node, depth: int) -> Iterator[_Found]:
    for child in node.iter_child_nodes():
        inside = depth
        if isinstance(child, nodes.For):
            inside += 1
            if inside > _DEEPEST_LOOP:
                yield _Found(child.lineno, "for", f"at most {_DEEPEST_LOOP} loops can be nested")
            if child.recursive:
                yield _Found(child.lineno, "recursive", "recursive cannot be used here")
            if not isinstance(child.target, nodes.Name):
                yield _Found(child.lineno, "for", "a loop has one name, such as for tag in tags")
            if _base(child.iter) is None and not isinstance(child.iter, nodes.Call):
                message = "a loop needs one of the names that are lists, such as tags"
                yield _Found(child.lineno, "for", message)
        elif isinstance(child, nodes.Name) and child.name == "loop" and not depth:
            yield _Found(child.lineno, "loop", "loop can be used between for and endfor only")
        yield from _loops(child, inside)


def _base(node: Any) -> str | None:
    """The name that an expression starts from: `saw` in `saw | unique`."""
    while isinstance(node, nodes.Filter | nodes.Getattr | nodes.Getitem) and node.node:
        node = node.node
    return node.name if isinstance(node, nodes.Name) else None


def _names(tree: nodes.Template, kind: Kind) -> Iterator[_Found]:
    names = known(kind)
    items = {
        loop.target.name: _parts(_base(loop.iter), kind)
        for loop in tree.find_all(nodes.For)
        if isinstance(loop.target, nodes.Name)
    }
    called = [id(call.node) for call in tree.find_all(nodes.Call)]
    compared = {id(value) for value in _values(tree)}
    dotted = {id(node.node): node.attr for node in tree.find_all(nodes.Getattr)}
    unknown: set[str] = set()
    for name in tree.find_all(nodes.Name):
        if name.name not in names and name.name not in items and name.name != "loop":
            unknown.add(name.name)
            if name.ctx == "load" and id(name) not in called:
                whole = f"{name.name}_{dotted.get(id(name))}"
                hint = _hint(whole if whole in names else name.name, names, text_fields(kind))
                if id(name) in compared and not hint.startswith("; did"):
                    hint = f"; text needs quotes: '{name.name}'"
                yield _Found(name.lineno, name.name, f"unknown name {name.name}{hint}")
    for node, parent, part in _parts_used(tree):
        allowed = items.get(parent, _LOOP if parent == "loop" else _own_parts(parent, kind))
        missing = part.startswith("_") or (allowed is not None and part not in allowed)
        if missing and parent not in unknown and id(node) not in called:
            hint = _hint(part, allowed or (), allowed or ())
            yield _Found(node.lineno, part, f"{parent} has no part {part}{hint}")


def _values(tree: nodes.Template) -> Iterator[nodes.Node]:
    """What a name is compared with, and what filters take: often texts without quotes."""
    for operand in tree.find_all(nodes.Operand):
        yield operand.expr
    for used in tree.find_all((nodes.Filter, nodes.Test)):
        yield from used.args


def _hint(word: str, names: Collection[str], few: Collection[str]) -> str:
    near = get_close_matches(word, names, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(few)}" if 0 < len(few) <= _FEW else ""


def _filters_and_tests(tree: nodes.Template) -> Iterator[_Found]:
    """Unknown filters and tests, and values that they do not take."""
    for used in tree.find_all(nodes.Filter):
        if used.name not in FILTERS:
            message = f"unknown filter {used.name}{_close(used.name, FILTERS)}"
            yield _Found(used.lineno, used.name, message)
        elif message := _arguments(used):
            yield _Found(used.lineno, used.name, message)
    for test in tree.find_all(nodes.Test):
        takes = 1 if test.name in ("divisibleby", "in") else 0
        if test.name not in TESTS:
            message = f"unknown test {test.name}{_close(test.name, TESTS)}"
            yield _Found(test.lineno, test.name, message)
        elif len(test.args) != takes:
            message = f"is {test.name} takes {'one value' if takes else 'no value'}"
            yield _Found(test.lineno, test.name, message)


def _close(name: str, known_names: Collection[str]) -> str:
    near = get_close_matches(name, known_names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known_names)}"


def _arguments(used: nodes.Filter) -> str:
    """What is wrong with the values of a filter, empty where nothing is."""
    if used.kwargs or used.dyn_args or used.dyn_kwargs:
        return f"the values of {used.name} have no names; write {used.name}(…)"
    takes = _ARGUMENTS.get(used.name)
    if len(used.args) > (takes is not None):
        return f"{used.name} takes {'no' if takes is None else 'one'} value in ( )"
    for value in used.args:
        given = value.value if isinstance(value, nodes.Const) else None
        if takes in _TYPES and given is not None and type(given) is not takes:
            return f"{used.name} takes {_TYPES[takes]}"
    return ""


def _parts_used(tree: nodes.Template) -> Iterator[tuple[nodes.Node, str, str]]:
    for node in tree.find_all(nodes.Getattr):
        yield node, _base(node.node) or "this", node.attr
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.arg, nodes.Const) and isinstance(item.arg.value, str):
            yield item, _base(item.node) or "this", item.arg.value


def _parts(name: str | None, kind: Kind) -> tuple[str, ...]:
    field = text_fields(kind).get(name or "")
    return tuple(part.text_name for part in field.parts if part.in_texts) if field else ()


def _own_parts(name: str, kind: Kind) -> tuple[str, ...] | None:
    """The parts that may follow the name itself; None where any may (variables)."""
    field = text_fields(kind).get(name)
    return None if field and field.type == "variables" else _parts(name, kind)


def _links(tree: nodes.Template) -> Iterator[_Found]:
    """Values between < and > that the bot did not make: a visitor could write a link there."""
    opened: str | None = None
    for output in tree.find_all(nodes.Output):
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                opened = _opened(opened, node.data)
            elif opened is not None and "|" not in opened:
                name = node.name if isinstance(node, nodes.Name) else ""
                if opened or name not in IN_LINKS:
                    links = " and ".join(f"<{{{{ {link} }}}}|label>" for link in IN_LINKS)
                    message = f"between < and > only {links} can be used"
                    yield _Found(node.lineno, name, message)
                opened += "…"


def _opened(before: str | None, data: str) -> str | None:
    """The text since a `<` that is still open, None if none is."""
    text = ("" if before is None else "<" + before) + data
    start = text.rfind("<")
    after = text[start + 1 :]
    return None if start < 0 or ">" in after or after[:1].isspace() else after
