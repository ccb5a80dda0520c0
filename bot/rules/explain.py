"""Why a rule matches a subject or not: the condition as a tree, with what is seen at each part."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from bot.domain.subjects import Band, Subject
from bot.fields.field import Field, Source
from bot.messages.text import clean, lasting, number
from bot.rules.evaluate import Past, answer, field_of, holds, leaf_test, matches, no_past
from bot.rules.index.terms import Leaf
from bot.rules.model import (
    All,
    AnyOf,
    Bounds,
    Change,
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
from bot.rules.operators import Answer, sees, texts_of, values_of
from bot.rules.plan_steps import applies

MOST = 5
_SHORT = 90_000


def quantity(about: Field, figure: float) -> str:
    """A figure with its unit: `58 s`, `1 min 35 s`, `12.5 %`, `2.5`."""
    if about.type == "duration" and math.isfinite(figure):
        ms = round(figure)
        if 1000 <= abs(ms) <= _SHORT:
            return f"{number(round(ms / 1000, 1))} s"
        return lasting(timedelta(milliseconds=ms))
    if about.type == "percent":
        return f"{number(round(figure, 1))} %"
    return number(figure)


def wanted(about: Field, wants: Wants) -> str:
    """What the wants ask for, in words that follow the field's name."""
    match wants:
        case OneOf(values):
            return _listed(values, "or")
        case NoneOf(values):
            return f"not {_listed(values, 'or')}"
        case Every(values):
            return f"all of {_listed(values, 'and')}"
        case Pattern(regex):
            return f"like /{clean(regex, 80)}/"
        case Exists(there):
            return "present" if there else "absent"
        case Is(flag):
            return "yes" if flag else "no"
        case Numbers(values):
            return _listed([quantity(about, value) for value in values], "or")
        case Bounds():
            return _bounds(about, wants)
        case Change():
            return _change(wants)


def _bounds(about: Field, wants: Bounds) -> str:
    named = (
        ("at least", wants.min),
        ("over", wants.over),
        ("at most", wants.max),
        ("under", wants.under),
    )
    said = [f"{word} {quantity(about, it)}" for word, it in named if it is not None]
    return " and ".join(said) or "anything"


def _change(wants: Change) -> str:
    ago = lasting(timedelta(milliseconds=wants.against))
    moves = (("down", wants.drops_by), ("up", wants.rises_by))
    said = [f"{word} by {number(it)} %" for word, it in moves if it is not None]
    return f"{' or '.join(said)} against {ago} ago"


def _listed(values: Sequence[Any], last: str) -> str:
    shown = [clean(value, 80) for value in values[:MOST]]
    if len(values) > MOST:
        return f"{', '.join(shown)} {last} {len(values) - MOST} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def asked(leaf: Leaf, about: Field) -> str:
    """The whole test in words: `duration over 60 s`."""
    if isinstance(leaf, Journey):
        return f"journey {_arrows(leaf.paths)}"
    if isinstance(leaf, OneItem):
        tests = (asked(test, about.part(test.field)) for test in leaf.tests)
        return f"one {leaf.field} with {', '.join(tests)}"
    name = f"variable {leaf.key}" if leaf.key else leaf.field
    return f"{name} {wanted(about, leaf.wants)}"


def _arrows(paths: Iterable[str]) -> str:
    return " → ".join(clean(path, 80) for path in paths)


