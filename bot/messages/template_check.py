"""What is wrong with a rule author's text: found when the rules load, each with its place."""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError

from bot.domain.subjects import Kind
from bot.fields.catalogue import text_fields
from bot.messages.samples import SAMPLES
from bot.messages.template_variables import known
from bot.messages.templates import ENVIRONMENT, FILTERS, TESTS, BadText, render
from bot.ports import Addresses

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
                hint = _hint(whole if whole in names else name.name, names, text_fields(kind))
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
    field = text_fields(kind).get(name or "")
    return tuple(part.text_name for part in field.parts) if field else ()


def _own_parts(name: str, kind: Kind) -> tuple[str, ...] | None:
    """The parts that may follow the name itself; None where any may (variables)."""
    field = text_fields(kind).get(name)
    return None if field and field.type == "variables" else _parts(name, kind)


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


_OPEN = re.compile(r"\{\{|\{%|\{#")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*-?%\}")
_RAW_END = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_TOKEN = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?%\}|-?\}\}|\{\{|\{%|[][(){}'"]""", re.DOTALL
)
_CLOSES = {"{{": "}}", "{%": "%}", "(": ")", "[": "]", "{": "}"}
_WORD = re.compile(r"\s*[-+]?\s*(\w*)")
_LOOP_HEAD = re.compile(r"\s*(\w+(?:\s*,\s*\w+)*)\s+in\s+(.*)", re.DOTALL)
_TAGS = ("if", "elif", "else", "endif", "for", "endfor")
_JINJA = frozenset({
    "autoescape", "block", "call", "do", "extends", "filter", "from", "import", "include",
    "macro", "raw", "set", "trans", "with",
})  # fmt: skip
"""Words that Jinja2 has and these texts have not."""
_ELSE_IF = frozenset({"elseif", "elsif", "else_if"})

Slip = tuple[int, str]
"""The offset in the text, and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Braces:
    """What stands between one pair of braces: `kind` is `{{` or `{%`, `start` its offset."""

    kind: str
    start: int
    body: str
    inside: int

    @property
    def end(self) -> int:
        """The offset behind the body."""
        return self.inside + len(self.body)


def pairs(text: str) -> tuple[list[Braces], list[Slip]]:
    """Every complete pair of braces, and what is wrong with the others."""
    found: list[Braces] = []
    slips: list[Slip] = []
    at = 0
    while opening := _OPEN.search(text, at):
        start, kind = opening.start(), opening[0]
        raw = _RAW.match(text, start)
        if kind == "{#" or raw:
            closing = _RAW_END.search(text, start) if raw else re.search(r"#\}", text[start:])
            if closing is None:
                wanted = "{% endraw %}" if raw else "#}"
                slips.append((start, f"{raw[0] if raw else kind} is not closed; write {wanted}"))
                break
            at = closing.end() if raw else start + closing.end()
            continue
        end, at, own = _inside(text, opening.end(), kind)
        slips += own
        if not own:
            found.append(Braces(kind, start, text[opening.end() : end], opening.end()))
    return found, slips


def _inside(text: str, begin: int, kind: str) -> tuple[int, int, list[Slip]]:
    """Where the body ends, where to go on, and what is wrong on the way."""
    wanted = _CLOSES[kind]
    opened: list[int] = []
    at = begin
    while token := _TOKEN.search(text, at):
        mark, start, at = token[0], token.start(), token.end()
        closer = mark.lstrip("-+")
        if closer == wanted and not opened:
            return start, at, []
        if mark in ("'", '"'):
            close = text.find(wanted, start)
            end = close + 2 if close >= 0 else len(text)
            return end, end, [(start, f"the {mark} that opens here is not closed")]
        if closer == "}}" and opened and text[opened[-1]] == "{":
            at = start + len(mark) - 1
            opened.pop()
        elif closer in ("}}", "%}"):
            if opened:
                return start, at, [(opened[-1], f"the {text[opened[-1]]} is not closed")]
            return start, at, [(start, f"what begins with {kind} ends with {wanted}")]
        elif mark in ("{{", "{%"):
            if outer := _around(text, start, wanted):
                nested = "braces inside braces; a name stands there without them"
                return start, outer, [(start, nested)]
            return start, start, [(begin - 2, f"this {kind} is not closed; write {wanted}")]
        elif mark in "([{":
            opened.append(start)
        elif mark in ")]}" and (not opened or _CLOSES[text[opened[-1]]] != mark):
            end = text.find(wanted, start)
            end = end + 2 if end >= 0 else at
            said = f"this {mark} closes nothing"
            if mark == "}" and not opened:
                said = f"one }} is not enough; write {wanted}"
            return start, end, [(start, said)]
        elif mark in ")]}":
            opened.pop()
    return len(text), len(text), [(begin - 2, f"this {kind} is not closed; write {wanted}")]


def _around(text: str, inner: int, wanted: str) -> int:
    """Where outer braces end that are closed behind inner ones; 0 where they are not."""
    close = text.find("}}", inner)
    outer = text.find(wanted, close + 2)
    fresh = _OPEN.search(text, close + 2) if close >= 0 else None
    return 0 if close < 0 or outer < 0 or (fresh and fresh.start() < outer) else outer + 2


Parses = Callable[[str], bool]
"""Whether an expression can be read."""


def slips(text: str, parses: Parses) -> list[Slip]:
    """Everything wrong with the braces and what stands between them, in order."""
    found, wrong = pairs(text)
    tags = _Tags(parses)
    for braces in found:
        if braces.kind == "{{":
            wrong += _expression(braces.body, braces.inside, braces.start, parses)
        else:
            wrong += tags.look(braces)
    # A tag that can't be read may be the one that the others miss.
    unread = text.count("{%") > sum(braces.kind == "{%" for braces in found)
    if not tags.strange and not unread:
        wrong += tags.structure
        wrong += ((at, f"this {word} wants its {{% end{word} %}}") for word, at in tags.opened)
    return sorted(set(wrong))


class _Tags:
    """The `{% … %}` of a text in their order, and how they are nested."""

    def __init__(self, parses: Parses) -> None:
        self._parses = parses
        self.opened: list[tuple[str, int]] = []
        self.structure: list[Slip] = []
        self.strange: set[str] = set()

    def look(self, braces: Braces) -> Iterator[Slip]:
        """What is wrong within the braces; what is wrong between them is kept for later."""
        found = _WORD.match(braces.body)
        word = found[1] if found else ""
        rest = braces.body[found.end() if found else 0 :]
        at = braces.end - len(rest)
        start = at - len(word)
        rest = rest.rstrip().removesuffix("-").removesuffix("+")
        if word not in _TAGS:
            yield from self._strange(word, rest, start)
        elif word in ("if", "for"):
            self.opened.append((word, start))
            look = _condition if word == "if" else _loop
            yield from look(rest, at, self._parses)
        elif word == "else" and rest.split()[:1] == ["if"]:
            yield start, "write elif"
        elif word == "else" and rest.strip():
            yield start, "else stands alone; with a condition write elif"
        elif word == "elif":
            yield from _condition(rest, at, self._parses)
        self.structure += self._nested(word, start)

    def _strange(self, word: str, rest: str, start: int) -> Iterator[Slip]:
        again = word.removeprefix("end") in self.strange
        self.strange.add(word)
        known = get_close_matches(word.lower(), _TAGS, 1, 0.6)
        if word == "print":
            yield start, f"write {{{{{rest} }}}}"
        elif word in _ELSE_IF:
            yield start, "write elif"
        elif not word:
            yield start, "a word is missing here: if or for; a value stands in {{ }}"
        elif word == "end" or (word.startswith("end") and self.opened and not again):
            inner = f"write end{self.opened[-1][0]}" if self.opened else "nothing is open here"
            yield start, inner
        elif not again:
            known = [] if word in _JINJA else known
            hint = f"did you mean {known[0]}?" if known else "there is if and for"
            yield start, f"{word} is not part of these texts; {hint}"

    def _nested(self, word: str, start: int) -> Iterator[Slip]:
        inner = self.opened[-1][0] if self.opened else ""
        if word in ("endif", "endfor") and inner:
            self.opened.pop()
            if word != f"end{inner}":
                yield start, f"{{% end{inner} %}} is expected first"
        elif word in ("elif", "else", "endif", "endfor") and not inner:
            needs = "for" if word == "endfor" else "if"
            yield start, f"there is no {{% {needs} … %}} before this {word}"
        elif word == "elif" and inner == "for":
            yield start, "elif belongs to an if; this is inside a for"


def _condition(body: str, at: int, parses: Parses) -> Iterator[Slip]:
    if not body.strip():
        yield at, "the condition is missing, such as {% if country == 'de' %}"
        return
    then = re.search(r"(?P<at>\bthen|:)\s*$", body)
    if then:
        yield at + then.start("at"), f"leave out {then['at']}"
        return
    yield from _expression(body, at, at, parses)


def _loop(body: str, at: int, parses: Parses) -> Iterator[Slip]:
    found = _LOOP_HEAD.match(body)
    if found is None:
        yield at, "write for and in, such as {% for tag in tags %}"
        return
    over = re.sub(r"\s+recursive\s*$", "", found[2])
    if over.rstrip().endswith(":"):
        yield at + found.start(2) + len(over.rstrip()) - 1, "leave out :"
        return
    yield from _expression(over, at + found.start(2), at + found.start(2), parses)


def _expression(body: str, at: int, start: int, parses: Parses) -> Iterator[Slip]:
    body = body.removesuffix("-").removesuffix("+")
    if body.startswith(("-", "+")):
        body, at = body[1:], at + 1
    if not body.strip():
        yield start, "there is nothing between the braces; write a name, such as {{ country }}"
        return
    if parses(body):
        return
    if "\\" in body and parses(body.replace("\\", "")):
        yield at + body.index("\\"), "a \\ in quotes begins an escape; write \\\\ for one"
        return
    bare = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", lambda text: "'" * len(text[0]), body)
    for pattern, words in _SLIPS:
        if found := pattern.search(bare):
            yield at + found.start("at"), found.expand(words)
            return
    said = "this can't be read; write a name, or a name | filter"
    yield at + len(body) - len(body.lstrip()), said


_OPERATORS = r"==|!=|<=|>=|//|\*\*|[-+*/~<>%|,.]|\b(?:and|or|not|in|is|if|else)\b"
_SLIPS = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (r"(?P<at>&&?)", "write and"),
        (r"(?P<at>\|\|)", "write or; a filter has one |"),
        (r"(?P<at>!==|<>)", "write !="),
        (r"(?P<at>===)", "write =="),
        (r"(?P<at>!)(?!=)", "write not"),
        (r"(?P<at>\?\?)", "write | default('…')"),
        (r"(?P<at>\?)\s*\S", "write {{ 'a' if … else 'b' }}"),
        (r"(?P<at>[$@#])\w", "a name stands alone, without \\g<at>"),
        (r"(?P<at>[^\w\s'\"()\[\]{}<>=!|~.,:+*/%-])", "\\g<at> can't stand here"),
        (r"(?P<at>\|\s*)$", "the filter's name is missing behind |"),
        (r"(?<![=!<>])(?P<at>=)(?!=)", "one = compares nothing; write =="),
        (r"\|\s*\w+\s*(?P<at>:)", "a filter takes its values in ( ), such as default('…')"),
        (r"\|\s*\w+\s+(?P<at>['\"\d])", "a filter takes its values in ( ), such as default('…')"),
        (rf"(?P<at>{_OPERATORS})\s*$", "something is missing behind \\g<at>"),
        (rf"^\s*(?P<at>(?!not\b|[-+])(?:{_OPERATORS}))", "something is missing before \\g<at>"),
        (r"\[\s*(?P<at>\])", "which one? write [0] for the first"),
        (r"(?P<at>\.)\s*(?!\w)", "a part's name is missing behind the point"),
        (r"[\w')\]]\s+(?!(?:and|or|not|in|is|if|else)\b)(?P<at>\w+|'+)",
         "two values side by side; give each braces of its own"),
        (r"[\w')\]]\s+(?P<at>not)\s*$", "not stands before a condition"),
    )
)  # fmt: skip


LONGEST = 3000
_TRIED = Addresses(share_url="https://example.com/{token}")


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
        if wrong := slips(text, _parses):
            wrong += _beside(text, kind)
            return [_fault(text, offset, message) for offset, message in sorted(wrong)]
        tree = ENVIRONMENT.parse(text)
    except TemplateSyntaxError as error:
        said = "what stands between the braces in this line can't be read"
        return [TextFault(error.lineno, 1, said)]
    except RecursionError:
        return [TextFault(1, 1, "the text is nested too deeply")]
    faults = {
        TextFault(found.line, _column(text, found.line, found.word), found.message)
        for found in meaning(tree, kind)
    }
    return sorted(faults, key=lambda f: (f.line, f.column, f.message)) or _trial(text, kind)


def first_use(text: str, names: Collection[str]) -> tuple[int, int]:
    """Line and column of the first of these names in a text that can be read."""
    used = ENVIRONMENT.parse(text).find_all(nodes.Name)
    line, word = min((name.lineno, name.name) for name in used if name.name in names)
    return line, _column(text, line, word)


def _parses(expression: str) -> bool:
    try:
        ENVIRONMENT.parse("{{" + expression + "}}")
    except TemplateSyntaxError:
        return False
    return True


def _beside(text: str, kind: Kind) -> Iterator[tuple[int, str]]:
    """What has no meaning in the braces that can be read, where no loop gives names of its own."""
    found = [it for it in pairs(text)[0] if it.kind == "{{" and _parses(it.body)]
    for braces in found if not re.search(r"\{%[-+]?\s*for\b", text) else ():
        for unknown in meaning(ENVIRONMENT.parse("{{" + braces.body + "}}"), kind):
            yield braces.inside + max(braces.body.find(unknown.word), 0), unknown.message


def _fault(text: str, offset: int, message: str) -> TextFault:
    column = offset - text.rfind("\n", 0, offset)
    return TextFault(text.count("\n", 0, offset) + 1, column, message)


def _column(text: str, line: int, word: str) -> int:
    """Where the word stands between braces in that line; without a word, the braces."""
    begin = 0
    for _ in range(line - 1):
        begin = text.find("\n", begin) + 1
    end = text.find("\n", begin) if "\n" in text[begin:] else len(text)
    spot = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
    for braces in pairs(text)[0]:
        if braces.end < begin or braces.start > end:
            continue
        if not word:
            return max(braces.start - begin, 0) + 1
        found = spot.search(text, max(braces.inside, begin), min(braces.end, end))
        if found:
            return found.start() - begin + 1
    return 1


def _trial(text: str, kind: Kind) -> list[TextFault]:
    """The text tried on a made-up subject that has everything."""
    said = _tried(text, kind)
    if not said:
        return []
    for braces in pairs(text)[0]:
        if braces.kind == "{{" and (alone := _tried("{{" + braces.body + "}}", kind)):
            return [_fault(text, braces.start, alone)]
    return [TextFault(1, 1, said)]


def _tried(text: str, kind: Kind) -> str:
    try:
        render(text, SAMPLES[kind], _TRIED)
    except BadText as wrong:
        return str(wrong)
    return ""
