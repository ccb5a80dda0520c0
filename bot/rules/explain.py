"""Why a rule matches a subject or not: the condition as a tree, with what is seen at each part."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from statistics import median
from typing import Any, assert_never

from bot.domain.insight import MOST_STOPS, Clause, Insight, Mark, Near
from bot.domain.subjects import Kind, RecordingSubject, Subject
from bot.fields.catalogue import SUBJECTS
from bot.fields.field import Field, Source, number
from bot.messages.pages import visit
from bot.messages.text import clean
from bot.rules.evaluate import Past, answer, field_of, no_past, part_test, rule_answer
from bot.rules.model import All, AnyOf, Condition, Journey, Leaf, Not, OneItem, Rule, Test, applies
from bot.rules.operators.figures import FigureOperator
from bot.rules.operators.past import FEWEST_WEEKS
from bot.rules.operators.texts import TextOperator
from bot.rules.units import arrows, seen
from bot.rules.unread import hinges_on
from bot.rules.value_tests import Answer, both, either, opposite, values_of


def asked(leaf: Leaf, about: Field) -> str:
    """The whole test in words: `duration over 60 s`."""
    match leaf:
        case Journey(paths):
            return f"journey {arrows(paths)}"
        case OneItem(name, tests):
            parts = (asked(test, about.part(test.field)) for test in tests)
            return f"one {name} with {', '.join(parts)}"
        case Test(name, operator, key):
            return f"{f'variable {key}' if key else name} {operator.words(about)}"
        case _:
            assert_never(leaf)


MOST_REASONS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a condition. `answer` is None while it is unknown.

    `text` says what is asked, `seen` the value, `distance` how far off it is, `note` why there
    is no data and who decides.
    """

    text: str
    answer: Answer
    data: bool = True
    seen: str = ""
    distance: str = ""
    note: str = ""
    parts: tuple["Part", ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A rule beside a subject: `matches` is None while that is unknown.

    `watched` tells whether the rule looks at such a subject at all.
    """

    rule: str
    matches: Answer
    watched: bool
    website: Part
    when: Part
    excepts: Part | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A subject with its past. `complete`: nothing else can be learnt of it. Without `personal`
    no personal data is shown.
    """

    subject: Subject
    past: Past
    complete: bool
    personal: bool = True

    def answer(self, condition: Condition) -> Answer:
        return answer(condition, self.subject, self.past, complete=self.complete)

    def knows(self, about: Field) -> bool:
        return self.complete or about.known is None or about.known(self.subject)


def explain(
    rule: Rule,
    subject: Subject,
    past: Past = no_past,
    *,
    complete: bool = False,
) -> Explanation:
    """Every part of the rule with what the subject shows; `complete` as in `answer`."""
    looked = _Seen(subject, past, complete)
    watched = rule.watch == subject.kind
    here = applies(rule, subject.website)
    names = " or ".join(clean(name) for name in rule.websites) or "any"
    excepts = rule.excepts if watched else None
    return Explanation(
        rule=rule.id,
        matches=rule_answer(rule, subject, past, complete=complete),
        watched=watched,
        website=Part(f"website {names}", here, seen=clean(subject.website.name)),
        when=_part(rule.when, looked) if watched else Part(f"{rule.watch} only", False),
        excepts=None if excepts is None else _part(excepts, looked),
    )


def _part(condition: Condition, looked: _Seen) -> Part:
    match condition:
        case Not(part):
            inner = _part(part, looked)
            return Part("not", opposite(inner.answer), parts=(inner,))
        case All(parts):
            several = tuple(_part(part, looked) for part in parts)
            return Part("all of", both(part.answer for part in several), parts=several)
        case AnyOf(parts):
            several = tuple(_part(part, looked) for part in parts)
            return Part("any of", either(part.answer for part in several), parts=several)
        case Test() | OneItem() | Journey():
            return _leaf(condition, looked)
        case _:
            assert_never(condition)


def _leaf(leaf: Leaf, looked: _Seen) -> Part:
    about = field_of(leaf, looked.subject.kind)
    value = about.get(looked.subject)
    said = looked.answer(leaf)
    if not looked.personal and about.personal:
        return Part(_impersonal(leaf, about), said)
    shown, data = _shown(leaf, about, value, looked.past)
    known = looked.knows(about)
    data = data and (known or value != ())
    off = "" if said or not isinstance(leaf, Test) else leaf.operator.distance(about, value)
    closest: tuple[Part, ...] = ()
    if isinstance(leaf, OneItem):
        closest = _closest(leaf, about, value, personal=looked.personal)
    which = "this one" if said else "the closest"
    return Part(
        text=asked(leaf, about) if looked.personal else _impersonal(leaf, about),
        answer=said,
        data=data,
        seen=f"{shown}, {which}" if closest else shown,
        distance=off,
        note=_unreadable(leaf, about, looked)
        or _note(leaf, about, said, known, data)
        or _no_number(leaf, value),
        parts=closest,
    )


def _unreadable(leaf: Leaf, about: Field, looked: _Seen) -> str:
    """That the API sent something here that can't be read; or nothing."""
    return "the API's value can't be read" if hinges_on(leaf, about, looked.subject) else ""


def _no_number(leaf: Leaf, value: Any) -> str:
    """That a variable has texts, but none that says a number; or nothing."""
    if not (isinstance(leaf, Test) and leaf.key and isinstance(leaf.operator, FigureOperator)):
        return ""
    texts = values_of(value or (), leaf.key)
    if not texts or any(number(text) is not None for text in texts):
        return ""
    return "no data: that is no plain number, such as 1234.5"


def _shown(leaf: Leaf, about: Field, value: Any, past: Past) -> tuple[str, bool]:
    """What is seen, in words, and whether there is any data."""
    if not isinstance(leaf, Test):
        return seen(about, value), value is not None
    if leaf.key is not None:
        named = values_of(value or (), leaf.key)
        return seen(about, named) if named else "", bool(named)
    if about.type == "texts" and not about.ordered and isinstance(leaf.operator, TextOperator):
        return seen(about, leaf.operator.by_weight(about, value or ())), value is not None
    if leaf.operator.asks_usual and value is not None:
        return _beside_usual(about, value, past.usual(leaf.field))
    ago = leaf.operator.looks_back
    if ago is None or value is None:
        return seen(about, value), value is not None
    before = past(leaf.field, ago)
    was = "" if before is None else f", was {seen(about, before)}"
    return seen(about, value) + was, before is not None


def _beside_usual(about: Field, value: Any, weeks: Sequence[float]) -> tuple[str, bool]:
    """The figure, the usual one and those of the weeks that make it."""
    shown = seen(about, value)
    if not weeks:
        return shown, False
    each = ", ".join(seen(about, week) for week in weeks)
    past = "1 past week" if len(weeks) == 1 else f"{len(weeks)} past weeks"
    enough = len(weeks) >= FEWEST_WEEKS
    usual = f"usually {seen(about, median(weeks))} " if enough else ""
    return f"{shown}, {usual}({past}: {each})", enough


def written(rule: Rule) -> tuple[Part, Part | None]:
    """`when` and `except` in words, beside no subject; `note` says where each value comes from.

    Of personal data only the test's name is given.
    """
    return _written(rule.when, rule.watch), (
        None if rule.excepts is None else _written(rule.excepts, rule.watch)
    )


def in_one_line(rule: Rule) -> str:
    """The condition in words: `saw_page /thanks, device phone, not (country us)`."""
    when, excepts = written(rule)
    said = ", ".join(map(_said, when.parts)) if when.text == "all of" else _said(when)
    return said if excepts is None else f"{said}, not ({_said(excepts)})"


def _said(part: Part) -> str:
    inner = ", ".join(map(_said, part.parts))
    return f"{part.text} ({inner})" if inner else part.text


def _written(condition: Condition, watch: Kind) -> Part:
    match condition:
        case Not(part):
            return Part("not", None, parts=(_written(part, watch),))
        case All(parts):
            return Part("all of", None, parts=tuple(_written(part, watch) for part in parts))
        case AnyOf(parts):
            return Part("any of", None, parts=tuple(_written(part, watch) for part in parts))
        case Test() | OneItem() | Journey():
            about = field_of(condition, watch)
            return Part(_impersonal(condition, about), None, note=_cost(about))
        case _:
            assert_never(condition)


def _cost(about: Field) -> str:
    match about.source:
        case Source.LIST:
            return (
                "known when the session is over" if about.changes else "the list, no extra request"
            )
        case Source.DETAIL:
            return "one more request, once the rest holds"
        case Source.SERVER:
            return "one request for all rules"
        case _:
            assert_never(about.source)


def _note(leaf: Leaf, about: Field, said: Answer, known: bool, data: bool) -> str:
    if about.source is Source.SERVER:
        by = f"the API decides ({about.served.names[0]})"
        return by if known else f"not asked yet; {by}"
    if not known:
        return f"needs the {SUBJECTS[about.watch].noun}'s detail"
    if not isinstance(leaf, Test):
        return ""
    operator = leaf.operator
    if not data and (operator.asks_usual or operator.looks_back is not None):
        return "not enough history yet"
    return "too few to tell" if operator.asks_usual and said is None else ""


def _closest(leaf: OneItem, about: Field, items: Any, *, personal: bool) -> tuple[Part, ...]:
    """The item that meets most of the tests, test by test."""
    tests = [(test, about.part(test.field)) for test in leaf.tests]
    met = [part_test(part, test) for test, part in tests]
    rated = [(tuple(one(item) for one in met), item) for item in items or ()]
    if not rated:
        return ()
    answers, best = max(rated, key=lambda it: it[0].count(True))
    return tuple(
        _item_part(test, part, part.get(best), said)
        if personal or not part.personal
        else Part(_impersonal(test, part), said)
        for (test, part), said in zip(tests, answers, strict=True)
    )


def _item_part(test: Test, part: Field, value: Any, said: Answer) -> Part:
    off = "" if said else test.operator.distance(part, value)
    return Part(asked(test, part), said, value is not None, seen(part, value), off)


MOST_NEAR, MOST_LOOKED_AT = 5, 40
"""How many rules that did not match are kept beside a match, out of how many."""


def nearest(rules: Iterable[Rule], subject: Subject, *, settled: bool) -> tuple[Near, ...]:
    """The rules that came closest to matching, the closest first, as the store keeps them.

    Some part of each holds. One may still match that is undecided or, while `settled` is false,
    holds by now.
    """
    found = []
    for rule in islice(rules, MOST_LOOKED_AT):
        said = rule_answer(rule, subject, no_past)
        parts = rule.when.parts if isinstance(rule.when, All) else (rule.when,)
        answers = [answer(part, subject, no_past) for part in parts]
        waits = said is None or (said and not settled)
        if waits or (said is False and True in answers):
            excluded = rule.excepts is not None and answer(rule.excepts, subject, no_past) is True
            found.append((answers.count(False) + excluded, -answers.count(True), waits, rule))
    found.sort(key=itemgetter(0, 1))
    return tuple(_near(rule, subject, waits=waits) for _, _, waits, rule in found[:MOST_NEAR])


def _near(rule: Rule, subject: Subject, *, waits: bool) -> Near:
    when, excepts = _clauses(rule, subject)
    return Near(rule=rule.id, when=when, excepts=excepts, waits=waits)


def _clauses(rule: Rule, subject: Subject) -> tuple[Clause, Clause | None]:
    """`when` and `except` beside the subject, without personal data, the rule's included."""
    looked = _Seen(subject, no_past, complete=False, personal=False)
    excepts = None if rule.excepts is None else _clause(_part(rule.excepts, looked))
    return _clause(_part(rule.when, looked)), excepts


def _facts(subject: Subject) -> Iterator[tuple[str, str]]:
    """A few of the session's values that are nothing personal, in words."""
    known = SUBJECTS[subject.kind].fields if isinstance(subject, RecordingSubject) else ()
    for about in sorted((it for it in known if it.describes), key=lambda it: it.describes):
        if not about.personal and (shown := seen(about, about.get(subject))):
            yield about.name, shown


def insight(rule: Rule, subject: Subject, near: tuple[Near, ...] = ()) -> Insight:
    """The decision without personal data, as the store keeps it; `near` are other rules."""
    when, excepts = _clauses(rule, subject)
    stops = visit(subject)
    cut = len(stops) > MOST_STOPS
    half = MOST_STOPS // 2
    return Insight(
        when=when,
        excepts=excepts,
        path=(*stops[:half], *stops[-half:]) if cut else stops,
        pages=len(stops),
        facts=tuple(_facts(subject)),
        near=near,
    )


def _clause(part: Part) -> Clause:
    mark: Mark = "unknown" if part.answer is None else "yes" if part.answer else "no"
    return Clause(
        text=part.text,
        mark=mark,
        seen=part.seen if part.data else "no data" * (not part.parts),
        distance="" if part.answer else part.distance,
        note=part.note if part.answer is None else "",
        parts=tuple(map(_clause, part.parts)),
    )


def lines(explanation: Explanation) -> list[str]:
    """The explanation as text: ✓ yes, ✗ no, ? unknown."""
    said = explanation.matches
    verb = "is not decided yet" if said is None else "matches" if said else "does not match"
    found = [f"{_mark(said)} {explanation.rule} {verb}"]
    if not explanation.watched:
        return [*found, f"  ✗ it watches {explanation.when.text}"]
    found += _lines(explanation.website, 1)
    found += ["  when", *_group_lines(explanation.when, "all of")]
    if explanation.excepts is not None:
        found += ["  except any of these", *_group_lines(explanation.excepts, "any of")]
    return found


def _group_lines(part: Part, group: str) -> Iterator[str]:
    """The parts of what the heading has said already, else the part itself."""
    for inner in part.parts if part.text == group else (part,):
        yield from _lines(inner, 2)


def _mark(answer: Answer) -> str:
    return "?" if answer is None else "✓" if answer else "✗"


def _lines(part: Part, depth: int) -> Iterator[str]:
    yield f"{'  ' * depth}{_mark(part.answer)} {part.text}{_details(part)}"
    for inner in part.parts:
        yield from _lines(inner, depth + 1)


def _details(part: Part) -> str:
    if part.text in ("all of", "any of", "not"):
        return ""
    shown = part.seen if part.data else "no data"
    needs = ""
    if part.answer is False and part.distance:
        needs = f"needs {_after_name(part.text)} ({part.distance})"
    words = [word for word in (shown, needs, part.note) if word]
    return f": {', '.join(words)}" if words else ""


def _after_name(text: str) -> str:
    return text.partition(" ")[2]


def why(
    rule: Rule, subject: Subject, past: Past = no_past, *, complete: bool = False
) -> tuple[str, ...]:
    """The parts that hold, short enough for a message: `friction at least 2.5`.

    Of personal data only the test's name is given, never a value, neither the visitor's nor the
    rule's. Texts are plain: who writes them into a message escapes them.
    """
    if rule.watch != subject.kind:
        return ()
    found = _reasons(rule.when, _Seen(subject, past, complete)) or ()
    return tuple(dict.fromkeys(found))[:MOST_REASONS]


def _reasons(condition: Condition, looked: _Seen) -> list[str] | None:
    """Why the condition holds; None if it does not, or that is unknown."""
    match condition:
        case Not(part):
            if looked.answer(part) is not False:
                return None
            if not isinstance(part, Test | Journey | OneItem):
                return []
            return [f"not {_impersonal(part, field_of(part, looked.subject.kind))}"]
        case All(parts) | AnyOf(parts):
            each = [_reasons(part, looked) for part in parts]
            known = [reasons for reasons in each if reasons is not None]
            holds = len(known) == len(each) if isinstance(condition, All) else known
            return list(chain.from_iterable(known)) if holds else None
        case Test() | OneItem() | Journey():
            return [_reason(condition, looked)] if looked.answer(condition) else None
        case _:
            assert_never(condition)


def _reason(leaf: Leaf, looked: _Seen) -> str:
    about = field_of(leaf, looked.subject.kind)
    value = about.get(looked.subject)
    match leaf:
        case Journey():
            return f"went {asked(leaf, about).partition(' ')[2]}"
        case OneItem():
            return _item_reason(leaf, about, value)
        case Test(_, operator):
            if about.personal:
                return _impersonal(leaf, about)
            if about.type == "texts":  # the reason picks the texts that decide: sort none
                return operator.reason(about, value, seen(about, value))
            return operator.reason(about, value, _shown(leaf, about, value, looked.past)[0])
        case _:
            assert_never(leaf)


def _impersonal(leaf: Leaf, about: Field) -> str:
    """The test in words, without its values where they are personal data."""
    match leaf:
        case OneItem(name, tests):
            parts = (_impersonal(test, about.part(test.field)) for test in tests)
            return f"one {name} with {', '.join(parts)}"
        case Test(name, _, key):
            named = f"variable {key}" if key else name
            return f"{named} as the rule asks" if about.personal else asked(leaf, about)
        case Journey():
            return asked(leaf, about)
        case _:
            assert_never(leaf)


def _in_words(part: Field, test: Test, item: Any) -> str:
    """Why the part meets the test, if well-known values do: `rage clicks`; else empty."""
    value = part.get(item)
    known = isinstance(value, tuple) and any(map(part.in_words, value))
    return test.operator.reason(part, value, "") if known else ""


def _item_reason(leaf: OneItem, about: Field, items: Any) -> str:
    tests = [(about.part(test.field), test) for test in leaf.tests]
    met = [part_test(part, test) for part, test in tests]
    for item in items or ():
        if both(one(item) for one in met):
            key = about.parts[0]
            where = "" if key.personal else seen(key, key.get(item))
            where = where or about.name
            others = [(part, test) for part, test in tests if part.name != key.name]
            words = [_in_words(part, test, item) for part, test in others]
            if words and all(words):
                return f"{', '.join(words)} {about.why_label} {where}"
            rest = [_impersonal(test, part) for part, test in others]
            return f"{about.why_label} {where}{': ' if rest else ''}{', '.join(rest)}"
    return _impersonal(leaf, about)
