"""Backfill: reads day by day what was missed in downtime, or before a first start.

Each day is read and evaluated page by page, so that memory stays flat, and the progress is
stored after each day. Ordinary polls then continue from the last hours.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import partial

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.domain.subjects import Site
from bot.errors import TryLater
from bot.polling.candidates import Knowledge
from bot.polling.context import PollContext
from bot.polling.details import FEW, detail_is_read
from bot.polling.filter_checks import FilterChecks
from bot.polling.list_reader import of_days, read
from bot.polling.live_sessions import LONGEST_WAIT
from bot.polling.record_matches import MOST_NAMED, Found, Recorded, matches_in, record_poll
from bot.polling.recordings import recent
from bot.polling.session import AHEAD
from bot.polling.suspended_rules import counting_from, most_recent, undecided_since
from bot.polling.watermark import SOURCE, Watermark, read_mark
from bot.replay.evaluate_days import FilterLost, History, PreparedSite, evaluate_slice, prepare
from bot.replay.select import Slice, Span, slices
from bot.rules.model import Rule
from bot.store.audit import Note
from bot.store.matches import PollOutcome
from bot.store.recordings import SeenRecording, close_older, live_recordings, watermark

DAY = timedelta(days=1)
"""No session is live for longer."""

LONG = timedelta(hours=2)
"""Sessions that began this long before may have continued since."""

LONGEST_CATCH_UP = timedelta(days=7)
"""How far back rules catch up at most once their filter works again."""

EASTERNMOST = timedelta(hours=14)
"""So much earlier than in UTC a day may end where the account counts it."""

MOST_HELD = 5_000
"""Matches to hold until their day is read, so that `count` and `once_per` see them in order."""

AT_ONCE = 200
"""Matches of one transaction."""

MOST_ATTEMPTS = 2
"""How often to read a day again because of details that can't be read though others can."""


class Attempts(Struct, frozen=True):
    """When a day was first read without some details, and how often while others could be read."""

    since: datetime
    tries: int = 0


class Backfilled(Struct, frozen=True):
    """What was missed since then, and what came of it. `paused`: rules that their safety paused.

    `first`: nothing was missed; it was the first start, configured to look back so far.
    """

    since: datetime
    read: int
    matches: int
    missed: int
    paused: tuple[tuple[str, str], ...]
    first: bool = False


class _Day(Struct, frozen=True):
    """What a day brought, or, if not `whole`, what it had brought when the rules changed.

    `open` has recordings whose details could not be read, `ids` those of the largest page,
    `latest` is the last activity, `odd` counts recordings that can't be read in part or at all.
    """

    knowledge: Knowledge
    read: int = 0
    matches: int = 0
    missed: int = 0
    open: frozenset[str] = frozenset()
    ids: tuple[str, ...] = ()
    odd: int = 0
    paused: tuple[tuple[str, str], ...] = ()
    latest: datetime | None = None
    whole: bool = True


async def backfill(
    site: Site,
    in_force: Callable[[], Sequence[Rule]],
    context: PollContext,
    attempts: dict[str, Attempts],
    now: datetime,
    began: datetime | None = None,
) -> Backfilled | None:
    """Read what is too much for an ordinary poll; None if there is nothing of the kind.

    `in_force` returns the current rules: when they change meanwhile, the day under way is
    evaluated again, and if none watches recordings any more, the result is None. `attempts`
    tells how often a day was read without some details; after a few it is done without them,
    also if it is read again for a later day.
    `began` is since when this process watches, if no earlier one did.
    Raises the errors of the calls and of the store; the days done so far stay done.
    """
    line = (began or now) - context.start
    mark = await context.store.read(
        partial(read_mark, website=site.id, now=now, began=began and line)
    )
    back_to = mark.polled if mark else line
    since = mark.since if mark else line
    if mark and mark.was_behind(began and line):
        back_to, since = line, max(since, line)
    by_polls = recent(context.settle)
    if now - back_to <= (by_polls if mark else by_polls + AHEAD):
        return None
    live = await context.store.read(partial(live_recordings, website=site.id))
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
        skip_decided=True,
    )
    rules = in_force()
    at = await prepare(history, site, rules, rules)
    waiting, late = (dict(mark.waiting), dict(mark.late)) if mark else ({}, {})
    after = partial(Watermark.after, late=late, before=mark)
    days: list[_Day] = []
    for each in _slices(site, history):
        if at.is_empty(each.day, now.date()):
            continue
        changed = _changed(in_force, rules)
        while not (day := await _day(history, at, each, since, context, changed)).whole:
            days.append(day)
            rules = in_force()
            changed = _changed(in_force, rules)
            at = await prepare(history, site, rules, rules)
            if not at.rules.final.rules:
                return None
        days.append(day)
        at = dataclasses.replace(at, knowledge=day.knowledge)
        await _wait_for_details(day, each, context, attempts, now)
        done = datetime.combine(each.day + DAY, time(), UTC) - EASTERNMOST
        until = min(max(done, back_to), now - by_polls)
        asking = counting_from(at.rules, mark, since, context.settle)
        suspended = at.knowledge.filters.suspended
        begin = undecided_since(at.rules, suspended, mark, since, asking, context.settle)
        for rule in begin.keys() - waiting.keys():
            waiting[rule] = begin[rule]
            times = {key: row.last_activity for key, row in live.items() if row.last_activity}
            late[rule] = most_recent({
                key: at for key, at in times.items() if asking[rule] <= at < begin[rule]
            })  # fmt: skip
        await _remember(site, context, after(since, until, waiting), now)
    latest = max((day.latest for day in days if day.latest), default=back_to)
    than = min(now, max(latest, back_to)) - DAY  # the clock may be ahead
    await context.store.run(partial(close_older, website=site.id, than=than))
    await _remember(site, context, after(since, now, waiting, newest=now - by_polls), now)
    attempts.clear()
    return Backfilled(
        back_to,
        sum(day.read for day in days),
        sum(day.matches for day in days),
        sum(day.missed for day in days),
        tuple(paused for day in days for paused in day.paused),
        first=mark is None,
    )


