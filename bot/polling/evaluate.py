"""Decides which rules match recordings, by the cheapest knowledge first.

The ladder: the list's row, then facts that only the server knows (friction, visitor type), then
tags by the server's filter, then page views from expanded lists, then details. Each step asks
only what some rule's outcome still depends on. Polls, backfill and replay all use it.

What was not fetched is neither true nor false: a rule matches only if it does so whatever the
missing part turns out to be.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar, assert_never

import msgspec
import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.errors import BadCredentials, BotError, GiveUp, Gone, TryLater
from bot.polling.filter_checks import FILTERS, Filter, FilterChecks, check_filter, concerns_all
from bot.polling.list_filters import Filters, is_answered, learn, probe, still_works, untried
from bot.polling.page_views import ExpandedLists, Expansion
from bot.polling.server_facts import (
    FrictionQuestion,
    Narrowing,
    Question,
    ServerFacts,
    Told,
    VisitorType,
    without_tags,
)
from bot.polling.session import merge
from bot.polling.site_rules import SiteRules
from bot.ports import Mouseflow
from bot.rules.evaluate import Decision
from bot.rules.model import Rule
from mouseflow import Request, recordings
from mouseflow.filters import SessionFilters
from mouseflow.models import PageView, Recording

T = TypeVar("T")

log = structlog.get_logger(__name__)

FIRST = 8
"""Details of the first batch. Each may show a way to need fewer; each batch is twice as large."""

FEW = 3
"""If this many details all fail, treat the endpoint as down, not the recordings as odd."""


class Candidate(Struct, frozen=True):
    """A recording to evaluate now, with the facts asked before, if they still hold.

    `quiet`: a live session without activity for a little while. Every fact that some rule may
    need is asked now, while the row is near the top of the lists. `before` is the friction
    asked when the session last grew: if it is still the same, a detail has nothing new but tags.
    `stale`: the row was read some time ago; people may have starred, watched or named it since.
    `views`: the page views of an earlier detail, if the session has not grown since. `unlisted`:
    it may be gone, since the list was read that deep and lacks it, or the count fell and it was
    not among the rows; then filters leave it out, whatever they ask.
    """

    row: Recording
    settled: bool
    friction: Band | None = None
    visitor_type: VisitorType | None = None
    found_by: tuple[str, ...] | None = None
    asked: datetime | None = None
    quiet: bool = False
    before: Band | None = None
    stale: bool = False
    views: tuple[PageView, ...] | None = None
    unlisted: bool = False

    def unchanged(self, friction: Band | None) -> bool:
        """Whether it was evaluated before with all that is known now, but for tags."""
        return self.quiet and self.before is not None and self.before == friction


class Evaluation(Struct, frozen=True):
    """A recording with the rules that match it.

    `gone`: it has been deleted. `open`: its detail is needed and could not be fetched.
    """

    candidate: Candidate
    subject: RecordingSubject
    rules: tuple[Rule, ...] = ()
    gone: bool = False
    open: bool = False


class Knowledge(Struct, frozen=True):
    """What is known of how a website's API behaves. Losing it costs a few calls, no match."""

    expansion: Expansion = field(default_factory=Expansion)
    lists: Filters = field(default_factory=untried)
    filters: FilterChecks = field(default_factory=FilterChecks)


class Result(Struct, frozen=True):
    """What the evaluation found, learnt and cost.

    `costs` counts for each rule the calls that it had a part in, `details` the details that
    were requested. `outage` is the first failure if all of several details failed, `failure` the
    first one if any detail failed and none could be read.
    """

    evaluations: tuple[Evaluation, ...]
    knowledge: Knowledge
    costs: Mapping[str, int]
    details: int = 0
    outage: BotError | None = None
    failure: BotError | None = None
    details_read: bool = False


@dataclass(slots=True)
class CountingClient:
    """The way to the account, with the number of calls made."""

    real: Mouseflow
    calls: int = 0

    async def send(self, request: Request[T]) -> T:
        self.calls += 1
        return await self.real.send(request)


