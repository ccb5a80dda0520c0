"""Whether a condition holds for a subject: yes, no, or unknown (Kleene's three-valued logic).

This walk over the tree is the definition: slow and plain. The compiled index says the same.
Unknown is what another call could still bring: the detail with its page views, a friction
threshold not yet asked, the history of an alert's figures. So is what the API sent in a form that
can't be read. No negation makes it a yes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, assert_never

from msgspec import Struct

from bot.domain.subjects import Kind, RecordingSubject, Subject
from bot.fields.catalogue import ALERTS, field
from bot.fields.field import Field, Source
from bot.fields.recordings import JOURNEY
from bot.rules.model import All, AnyOf, Condition, Journey, Leaf, Not, OneItem, Rule, Test, applies
from bot.rules.operators.base import Operator, ValueTest
from bot.rules.operators.past import USUAL_WEEKS
from bot.rules.operators.yes_no import Exists
from bot.rules.unread import hinges_on
from bot.rules.value_tests import Alike, Answer, OneText, both, either, opposite, values_of


class Past(Protocol):
    """An alert's own past figures, by field name."""

    def __call__(self, field: str, ago: int, /) -> float | None:
        """The figure of so many ms ago; None while there is no history."""

    def usual(self, field: str, /) -> tuple[float, ...]:
        """The figures of this weekday and hour in the last weeks, the latest first."""


class Given(Struct, frozen=True):
    """A past in which each figure was always the same."""

    figures: Mapping[str, float]

    def __call__(self, field: str, ago: int, /) -> float | None:
        return self.figures.get(field)

    def usual(self, field: str, /) -> tuple[float, ...]:
        figure = self.figures.get(field)
        return () if figure is None else (figure,) * USUAL_WEEKS


no_past = Given({})
"""The past of a subject seen for the first time."""


class _OneFigure(Struct, frozen=True):
    """The past of one field's figure."""

    past: Past
    field: str

    def __call__(self, ago: int, /) -> float | None:
        return self.past(self.field, ago)

    def usual(self) -> tuple[float, ...]:
        return self.past.usual(self.field)


no_history = _OneFigure(no_past, "")
"""The past of what has none."""


def field_of(leaf: Leaf, kind: Kind) -> Field:
    """The catalogue's field that the leaf asks about; raises KeyError for one it lacks."""
    match leaf:
        case Journey():
            return JOURNEY
        case Test(name) | OneItem(name):
            return field(kind, name)
        case _:
            assert_never(leaf)


class LeafTest(NamedTuple):
    """A leaf as functions of its field's value: when all of it is known, and while more of it
    may come."""

    known: ValueTest
    so_far: ValueTest


@lru_cache(maxsize=4096)
def leaf_test(leaf: Leaf, kind: Kind) -> LeafTest:
    """The leaf's test. Raises TypeError where its operator does not fit the field."""
    about = field_of(leaf, kind)
    match leaf:
        case Journey(paths):
            steps = [Alike((path,), about.normal) for path in paths]
            return _growing(lambda paths, _earlier: in_order(steps, paths or ()))
        case OneItem(_, tests):
            return _growing(item_test(about, tests))
        case Test(_, operator, key):
            if key is None:
                return LeafTest(operator.test(about), operator.test_so_far(about))
            return variable_test(operator, about, key)
        case _:
            assert_never(leaf)


def variable_test(operator: Operator, about: Field, key: str) -> LeafTest:
    """The test of one variable's values. Raises TypeError for an operator of other values."""
    texts = operator.over_texts(about, empty_is_data=False)
    if texts is None:
        raise TypeError(f"{type(operator).__name__} does not fit a variable")
    met, met_so_far = texts.met, texts.met_so_far
    return LeafTest(
        lambda value, _earlier: met(values_of(value or (), key)),
        lambda value, _earlier: met_so_far(values_of(value or (), key)),
    )


def _growing(known: ValueTest) -> LeafTest:
    """A test whose yes stays while more items come, and whose no may not."""
    return LeafTest(known, lambda value, earlier: known(value, earlier) or None)


def in_order(steps: Sequence[OneText], paths: Iterable[str]) -> bool:
    """Whether the paths hold one match for every step, in this order."""
    rest = iter(paths)
    return all(any(step(path) for path in rest) for step in steps)


def item_test(about: Field, tests: Sequence[Test]) -> ValueTest:
    """Whether one single item meets all tests; unknown while that depends on an unknown part."""
    parts = [part_test(about.part(test.field), test) for test in tests]
    return lambda items, _earlier: either(both(met(item) for met in parts) for item in items or ())


