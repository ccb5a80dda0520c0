"""One poll of one website's recordings, top to bottom.

Read the list, pick the candidates, evaluate them, record the matches, all in one transaction,
and keep what helps the next poll.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import msgspec

from bot.domain.subjects import Site
from bot.errors import BotError, GiveUp, TryLater
from bot.polling.evaluate import CountingClient, Result, Scope, evaluate
from bot.polling.list_reader import ListReading, PollWindow, Watermark, poll_window, read_list
from bot.polling.live_sessions import (
    LiveSessions,
    add_costs,
    after_poll,
    candidates,
    ending_depth,
    missing_details,
    places,
)
from bot.polling.record_matches import Recorded, Routing, matches_in, record_poll
from bot.polling.server_facts import PollFacts, friction_is_ignored
from bot.polling.session import AHEAD, aware, fingerprint
from bot.polling.site_rules import SiteRules
from bot.ports import Mouseflow
from bot.store.audit import Note
from bot.store.database import Store
from bot.store.matches import PollOutcome
from bot.store.recordings import SeenRecording, known_recordings, matched_rules, watermark

SOURCE = "recordings"

COST_EVERY = timedelta(hours=1)
"""How often the audit log says what the rules cost."""

MOST_REPORTED = 1_000
"""Unreadable rows to name one by one."""

UNREADABLE, COST = "poll.unreadable", "poll.cost"
"""Kinds of notes that are written once, and once in `COST_EVERY`."""


@dataclass(frozen=True, slots=True)
class PollContext:
    """What every poll of an account works with.

    `start` is how far back the first poll looks. `expand` lets the list be asked for page
    views, if the server is known to return them.
    """

    mouseflow: Mouseflow
    store: Store
    zone: ZoneInfo
    settle: timedelta
    start: timedelta
    routing: Routing
    expand: bool = True


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll read, evaluated and recorded, and what to hand to the next one (`live`).

    `since` is the time of the poll before, None for the first one. `without_detail` counts the
    recordings that wait for their detail; `outage` is why, if no detail could be read.
    """

    live: LiveSessions
    read: int
    evaluated: int
    details: int
    unread: int
    recorded: Recorded
    since: datetime | None = None
    without_detail: int = 0
    outage: BotError | None = None


async def poll(
    site: Site, rules: SiteRules, context: PollContext, live: LiveSessions, now: datetime
) -> Polled:
    """Poll once. Raises GiveUp or TryLater, and then nothing has changed."""
    text = await context.store.run(partial(watermark, source=SOURCE, website=site.id))
    before = msgspec.json.decode(text, type=Watermark).until(now) if text else None
    since = before.since if before else now - context.start
    window = poll_window(now, before.polled if before else since, context.zone)
    client = CountingClient(context.mouseflow)
    scope = Scope(
        mouseflow=client,
        facts=PollFacts(client, site.id, window.filters),
        site=site,
        zone=context.zone.key,
        rules=rules,
        window=window.filters,
        now=now,
        back=live.gone,
    )
    seen, live = await _read(scope, context, live, before, window, since)
    live = await _check_friction_filter(scope, live)
    picked = candidates(seen, live, context.settle, now)
    ids = [each.row.id for each in picked]
    expand = context.expand and rules.expandable
    scope = replace(
        scope,
        matched=await context.store.run(partial(matched_rules, website=site.id, ids=ids)),
        places=places(seen, live) if expand else {},
        offset=live.knowledge.expansion.anywhere(now),
    )
    result = await evaluate(picked, live.knowledge, scope)
    vanished = await _vanished(seen, site, context.store)
    waiting, given_up = missing_details(result.evaluations, live, result.outage is not None, now)
    live = add_costs(replace(live, knowledge=result.knowledge), result.costs)
    notes = _notes(seen, given_up, live, site, now)
    outcome = _outcome(seen, result, frozenset(waiting), vanished, before, site, now)
    recorded = await context.store.run(
        partial(
            record_poll,
            outcome=replace(outcome, notes=notes),
            found=matches_in(result.evaluations, now),
            routing=context.routing,
        )
    )
    live = after_poll(live, seen, result.evaluations, waiting, vanished, now)
    return Polled(
        live=replace(_noted(live, notes, now), outage=result.outage is not None),
        read=len(seen.listing.rows),
        evaluated=len(picked),
        details=result.details,
        unread=len(seen.listing.unreadable) + (0 if seen.listing.whole else max(0, seen.missing)),
        recorded=recorded,
        since=before.polled if before else None,
        without_detail=len(waiting),
        outage=result.outage,
    )


