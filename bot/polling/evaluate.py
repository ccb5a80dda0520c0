"""Decides which rules match recordings, by the cheapest knowledge first.

The ladder: the list's row, then facts that only the server knows (friction, visitor type), then
tags by the server's filter, then page views from expanded lists, then details. Each step asks
only what some rule's outcome still depends on. Polls, backfill and replay all use it.

What was not fetched is neither true nor false: a rule matches only if it does so whatever the
missing part turns out to be.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar, assert_never

import msgspec

from bot.domain.subjects import Band, RecordingSubject
from bot.errors import BotError, GiveUp, Gone, TryLater
from bot.polling.candidates import (
    Candidate,
    Costs,
    Evaluation,
    Knowledge,
    Result,
    Scope,
    exact_friction,
)
from bot.polling.decisions import Decisions
from bot.polling.details import Details
from bot.polling.filter_checks import FILTERS, Filter, check_filter
from bot.polling.server_facts import (
    FilterAnswer,
    FrictionQuestion,
    ListFilterName,
    VisitorType,
    without_tags,
)
from bot.polling.session import merge
from bot.rules.model import Rule
from mouseflow.models import Recording

T = TypeVar("T")


async def evaluate(candidates: Sequence[Candidate], knowledge: Knowledge, scope: Scope) -> Result:
    """Take the candidates through the whole ladder.

    Raises the errors of the calls, except those that concern single details.
    """
    return await _Evaluator(knowledge, scope, candidates).evaluate()


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
    likely = [
        (row, subject) for row, subject in bare if evaluator.decisions.may_ever_match(subject)
    ]
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
        if evaluator.decisions.may_match(subject)
    ]
    return found, evaluator.knowledge


class _Evaluator:
    """One evaluation under way."""

    def __init__(
        self, knowledge: Knowledge, scope: Scope, candidates: Sequence[Candidate] = ()
    ) -> None:
        self._scope, self._rules, self._now = scope, scope.rules, scope.now
        self._candidates, self._costs = candidates, Costs()
        self.decisions = Decisions(scope, knowledge.filters, candidates)
        self._details = Details(knowledge, scope, self.decisions, self._costs)

    @property
    def knowledge(self) -> Knowledge:
        """What is known of the API by now."""
        details = self._details
        return Knowledge(details.expansion, details.answers.filters, self.decisions.filters)

    async def evaluate(self) -> Result:
        candidates, fetched = self._candidates, self._details
        subjects = {it.row.id: self._scope.subject(it) for it in candidates}
        subjects = await fetched.spot_checked(candidates, subjects)
        subjects = await self.with_facts(
            subjects, {it.row.id: it.settled or it.quiet for it in candidates}
        )
        wanted = {
            it.row.id: rules
            for it in candidates
            if (rules := fetched.rules_needing(it, subjects[it.row.id]))
        }
        spared = sum(fetched.spared_by_list(it, subjects[it.row.id]) for it in candidates)
        fetched.expansion = fetched.expansion.needed(len(wanted) + spared, self._now)
        details, unavailable = await fetched.fetch(subjects, wanted)
        whole = {
            key: self._merged(subjects[key], detail)
            for key, detail in details.items()
            if isinstance(detail, Recording)
        }
        self.decisions.kept -= whole.keys()
        self.decisions.unlisted -= whole.keys()
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
            costs=self._costs,
            details=fetched.requested,
            outage=fetched.outage,
            failure=None if fetched.any_read else fetched.failure,
            details_read=fetched.any_read,
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
        ask: Callable[[], Awaitable[FilterAnswer[T]]],
    ) -> Mapping[str, T]:
        """What the filter tells, by recording; nothing if it does not work."""
        client, now = self._scope.mouseflow, self._now
        before = client.calls
        try:
            if self.decisions.filters.is_due(name, now):
                await self._check(name)
            if name in self.decisions.filters.suspended:
                return {}
            told = await ask()
        except (GiveUp, TryLater) as error:
            self.decisions.filters = self.decisions.filters.failed(name, error, now)
            return {}
        finally:
            self._costs.charge(rules, client.calls - before)
        # A filter that leaves out some of the window, but not all of it, is not ignored.
        if any(0 < count < self._scope.total for count in told.counts):
            self.decisions.filters = self.decisions.filters.works(name, now)
        return told.by_id

    async def _check(self, name: Filter) -> None:
        scope = self._scope
        self.decisions.filters = await check_filter(
            self.decisions.filters,
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
                # else what it left untold would be lost
                if name not in self.decisions.filters.suspended
                and _fact(subject, name) is not None
                and (rules := self._about_to_match(subject, settled[key], name))
            ]
            if matching and self.decisions.filters.proved.get(name) != self._now:
                before = self._scope.mouseflow.calls
                await self._check(name)
                self._costs.charge(matching, self._scope.mouseflow.calls - before)
            if name in self.decisions.filters.suspended:
                known = {key: _without_fact(subject, name) for key, subject in known.items()}
        return known

    def _about_to_match(self, subject: RecordingSubject, settled: bool, name: Filter) -> list[Rule]:
        """The rules that match the recording by what this filter told, among others."""
        if not self._rules.asking[name]:
            return []
        sure = self.decisions.sure(subject, settled)
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
            key: [
                rule
                for rule in self.decisions.undecided(subject, settled[key])
                if rule.id in asking
            ]
            for key, subject in subjects.items()
        }
        return {key: rules for key, rules in found.items() if rules}

    def _telling_visitor_type(
        self, subjects: Mapping[str, RecordingSubject], settled: Mapping[str, bool]
    ) -> dict[str, list[Rule]]:
        """The rules of each recording that are about to match and show it in their texts."""
        telling = self._rules.telling_visitor_type
        if not telling or "visitortype" in self.decisions.filters.suspended:
            return {}
        found = {
            key: [rule for rule in self.decisions.sure(subject, settled[key]) if rule.id in telling]
            for key, subject in subjects.items()
        }
        return {key: rules for key, rules in found.items() if rules}

    def _friction_question(
        self, subject: RecordingSubject, rules: Sequence[Rule]
    ) -> FrictionQuestion:
        band = subject.friction or Band()
        thresholds = {it for rule in rules for it in self._rules.thresholds_of[rule.id]}
        narrower = frozenset(it for it in thresholds if band.low < it < band.high)
        return FrictionQuestion(subject.recording, band, narrower)

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
        if detail is None and (answers := self._details.answers.by_id.get(key)):
            yes = [question for question, said in sorted(answers.items()) if said]
            subject = msgspec.structs.replace(
                subject,
                told_tags=tuple(it.value for it in yes if it.name is ListFilterName.TAGS),
                told_pages=tuple(it.value for it in yes if it.name is ListFilterName.PAGES),
            )
        deleted = isinstance(detail, Gone) and key not in self._scope.back
        if deleted and self._details.outage is None:
            return Evaluation(candidate, subject, gone=True)
        rules = self.decisions.sure(subject, candidate.settled)
        if detail is None:
            told = [rule for rule in self.decisions.undecided(subject, candidate.settled)
                    if self._details.answers.verdicts.get((key, rule.id))]  # fmt: skip
            rules = [*rules, *told]
        if candidate.stale and candidate.settled and not isinstance(detail, Recording):
            unsure = self._rules.hinging_on_marks(subject)
            rules = [rule for rule in rules if rule not in unsure]
        waiting = [
            rule
            for rule in rules
            if self.decisions.may_be_gone(rule, key) or self.decisions.lacks_group(rule, subject)
        ]
        rules = [rule for rule in rules if rule not in waiting]
        missing = key in unavailable and (
            candidate.stale or bool(waiting or self.decisions.undecided(subject, candidate.settled))
        )
        return Evaluation(candidate, subject, tuple(rules), open=missing)


def _fact(subject: RecordingSubject, name: Filter) -> Band | VisitorType | tuple[str, ...] | None:
    """What the filter told about the recording; None if that is known otherwise or unknown."""
    match name:
        case "frictionmin":
            return None if exact_friction(subject.recording) else subject.friction
        case "visitortype":
            return subject.visitor_type
        case "search":
            return subject.found_by
        case _:
            assert_never(name)


def _without_fact(subject: RecordingSubject, name: Filter) -> RecordingSubject:
    match name:
        case "frictionmin":
            exact = exact_friction(subject.recording)
            return msgspec.structs.replace(subject, friction=exact)
        case "visitortype":
            return msgspec.structs.replace(subject, visitor_type=None)
        case "search":
            return msgspec.structs.replace(subject, found_by=None)
        case _:
            assert_never(name)
