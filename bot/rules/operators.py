"""What a rule may ask of one field's value: one class per operator, and the registry of them all.

`Operator` lists the questions that every operator answers. A new operator is one class and one
line in `OPERATORS`: the reader, the evaluator, the index, explanations, the JSON Schema and the
docs read that registry and ask the class.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import SequenceMatcher
from math import ceil, floor, inf, isfinite, sqrt
from statistics import median
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol, Self

from bot.domain.subjects import Band
from bot.fields.catalogue import ALERTS, over_time
from bot.fields.field import NUMERIC, Field, TextKind, Version, version
from bot.fields.field import number as number_in
from bot.messages.text import clean, lasting, number
from bot.rules.syntax.location import Place, flag, length, part, share, text
from bot.rules.syntax.nodes import Items, Keys, Node, Scalar
from bot.rules.syntax.values import (
    CHANGE,
    FLAG,
    LENGTH,
    PERCENT,
    TEXT,
    Schema,
    compared_schema,
    doubt_exact,
    doubt_range,
    doubt_regex,
    figure,
    one_or_more,
    read_texts,
    regex_problem,
    scalar_schema,
)
from bot.rules.units import enumerated, quantity, seen
from bot.rules.value_tests import (
    Alike,
    Answer,
    FigureTest,
    OneText,
    Range,
    TextTest,
    both,
    either,
    opposite,
    search,
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

USUAL_WEEKS = 4
"""How many weeks make the usual."""
FEWEST_WEEKS = 3
"""With figures of fewer weeks nothing is known to be unusual."""
CHANCE = 3.0
"""A count differs from the usual by chance alone up to this many times its square root."""

MOST_COMPARED = 200
"""Texts of one value that an explanation puts in order."""

TEXTS = frozenset({"text", "texts", "variables"})
"""The types of fields whose values are texts."""


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
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
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
        """The same while more of the value may come: texts seen stay, all else is unknown."""
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


def _band_or_figure(about: Field, figures: FigureTest) -> ValueTest:
    if about.banded:
        return lambda band, _earlier: figures.met_by_band(band)
    met = figures.met
    return lambda value, _earlier: met(value)


def _operand(node: Node, key: str, place: Place) -> tuple[Node, Place] | None:
    """The value under the operator's key and its place."""
    entry = node.entries.get(key) if isinstance(node, Keys) else None
    return None if entry is None else (entry.node, place.at(key, entry))


class TextOperator(Operator):
    """An operator of texts. `over_texts` says all that it means."""

    __slots__ = ()

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type in TEXTS

    @abstractmethod
    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        """The test of texts."""

    def over_figures(self) -> FigureTest | None:
        return None

    def by_weight(self, about: Field, texts: tuple[str, ...]) -> tuple[str, ...]:
        """The texts that decide first, then those that come nearest to what is asked."""
        test = self.over_texts(about, empty_is_data=True)
        asked = [about.normal(text) for text in self.spelled or getattr(self, "values", ())]

        def distance(text: str) -> tuple[bool, float]:
            decides = any(one(text) for one in (*test.each, *test.none))
            near = (SequenceMatcher(None, about.normal(text), it).ratio() for it in asked)
            return not decides, -max(near, default=0.0)

        return tuple(sorted(texts[:MOST_COMPARED], key=distance)) + texts[MOST_COMPARED:]

    def stays(self, answer: bool, about: Field) -> bool:
        test = self.over_texts(about, empty_is_data=about.type != "text")
        return not (test.may_end if answer else test.may_begin)

    def needs_data(self, about: Field) -> bool:
        test = self.over_texts(about, empty_is_data=about.type != "text")
        return bool(test.each) or test.there is True

    def implied_by(self, other: Operator, about: Field) -> bool:
        return self == other

    def excludes(self, other: Operator, about: Field, *, several: bool) -> bool:
        return False

    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        yield from ()


