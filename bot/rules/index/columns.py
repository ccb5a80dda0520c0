"""One column of the compiled decision: how a recording's field becomes a mask of terms.

`sure` is the mask of the terms that the field surely does not refute, with what is known now.
`masks`, where the field may not be known yet, adds those that it may not refute.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple, assert_never

from bot.domain.subjects import RecordingSubject
from bot.fields.field import Field, Source, TextKind
from bot.fields.normal import folded, page
from bot.rules.evaluate import leaf_test, no_history
from bot.rules.index.tables import (
    Column,
    FieldTests,
    Known,
    Lookup,
    Masks,
    Memo,
    length,
    lengths,
    segments,
)
from bot.rules.model import Journey, Leaf, OneItem, Test
from bot.rules.operators.base import TEXTS
from bot.rules.value_tests import Alike, FigureTest, OneText, TextTest, glob, texts_of


class OneTextTable:
    """From one text to the bits of the tests that it meets."""

    def __init__(self, normal: Callable[[str], str]) -> None:
        self.always = 0
        self._normal = normal
        self._plain: dict[str, int] = {}
        self._globs: list[tuple[OneText, int]] = []
        self._others: list[tuple[OneText, int]] = []

    def add(self, one: OneText, bit: int) -> None:
        """Set the bit for the texts that meet the test."""
        if not isinstance(one, Alike):
            self._others.append((one, bit))
            return
        for pattern in one.patterns:
            if "*" in pattern:
                self._globs.append((glob(pattern), bit))
            else:
                self._plain[pattern] = self._plain.get(pattern, 0) | bit

    def bits(self, text: str) -> int:
        """The bits of all tests that this text meets."""
        normal = self._normal(text)
        bits = self.always | self._plain.get(normal, 0)
        for like, bit in self._globs:
            if like(normal):
                bits |= bit
        for met, bit in self._others:
            if met(text):
                bits |= bit
        return bits


def text_test(leaf: Test, about: Field) -> TextTest | None:
    """The leaf as a test of texts, None where its operator has no such form."""
    empty_is_data = leaf.key is None and about.type != "text"
    return leaf.operator.over_texts(about, empty_is_data=empty_is_data)


class TextSet:
    """The tests of one field, numbered as given, over all the texts of a subject.

    A test that a single text can meet alone has its own bit. Every other test is kept as the
    bits that must all be there and those of which none may be there.
    """

    def __init__(self, leaves: Sequence[Test], about: Field) -> None:
        self._about = about
        self._tables: dict[str | None, OneTextTable] = {}
        self._direct = 0
        self._composed: list[tuple[int, int, int]] = []
        self._free = len(leaves)
        for j, leaf in enumerate(leaves):
            self._add(leaf, 1 << j)

    def _add(self, leaf: Test, bit: int) -> None:
        test = text_test(leaf, self._about)
        if test is None:
            raise TypeError(f"{leaf} is no test of texts")
        key = None if leaf.key is None else folded(leaf.key)
        table = self._tables.setdefault(key, OneTextTable(self._about.normal))
        if len(test.each) == 1 and not test.none and test.there is None:
            table.add(test.each[0], bit)
            self._direct |= bit
            return
        every = sum(self._bit_of(one, table) for one in test.each)
        barred = sum(self._bit_of(one, table) for one in test.none)
        if test.there is not None:
            some = self._new_bit()
            table.always |= some
            every, barred = (every | some, barred) if test.there else (every, barred | some)
        self._composed.append((bit, every, barred))

    def _bit_of(self, one: OneText, table: OneTextTable) -> int:
        bit = self._new_bit()
        table.add(one, bit)
        return bit

    def _new_bit(self) -> int:
        self._free += 1
        return 1 << (self._free - 1)

    @property
    def asks_absence(self) -> bool:
        """Whether some test can be met by what is not there."""
        return any(barred or not every for _, every, barred in self._composed)

    def bits(self, text: str) -> int:
        """What this one text brings."""
        if not text:
            return 0
        table = self._tables.get(None)
        bits = table.bits(text) if table else 0
        if self._about.type == "variables":
            name, _, value = text.partition("=")
            named = self._tables.get(folded(name)) if value else None
            bits |= named.bits(value) if named else 0
        return bits

    def met(self, bits: int) -> int:
        """The tests that are met when these bits are all there is."""
        met = bits & self._direct
        for bit, every, barred in self._composed:
            if bits & every == every and not bits & barred:
                met |= bit
        return met

    def met_so_far(self, bits: int) -> Known:
        """The tests that are surely met and surely not, when more texts may come."""
        met, failed = bits & self._direct, 0
        for bit, every, barred in self._composed:
            if bits & barred:
                failed |= bit
            elif not barred and bits & every == every:
                met |= bit
        return met, failed


Wanted = Mapping[Leaf, tuple[int, int]]
"""The tests of one field, each with the terms that want it met, and not met."""


def has_table(leaf: Leaf, about: Field) -> bool:
    """Whether there is a table for this test; without one its own test is asked."""
    match leaf:
        case Journey():
            return True
        case OneItem(_, tests):
            parts = ((test, about.part(test.field)) for test in tests)
            return all(
                part.known is None and _is_texts_or_figures(test, part) for test, part in parts
            )
        case Test():
            return about.banded or about.type == "flag" or _is_texts_or_figures(leaf, about)
        case _:
            assert_never(leaf)


def _is_texts_or_figures(test: Test, about: Field) -> bool:
    if about.type in TEXTS:
        return text_test(test, about) is not None
    return about.numeric and test.operator.over_figures() is not None


def column(about: Field, wants: Wanted, everything: int) -> Column:
    """The column of a recording's field, of tests that have a table."""
    tests: FieldTests[Any] = FieldTests(wants, everything)
    if about.ordered:
        return _journeys(about, tests)
    match about.type:
        case "items":
            return _items(about, tests)
        case "texts":
            return _texts(about, tests)
        case "variables":
            return _variables(about, tests)
        case "number" | "duration" | "percent":
            return _single(about, tests) if about.banded else _figures(about, tests)
        case "text" | "flag":
            return _single(about, tests)
        case "moment":
            raise TypeError(f"{about.name}: conditions can't compare moments")
        case _:
            assert_never(about.type)


