"""One column of the compiled decision: how a recording's field becomes a mask of terms.

A column answers twice. `mask` is the verdict with what is known now. `pair`, where the field may
not be known yet, gives the terms that hold whatever comes, and those that still may.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple, assert_never

from bot.domain.subjects import Band, RecordingSubject
from bot.fields.field import Field, TextKind, page
from bot.rules.index.tables import (
    Axis,
    Column,
    Lookup,
    Memo,
    Pair,
    existence,
    length,
    lengths,
    segments,
)
from bot.rules.index.terms import Leaf
from bot.rules.index.text_sets import Bag, Texts
from bot.rules.model import Bounds, Journey, Numbers, OneItem, OneOf, Test
from bot.rules.operators import sees, texts_of


class _Figure(NamedTuple):
    """How a number of a page view is read, its thresholds, the leaves left between them by
    place, and the leaves left by no number."""

    raw: Callable[[Any], Any]
    cuts: list[float]
    leaves: list[int]
    missing: int


def items(about: Field, axis: Axis[Any]) -> Column:
    """Items such as page views: one of them must meet all tests of a leaf."""
    # The first part (a path) comes first, whether asked or not: it tells most, and most items
    # are done with it.
    first, *rest = about.parts
    firsts, read_first = _text_part(first, axis), first.raw
    others = [it for it in rest if _asked(axis.leaves, it)]
    texts = [(part.raw, _text_part(part, axis)) for part in others if not part.numeric]
    figures = [_figure_part(part, axis) for part in others if part.numeric]
    read_items, known = about.raw, about.known

    def mask(subject: RecordingSubject) -> int:
        met = 0
        for item in read_items(subject) or ():
            bits = firsts[read_first(item)]
            if not bits:
                continue
            for raw, table in texts:
                bits &= table[raw(item)]
            for raw, cuts, leaves, missing in figures:
                figure = raw(item)
                if figure is None or figure != figure:
                    bits &= missing
                else:
                    bits &= leaves[bisect_right(cuts, figure)]
            met |= bits
        return axis.mask[met]

    def pair(subject: RecordingSubject) -> Pair:
        if known is not None and not known(subject):
            return axis.unknown
        now = mask(subject)
        return now, now

    return Column(terms=axis.terms, mask=mask, bare=axis.mask[0], pair=pair, slow=True)


def _asked(leaves: Sequence[OneItem], part: Field) -> bool:
    return any(test.field == part.name for leaf in leaves for test in leaf.tests)


def _tests_of(part: Field, axis: Axis[OneItem]) -> tuple[list[Test], Callable[[int], int]]:
    """The tests of this part, and from those met to the leaves that are not refuted by it."""
    tests = [
        (test, 1 << j)
        for j, leaf in enumerate(axis.leaves)
        for test in leaf.tests
        if test.field == part.name
    ]

    def left(met: int) -> int:
        bits = axis.every_leaf
        for k, (_, leaf) in enumerate(tests):
            if not met >> k & 1:
                bits &= ~leaf
        return bits

    return [test for test, _ in tests], left


def _text_part(part: Field, axis: Axis[OneItem]) -> Memo[Any, int]:
    """From what one page view shows of this part to the leaves it does not refute."""
    tests, left = _tests_of(part, axis)
    bag = Bag(tests, part)

    def work(value: Any) -> int:
        bits = 0
        for text in texts_of(part.clean(value)):
            bits |= bag.bits(text)
        return left(bag.met(bits))

    return Memo(work, lengths if part.type == "texts" else length)


def _figure_part(part: Field, axis: Axis[OneItem]) -> _Figure:
    """The same for a number, by its place among the thresholds."""
    tests, left = _tests_of(part, axis)
    spans = [
        (test.wants, 1 << k)
        for k, test in enumerate(tests)
        if isinstance(test.wants, Numbers | Bounds)
    ]
    there, absent = existence(tests)
    cuts, table = segments(spans, lambda met: left(met | there))
    return _Figure(part.raw, cuts, table, left(absent))


def journeys(about: Field, axis: Axis[Journey]) -> Column:
    """Paths in order: every leaf is a row of bits, and one step on is one shift."""
    texts = Texts(about.normal)
    starts = free = 0
    accept: list[int] = []
    for leaf in axis.leaves:
        starts |= 1 << free
        for path in leaf.paths:
            texts.add(OneOf((path,)), 1 << free)
            free += 1
        accept.append(1 << free)
        free += 1
    each: Memo[str, int] = Memo(texts.bits, length)
    known = about.known

    def met(paths: Iterable[str]) -> int:
        state = starts
        for path in paths:
            state |= (state & each[path]) << 1
        return sum(1 << j for j, end in enumerate(accept) if state & end)

    def mask(subject: RecordingSubject) -> int:
        return axis.mask[met(about.raw(subject))]

    def pair(subject: RecordingSubject) -> Pair:
        found = met(about.raw(subject))
        failed = axis.every_leaf & ~found if known is None or known(subject) else 0
        return axis.pair[found, failed]

    return Column(terms=axis.terms, mask=mask, pair=pair, slow=True)


Wanted = Mapping[Leaf, tuple[int, int]]
"""The tests of one field, each with the terms that want it met, and not met."""


def column(about: Field, wants: Wanted, everything: int) -> Column:
    """The column of a recording's field."""
    axis: Axis[Any] = Axis(wants, everything)
    if about.ordered:
        return journeys(about, axis)
    match about.type:
        case "items":
            return items(about, axis)
        case "texts":
            return _texts(about, axis)
        case "variables":
            return _variables(about, axis)
        case "number" | "duration" | "percent":
            return _single(about, axis) if about.banded else _figures(about, axis)
        case "text" | "flag":
            return _single(about, axis)
        case "moment":
            raise TypeError(f"{about.name}: conditions can't compare moments")
        case _:
            assert_never(about.type)