@dataclass(frozen=True, slots=True)
class ListedTexts(TextOperator):
    """An operator with a text or a list of texts under its key, such as prefixes."""

    values: tuple[str, ...]

    whole: ClassVar[bool] = False

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        for key in cls.keys:
            found = _operand(node, key, place)
            if found is None:
                return None
            node, place = found
            if isinstance(node, Scalar) and node.value is None:
                place.on(node).fault(f"{key} has no value; write {{exists: true}}")
                return None
        values = read_texts(node, place, about, whole=cls.whole)
        return None if values is None else cls(values)

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        item = TEXT if cls.keys else compared_schema(about)
        return dict.fromkeys(cls.keys or ("",), one_or_more(item))

    @property
    def size(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class WholeTexts(ListedTexts):
    """Such an operator whose texts are whole values, where `*` is any run of characters."""

    whole: ClassVar[bool] = True

    @property
    def spelled(self) -> tuple[str, ...]:
        return tuple(value for value in self.values if "*" not in value)


@dataclass(frozen=True, slots=True)
class OneOf(WholeTexts):
    """A text is one of these; `*` is any run of characters."""

    keys: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        return TextTest(each=(Alike(self.values, about.normal),))

    def implied_by(self, other: Operator, about: Field) -> bool:
        return isinstance(other, OneOf) and _covered(other.values, self.values, about)

    def excludes(self, other: Operator, about: Field, *, several: bool) -> bool:
        if several or not isinstance(other, OneOf) or "*" in "".join(self.values + other.values):
            return False
        mine, others = (set(map(about.normal, it.values)) for it in (self, other))
        return mine.isdisjoint(others)

    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        served = about.api_filter
        taken = served.take(self.values[0]) if served and len(self.values) == 1 else None
        if served and taken is not None:
            yield served.name, (taken,) if served.is_list else taken

    def by_values(self, has: Callable[[str], Answer]) -> Answer:
        return either(map(has, self.values))

    def words(self, about: Field) -> str:
        return enumerated(self.values, "or")


@dataclass(frozen=True, slots=True)
class NoneOf(WholeTexts):
    """There is a text, and none is one of these. An empty set of texts holds none of them."""

    keys: ClassVar[Mapping[str, str]] = MappingProxyType({"not": "none of these"})

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        barred = Alike(self.values, about.normal)
        return TextTest(none=(barred,), there=None if empty_is_data else True)

    def excludes(self, other: Operator, about: Field, *, several: bool) -> bool:
        if several or not isinstance(other, OneOf):
            return False
        return _covered(other.values, self.values, about)

    def by_values(self, has: Callable[[str], Answer]) -> Answer:
        return opposite(either(map(has, self.values)))

    def words(self, about: Field) -> str:
        return f"not {enumerated(self.values, 'or')}"

    def reason(self, about: Field, value: Any, shown: str) -> str:
        if about.type == "texts":
            label = about.absent_label or f"no {about.name}"
            return f"{label} {enumerated(self.values, 'or')}"
        return Operator.reason(self, about, value, shown)

    def _texts_met(self, about: Field, texts: tuple[str, ...]) -> tuple[str, ...]:
        return texts


@dataclass(frozen=True, slots=True)
class Every(WholeTexts):
    """Each of these is among the texts (tags)."""

    keys: ClassVar[Mapping[str, str]] = MappingProxyType({"all": "every one of these"})

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type == "texts"

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        return TextTest(each=tuple(Alike((value,), about.normal) for value in self.values))

    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        served = about.api_filter
        if served and served.is_list:
            each = map(served.take, self.values)
            yield served.name, tuple(taken for taken in each if taken is not None)

    def by_values(self, has: Callable[[str], Answer]) -> Answer:
        return both(map(has, self.values))

    def words(self, about: Field) -> str:
        return f"all of {enumerated(self.values, 'and')}"


@dataclass(frozen=True, slots=True)
class OtherThan(WholeTexts):
    """Some text is none of these, whatever others there are."""

    keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"other_than": "at least one that is none of these"}
    )

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type == "texts"

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        known = Alike(self.values, about.normal)
        return TextTest(each=(lambda text: not known(text),))

    @property
    def spelled(self) -> tuple[str, ...]:
        return ()

    def words(self, about: Field) -> str:
        return f"other than {enumerated(self.values, 'and')}"


