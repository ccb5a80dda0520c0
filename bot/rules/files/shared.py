"""What rules share: blocks under `x-` keys, for aliases, and lists under `vars`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from bot.fields.catalogue import KINDS, fields
from bot.rules.files.keys import SHARED, VAR
from bot.rules.syntax.location import Location, text, texts, unknown
from bot.rules.syntax.nodes import Entry, Items, Keys, Node, Scalar

_LISTS = ("websites", "when", "except", "until", "visitors")
"""The keys of rules and budgets whose values may refer to a list."""

_KEPT = frozenset(it.name for kind in KINDS for it in fields(kind) if it.type == "variables")
"""Fields whose own keys are names of the website, one of which may be `var`."""

Names = Mapping[str, "Shared"]


@dataclass(frozen=True, slots=True)
class Shared:
    """A list under `vars`: its items, and its position."""

    items: tuple[Scalar, ...]
    place: Location


def without_blocks(root: Node, place: Location) -> Node:
    """The file without the blocks that only its aliases use."""
    if not isinstance(root, Keys):
        return root
    blocks = [entry for entry in root if entry.key.startswith(SHARED)]
    for entry in blocks if place.file.lower().endswith(".toml") else ():
        place.at(entry.key, entry).fault(
            "TOML has no aliases that could use this block; write a list under vars, or use YAML"
        )
    kept = {key: entry for key, entry in root.entries.items() if not key.startswith(SHARED)}
    return Keys(root.line, root.column, kept)


def shared_lists(entry: Entry, place: Location, into: dict[str, Shared]) -> None:
    """Add the lists of one file; notes an error for what is none, and for a name used twice."""
    if not isinstance(entry.node, Keys):
        place.on(entry.node).fault("write each list under its name: {internal_ips: [192.0.2.7]}")
        return
    for each in entry.node:
        here = place.at(each.key, each)
        other = into.get(each.key)
        if other is not None:
            first = f"{other.place.file}:{other.place.line}"
            here.fault(f"duplicate name; it is already at {first}")
        elif texts(each.node, here) is not None:
            nodes = each.node.items if isinstance(each.node, Items) else [each.node]
            found = tuple(node for node in nodes if isinstance(node, Scalar))
            into[each.key] = Shared(found, here)


def resolved(entry: Entry, place: Location, lists: Names) -> Entry:
    """The rule or budget with its lists in place of `{var: name}`, at the same place."""
    if not isinstance(entry.node, Keys):
        return entry
    entries = {
        key: replace(each, node=_resolved(each.node, place.at(key, each), lists))
        if key in _LISTS
        else each
        for key, each in entry.node.entries.items()
    }
    return replace(entry, node=replace(entry.node, entries=entries))


def _resolved(node: Node, place: Location, lists: Names) -> Node:
    if isinstance(node, Items):
        inner = (_resolved(it, place.at(n, it), lists) for n, it in enumerate(node.items))
        return replace(node, items=list(inner))
    if isinstance(node, Keys):
        if set(node.entries) == {VAR} and place.name not in _KEPT:
            return _list(node.entries[VAR], place, lists) or node
        return replace(node, entries=_inside(node, place, lists))
    if isinstance(node, Scalar):
        return node
    assert_never(node)


def _inside(keys: Keys, place: Location, lists: Names) -> dict[str, Entry]:
    return {
        key: replace(each, node=_resolved(each.node, place.at(key, each), lists))
        for key, each in keys.entries.items()
    }


def _list(entry: Entry, place: Location, lists: Names) -> Items | None:
    """The list of that name, as if it were written here; None and an error if there is none."""
    here = place.at(VAR, entry)
    name = text(entry.node, here)
    if name is None:
        return None
    found = lists.get(name)
    if found is None:
        here.on(entry.node).fault(unknown(name, tuple(lists), "name under vars"))
    line, column = entry.node.line, entry.node.column
    if found is None:  # anything: one error is enough
        return Items([Scalar("*", "*", quoted=True, line=line, column=column)], line, column)
    items: list[Node] = [replace(it, line=line, column=column, lines=()) for it in found.items]
    return Items(items, line, column)
