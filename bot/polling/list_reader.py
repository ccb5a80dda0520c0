"""Reads the recordings list as deep as a poll needs it: the newest rows first, more on demand."""

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Literal
from zoneinfo import ZoneInfo

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bot.errors import BotError
from bot.polling.session import (
    AHEAD,
    FLUSH,
    LONGEST_SESSION,
    Order,
    aware,
    days_to_ask,
    fingerprint,
    in_brief,
    order_of,
    sort_key,
)
from bot.polling.watermark import Watermark
from bot.ports import Mouseflow
from bot.store.database import Store
from bot.store.recordings import Coverage, coverage
from mouseflow import paging, recordings
from mouseflow.decode import Unreadable
from mouseflow.errors import is_too_large
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording, RecordingPage

log = structlog.get_logger(__name__)

ROW_CAP = 10_000
"""The API returns at most this many rows at once, as its users report."""

AT_ONCE = 1_500
"""Rows to ask for at once while the API allows to read a longer list in parts."""

STEP = 4
"""By how much a deeper read asks for more."""

FEWEST = 20
"""So few rows are asked for in any case, however large an answer was."""

MOST_EXPANDED = 1_000
"""Rows to ask for at once with their page views."""


Sift = Callable[[Sequence[Recording]], Awaitable[Sequence[Recording]]]
"""Returns the rows that the poll needs; the others are known and unchanged."""


class Listing(Struct, frozen=True):
    """What was read of a window: distinct rows, newest first.

    `count` is the server's number for the window, `limit` how many rows were asked for.
    `passed` holds the ids of known rows that a long reading did not keep. `unreadable` names
    rows of the answer that could not be decoded. `missed` is how many of `count` the server did
    not return in any way; what a reading skipped on purpose is not among them.
    `exhausted`: every way to read more has been tried. `expanded`: the rows were asked for with
    their page views. `brief`: they have only their id and times.
    """

    rows: tuple[Recording, ...]
    count: int
    limit: int
    order: Order
    passed: frozenset[str] = frozenset()
    unreadable: tuple[Unreadable, ...] = ()
    missed: int = 0
    exhausted: bool = False
    expanded: bool = False
    brief: bool = False

    @property
    def whole(self) -> bool:
        """Whether everything in the window was read."""
        return self._read >= self.count

    @property
    def capped(self) -> bool:
        """Whether the server returned fewer rows than were asked for and than there are."""
        return not self.whole and self._read < self.limit

    @property
    def ids(self) -> frozenset[str]:
        """Every recording that was read."""
        return self.passed.union(row.id for row in self.rows)

    def without_rows(self) -> "Listing":
        """This listing with the ids of its rows only, to save memory."""
        return replace(self, rows=(), passed=self.ids)

    @property
    def _read(self) -> int:
        return len(self.rows) + len(self.passed) + len(self.unreadable)

    def covers(self, row: Recording) -> bool:
        """Whether this row would be among the rows if it were in the window."""
        if self.whole:
            return True
        if not self.rows:
            return False
        orders: tuple[Order, ...] = (
            ("activity", "created") if self.order == "both" else (self.order,)
        )
        return all(_above(row, self.rows[-1], order) for order in orders)


async def read(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    limit: int,
    *,
    expand: bool = False,
    brief: bool = False,
) -> Listing:
    """The newest rows of the window, at most `limit`; with page views if they are not too many.

    `brief` rows have only their id and times. If the answer is too large to be read, fewer rows
    are asked for: without page views first, then a quarter.
    """
    expand = expand and limit <= MOST_EXPANDED
    asked = recordings.list(website, filters, limit=limit, expand=expand, brief=brief)
    try:
        page = await mouseflow.send(asked)
    except BotError as error:
        if not is_too_large(error) or limit <= FEWEST:
            raise
        log.warning("poll.too_large", website=website, rows=limit)
        fewer = limit if expand else limit // STEP
        return await read(mouseflow, website, filters, fewer, brief=brief)
    return replace(_listing(page, limit), expanded=expand, brief=brief)