@dataclass(frozen=True, slots=True)
class Pattern(TextOperator):
    """A regular expression is found in a text (RE2: linear time on any input)."""

    regex: str

    keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"matches": "a regular expression is found in the text, ignoring case"}
    )

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        found = _operand(node, "matches", place)
        regex = text(*found) if found else None
        if found is None or regex is None:
            return None
        problem = regex_problem(regex)
        if problem:
            found[1].on(found[0]).fault(f"this is no regular expression: {problem}")
            return None
        doubt_regex(regex, found[1].on(found[0]), about)
        return cls(regex)

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        return {"matches": {"type": "string", "minLength": 1}}

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        return TextTest(each=(search(self.regex),))

    def words(self, about: Field) -> str:
        return f"like /{clean(self.regex, 80)}/"


class FigureOperator(Operator):
    """An operator of numbers; of variables, whose texts may say a number, too."""

    __slots__ = ()

    @property
    @abstractmethod
    def ranges(self) -> tuple[Range, ...]:
        """The numbers asked for: those in one of these ranges."""

    def over_figures(self) -> FigureTest:
        return FigureTest(self.ranges)

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest | None:
        if about.type != "variables":
            return None
        return TextTest(each=(_says(self.over_figures()),))

    def stays(self, answer: bool, about: Field) -> bool:
        ends = (it.high[0] == inf if answer else it.low[0] == -inf for it in self.ranges)
        return all(ends)

    def needs_data(self, about: Field) -> bool:
        return True

    def implied_by(self, other: Operator, about: Field) -> bool:
        return isinstance(other, FigureOperator) and all(
            any(one.within(mine) for mine in self.ranges) for one in other.ranges
        )

    def excludes(self, other: Operator, about: Field, *, several: bool) -> bool:
        if several or not isinstance(other, FigureOperator):
            return False
        return all(mine.apart(one) for mine in self.ranges for one in other.ranges)


def _says(figures: FigureTest) -> OneText:
    """A text that says a number is tested by that number."""

    def says(text: str) -> bool:
        figure = number_in(text)
        return figure is not None and figures.met(figure)

    return says


@dataclass(frozen=True, slots=True)
class Numbers(FigureOperator):
    """The number is one of these."""

    values: tuple[float, ...]

    keys: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.numeric

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        items = node.items if isinstance(node, Items) else [node]
        if not items:
            place.on(node).fault(f"{about.name} has an empty list; write at least one value")
            return None
        values = [figure(item, place.on(item), about) for item in items]
        good = tuple(value for value in values if value is not None)
        if len(good) != len(values):
            return None
        doubt_exact(good, place.on(node), about)
        return cls(good)

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        return {"": one_or_more(scalar_schema(about))}

    @property
    def ranges(self) -> tuple[Range, ...]:
        return tuple(Range(min=value, max=value) for value in self.values)

    @property
    def size(self) -> int:
        return len(self.values)

    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        yield from ()

    def words(self, about: Field) -> str:
        return enumerated([quantity(about, value) for value in self.values], "or")


