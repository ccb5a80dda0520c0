"""Quantities as people write them in rule files: durations, percents, rates and working hours."""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct

from bot.domain.calendar import weekdays as weekdays
from bot.domain.subjects import Band
from bot.fields.field import Field
from bot.messages import duration
from bot.messages import rate as times_and_window
from bot.messages.text import clean, lasting, number

MOST = 5
_SHORT = 90_000


def quantity(about: Field, figure: float) -> str:
    """A figure with its unit: `58 s`, `1 min 35 s`, `12.5 %`, `2.5`."""
    if about.type == "duration" and math.isfinite(figure):
        ms = round(figure)
        if 1000 <= abs(ms) <= _SHORT:
            return f"{number(round(ms / 1000, 1))} s"
        return lasting(timedelta(milliseconds=ms))
    if about.type == "percent":
        return f"{number(round(figure, 1))} %"
    return number(figure)


def enumerated(values: Sequence[Any], last: str) -> str:
    """`a, b or c`; of many values the first ones, and how many more there are."""
    shown = [clean(value, 80) for value in values[:MOST]]
    if len(values) > MOST:
        return f"{', '.join(shown)} {last} {len(values) - MOST} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def arrows(paths: Iterable[str]) -> str:
    """`/cart → /checkout`."""
    return " → ".join(clean(path, 80) for path in paths)


def seen(about: Field, value: Any) -> str:
    """The value in words, empty where there is none."""
    if value is None or value == "":
        return ""
    if isinstance(value, Band):
        return band(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return _several(about, value)
    return quantity(about, value) if about.numeric else clean(value, 120)


def _several(about: Field, values: tuple[Any, ...]) -> str:
    if about.ordered:
        return arrows(values[: 4 * MOST])
    if about.type == "items":
        return f"{len(values)} {about.name}{'' if len(values) == 1 else 's'}"
    return enumerated(values, "and") if values else "none"


def band(value: Band) -> str:
    """A friction as a bracket of the thresholds that were asked: `at least 2.5, under 5`."""
    if value.high <= math.nextafter(value.low, math.inf):
        return number(value.low)
    parts = []
    if math.isfinite(value.low):
        parts.append(f"at least {value.low:.7g}")
    if math.isfinite(value.high):
        parts.append(f"under {value.high:.7g}")
    return ", ".join(parts) or "not bounded"


_PERCENT = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?) ?%?")
_HOURS = re.compile(r"(\d{1,2})(?::(\d{2}))?-(\d{1,2})(?::(\d{2}))?")
DAY_MINUTES = 24 * 60


class Rate(Struct, frozen=True):
    """At most so many within a window of that length."""

    times: int
    window: timedelta


class Active(Struct, frozen=True):
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
