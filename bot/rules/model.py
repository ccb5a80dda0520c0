"""A rule, read and checked: frozen values that the rest of the bot trusts."""

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import Any, Literal, assert_never

from msgspec import Struct, field

from bot.actions.base import Action
from bot.domain.calendar import Schedule
from bot.domain.subjects import Kind, Severity, Site, Subject
from bot.errors import Fault
from bot.fields.catalogue import ALERTS, FilterValue
from bot.fields.normal import folded
from bot.rules.operators.base import Operator
from bot.rules.units import Active, Rate
from bot.rules.value_tests import Alike


class Test(Struct, frozen=True):
    """One operator asks of one field. `key` names the variable where the field is `variables`."""

    field: str
    operator: Operator
    key: str | None = None


class OneItem(Struct, frozen=True):
    """One single item of a list meets every test.

    `field` says which list: `page` (a page view), `step` (a funnel's) or `field` (a form's).
    """

    field: str
    tests: tuple[Test, ...]


class Journey(Struct, frozen=True):
    """These paths were seen in this order, others may lie between."""

    paths: tuple[str, ...]


class All(Struct, frozen=True):
    """Every part holds; true without parts."""

    parts: tuple["Condition", ...]


class AnyOf(Struct, frozen=True):
    """At least one part holds."""

    parts: tuple["Condition", ...]


class Not(Struct, frozen=True):
    """The part does not hold.

    A test of a field that is known to be empty does not hold, so its negation does. A test of a
    field that was not fetched is unknown, and so is its negation.
    """

    part: "Condition"


Leaf = Test | OneItem | Journey
"""What a condition asks of one field."""

Condition = All | AnyOf | Not | Leaf


def leaves(condition: Condition | None) -> Iterator[Leaf]:
    """All tests of the tree, at any depth."""
    match condition:
        case None:
            return
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case Test() | OneItem() | Journey():
            yield condition
        case _:
            assert_never(condition)


class OncePer(Struct, frozen=True):
    """One match per value of the field (`visitor`, `ip`, `country`, ...) within the window."""

    field: str
    window: timedelta


class Count(Struct, frozen=True):
    """One match of many: so many subjects within the window, counted by that field."""

    at_least: int
    within: timedelta
    by: str


class TooFew(Struct, frozen=True):
    """An alert while at most so many subjects of a website came within the window."""

    at_most: int
    within: timedelta


@dataclass(frozen=True, slots=True)
class AfterDowntime:
    """What to do for matches older than `act_up_to` when catching up: `digest` or `drop` them."""

    act_up_to: timedelta = timedelta(hours=6)
    older: Literal["digest", "drop"] = "digest"


class RuleTest(Struct, frozen=True):
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


class Sample(Struct, frozen=True):
    """A subject that no rule may match; `given` as in a `RuleTest`."""

    name: str
    watch: Kind
    given: Mapping[str, Any]
    line: int


class Rule(Struct, frozen=True, kw_only=True):
    """A rule. `id` is its key in the file and names all its state in the store."""

    id: str
    watch: Kind
    when: Condition
    do: tuple[Action, ...]
    summary: str = ""
    severity: Severity = "warning"
    runbook: str = ""
    owner: str = ""
    disabled: bool = False
    accounts: tuple[str, ...] = ()
    websites: tuple[str, ...] = ()
    excepts: Condition | None = None
    once_per: OncePer | None = None
    count: Count | None = None
    too_few: TooFew | None = None
    safety: Rate | None = None
    active: Active | None = None
    after_downtime: AfterDowntime = AfterDowntime()
    held_for: timedelta | None = None
    until: Condition | None = None
    remind: timedelta | None = None
    resolved: bool = False
    not_while: tuple[str, ...] = ()
    over_last: timedelta | None = None
    visitors: Mapping[str, FilterValue] = field(default_factory=dict)
    was: tuple[str, ...] = ()
    tests: tuple[RuleTest, ...] = ()
    file: str = ""
    line: int = 0
    column: int = 1

    @property
    def has_state(self) -> bool:
        """Whether the rule fires and is resolved, instead of matching each subject once."""
        return self.watch in ALERTS or self.too_few is not None

    @property
    def condition(self) -> Condition:
        """`when` without `except`, as one condition."""
        return self.when if self.excepts is None else All((self.when, Not(self.excepts)))


def condition_id(rule: Rule) -> str:
    """A fingerprint of what a rule's states are about: another condition is another alert."""
    what: tuple[object, ...] = (
        rule.watch, rule.when, rule.excepts, rule.over_last, sorted(rule.visitors.items())
    )  # fmt: skip
    if rule.too_few is not None:
        what = (*what, rule.too_few)
    return blake2b(repr(what).encode(), digest_size=8).hexdigest()


class Pace(Struct, frozen=True):
    """Steer the recording rate, in percent, so that a budget lasts to the period's end."""

    low: float = 10.0
    high: float = 100.0


class BudgetStep(Struct, frozen=True):
    """What to do, once a period, when so many percent of the budget are used."""

    at: float
    do: tuple[Action, ...]


