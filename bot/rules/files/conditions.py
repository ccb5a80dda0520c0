"""`when`, `except` and `until` as written -> a condition, driven by the catalogue of fields."""

from collections.abc import Callable, Mapping, Sequence

from bot.domain.subjects import Kind
from bot.fields.catalogue import KINDS, fields
from bot.fields.field import NUMERIC, Field
from bot.rules.model import All, AnyOf, Condition, Journey, Not, OneItem, Test
from bot.rules.operators import OPERATORS, fitting, operator_keys, plain_operator
from bot.rules.operators.base import Operator
from bot.rules.syntax.location import Location, item_location, listed, nearest, texts, unknown
from bot.rules.syntax.nodes import Entry, Items, Keys, Node, Scalar
from bot.rules.syntax.values import doubt


def read_operators(
    node: Node, place: Location, about: Field, *, single_item: bool = False
) -> list[Operator] | None:
    """What the field's value must meet, all of it; None and errors where it cannot be read.

    `single_item`: the field is a part of one item of a list.
    """
    if isinstance(node, Keys):
        return _by_keys(node, place, about, single_item=single_item)
    if isinstance(node, Scalar) and node.value is None:
        place.on(node).fault(f"{place.name} has no value; for no value write {{exists: false}}")
        return None
    plain = plain_operator(about).read(node, place, about)
    return None if plain is None else [plain]


def _by_keys(
    node: Keys, place: Location, about: Field, *, single_item: bool
) -> list[Operator] | None:
    known = list(operator_keys(about, single_item=single_item))
    before = len(place.faults)
    for entry in node:
        if entry.key not in known:
            place.at(entry.key, entry).fault(_unknown_operator(entry.key, about, known))
    misspelt = len(place.faults) > before
    if not node.entries:
        example = about.examples[0] if about.examples else "{exists: true}"
        place.on(node).fault(
            f"{about.name} has nothing to compare with; write {about.name}: {example}"
        )
    found = [
        operator.read(node, place, about)
        for operator in fitting(about, single_item=single_item)
        if operator.keys.keys() & node.entries.keys() and not (misspelt and operator.needs)
    ]
    if len(place.faults) > before:
        return None
    return [operator for operator in found if operator is not None]


def _unknown_operator(name: str, field: Field, known: Sequence[str]) -> str:
    other = next((it for it in OPERATORS if name in it.keys), None)
    hint = "" if name in _VALUE_ITSELF | _ANY | _HOLDS else nearest(name, known)
    if other is not None and not hint:
        history = other.has_history and field.numeric and not field.news_of
        where = " on recordings" if field.watch == "recordings" else " of one item"
        why = where if history else ""
        more = (
            "; to exclude numbers, write not around the field"
            if name == "not" and field.type in NUMERIC
            else ""
        )
        return f"{name} does not fit {field.name}{why}; use {listed(known)}{more}"
    if name in _VALUE_ITSELF:
        return f"unknown operator; write the value itself, such as {field.name}: {_example(field)}"
    if name in _ANY:
        return f"unknown operator; a list alone means any of these, such as {field.name}: [a, b]"
    if name in _HOLDS and field.type in ("text", "texts"):
        star = "{0}: ab" if field.type == "texts" else "{0}: '*ab*', where * is any run of letters"
        return f"unknown operator; write {star.format(field.name)}"
    return unknown(name, known, "operator")


def _example(field: Field) -> str:
    return field.examples[0] if field.examples else "x"


_VALUE_ITSELF = frozenset({"equals", "equal", "eq", "is", "==", "=", "value", "equal_to"})
_ANY = frozenset({"any", "in", "or", "one_of", "any_of"})
_HOLDS = frozenset(
    {"contains", "includes", "has", "like", "starts_with", "begins_with", "ends_with", "glob"}
)


GROUPS = ("any", "all", "not")


def condition(node: Node, place: Location, kind: Kind) -> Condition | None:
    """A mapping of fields and groups, all of which must hold; None and faults where it is none."""
    parts = _parts(node, place, kind)
    return None if parts is None else _joined(parts)


