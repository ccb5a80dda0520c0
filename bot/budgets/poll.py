"""One poll of the budgets: count, read the websites' switches, decide, write it down at once.

Nothing is switched here: the decisions go into the outbox with what remembers them, in one
transaction, so that a step acts exactly once.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import TypeVar
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from bot.budgets.changed_by_others import follow_files
from bot.budgets.counting import (
    DAY,
    count_days,
    count_up,
    dates_are_ignored,
    first_day,
    learn_visitors,
)
from bot.budgets.decide import decide
from bot.budgets.members import Counted, counted, membership
from bot.budgets.state import (
    BudgetContext,
    SiteMark,
    budget_mark,
    period_of,
    set_site_mark,
    site_mark,
    step_of,
)
from bot.budgets.switches import ended_switches, own_stop_of_a_rule, switched
from bot.domain import forecast
from bot.domain.budget import (
    WebsiteState,
    compare,
    midnight,
)
from bot.domain.forecast import Traffic
from bot.domain.subjects import Site
from bot.errors import GiveUp, Gone, TryLater
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.rules.model import Budget
from bot.store import Connection
from bot.store.alert_states import note_share
from bot.store.audit import Note, record
from bot.store.budgets import (
    Switching,
    keep_highest,
    newest_day,
    owned,
    used,
)
from bot.store.recordings import deleted_since, missing_websites, website_names
from mouseflow import websites
from mouseflow.models import WebsiteDetail

T = TypeVar("T")

AT_ONCE = 8
"""Websites requested side by side, as many as are polled at once: so they get half of the rate."""


class Learned(Struct, frozen=True):
    """The traffic of each website, learned from the whole hours before `hour`."""

    hour: datetime
    zone: ZoneInfo
    traffic: Mapping[str, Traffic]


@dataclass(slots=True)
class BudgetMemory:
    """What may be lost at a restart: by website, whether the API applies dates, and its traffic."""

    dates_work: dict[str, bool] = field(default_factory=dict)
    learned: Learned | None = None


class BudgetsPolled(Struct, frozen=True):
    """What one poll did. `matches` are the keys of new matches.

    `ignored` are the websites where the API ignores dates, so nothing can be counted. `failed`
    is the first error.
    """

    matches: tuple[str, ...] = ()
    ignored: tuple[Site, ...] = ()
    failed: Exception | None = None


class WebsiteCounts(Struct, frozen=True):
    """What the API answered for one website; None where that request failed.

    `days` include the recordings that the bot itself has `deleted`; `perhaps` is how many more it
    may have. `switched` is what the bot had done to its switches before the request. `gone`: the
    API has no such website.
    """

    site: Site
    days: Mapping[date, int] | None
    state: WebsiteState | None
    switched: Sequence[Switching] = ()
    gone: bool = False
    deleted: Mapping[date, int] = {}
    perhaps: int = 0


async def poll_budgets(
    budgets: Sequence[Budget],
    sites: Sequence[Site],
    context: PollContext,
    memory: BudgetMemory,
    now: datetime,
    ops: str | None,
    others: Sequence[Site] = (),
    in_force: Callable[[], Sequence[Budget]] | None = None,
) -> BudgetsPolled:
    """Poll all budgets. `ops` is the channel for messages that no budget has a channel for.

    `sites` are the account's websites, `others` those that no budget starts to count. A
    website whose request fails is evaluated with what was known of it; the first error
    is returned. `in_force` tells the budgets of now: if one was renamed or taken out meanwhile,
    the poll changes nothing, since the store has what they hold elsewhere.
    """
    planning = partial(
        plan, budgets=budgets, sites=sites, others=others, zone=context.zone, now=now, ops=ops
    )
    planned = await context.store.run(_unless_gone(planning, budgets, in_force))
    if planned is None:
        return BudgetsPolled()
    watched = planned.sites
    fetched = await _fetch_all(planned, context, memory, now)
    failed = next((error for _counts, error in fetched if error), None)
    work = partial(
        record_and_decide, budgets=budgets, planned=planned,
        counts=[counts for counts, _error in fetched],
        routing=context.routing, zone=context.zone, now=now, ops=ops,
        earlier=memory.learned,
    )  # fmt: skip
    decided = await context.store.run(_unless_gone(work, budgets, in_force))
    if decided is None:
        return BudgetsPolled(failed=failed)
    # The next poll adds to the whole hours of a website whose state this one does not know.
    complete = {site: each for site, each in decided.traffic.items() if site in decided.states}
    memory.learned = Learned(forecast.full_hour(now), context.zone, complete)
    for website in decided.doubted:
        memory.dates_work.pop(website, None)  # ask again whether dates work
    ignored = tuple(site for site in watched.values() if memory.dates_work.get(site.id) is False)
    return BudgetsPolled(tuple(decided.matches), ignored, failed)


def _unless_gone(
    work: Callable[[Connection], T],
    budgets: Sequence[Budget],
    in_force: Callable[[], Sequence[Budget]] | None,
) -> Callable[[Connection], T | None]:
    """The work, which does nothing once one of the budgets is not in force any more."""

    def checked(conn: Connection) -> T | None:
        there = None if in_force is None else {each.id for each in in_force()}
        gone = there is not None and any(each.id not in there for each in budgets)
        return None if gone else work(conn)

    return checked


class Plan(Struct, frozen=True):
    """What a poll is about: what each budget counts, by its id, and the websites to fetch.

    `today` is the account's day: tomorrow, if recordings of tomorrow are there already.
    `begins` is the first day to know of each website. `missing` are the websites that a
    budget counts or holds and that the account's list lacks. `matters` is how many recordings
    of one website could make a step switch: fewer do so only if others have more.
    """

    today: date
    counted: Mapping[str, Counted]
    sites: Mapping[str, Site]
    begins: Mapping[str, date]
    missing: frozenset[str]
    matters: Mapping[str, float]


def plan(
    conn: Connection,
    budgets: Sequence[Budget],
    sites: Sequence[Site],
    others: Sequence[Site],
    zone: ZoneInfo,
    now: datetime,
    ops: str | None,
) -> Plan:
    """What each budget counts, and the websites to fetch: those and the ones that it holds."""
    matters: dict[str, float] = {}
    listed = {site.id: site for site in (*others, *sites)}
    names = website_names(conn) | {site.id: site.name for site in listed.values()}
    follow_files(conn, budgets, names, ops, now)
    found: dict[str, Counted] = {}
    begins: dict[str, date] = {}
    wanted: dict[str, Site] = {}
    holds = {each.website for each in owned(conn).values() if not each.rule}
    today = now.astimezone(zone).date()
    today = max(today, newest_day(conn, today + DAY) or today)
    for budget in budgets:
        period = period_of(budget, today)
        mark = budget_mark(conn, budget.id)
        running = mark.running if mark else ()
        found[budget.id] = counted(budget, membership(running, period), sites, others)
        absent = (Site(each.id, each.name) for each in found[budget.id].absent)
        members = (*found[budget.id].sites, *absent)
        for site in members:
            wanted[site.id] = site
            begins[site.id] = min(begins.get(site.id, period.first), period.first)
            share = _first_switch(budget) / len(members)
            matters[site.id] = min(matters.get(site.id, share), share)
        # A switch may be under way on a website that left the budget a moment ago.
        before = {each.id for membership in running for each in membership.members}
        holds |= {each for each in before if (left := site_mark(conn, each)) and left.pending}
    for website in sorted(holds - wanted.keys()):
        wanted[website] = listed.get(website) or Site(website, names.get(website, website))
        begins[website] = today
    missing = frozenset(wanted.keys() - listed.keys())
    return Plan(today, found, wanted, begins, missing, matters)


def _first_switch(budget: Budget) -> float:
    """How many recordings make the budget switch something; infinite if it never does."""
    shares = [step.at for step in budget.steps if step_of(step).switches]
    shares += [0.0] if budget.pace else []
    return budget.recordings * min(shares, default=math.inf) / 100


_Fetched = tuple[WebsiteCounts, Exception | None]


async def _fetch_all(
    planned: Plan, context: PollContext, memory: BudgetMemory, now: datetime
) -> list[_Fetched]:
    """Fetch the websites' counts and switches, `AT_ONCE` at a time, in the plan's order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def fetch(site: Site) -> _Fetched:
        async with places:
            return await _fetch(site, planned, context, memory, now)

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(fetch(site)) for site in planned.sites.values()]
    except ExceptionGroup as errors:
        # One is enough to end the poll. The caller handles it by its class.
        raise errors.exceptions[0] from None
    return [each.result() for each in running]