@dataclass(frozen=True, slots=True)
class Bounds(FigureOperator):
    """The number lies within: min and max are reached, over and under are passed."""

    min: float | None = None
    max: float | None = None
    over: float | None = None
    under: float | None = None

    keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "min": "at least this much",
            "max": "at most this much",
            "over": "more than this",
            "under": "less than this",
        }
    )

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.numeric or about.type == "variables"

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        entries = [it for it in node if it.key in cls.keys] if isinstance(node, Keys) else []
        values: dict[str, float] = {}
        for entry in entries:
            value = figure(entry.node, place.at(entry.key, entry).on(entry.node), about)
            if value is not None:
                values[entry.key] = value
        if not entries or len(values) != len(entries):
            return None
        bounds = cls(**values)
        last = place.at(entries[-1].key, entries[-1])
        doubt_range(bounds.range, bounds.words(about), last, place.on(node), about)
        return bounds

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        number = scalar_schema(about) if about.type in NUMERIC else {"type": "number"}
        return dict.fromkeys(cls.keys, number)

    @property
    def range(self) -> Range:
        """The same as a range of numbers."""
        return Range(self.min, self.max, self.over, self.under)

    @property
    def ranges(self) -> tuple[Range, ...]:
        return (self.range,)

    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        """`over` and `under` are taken as reached (L4308); exact limits are rounded outwards."""
        served = about.api_filter
        if served is None or not served.is_range:
            return
        ends = (self.range.low[0], floor), (self.range.high[0], ceil)
        for name, (end, rounded) in zip(served.names, ends, strict=True):
            limit = rounded(end) if served.exact and isfinite(end) else end
            if isfinite(limit) and (limit >= 0 if served.exact else limit):
                yield name, served.take(limit)

    def words(self, about: Field) -> str:
        named = (
            ("at least", self.min),
            ("over", self.over),
            ("at most", self.max),
            ("under", self.under),
        )
        said = [f"{word} {quantity(about, it)}" for word, it in named if it is not None]
        return " and ".join(said) or "anything"

    def distance(self, about: Field, value: Any) -> str:
        if isinstance(value, Band):
            return self._band_distance(value)
        if not isinstance(value, int | float) or value != value:
            return ""
        low, high = self.range.low[0], self.range.high[0]
        if value < low:
            return f"{quantity(about, low - value)} short"
        if value > high:
            return f"{quantity(about, value - high)} too much"
        return "just on the edge" if value in (self.over, self.under) else ""

    def _band_distance(self, band: Band) -> str:
        """How far at most, since the API tells only between which thresholds a friction is."""
        low, high = self.range.low[0], self.range.high[0]
        if band.high <= low and isfinite(band.low):
            return f"at most {low - band.low:.3g} short"
        if band.low >= high and isfinite(band.high):
            return f"at most {band.high - high:.3g} too much"
        return ""


@dataclass(frozen=True, slots=True)
class Versions(TextOperator):
    """The version lies within, compared part by part, as far as the bound goes.

    So `max: 17` takes 17.4 and `over: 17` begins with 18. A text that begins with no number is
    no version.
    """

    min: Version | None = None
    max: Version | None = None
    over: Version | None = None
    under: Version | None = None

    keys: ClassVar[Mapping[str, str]] = Bounds.keys
    instead_of: ClassVar[type[Operator] | None] = Bounds

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type == "text" and about.text is TextKind.VERSION

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        entries = [it for it in node if it.key in cls.keys] if isinstance(node, Keys) else []
        values: dict[str, Version] = {}
        for entry in entries:
            here = place.at(entry.key, entry)
            written = text(entry.node, here)
            if written is None:
                continue
            bound = version(written)
            if bound is None or ".".join(map(str, bound)) != written.strip():
                here.on(entry.node).fault("write a version as numbers and dots, such as 17.4")
            else:
                values[entry.key] = bound
        if not entries or len(values) != len(entries):
            return None
        bounds = cls(**values)
        if bounds._is_empty:
            last = entries[-1]
            place.at(last.key, last).warn("never-holds", f"nothing is {bounds.words(about)}")
        return bounds

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        pattern = r"^\s*[0-9]+(\.[0-9]+)*\s*$"
        bound: Schema = {"type": ["string", "number"], "minimum": 0, "pattern": pattern}
        return dict.fromkeys(cls.keys, bound)

    @property
    def _is_empty(self) -> bool:
        low, high = self.min or self.over, self.max or self.under
        if low is None or high is None:
            return False
        return _cut(low, high) > high or (self.under is not None and _cut(low, high) == high)

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        return TextTest(each=(self._has,))

    def _has(self, text: str) -> bool:
        seen = version(text)
        return seen is not None and (
            (self.min is None or _cut(seen, self.min) >= self.min)
            and (self.max is None or _cut(seen, self.max) <= self.max)
            and (self.over is None or _cut(seen, self.over) > self.over)
            and (self.under is None or _cut(seen, self.under) < self.under)
        )

    def words(self, about: Field) -> str:
        named = (
            ("at least", self.min),
            ("over", self.over),
            ("at most", self.max),
            ("under", self.under),
        )
        said = [f"{word} {'.'.join(map(str, it))}" for word, it in named if it is not None]
        return " and ".join(said) or "anything"

    def reason(self, about: Field, value: Any, shown: str) -> str:
        return f"{about.why_label} {shown}, {self.words(about)}".lstrip()


