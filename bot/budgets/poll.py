"""One look at the budgets: count, see how the websites stand, decide, write it down at once.

Nothing is switched here: the decisions go into the outbox with what remembers them, in one
transaction, so that a step acts once whatever happens.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from bot.budgets.decide import act
from bot.budgets.state import Scene, SiteMark, Tally, covered, period_of, set_site_mark, site_mark
from bot.budgets.switches import learn, own_stop_of_a_rule, settled_switches, switched
from bot.domain.budget import Standing
from bot.domain.subjects import Site
from bot.errors import GiveUp, TryLater
from bot.polling.record_matches import Routing
from bot.polling.recordings import PollContext
from bot.ports import Mouseflow
from bot.reports.sources import LONG_AGO
from bot.rules.model import Budget
from bot.store import Connection
from bot.store.alert_states import forget_figures
from bot.store.budgets import Switching, keep_highest, owned, used
from mouseflow import recordings, websites
from mouseflow.filters import SessionFilters

DAY = timedelta(days=1)

FEW = 8
"""Calls that one look makes at most where the API tells no count per day."""

HISTORY = timedelta(days=28)
"""How far back the first look counts, for the forecast."""

STRAGGLERS = timedelta(days=1)
"""Days before the last look that may still have grown: sessions arrive late."""


def first_day(known: Collection[date], begins: date, today: date, last: date | None) -> date:
    """The first day to count: the first unknown one of the period, else from the last look on.

    At first sight (no last look) the days before the period are counted too.
    """
    if last is None:
        return min(begins, today - HISTORY)
    day = begins
    while day < last and day in known:
        day += DAY
    return min(day, last - STRAGGLERS, today)


async def count_days(
    mouseflow: Mouseflow, website: str, first: date, today: date, known: Collection[date]
) -> Mapping[date, int]:
    """Recordings by day, from `first` to `today`; raises the errors of the calls.

    Where the chart is missing or does not add up to the count, single days are asked for:
    the newest, then those not `known` yet, as many as the patience of one look allows.
    """
    end = today + DAY
    page = await mouseflow.send(
        recordings.list(website, SessionFilters(fromdate=first, todate=end), limit=1)
    )
    chart = {day: count for day, count in page.chart.items() if first <= day < end}
    days = [first + n * DAY for n in range((end - first).days)]
    if sum(chart.values()) == page.count:
        return {day: chart.get(day, 0) for day in days}
    found = {}
    wanted = [day for day in reversed(days) if day >= today - STRAGGLERS or day not in known]
    for day in wanted[:FEW]:
        filters = SessionFilters(fromdate=day, todate=day + DAY)
        answer = await mouseflow.send(recordings.list(website, filters, limit=1))
        found[day] = answer.count
    return found


async def dates_are_ignored(mouseflow: Mouseflow, website: str) -> bool:
    """Does the API count recordings of a day before there were any? Then it heeds no dates."""
    filters = SessionFilters(fromdate=LONG_AGO[0], todate=LONG_AGO[1])
    return (await mouseflow.send(recordings.list(website, filters, limit=1))).count > 0


AT_ONCE = 8
"""Websites asked side by side, as many as are polled at once: so a look has half of the calls."""


@dataclass(slots=True)
class BudgetMemory:
    """What may be lost: whether the API heeds dates, by website."""

    heeds_dates: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BudgetsLooked:
    """What came of a look. `used` is the highest percentage of any budget, by website.

    `ignored` are websites where the API heeds no dates: nothing can be counted there.
    """

    matches: tuple[str, ...] = ()
    used: Mapping[str, float] = field(default_factory=dict)
    ignored: tuple[Site, ...] = ()
    failed: Exception | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """What the API told of one website; None where that call failed.

    `switched` is what the bot had done to its switches before it was asked.
    """

    site: Site
    days: Mapping[date, int] | None
    standing: Standing | None
    switched: Sequence[Switching] = ()


async def look(
    budgets: Sequence[Budget],
    sites: Sequence[Site],
    context: PollContext,
    memory: BudgetMemory,
    now: datetime,
    ops: str | None,
) -> BudgetsLooked:
    """One look at all budgets. `ops` is where news go that no budget has a channel for.

    A website that can't be asked is judged by what was known of it; the first one's error is
    handed over.
    """
    begins: dict[str, date] = {}
    watched: dict[str, Site] = {}
    for budget in budgets:
        for site in covered(budget, sites):
            first = period_of(budget, now, context.zone).first
            watched[site.id] = site
            begins[site.id] = min(begins.get(site.id, first), first)
    asked = await _all_asked(watched.values(), begins, context, memory, now)
    failed = next((error for _seen, error in asked if error), None)
    counted = [seen for seen, _error in asked]
    work = partial(
        settle, budgets=budgets, counted=counted, routing=context.routing, zone=context.zone,
        now=now, ops=ops,
    )  # fmt: skip
    tally = await context.store.run(work)
    ignored = tuple(
        site for site in watched.values() if memory.heeds_dates.get(site.id) is False
    )  # fmt: skip
    return BudgetsLooked(tuple(tally.matches), tally.used, ignored, failed)


_Answer = tuple[Counted, Exception | None]


async def _all_asked(
    sites: Iterable[Site],
    begins: Mapping[str, date],
    context: PollContext,
    memory: BudgetMemory,
    now: datetime,
) -> list[_Answer]:
    """Ask about the websites, `AT_ONCE` at a time; answers are in their order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(site: Site) -> _Answer:
        async with places:
            return await _asked(site, begins[site.id], context, memory, now)

    try:
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(ask(site)) for site in sites]
    except ExceptionGroup as faults:
        # One is enough to end the look, as it stands: whoever asked knows it by its class.
        raise faults.exceptions[0] from None
    return [each.result() for each in asking]


