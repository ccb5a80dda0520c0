"""The recording rules of one website, prepared for evaluation."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import assert_never

import msgspec

from bot.domain.subjects import RecordingSubject, Site
from bot.fields.field import Field, Source, TextKind
from bot.fields.normal import folded
from bot.polling.filter_checks import Filter
from bot.polling.list_filters import askable, leaf_told
from bot.polling.server_facts import (
    TRACKER_TAGS,
    Question,
    named_tags,
    own_tags,
    without_tags,
)
from bot.polling.session import TAGS, own
from bot.rules.evaluate import Decision, RuleGroup, answer, field_of
from bot.rules.index import RuleIndex
from bot.rules.model import (
    All,
    AnyOf,
    Condition,
    Journey,
    Leaf,
    Not,
    OneItem,
    Rule,
    Test,
    applies,
    condition_id,
    leaves,
)
from bot.rules.needs import (
    asks_friction,
    asks_visitor_type,
    fires_early,
    grouped_by,
    likely,
    read_beside,
    searches,
    tells_visitor_type,
    thresholds,
)
from bot.rules.value_tests import Answer, both, either, opposite
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording


class OwnTagsHidden:
    """A rule group in which the bot's own tags count only for the rules that name them.

    `hidden` has, for each rule, the tags that it must not see.
    """

    def __init__(self, rules: Iterable[Rule], hidden: Mapping[str, frozenset[str]]) -> None:
        self.rules = tuple(rules)
        self._whole = RuleIndex(self.rules)
        self._tags = frozenset().union(*(hidden[rule.id] for rule in self.rules))
        self._place = {rule.id: place for place, rule in enumerate(self.rules)}
        alike: dict[frozenset[str], list[Rule]] = {}
        if self._tags:
            for rule in self.rules:
                alike.setdefault(hidden[rule.id], []).append(rule)
        self._parts = tuple((tags, RuleIndex(some)) for tags, some in alike.items())

    def sure(self, subject: RecordingSubject) -> tuple[Rule, ...]:
        """The rules that match whatever else may be learnt of the recording."""
        return self.decide(subject).sure

    def open(self, subject: RecordingSubject) -> tuple[Rule, ...]:
        """The rules whose answer depends on what is not known yet."""
        return self.decide(subject).open

    def decide(self, subject: RecordingSubject) -> Decision:
        """The sure and the open rules, evaluated once."""
        seen = (*subject.recording.tags, *subject.told_tags)
        if self._tags.isdisjoint(map(folded, seen)):
            return self._whole.decide(subject)
        found = [group.decide(_hiding(subject, tags)) for tags, group in self._parts]
        return Decision(
            sure=self._in_order(rule for each in found for rule in each.sure),
            open=self._in_order(rule for each in found for rule in each.open),
        )

    def sure_of_all(self, subjects: Iterable[RecordingSubject]) -> list[tuple[Rule, ...]]:
        """The sure rules of each of the recordings."""
        return [self.sure(subject) for subject in subjects]

    def _in_order(self, rules: Iterable[Rule]) -> tuple[Rule, ...]:
        return tuple(sorted(rules, key=lambda rule: self._place[rule.id]))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Traits:
    """What a recording rule reads, asks and sets, found once for all websites.

    `own` are the tags that it sets, `named` those that its condition spells out, `askable` the
    questions by which filters may decide it. `beside` and `grouped` are the fields that it reads
    beside its condition; `expandable`: a row with its page views has all that it reads;
    `beyond_pages`: it reads more of a detail than which pages were seen. `reads_marks` are the
    fields that people can change on a finished session, other than tags. `mark_question` asks for
    the sessions with the marks that it requires.
    """

    rule: Rule
    own: frozenset[str]
    named: frozenset[str]
    askable: frozenset[Question]
    early: bool
    thresholds: tuple[float, ...]
    asks_friction: bool
    asks_visitor_type: bool
    searches: tuple[str, ...]
    tells_visitor_type: bool
    beside: tuple[Field, ...]
    grouped: tuple[Field, ...]
    expandable: bool
    beyond_pages: bool
    reads_tags: bool
    reads_marks: frozenset[str]
    reads_session_tags: bool
    mark_question: SessionFilters | None

    @property
    def marked(self) -> bool:
        """Whether the rule reads anything that people can mark on a finished session."""
        return bool(self.reads_marks) or self.reads_session_tags


def traits_of(rule: Rule) -> Traits:
    """The traits of a rule about recordings."""
    read = tuple(_fields_read(rule))
    tests = tuple(leaves(rule.condition))
    return Traits(
        rule=rule,
        own=own_tags([rule]),
        named=named_tags([rule]),
        askable=askable(rule),
        early=fires_early(rule),
        thresholds=thresholds([rule]),
        asks_friction=asks_friction(rule),
        asks_visitor_type=asks_visitor_type(rule),
        searches=searches((rule,)),
        tells_visitor_type=tells_visitor_type(rule),
        beside=tuple(it for it in read_beside(rule) if it.source is not Source.SERVER),
        grouped=grouped_by(rule),
        expandable=not any(field.missing_from_expanded_lists for field in read),
        beyond_pages=any(
            field.text is TextKind.TAG
            or field.missing_from_expanded_lists
            or (field.source is Source.DETAIL and field.grows and field.numeric)
            for field in read
        ),
        reads_tags=any(field.text is TextKind.TAG for field in read),
        reads_marks=frozenset(
            field_of(leaf, "recordings").name for leaf in tests if _can_be_marked(leaf)
        ),
        reads_session_tags=any(_reads_tags(leaf) for leaf in tests),
        mark_question=_mark_question(rule),
    )


def _mark_question(rule: Rule) -> SessionFilters | None:
    """The filter that returns the sessions with a mark that the rule requires; None: none does."""
    about = likely(rule)
    tags = tuple(tag for tag in about.tags if tag not in TRACKER_TAGS)
    asked = SessionFilters(star=about.star or None, watched=about.watched or None, tags=tags)
    return None if asked == SessionFilters() else asked


class SiteRules:
    """The recording rules that watch this website. `everything` are the rules of all files,
    `earlier_tags` the tags that rules have set which are gone. `known` are traits of rules that
    have been found already, by the rule's id.

    `final` holds all of them, for settled sessions; `early` those whose condition stays true
    once it is true, so that they need not wait for the end. `ignored_tags` are tags that the
    bot sets and no rule names: they must not make rules match. A tag that only some rules name
    counts for those alone.

    `expandable`: a row with its page views holds all that a detail does, since no rule reads
    a field that such rows lack, as the region (L949). `reading_tags`: ids of the rules that read
    tags, of a session or its pages; `beyond_pages` of those and of the rules that read more of a
    detail than which pages were seen. `questions` may decide some rule. `asking`: ids of the rules
    that need a filter of the API to be decided; `telling_visitor_type` only in their texts.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        site: Site,
        everything: Iterable[Rule] | None = None,
        earlier_tags: Set[str] = frozenset(),
        known: Mapping[str, Traits] = MappingProxyType({}),
    ) -> None:
        def found(rule: Rule) -> Traits:
            before = known.get(rule.id)
            return before if before and before.rule is rule else traits_of(rule)

        rules = tuple(rules)
        self.traits = tuple(map(found, _watching(rules, site)))
        every = rules if everything is None else tuple(everything)
        own = own_tags(every) | earlier_tags
        self.own_tags = own
        around = self.traits if every is rules else map(found, _watching(every, site))
        self.ignored_tags = own.difference(*(it.named for it in around))
        named = own - self.ignored_tags
        hidden = {it.rule.id: named - it.named for it in self.traits}
        self.final: RuleGroup = rule_group((it.rule for it in self.traits), hidden)
        early = [it.rule for it in self.traits if it.early]
        all_early = len(early) == len(self.traits)
        self.early: RuleGroup = self.final if all_early else rule_group(early, hidden)
        self.thresholds_of = {it.rule.id: frozenset(it.thresholds) for it in self.traits}
        self.thresholds = tuple(sorted(frozenset().union(*self.thresholds_of.values())))
        self.asking: Mapping[Filter, frozenset[str]] = {
            "frictionmin": frozenset(it.rule.id for it in self.traits if it.asks_friction),
            "visitortype": frozenset(it.rule.id for it in self.traits if it.asks_visitor_type),
            "search": frozenset(it.rule.id for it in self.traits if it.searches),
        }
        self.searches = searches(it.rule for it in self.traits if it.searches)
        self.telling_visitor_type = frozenset(
            it.rule.id for it in self.traits if it.tells_visitor_type
        )
        self._by_id = {it.rule.id: it for it in self.traits}
        self.expandable = all(it.expandable for it in self.traits)
        self.reading_tags = frozenset(it.rule.id for it in self.traits if it.reads_tags)
        self.beyond_pages = frozenset(it.rule.id for it in self.traits if it.beyond_pages)
        self.questions = frozenset[Question]().union(*(it.askable for it in self.traits))
        self._named = named
        self.marked = tuple(it.rule for it in self.traits if it.marked)
        asked = (it.mark_question for it in self.traits if it.marked)
        self.mark_questions = frozenset(it for it in asked if it is not None)
        self._site, self._everything = site, every

    def get_ready(self) -> Iterator[None]:
        """Have the rules compiled, one group at a time; else the first question does that."""
        nobody = RecordingSubject(website=self._site, recording=Recording(id=""))
        for group in (self.final, self.early):
            group.decide(nobody)
            yield

    @cached_property
    def names(self) -> frozenset[str]:
        """The rules' ids and earlier ids."""
        return frozenset(name for it in self.traits for name in (it.rule.id, *it.rule.was))

    def not_among(self, names: Set[str]) -> frozenset[str]:
        """The ids of the rules that have, and had, none of these names."""
        return frozenset(
            it.rule.id for it in self.traits if names.isdisjoint((it.rule.id, *it.rule.was))
        )

    @cached_property
    def of_marked(self) -> "SiteRules":
        """Only the rules that read what people can mark on a finished session."""
        return self.marked_among(self.marked_by_id)

    def not_reading(self, names: Set[str]) -> frozenset[str]:
        """The ids of the rules that read none of these marks (see `session.marked_anew`)."""
        return frozenset(
            it.rule.id
            for it in self.traits
            if it.reads_marks.isdisjoint(names)
            and not (it.reads_session_tags and TAGS in names)
            and not any(own(tag) in names for tag in it.named)
        )

    @cached_property
    def marked_by_id(self) -> dict[str, str]:
        """The `condition_id` of each of them."""
        return {rule.id: condition_id(rule) for rule in self.marked}

    def marked_among(self, known: Mapping[str, str]) -> "SiteRules":
        """Those of them that are among these, whatever they do now."""
        rules = self._marked_in(known)
        return SiteRules(rules, self._site, self._everything, self.own_tags, self._by_id)

    def has_new_marked(self, known: Mapping[str, str]) -> bool:
        """Whether some rule that reads such marks, or its condition, is not among these."""
        return len(self._marked_in(known)) < len(self.marked)

    def _marked_in(self, known: Mapping[str, str]) -> list[Rule]:
        return [
            rule
            for rule in self.marked
            if any(known.get(it) == self.marked_by_id[rule.id] for it in (rule.id, *rule.was))
        ]

    def needing(self, filters: Iterable[Filter]) -> frozenset[str]:
        """The ids of the rules that need one of these filters."""
        return frozenset().union(*(self.asking[name] for name in filters))

    def askable(self, rule: Rule) -> frozenset[Question]:
        """The questions by which filters may decide the rule."""
        return self._by_id[rule.id].askable

    def verdict_told(
        self, rule: Rule, subject: RecordingSubject, told: Mapping[Question, bool], *, stale: bool
    ) -> Answer:
        """The rule's verdict if filters have told these answers about the recording.

        `stale`: what people can change on a finished session is not known.
        """
        seen = _hiding(subject, self._named - self._by_id[rule.id].named)

        def of_leaf(leaf: Leaf) -> Answer:
            return None if stale and _can_be_marked(leaf) else leaf_told(leaf, seen, told)

        return _verdict(rule.condition, of_leaf)

    def lacks(self, rule: Rule, subject: RecordingSubject) -> bool:
        """Whether a detail still tells something that a match of the rule reads."""
        return _unknown(self._by_id[rule.id].beside, subject)

    def lacks_group(self, rule: Rule, subject: RecordingSubject) -> bool:
        """Whether a detail still tells by what `once_per` or `count` group the recording."""
        return _unknown(self._by_id[rule.id].grouped, subject)

    def group(self, settled: bool) -> RuleGroup:
        """The rules to decide a session by."""
        return self.final if settled else self.early

    def hinging_on_marks(self, subject: RecordingSubject) -> list[Rule]:
        """The rules whose outcome depends on what people may have changed since the row was read.

        Stars, watched marks, variables and names change without any activity of the session.
        """

        def of_leaf(leaf: Leaf) -> Answer:
            return None if _can_be_marked(leaf) else answer(leaf, subject)

        return [
            it.rule
            for it in self.traits
            if it.reads_marks and _verdict(it.rule.condition, of_leaf) is None
        ]


