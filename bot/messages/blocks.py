"""Slack's Block Kit, as far as the bot uses it, within Slack's limits.

Limits: 50 blocks, 3000 characters a text, 150 a header, 2000 a field, 10 fields and context
elements, 75 a button's text, 3000 its address. Texts are `verbatim`, so Slack makes no
link or mention of what only looks like one.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bot.domain.subjects import RecordingSubject, Subject
from bot.messages.text import clean, cut_mrkdwn, size
from bot.ports import Addresses

Block = Mapping[str, Any]

TEXT, HEADER, FIELD, BUTTON, ADDRESS = 3000, 150, 2000, 75, 3000
MOST_BLOCKS, MOST_FIELDS, MOST_ELEMENTS = 50, 10, 10


def text(mrkdwn: str, limit: int = TEXT) -> Block:
    """A mrkdwn text object; `mrkdwn` is already escaped."""
    return {"type": "mrkdwn", "text": cut_mrkdwn(mrkdwn, limit) or " ", "verbatim": True}


def header(title: str) -> Block:
    """A header: plain text without formatting or links."""
    words = clean(title, HEADER) or "–"
    return {"type": "header", "text": {"type": "plain_text", "text": words, "emoji": True}}


def section(mrkdwn: str) -> Block:
    """A paragraph."""
    return {"type": "section", "text": text(mrkdwn)}


def table(rows: Sequence[tuple[str, str]]) -> Block:
    """Labels (the bot's) with values (mrkdwn) in two columns; ten at most."""
    fields = [text(f"*{label}*\n{value}", FIELD) for label, value in rows[:MOST_FIELDS]]
    return {"type": "section", "fields": fields}


def context(*lines: str) -> Block:
    """Small print; each line is mrkdwn."""
    return {"type": "context", "elements": [text(line) for line in lines[:MOST_ELEMENTS]]}


def buttons(links: Sequence[tuple[str, str]]) -> tuple[Block, ...]:
    """A row of buttons (label, URL), without those whose URL Slack would reject."""
    fit = [(label, url) for label, url in links if url and size(url) <= ADDRESS]
    elements = [
        {
            "type": "button",
            "text": {"type": "plain_text", "text": label[:BUTTON], "emoji": False},
            "url": url,
            "action_id": f"link-{place}",
        }
        for place, (label, url) in enumerate(fit, 1)
    ]
    return ({"type": "actions", "elements": elements},) if elements else ()


LONGEST = 2000
"""No real id makes a longer URL, and Slack rejects a message with one."""


def playback(subject: Subject, addresses: Addresses) -> str | None:
    """The URL of the playback (needs a login), None for other subjects than recordings.

    The path is that of `playbackUrl` (the API document, L769).
    """
    if not isinstance(subject, RecordingSubject):
        return None
    website, recording = _encoded(subject.website.id), _encoded(subject.recording.id)
    url = f"{addresses.app_url.rstrip('/')}/websites/{website}/recordings/{recording}/play"
    return url if len(url) <= LONGEST else None


def public(token: str | None, addresses: Addresses) -> str | None:
    """The public URL of a shared recording; None without a token or a configured share_url.

    Mouseflow documents no URL for a token, so it comes from the configuration.
    """
    if not token or not addresses.share_url:
        return None
    url = addresses.share_url.replace("{token}", _encoded(token))
    return url if len(url) <= LONGEST else None


def _encoded(part: str) -> str:
    return quote(part, safe="", errors="replace")
