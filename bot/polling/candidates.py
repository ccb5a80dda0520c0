"""What an evaluation is given, the candidates among it, and what it returns."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.errors import BotError
from bot.polling.filter_checks import FilterChecks
from bot.polling.list_filters import Filters, untried
from bot.polling.page_views import Expansion
from bot.polling.server_facts import ServerFacts, VisitorType, without_tags
from bot.polling.site_rules import SiteRules
from bot.ports import Mouseflow
from bot.rules.model import Rule
from mouseflow import Request
from mouseflow.filters import SessionFilters
from mouseflow.models import PageView, Recording

T = TypeVar("T")


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


class Costs(Counter[str]):
    """For each rule, by its id, the calls that it had a part in."""

    def charge(self, rules: Iterable[Sequence[Rule]], calls: int) -> None:
        """Add these calls to every one of the rules."""
        for name in {rule.id for some in rules for rule in some}:
            self[name] += calls


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
        exact = exact_friction(row)
        return RecordingSubject(
            website=self.site,
            recording=without_tags(row, self.rules.ignored_tags),
            zone=self.zone,
            friction=friction if exact is None else exact,
            visitor_type=visitor_type,
            found_by=found_by,
        )


def exact_friction(row: Recording) -> Band | None:
    """The friction that the row itself tells, which the API document does not promise."""
    exact = row.friction if row.friction is not None else row.friction_score
    return None if exact is None else Band.exactly(exact)


def without_page_views(subject: RecordingSubject) -> RecordingSubject:
    bare = msgspec.structs.replace(subject.recording, page_views=None)
    return msgspec.structs.replace(subject, recording=bare)
