"""`tests` as written -> tests: what is given, in the catalogue's units, and what to expect."""

from collections.abc import Callable, Mapping
from typing import Any

from bot.actions import ACTIONS, WRITTEN
from bot.rulebook.catalogue import fields
from bot.rulebook.fields import NUMERIC, Field
from bot.rulebook.keys import TEST_KEYS, names
from bot.rulebook.places import (
    Place,
    flag,
    item_place,
    listed,
    mapping,
    part,
    text,
    texts,
    unknown,
)
from bot.rulebook.read_values import figure
from bot.rulebook.rules import RuleTest
from bot.rulebook.slips import suggestion
from bot.rulebook.spans import Entry, Items, Keys, Node, Scalar
from bot.subjects import Kind

_VIEWS = frozenset({"pages", "saw_page", "page", "journey"})
"""Given for a recording, each of these may list the page views."""


def tests(node: Node, place: Place, kind: Kind) -> tuple[RuleTest, ...]:
    """The list's tests; those with faults are left out."""
    if not isinstance(node, Items) or not node.items:
        place.on(node).fault("write a list of tests, each with given and expect")
        return ()
    read = [
        _test(item, place.at(index, item), kind, index) for index, item in enumerate(node.items)
    ]
    return tuple(test for test in read if test is not None)


def _test(node: Node, place: Place, kind: Kind, index: int) -> RuleTest | None:
    keys = mapping(node, place, names(TEST_KEYS), example="{given: {…}, expect: match}")
    if keys is None:
        return None
    known = names(TEST_KEYS)
    meant = {suggestion(key, known) for key in keys.entries if key not in known}
    if "expect" not in keys.entries and "expect" not in meant:
        place.fault("this test asserts nothing; add expect: match, or expect: no match")
    if "given" not in keys.entries and "given" not in meant:
        place.fault("the key given is missing: the subject that the rule is tried on")
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


_EXPECTED = {
    "true": "match", "yes": "match", "match": "match", "matched": "match",
    "false": "no match", "no": "no match", "none": "no match", "no_match": "no match",
    "no-match": "no match", "nomatch": "no match", "not match": "no match",
}  # fmt: skip
"""Other words for what is expected."""


def _expect(node: Node, place: Place) -> tuple[bool, tuple[str, ...], str | None] | None:
    if isinstance(node, Scalar) and node.source in ("match", "no match"):
        return node.source == "match", (), None
    if not isinstance(node, Keys):
        word = node.source.lower() if isinstance(node, Scalar) else ""
        meant = _EXPECTED.get(word) or _EXPECTED.get(word.removesuffix("es"))
        hint = f"; did you mean {meant}?" if meant else ""
        said = "expect is match, no match or a mapping such as {actions: [slack]}"
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
        place.on(node).fault("no match causes no actions and no text; leave them out")
        return None
    return match is not False, kinds or (), message


def _actions(node: Node, place: Place) -> tuple[str, ...] | None:
    kinds = texts(node, place)
    wrong = False
    for index, kind in enumerate(kinds or ()):
        if kind not in WRITTEN and kind not in ACTIONS:
            item_place(node, index, place).fault(unknown(kind, tuple(WRITTEN), "action"))
            wrong = True
    return None if wrong else kinds


def given(node: Node, place: Place, kind: Kind) -> Mapping[str, Any] | None:
    """Plain values by field name, in base units; None and faults where one cannot be read."""
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault("given wants values by field, such as {friction: 3, duration: 95s}")
        return None
    known = {field.name: field for field in fields(kind)}
    values: dict[str, Any] = {}
    good = True
    for entry in node:
        here = place.at(entry.key, entry)
        if entry.key == "website" and "website" not in known:
            value: Any = text(entry.node, here)
        elif entry.key == "before" and kind != "recordings":
            value = _before(entry.node, here, known)
        elif entry.key not in known:
            here.fault(unknown(entry.key, [*known, "website"], "field"))
            value = None
        elif entry.key in _VIEWS and kind == "recordings":
            value = _views(entry, here, known)
        else:
            value = _value(entry.node, here, known[entry.key])
        good = good and value is not None
        values[entry.key] = value
    return values if good else None


def _views(entry: Entry, place: Place, known: Mapping[str, Field]) -> Any:
    """How many pages, or the page views: paths, or mappings of a page's parts."""
    node = entry.node
    if entry.key == "pages" and not isinstance(node, (Items, Keys)):
        return figure(node, place, known["pages"])
    items = node.items if isinstance(node, Items) else [node]
    page = known["page"]
    views = [_view(item, place.at(i, item), page) for i, item in enumerate(items)]
    return None if None in views else tuple(views)


def _view(node: Node, place: Place, page: Field) -> Mapping[str, Any] | None:
    if isinstance(node, Keys):
        return _parts(node, place, page)
    path = text(node, place)
    return None if path is None else {"path": path}


def _parts(node: Node, place: Place, field: Field) -> Mapping[str, Any] | None:
    known = {part.name: part for part in field.parts}
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(f"{field.name} wants a mapping of {listed(tuple(known), 'and')}")
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


def _value(node: Node, place: Place, field: Field) -> Any:
    """One value of the field's type."""
    if isinstance(node, Keys) and field.type not in ("items", "variables"):
        place.on(node).fault(f"given says what {field.name} is: the value itself, no operator")
        return None
    if field.type in NUMERIC:
        return figure(node, place.on(node), field)
    if field.type == "items":
        items = node.items if isinstance(node, Items) else [node]
        values = [_parts(item, place.at(i, item), field) for i, item in enumerate(items)]
        return None if None in values else tuple(values)
    if field.type == "variables":
        return _variables(node, place)
    read: Callable[[Node, Place], Any] = {"flag": flag, "texts": _texts}.get(field.type, text)
    value = read(node, place)
    if field.type == "text" and value is not None and field.choices:
        return _chosen(value, place.on(node), field)
    return value


def _before(node: Node, place: Place, known: Mapping[str, Field]) -> Mapping[str, float] | None:
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


def _texts(node: Node, place: Place) -> tuple[str, ...] | None:
    """Texts; none at all is a fine thing to give."""
    return () if isinstance(node, Items) and not node.items else texts(node, place)


def _chosen(value: str, place: Place, field: Field) -> str | None:
    if field.normal(value) in field.choices or field.name in ("browser", "os"):
        return value
    place.fault(unknown(value, field.choices, "value"))
    return None


def _variables(node: Node, place: Place) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(node, Keys):
        place.on(node).fault("variables wants names and values such as {cart-value: 120}")
        return None
    pairs = [(entry.key, text(entry.node, place.at(entry.key, entry))) for entry in node]
    good = tuple((key, value) for key, value in pairs if value is not None)
    return good if len(good) == len(pairs) else None