class Scope(Struct, frozen=True, kw_only=True):
    """Where candidates are from, by which rules to evaluate them, and whom to ask.

    `matched` holds the rules each recording has matched before, by its id. `back` names
    recordings that are listed again though their detail was gone. `places` tells where
    recordings are in the list of `window`, counted from 1, if their page views may be asked
    for with the list; `offset` whether any part of the list may be asked for. `total` is how
    many recordings the window has, 0 if that is unknown. If all details fail, some of `others`
    tell whether details are away, or these recordings are broken.
    """

    mouseflow: CountingClient
    facts: ServerFacts
    site: Site
    zone: str
    rules: SiteRules
    window: SessionFilters
    now: datetime
    matched: Mapping[str, frozenset[str]] = field(default_factory=dict)
    back: Set[str] = frozenset()
    places: Mapping[str, int] = field(default_factory=dict)
    offset: bool = False
    total: int = 0
    others: Sequence[str] = ()

    def subject(self, candidate: Candidate) -> RecordingSubject:
        """The candidate as rules see it before anything is asked."""
        row = candidate.row
        if row.page_views is None and candidate.views is not None:
            row = msgspec.structs.replace(row, page_views=candidate.views)
        return self.subject_of(row, candidate.friction, candidate.visitor_type, candidate.found_by)

    def subject_of(
        self,
        row: Recording,
        friction: Band | None,
        visitor_type: VisitorType | None = None,
        found_by: tuple[str, ...] | None = None,
    ) -> RecordingSubject:
        """The row as rules see it, with the facts that were asked before."""
        exact = _exact_friction(row)
        return RecordingSubject(
            website=self.site,
            recording=without_tags(row, self.rules.ignored_tags),
            zone=self.zone,
            friction=friction if exact is None else exact,
            visitor_type=visitor_type,
            found_by=found_by,
        )


async def evaluate(candidates: Sequence[Candidate], knowledge: Knowledge, scope: Scope) -> Result:
    """Take the candidates through the whole ladder.

    Raises the errors of the calls, except those that concern single details.
    """
    return await _Evaluator(knowledge, scope).evaluate(candidates)


async def still_possible(
    rows: Iterable[tuple[Recording, Band | None]],
    settled: Callable[[Recording], bool],
    knowledge: Knowledge,
    scope: Scope,
) -> tuple[list[Candidate], Knowledge]:
    """The rows that some rule may match by row and server facts, and what was learnt.

    This is the first half of `evaluate`. Rows come with their friction, as far as it is known;
    few of them become candidates, with what was asked.
    """
    evaluator = _Evaluator(knowledge, scope)
    bare = ((row, scope.subject_of(row, friction)) for row, friction in rows)
    likely = [(row, subject) for row, subject in bare if evaluator.may_ever_match(subject)]
    subjects = await evaluator.with_facts(
        {row.id: subject for row, subject in likely}, {row.id: True for row, _ in likely}
    )
    found = [
        Candidate(
            row,
            settled(row),
            friction=subject.friction,
            visitor_type=subject.visitor_type,
            found_by=subject.found_by,
            asked=scope.now,
        )
        for (row, _), subject in zip(likely, subjects.values(), strict=True)
        if evaluator.may_match(subject)
    ]
    return found, evaluator.knowledge


