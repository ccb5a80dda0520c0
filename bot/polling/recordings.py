"""One look at a website's recordings: read what is new, judge it, write all of it down at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import msgspec

from bot.domain.subjects import Site
from bot.errors import GiveUp, TryLater
from bot.polling.evaluate import Bench, Counted, Judged
from bot.polling.list_reader import Look, Mark, frame, look
from bot.polling.live_sessions import PATIENCE, Memory, due, places, put_off, remember
from bot.polling.record_matches import Found, Routing, Settled, settle
from bot.polling.server_facts import friction_is_ignored
from bot.polling.session import AHEAD, aware, fingerprint, last_activity
from bot.polling.site_rules import Book
from bot.ports import Mouseflow
from bot.rules.explain import why
from bot.store.audit import Note
from bot.store.database import Store
from bot.store.matches import PollOutcome
from bot.store.recordings import SeenRecording, known_recordings, matched_rules, watermark

SOURCE = "recordings"

COST_EVERY = timedelta(hours=1)
"""How often the audit log tells what the rules cost."""

MOST_SAID = 1_000
"""Unreadable rows to name one by one."""

UNREADABLE, COST = "poll.unreadable", "poll.cost"
"""Kinds of notes that are written once, and once in `COST_EVERY`."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What every poll of an account works with.

    `start` is how far back the first poll looks. `expand` lets the list be asked for page
    views, where the server is seen to give them.
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
    """What a poll did: rows read, recordings judged, details asked, and what came of it.

    `since` is when the last look was before it, None at the first one.
    """

    read: int
    judged: int
    details: int
    unread: int
    settled: Settled
    since: datetime | None = None


async def poll(site: Site, book: Book, desk: Desk, memory: Memory, now: datetime) -> Polled:
    """One look. Raises GiveUp or TryLater, and then nothing has changed."""
    text = await desk.store.run(partial(watermark, source=SOURCE, website=site.id))
    mark = msgspec.json.decode(text, type=Mark).until(now) if text else None
    generation = memory.generation
    since = mark.since if mark else now - desk.start
    window = frame(now, mark.polled if mark else since, desk.zone)
    expand = desk.expand and book.expandable
    looked = partial(
        look, desk.mouseflow, desk.store, site.id, mark, window, memory.pace, memory.live,
        since=since, now=now,
    )  # fmt: skip
    expanded = expand and memory.expansion.of_lists(now)
    try:
        seen = await looked(expand=expanded)
    except (GiveUp, TryLater):
        if not expanded:
            raise
        seen = await looked()  # where the API is away, this raises too
        memory.expansion.refused(now)
    if seen.listing.expanded and not any(row.page_views is not None for row in seen.listing.rows):
        memory.expansion.missed()
    if book.thresholds and memory.must_try_friction(now):
        memory.friction_ignored = await friction_is_ignored(desk.mouseflow, site.id, window.filters)
    dues = due(seen, memory, desk.settle, now)
    ids = [each.row.id for each in dues]
    bench = Bench(
        mouseflow=Counted(desk.mouseflow),
        site=site,
        zone=desk.zone.key,
        book=book,
        window=window.filters,
        matched=await desk.store.run(partial(matched_rules, website=site.id, ids=ids)),
        held=bool(memory.friction_ignored),
        tags=memory.tags,
        now=now,
        back=memory.gone,
        expansion=memory.expansion,
        places=places(seen, memory) if expand else {},
        offset=memory.expansion.anywhere(now),
    )
    verdicts = await bench.judge(dues)
    vanished = await _vanished(seen, site, desk.store)
    waiting = put_off(verdicts.judged, memory)
    memory.costs += bench.costs
    outcome = _outcome(seen, verdicts.judged, waiting, vanished, mark, memory, site, now)
    found = [
        Found(rule=rule, subject=judged.subject, happened=_happened(judged, now),
              why=why(rule, judged.subject))
        for judged in verdicts.judged
        if judged.due.row.id not in waiting
        for rule in judged.rules
    ]  # fmt: skip
    result = await desk.store.run(
        partial(settle, outcome=outcome, found=found, routing=desk.routing)
    )
    _told(outcome.notes, memory, now)
    remember(seen, verdicts.judged, waiting, vanished, memory, now)
    if memory.generation != generation:
        memory.forget_facts()  # the rules changed meanwhile: others were asked about
    unread = len(seen.listing.unreadable) + (0 if seen.listing.whole else max(0, seen.missing))
    before = mark.polled if mark else None
    return Polled(len(seen.listing.rows), len(dues), verdicts.details, unread, result, before)