async def page_views(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    *,
    limit: int,
    offset: int,
    only: Set[str],
) -> tuple[Recording, ...]:
    """Only these of the rows, with their page views if the server returns them.

    `offset` skips rows, if the server is known to honour it.
    """
    asked = recordings.list(
        website, filters, limit=limit, offset=offset or None, expand=True, only=only
    )
    page = await mouseflow.send(asked)
    return tuple(map(_believed, page.recordings))


async def deeper(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    listing: Listing,
    sift: Sift,
    until: datetime | None = None,
) -> Listing:
    """Four times as deep; beyond some thousand rows all of the window, in parts.

    Of the parts only what `sift` returns is kept, so that memory stays flat. If sessions without
    activity since `until` don't matter, reading ends there, provided the order is known. Returns
    the same listing if nothing more can be read.
    """
    if listing.whole or listing.exhausted:
        return listing
    if not listing.capped and listing.limit < AT_ONCE:
        limit = min(AT_ONCE, listing.limit * STEP)
        further = await read(
            mouseflow, website, filters, limit, expand=listing.expanded, brief=listing.brief
        )
        if further.limit > listing.limit:  # else its answer was too large
            return further
    return await _by_parts(mouseflow, website, filters, listing, sift, until)


async def _by_parts(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    before: Listing,
    sift: Sift,
    until: datetime | None,
) -> Listing:
    offset = await paging.probe_offset(mouseflow, website, filters)
    limit = AT_ONCE if offset else ROW_CAP
    rows: dict[str, Recording] = {}
    passed: set[str] = set()
    unreadable: list[Unreadable] = []
    missed = left_out = 0
    parts = paging.read(
        mouseflow,
        website,
        filters,
        limit=limit,
        largest_limit=limit,
        offset=offset,
        brief=before.brief,
    )
    async for part in parts:
        kept = {row.id: row for row in await sift(part.recordings)}
        rows |= kept
        passed.update(row.id for row in part.recordings if row.id not in kept)
        unreadable += part.unreadable
        missed = part.missed
        order = order_of(part.recordings)
        if until is not None and not part.piece and reaches(part.recordings, order, until):
            left_out = max(0, before.count - len(rows) - len(passed) - len(unreadable))
            break
        del part  # before the next one arrives
    return Listing(
        rows=tuple(rows.values()),
        count=len(rows) + len(passed) + len(unreadable) + missed + left_out,
        limit=limit,
        order="unknown",
        passed=frozenset(passed),
        unreadable=tuple(unreadable),
        missed=missed,
        exhausted=True,
    )


def of_days(start: date, end: date) -> SessionFilters:
    """The window's filter: `end` is exclusive (API document, L4133)."""
    return SessionFilters(fromdate=start, todate=end)


def narrowed(
    filters: SessionFilters,
    *,
    friction: float | None = None,
    visitor: Literal["first", "returning"] | None = None,
    search: str | None = None,
) -> SessionFilters:
    """The window's filters with these added."""
    return dataclasses.replace(
        filters,
        frictionmin=friction,
        visitortype=visitor,
        search=search,
    )


def reaches(rows: Sequence[Recording], order: Order, instant: datetime) -> bool:
    """Whether rows in this order are deep enough to hold all activity since the instant."""
    last = sort_key(rows[-1], order) if rows else None
    begun = instant if order == "activity" else instant - LONGEST_SESSION
    return last is not None and last < begun


def _above(row: Recording, last: Recording, order: Order) -> bool:
    key, end = sort_key(row, order), sort_key(last, order)
    return key is not None and end is not None and key > end + FLUSH


def _listing(page: RecordingPage, limit: int) -> Listing:
    distinct = {row.id: _believed(row) for row in page.recordings}
    rows = tuple(distinct.values())
    return Listing(
        rows=rows,
        count=_counted(page, limit),
        limit=limit,
        order=order_of(page.recordings),
        unreadable=page.unreadable,
    )


def _believed(row: Recording) -> Recording:
    """The row, without its page views if some are missing."""
    if row.page_views is None or len(row.page_views) >= (row.pages or 1):
        return row
    return replace(row, page_views=None)