def _hiding(subject: RecordingSubject, tags: frozenset[str]) -> RecordingSubject:
    """The recording without these tags."""
    return msgspec.structs.replace(
        subject,
        recording=without_tags(subject.recording, tags),
        told_tags=tuple(tag for tag in subject.told_tags if folded(tag) not in tags),
    )


def _unknown(fields: Iterable[Field], subject: RecordingSubject) -> bool:
    return any(it.known is not None and not it.known(subject) for it in fields)


def rule_group(rules: Iterable[Rule], hidden: Mapping[str, frozenset[str]]) -> RuleGroup:
    """The rules as a group; `hidden` are the tags that each of them must not see."""
    some = tuple(rules)
    if any(hidden[rule.id] for rule in some):
        return OwnTagsHidden(some, hidden)
    return RuleIndex(some)


def _watching(rules: Iterable[Rule], site: Site) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.watch == "recordings" and applies(rule, site))


def _can_be_marked(leaf: Leaf) -> bool:
    about = field_of(leaf, "recordings")
    return about.changes and about.source is Source.LIST


def _reads_tags(leaf: Leaf) -> bool:
    """Whether it reads the tags of the session; people can't tag single pages."""
    return isinstance(leaf, Test) and field_of(leaf, "recordings").text is TextKind.TAG


def _verdict(condition: Condition, of_leaf: Callable[[Leaf], Answer]) -> Answer:
    """The verdict if the leaves are answered like that."""
    match condition:
        case All(parts):
            return both(_verdict(part, of_leaf) for part in parts)
        case AnyOf(parts):
            return either(_verdict(part, of_leaf) for part in parts)
        case Not(part):
            return opposite(_verdict(part, of_leaf))
        case Test() | OneItem() | Journey():
            return of_leaf(condition)
        case _:
            assert_never(condition)


def _fields_read(rule: Rule) -> Iterator[Field]:
    """The fields that the rule reads; of an item its parts."""
    yield from read_beside(rule)
    for leaf in leaves(rule.condition):
        about = field_of(leaf, rule.watch)
        if isinstance(leaf, OneItem):
            yield from (about.part(test.field) for test in leaf.tests)
        else:
            yield about
