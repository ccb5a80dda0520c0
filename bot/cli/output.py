"""Print values: as lines for people, or as one JSON document for programs."""

import html
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from bot.domain.step import StepStatus
from bot.logs import neutral, scrubber

if TYPE_CHECKING:
    from bot.store.dead_letters import DeadGroup

T = TypeVar("T")

WIDEST = 400
"""Most characters of one value on a line: a visitor's text may be a megabyte."""

_PAUSE = 0.05
"""Seconds between two batches, so that the daemon can write."""


def line(text: str = "") -> None:
    """Print one line; text from visitors cannot move the cursor or start another line."""
    print(neutral(scrubber.text(text), WIDEST * 4))


def table(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> None:
    """Print rows in columns as wide as their widest cell; the last column is not padded."""
    cells = [[neutral(scrubber.text(cell), WIDEST) for cell in row] for row in rows]
    if not cells:
        return
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        print((indent + "  ".join([*padded, row[-1]])).rstrip())


def document(value: Any) -> None:
    """Print the value as JSON: times in ISO 8601, durations in seconds, secrets redacted."""
    print(json.dumps(_json_value(value), indent=2, ensure_ascii=True))


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        return scrubber.text(value)
    if isinstance(value, Mapping):
        return {str(key): _json_value(each) for key, each in value.items()}
    if isinstance(value, Iterable):
        return [_json_value(each) for each in value]
    return value


def moment(at: datetime | None) -> str:
    """`2026-11-24 12:00:05Z` or `never`."""
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def ago(at: datetime | None, now: datetime) -> str:
    """`3m ago`, `in 2h` or `never`, in the largest unit."""
    if at is None:
        return "never"
    distance = span(abs(now - at))
    return f"{distance} ago" if at <= now else f"in {distance}"


def span(length: timedelta) -> str:
    """`45s`, `12m`, `3h`, `4d`."""
    seconds = int(length.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def counted(number: int, one: str, many: str = "") -> str:
    """`1 rule`, `12 rules`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def in_batches(batch: Callable[[], T]) -> Iterator[T]:
    """What each batch returns, until one is falsy; the daemon can write in between."""
    while done := batch():
        yield done
        time.sleep(_PAUSE)


def step_status(status: StepStatus) -> str:
    """The status of an action, as people read it."""
    match status:
        case StepStatus.PENDING:
            return "waiting"
        case StepStatus.SENDING:
            return "running"
        case StepStatus.DONE:
            return "done"
        case StepStatus.DEAD:
            return "failed"
        case StepStatus.FOLDED:
            return "in a digest"
        case StepStatus.WITHHELD:
            return "not sent"
        case _:
            assert_never(status)


def as_text(text: str, blocks: Iterable[Mapping[str, Any]]) -> str:
    """A Slack message as plain text; `text` is used if it has no blocks."""
    lines = [line for block in blocks for line in _block(block)]
    return "\n".join(lines) or _plain_mrkdwn(text)


def _block(block: Mapping[str, Any]) -> Iterator[str]:
    if block.get("text"):
        bold = block.get("type") == "header"
        text = _plain_mrkdwn(str(block["text"].get("text", "")))
        yield text.upper() if bold else text
    for field in block.get("fields", ()):
        label, _, value = _plain_mrkdwn(str(field.get("text", ""))).partition("\n")
        yield f"{label}: {value}" if value else label
    elements = block.get("elements", ())
    if block.get("type") == "actions":
        for button in elements:
            yield f"[{_plain_mrkdwn(button['text']['text'])}] {button.get('url', '')}".rstrip()
    elif elements:
        yield " · ".join(_plain_mrkdwn(str(element.get("text", ""))) for element in elements)


_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]+)>")
_BARE_LINK = re.compile(r"<(https?://[^|>]+)>")
_BOLD = re.compile(r"(?<!\w)\*([^*\n]+)\*(?!\w)")


def _plain_mrkdwn(mrkdwn: str) -> str:
    """Slack's mrkdwn as plain text."""
    text = _LINK.sub(r"\2 (\1)", mrkdwn)
    text = _BARE_LINK.sub(r"\1", text)
    return html.unescape(_BOLD.sub(r"\1", text)).replace("\u2060", "")


def show(groups: "Iterable[DeadGroup]", now: datetime, *, remedies: bool = False) -> None:
    """Print a line per cause: how many, rule and action, from when to when, and why."""
    table(
        (f"{group.count} ×", group.rule, group.action, _when(group, now), _why(group, remedies))
        for group in groups
    )


def _when(group: "DeadGroup", now: datetime) -> str:
    last = ago(group.last, now)
    return f"{ago(group.first, now)} to {last}" if group.count > 1 else last


def _why(group: "DeadGroup", remedies: bool) -> str:
    return f"{group.reason}; {group.remedy}" if remedies and group.remedy else group.reason