class CaughtUp(Struct, frozen=True):
    """What catching up found: the filters by then, the number of matches, and paused rules."""

    filters: FilterChecks
    matches: int = 0
    paused: tuple[tuple[str, str], ...] = ()

    def beside(self, day: _Day) -> "CaughtUp":
        """The sum so far and what one more day brought."""
        matches, paused = self.matches + day.matches, self.paused + day.paused
        return replace(self, matches=matches, paused=paused)


async def catch_up(
    site: Site,
    rules: Sequence[Rule],
    context: PollContext,
    behind: Mapping[str, datetime],
    attempts: dict[str, Attempts],
    now: datetime,
) -> CaughtUp:
    """Evaluate the rules that a filter had suspended over the time since then, by their ids.

    Rules whose filter does not work after all go on waiting. `attempts` as in `backfill`. Raises
    the errors of the calls and of the store; the next poll then finds the same rules behind.
    """
    ours = [rule for rule in rules if rule.id in behind]
    since = {rule.id: max(min(behind[rule.id], now), now - LONGEST_CATCH_UP) for rule in ours}
    mark = await _mark(site, context)
    late = mark.late if mark else {}
    ends = [
        at for rule in since for at in late.get(rule, {}).values() if at > now - LONGEST_CATCH_UP
    ]
    history = History(
        mouseflow=context.mouseflow,
        store=context.store,
        zone=context.zone,
        settle=context.settle,
        span=Span(min([*since.values(), *ends], default=now) - LONG, now),
        now=now,
        expand=context.expand,
    )
    at = await prepare(history, site, ours, rules)
    caught_up = CaughtUp(at.knowledge.filters)
    working = frozenset(since) - at.suspended_rules
    for each in slices([site], history.span, history.zone) if working else ():
        if at.is_empty(each.day, now.date()):
            continue
        held: list[Found] = []
        day = _Day(at.knowledge)
        try:
            async for batch in evaluate_slice(history, at, each):
                at = dataclasses.replace(at, knowledge=batch.knowledge)
                day = replace(
                    day, open=day.open.union(batch.open), ids=max(batch.ids, day.ids, key=len)
                )
                held += (
                    one
                    for one in matches_in(batch.evaluations, now)
                    if one.rule.id in working
                    and (
                        one.happened >= since[one.rule.id]
                        or one.subject.key in late.get(one.rule.id, {})
                    )
                )
                if len(held) >= MOST_HELD:
                    day, held = await _write(day, site, context, held, (), now), []
        except FilterLost as lost:  # nothing else fails, and they go on waiting
            return replace(caught_up.beside(day), filters=lost.filters)
        day = await _write(day, site, context, held, (), now)
        await _wait_for_details(day, each, context, attempts, now)
        caught_up = caught_up.beside(day)
    mark = await _mark(site, context)
    if mark is not None:
        rest = {rule: at for rule, at in mark.waiting.items() if rule not in working}
        late = {rule: it for rule, it in mark.late.items() if rule in rest}
        proved = at.knowledge.filters.last_proved(mark.proved)
        await _remember(site, context, replace(mark, waiting=rest, late=late, proved=proved), now)
    attempts.clear()
    return caught_up


