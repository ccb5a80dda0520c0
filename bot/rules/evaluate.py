"""The tree walk: whether a condition holds for a subject, and what it would take to know.

Slow and plain; the compiled decision must say the same. Every test answers yes, no or unknown.
Unknown is what another call could still bring: the detail with its page views, a friction
threshold not yet asked. When a verdict is due, what is unknown counts as no.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from bot.domain.subjects import Kind, Subject
from bot.fields.catalogue import field
from bot.fields.field import Field, Source
from bot.fields.recordings import JOURNEY
from bot.rules.model import (
    All,
    AnyOf,
    Change,
    Condition,
    Exists,
    Journey,
    NoneOf,
    Not,
    OneItem,
    Rule,
    Test,
)
from bot.rules.operators import Answer, Matches, Sees, both, either, one_of, sees
from bot.rules.plan_steps import applies

Past = Callable[[str, int], float | None]
"""A level's own figure of so many ms ago, by field name; None while there is no history."""

Leaf = Test | OneItem | Journey


def no_past(_field: str, _ago: int) -> float | None:
    """The past of a subject seen for the first time."""
    return None


def field_of(leaf: Leaf, kind: Kind) -> Field:
    """The catalogue's field that the leaf asks about; raises KeyError for one it lacks."""
    return JOURNEY if isinstance(leaf, Journey) else field(kind, leaf.field)


@lru_cache(maxsize=4096)
def leaf_test(leaf: Leaf, kind: Kind) -> Sees:
    """The leaf as a function of its field's value."""
    about = field_of(leaf, kind)
    if isinstance(leaf, Journey):
        steps = [one_of((path,), about.normal) for path in leaf.paths]
        return lambda paths: in_order(steps, paths or ())
    if isinstance(leaf, OneItem):
        return item_test(about, leaf.tests)
    return sees(about, leaf.wants, leaf.key)


def in_order(steps: Sequence[Matches], paths: Iterable[str]) -> bool:
    """Whether the paths hold one match for every step, in this order."""
    rest = iter(paths)
    return all(any(step(path) for path in rest) for step in steps)


def item_test(about: Field, tests: Sequence[Test]) -> Sees:
    """Whether one single item meets all tests."""
    parts = [(about.part(test.field), test) for test in tests]
    asked = [(part, sees(part, test.wants, test.key)) for part, test in parts]
    return lambda items: any(
        all(see(part.get(item)) for part, see in asked) for item in items or ()
    )


def changed(wants: Change, now: float, before: float) -> bool:
    """Whether the figure has dropped or risen by the share of what it was, in percent."""
    if before == 0:
        return wants.rises_by is not None and now > 0
    share = 100.0 * (now - before) / abs(before)
    fallen = wants.drops_by is not None and -share >= wants.drops_by
    return fallen or (wants.rises_by is not None and share >= wants.rises_by)


def _shrinks(leaf: Leaf) -> bool:
    """Whether more data can only turn the leaf's yes into a no: it asks for an absence."""
    return isinstance(leaf, Test) and (
        isinstance(leaf.wants, NoneOf) or (isinstance(leaf.wants, Exists) and not leaf.wants.wanted)
    )


def answer(leaf: Leaf, subject: Subject, past: Past = no_past) -> Answer:
    """Yes, no, or unknown while the subject does not hold all that there is to know."""
    about = field_of(leaf, subject.kind)
    value = about.get(subject)
    if isinstance(leaf, Test) and isinstance(leaf.wants, Change):
        return _change(leaf.wants, leaf.field, value, past)
    seen = leaf_test(leaf, subject.kind)(value)
    if about.known is None or about.known(subject):
        return seen
    if about.type == "texts":  # what is there stays, more may come
        return seen if seen is not _shrinks(leaf) else None
    return None


def _change(wants: Change, name: str, value: Any, past: Past) -> bool:
    before = past(name, wants.against)
    if value is None or before is None:
        return False
    return changed(wants, value, before)


def holds(condition: Condition, subject: Subject, past: Past = no_past) -> bool:
    """Whether the condition holds with what is known now; a test without data does not hold."""
    if isinstance(condition, All):
        return all(holds(part, subject, past) for part in condition.parts)
    if isinstance(condition, AnyOf):
        return any(holds(part, subject, past) for part in condition.parts)
    if isinstance(condition, Not):
        return not holds(condition.part, subject, past)
    return answer(condition, subject, past) is True


def verdict(condition: Condition, subject: Subject, past: Past = no_past) -> Answer:
    """Whether the condition holds whatever else we may learn; None while that depends."""
    if isinstance(condition, All):
        return both(verdict(part, subject, past) for part in condition.parts)
    if isinstance(condition, AnyOf):
        return either(verdict(part, subject, past) for part in condition.parts)
    if isinstance(condition, Not):
        inner = verdict(condition.part, subject, past)
        return None if inner is None else not inner
    return answer(condition, subject, past)


def needs(condition: Condition, subject: Subject) -> frozenset[Source]:
    """What the verdict still depends on: the detail, or a fact to be asked; empty if decided."""
    return frozenset(_needs(condition, subject))


def _needs(condition: Condition, subject: Subject) -> Iterator[Source]:
    if verdict(condition, subject) is not None:
        return
    if isinstance(condition, All | AnyOf):
        for part in condition.parts:
            yield from _needs(part, subject)
    elif isinstance(condition, Not):
        yield from _needs(condition.part, subject)
    else:
        asked = field_of(condition, subject.kind).source is Source.SERVER
        yield Source.SERVER if asked else Source.DETAIL


def whole(rule: Rule) -> Condition:
    """The rule's `when` without its `except`, as one condition."""
    return rule.when if rule.excepts is None else All((rule.when, Not(rule.excepts)))


def matches(rule: Rule, subject: Subject, past: Past = no_past) -> bool:
    """Whether the rule watches such a subject on this website, and its condition holds."""
    return (
        rule.watch == subject.kind
        and applies(rule, subject.website)
        and holds(whole(rule), subject, past)
    )
