"""How many matches a day other thresholds of a rule would bring: rungs, filters, and a chart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from bot.errors import ConfigError
from bot.rules.evaluate import field_of
from bot.rules.explain import asked, quantity
from bot.rules.fields.catalogue import field
from bot.rules.model import All, AnyOf, Bounds, Condition, Not, Rule, Test
from bot.rules.needs import likely
from mouseflow.filters import SessionFilters

Name = Literal["friction", "duration", "pages"]
Side = Literal["min", "max"]

RUNGS: dict[Name, tuple[float, ...]] = {
    "friction": (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10),
    "duration": (10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_200_000, 1_800_000),
    "pages": (1, 2, 3, 5, 8, 12, 20),
}
"""Thresholds to try, in the field's base unit (ms for durations)."""

_FILTERS: dict[Name, str] = {"friction": "friction", "duration": "visit", "pages": "pages"}
WIDTH = 40


@dataclass(frozen=True, slots=True)
class Knob:
    """The threshold of a rule that is turned: which field, which side, and how it stands."""

    field: Name
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
        if isinstance(part, Test) and part.field in RUNGS and isinstance(part.wants, Bounds):
            name, wants = part.field, part.wants
            low = wants.over if wants.min is None else wants.min
            high = wants.under if wants.max is None else wants.max
            found += [Knob(name, "min", low)] if low is not None else []
            found += [Knob(name, "max", high)] if high is not None else []
    order = list(RUNGS)
    return tuple(sorted(found, key=lambda knob: order.index(knob.field)))


def knob(rule: Rule, name: str = "") -> Knob:
    """The threshold to turn; raises ConfigError if the rule has none that can be counted."""
    found = [each for each in knobs(rule) if name in ("", each.field)]
    if not found:
        raise ConfigError(
            f"{rule.id}: it has no threshold of {name or 'friction, duration or pages'} that every "
            "match must meet, so there is nothing to tune"
        )
    return found[0]


def rungs(turned: Knob, wanted: Sequence[float] = ()) -> tuple[float, ...]:
    """The thresholds to count at, ascending, with the present one among them."""
    return tuple(sorted({*(wanted or RUNGS[turned.field]), turned.present}))


def filters(rule: Rule, turned: Knob, threshold: float, days: tuple[date, date]) -> SessionFilters:
    """The rule's filter with that threshold; what contradicts it on the other side is left out."""
    base = replace(likely(rule), fromdate=days[0], todate=days[1])
    short = _FILTERS[turned.field]
    other = f"{short}{'max' if turned.side == 'min' else 'min'}"
    value: Any = threshold
    if turned.field == "duration":
        value = timedelta(milliseconds=threshold)
    elif turned.field == "pages":
        value = round(threshold)
    opposite = getattr(base, other)
    clash = opposite is not None and (opposite < value) == (turned.side == "min")
    keep = None if clash and opposite != value else opposite
    return replace(base, **{f"{short}{turned.side}": value, other: keep})


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
    about = field("recordings", turned.field)
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