def plain_column(about: Field, wants: Wanted, everything: int) -> Column:
    """A column without tables: every test is asked, of every recording."""
    tests: FieldTests[Leaf] = FieldTests(wants, everything)
    asked = [(leaf_test(leaf, "recordings"), 1 << j) for j, leaf in enumerate(tests.leaves)]

    def masks(subject: RecordingSubject) -> Masks:
        value = about.get(subject)
        known = about.known is None or about.known(subject)
        met = failed = 0
        for (whole, so_far), bit in asked:
            answer = (whole if known else so_far)(value, no_history)
            if answer:
                met |= bit
            elif answer is False:
                failed |= bit
        return tests.masks[met, failed]

    return Column(terms=tests.terms, sure=lambda subject: masks(subject)[0], masks=masks, slow=True)


class _FigurePart(NamedTuple):
    """How a number of a page view is read, its thresholds, the leaves left between them by
    place, and the leaves left where there is no number."""

    raw: Callable[[Any], Any]
    cuts: list[float]
    leaves: list[int]
    missing: int


def _items(about: Field, tests: FieldTests[OneItem]) -> Column:
    """Items such as page views: one of them must meet all tests of a leaf."""
    # The first part (a path) comes first, even if no leaf asks for it: it tells most items apart.
    first, *rest = about.parts
    firsts, read_first = _text_part(first, tests), first.raw
    others = [it for it in rest if _asked(tests.leaves, it)]
    texts = [(part.raw, _text_part(part, tests)) for part in others if not part.numeric]
    figures = [_figure_part(part, tests) for part in others if part.numeric]
    read_items = about.raw

    def met(subject: RecordingSubject) -> int:
        found = 0
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
            found |= bits
        return found

    in_detail = about.source is Source.DETAIL  # which a bare row does not have
    bare = tests.unknown[0] if about.known and in_detail else None
    return _growing(about, tests, met, bare)