def _outcome(
    seen: Look,
    judged: Sequence[Judged],
    waiting: frozenset[str],
    vanished: frozenset[str],
    mark: Mark | None,
    memory: Memory,
    site: Site,
    now: datetime,
) -> PollOutcome:
    final = {
        each.due.row.id: each.due.settled and each.due.row.id not in waiting for each in judged
    }
    gone = vanished | {each.due.row.id for each in judged if each.gone}
    rows = {each.due.row.id: each.due.row for each in judged}
    rows |= {row.id: row for row in seen.fresh}
    newest = max(min(seen.newest or seen.since, now + AHEAD), mark.newest if mark else seen.since)
    return PollOutcome(
        source=SOURCE,
        website=site.id,
        at=now,
        watermark=msgspec.json.encode(
            Mark(since=seen.since, polled=now, newest=newest,
                 accepted=seen.difference + len(vanished))
        ).decode(),
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
        notes=_notes(seen, judged, memory, site, now),
    )  # fmt: skip


def _notes(
    seen: Look,
    judged: Sequence[Judged],
    memory: Memory,
    site: Site,
    now: datetime,
) -> list[Note]:
    new: dict[str, Note] = {}
    for row in seen.listing.unreadable:
        name = row.id or f"row {row.index}"
        if name not in memory.said and len(memory.said) + len(new) < MOST_SAID:
            new[name] = Note(kind=UNREADABLE, website=site.id, subject=name, text=row.reason)
    notes = [*_costs(memory, site, now), *new.values()]
    if seen.missing > 0 and not seen.listing.whole:
        text = f"{seen.missing} recordings are counted but could not be read"
        notes.append(Note(kind="poll.truncated", website=site.id, text=text))
    for each in judged:
        if each.open and memory.tries.get(each.due.row.id, PATIENCE) >= PATIENCE:
            text = "judged without its detail, which could not be had"
            notes.append(
                Note(kind="poll.undetailed", website=site.id, subject=each.due.row.id, text=text)
            )
    return notes


def _costs(memory: Memory, site: Site, now: datetime) -> list[Note]:
    """Once an hour: how many calls each rule has had a part in."""
    since = memory.counted_since = memory.counted_since or now
    if now - since < COST_EVERY or not memory.costs:
        return []
    text = f"calls for rules since {since:%H:%M} UTC, each with all the rules that needed it"
    return [Note(kind=COST, website=site.id, text=text, details=dict(memory.costs))]


def _told(notes: Sequence[Note], memory: Memory, now: datetime) -> None:
    """These notes are written down: none of them is due again soon."""
    memory.said |= {note.subject for note in notes if note.kind == UNREADABLE}
    if any(note.kind == COST for note in notes):
        memory.costs, memory.counted_since = Counter(), now


async def _vanished(seen: Look, site: Site, store: Store) -> frozenset[str]:
    """Recordings known in the window that a whole reading of it does not have any more."""
    if not seen.listing.whole or seen.difference >= 0:
        return frozenset()
    known = await store.run(partial(known_recordings, website=site.id, since=seen.frame.start))
    there = seen.listing.ids.union(row.id for row in seen.listing.unreadable if row.id)
    return frozenset(
        key
        for key, row in known.items()
        if key not in there and (row.created is None or row.created < seen.frame.end)
    )


def _happened(judged: Judged, now: datetime) -> datetime:
    return min(now, last_activity(judged.due.row) or now)