class Budget(Struct, frozen=True, kw_only=True):
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
    was: tuple[str, ...] = ()
    summary: str = ""
    accounts: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    column: int = 1


class Report(Struct, frozen=True, kw_only=True):
    """A weekly report of these websites, posted to the channel at these times."""

    id: str
    at: Schedule
    channel: str
    websites: tuple[str, ...] = ()
    summary: str = ""
    accounts: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    column: int = 1


class RuleSet(Struct, frozen=True):
    """All rules of all files, in file order, with the lints that were not silenced.

    `notes` say what rules cost that have nothing wrong. `disabled` rules are none of `rules`.
    `elsewhere` are the accounts of each rule, by its id, that only other accounts have.
    """

    rules: tuple[Rule, ...] = ()
    warnings: tuple[Fault, ...] = ()
    digest: str = ""
    budgets: tuple[Budget, ...] = ()
    notes: tuple[Fault, ...] = ()
    disabled: tuple[Rule, ...] = ()
    reports: tuple[Report, ...] = ()
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def written(self) -> tuple[Rule, ...]:
        """The rules, and the disabled ones."""
        return (*self.rules, *self.disabled)

    def watching(self, kind: Kind) -> tuple[Rule, ...]:
        """The rules about one kind of subject."""
        return tuple(rule for rule in self.rules if rule.watch == kind)


class Step(Struct, frozen=True):
    """One action to run, once. `rank` orders a match's steps; steps of one `lane` run in turn."""

    key: str
    rank: int
    lane: str
    action: Action


def waits_for(rules: Iterable[Rule]) -> dict[str, tuple[str, ...]]:
    """The rules that each rule's `not_while` names, and those that they wait for, too.

    A rule that another one waits for has fewer of them than that one. Nobody waits for what is
    not among the rules, such as a disabled one.
    """
    by_id = {rule.id: rule for rule in rules}
    named = {it: [each for each in rule.not_while if each in by_id] for it, rule in by_id.items()}
    found: dict[str, tuple[str, ...]] = {}
    for rule, first in named.items():
        all_of_them = list(dict.fromkeys(first))
        for each in all_of_them:
            all_of_them += [it for it in named.get(each, ()) if it not in (*all_of_them, rule)]
        found[rule] = tuple(all_of_them)
    return found


def applies(rule: Rule, site: Site) -> bool:
    """Whether the rule watches this website; without a list it watches all."""
    return not rule.websites or names_site(rule.websites, site)


def names_site(names: Iterable[str], site: Site) -> bool:
    """Whether one of these is the website's name or id; `*` stands for any characters."""
    like = _website_names(tuple(names))
    return like(site.name) or like(site.id)


def rules_by_website(rules: Iterable[Rule], sites: Collection[Site]) -> dict[str, tuple[Rule, ...]]:
    """The rules that watch each of the websites, by the website's id."""
    work = find_by_website(rules, sites)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return dict(done.value)


def find_by_website(
    rules: Iterable[Rule], sites: Collection[Site]
) -> Generator[None, None, dict[str, tuple[Rule, ...]]]:
    """What `rules_by_website` returns, a piece at a time.

    Each distinct list of names is compared once, and plain names are looked up.
    """
    called: dict[str, list[str]] = {}
    for site in sites:
        for name in {folded(site.name), folded(site.id)}:
            called.setdefault(name, []).append(site.id)
    yield
    found: dict[str, list[Rule]] = {site.id: [] for site in sites}
    named: dict[tuple[str, ...], Collection[str]] = {(): list(found)}
    for rule in rules:
        if rule.websites not in named:
            like = _website_names(rule.websites)
            ids = chain.from_iterable(called.get(name, ()) for name in like.patterns)
            if any("*" in name for name in like.patterns):
                yield
                ids = chain.from_iterable(called[name] for name in called if like(name))
            named[rule.websites] = frozenset(ids)
        for website in named[rule.websites]:
            found[website].append(rule)
    yield
    return {website: tuple(watching) for website, watching in found.items()}


@lru_cache(maxsize=4096)
def _website_names(names: tuple[str, ...]) -> Alike:
    return Alike(names, folded)


def match_key(rule_id: str, subject: Subject, episode: str = "") -> str:
    """The permanent key of a match: a recording matches a rule once, an alert once per episode."""
    tail = f"/{episode}" if episode else ""
    return f"{rule_id}/{subject.website.id}/{subject.key}{tail}"


def steps(
    actions: Iterable[Action], subject: Subject, key: str, default_channel: str
) -> Iterator[Step]:
    """The actions for this subject, writes first, then shares, then posts.

    Keys count per kind of action, so a star added before a post does not rename the post.
    """
    counts: Counter[str] = Counter()
    for action in sorted(actions, key=lambda action: action.rank):
        counts[action.kind] += 1
        yield Step(
            key=f"{key}/{action.kind}-{counts[action.kind]}",
            rank=action.rank,
            lane=action.lane(subject, default_channel),
            action=action,
        )