def _growing(
    about: Field,
    tests: FieldTests[Any],
    met: Callable[[RecordingSubject], int],
    bare: int | None = None,
) -> Column:
    """A column of tests that stay met while more is learnt of the recording."""
    known = about.known

    def sure(subject: RecordingSubject) -> int:
        if known is None or known(subject):
            return tests.mask[met(subject)]
        return tests.masks[met(subject), 0][0]

    def masks(subject: RecordingSubject) -> Masks:
        if known is None or known(subject):
            now = tests.mask[met(subject)]
            return now, now
        return tests.masks[met(subject), 0]

    return Column(
        terms=tests.terms, sure=sure, bare=bare, masks=masks if known else None, slow=True
    )


def _asked(leaves: Iterable[OneItem], part: Field) -> bool:
    return any(test.field == part.name for leaf in leaves for test in leaf.tests)


def _tests_of(part: Field, tests: FieldTests[OneItem]) -> tuple[list[Test], Callable[[int], int]]:
    """The tests of this part, and from those met to the leaves that are not refuted by it."""
    found = [
        (test, 1 << j)
        for j, leaf in enumerate(tests.leaves)
        for test in leaf.tests
        if test.field == part.name
    ]

    def left(met: int) -> int:
        bits = tests.every_leaf
        for k, (_, leaf) in enumerate(found):
            if not met >> k & 1:
                bits &= ~leaf
        return bits

    return [test for test, _ in found], left


def _text_part(part: Field, tests: FieldTests[OneItem]) -> Memo[Any, int]:
    """From what one page view shows of this part to the leaves it does not refute."""
    found, left = _tests_of(part, tests)
    texts = TextSet(found, part)

    def work(value: Any) -> int:
        bits = 0
        for text in texts_of(part.clean(value)):
            bits |= texts.bits(text)
        return left(texts.met(bits))

    return Memo(work, lengths if part.type == "texts" else length)


def _figure_part(part: Field, tests: FieldTests[OneItem]) -> _FigurePart:
    """From a number that one page view shows of this part to the leaves it does not refute."""
    found, left = _tests_of(part, tests)
    figures, missing = _figure_tests(found)
    cuts, table = segments(figures, left)
    return _FigurePart(part.raw, cuts, table, left(missing))


def _figure_tests(leaves: Iterable[Test]) -> tuple[list[tuple[FigureTest, int]], int]:
    """The tests of numbers with their bits, and the bits of those met without a number."""
    found: list[tuple[FigureTest, int]] = []
    missing = 0
    for j, leaf in enumerate(leaves):
        figures = leaf.operator.over_figures()
        if figures is None:
            raise TypeError(f"{leaf} is no test of numbers")
        found.append((figures, 1 << j))
        missing |= figures.missing << j
    return found, missing


def _journeys(about: Field, tests: FieldTests[Journey]) -> Column:
    """Paths in order: every leaf is a row of bits, and one step on is one shift."""
    paths = OneTextTable(about.normal)
    starts = free = 0
    accept: list[int] = []
    for leaf in tests.leaves:
        starts |= 1 << free
        for path in leaf.paths:
            paths.add(Alike((path,), about.normal), 1 << free)
            free += 1
        accept.append(1 << free)
        free += 1
    each: Memo[str, int] = Memo(paths.bits, length)
    read_paths = about.raw

    def met(subject: RecordingSubject) -> int:
        state = starts
        for path in read_paths(subject):
            state |= (state & each[path]) << 1
        return sum(1 << j for j, end in enumerate(accept) if state & end)

    return _growing(about, tests, met)


def _single(about: Field, tests: FieldTests[Any]) -> Column:
    """One value: a text, a flag, or a band of friction."""
    work = _text_work(about, tests) if about.type == "text" else _plain_work(about, tests)
    long = length if about.type == "text" else None
    both: Memo[Any, Masks] = Memo(lambda raw: tests.decided(*work(raw)), long)
    table: Memo[Any, int] = Memo(lambda raw: both[raw][0], long)
    raw, known, attribute = about.raw, about.known, about.attribute
    if known is None and attribute:
        few = bool(about.choices) or about.type == "flag"
        return Column(terms=tests.terms, sure=Lookup(attribute, table, few))
    if known is None:
        return Column(terms=tests.terms, sure=lambda it: table[raw(it)])
    unknown = tests.unknown

    def sure(subject: RecordingSubject) -> int:
        value = raw(subject)  # a value that is there is known
        return table[value] if value or known(subject) else unknown[0]

    def masks(subject: RecordingSubject) -> Masks:
        return both[raw(subject)] if known(subject) else unknown

    attribute = about.row_at or attribute
    of_row: Memo[Any, int] = Memo(lambda value: table[value] if value else unknown[0], long)
    bare = Lookup(attribute, of_row) if attribute else None
    return Column(terms=tests.terms, sure=sure, bare=bare, masks=masks)


