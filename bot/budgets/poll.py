"""One poll of the budgets: count, read the websites' switches, decide, write it down at once.

Nothing is switched here: the decisions go into the outbox with what remembers them, in one
transaction, so that a step acts exactly once.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from bot.budgets.decide import decide
from bot.budgets.members import Counted, counted, membership
from bot.budgets.state import (
    BudgetContext,
    SiteMark,
    budget_mark,
    period_of,
    set_site_mark,
    site_mark,
)
from bot.budgets.switches import own_stop_of_a_rule, settled_switches, switched
from bot.domain.budget import LATE, RECORDING, WebsiteState, midnight
from bot.domain.subjects import Site
from bot.errors import GiveUp, TryLater
from bot.polling.record_matches import Routing
from bot.polling.recordings import PollContext
from bot.ports import Mouseflow
from bot.reports.sources import LONG_AGO
from bot.rules.model import Budget
from bot.store import Connection
from bot.store.alert_states import forget_figures
from bot.store.budgets import Switching, add_visitors, drop_visitors, keep_highest, owned, used
from bot.store.recordings import missing_websites
from mouseflow import recordings, websites
from mouseflow.filters import SessionFilters

AT_ONCE = 8
"""Websites requested side by side, as many as are polled at once: so they get half of the rate."""


@dataclass(slots=True)
class BudgetMemory:
    """What may be lost at a restart: whether the API applies dates, by website."""

    dates_work: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BudgetsPolled:
    """What one poll did. `matches` are the keys of new matches.

    `used` is the highest percentage of any budget, by website. `ignored` are the websites
    where the API ignores dates, so nothing can be counted. `failed` is the first error.
    """

    matches: tuple[str, ...] = ()
    used: Mapping[str, float] = field(default_factory=dict)
    ignored: tuple[Site, ...] = ()
    failed: Exception | None = None


@dataclass(frozen=True, slots=True)
class WebsiteCounts:
    """What the API answered for one website; None where that request failed.

    `switched` is what the bot had done to its switches before the request.
    """

    site: Site
    days: Mapping[date, int] | None
    state: WebsiteState | None
    switched: Sequence[Switching] = ()


async def poll_budgets(
    budgets: Sequence[Budget],
    sites: Sequence[Site],
    context: PollContext,
    memory: BudgetMemory,
    now: datetime,
    ops: str | None,
    others: Sequence[Site] = (),
) -> BudgetsPolled:
    """Poll all budgets. `ops` is the channel for messages that no budget has a channel for.

    `sites` are the account's websites, `others` those that no budget starts to count. A
    website whose request fails is evaluated with what was known of it; the first error
    is returned.
    """
    planning = partial(
        plan, budgets=budgets, sites=sites, others=others, zone=context.zone, now=now
    )
    planned = await context.store.run(planning)
    watched = planned.sites
    fetched = await _fetch_all(watched.values(), planned.begins, context, memory, now)
    failed = next((error for _counts, error in fetched if error), None)
    work = partial(
        settle, budgets=budgets, planned=planned, counts=[counts for counts, _error in fetched],
        routing=context.routing, zone=context.zone, now=now, ops=ops,
    )  # fmt: skip
    decided = await context.store.run(work)
    ignored = tuple(site for site in watched.values() if memory.dates_work.get(site.id) is False)
    return BudgetsPolled(tuple(decided.matches), decided.used, ignored, failed)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a poll is about: what each budget counts, by its id, and the websites to fetch.

    `begins` is the first day to know of each website. `missing` are the websites that a
    budget holds and that the account's list lacks.
    """

    counted: Mapping[str, Counted]
    sites: Mapping[str, Site]
    begins: Mapping[str, date]
    missing: frozenset[str]


