"""A condition as a tree of frozen values: what a rule's `when`, `except` and `until` become.

Field names are those of the catalogue. Numbers are in the field's base unit: milliseconds
for durations, 0-100 for percents. Texts are compared without regard to case.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OneOf:
    """The text is one of these; `*` stands for any run of characters."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """There is a text, and it is none of these."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """Each of these is among the texts (tags)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression is found in the text (RE2: linear time on any input)."""

    regex: str


@dataclass(frozen=True, slots=True)
class Exists:
    """The value is there and not empty, or the opposite."""

    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Is:
    """The flag has this value."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class Numbers:
    """The number is one of these."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The number lies within: min and max are reached, over and under are passed."""

    min: float | None = None
    max: float | None = None
    over: float | None = None
    under: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The figure has dropped or risen by this share (percent) against its own past (ms ago)."""

    drops_by: float | None = None
    rises_by: float | None = None
    against: int = 0


Wants = OneOf | NoneOf | Every | Pattern | Exists | Is | Numbers | Bounds | Change


@dataclass(frozen=True, slots=True)
class Test:
    """One field wants one thing. `key` is the variable's name where the field is `variables`."""

    field: str
    wants: Wants
    key: str | None = None


@dataclass(frozen=True, slots=True)
class OneItem:
    """One single item of a list meets every test.

    `field` says which list: `page` (a page view), `step` (a funnel's) or `field` (a form's).
    """

    field: str
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Journey:
    """These paths were seen in this order, others may lie between."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; true where there is none."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold. A part without data does not hold, so its negation does."""

    part: "Condition"


Condition = All | AnyOf | Not | Test | OneItem | Journey
