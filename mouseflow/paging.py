"""Reading a long list of recordings, honest about what the API can do.

The API documents `limit` and `count` and no way to the next page. So a list is read with a
limit as large as its count; where the server gives fewer rows, from an `offset` if the
caller allows that undocumented argument and it proves to work, else by asking for parts of
the window: fewer days, then ranges of session duration, then single devices. What still can't
be read is counted and said.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol, TypeVar

from mouseflow import recordings
from mouseflow.decode import Unreadable
from mouseflow.filters import Device, SessionFilters
from mouseflow.models import Recording, RecordingPage
from mouseflow.request import Request

T = TypeVar("T")

LARGEST_LIMIT = 10_000
"""Rows that one answer was seen to hold at most, by people who tried; documented nowhere."""

_DEVICES: tuple[Device, ...] = ("desktop", "tablet", "phone")
_TICK = timedelta(milliseconds=1)
_FIRST_SPLIT = timedelta(seconds=30)
_LONGEST = timedelta(days=1)


class Sender(Protocol):
    """Whatever sends requests."""

    async def send(self, request: Request[T]) -> T: ...


@dataclass(frozen=True, slots=True)
class Part:
    """Recordings as they come in; each id comes once.

    `missed`, in the last part alone, is how many recordings the server counts and would not
    give; `why` says it in words. `unreadable` names rows that could not be read. `piece` tells
    that it comes from a part of the window, whose end is not the end of the others.
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
    """All recordings that match, in parts, in no order to rely on.

    `filters` must have both dates (else the API takes a window of its own, about a month).
    `limit` is that of the first call. `offset` allows the undocumented argument: a page read
    by it must bring ids not seen before, else it counts as ignored. `expand` asks for page
    views in the rows; probe it first. `brief` keeps of each row its id and its times. After
    `most_calls` the rest is missed. Raises
    ValueError without dates, and the errors of the calls.
    """
    if filters.fromdate is None or filters.todate is None:
        raise ValueError("reading a list to its end needs fromdate and todate")
    form = _Form(expand, brief)
    reading = _Reading(api, website, min(limit, largest_limit), largest_limit, offset, form)
    async for part in reading.query(filters):
        yield part
    if reading.short <= 0:
        return
    todo = [(filters, reading.count)]
    while todo and reading.calls < most_calls:
        piece, count = todo.pop()
        for way in tuple(reading.ways):
            found: list[tuple[SessionFilters, int, int]] = []
            for smaller in way(piece):
                async for part in reading.query(smaller):
                    yield replace(part, piece=True)
                found.append((smaller, reading.count, reading.short))
            if found and all(part_count >= count for _piece, part_count, _short in found):
                reading.ways.remove(way)  # each part as large as the whole: ignored
            elif found:
                todo += [(piece, n) for piece, n, short in reversed(found) if short > 0]
                break
    # What came meanwhile, or grew out of the range that was read, stands at the top now.
    async for part in reading.query(filters):
        yield part
    if reading.missed:
        yield Part(missed=reading.missed, why=_why(reading))


async def probe_offset(api: Sender, website: str, filters: SessionFilters) -> bool:
    """Whether the server honours `offset` (undocumented): the second row, asked for alone.

    False also where fewer than two recordings match, since nothing is shown then.
    """
    both = await api.send(recordings.list(website, filters, limit=2))
    if len(both.recordings) < 2:
        return False
    second = await api.send(recordings.list(website, filters, limit=1, offset=1))
    # A new recording may have come in between, which makes the first row the second.
    ids = [row.id for row in second.recordings]
    return ids == [both.recordings[1].id]


async def probe_expand(api: Sender, website: str, filters: SessionFilters) -> bool:
    """Whether the server honours `expand=true` (undocumented): a row that has page views."""
    page = await api.send(recordings.list(website, filters, limit=1, expand=True))
    return bool(page.recordings) and page.recordings[0].page_views is not None