class _Evaluator:
    """One evaluation under way."""

    def __init__(self, knowledge: Knowledge, scope: Scope) -> None:
        self.costs: Counter[str] = Counter()
        self._scope, self._rules, self._now = scope, scope.rules, scope.now
        self._narrowing, self._expansion = knowledge.lists, knowledge.expansion
        self._filters = knowledge.filters
        self._fetched = 0
        self._outage: BotError | None = None
        self._failure: BotError | None = None
        self._read = False
        self._verdicts: dict[tuple[str, str], bool] = {}
        self._stale: frozenset[str] = frozenset()
        self._kept: frozenset[str] = frozenset()
        self._unlisted: frozenset[str] = frozenset()
        self._settled: frozenset[str] = frozenset()
        self._answers: dict[str, Mapping[Question, bool]] = {}
        self._decisions: dict[tuple[str, bool], tuple[RecordingSubject, Decision]] = {}
        self._lists = ExpandedLists(
            mouseflow=scope.mouseflow,
            website=scope.site.id,
            window=scope.window,
            places=scope.places,
            anywhere=scope.offset,
            tags_matter=bool(self._rules.reading_tags),
            now=scope.now,
            own_tags=self._rules.own_tags,
        )

    @property
    def knowledge(self) -> Knowledge:
        """What is known of the API by now."""
        return Knowledge(self._expansion, self._narrowing, self._filters)

    async def evaluate(self, candidates: Sequence[Candidate]) -> Result:
        self._kept = frozenset(
            it.row.id for it in candidates if it.row.page_views is None and it.views is not None
        )
        self._unlisted = frozenset(it.row.id for it in candidates if it.unlisted)
        self._settled = frozenset(it.row.id for it in candidates if it.settled)
        self._stale = frozenset(it.row.id for it in candidates if it.stale and it.settled)
        subjects = {it.row.id: self._scope.subject(it) for it in candidates}
        subjects = await self._spot_checked(candidates, subjects)
        subjects = await self.with_facts(
            subjects, {it.row.id: it.settled or it.quiet for it in candidates}
        )
        wanted = {
            it.row.id: rules
            for it in candidates
            if (rules := self._needing_detail(it, subjects[it.row.id]))
        }
        spared = sum(self._spared_by_list(it, subjects[it.row.id]) for it in candidates)
        self._expansion = self._expansion.needed(len(wanted) + spared, self._now)
        details, unavailable = await self._details(subjects, wanted)
        whole = {
            key: self._merged(subjects[key], detail)
            for key, detail in details.items()
            if isinstance(detail, Recording)
        }
        self._kept -= whole.keys()
        self._unlisted -= whole.keys()
        settled = {it.row.id: it.settled for it in candidates}
        # A detail may make a fact matter that the row had ruled out.
        subjects |= await self.with_facts(whole, settled)
        subjects = await self._without_false_facts(subjects, settled)
        return Result(
            evaluations=tuple(
                self._evaluation(it, subjects[it.row.id], details.get(it.row.id), unavailable)
                for it in candidates
            ),
            knowledge=self.knowledge,
            costs=self.costs,
            details=self._fetched,
            outage=self._outage,
            failure=None if self._read else self._failure,
            details_read=self._read,
        )

    async def with_facts(
        self, subjects: Mapping[str, RecordingSubject], settled: Mapping[str, bool]
    ) -> dict[str, RecordingSubject]:
        """The subjects with the server's facts that some rule depends on."""
        known = dict(subjects)
        scope = self._scope
        asking = self._depending(known, settled, self._rules.asking["frictionmin"])
        questions = [self._friction_question(known[key], rules) for key, rules in asking.items()]
        if questions:
            bands = await self._told(
                "frictionmin", asking.values(), lambda: scope.facts.friction(questions)
            )
            for key, band in bands.items():
                known[key] = msgspec.structs.replace(known[key], friction=band)
        # Only now: if friction has decided, the visitor's type does not matter.
        asking = self._depending(known, settled, self._rules.asking["visitortype"])
        for key, rules in self._telling_visitor_type(known, settled).items():
            asking[key] = [*asking.get(key, ()), *rules]
        unknown = [known[key] for key in asking if known[key].visitor_type is None]
        if unknown:
            depth = max(scope.places.get(it.key, 0) for it in unknown)
            types = await self._told(
                "visitortype", asking.values(), lambda: scope.facts.visitor_types(unknown, depth)
            )
            for key, kind in types.items():
                known[key] = msgspec.structs.replace(known[key], visitor_type=kind)
        asking = self._depending(known, settled, self._rules.asking["search"])
        unknown = [known[key] for key in asking if known[key].found_by is None]
        if unknown:
            texts = self._rules.searches
            found = await self._told(
                "search", asking.values(), lambda: scope.facts.searches(unknown, texts)
            )
            for key, by in found.items():
                known[key] = msgspec.structs.replace(known[key], found_by=by)
        return known

    async def _told(
        self,
        name: Filter,
        rules: Iterable[Sequence[Rule]],
        ask: Callable[[], Awaitable[Told[T]]],
    ) -> Mapping[str, T]:
        """What the filter tells, by recording; nothing if it does not work."""
        client, now = self._scope.mouseflow, self._now
        before = client.calls
        try:
            if self._filters.is_due(name, now):
                await self._check(name)
            if name in self._filters.suspended:
                return {}
            told = await ask()
        except (GiveUp, TryLater) as error:
            self._filters = self._filters.failed(name, error, now)
            return {}
        finally:
            self._charge(rules, client.calls - before)
        # A filter that leaves out some of the window, but not all of it, is not ignored.
        if any(0 < count < self._scope.total for count in told.counts):
            self._filters = self._filters.works(name, now)
        return told.by_id

    async def _check(self, name: Filter) -> None:
        scope = self._scope
        self._filters = await check_filter(
            self._filters,
            name,
            scope.mouseflow,
            scope.site.id,
            scope.window,
            scope.total,
            self._now,
        )

    async def _without_false_facts(
        self, subjects: Mapping[str, RecordingSubject], settled: Mapping[str, bool]
    ) -> dict[str, RecordingSubject]:
        """The subjects without the facts of filters that don't work.

        If a rule is about to match by a filter that was not proved in this poll, it is proved now.
        """
        known = dict(subjects)
        for name in FILTERS:
            matching = [
                rules
                for key, subject in known.items()
                if name not in self._filters.suspended  # else what it left untold would be lost
                and _fact(subject, name) is not None
                and (rules := self._about_to_match(subject, settled[key], name))
            ]
            if matching and self._filters.proved.get(name) != self._now:
                before = self._scope.mouseflow.calls
                await self._check(name)
                self._charge(matching, self._scope.mouseflow.calls - before)
            if name in self._filters.suspended:
                known = {key: _without_fact(subject, name) for key, subject in known.items()}
        return known

    def _about_to_match(self, subject: RecordingSubject, settled: bool, name: Filter) -> list[Rule]:
        """The rules that match the recording by what this filter told, among others."""
        if not self._rules.asking[name]:
            return []
        sure = self._sure(subject, settled)
        return [rule for rule in sure if rule.id in self._rules.asking[name]]

    def _depending(
        self,
        subjects: Mapping[str, RecordingSubject],
        settled: Mapping[str, bool],
        asking: frozenset[str],
    ) -> dict[str, list[Rule]]:
        """The undecided rules of each recording that are among those asking, if there are any."""
        if not asking:
            return {}
        found = {
            key: [rule for rule in self._undecided(subject, settled[key]) if rule.id in asking]
            for key, subject in subjects.items()
        }
        return {key: rules for key, rules in found.items() if rules}

    def _telling_visitor_type(
        self, subjects: Mapping[str, RecordingSubject], settled: Mapping[str, bool]
    ) -> dict[str, list[Rule]]:
        """The rules of each recording that are about to match and show it in their texts."""
        telling = self._rules.telling_visitor_type
        if not telling or "visitortype" in self._filters.suspended:
            return {}
        found = {
            key: [rule for rule in self._sure(subject, settled[key]) if rule.id in telling]
            for key, subject in subjects.items()
        }
        return {key: rules for key, rules in found.items() if rules}

    def _sure(self, subject: RecordingSubject, settled: bool) -> list[Rule]:
        """The rules that are about to match the recording."""
        return self._in_play(subject.key, self._decide(subject, settled).sure)

    def may_match(self, subject: RecordingSubject) -> bool:
        """Whether any rule matches or may still match the recording, which is final."""
        return any(self._decide(subject, True))

    def may_ever_match(self, subject: RecordingSubject) -> bool:
        """The same of a recording that is dropped if none may: only other decisions are kept."""
        decision = self._decided(subject, True)
        if not any(decision):
            return False
        self._decisions[subject.key, True] = subject, decision
        return True

    def _decide(self, subject: RecordingSubject, settled: bool) -> Decision:
        """The rules that match, and those whose outcome depends on what is not known.

        Each step of the ladder asks this again of recordings that it learnt nothing about.
        """
        about, decision = self._decisions.get((subject.key, settled), (None, None))
        if about is not subject or decision is None:
            decision = self._decided(subject, settled)
            self._decisions[subject.key, settled] = subject, decision
        return decision

    def _decided(self, subject: RecordingSubject, settled: bool) -> Decision:
        """Page views of an earlier detail say nothing to rules that read tags, which may be new."""
        group = self._rules.group(settled)
        decision = group.decide(subject)
        if subject.key not in self._kept:
            return decision
        bare, beyond = group.decide(_without_page_views(subject)), self._rules.beyond_pages
        sure, undecided = (
            tuple(
                rule
                for rule in group.rules
                if rule in (without if rule.id in beyond else with_views)
            )
            for with_views, without in zip(decision, bare, strict=True)
        )
        return Decision(sure, undecided)

    def _lacks(self, rule: Rule, subject: RecordingSubject) -> bool:
        """Whether a detail still tells something that a match of the rule reads."""
        read = self._read_by(rule, subject)
        return self._may_be_gone(rule, subject.key) or self._rules.lacks(rule, read)

    def _may_be_gone(self, rule: Rule, key: str) -> bool:
        """Whether filters that the rule reads may leave the recording out for it is deleted."""
        return key in self._unlisted and rule.id in self._rules.needing(FILTERS)

    def _lacks_group(self, rule: Rule, subject: RecordingSubject) -> bool:
        """Whether a detail still tells by what `once_per` or `count` group the recording."""
        return self._rules.lacks_group(rule, self._read_by(rule, subject))

    def _read_by(self, rule: Rule, subject: RecordingSubject) -> RecordingSubject:
        """The recording as far as the rule may read it: only the pages of a detail are kept."""
        blind = subject.key in self._kept and rule.id in self._rules.beyond_pages
        return _without_page_views(subject) if blind else subject

    def _friction_question(
        self, subject: RecordingSubject, rules: Sequence[Rule]
    ) -> FrictionQuestion:
        band = subject.friction or Band()
        thresholds = {it for rule in rules for it in self._rules.thresholds_of[rule.id]}
        narrower = frozenset(it for it in thresholds if band.low < it < band.high)
        return FrictionQuestion(subject.recording, band, narrower)

    def _needing_detail(self, candidate: Candidate, subject: RecordingSubject) -> list[Rule]:
        """The rules for which the candidate's detail is worth a call."""
        rules = self._undecided(subject, candidate.settled)
        sure = self._sure(subject, candidate.settled)
        lacking = [rule for rule in sure if self._lacks(rule, subject)]
        if candidate.unchanged(subject.friction):
            # Pages may have got tags meanwhile, but a detail would cost too much to see that.
            readers = self._rules.reading_tags
            worth = self._expansion.trusted(self._now) and any(it.id in readers for it in rules)
            return [*lacking, *(rules if worth else ())]
        rules = [*rules, *lacking]
        if candidate.stale and candidate.settled:
            marked = self._in_play(subject.key, self._rules.hinging_on_marks(subject))
            rules += [rule for rule in marked if rule not in rules]
        return rules

    def _spared_by_list(self, candidate: Candidate, subject: RecordingSubject) -> bool:
        """Whether page views of the list made a detail unnecessary."""
        if subject.recording.page_views is None or subject.key in self._kept:
            return False
        return bool(self._undecided(_without_page_views(subject), candidate.settled))

    async def _details(
        self, subjects: Mapping[str, RecordingSubject], wanted: Mapping[str, Sequence[Rule]]
    ) -> tuple[dict[str, Recording | BotError], frozenset[str]]:
        """The details that some rule still depends on, and the ids that could not be had.

        They are fetched a few at first, then more at a time: any of them may show that one call
        returns the page views of many, that the tag filter covers pages, or that all fail.
        """
        found: dict[str, Recording | BotError] = dict(await self._checked(wanted))
        needed = await self._needed(subjects, _without(wanted, found))
        batch = FIRST
        failed: dict[str, BotError] = {}
        while needed:
            details = await self._fetch(needed[:batch])
            found |= details
            self.costs.update(rule.id for key in details for rule in wanted[key])
            batch *= 2
            failed |= {
                key: it
                for key, it in details.items()
                if isinstance(it, BotError) and not (isinstance(it, Gone) and key in self._unlisted)
            }
            rest = _without({each.key: wanted[each.key] for each in needed}, found)
            if len(failed) == self._fetched >= FEW and not await self._others_are_read(failed):
                self._outage = next(iter(failed.values()))
                return found, frozenset({*failed, *rest})
            had = {key: it for key, it in details.items() if isinstance(it, Recording)}
            for key, detail in had.items():
                self._narrowing = learn(
                    self._narrowing, subjects[key].recording, detail, self._rules.questions
                )
            if self._compare(had):
                rest = self._untold(_without(wanted, found), subjects)
            before = self._expansion.trusted(self._now)
            self._expansion = await self._lists.compare(had, self._expansion)
            if self._expansion.trusted(self._now) and not before:
                found |= await self._expanded(rest)
                rest = _without(rest, found)
            learnt = any(it.witness is not None for it in self._narrowing.values())
            needed = await self._needed(subjects, rest) if learnt else [subjects[k] for k in rest]
        bare = {k for k, it in found.items() if isinstance(it, Recording) and it.page_views is None}
        return found, frozenset({*failed, *bare})

    async def _spot_checked(
        self, candidates: Sequence[Candidate], subjects: dict[str, RecordingSubject]
    ) -> dict[str, RecordingSubject]:
        """The subjects without the page views of their rows, if these are wrong."""
        if self._expansion.check_is_due(self._now):
            used = (it for it in candidates if self._spared_by_list(it, subjects[it.row.id]))
            one = next(used, None)
            if one is not None and not await self._agrees(one.row):
                return {key: _without_page_views(subject) for key, subject in subjects.items()}
        return subjects

    async def _checked(self, wanted: Mapping[str, Sequence[Rule]]) -> dict[str, Recording]:
        """Rows with the page views of the wanted recordings, unless they are wrong."""
        found = await self._expanded(wanted)
        if found and self._expansion.check_is_due(self._now):
            row = next(iter(found.values()))
            if not await self._agrees(row):
                return {}
        return found

    async def _agrees(self, row: Recording) -> bool:
        """Compare a row that is used with its detail; false if expanded rows are wrong."""
        detail = await self._detail(row.id)
        if isinstance(detail, Recording):
            self._expansion = self._expansion.compared(
                [row], {row.id: detail}, bool(self._rules.reading_tags), self._now
            )
        return self._expansion.trusted(self._now)

    async def _expanded(self, wanted: Mapping[str, Sequence[Rule]]) -> dict[str, Recording]:
        before = self._scope.mouseflow.calls
        found, self._expansion = await self._lists.page_views(wanted, self._expansion)
        if found:
            self._charge((wanted[key] for key in found), self._scope.mouseflow.calls - before)
        return found

    async def _needed(
        self, subjects: Mapping[str, RecordingSubject], wanted: Mapping[str, Sequence[Rule]]
    ) -> list[RecordingSubject]:
        """The recordings whose detail is needed after filters have told what they can."""
        told = await self._told_by_filters(subjects, wanted)
        self._answers |= told
        for key, answers in told.items():
            for rule in wanted[key]:
                said = self._verdict(rule, subjects[key], answers)
                # Messages show the pages of a recording, so its detail is read for them.
                posts = rule.too_few is None and any(action.posts for action in rule.do)
                if said is False or (said and not posts):
                    self._verdicts[key, rule.id] = said
        spared = wanted.keys() - self._untold(wanted, subjects).keys()
        return [subjects[key] for key in wanted if key not in spared - self._to_compare(spared)]

    def _untold(
        self, wanted: Mapping[str, Sequence[Rule]], subjects: Mapping[str, RecordingSubject]
    ) -> dict[str, Sequence[Rule]]:
        """Those of which filters have not decided every rule."""
        return {
            key: rules
            for key, rules in wanted.items()
            if not all(self._is_told(rule, subjects[key]) for rule in rules)
        }

    def _is_told(self, rule: Rule, subject: RecordingSubject) -> bool:
        """Whether filters have decided the rule, and a match needs nothing else."""
        said = self._verdicts.get((subject.key, rule.id))
        return said is not None and not (said and self._lacks(rule, subject))

    def _verdict(
        self, rule: Rule, subject: RecordingSubject, told: Mapping[Question, bool]
    ) -> bool | None:
        return self._rules.verdict_told(
            rule, self._sure_of(subject), told, stale=subject.key in self._stale
        )

    def _sure_of(self, subject: RecordingSubject) -> RecordingSubject:
        """The recording without the page views of an earlier detail: their tags may be old."""
        return _without_page_views(subject) if subject.key in self._kept else subject

    async def _told_by_filters(
        self, subjects: Mapping[str, RecordingSubject], wanted: Mapping[str, Sequence[Rule]]
    ) -> dict[str, dict[Question, bool]]:
        """What filters tell about recordings, as far as that may decide.

        Asks only about recordings of which filters may decide each rule, and only if that takes
        fewer calls than their details.
        """
        facts, client, askable = self._scope.facts, self._scope.mouseflow, self._rules.askable
        asked: dict[Question, list[str]] = {}
        spared = 0
        for key, rules in wanted.items():
            subject = self._sure_of(subjects[key])
            if all(
                self._verdict(it, subject, dict.fromkeys(askable(it), False)) is not None
                for it in rules
            ):
                spared += 1
                for question in {each for it in rules for each in askable(it)}:
                    if not is_answered(question, subject):
                        asked.setdefault(question, []).append(key)
        depths = {it: self._narrowing[it.name].depths.get(it.value, 0) for it in asked}
        if spared <= sum(map(facts.calls_for, asked)):
            return {}  # the details themselves are no more calls
        found: dict[str, dict[Question, bool]] = {}
        counts: dict[Narrowing, list[int]] = {}
        for question in sorted(asked):
            keys, before, (name, value) = asked[question], client.calls, question
            known = self._narrowing[name]
            try:
                known = await probe(
                    known, client, self._scope.site.id, self._scope.window, question, self._now
                )
                if known.trusted(value):
                    rows = [subjects[key].recording for key in keys]
                    answers = await facts.answers(question, rows, depths[question])
                    known = known.answered(value, answers.depth)
                    counts.setdefault(name, []).append(answers.count)
                    for key in set(keys) - answers.unknown:
                        found.setdefault(key, {})[question] = key in answers.there
            except (GiveUp, TryLater) as error:
                if concerns_all(error):
                    raise
                known = known.failed(value, self._now)  # details tell it, too
            self._narrowing = {**self._narrowing, name: known}
            self._charge(
                ([it for it in wanted[key] if question in askable(it)] for key in keys),
                client.calls - before,
            )
        before = client.calls
        proved = await self._proved(found, counts, subjects, wanted)
        self._charge((wanted[key] for key in found), client.calls - before)
        return proved

    async def _proved(
        self,
        told: Mapping[str, Mapping[Question, bool]],
        counts: Mapping[Narrowing, Sequence[int]],
        subjects: Mapping[str, RecordingSubject],
        wanted: Mapping[str, Sequence[Rule]],
    ) -> dict[str, dict[Question, bool]]:
        """What the filters told without what comes from one that does not work any more.

        A filter that returned some of the window and left out some works. Else a value that no
        recording has must find none, or one that is there must find some: before a rule matches by
        what the filter told, and once an hour. Where no row shows such a value, only what a match
        would depend on is left out.
        """
        scope, window = self._scope, self._scope.window
        matching = {
            key
            for key, answers in told.items()
            if any(self._verdict(rule, subjects[key], answers) for rule in wanted[key])
        }
        depended = {question.name for key in matching for question in told[key]}
        works: dict[Narrowing, bool | None] = {}
        for name, some in counts.items():
            known = self._narrowing[name]
            if any(0 < count < scope.total for count in some):
                works[name] = True
            elif known.proof_is_due(self._now, matters=name in depended):
                rows = [it.recording for it in subjects.values() if it.key not in self._unlisted]
                works[name] = await still_works(
                    scope.mouseflow, scope.site.id, window, name, rows, any(some)
                )
            if works.get(name):
                known = replace(known, honoured=self._now)
            elif works.get(name, True) is False:
                known = known.failed("", self._now)
                log.warning("poll.filter_broken", website=scope.site.name, filter=name.value)
            self._narrowing = {**self._narrowing, name: known}

        def counts_for(key: str, name: Narrowing) -> bool:
            how = works.get(name, True)
            return key not in matching if how is None else how

        return {
            key: {it: said for it, said in answers.items() if counts_for(key, it.name)}
            for key, answers in told.items()
        }

    def _to_compare(self, spared: Iterable[str]) -> set[str]:
        """Finished recordings whose details are read all the same, where a comparison is due."""
        some = [key for key in sorted(spared) if key in self._settled]
        found: set[str] = set()
        for name, known in self._narrowing.items():
            if known.check_is_due(self._now):
                told = (key for key in some if any(it.name is name for it in self._answers[key]))
                found.update(islice(told, 1))
        return found

    def _compare(self, details: Mapping[str, Recording]) -> bool:
        """Compare what filters told about finished sessions with their details.

        Returns whether some filter was wrong: then nothing that it told of others counts.
        """
        wrong: set[Narrowing] = set()
        for key in details.keys() & self._answers.keys() & self._settled:
            if details[key].page_views is None:
                continue
            subject = self._scope.subject_of(details[key], None)
            for question, said in self._answers[key].items():
                name, value = question
                known = replace(self._narrowing[name], checked=self._now)
                if said is not is_answered(question, subject):
                    known = known.failed(value, self._now)
                    if name is Narrowing.PAGES:  # a tag may just have been set
                        known = replace(known, otherwise=known.otherwise | {value})
                    wrong.add(name)
                    log.warning("poll.filter_contradicted", website=self._scope.site.name,
                                filter=name.value, recording=key)  # fmt: skip
                self._narrowing = {**self._narrowing, name: known}
        for key, answers in self._answers.items():
            if not wrong.isdisjoint(it.name for it in answers):
                self._answers[key] = {}
                self._verdicts = {it: said for it, said in self._verdicts.items() if it[0] != key}
        return bool(wrong)

    async def _fetch(self, subjects: Sequence[RecordingSubject]) -> dict[str, Recording | BotError]:
        self._fetched += len(subjects)
        details = await asyncio.gather(*(self._detail(it.key) for it in subjects))
        return {subject.key: detail for subject, detail in zip(subjects, details, strict=True)}

    async def _detail(self, key: str) -> Recording | BotError:
        request = recordings.detail(self._scope.site.id, key)
        try:
            detail = await self._scope.mouseflow.send(request)
        except BadCredentials:
            raise
        except (GiveUp, TryLater) as error:
            self._failure = self._failure or error
            return error  # it concerns this recording alone
        self._read = True
        return detail

    async def _others_are_read(self, failed: Collection[str]) -> bool:
        """Whether a detail can be read, as those of a few other recordings tell."""
        for key in islice((key for key in self._scope.others if key not in failed), FEW):
            self._read = self._read or isinstance(await self._detail(key), Recording)
        return self._read

    def _merged(self, subject: RecordingSubject, detail: Recording) -> RecordingSubject:
        whole = without_tags(merge(subject.recording, detail), self._rules.ignored_tags)
        return msgspec.structs.replace(subject, recording=whole)

    def _evaluation(
        self,
        candidate: Candidate,
        subject: RecordingSubject,
        detail: Recording | BotError | None,
        unavailable: frozenset[str],
    ) -> Evaluation:
        key = subject.key
        if detail is None and (answers := self._answers.get(key)):
            yes = [question for question, said in sorted(answers.items()) if said]
            subject = msgspec.structs.replace(
                subject,
                told_tags=tuple(it.value for it in yes if it.name is Narrowing.TAGS),
                told_pages=tuple(it.value for it in yes if it.name is Narrowing.PAGES),
            )
        deleted = isinstance(detail, Gone) and key not in self._scope.back
        if deleted and self._outage is None:
            return Evaluation(candidate, subject, gone=True)
        rules = self._sure(subject, candidate.settled)
        if detail is None:
            told = [rule for rule in self._undecided(subject, candidate.settled)
                    if self._verdicts.get((key, rule.id))]  # fmt: skip
            rules = [*rules, *told]
        if candidate.stale and candidate.settled and not isinstance(detail, Recording):
            unsure = self._rules.hinging_on_marks(subject)
            rules = [rule for rule in rules if rule not in unsure]
        waiting = [
            rule
            for rule in rules
            if self._may_be_gone(rule, key) or self._lacks_group(rule, subject)
        ]
        rules = [rule for rule in rules if rule not in waiting]
        missing = key in unavailable and (
            candidate.stale or bool(waiting or self._undecided(subject, candidate.settled))
        )
        return Evaluation(candidate, subject, tuple(rules), open=missing)

    def _undecided(self, subject: RecordingSubject, settled: bool) -> list[Rule]:
        """The rules on which another call may decide; not those that a filter suspends."""
        rules = self._in_play(subject.key, self._decide(subject, settled).open)
        if not self._filters.suspended:
            return rules
        suspended = self._rules.needing(self._filters.suspended)
        return [rule for rule in rules if rule.id not in suspended]

    def _in_play(self, key: str, rules: Sequence[Rule]) -> list[Rule]:
        """The rules that have not matched the recording before."""
        before = self._scope.matched.get(key)
        if not before:
            return list(rules)
        return [rule for rule in rules if rule.id not in before and before.isdisjoint(rule.was)]

    def _charge(self, rules: Iterable[Sequence[Rule]], calls: int) -> None:
        for name in {rule.id for some in rules for rule in some}:
            self.costs[name] += calls


