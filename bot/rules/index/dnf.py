"""A condition in disjunctive normal form: terms, each a set of tests to be met or not met.

A term may want one test met and not met: dropping it would decide what is unknown otherwise.
"""

from typing import assert_never

from bot.rules.model import All, AnyOf, Condition, Journey, Leaf, Not, OneItem, Test

Literal = tuple[Leaf, bool]
"""A test, and whether it must be met (True) or not."""

Term = frozenset[Literal]
"""Literals that must all be as they say; the empty term is true."""


def terms(condition: Condition, limit: int) -> frozenset[Term] | None:
    """The terms of which at least one must be true; None if they would be more than `limit`."""
    try:
        return _terms(condition, True, limit)
    except _TooMany:
        return None


class _TooMany(Exception):
    pass


def _terms(condition: Condition, wanted: bool, limit: int) -> frozenset[Term]:
    match condition:
        case Not(part):
            return _terms(part, not wanted, limit)
        case All(parts):
            return _joined_terms(parts, wanted, limit, every=wanted)
        case AnyOf(parts):
            return _joined_terms(parts, wanted, limit, every=not wanted)
        case Test() | OneItem() | Journey():
            return frozenset([frozenset([(condition, wanted)])])
        case _:
            assert_never(condition)


def _joined_terms(
    parts: tuple[Condition, ...], wanted: bool, limit: int, *, every: bool
) -> frozenset[Term]:
    """The terms of parts of which every one must be as wanted, or one."""
    found: frozenset[Term] = frozenset([frozenset()]) if every else frozenset()
    for part in parts:
        more = _terms(part, wanted, limit)
        found = frozenset(a | b for a in found for b in more) if every else found | more
        if len(found) > limit:
            raise _TooMany
    return found
