"""Switches and posts of budgets in the outbox: how they get there, and what became of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal, assert_never

from msgspec.structs import replace

from bot.actions.base import Action
from bot.actions.recording import RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.budgets import texts
from bot.budgets.state import (
    STATUS,
    BudgetStatus,
    EndedSwitch,
    Pending,
    Refused,
    SiteMark,
    has_effect,
    last_by_a_rule,
)
from bot.domain.budget import Change, Ownership, Switch, WebsiteState
from bot.domain.causes import SLACK
from bot.domain.limits import Awaited, Posting
from bot.domain.step import StepStatus
from bot.domain.subjects import Severity, Site, WebsiteSubject, written
from bot.messages.ops import instant
from bot.polling.ops_messages import notice
from bot.rules.model import steps as outbox_steps
from bot.store import Connection
from bot.store.audit import AuditKind, Note, record
from bot.store.budgets import (
    StepOutcome,
    Switching,
    disown,
    mark_budget_step,
    own,
    owned,
    step_outcome,
    supersede,
    switchings,
)
from bot.store.matches import POSTS_WAIT_MS, NewMatch, NewStep, add_match

FIRST_POLL = timedelta(days=90)
"""How far back the first poll of a website reads what rules have done to it."""

POSTS_WAIT = timedelta(milliseconds=POSTS_WAIT_MS)

# Into the outbox


def switch(
    conn: Connection,
    status: BudgetStatus,
    site: Site,
    changes: Sequence[Change],
    label: str,
    reason: str,
    *,
    undo: bool = False,
    steps: Mapping[Switch, Sequence[str]] = MappingProxyType({}),
    posted: bool = False,
) -> tuple[Awaited, ...]:
    """Put the changes of one website into the outbox and remember that they are under way.

    `steps` are the names of the budget's steps that call for a change, by its switch; `posted`:
    a post waits for what is returned.
    """
    context = status.context
    actions = [_action(change) for change in changes]
    stamp = f"{context.now:%Y%m%dT%H%M%S.%f}"
    key = f"{status.owner}/{site.id}/{status.period.name}/{label}/{stamp}"
    state = context.states.get(site.id)
    summary = f"{status.owner} {label}"
    match = _match(status, key, site, actions, summary, (reason,), state=state)
    if not add_match(conn, match):
        return ()
    context.matches.append(key)
    mark = context.marks[site.id]
    for change in changes:
        if change.switch in mark.refused:
            supersede(conn, mark.refused[change.switch].key, context.now)
    pending = tuple(
        Pending(
            key=f"{key}/{change.switch}-1",
            switch=change.switch,
            to=change.to,
            owner=status.owner,
            reason=reason,
            undo=undo,
            period=status.period.name,
            steps=tuple(steps.get(change.switch, ())),
            posted=posted,
            at=context.now,
        )
        for change in changes
    )
    context.marks[site.id] = replace(mark, pending=(*mark.pending, *pending))
    rate = state.rate if state else None
    return tuple(
        texts.awaited(each.key, site.name, change, rate)
        for each, change in zip(pending, changes, strict=True)
    )


def _action(change: Change) -> Action:
    match change.switch:
        case "recording_rate":
            return RecordingRate(rate=int(change.to), only_lower=change.lowers)
        case "recording":
            to: Literal["start", "stop"] = "stop" if change.to == "stop" else "start"
            return RecordingSwitch(to=to)
        case _:
            assert_never(change.switch)


def _match(
    status: BudgetStatus,
    key: str,
    site: Site,
    actions: Iterable[Action],
    title: str,
    why: tuple[str, ...],
    *,
    state: WebsiteState | None,
) -> NewMatch:
    context = status.context
    subject = WebsiteSubject(
        website=site,
        status=state.status if state else None,
        recording_rate=state.rate if state else None,
        budget_used=round(status.percent, 2),
    )
    steps = [
        NewStep(key=step.key, rank=step.rank, lane=step.lane, kind=step.action.kind,
                params=step.action.stored(), due=context.now)
        for step in outbox_steps(actions, subject, key, context.routing.channel)
    ]  # fmt: skip
    return NewMatch(
        rule=status.owner,
        kind="websites",
        website=site.id,
        subject_key=site.id,
        match_key=key,
        subject=written(subject),
        matched=context.now,
        steps=steps,
        why=why,
        summary=title,
    )


def post(
    conn: Connection,
    status: BudgetStatus,
    label: str,
    title: str,
    why: tuple[str, ...],
    posts: Sequence[Action],
    sites: Sequence[Site],
    awaits: Sequence[Awaited] = (),
    severity: Severity = "info",
) -> None:
    """Post, once for all these websites; always in the audit log.

    The posts wait for the switches of `awaits` and say what became of them.
    """
    context, text = status.context, "; ".join((title, *why))
    record(conn, context.now, [Note(kind="budget.step", rule=status.owner, text=text)])
    if not posts:
        return
    site = sites[0] if sites else Site(id="", name="")
    if len(sites) > 1:
        names = ", ".join(each.name for each in sites)
        site = Site(id=site.id, name=names, read_only=site.read_only)
    key = f"{status.owner}/{status.period.name}/{label}"
    # The lines say the state of each website; it changes until the post goes out.
    match = _match(status, key, site, posts, title, why, state=None)
    match = replace(
        match,
        subject_key=status.budget.id,
        posting=Posting(awaits=tuple(awaits)),
        severity=severity,
    )
    if add_match(conn, match):
        context.matches.append(key)


def say(
    conn: Connection,
    status: BudgetStatus,
    site: Site,
    title: str,
    *lines: str,
    kind: AuditKind = "website.note",
    icon: str = "🔶",
) -> None:
    """Tell people where the budget posts, else in the ops channel; always in the audit log.

    `kind` is that of the entry in the audit log.
    """
    context = status.context
    note = Note(kind=kind, rule=status.owner, website=site.id, text=title,
                details={"lines": list(lines)})  # fmt: skip
    record(conn, context.now, [note])
    own = tuple(to for to, post in status.posts.items() if post.service == SLACK)
    for channel in own or ((context.ops,) if context.ops is not None else ()):
        match = notice(
            f"{icon} {title}", lines, context.now, channel, site, "budgets", rules=(status.owner,),
            grey=instant(context.now),
        )  # fmt: skip
        if add_match(conn, match):
            context.matches.append(match.match_key)


# What became of it


def ended_switches(
    conn: Connection,
    website: str,
    mark: SiteMark | None,
    state: WebsiteState | None,
    now: datetime,
) -> tuple[SiteMark, tuple[EndedSwitch, ...]]:
    """The website's mark with the switches that are still under way, and what became of others.

    Writes down what the bot owns from now on, or no longer owns, and the steps that have acted.
    Without a `state` (the request failed) the mark keeps what was seen before.
    """
    outcomes = [(each, step_outcome(conn, each.key)) for each in (mark.pending if mark else ())]
    left = tuple(each for each, found in outcomes if found and found.status.is_open)
    refused = dict(mark.refused) if mark else {}
    ended = tuple(
        _ended(conn, website, each, found, state, refused.get(each.switch), now)
        for each, found in outcomes
        if found is None or not found.status.is_open
    )
    for each in ended:
        switch = each.pending.switch
        refused.pop(switch, None)
        if each.refused is not None:
            refused[switch] = Refused(each.since or now, now, each.pending.key)
    waiting = {name for each in ended if not each.done for name in each.pending.steps}
    waiting |= {name for each in left for name in each.steps}
    for pending in (each.pending for each in ended if each.done):
        for name in (name for name in pending.steps if name not in waiting):
            mark_budget_step(conn, pending.owner, pending.period, name, now)
    if state is None:
        kept = replace(mark, pending=left, refused=refused) if mark else None
        return kept or SiteMark(at=now), ended
    if mark is None:
        return SiteMark(at=now, status=state.status, rate=state.rate), ended
    rate_changed = state.rate != mark.rate
    found_now = SiteMark(
        at=now,
        status=state.status,
        rate=state.rate,
        former=mark.rate if rate_changed else mark.former,
        changed=now if rate_changed else mark.changed,
        pending=left,
        days=mark.days,
        doubted=mark.doubted,
        deleted=mark.deleted,
        absent=mark.absent,
        refused=refused,
    )
    return found_now, ended


def _ended(
    conn: Connection,
    website: str,
    pending: Pending,
    outcome: StepOutcome | None,
    state: WebsiteState | None,
    before: Refused | None,
    now: datetime,
) -> EndedSwitch:
    """Write down what became of a switch that is no longer under way."""
    result = outcome.result if outcome else None
    performed = outcome is not None and outcome.status is StepStatus.DONE
    took_effect = performed and has_effect(pending.switch, pending.to, result)
    wanted = STATUS.get(pending.to, pending.to)
    as_wanted = state is not None and state.shows(pending.switch, wanted) is True
    if pending.undo and (took_effect or as_wanted):
        by = "" if took_effect else ", by somebody else"
        disown(conn, website, pending.switch, now, f"{wanted} again, {pending.reason}{by}")
    elif not pending.undo and took_effect:
        _own(conn, website, pending, result, now)
    failed = outcome is not None and not performed and not as_wanted
    took = outcome.ended - pending.at if outcome and outcome.ended and pending.at else timedelta()
    return EndedSwitch(
        pending=pending,
        done=took_effect or (performed and as_wanted),
        refused=outcome.fault if outcome and failed else None,
        since=before.since if before else None,
        late=took >= POSTS_WAIT,
    )


def _own(
    conn: Connection, website: str, pending: Pending, result: str | None, now: datetime
) -> None:
    """Own what the bot changed itself; what was so already belongs to somebody else."""
    before: int | None = None
    match pending.switch:
        case "recording":
            if pending.to == "start":
                disown(conn, website, "recording", now, pending.reason)
                return
        case "recording_rate":
            earlier = owned(conn).get((website, pending.switch))
            before = earlier.before if earlier else int(result or 0)
        case _:
            assert_never(pending.switch)
    own(
        conn,
        Ownership(
            website=website,
            switch=pending.switch,
            owner=pending.owner,
            at=now,
            reason=pending.reason,
            set_to=STATUS.get(pending.to, pending.to),
            before=before,
        ),
    )


def switched(
    conn: Connection, website: str, mark: SiteMark | None, now: datetime
) -> tuple[Switching, ...]:
    """What the bot did to the website's switches since the last poll, and what is under way.

    If this differs before and after a request for the website, the answer may be of either
    time.
    """
    return switchings(conn, website, mark.at if mark else now - FIRST_POLL)


def own_stop_of_a_rule(
    conn: Connection, website: str, switching: Sequence[Switching], state: WebsiteState
) -> bool:
    """Write down that a rule owns the website's stop; True if that is new."""
    last = last_by_a_rule(switching, "recording", state)
    if last is None or last.ended is None or not state.is_stopped:
        return False
    known = owned(conn).get((website, "recording"))
    if known and known.at >= last.ended:
        return False
    own(
        conn,
        Ownership(
            website=website,
            switch="recording",
            owner=last.owner,
            at=last.ended,
            reason=f"the rule {last.owner}",
            set_to=STATUS[last.to],
        ),
    )
    return True
