"""Which of a rule's tests the API's own filters can do, so that fewer rows come back.

`narrowing` uses only filters that mean what the test means. `likely` adds those that the
server may read a little otherwise (case and hosts of pages, tags of a page), which is good
enough to count with but would lose matches if rows were chosen by it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from math import ceil, floor
from typing import Any, get_args

from bot.mouseflow.filters import Browser, Device, Referrer, SessionFilters, System
from bot.rulebook.catalogue import field
from bot.rulebook.conditions import All, AnyOf, Bounds, Condition, Every, Is, Not, OneOf, Test
from bot.rulebook.evaluate import whole
from bot.rulebook.rules import Rule

_WORDS: Mapping[str, tuple[str, ...]] = {
    "device": get_args(Device),
    "browser": get_args(Browser),
    "os": get_args(System),
    "referrer_type": get_args(Referrer),
}
_SHAPES = {"country": r"[a-z]{2}", "screen": r"[0-9]+x[0-9]+"}
_NAMES = {"referrer_type": "referrer", "screen": "screenres", "starred": "star"}
_PATHS = {"saw_page": "funnel", "entry_page": "entry", "exit_page": "exit"}

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
            if name == "tags":
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
    for name in ("pages", "visit", "friction"):
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
    wants = test.wants
    if isinstance(wants, OneOf) and len(wants.values) == 1:
        value = about.normal(wants.values[0])
        shape = _SHAPES.get(test.field)
        if value in _WORDS.get(test.field, ()) or (shape and re.fullmatch(shape, value)):
            yield _NAMES.get(test.field, test.field), value
    elif isinstance(wants, Is) and test.field in ("watched", "starred"):
        yield _NAMES.get(test.field, test.field), wants.wanted
    elif isinstance(wants, Bounds) and test.field in ("pages", "duration"):
        yield from _bounds(test.field, wants)


def _bounds(name: str, wants: Bounds) -> Found:
    """Bounds rounded outwards to whole numbers, `over` and `under` taken as reached (L4308)."""
    low = max((it for it in (wants.min, wants.over) if it is not None), default=None)
    high = min((it for it in (wants.max, wants.under) if it is not None), default=None)
    short = "pages" if name == "pages" else "visit"
    make = int if short == "pages" else _ms
    if low is not None and low >= 0:
        yield f"{short}min", make(floor(low))
    if high is not None and high >= 0:
        yield f"{short}max", make(ceil(high))


def _ms(length: int) -> timedelta:
    return timedelta(milliseconds=length)


def _close(test: Test) -> Found:
    yield from _exact(test)
    wants = test.wants
    if isinstance(wants, OneOf) and len(wants.values) == 1 and "*" not in wants.values[0]:
        value = wants.values[0]
        if test.field in _PATHS:
            yield _PATHS[test.field], field("recordings", test.field).normal(value)
        elif test.field == "visitor_type":
            yield "visitortype", value.casefold()
        elif test.field == "tags" and "," not in value:
            yield "tags", (value,)
    elif isinstance(wants, Every) and test.field == "tags":
        yield "tags", tuple(tag for tag in wants.values if not set(tag) & set(",*"))
    elif isinstance(wants, Bounds) and test.field == "friction":
        low = max((it for it in (wants.min, wants.over) if it is not None), default=None)
        high = min((it for it in (wants.max, wants.under) if it is not None), default=None)
        yield from ((name, it) for name, it in (("frictionmin", low), ("frictionmax", high)) if it)
