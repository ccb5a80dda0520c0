"""How many matches a day other thresholds of a rule would bring: rungs, filters, and a chart."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from bot.domain.subjects import Band, RecordingSubject
from bot.errors import ConfigError
from bot.fields.catalogue import fields
from bot.fields.field import Field
from bot.rules.evaluate import field_of
from bot.rules.explain import asked
from bot.rules.model import All, AnyOf, Condition, Not, Rule, Test
from bot.rules.needs import likely
from bot.rules.operators.figures import Bounds
from bot.rules.units import quantity
from mouseflow.filters import SessionFilters

Side = Literal["min", "max"]

TUNABLE: dict[str, Field] = {it.name: it for it in fields("recordings") if it.thresholds}
"""The fields whose thresholds the API can count with, by name."""

WIDTH = 40


@dataclass(frozen=True, slots=True)
class Knob:
    """The threshold of a rule that is turned: which field, which side, and its value now."""

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


MOST_ASKED = 30
"""How many recordings that people called not useful are looked at: the latest ones."""

MOST_AVOIDED = 75
"""A threshold is suggested if it would have avoided so many percent of them."""


def asks_all(rule: Rule, turned: Knob, thresholds: Sequence[float]) -> Rule:
    """A rule that asks of each threshold whether it is reached: its answer brackets the value."""
    tests = (Test(turned.field, Bounds(**{turned.side: each})) for each in thresholds)
    return replace(rule, when=AnyOf(tuple(tests)), excepts=None)


def value(turned: Knob, subject: RecordingSubject) -> float | None:
    """The figure that the threshold is about; of a friction its lower bound."""
    found = TUNABLE[turned.field].get(subject)
    if isinstance(found, Band):
        return found.low if turned.side == "min" else found.high
    return float(found) if isinstance(found, int | float) else None


def avoided(turned: Knob, threshold: float, values: Iterable[float]) -> int:
    """How many of these the rule would not have matched with that threshold."""
    return sum(each < threshold if turned.side == "min" else each > threshold for each in values)


def suggestion(turned: Knob, curve: Sequence[Rung], values: Sequence[float]) -> Rung | None:
    """The threshold nearest to the present one that would have avoided most of them.

    None if there is none that leaves any matches.
    """
    stricter = [
        rung
        for rung in curve
        if rung.a_day
        and 100 * avoided(turned, rung.threshold, values) >= MOST_AVOIDED * len(values)
    ]
    nearest = min(stricter, key=lambda it: abs(it.threshold - turned.present), default=None)
    return nearest if values else None


def said(turned: Knob, curve: Sequence[Rung], values: Sequence[float]) -> list[str]:
    """What people called not useful says about the thresholds, in words."""
    if not values:
        return []
    of = f"{len(values)} that people called not useful"
    better = suggestion(turned, curve, values)
    if better is None:
        return [f"no threshold of {turned.field} here would have avoided most of the {of}"]
    about, now = TUNABLE[turned.field], next(rung for rung in curve if rung.present)
    fewer = f"{better.a_day:.1f} instead of {now.a_day:.1f} matches a day"
    return [
        f"{turned.side}: {quantity(about, better.threshold)} would have avoided "
        f"{avoided(turned, better.threshold, values)} of the {of}; it has {fewer}"
    ]


def filters(rule: Rule, turned: Knob, threshold: float, days: tuple[date, date]) -> SessionFilters:
    """The rule's filter with that threshold; what contradicts it on the other side is left out."""
    base = dataclasses.replace(likely(rule), fromdate=days[0], todate=days[1])
    served = TUNABLE[turned.field].served
    least, greatest = served.names
    this, other = (least, greatest) if turned.side == "min" else (greatest, least)
    value = served.take(threshold)
    opposite = getattr(base, other)
    clash = opposite is not None and (opposite < value) == (turned.side == "min")
    keep = None if clash and opposite != value else opposite
    return dataclasses.replace(base, **{this: value, other: keep})


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
