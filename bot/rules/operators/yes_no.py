"""Operators that ask yes or no: whether a value is there, and whether a flag is set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from bot.fields.field import Field, TextKind
from bot.rules.operators.base import Operator, ValueTest
from bot.rules.syntax.location import Location, flag, part
from bot.rules.syntax.nodes import Keys, Node
from bot.rules.syntax.values import (
    FLAG,
    Schema,
)
from bot.rules.value_tests import (
    FigureTest,
    Range,
    TextTest,
)


@dataclass(frozen=True, slots=True)
class Exists(Operator):
    """The value is there and not empty, or the opposite."""

    wanted: bool = True

    keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"exists": "there is a value that is not empty, or there is none"}
    )

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type != "items" and about.text is not TextKind.SEARCH

    @classmethod
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
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
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
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


OPERATORS: Final[tuple[type[Operator], ...]] = (Is, Exists)
