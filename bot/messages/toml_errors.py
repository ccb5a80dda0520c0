"""What is wrong in a TOML text, in plain words: for rule files and for the configuration.

tomllib stops at the first character that it can't read and says so in a parser's words. Here the
statement around that spot is looked at again, for the slips that people make. Values are never
repeated, since one of them may be a password.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_PATIENCE = 2_000_000
"""How many characters are parsed again to find where a statement begins."""
_KEY_LENGTH = 200

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NAME = r"""(?:[\w.-]|"[^"\n]*"|'[^'\n]*')+"""
_KEY = re.compile(rf"({_NAME})[ \t]*=[ \t]*$")
_STATEMENT = re.compile(rf"[ \t]*(\[|{_NAME}[ \t]*=)")
_TOKENS = re.compile(
    r"""\#[^\n]*|\"""(?:[^"\\]|\\.|"(?!""))*\"""|'''(?:[^']|'(?!''))*'''"""
    r"""|\"""|'''|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[][{}]|["']""",
    re.DOTALL,
)
_QUOTES = ('"', "'", '"""', "'''")
_PAIRS = {"]": "[", "}": "{"}


@dataclass(frozen=True)
class _Spot:
    """Where tomllib stopped, and what stands around it."""

    text: str
    problem: str
    offset: int

    @property
    def rest(self) -> str:
        """The line from the spot on."""
        return self.text[self.offset :].partition("\n")[0]

    @cached_property
    def line(self) -> int:
        """The offset at which the line begins."""
        return self.text.rfind("\n", 0, self.offset) + 1

    @cached_property
    def start(self) -> int:
        """The offset at which the statement begins."""
        begin, patience = self.line, _PATIENCE
        while not _is_toml(self.text[:begin]):
            patience -= begin
            if patience < 0:
                return self.line
            begin = self.text.rfind("\n", 0, begin - 1) + 1
        return begin

    @cached_property
    def key(self) -> str:
        """The key that the value here belongs to, empty where that is not plain."""
        begin = max(self.start, self.token - _KEY_LENGTH)
        found = _KEY.search(self.text[begin : self.token])
        return found[1] if found else ""

    @cached_property
    def token(self) -> int:
        """The offset at which the word begins that the spot is in or behind."""
        before = self.text[self.line : self.offset]
        return self.line + max(before.rfind(mark) for mark in " \t,=[{") + 1

    def opened(self) -> list[int]:
        """The offsets of brackets, or of a quote, that are open at the spot."""
        found: list[int] = []
        for token in _TOKENS.finditer(self.text, self.start, self.offset):
            mark = token[0]
            if mark in ("[", "{"):
                found.append(token.start())
            elif mark in _QUOTES:
                return [*found, token.start()]
            elif mark in _PAIRS and found and self.text[found[-1]] == _PAIRS[mark]:
                found.pop()
        return found


Said = tuple[int, str] | None
"""The offset to point at and what to say there."""


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


def toml_fault(text: str, error: ValueError) -> tuple[int, int, str]:
    """Line and column, from 1, and what is wrong there: for tomllib's error about that text."""
    problem = str(error)
    found = _WHERE.search(problem)
    offset = len(text.rstrip("\n"))
    if found and found[1]:
        rows = text.split("\n")
        offset = sum(len(row) + 1 for row in rows[: int(found[1]) - 1]) + int(found[2]) - 1
    spot = _Spot(text, problem[: found.start()] if found else problem, offset)
    at, said = next(_found(spot))
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at), said


def _found(spot: _Spot) -> Iterator[tuple[int, str]]:
    for beginning, look in _LOOKS:
        if spot.problem.startswith(beginning):
            said = look(spot)
            if said:
                yield said
    yield spot.offset, "this can't be read as TOML; write key = value, with texts in quotes"


def _unclosed(spot: _Spot) -> Said:
    """A bracket from an earlier line, where the next statement has begun."""
    opened = [at for at in spot.opened() if at < spot.line]
    fresh = _STATEMENT.match(spot.text, spot.line) or spot.offset >= len(spot.text.rstrip("\n"))
    if not opened or not fresh:
        return None
    return opened[-1], f"the {spot.text[opened[-1]]} that opens here is not closed"


