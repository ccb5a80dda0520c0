"""Read a long list of recordings to its end, and count what could not be read.

The API documents `limit` and `count`, but no next page. So the first query has a limit as
large as its count. If the server returns fewer rows, an `offset` follows, if the caller
allows that undocumented argument and it works; otherwise smaller queries: fewer days, then
ranges of session duration, then single devices, kinds of visitors and kinds of referrers.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Protocol, TypeVar, get_args

import msgspec
from msgspec import Struct

from mouseflow import recordings
from mouseflow.decode import Unreadable
from mouseflow.errors import is_too_large
from mouseflow.filters import Device, Referrer, SessionFilters, VisitorType
from mouseflow.models import Recording, RecordingPage
from mouseflow.request import Request

T = TypeVar("T")

LARGEST_LIMIT = 10_000
"""The most rows that anyone has seen in one answer; undocumented."""

_FEWEST = 10
_TICK = timedelta(milliseconds=1)
_FIRST_SPLIT = timedelta(seconds=30)
_LONGEST = timedelta(days=1)


class Sender(Protocol):
    """Anything that sends requests."""

    async def send(self, request: Request[T]) -> T: ...


class Part(Struct, frozen=True):
    """Some of the recordings; each id appears once.

    `missed`, set only in the last part, is how many recordings the server counts but did not
    return; `why` says it in words. `unreadable` names the rows that could not be decoded.
    `piece`: it comes from a smaller query, so the reading goes on after it.
    """

    recordings: tuple[Recording, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    missed: int = 0
    why: str = ""
    piece: bool = False


async def read(
    api: Sender,
    website: str,
    filters: SessionFilters,
    *,
    limit: int = 1000,
    largest_limit: int = LARGEST_LIMIT,
    offset: bool = False,
    expand: bool = False,
    brief: bool = False,
    most_calls: int = 500,
) -> AsyncIterator[Part]:
    """All recordings that match, in parts, in no particular order.

    `filters` must have both dates (otherwise the API uses a window of about a month). `limit`
    is that of the first call. `offset` allows the undocumented argument: a page read with it
    must contain new ids, otherwise it counts as ignored. `expand` requests page views in the
    rows. `brief` keeps only each row's id and times. After `most_calls` the rest is missed.
    Raises ValueError without dates, and the errors of the calls.
    """
    if filters.fromdate is None or filters.todate is None:
        raise ValueError("reading a whole list needs fromdate and todate")
    rows = _RowOptions(expand, brief)
    reader = _Reader(api, website, min(limit, largest_limit), largest_limit, offset, rows)
    async for part in reader.query(filters):
        yield part
        del part  # the caller may drop it before the next one arrives
    if reader.short <= 0:
        return
    todo = [(filters, reader.count)]
    while todo and reader.calls < most_calls:
        window, count = todo.pop()
        for split in tuple(reader.splits):
            found: list[tuple[SessionFilters, int, int]] = []
            for smaller in split(window):
                async for part in reader.query(smaller):
                    yield msgspec.structs.replace(part, piece=True)
                    del part
                found.append((smaller, reader.count, reader.short))
                if sum(size for _, size, _ in found) > count + count // 5 + 5:
                    # Together larger than the whole: the server ignores a filter of this split.
                    # What came is read; another split goes on.
                    reader.splits.remove(split)
                    break
            else:
                if found:
                    todo += [(smaller, n) for smaller, n, short in reversed(found) if short > 0]
                    break
    # Sessions that are new, or grew out of the range that was read, are at the top now.
    async for part in reader.query(filters):
        yield part
        del part
    if reader.missed:
        yield Part(missed=reader.missed, why=_why(reader))


async def probe_offset(api: Sender, website: str, filters: SessionFilters) -> bool:
    """Whether the server honours `offset` (undocumented): requests the second row alone.

    False as well if fewer than two recordings match, because that proves nothing. A recording that
    arrives between two calls makes the first row the second, so a "no" is asked for twice.
    """
    for _ in range(2):
        both = await api.send(recordings.list(website, filters, limit=2))
        if len(both.recordings) < 2:
            return False
        second = await api.send(recordings.list(website, filters, limit=1, offset=1))
        if [row.id for row in second.recordings] == [both.recordings[1].id]:
            return True
    return False


def by_days(filters: SessionFilters) -> tuple[SessionFilters, ...]:
    """The window in two halves of its days; nothing for a single day."""
    if filters.fromdate is None or filters.todate is None:
        return ()
    days = (filters.todate - filters.fromdate).days
    if days < 2:
        return ()
    middle = filters.fromdate + timedelta(days=days // 2)
    return replace(filters, todate=middle), replace(filters, fromdate=middle)


def by_duration(filters: SessionFilters) -> tuple[SessionFilters, ...]:
    """Short and long sessions in two queries; nothing if the range is too small to split.

    Whether bounds include their value is undocumented, so the halves overlap by a
    millisecond: a session exactly between them is in at least one.
    """
    low = filters.visitmin or timedelta(0)
    high = filters.visitmax
    if high is None:
        middle = max(_FIRST_SPLIT, 2 * low)
        if middle > _LONGEST:
            return ()
    else:
        middle = low + (high - low) // _TICK // 2 * _TICK
        if high - low < 4 * _TICK:
            return ()
    return replace(filters, visitmax=middle), replace(filters, visitmin=middle - _TICK)


def by_device(filters: SessionFilters) -> tuple[SessionFilters, ...]:
    """One query per device; nothing if the filters already name a device."""
    if filters.device is not None:
        return ()
    return tuple(replace(filters, device=device) for device in get_args(Device))


def by_visitor(filters: SessionFilters) -> tuple[SessionFilters, ...]:
    """First and returning visitors; nothing if the filters already name one of them."""
    if filters.visitortype is not None:
        return ()
    return tuple(replace(filters, visitortype=each) for each in get_args(VisitorType))


def by_referrer(filters: SessionFilters) -> tuple[SessionFilters, ...]:
    """One query per kind of referrer; nothing if the filters already name one."""
    if filters.referrer is not None:
        return ()
    return tuple(replace(filters, referrer=each) for each in get_args(Referrer))


class _RowOptions(Struct, frozen=True):
    """What the rows contain."""

    expand: bool
    brief: bool


class _Reader:
    """What has been read so far, and which features the server has shown to support."""

    def __init__(
        self, api: Sender, website: str, limit: int, cap: int, offset: bool, rows: _RowOptions
    ) -> None:
        self.api, self.website, self.limit, self.cap = api, website, limit, cap
        self.offset, self.rows = offset, rows
        self.splits = [by_days, by_duration, by_device, by_visitor, by_referrer]
        self.calls = 0
        self.count = 0  # of the latest query
        self.short = 0  # how many the latest query counts but did not return
        self._seen: set[str] = set()
        self._unreadable: set[str] = set()

    async def query(self, filters: SessionFilters) -> AsyncIterator[Part]:
        """The parts of one query: with the limit, a larger limit, and with offset if allowed."""
        # No variable keeps a page: the caller may drop it before the next one arrives.
        here: set[str] = set()
        yield self._part(await self._fetch(filters, self.limit), here)
        if self.short > 0 and len(here) >= self.limit < self.cap:
            limit = min(self.count + self._overlap, self.cap)
            yield self._part(await self._fetch(filters, limit), here)
        if self.short > 0:
            self.cap = max(1, min(self.cap, len(here)))
        while self.offset and self.short > 0:
            before = len(here)
            offset = max(0, before - self._overlap)
            yield self._part(await self._fetch(filters, self.cap, offset), here)
            if len(here) == before:
                # Nothing new on the first page with offset means that it is ignored.
                self.offset = before > self.cap
                break
        if self.offset and self.short > 0:
            # Sessions that arrived meanwhile are at the top now.
            yield self._part(await self._fetch(filters, self.cap), here)

    @property
    def missed(self) -> int:
        """How many the latest query counts beyond all that was read, if it is the whole window."""
        return max(0, self.count - len(self._seen) - len(self._unreadable))

    @property
    def _overlap(self) -> int:
        """Rows requested twice: new and deleted rows shift the list between two calls."""
        return min(10, self.cap // 10)

    async def _fetch(
        self, filters: SessionFilters, limit: int, offset: int | None = None
    ) -> RecordingPage:
        while True:
            self.calls += 1
            request = recordings.list(
                self.website,
                filters,
                limit=limit,
                offset=offset,
                expand=self.rows.expand,
                brief=self.rows.brief,
            )
            try:
                return await self.api.send(request)
            except Exception as error:
                if not is_too_large(error) or limit < 2 * _FEWEST:
                    raise
                self.cap = self.limit = limit = limit // 4

    def _part(self, page: RecordingPage, here: set[str]) -> Part:
        here |= {row.id for row in page.recordings}
        unreadable = {row.id or f"{self.calls}:{row.index}": row for row in page.unreadable}
        self.count = page.count
        self.short = page.count - len(here) - len(unreadable)
        new = {row.id: row for row in page.recordings if row.id not in self._seen}
        self._seen |= new.keys()
        new_bad = tuple(row for key, row in unreadable.items() if key not in self._unreadable)
        self._unreadable |= unreadable.keys()
        return Part(recordings=tuple(new.values()), unreadable=new_bad)


def _why(reader: _Reader) -> str:
    return (
        f"{reader.missed} recordings could not be read: the server returns at most {reader.cap} "
        f"rows per query, {'' if reader.offset else 'ignores offset, '}"
        f"and smaller queries did not find the rest ({reader.calls} calls)"
    )
