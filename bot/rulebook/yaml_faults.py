"""What is wrong in a YAML text, in plain words: the slip behind each of the parser's errors."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.rulebook.spans import Unreadable, place

Spot = tuple[int, int]
"""Line and column, from 1."""

_COMMENT = re.compile(r"(?m)^[^#\n]*[{\[][^#\n\]}]*[:,\[{] +(?P<mark>#)")
"""A comment that begins inside brackets, where a text was meant."""
_UNCLOSED = re.compile(r"expected ',' or '([]}])', but got .*")
_OPENING = {"]": "[", "}": "{"}
_INDENTATION = "the indentation does not fit the lines above"
_COMMENT_HERE = "# begins a comment here; quote a text that starts with #"
_ESCAPE = "in \"…\" a \\ begins an escape; put the text into '…'"
_TAG = "! begins a tag here; quote the text"
_ALIAS = "& and * begin an alias here; quote the text"
_LONG_TEXT = "| and > begin a long text on the lines below; quote this one"


@dataclass(frozen=True)
class _Error:
    """The parser's error: where it stopped, and where what it was reading began."""

    text: str
    problem: str
    spot: Spot
    began: Spot | None

    def row(self, line: int) -> str:
        """A line of the text, empty where there is none."""
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


def yaml_fault(text: str, problem: str, spot: Spot, began: Spot | None) -> Unreadable:
    """The error in words that say what to mend, where that is."""
    error = _Error(text, problem, spot, began)
    here = error.row(spot[0])
    indent = here[: len(here) - len(here.lstrip())]
    if "\t" in indent:
        return Unreadable(spot[0], indent.index("\t") + 1, "a tab cannot indent; use spaces")
    if "<stream end>" in problem and (comment := _COMMENT.search(text)):
        where = place(text, comment.start("mark"))
        return Unreadable(*where, _COMMENT_HERE)
    for pattern, explain in _PROBLEMS:
        if pattern.match(problem):
            (line, column), words = explain(error)
            return Unreadable(line, column, words)
    return Unreadable(*spot, "this can't be read as YAML; is a text to be quoted?")


Said = tuple[Spot, str]


def _colon(error: _Error) -> Said:
    """A colon where the line, or the one before, has its value already."""
    line, _ = error.spot
    if re.match(r"\s*(- +)?[\w.*%-]+:\s+\S", error.before):
        return error.spot, 'a text with ": " in it wants quotes'
    above = next((n for n in range(line - 1, 0, -1) if error.row(n).strip()), 0)
    row = error.row(above).partition(" #")[0].rstrip()
    if above and not re.search(r":(\s|$)", row):
        return _no_colon(replace(error, began=(above, _indent(row) + 1)))
    if above and not row.endswith(":") and _indent(error.row(line)) > _indent(row):
        return (line, _indent(error.row(line)) + 1), (
            f"this line stands too deep: line {above} has its value already"
        )
    return error.spot, "a colon where none can stand; a text with a colon in it wants quotes"


def _no_colon(error: _Error) -> Said:
    line, column = error.began or error.spot
    begun = error.row(line)[column - 1 :]
    if found := re.match(r"([\w-]+:)[^\s:/]", begun):
        return (line, column + found.end(1)), "a space is missing behind the colon"
    return (line, column), "a key without its colon"


def _indent(row: str) -> int:
    return len(row) - len(row.lstrip())


def _begins(error: _Error) -> Said:
    return error.spot, f"text cannot begin with {error.after[:1]}; quote it"


def _behind(error: _Error) -> Said:
    if not error.before.strip():
        return error.spot, _INDENTATION
    quote = error.before.rstrip()[-1:]
    if error.before.endswith("'"):
        return error.spot, "a quote ends the text here; write '' for a ' inside a text in quotes"
    if quote == '"':
        return error.spot, "a quote ends the text here; put the whole text into '…'"
    return error.spot, "this stands behind a value that is complete; quote the whole"


def _not_closed(error: _Error) -> Said:
    found = _UNCLOSED.match(error.problem)
    opened = _OPENING[found[1]] if found else "[ or a {"
    line, column = error.began or error.spot
    if comment := re.search(r"[:,\[{] +(#)", error.row(line)[column - 1 :]):
        return (line, column + comment.start(1)), _COMMENT_HERE
    return (line, column), f"a {opened} is not closed"


def _closes_nothing(error: _Error) -> Said:
    return error.spot, f"a {error.after[:1]} that closes nothing; quote the text"


def _same(words: str, *, at_start: bool = False) -> Callable[[_Error], Said]:
    return lambda error: ((at_start and error.began) or error.spot, words)


_PROBLEMS: tuple[tuple[re.Pattern[str], Callable[[_Error], Said]], ...] = tuple(
    (re.compile(pattern), explain)
    for pattern, explain in (
        (r"found character '[@`%*&]' that cannot start any token", _begins),
        (r"found character .* that cannot start", _same("this cannot begin a text; quote it")),
        (r"mapping values are not allowed here", _colon),
        (r"could not find expected ':'", _no_colon),
        (r"expected <block end>, but found '<(block|scalar)", _behind),
        (r"expected <block end>, but found '[]}]'", _closes_nothing),
        (r"expected the node content, but found '[]}]'", _closes_nothing),
        (r"expected <block end>, but found", _same(_INDENTATION)),
        (r"found unexpected end of stream", _same("a quote is not closed", at_start=True)),
        (r"expected the node content", _same("a [ or a { is not closed", at_start=True)),
        (r"expected ',' or", _not_closed),
        (r"found unexpected ':'", _same("a text with a colon in it wants quotes")),
        (r"sequence entries are not allowed here", _same("a list begins on a line of its own")),
        (r"mapping keys are not allowed here", _same("text cannot begin with ?; quote it")),
        (r"found unknown escape|expected escape sequence", _same(_ESCAPE)),
        (r"found undefined tag|could not determine|expected URI|expected ' '", _same(_TAG)),
        (r"expected alphabetic|did not find expected", _same(_ALIAS, at_start=True)),
        (r"expected chomping|expected indentation|expected a comment", _same(_LONG_TEXT)),
    )
)