def by_days(filters: SessionFilters) -> tuple[SessionFilters, ...]:
    """The window as two, each with half of the days; nothing for a single day."""
    if filters.fromdate is None or filters.todate is None:
        return ()
    days = (filters.todate - filters.fromdate).days
    if days < 2:
        return ()
    middle = filters.fromdate + timedelta(days=days // 2)
    return replace(filters, todate=middle), replace(filters, fromdate=middle)


def by_duration(filters: SessionFilters) -> tuple[SessionFilters, ...]:
    """Short and long sessions apart; nothing where the range can't be split any more.

    Whether bounds include their value is not documented, so the halves overlap by a
    millisecond: a session just between them is in one of them at least.
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
    """One query per device; nothing where the device is given already."""
    if filters.device is not None:
        return ()
    return tuple(replace(filters, device=device) for device in _DEVICES)


@dataclass(frozen=True, slots=True)
class _Form:
    """What is wanted of each row."""

    expand: bool
    brief: bool


class _Reading:
    """One reading: what has been seen, and what the server has shown that it can do."""

    def __init__(
        self, api: Sender, website: str, limit: int, cap: int, offset: bool, form: _Form
    ) -> None:
        self.api, self.website, self.limit, self.cap = api, website, limit, cap
        self.offset, self.form = offset, form
        self.ways = [by_days, by_duration, by_device]
        self.calls = 0
        self.count = 0  # of the latest query
        self.short = 0  # what the latest query counts and did not give
        self._seen: set[str] = set()
        self._spoilt: set[str] = set()

    async def query(self, filters: SessionFilters) -> AsyncIterator[Part]:
        """The parts of one query: by the limit, a larger limit, and by offset if allowed."""
        # No page is kept in a name: the caller may be through with it before the next one.
        here: set[str] = set()
        yield self._part(await self._ask(filters, self.limit), here)
        if self.short > 0 and len(here) >= self.limit < self.cap:
            asked = min(self.count + self._overlap, self.cap)
            yield self._part(await self._ask(filters, asked), here)
        if self.short > 0:
            self.cap = max(1, min(self.cap, len(here)))
        while self.offset and self.short > 0:
            before = len(here)
            offset = max(0, before - self._overlap)
            yield self._part(await self._ask(filters, self.cap, offset), here)
            if len(here) == before:
                # Nothing new on the very first page by offset means that it is ignored.
                self.offset = before > self.cap
                break
        if self.offset and self.short > 0:
            # What came meanwhile stands at the top now.
            yield self._part(await self._ask(filters, self.cap), here)

    @property
    def missed(self) -> int:
        """How many the latest query counts beyond what was seen in all, if it is the whole."""
        return max(0, self.count - len(self._seen) - len(self._spoilt))

    @property
    def _overlap(self) -> int:
        """Rows asked twice, since live rows and deletions shift the list between two calls."""
        return min(10, self.cap // 10)

    async def _ask(
        self, filters: SessionFilters, limit: int, offset: int | None = None
    ) -> RecordingPage:
        self.calls += 1
        request = recordings.list(
            self.website,
            filters,
            limit=limit,
            offset=offset,
            expand=self.form.expand,
            brief=self.form.brief,
        )
        return await self.api.send(request)

    def _part(self, page: RecordingPage, here: set[str]) -> Part:
        here |= {row.id for row in page.recordings}
        spoilt = {row.id or f"{self.calls}:{row.index}": row for row in page.unreadable}
        self.count = page.count
        self.short = page.count - len(here) - len(spoilt)
        new = {row.id: row for row in page.recordings if row.id not in self._seen}
        self._seen |= new.keys()
        unknown = tuple(row for key, row in spoilt.items() if key not in self._spoilt)
        self._spoilt |= spoilt.keys()
        return Part(recordings=tuple(new.values()), unreadable=unknown)


def _why(reading: _Reading) -> str:
    return (
        f"{reading.missed} recordings could not be read: the server gives at most {reading.cap} "
        f"rows of a query, {'' if reading.offset else 'does not honour offset, '}"
        f"and smaller queries did not bring the rest ({reading.calls} calls)"
    )
