"""What can be said of conditions without any data: can it ever hold, does one imply another?"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from bot.domain.subjects import Kind
from bot.fields.catalogue import field, fields
from bot.fields.field import Field, named
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
    Test,
    Wants,
)
from bot.rules.operators import glob

_LOW, _HIGH = float("-inf"), float("inf")
_MOST = 300
"""Bigger conditions are not compared: that would take long, and a warning is no must."""

_Known = dict[tuple[int, int], bool]


def leaves(condition: Condition | None) -> Iterator[Test | OneItem | Journey]:
    """All tests of the tree, wherever they stand."""
    if isinstance(condition, All | AnyOf):
        for part in condition.parts:
            yield from leaves(part)
    elif isinstance(condition, Not):
        yield from leaves(condition.part)
    elif condition is not None:
        yield condition


def _size(condition: Condition) -> int:
    """How many tests, each with its values, the tree has: comparing two costs the product."""
    found = 0
    for leaf in leaves(condition):
        tests = leaf.tests if isinstance(leaf, OneItem) else (leaf,)
        found += sum(len(_values(test)) for test in tests)
    return found


def _values(test: Test | Journey) -> tuple[object, ...]:
    if isinstance(test, Journey):
        return test.paths
    return test.wants.values if isinstance(test.wants, OneOf | NoneOf | Every) else (test.wants,)


def impossible(condition: Condition, kind: Kind) -> bool:
    """Whether no subject of this kind can meet the condition; False where that is not plain."""
    if isinstance(condition, AnyOf):
        return all(impossible(part, kind) for part in condition.parts)
    if not isinstance(condition, All):
        return False
    parts = list(_flat(condition))
    if any(impossible(part, kind) for part in parts):
        return True
    if _size(condition) > _MOST:
        return False
    return any(_contradict(one, other, kind) for one, other in combinations(parts, 2))


def _flat(condition: All) -> Iterator[Condition]:
    for part in condition.parts:
        if isinstance(part, All):
            yield from _flat(part)
        else:
            yield part


def _contradict(one: Condition, other: Condition, kind: Kind) -> bool:
    if isinstance(one, Not) or isinstance(other, Not):
        inner, outer = (one, other) if isinstance(one, Not) else (other, one)
        return isinstance(inner, Not) and implies(outer, inner.part, kind)
    if not (isinstance(one, Test) and isinstance(other, Test)):
        return False
    if (one.field, one.key) != (other.field, other.key):
        return False
    wants = (one.wants, other.wants)
    if Exists(wanted=False) in wants:
        return any(not isinstance(want, Exists | NoneOf) for want in wants)
    about = field(kind, one.field)
    single = about.type not in ("texts", "variables") and not about.several_names
    return single and _exclude(*wants, about)


def _exclude(one: Wants, other: Wants, about: Field) -> bool:
    """Whether no single value is both."""
    if isinstance(one, Is) and isinstance(other, Is):
        return one != other
    if isinstance(one, Numbers | Bounds) and isinstance(other, Numbers | Bounds):
        return _apart(one, other)
    if isinstance(one, OneOf) and isinstance(other, OneOf):
        plain = not any("*" in value for value in (*one.values, *other.values))
        return plain and set(map(about.normal, one.values)).isdisjoint(
            map(about.normal, other.values)
        )
    for wanted, barred in ((one, other), (other, one)):
        if isinstance(wanted, OneOf) and isinstance(barred, NoneOf):
            return _covered(wanted.values, barred.values, about)
    return False


def _apart(one: Numbers | Bounds, other: Numbers | Bounds) -> bool:
    if isinstance(one, Numbers) and isinstance(other, Numbers):
        return not set(one.values) & set(other.values)
    if isinstance(one, Bounds) and isinstance(other, Bounds):
        low, opened = max(_ends(one)[0], _ends(other)[0])
        high, shut = min(_ends(one)[1], _ends(other)[1])
        return low > high or (low == high and bool(opened or shut))
    bounds, numbers = (one, other) if isinstance(one, Bounds) else (other, one)
    return (
        isinstance(numbers, Numbers)
        and isinstance(bounds, Bounds)
        and not any(_within(Bounds(min=value, max=value), bounds) for value in numbers.values)
    )


def _ends(bounds: Bounds) -> tuple[tuple[float, int], tuple[float, int]]:
    """The lower and the upper end; 1 and -1 tell that the end itself is outside."""
    lows = [(_LOW, 0)]
    highs = [(_HIGH, 0)]
    lows += [(bounds.min, 0)] if bounds.min is not None else []
    lows += [(bounds.over, 1)] if bounds.over is not None else []
    highs += [(bounds.max, 0)] if bounds.max is not None else []
    highs += [(bounds.under, -1)] if bounds.under is not None else []
    return max(lows), min(highs)


def implies(one: Condition, other: Condition, kind: Kind) -> bool:
    """Whether all that meets `one` meets `other`; False where that is not plain."""
    if max(_size(one), _size(other)) > _MOST:
        return False
    return _implies(one, other, kind, {})


def _implies(one: Condition, other: Condition, kind: Kind, known: _Known) -> bool:
    """Each pair of parts is looked at once, or deep nests would take for ever."""
    pair = (id(one), id(other))
    if pair not in known:
        known[pair] = _look(one, other, kind, known)
    return known[pair]


def _look(one: Condition, other: Condition, kind: Kind, known: _Known) -> bool:
    if one == other:
        return True
    if isinstance(other, All):
        return all(_implies(one, part, kind, known) for part in other.parts)
    if isinstance(one, AnyOf):
        return all(_implies(part, other, kind, known) for part in one.parts)
    if isinstance(other, AnyOf) and any(_implies(one, p, kind, known) for p in other.parts):
        return True
    if isinstance(one, All):
        return any(_implies(part, other, kind, known) for part in one.parts)
    if isinstance(one, OneItem) and isinstance(other, OneItem) and one.field == other.field:
        parts = field(kind, one.field).parts
        return all(
            any(_test_implies(have, want, parts) for have in one.tests) for want in other.tests
        )
    if isinstance(one, Test) and isinstance(other, Test):
        return _test_implies(one, other, fields(kind))
    return False


def _test_implies(one: Test, other: Test, known: Sequence[Field]) -> bool:
    if (one.field, one.key) != (other.field, other.key):
        return False
    return _narrower(one.wants, other.wants, named(known, one.field))


def _narrower(one: Wants, other: Wants, about: Field) -> bool:
    if one == other:
        return True
    if isinstance(one, OneOf) and isinstance(other, OneOf):
        return _covered(one.values, other.values, about)
    if isinstance(one, Numbers | Bounds) and isinstance(other, Bounds):
        if isinstance(one, Bounds):
            return _within(one, other)
        return all(_within(Bounds(min=value, max=value), other) for value in one.values)
    if isinstance(other, Exists) and other.wanted:
        return not isinstance(one, Exists | NoneOf)
    return False


def _within(one: Bounds, other: Bounds) -> bool:
    (low, high), (lowest, highest) = _ends(one), _ends(other)
    return low >= lowest and high <= highest


def _covered(values: Iterable[str], patterns: Iterable[str], about: Field) -> bool:
    """Whether each value is one of the patterns or is like one. A value's own `*` is a text."""
    likes = [glob(about.normal(pattern)) for pattern in patterns]
    return all(any(like(about.normal(value)) for like in likes) for value in values)
