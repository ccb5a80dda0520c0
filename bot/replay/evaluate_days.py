"""Judges a website's past day by the present rules, page by page, the cheapest knowledge first."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import partial
from math import inf
from typing import TypeVar
from zoneinfo import ZoneInfo

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.polling.evaluate import FIRST, Bench, Counted, Due, Judged
from bot.polling.list_reader import narrowed
from bot.polling.page_views import Expansion
from bot.polling.server_facts import TagFilter, VisitorType, friction_is_ignored, without
from bot.polling.session import settled
from bot.polling.site_rules import Book, asks_friction, asks_visitor_type
from bot.ports import Mouseflow
from bot.replay.date_slices import Slice, Span, window
from bot.rules.model import Rule
from bot.store import Store
from bot.store.recordings import matched_rules
from mouseflow import paging, recordings
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording


class Asked:
    """The answers for one window, fetched when they are first needed and kept as ids alone.

    `missed` counts recordings that such a query counts and would not give. `live` tells that
    more recordings may come meanwhile: they are not missed.
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
        self.missed = 0
        self._mouseflow = mouseflow
        self._website = website
        self._window = window
        self._thresholds = sorted(thresholds)
        self._page = page
        self._offset = offset
        self._live = live
        self._reaching: dict[float, frozenset[str]] = {}
        self._returning: dict[float | None, frozenset[str]] = {}
        self._tagged: dict[str, frozenset[str]] = {}

    @property
    def begun(self) -> bool:
        """Has the lowest threshold been asked, so that most bands cost no call?"""
        return bool(self._reaching)

    async def bands(self, ids: Collection[str]) -> dict[str, Band]:
        """Each recording's friction, as far as the thresholds tell."""
        bands: dict[str, Band] = {}
        reached, low = frozenset(ids), Band().low
        for threshold in self._thresholds:
            if not reached:
                break
            members = await self._at_least(threshold)
            bands.update(dict.fromkeys(reached - members, Band(low, threshold)))
            reached, low = reached & members, threshold
        return bands | dict.fromkeys(reached, Band(low))

    async def visitor_types(
        self, ids: Collection[str], friction: float | None = None
    ) -> dict[str, VisitorType]:
        """Whether each recording's visitor came back.

        All of them are known to have reached that friction, which makes the answer short.
        """
        if not ids:
            return {}
        back = self._returning.get(friction)
        if back is None:
            filters = narrowed(self._window, friction=friction, returning=True)
            back = self._returning[friction] = await self._members(filters)
        return {key: "returning" if key in back else "first" for key in ids}

    async def tagged(self, tag: str) -> frozenset[str]:
        """The recordings that the tag filter lets through."""
        known = self._tagged.get(tag)
        if known is None:
            known = await self._members(replace(self._window, tags=(tag,)))
            self._tagged[tag] = known
        return known

    async def _at_least(self, threshold: float) -> frozenset[str]:
        known = self._reaching.get(threshold)
        if known is None:
            known = await self._members(narrowed(self._window, friction=threshold))
            self._reaching[threshold] = known
        return known

    async def _members(self, filters: SessionFilters) -> frozenset[str]:
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
        self.missed += lacking(missed, expected, len(found))
        return frozenset(found)

    async def _count(self, filters: SessionFilters) -> int:
        request = recordings.list(self._website, filters, limit=1)
        return (await self._mouseflow.send(request)).count


def lacking(missed: int, expected: int | None, read: int) -> int:
    """How many of those `missed` were there when the reading began, with so many `expected`.

    Without knowing what was there, all of them.
    """
    return missed if expected is None else max(0, min(missed, expected - read))


T = TypeVar("T")

PAGE = 1_000
"""Rows of one page where the API honours `offset`; else a page is as large as it gives."""

AT_ONCE = 200
"""Recordings that are judged to the end together: so many details are in memory at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a look back works with. Sessions without activity for `settle` are final.

    `expand` lets lists be asked for page views, where the server is seen to give them.
    """

    mouseflow: Mouseflow
    store: Store
    zone: ZoneInfo
    settle: timedelta
    span: Span
    now: datetime
    expand: bool = True


@dataclass(frozen=True)
class Place:
    """A website made ready.

    `held` tells that its API ignores the friction filter, `offset` that it honours offsets;
    `counts` how many recordings it has a day.
    """

    site: Site
    book: Book
    held: bool = False
    offset: bool = False
    counts: dict[date, int] = field(default_factory=dict)
    tags: TagFilter = field(default_factory=TagFilter)
    expansion: Expansion = field(default_factory=Expansion)

    @property
    def page(self) -> int:
        """Rows to ask for at once."""
        return PAGE if self.offset else paging.LARGEST_LIMIT


