"""Backfill: reads day by day what was missed in downtime, or before a first start.

Each day is read and evaluated page by page, so that memory stays flat, and the progress is
stored after each day. Ordinary polls then continue from the last hours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from functools import partial

import msgspec

from bot.domain.subjects import Site
from bot.errors import TryLater
from bot.polling.evaluate import Knowledge
from bot.polling.filter_checks import FilterChecks
from bot.polling.list_reader import Watermark
from bot.polling.record_matches import Found, Recorded, matches_in, record_poll
from bot.polling.recordings import SOURCE, PollContext, read_mark
from bot.replay.evaluate_days import History, PreparedSite, evaluate_slice, prepare
from bot.replay.select import Slice, Span, slices
from bot.rules.model import Rule
from bot.store.matches import PollOutcome
from bot.store.recordings import close_older, live_recordings, watermark

DAY = timedelta(days=1)
"""No session is live for longer."""

LONG = timedelta(hours=2)
"""Sessions that began this long before may have continued since."""

BESIDE = timedelta(minutes=25)
"""How much the ordinary polls read by themselves beyond the sessions that have not ended."""

LONGEST_CATCH_UP = timedelta(days=7)
"""How far back rules catch up at most once their filter works again."""

MOST_ATTEMPTS = 2
"""How often to read a day again because of details that could not be read."""


def recent(settle: timedelta) -> timedelta:
    """What the ordinary polls read by themselves, since they must watch live sessions anyway."""
    return settle + BESIDE


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What was missed since then, and what came of it. `paused`: rules that their safety paused.

    `first`: nothing was missed; it was the first start, configured to look back so far.
    """

    since: datetime
    read: int
    matches: int
    missed: int
    paused: tuple[tuple[str, str], ...]
    first: bool = False


@dataclass(frozen=True, slots=True)
class _Day:
    """What a day brought, or, if not `whole`, what it had brought when the rules changed.

    `open` counts recordings whose details could not be read.
    """

    knowledge: Knowledge
    read: int = 0
    matches: int = 0
    missed: int = 0
    open: int = 0
    paused: tuple[tuple[str, str], ...] = ()
    whole: bool = True