def _exact_friction(row: Recording) -> Band | None:
    """The friction that the row itself tells, which the API document does not promise."""
    exact = row.friction if row.friction is not None else row.friction_score
    return None if exact is None else Band.exactly(exact)


def _fact(subject: RecordingSubject, name: Filter) -> Band | VisitorType | tuple[str, ...] | None:
    """What the filter told about the recording; None if that is known otherwise or unknown."""
    match name:
        case "frictionmin":
            return None if _exact_friction(subject.recording) else subject.friction
        case "visitortype":
            return subject.visitor_type
        case "search":
            return subject.found_by
        case _:
            assert_never(name)


def _without_fact(subject: RecordingSubject, name: Filter) -> RecordingSubject:
    match name:
        case "frictionmin":
            exact = _exact_friction(subject.recording)
            return msgspec.structs.replace(subject, friction=exact)
        case "visitortype":
            return msgspec.structs.replace(subject, visitor_type=None)
        case "search":
            return msgspec.structs.replace(subject, found_by=None)
        case _:
            assert_never(name)


def _without_page_views(subject: RecordingSubject) -> RecordingSubject:
    bare = msgspec.structs.replace(subject.recording, page_views=None)
    return msgspec.structs.replace(subject, recording=bare)


def _without(wanted: Mapping[str, T], found: Mapping[str, object]) -> dict[str, T]:
    return {key: rules for key, rules in wanted.items() if key not in found}
