"""Drawings as SVG: bars by day or hour, and how a budget burns down.

Sizes are attributes, since the page's policy allows no inline style. Every drawing has its values
in words for those who can't see it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import log10

from markupsafe import Markup

from bot.messages.text import number
from bot.web.views import Budget

HEIGHT = 24
"""How high bars are: as many pixels, so that whole numbers draw sharp ones."""


def bars(values: Sequence[int], label: str) -> Markup:
    """A bar for each value; the scale is their own, and the last one is now.

    Each bar is 3 wide, with a gap of 1; the page stretches them.
    """
    top = max(*values, 1) if values else 1
    tall = [max(1, round((HEIGHT - 1) * value / top)) for value in values]
    before = "h1".join(f"v-{each}h3v{each}" for each in tall[:-1])
    now = "".join(f"M{4 * len(values) - 4} {HEIGHT}v-{each}h3v{each}" for each in tall[-1:])
    text = f"{label}: {', '.join(map(str, values))}"
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}"><path d="{}"/><path class="now" d="{}"/></svg>'
    ).format(4 * len(values), HEIGHT, text, f"M0 {HEIGHT}{before}", now)


@dataclass(frozen=True, slots=True)
class Size:
    """A drawing's size; `name` is the class that shows it on a wide screen or a phone."""

    name: str
    width: int
    height: int
    left: int
    ticks: int


RULE_SIZES = (Size("plot-wide", 720, 210, 28, 7), Size("plot-phone", 340, 180, 28, 14))
BUDGET_SIZES = (Size("plot-wide", 1020, 300, 52, 7), Size("plot-phone", 340, 240, 52, 14))


PHONE = 500
"""Up to this width a drawing has few words."""

LABEL, WORDS = 44, 80
"""How wide a day's name is at most, without and with the weekday."""

LINE = 14
"""How high a line of text is."""


def nice(top: float) -> int:
    """The next number above that makes a good end of an axis."""
    size = 10 ** int(log10(max(top, 1)))
    return next(int(size * each) for each in (1, 2, 4, 5, 8, 10) if size * each >= top)


def day_name(day: date) -> str:
    """`26 Nov`."""
    return f"{day.day} {day:%b}"


def weekday(day: date) -> str:
    """`Thu 26 Nov`."""
    return f"{day:%a} {day_name(day)}"


def per_day(
    values: Mapping[date, int], what: str, edited: Collection[date] = frozenset()
) -> Markup:
    """Bars for the days of some weeks, with axes, and a line where the rule was edited."""
    days = list(values)
    label = (
        f"{what} per day, {day_name(days[0])} to {day_name(days[-1])}. Between "
        f"{min(values.values())} and {max(values.values())} a day; today {values[days[-1]]} so far."
    )
    if shown := [day_name(day) for day in days if day in edited]:
        label += f" Edited {', '.join(shown)}."
    return Markup("").join(_per_day(values, label, size, edited) for size in RULE_SIZES)


_BAR = Markup('<rect class="b{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>')


_EDIT = Markup('<line class="step" x1="{0}" x2="{0}" y1="8" y2="{1}"/>')


def _per_day(
    values: Mapping[date, int], label: str, size: Size, edited: Collection[date]
) -> Markup:
    top, bottom = nice(max(values.values())), size.height - 22
    step = (size.width - size.left) / len(values)
    marks = sorted({0, top // 2, top})
    parts = [_axis(size, bottom, value, top, number(value)) for value in marks]
    for place, (day, value) in enumerate(values.items()):
        tall = (bottom - 8) * value / top
        x = size.left + place * step
        now = " now" if place == len(values) - 1 else ""
        parts.append(
            _BAR.format(
                now, f"{x + step * 0.13:.1f}", f"{bottom - tall:.1f}", f"{step * 0.74:.1f}",
                f"{tall:.1f}", f"{weekday(day)}: {value}",
            )
        )  # fmt: skip
        if day in edited:
            parts.append(_EDIT.format(f"{x:.1f}", bottom))
            if not any(day - timedelta(days=n) in edited for n in range(1, 4)):
                at, anchor = (x + 4, "start") if x < size.width - LABEL else (x - 4, "end")
                parts.append(_text(at, 18, "edited", anchor))
        if place % size.ticks == 0:
            middle, side = x + step / 2, size.width - LABEL / 2
            at, anchor = (middle, "middle") if middle <= side else (size.width, "end")
            parts.append(_text(at, size.height - 5, day_name(day), anchor))
    return _svg(size, label, parts)


def _axis(size: Size, bottom: float, value: float, top: float, text: str) -> Markup:
    y = bottom - (bottom - 8) * value / max(top, 1)
    kind = "grid" if value else "axis"
    line = Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        kind, size.left, size.width, f"{y:.1f}", f"{y:.1f}"
    )
    return line + _text(size.left - 8, y + 4, text, "end")


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}"{}>{}</text>').format(
        f"{x:.1f}", f"{y:.1f}", anchor, Markup(' class="{}"').format(kind) if kind else "", text
    )


