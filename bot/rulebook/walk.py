"""The compiled decision's loop: from one recording to the terms that no column refutes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import and_, attrgetter, or_
from typing import Any, NamedTuple

from bot.rulebook.axes import Column, Lookup, Mask, Memo, length, weight
from bot.subjects import RecordingSubject

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
    for column, mask in columns:
        start &= column.reach
        if isinstance(mask, int):
            start &= mask
        elif isinstance(mask, Lookup):
            looks.append((column, mask))
        else:
            masks.append((column, mask))
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
    for terms, look in looks:
        groups["" if joined and look.few else look.attribute].append((terms, look))
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