def _value(spot: _Spot) -> Said:
    rest = spot.text[spot.token :].partition("\n")[0]
    word = re.split(r"[\s,\]}#]", rest)[0]
    for pattern, words in _VALUES:
        if pattern.match(rest):
            return spot.token, words
    if word:
        name = f"{spot.key} = " if spot.key else ""
        return spot.token, f'a text wants quotes: {name}"…"'
    return None


_VALUES = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\s*$|#\s|#$", "there is no value behind the ="),
        (r"#\S", "# begins a comment here; quote a text that starts with #"),
        (r"(?i:true)\b", "write true, in small letters and without quotes"),
        (r"(?i:false)\b", "write false, in small letters and without quotes"),
        (r"(?i:yes|no|on|off)\s*([,\]}#]|$)", "write true or false; a text wants quotes"),
        (r"(?i:null|none|nil)\b|~\s*$", "TOML has no word for nothing; leave the key out"),
        (r"[“”„‘’‚«»]", "these are typographic quotes; write plain ones: \" or '"),
        (r"=", "one = is enough"),
        (r"\(", "a list stands in [ ]"),
        (r",", "a value is missing before this comma"),
        (r"[-+]?\.\d", "write a digit before the point, such as 0.5"),
        (r"[-+]?\d+\.(\D|$)", "write a digit after the point, such as 5.0"),
        (r"\d{1,3}(,\d{3})+\b", "write the number without commas"),
        (r"0\d+\s*([,\]}#]|$)", "a number has no 0 in front; a text wants quotes"),
        (r"""[^"'\s]+["']\s*([,\]}#]|$)""", "the first quote of this text is missing"),
    )
)


def _more(spot: _Spot) -> Said:
    """Something behind a value that was read."""
    before = spot.text[spot.offset - 1 : spot.offset]
    after = spot.rest.lstrip()
    if spot.text[spot.line : spot.offset].lstrip().startswith("["):
        return spot.offset, "behind a [table] only a comment may stand"
    if before in "\"'" and after == spot.rest and re.match(r"[^\s,;]", after):
        return spot.offset, "a quote ends the text here; put a text with quotes into '…'"
    if re.match(r"[,;]\s*(#|$)", after):
        return spot.offset, "a line ends without a comma or a semicolon"
    if before in "\"']}" or "=" in after:
        return spot.offset, "one key and value per line"
    begin = re.match(rf"[ \t]*({_NAME})[ \t]*=[ \t]*", spot.text[spot.line : spot.offset])
    if begin and before == " ":
        return spot.line + begin.end(), f'a text wants quotes: {begin[1]} = "…"'
    return _value(spot)


def _list(spot: _Spot) -> Said:
    if (before := spot.text[spot.offset - 1 : spot.offset]) in "\"'" and re.match(r"\w", spot.rest):
        return spot.offset, "a quote ends the text here; is one missing or too many?"
    if before.isalnum() and re.match(r"[^\s,\]}]", spot.rest):
        return _value(spot)
    opened = spot.opened()
    if not spot.rest and spot.problem.startswith("Unclosed inline") and opened:
        return opened[-1], "the { that opens here is not closed; such a table stands on one line"
    if spot.rest.startswith((";", ":")):
        return spot.offset, "a comma separates the values"
    return spot.offset, "a comma is missing before this"


def _equals(spot: _Spot) -> Said:
    name = re.search(r"[\w-]+$", spot.text[spot.line : spot.offset].rstrip())
    key = name[0] if name else "key"
    rest = spot.rest.lstrip()
    if re.match(r"\s*- ", spot.text[spot.line :]):
        return spot.line, 'a list stands in [ ], such as key = ["a", "b"]'
    if rest.startswith(":"):
        return spot.offset, f"TOML wants = and not a colon: {key} = …"
    if rest[:1] in ("'", '"', "[", "{") or re.match(r"(\d|true\b|false\b)", rest):
        return spot.offset, f"the = between the key and its value is missing: {key} = …"
    if spot.rest and not _BARE.match(spot.rest) and not spot.rest[0].isspace():
        return spot.offset, f'a key with {spot.rest[0]} in it wants quotes: "…" = …'
    if re.match(r"[\w ]+=", rest):
        return spot.offset, 'a key with spaces in it wants quotes: "…" = …'
    return spot.offset, "a key wants = and a value after it"


