"""The braces of a rule author's text: what stands between them, and what is wrong with it.

Jinja2 tells the first error of a text, by its line and in its own words. Here each pair of
braces is looked at by itself, so that every slip has its place and says what to write.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

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
