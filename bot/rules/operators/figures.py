"""Operators of numbers: single figures and ranges, the parts of versions, and moments."""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil, floor, inf, isfinite
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from bot.domain.subjects import Band
from bot.fields.field import (
    MOMENT_PATTERN,
    NUMERIC,
    VERSION_PATTERN,
    Field,
    TextKind,
    Version,
    moment_of,
    moment_text,
    version,
)
from bot.fields.field import number as number_in
from bot.rules.operators.base import Operator
from bot.rules.operators.texts import TextOperator
from bot.rules.syntax.location import Location, text
from bot.rules.syntax.nodes import Items, Keys, Node
from bot.rules.syntax.values import (
    Schema,
    doubt_exact,
    doubt_range,
    figure,
    one_or_more,
    scalar_schema,
)
from bot.rules.units import enumerated, quantity
from bot.rules.value_tests import (
    FigureTest,
    OneText,
    Range,
    TextTest,
)


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
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
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
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
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
        """The numbers that meet the bounds, as one range."""
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
        return _within(self, partial(quantity, about))

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
class TextBounds(TextOperator):
    """Bounds of texts that have an order of their own. Its dataclass has a field for each key."""

    wrong: ClassVar[str]

    @staticmethod
    @abstractmethod
    def bound(written: str) -> Any:
        """The bound as written; None for what is none, which `wrong` says."""

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether nothing lies within."""

    @classmethod
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
        entries = [it for it in node if it.key in cls.keys] if isinstance(node, Keys) else []
        values: dict[str, Any] = {}
        for entry in entries:
            here = place.at(entry.key, entry)
            written = text(entry.node, here)
            if written is None:
                continue
            bound = cls.bound(written)
            if bound is None:
                here.on(entry.node).fault(cls.wrong)
            else:
                values[entry.key] = bound
        if not entries or len(values) != len(entries):
            return None
        bounds = cls(**values)
        if bounds.is_empty:
            last = entries[-1]
            place.at(last.key, last).warn("never-holds", f"nothing is {bounds.words(about)}")
        return bounds

    def over_texts(self, about: Field, *, empty_is_data: bool) -> TextTest:
        return TextTest(each=(self.has,))

    @abstractmethod
    def has(self, text: str) -> bool:
        """Whether the text lies within."""

    def reason(self, about: Field, value: Any, shown: str) -> str:
        return f"{about.why_label} {shown}, {self.words(about)}".lstrip()


@dataclass(frozen=True, slots=True)
class Versions(TextBounds):
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
    wrong: ClassVar[str] = "write a version as numbers and dots, such as 17.4"

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type == "text" and about.text is TextKind.VERSION

    @staticmethod
    def bound(written: str) -> Version | None:
        return version(written) if re.search(VERSION_PATTERN, written) else None

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        bound: Schema = {
            "type": ["string", "number"],
            "minimum": 0,
            "exclusiveMaximum": 1_000_000_000,
            "pattern": VERSION_PATTERN,
        }
        return dict.fromkeys(cls.keys, bound)

    @property
    def is_empty(self) -> bool:
        low, high = self.min or self.over, self.max or self.under
        if low is None or high is None:
            return False
        return _cut(low, high) > high or (self.under is not None and _cut(low, high) == high)

    def has(self, text: str) -> bool:
        seen = version(text)
        return seen is not None and (
            (self.min is None or _cut(seen, self.min) >= self.min)
            and (self.max is None or _cut(seen, self.max) <= self.max)
            and (self.over is None or _cut(seen, self.over) > self.over)
            and (self.under is None or _cut(seen, self.under) < self.under)
        )

    def words(self, about: Field) -> str:
        return _within(self, lambda bound: ".".join(map(str, bound)))


def _within(bounds: Bounds | Versions, told: Callable[[Any], str]) -> str:
    """The bounds in words, such as `at least 3 and under 5`."""
    named = (
        ("at least", bounds.min),
        ("over", bounds.over),
        ("at most", bounds.max),
        ("under", bounds.under),
    )
    said = [f"{word} {told(bound)}" for word, bound in named if bound is not None]
    return " and ".join(said) or "anything"


def _cut(seen: Version, bound: Version) -> Version:
    """As many parts of the version as the bound has; those it lacks are 0."""
    return (*seen[: len(bound)], *(0,) * (len(bound) - len(seen)))


@dataclass(frozen=True, slots=True)
class Moments(TextBounds):
    """The moment lies within: at `after` or later, and earlier than `before`."""

    after: str = ""
    before: str = ""

    keys: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"after": "at this moment or later", "before": "earlier than this moment"}
    )
    wrong: ClassVar[str] = (
        "write a day or a moment of the account's clock, such as 2026-05-01 09:30"
    )

    @classmethod
    def fits(cls, about: Field) -> bool:
        return about.type == "text" and about.text is TextKind.MOMENT

    @staticmethod
    def bound(written: str) -> str | None:
        bound = moment_of(written)
        return None if bound is None else moment_text(bound)

    @property
    def is_empty(self) -> bool:
        return bool(self.before) and self.before <= self.after

    @classmethod
    def schema(cls, about: Field) -> Mapping[str, Schema]:
        bound: Schema = {"type": "string", "pattern": MOMENT_PATTERN}
        return dict.fromkeys(cls.keys, bound)

    def has(self, text: str) -> bool:
        return self.after <= text and (not self.before or text < self.before)

    def words(self, about: Field) -> str:
        named = (("from", self.after), ("before", self.before))
        said = [f"{word} {_brief(it)}" for word, it in named if it]
        return " and ".join(said) or "anything"


def _brief(moment: str) -> str:
    """Without seconds and midnight, where they say nothing."""
    return moment.removesuffix(":00").removesuffix(" 00:00")


OPERATORS: Final[tuple[type[Operator], ...]] = (Numbers, Bounds, Versions, Moments)