def exceptions(node: Node, place: Location, kind: Kind) -> Condition | None:
    """The condition under `except`: one field or group that holds is enough."""
    parts = _parts(node, place, kind)
    if parts is None:
        return None
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _joined(parts: Sequence[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _parts(node: Node, place: Location, kind: Kind) -> list[Condition] | None:
    place = place.on(node)
    if isinstance(node, Items):
        place.fault(
            f"{place.name} needs conditions such as {_example_condition(kind)}, without dashes; "
            "put a list under any or all"
        )
        return None
    if not isinstance(node, Keys):
        place.fault(f"{place.name} needs conditions such as {_example_condition(kind)}")
        return None
    if not node.entries:
        place.fault(f"{place.name} is empty; write a condition such as {_example_condition(kind)}")
        return None
    known = {field.name: field for field in fields(kind)}
    parts = [_entry(entry, place.at(entry.key, entry), kind, known) for entry in node]
    return None if None in parts else [part for part in parts if part is not None]


def _example_condition(kind: Kind) -> str:
    field = fields(kind)[0]
    return f"{field.name}: {field.examples[0]}"


def _entry(
    entry: Entry, place: Location, kind: Kind, known: Mapping[str, Field]
) -> Condition | None:
    if entry.key in ("any", "all"):
        return _group(entry.node, place, kind, AnyOf if entry.key == "any" else All)
    if entry.key == "not":
        inner = condition(entry.node, place, kind)
        return None if inner is None else Not(inner)
    if entry.key not in known:
        place.fault(_unknown_field(entry.key, kind, known))
        return None
    return _field(entry.node, place, known[entry.key])


def _unknown_field(name: str, kind: Kind, known: Mapping[str, Field]) -> str:
    others = [
        other
        for other in KINDS
        if other != kind and any(field.name == name for field in fields(other))
    ]
    if name in ("website", "websites", "site") and name not in known:
        return "websites goes next to when, not inside it: write websites: [myshop.com] there"
    if others:
        hint = nearest(name, known) if name in ("url", "name") else ""
        return f"{name} is a field of {listed(others, 'and')}, not of {kind}{hint}"
    if name == "and":
        return "a mapping means and by itself; leave and out, or write all with a list"
    message = unknown(name, [*known, *GROUPS], "field", kind=kind)
    if message != "unknown field":
        return message
    several = ", ".join(list(known)[:5])
    return (
        f"unknown field; {kind} have {several} and {len(known) - 5} more (docs/reference/rules.md)"
    )


def _group(
    node: Node,
    place: Location,
    kind: Kind,
    group: Callable[[tuple[Condition, ...]], Condition],
) -> Condition | None:
    if not isinstance(node, Items) or not node.items:
        example = "[{country: de}, {device: phone}]" if kind == "recordings" else "[{…}, {…}]"
        place.on(node).fault(f"{place.name} needs a list of conditions, such as {example}")
        return None
    parts = [condition(item, place.at(i, item), kind) for i, item in enumerate(node.items)]
    good = tuple(part for part in parts if part is not None)
    return group(good) if len(good) == len(parts) else None


def _field(node: Node, place: Location, field: Field) -> Condition | None:
    if field.type == "items":
        return _item(node, place, field)
    if field.type == "variables":
        return _variables(node, place, field)
    if field.ordered:
        if isinstance(node, Keys):
            words = f"{field.name} needs paths in order, such as {field.examples[0]}"
            place.on(node).fault(words)
            return None
        paths = texts(node, place)
        for index, path in enumerate(paths or ()):
            doubt(path, item_location(node, index, place), field)
        return None if paths is None else Journey(paths)
    wanted = read_operators(node, place, field)
    if wanted is None:
        return None
    return _joined([Test(field.name, operator) for operator in wanted])


def _item(node: Node, place: Location, field: Field) -> Condition | None:
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(f"{field.name} needs a mapping such as {field.examples[0]}")
        return None
    known = {part.name: part for part in field.parts}
    tests: list[Test] = []
    good = True
    for entry in node:
        here = place.at(entry.key, entry)
        if entry.key not in known:
            here.fault(_unknown_part(entry.key, field, known))
            good = False
            continue
        wanted = read_operators(entry.node, here, known[entry.key], single_item=True)
        good = good and wanted is not None
        tests += [Test(entry.key, operator) for operator in wanted or ()]
    return OneItem(field.name, tuple(tests)) if good else None


def _unknown_part(name: str, field: Field, known: Mapping[str, Field]) -> str:
    if any(it.name == name and it.of_whole_session for it in fields(field.watch)):
        return (
            f"{name} is of the whole session, never of one {field.name}; ask for the "
            f"{field.name}'s tags instead, such as tags: click-rage"
        )
    return unknown(name, known, f"part of {field.name}")


def _variables(node: Node, place: Location, field: Field) -> Condition | None:
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(f"{field.name} needs names and values such as {field.examples[0]}")
        return None
    tests: list[Condition] = []
    good = True
    for entry in node:
        wanted = read_operators(entry.node, place.at(entry.key, entry), field)
        good = good and wanted is not None
        tests += [Test(field.name, operator, entry.key) for operator in wanted or ()]
    return _joined(tests) if good else None
