"""What a rule set needs of the API: facts to ask, filters that narrow, details, and when to fire.

Pure: rules in, values out. The list's row costs nothing more; a friction threshold or a visitor
type is one more query for all recordings together; a detail is one more call per recording.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Literal

from bot.domain.subjects import Kind, Site
from bot.fields.catalogue import field, fields
from bot.fields.field import ApiFilter, AskedBy, Field, Source
from bot.rules.evaluate import field_of, whole
from bot.rules.implication import leaves
from bot.rules.model import (
    All,
    AnyOf,
    Bounds,
    Condition,
    Every,
    Exists,
    Is,
    Journey,
    NoneOf,
    Not,
    Numbers,
    OneItem,
    OneOf,
    Pattern,
    Rule,
    Test,
    Wants,
)
from bot.rules.operators import OVER
from bot.rules.plan_steps import applies
from mouseflow.filters import SessionFilters

Found = Iterator[tuple[str, Any]]


def narrowing(rule: Rule) -> SessionFilters:
    """Filters that let every match of the rule through, and fewer others."""
    return _filters([rule], _exact)


def likely(rule: Rule) -> SessionFilters:
    """Filters that come close to the rule's matches, for counting."""
    return _filters([rule], _close)


def narrowing_of_all(rules: Iterable[Rule]) -> SessionFilters:
    """Filters that let every match of each of the rules through: what all of them share."""
    return _filters(list(rules), _exact)


def _filters(rules: list[Rule], read: Callable[[Test], Found]) -> SessionFilters:
    each = [_of_rule(rule, read) for rule in rules]
    shared = set.intersection(*map(set, each)) if each else set()
    chosen = {name: _widest(name, [found[name] for found in each]) for name in shared}
    known = {name: value for name, value in chosen.items() if value is not None}
    return SessionFilters(**_consistent(known))


def _widest(name: str, values: list[Any]) -> Any:
    if name.endswith("min"):
        return min(values)
    if name.endswith("max"):
        return max(values)
    return values[0] if all(value == values[0] for value in values) else None


def _of_rule(rule: Rule, read: Callable[[Test], Found]) -> dict[str, Any]:
    """The filters of one rule. Of two that clash the first is kept: it narrows all the same."""
    found: dict[str, Any] = {}
    for test in _conjuncts(whole(rule), True):
        for name, value in read(test):
            if isinstance(value, tuple):
                found[name] = tuple(dict.fromkeys((*found.get(name, ()), *value)))
            elif name.endswith("min"):
                found[name] = max(value, found.get(name, value))
            elif name.endswith("max"):
                found[name] = min(value, found.get(name, value))
            else:
                found.setdefault(name, value)
    return found


def _consistent(found: dict[str, Any]) -> dict[str, Any]:
    """Without pairs of bounds that no number meets: such a rule never matches anyway."""
    for name in _RANGES:
        low, high = found.get(f"{name}min"), found.get(f"{name}max")
        if low is not None and high is not None and low > high:
            del found[f"{name}max"]
    return found


def _conjuncts(condition: Condition, wanted: bool) -> Iterator[Test]:
    """The tests that must be met in any case."""
    if isinstance(condition, Not):
        yield from _conjuncts(condition.part, not wanted)
    elif isinstance(condition, All if wanted else AnyOf) or (
        isinstance(condition, All | AnyOf) and len(condition.parts) == 1
    ):
        for part in condition.parts:
            yield from _conjuncts(part, wanted)
    elif wanted and isinstance(condition, Test):
        yield condition


def _exact(test: Test) -> Found:
    about = field("recordings", test.field)
    if about.api_filter is not None and about.api_filter.exact:
        yield from _narrowed(about.api_filter, test.wants)


def _close(test: Test) -> Found:
    about = field("recordings", test.field)
    if about.api_filter is not None:
        yield from _narrowed(about.api_filter, test.wants)


def _narrowed(served: ApiFilter, wants: Wants) -> Found:
    """The filter's values for what is wanted; nothing where the filter can't say it."""
    if isinstance(wants, OneOf) and len(wants.values) == 1:
        taken = served.take(wants.values[0])
        if taken is not None:
            yield served.name, (taken,) if served.is_list else taken
    elif isinstance(wants, Every) and served.is_list:
        each = (served.take(value) for value in wants.values)
        yield served.name, tuple(taken for taken in each if taken is not None)
    elif isinstance(wants, Is):
        yield served.name, wants.wanted
    elif isinstance(wants, Bounds) and served.is_range:
        yield from _bounds(served, wants)


def _bounds(served: ApiFilter, wants: Bounds) -> Found:
    """Bounds, `over` and `under` taken as reached (L4308); exact ones rounded outwards."""
    low = max((it for it in (wants.min, wants.over) if it is not None), default=None)
    high = min((it for it in (wants.max, wants.under) if it is not None), default=None)
    least, greatest = served.names
    if served.exact:
        low = None if low is None else floor(low)
        high = None if high is None else ceil(high)
    if low is not None and (low >= 0 if served.exact else low):
        yield least, served.take(low)
    if high is not None and (high >= 0 if served.exact else high):
        yield greatest, served.take(high)


_RANGES = [
    it.api_filter.name for it in fields("recordings") if it.api_filter and it.api_filter.is_range
]

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
        for threshold in _thresholds(test.wants)
    }
    return tuple(sorted(found))


def _thresholds(wants: Wants) -> Iterator[float]:
    if isinstance(wants, Numbers):
        for value in wants.values:
            yield from (value, value + OVER)
    elif isinstance(wants, Bounds):
        yield from (it for it in (wants.min, wants.under) if it is not None)
        yield from (it + OVER for it in (wants.over, wants.max) if it is not None)


