"""Asks for lists with page views, as far as they are worth it and may be trusted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from bot.mouseflow.errors import CallFailed
from bot.mouseflow.filters import SessionFilters
from bot.mouseflow.models import Recording
from bot.poll.expansion import Expansion, Stretch, stretches, telling
from bot.poll.facts import SPARE
from bot.poll.listing import MOST_EXPANDED, page_views, read
from bot.ports import Mouseflow

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
        except CallFailed:
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
