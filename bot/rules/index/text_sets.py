"""Tests of a set of texts (tags, paths, variables, or a single text), told from bits per text."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bot.fields.field import Field, number
from bot.rules.index.tables import Pair
from bot.rules.model import Bounds, Every, Exists, NoneOf, Numbers, OneOf, Pattern, Test, Wants
from bot.rules.operators import Matches, figure_test, found, glob


class Texts:
    """From one text to the bits of the wanted texts that it is."""

    def __init__(self, normal: Callable[[str], str]) -> None:
        self.always = 0
        self._normal = normal
        self._plain: dict[str, int] = {}
        self._globs: list[tuple[Matches, int]] = []
        self._others: list[tuple[Matches, int]] = []

    def add(self, wants: Wants, bit: int) -> None:
        """Sets the bit for the texts that these wants name."""
        if isinstance(wants, OneOf | NoneOf | Every):
            self._add_patterns(wants.values, bit)
        elif isinstance(wants, Pattern):
            self._others.append((found(wants.regex), bit))
        elif isinstance(wants, Numbers | Bounds):
            self._others.append((_figure(wants), bit))

    def _add_patterns(self, patterns: Iterable[str], bit: int) -> None:
        for pattern in map(self._normal, patterns):
            if "*" in pattern:
                self._globs.append((glob(pattern), bit))
            else:
                self._plain[pattern] = self._plain.get(pattern, 0) | bit

    def bits(self, text: str) -> int:
        """The bits of all that this text is."""
        normal = self._normal(text)
        bits = self.always | self._plain.get(normal, 0)
        for like, bit in self._globs:
            if like(normal):
                bits |= bit
        for like, bit in self._others:
            if like(text):
                bits |= bit
        return bits


def _figure(wants: Numbers | Bounds) -> Matches:
    within = figure_test(wants)
    return lambda text: (figure := number(text)) is not None and within(figure)


class Bag:
    """The tests of one field, numbered as given, over all the texts of a subject.

    A test that one text can meet alone has its own bit. Of the others it is kept which bits
    must all be there, of which there must be one, and which must not be there.
    """

    def __init__(self, leaves: Sequence[Any], about: Field) -> None:
        self._about = about
        self._texts: dict[str | None, Texts] = {}
        self._direct = 0
        self._rules: list[tuple[int, int, int, int]] = []
        self._free = len(leaves)
        for j, leaf in enumerate(leaves):
            self._add(leaf, 1 << j)

    def _add(self, leaf: Test, bit: int) -> None:
        key = None if leaf.key is None else leaf.key.casefold()
        texts = self._texts.setdefault(key, Texts(self._about.normal))
        wants = leaf.wants
        lenient = key is None and self._about.type in ("texts", "variables")
        if isinstance(wants, NoneOf):
            barred = self._atom()
            texts.add(wants, barred)
            self._rules.append((bit, 0 if lenient else self._presence(texts), 0, barred))
        elif isinstance(wants, Every):
            each = [self._atom() for _ in wants.values]
            for value, atom in zip(wants.values, each, strict=True):
                texts.add(OneOf((value,)), atom)
            self._rules.append((bit, 0, sum(each), 0))
        elif isinstance(wants, Exists) and not wants.wanted:
            self._rules.append((bit, 0, 0, self._presence(texts)))
        elif isinstance(wants, Exists):
            texts.always |= bit
            self._direct |= bit
        else:
            texts.add(wants, bit)
            self._direct |= bit

    def _atom(self) -> int:
        self._free += 1
        return 1 << (self._free - 1)

    def _presence(self, texts: Texts) -> int:
        atom = self._atom()
        texts.always |= atom
        return atom

    @property
    def asks_absence(self) -> bool:
        """Whether some test wants a text not to be there."""
        return any(barred for _, _, _, barred in self._rules)

    def bits(self, text: str) -> int:
        """What this one text brings."""
        if not text:
            return 0
        whole = self._texts.get(None)
        bits = whole.bits(text) if whole else 0
        if self._about.type == "variables":
            name, _, value = text.partition("=")
            named = self._texts.get(name.casefold()) if value else None
            bits |= named.bits(value) if named else 0
        return bits

    def met(self, bits: int) -> int:
        """The tests that are met when these bits are all there is."""
        met = bits & self._direct
        for bit, one, every, barred in self._rules:
            if bits & every == every and not bits & barred and (not one or bits & one):
                met |= bit
        return met

    def so_far(self, bits: int) -> Pair:
        """The tests surely met and surely not, when more bits may come."""
        met, failed = bits & self._direct, 0
        for bit, one, every, barred in self._rules:
            if bits & barred:
                failed |= bit
            elif not barred and bits & every == every and (not one or bits & one):
                met |= bit
        return met, failed
