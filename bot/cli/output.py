"""Print values: as lines for people, or as one JSON document for programs.

Colours and wrapping are for terminals alone (`NO_COLOR` turns colours off): what goes into a pipe
has one line for each.
"""

import html
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from bot.domain.accounts import commands_of
from bot.domain.step import StepStatus
from bot.logs import neutral, presentable, scrubber, width, wrapped
from bot.messages.text import instant

if TYPE_CHECKING:
    from rich.text import Text

    from bot.store.dead_letters import DeadGroup

T = TypeVar("T")

WIDEST = 400
"""Most characters of one value on a line: a visitor's text may be a megabyte."""
NARROWEST = 24
"""Fewest columns in which the text of a last column may wrap."""

BUSY_AFTER = 1.0
"""Seconds after which a command shows that it works."""

_account = ContextVar("account", default="")

_PAUSE = 0.05
"""Seconds between two batches, so that the daemon can write."""


def about(account: str) -> None:
    """Set the account that suggested commands name; empty: there are not several."""
    _account.set(account)


def named(text: str) -> str:
    """The text with `--account NAME` in the commands that it suggests."""
    return commands_of(_account.get(), text)


def line(text: str = "", start: str = "") -> None:
    """Print `start` and the text on one line; text from visitors cannot start another line.

    On a terminal a long line wraps at words, and its other lines begin as it does: indented alike,
    with `start` again.
    """
    safe = neutral(scrubber.text(named(text)), WIDEST * 4)
    indent = len(safe) - len(safe.lstrip(" "))
    _print(start + safe, start + " " * indent)