def _cut(seen: Version, bound: Version) -> Version:
    """As many parts of the version as the bound has; those it lacks are 0."""
    return (*seen[: len(bound)], *(0,) * (len(bound) - len(seen)))


@dataclass(frozen=True, slots=True)
class Exists(Operator):
    """The value is there and not empty, or the opposite."""

    wanted: bool = True

    keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"exists": "there is a value that is not empty, or there is none"}
    )

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type != "items"

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        wanted = part(node, "exists", place, flag) if isinstance(node, Keys) else None
        return None if wanted is None else cls(wanted)

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        return {"exists": FLAG}

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        return TextTest(there=self.wanted)

    def over_figures(self) -> FigureTest:
        return FigureTest((Range(),) if self.wanted else (), missing=not self.wanted)

    def test(self, about: Field) -> ValueTest:
        if about.type == "flag":
            return lambda value, _earlier: (value is not None) is self.wanted
        return Operator.test(self, about)

    def stays(self, answer: bool, about: Field) -> bool:
        return answer is self.wanted

    def needs_data(self, about: Field) -> bool:
        return self.wanted

    def implied_by(self, other: Operator, about: Field) -> bool:
        return self == other or (self.wanted and other.needs_data(about))

    def excludes(self, other: Operator, about: Field, *, several: bool) -> bool:
        return not self.wanted and other.needs_data(about)

    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        yield from ()

    def words(self, about: Field) -> str:
        return "present" if self.wanted else "absent"


@dataclass(frozen=True, slots=True)
class Is(Operator):
    """The flag has this value."""

    wanted: bool

    keys: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type == "flag"

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        wanted = flag(node, place)
        return None if wanted is None else cls(wanted)

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        return {"": FLAG}

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest | None:
        return None

    def over_figures(self) -> FigureTest | None:
        return None

    def test(self, about: Field) -> ValueTest:
        if about.type != "flag":
            return Operator.test(self, about)
        return lambda value, _earlier: value is self.wanted

    def stays(self, answer: bool, about: Field) -> bool:
        return False

    def needs_data(self, about: Field) -> bool:
        return True

    def implied_by(self, other: Operator, about: Field) -> bool:
        return self == other

    def excludes(self, other: Operator, about: Field, *, several: bool) -> bool:
        return isinstance(other, Is) and self != other

    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        if about.api_filter:
            yield about.api_filter.name, self.wanted

    def words(self, about: Field) -> str:
        return "yes" if self.wanted else "no"


@dataclass(frozen=True, slots=True)
class AgainstThePast(Operator):
    """Compares a figure with its own past, which may not be known and which no filter of the API
    tells.
    """

    has_history: ClassVar[bool] = True

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest | None:
        return None

    def over_figures(self) -> FigureTest | None:
        return None

    def stays(self, answer: bool, about: Field) -> bool:
        return False

    def needs_data(self, about: Field) -> bool:
        return True

    def implied_by(self, other: Operator, about: Field) -> bool:
        return self == other

    def excludes(self, other: Operator, about: Field, *, several: bool) -> bool:
        return False

    def filters(self, about: Field) -> Iterator[tuple[str, Any]]:
        yield from ()


