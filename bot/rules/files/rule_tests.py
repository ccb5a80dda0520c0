"""The tests of a rule and the samples of a file as written: what is given, what is expected."""

from collections.abc import Mapping
from typing import Any, assert_never

from bot.actions import ACTIONS, WRITTEN
from bot.domain.subjects import Kind, Site
from bot.fields.catalogue import (
    ALERTS,
    KINDS,
    SUBJECTS,
    WEBSITE,
    fields,
)
from bot.fields.field import Field
from bot.fields.recordings import PAGE
from bot.rules.files.keys import BEFORE, EXPECTED, SAMPLE_KEYS, TEST_KEYS, names, required
from bot.rules.model import (
    RuleTest,
    Sample,
)
from bot.rules.syntax.location import (
    Location,
    choice,
    flag,
    item_location,
    listed,
    mapping,
    part,
    text,
    texts,
    unknown,
)
from bot.rules.syntax.nodes import Items, Keys, Node, Scalar
from bot.rules.syntax.synonyms import suggestion
from bot.rules.syntax.values import figure


def tests(node: Node, place: Location, kind: Kind) -> tuple[RuleTest, ...]:
    """The list's tests; those with faults are left out."""
    if not isinstance(node, Items) or not node.items:
        place.on(node).fault("write a list of tests, each with given and expect")
        return ()
    read = [
        _test(item, place.at(index, item), kind, index) for index, item in enumerate(node.items)
    ]
    return tuple(test for test in read if test is not None)


def _test(node: Node, place: Location, kind: Kind, index: int) -> RuleTest | None:
    keys = mapping(node, place, names(TEST_KEYS), example="{given: {…}, expect: match}")
    if keys is None:
        return None
    known = names(TEST_KEYS)
    meant = {suggestion(key, known) for key in keys.entries if key not in known}
    if "expect" not in keys.entries and "expect" not in meant:
        place.fault("this test asserts nothing; add expect: match, or expect: no match")
    if "given" not in keys.entries and "given" not in meant:
        place.fault("the key given is missing: the values to test the rule with")
    name = part(keys, "name", place, text)
    values = part(keys, "given", place, lambda n, p: given(n, p, kind))
    expected = part(keys, "expect", place, _expect)
    if values is None or expected is None:
        return None
    match, actions, message = expected
    return RuleTest(
        name=name or f"test {index + 1}",
        given=values,
        match=match,
        line=node.line,
        column=node.column,
        actions=actions,
        text=message,
    )


def samples(node: Node, place: Location) -> tuple[Sample, ...]:
    """The samples of a file for `test --quiet-on`; those with errors are left out."""
    keys = mapping(node, place, ("samples",), ("samples",), "{samples: [{given: {pages: [/]}}]}")
    entry = keys.entries.get("samples") if keys else None
    if entry is None:
        return ()
    here = place.at(entry.key, entry)
    if not isinstance(entry.node, Items) or not entry.node.items:
        here.on(entry.node).fault("write a list of samples, each with given")
        return ()
    read = [_sample(item, here.at(n, item), n) for n, item in enumerate(entry.node.items)]
    return tuple(sample for sample in read if sample is not None)


def _sample(node: Node, place: Location, index: int) -> Sample | None:
    keys = mapping(node, place, names(SAMPLE_KEYS), required(SAMPLE_KEYS))
    if keys is None:
        return None
    name = part(keys, "name", place, text)
    written = "watch" in keys.entries
    kind: Kind | None = part(keys, "watch", place, watched_kind) if written else "recordings"
    if kind is None:
        return None
    watch = kind
    values = part(keys, "given", place, lambda n, p: given(n, p, watch))
    if values is None:
        return None
    return Sample(name or f"sample {index + 1}", kind, values, node.line)


def _expect(node: Node, place: Location) -> tuple[bool, tuple[str, ...], str | None] | None:
    if isinstance(node, Scalar) and node.source in ("match", "no match"):
        return node.source == "match", (), None
    if not isinstance(node, Keys):
        word = node.source.lower() if isinstance(node, Scalar) else ""
        meant = EXPECTED.get(word) or EXPECTED.get(word.removesuffix("es"))
        hint = f"; did you mean {meant}?" if meant else ""
        said = "expect must be match, no match or a mapping such as {actions: [slack]}"
        place.on(node).fault(said + hint)
        return None
    keys = mapping(node, place, ("match", "actions", "text"))
    if keys is None:
        return None
    if not keys.entries:
        place.on(node).fault("this test asserts nothing; write match: true, actions or text")
        return None
    match = part(keys, "match", place, flag)
    kinds = part(keys, "actions", place, _actions)
    message = part(keys, "text", place, text)
    if match is False and (kinds or message):
        place.on(node).fault(
            "a test that expects no match cannot expect actions or text; remove them"
        )
        return None
    return match is not False, kinds or (), message


def _actions(node: Node, place: Location) -> tuple[str, ...] | None:
    kinds = texts(node, place)
    wrong = False
    for index, kind in enumerate(kinds or ()):
        if kind not in WRITTEN and kind not in ACTIONS:
            item_location(node, index, place).fault(unknown(kind, tuple(WRITTEN), "action"))
            wrong = True
    return None if wrong else kinds