def plan(
    conn: Connection,
    budgets: Sequence[Budget],
    sites: Sequence[Site],
    others: Sequence[Site],
    zone: ZoneInfo,
    now: datetime,
) -> Plan:
    """What each budget counts, and the websites to fetch: those and the ones that it holds."""
    found: dict[str, Counted] = {}
    begins: dict[str, date] = {}
    wanted: dict[str, Site] = {}
    listed = {site.id: site for site in (*others, *sites)}
    holds = {each.website for each in owned(conn).values() if not each.rule}
    for budget in budgets:
        period = period_of(budget, now, zone)
        mark = budget_mark(conn, budget.id)
        running = mark.running if mark else ()
        found[budget.id] = counted(budget, membership(running, period), sites, others)
        for site in found[budget.id].sites:
            wanted[site.id] = site
            begins[site.id] = min(begins.get(site.id, period.first), period.first)
        # A switch may be under way on a website that left the budget a moment ago.
        before = {each.id for membership in running for each in membership.members}
        holds |= {each for each in before if (left := site_mark(conn, each)) and left.pending}
    today = now.astimezone(zone).date()
    for website in sorted(holds & listed.keys()):
        wanted.setdefault(website, listed[website])
        begins.setdefault(website, today)
    return Plan(found, wanted, begins, frozenset(holds - listed.keys()))


_Fetched = tuple[WebsiteCounts, Exception | None]


async def _fetch_all(
    sites: Iterable[Site],
    begins: Mapping[str, date],
    context: PollContext,
    memory: BudgetMemory,
    now: datetime,
) -> list[_Fetched]:
    """Fetch the websites' counts and switches, `AT_ONCE` at a time, in the order of `sites`."""
    places = asyncio.Semaphore(AT_ONCE)

    async def fetch(site: Site) -> _Fetched:
        async with places:
            return await _fetch(site, begins[site.id], context, memory, now)

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(fetch(site)) for site in sites]
    except ExceptionGroup as errors:
        # One is enough to end the poll. The caller handles it by its class.
        raise errors.exceptions[0] from None
    return [each.result() for each in running]


async def _fetch(
    site: Site, begins: date, context: PollContext, memory: BudgetMemory, now: datetime
) -> _Fetched:
    today = now.astimezone(context.zone).date()
    days: Mapping[date, int] | None = None

    def before(conn: Connection) -> Sequence[Switching]:
        return switched(conn, site.id, site_mark(conn, site.id), now)

    begun = await context.store.run(before)
    try:
        if not memory.dates_work.get(site.id):
            ignored = await dates_are_ignored(context.mouseflow, site.id)
            memory.dates_work[site.id] = not ignored
        if memory.dates_work[site.id]:
            days = await _fetch_days(site, begins, today, context)
        detail = await context.mouseflow.send(websites.detail(site.id))
    except (GiveUp, TryLater) as error:
        return WebsiteCounts(site, days, None), error
    read_only = site.read_only or bool(detail.read_only)
    state = WebsiteState(site.id, detail.status, detail.recording_rate, read_only)
    return WebsiteCounts(site, days, state, begun), None


# Counting

DAY = timedelta(days=1)

FEW = 8
"""The most requests per poll and website where the API returns no count per day."""

HISTORY = timedelta(days=28)
"""How far back the first poll counts, for the forecast."""

STRAGGLERS = timedelta(days=1)
"""Days before the last poll that may still have grown: sessions arrive late."""


async def _fetch_days(
    site: Site, begins: date, today: date, context: PollContext
) -> Mapping[date, int]:
    def known(conn: Connection) -> tuple[set[date], SiteMark | None]:
        days = used(conn, [site.id], begins, today).get(site.id, {})
        return set(days), site_mark(conn, site.id)

    days, mark = await context.store.run(known)
    last = mark.at.astimezone(context.zone).date() if mark else None
    first = first_day(days, begins, today, last)
    return await count_days(context.mouseflow, site.id, first, today, days)


def first_day(known: Collection[date], begins: date, today: date, last: date | None) -> date:
    """The first day to count: the first unknown one of the period, else from the last poll on.

    The first poll (`last` None) counts the days before the period too.
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
    """Recordings by day, from `first` to `today`; raises the errors of the requests.

    If the chart is missing or does not add up to the count, single days are requested: the
    newest, then those not `known` yet, at most `FEW` in one poll.
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
    """Whether the API ignores dates: it counts recordings on a day before there were any."""
    filters = SessionFilters(fromdate=LONG_AGO[0], todate=LONG_AGO[1])
    return (await mouseflow.send(recordings.list(website, filters, limit=1))).count > 0


# Writing it down


