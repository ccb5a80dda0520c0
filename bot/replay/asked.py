"""What only the server can judge, for a whole day of a website: each question is asked once."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from bot.mouseflow import paging, recordings
from bot.mouseflow.filters import SessionFilters
from bot.poll.facts import VisitorType
from bot.poll.listing import narrowed
from bot.ports import Mouseflow
from bot.subjects import Band


class Asked:
    """The answers for one window, fetched when they are first needed and kept as ids alone.

    `missed` counts recordings that such a query counts and would not give. `live` tells that
    more recordings may come meanwhile: they are not missed.
    """

    def __init__(
        self,
        mouseflow: Mouseflow,
        website: str,
        window: SessionFilters,
        thresholds: Sequence[float],
        *,
        page: int,
        offset: bool,
        live: bool,
    ) -> None:
        self.missed = 0
        self._mouseflow = mouseflow
        self._website = website
        self._window = window
        self._thresholds = sorted(thresholds)
        self._page = page
        self._offset = offset
        self._live = live
        self._reaching: dict[float, frozenset[str]] = {}
        self._returning: dict[float | None, frozenset[str]] = {}
        self._tagged: dict[str, frozenset[str]] = {}

    @property
    def begun(self) -> bool:
        """Has the lowest threshold been asked, so that most bands cost no call?"""
        return bool(self._reaching)

    async def bands(self, ids: Collection[str]) -> dict[str, Band]:
        """Each recording's friction, as far as the thresholds tell."""
        bands: dict[str, Band] = {}
        reached, low = frozenset(ids), Band().low
        for threshold in self._thresholds:
            if not reached:
                break
            members = await self._at_least(threshold)
            bands.update(dict.fromkeys(reached - members, Band(low, threshold)))
            reached, low = reached & members, threshold
        return bands | dict.fromkeys(reached, Band(low))

    async def visitor_types(
        self, ids: Collection[str], friction: float | None = None
    ) -> dict[str, VisitorType]:
        """Whether each recording's visitor came back.

        All of them are known to have reached that friction, which makes the answer short.
        """
        if not ids:
            return {}
        back = self._returning.get(friction)
        if back is None:
            filters = narrowed(self._window, friction=friction, returning=True)
            back = self._returning[friction] = await self._members(filters)
        return {key: "returning" if key in back else "first" for key in ids}

    async def tagged(self, tag: str) -> frozenset[str]:
        """The recordings that the tag filter lets through."""
        known = self._tagged.get(tag)
        if known is None:
            known = await self._members(replace(self._window, tags=(tag,)))
            self._tagged[tag] = known
        return known

    async def _at_least(self, threshold: float) -> frozenset[str]:
        known = self._reaching.get(threshold)
        if known is None:
            known = await self._members(narrowed(self._window, friction=threshold))
            self._reaching[threshold] = known
        return known

    async def _members(self, filters: SessionFilters) -> frozenset[str]:
        found: set[str] = set()
        missed = 0
        expected = await self._count(filters) if self._live else None
        async for part in paging.read(
            self._mouseflow,
            self._website,
            filters,
            limit=self._page,
            largest_limit=self._page,
            offset=self._offset,
            brief=True,
        ):
            found.update(row.id for row in part.recordings)
            missed += part.missed
        self.missed += lacking(missed, expected, len(found))
        return frozenset(found)

    async def _count(self, filters: SessionFilters) -> int:
        request = recordings.list(self._website, filters, limit=1)
        return (await self._mouseflow.send(request)).count


def lacking(missed: int, expected: int | None, read: int) -> int:
    """How many of those `missed` were there when the reading began, with so many `expected`.

    Without knowing what was there, all of them.
    """
    return missed if expected is None else max(0, min(missed, expected - read))
