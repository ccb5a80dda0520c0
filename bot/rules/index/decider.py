"""One decision for a whole rule set: work per recording goes by its fields, hardly by the rules.

Every rule becomes a choice of terms; every term is one bit. For each field a table gives the
mask of the terms that this recording's value does not refute, and the terms that all masks
leave standing are true. Nothing is generated or executed from text.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import and_, attrgetter, or_
from typing import Any, NamedTuple

from bot.domain.subjects import RecordingSubject, Site, Subject
from bot.rules import evaluate
from bot.rules.evaluate import Past, field_of, no_past, whole
from bot.rules.index.columns import column
from bot.rules.index.tables import Column, Lookup, Mask, Memo, length, ones, weight
from bot.rules.index.terms import Leaf, Term, terms
from bot.rules.model import Rule
from bot.rules.plan_steps import applies

MANY = 12
"""A step that more terms than this hang on is always taken: some term left will want it."""


class _Step(NamedTuple):
    """One mask, the terms that hang on it, whether it goes through the page views, and whether
    it tells few values apart."""

    terms: int
    mask: Mask
    slow: bool = False
    few: bool = False

    def rank(self) -> tuple[bool, int]:
        """Its place among the steps: cheap ones first, then those likely to refute most. Of many
        values one leaves fewer terms than of few."""
        return self.slow, -self.terms.bit_count() * (1 if self.few else 2)


class _Way(NamedTuple):
    """The order of work: the terms to begin with, the steps that are always taken, and those
    taken only while a term is left that hangs on them."""

    start: int
    always: tuple[Mask, ...]
    wanted: tuple[tuple[int, Mask], ...]


def walk(columns: Sequence[Column], everything: int) -> Mask:
    """From a recording to the terms that no column refutes."""
    bare = _way([(it, it.mask if it.bare is None else it.bare) for it in columns], everything)
    full = _way([(it, it.mask) for it in columns], everything)

    def terms(subject: RecordingSubject) -> int:
        recording = subject.recording
        is_bare = recording.page_views is None and recording.entry_page
        left, always, wanted = bare if is_bare else full
        for mask in always:
            left &= mask(subject)
        for those, mask in wanted:
            if left & those:
                left &= mask(subject)
        return left

    return terms


def _way(columns: Iterable[tuple[Column, Mask | Lookup | int]], everything: int) -> _Way:
    """The way through these columns, each with the mask that serves here."""
    start = everything
    looks: list[tuple[Column, Lookup]] = []
    masks: list[tuple[Column, Mask]] = []
    for each, mask in columns:
        start &= each.reach
        if isinstance(mask, int):
            start &= mask
        elif isinstance(mask, Lookup):
            looks.append((each, mask))
        else:
            masks.append((each, mask))
    steps = [_Step(it.terms & start, mask, it.slow) for it, mask in masks]
    steps += _looks([(it.terms & start, look) for it, look in looks if it.terms & start])
    steps.sort(key=_Step.rank)
    return _Way(
        start=start,
        always=tuple(it.mask for it in steps if it.terms.bit_count() > MANY),
        wanted=tuple((it.terms, it.mask) for it in steps if 0 < it.terms.bit_count() <= MANY),
    )


def _looks(looks: Sequence[tuple[int, Lookup]]) -> Iterator[_Step]:
    """One step for each attribute; and one for all that have few values, if it is always taken."""
    few = reduce(or_, (terms for terms, look in looks if look.few), 0)
    joined = few.bit_count() > MANY
    groups: dict[str, list[tuple[int, Lookup]]] = defaultdict(list)
    for mask, look in looks:
        groups["" if joined and look.few else look.attribute].append((mask, look))
    for group in groups.values():
        terms = reduce(or_, (terms for terms, _ in group))
        yield _Step(terms, _look([look for _, look in group]), few=group[0][1].few)


def _look(looks: Sequence[Lookup]) -> Mask:
    """One look-up in place of these, which are about one attribute, or about few values each."""
    names = [it.attribute for it in looks]
    tables = [it.table for it in looks]

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


class Candidates(NamedTuple):
    """Rules by their index: those that match whatever else may be learnt of the recording,
    and those that still depend on it. All others do not match."""

    sure: tuple[int, ...]
    open: tuple[int, ...]


class Decider:
    """Decides all the rules at once; indices are those of the rules as given.

    It holds tables that fill as recordings pass, bounded in size. Not for several threads.
    """

    def __init__(self, rules: Iterable[Rule], most_terms: int = MOST_TERMS) -> None:
        self.rules = tuple(rules)
        found = {
            index: terms(whole(rule), most_terms)
            for index, rule in enumerate(self.rules)
            if rule.watch == "recordings"
        }
        self._slow = [index for index, split in found.items() if split is None]
        fast = {index: tuple(split) for index, split in found.items() if split is not None}
        # The first terms of all rules come first, then the second ones: a rule's terms are
        # folded into one bit with a shift per plane. Rules with most terms lead, so that every
        # plane is a prefix of the one before.
        self._order = sorted(fast, key=lambda index: -len(fast[index]))
        self._planes: list[tuple[int, int]] = []
        flat: list[tuple[int, Term]] = []
        for depth in range(max(map(len, fast.values()), default=0)):
            plane = [
                (index, fast[index][depth]) for index in self._order if len(fast[index]) > depth
            ]
            self._planes.append((len(flat), (1 << len(plane)) - 1))
            flat += plane
        self._everything = (1 << len(flat)) - 1
        # Which terms are for which website; no table where all rules watch every one.
        everywhere = not any(self.rules[index].websites for index in fast)
        self._sites = None if everywhere else self._site_table(flat)
        few = len(self._order) <= FEW
        self._indexes = Memo(self._rules_of).__getitem__ if few else self._rules_of
        columns = _columns(flat, self._everything)
        self._final = walk(columns, self._everything)
        self._row = walk([it for it in columns if it.pair is None], self._everything)
        self._pairs = [(it.terms, it.pair) for it in columns if it.pair is not None]

    def _site_table(self, flat: Sequence[tuple[int, Term]]) -> Memo[Site, int]:
        by_rule: dict[int, int] = defaultdict(int)
        for bit, (index, _) in enumerate(flat):
            by_rule[index] |= 1 << bit

        def work(site: Site) -> int:
            return sum(bits for index, bits in by_rule.items() if applies(self.rules[index], site))

        return Memo(work)

    def matches(self, subject: Subject, past: Past = no_past) -> tuple[int, ...]:
        """The rules that match, in order, with what is known of the subject now."""
        if isinstance(subject, RecordingSubject):
            return self.matches_all((subject,))[0]
        return tuple(
            index for index, rule in enumerate(self.rules) if evaluate.matches(rule, subject, past)
        )

    def matches_all(self, subjects: Iterable[RecordingSubject]) -> list[tuple[int, ...]]:
        """The rules that match each of the recordings."""
        kept = subjects if isinstance(subjects, Sequence) else list(subjects)
        final, sites, indexes = self._final, self._sites, self._indexes
        if sites is None:
            found = [indexes(final(subject)) for subject in kept]
        else:
            found = [indexes(final(subject) & sites[subject.website]) for subject in kept]
        if self._slow:
            for at, subject in enumerate(kept):
                found[at] = tuple(sorted((*found[at], *self._slowly(subject))))
        return found

    def candidates(self, subject: RecordingSubject) -> Candidates:
        """What can be said of a recording before its detail and all asked facts are there."""
        sure = self._row(subject)
        if self._sites is not None:
            sure &= self._sites[subject.website]
        possible = sure
        for those, pair in self._pairs:
            if possible & those:
                now, later = pair(subject)
                sure &= now
                possible &= later
        certain = self._indexes(sure)
        hopeful = set(self._indexes(possible)).difference(certain)
        if self._slow:
            answers = {index: self._verdict(index, subject) for index in self._slow}
            certain = tuple(sorted((*certain, *(i for i, it in answers.items() if it))))
            hopeful |= {index for index, it in answers.items() if it is None}
        return Candidates(certain, tuple(sorted(hopeful)))

    def _verdict(self, index: int, subject: RecordingSubject) -> bool | None:
        rule = self.rules[index]
        return applies(rule, subject.website) and evaluate.verdict(whole(rule), subject)

    def _slowly(self, subject: RecordingSubject) -> Iterator[int]:
        return (i for i in self._slow if evaluate.matches(self.rules[i], subject))

    def _rules_of(self, terms: int) -> tuple[int, ...]:
        """The rules of which at least one term is true."""
        found = 0
        for shift, plane in self._planes:
            found |= terms >> shift & plane
        return tuple(sorted(map(self._order.__getitem__, ones(found))))


def _columns(flat: Sequence[tuple[int, Term]], everything: int) -> list[Column]:
    """One column for each field that the terms speak of."""
    axes: dict[str, dict[Leaf, list[int]]] = {}
    for bit, (_, term) in enumerate(flat):
        for leaf, wanted in term:
            name = field_of(leaf, "recordings").name
            wants = axes.setdefault(name, {}).setdefault(leaf, [0, 0])
            wants[0 if wanted else 1] |= 1 << bit
    return [
        column(
            field_of(next(iter(leaves)), "recordings"),
            {leaf: (yes, no) for leaf, (yes, no) in leaves.items()},
            everything,
        )
        for leaves in axes.values()
    ]