def _counted(page: RecordingPage, limit: int) -> int:
    """The server's count; if it is less than what came, there may be more."""
    came = len(page.recordings) + len(page.unreadable)
    return page.count if page.count >= came else came + (came >= limit)


OVERLAP = timedelta(minutes=5)
"""Rows may be flushed late: an answer must reach this far below the newest one."""

SWEEP = timedelta(hours=1)
"""How often at most to examine a count that shrank."""

LEAST = 50
"""Rows to ask for at least; the API's own default (L855)."""


class PollWindow(Struct, frozen=True):
    """The window of one poll: its days for the API, its instants for the store."""

    filters: SessionFilters
    start: datetime
    end: datetime

    def holds(self, row: Recording) -> bool:
        """Whether the recording began within."""
        return row.created is None or self.start <= aware(row.created) < self.end


class Pace(Struct, frozen=True):
    """How deep to read next time, and when a count that shrank was last examined.

    `counted` is how many recordings of a window the store knows, if the last poll could tell, and
    the bot's last deletion by then.
    """

    depth: int = LEAST
    swept: datetime | None = None
    counted: tuple[PollWindow, int, str] | None = None

    def known_in(self, window: PollWindow) -> int | None:
        """How many recordings of the window the store knows, None if they must be counted."""
        return self.counted[1] if self.counted and self.counted[0] == window else None

    def is_outdated(self, known: Coverage) -> bool:
        """Whether the bot has deleted a recording since they were counted."""
        return self.counted is not None and self.counted[2] != known.deleted

    def learn(self, seen: "ListReading", live: frozenset[str]) -> "Pace":
        """The pace of the next poll: as many rows as were of interest now, and a quarter more.

        A reading in parts says nothing about that.
        """
        if seen.listing.exhausted:
            return self
        rows = seen.listing.rows
        if seen.listing.order == "activity":
            newest = sort_key(rows[0], "activity") if rows else None
            again = sum(_since(row, newest - OVERLAP) for row in rows) if newest else 0
            deepest = again + len(seen.grown)
        else:
            deepest = max((at for at, row in enumerate(rows, 1) if row.id in live), default=0)
        return replace(self, depth=min(ROW_CAP, max(LEAST, deepest + deepest // 4)))


class ListReading(Struct, frozen=True):
    """What one poll read, and what was known of it before.

    `difference` is the server's count minus what is known of the window, this answer included;
    `accepted` is how much of it can't be closed, as found before. `shrank`: known recordings had
    vanished before this poll, since the whole list was read last.
    """

    window: PollWindow
    listing: Listing
    known: Coverage
    since: datetime
    difference: int
    accepted: int | None = None
    shrank: bool = False

    @property
    def shrunk(self) -> bool:
        """Whether some known recordings are gone, and it is not known which."""
        return not self.listing.whole and (self.shrank or self.missing < 0)

    @property
    def missing(self) -> int:
        """Recordings that are counted and not known; negative if some have vanished.

        A first poll skips older ones: it misses only what it tried to read and did not get.
        """
        return self.listing.missed if self.accepted is None else self.difference - self.accepted

    @property
    def fresh(self) -> list[Recording]:
        """Rows never seen before."""
        return [row for row in self.listing.rows if row.id not in self.known.fingerprints]

    @property
    def known_after(self) -> int:
        """How many recordings of the window the store knows once the fresh rows are in it."""
        return self.known.total + sum(map(self.window.holds, self.fresh))

    @property
    def grown(self) -> list[Recording]:
        """Rows that are new or have changed, with activity since the bot began to watch.

        Not those that a list has lacked for a while, if they had been decided and are the same.
        """
        known, decided = self.known.fingerprints, self.known.decided
        return [
            row
            for row in self.listing.rows
            if known.get(row.id) != (now := fingerprint(row))
            and decided.get(row.id) != now
            and self.concerns(row)
        ]

    @property
    def newest(self) -> datetime | None:
        """The latest activity of the rows that were read."""
        stamps = [aware(row.last_activity) for row in self.listing.rows if row.last_activity]
        return max(stamps, default=None)

    def clock(self, now: datetime) -> datetime:
        """The time, corrected by the server's rows if our clock is a little behind."""
        newest = self.newest
        return now if newest is None else max(now, min(newest, now + AHEAD))

    def concerns(self, row: Recording) -> bool:
        """Whether the session has been active since the bot began to watch."""
        return concerns(row, self.since)


def concerns(row: Recording, since: datetime) -> bool:
    """Whether the session has been active since then, as far as it says."""
    at = row.last_activity or row.created
    return at is None or aware(at) >= since


def poll_window(now: datetime, back_to: datetime, zone: ZoneInfo) -> PollWindow:
    """The window that reaches back to that instant, a day too wide on either side."""
    first, last = days_to_ask(now, back_to)
    return PollWindow(of_days(first, last), _midnight(first, zone), _midnight(last, zone))


async def read_list(
    mouseflow: Mouseflow,
    store: Store,
    website: str,
    mark: Watermark | None,
    window: PollWindow,
    pace: Pace,
    cached: Iterable[str],
    *,
    since: datetime,
    now: datetime,
    depth: int = 0,
    expand: bool = False,
) -> ListReading:
    """Read the list as deep as the poll needs it, `depth` rows at least.

    `cached` names the live sessions whose rows are kept: the others must be read again.
    `expand` asks for the page views of the rows.
    """
    at_hand = frozenset(cached)
    limit = min(ROW_CAP, max(pace.depth, depth))

    async def known_of(rows: Sequence[Recording], total: int | None = None) -> Coverage:
        ids = [row.id for row in rows]
        start, end = window.start, window.end
        return await store.read(
            partial(coverage, website=website, ids=ids, start=start, end=end, total=total)
        )

    async def sift(rows: Sequence[Recording]) -> list[Recording]:
        """What is new, has changed, or is live and not at hand; in brief if it is too old."""
        known = await known_of(rows)
        live = known.live - at_hand
        return [
            row if row.id in known.live or concerns(row, since) else in_brief(row)
            for row in rows
            if row.id in live or known.fingerprints.get(row.id) != fingerprint(row)
        ]

    accepted, shrank = (mark.accepted, mark.shrunk) if mark else (None, False)
    listing = await read(mouseflow, website, window.filters, limit, expand=expand)
    # Counting a busy window again costs more than the rest of a poll that finds nothing.
    counted = pace.known_in(window)
    known = await known_of(listing.rows, counted)
    if counted is not None and (
        pace.is_outdated(known) or _difference(listing, known, window) != accepted
    ):
        known = await known_of(listing.rows)
    while True:
        difference = _difference(listing, known, window)
        found = ListReading(window, listing, known, since, difference, accepted, shrank)
        if _enough(found, mark, pace, at_hand, now):
            return found
        until = since if accepted is None else None
        further = await deeper(mouseflow, website, window.filters, listing, sift, until)
        if further is listing:
            return found
        listing = further
        known = await known_of(listing.rows)


def _difference(listing: Listing, known: Coverage, window: PollWindow) -> int:
    fresh = sum(window.holds(row) and row.id not in known.fingerprints for row in listing.rows)
    return listing.count - known.total - fresh


def _enough(
    found: ListReading, mark: Watermark | None, pace: Pace, at_hand: frozenset[str], now: datetime
) -> bool:
    listing, known = found.listing, found.known
    if listing.whole:
        return True
    if mark is None or mark.accepted is None:
        return reaches(listing.rows, listing.order, found.since)
    if found.missing > 0 or (found.shrunk and sweep_is_due(pace, now)):
        return False
    if mark.compare_is_due(now):
        return False
    ids = listing.ids
    if known.live - at_hand - ids:
        return False
    if listing.order == "activity":
        return reaches(listing.rows, "activity", mark.newest - OVERLAP)
    return known.live <= ids


def sweep_is_due(pace: Pace, now: datetime) -> bool:
    """Whether to examine a count that shrank again."""
    return pace.swept is None or now - pace.swept >= SWEEP


def _since(row: Recording, instant: datetime) -> bool:
    at = row.last_activity
    return at is not None and aware(at) >= instant


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
