"""How many matches a day other thresholds of a rule would bring: rungs, filters, and a chart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from bot.errors import ConfigError
from bot.fields.catalogue import fields
from bot.fields.field import Field
from bot.rules.evaluate import field_of
from bot.rules.explain import asked
from bot.rules.model import All, AnyOf, Condition, Not, Rule, Test
from bot.rules.needs import likely
from bot.rules.operators import Bounds
from bot.rules.units import quantity
from mouseflow.filters import SessionFilters

Side = Literal["min", "max"]

TUNABLE: dict[str, Field] = {it.name: it for it in fields("recordings") if it.thresholds}
"""The fields whose thresholds the API can count with, by name."""

WIDTH = 40


@dataclass(frozen=True, slots=True)
class Knob:
    """The threshold of a rule that is turned: which field, which side, and how it stands."""

    field: str
    side: Side
    present: float


@dataclass(frozen=True, slots=True)
class Rung:
    """One threshold and how many recordings a day meet the rule with it."""

    threshold: float
    a_day: float
    present: bool


def knobs(rule: Rule) -> tuple[Knob, ...]:
    """The thresholds of the rule that the API can count with, friction first."""
    found = []
    for part in _parts(rule.when):
        if isinstance(part, Test) and part.field in TUNABLE and isinstance(part.operator, Bounds):
            name, bounds = part.field, part.operator
            low = bounds.over if bounds.min is None else bounds.min
            high = bounds.under if bounds.max is None else bounds.max
            found += [Knob(name, "min", low)] if low is not None else []
            found += [Knob(name, "max", high)] if high is not None else []
    order = list(TUNABLE)
    return tuple(sorted(found, key=lambda knob: order.index(knob.field)))


def knob(rule: Rule, name: str = "") -> Knob:
    """The threshold to turn; raises ConfigError if the rule has none that can be counted."""
    found = [each for each in knobs(rule) if name in ("", each.field)]
    if not found:
        raise ConfigError(
            f"{rule.id}: it has no threshold of {name or ', '.join(TUNABLE)} that every "
            "match must meet, so there is nothing to tune"
        )
    return found[0]


def rungs(turned: Knob, wanted: Sequence[float] = ()) -> tuple[float, ...]:
    """The thresholds to count at, ascending, with the present one among them."""
    return tuple(sorted({*(wanted or TUNABLE[turned.field].thresholds), turned.present}))


def filters(rule: Rule, turned: Knob, threshold: float, days: tuple[date, date]) -> SessionFilters:
    """The rule's filter with that threshold; what contradicts it on the other side is left out."""
    base = replace(likely(rule), fromdate=days[0], todate=days[1])
    served = TUNABLE[turned.field].served
    least, greatest = served.names
    this, other = (least, greatest) if turned.side == "min" else (greatest, least)
    value = served.take(threshold)
    opposite = getattr(base, other)
    clash = opposite is not None and (opposite < value) == (turned.side == "min")
    keep = None if clash and opposite != value else opposite
    return replace(base, **{this: value, other: keep})


def whole_days(since: datetime, now: datetime, zone: ZoneInfo) -> tuple[date, date]:
    """From that day up to today, which is not over and not included."""
    last = now.astimezone(zone).date()
    return min(since.astimezone(zone).date(), last - timedelta(days=1)), last


def uncounted(rule: Rule) -> tuple[str, ...]:
    """The parts of the rule's condition that no filter covers, in words.

    There are at most as many matches as are counted.
    """
    left = [
        _words(part)
        for part in _parts(rule.when)
        if likely(replace(rule, when=part, excepts=None)) == SessionFilters()
    ]
    if rule.excepts is not None:
        left.append(f"except {_words(rule.excepts)}")
    return tuple(left)


def _parts(condition: Condition) -> tuple[Condition, ...]:
    if isinstance(condition, All):
        return tuple(inner for part in condition.parts for inner in _parts(part))
    return (condition,)


def _words(condition: Condition) -> str:
    if isinstance(condition, Not):
        return f"not {_words(condition.part)}"
    if isinstance(condition, All | AnyOf):
        link = " and " if isinstance(condition, All) else " or "
        return f"({link.join(map(_words, condition.parts))})"
    return asked(condition, field_of(condition, "recordings"))


def chart(turned: Knob, curve: Sequence[Rung]) -> list[str]:
    """A line for each rung: the threshold, matches a day, and a bar; the present one is marked."""
    about = TUNABLE[turned.field]
    sign = "≥" if turned.side == "min" else "≤"
    labels = [f"{sign} {quantity(about, rung.threshold)}" for rung in curve]
    figures = [f"{rung.a_day:.1f}" for rung in curve]
    most = max((rung.a_day for rung in curve), default=0.0)
    wide, long = max(map(len, labels), default=0), max(map(len, figures), default=0)
    lines = []
    for label, figure, rung in zip(labels, figures, curve, strict=True):
        bar = _bar(rung.a_day, most)
        mark = "  ← now" if rung.present else ""
        lines.append(f"{label:<{wide}}  {figure:>{long}} a day  {bar}{mark}".rstrip())
    return lines


def _bar(value: float, most: float) -> str:
    if value <= 0 or most <= 0:
        return ""
    eighths = max(1, round(value / most * WIDTH * 8))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[rest].strip()