def _svg(size: Size, label: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="plot {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(size.name, size.width, size.height, label, Markup("").join(parts))


def burn_down(budget: Budget, now: datetime) -> Markup:
    """What is left day by day, even use, the forecast, and the steps."""
    left = budget.total - budget.used
    ends = budget.runs_out_on
    out = f"it runs out on {day_name(_day(ends, now))}" if ends else "it lasts to the end"
    label = (
        f"Recordings left, {day_name(budget.starts_on)} to {day_name(budget.ends_on)}. "
        f"{number(left)} left today; at this pace {out}."
    )
    return Markup("").join(_burn_down(budget, now, label, size) for size in BUDGET_SIZES)


def _burn_down(budget: Budget, now: datetime, label: str, size: Size) -> Markup:
    days = (budget.ends_on - budget.starts_on).days + 1
    bottom, right = size.height - 24, size.width - 12
    top = max(budget.total, 1)

    def x(day: float) -> float:
        return size.left + (right - size.left) * day / days

    def y(left: float) -> float:
        return bottom - (bottom - 14) * max(left, 0) / top

    parts = [_axis_at(size, right, y(top * share / 4), top * share / 4) for share in range(5)]
    left, points = float(top), [(x(0), y(top))]
    passed = list(budget.per_day.items())
    for place, (day, count) in enumerate(passed):
        left -= count
        whole = place + 1 < len(passed) or now.date() != day
        part = 1.0 if whole else (now.hour * 60 + now.minute) / 1440
        points.append((x(min(place + part, days)), y(left)))
    if len(passed) > 1:
        points[-1] = (points[-1][0], y(budget.total - budget.used))
    if points[1:]:
        shape = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        area = f"{x(0):.1f},{bottom:.1f} {shape} {points[-1][0]:.1f},{bottom:.1f}"
        parts.append(Markup('<polygon class="area" points="{}"/>').format(area))
        parts.append(Markup('<polyline class="curve" points="{}"/>').format(shape))
    parts.append(_line("even", x(0), y(top), x(days), y(0)))
    above = 0.0
    for step in budget.steps:
        at = y(top * (1 - step.share / 100))
        if step.share < 100:
            parts.append(_line("step", size.left, at, right, at))
            if at - above >= LINE:
                does = f": {step.does.partition(', ')[0]}" * (size.width > PHONE)
                words = f"{step.share:g} %{does}"
                parts.append(_text(size.left + 6, at - 5, words, "start"))
                above = at
    now_x, now_y = points[-1]
    out = _out(budget, now, x)
    parts += _ahead(budget, now, (now_x, now_y), x, bottom)
    parts.append(
        Markup('<circle class="point" cx="{}" cy="{}" r="4.5"/>').format(
            f"{now_x:.1f}", f"{now_y:.1f}"
        )
    )
    if budget.used < budget.total:
        words = f"{number(budget.total - budget.used)} left"
        below = now_x - size.left > 2 * WORDS and bottom - now_y > 2 * LINE  # in the area
        at, anchor = (-8, "end") if below or right - now_x < WORDS else (8, "start")
        parts.append(_text(now_x + at, now_y + (LINE + 4 if below else -8), words, anchor, "here"))
    if out is not None:
        middle = min(max(out, size.left + WORDS / 2), size.width - WORDS / 2)
        words = weekday(_day(budget.runs_out_on or now, now))
        parts.append(_text(middle, size.height - 6, words, "middle", "late"))
    ticks = max(1, days // (7 if size.width > PHONE else 3))
    for place in range(0, days, ticks):
        if out is None or abs(x(place) - out) > WORDS:
            name = day_name(budget.starts_on + timedelta(days=place))
            parts.append(_text(x(place), size.height - 6, name, "middle" if place else "start"))
    return _svg(size, label, parts)


def _axis_at(size: Size, right: float, y: float, value: float) -> Markup:
    line = _line("grid" if value else "axis", size.left, y, right, y)
    return line + _text(size.left - 8, y + 4, _short(value), "end")


def _short(value: float) -> str:
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        kind, f"{x1:.1f}", f"{y1:.1f}", f"{x2:.1f}", f"{y2:.1f}"
    )


def _day(at: datetime, now: datetime) -> date:
    """Its day in the zone of `now`, the account's."""
    return at.astimezone(now.tzinfo).date()


def _out(budget: Budget, now: datetime, x: Callable[[float], float]) -> float | None:
    """Where the day is on which it runs out; None if it lasts, or is used up."""
    if budget.runs_out_on is None or budget.used >= budget.total:
        return None
    days = (budget.ends_on - budget.starts_on).days + 1
    return x(min((_day(budget.runs_out_on, now) - budget.starts_on).days + 0.5, days))


def _ahead(
    budget: Budget,
    now: datetime,
    point: tuple[float, float],
    x: Callable[[float], float],
    bottom: float,
) -> list[Markup]:
    """The forecast: to the day on which it runs out, or to the end of the period."""
    days = (budget.ends_on - budget.starts_on).days + 1
    if budget.used >= budget.total:
        return []
    at = _out(budget, now, x)
    if at is None:
        left = max(0.0, 1 - budget.expected / max(budget.total, 1))
        return [_line("ahead", *point, x(days), bottom - (bottom - 14) * left)]
    likely: list[Markup] = []
    if budget.runs_out_from:
        early = x((_day(budget.runs_out_from, now) - budget.starts_on).days + 0.5)
        to = budget.runs_out_to
        late = x((_day(to, now) - budget.starts_on).days + 0.5 if to else days)
        shape = f"{point[0]:.1f},{point[1]:.1f} {early:.1f},{bottom:.1f} {late:.1f},{bottom:.1f}"
        likely = [Markup('<polygon class="band" points="{}"/>').format(shape)]
    circle = Markup('<circle class="runout" cx="{}" cy="{}" r="4"/>').format(
        f"{at:.1f}", f"{bottom:.1f}"
    )
    return [*likely, _line("ahead", *point, at, bottom), circle]