def given(node: Node, place: Location, kind: Kind) -> Mapping[str, Any] | None:
    """Values by field name, in base units; None if one has an error."""
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(
            "given must have values by field, such as {friction: 3, duration: 95s}"
        )
        return None
    known = {field.name: field for field in fields(kind)}
    values: dict[str, Any] = {}
    good = True
    for entry in node:
        here = place.at(entry.key, entry)
        if entry.key == WEBSITE and WEBSITE not in known:
            value: Any = text(entry.node, here)
        elif entry.key == BEFORE and kind in ALERTS:
            value = _before(entry.node, here, known)
        elif entry.key not in known:
            here.fault(unknown(entry.key, [*known, WEBSITE], "field", kind=kind))
            value = None
        elif known[entry.key].gives_views:
            value = _views(entry.node, here, known[entry.key])
        else:
            value = _value(entry.node, here, known[entry.key])
        if value is not None and entry.key in known:
            value = _given(value, here.on(entry.node), known[entry.key])
        good = good and value is not None
        values[entry.key] = value
    return values if good else None


def _given(value: Any, place: Location, field: Field) -> Any:
    """The value, if a subject can have it; else None and an error."""
    try:
        field.give(SUBJECTS[field.watch].blank(Site("", "")), value)
    except ValueError:
        example = f"; write a value such as {field.examples[0]}" if field.examples else ""
        place.fault(f"{field.name} can't have this value{example}")
        return None
    return value


def _views(node: Node, place: Location, field: Field) -> Any:
    """The number of pages, or the page views: paths, or mappings of a page's parts."""
    if field.numeric and not isinstance(node, (Items, Keys)):
        return figure(node, place, field)
    items = node.items if isinstance(node, Items) else [node]
    views = [_view(item, place.at(i, item)) for i, item in enumerate(items)]
    return None if None in views else tuple(views)


def _view(node: Node, place: Location) -> Mapping[str, Any] | None:
    if isinstance(node, Keys):
        return _parts(node, place, PAGE)
    path = text(node, place)
    return None if path is None else {PAGE.parts[0].name: path}


def _parts(node: Node, place: Location, field: Field) -> Mapping[str, Any] | None:
    known = {part.name: part for part in field.parts}
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(f"{field.name} must be a mapping of {listed(tuple(known), 'and')}")
        return None
    values: dict[str, Any] = {}
    for entry in node:
        here = place.at(entry.key, entry)
        if entry.key not in known:
            here.fault(unknown(entry.key, tuple(known), f"part of {field.name}"))
            values[entry.key] = None
        else:
            values[entry.key] = _value(entry.node, here, known[entry.key])
    return None if None in values.values() else values


def _value(node: Node, place: Location, field: Field) -> Any:
    """One value of the field's type."""
    if isinstance(node, Keys) and field.type not in ("items", "variables"):
        place.on(node).fault(f"given takes the value of {field.name} itself, not an operator")
        return None
    match field.type:
        case "number" | "duration" | "percent":
            return figure(node, place.on(node), field)
        case "items":
            items = node.items if isinstance(node, Items) else [node]
            values = [_parts(item, place.at(i, item), field) for i, item in enumerate(items)]
            return None if None in values else tuple(values)
        case "variables":
            return variables(node, place)
        case "flag":
            return flag(node, place)
        case "texts":
            return _texts(node, place)
        case "text" | "moment":
            value = text(node, place)
            if value is None or not field.choices:
                return value
            return _chosen(value, place.on(node), field)
        case _:
            assert_never(field.type)


def _before(node: Node, place: Location, known: Mapping[str, Field]) -> Mapping[str, float] | None:
    """Figures of the past, for conditions on a change."""
    numeric = tuple(name for name, field in known.items() if field.numeric)
    keys = mapping(node, place, numeric, example="{conversion: 20%}")
    if keys is None:
        return None
    found = {
        entry.key: figure(entry.node, place.at(entry.key, entry).on(entry.node), known[entry.key])
        for entry in keys
        if entry.key in numeric
    }
    good = {name: value for name, value in found.items() if value is not None}
    return good if len(good) == len(keys.entries) else None


def _texts(node: Node, place: Location) -> tuple[str, ...] | None:
    """Texts; an empty list is allowed."""
    return () if isinstance(node, Items) and not node.items else texts(node, place)


def _chosen(value: str, place: Location, field: Field) -> str | None:
    if field.normal(value) in field.choices or field.open_choices:
        return value
    place.fault(unknown(value, field.choices, "value"))
    return None


def variables(node: Node, place: Location) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(node, Keys):
        place.on(node).fault("variables must have names and values such as {cart-value: 120}")
        return None
    pairs = [(entry.key, text(entry.node, place.at(entry.key, entry))) for entry in node]
    good = tuple((key, value) for key, value in pairs if value is not None)
    return good if len(good) == len(pairs) else None


def watched_kind(node: Node, place: Location) -> Kind | None:
    """The kind, or after an error the one probably meant, so that the rest is checked too."""
    word = choice(*KINDS)(node, place)
    if word is None and isinstance(node, Scalar):
        word = suggestion(node.source, KINDS)
    return next((kind for kind in KINDS if kind == word), None)
