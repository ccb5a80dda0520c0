"""Evaluates a website's past days by the current rules, page by page of the list."""

from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from itertools import islice, pairwise
from math import inf
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.errors import TryLater
from bot.polling.candidates import Candidate, CountingClient, Evaluation, Knowledge, Scope
from bot.polling.evaluate import evaluate, still_possible
from bot.polling.filter_checks import FILTERS, FilterChecks, SecondTry, check_filter
from bot.polling.list_filters import learn
from bot.polling.list_reader import narrowed
from bot.polling.record_matches import odd_notes
from bot.polling.recordings import unless_deleted
from bot.polling.server_facts import (
    FilterAnswer,
    FrictionQuestion,
    Membership,
    Question,
    VisitorType,
    earlier_tags,
    found_by,
)
from bot.polling.session import fingerprint, seen_recording, settled
from bot.polling.site_rules import SiteRules
from bot.ports import Mouseflow
from bot.replay.select import Slice, Span, window
from bot.rules.model import Rule
from bot.store import Store
from bot.store.audit import Note
from bot.store.recordings import SeenRecording, coverage, matched_rules
from mouseflow import paging, recordings
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording

PAGE = 1_000
"""Rows of one page if the API honours `offset`; else a page is as large as it allows."""

A_DAY = 2
"""Calls that a question about a day may take: its count, and its rows."""

AT_ONCE = 200
"""Recordings to evaluate to the end together: at most so many details are in memory."""


class History(Struct, frozen=True, kw_only=True):
    """What reading the past works with. Sessions idle for `settle` have ended.

    `expand` lets lists be asked for page views, if the server is known to return them.
    `skip_decided`: polls have decided some recordings, which are left as they are.
    """

    mouseflow: Mouseflow
    store: Store
    zone: ZoneInfo
    settle: timedelta
    span: Span
    now: datetime
    expand: bool = True
    skip_decided: bool = False


@dataclass(frozen=True)
class PreparedSite:
    """A website with its rules, and what its API can do.

    `offset`: it honours offsets. `counts`: how many recordings it has a day; `count`: in all.
    """

    site: Site
    rules: SiteRules
    knowledge: Knowledge = field(default_factory=Knowledge)
    offset: bool = False
    counts: Mapping[date, int] = field(default_factory=dict)
    count: int = 0

    def is_empty(self, day: date, today: date) -> bool:
        """Whether the account has no recording of that day; never sure of the last few days."""
        if day >= today - timedelta(days=2) or sum(self.counts.values()) != self.count:
            return False
        return not self.counts.get(day)

    @property
    def suspended_rules(self) -> frozenset[str]:
        """The ids of the rules whose filter does not work."""
        return self.rules.needing(self.knowledge.filters.suspended)

    @property
    def page(self) -> int:
        """Rows to ask for at once."""
        return PAGE if self.offset else paging.LARGEST_LIMIT


class Batch(Struct, frozen=True):
    """Some recordings of a slice: how many were read, and those that some rule matches.

    `before` has (rule, recording) of matches that the store knew already. `missed` counts
    recordings that could not be read, `open` has those without the detail that they needed.
    `knowledge` is what is known of the API now. `seen` has the recordings that are decided now, and
    those of `open`, if polls are to know of them, `odd` is about those that can't be read in part
    or at all.
    """

    knowledge: Knowledge
    read: int = 0
    evaluations: tuple[Evaluation, ...] = ()
    before: tuple[tuple[str, str], ...] = ()
    details: int = 0
    missed: int = 0
    open: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    seen: tuple[SeenRecording, ...] = ()
    odd: tuple[Note, ...] = ()


