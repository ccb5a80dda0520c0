"""What a rule set needs of the API: facts to ask, filters that narrow, details, and when to fire.

Pure: rules in, values out. The list's row costs nothing more; a friction threshold or a visitor
type is one more query for all recordings together; a detail is one more call per recording.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any, Literal, NamedTuple, assert_never

from bot.actions.notifier import Notifier
from bot.domain.subjects import Kind, Site
from bot.fields.catalogue import GROUPS, field, fields, text_fields
from bot.fields.field import AskedBy, Field, Source
from bot.messages.text import lasting as lasting_time
from bot.rules.evaluate import field_of
from bot.rules.model import (
    All,
    AnyOf,
    Condition,
    Journey,
    Not,
    OneItem,
    Rule,
    Test,
    applies,
    leaves,
    rules_by_website,
)
from bot.rules.operators.base import Operator
from mouseflow.filters import SessionFilters


def likely(rule: Rule) -> SessionFilters:
    """Filters that come close to the rule's matches, for counting them.

    Of two tests that set the same filter the narrower bound counts, else the first.
    """
    found: dict[str, Any] = {}
    for test in _required(rule.condition, True):
        for name, value in test.operator.filters(field("recordings", test.field)):
            if isinstance(value, tuple):
                found[name] = tuple(dict.fromkeys((*found.get(name, ()), *value)))
            elif name.endswith("min"):
                found[name] = max(value, found.get(name, value))
            elif name.endswith("max"):
                found[name] = min(value, found.get(name, value))
            else:
                found.setdefault(name, value)
    return SessionFilters(**_consistent(found))


_RANGES = [
    it.api_filter.name for it in fields("recordings") if it.api_filter and it.api_filter.is_range
]


def _consistent(found: dict[str, Any]) -> dict[str, Any]:
    """Without pairs of bounds that no number meets: such a rule never matches anyway."""
    for name in _RANGES:
        low, high = found.get(f"{name}min"), found.get(f"{name}max")
        if low is not None and high is not None and low > high:
            del found[f"{name}max"]
    return found


def _required(condition: Condition, wanted: bool) -> Iterator[Test]:
    """The tests that every match meets."""
    match condition:
        case Not(part):
            yield from _required(part, not wanted)
        case All(parts) | AnyOf(parts):
            if isinstance(condition, All) is wanted or len(parts) == 1:
                for part in parts:
                    yield from _required(part, wanted)
        case Test():
            if wanted:
                yield condition
        case OneItem() | Journey():
            pass  # no filter speaks of single pages, or of their order
        case _:
            assert_never(condition)


VisitorType = Literal["first", "returning"]


def thresholds(rules: Iterable[Rule]) -> tuple[float, ...]:
    """The frictions of which "at least that much" must be asked, ascending, each once.

    Everything comes down to it: `under 5` is "not at least 5", `over 5` is "at least a little
    more than 5", since the API has no other question (L4388).
    """
    found = {
        threshold
        for rule in rules
        for test in _tests(rule, AskedBy.THRESHOLD)
        for threshold in test.operator.thresholds()
    }
    return tuple(sorted(found))


def asks_friction(rule: Rule) -> bool:
    """Whether the rule depends on what only the friction filter tells."""
    return any(True for _ in _tests(rule, AskedBy.THRESHOLD))


def asks_visitor_type(rule: Rule) -> bool:
    """Whether the rule depends on what only the visitor filter tells."""
    return any(True for _ in _tests(rule, AskedBy.VISITOR_TYPE))


def asks_search(rule: Rule) -> bool:
    """Whether the rule depends on what only the API's free-text search tells."""
    return bool(searches((rule,)))


