"""Filtered lists in place of details: what they tell in one evaluation, and whether they may.

An answer counts while its filter is proved to work; now and then one is compared with a detail.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import structlog
from msgspec.structs import replace

from bot.domain.subjects import RecordingSubject
from bot.errors import GiveUp, TryLater
from bot.polling.candidates import Costs, Scope, without_page_views
from bot.polling.decisions import Decisions
from bot.polling.filter_checks import concerns_all
from bot.polling.list_filters import Filters, is_answered, probe, still_works
from bot.polling.server_facts import ListFilterName, Question
from bot.rules.model import Rule
from mouseflow.models import Recording

log = structlog.get_logger(__name__)


class ListAnswers:
    """What filtered lists have told about the recordings of one evaluation.

    `filters` is what is known of the filters by now, `by_id` what they told of each recording,
    `verdicts` what follows for a recording and a rule, by their ids.
    """

    def __init__(self, scope: Scope, decisions: Decisions, filters: Filters, costs: Costs) -> None:
        self.filters = filters
        self.by_id: dict[str, Mapping[Question, bool]] = {}
        self.verdicts: dict[tuple[str, str], bool] = {}
        self._scope, self._rules, self._now = scope, scope.rules, scope.now
        self._decisions, self._costs = decisions, costs

    async def needing_detail(
        self, subjects: Mapping[str, RecordingSubject], wanted: Mapping[str, Sequence[Rule]]
    ) -> list[RecordingSubject]:
        """The recordings whose detail is needed after filters have told what they can."""
        told = await self._told_by_filters(subjects, wanted)
        self.by_id |= told
        for key, answers in told.items():
            for rule in wanted[key]:
                said = self._verdict(rule, subjects[key], answers)
                # Messages show the pages of a recording, so its detail is read for them.
                posts = rule.too_few is None and any(action.posts for action in rule.do)
                if said is False or (said and not posts):
                    self.verdicts[key, rule.id] = said
        spared = wanted.keys() - self.untold(wanted, subjects).keys()
        return [subjects[key] for key in wanted if key not in spared - self._to_compare(spared)]

    def untold(
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
        said = self.verdicts.get((subject.key, rule.id))
        return said is not None and not (said and self._decisions.lacks(rule, subject))

    def _verdict(
        self, rule: Rule, subject: RecordingSubject, told: Mapping[Question, bool]
    ) -> bool | None:
        return self._rules.verdict_told(
            rule, self._without_old_views(subject), told, stale=subject.key in self._decisions.stale
        )

    def _without_old_views(self, subject: RecordingSubject) -> RecordingSubject:
        """The recording without the page views of an earlier detail: their tags may be old."""
        return without_page_views(subject) if subject.key in self._decisions.kept else subject

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
            subject = self._without_old_views(subjects[key])
            if all(
                self._verdict(it, subject, dict.fromkeys(askable(it), False)) is not None
                for it in rules
            ):
                spared += 1
                for question in {each for it in rules for each in askable(it)}:
                    if not is_answered(question, subject):
                        asked.setdefault(question, []).append(key)
        depths = {it: self.filters[it.name].depths.get(it.value, 0) for it in asked}
        if spared <= sum(map(facts.calls_for, asked)):
            return {}  # the details themselves are no more calls
        found: dict[str, dict[Question, bool]] = {}
        counts: dict[ListFilterName, list[int]] = {}
        for question in sorted(asked):
            keys, before, (name, value) = asked[question], client.calls, question
            known = self.filters[name]
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
            self.filters = {**self.filters, name: known}
            self._costs.charge(
                ([it for it in wanted[key] if question in askable(it)] for key in keys),
                client.calls - before,
            )
        before = client.calls
        proved = await self._proved(found, counts, subjects, wanted)
        self._costs.charge((wanted[key] for key in found), client.calls - before)
        return proved

    async def _proved(
        self,
        told: Mapping[str, Mapping[Question, bool]],
        counts: Mapping[ListFilterName, Sequence[int]],
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
        works: dict[ListFilterName, bool | None] = {}
        for name, some in counts.items():
            known = self.filters[name]
            if any(0 < count < scope.total for count in some):
                works[name] = True
            elif known.proof_is_due(self._now, matters=name in depended):
                unlisted = self._decisions.unlisted
                rows = [it.recording for it in subjects.values() if it.key not in unlisted]
                works[name] = await still_works(
                    scope.mouseflow, scope.site.id, window, name, rows, any(some)
                )
            if works.get(name):
                known = replace(known, honoured=self._now)
            elif works.get(name, True) is False:
                known = known.failed("", self._now)
                log.warning("poll.filter_broken", website=scope.site.name, filter=name.value)
            self.filters = {**self.filters, name: known}

        def counts_for(key: str, name: ListFilterName) -> bool:
            how = works.get(name, True)
            return key not in matching if how is None else how

        return {
            key: {it: said for it, said in answers.items() if counts_for(key, it.name)}
            for key, answers in told.items()
        }

    def _to_compare(self, spared: Iterable[str]) -> set[str]:
        """Finished recordings whose details are read all the same, where a comparison is due."""
        some = [key for key in sorted(spared) if key in self._decisions.settled]
        found: set[str] = set()
        for name, known in self.filters.items():
            if known.check_is_due(self._now):
                told = (key for key in some if any(it.name is name for it in self.by_id[key]))
                found.update(islice(told, 1))
        return found

    def compare(self, details: Mapping[str, Recording]) -> bool:
        """Compare what filters told about finished sessions with their details.

        Returns whether some filter was wrong: then nothing that it told of others counts.
        """
        wrong: set[ListFilterName] = set()
        for key in details.keys() & self.by_id.keys() & self._decisions.settled:
            if details[key].page_views is None:
                continue
            subject = self._scope.subject_of(details[key], None)
            for question, said in self.by_id[key].items():
                name, value = question
                known = replace(self.filters[name], checked=self._now)
                if said is not is_answered(question, subject):
                    known = known.failed(value, self._now)
                    if name is ListFilterName.PAGES:  # a tag may just have been set
                        known = replace(known, otherwise=known.otherwise | {value})
                    wrong.add(name)
                    log.warning("poll.filter_contradicted", website=self._scope.site.name,
                                filter=name.value, recording=key)  # fmt: skip
                self.filters = {**self.filters, name: known}
        for key, answers in self.by_id.items():
            if not wrong.isdisjoint(it.name for it in answers):
                self.by_id[key] = {}
                self.verdicts = {it: said for it, said in self.verdicts.items() if it[0] != key}
        return bool(wrong)