@dataclass(frozen=True, slots=True)
class Change(AgainstThePast):
    """The figure has dropped or risen by this share (percent) against its own past (ms ago).

    Unknown while there is no history.
    """

    drops_by: float | None = None
    rises_by: float | None = None
    against: int = 0

    keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "drops_by": "fallen by this share against its own past",
            "rises_by": "risen by this share against its own past",
            "against": "how long ago the past is",
        }
    )
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"drops_by": ("against",), "rises_by": ("against",)}
    )

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.numeric and about.watch in ALERTS

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        if not isinstance(node, Keys) or not node.entries.keys() <= operator_keys(about).keys():
            return None  # noted already; what is missing may only be misspelt
        drops = part(node, "drops_by", place, share)
        rises = part(node, "rises_by", place, share)
        against = part(node, "against", place, length)
        if "drops_by" not in node.entries and "rises_by" not in node.entries:
            place.on(node).fault("against goes with drops_by or rises_by")
            return None
        if "against" not in node.entries:
            place.on(node).fault("say against how long ago, such as against: 7d")
            return None
        for key, by in (("drops_by", drops), ("rises_by", rises)):
            if by is not None and (by <= 0 or (key == "drops_by" and by > 100)):
                place.at(key, node.entries[key]).fault(f"{key} needs a percentage such as 20%")
        if against is None:
            return None
        if over_time(about) and against % timedelta(days=1):
            place.at("against", node.entries["against"]).fault(
                f"{about.name} is compared with the same time of day; write whole days, "
                "such as against: 1d or 7d"
            )
            return None
        return cls(drops, rises, round(against.total_seconds() * 1000))

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        return {"drops_by": CHANGE, "rises_by": CHANGE, "against": LENGTH}

    def test(self, about: Field) -> ValueTest:
        if not self.fits(about):
            return Operator.test(self, about)

        def test(now: float | None, earlier: Earlier) -> Answer:
            if now is None:
                return False
            before = earlier(self.against)
            return None if before is None else self.changed(now, before)

        return test

    def changed(self, now: float, before: float) -> bool:
        """Whether the figure has dropped or risen by the share of what it was, in percent."""
        if before == 0:
            return self.rises_by is not None and now > 0
        change = 100.0 * (now - before) / abs(before)
        fallen = self.drops_by is not None and -change >= self.drops_by
        return fallen or (self.rises_by is not None and change >= self.rises_by)

    @property
    def looks_back(self) -> int | None:
        return self.against

    def words(self, about: Field) -> str:
        ago = lasting(timedelta(milliseconds=self.against))
        moves = (("down", self.drops_by), ("up", self.rises_by))
        said = [f"{word} by {number(it)} %" for word, it in moves if it is not None]
        return f"{' or '.join(said)} against {ago} ago"

    def reason(self, about: Field, value: Any, shown: str) -> str:
        return f"{about.name} {self.words(about)}: {shown}"


