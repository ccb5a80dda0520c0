"""Judges recordings by the cheapest knowledge first: the row, then asked facts, then the detail."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

import msgspec

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.errors import BadCredentials, GiveUp, Gone, TryLater
from bot.polling.page_views import ExpandedLists, Expansion
from bot.polling.server_facts import (
    TagFilter,
    VisitorType,
    Wanting,
    friction_bands,
    members,
    visitor_types,
    without,
)
from bot.polling.session import merge
from bot.polling.site_rules import Book, asks_friction, asks_visitor_type
from bot.ports import Mouseflow
from bot.rules.evaluate import RuleGroup
from bot.rules.model import Rule
from mouseflow import Request, recordings
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording

T = TypeVar("T")

NO_RULES: frozenset[str] = frozenset()
FIRST = 8
"""Details to fetch before looking whether they have shown a way to need fewer."""

FEW = 3
"""So many details that all fail are no odd recordings: their part of the API is away."""

CALLS_A_TAG = 2
"""What asking for a tag may take: the rows in question may stand deeper than the first call."""


@dataclass(frozen=True, slots=True)
class Due:
    """A recording to judge now, with what was asked about it before, if that still holds.

    `quiet` tells that a live session has had no activity for a little while: what all rules
    may want to know of it is asked now, while it still stands near the top of the lists;
    `before` is the friction asked when it last grew: where that is the same, nothing has
    changed that a detail could tell, but for tags.
    """

    row: Recording
    settled: bool
    friction: Band | None = None
    visitor_type: VisitorType | None = None
    asked: datetime | None = None
    quiet: bool = False
    before: Band | None = None

    def told(self, friction: Band | None) -> bool:
        """Has the row been judged before with all that is known now, but for tags?"""
        return self.quiet and self.before is not None and self.before == friction


@dataclass(frozen=True, slots=True)
class Judged:
    """A recording with the rules that match. `gone`: it was deleted meanwhile.

    `open` tells that its detail could not be had this time, so it must be judged again.
    """

    due: Due
    subject: RecordingSubject
    rules: tuple[Rule, ...] = ()
    gone: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What judging brought, and what it cost in calls for details.

    `outage` is the failure where each of a few details or more failed, and may not next time.
    """

    judged: tuple[Judged, ...]
    details: int
    outage: TryLater | None = None


@dataclass(slots=True)
class Counted:
    """The way to the account, with the number of calls that took it."""

    real: Mouseflow
    calls: int = 0

    async def send(self, request: Request[T]) -> T:
        self.calls += 1
        return await self.real.send(request)


