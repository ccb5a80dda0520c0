"""What a budget calls for: its period, what is used, which steps are due, what to undo.

Pure functions. A step acts once a period. The bot undoes what it switched when the budget no
longer calls for it, and only if the website is still as the bot left it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct

PeriodKind = Literal["day", "week", "month"]
Switch = Literal["recording", "recording_rate"]
SWITCHES: tuple[Switch, ...] = ("recording", "recording_rate")

RECORDING, STOPPED = "recording", "stopped"
"""The only two statuses that the bot changes, in lower case."""

BUDGET = "budget:"
"""The prefix of every budget's name as an owner. Rule ids have no colon."""

LATE = timedelta(minutes=30)
"""How long a change takes to reach visitors, whose browsers cache the recording script."""

LEAST_RATE = 2
"""The lowest rate that the bot sets: 1 is ambiguous in the API (L667), 0 is a stop."""

EARLIEST = 0.98
"""A step that switches acts at this share of its threshold at the earliest."""

REARM = 0.95
"""The bot undoes a step once less than this share of its threshold is used."""


class Period(Struct, frozen=True):
    """From midnight of `first` to midnight of `end` in the account's zone."""

    kind: PeriodKind
    first: date
    end: date

    @property
    def name(self) -> str:
        """A permanent name of the period."""
        return f"{self.kind} {self.first.isoformat()}"

    def begins(self, zone: ZoneInfo) -> datetime:
        """The first moment."""
        return midnight(self.first, zone)

    def ends(self, zone: ZoneInfo) -> datetime:
        """The first moment after it."""
        return midnight(self.end, zone)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins there, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def period(day: date, kind: PeriodKind, starts_on: int) -> Period:
    """The period that contains the day.

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


class DayCount(Struct, frozen=True):
    """How many recordings of a day the API counted last.

    `fallen` is a lower count that one answer gave. Deleted recordings make a count smaller,
    but so does one wrong answer: two answers in a row make it true.
    """

    count: int
    fallen: int | None = None

    def then(self, count: int) -> tuple["DayCount", int]:
        """The day after another answer, and how many more recordings were made until then."""
        if count >= self.count:
            return DayCount(count), count - self.count
        if self.fallen is None:
            return DayCount(self.count, count), 0
        return DayCount(count), max(0, count - self.fallen)

    def fall(self, count: int) -> int:
        """By how much another answer is lower than the last one."""
        return max(0, (self.count if self.fallen is None else self.fallen) - count)


JUMP, A_FEW = 3, 10
"""More than this many times the expected recordings, and some more, are a jump."""


def is_jump(grown: int, expected: float) -> bool:
    """Whether counts grew so much that a second answer must confirm it."""
    return grown > JUMP * expected + A_FEW


def confirmed(
    days: Mapping[date, int], before: Mapping[date, DayCount], doubted: Mapping[date, int]
) -> dict[date, int]:
    """Of counts that jumped, what an earlier answer gave too; `doubted` jumped one poll ago."""
    known = {day: each.count for day, each in before.items()}
    return {
        day: min(count, max(known.get(day, 0), doubted.get(day, 0)))
        for day, count in days.items()
        if day in known or day in doubted
    }


class Step(Struct, frozen=True):
    """One step of a budget: at `at` percent set these switches. `name` is kept in the store."""

    at: float
    recording: Literal["start", "stop"] | None = None
    rate: int | None = None

    def name(self, recordings: int) -> str:
        """The step's name within a period. A changed budget has other steps."""
        return f"{self.at:g}% of {recordings}"

    def site_name(self, recordings: int, website: str) -> str:
        """The name under which the store keeps that the step has acted on the website."""
        return f"{self.name(recordings)} @{website}"

    def sets(self, switch: Switch) -> bool:
        """Whether the step sets this switch."""
        match switch:
            case "recording":
                return self.recording is not None
            case "recording_rate":
                return self.rate is not None
            case _:
                assert_never(switch)

    @property
    def switches(self) -> bool:
        """Whether the step changes websites."""
        return self.recording is not None or self.rate is not None


