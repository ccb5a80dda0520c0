"""The recording rules of one website, prepared for evaluation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import assert_never

from bot.domain.subjects import RecordingSubject, Site
from bot.polling.server_facts import named_tags, own_tags, required_tags
from bot.rules.evaluate import answer, field_of, whole
from bot.rules.implication import leaves
from bot.rules.index.decider import Decider
from bot.rules.model import All, AnyOf, Condition, Journey, Not, OneItem, Rule, Test
from bot.rules.needs import asks_friction, asks_visitor_type, fires_early, thresholds
from bot.rules.operators import Answer, both, either
from bot.rules.plan_steps import applies


@dataclass(frozen=True)
class RuleGroup:
    """Some rules and the one decision over all of them."""

    rules: tuple[Rule, ...]

    @cached_property
    def decider(self) -> Decider:
        return Decider(self.rules)

    def sure(self, subject: RecordingSubject) -> list[Rule]:
        """The rules that match whatever else becomes known."""
        return [self.rules[index] for index in self.decider.candidates(subject).sure]

    def undecided(self, subject: RecordingSubject) -> list[Rule]:
        """The rules that still depend on a fact of the server or on the detail."""
        return [self.rules[index] for index in self.decider.candidates(subject).open]

    def may_match(self, subject: RecordingSubject) -> bool:
        """Whether some rule matches or may still match."""
        return any(self.decider.candidates(subject))


class SiteRules:
    """The recording rules that watch this website. `everything` are the rules of all files.

    `final` holds all of them, for settled sessions; `early` those whose condition stays true
    once it is true, so that they need not wait for the end. `ignored_tags` are tags that the
    bot sets and no rule names: they must not make rules match.

    `expandable`: a row with its page views holds all that a detail does, since no rule reads
    the region, which rows lack (L949). `reading_tags`: ids of the rules that read tags, of a
    session or its pages. `asking_friction`, `asking_visitor`: ids of the rules that depend on
    such a fact.
    """

    def __init__(
        self, rules: Iterable[Rule], site: Site, everything: Iterable[Rule] | None = None
    ) -> None:
        rules = tuple(rules)
        watching = _watching(rules, site)
        every = rules if everything is None else tuple(everything)
        self.final = RuleGroup(watching)
        self.early = RuleGroup(tuple(rule for rule in watching if fires_early(rule)))
        self.thresholds = thresholds(watching)
        self.thresholds_of = {rule.id: frozenset(thresholds([rule])) for rule in watching}
        self.asking_friction = frozenset(rule.id for rule in watching if asks_friction(rule))
        self.asking_visitor = frozenset(rule.id for rule in watching if asks_visitor_type(rule))
        tests = [(rule.id, test.field) for rule in watching for test in _tests(rule)]
        self.expandable = all(field != "region" for _rule, field in tests)
        self.reading_tags = frozenset(rule for rule, field in tests if field == "tags")
        self.ignored_tags = own_tags(every) - named_tags(_watching(every, site))
        self.required_tags = {rule.id: required_tags(rule) for rule in watching}
        self._reading_marks = tuple(
            rule for rule in watching if any(_can_be_marked(leaf) for leaf in leaves(whole(rule)))
        )

    def group(self, settled: bool) -> RuleGroup:
        """The rules to decide a session by."""
        return self.final if settled else self.early

    def hinging_on_marks(self, subject: RecordingSubject) -> list[Rule]:
        """The rules whose outcome depends on what people may have changed since the row was read.

        Stars, watched marks, variables and names change without any activity of the session.
        """
        return [
            rule for rule in self._reading_marks if _verdict_unmarked(whole(rule), subject) is None
        ]


def _watching(rules: Iterable[Rule], site: Site) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.watch == "recordings" and applies(rule, site))


def _can_be_marked(leaf: Test | OneItem | Journey) -> bool:
    about = field_of(leaf, "recordings")
    return about.changes and about.source == "row"


def _verdict_unmarked(condition: Condition, subject: RecordingSubject) -> Answer:
    """The verdict if nothing were known of what people can change on a finished session."""
    match condition:
        case All(parts):
            return both(_verdict_unmarked(part, subject) for part in parts)
        case AnyOf(parts):
            return either(_verdict_unmarked(part, subject) for part in parts)
        case Not(part):
            inner = _verdict_unmarked(part, subject)
            return None if inner is None else not inner
        case Test() | OneItem() | Journey():
            return None if _can_be_marked(condition) else answer(condition, subject)
        case _:
            assert_never(condition)


def _tests(rule: Rule) -> Iterator[Test]:
    for leaf in leaves(whole(rule)):
        match leaf:
            case Test():
                yield leaf
            case OneItem(tests=tests):
                yield from tests
            case Journey():
                pass
            case _:
                assert_never(leaf)
