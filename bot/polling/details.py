"""Fetches the details on which some rule still depends.

Page views of the list and filtered lists spare most of them: they are asked first.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from bot.domain.subjects import RecordingSubject
from bot.errors import BadCredentials, BotError, GiveUp, Gone, TryLater
from bot.polling.candidates import Candidate, Costs, Knowledge, Scope, without_page_views
from bot.polling.decisions import Decisions
from bot.polling.list_answers import ListAnswers
from bot.polling.list_filters import learn
from bot.polling.page_views import ExpandedLists
from bot.ports import Mouseflow
from bot.rules.model import Rule
from mouseflow import recordings
from mouseflow.models import Recording

T = TypeVar("T")

FIRST = 8
"""Details of the first batch. Each may show a way to need fewer; each batch is twice as large."""

FEW = 3
"""If this many details all fail, treat the endpoint as down, not the recordings as odd."""


class Details:
    """The details of one evaluation, and the lists that are read in their place.

    `expansion` is what is known of lists with page views by now, `answers` what filtered lists
    told. `requested` counts the details; `outage` and `failure` are those of `Result`. `any_read`:
    at least one detail could be read.
    """

    def __init__(
        self, knowledge: Knowledge, scope: Scope, decisions: Decisions, costs: Costs
    ) -> None:
        self.expansion = knowledge.expansion
        self.answers = ListAnswers(scope, decisions, knowledge.lists, costs)
        self.requested = 0
        self.outage: BotError | None = None
        self.failure: BotError | None = None
        self.any_read = False
        self._scope, self._rules, self._now = scope, scope.rules, scope.now
        self._decisions, self._costs = decisions, costs
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

    def rules_needing(self, candidate: Candidate, subject: RecordingSubject) -> list[Rule]:
        """The rules for which the candidate's detail is worth a call."""
        rules = self._decisions.undecided(subject, candidate.settled)
        sure = self._decisions.sure(subject, candidate.settled)
        lacking = [rule for rule in sure if self._decisions.lacks(rule, subject)]
        if candidate.unchanged(subject.friction):
            # Pages may have got tags meanwhile, but a detail would cost too much to see that.
            readers = self._rules.reading_tags
            worth = self.expansion.trusted(self._now) and any(it.id in readers for it in rules)
            return [*lacking, *(rules if worth else ())]
        rules = [*rules, *lacking]
        if candidate.stale and candidate.settled:
            marked = self._decisions.in_play(subject.key, self._rules.hinging_on_marks(subject))
            rules += [rule for rule in marked if rule not in rules]
        return rules

    def spared_by_list(self, candidate: Candidate, subject: RecordingSubject) -> bool:
        """Whether page views of the list made a detail unnecessary."""
        if subject.recording.page_views is None or subject.key in self._decisions.kept:
            return False
        return bool(self._decisions.undecided(without_page_views(subject), candidate.settled))

    async def fetch(
        self, subjects: Mapping[str, RecordingSubject], wanted: Mapping[str, Sequence[Rule]]
    ) -> tuple[dict[str, Recording | BotError], frozenset[str]]:
        """The details that some rule still depends on, and the ids that could not be had.

        They are fetched a few at first, then more at a time: any of them may show that one call
        returns the page views of many, that the tag filter covers pages, or that all fail.
        """
        found: dict[str, Recording | BotError] = dict(await self._checked(wanted))
        needed = await self.answers.needing_detail(subjects, _without(wanted, found))
        batch = FIRST
        failed: dict[str, BotError] = {}
        while needed:
            details = await self._fetch(needed[:batch])
            found |= details
            self._costs.update(rule.id for key in details for rule in wanted[key])
            batch *= 2
            failed |= {
                key: it
                for key, it in details.items()
                if isinstance(it, BotError)
                and not (isinstance(it, Gone) and key in self._decisions.unlisted)
            }
            rest = _without({each.key: wanted[each.key] for each in needed}, found)
            if len(failed) == self.requested >= FEW and not await self._others_are_read(failed):
                self.outage = next(iter(failed.values()))
                return found, frozenset({*failed, *rest})
            had = {key: it for key, it in details.items() if isinstance(it, Recording)}
            for key, detail in had.items():
                self.answers.filters = learn(
                    self.answers.filters, subjects[key].recording, detail, self._rules.questions
                )
            if self.answers.compare(had):
                rest = self.answers.untold(_without(wanted, found), subjects)
            before = self.expansion.trusted(self._now)
            self.expansion = await self._lists.compare(had, self.expansion)
            if self.expansion.trusted(self._now) and not before:
                found |= await self._expanded(rest)
                rest = _without(rest, found)
            learnt = any(it.witness is not None for it in self.answers.filters.values())
            needed = (
                await self.answers.needing_detail(subjects, rest)
                if learnt
                else [subjects[k] for k in rest]
            )
        bare = {k for k, it in found.items() if isinstance(it, Recording) and it.page_views is None}
        return found, frozenset({*failed, *bare})

    async def spot_checked(
        self, candidates: Sequence[Candidate], subjects: dict[str, RecordingSubject]
    ) -> dict[str, RecordingSubject]:
        """The subjects without the page views of their rows, if these are wrong."""
        if self.expansion.check_is_due(self._now):
            used = (it for it in candidates if self.spared_by_list(it, subjects[it.row.id]))
            one = next(used, None)
            if one is not None and not await self._agrees(one.row):
                return {key: without_page_views(subject) for key, subject in subjects.items()}
        return subjects

    async def _checked(self, wanted: Mapping[str, Sequence[Rule]]) -> dict[str, Recording]:
        """Rows with the page views of the wanted recordings, unless they are wrong."""
        found = await self._expanded(wanted)
        if found and self.expansion.check_is_due(self._now):
            row = next(iter(found.values()))
            if not await self._agrees(row):
                return {}
        return found

    async def _agrees(self, row: Recording) -> bool:
        """Compare a row that is used with its detail; false if expanded rows are wrong."""
        detail = await self._detail(row.id)
        if isinstance(detail, Recording):
            self.expansion = self.expansion.compared(
                [row], {row.id: detail}, bool(self._rules.reading_tags), self._now
            )
        return self.expansion.trusted(self._now)

    async def _expanded(self, wanted: Mapping[str, Sequence[Rule]]) -> dict[str, Recording]:
        before = self._scope.mouseflow.calls
        found, self.expansion = await self._lists.page_views(wanted, self.expansion)
        if found:
            self._costs.charge((wanted[key] for key in found), self._scope.mouseflow.calls - before)
        return found

    async def _fetch(self, subjects: Sequence[RecordingSubject]) -> dict[str, Recording | BotError]:
        self.requested += len(subjects)
        details = await asyncio.gather(*(self._detail(it.key) for it in subjects))
        return {subject.key: detail for subject, detail in zip(subjects, details, strict=True)}

    async def _detail(self, key: str) -> Recording | BotError:
        request = recordings.detail(self._scope.site.id, key)
        try:
            detail = await self._scope.mouseflow.send(request)
        except BadCredentials:
            raise
        except (GiveUp, TryLater) as error:
            self.failure = self.failure or error
            return error  # it concerns this recording alone
        self.any_read = True
        return detail

    async def _others_are_read(self, failed: Collection[str]) -> bool:
        """Whether a detail can be read, as those of a few other recordings tell."""
        for key in islice((key for key in self._scope.others if key not in failed), FEW):
            self.any_read = self.any_read or isinstance(await self._detail(key), Recording)
        return self.any_read


async def detail_is_read(mouseflow: Mouseflow, website: str, key: str) -> bool:
    """Whether that recording's detail can be read now, or is gone. Raises BadCredentials."""
    try:
        await mouseflow.send(recordings.detail(website, key))
    except BadCredentials:
        raise
    except (GiveUp, TryLater):
        return False
    return True


def _without(wanted: Mapping[str, T], found: Mapping[str, object]) -> dict[str, T]:
    return {key: rules for key, rules in wanted.items() if key not in found}