@dataclass(frozen=True, slots=True)
class Batch:
    """Some recordings of a slice: how many were looked at, and those that some rule matches.

    `before` has (rule, recording) of matches that the store knew already. `missed` counts
    recordings that could not be read, `open` those judged without their detail.
    """

    read: int = 0
    judged: tuple[Judged, ...] = ()
    before: tuple[tuple[str, str], ...] = ()
    details: int = 0
    missed: int = 0
    open: int = 0
    ids: tuple[str, ...] = ()


async def place(past: Past, site: Site, rules: Iterable[Rule], everything: Iterable[Rule]) -> Place:
    """Find out what the website's API can do: up to four calls. Raises the errors of the calls.

    `everything` are the rules of all files, whose own tags make no rule match.
    """
    book = Book(rules, site)
    book.unheeded = Book(everything, site).unheeded
    if not book.final.rules:
        return Place(site, book)
    days = window(past.span, past.zone)
    page = await past.mouseflow.send(recordings.list(site.id, days, limit=1))
    held = bool(book.thresholds) and await friction_is_ignored(past.mouseflow, site.id, days)
    offset = page.count > PAGE and await paging.probe_offset(past.mouseflow, site.id, days)
    return Place(site, book, held, offset, dict(page.chart))


async def judge(past: Past, at: Place, slice_: Slice) -> AsyncIterator[Batch]:
    """The slice in batches, in no order to rely on; a page of rows is in memory at most.

    Raises the errors of the calls, of those for details where all of a batch fail.
    """
    asked = Asked(
        past.mouseflow,
        at.site.id,
        slice_.filters,
        at.book.thresholds,
        page=at.page,
        offset=at.offset,
        live=slice_.day >= past.now.astimezone(past.zone).date(),
    )
    passed = 0
    async for part in paging.read(
        past.mouseflow,
        at.site.id,
        slice_.filters,
        limit=at.page,
        largest_limit=at.page,
        offset=at.offset,
    ):
        rows = [row for row in part.recordings if past.span.holds(row)]
        places = _places(past, at, part.recordings, passed)
        hopeful = await _hopeful(past, at, asked, rows)
        passed += len(part.recordings)
        yield Batch(
            read=len(rows),
            missed=lacking(part.missed, at.counts.get(slice_.day), passed) + len(part.unreadable),
            ids=tuple(row.id for row in rows),
        )
        del part, rows  # most of them are hopeless, and page views need room
        async for some in _detailed(past, at, slice_, asked, hopeful):
            yield await _judged(past, at, slice_, some, places)
    if asked.missed:
        yield Batch(missed=asked.missed)


def _places(past: Past, at: Place, rows: Iterable[Recording], passed: int) -> dict[str, int]:
    """Where these rows stand in the day's list, as far as they can be asked for again there.

    Without offsets only what came at first stands where it can be found.
    """
    if not (past.expand and at.book.expandable) or (passed and not at.offset):
        return {}
    return {row.id: place for place, row in enumerate(rows, passed + 1)}


async def _hopeful(
    past: Past, at: Place, asked: Asked, rows: Sequence[Recording]
) -> list[RecordingSubject]:
    """What some rule may still match when all asked facts are known, too."""
    decide = at.book.final.decide
    asking = _asking(at)
    found: list[RecordingSubject] = []
    frictions: set[str] = set()
    known = await asked.bands([row.id for row in rows]) if asked.begun else {}
    for row in rows:
        subject = _subject(past, at, row, known.get(row.id))
        sure, undecided = decide(subject)
        if not (sure or undecided):
            continue
        found.append(subject)
        if subject.friction is None and _any_of(asking.friction, undecided):
            frictions.add(row.id)
    if frictions and not at.held:
        bands = await asked.bands(frictions)
        told = (_told(subject, bands, {}) for subject in found)
        found = [subject for subject in told if any(decide(subject))]
    if not asking.visitors:
        return found
    visitors = [it for it in found if _any_of(asking.visitors, decide(it).open)]
    types = await asked.visitor_types({it.key for it in visitors}, _least(at, visitors))
    told = (_told(it, {}, types) if it.key in types else it for it in found)
    return [it for it in told if it.key not in types or any(decide(it))]


@dataclass(frozen=True, slots=True)
class _Asking:
    """The ids of the rules that depend on friction and on the visitor's type."""

    friction: frozenset[str]
    visitors: frozenset[str]


def _any_of(ids: frozenset[str], rules: Iterable[Rule]) -> bool:
    return any(rule.id in ids for rule in rules)


