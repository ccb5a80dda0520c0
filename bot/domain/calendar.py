"""The account's calendar: quiet times, and the moments of scheduled digests. Pure functions."""

import re
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from bot.domain.limits import Hours, local_time, window_of

MOST_JOINED: Final = 800
"""How many quiet windows in a row are joined: two years of quiet days."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY_NAME = f"(?:{'|'.join(''.join(f'[{c}{c.upper()}]' for c in day) for day in WEEKDAYS)})[a-z]*"
SCHEDULE_PATTERN = (
    rf"^\s*(?:{_DAY_NAME}(?:-{_DAY_NAME})?(?:,{_DAY_NAME}(?:-{_DAY_NAME})?)*\s+)?"
    r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9]\s*$"
)
"""What `schedule` reads, for the JSON Schema."""

_AT = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")

Day = tuple[int, ...]
"""(month, day) of every year, or (year, month, day)."""

Days = tuple[Day, Day]
"""The first and the last day."""


class Schedule(Struct, frozen=True):
    """Weekdays (0 = Monday) and a minute of the day, on the clocks of a time zone."""

    days: frozenset[int]
    minute: int

    def following(self, now: datetime, zone: str) -> datetime:
        """The next such moment after `now`."""
        return self._moments(now, zone, range(9))[0]

    def latest(self, now: datetime, zone: str) -> datetime:
        """The last such moment, `now` included."""
        return self._moments(now, zone, range(-8, 1))[-1]

    def _moments(self, now: datetime, zone: str, ahead: range) -> list[datetime]:
        today = now.astimezone(ZoneInfo(zone)).date()
        days = [today + timedelta(days=each) for each in ahead]
        found = [local_time(day, self.minute, zone) for day in days if day.weekday() in self.days]
        later = ahead.start >= 0
        return [each for each in found if (each > now if later else each <= now)]


class Calendar(Struct, frozen=True):
    """The account's time zone, and when posts below critical wait: hours, and spans of days."""

    zone: str = "UTC"
    hours: tuple[Hours, ...] = ()
    dates: tuple[Days, ...] = ()

    def quiet_until(self, now: datetime) -> datetime | None:
        """When the quiet time that `now` is in ends; None if it is in none."""
        until = now
        for _ in range(MOST_JOINED):
            ends = self._ends(until)
            if not ends:
                break
            until = max(ends)
        return until if until > now else None

    def _ends(self, now: datetime) -> list[datetime]:
        """When the quiet windows end that `now` is in."""
        today = now.astimezone(ZoneInfo(self.zone)).date()
        yesterday = today - timedelta(days=1)
        spans = [window_of(each, day) for each in self.hours for day in (yesterday, today)]
        if any(covers(days, today) for days in self.dates):
            midnight = local_time(today + timedelta(days=1), 0, self.zone)
            spans.append((local_time(today, 0, self.zone), midnight))
        return [span[1] for span in spans if span is not None and span[0] <= now < span[1]]


ALWAYS_LOUD = Calendar()
"""A calendar without a quiet time."""


def covers(days: Days, day: date) -> bool:
    """Whether the day is one of them."""
    first, last = days
    here = (day.year, day.month, day.day)[-len(first) :]
    if first <= last:
        return first <= here <= last
    return here >= first or here <= last  # over the turn of the year


def days_of(text: str) -> Days:
    """`2026-12-24`, `12-25` of every year, or two of them with `..`; raises ValueError."""
    first, dots, last = text.replace(" ", "").partition("..")
    found = day_of(first), day_of(last if dots else first)
    if len(found[0]) != len(found[1]) or (len(found[0]) == 3 and found[0] > found[1]):
        raise ValueError(_DAYS)
    return found


_DAYS = "write days such as 2026-12-24, 12-25 (every year), or 12-24..01-01"


def day_of(text: str) -> Day:
    """A date, or a day of every year: `2026-12-25`, `12-25`; raises ValueError."""
    try:
        found = tuple(map(int, text.split("-")))
        date(*(found if len(found) == 3 else (2000, *found)))
    except (ValueError, TypeError):
        raise ValueError(_DAYS) from None
    return found


def schedule(text: str) -> Schedule:
    """`mon-fri 09:00`, or `09:00` of every day; raises ValueError."""
    days, _, time = text.strip().rpartition(" ")
    found = _AT.fullmatch(time)
    if found is None:
        raise ValueError("write days and a time, such as mon-fri 09:00")
    return Schedule(frozenset(weekdays(days or "mon-sun")), int(found[1]) * 60 + int(found[2]))


def weekdays(text: str) -> tuple[int, ...]:
    """`mon`, `mon-fri`, `sat,sun`, `fri-mon` as days from 0 = Monday; raises ValueError."""
    days: list[int] = []
    for part in text.lower().split(","):
        ends = [_weekday(end.strip()) for end in part.split("-")]
        if len(ends) > 2:
            raise _no_weekday()
        first, last = ends[0], ends[-1]
        days += [(first + ahead) % 7 for ahead in range((last - first) % 7 + 1)]
    return tuple(dict.fromkeys(days))


def _weekday(text: str) -> int:
    for day, name in enumerate(WEEKDAYS):
        if len(text) >= 3 and f"{name}{_LONG[day]}".startswith(text):
            return day
    raise _no_weekday()


_LONG = ("day", "sday", "nesday", "rsday", "day", "urday", "day")


def _no_weekday() -> ValueError:
    return ValueError("write weekdays such as mon, mon-fri or sat,sun")
