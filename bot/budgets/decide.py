"""What the budgets do in one look: steps, setting back, and pacing."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from bot.actions.base import Action
from bot.actions.recording import RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.budgets import texts as words
from bot.budgets.enqueue import post, say
from bot.budgets.enqueue import switch as enqueue_switch
from bot.budgets.state import (
    BudgetMark,
    Scene,
    SiteLine,
    StepLine,
    Tally,
    View,
    set_budget_mark,
    view_of,
)
from bot.domain import budget as core
from bot.domain import forecast
from bot.domain.budget import RECORDING, STOPPED, Change, Hold, Step
from bot.domain.step import Rank
from bot.domain.subjects import Site
from bot.rules.model import BudgetStep
from bot.store import Connection
from bot.store.budgets import budget_steps_done, disown, mark_budget_step


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


def act(conn: Connection, scene: Scene) -> Tally:
    """Decide what every budget does and write it down with its steps in the outbox."""
    tally = Tally()
    views = [view_of(conn, scene, budget) for budget in scene.budgets]
    stand_aside(conn, scene, views, tally)
    for each in views:
        _act_steps(conn, each, tally)
    for each in views:
        _set_back(conn, each, views, tally)
    paced = _pace(conn, scene, views, tally)
    for each in views:
        remember(conn, each, each.budget.id in paced)
        for site in each.sites:
            tally.used[site.id] = max(tally.used.get(site.id, 0.0), each.percent)
    return tally


# Steps


def _act_steps(conn: Connection, view: View, tally: Tally) -> None:
    recordings = view.budget.recordings
    due = core.due(view.steps, recordings, view.used, view.per_hour)
    lines: dict[str, list[str]] = {step.name(recordings): [] for step in due}
    for site in view.sites:
        for name, line in _act_on(conn, view, site, due, tally).items():
            lines[name].append(line)
    shares = {step.at for step in due}
    for written in view.budget.steps:
        name = Step(written.at).name(recordings)
        if written.at in shares and name not in view.done:
            mark_budget_step(conn, view.owner, view.period.name, name, view.scene.now)
            _post_step(conn, view, written, name, lines[name], tally)


def _act_on(
    conn: Connection, view: View, site: Site, due: Sequence[Step], tally: Tally
) -> Mapping[str, str]:
    """The due steps on one website, each once a period; what was done in words, by step."""
    scene, recordings = view.scene, view.budget.recordings
    names = {step: f"{step.name(recordings)} @{site.id}" for step in due if step.switches}
    fresh = [step for step, name in names.items() if name not in view.done]
    standing = scene.standings.get(site.id)
    if not fresh or standing is None or scene.marks[site.id].pending:
        return {}  # what is under way comes first
    if not standing.ours_to_switch and not standing.read_only:
        line = words.done(site.name, (), standing.status, standing.rate)
        return {step.name(recordings): line for step in fresh}  # its turn may still come
    said, changes = {}, dict[str, Change]()
    for step in fresh:
        mark_budget_step(conn, view.owner, view.period.name, names[step], scene.now)
        own = core.changes(step, standing, scene.holds_of(site.id))
        changes |= {change.switch: change for change in own}
        status = "read-only for the bot" if standing.read_only else standing.status
        if not own and step.recording == "stop" and standing.state == STOPPED:
            status = _stopped_already(scene, site)
        said[step.name(recordings)] = words.done(site.name, own, status, standing.rate)
    if changes:
        label = f"{fresh[-1].at:g}%"
        reason = f"{label} step at {words.figure(view.used, view.budget)}"
        enqueue_switch(conn, view, site, list(changes.values()), label, reason, tally)
    return said


def _stopped_already(scene: Scene, site: Site) -> str:
    hold = scene.holds.get((site.id, "recording"))
    return f"Stopped already by the rule {hold.rule}" if hold and hold.rule else "Stopped already"


def _post_step(
    conn: Connection, view: View, step: BudgetStep, name: str, said: list[str], tally: Tally
) -> None:
    posts = [action for action in step.do if action.rank >= Rank.POST]
    why = [f"{words.figure(view.used, view.budget)} since {words.day(view.period.first)}"]
    if not any(each.recording == "stop" for each in view.steps if each.at <= step.at):
        why.append(words.forecast(view.ends, view.scene.now, view.period, view.scene.zone))
    title = words.title(view.budget, step.at)
    post(conn, view, f"{name}/post", title, (*why, *said), posts, tally)


# Setting back


def _set_back(conn: Connection, view: View, views: Sequence[View], tally: Tally) -> None:
    """Undo what there is no more reason for, where the website stands as the bot left it."""
    if not view.budget.resume:
        return
    lines = []
    for site in view.sites:
        standing = view.scene.standings.get(site.id)
        changes = _to_undo(view, views, site)
        if standing and changes:
            reason = f"set back at {words.figure(view.used, view.budget)}"
            enqueue_switch(conn, view, site, changes, "resume", reason, tally, undo=True)
            lines.append(words.done(site.name, changes, None, standing.rate))
    if lines:
        title = f"{view.budget.summary or f'Budget {view.budget.id}'}: set back"
        used = f"{words.figure(view.used, view.budget)} since {words.day(view.period.first)}"
        label = f"resume/{view.scene.now:%Y%m%dT%H%M%S.%f}"
        post(conn, view, label, title, (used, *lines), list(view.posts.values()), tally)


def _to_undo(view: View, views: Sequence[View], site: Site) -> list[Change]:
    """What to set back on the website; the rate first, so that it starts gently."""
    scene = view.scene
    standing = scene.standings.get(site.id)
    if standing is None or not standing.ours_to_switch or scene.marks[site.id].pending:
        return []
    covering = [each for each in views if site in each.sites]
    changes = [
        core.undone(hold)
        for hold in scene.holds_of(site.id)
        if hold.owner == view.owner
        and core.seen(hold, standing) == "as left"
        and not any(each.justifies(hold) for each in covering)
    ]
    found = [change for change in changes if change]
    return sorted(found, key=lambda change: change.switch, reverse=True)


# Pace


def _pace(conn: Connection, scene: Scene, views: Sequence[View], tally: Tally) -> frozenset[str]:
    """Steer the rates; returns the budgets that have. A website of several obeys the tightest."""
    wanted: dict[str, tuple[int, View]] = {}
    for view in views:
        for site, rate in _better_rates(view).items():
            if site not in wanted or rate < wanted[site][0]:
                wanted[site] = (rate, view)
    paced = set()
    for website, (rate, view) in wanted.items():
        if not forecast.worth_changing(scene.standings[website].rate, rate):
            continue
        paced.add(view.budget.id)
        reason = f"paced at {words.figure(view.used, view.budget)}"
        change = Change(website, "recording_rate", str(rate))
        enqueue_switch(conn, view, scene.sites[website], [change], "pace", reason, tally)
    return frozenset(paced)


def _better_rates(view: View) -> dict[str, int]:
    """The rate that makes the budget last, for each website that may be steered."""
    pace, scene = view.budget.pace, view.scene
    if pace is None or _paced_lately(view):
        return {}
    steered = [site for site in view.sites if _steerable(view, site)]
    others = [
        (traffic, rate)
        for site, (traffic, rate) in zip(view.sites, view.rates(), strict=True)
        if site not in steered
    ]
    left = view.budget.recordings * forecast.FULL - view.used
    left -= forecast.coming(others, scene.now, view.end)
    traffic = [view.traffic[site.id] for site in steered]
    low = max(pace.low, core.LEAST_RATE)
    rate = forecast.paced_rate(traffic, left, scene.now, view.end, low, pace.high)
    return {} if rate is None else {site.id: rate for site in steered}


def _paced_lately(view: View) -> bool:
    last = view.mark.paced if view.mark else None
    return last is not None and timedelta() <= view.scene.now - last < forecast.OFTEN


def _steerable(view: View, site: Site) -> bool:
    scene = view.scene
    standing = scene.standings.get(site.id)
    return (
        standing is not None
        and standing.ours_to_switch
        and standing.state == RECORDING
        and not scene.marks[site.id].pending
        and f"aside {site.id}" not in view.done
        and not any(
            step.rate is not None and f"{step.name(view.budget.recordings)} @{site.id}" in view.done
            for step in view.steps
        )
    )
