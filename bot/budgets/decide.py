"""What each budget does in one poll: act on steps, leave what others changed, undo, and pace."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from bot.actions.base import Action
from bot.actions.recording import RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.budgets import texts
from bot.budgets.changed_by_others import (
    NOT_CALLED_FOR,
    act_again,
    left_alone,
    mark_of,
    respect_changes,
)
from bot.budgets.members import remembered
from bot.budgets.state import (
    BudgetContext,
    BudgetMark,
    BudgetStatus,
    Pending,
    SiteLine,
    StepLine,
    budget_status,
    set_budget_mark,
    step_of,
)
from bot.budgets.switches import post, say, switch
from bot.domain import budget as core
from bot.domain import forecast
from bot.domain.budget import (
    SWITCHES,
    Change,
    Ownership,
    Step,
    Switch,
    WebsiteState,
)
from bot.domain.limits import Awaited
from bot.domain.subjects import Site
from bot.rules.model import BudgetStep, names_site
from bot.store import Connection
from bot.store.audit import Note, record
from bot.store.budgets import (
    budget_steps_done,
    mark_budget_step,
)
from bot.store.cancel import take_back_step


def decide(conn: Connection, context: BudgetContext) -> None:
    """Decide what every budget does and put its steps into the outbox."""
    budgets = [budget_status(conn, context, budget) for budget in context.budgets]
    for each in budgets:
        _note_changes(conn, each)
        _say_renamed(conn, each)
        _say_late_outcomes(conn, each)
    respect_changes(conn, context, budgets)
    for each in budgets:
        _take_back_waiting(conn, each, budgets)
    for each in budgets:
        _act_on_steps(conn, each)
    for each in budgets:
        _undo(conn, each, budgets)
    paced = _pace(conn, context, budgets)
    _forget_refusals(context)
    for each in budgets:
        _remember(conn, each, each.budget.id in paced)


# What is new since the last poll


def _note_changes(conn: Connection, status: BudgetStatus) -> None:
    """Note an edit of the limit and a new period in the audit log."""
    mark, budget, notes = status.mark, status.budget, []
    if mark is None:
        return
    title, kind = texts.name(budget), mark.period.partition(" ")[0]
    if (mark.recordings, kind) != (budget.recordings, budget.period):
        was = f"{mark.recordings:,} per {kind}"
        text = f"{title}: {budget.recordings:,} recordings per {budget.period} (was {was})"
        notes.append(Note(kind="budget.edited", rule=status.owner, text=text))
    elif mark.period != status.period.name:
        counts = ", ".join(site.name for site in status.sites) or "no website"
        last = f"{mark.used:,} of {mark.recordings:,} recordings"
        text = f"{title}: new {kind} until {texts.day(status.period.end)}, counts {counts}; "
        text += f"the last one used {last}"
        notes.append(Note(kind="budget.period", rule=status.owner, text=text))
    record(conn, status.context.now, notes)


RENAMED: Final = "website.renamed"


def _say_renamed(conn: Connection, status: BudgetStatus) -> None:
    """Note the websites that have another name since the last poll, and say what follows."""
    known = {line.id: line.name for line in status.mark.websites} if status.mark else {}
    for site in status.sites:
        old = known.get(site.id, site.name)
        if old == site.name:
            continue
        title = f"{old} is now called {site.name}"
        if names_site(status.budget.websites, site):
            note = Note(kind=RENAMED, rule=status.owner, website=site.id, text=title)
            record(conn, status.context.now, [note])
            continue
        name, end = texts.name(status.budget), texts.day(status.period.end)
        counts = f"{name} counts it until the period ends on {end}"
        add = f"To keep it in the budget, add {site.name} to its websites"
        say(conn, status, site, title, counts, add, kind=RENAMED)


# What became of switches


def _say_late_outcomes(conn: Connection, status: BudgetStatus) -> None:
    """Tell people of switches that no post could tell of: refused, or done late."""
    context = status.context
    for website, ended in context.ended.items():
        site = context.sites.get(website) or Site(website, context.name(website))
        for each in (each for each in ended if each.pending.owner == status.owner):
            switch, to = each.pending.switch, each.pending.to
            told = each.pending.posted and not each.late
            if each.refused is not None and each.since is None and not told:
                title = texts.not_done(site.name, switch, to)
                say(conn, status, site, title, each.refused, "The bot tries again every hour")
            elif each.done and (each.since or (each.late and each.pending.posted)):
                since = each.since or each.pending.at or context.now
                local = since.astimezone(context.zone)
                why = f"It had not been possible since {texts.day(local.date())} {local:%H:%M}"
                say(conn, status, site, texts.done_now(site.name, switch, to), why)


RETRY_REFUSED = timedelta(hours=1)
"""How soon a switch that could not be set is tried again."""


def _refused_lately(context: BudgetContext, website: str, switch: Switch) -> bool:
    refused = context.marks[website].refused.get(switch)
    return refused is not None and timedelta() <= context.now - refused.at < RETRY_REFUSED


def _forget_refusals(context: BudgetContext) -> None:
    """Forget what was refused and is not tried again, though it is time: nothing calls for it."""
    for website, state in context.states.items():
        mark = context.marks[website]
        if mark.refused and not mark.pending and state.switchable:
            lately = {
                switch: each for switch, each in mark.refused.items()
                if _refused_lately(context, website, switch)
            }  # fmt: skip
            context.marks[website] = msgspec.structs.replace(mark, refused=lately)


# Steps


def _take_back_waiting(
    conn: Connection, status: BudgetStatus, budgets: Sequence[BudgetStatus]
) -> None:
    """Take back switches that wait, for example while writes fail, and are called for no more."""
    context, recordings = status.context, status.budget.recordings
    due = core.due_steps(status.steps, recordings, status.used, status.per_hour)
    for website, mark in context.marks.items():
        site = context.sites.get(website)
        names = {step.site_name(recordings, website) for step in due if site in status.sites}
        for each in (each for each in mark.pending if each.owner == status.owner):
            held = context.owned.get((website, each.switch))
            if each.undo:
                wanted = not (held and site and _still_needed(held, budgets, site))
            else:
                wanted = not each.steps or not names.isdisjoint(each.steps)
            if _was_changed(context, website, each, held):
                wanted = False  # by somebody; the next poll reports it
            if not wanted and take_back_step(conn, each.key, context.now, NOT_CALLED_FOR):
                _no_longer_pending(context, website, each)


def _was_changed(
    context: BudgetContext, website: str, pending: Pending, held: Ownership | None
) -> bool:
    """Whether the rate is neither as the bot left it nor as the switch that waits will set it."""
    state = context.states.get(website)
    return (
        pending.switch == "recording_rate"
        and held is not None
        and state is not None
        and core.compare(held, state) == "changed"
        and state.shows(pending.switch, pending.to) is False
    )


def _no_longer_pending(context: BudgetContext, website: str, pending: Pending) -> None:
    mark = context.marks[website]
    left = tuple(each for each in mark.pending if each != pending)
    context.marks[website] = msgspec.structs.replace(mark, pending=left)


def _act_on_steps(conn: Connection, status: BudgetStatus) -> None:
    recordings = status.budget.recordings
    due = core.due_steps(status.steps, recordings, status.used, status.per_hour)
    said: dict[str, list[str | Awaited]] = {step.name(recordings): [] for step in due}
    for site in status.sites:
        for name, about in _act_on(conn, status, site, due):
            said[name].append(about)
    shares = {step.at for step in due}
    for written in status.budget.steps:
        name = Step(written.at).name(recordings)
        if written.at in shares and name not in status.done:
            mark_budget_step(conn, status.owner, status.period.name, name, status.context.now)
            _post_step(conn, status, written, name, said[name])


def _act_on(
    conn: Connection, status: BudgetStatus, site: Site, due: Sequence[Step]
) -> list[tuple[str, str | Awaited]]:
    """Act on the due steps of one website; returns what to say, with the names of the steps.

    A step has acted once the website is as the step wants it, and acts once a period.
    """
    context, recordings = status.context, status.budget.recordings
    names = {step: step.site_name(recordings, site.id) for step in due if step.switches}
    fresh = [step for step, name in names.items() if name not in status.done]
    state = context.states.get(site.id)
    if not fresh or state is None or context.marks[site.id].pending:
        return []  # wait for what is under way
    said: list[tuple[str, str | Awaited]] = []
    changes: dict[Switch, Change] = {}
    callers: dict[Switch, list[Step]] = {}
    for step in fresh:
        wanted = core.changes_for(step, state, context.owned_of(site.id))
        own = [each for each in wanted if not left_alone(status, site, each.switch)]
        for change in own:
            changes[change.switch] = change
            callers.setdefault(change.switch, []).append(step)
            if step.rate is not None and change.switch == "recording_rate":
                state = replace(state, rate=step.rate)
        if own:
            continue
        if state.switchable and not _waits(step, state):  # else it may become so
            mark_budget_step(conn, status.owner, status.period.name, names[step], context.now)
            status.done[names[step]] = context.now
        why = LEFT if wanted else _why_unchanged(context, site, step, state)
        said.append((step.name(recordings), texts.unchanged(site.name, why)))
    now = [each for each in changes.values() if not _refused_lately(context, site.id, each.switch)]
    if not now:
        return said
    label = f"{fresh[-1].at:g}%"
    reason = f"{fresh[-1].at:g} % step at {texts.figure(status.used, status.budget)}"
    posting = {step.at for step in status.budget.steps if any(each.posts for each in step.do)}
    posted = any(step.at in posting and step.name(recordings) not in status.done for step in fresh)
    by_switch = {
        switch: [names[step] for step in steps] for switch, steps in callers.items()
    }  # fmt: skip
    awaited = switch(conn, status, site, now, label, reason, steps=by_switch, posted=posted)
    for change, each in zip(now, awaited, strict=True):
        said += [(step.name(recordings), each) for step in callers[change.switch]]
    if site.id in context.paused:
        title = f"{site.name}: Mouseflow had set it to {context.paused[site.id]}, then started it"
        used = f"{texts.figure(status.used, status.budget)} used"
        say(conn, status, site, title, used, "The budget still holds: the bot stops it again")
    return said


def _waits(step: Step, state: WebsiteState) -> bool:
    """Whether the step only lowers a rate and the website is stopped: it acts once it records."""
    return step.rate is not None and step.recording is None and state.is_stopped


LEFT = "somebody else decides about it until the next period"


def _why_unchanged(
    context: BudgetContext, site: Site, step: Step, state: WebsiteState
) -> str | None:
    if state.read_only:
        return "read-only for the bot"
    if step.recording == "stop" and state.is_stopped:
        owned = context.owned.get((site.id, "recording"))
        by_rule = f" by the rule {owned.rule}" if owned and owned.rule else ""
        return f"already stopped{by_rule}"
    if step.rate is not None and state.is_recording and state.rate is not None:
        return f"its recording rate is {state.rate} % already"
    return state.status


def _holds(status: BudgetStatus) -> bool:
    """Whether the budget has stopped one of its websites."""
    held = (status.context.owned.get((site.id, "recording")) for site in status.sites)
    return any(each is not None and each.owner == status.owner for each in held)


def _post_step(
    conn: Connection,
    status: BudgetStatus,
    step: BudgetStep,
    name: str,
    said: Sequence[str | Awaited],
) -> None:
    posts = [action for action in step.do if action.posts]
    stops = any(each.recording == "stop" for each in status.steps if each.at <= step.at)
    if stops and (_holds(status) or any(isinstance(each, Awaited) for each in said)):
        why = [texts.stopped_until(status.budget, status.period)]
    else:
        now, zone = status.context.now, status.context.zone
        ahead = texts.ahead(status.steps, step.at, acts=step_of(step).switches)
        why = [texts.forecast(status.ends, now, status.period, zone), *([ahead] if ahead else [])]
    title = texts.step_title(status.budget, status.used, step.at)
    # A step whose switch was undone posts again when it acts again.
    label = f"{name}/post/{status.context.now:%Y%m%dT%H%M%S.%f}"
    lines = [each for each in said if isinstance(each, str)]
    awaits = [each for each in said if isinstance(each, Awaited)]
    post(
        conn,
        status,
        label,
        title,
        (*lines, *why),
        posts,
        status.sites,
        awaits,
        texts.severity(step_of(step)),
    )


# Undoing


def _undo(conn: Connection, status: BudgetStatus, budgets: Sequence[BudgetStatus]) -> None:
    """Undo what the budget no longer calls for, where the website is as the bot left it."""
    if not status.budget.resume:
        return
    awaits: list[Awaited] = []
    sites: dict[str, Site] = {}
    new_period = not status.done
    reason = f"undone at {texts.figure(status.used, status.budget)}"
    for site in status.context.sites.values():
        undone = _to_undo(status, budgets, site)
        retried = status.context.marks[site.id].refused
        if undone:
            changes = [change for _owned, change in undone]
            found = switch(
                conn, status, site, changes, "resume", reason, undo=True, posted=bool(status.posts)
            )
            if any(each.switch not in retried for each in changes):
                awaits += found
                sites[site.id] = site
            for owned, _change in undone:
                act_again(conn, status, owned)
        elif limited := _limited(status, budgets, site):
            change, limiting = limited
            posted = bool(status.posts)
            found = switch(conn, limiting, site, [change], "limit", reason, posted=posted)
            if change.switch not in retried:
                awaits += found
                sites[site.id] = site
    if awaits:
        title = texts.undone_title(status.budget, status.used, new_period=new_period)
        label = f"resume/{status.context.now:%Y%m%dT%H%M%S.%f}"
        posts = list(status.posts.values())
        post(conn, status, label, title, (), posts, tuple(sites.values()), awaits)


def _to_undo(
    status: BudgetStatus, budgets: Sequence[BudgetStatus], site: Site
) -> list[tuple[Ownership, Change]]:
    """What to undo on the website; the rate first, so that recording starts at it."""
    found = []
    for owned in _undoable(status, site):
        change = core.undo_change(owned)
        if change and not _still_needed(owned, budgets, site):
            found.append((owned, change))
    return sorted(found, key=lambda each: each[1].switch, reverse=True)


def _undoable(status: BudgetStatus, site: Site) -> list[Ownership]:
    """What the budget has set on the website and may change now."""
    context = status.context
    state = context.states.get(site.id)
    if state is None or not state.switchable or context.marks[site.id].pending:
        return []
    return [
        owned
        for owned in context.owned_of(site.id)
        if owned.owner == status.owner
        and core.compare(owned, state) == "unchanged"
        and not _refused_lately(context, site.id, owned.switch)
        and not left_alone(status, site, owned.switch)
    ]


def _still_needed(owned: Ownership, budgets: Sequence[BudgetStatus], site: Site) -> bool:
    """Whether some budget calls for what the bot has set, or for another limit."""
    covering = [each for each in budgets if site in each.sites]
    match owned.switch:
        case "recording":
            return any(each.needs_stop for each in covering)
        case "recording_rate":
            if any(_paces(each, site) for each in covering):
                return True
            limit = _lowest_limit(budgets, site, owned)
            return limit is not None and (owned.before is None or limit[0] < owned.before)
        case _:
            assert_never(owned.switch)


def _lowest_limit(
    budgets: Sequence[BudgetStatus], site: Site, owned: Ownership | None = None
) -> tuple[int, BudgetStatus] | None:
    """The lowest rate that steps in force call for on the website, and whose step it is."""
    limits = [
        (limit, each)
        for each in budgets
        if site in each.sites and (limit := each.limit(site.id, owned)) is not None
    ]
    return min(limits, key=lambda found: found[0], default=None)


def _limited(
    status: BudgetStatus, budgets: Sequence[BudgetStatus], site: Site
) -> tuple[Change, BudgetStatus] | None:
    """The rate to set because the lowest limit in force is no longer what the bot has set."""
    covering = [each for each in budgets if site in each.sites]
    if any(_paces(each, site) or (each is status and each.budget.pace) for each in covering):
        return None
    for owned in _undoable(status, site):
        if owned.switch != "recording_rate":
            continue
        limit = _lowest_limit(budgets, site, owned)
        if limit is not None and str(limit[0]) != owned.set_to:
            return Change(site.id, "recording_rate", str(limit[0])), limit[1]
    return None


# Pacing


def _pace(
    conn: Connection, context: BudgetContext, budgets: Sequence[BudgetStatus]
) -> frozenset[str]:
    """Adjust the rates; returns the budgets that did. The lowest rate of all budgets wins."""
    wanted: dict[str, tuple[int, BudgetStatus]] = {}
    for status in budgets:
        for site, rate in _better_rates(status).items():
            if site not in wanted or rate < wanted[site][0]:
                wanted[site] = (rate, status)
    paced = set()
    for website, (better, status) in wanted.items():
        limit = _lowest_limit(budgets, context.sites[website])
        rate = better if limit is None else min(better, limit[0])
        if not forecast.worth_changing(context.states[website].rate, rate):
            continue
        paced.add(status.budget.id)
        reason = f"paced at {texts.figure(status.used, status.budget)}"
        change = Change(website, "recording_rate", str(rate))
        switch(conn, status, context.sites[website], [change], "pace", reason)
    return frozenset(paced)


def _better_rates(status: BudgetStatus) -> dict[str, int]:
    """The rate that makes the budget last, for each website that may be paced."""
    pace, context = status.budget.pace, status.context
    if pace is None or _paced_lately(status):
        return {}
    pacing = [site for site in status.sites if _can_pace(status, site)]
    others = [
        (traffic, rate)
        for site, (traffic, rate) in zip(status.sites, status.rates(), strict=True)
        if site not in pacing
    ]
    left = status.budget.recordings * forecast.FULL - status.used
    left -= forecast.coming(others, context.now, status.end)
    traffic = [context.traffic[site.id] for site in pacing]
    low = max(pace.low, core.LEAST_RATE)
    rate = forecast.paced_rate(traffic, left, context.now, status.end, low, pace.high)
    return {} if rate is None else {site.id: rate for site in pacing}


def _paced_lately(status: BudgetStatus) -> bool:
    last = status.mark.paced if status.mark else None
    return last is not None and timedelta() <= status.context.now - last < forecast.OFTEN


def _can_pace(status: BudgetStatus, site: Site) -> bool:
    context = status.context
    state = context.states.get(site.id)
    return (
        state is not None
        and state.switchable
        and state.is_recording
        and not context.marks[site.id].pending
        and not _refused_lately(context, site.id, "recording_rate")
        and _paces(status, site)
    )


def _paces(status: BudgetStatus, site: Site) -> bool:
    """Whether the budget steers the website's rate in this period: neither somebody nor a step of
    its own has ended that."""
    return (
        status.budget.pace is not None
        and not left_alone(status, site, "recording_rate")
        and not any(
            step.rate is not None
            and step.site_name(status.budget.recordings, site.id) in status.done
            for step in status.steps
        )
    )


# Remembering


def _remember(conn: Connection, status: BudgetStatus, paced: bool) -> None:
    """Save the budget's status; `paced`: its rate was changed in this poll."""
    context, budget = status.context, status.budget
    last = status.mark.paced if status.mark else None
    done = budget_steps_done(conn, status.owner, status.period.name, status.within)
    mark = BudgetMark(
        at=context.now,
        period=status.period.name,
        first=status.period.first.isoformat(),
        end=status.period.end.isoformat(),
        recordings=budget.recordings,
        used=status.used,
        expected=round(status.expected),
        ends=status.ends,
        paced=context.now if paced else last,
        websites=(
            *(_line(status, site) for site in status.sites),
            *(_line(status, Site(each.id, each.name)) for each in status.counted.absent),
        ),
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
        running=remembered(
            budget, status.period, status.counted, status.running, status.context.today
        ),
    )
    set_budget_mark(conn, budget.id, mark)


def _line(status: BudgetStatus, site: Site) -> SiteLine:
    context = status.context
    state = context.states.get(site.id)
    owners = dict.fromkeys(owned.owner for owned in context.owned_of(site.id))
    return SiteLine(
        id=site.id,
        name=site.name,
        status=state.status if state else None,
        rate=state.rate if state else None,
        owner=", ".join(owners),
        read_only=site.read_only,
        left_alone=min(
            (
                status.done[name]
                for switch in SWITCHES
                if (name := mark_of(site, switch)) in status.done
            ),
            default=None,
        ),
    )


def _does(action: Action) -> str:
    if isinstance(action, RecordingSwitch):
        return f"recording: {action.to}"
    if isinstance(action, RecordingRate):
        return f"recording_rate: {action.rate}"
    return action.kind
