"""What is remembered of a budget after a look, and what `status` shows of it."""

from bot import budgets as core
from bot.actions.base import Action
from bot.actions.recording import RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.poll.budget_marks import BudgetMark, SiteLine, StepLine, set_budget_mark
from bot.poll.budget_scene import Scene, View
from bot.store import Connection
from bot.store.budgets import budget_steps_done
from bot.subjects import Site


def remember(conn: Connection, view: View, paced: bool) -> None:
    """Write the budget down as it stands; `paced` tells that its rate was changed just now."""
    scene, budget = view.scene, view.budget
    last = view.mark.paced if view.mark else None
    done = budget_steps_done(conn, view.owner, view.period.name)
    mark = BudgetMark(
        at=scene.now,
        period=view.period.name,
        first=view.period.first.isoformat(),
        end=view.period.end.isoformat(),
        recordings=budget.recordings,
        used=view.used,
        expected=round(view.expected),
        ends=view.ends,
        paced=scene.now if paced else last,
        websites=tuple(_line(scene, site) for site in view.sites),
        steps=tuple(
            StepLine(
                at=step.at,
                does=", ".join(dict.fromkeys(_does(action) for action in step.do)),
                acted=done.get(core.Step(step.at).name(budget.recordings)),
            )
            for step in budget.steps
        ),
        resume=budget.resume,
        pace=budget.pace is not None,
    )
    set_budget_mark(conn, budget.id, mark)


def _line(scene: Scene, site: Site) -> SiteLine:
    standing = scene.standings.get(site.id)
    owners = dict.fromkeys(hold.owner for hold in scene.holds_of(site.id))
    return SiteLine(
        id=site.id,
        name=site.name,
        status=standing.status if standing else None,
        rate=standing.rate if standing else None,
        owner=", ".join(owners),
        read_only=site.read_only,
    )


def _does(action: Action) -> str:
    if isinstance(action, RecordingSwitch):
        return f"recording: {action.to}"
    if isinstance(action, RecordingRate):
        return f"recording_rate: {action.rate}"
    return action.kind
