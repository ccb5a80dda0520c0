"""What is wrong with a rule author's text: found when the rules load, each with its place."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError

from bot.ports import Addresses
from bot.subjects import Kind
from bot.wording.names import NAMES, known
from bot.wording.samples import SAMPLES
from bot.wording.templates import ENVIRONMENT, FILTERS, BadText, render

LONGEST = 3000
IN_LINKS = ("url", "share_url")
"""The names that may stand between < and > in a text: addresses made by ourselves."""

_LOOP = ("index", "index0", "first", "last", "length")
_DEEPEST_LOOP = 2

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
_WORDS = {
    nodes.Call: "calls such as range() are not part of these texts; use a filter",
    nodes.Assign: "set is not part of these texts",
    nodes.AssignBlock: "set is not part of these texts",
    nodes.Pow: "** is not part of these texts",
    nodes.Mod: "% is not part of these texts",
    nodes.Macro: "macros are not part of these texts",
    nodes.Include: "a text can't include another",
    nodes.Import: "a text can't import another",
    nodes.Extends: "a text can't extend another",
}


@dataclass(frozen=True, slots=True)
class TextFault:
    """What is wrong in a text, and where: both count from 1."""

    line: int
    column: int
    message: str


def check_text(text: str, kind: Kind) -> list[TextFault]:
    """Everything wrong with a text for this kind of subject; empty if it can be used."""
    if len(text) > LONGEST:
        return [TextFault(1, 1, f"a text has at most {LONGEST} characters, not {len(text)}")]
    if not text.strip():
        return [TextFault(1, 1, "the text is empty; leave it out to get the bot's own message")]
    try:
        tree = ENVIRONMENT.parse(text)
    except TemplateSyntaxError as wrong:
        return [TextFault(wrong.lineno, 1, wrong.message or "the text can't be read")]
    except RecursionError:
        return [TextFault(1, 1, "the text is nested too deeply")]
    found = [*_forbidden(tree), *_loops(tree, 0), *_unknown(tree, kind), *_open_links(tree)]
    faults = [TextFault(line, _column(text, line, word), message) for line, word, message in found]
    return sorted(set(faults), key=lambda f: (f.line, f.column)) or _trial(text, kind)


Found = tuple[int, str, str]  # line, the word to point at, message


def _column(text: str, line: int, word: str) -> int:
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", here) if word else None
    return found.start() + 1 if found else 1


def first_use(text: str, names: Collection[str]) -> tuple[int, int]:
    """Line and column of the first of these names in a text that can be read."""
    used = ENVIRONMENT.parse(text).find_all(nodes.Name)
    first = min((name.lineno, name.name) for name in used if name.name in names)
    return first[0], _column(text, *first)


def _forbidden(tree: nodes.Node) -> Iterator[Found]:
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            name = type(node).__name__.lower()
            yield node.lineno, "", _WORDS.get(type(node), f"{name} is not part of these texts")


def _loops(node: nodes.Node, depth: int) -> Iterator[Found]:
    for child in node.iter_child_nodes():
        inside = depth
        if isinstance(child, nodes.For):
            inside += 1
            if inside > _DEEPEST_LOOP:
                yield child.lineno, "for", "at most two loops within each other"
            if child.recursive:
                yield child.lineno, "recursive", "recursive is not part of these texts"
            if _base(child.iter) is None:
                yield child.lineno, "for", "a loop goes over one of the names that are lists"
        yield from _loops(child, inside)


def _base(node: nodes.Node) -> str | None:
    """The name that an expression starts from: `saw` in `saw | unique`."""
    while isinstance(node, nodes.Filter | nodes.Getattr | nodes.Getitem) and node.node:
        node = node.node
    return node.name if isinstance(node, nodes.Name) else None


def _unknown(tree: nodes.Template, kind: Kind) -> Iterator[Found]:
    names = known(kind)
    items = {
        loop.target.name: _parts(_base(loop.iter), kind)
        for loop in tree.find_all(nodes.For)
        if isinstance(loop.target, nodes.Name)
    }
    for name in tree.find_all(nodes.Name):
        if name.name not in names and name.name not in items and name.name != "loop":
            near = get_close_matches(name.name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield name.lineno, name.name, f"unknown name {name.name}{hint}"
    for used in tree.find_all(nodes.Filter):
        if used.name not in FILTERS:
            near = get_close_matches(used.name, FILTERS, n=1) or [", ".join(FILTERS)]
            yield used.lineno, used.name, f"unknown filter {used.name}; there is {near[0]}"
    for parent, part, line in _parts_used(tree):
        allowed = items.get(parent, _LOOP if parent == "loop" else _own_parts(parent, kind))
        if part.startswith("_") or (allowed is not None and part not in allowed):
            near = get_close_matches(part, allowed or (), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield line, part, f"{parent} has no part {part}{hint}"


def _parts_used(tree: nodes.Template) -> Iterator[tuple[str, str, int]]:
    for node in tree.find_all(nodes.Getattr):
        yield _base(node.node) or "this", node.attr, node.lineno
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.arg, nodes.Const) and isinstance(item.arg.value, str):
            yield _base(item.node) or "this", item.arg.value, item.lineno


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
                    yield node.lineno, name, f"no value may stand between < and >, but {names}"
                opened += "…"


def _opened(before: str | None, data: str) -> str | None:
    """What stands since a `<` that is still open, None if none is."""
    text = ("" if before is None else "<" + before) + data
    start = text.rfind("<")
    after = text[start + 1 :]
    return None if start < 0 or ">" in after or after[:1].isspace() else after


def _trial(text: str, kind: Kind) -> list[TextFault]:
    """The text tried on a made-up subject that has everything."""
    try:
        render(text, SAMPLES[kind], Addresses(share_url="https://example.com/{token}"))
    except BadText as wrong:
        return [TextFault(1, 1, str(wrong))]
    return []
