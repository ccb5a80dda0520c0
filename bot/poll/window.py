"""Reads a website's window so that nothing new is missed, by holding it against the count."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from bot.mouseflow.filters import SessionFilters
from bot.mouseflow.models import Recording
from bot.poll.listing import ROW_CAP, Listing, deeper, of_days, reaches, read
from bot.ports import Mouseflow
from bot.sources.recordings import AHEAD, aware, fingerprint, sort_key, window
from bot.store.coverage import Coverage, coverage
from bot.store.database import Store

OVERLAP = timedelta(minutes=5)
"""Rows may be flushed a little late: this far below the newest one an answer must reach."""

SWEEP = timedelta(hours=1)
"""A count that shrinks is looked into this often at most."""

LEAST = 50
"""Rows to ask for at least; the API's own default (L855)."""


class Mark(Struct, frozen=True, kw_only=True):
    """How far a website has been read.

    Nothing without activity since `since` is judged. `newest` is the latest activity seen.
    `accepted` is the difference between the server's count of the window and what is known
    of it, where that has been looked into and can't be closed; None before the first poll
    and after catching up, when most of the window is not known.
    """

    since: datetime
    polled: datetime
    newest: datetime
    accepted: int | None = None

    def until(self, now: datetime) -> "Mark":
        """The same, should the clock have been ahead when it was written."""
        return replace(
            self,
            since=min(self.since, now),
            polled=min(self.polled, now),
            newest=min(self.newest, now + AHEAD),
        )

    @classmethod
    def after(cls, since: datetime, polled: datetime) -> "Mark":
        """Where the first ordinary poll is to begin."""
        return cls(since=since, polled=polled, newest=since)


@dataclass(frozen=True, slots=True)
class Frame:
    """The window of one poll: its days for the API, its instants for the store."""

    filters: SessionFilters
    start: datetime
    end: datetime

    def holds(self, row: Recording) -> bool:
        """Was the recording made within?"""
        return row.created is None or self.start <= aware(row.created) < self.end


@dataclass(slots=True)
class Pace:
    """How deep to read next time, and when a count that shrank was last looked into."""

    depth: int = LEAST
    swept: datetime | None = None

    def learn(self, seen: "Look", live: frozenset[str]) -> None:
        """Ask next time for as many rows as held something of interest now, and a quarter more.

        A reading in parts tells nothing of that.
        """
        if seen.listing.exhausted:
            return
        rows = seen.listing.rows
        if seen.listing.order == "activity":
            newest = sort_key(rows[0], "activity") if rows else None
            again = sum(_since(row, newest - OVERLAP) for row in rows) if newest else 0
            deepest = again + len(seen.grown)
        else:
            deepest = max((at for at, row in enumerate(rows, 1) if row.id in live), default=0)
        self.depth = min(ROW_CAP, max(LEAST, deepest + deepest // 4))


@dataclass(frozen=True, slots=True)
class Look:
    """What one poll read, and what was known of it before.

    `difference` is the server's count less what is known of the window, with this answer;
    `accepted` how much of it was found before to have no remedy.
    """

    frame: Frame
    listing: Listing
    known: Coverage
    since: datetime
    difference: int
    accepted: int | None = None

    @property
    def missing(self) -> int:
        """Recordings that are counted and not known; below nothing where some have vanished.

        A first look leaves older ones out: it misses only what it tried to read and was not given.
        """
        return self.listing.missed if self.accepted is None else self.difference - self.accepted

    @property
    def fresh(self) -> list[Recording]:
        """Rows never seen before."""
        return [row for row in self.listing.rows if row.id not in self.known.fingerprints]

    @property
    def grown(self) -> list[Recording]:
        """Rows that are new or have changed, and belong to the time that is judged."""
        known = self.known.fingerprints
        return [
            row
            for row in self.listing.rows
            if known.get(row.id) != fingerprint(row) and self.concerns(row)
        ]

    @property
    def newest(self) -> datetime | None:
        """The latest activity of the rows that were read."""
        stamps = [aware(row.last_activity) for row in self.listing.rows if row.last_activity]
        return max(stamps, default=None)

    def clock(self, now: datetime) -> datetime:
        """The time, by the server's rows where our clock is a little behind."""
        newest = self.newest
        return now if newest is None else max(now, min(newest, now + AHEAD))

    def concerns(self, row: Recording) -> bool:
        """Has the session been active since the bot began to watch?"""
        at = row.last_activity or row.created
        return at is None or aware(at) >= self.since


def frame(now: datetime, back_to: datetime, zone: ZoneInfo) -> Frame:
    """The window that reaches back to that instant, a day too wide on either side."""
    first, last = window(now, back_to)
    return Frame(of_days(first, last), _midnight(first, zone), _midnight(last, zone))


async def look(
    mouseflow: Mouseflow,
    store: Store,
    website: str,
    mark: Mark | None,
    window: Frame,
    pace: Pace,
    cached: Iterable[str],
    *,
    since: datetime,
    now: datetime,
    expand: bool = False,
) -> Look:
    """Read deep enough.

    `cached` names the live sessions whose rows are at hand: the others must be read again.
    `expand` asks for the page views of the rows.
    """
    at_hand = frozenset(cached)

    async def known_of(ids: Sequence[str]) -> Coverage:
        work = partial(coverage, website=website, ids=ids, start=window.start, end=window.end)
        return await store.run(work)

    async def sift(rows: Sequence[Recording]) -> list[Recording]:
        """What is new, has changed, or is live and not at hand."""
        known = await known_of([row.id for row in rows])
        live = known.live - at_hand
        return [
            row
            for row in rows
            if row.id in live or known.fingerprints.get(row.id) != fingerprint(row)
        ]

    listing = await read(mouseflow, website, window.filters, pace.depth, expand=expand)
    while True:
        known = await known_of([row.id for row in listing.rows])
        difference = _difference(listing, known, window)
        accepted = mark.accepted if mark else None
        found = Look(window, listing, known, since, difference, accepted)
        if _enough(found, mark, pace, at_hand, now):
            return found
        until = since if accepted is None else None
        further = await deeper(mouseflow, website, window.filters, listing, sift, until)
        if further is listing:
            return found
        listing = further


def _difference(listing: Listing, known: Coverage, window: Frame) -> int:
    fresh = sum(window.holds(row) and row.id not in known.fingerprints for row in listing.rows)
    return listing.count - known.total - fresh


def _enough(
    found: Look, mark: Mark | None, pace: Pace, at_hand: frozenset[str], now: datetime
) -> bool:
    listing, known = found.listing, found.known
    if listing.whole:
        return True
    if mark is None or mark.accepted is None:
        return reaches(listing.rows, listing.order, found.since)
    if found.missing > 0 or (found.missing < 0 and sweep_is_due(pace, now)):
        return False
    ids = listing.ids
    if known.live - at_hand - ids:
        return False
    if listing.order == "activity":
        return reaches(listing.rows, "activity", mark.newest - OVERLAP)
    return known.live <= ids


def sweep_is_due(pace: Pace, now: datetime) -> bool:
    """May a count that shrank be looked into again?"""
    return pace.swept is None or now - pace.swept >= SWEEP


def _since(row: Recording, instant: datetime) -> bool:
    at = row.last_activity
    return at is not None and aware(at) >= instant


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