class WebsiteState(Struct, frozen=True):
    """A website's recording status and rate (in percent), as the API reports them."""

    website: str
    status: str | None
    rate: int | None
    read_only: bool = False

    @property
    def is_recording(self) -> bool:
        """Whether it records visitors."""
        return (self.status or "").casefold() == RECORDING

    @property
    def is_stopped(self) -> bool:
        """Whether the bot, a rule or a person stopped it."""
        return (self.status or "").casefold() == STOPPED

    @property
    def switchable(self) -> bool:
        """Whether the bot may change it. Paused and NotInstalled are Mouseflow's own (L147)."""
        return not self.read_only and (self.is_recording or self.is_stopped)

    def shows(self, switch: Switch, value: str) -> bool | None:
        """Whether the switch is at `value` (a status or a rate as text); None if not known."""
        match switch:
            case "recording":
                return (self.status or "").casefold() == value.casefold()
            case "recording_rate":
                return None if self.rate is None else str(self.rate) == value
            case _:
                assert_never(switch)


class Ownership(Struct, frozen=True):
    """A switch that the bot has set on a website: for which budget or rule, and to what.

    `set_to` is a status or a rate in percent as text, `before` the rate to go back to. A
    budget never restarts what a rule has stopped.
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
        """The rule that owns it; empty for a budget."""
        return "" if self.owner.startswith(BUDGET) else self.owner

    @property
    def budget(self) -> str:
        """The id of the budget that owns it; empty for a rule."""
        return self.owner.removeprefix(BUDGET) if self.owner.startswith(BUDGET) else ""


class Change(Struct, frozen=True):
    """A switch to set: "stop", "start" or a rate in percent. `lowers`: never raise the rate."""

    website: str
    switch: Switch
    to: str
    lowers: bool = False


def due_steps(
    steps: Sequence[Step], recordings: int, used: float, per_hour: float
) -> tuple[Step, ...]:
    """The steps whose share is used, in order.

    A step that switches is due a little early: the recordings that come in until visitors'
    browsers notice (`per_hour`) must still fit.
    """
    found = []
    for step in steps:
        threshold = recordings * step.at / 100
        coming = per_hour * (LATE / timedelta(hours=1)) if step.switches else 0.0
        if used >= threshold or used >= max(threshold - coming, threshold * EARLIEST):
            found.append(step)
    return tuple(found)


def changes_for(step: Step, state: WebsiteState, owned: Sequence[Ownership]) -> tuple[Change, ...]:
    """What the step changes on this website; nothing if the bot may not switch it.

    What a person or a rule stopped stays stopped. A rate is set only while it records, and
    only ever lowered: the lowest of several limits holds.
    """
    if not state.switchable:
        return ()
    site, found = state.website, list[Change]()
    if step.rate is not None and state.is_recording and _is_above(state.rate, step.rate):
        found.append(Change(site, "recording_rate", str(step.rate), lowers=True))
    if step.recording == "stop" and state.is_recording:
        found.append(Change(site, "recording", "stop"))
    if step.recording == "start" and state.is_stopped and _stopped_by_a_budget(owned):
        found.append(Change(site, "recording", "start"))
    return tuple(found)


def _is_above(rate: int | None, limit: int) -> bool:
    """Whether the rate exceeds the limit; an unknown one may."""
    return rate is None or rate > limit


def _stopped_by_a_budget(owned: Sequence[Ownership]) -> bool:
    return any(each.switch == "recording" and not each.rule for each in owned)


Comparison = Literal["unchanged", "changed", "unknown"]


def compare(owned: Ownership, state: WebsiteState) -> Comparison:
    """Whether the website is still as the bot left it; if not, somebody has changed it.

    Paused and NotInstalled are set by Mouseflow itself, so they count as unknown.
    """
    if not (state.is_recording or state.is_stopped):
        return "unknown"
    match state.shows(owned.switch, owned.set_to):
        case None:
            return "unknown"
        case True:
            return "unchanged"
        case False:
            return "changed"
        case never:
            assert_never(never)


def in_force(step: Step, recordings: int, used: float) -> bool:
    """Whether a step that has acted is still called for.

    It no longer is in a new period, or after the budget was raised. The share at which a step
    is undone lies below that of the step, so that it does not flap.
    """
    return used >= recordings * step.at / 100 * REARM


def needs_stop(steps: Sequence[Step], recordings: int, used: float) -> bool:
    """Whether the budget calls for a stop of recording that was made."""
    stops = (step for step in steps if step.recording == "stop")
    return any(in_force(step, recordings, used) for step in stops)


def undo_change(owned: Ownership) -> Change | None:
    """The change that undoes what the bot set; None if the earlier value can't be set again."""
    match owned.switch:
        case "recording":
            return Change(owned.website, "recording", "start")
        case "recording_rate":
            if owned.before is None or owned.before < LEAST_RATE:
                return None
            return Change(owned.website, "recording_rate", str(owned.before))
        case _:
            assert_never(owned.switch)