def _text_work(about: Field, tests: FieldTests[Any]) -> Callable[[Any], Known]:
    texts = TextSet(tests.leaves, about)

    def work(raw: Any) -> Known:
        bits = 0
        for text in texts_of(about.clean(raw)):
            bits |= texts.bits(text)
        met = texts.met(bits)
        return met, tests.every_leaf & ~met

    return work


def _plain_work(about: Field, tests: FieldTests[Any]) -> Callable[[Any], Known]:
    asked = [(leaf.operator.test(about), 1 << j) for j, leaf in enumerate(tests.leaves)]

    def work(raw: Any) -> Known:
        value = about.clean(raw)
        met = failed = 0
        for test, bit in asked:
            answer = test(value, no_history)
            if answer:
                met |= bit
            elif answer is False:
                failed |= bit
        return met, failed

    return work


def _figures(about: Field, tests: FieldTests[Any]) -> Column:
    """A number: its place among the thresholds says everything."""
    figures, none = _figure_tests(tests.leaves)
    cuts, table = segments(figures, lambda bits: tests.mask[bits])
    missing, unknown = tests.mask[none], tests.unknown
    reach = reduce(or_, table, missing | unknown[0])
    raw, known = about.raw, about.known

    def sure(subject: RecordingSubject) -> int:
        figure = raw(subject)
        if figure is None or figure != figure:  # NaN has no place among thresholds
            return missing if known is None or known(subject) else unknown[0]
        return table[bisect_right(cuts, figure)]

    def masks(subject: RecordingSubject) -> Masks:
        if known is not None and not known(subject):
            return unknown
        now = sure(subject)
        return now, now

    return Column(
        terms=tests.terms,
        sure=sure,
        masks=masks if known else None,
        reach=reach,
    )


def _variables(about: Field, tests: FieldTests[Any]) -> Column:
    """Variables: each text by itself, since a recording's set of them is hardly seen twice."""
    texts = TextSet(tests.leaves, about)
    each: Memo[str, int] = Memo(texts.bits, length)
    masks: Memo[int, int] = Memo(lambda bits: tests.mask[texts.met(bits)])
    raw = about.raw

    def sure(subject: RecordingSubject) -> int:
        bits = 0
        for text in raw(subject):
            bits |= each[text]
        return masks[bits]

    return Column(terms=tests.terms, sure=sure)


def _texts(about: Field, tests: FieldTests[Any]) -> Column:
    """A set of texts, such as tags or paths, to which the detail may add."""
    texts = TextSet(tests.leaves, about)
    clean = page if about.text is TextKind.PATH else _as_it_is
    each: Memo[str | None, int] = Memo(lambda raw: texts.bits(clean(raw) or ""), length)
    pieces, known = about.pieces or about.raw, about.known
    final: Memo[int, int] = Memo(lambda bits: tests.mask[texts.met(bits)])
    so_far: Memo[int, Masks] = Memo(lambda bits: tests.masks[texts.met_so_far(bits)])

    def sure(subject: RecordingSubject) -> int:
        bits = 0
        for piece in pieces(subject):
            bits |= each[piece]
        return final[bits] if known is None or known(subject) else so_far[bits][0]

    def masks(subject: RecordingSubject) -> Masks:
        bits = 0
        for piece in pieces(subject):
            bits |= each[piece]
        if known is None or known(subject):
            return final[bits], final[bits]
        return so_far[bits]

    bare = None
    if about.row_at and not (texts.asks_absence or tests.negated):  # else it matters if more come
        bare = Lookup(about.row_at, Memo(lambda raw: tests.mask[texts.met(each[raw])], length))
    return Column(
        terms=tests.terms, sure=sure, bare=bare, masks=masks if known else None, slow=True
    )


def _as_it_is(text: str | None) -> str | None:
    return text
