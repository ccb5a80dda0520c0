"""Spans of time and rates, as people write them and as people read them."""

import re
from datetime import timedelta
from itertools import takewhile

SPAN_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+$"
RATE_PATTERN = (
    r"^\s*0*[1-9][0-9]{0,5}\s+per\s+"
    r"(second|minute|hour|day|week|([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+)\s*$"
)

_MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)\s*", re.ASCII)
_WINDOWS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_LONGEST = timedelta(days=36_525)


def duration(text: str) -> timedelta:
    """`90s`, `5m`, `1h30m`, `7d` or `2w` as a time span; raises ValueError in plain words."""
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        hint = _span_meant(text) or f"write a number and a unit: {_UNITS}"
        raise ValueError(f"{shown(text)} is not a time span; {hint}")
    total = sum(float(number) * _MILLISECONDS[unit] for number, unit in parts)
    if total > _LONGEST / timedelta(milliseconds=1):
        raise ValueError(f"{shown(text)} is longer than a hundred years")
    return timedelta(milliseconds=total)


_UNITS = "90s, 5m, 1h30m, 7d or 2w"
_UNIT_WORDS = {
    "second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "hr": "h", "hourly": "h",
    "day": "d", "daily": "d", "week": "w", "wk": "w", "weekly": "w", "millisecond": "ms",
    "msec": "ms", "s": "s", "m": "m", "h": "h", "d": "d", "w": "w",
}  # fmt: skip
_WRITTEN_OUT = re.compile(r"(?:([0-9]{1,9})[ -]*)?([a-zA-Z]+?)s?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def _span_meant(text: str) -> str:
    """What somebody may have meant: `60` lacks a unit, `5 min` and `day` are `5m` and `1d`."""
    written = text.strip()
    if written.isascii() and written.isdigit() and len(written) < 10:
        return f"it lacks a unit: {written}s, {written}m, {written}h or {written}d"
    found = _WRITTEN_OUT.fullmatch(written)
    unit = _UNIT_WORDS.get(found[2].lower()) if found else None
    if found and unit and (found[1] or len(found[2]) > 1):
        return f"did you mean {found[1] or 1}{unit}?"
    if found := _CLOCK.fullmatch(written):
        first, second, third = (int(part or 0) for part in found.groups())
        if found[3]:
            return f"did you mean {first}h{second}m{third}s?"
        return f"did you mean {first}m{second}s or {first}h{second}m?"
    return ""


_ODD_RATE = re.compile(
    r"([0-9]{1,6}) *(?:x|times)? *(?:/|per|an?|every|each)? *(?:1 *)?([a-zA-Z]+?)s?"
)


def _rate_meant(text: str) -> str:
    """What somebody may have meant: `10/h` and `10 per 1 hour` are `10 per hour`."""
    found = _ODD_RATE.fullmatch(text.strip())
    unit = _UNIT_WORDS.get(found[2].lower()) if found else None
    window = next((name for name in _WINDOWS if name[0] == unit), None)
    if found is None or window is None:
        return "write 10 per hour, or 3 per 15m"
    return f"did you mean {found[1]} per {window}?"


def rate(text: str) -> tuple[int, timedelta]:
    """`10 per hour` or `3 per 15m` as (times, window); raises ValueError in plain words."""
    times, per, window = text.strip().partition(" per ")
    number = times.strip()
    if not per or not (number.isascii() and number.isdigit()):
        raise ValueError(f"{shown(text)} is not a rate; {_rate_meant(text)}")
    if len(number) > 6 or int(number) < 1:
        raise ValueError(f"{shown(text)}: the number must be from 1 to 999999")
    try:
        length = _WINDOWS.get(window.strip()) or duration(window)
    except ValueError:
        if not _ODD_RATE.fullmatch(text.strip()):
            raise
        raise ValueError(f"{shown(text)} is not a rate; {_rate_meant(text)}") from None
    if not length:
        raise ValueError(f"{shown(text)}: the window must be longer than nothing")
    return int(number), length


def shown(text: str) -> str:
    """What somebody wrote, quoted and cut to what fits into a message about it."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


_STEPS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def lasting(length: timedelta) -> str:
    """A time span for readers, in its two largest units: `1 min 35 s`, `2 h`, `350 ms`."""
    seconds = length.total_seconds()
    if 0 < abs(seconds) < 1:
        return f"{round(seconds * 1000)} ms"
    if abs(seconds) < 10 and round(seconds, 1) != round(seconds):
        return f"{seconds:.1f} s"
    left, parts = round(abs(seconds)), []
    for unit, size in _STEPS:
        count, left = divmod(left, size)
        parts.append((count, unit))
    while parts and not parts[0][0]:
        del parts[0]
    words = [f"{count} {unit}" for count, unit in takewhile(lambda part: part[0], parts[:2])]
    return ("-" if seconds < 0 else "") + " ".join(words or ["0 s"])
