"""Messages for the people who run the bot: one cause, one line, one remedy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_never

from msgspec import Struct

from bot.domain.causes import Cause
from bot.domain.press import Offer
from bot.messages.text import counted, lasting, number, sentence


class Notice(Struct, frozen=True):
    """A message about the bot itself; `grey` is its last line: since when, which rules.

    `about` names the trouble that it is about, if it tells of its beginning or (`ends`) its end.
    """

    title: str
    lines: tuple[str, ...]
    offer: Offer | None = None
    about: str = ""
    ends: bool = False
    grey: str = ""


class Fault(Struct, frozen=True, kw_only=True):
    """What fails: the cause, where (`place`, in words), what was answered and what to do.

    `waiting` steps wait for it, those of `rules` among them.
    """

    cause: Cause
    place: str
    reason: str
    remedy: str
    since: datetime
    waiting: int
    rules: tuple[str, ...] = ()


_STOPS_ALL = frozenset(
    {
        Cause.KEY_REJECTED,
        Cause.MOUSEFLOW_DOWN,
        Cause.TOKEN_REJECTED,
        Cause.SCOPE_MISSING,
        Cause.WORKSPACE_REFUSES,
        Cause.SLACK_WEBHOOK_GONE,
        Cause.SLACK_NOT_SET,
        Cause.SLACK_DOWN,
    }
)


SAID = frozenset(
    {
        Cause.SLACK_NOT_SET,
        Cause.CHANNEL_ARCHIVED,
        Cause.CHANNEL_LEFT,
        Cause.CHANNEL_CLOSED,
    }
)
"""Causes that the headline tells as well as the answer that was given."""


def instant(at: datetime) -> str:
    """The moment in ISO 8601; a message shows it as a time in each reader's own zone."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def what(cause: Cause, place: str) -> str:
    """The cause in words: `Slack channel #checkout is archived`."""
    match cause:
        case Cause.KEY_REJECTED:
            return "Mouseflow rejected the API key"
        case Cause.WRITES_REFUSED:
            return f"Mouseflow refuses {place}"
        case Cause.MOUSEFLOW_DOWN:
            return "Mouseflow does not accept actions"
        case Cause.TOKEN_REJECTED:
            return "Slack rejected the bot token"
        case Cause.SCOPE_MISSING:
            return "The Slack app lacks a scope"
        case Cause.WORKSPACE_REFUSES:
            return "The Slack workspace refuses the bot"
        case Cause.SLACK_WEBHOOK_GONE:
            return "Slack rejected the incoming webhook"
        case Cause.SLACK_NOT_SET:
            return "Slack is not configured"
        case Cause.SLACK_DOWN:
            return "Slack does not accept messages"
        case Cause.CHANNEL_MISSING:
            return f"Slack channel {place} does not exist for the bot" if place else "No channel"
        case Cause.CHANNEL_ARCHIVED:
            return f"Slack channel {place} is archived"
        case Cause.CHANNEL_LEFT:
            return f"The bot is not in Slack channel {place}"
        case Cause.CHANNEL_CLOSED:
            return f"Slack channel {place} does not let the bot post"
        case Cause.RECEIVER_REFUSES:
            return f"{place} rejects webhook calls"
        case Cause.RECEIVER_DOWN:
            return f"{place} does not accept webhook calls"
        case Cause.SECRET_MISSING:
            return f"The URL or secret for webhook calls to {place} is not set"
        case Cause.PLACE_REFUSES:
            return f"{place} rejects messages"
        case Cause.PLACE_DOWN:
            return f"{place} does not accept messages"
        case Cause.PLACE_NOT_SET:
            return f"{place} can't be used as it stands under [notify]"
        case Cause.BUSY | Cause.STEP | Cause.BUG | Cause.EARLIER:
            return "Some actions failed"
        case _:
            assert_never(cause)


def _works(cause: Cause, place: str) -> str:
    """What works once the cause is gone, before `again`: `Slack channel #checkout works`."""
    match cause:
        case Cause.KEY_REJECTED:
            return "Mouseflow accepts the API key"
        case Cause.WRITES_REFUSED:
            return f"Mouseflow accepts {place}"
        case Cause.MOUSEFLOW_DOWN:
            return "Mouseflow accepts actions"
        case (
            Cause.TOKEN_REJECTED
            | Cause.SCOPE_MISSING
            | Cause.WORKSPACE_REFUSES
            | Cause.SLACK_WEBHOOK_GONE
            | Cause.SLACK_NOT_SET
            | Cause.SLACK_DOWN
        ):
            return "Slack accepts messages"
        case (
            Cause.CHANNEL_MISSING
            | Cause.CHANNEL_ARCHIVED
            | Cause.CHANNEL_LEFT
            | Cause.CHANNEL_CLOSED
        ):
            return f"Slack channel {place} works" if place else "Posting works"
        case Cause.RECEIVER_REFUSES | Cause.RECEIVER_DOWN | Cause.SECRET_MISSING:
            return f"{place} accepts webhook calls"
        case Cause.PLACE_REFUSES | Cause.PLACE_DOWN | Cause.PLACE_NOT_SET:
            return f"{place} accepts messages"
        case Cause.BUSY | Cause.STEP | Cause.BUG | Cause.EARLIER:
            return "What failed works"
        case _:
            assert_never(cause)