def searches(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The texts that rules have the API search for: one query for all that are alike."""
    found = {
        field_of(test, rule.watch).normal(text): " ".join(text.split())
        for rule in rules
        for test in _tests(rule, AskedBy.SEARCH)
        for text in test.operator.spelled
    }
    return tuple(sorted(found.values()))


def visitor_types(rules: Iterable[Rule]) -> tuple[VisitorType, ...]:
    """The visitor types to ask for: one is enough, all others are of the other type (L4245)."""
    return (
        ("returning",)
        if any(asks_visitor_type(it) or tells_visitor_type(it) for it in rules)
        else ()
    )


def needs_detail(rule: Rule) -> bool:
    """Whether some recording's row may not be enough for the rule."""
    read = (*(field_of(leaf, rule.watch) for leaf in leaves(rule.condition)), *read_beside(rule))
    return rule.watch == "recordings" and any(it.source is Source.DETAIL for it in read)


def grouped_by(rule: Rule) -> tuple[Field, ...]:
    """The fields by which `once_per` and `count` group the rule's matches."""
    names = [rule.once_per.field] if rule.once_per else []
    names += [rule.count.by] if rule.count else []
    return tuple(GROUPS[name] for name in names if name in GROUPS)


def read_beside(rule: Rule) -> tuple[Field, ...]:
    """The fields that the rule reads beside its condition: facts that a match needs, too."""
    known = text_fields(rule.watch)
    told = (known[name] for name in sorted(texts_read(rule)) if name in known)
    return (*grouped_by(rule), *told)


def tells_visitor_type(rule: Rule) -> bool:
    """Whether the rule's texts show what only the visitor filter tells."""
    return rule.watch == "recordings" and any(
        it.asked_by is AskedBy.VISITOR_TYPE for it in read_beside(rule)
    )


def _tests(rule: Rule, asked_by: AskedBy) -> Iterator[Test]:
    """The tests of fields that the bot asks the server for in this way."""
    if rule.watch == "recordings":
        for leaf in leaves(rule.condition):
            if isinstance(leaf, Test) and field_of(leaf, rule.watch).asked_by is asked_by:
                yield leaf


def texts_read(rule: Rule) -> frozenset[str]:
    """The names that the rule's own texts read."""
    texts = [action.own_text for action in rule.do if isinstance(action, Notifier)]
    if not any(texts):
        return frozenset()
    from bot.messages.templates import names_used  # Jinja2 takes 2 MB

    return frozenset(name for text in texts if text for name in names_used(text))


def counted_for(rules: Iterable[Rule]) -> timedelta:
    """How old what a rule counts may be when it comes to be known, and a day more."""
    counts = (each for rule in rules for each in (rule.count, rule.too_few) if each is not None)
    return max((each.within for each in counts), default=timedelta()) + timedelta(days=1)


def changes_asked(rule: Rule) -> frozenset[tuple[str, int]]:
    """The (field, ms ago) pairs of the subject's own past that an alert rule compares with."""
    return frozenset(
        (leaf.field, leaf.operator.looks_back)
        for condition in (rule.condition, rule.until)
        for leaf in leaves(condition)
        if isinstance(leaf, Test) and leaf.operator.looks_back is not None
    )


def usuals_asked(rule: Rule) -> frozenset[str]:
    """The fields of the subject that an alert rule compares with the usual."""
    return frozenset(
        leaf.field
        for condition in (rule.condition, rule.until)
        for leaf in leaves(condition)
        if isinstance(leaf, Test) and leaf.operator.asks_usual
    )


def counts_visitors(rule: Rule) -> bool:
    """Whether the rule depends on how many visitors were recorded before now."""
    return rule.too_few is not None or bool(usuals_asked(rule) or changes_asked(rule))


NEVER = AnyOf(())
"""A condition that nothing meets."""


def lasting(condition: Condition, kind: Kind) -> Condition:
    """What of the condition can be true for a while: it without all that asks for news."""
    match _inward(condition):
        case All(parts):
            return All(tuple(lasting(part, kind) for part in parts))
        case AnyOf(parts):
            return AnyOf(tuple(lasting(part, kind) for part in parts))
        case Not() | Test() | OneItem() | Journey() as leaf:
            return NEVER if asks_for_news(leaf, kind) else leaf
        case never:
            assert_never(never)


def news(condition: Condition, kind: Kind) -> Condition:
    """What of the condition is only true because something is new."""
    match _inward(condition):
        case All(parts):
            return AnyOf(
                tuple(
                    All((*parts[:place], news(part, kind), *parts[place + 1 :]))
                    for place, part in enumerate(parts)
                    if asks_for_news(part, kind)
                )
            )
        case AnyOf(parts):
            return AnyOf(tuple(news(part, kind) for part in parts if asks_for_news(part, kind)))
        case Not() | Test() | OneItem() | Journey() as leaf:
            return leaf if asks_for_news(leaf, kind) else NEVER
        case never:
            assert_never(never)


def _inward(condition: Condition) -> Condition:
    """The condition with its `not` at the parts of a group, and without two in a row."""
    if not isinstance(condition, Not):
        return condition
    match condition.part:
        case All(parts):
            return AnyOf(tuple(map(Not, parts)))
        case AnyOf(parts):
            return All(tuple(map(Not, parts)))
        case Not(part):
            return _inward(part)
        case Test() | OneItem() | Journey():
            return condition
        case never:
            assert_never(never)


def asks_for_news(condition: Condition | None, kind: Kind) -> bool:
    """Whether some test asks for what is new since the rule fired."""
    return any(field_of(leaf, kind).news_of for leaf in leaves(condition))


def fires_early(rule: Rule) -> bool:
    """Whether the rule's condition, once true, stays true while the session continues.

    Then it need not wait until the session is settled, unless the session may still change what
    `once_per` or `count` group it by. Levels are always judged at once.
    """
    if rule.watch != "recordings":
        return True
    may_change = any(it.changes or it.grows for it in grouped_by(rule))
    return not may_change and stays(rule.condition, True, rule.watch)


def stays(condition: Condition, answer: bool, kind: Kind) -> bool:
    """Whether the condition keeps this answer while the session continues."""
    match condition:
        case Not(part):
            return stays(part, not answer, kind)
        case All(parts) | AnyOf(parts):
            return all(stays(part, answer, kind) for part in parts)
        case Journey():
            return answer
        case OneItem(name, tests):
            about = field(kind, name)
            return answer and all(
                _test_stays(about.part(test.field), test.operator, True) for test in tests
            )
        case Test(name, operator):
            return _test_stays(field(kind, name), operator, answer)
        case _:
            assert_never(condition)


def _test_stays(about: Field, operator: Operator, answer: bool) -> bool:
    if about.changes:
        return False
    return not about.grows or operator.stays(answer, about)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one poll of a website asks for, for all of its rules together.

    `calls` is the least: one list, and one query for every fact. A detail comes on top for
    each recording of which a rule in `detailed` still depends on it.
    """

    rules: tuple[str, ...]
    thresholds: tuple[float, ...]
    visitor_types: tuple[VisitorType, ...]
    searches: tuple[str, ...]
    detailed: tuple[str, ...]
    early: tuple[str, ...]

    @property
    def calls(self) -> int:
        """The calls of one poll with something new, without details."""
        asked = len(self.thresholds) + len(self.visitor_types) + len(self.searches)
        return 1 + asked if self.rules else 0


def plan(rules: Iterable[Rule], site: Site) -> Plan:
    """The plan of the recording rules that watch this website."""
    return _plan([rule for rule in rules if rule.watch == "recordings" and applies(rule, site)])


def most_calls(rules: Iterable[Rule]) -> int:
    """The calls of one poll of a website that all of these rules watch."""
    return _plan([rule for rule in rules if rule.watch == "recordings"]).calls


class _Asked(NamedTuple):
    """What a rule alone adds to a plan. `facts`: it asks for some."""

    facts: bool
    detail: bool
    early: bool


def _asked(rule: Rule) -> _Asked:
    alone = (rule,)
    facts = bool(thresholds(alone) or visitor_types(alone) or searches(alone))
    return _Asked(facts, needs_detail(rule), fires_early(rule))


def _plan(watching: Sequence[Rule], known: Mapping[str, _Asked] | None = None) -> Plan:
    known = {rule.id: _asked(rule) for rule in watching} if known is None else known
    asking = [rule for rule in watching if known[rule.id].facts]
    return Plan(
        rules=tuple(rule.id for rule in watching),
        thresholds=thresholds(asking),
        visitor_types=visitor_types(asking),
        searches=searches(asking),
        detailed=tuple(rule.id for rule in watching if known[rule.id].detail),
        early=tuple(rule.id for rule in watching if known[rule.id].early),
    )


def plans(rules: Iterable[Rule], sites: Iterable[Site]) -> dict[Plan, tuple[Site, ...]]:
    """The plans of these websites, each with the websites that have it; the commonest first.

    Websites whose recordings no rule watches are left out.
    """
    rules = [rule for rule in rules if rule.watch == "recordings"]
    sites = tuple(sites)
    watching, known = rules_by_website(rules, sites), {rule.id: _asked(rule) for rule in rules}
    alike: dict[tuple[str, ...], list[Site]] = {}
    for site in sites:
        alike.setdefault(tuple(rule.id for rule in watching[site.id]), []).append(site)
    common = sorted((group for ids, group in alike.items() if ids), key=len, reverse=True)
    return {_plan(watching[group[0].id], known): tuple(group) for group in common}


INTERVALS = tuple(timedelta(minutes=it) for it in (1, 5, 15))
"""Intervals whose costs are shown beside the configured one's."""


@dataclass(frozen=True, slots=True)
class IntervalCost:
    """Requests a day for one website that is polled so often, without details.

    `least` if nothing is new at any poll, `most` if each poll asks for every fact. `limit` is how
    many requests a day the account's rate allows.
    """

    every: timedelta
    least: int
    most: int
    limit: int

    @property
    def shares(self) -> tuple[float, float]:
        """Which percentages of the limit they are."""
        return 100 * self.least / self.limit, 100 * self.most / self.limit

    @property
    def fits(self) -> tuple[int, int]:
        """How many such websites fit into the limit: at the most requests, and at the least."""
        return self.limit // self.most, self.limit // self.least


def interval_costs(calls: int, chosen: timedelta, rate: float) -> tuple[IntervalCost, ...]:
    """What the chosen interval and others cost, if a poll takes so many calls at most."""
    day = timedelta(days=1)
    limit = round(rate * day.total_seconds())
    if not calls:
        return ()
    return tuple(
        IntervalCost(every, ceil(day / every), calls * ceil(day / every), limit)
        for every in sorted({chosen, *INTERVALS})
    )


def interval_lines(costs: Sequence[IntervalCost], chosen: timedelta) -> list[str]:
    """The costs in words, for people."""
    if not costs:
        return []
    found = [f"requests a day for each website, besides details (limit {costs[0].limit:,}):"]
    for it in costs:
        mark = " (configured)" if it.every == chosen else ""
        (low, high), (few, many) = it.shares, it.fits
        found.append(
            f"  every {lasting_time(it.every)}{mark}: {_range(f'{it.least:,}', f'{it.most:,}')}, "
            f"{_range(f'{low:.2g} %', f'{high:.2g} %')} of the limit; "
            f"{_range(f'{few:,}', f'{many:,}')} such websites fit"
        )
    return found


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def lines(made: Plan) -> list[str]:
    """The plan in words, for people."""
    if not made.rules:
        return ["no rule watches recordings here: nothing is asked"]
    calls = "1 call" if made.calls == 1 else f"{made.calls} calls"
    found = [f"at most {calls} when something is new: the list"]
    found += [f"  a query for friction of at least {it:.7g}" for it in made.thresholds]
    found += [f"  a query for {it} visitors" for it in made.visitor_types]
    found += [f"  a search for {it}" for it in made.searches]
    if made.detailed:
        rules = some(made.detailed)
        found += [
            f"then page views, for recordings that {rules} can't decide without them:",
            "  one call for many recordings if lists have page views, else one call each",
        ]
    waiting = [rule for rule in made.rules if rule not in made.early]
    if waiting:
        found.append(f"waiting until a session is settled: {some(waiting)}")
    return found


def some(names: Iterable[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
