"""What a text's names, filters and tests mean: those that there are, used as they can be used."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from jinja2 import nodes

from bot.subjects import Kind
from bot.wording.names import NAMES, known
from bot.wording.templates import FILTERS, TESTS

IN_LINKS = ("url", "share_url")
"""The names that may stand between < and > in a text: addresses made by ourselves."""

_LOOP = ("index", "index0", "first", "last", "length")
_DEEPEST_LOOP = 2
_FEW = 14

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Test,
    nodes.If,
    nodes.For,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Neg,
    nodes.Concat,
    nodes.List,
    nodes.Tuple,
    nodes.Slice,
    nodes.Keyword,
)
_WORDS: dict[type[nodes.Node], str] = {
    nodes.Dict: "a mapping in { } is not part of these texts",
    nodes.Pow: "** is not part of these texts; there is + - * /",
    nodes.Mod: "% is not part of these texts; ask with is divisibleby(3)",
    nodes.Pos: "a + in front is not part of these texts; leave it out",
}
_ARGUMENTS: dict[str, type | tuple[type, ...]] = {
    "default": object,
    "join": str,
    "round": int,
    "truncate": int,
}
"""Filters that take a value, and of which type; no other filter takes any."""
_KINDS = {str: "a text in quotes", int: "a whole number"}


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong: in which line, the word to point at, and the message."""

    line: int
    word: str
    message: str


def meaning(tree: nodes.Template, kind: Kind) -> list[Found]:
    """Everything in the text that has no meaning for this kind of subject."""
    return [
        *_forbidden(tree),
        *_loops(tree, 0),
        *_names(tree, kind),
        *_uses(tree),
        *_open_links(tree),
    ]


def _forbidden(tree: nodes.Node) -> Iterator[Found]:
    for node in tree.find_all(nodes.Node):
        if isinstance(node, nodes.Call):
            yield _called(node)
        elif not isinstance(node, (*_ALLOWED, nodes.Pair)):
            name = type(node).__name__.lower()
            message = _WORDS.get(type(node), f"{name} is not part of these texts")
            yield Found(node.lineno, "", message)


def _called(call: nodes.Call) -> Found:
    """A call: most are filters, written as in other languages."""
    made = call.node
    if isinstance(made, nodes.Getattr):
        name, value = made.attr, _base(made.node) or "…"
    else:
        first = call.args[0] if call.args else None
        name, value = _base(made) or "", (_base(first) if first else None) or "country"
    word = name if name in FILTERS else next(iter(get_close_matches(name, FILTERS, 1)), None)
    example = f": {value} | {word}" if word else ""
    return Found(call.lineno, name, f"nothing is called with ( ) here; use a filter{example}")


def _loops(node: nodes.Node, depth: int) -> Iterator[Found]:
    for child in node.iter_child_nodes():
        inside = depth
        if isinstance(child, nodes.For):
            inside += 1
            if inside > _DEEPEST_LOOP:
                yield Found(child.lineno, "for", "at most two loops within each other")
            if child.recursive:
                yield Found(child.lineno, "recursive", "recursive is not part of these texts")
            if not isinstance(child.target, nodes.Name):
                yield Found(child.lineno, "for", "a loop has one name, such as for tag in tags")
            if _base(child.iter) is None and not isinstance(child.iter, nodes.Call):
                message = "a loop goes over one of the names that are lists"
                yield Found(child.lineno, "for", message)
        elif isinstance(child, nodes.Name) and child.name == "loop" and not depth:
            yield Found(child.lineno, "loop", "loop has a meaning between for and endfor alone")
        yield from _loops(child, inside)


def _base(node: Any) -> str | None:
    """The name that an expression starts from: `saw` in `saw | unique`."""
    while isinstance(node, nodes.Filter | nodes.Getattr | nodes.Getitem) and node.node:
        node = node.node
    return node.name if isinstance(node, nodes.Name) else None


