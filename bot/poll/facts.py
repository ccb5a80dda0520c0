"""Asks what only the server can judge: friction bands and whether a visitor came back.

Friction thresholds are asked in ascending order, each once for all rules and recordings, and
only while some recording that may still reach it needs it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bot.mouseflow.filters import SessionFilters
from bot.mouseflow.models import Recording
from bot.poll.listing import Listing, deeper, narrowed, read
from bot.ports import Mouseflow
from bot.subjects import Band

VisitorType = Literal["first", "returning"]

IMPOSSIBLE_FRICTION = 1_000_000_000.0
"""No session is that frustrated: a server that counts one ignores the filter."""

SPARE = 10
"""Rows to ask for beyond those in question."""


@dataclass(frozen=True, slots=True)
class Wanting:
    """A recording whose friction is in question: what is known, and the thresholds that matter."""

    row: Recording
    band: Band
    thresholds: frozenset[float]

    def open_at(self, threshold: float) -> bool:
        """Is it unknown whether the recording reaches it, and of use to ask?"""
        return self.band.low < threshold < self.band.high and threshold <= max(self.thresholds)

    def told(self, threshold: float, reached: bool) -> "Wanting":
        """The same with the answer."""
        band = Band(threshold, self.band.high) if reached else Band(self.band.low, threshold)
        return replace(self, band=band)


async def friction_bands(
    mouseflow: Mouseflow, website: str, window: SessionFilters, wanting: Iterable[Wanting]
) -> dict[str, Band]:
    """The band of each recording's friction, by its id, as narrow as its thresholds want it."""
    found = {each.row.id: each for each in wanting if each.thresholds}
    for threshold in sorted({it for each in found.values() for it in each.thresholds}):
        asking = {key: each for key, each in found.items() if each.open_at(threshold)}
        if not any(threshold in each.thresholds for each in asking.values()):
            continue
        filters = narrowed(window, friction=threshold)
        rows = [each.row for each in asking.values()]
        reached = await members(mouseflow, website, filters, rows)
        for key, each in asking.items():
            found[key] = each.told(threshold, key in reached)
    return {key: each.band for key, each in found.items()}


async def visitor_types(
    mouseflow: Mouseflow,
    website: str,
    window: SessionFilters,
    rows: Collection[Recording],
    depth: int = 0,
) -> dict[str, VisitorType]:
    """Whether each row's visitor came back, by recording id.

    `depth` is how deep in the whole list the rows stand, where that is known: about half of
    what stands above them may have come back, too.
    """
    if not rows:
        return {}
    filters = narrowed(window, returning=True)
    found = await members(mouseflow, website, filters, rows, depth // 2)
    return {row.id: "returning" if row.id in found else "first" for row in rows}


async def friction_is_ignored(mouseflow: Mouseflow, website: str, window: SessionFilters) -> bool:
    """Does the server count recordings of an impossible friction?

    Then it ignores the filter, and every recording would seem frustrated.
    """
    filters = narrowed(window, friction=IMPOSSIBLE_FRICTION)
    return (await read(mouseflow, website, filters, limit=1)).count > 0


async def members(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    rows: Collection[Recording],
    depth: int = 0,
) -> frozenset[str]:
    """Which of the rows the filter lets through; reads until each one is decided.

    What is newer than these rows is mostly among them, so hardly more rows are asked for,
    or `depth` of them if that is more.
    """
    wanted = frozenset(row.id for row in rows)

    async def sift(some: Sequence[Recording]) -> list[Recording]:
        return [row for row in some if row.id in wanted]

    limit = max(len(rows), depth) + SPARE
    listing = await read(mouseflow, website, filters, limit, brief=True)
    while not _decided(listing, rows):
        further = await deeper(mouseflow, website, filters, listing, sift)
        if further is listing:
            break
        listing = further
    return frozenset(row.id for row in listing.rows)


def _decided(listing: Listing, rows: Collection[Recording]) -> bool:
    seen = {row.id for row in listing.rows}
    return all(row.id in seen or listing.covers(row) for row in rows)
