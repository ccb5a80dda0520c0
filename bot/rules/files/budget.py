"""One budget as written: its limit, period, steps and pace; and one weekly report."""

from bot.actions.base import Allowed
from bot.actions.notifier import Notifier
from bot.actions.recording_rate import RecordingRate
from bot.actions.slack import SLACK
from bot.domain.calendar import Schedule, schedule
from bot.fields.field import WEEKDAYS
from bot.rules.files.actions import actions
from bot.rules.files.keys import BUDGET_KEYS, REPORT_KEYS, names, required
from bot.rules.model import (
    Budget,
    BudgetStep,
    Pace,
    Report,
)
from bot.rules.syntax.location import (
    Location,
    choice,
    flag,
    is_number,
    mapping,
    part,
    plain_text,
    share,
    texts,
    website_names,
    whole,
    worded,
)
from bot.rules.syntax.nodes import Entry, Keys, Node, Scalar
from bot.rules.units import percent

_PERIODS = ("day", "week", "month")


def budget(entry: Entry, place: Location, allowed: Allowed) -> Budget | None:
    """One budget under its id; None if it has errors."""
    before = len(place.faults)
    keys = mapping(entry.node, place, names(BUDGET_KEYS), required(BUDGET_KEYS))
    if keys is None:
        return None
    summary = part(keys, "summary", place, plain_text)
    websites = part(keys, "websites", place, website_names('write "*" for all of them'))
    recordings = part(keys, "recordings", place, whole(1, 1_000_000_000))
    period = part(keys, "period", place, choice(*_PERIODS))
    starts = part(keys, "starts_on", place, _first_of_week if period == "week" else whole(1, 31))
    if starts is not None and period == "day":
        place.at("starts_on", keys.entries["starts_on"]).fault(
            "starts_on cannot be used with period: day; remove it"
        )
    steps = part(keys, "steps", place, lambda node, here: _steps(node, here, allowed))
    resume = part(keys, "resume", place, flag)
    pace = part(keys, "pace", place, _pace)
    was = part(keys, "was", place, texts)
    if "steps" not in keys.entries and pace is None and len(place.faults) == before:
        place.fault("this budget does nothing; add steps, or pace: true")
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
        was=was or (),
        summary=summary or "",
        file=place.file,
        line=entry.line,
        column=entry.column,
    )


def report(entry: Entry, place: Location, allowed: Allowed) -> Report | None:
    """One weekly report under its id; None if it has errors."""
    before = len(place.faults)
    keys = mapping(entry.node, place, names(REPORT_KEYS), required(REPORT_KEYS))
    if keys is None:
        return None
    summary = part(keys, "summary", place, plain_text)
    websites = part(keys, "websites", place, website_names("leave websites out for all of them"))
    at = part(keys, "at", place, worded(_weekly))
    do = keys.entries.get("do")
    posts: list[Notifier] = []
    if do is not None and isinstance(do.node, Keys) and set(do.node.entries) != {SLACK.key}:
        place.at("do", do).fault(_ONE_POST)
    elif do is not None:
        here = place.at("do", do)
        made = actions(do.node, here, "websites", allowed) or ()
        posts = [each for each in made if isinstance(each, Notifier) and each == each.plain()]
        if made and (len(made) > 1 or not posts):
            here.fault(_ONE_POST)
    if len(place.faults) > before or at is None or not posts:
        return None
    return Report(
        id=entry.key,
        at=at,
        channel=posts[0].posts_to("") or "",
        websites=websites or (),
        summary=summary or "",
        file=place.file,
        line=entry.line,
        column=entry.column,
    )


_ONE_POST = 'a report is one post of the bot; write {slack: {channel: "#ux"}}'


def _weekly(text: str) -> Schedule:
    found = schedule(text)
    if len(found.days) != 1:
        raise ValueError("write one weekday and a time, such as mon 09:00")
    return found


def _first_of_week(node: Node, place: Location) -> int | None:
    """A weekday by its number, 1 for Monday."""
    if isinstance(node, Scalar) and type(node.value) is int and 1 <= node.value <= 7:
        return node.value
    source = node.source if isinstance(node, Scalar) else ""
    found = next((n for n, day in enumerate(WEEKDAYS, 1) if source.lower().startswith(day)), None)
    hint = f"; write {found}" if found else ""
    place.on(node).fault(f"starts_on must be a weekday from 1 (Monday) to 7 (Sunday){hint}")
    return None


def _steps(node: Node, place: Location, allowed: Allowed) -> tuple[BudgetStep, ...] | None:
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(
            "steps must have shares and actions such as {95%: {recording_rate: 25}}"
        )
        return None
    found: dict[float, BudgetStep] = {}
    places: dict[float, Location] = {}
    for entry in node:
        here = place.at(entry.key, entry)
        at = _share(entry, here)
        do = actions(entry.node, here, "websites", allowed)
        if at in found:
            here.fault("duplicate step")
        elif at is not None and do is not None:
            found[at], places[at] = BudgetStep(at, do), here
    steps = tuple(found[at] for at in sorted(found))
    lowest: int | None = None
    for step in steps:
        for to in (each.rate for each in step.do if isinstance(each, RecordingRate)):
            if lowest is not None and to > lowest:
                places[step.at].warn(
                    "raised-rate",
                    f"an earlier step lowers the rate to {lowest} %; a step never raises it",
                )
            lowest = to if lowest is None else min(to, lowest)
    return steps


def _share(entry: Entry, place: Location) -> float | None:
    scalar = Scalar(entry.key, entry.key, True, entry.line, entry.column)
    at = share(scalar, place)
    if at is not None and not 0 < at <= 200:
        place.fault("a step must be above 0% and at most 200% of the budget")
        return None
    return at


def _pace(node: Node, place: Location) -> Pace | None:
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


def _rate(node: Node, place: Location) -> float | None:
    value = worded(percent)(node, place) if isinstance(node, Scalar) or is_number(node) else None
    if value is not None and 1 <= value <= 100:
        return value
    if value is not None or not isinstance(node, Scalar):
        place.on(node).fault(f"{place.name} must be a percentage from 1 to 100")
    return None