async def _fetch(
    site: Site, planned: Plan, context: PollContext, memory: BudgetMemory, now: datetime
) -> _Fetched:
    days: Mapping[date, int] | None = None
    deleted: Mapping[date, int] = {}
    perhaps = 0

    def before(conn: Connection) -> Sequence[Switching]:
        return switched(conn, site.id, site_mark(conn, site.id), now)

    begun = await context.store.run(before)
    try:
        detail = await context.mouseflow.send(websites.detail(site.id))
        if await context.store.run(partial(_contradicts, site=site, detail=detail)):
            # One answer is not enough to say that somebody has changed it.
            detail = await context.mouseflow.send(websites.detail(site.id))
        if site.id in planned.missing:
            site = Site(site.id, detail.name or site.name, bool(detail.read_only))
        if not memory.dates_work.get(site.id):
            ignored = await dates_are_ignored(context.mouseflow, site.id)
            memory.dates_work[site.id] = not ignored
        if memory.dates_work[site.id]:
            days, deleted, perhaps = await _fetch_days(site, planned, context, now)
    except Gone as error:
        if site.id in planned.missing:
            return WebsiteCounts(site, None, None, gone=True), None
        return WebsiteCounts(site, days, None), error
    except (GiveUp, TryLater) as error:
        return WebsiteCounts(site, days, None, deleted=deleted, perhaps=perhaps), error
    state = _state(site, detail)
    return WebsiteCounts(site, days, state, begun, deleted=deleted, perhaps=perhaps), None