async def prepare(
    history: History, site: Site, rules: Iterable[Rule], everything: Iterable[Rule]
) -> PreparedSite:
    """Find out what the website's API can do: up to nine calls. Raises the errors of the calls.

    `everything` are the rules of all files, whose own tags make no rule match.
    """
    tags = await history.store.run(earlier_tags)
    prepared = SiteRules(rules, site, everything, tags)
    if not prepared.final.rules:
        return PreparedSite(site, prepared)
    days = window(history.span, history.zone)
    page = await history.mouseflow.send(recordings.list(site.id, days, limit=1))
    filters = FilterChecks()
    for name in FILTERS:
        if prepared.asking[name]:
            filters = await check_filter(
                filters, name, history.mouseflow, site.id, days, page.count, history.now
            )
    offset = page.count > PAGE and await paging.probe_offset(history.mouseflow, site.id, days)
    known = Knowledge(filters=filters)
    return PreparedSite(site, prepared, known, offset, dict(page.chart), page.count)


async def evaluate_slice(history: History, at: PreparedSite, slice_: Slice) -> AsyncIterator[Batch]:
    """The slice in batches, in no particular order; at most a page of rows is in memory.

    Raises the errors of the calls, and those of details if all of a batch fail.
    """
    client = CountingClient(history.mouseflow)
    facts = DayFacts(
        SecondTry(client),
        at.site.id,
        slice_.filters,
        at.rules.thresholds,
        page=at.page,
        offset=at.offset,
        live=slice_.day >= history.now.astimezone(history.zone).date(),
    )
    scope = Scope(
        mouseflow=client,
        facts=facts,
        site=at.site,
        zone=history.zone.key,
        rules=at.rules,
        window=slice_.filters,
        now=history.now,
        offset=at.offset,
    )
    # Each day is another chance to see whether the filters for tags and pages work.
    anew = {name: replace(each, asked={}) for name, each in at.knowledge.lists.items()}
    knowledge = replace(at.knowledge, lists=anew)
    passed = 0
    async for part in paging.read(
        history.mouseflow,
        at.site.id,
        slice_.filters,
        limit=at.page,
        largest_limit=at.page,
        offset=at.offset,
    ):
        rows = history.span.held(part.recordings)
        ids = tuple(row.id for row in rows)
        here = replace(scope, places=_places(history, at, part.recordings, passed), others=ids)
        ended = await _ended(history, at.site, rows)
        seen: tuple[SeenRecording, ...] = ()
        if history.skip_decided:
            rows, seen = await _undecided(history, at.site, part.recordings, at.rules.own_tags)
        bare = ((row, facts.friction_told(row.id)) for row in rows)
        possible, known = await still_possible(bare, ended, knowledge, here)
        _raise_if_lost(knowledge, known)
        passed += len(part.recordings)
        yield Batch(
            knowledge,
            read=len(rows),
            missed=lacking(part.missed, at.counts.get(slice_.day), passed) + len(part.unreadable),
            ids=ids,
            odd=tuple(odd_notes(at.site.id, rows, part.unreadable)),
        )
        del part, rows  # most of them can't match, and page views need room
        rest = iter(possible)
        undetailed: set[str] = set()
        while some := list(islice(rest, AT_ONCE)):
            batch = await _batch(history, here, some, knowledge)
            knowledge = batch.knowledge
            undetailed.update(batch.open)
            yield batch
        yield Batch(knowledge, seen=tuple(_without_verdict(seen, undetailed)))
    if facts.missed:
        yield Batch(knowledge, missed=facts.missed)


async def _ended(
    history: History, site: Site, rows: Sequence[Recording]
) -> Callable[[Recording], bool]:
    """Whether a session has ended, also by a poll that has decided it: its clock may be ahead."""
    over = partial(settled, now=history.now, settle=history.settle)
    live, now = [row.id for row in rows if not over(row)], history.now
    if not live:
        return over
    asked = partial(coverage, website=site.id, ids=live, start=now, end=now, total=0)
    decided = (await history.store.read(asked)).decided
    return lambda row: over(row) or decided.get(row.id) == fingerprint(row)


