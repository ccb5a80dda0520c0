"""Asks what only the server can judge: friction bands and whether a visitor came back.

Friction thresholds are asked in ascending order, each once for all rules and recordings,
and the first one that none of the recordings reaches ends the asking.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from bot.mouseflow.filters import SessionFilters
from bot.mouseflow.models import Recording
from bot.poll.listing import Listing, deeper, narrowed, read
from bot.ports import Mouseflow
from bot.subjects import Band

VisitorType = Literal["first", "returning"]

IMPOSSIBLE = 1_000_000_000.0
"""No session is that frustrated: a server that counts one ignores the filter."""

SPARE = 10
"""Rows to ask for beyond those in question."""


async def friction_bands(
    mouseflow: Mouseflow,
    website: str,
    window: SessionFilters,
    rows: Collection[Recording],
    thresholds: Sequence[float],
) -> dict[str, Band]:
    """The band of each row's friction, by recording id, as far as the thresholds tell."""
    bands: dict[str, Band] = {}
    reached: Mapping[str, Recording] = {row.id: row for row in rows}
    low = Band().low
    for threshold in sorted(thresholds):
        if not reached:
            break
        filters = narrowed(window, friction=threshold)
        found = await members(mouseflow, website, filters, reached.values())
        for key in reached.keys() - found:
            bands[key] = Band(low, threshold)
        reached = {key: row for key, row in reached.items() if key in found}
        low = threshold
    bands.update(dict.fromkeys(reached, Band(low)))
    return bands


async def visitor_types(
    mouseflow: Mouseflow,
    website: str,
    window: SessionFilters,
    rows: Collection[Recording],
) -> dict[str, VisitorType]:
    """Whether each row's visitor came back, by recording id."""
    if not rows:
        return {}
    filters = narrowed(window, returning=True)
    found = await members(mouseflow, website, filters, rows)
    return {row.id: "returning" if row.id in found else "first" for row in rows}


async def friction_is_ignored(mouseflow: Mouseflow, website: str, window: SessionFilters) -> bool:
    """Does the server count recordings of an impossible friction?

    Then it ignores the filter, and every recording would seem frustrated.
    """
    filters = narrowed(window, friction=IMPOSSIBLE)
    return (await read(mouseflow, website, filters, limit=1)).count > 0


async def members(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    rows: Collection[Recording],
) -> frozenset[str]:
    """Which of the rows the filter lets through; reads until each one is decided.

    What is newer than these rows is mostly among them, so hardly more rows are asked for.
    """
    wanted = frozenset(row.id for row in rows)

    async def sift(some: Sequence[Recording]) -> list[Recording]:
        return [row for row in some if row.id in wanted]

    listing = await read(mouseflow, website, filters, len(rows) + SPARE)
    while not _decided(listing, rows):
        further = await deeper(mouseflow, website, filters, listing, sift)
        if further is listing:
            break
        listing = further
    return frozenset(row.id for row in listing.rows)


def _decided(listing: Listing, rows: Collection[Recording]) -> bool:
    seen = {row.id for row in listing.rows}
    return all(row.id in seen or listing.covers(row) for row in rows)
