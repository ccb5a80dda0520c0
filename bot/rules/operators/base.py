"""What every operator answers about one field's value."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self

from bot.fields.field import Field
from bot.rules.syntax.location import Location
from bot.rules.syntax.nodes import Keys, Node
from bot.rules.syntax.values import (
    Schema,
)
from bot.rules.units import enumerated, seen
from bot.rules.value_tests import (
    Alike,
    Answer,
    FigureTest,
    TextTest,
    texts_of,
)


class Earlier(Protocol):
    """The field's own past."""

    def __call__(self, ago: int, /) -> float | None:
        """The figure of so many milliseconds ago; None while there is no history."""

    def usual(self) -> tuple[float, ...]:
        """The figures of this weekday and hour in the last weeks, the latest first."""


ValueTest = Callable[[Any, Earlier], Answer]
"""A test of a field's value, of which everything is known."""


class Operator(ABC):
    """What a rule asks of a field's value. Operators are frozen: equal ones ask the same.

    `keys` are the keys in the rule file with their meanings. An operator without keys is
    written as the value itself; only one such operator fits a field. `needs` names the keys
    that another key needs beside it. `instead_of` is the operator whose keys it takes, for fields
    that the other does not fit. `has_history`: the answer depends on the
    field's past, which single items of a list do not have.
    """

    __slots__ = ()
    keys: ClassVar[Mapping[str, str]]
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    instead_of: ClassVar["type[Operator] | None"] = None
    has_history: ClassVar[bool] = False

    # How it is written.

    @classmethod
    @abstractmethod
    def fits(cls, about: Field) -> bool:
        """Whether a rule may ask this of the field."""

    @classmethod
    @abstractmethod
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
        """Read the operator; notes errors and warnings at their place, None after an error.

        `node` is the mapping that has some of the operator's keys, or the value itself where
        the operator has no keys.
        """

    @classmethod
    @abstractmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        """The JSON Schema of each key's value; under "" that of the value itself."""

    # What it means.

    @abstractmethod
    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest | None:
        """The test as one of texts, None where it is none. The index compiles it.

        `empty_is_data`: a set without texts is known to lack them, as opposed to no data.
        """

    @abstractmethod
    def over_figures(self) -> FigureTest | None:
        """The test as one of a number, None where it is none. The index compiles it."""

    def test(self, about: Field) -> ValueTest:
        """The test of the field's value. Raises TypeError where the operator does not fit."""
        if about.numeric:
            figures = self.over_figures()
            if figures is not None:
                return _band_or_figure(about, figures)
        elif about.type in TEXTS:
            texts = self.over_texts(about, empty_is_data=about.type != "text")
            if texts is not None:
                met = texts.met
                return lambda value, _earlier: met(texts_of(value))
        raise TypeError(f"{type(self).__name__} does not fit the field {about.name}")

    def test_so_far(self, about: Field) -> ValueTest:
        """The test while the value may still grow: texts seen stay, all else is unknown."""
        if about.type == "texts":
            texts = self.over_texts(about, empty_is_data=True)
            if texts is not None:
                met = texts.met_so_far
                return lambda value, _earlier: met(texts_of(value))
        return lambda _value, _earlier: None

    @abstractmethod
    def stays(self, answer: bool, about: Field) -> bool:
        """Whether this answer can't change while the value only grows."""

    # What can be said of two operators.

    @abstractmethod
    def needs_data(self, about: Field) -> bool:
        """Whether only a value that is there can meet it."""

    @abstractmethod
    def implied_by(self, other: "Operator", about: Field) -> bool:
        """Whether every value that meets the other meets this one; False if unclear."""

    @abstractmethod
    def excludes(self, other: "Operator", about: Field, *, several: bool) -> bool:
        """Whether no value meets both; False if unclear. `several`: a value is many texts."""

    @property
    def size(self) -> int:
        """How many values it lists: comparing two operators costs the product."""
        return 1

    # What it needs from the API.

    @abstractmethod
    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        """The API filters (name, value) that come close to it; none where there is no such."""

    def by_values(self, has: Callable[[str], Answer]) -> Answer:
        """The answer for a set of texts of which only some are known: `has` says which are in it.

        Unknown for an operator that says more than that texts are there, or are not.
        """
        return None

    def thresholds(self) -> Iterator[float]:
        """The thresholds to ask where only the server knows the number (friction)."""
        figures = self.over_figures()
        for it in figures.ranges if figures else ():
            yield from it.thresholds()

    @property
    def looks_back(self) -> int | None:
        """How many ms ago the figure is that it compares with, None if it does not."""
        return None

    @property
    def asks_usual(self) -> bool:
        """Whether it compares the figure with the usual one."""
        return False

    @property
    def spelled(self) -> tuple[str, ...]:
        """The texts that it names in full, without wildcards."""
        return ()

    # In words.

    @abstractmethod
    def words(self, about: Field) -> str:
        """What it asks for, in words that follow the field's name."""

    def reason(self, about: Field, value: Any, shown: str) -> str:
        """Why a value that meets it does, for a message; `shown` is the value in words."""
        if about.banded:
            return f"{about.name} {self.words(about)}"
        if about.numeric:
            asked = self.words(about)
            told = shown if asked == shown else f"{shown}, {asked}"
            return f"{about.why_label} {told}".lstrip()
        if about.type == "flag":
            flag = about.in_words("true" if value else "false")
            return flag or (about.name if value else f"not {about.name}")
        met = self._texts_met(about, texts_of(value))
        if about.type == "texts" and not met:
            return f"{about.name} {self.words(about)}"
        words = [about.in_words(text) for text in met]
        if met and None not in words:
            return enumerated(words, "and")
        return f"{about.why_label} {seen(about, met or value) or 'absent'}"

    def _texts_met(self, about: Field, texts: tuple[str, ...]) -> tuple[str, ...]:
        """The texts that the test asks for."""
        test = self.over_texts(about, empty_is_data=True)
        if test is None or not test.each:
            return texts if test is not None and test.there else ()
        return tuple(text for text in texts if any(one(text) for one in test.each))

    def distance(self, about: Field, value: Any) -> str:
        """How far a number is from what is asked: `2 s short`; empty where that says nothing."""
        return ""


def operand(node: Node, key: str, place: Location) -> tuple[Node, Location] | None:
    """The value under the operator's key and its place."""
    entry = node.entries.get(key) if isinstance(node, Keys) else None
    return None if entry is None else (entry.node, place.at(key, entry))


def _band_or_figure(about: Field, figures: FigureTest) -> ValueTest:
    if about.banded:
        return lambda band, _earlier: figures.met_by_band(band)
    met = figures.met
    return lambda value, _earlier: met(value)


def covered(values: tuple[str, ...], patterns: tuple[str, ...], about: Field) -> bool:
    """Whether each value is one of the patterns or is like one. A value's own `*` is a text."""
    return all(map(Alike(patterns, about.normal), values))


TEXTS = frozenset({"text", "texts", "variables"})
"""The types of fields whose values are texts."""
