"""What is wrong with a rule author's text: found when the rules load, each with its place."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError

from bot.ports import Addresses
from bot.subjects import Kind
from bot.wording.samples import SAMPLES
from bot.wording.templates import ENVIRONMENT, BadText, render
from bot.wording.text_meaning import meaning
from bot.wording.text_syntax import pairs, slips

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
