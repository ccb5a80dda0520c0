"""Texts of budgets: how much is used, when it runs out, what the bot changed."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import assert_never
from zoneinfo import ZoneInfo

from bot.actions.recording import UNCHANGED
from bot.domain.budget import BUDGET, Change, Ownership, Period, Step, Switch
from bot.domain.forecast import HOUR
from bot.domain.limits import Awaited
from bot.domain.subjects import Severity
from bot.messages.text import number
from bot.rules.model import Budget

LEFT_ALONE: Mapping[Switch, str] = {
    "recording": "The bot leaves this website alone until the next period and won't undo its own "
    "change.",
    "recording_rate": "The bot leaves this recording rate alone until the next period and won't "
    "undo its own change.",
}
"""What the bot does after somebody changed what a budget had set."""

ONLY_ITS_OWN = "a budget restarts only what it stopped itself"


def owner(budget: Budget) -> str:
    """The budget's name in the audit log and the store. Rule ids have no colon."""
    return f"{BUDGET}{budget.id}"


def name(budget: Budget) -> str:
    """The budget's name for people."""
    return budget.summary or f"Budget {budget.id}"


def percent(used: float, recordings: int) -> float:
    """How much of the budget is used."""
    return 100.0 * used / recordings


def figure(used: int, budget: Budget) -> str:
    """`47,600 of 50,000 recordings (95.2 %)`."""
    share = number(round(percent(used, budget.recordings), 1))
    return f"{used:,} of {budget.recordings:,} recordings ({share} %)"


def step_title(budget: Budget, used: int, at: float) -> str:
    """`Plan credits: 92 % used (46,150 of 50,000), passed the 80 % step`."""
    share = percent(used, budget.recordings)
    passed = "passed the" if share >= at else "acting early on the"
    return f"{_used(budget, used)}, {passed} {at:g} % step"


def undone_title(budget: Budget, used: int, *, new_period: bool) -> str:
    """`✅ Plan credits: new period, 0 % used (0 of 50,000)`."""
    return f"✅ {_used(budget, used, 'new period, ' if new_period else '')}"


def _used(budget: Budget, used: int, first: str = "") -> str:
    share = int(percent(used, budget.recordings))
    return f"{name(budget)}: {first}{share} % used ({used:,} of {budget.recordings:,})"


def severity(step: Step) -> Severity:
    """How severe the step is: critical if it stops recording, info if it changes nothing."""
    if step.recording == "stop":
        return "critical"
    return "warning" if step.switches else "info"


def ahead(steps: Sequence[Step], at: float, *, acts: bool) -> str:
    """What comes next: `Nothing was changed. At 95 % the bot records 25 % of sessions`."""
    coming = [
        f"{'At' if n == 0 else 'at'} {step.at:g} % the bot {_does(step)}"
        for n, step in enumerate(step for step in steps if step.at > at and step.switches)
    ]
    return ". ".join(
        part for part in ("" if acts else "Nothing was changed", ", ".join(coming)) if part
    )


def _does(step: Step) -> str:
    if step.recording is not None:
        return "stops recording" if step.recording == "stop" else "starts recording"
    return f"records {step.rate} % of sessions"


def forecast(ends: datetime | None, now: datetime, period: Period, zone: ZoneInfo) -> str:
    """When the budget will be used up at the present rate."""
    if ends is not None and ends <= now:
        return "The budget is used up"
    if ends is None:
        return f"At this rate it lasts until the period ends on {day(period.end)}"
    local = ends.astimezone(zone)
    days, hours = (period.end - local.date()).days, int((period.ends(zone) - ends) / HOUR)
    before = f", {days} days early" if days > 1 else f", {hours} h early" if hours > 0 else ""
    return f"At this rate it runs out on {day(local)} {local:%H:%M}{before}"


def stopped_until(budget: Budget, period: Period) -> str:
    """When a website that the budget stopped records again."""
    if not budget.resume:
        return "They stay stopped until somebody starts them: the budget has no resume"
    return f"Recording starts again on {day(period.end)}, when the next period begins"


def day(at: date) -> str:
    """`Sun 15 Mar`."""
    return f"{at:%a} {at.day} {at:%b}"


def awaited(key: str, website: str, change: Change, rate: int | None) -> Awaited:
    """What a post says about a change of one website, whose rate was `rate`."""
    late = (
        "New sessions may still come in" if change.to == "stop" else "It may not reach all visitors"
    )
    return Awaited(
        key=key,
        site=website,
        brief=_brief(change),
        done=f"{_change(change, rate)}. {late} for up to an hour",
        unchanged="not changed (it has changed in the meantime)",
        no_effect=change.to if change.switch == "recording_rate" else UNCHANGED,
        not_done=_not_done(change.switch, change.to),
    )


def not_done(website: str, switch: Switch, to: str) -> str:
    """What has not been changed yet."""
    return f"{website}: {_not_done(switch, to)}"


def _not_done(switch: Switch, to: str) -> str:
    match switch:
        case "recording":
            return f"recording not {_STATUS[to]}"
        case "recording_rate":
            return f"recording rate not set to {to} %"
        case _:
            assert_never(switch)


def done_now(website: str, switch: Switch, to: str) -> str:
    """What has been changed after all."""
    match switch:
        case "recording":
            return f"{website}: recording {_STATUS[to]} now"
        case "recording_rate":
            return f"{website}: recording rate set to {to} % now"
        case _:
            assert_never(switch)


_STATUS = {"stop": "stopped", "start": "started"}


def unchanged(website: str, why: str | None) -> str:
    """Why the bot changes nothing on one website; `why` is its status or a reason."""
    return f"{website}: not changed ({why or 'status unknown'})"


def _change(change: Change, rate: int | None) -> str:
    match change.switch:
        case "recording":
            return f"recording {_STATUS[change.to]}"
        case "recording_rate":
            return f"recording rate {'?' if rate is None else rate} % → {change.to} %"
        case _:
            assert_never(change.switch)


def _brief(change: Change) -> str:
    match change.switch:
        case "recording":
            return f"recording {'stopped' if change.to == 'stop' else 'again'}"
        case "recording_rate":
            return f"recording {change.to} % of sessions"
        case _:
            assert_never(change.switch)


def intervened(website: str, who: str, switch: Switch, now_is: str) -> str:
    """The headline when somebody (or a rule) changed what a budget had set."""
    match switch:
        case "recording":
            return f"{website}: {who} turned recording {_on_or_off(now_is)}"
        case "recording_rate":
            return f"{website}: {who} changed the recording rate to {now_is}"
        case _:
            assert_never(switch)


def _on_or_off(status: str) -> str:
    return "off" if status.casefold() == "stopped" else "back on"


def stays(owned: Ownership) -> str:
    """What a website stays at that the bot won't change back."""
    match owned.switch:
        case "recording":
            return f"it stays {owned.set_to}"
        case "recording_rate":
            return f"its recording rate stays {owned.set_to} %"
        case _:
            assert_never(owned.switch)


def had_set(owned: Ownership) -> str:
    """What the budget had set, and why."""
    why = owned.reason.removeprefix(f"{owned.owner}: ")  # stores of the first version have it
    return f"The budget had set it to {owned.set_to}: {why}."
