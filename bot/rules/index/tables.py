"""Tables of the compiled decision: from a field's value to the terms that it does not refute.

`FieldTests` holds every test that the rules make of one field. Tables map a value to the set of
tests it meets, a whole number with one bit per test, and that to a mask with one bit per term.
They fill as values come by and are bounded in entries and in characters.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Any, Generic, TypeVar

from msgspec import Struct

from bot.domain.subjects import RecordingSubject
from bot.rules.value_tests import FigureTest

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
L = TypeVar("L", bound=Hashable)

ENTRIES = 16_384
CHARACTERS = 1 << 20
LONGEST = 4096

Known = tuple[int, int]
"""The tests that are surely met, and those that are surely not; all others are unknown."""

Masks = tuple[int, int]
"""The terms that are surely not refuted, and those that may not be."""


class Memo(dict[K, V], Generic[K, V]):
    """A table that computes missing entries; it forgets everything rather than grow without bound.

    `weigh` gives the characters of a key where strangers choose its length.
    """

    __slots__ = ("_characters", "_weigh", "_work")

    def __init__(self, work: Callable[[K], V], weigh: Callable[[K], int] | None = None) -> None:
        super().__init__()
        self._work = work
        self._weigh = weigh
        self._characters = 0

    def __missing__(self, key: K) -> V:
        value = self._work(key)
        if self._weigh is not None:
            size = self._weigh(key)
            if size > LONGEST:
                return value  # hostile, and hardly seen again
            self._characters += size
        if len(self) >= ENTRIES or self._characters > CHARACTERS:
            self.clear()
            self._characters = 0
        self[key] = value
        return value


def length(text: Any) -> int:
    """The weight of a text, or of none."""
    return len(text) if text else 0


def weight(value: Any) -> int:
    """The weight of a value that may be a text."""
    return len(value) if isinstance(value, str) else 8


def lengths(texts: tuple[str, ...]) -> int:
    """The weight of several texts."""
    return sum(map(len, texts)) + 8 * len(texts)


def ones(bits: int) -> list[int]:
    """The places of the bits that are set, highest first."""
    places: list[int] = []
    while bits:
        place = bits.bit_length() - 1
        places.append(place)
        bits ^= 1 << place
    return places


class FieldTests(Generic[L]):
    """The tests of one field, and which terms want each of them met or not met.

    Most terms want one single test of a field, so their share is kept apart: it is put
    together from the few tests that are met, not from the many that are not.
    """

    def __init__(self, wants: Mapping[L, tuple[int, int]], everything: int) -> None:
        self.leaves = tuple(wants)
        self.met = tuple(yes for yes, _no in wants.values())
        self.unmet = tuple(no for _yes, no in wants.values())
        self.everything = everything
        self.every_leaf = (1 << len(self.leaves)) - 1
        self.terms = reduce(or_, (*self.met, *self.unmet))
        seen = several = 0
        for yes in self.met:
            several |= seen & yes
            seen |= yes
        self._single = seen & ~several
        self._wanting_several = [(1 << j, y) for j, y in enumerate(self.met) if y & several]
        self._wanting_unmet = [(1 << j, no) for j, no in enumerate(self.unmet) if no]
        self.mask: Memo[int, int] = Memo(self._mask)
        self.masks: Memo[Known, Masks] = Memo(self._masks)
        self.unknown: Masks = self._masks((0, 0))

    @property
    def negated(self) -> bool:
        """Whether some term requires a test not to be met."""
        return bool(self._wanting_unmet)

    def decided(self, met: int, failed: int) -> Masks:
        """The masks of known tests; cheaper than `masks` where no test is unknown."""
        if met | failed != self.every_leaf:
            return self.masks[met, failed]
        now = self.mask[met]
        return now, now

    def _mask(self, met: int) -> int:
        """The terms not refuted when exactly these tests are met."""
        barred = 0
        for bit, no in self._wanting_unmet:
            if met & bit:
                barred |= no
        return self.everything & ~(self._lacking(met) | barred)

    def _masks(self, known: Known) -> Masks:
        """The terms when the first tests are surely met, and the second surely not."""
        met, failed = known
        unsure = self._lacking(met)
        lost = 0
        for bit, no in self._wanting_unmet:
            if met & bit:
                lost |= no
            if not failed & bit:
                unsure |= no
        for j in ones(failed):
            lost |= self.met[j]
        return self.everything & ~unsure, self.everything & ~lost

    def _lacking(self, met: int) -> int:
        """The terms that want a test met which is not among these."""
        wanted = 0
        for j in ones(met):
            wanted |= self.met[j]
        lacking = self._single & ~wanted
        for bit, yes in self._wanting_several:
            if not met & bit:
                lacking |= yes
        return lacking


def segments(
    tests: Iterable[tuple[FigureTest, int]], within: Callable[[int], V]
) -> tuple[list[float], list[V]]:
    """Cuts on the number line, and what holds between them, by `bisect_right(cuts, x)`.

    `tests` are those of numbers with their bits; `within` makes a value of the bits that hold.
    Between two cuts no test changes, so one value represents all.
    """
    begins: dict[float, int] = defaultdict(int)
    ends: dict[float, int] = defaultdict(int)
    for test, bit in tests:
        for low, high in _spans(test):
            begins[low] |= bit
            ends[high] |= bit
    cuts = sorted(edge for edge in {*begins, *ends} if math.isfinite(edge))
    bits = begins[-math.inf]
    held = [within(bits)]
    for cut in cuts:
        bits = bits & ~ends[cut] | begins[cut]
        held.append(within(bits))
    return cuts, held


def _spans(test: FigureTest) -> list[tuple[float, float]]:
    """The test's ranges as half-open spans that do not overlap."""
    spans: list[tuple[float, float]] = []
    for low, high in sorted(it.span() for it in test.ranges):
        if spans and low <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(high, spans[-1][1])
        elif low < high:
            spans.append((low, high))
    return spans


Mask = Callable[[RecordingSubject], int]
"""From a recording to the terms that a column does not refute."""


class Lookup(Struct, frozen=True):
    """A mask looked up by one attribute of the recording; `few`: the attribute has few values."""

    attribute: str
    table: Memo[Any, int]
    few: bool = False


class Column(Struct, frozen=True, kw_only=True):
    """One field's masks. `terms` are those that hang on the field; it refutes no other.

    `sure` gives the terms that are surely not refuted, for every recording. `bare` is a shorter
    way to the same for a bare row (no page views, but an entry page), or one mask for all of
    them. `masks` is for fields that may not be known yet. `reach` are the terms that some value
    of the field leaves standing; all ones where that is not worked out. `slow`:
    `sure` goes through the page views.
    """

    terms: int
    sure: Mask | Lookup
    bare: Mask | Lookup | int | None = None
    masks: Callable[[RecordingSubject], Masks] | None = None
    reach: int = -1
    slow: bool = False
