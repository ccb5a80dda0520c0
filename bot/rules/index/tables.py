"""One field's share of the compiled decision: from a value to the terms it does not refute.

An axis holds every test that the rules make of one field. Its tables map what is seen to the
set of tests met, a whole number with one bit per test, and that to a mask with one bit per
term. Tables fill as values come by and are bounded in entries and in characters.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Generic, TypeVar

from bot.domain.subjects import RecordingSubject
from bot.rules.model import Bounds, Exists, Numbers, Test

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
L = TypeVar("L", bound=Hashable)

ENTRIES = 16_384
CHARACTERS = 1 << 20
LONGEST = 4096

Pair = tuple[int, int]
"""Masks of the terms that are surely not refuted, and of those that may not be."""


class Memo(dict[K, V], Generic[K, V]):
    """A table that works out what it lacks, and forgets everything rather than grow for ever.

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


class Axis(Generic[L]):
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
        self.mask: Memo[int, int] = Memo(self._mask)
        self.pair: Memo[Pair, Pair] = Memo(self._pair)
        self.unknown: Pair = self._pair((0, 0))

    def _mask(self, met: int) -> int:
        """The terms not refuted when exactly these tests are met."""
        wanted = barred = 0
        for j in ones(met):
            wanted |= self.met[j]
            barred |= self.unmet[j]
        bad = (self._single & ~wanted) | barred
        for bit, yes in self._wanting_several:
            if not met & bit:
                bad |= yes
        return self.everything & ~bad

    def _pair(self, known: Pair) -> Pair:
        """The masks when the first tests are surely met, and the second surely not."""
        met, failed = known
        unsure = lost = 0
        for j, (yes, no) in enumerate(zip(self.met, self.unmet, strict=True)):
            bit = 1 << j
            if met & bit:
                unsure |= no
                lost |= no
            elif failed & bit:
                unsure |= yes
                lost |= yes
            else:
                unsure |= yes | no
        return self.everything & ~unsure, self.everything & ~lost


def existence(leaves: Iterable[Test]) -> tuple[int, int]:
    """The bits of the tests that any value meets, and that the lack of one meets."""
    there = absent = 0
    for j, leaf in enumerate(leaves):
        if isinstance(leaf.wants, Exists):
            there |= leaf.wants.wanted << j
            absent |= (not leaf.wants.wanted) << j
    return there, absent


def segments(
    tests: Iterable[tuple[Numbers | Bounds, int]], within: Callable[[int], V]
) -> tuple[list[float], list[V]]:
    """Cuts on the number line, and what holds between them, by `bisect_right(cuts, x)`.

    `tests` are the comparisons with their bits; `within` makes a value of the bits that hold.
    Between two cuts no comparison changes, so one value stands for all.
    """
    begins: dict[float, int] = defaultdict(int)
    ends: dict[float, int] = defaultdict(int)
    for wants, bit in tests:
        for low, high in _spans(wants):
            begins[low] |= bit
            ends[high] |= bit
    cuts = sorted(edge for edge in {*begins, *ends} if math.isfinite(edge))
    bits = begins[-math.inf]
    held = [within(bits)]
    for cut in cuts:
        bits = bits & ~ends[cut] | begins[cut]
        held.append(within(bits))
    return cuts, held


def _spans(wants: Numbers | Bounds) -> Iterator[tuple[float, float]]:
    """The half-open spans of the numbers wanted: from the first up to, not with, the second."""
    if isinstance(wants, Numbers):
        for value in wants.values:
            yield value, math.nextafter(value, math.inf)
        return
    low, high = -math.inf, math.inf
    if wants.min is not None:
        low = wants.min
    if wants.over is not None:
        low = max(low, math.nextafter(wants.over, math.inf))
    if wants.under is not None:
        high = wants.under
    if wants.max is not None:
        high = min(high, math.nextafter(wants.max, math.inf))
    if low < high:
        yield low, high


Mask = Callable[[RecordingSubject], int]
"""From a recording to the terms that a column does not refute."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A mask that a table tells from one attribute of the recording; `few`: of few values."""

    attribute: str
    table: Memo[Any, int]
    few: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One field's masks. `terms` are those that hang on the field; it refutes no other.

    `mask` is right for every recording. `bare` is a shorter way to the same for a bare row (no
    page views, but an entry page), or the mask of all of them. `pair` is for fields that may not
    be known yet. `reach` are the terms that some value of the field leaves standing; all ones
    where that is not worked out. `slow` tells that `mask` goes through the page views.
    """

    terms: int
    mask: Mask | Lookup
    bare: Mask | Lookup | int | None = None
    pair: Callable[[RecordingSubject], Pair] | None = None
    reach: int = -1
    slow: bool = False
