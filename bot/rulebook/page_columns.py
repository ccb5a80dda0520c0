"""The columns that read page views in detail: one view that meets all, and paths in order."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bot.rulebook.axes import Axis, Column, Memo, Pair, existence, length, lengths, segments
from bot.rulebook.bags import Bag, Texts
from bot.rulebook.conditions import Bounds, Journey, Numbers, OneItem, OneOf, Test
from bot.rulebook.fields import Field
from bot.rulebook.operators import texts_of
from bot.rulebook.recording_values import knows_pages
from bot.subjects import RecordingSubject


class _Figure(NamedTuple):
    """How a number of a page view is read, its thresholds, the leaves left between them by
    place, and the leaves left by no number."""

    raw: Callable[[Any], Any]
    cuts: list[float]
    leaves: list[int]
    missing: int


def items(about: Field, axis: Axis[Any]) -> Column:
    """Page views: one of them must meet all tests of a leaf."""
    # The path first, whether asked or not: it tells most, and most views are done with it.
    paths = _text_part(about.part("path"), axis)
    others = [it for it in about.parts if it.name != "path" and _asked(axis.leaves, it)]
    texts = [(part.raw, _text_part(part, axis)) for part in others if not part.numeric]
    figures = [_figure_part(part, axis) for part in others if part.numeric]

    def mask(subject: RecordingSubject) -> int:
        met = 0
        for view in subject.recording.page_views or ():
            bits = paths[view.website_page or view.uri]
            if not bits:
                continue
            for raw, table in texts:
                bits &= table[raw(view)]
            for raw, cuts, leaves, missing in figures:
                figure = raw(view)
                if figure is None or figure != figure:
                    bits &= missing
                else:
                    bits &= leaves[bisect_right(cuts, figure)]
            met |= bits
        return axis.mask[met]

    def pair(subject: RecordingSubject) -> Pair:
        if subject.recording.page_views is None:
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

    return Column(terms=axis.terms, mask=mask, pair=pair, slow=True)
