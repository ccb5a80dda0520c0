"""Warnings about numbers in conditions: what no figure can be, and what every figure is."""

import math

from bot.rulebook.conditions import Bounds, Numbers
from bot.rulebook.fields import Field
from bot.rulebook.phrases import wanted
from bot.rulebook.places import Place

_SHARES = frozenset({"scroll", "conversion", "recording_rate"})
"""Percentages of a whole; of the others the API's counters can make more than a hundred."""

_LAST_HOUR = 23


def doubt_numbers(numbers: Numbers, place: Place, field: Field) -> None:
    """Warn of figures that the field never has."""
    if field.name == "friction":
        place.warn(
            "friction-exact", "hardly any session has exactly this friction; write {min: 2.5}"
        )
    low, high = _range(field)
    if not any(low <= value <= high for value in numbers.values):
        place.warn("never-holds", _words(field))


def doubt_bounds(bounds: Bounds, last: Place, place: Place, field: Field) -> None:
    """Warn of bounds that no figure is within, or every one; `last` is where the last one is."""
    if _none(bounds, -math.inf, math.inf):
        last.warn("never-holds", f"nothing is {wanted(field, bounds)}")
    elif _none(bounds, *_range(field)):
        place.warn("never-holds", _words(field))
    elif _every(bounds, *_range(field)):
        more = "so this holds wherever there is a figure; if that is meant, write {exists: true}"
        place.warn("always-true", f"{_words(field)}, {more}")


def _range(field: Field) -> tuple[float, float]:
    """The least and the greatest figure that the field can have, as far as that is certain."""
    if not field.numeric or field.name == "friction":
        return -math.inf, math.inf  # variables hold anything; a site's own friction may be negative
    if field.name in _SHARES:
        return 0, 100
    return 0, _LAST_HOUR if field.name == "hour" else math.inf


def _words(field: Field) -> str:
    if field.name in _SHARES:
        return f"{field.name} is a share between 0% and 100%"
    return "hours go from 0 to 23" if field.name == "hour" else f"{field.name} is never below 0"


def _none(bounds: Bounds, least: float, greatest: float) -> bool:
    """Whether no number from the least to the greatest is within."""
    low = max(end for end in (least, bounds.min, bounds.over) if end is not None)
    high = min(end for end in (greatest, bounds.max, bounds.under) if end is not None)
    return low > high or (low == high and (bounds.over == low or bounds.under == high))


def _every(bounds: Bounds, least: float, greatest: float) -> bool:
    """Whether every number from the least to the greatest is within."""
    return (
        (bounds.min is None or bounds.min <= least)
        and (bounds.over is None or bounds.over < least)
        and (bounds.max is None or bounds.max >= greatest)
        and (bounds.under is None or bounds.under > greatest)
    )
