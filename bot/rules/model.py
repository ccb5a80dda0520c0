"""A rule, read and checked: frozen values that the rest of the bot trusts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from bot.actions.base import Action
from bot.domain.subjects import Kind
from bot.errors import Fault


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


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many within a window of that length."""

    times: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class OncePer:
    """One match per value of the field (`visitor`, `ip`, `country`, ...) within the window."""

    field: str
    window: timedelta


@dataclass(frozen=True, slots=True)
class Count:
    """One match of many: so many subjects within the window, counted by that field."""

    at_least: int
    within: timedelta
    by: str


@dataclass(frozen=True, slots=True)
class Active:
    """When posts may go out: weekdays (0 = Monday) and minutes of the day in the account's zone."""

    days: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AfterDowntime:
    """What to do for matches older than `act_up_to` when catching up: `digest` or `drop` them."""

    act_up_to: timedelta = timedelta(hours=6)
    older: Literal["digest", "drop"] = "digest"


@dataclass(frozen=True, slots=True)
class RuleTest:
    """A test written beside its rule: given such a subject, expect match or no match.

    `given` holds plain values by field name, in the catalogue's base units. `actions` are the
    action kinds a match must cause, `text` a piece that some message must hold.
    """

    name: str
    given: Mapping[str, Any]
    match: bool
    line: int
    column: int
    actions: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule. `id` is its key in the file and names all its state in the store."""

    id: str
    watch: Kind
    when: Condition
    do: tuple[Action, ...]
    summary: str = ""
    websites: tuple[str, ...] = ()
    excepts: Condition | None = None
    once_per: OncePer | None = None
    count: Count | None = None
    safety: Rate | None = None
    active: Active | None = None
    after_downtime: AfterDowntime = AfterDowntime()
    held_for: timedelta | None = None
    until: Condition | None = None
    resolved: bool = False
    over_last: timedelta | None = None
    visitors: Mapping[str, str] = field(default_factory=dict)
    was: tuple[str, ...] = ()
    tests: tuple[RuleTest, ...] = ()
    file: str = ""
    line: int = 0
    column: int = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """Steer the recording rate, in percent, so that a budget lasts to the period's end."""

    low: float = 10.0
    high: float = 100.0


@dataclass(frozen=True, slots=True)
class BudgetStep:
    """What to do, once a period, when so many percent of the budget are used."""

    at: float
    do: tuple[Action, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Recordings that websites may use up together in a period.

    `starts_on` is the day of the month (1-31) for months and the weekday (1 = Monday) for
    weeks. `steps` are in ascending order.
    """

    id: str
    websites: tuple[str, ...]
    recordings: int
    period: Literal["day", "week", "month"] = "month"
    starts_on: int = 1
    steps: tuple[BudgetStep, ...] = ()
    resume: bool = False
    pace: Pace | None = None
    summary: str = ""
    file: str = ""
    line: int = 0
    column: int = 1


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of all files, in file order, with the lints that were not silenced."""

    rules: tuple[Rule, ...] = ()
    warnings: tuple[Fault, ...] = ()
    digest: str = ""
    budgets: tuple[Budget, ...] = ()

    def watching(self, kind: Kind) -> tuple[Rule, ...]:
        """The rules about one kind of subject."""
        return tuple(rule for rule in self.rules if rule.watch == kind)