def _state(site: Site, detail: WebsiteDetail) -> WebsiteState:
    read_only = site.read_only or bool(detail.read_only)
    return WebsiteState(site.id, detail.status, detail.recording_rate, read_only)


def _contradicts(conn: Connection, site: Site, detail: WebsiteDetail) -> bool:
    """Whether the website is not as the bot left it."""
    held = (each for each in owned(conn).values() if each.website == site.id)
    return any(compare(each, _state(site, detail)) == "changed" for each in held)


SHOWN = timedelta(minutes=30)
"""How long after a deletion a count may still include the recording."""


async def _fetch_days(
    site: Site, planned: Plan, context: PollContext, now: datetime
) -> tuple[Mapping[date, int], Mapping[date, int], int]:
    """Recordings by day with those that the bot itself has deleted, the latter alone, and how
    many more it may have deleted.

    Of days that are counted for the first time nothing is known to compare with: if they matter,
    they are asked twice, and the lower answer counts.
    """
    begins, today = planned.begins[site.id], now.astimezone(context.zone).date()

    def known(conn: Connection) -> tuple[set[date], date | None, date, Counter[date], int]:
        days = set(used(conn, [site.id], begins, today + DAY).get(site.id, {}))
        mark = site_mark(conn, site.id)
        last = mark.at.astimezone(context.zone).date() if mark else None
        first = first_day(days, begins, today, last)
        made, perhaps = deleted_since(conn, site.id, midnight(first, context.zone), now - SHOWN)
        by_day = Counter(at.astimezone(context.zone).date() for at in made)
        return days, last, first, by_day, perhaps

    # Before the request: what is deleted meanwhile must not count twice. The next poll adds it.
    days, last, first, deleted, perhaps = await context.store.run(known)

    async def count() -> dict[date, int]:
        found = await count_days(context.mouseflow, site.id, first, today, days)
        return {day: there + deleted[day] for day, there in found.items()}

    found = await count()
    new = [day for day in found if day not in days and (last is None or day < last)]
    if new and sum(found.values()) >= planned.matters.get(site.id, math.inf):
        again = await count()
        found = {day: min(made, again.get(day, 0)) for day, made in found.items()}
    return found, deleted, perhaps