def asks_friction(rule: Rule) -> bool:
    """Whether the rule depends on what only the friction filter tells."""
    return any(True for _ in _tests(rule, AskedBy.THRESHOLD))


def asks_visitor_type(rule: Rule) -> bool:
    """Whether the rule depends on what only the visitor filter tells."""
    return any(True for _ in _tests(rule, AskedBy.VISITOR_TYPE))


def visitor_types(rules: Iterable[Rule]) -> tuple[VisitorType, ...]:
    """The visitor types to ask for: one is enough, all others are of the other type (L4245)."""
    return ("returning",) if any(map(asks_visitor_type, rules)) else ()


def needs_detail(rule: Rule) -> bool:
    """Whether some recording's row may not be enough for the rule."""
    return rule.watch == "recordings" and any(
        field_of(leaf, rule.watch).source is Source.DETAIL for leaf in leaves(whole(rule))
    )


def _tests(rule: Rule, asked_by: AskedBy) -> Iterator[Test]:
    """The tests of fields that the bot asks the server for in this way."""
    if rule.watch == "recordings":
        for leaf in leaves(whole(rule)):
            if isinstance(leaf, Test) and field_of(leaf, rule.watch).asked_by is asked_by:
                yield leaf


def changes_asked(rule: Rule) -> frozenset[tuple[str, int]]:
    """The (field, ms ago) pairs of a level's own past that the rule compares with."""
    conditions = (whole(rule), rule.until)
    return frozenset(
        (leaf.field, leaf.wants.against)
        for condition in conditions
        for leaf in leaves(condition)
        if isinstance(leaf, Test) and hasattr(leaf.wants, "against")
    )


def fires_early(rule: Rule) -> bool:
    """Whether the rule's condition, once true, stays true while the session goes on.

    Then it need not wait until the session is settled. Levels are always judged at once.
    """
    return rule.watch != "recordings" or _stays(whole(rule), True, rule.watch)


def _stays(condition: Condition, wanted: bool, kind: Kind) -> bool:
    if isinstance(condition, Not):
        return _stays(condition.part, not wanted, kind)
    if isinstance(condition, All | AnyOf):
        return all(_stays(part, wanted, kind) for part in condition.parts)
    if isinstance(condition, Journey):
        return wanted
    if isinstance(condition, OneItem):
        about = field(kind, condition.field)
        return wanted and all(
            _test_stays(about.part(test.field), test.wants, True) for test in condition.tests
        )
    return _test_stays(field(kind, condition.field), condition.wants, wanted)


def _test_stays(about: Field, wants: Wants, wanted: bool) -> bool:
    if about.changes:
        return False
    if not about.grows:
        return True
    return _rises(wants) if wanted else _falls(wants)


def _rises(wants: Wants) -> bool:
    """Whether more of the value can't make a yes a no."""
    if isinstance(wants, Bounds):
        return wants.max is None and wants.under is None
    return isinstance(wants, OneOf | Every | Pattern) or wants == Exists(True)


def _falls(wants: Wants) -> bool:
    """Whether more of the value can't make a no a yes."""
    if isinstance(wants, Bounds):
        return wants.min is None and wants.over is None
    return isinstance(wants, NoneOf) or wants == Exists(False)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one poll of a website asks for, for all of its rules together.

    `calls` is the least: one list, and one query for every fact. A detail comes on top for
    each recording of which a rule in `detailed` still depends on it.
    """

    rules: tuple[str, ...]
    thresholds: tuple[float, ...]
    visitor_types: tuple[VisitorType, ...]
    detailed: tuple[str, ...]
    early: tuple[str, ...]

    @property
    def calls(self) -> int:
        """The calls of one poll with something new, without details."""
        return 1 + len(self.thresholds) + len(self.visitor_types) if self.rules else 0


def plan(rules: Iterable[Rule], site: Site) -> Plan:
    """The plan of the recording rules that watch this website."""
    watching = [rule for rule in rules if rule.watch == "recordings" and applies(rule, site)]
    return Plan(
        rules=tuple(rule.id for rule in watching),
        thresholds=thresholds(watching),
        visitor_types=visitor_types(watching),
        detailed=tuple(rule.id for rule in watching if needs_detail(rule)),
        early=tuple(rule.id for rule in watching if fires_early(rule)),
    )


def plans(rules: Iterable[Rule], sites: Iterable[Site]) -> dict[Plan, tuple[Site, ...]]:
    """The plans of these websites, each with the websites that have it; the commonest first.

    Websites whose recordings no rule watches are left out.
    """
    rules = [rule for rule in rules if rule.watch == "recordings"]
    alike: dict[tuple[str, ...], list[Site]] = {}
    for site in sites:
        alike.setdefault(tuple(rule.id for rule in rules if applies(rule, site)), []).append(site)
    common = sorted((group for ids, group in alike.items() if ids), key=len, reverse=True)
    return {plan(rules, group[0]): tuple(group) for group in common}


def lines(made: Plan) -> list[str]:
    """The plan in words, for people."""
    if not made.rules:
        return ["no rule watches recordings here: nothing is asked"]
    calls = "1 call" if made.calls == 1 else f"{made.calls} calls"
    found = [f"at most {calls} when something is new: the list"]
    found += [f"  a query for friction of at least {it:.7g}" for it in made.thresholds]
    found += [f"  a query for {it} visitors" for it in made.visitor_types]
    if made.detailed:
        found += [
            f"and the page views of recordings that still depend on them in {some(made.detailed)}:",
            "  one list for many where the API gives them there, else a detail for each",
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