def settle(
    conn: Connection,
    budgets: Sequence[Budget],
    planned: Plan,
    counts: Sequence[WebsiteCounts],
    routing: Routing,
    zone: ZoneInfo,
    now: datetime,
    ops: str | None,
) -> BudgetContext:
    """Write the counts down, see what became of the switches, and decide for each budget."""
    context = BudgetContext(
        zone=zone, now=now, ops=ops, routing=routing, budgets=budgets, counted=planned.counted,
        gone=_gone(conn, planned.missing, now),
    )  # fmt: skip
    for each in counts:
        website = each.site.id
        mark = site_mark(conn, website)
        if each.days is not None:
            learn_visitors(conn, website, each.days, mark, each.state, now, zone)
            keep_highest(conn, website, each.days, now)
        context.sites[website] = each.site
        context.before[website] = mark
        context.switched[website] = switched(conn, website, mark, now)
        # Switched during the request: the answer may be of before or after. Wait for a poll.
        certain = context.switched[website] == each.switched
        state = each.state if certain else None
        context.marks[website] = settled_switches(conn, website, mark, state, now)
        if state is not None:
            context.states[website] = state
            if own_stop_of_a_rule(conn, website, each.switched, state):
                context.stopped.add(website)
    context.owned.update(owned(conn))
    decide(conn, context)
    for website, left in context.marks.items():
        if website in context.states or context.before[website]:
            set_site_mark(conn, website, left)
    forget_figures(conn, now - HISTORY * 1.25)
    return context


def _gone(conn: Connection, missing: Collection[str], now: datetime) -> frozenset[str]:
    """Of the websites that the list lacks, those that the list before it lacked too."""
    found = set()
    first_time = missing_websites(conn)
    for website in missing:
        mark = site_mark(conn, website) or SiteMark(at=now)
        if mark.absent and website not in first_time:
            found.add(website)
        set_site_mark(conn, website, replace(mark, absent=mark.absent or now))
    return frozenset(found)


HOUR = timedelta(hours=1)

LONGEST_GAP = 6 * HOUR
"""After a longer gap between two polls nothing is known about the single hours."""


def learn_visitors(
    conn: Connection,
    website: str,
    days: Mapping[date, int],
    mark: SiteMark | None,
    state: WebsiteState | None,
    now: datetime,
    zone: ZoneInfo,
) -> None:
    """Learn how many visitors come in an hour from the recordings since the last poll."""
    if mark is None:
        rate = state.rate if state and state.rate else 100
        add_visitors(conn, website, _by_day(days, 100 / rate, now, zone))
        return
    if not _records(mark.status) or state is None or not state.is_recording:
        drop_visitors(conn, website, mark.at, now)
        return
    if not timedelta() < now - mark.at <= LONGEST_GAP:
        return
    known = used(conn, [website], min(days), max(days)).get(website, {})
    last = mark.at.astimezone(zone).date()
    fresh = sum(
        max(0, count - known.get(day, 0))
        for day, count in days.items()
        if day in known or day > last
    )
    add_visitors(conn, website, _spread(mark.at, now, fresh * 100 / _rate(mark, now)))


def _records(status: str | None) -> bool:
    return (status or "").casefold() == RECORDING


def _rate(mark: SiteMark, now: datetime) -> int:
    """The rate at which visitors were recorded; a lower rate reaches them late."""
    rate = mark.rate or 100
    if mark.former and mark.changed and now - mark.changed <= 2 * LATE:
        return max(rate, mark.former)
    return rate


def _by_day(
    days: Mapping[date, int], factor: float, now: datetime, zone: ZoneInfo
) -> dict[datetime, float]:
    """Whole days spread evenly over their hours. Days before the first visit are left out,
    since the website may not have existed."""
    found: dict[datetime, float] = {}
    since = min((day for day, count in days.items() if count), default=now.date())
    for day, count in ((day, count) for day, count in days.items() if day >= since):
        begins = midnight(day, zone)
        ends = min(midnight(day + timedelta(days=1), zone), now)
        for hour, value in _spread(begins, ends, count * factor).items():
            found[hour] = found.get(hour, 0.0) + value
    return found


def _spread(start: datetime, end: datetime, total: float) -> dict[datetime, float]:
    """The total, spread evenly over the hours between."""
    found: dict[datetime, float] = {}
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        share = (min(hour + HOUR, end) - max(hour, start)) / (end - start)
        found[hour] = total * share
        hour += HOUR
    return found
