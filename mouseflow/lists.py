"""Whole lists of an account: every page of them, or an error that says what is lacking.

Both clients have these methods: `async for` with `AsyncMouseflow`, `for` with `Mouseflow`.
`site` is a website's id or a `Website`.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from mouseflow import (
    feedback,
    forms,
    funnels,
    heatmaps,
    paging,
    recordings,
    websites,
)
from mouseflow.call_queue import Priority
from mouseflow.decode import Rows
from mouseflow.errors import IgnoredFilter, IncompleteList, Unavailable
from mouseflow.filters import PageFilters, SessionFilters
from mouseflow.models import Campaign, Form, Funnel, HeatmapPage, Recording, Website
from mouseflow.request import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
F = TypeVar("F", SessionFilters, PageFilters)
Since = date | datetime | timedelta
"""A day in the account's time zone, a moment with a time zone, or how long ago."""

BEGINNING = date(2009, 1, 1)
"""Before the first recording of any account."""
FRICTION = (0.5, 1.0, 2.5, 5.0)
"""The lower ends of the default friction bands."""
_IMPOSSIBLE = 1e9
_MOST_NAMES = 10_000
_DAY = timedelta(days=1)
log = logging.getLogger("mouseflow")


class AccountLists(ABC):
    """Reads lists of the account to their end."""

    _clock: "Callable[[], datetime]"
    _sleep: "Callable[[float], Awaitable[None]]"

    @abstractmethod
    async def send(
        self,
        request: Request[T],
        *,
        priority: Priority | None = None,
        timeout: float | None = None,
        tries: int | None = None,
    ) -> T:
        """The API's answer, decoded by the request."""

    async def website(self, name_or_id: str) -> Website:
        """The website with that name or id.

        Raises LookupError if there is none, or if several have the name.

        >>> site = api.website("myshop.com")
        """
        named = []
        async for site in self.websites():
            if site.id == name_or_id:
                return site
            if site.name == name_or_id:
                named.append(site)
        if len(named) > 1:
            ids = ", ".join(site.id for site in named)
            raise LookupError(f"{len(named)} websites are called {name_or_id!r}; use an id: {ids}")
        if not named:
            raise LookupError(f"no website {name_or_id!r} for this API user")
        return named[0]

    async def websites(self) -> AsyncIterator[Website]:
        """All websites that the API user can see.

        >>> names = [site.name for site in api.websites()]
        """
        for site in _complete("websites", await self.send(websites.list())):
            yield site

    async def recordings(
        self,
        site: str | Website,
        filters: SessionFilters | None = None,
        *,
        since: Since | None = None,
        until: Since | None = None,
        detail: bool = False,
        incomplete: bool = False,
    ) -> AsyncIterator[Recording]:
        """All recordings that match, in no particular order; without `since` since ever.

        >>> for recording in api.recordings(site, since=timedelta(days=7)):
        ...     print(recording.id, recording.country)

        `detail` reads each recording's page views: one more call for each. Raises IncompleteList
        at the end if the server counts more than it returned; `incomplete=True` logs that.
        """
        window, held = _window(filters or SessionFilters(), since, until, self._clock())
        async for part in paging.read(self, _id(site), window, offset=True):
            for bad in part.unreadable:
                log.warning("a recording can't be read: %s", bad.reason)
            for row in part.recordings:
                if not held(row):
                    continue
                yield await self.send(recordings.detail(_id(site), row.id)) if detail else row
            if part.missed and not incomplete:
                raise IncompleteList(part.why, part.missed)
            if part.missed:
                log.warning("%s", part.why)

    async def friction_bands(
        self,
        site: str | Website,
        filters: SessionFilters | None = None,
        *,
        since: Since | None = None,
        until: Since | None = None,
        bands: Iterable[float] = FRICTION,
    ) -> dict[str, float]:
        """The highest of the `bands` that each recording's friction reaches, by recording.

        >>> friction = api.friction_bands(site, since=timedelta(days=1))
        >>> print(friction.get(recording, 0))  # 2.5: at least 2.5, less than 5

        No answer of the API contains friction, so this asks for each band; recordings under the
        lowest are missing here. Raises IgnoredFilter if the API ignores the filter.
        """
        window, held = _window(filters or SessionFilters(), since, until, self._clock())
        probe = replace(window, frictionmin=_IMPOSSIBLE, frictionmax=None)
        if (await self.send(recordings.list(_id(site), probe, limit=1))).count:
            raise IgnoredFilter("the API ignores frictionmin, so friction can't be told")
        found: dict[str, float] = {}
        for least in sorted(set(bands)):
            reached = 0
            narrower = replace(window, frictionmin=max(least, window.frictionmin or least))
            async for part in paging.read(self, _id(site), narrower, offset=True, brief=True):
                here = [row.id for row in part.recordings if held(row)]
                reached += len(here)
                found |= dict.fromkeys(here, least)
                if part.missed:
                    raise IncompleteList(part.why, part.missed)
            if not reached:
                break
        return found

    async def follow(
        self,
        site: str | Website,
        filters: SessionFilters | None = None,
        *,
        every: float = 60.0,
        settled: timedelta | None = None,
    ) -> AsyncIterator[Recording]:
        """New recordings as they appear, each once, for as long as it runs.

        >>> for recording in api.follow(site, SessionFilters(device="phone")):
        ...     print(recording.id, recording.entry_page)

        Asks `every` so many seconds. With `settled`, such as 35 minutes, each comes once its
        session had no activity for so long: before that it still grows. An outage is logged and
        survived.
        """
        began = self._clock()
        given: OrderedDict[str, None] = OrderedDict()
        while True:
            now = self._clock()
            span = (settled or timedelta(0)) + _DAY
            window, _held = _window(filters or SessionFilters(), now - span, None, now)
            try:
                rows: list[Recording] = []
                async for part in paging.read(self, _id(site), window, limit=200, offset=True):
                    rows += part.recordings
                    if part.missed:
                        log.warning("%s", part.why)
            except Unavailable as error:
                log.warning("%s; follow continues", error)
                rows = []
            for row in sorted(rows, key=lambda row: row.created or began):
                if row.id in given:
                    given.move_to_end(row.id)
                elif _is_due(row, began, now, settled):
                    given[row.id] = None
                    yield row
            while len(given) > 2 * max(len(rows), 1_000):
                given.popitem(last=False)
            await self._sleep(every)

    async def pages(
        self,
        site: str | Website,
        filters: PageFilters | None = None,
        *,
        since: Since | None = None,
        until: Since | None = None,
    ) -> AsyncIterator[HeatmapPage]:
        """All heatmap pages with their statistics. `since` and `until` count whole days here.

        >>> most = max(api.pages(site, since=date(2026, 3, 1)), key=lambda page: page.views or 0)
        """
        window, _held = _window(filters or PageFilters(), since, until, self._clock())
        listed = await self.send(heatmaps.pages(_id(site), window, limit=1_000))
        if listed.count > len(listed.pages) + len(listed.unreadable):
            listed = await self.send(heatmaps.pages(_id(site), window, limit=listed.count + 100))
        for page in listed.pages:
            yield page
        lacking = listed.count - len(listed.pages)
        if lacking > 0:
            raise IncompleteList(f"{lacking} pages could not be read", lacking)

    async def page_urls(
        self, site: str | Website, *, search: str | None = None
    ) -> AsyncIterator[str]:
        """The display URLs of all pages.

        >>> paths = list(api.page_urls(site, search="checkout"))
        """
        listed = await self.send(heatmaps.urls(_id(site), limit=1_000, search=search))
        if listed.count > len(listed.urls) + len(listed.unreadable):
            more = heatmaps.urls(_id(site), limit=listed.count + 100, search=search)
            listed = await self.send(more)
        for url in listed.urls:
            yield url
        lacking = listed.count - len(listed.urls)
        if lacking > 0:
            raise IncompleteList(f"{lacking} pages could not be read", lacking)

    async def funnels(
        self,
        site: str | Website,
        filters: SessionFilters | None = None,
        *,
        since: Since | None = None,
        until: Since | None = None,
    ) -> AsyncIterator[Funnel]:
        """All funnels with the visitors per step.

        >>> for funnel in api.funnels(site, since=timedelta(days=7)):
        ...     print(funnel.name, [step.count for step in funnel.steps])
        """
        window, _held = _window(filters or SessionFilters(), since, until, self._clock())
        for funnel in _complete("funnels", await self.send(funnels.list(_id(site), window))):
            yield funnel

    async def forms(
        self,
        site: str | Website,
        filters: SessionFilters | None = None,
        *,
        since: Since | None = None,
        until: Since | None = None,
    ) -> AsyncIterator[Form]:
        """All forms with the times, refills and drop-offs of their fields: one call each.

        >>> for form in api.forms(site, since=timedelta(days=7)):
        ...     print(form.url, [field.dropped for field in form.fields])
        """
        window, _held = _window(filters or SessionFilters(), since, until, self._clock())
        for form in _complete("forms", await self.send(forms.list(_id(site), window))):
            yield await self.send(forms.report(_id(site), form.id, window))

    async def campaigns(self, site: str | Website) -> AsyncIterator[Campaign]:
        """All feedback campaigns with their counters. The API has no single responses.

        >>> answers = {each.name: each.report.responses for each in api.campaigns(site)}
        """
        for campaign in _complete("campaigns", await self.send(feedback.list(_id(site)))):
            yield campaign

    async def tags(self, site: str | Website) -> AsyncIterator[str]:
        """All tags used on the website.

        >>> unused = [tag for tag in api.tags(site) if tag.startswith("test-")]
        """
        for tag in _names("tags", await self.send(recordings.tags(_id(site), limit=_MOST_NAMES))):
            yield tag

    async def variables(self, site: str | Website) -> AsyncIterator[str]:
        """The keys of all variables used on the website.

        >>> keys = set(api.variables(site))
        """
        asked = recordings.variables(_id(site), limit=_MOST_NAMES)
        for key in _names("variables", await self.send(asked)):
            yield key


