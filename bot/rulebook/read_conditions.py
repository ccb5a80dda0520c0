"""`when`, `except` and `until` as written -> a condition, driven by the catalogue of fields."""

from collections.abc import Callable, Mapping, Sequence

from bot.rulebook.catalogue import KINDS, fields
from bot.rulebook.conditions import (
    All,
    AnyOf,
    Condition,
    Journey,
    Not,
    OneItem,
    Test,
)
from bot.rulebook.fields import Field
from bot.rulebook.places import Place, item_place, listed, nearest, texts, unknown
from bot.rulebook.read_values import wants
from bot.rulebook.spans import Entry, Items, Keys, Node
from bot.rulebook.text_lints import doubt
from bot.subjects import Kind

GROUPS = ("any", "all", "not")


def condition(node: Node, place: Place, kind: Kind) -> Condition | None:
    """A mapping of fields and groups, all of which must hold; None and faults where it is none."""
    parts = _parts(node, place, kind)
    return None if parts is None else _joined(parts)


def exceptions(node: Node, place: Place, kind: Kind) -> Condition | None:
    """The same mapping under `except`, where one part that holds is enough."""
    parts = _parts(node, place, kind)
    if parts is None:
        return None
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _joined(parts: Sequence[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _parts(node: Node, place: Place, kind: Kind) -> list[Condition] | None:
    place = place.on(node)
    if isinstance(node, Items):
        place.fault(
            f"{place.name} wants conditions such as {_example_condition(kind)}, without dashes; a list "
            "stands under any or all"
        )
        return None
    if not isinstance(node, Keys):
        place.fault(f"{place.name} wants conditions such as {_example_condition(kind)}")
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


def _entry(entry: Entry, place: Place, kind: Kind, known: Mapping[str, Field]) -> Condition | None:
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
        return "websites stand beside when, not in it: write websites: [myshop.com] there"
    if others:
        hint = nearest(name, known) if name in ("url", "name") else ""
        return f"{name} is a field of {listed(others, 'and')}, not of {kind}{hint}"
    if name == "and":
        return "a mapping means and by itself; leave and out, or write all with a list"
    message = unknown(name, [*known, *GROUPS], "field")
    if message != "unknown field":
        return message
    several = ", ".join(list(known)[:5])
    return f"unknown field; {kind} have {several} and {len(known) - 5} more (docs/rules.md)"


def _group(
    node: Node,
    place: Place,
    kind: Kind,
    group: Callable[[tuple[Condition, ...]], Condition],
) -> Condition | None:
    if not isinstance(node, Items) or not node.items:
        example = "[{country: de}, {device: phone}]" if kind == "recordings" else "[{…}, {…}]"
        place.on(node).fault(f"{place.name} wants a list of conditions, such as {example}")
        return None
    parts = [condition(item, place.at(i, item), kind) for i, item in enumerate(node.items)]
    good = tuple(part for part in parts if part is not None)
    return group(good) if len(good) == len(parts) else None


def _field(node: Node, place: Place, field: Field) -> Condition | None:
    if field.type == "items":
        return _item(node, place, field)
    if field.type == "variables":
        return _variables(node, place, field)
    if field.name == "journey":
        if isinstance(node, Keys):
            place.on(node).fault("journey wants paths in their order, such as [/cart, /checkout*]")
            return None
        paths = texts(node, place)
        for index, path in enumerate(paths or ()):
            doubt(path, item_place(node, index, place), field)
        return None if paths is None else Journey(paths)
    wanted = wants(node, place, field)
    if wanted is None:
        return None
    return _joined([Test(field.name, want) for want in wanted])


def _item(node: Node, place: Place, field: Field) -> Condition | None:
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(f"{field.name} wants a mapping such as {field.examples[0]}")
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
        wanted = wants(entry.node, here, known[entry.key])
        good = good and wanted is not None
        tests += [Test(entry.key, want) for want in wanted or ()]
    return OneItem(field.name, tuple(tests)) if good else None


def _unknown_part(name: str, field: Field, known: Mapping[str, Field]) -> str:
    if (field.name, name) == ("page", "friction"):
        return (
            "friction speaks of the whole session, never of one page; ask for the page's "
            "tags instead, such as tags: click-rage"
        )
    return unknown(name, known, f"part of {field.name}")


def _variables(node: Node, place: Place, field: Field) -> Condition | None:
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(f"{field.name} wants names and values such as {field.examples[0]}")
        return None
    tests: list[Condition] = []
    good = True
    for entry in node:
        wanted = wants(entry.node, place.at(entry.key, entry), field)
        good = good and wanted is not None
        tests += [Test(field.name, want, entry.key) for want in wanted or ()]
    return _joined(tests) if good else None