def table(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> None:
    """Print rows in columns as wide as their widest cell; the last column is not padded.

    On a terminal the last column wraps at words; rows that leave it no room wrap as a whole.
    """
    cells = [[neutral(scrubber.text(named(cell)), WIDEST) for cell in row] for row in rows]
    if not cells:
        return
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    before = len(indent) + sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = width(sys.stdout) - before if sys.stdout.isatty() else widths[-1]
    for row in cells:
        if room < min(widths[-1], NARROWEST):
            _print(indent + "  ".join(filter(None, row)), indent + "    ")
        else:
            padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
            _print((indent + "  ".join([*padded, row[-1]])).rstrip(), " " * before)


def error(text: str, start: str = "") -> None:
    """Print the text on standard error: each of its lines behind `start`, wrapped as in `line`."""
    for each in presentable(named(text)).split("\n"):
        hanging = start + " " * (len(each) - len(each.lstrip(" ")))
        whole = start + each
        lines = wrapped(whole, hanging, sys.stderr) if sys.stderr.isatty() else [whole]
        print("\n".join(lines), file=sys.stderr)


def _print(text: str, hanging: str) -> None:
    """Print the text; on a terminal coloured and wrapped, all lines but the first indented."""
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.console import Console

    console = Console(highlight=False, width=width(sys.stdout))
    for each in wrapped(text, hanging, sys.stdout):
        console.print(_coloured(each), soft_wrap=True)


@contextmanager
def busy(what: str, *, after: float = BUSY_AFTER) -> Iterator[None]:
    """Show on a terminal that the command works, from so many seconds on; nothing stays there."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    status = Console(stderr=True).status(what)
    timer = threading.Timer(after, status.start)
    timer.daemon = True
    if after:
        timer.start()
    else:
        status.start()
    try:
        yield
    finally:
        timer.cancel()
        if timer.ident:
            timer.join()
        status.stop()


_COLOURS = {
    "green": r"✓|^ok\b|\bdone\b",
    "red": r"✗|^error\b|\bfailed\b|\bfailing\b|(?<!\b0 )\bdead letters?\b",
    "yellow": r"^warning\b|\bpaused\b|\bsnoozed\b",
    "cyan": r"https?://\S+",
}


def _coloured(text: str) -> "Text":
    """The text with the words in colour that a reader looks for."""
    from rich.text import Text

    shown = Text(text)
    for colour, words in _COLOURS.items():
        shown.highlight_regex(words, colour)
    return shown


_STORED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)\Z")
"""A time as the audit log's details hold it."""

JSON_VERSION = 1
"""The version of all JSON output: raised when a key goes or changes its meaning, not when one
comes."""


def document(value: Mapping[str, Any], names: Mapping[str, str] = MappingProxyType({})) -> None:
    """Print the value as JSON, with its version; docs/reference/json.md describes each.

    `names` has the names of websites by id.
    """
    plain = as_plain(value, names)
    print(json.dumps({"version": JSON_VERSION} | plain, indent=2, ensure_ascii=True))


def as_plain(
    value: Mapping[str, Any], names: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """The value as `document` prints it.

    Times are in ISO 8601 with `Z`, durations in seconds, secrets redacted. A website under
    `website` or `websites`, written as id or name, becomes `{"id": …, "name": …}`; `names` has the
    names by id.
    """
    from msgspec import Struct, structs

    ids = {name: key for key, name in names.items()}

    def website(text: str) -> Mapping[str, str] | None:
        key = text if text in names else ids.get(text, text)
        return {"id": key, "name": names.get(key, text)} if text else None

    def plain(value: Any, key: str = "") -> Any:
        if isinstance(value, datetime):
            return iso(value)
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, str):
            if key in ("website", "websites"):
                return plain(website(value))
            return (
                iso(datetime.fromisoformat(value)) if _STORED.match(value) else scrubber.text(value)
            )
        if isinstance(value, Mapping):
            return {str(name): plain(each, str(name)) for name, each in value.items()}
        if isinstance(value, Struct):
            return plain(structs.asdict(value))
        if is_dataclass(value) and not isinstance(value, type):
            return plain(asdict(value))
        if isinstance(value, Iterable):
            return [plain(each, key) for each in value]
        return value

    return dict(plain(value))


def iso(at: datetime) -> str:
    """`2026-11-24T12:00:05.120Z`, for programs."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(at: datetime | None) -> str:
    """`2026-11-24 12:00:05Z` or `never`; the same instant whatever zone `at` has."""
    return "never" if at is None else instant(at)


def ago(at: datetime | None, now: datetime) -> str:
    """`3m ago`, `in 2h` or `never`, in the largest unit."""
    if at is None:
        return "never"
    distance = span(abs(now - at))
    # What happened just now may be a fraction of a second after `now` was read.
    return f"in {distance}" if at - now >= timedelta(seconds=1) else f"{distance} ago"


def span(length: timedelta) -> str:
    """`45s`, `12m`, `3h`, `4d`."""
    seconds = int(length.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def in_batches(batch: Callable[[], T]) -> Iterator[T]:
    """What each batch returns, until one is falsy; the daemon can write in between."""
    while done := batch():
        yield done
        time.sleep(_PAUSE)


def step_status(status: StepStatus, *, dry: bool = False) -> str:
    """The status of an action, as people read it; `dry`: of one that was not performed."""
    match status:
        case StepStatus.PENDING:
            return "would wait" if dry else "waiting"
        case StepStatus.SENDING:
            return "would be running" if dry else "running"
        case StepStatus.DONE:
            return "would run" if dry else "done"
        case StepStatus.DEAD:
            return "would fail" if dry else "failed"
        case StepStatus.FOLDED:
            return "would go into a digest" if dry else "in a digest"
        case StepStatus.WITHHELD:
            return "would not be sent" if dry else "not sent"
        case _:
            assert_never(status)


def as_text(text: str, blocks: Iterable[Mapping[str, Any]]) -> str:
    """A Slack message as plain text; `text` is used if it has no blocks.

    A link that a button repeats is shown at the button alone.
    """
    shown = list(blocks)
    buttons = {
        each.get("url", "")
        for block in shown
        if block.get("type") == "actions"
        for each in block.get("elements", ())
    }
    lines = [_without(buttons, line) for block in shown for line in _block(block)]
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


def _without(addresses: Iterable[str], line: str) -> str:
    for address in addresses:
        line = line.replace(f" ({address})", "")
    return line


_DATE = re.compile(r"<!date\^[0-9]+\^[^|>]*\|([^>]*)>")
_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]+)>")
_BARE_LINK = re.compile(r"<(https?://[^|>]+)>")
_BOLD = re.compile(r"(?<!\w)\*([^*\n]+)\*(?!\w)")


def _plain_mrkdwn(mrkdwn: str) -> str:
    """Slack's mrkdwn as plain text."""
    text = _LINK.sub(r"\2 (\1)", _DATE.sub(r"\1", mrkdwn))
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
