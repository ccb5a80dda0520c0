"""How budgets put their decisions into the outbox: switches, posts, and news for people."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec.structs import replace

from bot.actions.base import Action
from bot.actions.recording import RecordingSwitch
from bot.actions.recording_rate import RecordingRate
from bot.budgets.state import Pending, Tally, View
from bot.domain.budget import Change
from bot.domain.subjects import Site, WebsiteSubject, written
from bot.polling.ops_messages import notice
from bot.rules.plan_steps import steps as outbox_steps
from bot.store import Connection
from bot.store.audit import Note, record
from bot.store.matches import NewMatch, NewStep, add_match


def switch(
    conn: Connection,
    view: View,
    site: Site,
    changes: Sequence[Change],
    label: str,
    reason: str,
    tally: Tally,
    *,
    undo: bool = False,
) -> None:
    """Put the changes of one website into the outbox and remember that they are under way."""
    scene = view.scene
    actions = [_action(change) for change in changes]
    key = f"{view.owner}/{site.id}/{view.period.name}/{label}/{scene.now:%Y%m%dT%H%M%S.%f}"
    match = _match(view, key, site, actions, f"{view.owner} {label}", (reason,))
    if not add_match(conn, match):
        return
    tally.matches.append(key)
    pending = tuple(
        Pending(
            key=f"{key}/{change.switch}-1",
            switch=change.switch,
            to=change.to,
            owner=view.owner,
            reason=f"{view.owner}: {reason}",
            undo=undo,
        )
        for change in changes
    )
    mark = scene.marks[site.id]
    scene.marks[site.id] = replace(mark, pending=(*mark.pending, *pending))


def _action(change: Change) -> Action:
    if change.switch == "recording_rate":
        return RecordingRate(rate=int(change.to))
    to: Literal["start", "stop"] = "stop" if change.to == "stop" else "start"
    return RecordingSwitch(to=to)


def _match(
    view: View, key: str, site: Site, actions: Iterable[Action], title: str, why: tuple[str, ...]
) -> NewMatch:
    scene = view.scene
    standing = scene.standings.get(site.id)
    subject = WebsiteSubject(
        website=site,
        status=standing.status if standing else None,
        recording_rate=standing.rate if standing else None,
        budget_used=round(view.percent, 2),
    )
    steps = [
        NewStep(key=step.key, rank=step.rank, lane=step.lane, kind=step.action.kind,
                params=step.action.model_dump_json(), due=scene.now)
        for step in outbox_steps(actions, subject, key, scene.routing.channel)
    ]  # fmt: skip
    return NewMatch(
        rule=view.owner,
        kind="websites",
        website=site.id,
        subject_key=site.id,
        match_key=key,
        subject=written(subject),
        matched=scene.now,
        steps=steps,
        why=why,
        summary=title,
    )


def post(
    conn: Connection,
    view: View,
    label: str,
    title: str,
    why: tuple[str, ...],
    posts: Sequence[Action],
    tally: Tally,
) -> None:
    """Post, once for all websites of the budget."""
    if not view.sites:
        return
    if not posts:
        text = "; ".join((title, *why))
        record(conn, view.scene.now, [Note(kind="budget.step", rule=view.owner, text=text)])
        return
    site = view.sites[0]
    if len(view.sites) > 1:
        names = ", ".join(each.name for each in view.sites)
        site = Site(id=site.id, name=names, read_only=site.read_only)
    key = f"{view.owner}/{view.period.name}/{label}"
    match = _match(view, key, site, posts, title, why)
    if add_match(conn, dataclasses.replace(match, subject_key=view.budget.id)):
        tally.matches.append(key)


def say(conn: Connection, view: View, site: Site, tally: Tally, title: str, *lines: str) -> None:
    """Tell people: where the budget posts, else the ops channel; always in the audit log."""
    scene = view.scene
    note = Note(kind="website.person", rule=view.owner, website=site.id, text=title,
                details={"lines": list(lines)})  # fmt: skip
    record(conn, scene.now, [note])
    for channel in tuple(view.posts) or ((scene.ops,) if scene.ops is not None else ()):
        match = notice(title, lines, scene.now, channel, site)
        if add_match(conn, match):
            tally.matches.append(match.match_key)