async def _undecided(
    history: History, site: Site, rows: Sequence[Recording], own_tags: Set[str]
) -> tuple[list[Recording], tuple[SeenRecording, ...]]:
    """The rows that no poll has decided or that have grown since, and all to be known after."""
    ids, now = [row.id for row in rows], history.now
    known = await history.store.run(partial(coverage, website=site.id, ids=ids, start=now, end=now))
    fresh = [
        row for row in history.span.held(rows) if known.decided.get(row.id) != fingerprint(row)
    ]
    older = (row for row in rows if row.id not in known.fingerprints and history.span.is_past(row))
    ended = {row.id: settled(row, now, history.settle) for row in fresh}
    seen = tuple(
        seen_recording(
            row, ended.get(row.id, True), own_tags, fresh=row.id not in known.fingerprints
        )
        for row in (*fresh, *older)
    )
    return fresh, seen


def _without_verdict(
    seen: Iterable[SeenRecording], open_: Collection[str]
) -> Iterator[SeenRecording]:
    """What is kept of the recordings; those in `open_` stay undecided and are evaluated again."""
    for each in seen:
        yield replace(each, settled=False, closed=False) if each.id in open_ else each


def _places(
    history: History, at: PreparedSite, rows: Iterable[Recording], passed: int
) -> dict[str, int]:
    """Where these rows are in the day's list, if they can be asked for again there.

    Without offsets only the rows of the first page can.
    """
    if not (history.expand and at.rules.expandable) or (passed and not at.offset):
        return {}
    return {row.id: place for place, row in enumerate(rows, passed + 1)}


async def _batch(
    history: History, scope: Scope, candidates: Sequence[Candidate], knowledge: Knowledge
) -> Batch:
    ids = [each.row.id for each in candidates]
    known = await history.store.run(partial(matched_rules, website=scope.site.id, ids=ids))
    result = await evaluate(candidates, knowledge, replace(scope, matched=known))
    _raise_if_lost(knowledge, result.knowledge)
    if isinstance(result.outage, TryLater):
        raise result.outage  # a day that is done is not evaluated again
    result = await unless_deleted(result, scope, history.store)
    lists = result.knowledge.lists
    for each in result.evaluations:
        lists = learn(lists, each.candidate.row, each.subject.recording, scope.rules.questions)
    return Batch(
        replace(result.knowledge, lists=lists),
        evaluations=tuple(each for each in result.evaluations if each.rules and not each.gone),
        before=tuple(
            (rule.id, key)
            for key, rules in known.items()
            for rule in scope.rules.final.rules
            if not rules.isdisjoint((rule.id, *rule.was))
        ),
        details=result.details,
        open=tuple(each.candidate.row.id for each in result.evaluations if each.open),
    )


class FilterLost(TryLater):
    """A filter stopped working meanwhile: the day must be evaluated again."""

    def __init__(self, reason: str, filters: FilterChecks) -> None:
        self.filters = filters
        super().__init__(reason)


def _raise_if_lost(before: Knowledge, now: Knowledge) -> None:
    for name, suspension in now.filters.suspended.items():
        if name not in before.filters.suspended:
            why = f"the filter {name} stopped working: {suspension.reason}"
            raise FilterLost(why, now.filters)


