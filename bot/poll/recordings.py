"""One look at a website's recordings: read what is new, judge it, write all of it down at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import msgspec

from bot.mouseflow.models import PageView, Recording
from bot.poll.book import Book
from bot.poll.expansion import Expansion
from bot.poll.facts import VisitorType, friction_is_ignored
from bot.poll.judging import Bench, Counted, Due, Judged
from bot.poll.matching import Found, Routing, Settled, settle
from bot.poll.tags import TagFilter
from bot.poll.window import AHEAD, Look, Mark, Pace, frame, look, sweep_is_due
from bot.ports import Mouseflow
from bot.rulebook.explain import why
from bot.sources.recordings import (
    aware,
    fingerprint,
    last_activity,
    packed,
    settled,
    unpacked,
)
from bot.store.audit import Note
from bot.store.database import Store
from bot.store.matches import PollOutcome
from bot.store.recordings import SeenRecording, known_recordings, matched_rules
from bot.store.watermarks import watermark
from bot.subjects import Band, Site

SOURCE = "recordings"

LAG = timedelta(minutes=2)
"""Friction may be counted a little after the activity that caused it."""

HOUR = timedelta(hours=1)
SOON = timedelta(minutes=5)

MOST_SAID = 1_000
"""Unreadable rows to name one by one."""

PATIENCE = 10
"""Polls that may fail to bring a recording's detail before it is judged without."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A live session between two polls: its row, and what was asked about it when."""

    row: bytes
    friction: Band | None
    visitor_type: VisitorType | None
    asked: datetime


def _row_alone(waiting: Waiting) -> Waiting:
    row = msgspec.structs.replace(unpacked(waiting.row), page_views=None)
    return replace(waiting, row=packed(row), friction=None, visitor_type=None)


@dataclass(slots=True)
class Memory:
    """What helps from poll to poll and may be lost: a restart reads a little more, once.

    `tries` counts failed details by recording, `said` holds unreadable rows named before.
    `gone` names recordings whose detail was gone, as long as the list still has them.
    """

    live: dict[str, Waiting] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    friction_ignored: bool | None = None
    tags: TagFilter = field(default_factory=TagFilter)
    expansion: Expansion = field(default_factory=Expansion)
    tries: dict[str, int] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    gone: frozenset[str] = frozenset()
    generation: int = 0
    costs: Counter[str] = field(default_factory=Counter)
    counted_since: datetime | None = None
    friction_tried: datetime | None = None

    def must_try_friction(self, now: datetime) -> bool:
        """Is it time to see whether the server heeds the friction filter? Sooner if it did not."""
        tried, again = self.friction_tried, SOON if self.friction_ignored else HOUR
        if tried is not None and now - tried < again:
            return False
        self.friction_tried = now
        return True

    def forget_facts(self) -> None:
        """Other rules ask other things: what was asked of live sessions is asked again."""
        self.generation += 1
        self.live = {key: _row_alone(waiting) for key, waiting in self.live.items()}


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
    """One look. Raises the errors of `bot.mouseflow.errors`, and then nothing has changed."""
    text = await desk.store.run(partial(watermark, source=SOURCE, website=site.id))
    mark = msgspec.json.decode(text, type=Mark).until(now) if text else None
    generation = memory.generation
    since = mark.since if mark else now - desk.start
    window = frame(now, mark.polled if mark else since, desk.zone)
    expand = desk.expand and book.expandable
    seen = await look(
        desk.mouseflow, desk.store, site.id, mark, window, memory.pace, memory.live,
        since=since, now=now, expand=expand and memory.expansion.of_lists(now),
    )  # fmt: skip
    if seen.listing.expanded and not any(row.page_views is not None for row in seen.listing.rows):
        memory.expansion.missed()
    if book.thresholds and memory.must_try_friction(now):
        memory.friction_ignored = await friction_is_ignored(desk.mouseflow, site.id, window.filters)
    dues = _due(seen, desk, memory, now)
    ids = [due.row.id for due in dues]
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
        places=_places(seen) if expand else {},
    )
    verdicts = await bench.judge(dues)
    vanished = await _vanished(seen, site, desk.store)
    waiting = _put_off(verdicts.judged, memory)
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
    _remember(seen, verdicts.judged, waiting, vanished, book, memory, now)
    if memory.generation != generation:
        memory.forget_facts()  # the rules changed meanwhile: others were asked about
    unread = len(seen.listing.unreadable) + (0 if seen.listing.whole else max(0, seen.missing))
    before = mark.polled if mark else None
    return Polled(len(seen.listing.rows), len(dues), verdicts.details, unread, result, before)