# Writing it down


def record_and_decide(
    conn: Connection,
    budgets: Sequence[Budget],
    planned: Plan,
    counts: Sequence[WebsiteCounts],
    routing: Routing,
    zone: ZoneInfo,
    now: datetime,
    ops: str | None,
    earlier: Learned | None,
) -> BudgetContext:
    """Write the counts down, see what became of the switches, and decide for each budget.

    `earlier` was learned at the last poll.
    """
    known = earlier.traffic if earlier and earlier.zone == zone else {}
    fresh = known if earlier and earlier.hour == forecast.full_hour(now) else {}
    context = BudgetContext(
        zone=zone, now=now, today=planned.today, ops=ops, routing=routing, budgets=budgets,
        counted=_found_again(planned, counts), gone=_gone(conn, counts, now), traffic={**fresh},
    )  # fmt: skip
    for each in (each for each in counts if not each.gone):
        website = each.site.id
        mark = site_mark(conn, website)
        context.before[website] = mark
        context.switched[website] = switched(conn, website, mark, now)
        # Switched during the request: the answer may be of before or after. Wait for a poll.
        certain = context.switched[website] == each.switched
        state = each.state if certain else None
        counting = None
        if each.days is not None:
            counting = count_up(
                conn, website, each.days, each.deleted, each.perhaps, mark, now, zone,
                known.get(website),
            )  # fmt: skip
            if mark or state:  # else the next poll is the first one again
                learn_visitors(conn, website, counting, mark, each.state, now, zone)
            keep_highest(conn, website, counting.used, now)
            if counting.doubted:
                context.doubted.add(website)
        if website not in planned.missing or each.state is not None:
            context.sites[website] = each.site
        left, context.ended[website] = ended_switches(conn, website, mark, state, now)
        if counting:
            left = replace(
                left, days=counting.days, doubted=counting.doubted, deleted=counting.deleted
            )
        left = _note_listed(conn, each, left, website not in planned.missing, now)
        context.marks[website] = left
        if state is not None:
            context.states[website] = state
            note_share(conn, website, state.status, state.rate, now)
            if own_stop_of_a_rule(conn, website, each.switched, state):
                context.stopped.add(website)
    context.owned.update(owned(conn))
    decide(conn, context)
    for website, left in context.marks.items():
        if website in context.states or context.before[website]:
            set_site_mark(conn, website, left)
    return context


def _found_again(planned: Plan, counts: Sequence[WebsiteCounts]) -> Mapping[str, Counted]:
    """What each budget counts: a website that answers is there, whatever the list says."""
    there = {
        each.site.id: each.site
        for each in counts
        if each.site.id in planned.missing and each.state is not None
    }
    return {budget: counted.found_again(there) for budget, counted in planned.counted.items()}


def _note_listed(
    conn: Connection, each: WebsiteCounts, mark: SiteMark, listed: bool, now: datetime
) -> SiteMark:
    """Note that the account's list lacks a website that answers, or has it again."""
    if listed and mark.absent:
        text = f"{each.site.name} is in the list of websites again"
    elif not listed and not mark.absent and each.state is not None:
        text = f"{each.site.name} is missing in the list of websites, but it answers: no change"
    else:
        return mark
    record(conn, now, [Note(kind="website.listed", website=each.site.id, text=text)])
    return replace(mark, absent=None if listed else now)


def _gone(conn: Connection, counts: Sequence[WebsiteCounts], now: datetime) -> frozenset[str]:
    """The websites that two lists in a row lack, and the API has not."""
    found = set()
    first_time = missing_websites(conn)
    for website in (each.site.id for each in counts if each.gone):
        mark = site_mark(conn, website) or SiteMark(at=now)
        if mark.absent and website not in first_time:
            found.add(website)
        set_site_mark(conn, website, replace(mark, absent=mark.absent or now))
    return frozenset(found)
