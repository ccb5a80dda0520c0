"""Quantities as people write them in rule files: durations, percents, rates and working hours."""

import re
from dataclasses import dataclass
from datetime import timedelta

from bot.fields.field import WEEKDAYS
from bot.messages import duration
from bot.messages import rate as times_and_window

_PERCENT = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?) ?%?")
_HOURS = re.compile(r"(\d{1,2})(?::(\d{2}))?-(\d{1,2})(?::(\d{2}))?")
DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many within a window of that length."""

    times: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class Active:
    """When posts may go out: weekdays (0 = Monday) and minutes of the day in the account's zone."""

    days: frozenset[int]
    start: int
    end: int


def milliseconds(text: str) -> int:
    """A duration such as `60s` in whole milliseconds; raises ValueError."""
    return duration(text) // timedelta(milliseconds=1)


def percent(text: str) -> float:
    """A share such as `80%` or `80` on the scale to 100; raises ValueError."""
    found = _PERCENT.fullmatch(text.strip())
    if not found:
        raise ValueError("write a percentage such as 80%")
    return float(found[1])


def rate(text: str) -> Rate:
    """`10 per hour`, `3 per 15m`: how many within which window; raises ValueError."""
    return Rate(*times_and_window(text))


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


def active(text: str) -> Active:
    """`mon-fri 08:00-18:00`, `sat,sun`, `22:00-06:00`: when posts may go out.

    Raises ValueError. Hours that end before they start run over midnight.
    """
    problem = ValueError("write days, hours or both, such as mon-fri 08:00-18:00")
    words = text.split()
    if not 1 <= len(words) <= 2:
        raise problem
    hours = _HOURS.fullmatch(words[-1])
    if len(words) == 2 and not hours:
        raise problem
    if not hours and words[0][0].isdigit():
        raise problem
    days = words[0] if len(words) == 2 or not hours else "mon-sun"
    start, end = _minutes(hours) if hours else (0, DAY_MINUTES)
    return Active(frozenset(weekdays(days)), start, end)


def _minutes(found: re.Match[str]) -> tuple[int, int]:
    start, end = (
        int(found[hour]) * 60 + int(found[minute] or 0) for hour, minute in ((1, 2), (3, 4))
    )
    late = any(int(found[minute] or 0) > 59 for minute in (2, 4))
    if late or start >= DAY_MINUTES or end > DAY_MINUTES or start == end:
        raise ValueError("write hours of the day such as 08:00-18:00")
    return start, end
