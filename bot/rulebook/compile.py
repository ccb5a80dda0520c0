"""One decision for a whole rule set: work per recording goes by its fields, hardly by the rules.

Every rule becomes a choice of terms; every term is one bit. For each field a table gives the
mask of the terms that this recording's value does not refute, and the terms that all masks
leave standing are true. Nothing is generated or executed from text.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from bot.rulebook import evaluate
from bot.rulebook.axes import Memo, ones
from bot.rulebook.columns import Column, column
from bot.rulebook.decide import applies
from bot.rulebook.evaluate import Past, field_of, no_past, whole
from bot.rulebook.rules import Rule
from bot.rulebook.terms import Leaf, Term, terms
from bot.subjects import RecordingSubject, Site, Subject

MOST_TERMS = 64
"""A rule that would need more terms is decided by the tree walk instead."""


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
        self._sites = self._site_table(flat)
        self._rules: Memo[int, tuple[int, ...]] = Memo(self._indexes)
        self._arrange(_columns(flat, self._everything))

    def _site_table(self, flat: Sequence[tuple[int, Term]]) -> Memo[Site, int]:
        by_rule: dict[int, int] = defaultdict(int)
        for bit, (index, _) in enumerate(flat):
            by_rule[index] |= 1 << bit

        def work(site: Site) -> int:
            return sum(bits for index, bits in by_rule.items() if applies(self.rules[index], site))

        return Memo(work)

    def _arrange(self, columns: Sequence[Column]) -> None:
        plain = [it for it in columns if it.attribute]
        names = [it.attribute for it in plain]
        self._tables = [it.table for it in plain if it.table is not None]
        # One call fetches all plain values; `id` keeps the answer a tuple when there is one.
        self._values: Any = attrgetter("id", *names) if names else None
        self._known = [it.mask for it in columns if not it.attribute and it.pair is None]
        self._open = [it.mask for it in columns if it.pair is not None]
        self._pairs = [it.pair for it in columns if it.pair is not None]

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
        found = [self._rules[terms] for terms in self._masks(kept)]
        if self._slow:
            for at, subject in enumerate(kept):
                found[at] = tuple(sorted((*found[at], *self._slowly(subject))))
        return found

    def _masks(self, subjects: Iterable[RecordingSubject]) -> Iterator[int]:
        """The terms that are true, of each recording."""
        for subject in subjects:
            terms = self._row(subject)
            for mask in self._open:
                if not terms:
                    break
                terms &= mask(subject)
            yield terms

    def _row(self, subject: RecordingSubject) -> int:
        """The terms not refuted by what every row tells."""
        terms = self._sites[subject.website]
        if self._values is not None:
            values = iter(self._values(subject.recording))
            next(values)
            for table, value in zip(self._tables, values, strict=False):
                terms &= table[value]
        for mask in self._known:
            terms &= mask(subject)
        return terms

    def candidates(self, subject: RecordingSubject) -> Candidates:
        """What can be said of a recording before its detail and all asked facts are there."""
        sure = possible = self._row(subject)
        for pair in self._pairs:
            if not possible:
                break
            now, later = pair(subject)
            sure &= now
            possible &= later
        certain = self._rules[sure]
        hopeful = set(self._rules[possible]).difference(certain)
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

    def _indexes(self, terms: int) -> tuple[int, ...]:
        """The rules of which at least one term is true."""
        found = 0
        for shift, plane in self._planes:
            found |= terms >> shift & plane
        order = self._order
        return tuple(sorted(order[place] for place in ones(found)))


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
