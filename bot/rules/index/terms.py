"""A condition as a choice of terms: each a set of tests to be met and tests not to be met."""

from bot.rules.model import All, AnyOf, Condition, Journey, Not, OneItem, Test

Leaf = Test | OneItem | Journey

Literal = tuple[Leaf, bool]
"""A test, and whether it must hold (True) or must not."""

Term = frozenset[Literal]
"""Literals that must all be as they say; the empty term is true."""


def terms(condition: Condition, limit: int) -> frozenset[Term] | None:
    """The terms of which at least one must be true; None where they would be more than `limit`.

    Negations are moved down to the tests. "Not" of a test without data is true, as in the tree.
    """
    try:
        return _terms(condition, True, limit)
    except _TooMany:
        return None


class _TooMany(Exception):
    pass


def _terms(condition: Condition, wanted: bool, limit: int) -> frozenset[Term]:
    if isinstance(condition, Not):
        return _terms(condition.part, not wanted, limit)
    if isinstance(condition, All | AnyOf):
        parts = (_terms(part, wanted, limit) for part in condition.parts)
        every = isinstance(condition, All) is wanted
        found: frozenset[Term] = frozenset([frozenset()]) if every else frozenset()
        for part in parts:
            found = _joined(found, part) if every else found | part
            if len(found) > limit:
                raise _TooMany
        return found
    return frozenset([frozenset([(condition, wanted)])])


def _joined(left: frozenset[Term], right: frozenset[Term]) -> frozenset[Term]:
    return frozenset(term for a in left for b in right if not _contradicts(term := a | b))


def _contradicts(term: Term) -> bool:
    return any((leaf, not wanted) in term for leaf, wanted in term)
