"""`RuleIndex`: the terms of all rules, the columns of their fields, and the loop over them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property, reduce
from operator import and_, attrgetter, or_
from typing import Any, NamedTuple, assert_never

from bot.domain.subjects import RecordingSubject, Site
from bot.fields.catalogue import field
from bot.rules.evaluate import Decision, RuleList, field_of, rule_answer
from bot.rules.index.columns import column, has_table, plain_column
from bot.rules.index.tables import Column, Lookup, Mask, Memo, length, weight
from bot.rules.model import All, AnyOf, Condition, Journey, Leaf, Not, OneItem, Rule, Test, applies

Literal = tuple[Leaf, bool]
"""A test, and whether it must be met (True) or not."""

Term = frozenset[Literal]
"""Literals that must all be as they say; the empty term is true."""


def terms(condition: Condition, limit: int) -> frozenset[Term] | None:
    """The terms of which at least one must be true; None if they would be more than `limit`."""
    try:
        return _terms(condition, True, limit)
    except _TooMany:
        return None


class _TooMany(Exception):
    pass


def _terms(condition: Condition, wanted: bool, limit: int) -> frozenset[Term]:
    match condition:
        case Not(part):
            return _terms(part, not wanted, limit)
        case All(parts):
            return _joined_terms(parts, wanted, limit, every=wanted)
        case AnyOf(parts):
            return _joined_terms(parts, wanted, limit, every=not wanted)
        case Test() | OneItem() | Journey():
            return frozenset([frozenset([(condition, wanted)])])
        case _:
            assert_never(condition)


def _joined_terms(
    parts: tuple[Condition, ...], wanted: bool, limit: int, *, every: bool
) -> frozenset[Term]:
    """The terms of parts of which every one must be as wanted, or one."""
    found: frozenset[Term] = frozenset([frozenset()]) if every else frozenset()
    for part in parts:
        more = _terms(part, wanted, limit)
        found = frozenset(a | b for a in found for b in more) if every else found | more
        if len(found) > limit:
            raise _TooMany
    return found


MANY = 12
"""A step that more terms than this hang on is always taken: some term left will need it."""


class _Step(NamedTuple):
    """One mask, the terms that hang on it, whether it goes through the page views, whether its
    field has few values, and whether it is computed anew each time."""

    terms: int
    mask: Mask
    slow: bool = False
    few: bool = False
    computed: bool = False

    def rank(self) -> tuple[bool, bool, int]:
        """Its place among the steps: cheap ones first, then those likely to refute most. Of many
        values one leaves fewer terms than of few."""
        likely = -self.terms.bit_count() * (1 if self.few else 2)
        return self.slow, self.computed, likely


class _Loop(NamedTuple):
    """The order of work: the terms to begin with, the steps that are always taken, and those
    taken only while a term is left that hangs on them."""

    start: int
    always: tuple[Mask, ...]
    conditional: tuple[tuple[int, Mask], ...]


def decide_loop(columns: Sequence[Column], everything: int) -> Mask:
    """From a recording to the terms that no column may refute."""
    bare = _loop([(it, it.sure if it.bare is None else it.bare) for it in columns], everything)
    full = _loop([(it, it.sure) for it in columns], everything)

    def left_terms(subject: RecordingSubject) -> int:
        recording = subject.recording
        is_bare = recording.page_views is None and recording.entry_page
        left, always, conditional = bare if is_bare else full
        for mask in always:
            left &= mask(subject)
        for those, mask in conditional:
            if left & those:
                left &= mask(subject)
        return left

    return left_terms


def _loop(columns: Iterable[tuple[Column, Mask | Lookup | int]], everything: int) -> _Loop:
    """The loop over these columns, each with the mask that serves here."""
    start = everything
    lookups: list[tuple[Column, Lookup]] = []
    masks: list[tuple[Column, Mask]] = []
    for each, mask in columns:
        start &= each.reach
        if isinstance(mask, int):
            start &= mask
        elif isinstance(mask, Lookup):
            lookups.append((each, mask))
        else:
            masks.append((each, mask))
    steps = [_Step(it.terms & start, mask, it.slow, computed=True) for it, mask in masks]
    steps += _joined([(it.terms & start, lookup) for it, lookup in lookups if it.terms & start])
    steps.sort(key=_Step.rank)
    return _Loop(
        start=start,
        always=tuple(it.mask for it in steps if it.terms.bit_count() > MANY),
        conditional=tuple((it.terms, it.mask) for it in steps if 0 < it.terms.bit_count() <= MANY),
    )


def _joined(lookups: Sequence[tuple[int, Lookup]]) -> list[_Step]:
    """One step for each attribute; and one for all that have few values, if it is always taken."""
    few = reduce(or_, (terms for terms, lookup in lookups if lookup.few), 0)
    join_few = few.bit_count() > MANY
    groups: dict[str, list[tuple[int, Lookup]]] = defaultdict(list)
    for mask, lookup in lookups:
        groups["" if join_few and lookup.few else lookup.attribute].append((mask, lookup))
    return [
        _Step(
            terms=reduce(or_, (terms for terms, _ in group)),
            mask=_look_up([lookup for _, lookup in group]),
            few=group[0][1].few,
        )
        for group in groups.values()
    ]


def _look_up(lookups: Sequence[Lookup]) -> Mask:
    """One look-up in place of these, which are about one attribute, or about few values each."""
    names = [it.attribute for it in lookups]
    tables = [it.table for it in lookups]

    def of_one(value: Any) -> int:
        return reduce(and_, (table[value] for table in tables))

    def of_several(values: Sequence[Any]) -> int:
        pairs = zip(tables, values, strict=True)
        return reduce(and_, (table[value] for table, value in pairs))

    if len(tables) == 1:
        table, fetch = tables[0], attrgetter(names[0])
    elif len(set(names)) == 1:
        table, fetch = Memo(of_one, length), attrgetter(names[0])
    else:
        table = Memo(of_several, lambda values: sum(map(weight, values)))
        fetch = attrgetter(*names)
    return lambda subject: table[fetch(subject.recording)]


MOST_TERMS = 64
"""A rule that would need more terms is decided by the tree walk instead."""

FEW = 128
"""Of no more rules than this the sets that match come again and again, and are kept in a table."""


class RuleIndex:
    """Decides all recording rules of a website at once; the package explains how.

    Compiled at the first question. The tables fill as recordings pass and are bounded in size.
    Not for several threads.
    """

    def __init__(self, rules: Iterable[Rule], most_terms: int = MOST_TERMS) -> None:
        self.rules = tuple(rules)
        self._most_terms = most_terms

    def sure(self, subject: RecordingSubject) -> tuple[Rule, ...]:
        """The rules that match whatever else may be learnt of the recording."""
        return self.sure_of_all((subject,))[0]

    def open(self, subject: RecordingSubject) -> tuple[Rule, ...]:
        """The rules whose answer depends on what is not known yet."""
        return self.decide(subject).open

    def decide(self, subject: RecordingSubject) -> Decision:
        """The sure and the open rules, evaluated once."""
        odd = bool(subject.recording.bad_values)
        return self._walk.decide(subject) if odd else self._compiled.decide(subject)

    def sure_of_all(self, subjects: Iterable[RecordingSubject]) -> list[tuple[Rule, ...]]:
        """The sure rules of each of the recordings."""
        subjects = tuple(subjects)
        found = self._compiled.sure_of_all(subjects)
        for place, subject in enumerate(subjects):
            if subject.recording.bad_values:  # rare: the tables know no value that can't be read
                found[place] = self._walk.sure(subject)
        return found

    @cached_property
    def _walk(self) -> RuleList:
        return RuleList(self.rules)

    @cached_property
    def _compiled(self) -> "_Compiled":
        return _Compiled(self.rules, self._most_terms)


_NONE = Decision((), ())


class _Compiled:
    """Rules as terms and columns. In a set of rules, bit n is rule n of `_order`."""

    def __init__(self, rules: tuple[Rule, ...], most_terms: int) -> None:
        self._rules = rules
        split = {
            index: terms(rule.condition, most_terms)
            for index, rule in enumerate(rules)
            if rule.watch == "recordings"
        }
        fast = {index: tuple(found) for index, found in split.items() if found is not None}
        slow = [index for index, found in split.items() if found is None]
        # The first terms of all rules come first, then the second ones: a rule's terms are
        # folded into one bit with a shift per plane. Rules with most terms lead, so that every
        # plane is a prefix of the one before.
        self._order = [*sorted(fast, key=lambda index: -len(fast[index])), *slow]
        self._single = [1 << place for place in range(len(self._order))]
        self._slow = [(rules[index], 1 << len(fast) + n) for n, index in enumerate(slow)]
        self._planes: list[tuple[int, int]] = []
        flat: list[tuple[int, Term]] = []
        for depth in range(max(map(len, fast.values()), default=0)):
            plane = [
                (index, fast[index][depth])
                for index in self._order[: len(fast)]
                if len(fast[index]) > depth
            ]
            self._planes.append((len(flat), (1 << len(plane)) - 1))
            flat += plane
        everything = (1 << len(flat)) - 1
        # Which terms are for which website; no table where all rules watch every one.
        everywhere = not any(rules[index].websites for index in fast)
        self._sites = None if everywhere else self._site_table(flat)
        few = len(self._order) <= FEW
        self._named = Memo(self._in_order).__getitem__ if few else self._in_order
        self._with_terms = Memo(self._rules_with).__getitem__ if few else self._rules_with
        columns = _columns(flat, everything)
        self._sure = decide_loop(columns, everything)
        self._always_known = decide_loop([it for it in columns if it.masks is None], everything)
        ranked = sorted(columns, key=lambda it: (it.slow, -it.terms.bit_count()))
        self._maybe_unknown = [(it.terms, it.masks) for it in ranked if it.masks is not None]

    def _site_table(self, flat: Sequence[tuple[int, Term]]) -> Memo[Site, int]:
        by_rule: dict[int, int] = defaultdict(int)
        for bit, (index, _) in enumerate(flat):
            by_rule[index] |= 1 << bit

        def work(site: Site) -> int:
            return sum(bits for index, bits in by_rule.items() if applies(self._rules[index], site))

        return Memo(work)

    def sure_of_all(self, subjects: Sequence[RecordingSubject]) -> list[tuple[Rule, ...]]:
        if self._slow:
            return [self.decide(subject).sure for subject in subjects]
        sure, sites, with_terms = self._sure, self._sites, self._with_terms
        if sites is None:
            return [with_terms(sure(subject)) for subject in subjects]
        return [with_terms(sure(subject) & sites[subject.website]) for subject in subjects]

    def decide(self, subject: RecordingSubject) -> Decision:
        sure = self._always_known(subject)
        if self._sites is not None:
            sure &= self._sites[subject.website]
        possible = sure
        for those, masks in self._maybe_unknown:
            if possible & those:
                now, later = masks(subject)
                sure &= now
                possible &= later
        if not possible and not self._slow:
            return _NONE  # so it is with most recordings
        certain = self._folded(sure)
        hopeful = self._folded(possible)
        for rule, bit in self._slow:
            answer = rule_answer(rule, subject)
            certain |= bit if answer is True else 0
            hopeful |= 0 if answer is False else bit
        return Decision(self._named(certain), self._named(hopeful & ~certain))

    def _folded(self, terms: int) -> int:
        """The rules of which at least one term is among these."""
        found = 0
        for shift, plane in self._planes:
            found |= terms >> shift & plane
        return found

    def _in_order(self, some: int) -> tuple[Rule, ...]:
        """The rules of a set, in the order given."""
        order, single = self._order, self._single
        indexes: list[int] = []
        while some:
            place = some.bit_length() - 1
            indexes.append(order[place])
            some ^= single[place]
        indexes.sort()
        return tuple(map(self._rules.__getitem__, indexes))

    def _rules_with(self, terms: int) -> tuple[Rule, ...]:
        return self._in_order(self._folded(terms))


def _columns(flat: Sequence[tuple[int, Term]], everything: int) -> list[Column]:
    """The columns of each field that the terms speak of: tests with tables, and without."""
    wants: dict[Leaf, list[int]] = defaultdict(lambda: [0, 0])
    for bit, (_, term) in enumerate(flat):
        for leaf, wanted in term:
            wants[leaf][0 if wanted else 1] |= 1 << bit
    columns: dict[tuple[str, bool], dict[Leaf, tuple[int, int]]] = defaultdict(dict)
    for leaf, (yes, no) in wants.items():
        about = field_of(leaf, "recordings")
        columns[about.name, has_table(leaf, about)][leaf] = yes, no
    return [
        (column if tables else plain_column)(field("recordings", name), leaves, everything)
        for (name, tables), leaves in columns.items()
    ]