def _asking(at: Place) -> _Asking:
    rules = at.book.final.rules
    return _Asking(
        frozenset(rule.id for rule in rules if asks_friction(rule)),
        frozenset(rule.id for rule in rules if asks_visitor_type(rule)),
    )


def _least(at: Place, subjects: Iterable[RecordingSubject]) -> float | None:
    """The highest threshold that all of them have reached, None where some reached none."""
    least = min((it.friction.low if it.friction else -inf for it in subjects), default=-inf)
    return least if least in at.book.thresholds and least > 0 else None


async def _detailed(
    past: Past, at: Place, slice_: Slice, asked: Asked, hopeful: Iterable[RecordingSubject]
) -> AsyncIterator[list[RecordingSubject]]:
    """The hopeful in groups to judge to the end, without those that lack a tag they need.

    The details of the first few may show that the tag filter tells of pages, too.
    """
    some: list[RecordingSubject] = []
    known = at.tags.covers_pages or at.expansion.trusted(past.now)
    most = AT_ONCE if known else FIRST
    for subject in hopeful:
        if await _may_have_its_tags(past, at, slice_, asked, subject):
            some.append(subject)
        if len(some) >= most:
            yield some
            some, most = [], AT_ONCE
    if some:
        yield some


def _told(
    subject: RecordingSubject, bands: Mapping[str, Band], types: Mapping[str, VisitorType]
) -> RecordingSubject:
    return RecordingSubject(
        website=subject.website,
        recording=subject.recording,
        zone=subject.zone,
        friction=bands.get(subject.key, subject.friction),
        visitor_type=types.get(subject.key, subject.visitor_type),
    )


async def _may_have_its_tags(
    past: Past, at: Place, slice_: Slice, asked: Asked, subject: RecordingSubject
) -> bool:
    """Does some rule need no tag that the recording lacks, on the session and on its pages?"""
    sure, undecided = at.book.final.decide(subject)
    if sure:
        return True
    for rule in undecided:
        lacking = at.book.required_tags[rule.id] - set(subject.recording.tags)
        if not [tag for tag in lacking if await _absent(past, at, slice_, asked, tag, subject.key)]:
            return True
    return False


async def _absent(past: Past, at: Place, slice_: Slice, asked: Asked, tag: str, key: str) -> bool:
    # Each day is another chance to see whether the filter covers the tags of pages.
    day = datetime.combine(slice_.day, time(), past.zone)
    if not await at.tags.trusted(past.mouseflow, at.site.id, slice_.filters, tag, day):
        return False
    return key not in await asked.tagged(tag)


def _subject(past: Past, at: Place, row: Recording, friction: Band | None) -> RecordingSubject:
    exact = row.friction if row.friction is not None else row.friction_score
    return RecordingSubject(
        website=at.site,
        recording=without(row, at.book.unheeded),
        zone=past.zone.key,
        friction=friction if exact is None else Band.exactly(exact),
    )


async def _judged(
    past: Past,
    at: Place,
    slice_: Slice,
    subjects: Sequence[RecordingSubject],
    places: Mapping[str, int],
) -> Batch:
    ids = [subject.key for subject in subjects]
    known = await past.store.run(partial(matched_rules, website=at.site.id, ids=ids))
    bench = Bench(
        mouseflow=Counted(past.mouseflow),
        site=at.site,
        zone=past.zone.key,
        book=at.book,
        window=slice_.filters,
        matched=known,
        held=at.held,
        tags=_asked_already(at, past.now),
        now=past.now,
        expansion=at.expansion,
        places=places,
        offset=at.offset,
    )
    verdicts = await bench.judge(
        [
            Due(
                subject.recording,
                settled(subject.recording, past.now, past.settle),
                subject.friction,
                subject.visitor_type,
                past.now,
            )
            for subject in subjects
        ]
    )
    if verdicts.outage:
        raise verdicts.outage  # a day that is over is not judged again
    for each in verdicts.judged:
        at.tags.learn(each.due.row, each.subject.recording)
    return Batch(
        judged=tuple(each for each in verdicts.judged if each.rules and not each.gone),
        before=tuple(
            (rule.id, key)
            for key, rules in known.items()
            for rule in at.book.final.rules
            if not rules.isdisjoint((rule.id, *rule.was))
        ),
        details=verdicts.details,
        open=sum(each.open for each in verdicts.judged),
    )


def _asked_already(at: Place, now: datetime) -> TagFilter:
    """A filter that asks nothing any more: tags have been asked for, for the whole slice."""
    return TagFilter(asked={tag: now for tags in at.book.required_tags.values() for tag in tags})
