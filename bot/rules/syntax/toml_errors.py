"""What is wrong in a TOML text, for rule files and for the configuration.

tomllib says where it stopped and why. This module adds what to write for the mistakes that people
make most. No message repeats a value, since it may be a password.
"""

import re

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_NAME = r"""(?:[\w.-]|"[^"\n]*"|'[^'\n]*')+"""
_KEY = re.compile(rf"({_NAME})[ \t]*=[ \t]*$")
_STATEMENT = re.compile(rf"[ \t]*(\[|{_NAME}[ \t]*=)")
_VALUE_START = re.compile(r"[=,[{][ \t]*(?=[^\s=,[{\"'][^=,[{\"']*$)")
_TOKENS = re.compile(
    r"""\#[^\n]*|\"""(?:[^"\\]|\\.|"(?!""))*\"""|'''(?:[^']|'(?!''))*'''"""
    r"""|\"""|'''|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[][{}]|["']""",
    re.DOTALL,
)
_OPENS = {"]": "[", "}": "{"}
_QUOTES = ('"', "'", '"""', "'''")
_UNCLOSED_QUOTE = ("Illegal character '\\n'", "Unterminated string", "Expected \"'")
_SWITCH = re.compile(r"(?i:true|false|yes|no|on|off)\s*([,\]}#]|$)")
_ESCAPE = "\\ starts an escape in \"…\"; put the text in '…', or write \\\\"


def toml_error(text: str, error: ValueError) -> tuple[int, int, str]:
    """Line and column, from 1, and what to do there, for tomllib's error about that text."""
    problem = str(error)
    place = _PLACE.search(problem)
    offset = len(text.rstrip("\n"))
    if place and place[1]:
        rows = text.split("\n")
        offset = sum(len(row) + 1 for row in rows[: int(place[1]) - 1]) + int(place[2]) - 1
    problem = problem[: place.start()] if place else problem
    offset, message = _mistake(text, problem, offset)
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset), message


def _mistake(text: str, problem: str, offset: int) -> tuple[int, str]:
    """The offset to point at, and the message."""
    start = text.rfind("\n", 0, offset) + 1
    rest = text[offset:].partition("\n")[0].strip()
    if problem.startswith("Cannot "):
        return _defined_twice(text, start)
    if problem.startswith(("Unescaped", "Invalid hex")):
        return offset, _ESCAPE
    opened = _opened(text, offset)
    if opened and problem.startswith(_UNCLOSED_QUOTE):
        quote = next(mark for mark in reversed(_QUOTES) if text.startswith(mark, opened[-1]))
        return opened[-1], f"the {quote} opened here is not closed"
    if opened and problem.startswith("Unclosed inline") and not rest:
        return opened[-1], _unclosed("{")
    above = [at for at in opened if at < start]
    if above and (not rest or _STATEMENT.match(text, start)):
        return above[-1], _unclosed(text[above[-1]])
    if problem.startswith("Expected '='"):
        return _no_equals_sign(text, start, offset, rest)
    if problem.startswith("Invalid initial character") and not rest:
        return offset, _unclosed("{")
    if problem.startswith(("Invalid value", "Expected newline", "Unclosed")):
        return _value(text, problem, start, offset)
    return offset, f"invalid TOML: {problem[:1].lower()}{problem[1:]}"


def _opened(text: str, end: int) -> list[int]:
    """The offsets of the brackets, and of a quote, that are open at `end`."""
    found: list[int] = []
    for token in _TOKENS.finditer(text, 0, end):
        mark = token[0]
        if mark in _QUOTES:
            return [*found, token.start()]
        if mark in ("[", "{"):
            found.append(token.start())
        elif mark in _OPENS and found and text[found[-1]] == _OPENS[mark]:
            found.pop()
    return found


def _unclosed(bracket: str) -> str:
    more = " on its line; for more lines use a [table]" if bracket == "{" else ""
    return f"the {bracket} opened here is not closed{more}"


def _defined_twice(text: str, start: int) -> tuple[int, str]:
    """A second key or table of one name, with the line of the first where it is written alike."""
    statement = re.compile(rf"[ \t]*(\[*[ \t]*{_NAME})").match(text, start)
    if statement is None:
        return start, "this key or table is already defined"
    written = statement[1]
    above = 0 if written.startswith("[") else text.rfind("\n[", 0, start) + 1
    same = re.compile(rf"^[ \t]*{re.escape(written)}[ \t]*[]=]", re.MULTILINE)
    first = same.search(text, above, start)
    line = f" on line {text.count(chr(10), 0, first.start()) + 1}" if first else ""
    return statement.start(1), f"{written.lstrip('[ ')} is already defined{line}"


def _no_equals_sign(text: str, start: int, offset: int, rest: str) -> tuple[int, str]:
    name = re.search(r"\w[\w-]*$", text[start:offset].rstrip())
    key = name[0] if name else "key"
    if rest.startswith(":"):
        return offset, f"TOML uses = instead of a colon: {key} = …"
    if rest and re.match(r"[^\s\w'\"[{]|[^\W\d_a-zA-Z]", text[offset:]):
        return offset, f'a key with {rest[0]} in it needs quotes: "…" = …'
    return offset, f"expected = after the key: {key} = …"


def _value(text: str, problem: str, start: int, offset: int) -> tuple[int, str]:
    """A value that tomllib cannot read, or something after one."""
    before = _VALUE_START.search(text, start, offset)
    header = text[start:offset].lstrip().startswith("[")
    if problem.startswith("Expected newline"):
        if before is None or header:
            return offset, "write one key and value per line"
        offset = before.end()
    elif problem.startswith("Unclosed"):
        if before is None or text[offset - 1].isspace():
            return offset, "a comma is missing here"
        offset = before.end()
    value = text[offset:].partition("\n")[0].strip()
    if not value:
        return offset, "the value is missing after ="
    if value.startswith("#"):
        return offset, "# starts a comment; put text that starts with # in quotes"
    if value[0] in ",]}=":
        return offset, f"a value is missing before this {value[0]}"
    if _SWITCH.match(value):
        return offset, "write true or false, in lower case; text needs quotes"
    key = _KEY.search(text, max(start, offset - 200), offset)
    return offset, f'text needs quotes: {key[1]} = "…"' if key else 'text needs quotes: "…"'
