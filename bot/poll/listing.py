"""Reads the recordings list as deep as a poll needs it: the newest rows first, more on demand."""

from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass
from dataclasses import replace as dc_replace
from datetime import date, datetime

import msgspec

from bot.mouseflow import paging, recordings
from bot.mouseflow.filters import SessionFilters
from bot.mouseflow.models import Recording, RecordingPage
from bot.mouseflow.shapes import Unreadable
from bot.ports import Mouseflow
from bot.sources.recordings import LONGEST_SESSION, UNSHARP, Order, order_of, sort_key

ROW_CAP = 10_000
"""More rows than this the API does not give at once, as users of it report."""

AT_ONCE = 1_500
"""Rows to ask for at once while the API lets a longer list be read in parts."""

STEP = 4
"""By how much a deeper read asks for more."""

MOST_EXPANDED = 1_000
"""Rows to ask for at once with their page views."""


Sift = Callable[[Sequence[Recording]], Awaitable[Sequence[Recording]]]
"""Gives those rows back that the poll must look at; the others are known and as they were."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What was read of a window: distinct rows, newest first.

    `count` is the server's number for the window, `limit` how many rows were asked for.
    `passed` holds the ids of rows that were read and are known, where a long reading keeps
    only the others. `unreadable` names rows of the answer that could not be read.
    `missed` is how many of `count` the server would not give though all ways were tried; what
    a reading left out on purpose is not among them.
    `exhausted` tells that every way to read more has been tried, `expanded` that the rows
    were asked for with their page views, `brief` that they have their id and times alone.
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
        """Was everything in the window read?"""
        return self._read >= self.count

    @property
    def capped(self) -> bool:
        """Did the server give fewer rows than were asked for and than there are?"""
        return not self.whole and self._read < self.limit

    @property
    def ids(self) -> frozenset[str]:
        """Every recording that was read."""
        return self.passed.union(row.id for row in self.rows)

    @property
    def _read(self) -> int:
        return len(self.rows) + len(self.passed) + len(self.unreadable)

    def covers(self, row: Recording) -> bool:
        """Would this row be among the rows, were it in the window?"""
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
    """The newest rows of the window, so many at most; with page views if they are not too many.

    `brief` rows have their id and their times alone.
    """
    expand = expand and limit <= MOST_EXPANDED
    asked = recordings.list(website, filters, limit=limit, expand=expand, brief=brief)
    return dc_replace(_listing(await mouseflow.send(asked), limit), expanded=expand, brief=brief)


async def page_views(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    *,
    limit: int,
    offset: int,
    only: Set[str],
) -> tuple[Recording, ...]:
    """These of the rows, with their page views where the server gives them.

    `offset` skips rows, where the server is known to honour it.
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

    Of the parts only what `sift` gives back is kept, so that memory stays flat. Where nothing
    without activity since `until` matters, the parts end there if their order is plain. Gives
    the same listing back where nothing more can be read.
    """
    if listing.whole or listing.exhausted:
        return listing
    if not listing.capped and listing.limit < AT_ONCE:
        limit = min(AT_ONCE, listing.limit * STEP)
        return await read(
            mouseflow, website, filters, limit, expand=listing.expanded, brief=listing.brief
        )
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
    filters: SessionFilters, *, friction: float | None = None, returning: bool = False
) -> SessionFilters:
    """The same window, only recordings that the server judges so."""
    return dc_replace(
        filters,
        frictionmin=friction,
        visitortype="returning" if returning else None,
    )


def reaches(rows: Sequence[Recording], order: Order, instant: datetime) -> bool:
    """Do rows in this order go so deep that all activity since the instant is among them?"""
    last = sort_key(rows[-1], order) if rows else None
    begun = instant if order == "activity" else instant - LONGEST_SESSION
    return last is not None and last < begun


def _above(row: Recording, last: Recording, order: Order) -> bool:
    key, end = sort_key(row, order), sort_key(last, order)
    return key is not None and end is not None and key > end + UNSHARP


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
    """The row, without page views where some of its pages are missing among them."""
    if row.page_views is None or len(row.page_views) >= (row.pages or 1):
        return row
    return msgspec.structs.replace(row, page_views=None)


def _counted(page: RecordingPage, limit: int) -> int:
    """The server's count; where it is less than what came, there may be more than came."""
    came = len(page.recordings) + len(page.unreadable)
    return page.count if page.count >= came else came + (came >= limit)