@dataclass(frozen=True, slots=True)
class Unusual(AgainstThePast):
    """The figure is at most, or at least, this share (percent) of the usual.

    The usual is the median of this weekday and hour in the last weeks. Unknown with too few
    weeks, and where a count is so small that chance alone may explain the difference.
    """

    below_usual: float | None = None
    above_usual: float | None = None

    keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "below_usual": "at most this share of the usual for the weekday and hour",
            "above_usual": "at least this share of the usual for the weekday and hour",
        }
    )

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.numeric and about.watch in ALERTS and not about.news_of

    @classmethod
    def read(cls, node: Node, place: Place, about: Field) -> Self | None:
        below = part(node, "below_usual", place, share) if isinstance(node, Keys) else None
        above = part(node, "above_usual", place, share) if isinstance(node, Keys) else None
        if not isinstance(node, Keys) or (below is None and above is None):
            return None
        if below is not None and not 0 <= below < 100:
            place.at("below_usual", node.entries["below_usual"]).fault(
                "below_usual needs a percentage under 100%: 50% is half of the usual or less"
            )
        if above is not None and above <= 100:
            place.at("above_usual", node.entries["above_usual"]).fault(
                "above_usual needs a percentage over 100%: 200% is twice the usual or more"
            )
        return cls(below, above)

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        return {
            "below_usual": PERCENT | {"minimum": 0, "exclusiveMaximum": 100},
            "above_usual": PERCENT | {"exclusiveMinimum": 100},
        }

    def test(self, about: Field) -> ValueTest:
        if not self.fits(about):
            return Operator.test(self, about)

        def test(now: float | None, earlier: Earlier) -> Answer:
            if now is None:
                return False
            weeks = earlier.usual()
            if len(weeks) < FEWEST_WEEKS:
                return None
            return self.unusual(now, median(weeks), is_count=about.is_count)

        return test

    def unusual(self, now: float, usual: float, *, is_count: bool) -> Answer:
        """Whether the figure is unusual; None if it may be so by chance."""
        below = self.below_usual is not None and now <= usual * self.below_usual / 100
        above = self.above_usual is not None and now >= usual * self.above_usual / 100
        if not (below or above) or now == usual:
            return False
        by_chance = is_count and abs(now - usual) < CHANCE * sqrt(max(now, usual))
        return None if by_chance else True

    @property
    def asks_usual(self) -> bool:
        return True

    def words(self, about: Field) -> str:
        bounds = (("at most", self.below_usual), ("at least", self.above_usual))
        said = [f"{word} {number(it)} %" for word, it in bounds if it is not None]
        return f"{' or '.join(said)} of the usual"

    def reason(self, about: Field, value: Any, shown: str) -> str:
        return f"{about.name} {shown}"


def _covered(values: tuple[str, ...], patterns: tuple[str, ...], about: Field) -> bool:
    """Whether each value is one of the patterns or is like one. A value's own `*` is a text."""
    return all(map(Alike(patterns, about.normal), values))


def registry(*operators: type[Operator]) -> tuple[type[Operator], ...]:
    """The operators; raises TypeError for one that leaves a question unanswered."""
    keys: set[str] = set()
    for operator in operators:
        unanswered = operator.__abstractmethods__ | ({"keys"} - {*dir(operator)})
        if unanswered:
            raise TypeError(f"{operator.__name__} does not say: {', '.join(sorted(unanswered))}")
        taken = operator.instead_of.keys.keys() if operator.instead_of else set()
        if keys & (operator.keys.keys() - taken):
            raise TypeError(f"{operator.__name__} has a key that another operator has")
        keys |= operator.keys.keys()
    return operators


OPERATORS: Final = registry(
    OneOf,
    Numbers,
    Is,
    Every,
    NoneOf,
    OtherThan,
    Pattern,
    Bounds,
    Versions,
    Exists,
    Change,
    Unusual,
)
"""Every operator, in the order in which messages, the schema and the docs name them."""


def fitting(about: Field, *, single_item: bool = False) -> Iterator[type[Operator]]:
    """The operators with keys that fit the field, or the part of one single item."""
    for operator in OPERATORS:
        if operator.keys and operator.fits(about) and not (single_item and operator.has_history):
            yield operator


def operator_keys(about: Field, *, single_item: bool = False) -> dict[str, str]:
    """The keys that fit the field, with their meanings."""
    found = fitting(about, single_item=single_item)
    return {key: meaning for it in found for key, meaning in it.keys.items()}


def plain_operator(about: Field) -> type[Operator]:
    """The operator that a bare value means."""
    (found,) = (it for it in OPERATORS if not it.keys and it.fits(about))
    return found
