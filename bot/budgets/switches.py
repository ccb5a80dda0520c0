"""Switches and posts of budgets in the outbox: how they get there, and what became of them."""

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal, assert_never

from msgspec.structs import replace

from bot.actions.base import Action
from bot.actions.recording import CHANGED, RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.budgets.state import STATUS, BudgetStatus, Pending, SiteMark, last_by_a_rule
from bot.domain.budget import Change, Ownership, WebsiteState
from bot.domain.step import StepStatus
from bot.domain.subjects import Site, WebsiteSubject, written
from bot.polling.ops_messages import notice
from bot.rules.model import steps as outbox_steps
from bot.store import Connection
from bot.store.audit import Note, record
from bot.store.budgets import Switching, disown, own, owned, step_outcome, switchings
from bot.store.matches import NewMatch, NewStep, add_match

FIRST_POLL = timedelta(days=90)
"""How far back the first poll of a website reads what rules have done to it."""

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
) -> None:
    """Put the changes of one website into the outbox and remember that they are under way."""
    context = status.context
    actions = [_action(change) for change in changes]
    stamp = f"{context.now:%Y%m%dT%H%M%S.%f}"
    key = f"{status.owner}/{site.id}/{status.period.name}/{label}/{stamp}"
    match = _match(status, key, site, actions, f"{status.owner} {label}", (reason,))
    if not add_match(conn, match):
        return
    context.matches.append(key)
    pending = tuple(
        Pending(
            key=f"{key}/{change.switch}-1",
            switch=change.switch,
            to=change.to,
            owner=status.owner,
            reason=f"{status.owner}: {reason}",
            undo=undo,
        )
        for change in changes
    )
    mark = context.marks[site.id]
    context.marks[site.id] = replace(mark, pending=(*mark.pending, *pending))


def _action(change: Change) -> Action:
    match change.switch:
        case "recording_rate":
            return RecordingRate(rate=int(change.to))
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
) -> NewMatch:
    context = status.context
    state = context.states.get(site.id)
    subject = WebsiteSubject(
        website=site,
        status=state.status if state else None,
        recording_rate=state.rate if state else None,
        budget_used=round(status.percent, 2),
    )
    steps = [
        NewStep(key=step.key, rank=step.rank, lane=step.lane, kind=step.action.kind,
                params=step.action.model_dump_json(), due=context.now)
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
) -> None:
    """Post, once for all websites of the budget; without posts only to the audit log."""
    context = status.context
    if not posts:
        text = "; ".join((title, *why))
        record(conn, context.now, [Note(kind="budget.step", rule=status.owner, text=text)])
        return
    site = status.sites[0] if status.sites else Site(id="", name="")
    if len(status.sites) > 1:
        names = ", ".join(each.name for each in status.sites)
        site = Site(id=site.id, name=names, read_only=site.read_only)
    key = f"{status.owner}/{status.period.name}/{label}"
    match = _match(status, key, site, posts, title, why)
    if add_match(conn, dataclasses.replace(match, subject_key=status.budget.id)):
        context.matches.append(key)


def say(conn: Connection, status: BudgetStatus, site: Site, title: str, *lines: str) -> None:
    """Tell people where the budget posts, else in the ops channel; always in the audit log."""
    context = status.context
    note = Note(kind="website.person", rule=status.owner, website=site.id, text=title,
                details={"lines": list(lines)})  # fmt: skip
    record(conn, context.now, [note])
    for channel in tuple(status.posts) or ((context.ops,) if context.ops is not None else ()):
        match = notice(title, lines, context.now, channel, site)
        if add_match(conn, match):
            context.matches.append(match.match_key)


# What became of it


def settled_switches(
    conn: Connection,
    website: str,
    mark: SiteMark | None,
    state: WebsiteState | None,
    now: datetime,
) -> SiteMark:
    """The website's mark, with the switches that are still under way.

    Writes down what the bot owns from now on, or no longer owns, for the switches that are
    done. Without a `state` (the request failed) the mark keeps what was seen before.
    """
    left = tuple(
        each for each in (mark.pending if mark else ()) if _under_way(conn, website, each, now)
    )
    if state is None:
        return replace(mark, pending=left, absent=None) if mark else SiteMark(at=now)
    if mark is None:
        return SiteMark(at=now, status=state.status, rate=state.rate)
    rate_changed = state.rate != mark.rate
    return SiteMark(
        at=now,
        status=state.status,
        rate=state.rate,
        former=mark.rate if rate_changed else mark.former,
        changed=now if rate_changed else mark.changed,
        pending=left,
        days=mark.days,
        doubted=mark.doubted,
    )


def _under_way(conn: Connection, website: str, pending: Pending, now: datetime) -> bool:
    outcome = step_outcome(conn, pending.key)
    if outcome is None:
        return False
    status, result = outcome
    if status.is_open:
        return True
    done = status is StepStatus.DONE
    if pending.undo:
        reason = "undone" if done else "could not be undone"
        disown(conn, website, pending.switch, now, f"{reason} ({pending.reason})")
    elif done:
        _own(conn, website, pending, result, now)
    return False


def _own(
    conn: Connection, website: str, pending: Pending, result: str | None, now: datetime
) -> None:
    """Own what the bot changed itself; what was so already belongs to somebody else."""
    before: int | None = None
    match pending.switch:
        case "recording":
            if result != CHANGED:
                return
            if pending.to == "start":
                disown(conn, website, "recording", now, pending.reason)
                return
        case "recording_rate":
            if result is None or result == pending.to:
                return
            earlier = owned(conn).get((website, pending.switch))
            before = earlier.before if earlier else int(result)
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