def part_test(part: Field, test: Test) -> Callable[[Any], Answer]:
    """Whether an item's part meets the test."""
    known, so_far = test.operator.test(part), test.operator.test_so_far(part)

    def met(item: Any) -> Answer:
        is_known = part.known is None or part.known(item)
        return (known if is_known else so_far)(part.get(item), no_history)

    return met


def answer(
    condition: Condition, subject: Subject, past: Past = no_past, *, complete: bool = False
) -> Answer:
    """Whether the condition holds whatever else may be learnt; None while that depends.

    `complete`: nothing else can be learnt about the subject (it is made up, as in a
    rule's test): what it does not have, it lacks.
    """
    match condition:
        case All(parts):
            return both(answer(part, subject, past, complete=complete) for part in parts)
        case AnyOf(parts):
            return either(answer(part, subject, past, complete=complete) for part in parts)
        case Not(part):
            return opposite(answer(part, subject, past, complete=complete))
        case Test() | OneItem() | Journey():
            return _leaf_answer(condition, subject, past, complete=complete)
        case _:
            assert_never(condition)


def _leaf_answer(leaf: Leaf, subject: Subject, past: Past, *, complete: bool) -> Answer:
    about = field_of(leaf, subject.kind)
    test = leaf_test(leaf, subject.kind)
    known = complete or about.known is None or about.known(subject)
    value = about.get(subject)
    if value is None and not complete and _lacks(leaf, about):
        return None
    if not complete and hinges_on(leaf, about, subject):
        if value is None or about.type not in _COLLECTIONS:
            return None
        known = False
    return (test.known if known else test.so_far)(value, _OneFigure(past, about.name))


_COLLECTIONS = frozenset({"texts", "variables", "items"})
"""Types of values of which a part may be there although another part could not be read."""


def _lacks(leaf: Leaf, about: Field) -> bool:
    """Whether no value says nothing here: an alert must neither fire nor end by it."""
    if about.watch not in ALERTS or not about.always_there:
        return False
    return isinstance(leaf, Test) and not isinstance(leaf.operator, Exists)


def rule_answer(
    rule: Rule, subject: Subject, past: Past = no_past, *, complete: bool = False
) -> Answer:
    """Whether the rule watches such a subject on this website, and its condition holds."""
    if rule.watch != subject.kind or not applies(rule, subject.website):
        return False
    return answer(rule.condition, subject, past, complete=complete)


def needs(condition: Condition, subject: Subject) -> frozenset[Source]:
    """What the answer still depends on: the detail, or a fact to be asked; empty if decided."""
    return frozenset(_needs(condition, subject))


def _needs(condition: Condition, subject: Subject) -> Iterator[Source]:
    if answer(condition, subject) is not None:
        return
    match condition:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from _needs(part, subject)
        case Not(part):
            yield from _needs(part, subject)
        case Test() | OneItem() | Journey():
            asked = field_of(condition, subject.kind).source is Source.SERVER
            yield Source.SERVER if asked else Source.DETAIL
        case _:
            assert_never(condition)


class Decision(NamedTuple):
    """Rules by what is known of one recording: those that match whatever else may be learnt of
    it, and those that still depend on it. All others do not match."""

    sure: tuple[Rule, ...]
    open: tuple[Rule, ...]


class RuleGroup(Protocol):
    """Some rules, decided together for one recording after the other.

    Two classes do it alike: `bot.rules.index.RuleIndex`, compiled and fast, and `RuleList`.
    """

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in the order in which they are named in decisions."""

    def sure(self, subject: RecordingSubject) -> tuple[Rule, ...]:
        """The rules that match whatever else may be learnt of the recording."""

    def open(self, subject: RecordingSubject) -> tuple[Rule, ...]:
        """The rules whose answer depends on what is not known yet."""

    def decide(self, subject: RecordingSubject) -> Decision:
        """The sure and the open rules, evaluated once."""

    def sure_of_all(self, subjects: Iterable[RecordingSubject]) -> list[tuple[Rule, ...]]:
        """The sure rules of each of the recordings."""


class RuleList:
    """A rule group that walks every rule's tree: what the index must agree with."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)

    def sure(self, subject: RecordingSubject) -> tuple[Rule, ...]:
        return self.decide(subject).sure

    def open(self, subject: RecordingSubject) -> tuple[Rule, ...]:
        return self.decide(subject).open

    def decide(self, subject: RecordingSubject) -> Decision:
        answers = [(rule, rule_answer(rule, subject)) for rule in self.rules]
        return Decision(
            sure=tuple(rule for rule, said in answers if said is True),
            open=tuple(rule for rule, said in answers if said is None),
        )

    def sure_of_all(self, subjects: Iterable[RecordingSubject]) -> list[tuple[Rule, ...]]:
        return [self.sure(subject) for subject in subjects]
