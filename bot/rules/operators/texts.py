"""Operators of texts and lists of texts: one of them, every one, none, a pattern."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from bot.fields.field import Field, TextKind
from bot.messages.text import clean
from bot.rules.operators.base import TEXTS, Operator, covered, operand
from bot.rules.syntax.location import Location, text
from bot.rules.syntax.nodes import Node, Scalar
from bot.rules.syntax.values import (
    TEXT,
    Schema,
    compared_schema,
    doubt_regex,
    one_or_more,
    read_texts,
    regex_problem,
)
from bot.rules.units import enumerated
from bot.rules.value_tests import (
    Alike,
    Answer,
    FigureTest,
    TextTest,
    both,
    either,
    opposite,
    search,
)

MOST_COMPARED = 200
"""Texts of one value that an explanation puts in order."""


@lru_cache(maxsize=1024)
def _likeness(text: str, asked: str) -> float:
    """How alike the texts are, from 0 to 1. Visitors see the same few pages again and again."""
    return SequenceMatcher(None, text, asked).ratio()


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
            near = (_likeness(about.normal(text), it) for it in asked)
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
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
        for key in cls.keys:
            found = operand(node, key, place)
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
        return isinstance(other, OneOf) and covered(other.values, self.values, about)

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
        return covered(other.values, self.values, about)

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
        return about.type == "texts" and about.text is not TextKind.SEARCH

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
    def fits(cls, about: Field) -> bool:
        return about.type in TEXTS and about.text is not TextKind.SEARCH

    @classmethod
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
        found = operand(node, "matches", place)
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


OPERATORS: Final[tuple[type[Operator], ...]] = (OneOf, Every, NoneOf, OtherThan, Pattern)
