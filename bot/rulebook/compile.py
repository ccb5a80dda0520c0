"""One decision for a whole rule set: work per recording goes by its fields, hardly by the rules.

Every rule becomes a choice of terms; every term is one bit. For each field a table gives the
mask of the terms that this recording's value does not refute, and the terms that all masks
leave standing are true. Nothing is generated or executed from text.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bot.rulebook import evaluate
from bot.rulebook.axes import Column, Memo, ones
from bot.rulebook.columns import column
from bot.rulebook.decide import applies
from bot.rulebook.evaluate import Past, field_of, no_past, whole
from bot.rulebook.rules import Rule
from bot.rulebook.terms import Leaf, Term, terms
from bot.rulebook.walk import walk
from bot.subjects import RecordingSubject, Site, Subject

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
