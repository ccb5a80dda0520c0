"""Conditions and values in words: what is wanted, what is seen, and how far off it is."""

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from bot.rulebook.conditions import (
    Bounds,
    Change,
    Every,
    Exists,
    Is,
    Journey,
    NoneOf,
    Numbers,
    OneItem,
    OneOf,
    Pattern,
    Wants,
)
from bot.rulebook.fields import Field
from bot.rulebook.terms import Leaf
from bot.subjects import Band
from bot.wording.plain import clean
from bot.wording.units import lasting
from bot.wording.values import number

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


def wanted(about: Field, wants: Wants) -> str:
    """What the wants ask for, in words that follow the field's name."""
    match wants:
        case OneOf(values):
            return _listed(values, "or")
        case NoneOf(values):
            return f"not {_listed(values, 'or')}"
        case Every(values):
            return f"all of {_listed(values, 'and')}"
        case Pattern(regex):
            return f"like /{clean(regex, 80)}/"
        case Exists(there):
            return "present" if there else "absent"
        case Is(flag):
            return "yes" if flag else "no"
        case Numbers(values):
            return _listed([quantity(about, value) for value in values], "or")
        case Bounds():
            return _bounds(about, wants)
        case Change():
            return _change(wants)


def _bounds(about: Field, wants: Bounds) -> str:
    named = (
        ("at least", wants.min),
        ("over", wants.over),
        ("at most", wants.max),
        ("under", wants.under),
    )
    said = [f"{word} {quantity(about, it)}" for word, it in named if it is not None]
    return " and ".join(said) or "anything"


def _change(wants: Change) -> str:
    ago = lasting(timedelta(milliseconds=wants.against))
    moves = (("down", wants.drops_by), ("up", wants.rises_by))
    said = [f"{word} by {number(it)} %" for word, it in moves if it is not None]
    return f"{' or '.join(said)} against {ago} ago"


def _listed(values: Sequence[Any], last: str) -> str:
    shown = [clean(value, 80) for value in values[:MOST]]
    if len(values) > MOST:
        return f"{', '.join(shown)} {last} {len(values) - MOST} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def asked(leaf: Leaf, about: Field) -> str:
    """The whole test in words: `duration over 60 s`."""
    if isinstance(leaf, Journey):
        return f"journey {_arrows(leaf.paths)}"
    if isinstance(leaf, OneItem):
        tests = (asked(test, about.part(test.field)) for test in leaf.tests)
        return f"one {leaf.field} with {', '.join(tests)}"
    name = f"variable {leaf.key}" if leaf.key else leaf.field
    return f"{name} {wanted(about, leaf.wants)}"


def _arrows(paths: Iterable[str]) -> str:
    return " → ".join(clean(path, 80) for path in paths)


def seen(about: Field, value: Any) -> str:
    """A value as it is seen, empty where there is none."""
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
    if about.name == "journey":
        return _arrows(values[: 4 * MOST])
    if about.type == "items":
        return f"{len(values)} {about.name}{'' if len(values) == 1 else 's'}"
    return _listed(values, "and") if values else "none"


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


def distance(about: Field, wants: Wants, value: Any) -> str:
    """How far a number is from what is wanted: `2 s short`, `3 too many`; empty if it is not."""
    if not isinstance(wants, Bounds) or not isinstance(value, int | float) or value != value:
        return ""
    low = max((it for it in (wants.min, wants.over) if it is not None), default=-math.inf)
    high = min((it for it in (wants.max, wants.under) if it is not None), default=math.inf)
    if value < low:
        return f"{quantity(about, low - value)} short"
    if value > high:
        return f"{quantity(about, value - high)} too much"
    on_edge = value in (wants.over, wants.under)
    return "just on the edge" if on_edge else ""
