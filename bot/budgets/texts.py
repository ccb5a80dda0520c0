"""The words of budgets: how much is used, when it will end, what was done about it."""

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from bot.domain.budget import BUDGET, Change, Period
from bot.rules.model import Budget


def owner(budget: Budget) -> str:
    """The budget's name in the audit log and the store; no rule's id has a colon."""
    return f"{BUDGET}{budget.id}"


def percent(used: float, recordings: int) -> float:
    """How much of the budget is used."""
    return 100.0 * used / recordings


def figure(used: int, budget: Budget) -> str:
    """`47,600 of 50,000 recordings (95.2 %)`."""
    share = percent(used, budget.recordings)
    return f"{used:,} of {budget.recordings:,} recordings ({share:.1f} %)"


def title(budget: Budget, at: float) -> str:
    """The headline of a step's message."""
    return f"{budget.summary or f'Budget {budget.id}'}: {at:g} % used"


def forecast(ends: datetime | None, now: datetime, period: Period, zone: ZoneInfo) -> str:
    """When the budget will be used up at the present rate."""
    if ends is not None and ends <= now:
        return "the budget is used up"
    if ends is None:
        return f"at this rate it lasts until the period ends on {day(period.end)}"
    local = ends.astimezone(zone)
    return f"at this rate the budget ends on {local:%A} {local.day} {local:%b %H:%M}"


def day(at: date) -> str:
    """`Sun 15 Mar`."""
    return f"{at:%a} {at.day} {at:%b}"


def done(name: str, changes: Sequence[Change], status: str | None, rate: int | None) -> str:
    """What is done to one website."""
    words = [_change(change, rate) for change in changes]
    if words:
        return f"{name}: {' and '.join(words)}; visitors notice within the hour"
    return f"{name}: left alone, it is {status or 'of unknown status'}"


def _change(change: Change, rate: int | None) -> str:
    if change.switch == "recording":
        return "recording stops" if change.to == "stop" else "recording starts"
    return f"recording rate {'?' if rate is None else rate} % → {change.to} %"
