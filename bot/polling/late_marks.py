"""What people mark on sessions that have ended: tags, stars, watched marks, variables, names.

Marks are no activity, so the list does not show them at its top. The rows of `poll.marks` are read
once an hour and compared with the marks that each recording had when it was decided. Marks that
the API can filter by (stars, watched marks, a site's own tags) are asked for every five minutes.
"""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace

from bot.errors import GiveUp, TryLater
from bot.polling.candidates import Candidate, Result, Scope
from bot.polling.context import PollContext
from bot.polling.evaluate import evaluate
from bot.polling.filter_checks import SecondTry, concerns_all
from bot.polling.list_reader import (
    LEAST,
    ROW_CAP,
    ListReading,
    deeper,
    of_days,
    reaches,
    read,
)
from bot.polling.live_sessions import LiveSessions
from bot.polling.server_facts import PollFacts
from bot.polling.session import (
    aware,
    days_to_ask,
    is_due,
    last_activity,
    marked_anew,
    marks,
    settled,
)
from bot.polling.watermark import NotedMarks, Watermark
from bot.ports import Mouseflow
from bot.store.database import Store
from bot.store.recordings import decided_marks, marks_decided_since, matched_rules
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording

SWEEP = timedelta(hours=1)
"""How often to read all rows: some marks can't be asked for, and a filter may ignore one."""

ASK = timedelta(minutes=5)
"""How often to ask for the marks that the API can filter by."""

AT_ONCE = 500
"""Rows to compare at once, so that other work does not wait long."""

ALL = SessionFilters()


def _due(
    questions: Iterable[SessionFilters], read_at: Mapping[SessionFilters, datetime], now: datetime
) -> frozenset[SessionFilters]:
    """Which questions to ask now; `ALL` reads all rows, which answers every question."""
    if is_due(read_at.get(ALL), SWEEP, now):
        return frozenset({ALL})
    return frozenset(it for it in questions if is_due(read_at.get(it), ASK, now))


async def _marked(
    mouseflow: Mouseflow,
    store: Store,
    website: str,
    asked: Iterable[SessionFilters],
    since: datetime,
    settle: timedelta,
    now: datetime,
    own_tags: Set[str],
) -> list[tuple[Recording, frozenset[str]]]:
    """The decided recordings with activity since then whose marks have changed since, and which.

    A question that fails is left out; the next sweep answers it. Raises what concerns them all.
    """
    found: dict[str, tuple[Recording, frozenset[str]]] = {}

    async def sift(known: Mapping[str, str] | None, rows: Sequence[Recording]) -> list[Recording]:
        """Keep the rows whose marks differ from the known ones, which else the store tells."""
        ended: list[Recording] = []
        async for some in _in_pieces(rows):
            ended += [row for row in some if _has_ended(row, since, settle, now)]
        if known is None:
            ids = [row.id for row in ended]
            known = await store.read(partial(decided_marks, website=website, ids=ids))
        async for some in _in_pieces(ended):
            for row in some:
                before = known.get(row.id)  # empty: not known
                if before and before != (after := marks(row, own_tags)):
                    found[row.id] = row, marked_anew(before, after)
        return []

    async def ask(filters: SessionFilters, limit: int, known: Mapping[str, str] | None) -> None:
        listing = await read(mouseflow, website, filters, limit)
        await sift(known, listing.rows)
        del known
        while not listing.whole and not reaches(listing.rows, listing.order, since):
            before = listing = listing.without_rows()
            listing = await deeper(mouseflow, website, filters, before, partial(sift, None), since)
            if listing is before or listing.exhausted:
                return
            await sift(None, listing.rows)

    window = of_days(*days_to_ask(now, since))
    decided = partial(marks_decided_since, website=website, since=since)
    for each in asked:
        filters = dataclasses.replace(each, fromdate=window.fromdate, todate=window.todate)
        try:
            if each == ALL:
                # 10,000 rows take 20 MB. What they are compared with is read before, so that
                # nothing but other tasks' turns is waited for while they are there.
                await ask(filters, ROW_CAP, await store.read(decided))
            else:
                await ask(filters, LEAST, None)
        except (GiveUp, TryLater) as error:
            if each == ALL or concerns_all(error):
                raise
    return list(found.values())


