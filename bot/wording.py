"""How people write durations, read into values."""

import re
from datetime import timedelta

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) ?(ms|s|m|h|d|w)")
_LONGEST = timedelta(days=36500)


def duration(text: str) -> timedelta:
    """Read `90s`, `5m`, `1h30m`, `7d`; units are ms, s, m, h, d, w.

    Raises ValueError with words for the person who wrote it. The words do not repeat the
    text, so they are safe to show wherever it came from.
    """
    written = text.strip()
    parts = _PART.findall(written)
    if not parts or _PART.sub("", written).strip():
        raise ValueError("write a duration with a unit, such as 60s, 5m, 1h or 7d")
    total = sum((float(number) * _UNITS[unit] for number, unit in parts), timedelta())
    if total > _LONGEST:
        raise ValueError("a duration can be 100 years at most")
    return total
