"""What the budgets do in one look: steps, setting back, and pacing."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from bot import budgets as core
from bot import forecast
from bot.actions.base import POST
from bot.actions.slack import Slack
from bot.budgets import RECORDING, STOPPED, Change, Step
from bot.poll import budget_words as words
from bot.poll.budget_outbox import post, switch
from bot.poll.budget_people import stand_aside
from bot.poll.budget_scene import Scene, Tally, View, view_of
from bot.poll.budget_shown import remember
from bot.rulebook.rules import BudgetStep
from bot.store import Connection
from bot.store.budgets import mark_budget_step
from bot.subjects import Site


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
        switch(conn, view, site, list(changes.values()), label, reason, tally)
    return said


def _stopped_already(scene: Scene, site: Site) -> str:
    hold = scene.holds.get((site.id, "recording"))
    return f"Stopped already by the rule {hold.rule}" if hold and hold.rule else "Stopped already"


def _post_step(
    conn: Connection, view: View, step: BudgetStep, name: str, said: list[str], tally: Tally
) -> None:
    posts = [action for action in step.do if action.rank >= POST]
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
            switch(conn, view, site, changes, "resume", reason, tally, undo=True)
            lines.append(words.done(site.name, changes, None, standing.rate))
    if lines:
        title = f"{view.budget.summary or f'Budget {view.budget.id}'}: set back"
        used = f"{words.figure(view.used, view.budget)} since {words.day(view.period.first)}"
        posts = [Slack(channel=channel) for channel in view.channels]
        label = f"resume/{view.scene.now:%Y%m%dT%H%M%S.%f}"
        post(conn, view, label, title, (used, *lines), posts, tally)


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
        switch(conn, view, scene.sites[website], [change], "pace", reason, tally)
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