async def _read(
    scope: Scope,
    context: PollContext,
    live: LiveSessions,
    before: Watermark | None,
    window: PollWindow,
    since: datetime,
) -> tuple[ListReading, LiveSessions]:
    """The list, with page views if the server is known to return them."""
    now, expansion = scope.now, live.knowledge.expansion
    gap = now - before.polled if before else timedelta()
    read = partial(
        read_list, scope.mouseflow, context.store, scope.site.id, before, window, live.pace,
        live.sessions, since=since, now=now, depth=ending_depth(live, scope, context.settle, gap),
    )  # fmt: skip
    if not (context.expand and scope.rules.expandable and expansion.of_lists(now)):
        return await read(), live
    try:
        seen = await read(expand=True)
    except (GiveUp, TryLater):
        seen = await read()  # if the API is down, this raises too
        expansion = expansion.refused(now)
    if seen.listing.expanded and not any(row.page_views is not None for row in seen.listing.rows):
        expansion = expansion.missed()
    return seen, replace(live, knowledge=replace(live.knowledge, expansion=expansion))


async def _check_friction_filter(scope: Scope, live: LiveSessions) -> LiveSessions:
    """Check now and then whether the server honours the friction filter, if rules need it."""
    if not scope.rules.thresholds or not live.must_try_friction(scope.now):
        return live
    ignored = await friction_is_ignored(scope.mouseflow, scope.site.id, scope.window)
    knowledge = replace(live.knowledge, friction_ignored=ignored)
    return replace(live, knowledge=knowledge, friction_tried=scope.now)


async def _vanished(seen: ListReading, site: Site, store: Store) -> frozenset[str]:
    """Known recordings of the window that are no longer in it, if all of it was read."""
    if not seen.listing.whole or seen.difference >= 0:
        return frozenset()
    known = await store.run(partial(known_recordings, website=site.id, since=seen.window.start))
    there = seen.listing.ids.union(row.id for row in seen.listing.unreadable if row.id)
    return frozenset(
        key
        for key, row in known.items()
        if key not in there and (row.created is None or row.created < seen.window.end)
    )


def _outcome(
    seen: ListReading,
    result: Result,
    waiting: frozenset[str],
    vanished: frozenset[str],
    before: Watermark | None,
    site: Site,
    now: datetime,
) -> PollOutcome:
    """What the store keeps of the poll beside its matches."""
    final = {
        each.candidate.row.id: each.candidate.settled and each.candidate.row.id not in waiting
        for each in result.evaluations
    }
    gone = vanished | {each.candidate.row.id for each in result.evaluations if each.gone}
    rows = {each.candidate.row.id: each.candidate.row for each in result.evaluations}
    rows |= {row.id: row for row in seen.fresh}
    newest = min(seen.newest or seen.since, now + AHEAD)
    after = Watermark(
        since=seen.since,
        polled=now,
        newest=max(newest, before.newest if before else seen.since),
        accepted=seen.difference + len(vanished),
    )
    return PollOutcome(
        source=SOURCE,
        website=site.id,
        at=now,
        watermark=msgspec.json.encode(after).decode(),
        seen=[
            SeenRecording(
                id=row.id,
                fingerprint=fingerprint(row),
                settled=final.get(row.id, True),
                closed=final.get(row.id, True),
                created=aware(row.created) if row.created else None,
                last_activity=aware(row.last_activity) if row.last_activity else None,
            )
            for row in rows.values()
        ],
        vanished=sorted(gone),
    )


def _notes(
    seen: ListReading, given_up: frozenset[str], live: LiveSessions, site: Site, now: datetime
) -> list[Note]:
    """What the audit log says of the poll."""
    new: dict[str, Note] = {}
    for row in seen.listing.unreadable:
        name = row.id or f"row {row.index}"
        if name not in live.reported and len(live.reported) + len(new) < MOST_REPORTED:
            new[name] = Note(kind=UNREADABLE, website=site.id, subject=name, text=row.reason)
    notes = [*_costs(live, site, now), *new.values()]
    if seen.missing > 0 and not seen.listing.whole:
        text = f"{seen.missing} recordings are counted but could not be read"
        notes.append(Note(kind="poll.truncated", website=site.id, text=text))
    text = "closed without its detail, which could not be read"
    notes += [
        Note(kind="poll.undetailed", website=site.id, subject=key, text=text)
        for key in sorted(given_up)
    ]
    return notes


def _costs(live: LiveSessions, site: Site, now: datetime) -> list[Note]:
    """Once an hour: how many calls each rule had a part in."""
    since = live.counted_since
    if since is None or now - since < COST_EVERY or not live.costs:
        return []
    text = f"calls for rules since {since:%H:%M} UTC, each with all the rules that needed it"
    return [Note(kind=COST, website=site.id, text=text, details=dict(live.costs))]


def _noted(live: LiveSessions, notes: Sequence[Note], now: datetime) -> LiveSessions:
    """The same after these notes were written: none of them is due again soon."""
    reported = live.reported.union(note.subject for note in notes if note.kind == UNREADABLE)
    if any(note.kind == COST for note in notes):
        return replace(live, reported=reported, costs={}, counted_since=now)
    return replace(live, reported=reported, counted_since=live.counted_since or now)
