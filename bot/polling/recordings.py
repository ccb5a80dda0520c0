"""One poll of one website's recordings, top to bottom.

Read the list, pick the candidates, evaluate them, record the matches, all in one transaction,
and keep what helps the next poll.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec
import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from bot.domain.subjects import Site
from bot.errors import BotError, GiveUp, TryLater
from bot.messages.text import instant
from bot.polling.candidates import CountingClient, Evaluation, Result, Scope
from bot.polling.context import PollContext
from bot.polling.details import detail_is_read
from bot.polling.evaluate import evaluate
from bot.polling.filter_checks import FILTERS, SecondTry, check_filter
from bot.polling.late_marks import evaluate_marked, with_late
from bot.polling.list_reader import ListReading, PollWindow, poll_window, read_list
from bot.polling.live_sessions import (
    LiveSessions,
    MissingDetail,
    add_costs,
    after_poll,
    candidates,
    details_away,
    ended_under,
    ending_depth,
    missing_details,
    places,
    some_overdue,
)
from bot.polling.page_views import contradicts, without_untagged
from bot.polling.record_matches import (
    BAD_VALUE,
    MOST_NAMED,
    UNREADABLE,
    Recorded,
    matches_in,
    odd_notes,
    record_poll,
)
from bot.polling.server_facts import PollFacts
from bot.polling.session import (
    AHEAD,
    AccountOffset,
    account_offset,
    seen_recording,
)
from bot.polling.site_rules import SiteRules
from bot.polling.suspended_rules import (
    counting_from,
    still_waiting,
    undecided_before,
    undecided_since,
)
from bot.polling.watermark import SOURCE, NotedMarks, Watermark, read_mark
from bot.rules.evaluate import rule_answer
from bot.store import Connection
from bot.store.audit import Note
from bot.store.database import Store
from bot.store.matches import PollOutcome
from bot.store.recordings import (
    deleted_by_steps,
    known_recordings,
    matched_rules,
    reopen_recordings,
    watermark,
)

log = structlog.get_logger(__name__)

BESIDE = timedelta(minutes=25)
"""How much the ordinary polls read beyond the sessions that have not ended."""

COST_EVERY = timedelta(hours=1)
"""How often the audit log says what the rules cost."""

LOST = frozenset({UNREADABLE, "poll.truncated", "poll.undetailed"})
"""The kinds of notes about sessions that no rule decides."""

COST: Final = "poll.cost"
"""The kind of note that is written once in `COST_EVERY`."""


class Polled(Struct, frozen=True):
    """What a poll read, evaluated and recorded, and what to hand to the next one (`live`).

    `fresh` counts the recordings that were never seen before.
    `since` is the time of the poll before, None for the first one. `without_detail` counts the
    recordings that wait for their detail; `outage` is why, if no detail could be read. `behind`
    has the rules whose filters work again, each with the time from which to catch up. `offset`
    is the account's offset from UTC, if the rows tell it. `lost`: some sessions will never be
    decided, since their row or detail can't be read. `on_hold` are the rules that don't decide
    all sessions now.
    """

    live: LiveSessions
    read: int
    fresh: int
    evaluated: int
    details: int
    unread: int
    bad_values: int
    recorded: Recorded
    since: datetime | None = None
    without_detail: int = 0
    outage: BotError | None = None
    behind: Mapping[str, datetime] = field(default_factory=dict)
    offset: AccountOffset | None = None
    lost: bool = False
    on_hold: frozenset[str] = frozenset()


def _nothing_more(_conn: Connection, _polled: Polled) -> Recorded:
    return Recorded()


async def poll(
    site: Site,
    rules: SiteRules,
    context: PollContext,
    live: LiveSessions,
    now: datetime,
    began: datetime | None = None,
    also: Callable[[Connection, Polled], Recorded] = _nothing_more,
) -> Polled:
    """Poll once. `began` is since when this process watches, if no earlier one did.

    `also` records more in the poll's transaction: what was read and what follows from it can't
    differ. Raises GiveUp or TryLater, and then nothing has changed.
    """
    before, put_right = await _watermark(site, context, now, began)
    if put_right:
        live = LiveSessions()
    line = (began or now) - context.start
    since = before.since if before else line
    live = live.waiting_again(before.ended_under if before else (), now)
    if before and before.was_behind(began and line):
        before, since = msgspec.structs.replace(before, polled=line), max(since, line)
    window = poll_window(now, _back_to(before, live, since), context.zone)
    client = CountingClient(context.mouseflow)
    scope = Scope(
        mouseflow=client,
        facts=PollFacts(SecondTry(client), site.id, window.filters),
        site=site,
        zone=context.zone.key,
        rules=rules,
        window=window.filters,
        now=now,
        back=live.gone,
    )
    seen, live = await _read(scope, context, live, before, window, since)
    live = live.without_deleted(seen)
    scope = replace(scope, total=seen.listing.count)
    live = await _try_suspended_filters(scope, live)
    picked = candidates(seen, live, context.settle, now)
    ids = [each.row.id for each in picked]
    expand = context.expand and rules.expandable
    matched = (
        await context.store.read(partial(matched_rules, website=site.id, ids=ids)) if ids else {}
    )
    scope = replace(
        scope,
        matched={**matched, **_not_concerned(rules, matched, live)},
        places=places(seen, live) if expand else {},
        offset=live.knowledge.expansion.anywhere(now),
    )
    result = await evaluate(picked, live.knowledge, scope)
    late, asked, noted, live = await evaluate_marked(scope, context, live, before, result, seen)
    result = await unless_deleted(result, scope, context.store)
    late = await unless_deleted(late, scope, context.store)
    asked_again = tuple(each for each in late.evaluations if each.open)
    ended = result.evaluations
    result = with_late(result, late)
    vanished = await _vanished(seen, site, context.store)
    others = result.details_read or (
        some_overdue(live, result, now) and await _another_is_read(scope, live, result, seen)
    )
    waiting, given_up = missing_details(live, result, others, now, rules.names)
    result = replace(result, details_read=others)
    suspended = result.knowledge.filters.suspended
    lost = suspended.keys() - live.knowledge.filters.suspended.keys()
    asking = counting_from(rules, before, since, context.settle)
    waiting_rules = undecided_since(rules, suspended, before, since, asking, context.settle)
    waiting_rules |= still_waiting(rules, before)
    late_ones = undecided_before(
        rules, waiting_rules, asking, before, live, ended, late.evaluations, asked
    )
    live = add_costs(live.learnt(result.knowledge, ask_again=bool(lost)), result.costs)
    notes = _notes(seen, result.evaluations, given_up, live, site, now)
    outcome = _outcome(
        seen, result, waiting, vanished, before, waiting_rules, late_ones,
        noted, asking, rules.own_tags, site, now,
    )  # fmt: skip
    live = after_poll(live, seen, result, waiting, vanished, now)
    on_hold = rules.needing(suspended)
    polled = Polled(
        live=replace(_noted(live, notes, now), outage=result.outage is not None),
        read=len(seen.listing.rows),
        fresh=len(seen.fresh),
        evaluated=len(picked),
        details=result.details,
        unread=len(seen.listing.unreadable) + (0 if seen.listing.whole else max(0, seen.missing)),
        bad_values=sum(note.kind == BAD_VALUE for note in notes),
        recorded=Recorded(),
        since=before.polled if before else None,
        without_detail=len(waiting),
        outage=result.outage or details_away(live, now),
        behind={rule: at for rule, at in waiting_rules.items() if rule not in on_hold},
        offset=account_offset(seen.listing.rows, context.zone),
        lost=any(note.kind in LOST for note in notes),
        on_hold=on_hold | waiting_rules.keys() | _undecided(rules, result.evaluations),
    )

    def work(conn: Connection) -> Recorded:
        complete = replace(outcome, notes=notes)
        found = matches_in((*result.evaluations, *asked_again), now, rules.final.rules)
        recorded = record_poll(conn, complete, found, context.routing)
        return recorded.beside(also(conn, polled))

    return replace(polled, recorded=await context.store.run(work))


def _not_concerned(
    rules: SiteRules, matched: Mapping[str, frozenset[str]], live: LiveSessions
) -> dict[str, frozenset[str]]:
    """The rules that came after the end of sessions that wait for their detail, by recording.

    They are for these sessions like rules that have `matched`, which are among them.
    """
    earlier = {it.rules for it in live.without_detail.values() if it.rules is not None}
    newer = {names: rules.not_among(names) for names in earlier if names is not rules.names}
    return {
        key: matched.get(key, frozenset()) | newer[it.rules]
        for key, it in live.without_detail.items()
        if it.rules in newer
    }


def _undecided(rules: SiteRules, evaluations: Iterable[Evaluation]) -> frozenset[str]:
    """The rules about too few sessions that an odd value keeps from deciding one."""
    few = [rule for rule in rules.final.rules if rule.too_few is not None]
    odd = [each.subject for each in evaluations if each.subject.recording.bad_values] if few else []
    return frozenset(
        rule.id for rule in few if any(rule_answer(rule, subject) is None for subject in odd)
    )


async def _watermark(
    site: Site, context: PollContext, now: datetime, began: datetime | None
) -> tuple[Watermark | None, bool]:
    """How far polls have read, and whether a clock that was ahead has been put right since.

    Sessions may then have been decided too early, or passed over as too old: they are live again.
    """
    line = began and began - context.start
    text, mark = await context.store.read(
        lambda conn: (watermark(conn, SOURCE, site.id), read_mark(conn, site.id, now, line))
    )
    stored = msgspec.json.decode(text, type=Watermark) if text else None
    if stored is None or mark is None or not stored.is_ahead(now):
        return mark, False
    log.warning("poll.clock_put_right", website=site.name,
                seconds=round((stored.polled - now).total_seconds()))  # fmt: skip
    passed_over = stored.since > mark.since
    than = mark.since if passed_over else now - recent(context.settle)
    await context.store.run(partial(reopen_recordings, website=site.id, since=than))
    return mark, True


def recent(settle: timedelta) -> timedelta:
    """How far back the ordinary polls read by themselves, as they must watch live sessions."""
    return settle + BESIDE


async def _read(
    scope: Scope,
    context: PollContext,
    live: LiveSessions,
    before: Watermark | None,
    window: PollWindow,
    since: datetime,
) -> tuple[ListReading, LiveSessions]:
    """The list, with page views if the server is known to return them."""
    now, expansion = scope.now, live.knowledge.expansion
    gap = now - before.polled if before else timedelta()
    read = partial(
        read_list, scope.mouseflow, context.store, scope.site.id, before, window, live.pace,
        live.sessions, since=since, now=now, depth=ending_depth(live, scope, context.settle, gap),
    )  # fmt: skip
    if not (context.expand and scope.rules.expandable and expansion.of_lists(now)):
        return await read(), live
    try:
        seen = await read(expand=True)
    except (GiveUp, TryLater):
        seen = await read()  # if the API is down, this raises too
        expansion = expansion.refused(now)
    if seen.listing.expanded and not any(row.page_views is not None for row in seen.listing.rows):
        expansion = expansion.missed()
    rows = seen.listing.rows
    if contradicts(rows):
        expansion = expansion.contradicted(now)
        rows = tuple(msgspec.structs.replace(row, page_views=None) for row in rows)
    elif scope.rules.reading_tags:
        rows = tuple(without_untagged(rows, scope.rules.own_tags))
    seen = replace(seen, listing=replace(seen.listing, rows=rows))
    return seen, replace(live, knowledge=replace(live.knowledge, expansion=expansion))


async def _another_is_read(
    scope: Scope, live: LiveSessions, result: Result, seen: ListReading
) -> bool:
    """Whether the detail of a recording that does not wait for its own can be read now."""
    waiting = live.without_detail.keys() | {
        each.candidate.row.id for each in result.evaluations if each.open
    }
    key = next((row.id for row in seen.listing.rows if row.id not in waiting), None)
    return key is not None and await detail_is_read(scope.mouseflow, scope.site.id, key)


def _back_to(before: Watermark | None, live: LiveSessions, since: datetime) -> datetime:
    """How far back to ask: filters tell nothing of a session that is outside the window."""
    if before is None:
        return since
    return min([before.polled, *(each.at for each in live.sessions.values() if each.at)])


async def _try_suspended_filters(scope: Scope, live: LiveSessions) -> LiveSessions:
    """Check now and then whether filters that did not work do so again, if rules need them."""
    filters = live.knowledge.filters
    for name in filters.suspended:
        if scope.rules.asking[name] and filters.is_due(name, scope.now):
            filters = await check_filter(
                filters, name, scope.mouseflow, scope.site.id, scope.window, scope.total, scope.now
            )
    return live.learnt(replace(live.knowledge, filters=filters))


async def unless_deleted(result: Result, scope: Scope, store: Store) -> Result:
    """Without matches by filters of recordings that the bot deletes at the same time.

    Filters leave out what is gone. These wait for their detail, which tells whether they are.
    """
    asking = scope.rules.needing(FILTERS)
    doubtful = [
        it.candidate.row.id
        for it in result.evaluations
        if any(rule.id in asking for rule in it.rules)
    ]
    if not doubtful:
        return result
    gone = await store.read(partial(deleted_by_steps, website=scope.site.id, ids=doubtful))
    evaluations = (
        replace(it, rules=tuple(each for each in it.rules if each.id not in asking), open=True)
        if it.candidate.row.id in gone
        else it
        for it in result.evaluations
    )
    return replace(result, evaluations=tuple(evaluations))


async def _vanished(seen: ListReading, site: Site, store: Store) -> frozenset[str]:
    """Known recordings of the window that are no longer in it, if all of it was read."""
    if not seen.listing.whole or seen.difference >= 0:
        return frozenset()
    known = await store.read(partial(known_recordings, website=site.id, since=seen.window.start))
    there = seen.listing.ids.union(row.id for row in seen.listing.unreadable if row.id)
    return frozenset(
        key
        for key, row in known.items()
        if key not in there and (row.created is None or row.created < seen.window.end)
    )


def _outcome(
    seen: ListReading,
    result: Result,
    waiting: Mapping[str, MissingDetail],
    vanished: frozenset[str],
    before: Watermark | None,
    waiting_rules: Mapping[str, datetime],
    late: Mapping[str, dict[str, datetime]],
    noted: NotedMarks,
    asking: dict[str, datetime],
    own_tags: Set[str],
    site: Site,
    now: datetime,
) -> PollOutcome:
    """What the store keeps of the poll beside its matches."""
    gone = {each.candidate.row.id for each in result.evaluations if each.gone}
    undecided = waiting.keys() | gone
    final = {
        each.candidate.row.id: each.candidate.settled and each.candidate.row.id not in undecided
        for each in result.evaluations
    }
    rows = {each.candidate.row.id: each.candidate.row for each in result.evaluations}
    fresh = {row.id: row for row in seen.fresh}
    rows |= fresh
    newest = min(seen.newest or seen.since, now + AHEAD)
    after = Watermark(
        since=before.since if before else seen.since,
        polled=now,
        newest=max(newest, before.newest if before else seen.since),
        accepted=seen.difference + len(vanished),
        latest=max(filter(None, (seen.newest, before.latest if before else None)), default=None),
        compared=now
        if before is None or seen.listing.whole or before.compare_is_due(now)
        else before.compared or now,
        waiting=dict(waiting_rules),
        late=dict(late),
        marks=noted,
        asking=asking,
        proved=result.knowledge.filters.last_proved(before.proved if before else {}),
        without_detail=len(waiting),
        ended_under=ended_under(waiting),
        shrunk=seen.shrunk,
    )
    return PollOutcome(
        source=SOURCE,
        website=site.id,
        at=now,
        watermark=msgspec.json.encode(after).decode(),
        seen=[
            seen_recording(row, final.get(key, True), own_tags, fresh=key in fresh)
            for key, row in rows.items()
        ],
        vanished=sorted(vanished | gone),
    )


def _notes(
    seen: ListReading,
    evaluations: Sequence[Evaluation],
    given_up: frozenset[str],
    live: LiveSessions,
    site: Site,
    now: datetime,
) -> list[Note]:
    """What the audit log says of the poll."""
    rows = (each.subject.recording for each in evaluations)
    odd = {note.subject: note for note in odd_notes(site.id, rows, seen.listing.unreadable)}
    new = [note for name, note in odd.items() if name not in live.reported]
    room = max(0, MOST_NAMED - len(live.reported))
    notes = [*_costs(live, site, now), *new[:room]]
    if seen.missing > 0 and not seen.listing.whole:
        text = f"{seen.missing} recordings are counted but could not be read"
        notes.append(Note(kind="poll.truncated", website=site.id, text=text))
    text = "closed without its detail, which could not be read"
    notes += [
        Note(kind="poll.undetailed", website=site.id, subject=key, text=text)
        for key in sorted(given_up)
    ]
    return notes


def _costs(live: LiveSessions, site: Site, now: datetime) -> list[Note]:
    """Once an hour: how many calls each rule had a part in."""
    since = live.counted_since
    if since is None or now - since < COST_EVERY or not live.costs:
        return []
    text = f"calls for rules since {instant(since)}, each with all the rules that needed it"
    return [Note(kind=COST, website=site.id, text=text, details=dict(live.costs))]


def _noted(live: LiveSessions, notes: Sequence[Note], now: datetime) -> LiveSessions:
    """Remember that these notes were written, so that the next polls don't repeat them."""
    odd = (UNREADABLE, BAD_VALUE)
    reported = live.reported.union(note.subject for note in notes if note.kind in odd)
    if any(note.kind == COST for note in notes):
        return replace(live, reported=reported, costs={}, counted_since=now)
    return replace(live, reported=reported, counted_since=live.counted_since or now)
