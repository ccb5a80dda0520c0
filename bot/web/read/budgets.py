"""Budgets: will each last to the end of its period, and what happens if not."""

from collections.abc import Sequence
from datetime import date, timedelta

from bot.actions.base import Action
from bot.actions.notifier import Notifier
from bot.actions.recording import RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.budgets.state import BudgetMark, budget_marks
from bot.domain.budget import midnight
from bot.domain.forecast import range_of_end
from bot.messages.text import clean
from bot.store import Connection
from bot.store.budgets import owned, used
from bot.web.read.world import World
from bot.web.views import Budget, Budgets, BudgetSite, BudgetStep

A_WEEK = 7


def budgets(seen: World) -> Budgets:
    """Read them."""
    conn = seen.conn
    marks = budget_marks(conn).items()
    found = tuple(budget_of(conn, key, it, seen) for key, it in marks if not it.removed)
    return Budgets(frame=seen.frame, budgets=found)


def budget_of(conn: Connection, key: str, mark: BudgetMark, seen: World) -> Budget:
    """One budget with its figures as they were checked last."""
    first, end = date.fromisoformat(mark.first), date.fromisoformat(mark.end)
    counts = used(conn, [site.id for site in mark.websites], first, end)
    today = seen.now.astimezone(seen.facts.zone).date()
    per_day = {first + timedelta(days=n): 0 for n in range((min(today, end) - first).days + 1)}
    per_day.pop(end, None)
    for by_day in counts.values():
        for day, count in by_day.items():
            if day in per_day:
                per_day[day] += count
    whole = [count for day, count in per_day.items() if day < today]
    pace = _pace(whole)
    left, days_left = mark.recordings - mark.used, (end - today).days
    written = {budget.id: budget for budget in seen.facts.rules().budgets}.get(key)
    earliest, latest = range_of_end(
        whole[-2 * A_WEEK :], left, mark.ends, seen.now, midnight(end, seen.facts.zone)
    )
    held_by = owned(conn)
    does = {step.at: words(step.do) for step in written.steps} if written else {}
    return Budget(
        id=key,
        summary=clean(written.summary) if written and written.summary else key,
        starts_on=first,
        ends_on=end - timedelta(days=1),
        used=mark.used,
        total=mark.recordings,
        share=100 * mark.used / mark.recordings if mark.recordings else 100.0,
        expected=mark.expected,
        per_day=per_day,
        pace=pace,
        even_pace=max(0, left) / days_left if days_left > 0 else None,
        runs_out_on=mark.ends,
        runs_out_from=earliest,
        runs_out_to=latest,
        checked_at=mark.at,
        steps=tuple(
            BudgetStep(
                share=step.at,
                does=does.get(step.at) or clean(step.does),
                passed_at=step.acted,
                expected_on=None if step.acted else _expected(mark, step.at, seen),
            )
            for step in mark.steps
        ),
        websites=tuple(
            BudgetSite(
                id=site.id,
                website=seen.name(site.id) if site.id in seen.names else clean(site.name),
                status=site.status,
                rate=site.rate,
                by=site.owner,
                since=held.at if held else None,
                before=held.before if held else None,
                read_only=site.read_only,
                left_alone=site.left_alone,
            )
            for site in mark.websites
            for held in [held_by.get((site.id, "recording_rate"))]
        ),
    )


def words(actions: Sequence[Action]) -> str:
    """What a step does: `records 25 % of sessions, posts to #ops`."""
    return clean(", ".join(map(_in_words, actions)))


def _in_words(action: Action) -> str:
    match action:
        case RecordingSwitch():
            return "stops recording" if action.to == "stop" else "starts recording"
        case RecordingRate():
            return f"records {action.rate} % of sessions"
        case Notifier():
            place = action.posts_to("the default channel")
            return f"posts to {place or 'Slack'}" if place is not None else "calls a webhook"
        case _:
            return action.kind.replace("_", " ")


def _pace(whole: Sequence[int]) -> float | None:
    """Recordings a day: the mean of the last whole days, a week at most."""
    lately = whole[-A_WEEK:]
    return sum(lately) / len(lately) if lately else None


def _expected(mark: BudgetMark, share: float, seen: World) -> date | None:
    """On which day the step will be passed, by the forecast; None if not in this period."""
    zone, now, after = seen.facts.zone, mark.at, date.fromisoformat(mark.end)
    end = midnight(after, zone)
    today = seen.now.astimezone(zone).date()
    left = mark.recordings * share / 100 - mark.used
    if left <= 0:
        return today
    coming, until = mark.expected - mark.used, end
    if mark.ends and mark.ends > now:
        beyond = left - (mark.recordings - mark.used)
        if beyond > 0:  # when it is used up, and so much more
            left, coming, now = beyond, mark.expected - mark.recordings, mark.ends
        else:
            coming, until = mark.recordings - mark.used, mark.ends
    if coming <= 0 or left > coming:
        return None
    day = (now + (until - now) * (left / coming)).astimezone(zone).date()
    return max(day, today) if day < after else None
