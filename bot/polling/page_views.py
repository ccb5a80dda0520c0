"""Page views of many recordings in one call, if the server is known to return them.

`expand=true` adds its page views to each row of the list. It is undocumented, so the bot uses it
only after expanded rows have agreed with details that it needed anyway. It compares once a day.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.errors import GiveUp, TryLater
from bot.polling.list_reader import MOST_EXPANDED, page_views, read
from bot.polling.server_facts import SPARE
from bot.ports import Mouseflow
from mouseflow.filters import SessionFilters
from mouseflow.models import PageView, Recording

TRUST = timedelta(days=1)
"""How long one successful comparison with details counts."""

TRY_AGAIN = timedelta(hours=1)
"""How soon to compare again after a failed or impossible comparison."""

BUSY = timedelta(hours=1)
"""How long to expand the list itself after a poll that needed several details."""

SEVERAL = 2
"""An expanded list is worth its bytes if it replaces this many details."""

ROWS_A_CALL = 100
"""Read up to this many rows with page views to save one call."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """What is known of a server's expanded rows. Losing it costs a few calls, no match."""

    trusted_until: datetime | None = None
    tried: datetime | None = None
    busy_until: datetime | None = None
    misplaced: datetime | None = None

    def trusted(self, now: datetime) -> bool:
        """Whether expanded rows may replace details."""
        return self.trusted_until is not None and now < self.trusted_until

    def of_lists(self, now: datetime) -> bool:
        """Whether to ask for page views with the list itself."""
        return self.trusted(now) and self.busy_until is not None and now < self.busy_until

    def needed(self, recordings: int, now: datetime) -> "Expansion":
        """The same after a poll that needed the page views of so many recordings."""
        return replace(self, busy_until=now + BUSY) if recordings >= SEVERAL else self

    def may_try(self, now: datetime) -> bool:
        """Whether it is time to compare expanded rows with details."""
        untried = self.tried is None or now - self.tried >= TRY_AGAIN
        return untried and not self.trusted(now)

    def compared(
        self,
        rows: Iterable[Recording],
        details: Mapping[str, Recording],
        tags_matter: bool,
        now: datetime,
    ) -> "Expansion":
        """The same with the verdict: trusted if the rows have all that the details had before.

        A comparison that proves nothing (page views without tags where tags matter) changes
        nothing.
        """
        pairs = [(row, _ended(details[row.id], row)) for row in rows if row.id in details]
        if not pairs:
            return replace(self, tried=now)  # no row had page views
        if not _show([view for _row, views in pairs for view in views], tags_matter):
            return self
        agree = all((row.page_views or ())[: len(views)] == views for row, views in pairs)
        return replace(self, tried=now, trusted_until=now + TRUST if agree else None)

    def missed(self) -> "Expansion":
        """The same after the server left out page views that it used to give."""
        return replace(self, trusted_until=None)

    def lost(self, now: datetime) -> "Expansion":
        """The same after an offset led to other rows than expected: it may be ignored."""
        return replace(self, misplaced=now)

    def anywhere(self, now: datetime) -> bool:
        """Whether to ask for parts of the list that do not begin at its top."""
        return self.misplaced is None or now - self.misplaced >= TRY_AGAIN

    def refused(self, now: datetime) -> "Expansion":
        """The same after the server refused to answer a list with page views."""
        return replace(self, trusted_until=None, tried=now)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a list, from its first to its last row, that holds these recordings."""

    first: int
    last: int
    keys: frozenset[str]


def telling(details: Iterable[Recording], tags_matter: bool) -> bool:
    """Whether these details hold something that expanded rows could lack."""
    return _show([view for detail in details for view in detail.page_views or ()], tags_matter)


def stretches(places: Mapping[str, int], deepest: int, *, anywhere: bool) -> list[Stretch]:
    """Parts of the list that are worth one call each instead of the details in them.

    `places` tells where the recordings are, counted from 1. Each part holds at least two of
    them and reads at most `ROWS_A_CALL` rows for each detail it replaces, `deepest` in all.
    Unless `anywhere` is possible, it begins with the first row of the list.
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
    """The detail's page views that can't have changed before the row was read."""
    views = detail.page_views or ()
    return views if row.last_activity == detail.last_activity else views[:-1]


def _show(views: Sequence[PageView], tags_matter: bool) -> bool:
    return any(view.tags for view in views) if tags_matter else bool(views)


MOST_AT_ONCE = 300
"""Rows of one call where offsets work: memory stays flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandedLists:
    """A website's list of one window, read with page views.

    `places` tells where recordings are in it, counted from 1; those left out can't be asked
    for. `anywhere`: the server may honour offsets. `tags_matter`: some rule reads tags.
    """

    mouseflow: Mouseflow
    website: str
    window: SessionFilters
    places: Mapping[str, int]
    anywhere: bool
    tags_matter: bool
    now: datetime

    async def page_views(
        self, keys: Iterable[str], known: Expansion
    ) -> tuple[dict[str, Recording], Expansion]:
        """Rows with page views for as many of these recordings as are worth it, by id."""
        found: dict[str, Recording] = {}
        for stretch in self._stretches(keys):
            if not known.trusted(self.now):
                break
            rows, known = await self._read(stretch, known)
            found |= rows
        return found, known

    async def compare(self, details: Mapping[str, Recording], known: Expansion) -> Expansion:
        """Compare expanded rows with details that were just fetched.

        Makes a call only when a comparison is due and these details can prove something.
        """
        if known.may_try(self.now) and telling(details.values(), self.tags_matter):
            for stretch in self._stretches(details)[:1]:
                rows, known = await self._read(stretch, known)
                known = known.compared(rows.values(), details, self.tags_matter, self.now)
        return known

    def _stretches(self, keys: Iterable[str]) -> list[Stretch]:
        places = {key: self.places[key] for key in keys if key in self.places}
        deepest = MOST_AT_ONCE if self.anywhere else MOST_EXPANDED - SPARE
        return stretches(places, deepest, anywhere=self.anywhere)

    async def _read(
        self, stretch: Stretch, known: Expansion
    ) -> tuple[dict[str, Recording], Expansion]:
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
            # If the API is down, this raises too; otherwise fall back to details.
            await read(self.mouseflow, self.website, self.window, 1)
            return {}, known.refused(self.now)
        found = {row.id: row for row in rows if row.page_views is not None}
        if rows and not found:
            known = known.missed()
        if skipped and not rows:
            known = known.lost(self.now)
        return found, known