@dataclass(slots=True)
class Bench:
    """One website's rules, the recordings to be judged by them, and whom to ask.

    `matched` holds the rules each recording has matched before, by its id. `held` tells that
    the server ignores the friction filter, so that rules with friction can't be judged.
    `back` names recordings that are listed again though their detail was gone.
    `places` tells where recordings stand in the list, counted from 1, as far as their page
    views may be asked for with the list, `offset` whether any part of the list may. `costs`
    counts for each rule the calls that it had a part in.
    """

    mouseflow: Counted
    site: Site
    zone: str
    book: Book
    window: SessionFilters
    matched: Mapping[str, frozenset[str]]
    held: bool
    tags: TagFilter
    now: datetime
    back: Set[str] = frozenset()
    expansion: Expansion = field(default_factory=Expansion)
    places: Mapping[str, int] = field(default_factory=dict)
    offset: bool = False
    costs: Counter[str] = field(default_factory=Counter)
    detailed: int = 0

    async def judge(self, dues: Sequence[Due]) -> Verdicts:
        """Raises the errors of the calls, except where they concern one detail alone."""
        subjects = {due.row.id: self._subject(due) for due in dues}
        settled = {due.row.id: due.settled for due in dues}
        wide = {due.row.id: due.settled or due.quiet for due in dues}
        subjects = await self._with_facts(subjects, wide)
        undecided = {
            key: self._undecided(subject, settled[key]) for key, subject in subjects.items()
        }
        told = {due.row.id for due in dues if due.told(subjects[due.row.id].friction)}
        wanting = {
            key: rules
            for key, rules in undecided.items()
            if (self._may_have_been_tagged(rules) if key in told else rules)
        }
        bare = sum(self._undecided_bare(subjects[due.row.id], due.settled) for due in dues)
        self.expansion.needed(len(wanting) + bare, self.now)
        details = await self._details(subjects, wanting)
        judged = tuple(self._verdict(due, subjects[due.row.id], details) for due in dues)
        failed = [each for each in details.values() if isinstance(each, TryLater)]
        away = len(failed) == self.detailed >= FEW
        return Verdicts(judged, self.detailed, failed[0] if away else None)

    def _may_have_been_tagged(self, rules: Iterable[Rule]) -> bool:
        """Is it worth a look whether pages have tags by now, since it costs no detail?"""
        readers = self.book.reading_tags
        return self.expansion.trusted(self.now) and any(rule.id in readers for rule in rules)

    async def _details(
        self, subjects: Mapping[str, RecordingSubject], wanting: Mapping[str, Sequence[Rule]]
    ) -> dict[str, Recording | Exception]:
        """The details that some rule still depends on.

        They are fetched a few at first, then more at a time: any of them may show that one
        call tells the page views of many, or that the tag filter covers pages.
        """
        found: dict[str, Recording | Exception] = dict(await self._expanded(wanting))
        needed = await self._needed(subjects, _without(wanting, found))
        batch = len(needed) if self.tags.covers_pages else FIRST
        while needed:
            details = await self._fetch(needed[:batch])
            found |= details
            self.costs.update(rule.id for key in details for rule in wanting[key])
            batch *= 2
            had = {key: it for key, it in details.items() if isinstance(it, Recording)}
            for key, detail in had.items():
                self.tags.learn(subjects[key].recording, detail)
            rest = _without({each.key: wanting[each.key] for each in needed}, found)
            if await self._lists.shown(had):
                found |= await self._expanded(rest)
                rest = _without(rest, found)
            learnt = self.tags.witness is not None
            needed = await self._needed(subjects, rest) if learnt else [subjects[k] for k in rest]
        return found

    async def _expanded(self, wanting: Mapping[str, Sequence[Rule]]) -> dict[str, Recording]:
        before = self.mouseflow.calls
        found = await self._lists.page_views(wanting)
        if found:
            self._charge((wanting[key] for key in found), self.mouseflow.calls - before)
        return found

    @property
    def _lists(self) -> ExpandedLists:
        return ExpandedLists(
            mouseflow=self.mouseflow,
            website=self.site.id,
            window=self.window,
            places=self.places,
            anywhere=self.offset,
            tags_matter=bool(self.book.reading_tags),
            expansion=self.expansion,
            now=self.now,
        )

    async def _needed(
        self, subjects: Mapping[str, RecordingSubject], wanting: Mapping[str, Sequence[Rule]]
    ) -> list[RecordingSubject]:
        refuted = await self._without_tags(subjects, wanting)
        return [
            subjects[key]
            for key, rules in wanting.items()
            if any((key, rule.id) not in refuted for rule in rules)
        ]

    async def _fetch(
        self, subjects: Sequence[RecordingSubject]
    ) -> dict[str, Recording | Exception]:
        self.detailed += len(subjects)
        details = await asyncio.gather(*map(self._detail, subjects))
        return {subject.key: detail for subject, detail in zip(subjects, details, strict=True)}

    def _subject(self, due: Due) -> RecordingSubject:
        row = due.row
        exact = row.friction if row.friction is not None else row.friction_score
        return RecordingSubject(
            website=self.site,
            recording=without(row, self.book.unheeded),
            zone=self.zone,
            friction=Band.exactly(exact) if exact is not None else due.friction,
            visitor_type=due.visitor_type,
        )

    async def _with_facts(
        self, subjects: Mapping[str, RecordingSubject], settled: Mapping[str, bool]
    ) -> dict[str, RecordingSubject]:
        known = dict(subjects)
        frustrated = self._asking(known, settled, asks_friction)
        before = self.mouseflow.calls
        bands = await friction_bands(
            self.mouseflow,
            self.site.id,
            self.window,
            [self._wanting(known[key], rules) for key, rules in frustrated.items()],
        )
        self._charge(frustrated.values(), self.mouseflow.calls - before)
        for key, band in bands.items():
            known[key] = msgspec.structs.replace(known[key], friction=band)
        # Only now: where friction has decided, the visitor need not be asked about.
        visitors = self._asking(known, settled, asks_visitor_type)
        unknown = [known[key].recording for key in visitors if known[key].visitor_type is None]
        before = self.mouseflow.calls
        depth = max((self.places.get(row.id, 0) for row in unknown), default=0)
        types = await visitor_types(self.mouseflow, self.site.id, self.window, unknown, depth)
        self._charge(visitors.values(), self.mouseflow.calls - before)
        for key, kind in types.items():
            known[key] = msgspec.structs.replace(known[key], visitor_type=kind)
        return known

    def _wanting(self, subject: RecordingSubject, rules: Sequence[Rule]) -> Wanting:
        band = subject.friction or Band()
        thresholds = {it for rule in rules for it in self.book.thresholds_of[rule.id]}
        narrower = frozenset(it for it in thresholds if band.low < it < band.high)
        return Wanting(subject.recording, band, narrower)

    def _asking(
        self,
        subjects: Mapping[str, RecordingSubject],
        settled: Mapping[str, bool],
        asks: Callable[[Rule], bool],
    ) -> dict[str, list[Rule]]:
        """The recordings of which some rule still depends on that fact, with these rules."""
        found = {
            key: [rule for rule in self._undecided(subject, settled[key]) if asks(rule)]
            for key, subject in subjects.items()
        }
        return {key: rules for key, rules in found.items() if rules}

    def _charge(self, rules: Iterable[Sequence[Rule]], calls: int) -> None:
        for name in {rule.id for some in rules for rule in some}:
            self.costs[name] += calls

    async def _without_tags(
        self,
        subjects: Mapping[str, RecordingSubject],
        undecided: Mapping[str, Sequence[Rule]],
    ) -> frozenset[tuple[str, str]]:
        """(recording, rule) where a tag that the rule requires is on no page either."""
        open_to: dict[str, dict[str, list[str]]] = {}
        for key, rules in undecided.items():
            for rule in rules:
                for tag in self.book.required_tags[rule.id] - set(subjects[key].recording.tags):
                    open_to.setdefault(tag, {}).setdefault(key, []).append(rule.id)
        if len(undecided) <= CALLS_A_TAG * len(open_to):
            return frozenset()  # the details themselves are no more calls
        refuted: set[tuple[str, str]] = set()
        for tag, keys in open_to.items():
            before = self.mouseflow.calls
            if not await self.tags.trusted(
                self.mouseflow, self.site.id, self.window, tag, self.now
            ):
                continue
            rows = [subjects[key].recording for key in keys]
            filters = replace(self.window, tags=(tag,))
            there = await members(self.mouseflow, self.site.id, filters, rows)
            for name in {rule for ids in keys.values() for rule in ids}:
                self.costs[name] += self.mouseflow.calls - before
            refuted |= {
                (key, rule) for key, ids in keys.items() if key not in there for rule in ids
            }
        return frozenset(refuted)

    def _undecided(self, subject: RecordingSubject, settled: bool) -> list[Rule]:
        return self._in_play(subject.key, self._sheet(settled).open(subject))

    def _undecided_bare(self, subject: RecordingSubject, settled: bool) -> bool:
        """Was it the list's page views that spared the detail?"""
        if subject.recording.page_views is None:
            return False
        bare = msgspec.structs.replace(subject.recording, page_views=None)
        return bool(self._undecided(msgspec.structs.replace(subject, recording=bare), settled))

    def _sheet(self, settled: bool) -> RuleGroup:
        return self.book.final if settled else self.book.early

    def _in_play(self, key: str, rules: Sequence[Rule]) -> list[Rule]:
        before = self.matched.get(key, NO_RULES)
        return [
            rule
            for rule in rules
            if rule.id not in before
            and before.isdisjoint(rule.was)
            and not (self.held and asks_friction(rule))
        ]

    async def _detail(self, subject: RecordingSubject) -> Recording | Exception:
        try:
            return await self.mouseflow.send(recordings.detail(self.site.id, subject.key))
        except BadCredentials:
            raise
        except (GiveUp, TryLater) as error:
            return error  # it concerns this recording alone

    def _verdict(
        self, due: Due, subject: RecordingSubject, details: Mapping[str, Recording | Exception]
    ) -> Judged:
        detail = details.get(subject.key)
        if isinstance(detail, Gone) and subject.key not in self.back:
            return Judged(due, subject, gone=True)
        if isinstance(detail, Recording):
            whole = without(merge(subject.recording, detail), self.book.unheeded)
            subject = msgspec.structs.replace(subject, recording=whole)
        sheet = self._sheet(due.settled)
        if isinstance(detail, Exception):
            rules = self._in_play(subject.key, sheet.sure(subject))
            return Judged(due, subject, tuple(rules), open=True)
        return Judged(due, subject, tuple(self._in_play(subject.key, sheet.sure(subject))))


def _without(wanting: Mapping[str, T], found: Mapping[str, object]) -> dict[str, T]:
    return {key: rules for key, rules in wanting.items() if key not in found}