def _due(seen: Look, desk: Desk, memory: Memory, now: datetime) -> list[Due]:
    """What to judge: rows that are new or have grown, and sessions that have become final."""
    clock = _clock(seen, now)
    dues = {
        row.id: Due(row, settled(row, clock, desk.settle), visitor_type=_visitor(row, memory))
        for row in seen.grown
    }
    for row in seen.listing.rows:
        if row.id in seen.known.live and row.id not in memory.live and row.id not in dues:
            dues[row.id] = Due(row, settled(row, clock, desk.settle))
    viewed = {row.id: row for row in seen.listing.rows if row.page_views is not None}
    for key, waiting in memory.live.items():
        if key in dues:
            continue
        row = viewed.get(key) or unpacked(waiting.row)
        if settled(row, clock, desk.settle):
            dues[key] = _final(row, waiting)
        elif key in memory.tries:
            dues[key] = Due(row, settled=False)
        elif (at := last_activity(row)) and waiting.asked < at + LAG <= clock:
            dues[key] = Due(row, settled=False, quiet=True, before=waiting.friction)
    return list(dues.values())


def _visitor(row: Recording, memory: Memory) -> VisitorType | None:
    """Whether the visitor came back, which no session changes while it goes on."""
    waiting = memory.live.get(row.id)
    return waiting.visitor_type if waiting else None


def _places(seen: Look) -> dict[str, int]:
    """Where each row stands in the list, as long as it was read in one piece."""
    if seen.listing.exhausted:
        return {}
    return {row.id: at for at, row in enumerate(seen.listing.rows, 1)}


def _final(row: Recording, waiting: Waiting) -> Due:
    """A session at its end; facts asked well after its last activity still hold."""
    at = last_activity(row)
    if at is not None and waiting.asked < at + LAG:
        return Due(row, True)
    return Due(row, True, waiting.friction, waiting.visitor_type, waiting.asked)


def _put_off(judged: Sequence[Judged], memory: Memory) -> frozenset[str]:
    """Recordings whose detail could not be had, as long as patience lasts."""
    waiting = set()
    for each in judged:
        key = each.due.row.id
        if not each.open:
            memory.tries.pop(key, None)
        elif memory.tries.get(key, 0) < PATIENCE:
            memory.tries[key] = memory.tries.get(key, 0) + 1
            waiting.add(key)
        elif each.due.settled:
            memory.tries.pop(key)
    return frozenset(waiting)


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
    newest = max(min(_newest(seen) or seen.since, now + AHEAD), mark.newest if mark else seen.since)
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
    notes = _costs(memory, site, now)
    for row in seen.listing.unreadable:
        name = row.id or f"row {row.index}"
        if name not in memory.said and len(memory.said) < MOST_SAID:
            memory.said.add(name)
            notes.append(
                Note(kind="poll.unreadable", website=site.id, subject=name, text=row.reason)
            )
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
    since, memory.counted_since = memory.counted_since or now, memory.counted_since or now
    if now - since < HOUR or not memory.costs:
        return []
    costs, memory.costs, memory.counted_since = memory.costs, Counter(), now
    text = f"calls for rules since {since:%H:%M} UTC, each with all the rules that needed it"
    return [Note(kind="poll.cost", website=site.id, text=text, details=dict(costs))]


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


def _remember(
    seen: Look,
    judged: Sequence[Judged],
    waiting: frozenset[str],
    vanished: frozenset[str],
    book: Book,
    memory: Memory,
    now: datetime,
) -> None:
    clock = _clock(seen, now)
    for each in judged:
        row = each.due.row
        if each.gone or (each.due.settled and row.id not in waiting):
            memory.live.pop(row.id, None)
        else:
            asked = each.due.asked or clock
            views = None if book.tags_come_late else _views(each.subject.recording, asked)
            memory.live[row.id] = Waiting(
                packed(msgspec.structs.replace(row, page_views=views)),
                each.subject.friction,
                each.subject.visitor_type,
                asked,
            )
    for key in vanished:
        memory.live.pop(key, None)
    listed = seen.listing.ids
    memory.gone = frozenset(
        {key for key in memory.gone if key in listed}
        | {each.due.row.id for each in judged if each.gone}
    )
    if seen.listing.whole or sweep_is_due(memory.pace, now):
        memory.pace.swept = now
    memory.pace.learn(seen, frozenset(memory.live))


def _views(recording: Recording, asked: datetime) -> tuple[PageView, ...] | None:
    """The page views, if they were read so late that nothing was to follow."""
    at = last_activity(recording)
    return recording.page_views if at is not None and asked >= at + LAG else None


def _newest(seen: Look) -> datetime | None:
    stamps = [aware(row.last_activity) for row in seen.listing.rows if row.last_activity]
    return max(stamps, default=None)


def _clock(seen: Look, now: datetime) -> datetime:
    """The time, by the server's rows where our clock is a little behind."""
    newest = _newest(seen)
    return now if newest is None else max(now, min(newest, now + AHEAD))


def _happened(judged: Judged, now: datetime) -> datetime:
    return min(now, last_activity(judged.due.row) or now)