def seen(about: Field, value: Any) -> str:
    """A value as it is seen, empty where there is none."""
    if value is None or value == "":
        return ""
    if isinstance(value, Band):
        return band(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return _several(about, value)
    return quantity(about, value) if about.numeric else clean(value, 120)


def _several(about: Field, values: tuple[Any, ...]) -> str:
    if about.ordered:
        return _arrows(values[: 4 * MOST])
    if about.type == "items":
        return f"{len(values)} {about.name}{'' if len(values) == 1 else 's'}"
    return _listed(values, "and") if values else "none"


def band(value: Band) -> str:
    """A friction as a bracket of the thresholds that were asked: `at least 2.5, under 5`."""
    if value.high <= math.nextafter(value.low, math.inf):
        return number(value.low)
    parts = []
    if math.isfinite(value.low):
        parts.append(f"at least {value.low:.7g}")
    if math.isfinite(value.high):
        parts.append(f"under {value.high:.7g}")
    return ", ".join(parts) or "not bounded"


def distance(about: Field, wants: Wants, value: Any) -> str:
    """How far a number is from what is wanted: `2 s short`, `3 too many`; empty if it is not."""
    if not isinstance(wants, Bounds) or not isinstance(value, int | float) or value != value:
        return ""
    low = max((it for it in (wants.min, wants.over) if it is not None), default=-math.inf)
    high = min((it for it in (wants.max, wants.under) if it is not None), default=math.inf)
    if value < low:
        return f"{quantity(about, low - value)} short"
    if value > high:
        return f"{quantity(about, value - high)} too much"
    on_edge = value in (wants.over, wants.under)
    return "just on the edge" if on_edge else ""


MOST_REASONS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a condition. `answer` is None while it is not known.

    `text` says what is wanted, `seen` the value, `distance` how far off it is, `note` why there
    is no data and who decides. `holds` is how the part counts in the verdict: what is not
    known counts as no.
    """

    text: str
    answer: Answer
    holds: bool
    data: bool = True
    seen: str = ""
    distance: str = ""
    note: str = ""
    parts: tuple["Part", ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A rule beside a subject. `watched` tells whether it looks at such a subject at all."""

    rule: str
    matches: bool
    watched: bool
    website: Part
    when: Part
    excepts: Part | None = None


def explain(rule: Rule, subject: Subject, past: Past = no_past) -> Explanation:
    """Every part of the rule with what the subject shows."""
    watched = rule.watch == subject.kind
    here = applies(rule, subject.website)
    names = " or ".join(clean(name) for name in rule.websites) or "any"
    excepts = rule.excepts if watched else None
    nothing = Part(f"{rule.watch} only", False, False)
    return Explanation(
        rule=rule.id,
        matches=matches(rule, subject, past),
        watched=watched,
        website=Part(f"website {names}", here, here, seen=clean(subject.website.name)),
        when=_part(rule.when, subject, past) if watched else nothing,
        excepts=None if excepts is None else _part(excepts, subject, past),
    )


def _part(condition: Condition, subject: Subject, past: Past) -> Part:
    if isinstance(condition, Not):
        inner = _part(condition.part, subject, past)
        opposite = None if inner.answer is None else not inner.answer
        return Part("not", opposite, not inner.holds, parts=(inner,))
    if isinstance(condition, All | AnyOf):
        parts = tuple(_part(part, subject, past) for part in condition.parts)
        every = isinstance(condition, All)
        held = holds(condition, subject, past)
        answers = {part.answer for part in parts}
        decided = (not every) in answers
        known: Answer = (not every) if decided else (None if None in answers else every)
        return Part("all of" if every else "any of", known, held, parts=parts)
    return _leaf(condition, subject, past)


def _leaf(leaf: Leaf, subject: Subject, past: Past) -> Part:
    about = field_of(leaf, subject.kind)
    value = about.get(subject)
    said = answer(leaf, subject, past)
    shown, data = _shown(leaf, about, value, past)
    known = about.known is None or about.known(subject)
    data = data and (known or value != ())
    off = "" if said or not isinstance(leaf, Test) else distance(about, leaf.wants, value)
    closest = _closest(leaf, about, value) if isinstance(leaf, OneItem) and not said else ()
    return Part(
        text=asked(leaf, about),
        answer=said,
        holds=said is True,
        data=data,
        seen=f"{shown}, the closest" if closest else shown,
        distance=off,
        note=_note(leaf, about, known, data),
        parts=closest,
    )


def _shown(leaf: Leaf, about: Field, value: Any, past: Past) -> tuple[str, bool]:
    """What is seen, in words, and whether there is any data."""
    if isinstance(leaf, Test) and leaf.key is not None:
        named = values_of(value or (), leaf.key)
        return seen(about, named) if named else "", bool(named)
    if isinstance(leaf, Test) and isinstance(leaf.wants, Change) and value is not None:
        before = past(leaf.field, leaf.wants.against)
        was = "" if before is None else f", was {seen(about, before)}"
        return seen(about, value) + was, before is not None
    return seen(about, value), value is not None


def _note(leaf: Leaf, about: Field, known: bool, data: bool) -> str:
    if about.source is Source.SERVER:
        by = f"the API decides ({about.served.names[0]})"
        return by if known else f"not asked yet; {by}"
    if not known:
        return "needs the recording's detail"
    if not data and isinstance(leaf, Test) and isinstance(leaf.wants, Change):
        return "not enough history yet"
    return ""


def _closest(leaf: OneItem, about: Field, items: Any) -> tuple[Part, ...]:
    """The item that meets most of the tests, test by test."""
    looks = [(about.part(test.field), test) for test in leaf.tests]
    rated = [[(part, test, part.get(item)) for part, test in looks] for item in items or ()]
    if not rated:
        return ()
    best = max(rated, key=lambda look: sum(bool(_sees(*it)) for it in look))
    return tuple(_item_part(*it) for it in best)


def _sees(part: Field, test: Test, value: Any) -> bool:
    return bool(sees(part, test.wants, test.key)(value))


def _item_part(part: Field, test: Test, value: Any) -> Part:
    met = _sees(part, test, value)
    off = "" if met else distance(part, test.wants, value)
    shown = seen(part, value)
    return Part(asked(test, part), met, met, value is not None, shown, off)


def lines(explanation: Explanation) -> list[str]:
    """The explanation as text: ✓ holds, ✗ does not, ? is not known."""
    verb = "matches" if explanation.matches else "does not match"
    found = [f"{_mark(explanation.matches)} {explanation.rule} {verb}"]
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


def why(rule: Rule, subject: Subject, past: Past = no_past) -> tuple[str, ...]:
    """The parts that hold, short enough for a message: `friction at least 2.5`.

    Of personal data only the test's name is given, never a value, neither the visitor's nor the
    rule's. Texts are plain: who writes them into a message escapes them.
    """
    if rule.watch != subject.kind:
        return ()
    found = dict.fromkeys(_reasons(rule.when, subject, past))
    return tuple(found)[:MOST_REASONS]


def _reasons(condition: Condition, subject: Subject, past: Past) -> Iterator[str]:
    if isinstance(condition, Not):
        if holds(condition, subject, past) and isinstance(condition.part, Test | Journey | OneItem):
            yield f"not {_impersonal(condition.part, field_of(condition.part, subject.kind))}"
    elif isinstance(condition, All | AnyOf):
        for part in condition.parts:
            if holds(part, subject, past):
                yield from _reasons(part, subject, past)
    elif holds(condition, subject, past):
        yield _reason(condition, subject, past)


def _reason(leaf: Leaf, subject: Subject, past: Past) -> str:
    about = field_of(leaf, subject.kind)
    value = about.get(subject)
    if isinstance(leaf, Journey):
        return f"went {asked(leaf, about).partition(' ')[2]}"
    if isinstance(leaf, OneItem):
        return _item_reason(leaf, about, value)
    if about.personal:
        return _impersonal(leaf, about)
    wants = wanted(about, leaf.wants)
    if isinstance(leaf.wants, Change):
        return f"{leaf.field} {wants}: {_shown(leaf, about, value, past)[0]}"
    if about.banded:
        return f"{leaf.field} {wants}"
    if about.numeric:
        return f"{about.why_label} {seen(about, value)}, {wants}".lstrip()
    return _text_reason(leaf, about, value, subject)


def _impersonal(leaf: Leaf, about: Field) -> str:
    """The test in words, without its values where they are personal data."""
    if isinstance(leaf, OneItem):
        tests = (_impersonal(test, about.part(test.field)) for test in leaf.tests)
        return f"one {leaf.field} with {', '.join(tests)}"
    if about.personal and isinstance(leaf, Test):
        return f"{f'variable {leaf.key}' if leaf.key else leaf.field} as the rule asks"
    return asked(leaf, about)


def _text_reason(leaf: Test, about: Field, value: Any, subject: Subject) -> str:
    """The text, or of several those that the test asks for; what is absent is named as asked."""
    if about.type == "flag":
        return about.name if value else f"not {about.name}"
    if about.type == "texts" and isinstance(leaf.wants, NoneOf):
        label = about.absent_label or f"no {about.name}"
        return f"{label} {wanted(about, OneOf(leaf.wants.values))}"
    one = OneOf(leaf.wants.values) if isinstance(leaf.wants, Every) else leaf.wants
    see = leaf_test(replace(leaf, wants=one), subject.kind)
    met = tuple(text for text in texts_of(value) if see((text,)))
    if about.type == "texts" and not met:
        return f"{about.name} {wanted(about, leaf.wants)}"
    return f"{about.why_label} {seen(about, met or value) or 'absent'}"


def _item_reason(leaf: OneItem, about: Field, items: Any) -> str:
    looks = [(about.part(test.field), test) for test in leaf.tests]
    for item in items or ():
        if all(_sees(part, test, part.get(item)) for part, test in looks):
            key = about.parts[0]
            where = "" if key.personal else seen(key, key.get(item))
            where = where or about.name
            rest = [_impersonal(test, part) for part, test in looks if part.name != key.name]
            return f"{about.why_label} {where}{': ' if rest else ''}{', '.join(rest)}"
    return _impersonal(leaf, about)