def _key_part(spot: _Spot) -> Said:
    if not spot.rest:
        return spot.offset, "a table in { } stands on one line; use [a.table] for more"
    if spot.rest.startswith("}"):
        return spot.offset, "no comma may stand before the }"
    if spot.rest.startswith("]"):
        return spot.offset, "a table's name ends with a point here; leave it out"
    return spot.offset, "a key is expected here"


def _header(spot: _Spot) -> Said:
    marks = "]]" if spot.problem.startswith("Expected ']]'") else "]"
    if spot.rest.lstrip() and not spot.rest.lstrip().startswith(("]", "#")):
        return spot.offset, "a table's name is made of words and points; quote any other part"
    return spot.offset, f"a {marks.replace(']', '[')}table{marks} wants its {marks}"


def _twice(spot: _Spot) -> Said:
    start = spot.start
    statement = re.compile(rf"\s*(\[*[ \t]*({_NAME}))").match(spot.text, start)
    if statement is None:
        return start, "what stands here is given a second time"
    begin, header, name = statement.start(1), "[" in statement[1], statement[2]
    # A key is looked for in its own table alone.
    above = 0 if header else max(spot.text.rfind("\n[", 0, start), 0)
    mark = r"\[+[ \t]*" if header else ""
    line = re.compile(rf"^[ \t]*{mark}{re.escape(name)}[ \t]*[]=]", re.MULTILINE)
    first = line.search(spot.text, above, start)
    if first is None:
        return begin, f"{name} is given a second time; a value of it stands above already"
    number = spot.text.count("\n", 0, first.start()) + 1
    what = "this table" if header else name
    return begin, f"{what} stands twice; it stands on line {number} already"


def _twice_inline(spot: _Spot) -> Said:
    name = re.search(r"'([\w-]+)'$", spot.problem)
    if name is None:
        return spot.offset, "a key stands twice in this table"
    found = re.finditer(rf"\b{re.escape(name[1])}[ \t]*[=.]", spot.text[: spot.offset])
    at = max((match.start() for match in found), default=spot.offset)
    return at, f"{name[1]} stands twice in this table"


def _quote(spot: _Spot) -> Said:
    opened = spot.opened() or [spot.offset]
    quote = re.match(r"""\"""|'''|["']|""", spot.text[opened[-1] :])
    return opened[-1], f"the {quote[0] if quote else 'quote'} that opens here is not closed"


def _statement(spot: _Spot) -> Said:
    if spot.rest.startswith(("//", ";", "/*", "--", "<!")):
        return spot.offset, "a comment begins with #"
    if spot.rest.startswith("="):
        return spot.offset, "the key before this = is missing"
    return spot.offset, "a key or a [table] is expected here"


_ESCAPE = "in \"…\" a \\ begins an escape; put the text into '…', or write \\\\"
_LOOKS: tuple[tuple[str, Callable[[_Spot], Said]], ...] = (
    ("Cannot ", _twice),
    ("Duplicate inline table key", _twice_inline),
    ("Illegal character '\\n'", _quote),
    ("Found invalid character '\\n'", _quote),
    ("Unterminated string", _quote),
    ("Expected \"'", _quote),
    ("Illegal character", lambda spot: (spot.offset, "an invisible character stands here")),
    ("Found invalid character", lambda spot: (spot.offset, "an invisible character stands here")),
    ("Unescaped", lambda spot: (spot.offset, _ESCAPE)),
    ("Invalid hex value", lambda spot: (spot.offset, _ESCAPE)),
    ("Expected '='", _equals),
    ("Expected ']'", _header),
    ("Expected ']]'", _header),
    ("", _unclosed),
    ("Invalid value", _value),
    ("Invalid date", _value),
    ("Expected newline", _more),
    ("Unclosed", _list),
    ("Invalid initial character", _key_part),
    ("Invalid statement", _statement),
)