class DayFacts:
    """Server facts of a whole day: each question is asked once and kept as a set of ids.

    `missed` counts recordings that a filter counts and the server would not return. `live`:
    more recordings may come meanwhile; they are not missed.
    """

    def __init__(
        self,
        mouseflow: Mouseflow,
        website: str,
        window: SessionFilters,
        thresholds: Sequence[float],
        *,
        page: int,
        offset: bool,
        live: bool,
    ) -> None:
        self._mouseflow = mouseflow
        self._website = website
        self._window = window
        self._thresholds = sorted(thresholds)
        lows = (Band().low, *self._thresholds)
        self._at_least = {low: Band(low) for low in lows}
        self._below = {high: Band(low, high) for low, high in pairwise(lows)}
        self._page = page
        self._offset = offset
        self._live = live
        self._answers: dict[SessionFilters, frozenset[str]] = {}
        self._lacking: dict[SessionFilters, int] = {}
        self._reached: dict[float, frozenset[str]] = {}

    @property
    def missed(self) -> int:
        """Recordings that some filter counts and the server did not return."""
        return sum(self._lacking.values())

    async def friction(self, questions: Sequence[FrictionQuestion]) -> FilterAnswer[Band]:
        """Each recording's friction, as far as the thresholds of all rules tell."""
        bands: dict[str, Band] = {}
        reached = frozenset(each.row.id for each in questions)
        low = Band().low
        for threshold in self._thresholds:
            if not reached:
                break
            filters = narrowed(self._window, friction=threshold)
            found = await self._members(filters, reached)
            if not self._lacking[filters]:
                self._reached[threshold] = self._answers[filters]
            below = reached - found.there - found.unknown
            bands.update(dict.fromkeys(below, self._below[threshold]))
            bands.update(dict.fromkeys(found.unknown, self._at_least[low]))
            reached, low = found.there, threshold
        return FilterAnswer(bands | dict.fromkeys(reached, self._at_least[low]))

    def friction_told(self, key: str) -> Band | None:
        """The recording's friction by what was asked so far, without a call."""
        low = Band().low
        for threshold in self._thresholds:
            if threshold not in self._reached:
                break
            if key not in self._reached[threshold]:
                return self._below[threshold]
            low = threshold
        return self._at_least[low] if self._reached else None

    async def visitor_types(
        self, subjects: Sequence[RecordingSubject], depth: int = 0
    ) -> FilterAnswer[VisitorType]:
        """Whether each visitor came back; the friction that all have reached narrows the query."""
        if not subjects:
            return FilterAnswer({})
        ids = frozenset(subject.key for subject in subjects)
        filters = narrowed(self._window, friction=self._least(subjects), visitor="returning")
        found = await self._members(filters, ids)
        types: dict[str, VisitorType] = {
            key: "returning" if key in found.there else "first" for key in ids - found.unknown
        }
        return FilterAnswer(types)

    async def searches(
        self, subjects: Sequence[RecordingSubject], texts: Sequence[str]
    ) -> FilterAnswer[tuple[str, ...]]:
        """By which of the texts the API finds each recording."""
        ids = frozenset(subject.key for subject in subjects)
        found = {
            text: await self._members(narrowed(self._window, search=text), ids) for text in texts
        }
        return FilterAnswer(found_by(found, ids).by_id)

    async def answers(
        self, question: Question, rows: Sequence[Recording], depth: int = 0
    ) -> Membership:
        """Which of the rows the filter returns."""
        ids = frozenset(row.id for row in rows)
        return await self._members(question.of(self._window), ids)

    def calls_for(self, question: Question) -> int:
        """None if that has been asked."""
        return 0 if question.of(self._window) in self._answers else A_DAY

    def _least(self, subjects: Iterable[RecordingSubject]) -> float | None:
        """The highest threshold that all of them have reached, None if some reached none."""
        least = min((it.friction.low if it.friction else -inf for it in subjects), default=-inf)
        return least if least in self._thresholds and least > 0 else None

    async def _members(self, filters: SessionFilters, ids: Collection[str]) -> Membership:
        if filters not in self._answers:
            self._answers[filters], self._lacking[filters] = await self._ask(filters)
        there = self._answers[filters].intersection(ids)
        unknown = frozenset(ids) - there if self._lacking[filters] else frozenset[str]()
        return Membership(there, unknown, len(self._answers[filters]))

    async def _ask(self, filters: SessionFilters) -> tuple[frozenset[str], int]:
        found: set[str] = set()
        missed = 0
        expected = await self._count(filters) if self._live else None
        async for part in paging.read(
            self._mouseflow,
            self._website,
            filters,
            limit=self._page,
            largest_limit=self._page,
            offset=self._offset,
            brief=True,
        ):
            found.update(row.id for row in part.recordings)
            missed += part.missed
        return frozenset(found), lacking(missed, expected, len(found))

    async def _count(self, filters: SessionFilters) -> int:
        request = recordings.list(self._website, filters, limit=1)
        return (await self._mouseflow.send(request)).count


def lacking(missed: int, expected: int | None, read: int) -> int:
    """How many of those `missed` were there when the reading began, with so many `expected`.

    All of them if it is not known what was there.
    """
    return missed if expected is None else max(0, min(missed, expected - read))
