"""Tests of a set of texts (tags, paths, variables, or a single text), decided by bits per text."""

from collections.abc import Callable, Sequence

from bot.fields.field import Field
from bot.rules.index.tables import Known
from bot.rules.model import Test
from bot.rules.value_tests import Alike, OneText, TextTest, glob


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
        key = None if leaf.key is None else leaf.key.casefold()
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
            named = self._tables.get(name.casefold()) if value else None
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
