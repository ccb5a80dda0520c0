"""Which posts may go out now, which wait for a digest, and why. Pure functions."""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from bot.domain.subjects import RecordingSubject, Subject

SHOWN_IN_A_DIGEST = 5
"""How many matches a digest shows; it only counts the others."""


class Reason(StrEnum):
    """Why something was suppressed or delayed. The audit log has these words."""

    SNOOZED = "snoozed"
    OUTSIDE_HOURS = "outside active hours"
    SCHEDULED = "for the scheduled digest"
    QUIET = "quiet time"
    OVER_LIMIT = "over the limit"
    TOO_OLD = "too old to be posted alone"
    QUEUE_FULL = "the channel's queue is full"
    ONCE_PER = "once_per: matched before for this value"
    BELOW_COUNT = "count: not enough yet"
    COUNTED = "count: one more, so not too few"
    PAUSED = "the rule is paused by its safety"


class Hours(Struct, frozen=True):
    """When posts may go out: weekdays (0 = Monday), minutes of the day, and the time zone.

    `end` at or before `start` means the next morning; the day is that of the start.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: str


class Awaited(Struct, frozen=True):
    """A step of another match that posts wait for, and what they say when it has ended.

    `done` is said if it took effect, `unchanged` if it did with the result `no_effect`, else
    `not_done` with the reason. All are about the website `site`, whose name precedes them.
    `brief` tells in a headline that it took effect.
    """

    key: str
    done: str
    unchanged: str
    no_effect: str
    not_done: str
    site: str = ""
    brief: str = ""


class Told(Struct, frozen=True):
    """What a post says of the steps that it waited for: in its headline, and below."""

    brief: str = ""
    lines: tuple[str, ...] = ()


class Posting(Struct, frozen=True):
    """What the rule says about posts of a match, fixed when it matches.

    A post about an event older than `act_up_to` goes into a digest, or is dropped (`older`).
    Posts wait until the steps of `awaits` have ended, and say what became of them.
    """

    hours: Hours | None = None
    act_up_to: timedelta | None = None
    older: Literal["digest", "drop"] = "digest"
    awaits: tuple[Awaited, ...] = ()


class Limit(Struct, frozen=True):
    """A post action's `at_most`: this many in a window that opens with the first one."""

    times: int
    window: timedelta
    overflow: Literal["digest", "drop"] = "digest"


class Window(Struct, frozen=True):
    """The open window: when it began, and how many posts went out in it."""

    began: datetime
    used: int


class Post(Struct, frozen=True):
    """The post may go out; `window` is the state to save, if its rule has a limit."""

    window: Window | None = None


class Held(Struct, frozen=True):
    """The post is held back: for the digest that is due at `until`, or permanently (`drop`)."""

    reason: Reason
    until: datetime
    drop: bool = False


class Waits(Struct, frozen=True):
    """The post waits as it is, until a quiet time ends."""

    until: datetime


Verdict = Post | Held | Waits


def admit(
    now: datetime,
    *,
    happened: datetime,
    posting: Posting,
    limit: Limit | None,
    window: Window | None,
    snoozed_until: datetime | None,
    scheduled: datetime | None = None,
    quiet_until: datetime | None = None,
) -> Verdict:
    """Whether this post may go out now; `happened` is the time of the event.

    `scheduled` is when its next digest is due, if it has a schedule; `quiet_until` when the
    quiet time ends that it is in.
    """
    if snoozed_until is not None and now < snoozed_until:
        return Held(Reason.SNOOZED, snoozed_until)
    if scheduled is not None:
        return Held(Reason.SCHEDULED, scheduled)
    if posting.act_up_to is not None and now - happened > posting.act_up_to:
        return Held(Reason.TOO_OLD, now, drop=posting.older == "drop")
    if posting.hours and not is_open(posting.hours, now):
        return Held(Reason.OUTSIDE_HOURS, opens(posting.hours, now))
    if quiet_until is not None:
        return Waits(quiet_until)
    if limit is None:
        return Post()
    if window is None or now >= window.began + limit.window:
        return Post(Window(now, 1))
    if window.used < limit.times:
        return Post(replace(window, used=window.used + 1))
    ends = window.began + limit.window
    return Held(Reason.OVER_LIMIT, ends, drop=limit.overflow == "drop")


def digest_waits(
    now: datetime,
    posting: Posting,
    snoozed_until: datetime | None,
    quiet_until: datetime | None = None,
) -> Held | None:
    """Why, and until when, a due digest must still wait; None if it may go out."""
    if quiet_until is not None and quiet_until > max(now, snoozed_until or now):
        return Held(Reason.QUIET, quiet_until)
    until = max(now, snoozed_until) if snoozed_until else now
    reason = Reason.SNOOZED if until > now else Reason.OUTSIDE_HOURS
    if posting.hours and not is_open(posting.hours, until):
        until = opens(posting.hours, until)
    return Held(reason, until) if until > now else None


def is_open(hours: Hours, now: datetime) -> bool:
    """Whether `now` is within the hours."""
    today = now.astimezone(ZoneInfo(hours.zone)).date()
    # Yesterday's hours may reach into today.
    windows = (window_of(hours, day) for day in (today - timedelta(days=1), today))
    return any(each is not None and each[0] <= now < each[1] for each in windows)


def opens(hours: Hours, now: datetime) -> datetime:
    """When the hours next begin after `now`; at least once a week."""
    today = now.astimezone(ZoneInfo(hours.zone)).date()
    for ahead in range(9):
        window = window_of(hours, today + timedelta(days=ahead))
        if window is not None and window[0] > now:
            return window[0]
    raise ValueError("active hours without a day")


def window_of(hours: Hours, day: date) -> tuple[datetime, datetime] | None:
    """When the hours that belong to that day begin and end; None if none do."""
    if day.weekday() not in hours.days:
        return None
    last = day if hours.end > hours.start else day + timedelta(days=1)
    return local_time(day, hours.start, hours.zone), local_time(last, hours.end, hours.zone)


def local_time(day: date, minutes: int, zone: str) -> datetime:
    """That minute of the day on the zone's clocks."""
    # Wall clock time, so that 08:00 is 08:00 on the day of a clock change too.
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    return wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def trips(matches: int, at_most: int) -> bool:
    """Whether a rule has matched more often than its safety limit allows."""
    return matches > at_most


def enough(counted: int, at_least: int) -> bool:
    """Whether enough subjects have been counted for a match."""
    return counted >= at_least


def badness(subject: Subject) -> float:
    """How bad a match is, compared to others of its rule, to pick the worst few for a digest."""
    if isinstance(subject, RecordingSubject):
        friction = max(subject.friction.low, 0.0) if subject.friction else 0.0
        # Of two with the same friction the longer session; an hour counts as much as 1.
        return friction + min(subject.recording.duration or 0, 3_600_000) / 3_600_000
    return 0.0
