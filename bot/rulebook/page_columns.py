"""The columns that read page views in detail: one view that meets all, and paths in order."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bot.rulebook.axes import Axis, Column, Memo, Pair, existence, length, lengths, segments
from bot.rulebook.bags import Bag, Texts
from bot.rulebook.conditions import Bounds, Journey, Numbers, OneItem, OneOf, Test
from bot.rulebook.fields import Field
from bot.rulebook.operators import texts_of
from bot.rulebook.recording_values import knows_pages
from bot.subjects import RecordingSubject


def items(about: Field, axis: Axis[Any]) -> Column:
    """Page views: one of them must meet all tests of a leaf."""
    parts = [part for part in about.parts if _asked(axis.leaves, part)]
    texts = [(part.raw, _text_part(part, axis)) for part in parts if not part.numeric]
    figures = [_figure_part(part, axis) for part in parts if part.numeric]
    every_leaf = axis.every_leaf

    def met(views: Iterable[Any]) -> int:
        met = 0
        for view in views:
            bits = every_leaf
            for raw, table in texts:
                bits &= table[raw(view)]
            if bits:
                for look in figures:
                    bits &= look(view)
                met |= bits
        return met

    def mask(subject: RecordingSubject) -> int:
        return axis.mask[met(subject.recording.page_views or ())]

    def pair(subject: RecordingSubject) -> Pair:
        if subject.recording.page_views is None:
            return axis.unknown
        now = mask(subject)
        return now, now

    return Column(wants=axis.wants, mask=mask, pair=pair, constant=axis.mask[0])


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


def _figure_part(part: Field, axis: Axis[OneItem]) -> Callable[[Any], int]:
    """The same for a number, by its place among the thresholds."""
    tests, left = _tests_of(part, axis)
    spans = [
        (test.wants, 1 << k)
        for k, test in enumerate(tests)
        if isinstance(test.wants, Numbers | Bounds)
    ]
    there, absent = existence(tests)
    cuts, table = segments(spans, lambda met: left(met | there))
    missing = left(absent)
    raw = part.raw

    def look(view: Any) -> int:
        figure = raw(view)
        if figure is None or figure != figure:
            return missing
        return table[bisect_right(cuts, figure)]

    return look


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

    def met(paths: Iterable[str]) -> int:
        state = starts
        for path in paths:
            state |= (state & each[path]) << 1
        return sum(1 << j for j, end in enumerate(accept) if state & end)

    def mask(subject: RecordingSubject) -> int:
        return axis.mask[met(about.raw(subject))]

    def pair(subject: RecordingSubject) -> Pair:
        found = met(about.raw(subject))
        failed = axis.every_leaf & ~found if knows_pages(subject) else 0
        return axis.pair[found, failed]

    return Column(wants=axis.wants, mask=mask, pair=pair)
