"""What a budget calls for: its period, what is used, which steps are due, what to undo.

Values in, values out. A step acts once a period. What the bot has switched it switches back
when there is no more reason for it, and only if the website still stands as the bot left it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

PeriodKind = Literal["day", "week", "month"]
Switch = Literal["recording", "recording_rate"]

RECORDING, STOPPED = "recording", "stopped"
"""The only two statuses that the bot ever changes, in lower case."""

BUDGET = "budget:"
"""Begins the name of every budget as an owner; no rule's id has a colon."""

LATE = timedelta(minutes=30)
"""How long a change needs to reach visitors, whose browsers keep the recording script."""

LEAST_RATE = 2
"""The least rate that is ever set: 1 is ambiguous in the API (L667), 0 is a stop."""

EARLIEST = 0.98
"""A step that switches acts this early at most, so that what comes late stays within it."""

REARM = 0.95
"""What a step did is undone once less than this share of the step's threshold is used."""


@dataclass(frozen=True, slots=True)
class Period:
    """From midnight of `first` to midnight of `end` in the account's zone."""

    kind: PeriodKind
    first: date
    end: date

    @property
    def name(self) -> str:
        """Names the period for ever."""
        return f"{self.kind} {self.first.isoformat()}"

    def begins(self, zone: ZoneInfo) -> datetime:
        """The first moment."""
        return midnight(self.first, zone)

    def ends(self, zone: ZoneInfo) -> datetime:
        """The first moment that is no longer in it."""
        return midnight(self.end, zone)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins there, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def period(day: date, kind: PeriodKind, starts_on: int) -> Period:
    """The period that holds the day.

    `starts_on` is the first day: of the month (31 is the last day of a shorter one), or of
    the week (1 is Monday).
    """
    match kind:
        case "day":
            return Period(kind, day, day + timedelta(days=1))
        case "week":
            first = day - timedelta(days=(day.isoweekday() - starts_on) % 7)
            return Period(kind, first, first + timedelta(days=7))
        case "month":
            first = _anniversary(day.year, day.month, starts_on)
            if first > day:
                first = _anniversary(*_month_before(day.year, day.month), starts_on)
            end = _anniversary(*_month_after(first.year, first.month), starts_on)
            return Period(kind, first, end)
        case _:
            assert_never(kind)


def _anniversary(year: int, month: int, day: int) -> date:
    following = date(*_month_after(year, month), 1)
    return date(year, month, min(day, (following - timedelta(days=1)).day))


def _month_after(year: int, month: int) -> tuple[int, int]:
    return (year + 1, 1) if month == 12 else (year, month + 1)


def _month_before(year: int, month: int) -> tuple[int, int]:
    return (year - 1, 12) if month == 1 else (year, month - 1)


def total(counts: Mapping[str, Mapping[date, int]], within: Period) -> int:
    """Recordings of all websites in the period."""
    return sum(
        count
        for days in counts.values()
        for day, count in days.items()
        if within.first <= day < within.end
    )


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a budget: at `at` percent set these switches. `name` is kept in the store."""

    at: float
    recording: Literal["start", "stop"] | None = None
    rate: int | None = None

    def name(self, recordings: int) -> str:
        """Names the step within a period: a budget that was changed has other steps."""
        return f"{self.at:g}% of {recordings}"

    @property
    def switches(self) -> bool:
        """Whether the step changes websites."""
        return self.recording is not None or self.rate is not None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a website stands, as the API tells it; `rate` in percent."""

    website: str
    status: str | None
    rate: int | None
    read_only: bool = False

    @property
    def state(self) -> str:
        """The status in lower case."""
        return (self.status or "").casefold()

    @property
    def ours_to_switch(self) -> bool:
        """Paused and NotInstalled are Mouseflow's own states (L147), never touched."""
        return not self.read_only and self.state in (RECORDING, STOPPED)


@dataclass(frozen=True, slots=True)
class Hold:
    """A switch that the bot has set on a website: by which budget or rule, and to what.

    `set_to` is a status or a rate in percent as text, `before` the rate to go back to. What a
    rule has stopped no budget starts again.
    """

    website: str
    switch: Switch
    owner: str
    at: datetime
    reason: str
    set_to: str
    before: int | None = None

    @property
    def rule(self) -> str:
        """The rule that holds it; empty for a budget."""
        return "" if self.owner.startswith(BUDGET) else self.owner


@dataclass(frozen=True, slots=True)
class Change:
    """A switch to set: "stop", "start" or a rate in percent."""

    website: str
    switch: Switch
    to: str


def due(steps: Sequence[Step], recordings: int, used: float, per_hour: float) -> tuple[Step, ...]:
    """The steps whose share is used, in order.

    One that switches is due a little before: what comes until visitors notice (`per_hour`
    recordings) shall still fit.
    """
    found = []
    for step in steps:
        threshold = recordings * step.at / 100
        coming = per_hour * (LATE / timedelta(hours=1)) if step.switches else 0.0
        if used >= threshold or used >= max(threshold - coming, threshold * EARLIEST):
            found.append(step)
    return tuple(found)


def changes(step: Step, standing: Standing, holds: Sequence[Hold]) -> tuple[Change, ...]:
    """What the step changes on this website; nothing where the website is not ours to switch.

    A person's stop, or a rule's, is left as it is, and a rate is set only where there is recording.
    """
    if not standing.ours_to_switch:
        return ()
    site, found = standing.website, list[Change]()
    if step.rate is not None and standing.state == RECORDING and standing.rate != step.rate:
        found.append(Change(site, "recording_rate", str(step.rate)))
    if step.recording == "stop" and standing.state == RECORDING:
        found.append(Change(site, "recording", "stop"))
    if step.recording == "start" and standing.state == STOPPED and _stopped_by_a_budget(holds):
        found.append(Change(site, "recording", "start"))
    return tuple(found)


def _stopped_by_a_budget(holds: Sequence[Hold]) -> bool:
    return any(hold.switch == "recording" and not hold.rule for hold in holds)


Seen = Literal["as left", "changed", "unknown"]


def seen(hold: Hold, standing: Standing) -> Seen:
    """Whether the website still stands as the bot left it; else a person has intervened.

    What Mouseflow does by itself (Paused, NotInstalled) is nobody's intervention.
    """
    if standing.state not in (RECORDING, STOPPED):
        return "unknown"
    if hold.switch == "recording":
        return "as left" if standing.state == hold.set_to.casefold() else "changed"
    if standing.rate is None:
        return "unknown"
    return "as left" if str(standing.rate) == hold.set_to else "changed"


def justified(hold: Hold, steps: Sequence[Step], recordings: int, used: float, paced: bool) -> bool:
    """Whether there is still reason for what the bot has set.

    A new period has used little, and a budget that was raised has too: both undo it. The
    share at which it is undone lies below that of the step, so that nothing flutters.
    """
    if hold.switch == "recording_rate" and paced:
        return True
    shares = [
        step.at
        for step in steps
        if (step.recording == "stop" if hold.switch == "recording" else step.rate is not None)
    ]
    return bool(shares) and used >= recordings * min(shares) / 100 * REARM


def undone(hold: Hold) -> Change | None:
    """The change that takes the hold back; None where what was before can't be set again."""
    if hold.switch == "recording":
        return Change(hold.website, "recording", "start")
    if hold.before is None or hold.before < LEAST_RATE:
        return None
    return Change(hold.website, "recording_rate", str(hold.before))
