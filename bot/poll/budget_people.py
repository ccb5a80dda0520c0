"""Budgets beside people and rules: what others have changed is noticed, left so, and said."""

from collections.abc import Sequence

from bot import budgets as core
from bot.budgets import RECORDING, STOPPED, Hold
from bot.poll import budget_words as words
from bot.poll.budget_outbox import say
from bot.poll.budget_scene import Scene, Tally, View
from bot.store import Connection
from bot.store.budgets import budget_steps_done, disown, mark_budget_step
from bot.subjects import Site


def stand_aside(conn: Connection, scene: Scene, views: Sequence[View], tally: Tally) -> None:
    """Notice what people and rules have changed, leave it so, and say it."""
    owners = {view.owner: view for view in views}
    for (website, switch), hold in list(scene.holds.items()):
        standing, site = scene.standings.get(website), scene.sites.get(website)
        view = owners.get(hold.owner)
        if view is None and not hold.rule:
            _orphan(conn, scene, hold)
            continue
        if not standing or not site or scene.busy(website, switch):
            continue
        if core.seen(hold, standing) == "changed":
            now_is = standing.status if switch == "recording" else f"{standing.rate} %"
            _let_go(conn, scene, hold, str(now_is))
            if view:
                _intervened(conn, view, site, hold, str(now_is), tally)
    for view in views:
        for site in view.sites:
            _stopped_by_others(conn, view, site, tally)


def _orphan(conn: Connection, scene: Scene, hold: Hold) -> None:
    """Its budget is no longer in the rule files: nobody will set it back."""
    del scene.holds[hold.website, hold.switch]
    reason = f"{hold.owner} is in no rule file any more; it stays {hold.set_to}"
    disown(conn, hold.website, hold.switch, scene.now, reason)


def _let_go(conn: Connection, scene: Scene, hold: Hold, now_is: str) -> None:
    del scene.holds[hold.website, hold.switch]
    who = scene.by_whom(hold.website, hold.switch)
    disown(conn, hold.website, hold.switch, scene.now, f"{who} made it {now_is}")


def _intervened(
    conn: Connection, view: View, site: Site, hold: Hold, now_is: str, tally: Tally
) -> None:
    scene = view.scene
    mark_budget_step(conn, view.owner, view.period.name, f"aside {site.id}", scene.now)
    view.done[f"aside {site.id}"] = scene.now
    what = "recording" if hold.switch == "recording" else "the recording rate"
    say(
        conn, view, site, tally,
        f"{site.name}: {scene.by_whom(site.id, hold.switch)} changed {what} to {now_is}",
        f"the budget had set it to {hold.set_to} ({hold.reason})",
        "the budget steps aside: it leaves that so, and sets nothing back",
    )  # fmt: skip


def _stopped_by_others(conn: Connection, view: View, site: Site, tally: Tally) -> None:
    """A stop that is no budget's: noticed when it happens, and when a period begins with it."""
    scene = view.scene
    standing, before = scene.standings.get(site.id), scene.before.get(site.id)
    hold = scene.holds.get((site.id, "recording"))
    rule = hold.rule if hold else ""
    ours = (hold and not rule) or scene.busy(site.id, "recording")
    if standing is None or standing.state != STOPPED or ours or not view.stops:
        return
    recorded = before and (before.status or "").casefold() == RECORDING
    if site.id in scene.stopped if rule else recorded:
        say(
            conn, view, site, tally,
            f"{site.name} was stopped{f' by the rule {rule}' if rule else ', not by the bot'}",
            f"{words.figure(view.used, view.budget)} used",
            "it stays stopped until somebody starts it: a budget starts only what it stopped",
        )  # fmt: skip
    if view.mark and view.mark.period != view.period.name and _had_stopped(conn, view):
        say(
            conn, view, site, tally,
            f"{site.name} stays stopped in the new period",
            f"{f'the rule {rule}' if rule else 'somebody else'} stopped it, and a budget starts "
            "only what it stopped itself",
        )  # fmt: skip


def _had_stopped(conn: Connection, view: View) -> bool:
    """Whether a step that stops was reached in the last period."""
    last = view.mark.period if view.mark else ""
    done = budget_steps_done(conn, view.owner, last)
    shares = [f"{step.at:g}% of " for step in view.steps if step.recording == "stop"]
    return any(name.startswith(share) for name in done for share in shares)
