"""What can be said of conditions without any data: can it ever hold, does one imply another?"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import assert_never

from bot.domain.subjects import Kind
from bot.fields.catalogue import field, fields
from bot.fields.field import Field, named
from bot.rules.model import All, AnyOf, Condition, Journey, Not, OneItem, Test, leaves

_MOST = 300
"""Bigger conditions are not compared: a warning is not worth the time."""

_Known = dict[tuple[int, int], bool]


def _size(condition: Condition) -> int:
    """How many tests, each with its values, the tree has: comparing two costs the product."""
    found = 0
    for leaf in leaves(condition):
        match leaf:
            case Test():
                found += leaf.operator.size
            case OneItem(_, tests):
                found += sum(test.operator.size for test in tests)
            case Journey(paths):
                found += len(paths)
            case _:
                assert_never(leaf)
    return found


def impossible(condition: Condition, kind: Kind) -> bool:
    """Whether no subject of this kind can meet the condition; False if unclear."""
    match condition:
        case AnyOf(parts):
            return all(impossible(part, kind) for part in parts)
        case All():
            return _contradicts_itself(condition, kind)
        case Not() | Test() | OneItem() | Journey():
            return False
        case _:
            assert_never(condition)


def _contradicts_itself(condition: All, kind: Kind) -> bool:
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
    about = field(kind, one.field)
    several = about.type in ("texts", "variables") or about.several_names
    first, second = one.operator, other.operator
    return first.excludes(second, about, several=several) or second.excludes(
        first, about, several=several
    )


def implies(one: Condition, other: Condition, kind: Kind) -> bool:
    """Whether all that meets `one` meets `other`; False if unclear."""
    if max(_size(one), _size(other)) > _MOST:
        return False
    return _implies(one, other, kind, {})


def _implies(one: Condition, other: Condition, kind: Kind, known: _Known) -> bool:
    """Compares each pair of parts once: deep nests would take exponential time."""
    pair = (id(one), id(other))
    if pair not in known:
        known[pair] = _compare(one, other, kind, known)
    return known[pair]


def _compare(one: Condition, other: Condition, kind: Kind, known: _Known) -> bool:
    if one == other:
        return True
    if isinstance(other, All):
        return all(_implies(one, part, kind, known) for part in other.parts)
    if isinstance(one, AnyOf):
        return all(_implies(part, other, kind, known) for part in one.parts)
    if isinstance(other, AnyOf) and any(_implies(one, p, kind, known) for p in other.parts):
        return True
    match one:
        case All(parts):
            return any(_implies(part, other, kind, known) for part in parts)
        case OneItem(name, tests):
            if not isinstance(other, OneItem) or name != other.field:
                return False
            about = field(kind, name).parts
            return all(
                any(_test_implies(have, asked, about) for have in tests) for asked in other.tests
            )
        case Test():
            return isinstance(other, Test) and _test_implies(one, other, fields(kind))
        case Not() | Journey():
            return False
        case _:
            assert_never(one)


def _test_implies(one: Test, other: Test, known: Sequence[Field]) -> bool:
    if (one.field, one.key) != (other.field, other.key):
        return False
    return other.operator.implied_by(one.operator, named(known, one.field))
