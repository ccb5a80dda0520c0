"""Operators that compare a figure with its own past: a change, and what is unusual."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from statistics import median_high, median_low
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from bot.fields.catalogue import ALERTS, over_time
from bot.fields.field import Field
from bot.messages.text import lasting, number
from bot.rules.operators.base import Earlier, Operator, ValueTest
from bot.rules.syntax.location import Location, length, part, share
from bot.rules.syntax.nodes import Keys, Node
from bot.rules.syntax.values import (
    CHANGE,
    LENGTH,
    PERCENT,
    Schema,
)
from bot.rules.value_tests import (
    Answer,
    FigureTest,
    TextTest,
)

USUAL_WEEKS = 4
"""How many weeks make the usual."""


FEWEST_WEEKS = 3
"""With figures of fewer weeks nothing is known to be unusual."""


CHANCE = 3.0
"""A count differs from the usual by chance alone up to this many times its square root."""


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
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
        if not isinstance(node, Keys):
            return None
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
    weeks, where a count is so small that chance alone may explain the difference, and where only
    one of the two weeks in the middle says so: two weeks of a sale are not the usual yet.
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
    def read(cls, node: Node, place: Location, about: Field) -> Self | None:
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
            ends = median_low(weeks), median_high(weeks)
            answers = {self.unusual(now, each, is_count=about.is_count) for each in ends}
            return answers.pop() if len(answers) == 1 else None

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


OPERATORS: Final[tuple[type[Operator], ...]] = (Change, Unusual)
