"""A rule with the mapping it was read from: the place of each of its parts in the file."""

from collections.abc import Iterator
from dataclasses import dataclass

from bot.rules.model import All, Condition, Rule
from bot.rules.syntax.location import Place
from bot.rules.syntax.nodes import Items, Keys, Node


@dataclass(frozen=True, slots=True)
class Written:
    """A rule, its mapping and its place."""

    rule: Rule
    keys: Keys
    place: Place

    def at(self, *path: str | int) -> Place:
        """The place of the key or item that the path leads to."""
        return self.reach(*path)[0]

    def reach(self, *path: str | int) -> tuple[Place, Node]:
        """The place and node of a key or item that the rule has."""
        node: Node = self.keys
        place = self.place
        for name in path:
            if isinstance(node, Keys) and isinstance(name, str):
                place, node = place.at(name, node.entries[name]), node.entries[name].node
            elif isinstance(node, Items) and isinstance(name, int):
                place, node = place.at(name, node.items[name]), node.items[name]
        return place, node


@dataclass(frozen=True, slots=True)
class Part:
    """One key of a condition's mapping, with the condition that was read from it."""

    place: Place
    key: str
    node: Node
    condition: Condition


def everywhere(node: Node, place: Place) -> Iterator[tuple[Place, str, Node]]:
    """Every key at any depth, with its place and value."""
    if isinstance(node, Keys):
        for entry in node:
            here = place.at(entry.key, entry)
            yield here, entry.key, entry.node
            yield from everywhere(entry.node, here)
    elif isinstance(node, Items):
        for index, item in enumerate(node.items):
            yield from everywhere(item, place.at(index, item))


def parts(node: Node, condition: Condition, place: Place) -> list[Part]:
    """The keys of a mapping under `when` or `except`; none if it is not a mapping."""
    if not isinstance(node, Keys):
        return []
    read = (condition,) if len(node.entries) == 1 else getattr(condition, "parts", ())
    pairs = zip(node, read, strict=True)
    return [Part(place.at(entry.key, entry), entry.key, entry.node, it) for entry, it in pairs]


def together(node: Node, condition: Condition, place: Place) -> Iterator[Part]:
    """All keys that must hold together, those inside `all` among them."""
    for part in parts(node, condition, place):
        if part.key == "all" and isinstance(part.node, Items) and isinstance(part.condition, All):
            for index, item in enumerate(part.node.items):
                inner = part.condition.parts[index]
                yield from together(item, inner, part.place.at(index, item))
        else:
            yield part
