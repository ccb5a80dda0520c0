"""Page views for many recordings in one call, where the server is seen to give them.

`expand=true` puts its page views into each row of the list. No document knows it, so it is used
only where it has been seen to tell the same as the details do: some that are needed anyway are
held against expanded rows, once a day.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.errors import GiveUp, TryLater
from bot.polling.list_reader import MOST_EXPANDED, page_views, read
from bot.polling.server_facts import SPARE
from bot.ports import Mouseflow
from mouseflow.filters import SessionFilters
from mouseflow.models import PageView, Recording

TRUST = timedelta(days=1)
"""How long it is believed that expanded rows tell the same as details."""

TRY_AGAIN = timedelta(hours=1)
"""How soon it is tried again where they did not, or could not be compared."""

BUSY = timedelta(hours=1)
"""How long the list itself is expanded after a poll in which several details were of use."""

SEVERAL = 2
"""Details that make an expanded list worth its bytes."""

ROWS_A_CALL = 100
"""So many rows are read with their page views rather than one more call is made."""


@dataclass(slots=True)
class Expansion:
    """What has been seen of a server's expanded rows; may be lost."""

    trusted_until: datetime | None = None
    tried: datetime | None = None
    busy_until: datetime | None = None
    misplaced: datetime | None = None

    def trusted(self, now: datetime) -> bool:
        """May expanded rows stand for details?"""
        return self.trusted_until is not None and now < self.trusted_until

    def of_lists(self, now: datetime) -> bool:
        """Is the list itself to be asked for with page views?"""
        return self.trusted(now) and self.busy_until is not None and now < self.busy_until

    def needed(self, recordings: int, now: datetime) -> None:
        """For so many recordings the page views were of use in this poll."""
        if recordings >= SEVERAL:
            self.busy_until = now + BUSY

    def may_try(self, now: datetime) -> bool:
        """Is it time to hold expanded rows against details?"""
        untried = self.tried is None or now - self.tried >= TRY_AGAIN
        return untried and not self.trusted(now)

    def compare(
        self,
        rows: Iterable[Recording],
        details: Mapping[str, Recording],
        tags_matter: bool,
        now: datetime,
    ) -> None:
        """Trust expanded rows if they tell all that the details told just before.

        What shows nothing, such as page views without tags where tags matter, changes nothing.
        """
        told = [(row, _ended(details[row.id], row)) for row in rows if row.id in details]
        if not told:
            self.tried = now  # no row had page views
        elif _show([view for _row, views in told for view in views], tags_matter):
            agree = all((row.page_views or ())[: len(views)] == views for row, views in told)
            self.tried = now
            self.trusted_until = now + TRUST if agree else None

    def missed(self) -> None:
        """The server left out what it was trusted to give."""
        self.trusted_until = None

    def lost(self, now: datetime) -> None:
        """Rows deep in the list were not where they were looked for: offsets may be ignored."""
        self.misplaced = now

    def anywhere(self, now: datetime) -> bool:
        """May a part of the list be asked for that does not begin at its top?"""
        return self.misplaced is None or now - self.misplaced >= TRY_AGAIN

    def refused(self, now: datetime) -> None:
        """The server does not answer when it is asked for page views with a list."""
        self.trusted_until, self.tried = None, now


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a list, from its first to its last row, for the sake of some recordings."""

    first: int
    last: int
    keys: frozenset[str]


def telling(details: Iterable[Recording], tags_matter: bool) -> bool:
    """Do these details have what expanded rows could fail to tell?"""
    return _show([view for detail in details for view in detail.page_views or ()], tags_matter)


def stretches(places: Mapping[str, int], deepest: int, *, anywhere: bool) -> list[Stretch]:
    """The parts of the list worth one call each instead of the details of the recordings in them.

    `places` tells where the recordings stand, counted from 1. Each part has two of them at
    least, reads no more than `ROWS_A_CALL` rows for each detail it spares, and no more than
    `deepest` in all; it begins with the first row of the list, unless `anywhere` is possible.
    """
    found = []
    order = sorted(places, key=places.__getitem__)
    while order:
        first = places[order[0]] if anywhere else 1
        best = 0
        for count, key in enumerate(order, 1):
            rows = places[key] - first + 1
            if rows > deepest:
                break
            if count >= SEVERAL and rows <= ROWS_A_CALL * count:
                best = count
        if best:
            found.append(Stretch(first, places[order[best - 1]], frozenset(order[:best])))
        if not anywhere:
            break
        order = order[best or 1 :]
    return found


def _ended(detail: Recording, row: Recording) -> tuple[PageView, ...]:
    """The detail's page views that can't have changed until the row came."""
    views = detail.page_views or ()
    return views if row.last_activity == detail.last_activity else views[:-1]


def _show(views: Sequence[PageView], tags_matter: bool) -> bool:
    return any(view.tags for view in views) if tags_matter else bool(views)


MOST_AT_ONCE = 300
"""Rows to ask for at once where any part of the list may be asked for: memory stays flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandedLists:
    """A website's list of one window.

    `places` tells where recordings stand in it, counted from 1; those left out can't be asked
    for. `anywhere` tells that the server may honour offsets, `tags_matter` that some rule reads
    tags. What is seen of the server is kept in `expansion`.
    """

    mouseflow: Mouseflow
    website: str
    window: SessionFilters
    places: Mapping[str, int]
    anywhere: bool
    tags_matter: bool
    expansion: Expansion
    now: datetime

    async def page_views(self, keys: Iterable[str]) -> dict[str, Recording]:
        """The rows with their page views, of as many of these recordings as are worth it."""
        found: dict[str, Recording] = {}
        for stretch in self._stretches(keys):
            if not self.expansion.trusted(self.now):
                break
            found |= await self._read(stretch)
        return found

    async def shown(self, details: Mapping[str, Recording]) -> bool:
        """Do details that were just fetched show that expanded rows tell the same?

        Asks only where it is time to, and the details have what could be left out.
        """
        if not self.expansion.may_try(self.now):
            return False
        if telling(details.values(), self.tags_matter):
            for stretch in self._stretches(details)[:1]:
                rows = await self._read(stretch)
                self.expansion.compare(rows.values(), details, self.tags_matter, self.now)
        return self.expansion.trusted(self.now)

    def _stretches(self, keys: Iterable[str]) -> list[Stretch]:
        places = {key: self.places[key] for key in keys if key in self.places}
        deepest = MOST_AT_ONCE if self.anywhere else MOST_EXPANDED - SPARE
        return stretches(places, deepest, anywhere=self.anywhere)

    async def _read(self, stretch: Stretch) -> dict[str, Recording]:
        """The rows that have page views. New recordings may have moved them down meanwhile."""
        skipped = max(0, stretch.first - 1 - SPARE)
        try:
            rows = await page_views(
                self.mouseflow,
                self.website,
                self.window,
                limit=stretch.last - skipped + SPARE,
                offset=skipped,
                only=stretch.keys,
            )
        except (GiveUp, TryLater):
            # Where the API is away this raises, too; else the details tell the same.
            await read(self.mouseflow, self.website, self.window, 1)
            self.expansion.refused(self.now)
            return {}
        found = {row.id: row for row in rows if row.page_views is not None}
        if rows and not found:
            self.expansion.missed()
        if skipped and not rows:
            self.expansion.lost(self.now)
        return found
