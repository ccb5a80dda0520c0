"""`budgets` as written -> budgets: what websites may use up in a period, and what to do then."""

from bot.rulebook.keys import BUDGET_KEYS, names, required
from bot.rulebook.places import (
    Place,
    choice,
    flag,
    is_number,
    mapping,
    part,
    share,
    text,
    website_names,
    whole,
    worded,
)
from bot.rulebook.read_do import Allowed, actions
from bot.rulebook.rules import Budget, BudgetStep, Pace
from bot.rulebook.spans import Entry, Keys, Node, Scalar
from bot.rulebook.units import WEEKDAYS, percent

_PERIODS = ("day", "week", "month")


def budget(entry: Entry, place: Place, allowed: Allowed) -> Budget | None:
    """One budget under its id; None and faults where it has any."""
    before = len(place.faults)
    keys = mapping(entry.node, place, names(BUDGET_KEYS), required(BUDGET_KEYS))
    if keys is None:
        return None
    summary = part(keys, "summary", place, text)
    websites = part(keys, "websites", place, website_names('write "*" for all of them'))
    recordings = part(keys, "recordings", place, whole(1, 1_000_000_000))
    period = part(keys, "period", place, choice(*_PERIODS))
    starts = part(keys, "starts_on", place, _first_of_week if period == "week" else whole(1, 31))
    if starts is not None and period == "day":
        place.at("starts_on", keys.entries["starts_on"]).fault(
            "a day starts at midnight; leave it out"
        )
    steps = part(keys, "steps", place, lambda node, here: _steps(node, here, allowed))
    resume = part(keys, "resume", place, flag)
    pace = part(keys, "pace", place, _pace)
    if "steps" not in keys.entries and pace is None and len(place.faults) == before:
        place.fault("this budget does nothing; give it steps, or pace: true")
    if len(place.faults) > before or websites is None or recordings is None or period is None:
        return None
    return Budget(
        id=entry.key,
        websites=websites,
        recordings=recordings,
        period="day" if period == "day" else "week" if period == "week" else "month",
        starts_on=starts or 1,
        steps=steps or (),
        resume=bool(resume),
        pace=pace,
        summary=summary or "",
        file=place.file,
        line=entry.line,
        column=entry.column,
    )


def _first_of_week(node: Node, place: Place) -> int | None:
    """A weekday by its number, 1 for Monday."""
    if isinstance(node, Scalar) and type(node.value) is int and 1 <= node.value <= 7:
        return node.value
    source = node.source if isinstance(node, Scalar) else ""
    found = next((n for n, day in enumerate(WEEKDAYS, 1) if source.lower().startswith(day)), None)
    hint = f"; write {found}" if found else ""
    place.on(node).fault(f"starts_on is a weekday from 1, Monday, to 7, Sunday{hint}")
    return None


def _steps(node: Node, place: Place, allowed: Allowed) -> tuple[BudgetStep, ...] | None:
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault("steps wants shares and actions such as {95%: {recording_rate: 25}}")
        return None
    found: dict[float, BudgetStep] = {}
    for entry in node:
        here = place.at(entry.key, entry)
        at = _share(entry, here)
        do = actions(entry.node, here, "websites", allowed)
        if at in found:
            here.fault("this share stands twice")
        elif at is not None and do is not None:
            found[at] = BudgetStep(at, do)
    return tuple(found[at] for at in sorted(found))


def _share(entry: Entry, place: Place) -> float | None:
    scalar = Scalar(entry.key, entry.key, True, entry.line, entry.column)
    at = share(scalar, place)
    if at is not None and not 0 < at <= 200:
        place.fault("a step stands between 0% and 200% of the budget")
        return None
    return at


def _pace(node: Node, place: Place) -> Pace | None:
    if not isinstance(node, Keys):
        wanted = flag(node, place)
        return Pace() if wanted else None
    keys = mapping(node, place, ("min", "max"))
    low, high = (part(node, key, place, _rate) for key in ("min", "max"))
    if keys is None or (low is None and "min" in node.entries):
        return None
    pace = Pace(10.0 if low is None else low, 100.0 if high is None else high)
    if pace.low > pace.high:
        place.on(node).fault("min is above max")
        return None
    return pace


def _rate(node: Node, place: Place) -> float | None:
    value = worded(percent)(node, place) if isinstance(node, Scalar) or is_number(node) else None
    if value is not None and 1 <= value <= 100:
        return value
    if value is not None or not isinstance(node, Scalar):
        place.on(node).fault(f"{place.name} wants a percentage from 1 to 100")
    return None