def _names(tree: nodes.Template, kind: Kind) -> Iterator[Found]:
    names = known(kind)
    items = {
        loop.target.name: _parts(_base(loop.iter), kind)
        for loop in tree.find_all(nodes.For)
        if isinstance(loop.target, nodes.Name)
    }
    called = [id(call.node) for call in tree.find_all(nodes.Call)]
    bare = {id(value) for value in _values(tree)}
    dotted = {id(node.node): node.attr for node in tree.find_all(nodes.Getattr)}
    strange: set[str] = set()
    for name in tree.find_all(nodes.Name):
        if name.name not in names and name.name not in items and name.name != "loop":
            strange.add(name.name)
            if name.ctx == "load" and id(name) not in called:
                whole = f"{name.name}_{dotted.get(id(name))}"
                hint = _hint(whole if whole in names else name.name, names, NAMES[kind])
                if id(name) in bare and not hint.startswith("; did"):
                    hint = f"; a text wants quotes: '{name.name}'"
                yield Found(name.lineno, name.name, f"unknown name {name.name}{hint}")
    for node, parent, part in _parts_used(tree):
        allowed = items.get(parent, _LOOP if parent == "loop" else _own_parts(parent, kind))
        missing = part.startswith("_") or (allowed is not None and part not in allowed)
        if missing and parent not in strange and id(node) not in called:
            hint = _hint(part, allowed or (), allowed or ())
            yield Found(node.lineno, part, f"{parent} has no part {part}{hint}")


def _values(tree: nodes.Template) -> Iterator[nodes.Node]:
    """What a name is compared with, and what filters are given: often texts without quotes."""
    for operand in tree.find_all(nodes.Operand):
        yield operand.expr
    for used in tree.find_all((nodes.Filter, nodes.Test)):
        yield from used.args


def _hint(word: str, names: Collection[str], few: Collection[str]) -> str:
    near = get_close_matches(word, names, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(few)}" if 0 < len(few) <= _FEW else ""


def _uses(tree: nodes.Template) -> Iterator[Found]:
    """Filters and tests that there are not, and values that a filter can't take."""
    for used in tree.find_all(nodes.Filter):
        if used.name not in FILTERS:
            near = get_close_matches(used.name, FILTERS, n=1) or [", ".join(FILTERS)]
            message = f"unknown filter {used.name}; there is {near[0]}"
            yield Found(used.lineno, used.name, message)
        elif said := _arguments(used):
            yield Found(used.lineno, used.name, said)
    for test in tree.find_all(nodes.Test):
        wanted = 1 if test.name in ("divisibleby", "in") else 0
        if test.name not in TESTS:
            message = f"there is no test is {test.name}; there is {', '.join(TESTS)}"
            if test.name in FILTERS or test.name in ("empty", "equalto"):
                message = f"there is no test is {test.name}; compare with =="
            yield Found(test.lineno, test.name, message)
        elif len(test.args) != wanted:
            message = f"is {test.name} takes {'one value' if wanted else 'no value'}"
            yield Found(test.lineno, test.name, message)


def _arguments(used: nodes.Filter) -> str:
    """What is wrong with the values in a filter's brackets, empty where nothing is."""
    if used.kwargs or used.dyn_args or used.dyn_kwargs:
        return f"the values of {used.name} have no names; write {used.name}(…)"
    wanted = _ARGUMENTS.get(used.name)
    if len(used.args) > (wanted is not None):
        return f"{used.name} takes {'no' if wanted is None else 'one'} value in ( )"
    for value in used.args:
        given = value.value if isinstance(value, nodes.Const) else None
        if wanted in _KINDS and given is not None and type(given) is not wanted:
            return f"{used.name} takes {_KINDS[wanted]}"
    return ""


def _parts_used(tree: nodes.Template) -> Iterator[tuple[nodes.Node, str, str]]:
    for node in tree.find_all(nodes.Getattr):
        yield node, _base(node.node) or "this", node.attr
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.arg, nodes.Const) and isinstance(item.arg.value, str):
            yield item, _base(item.node) or "this", item.arg.value


def _parts(name: str | None, kind: Kind) -> tuple[str, ...]:
    spec = NAMES[kind].get(name or "")
    return tuple(spec.parts) if spec else ()


def _own_parts(name: str, kind: Kind) -> tuple[str, ...] | None:
    """The parts that may follow the name itself; None where any may (variables)."""
    return None if name == "variables" else _parts(name, kind)


def _open_links(tree: nodes.Template) -> Iterator[Found]:
    """Between < and > only our own addresses may stand: else a visitor could write a link."""
    opened: str | None = None
    for output in tree.find_all(nodes.Output):
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                opened = _opened(opened, node.data)
            elif opened is not None and "|" not in opened:
                name = node.name if isinstance(node, nodes.Name) else ""
                if opened or name not in IN_LINKS:
                    names = " or ".join(f"<{{{{ {link} }}}}|label>" for link in IN_LINKS)
                    message = f"no value may stand between < and >, but {names}"
                    yield Found(node.lineno, name, message)
                opened += "…"


def _opened(before: str | None, data: str) -> str | None:
    """What stands since a `<` that is still open, None if none is."""
    text = ("" if before is None else "<" + before) + data
    start = text.rfind("<")
    after = text[start + 1 :]
    return None if start < 0 or ">" in after or after[:1].isspace() else after