class ListsOver(AccountLists):
    """`AccountLists` over anything that sends requests, such as a client of your own."""

    def __init__(
        self,
        sender: paging.Sender,
        clock: "Callable[[], datetime]" = lambda: datetime.now(UTC),
        sleep: "Callable[[float], Awaitable[None]]" = asyncio.sleep,
    ) -> None:
        self._sender, self._clock, self._sleep = sender, clock, sleep

    async def send(
        self,
        request: Request[T],
        *,
        priority: Priority | None = None,
        timeout: float | None = None,
        tries: int | None = None,
    ) -> T:
        """The answer of the sender, which has its own priority and timeout."""
        return await self._sender.send(request)


def _id(site: str | Website) -> str:
    return site.id if isinstance(site, Website) else site


def _complete(what: str, rows: Rows[T]) -> Rows[T]:
    if rows.unreadable:
        reason = rows.unreadable[0].reason
        missed = len(rows.unreadable)
        raise IncompleteList(f"{missed} {what} could not be read: {reason}", missed)
    return rows


def _names(what: str, names: Rows[str]) -> Rows[str]:
    if len(names) >= _MOST_NAMES:
        raise IncompleteList(f"there are more {what} than the {_MOST_NAMES:,} that were read", 1)
    return names


def _window(
    filters: F, since: Since | None, until: Since | None, now: datetime
) -> "tuple[F, Callable[[Recording], bool]]":
    """The filters with whole days around the window, and whether a recording is in it.

    The account's time zone is unknown, so moments are compared with the rows' own times.
    """
    if (since is not None and filters.fromdate) or (until is not None and filters.todate):
        raise ValueError("since and until replace fromdate and todate: give one of them")
    start, first = _edge("since", since, now, -_DAY)
    end, last = _edge("until", until, now, 2 * _DAY)
    window = replace(
        filters,
        fromdate=filters.fromdate or first or BEGINNING,
        todate=filters.todate or last or (now + 2 * _DAY).date(),
    )

    def holds(row: Recording) -> bool:
        if row.created is None or row.created.tzinfo is None:
            return True
        return (start is None or row.created >= start) and (end is None or row.created < end)

    return window, holds


def _edge(
    name: str, at: Since | None, now: datetime, room: timedelta
) -> tuple[datetime | None, date | None]:
    """The exact moment, if it is one, and the day for the API."""
    if isinstance(at, timedelta):
        at = now - at
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"{name}: a moment needs a time zone; for whole days pass a date")
        return at, (at.astimezone(UTC) + room).date()
    return None, at


def _is_due(row: Recording, began: datetime, now: datetime, settled: timedelta | None) -> bool:
    if settled is None:
        return row.created is None or row.created.tzinfo is None or row.created >= began
    last = row.last_activity or row.created
    if last is None or last.tzinfo is None:
        return False
    return began - settled <= last <= now - settled