async def _in_pieces(rows: Sequence[Recording]) -> AsyncIterator[Sequence[Recording]]:
    """The rows, some at a time; other tasks run in between."""
    for start in range(0, len(rows), AT_ONCE):
        if start:
            await asyncio.sleep(0)
        yield rows[start : start + AT_ONCE]


def _has_ended(row: Recording, since: datetime, settle: timedelta, now: datetime) -> bool:
    at = last_activity(row, now)
    return at is not None and at >= since and settled(row, now, settle)


async def evaluate_marked(
    scope: Scope,
    context: PollContext,
    live: LiveSessions,
    before: Watermark | None,
    done: Result,
    seen: ListReading,
) -> tuple[Result, Mapping[str, Set[str]], NotedMarks, LiveSessions]:
    """Evaluate the decided recordings that people have marked since, by the rules that read that.

    For each rule, the recordings that it was asked about come along. The first poll of all has
    decided nothing before. What was marked before a rule came is no news for it, so when one comes,
    all marks are noted and only the others act on them.
    """
    nothing, now = (Result((), done.knowledge, {}), dict[str, Set[str]]()), scope.now
    noted = before.marks if before else NotedMarks()
    if not context.marks:
        return *nothing, noted, live
    rules, questions = scope.rules.of_marked, scope.rules.mark_questions
    ours, known = scope.rules.marked_by_id, noted.rules
    noted = replace(noted, rules=ours)
    if not ours:
        return *nothing, noted, live
    asked = _due(questions, live.marks_read, now)
    if known is not None and known != ours:
        rules = scope.rules.marked_among(known)
        if len(rules.marked) < len(ours):
            asked = frozenset({ALL})
    if not asked:
        return *nothing, noted, live
    answered = (*asked, *(questions if ALL in asked else ()))
    live = replace(live, marks_read={**live.marks_read, **dict.fromkeys(answered, now)})
    if before is None:
        return *nothing, noted, live
    since = max(seen.since, now - context.marks - SWEEP)  # marked in time, and seen by the next
    rows = await _marked(
        scope.mouseflow, context.store, scope.site.id, asked, since, context.settle, now,
        rules.own_tags,
    )  # fmt: skip
    picked = {each.candidate.row.id for each in done.evaluations} | live.sessions.keys()
    anew = {row.id: names for row, names in rows if row.id not in picked}
    some = [Candidate(row, settled=True) for row, _ in rows if row.id in anew]
    if not some:
        return *nothing, replace(noted, old={}) if ALL in asked else noted, live
    ids = list(anew)
    began = min((aware(it.row.created) for it in some if it.row.created), default=since)
    days = of_days(*days_to_ask(now, min(since, began)))
    filtered = any(rules.asking.values())
    names = frozenset(rule.id for rule in rules.final.rules)
    matched = await context.store.read(partial(matched_rules, website=scope.site.id, ids=ids))
    old = {key: frozenset(noted.old.get(key, ())) for key in ids}
    total = (await read(scope.mouseflow, scope.site.id, days, 1)).count if filtered else 0
    scope = replace(
        scope,
        rules=rules,
        facts=PollFacts(SecondTry(scope.mouseflow), scope.site.id, days),
        window=days,
        matched={
            key: matched.get(key, frozenset()) | those | rules.not_reading(anew[key])
            for key, those in old.items()
        },
        places={},
        total=total,
        back=frozenset(ids),  # listed just now, whatever their details say
    )
    late = await evaluate(some, done.knowledge, scope)
    rest = {} if ALL in asked else {key: it for key, it in noted.old.items() if key not in old}
    for key in (each.candidate.row.id for each in late.evaluations if each.open):
        if those := old[key] | (ours.keys() - names):
            rest[key] = tuple(sorted(those))
    concerned = {name: {key for key in ids if name not in scope.matched[key]} for name in names}
    return late, concerned, replace(noted, old=rest), live


def with_late(result: Result, late: Result) -> Result:
    """Both, without the late marks whose detail is away: the next question finds them again.

    Their sessions are decided: they must not wait like live ones, or rules that came since would
    decide them, too.
    """
    return replace(
        result,
        evaluations=(*result.evaluations, *(each for each in late.evaluations if not each.open)),
        knowledge=late.knowledge,
        costs=Counter(result.costs) + Counter(late.costs),
        details=result.details + late.details,
        outage=result.outage or late.outage,
        failure=result.failure or late.failure,
        details_read=result.details_read or late.details_read,
    )
