"""A Slack message as a person reads it, for terminals."""

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def as_text(text: str, blocks: Iterable[Mapping[str, Any]]) -> str:
    """A Slack message as a person reads it; `text` where it has no blocks."""
    lines = [line for block in blocks for line in _block(block)]
    return "\n".join(lines) or _read(text)


def _block(block: Mapping[str, Any]) -> Iterator[str]:
    if block.get("text"):
        bold = block.get("type") == "header"
        text = _read(str(block["text"].get("text", "")))
        yield text.upper() if bold else text
    for field in block.get("fields", ()):
        label, _, value = _read(str(field.get("text", ""))).partition("\n")
        yield f"{label}: {value}" if value else label
    elements = block.get("elements", ())
    if block.get("type") == "actions":
        for button in elements:
            yield f"[{_read(button['text']['text'])}] {button.get('url', '')}".rstrip()
    elif elements:
        yield " · ".join(_read(str(element.get("text", ""))) for element in elements)


_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]+)>")
_BARE_LINK = re.compile(r"<(https?://[^|>]+)>")
_BOLD = re.compile(r"(?<!\w)\*([^*\n]+)\*(?!\w)")


def _read(mrkdwn: str) -> str:
    """Slack's mark-up as plain text."""
    text = _LINK.sub(r"\2 (\1)", mrkdwn)
    text = _BARE_LINK.sub(r"\1", text)
    return html.unescape(_BOLD.sub(r"\1", text)).replace("\u2060", "")