def began(fault: Fault, patience: timedelta) -> Notice:
    """Something fails that many steps need; what waits is kept for `patience`."""
    icon = "🛑" if fault.cause in _STOPS_ALL else "🔶"
    waits = "1 action waits" if fault.waiting == 1 else f"{number(fault.waiting)} actions wait"
    remedy = f"{sentence(fault.remedy)} " if fault.remedy else ""
    rules = f" · {_rules(fault.rules)}" if fault.rules else ""
    return Notice(
        f"{icon} {what(fault.cause, fault.place)}: {waits}",
        (
            *(() if fault.cause in SAID else (sentence(fault.reason),)),
            f"{remedy}What waits goes out by itself when it works again.",
        ),
        grey=f"Since {instant(fault.since)}{rules} · each action is kept for {patience.days} days",
    )


def ended(fault: Fault, now: datetime, dropped: int) -> Notice:
    """It works again. `waiting` of the fault is how many steps waited."""
    after = lasting(now - fault.since)
    lost = _dropped(dropped)
    waited = "1 action waited" if fault.waiting == 1 else f"{number(fault.waiting)} actions waited"
    return Notice(
        f"✅ {_works(fault.cause, fault.place)} again after {after}",
        (
            f"{waited} and go out now; posts over their rule's limit as one digest.{lost}",
            f"What had failed: {what(fault.cause, fault.place)}.",
        ),
        grey=f"{instant(fault.since)} to {instant(now)}",
    )


def turned(old: str, new: str, since: datetime, now: datetime) -> Notice:
    """What fails, fails for another reason now, which has a message of its own."""
    after = lasting(now - since)
    return Notice(
        f"🔵 Turned into another trouble after {after}: {old}",
        (f"Now: {new}. A message of its own says what to do.",),
        grey=f"{instant(since)} to {instant(now)}",
    )


def nothing_waits(fault: Fault, now: datetime, dropped: int) -> Notice:
    """Nothing waits for it any more, so nobody has seen whether it works again."""
    after = lasting(now - fault.since)
    return Notice(
        f"🔵 Nothing waits any more: {what(fault.cause, fault.place)}",
        (
            f"After {after} no action is due there: all were given up, taken back or sent "
            f"elsewhere.{_dropped(dropped)} The bot has not seen it work again.",
        ),
        grey=f"{instant(fault.since)} to {instant(now)}",
    )


def _dropped(count: int) -> str:
    return f" {number(count)} more were not kept: the queue was full." if count else ""


def dead_letters(
    count: int,
    action: str,
    reason: str,
    remedy: str,
    rules: Sequence[str],
    first: datetime,
    told: int = 0,
) -> Notice:
    """Steps failed for good for one cause, the `first` then.

    `told` marks them in the store (ms since 1970).
    """
    failed = "1 action failed" if count == 1 else f"{number(count)} actions failed"
    names = f" {' '.join(rules)}" if len(rules) <= 3 else ""
    return Notice(
        f"🔶 {failed} for good: {reason}",
        (sentence(remedy),) if remedy else (),
        Offer("retry", str(told), label=f"Retry {counted(count, 'action')}"),
        grey=f"{action} · {_rules(rules)} · since {instant(first)} · mouseflow-bot retry{names}",
    )


def report_failed(report: str, websites: Sequence[str], reason: str, since: datetime) -> Notice:
    """A weekly report can't be made, for a bug."""
    return Notice(
        f"🔶 The report {report} failed for {_websites(websites)}: {reason}",
        (
            "This is a bug in the bot. Please report it with the log line `report.failed`.",
            f"The bot retries after 5 minutes, then less often, for 2 days. Since {instant(since)}",
        ),
    )


def report_works(report: str, websites: Sequence[str], _reason: str, since: datetime) -> Notice:
    """A weekly report that failed is posted."""
    return Notice(
        f"✅ The report {report} is posted for {_websites(websites)}",
        (f"It had failed since {instant(since)}.",),
    )


def report_left_out(report: str, websites: Sequence[str], reason: str, since: datetime) -> Notice:
    """A weekly report failed for so long that it is left out."""
    return Notice(
        f"🔵 The report {report} is left out for {_websites(websites)}",
        (f"It failed since {instant(since)}: {reason}. The next one comes at its time.",),
    )


def store_fails(since: datetime, reason: str) -> Notice:
    """The store can't be written, so the bot does nothing; told without the store."""
    return Notice(
        f"🛑 The store can't be written since {instant(since)}",
        (
            sentence(reason),
            "Free some space, or fix the disk or database: the bot then continues by itself. Until "
            "then it can't act on anything new; nothing is lost.",
        ),
        grey="Sent without the store, so it may come twice",
    )


def store_works(since: datetime) -> Notice:
    """The store can be written again."""
    return Notice(
        "✅ The store works again",
        (f"It could not be written since {instant(since)}. The bot catches up.",),
    )


def resumed(since: datetime, now: datetime) -> Notice:
    """Polls work again after the bot was away."""
    return Notice(
        f"🔵 Polling resumed after {lasting(now - since)}",
        (
            "The bot catches up on what it missed. What is too old to be posted alone comes in "
            "digests.",
        ),
        grey=f"{instant(since)} to {instant(now)}",
    )


def _websites(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {counted(more, 'more website')}" if more > 0 else "")


def _rules(rules: Sequence[str]) -> str:
    more = f" and {len(rules) - 5} more" if len(rules) > 5 else ""
    return f"rule{'s' if len(rules) != 1 else ''} {', '.join(rules[:5])}{more}"