def _single(about: Field, axis: Axis[Any]) -> Column:
    """One value: a text, a flag, or a band of friction."""
    work = _text_work(about, axis) if about.type == "text" else _plain_work(about, axis)
    long = length if about.type == "text" else None
    answers: Memo[Any, Pair] = Memo(work, long)
    table: Memo[Any, int] = Memo(lambda raw: axis.mask[answers[raw][0]], long)
    raw, known, attribute = about.raw, about.known, about.attribute
    if known is None and attribute:
        few = bool(about.choices) or about.type == "flag"
        return Column(terms=axis.terms, mask=Lookup(attribute, table, few))
    if known is None:
        return Column(terms=axis.terms, mask=lambda it: table[raw(it)])
    silent = axis.mask[0]

    def mask(subject: RecordingSubject) -> int:
        value = raw(subject)
        return table[value] if value or known(subject) else silent

    def pair(subject: RecordingSubject) -> Pair:
        return axis.pair[answers[raw(subject)]] if known(subject) else axis.unknown

    attribute = about.row_at or attribute
    of_row: Memo[Any, int] = Memo(lambda value: table[value] if value else silent, long)
    bare = Lookup(attribute, of_row) if attribute else None
    return Column(terms=axis.terms, mask=mask, bare=bare, pair=pair)


def _text_work(about: Field, axis: Axis[Any]) -> Callable[[Any], Pair]:
    bag = Bag(axis.leaves, about)

    def work(raw: Any) -> Pair:
        bits = 0
        for text in texts_of(about.clean(raw)):
            bits |= bag.bits(text)
        met = bag.met(bits)
        return met, axis.every_leaf & ~met

    return work


def _plain_work(about: Field, axis: Axis[Any]) -> Callable[[Any], Pair]:
    tests = [(sees(about, leaf.wants), 1 << j) for j, leaf in enumerate(axis.leaves)]

    def work(raw: Any) -> Pair:
        value: Band | bool | None = about.clean(raw)  # type: ignore[assignment]
        met = failed = 0
        for see, bit in tests:
            answer = see(value)
            if answer:
                met |= bit
            elif answer is False:
                failed |= bit
        return met, failed

    return work


def _figures(about: Field, axis: Axis[Any]) -> Column:
    """A number: its place among the thresholds says everything."""
    tests = [
        (leaf.wants, 1 << j)
        for j, leaf in enumerate(axis.leaves)
        if isinstance(leaf.wants, Numbers | Bounds)
    ]
    there, absent = existence(axis.leaves)
    cuts, table = segments(tests, lambda bits: axis.mask[bits | there])
    missing, silent = axis.mask[absent], axis.mask[0]
    reach = reduce(or_, table, missing | silent)
    raw, known = about.raw, about.known

    def mask(subject: RecordingSubject) -> int:
        figure = raw(subject)
        if figure is None or figure != figure:  # NaN has no place among thresholds
            return missing if known is None or known(subject) else silent
        return table[bisect_right(cuts, figure)]

    def pair(subject: RecordingSubject) -> Pair:
        if known is not None and not known(subject):
            return axis.unknown
        now = mask(subject)
        return now, now

    return Column(terms=axis.terms, mask=mask, pair=pair if known else None, reach=reach)


def _variables(about: Field, axis: Axis[Any]) -> Column:
    """Variables: each text by itself, for all of a recording's together are hardly seen twice."""
    bag = Bag(axis.leaves, about)
    each: Memo[str, int] = Memo(bag.bits, length)
    masks: Memo[int, int] = Memo(lambda bits: axis.mask[bag.met(bits)])
    raw = about.raw

    def mask(subject: RecordingSubject) -> int:
        bits = 0
        for text in raw(subject):
            bits |= each[text]
        return masks[bits]

    return Column(terms=axis.terms, mask=mask)


def _texts(about: Field, axis: Axis[Any]) -> Column:
    """A set of texts, such as tags or paths, to which the detail may add."""
    bag = Bag(axis.leaves, about)
    clean = page if about.text is TextKind.PATH else _as_it_is
    each: Memo[str | None, int] = Memo(lambda raw: bag.bits(clean(raw) or ""), length)
    pieces, known = about.pieces or about.raw, about.known
    masks: Memo[int, int] = Memo(lambda bits: axis.mask[bag.met(bits)])
    # What is not known to be absent may still come; a verdict takes it for a no.
    masks_so_far: Memo[int, int] = Memo(lambda bits: axis.mask[bag.so_far(bits)[0]])
    pairs: Memo[int, Pair] = Memo(lambda bits: axis.pair[bag.so_far(bits)])

    def mask(subject: RecordingSubject) -> int:
        bits = 0
        for piece in pieces(subject):
            bits |= each[piece]
        return masks[bits] if known is None or known(subject) else masks_so_far[bits]

    def pair(subject: RecordingSubject) -> Pair:
        bits = 0
        for piece in pieces(subject):
            bits |= each[piece]
        if known is None or known(subject):
            return masks[bits], masks[bits]
        return pairs[bits]

    bare = None
    if about.row_at and not bag.asks_absence:  # else it matters whether more may come
        bare = Lookup(about.row_at, Memo(lambda raw: axis.mask[bag.met(each[raw])], length))
    return Column(terms=axis.terms, mask=mask, bare=bare, pair=pair if known else None, slow=True)


def _as_it_is(text: str | None) -> str | None:
    return text
