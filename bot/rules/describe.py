"""Values and lists in words, as explanations and messages show them."""

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from bot.domain.subjects import Band
from bot.fields.field import Field
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