async def backfill(
    site: Site,
    in_force: Callable[[], Sequence[Rule]],
    context: PollContext,
    attempts: dict[str, int],
    now: datetime,
) -> Backfilled | None:
    """Read what is too much for an ordinary poll; None if there is nothing of the kind.

    `in_force` returns the current rules: when they change meanwhile, the day under way is
    evaluated again, and if none watches recordings any more, the result is None. `attempts`
    counts how often a day was read without some details; after a few it is done without them.
    Raises the errors of the calls and of the store; the days done so far stay done.
    """
    mark = await context.store.run(partial(read_mark, website=site.id, now=now))
    back_to = mark.polled if mark else now - context.start
    by_polls = recent(context.settle)
    if now - back_to <= by_polls:
        return None
    since = mark.since if mark else back_to
    live = await context.store.run(partial(live_recordings, website=site.id))
    known = [row.created for row in live.values() if row.created and row.created > back_to - DAY]
    began = min(known, default=back_to)
    history = History(
        mouseflow=context.mouseflow,
        store=context.store,
        zone=context.zone,
        settle=context.settle,
        span=Span(min(back_to - LONG, began), now),
        now=now,
        expand=context.expand,
    )
    rules = in_force()
    at = await prepare(history, site, rules, rules)
    waiting = dict(mark.waiting) if mark else {}
    days: list[_Day] = []
    for each in slices([site], history.span, history.zone):
        changed = _changed(in_force, rules)
        while not (day := await _day(history, at, each, since, context, changed)).whole:
            days.append(day)
            rules = in_force()
            changed = _changed(in_force, rules)
            at = await prepare(history, site, rules, rules)
            if not at.rules.final.rules:
                return None
        days.append(day)
        at = replace(at, knowledge=day.knowledge)
        if day.open and attempts.setdefault(each.name, 0) < MOST_ATTEMPTS:
            attempts[each.name] += 1
            raise TryLater(f"details of {day.open} recordings of {each.day} could not be read")
        done = datetime.combine(each.day + timedelta(days=1), time(), context.zone)
        until = min(max(done, back_to), now - by_polls)
        waiting |= dict.fromkeys(at.suspended_rules - waiting.keys(), since)
        await _remember(site, context, Watermark.after(since, until, waiting), now)
    await context.store.run(partial(close_older, website=site.id, than=now - DAY))
    await _remember(site, context, Watermark.after(now - by_polls, now, waiting), now)
    return Backfilled(
        back_to,
        sum(day.read for day in days),
        sum(day.matches for day in days),
        sum(day.missed for day in days),
        tuple(paused for day in days for paused in day.paused),
        first=mark is None,
    )


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What catching up found: the filters by then, the number of matches, and paused rules."""

    filters: FilterChecks
    matches: int = 0
    paused: tuple[tuple[str, str], ...] = ()


async def catch_up(
    site: Site,
    rules: Sequence[Rule],
    context: PollContext,
    behind: Mapping[str, datetime],
    now: datetime,
) -> CaughtUp:
    """Evaluate the rules that a filter had suspended over the time since then, by their ids.

    Rules whose filter does not work after all go on waiting. Raises the errors of the calls and
    of the store; the next poll then finds the same rules behind.
    """
    late = [rule for rule in rules if rule.id in behind]
    since = {rule.id: max(behind[rule.id], now - LONGEST_CATCH_UP) for rule in late}
    history = History(
        mouseflow=context.mouseflow,
        store=context.store,
        zone=context.zone,
        settle=context.settle,
        span=Span(min(since.values(), default=now) - LONG, now),
        now=now,
        expand=context.expand,
    )
    at = await prepare(history, site, late, rules)
    caught_up = CaughtUp(at.knowledge.filters)
    working = frozenset(since) - at.suspended_rules
    for each in slices([site], history.span, history.zone) if working else ():
        async for batch in evaluate_slice(history, at, each):
            at = replace(at, knowledge=batch.knowledge)
            found = [
                one
                for one in matches_in(batch.evaluations, now)
                if one.rule.id in working and one.happened >= since[one.rule.id]
            ]
            recorded = await _record(site, context, now, found=found)
            caught_up = replace(
                caught_up,
                matches=caught_up.matches + len(recorded.matches),
                paused=caught_up.paused + recorded.paused,
            )
    text = await context.store.run(partial(watermark, source=SOURCE, website=site.id))
    mark = msgspec.json.decode(text, type=Watermark) if text else None
    if mark is not None:
        rest = {rule: at for rule, at in mark.waiting.items() if rule not in working}
        await _remember(site, context, msgspec.structs.replace(mark, waiting=rest), now)
    return caught_up


async def _day(
    history: History,
    at: PreparedSite,
    each: Slice,
    since: datetime,
    context: PollContext,
    changed: Callable[[], bool],
) -> _Day:
    """Evaluate one day and record its matches, until the rules change."""
    day = _Day(at.knowledge)
    async for batch in evaluate_slice(history, at, each):
        if changed():
            return replace(day, whole=False)
        found = [one for one in matches_in(batch.evaluations, history.now) if one.happened >= since]
        recorded = await _record(at.site, context, history.now, found=found)
        day = replace(
            day,
            knowledge=batch.knowledge,
            read=day.read + batch.read,
            matches=day.matches + len(recorded.matches),
            missed=day.missed + batch.missed,
            open=day.open + batch.open,
            paused=day.paused + recorded.paused,
        )
    return day


def _changed(in_force: Callable[[], Sequence[Rule]], rules: Sequence[Rule]) -> Callable[[], bool]:
    return lambda: in_force() != rules


async def _remember(site: Site, context: PollContext, mark: Watermark, now: datetime) -> None:
    await _record(site, context, now, watermark=msgspec.json.encode(mark).decode())


async def _record(
    site: Site,
    context: PollContext,
    now: datetime,
    *,
    found: Sequence[Found] = (),
    watermark: str | None = None,
) -> Recorded:
    outcome = PollOutcome(source=SOURCE, website=site.id, at=now, watermark=watermark)
    return await context.store.run(
        partial(record_poll, outcome=outcome, found=found, routing=context.routing)
    )
