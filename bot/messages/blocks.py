"""Slack's Block Kit, as far as the bot uses it, within Slack's limits.

Limits: 50 blocks, 3000 characters a text, 10 context elements, 75 a button's text, 3000 its
address. Texts are `verbatim`, so Slack makes no link or mention of what only looks like one.
"""

import re
from collections.abc import Mapping
from typing import Any

from bot.domain.press import Button
from bot.messages.message import ENDED, Line, Message, Part, grey, rest
from bot.messages.presses import LABELS, SHORT
from bot.messages.text import cut_mrkdwn, mrkdwn, size, without_emoji

Block = Mapping[str, Any]

TEXT, BUTTON, ADDRESS = 3000, 75, 3000
NOTIFICATION = 150
"""Characters of the text of a notification: more is not shown on a lock screen."""


def blocks(message: Message, key: str = "") -> tuple[Block, ...]:
    """The message's blocks: headline and why, visit, other rules, items, people, buttons, grey
    line. `key` names the message in the values of its buttons.
    """
    body = message.own or "\n".join((_headline(message), *_why(message)))
    listed = [f"• {_line(item)}" for item in message.items]
    left = rest(message)
    items = "\n".join((*listed, *((f"_{left}_",) if left else ())))
    end = grey(message)
    return (
        _section(body),
        *((_context(_line(message.visit)),) if message.visit else ()),
        *((_section("\n".join(map(_line, message.also))),) if message.also else ()),
        *((_section(items),) if items else ()),
        *((_context(_people(message)),) if message.people else ()),
        *_buttons(message, key),
        *((_context(" · ".join(map(_line, end))),) if end else ()),
    )


def notification(message: Message) -> str:
    """What a notification and old clients show, as mrkdwn without formatting or links."""
    if message.own:
        return cut_mrkdwn(message.own, TEXT)
    first = "".join(part.text for part in message.why[0]) if message.why else ""
    rest_of_it = map(without_emoji, (message.place, first))
    told = (f"{message.icon} {message.headline}".strip(), *rest_of_it)
    return mrkdwn(" · ".join(part for part in told if part), NOTIFICATION, emoji=True)


def _headline(message: Message) -> str:
    title = mrkdwn(message.headline, emoji=True) or "–"
    linked = _link(message.url, title) if message.url else title
    place = f" · {mrkdwn(message.place)}" if message.place else ""
    return f"{message.icon} *{linked}*{place}".lstrip()


def _why(message: Message) -> list[str]:
    """The lines below the headline; of a visit why and how long are one."""
    lines = [_line(line) for line in message.why]
    return [" ".join(lines[:2]), *lines[2:]] if message.visit else lines


def _line(line: Line) -> str:
    return "".join(map(_part, line))


def _part(part: Part) -> str:
    text = mrkdwn(part.text)
    if not text:
        return ""
    # Escaping drops the spaces around a piece, which hold it apart from the next.
    before = " " * (part.text[:1] == " ")
    after = " " * (part.text[-1:] == " ")
    if part.at is not None:
        form = "{time}" if part.text[2:3] == ":" else _WITH_DAY
        return f"{before}<!date^{int(part.at.timestamp())}^{form}|{text}>{after}"
    if _USER.fullmatch(part.user):
        return f"{before}<@{part.user}>{after}"
    if part.url:
        text = _link(part.url, text)
    return f"{before}*{text}*{after}" if part.bold else f"{before}{text}{after}"


_USER = re.compile(r"[UW][A-Z0-9]{1,20}")


def _people(message: Message) -> str:
    others = f"and {message.others} before" if message.others else ""
    return "\n".join((*map(_line, message.people), others)).rstrip()


def _link(url: str, label: str) -> str:
    """The label as a link; a `|` in it would begin another label."""
    return f"<{url.replace('&', '&amp;')}|{label.replace('|', '¦')}>"


WHY_IT_MATCHED = "Why it matched"
MOST_BUTTONS = 2
"""How many buttons fit beside a menu on a phone."""

_WITH_DAY = "{date_short_pretty} {time}"


def _text(mrkdwn: str) -> Block:
    return {"type": "mrkdwn", "text": cut_mrkdwn(mrkdwn, TEXT) or " ", "verbatim": True}


def _section(mrkdwn: str) -> Block:
    return {"type": "section", "text": _text(mrkdwn)}


def _context(mrkdwn: str) -> Block:
    return {"type": "context", "elements": [_text(mrkdwn)]}


def _buttons(message: Message, key: str) -> tuple[Block, ...]:
    """A row of links, without those whose URL Slack would reject, the first to be pressed; then
    the buttons whose presses come to the bot, and their menu.
    """
    fit = [(label, url) for label, url in message.links if url and size(url) <= ADDRESS]
    elements: list[Block] = [
        {
            **_button(label, "open" if place == 0 else f"open_{place}"),
            "url": url,
            **({"style": "primary"} if place == 0 and _needs_action(message) else {}),
        }
        for place, (label, url) in enumerate(fit)
    ]
    whys = []
    if message.reason:
        why = {"text": _plain_text(WHY_IT_MATCHED), "url": message.reason}
        if message.menu and key:
            whys.append({**why, "value": f"why:{key}"})
        elif len(elements) < MOST_BUTTONS:
            elements.append({**_button(WHY_IT_MATCHED, "why"), "url": message.reason})
    if not key:
        return ({"type": "actions", "elements": elements},) if elements else ()
    elements += [
        {
            **_button(message.label or SHORT.get(each, LABELS[each]), each),
            "value": f"{each}:{key}",
            **_asked_first(each),
        }
        for each in message.buttons
    ]
    if message.menu:
        options = [
            {"text": _plain_text(LABELS[each]), "value": f"{each}:{key}"} for each in message.menu
        ]
        elements.append({"type": "overflow", "action_id": "more", "options": [*options, *whys]})
    named = {"block_id": f"do.{key}.{message.edits}"} if message.buttons or message.menu else {}
    return ({"type": "actions", **named, "elements": elements},) if elements else ()


def _needs_action(message: Message) -> bool:
    """Whether somebody should follow the link: it lasts, and nobody has acknowledged it."""
    return message.icon != ENDED and "unack" not in message.buttons and not message.calm


def _asked_first(button: Button) -> Block:
    """What Slack asks before it sends the press, where a press may begin a flood."""
    if button != "resume":
        return {}
    text = "It may reach its limit again. Then it is paused again, and this channel told."
    return {
        "confirm": {
            "title": _plain_text("Run it again?"),
            "text": _text(text),
            "confirm": _plain_text(LABELS["resume"]),
            "deny": _plain_text("Leave paused"),
        }
    }


def _button(label: str, action: str) -> Block:
    return {"type": "button", "text": _plain_text(label), "action_id": action}


def _plain_text(text: str) -> Block:
    return {"type": "plain_text", "text": text[:BUTTON], "emoji": False}