async def _asked(
    site: Site, begins: date, context: PollContext, memory: BudgetMemory, now: datetime
) -> _Answer:
    today = now.astimezone(context.zone).date()
    days: Mapping[date, int] | None = None

    def before(conn: Connection) -> Sequence[Switching]:
        return switched(conn, site.id, site_mark(conn, site.id), now)

    begun = await context.store.run(before)
    try:
        if not memory.heeds_dates.get(site.id):
            ignored = await dates_are_ignored(context.mouseflow, site.id)
            memory.heeds_dates[site.id] = not ignored
        if memory.heeds_dates[site.id]:
            days = await _counted(site, begins, today, context)
        detail = await context.mouseflow.send(websites.detail(site.id))
    except (GiveUp, TryLater) as error:
        return Counted(site, days, None), error
    read_only = site.read_only or bool(detail.read_only)
    standing = Standing(site.id, detail.status, detail.recording_rate, read_only)
    return Counted(site, days, standing, begun), None


async def _counted(
    site: Site, begins: date, today: date, context: PollContext
) -> Mapping[date, int]:
    def known(conn: Connection) -> tuple[set[date], SiteMark | None]:
        days = used(conn, [site.id], begins, today).get(site.id, {})
        return set(days), site_mark(conn, site.id)

    days, mark = await context.store.run(known)
    last = mark.at.astimezone(context.zone).date() if mark else None
    first = first_day(days, begins, today, last)
    return await count_days(context.mouseflow, site.id, first, today, days)


def settle(
    conn: Connection,
    budgets: Sequence[Budget],
    counted: Sequence[Counted],
    routing: Routing,
    zone: ZoneInfo,
    now: datetime,
    ops: str | None,
) -> Tally:
    """Write the counts down, look after what was switched, and decide what each budget does."""
    scene = Scene(zone=zone, now=now, ops=ops, routing=routing, budgets=budgets)
    for seen in counted:
        website = seen.site.id
        mark = site_mark(conn, website)
        if seen.days is not None:
            learn(conn, website, seen.days, mark, seen.standing, now, zone)
            keep_highest(conn, website, seen.days, now)
        scene.sites[website] = seen.site
        scene.before[website] = mark
        scene.switched[website] = switched(conn, website, mark, now)
        # Switched while it was asked, it may have answered of before or after: wait for a look.
        sure = scene.switched[website] == seen.switched
        standing = seen.standing if sure else None
        scene.marks[website] = settled_switches(conn, website, mark, standing, now)
        if standing is not None:
            scene.standings[website] = standing
            if own_stop_of_a_rule(conn, website, seen.switched, standing):
                scene.stopped.add(website)
    scene.holds.update(owned(conn))
    tally = act(conn, scene)
    for website, left in scene.marks.items():
        if website in scene.standings or scene.before[website]:
            set_site_mark(conn, website, left)
    forget_figures(conn, now - HISTORY * 1.25)
    return tally
