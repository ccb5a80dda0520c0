"""What the budgets' poll remembers in the store: of each website, and of each budget.

The first is what the next look compares with, the second is what `status` shows.
"""

from datetime import datetime

import msgspec
from msgspec import Struct

from bot.budgets import Switch
from bot.store import Connection
from bot.store.watermarks import all_watermarks, set_watermark, watermark

SITES, BUDGETS = "budget-websites", "budgets"
"""The sources' names in the table of watermarks."""


class Pending(Struct, frozen=True):
    """A switch that waits in the outbox: the step's key, what it sets, by whom and why.

    `undo` tells that it takes back what the owner did.
    """

    key: str
    switch: Switch
    to: str
    owner: str
    reason: str
    undo: bool = False


class SiteMark(Struct, frozen=True, omit_defaults=True):
    """A website at the last look. `former` is its rate before the last change of it."""

    at: datetime
    status: str | None = None
    rate: int | None = None
    former: int | None = None
    changed: datetime | None = None
    pending: tuple[Pending, ...] = ()


class SiteLine(Struct, frozen=True):
    """A website of a budget as `status` shows it; `owner` is who set its present state."""

    id: str
    name: str
    status: str | None
    rate: int | None
    owner: str
    read_only: bool


class StepLine(Struct, frozen=True):
    """A step of a budget: its share, what it does, and when it acted in this period."""

    at: float
    does: str
    acted: datetime | None


class BudgetMark(Struct, frozen=True, omit_defaults=True):
    """A budget at the last look. `ends` is when it will be used up, None if it lasts.

    `expected` is what the period will have used at its end, at the present rates.
    """

    at: datetime
    period: str
    first: str
    end: str
    recordings: int
    used: int
    expected: float = 0.0
    ends: datetime | None = None
    paced: datetime | None = None
    websites: tuple[SiteLine, ...] = ()
    steps: tuple[StepLine, ...] = ()
    resume: bool = False
    pace: bool = False


def site_mark(conn: Connection, website: str) -> SiteMark | None:
    """The website at the last look."""
    text = watermark(conn, SITES, website)
    return msgspec.json.decode(text, type=SiteMark) if text else None


def set_site_mark(conn: Connection, website: str, mark: SiteMark) -> None:
    """Remember the website for the next look."""
    set_watermark(conn, SITES, website, msgspec.json.encode(mark).decode(), mark.at)


def budget_mark(conn: Connection, budget: str) -> BudgetMark | None:
    """The budget at the last look."""
    text = watermark(conn, BUDGETS, budget)
    return msgspec.json.decode(text, type=BudgetMark) if text else None


def set_budget_mark(conn: Connection, budget: str, mark: BudgetMark) -> None:
    """Remember the budget, for the next look and for people."""
    set_watermark(conn, BUDGETS, budget, msgspec.json.encode(mark).decode(), mark.at)


def budget_marks(conn: Connection) -> dict[str, BudgetMark]:
    """Every budget that was looked at, by its id."""
    return {
        name: msgspec.json.decode(text, type=BudgetMark)
        for (source, name), (text, _at) in sorted(all_watermarks(conn).items())
        if source == BUDGETS
    }
