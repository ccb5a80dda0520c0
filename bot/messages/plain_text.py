"""A message as plain text, for mail and other places whose markup the bot does not know.

Some of these places read Markdown, some HTML, some turn what looks like an address into a link
and `@name` into a ping. So what may come from a visitor is broken where it could do any of these.
"""

import re
from collections.abc import Mapping

from bot.messages.blocks import WHY_IT_MATCHED
from bot.messages.message import CRITICAL, ENDED, HEADLINE, WARNING, Line, Message, Part, grey, rest
from bot.messages.text import EDGE, MARKS, VALUE_LIMIT, clean, cut
from bot.ports import PlainMessage, Tone

LONGEST = 3000
_TONES: Mapping[str, Tone] = {WARNING: "warning", CRITICAL: "failure", ENDED: "success"}
_LOOKALIKES = MARKS | str.maketrans({"<": "‹", ">": "›"})
# After `@`, `:` of an address, `](` of a link, and the dot of a host name.
_LIVE = re.compile(r"@|:(?=//)|\](?=\()|(?<=[^\W_])\.(?=[^\W\d_])")
_JOINER = "\u2060"
"""A character without width at which no line breaks."""


def harmless(value: object, limit: int = VALUE_LIMIT) -> str:
    """The value so that it can't ping, link or format; it looks the same."""
    text = EDGE.sub("ˍ", clean(value, limit).translate(_LOOKALIKES))
    return _LIVE.sub(lambda found: found[0] + _JOINER, text)


def letter(message: Message) -> PlainMessage:
    """The message with a title; links stand behind what they lead to."""
    head = " · ".join(harmless(part) for part in (message.headline, message.place) if part)
    body = [message.own] if message.own else [_line(line) for line in message.why]
    items = [f"• {_line(item)}" for item in message.items]
    whys = ((WHY_IT_MATCHED, message.reason),) if message.reason else ()
    lines = (
        *body,
        _line(message.visit),
        *map(_line, message.also),
        *items,
        rest(message),
        *(f"{label}: {url}" for label, url in (*message.links, *whys) if url),
        " · ".join(_line(line) for line in grey(message)),
    )
    return PlainMessage(
        title=cut(f"{message.icon} {head}".strip() or "–", HEADLINE),
        body=cut("\n".join(line for line in lines if line), LONGEST),
        tone=_TONES.get(message.icon, "info"),
    )


def _line(line: Line) -> str:
    return "".join(map(_part, line))


def _part(part: Part) -> str:
    before, after = " " * (part.text[:1] == " "), " " * (part.text[-1:] == " ")
    text = harmless(part.text)
    return f"{before}{text} ({part.url}){after}" if part.url else f"{before}{text}{after}"