async def _mark(site: Site, context: PollContext) -> Watermark | None:
    text = await context.store.read(partial(watermark, source=SOURCE, website=site.id))
    return msgspec.json.decode(text, type=Watermark) if text else None


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
    held: list[Found] = []
    seen: list[SeenRecording] = []
    async for batch in evaluate_slice(history, at, each):
        if changed():  # what is held is neither recorded nor known: it is evaluated again
            return replace(day, whole=False)
        if batch.odd and day.odd < MOST_NAMED:
            await _record(at.site, context, history.now, notes=batch.odd[:MOST_NAMED])
        held += (it for it in matches_in(batch.evaluations, history.now) if it.happened >= since)
        seen += batch.seen
        stamps = [row.last_activity for row in batch.seen if row.last_activity]
        day = replace(
            day,
            knowledge=batch.knowledge,
            read=day.read + batch.read,
            missed=day.missed + batch.missed,
            open=day.open.union(batch.open),
            ids=max(batch.ids, day.ids, key=len),
            odd=day.odd + len(batch.odd),
            latest=max([*stamps, day.latest] if day.latest else stamps, default=None),
        )
        if len(held) >= MOST_HELD or not any(_in_order(it.rule) for it in held):
            day = await _write(day, at.site, context, held, seen, history.now)
            held, seen = [], []
    return await _write(day, at.site, context, held, seen, history.now)


async def _wait_for_details(
    day: _Day, each: Slice, context: PollContext, attempts: dict[str, Attempts], now: datetime
) -> None:
    """Raise TryLater if the day has recordings without the detail that they need.

    While no detail can be read, always. If others can be, these may be broken alone: a few times.
    If there are no others to ask for, nobody knows: for a day.
    """
    if not day.open:
        return
    others: Sequence[str] = [key for key in day.ids if key not in day.open]
    others, some_read = others or await _later_ones(day, each, context, now), False
    for key in others[:FEW]:  # one or two may be broken, too
        some_read = some_read or await detail_is_read(context.mouseflow, each.site.id, key)
    before = attempts.get(each.name, Attempts(now))
    attempts[each.name] = replace(before, tries=before.tries + some_read)
    if some_read:
        waits = before.tries < MOST_ATTEMPTS
    else:
        waits = bool(others) or now - before.since < LONGEST_WAIT
    if waits:
        raise TryLater(f"details of {len(day.open)} recordings of {each.day} could not be read")


async def _later_ones(day: _Day, each: Slice, context: PollContext, now: datetime) -> Sequence[str]:
    """Recordings of the website since that day that don't wait for their detail."""
    window = of_days(each.day, now.date() + 2 * DAY)
    found = await read(context.mouseflow, each.site.id, window, min(len(day.open), AT_ONCE) + FEW)
    return [row.id for row in found.rows if row.id not in day.open]


def _in_order(rule: Rule) -> bool:
    """Whether it matters for the rule in which order its matches are recorded."""
    return rule.count is not None or rule.once_per is not None


async def _write(
    day: _Day,
    site: Site,
    context: PollContext,
    held: Sequence[Found],
    seen: Sequence[SeenRecording],
    now: datetime,
) -> _Day:
    """Record matches in the order of events; then the store may know the recordings."""
    ordered = sorted(held, key=lambda it: it.happened)
    for some in _some(ordered):
        recorded = await _record(site, context, now, found=some)
        day = replace(
            day,
            matches=day.matches + len(recorded.matches),
            paused=day.paused + recorded.paused,
        )
    if seen:
        await _record(site, context, now, seen=seen)
    return day


def _some(found: Sequence[Found]) -> Iterator[Sequence[Found]]:
    return (found[at : at + AT_ONCE] for at in range(0, len(found), AT_ONCE))


def _slices(site: Site, history: History) -> Iterator[Slice]:
    """The days of the history, and the day before: polls ask for it, and all must be known."""
    first = slices([site], history.span, history.zone)
    yield Slice(site, first[0].day - DAY)
    yield from first


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
    seen: Sequence[SeenRecording] = (),
    watermark: str | None = None,
    notes: Sequence[Note] = (),
) -> Recorded:
    outcome = PollOutcome(
        source=SOURCE, website=site.id, at=now, watermark=watermark, seen=seen, notes=notes
    )
    return await context.store.run(
        partial(record_poll, outcome=outcome, found=found, routing=context.routing)
    )
