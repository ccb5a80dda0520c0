"""Keys at a wrong depth: told once, and read where they belong, so that all else is checked."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from itertools import takewhile

from bot.actions import WRITTEN
from bot.fields.catalogue import KINDS, fields
from bot.rules.files.conditions import GROUPS
from bot.rules.files.keys import FILE_KEYS, RULE_KEYS, names
from bot.rules.syntax.location import Location
from bot.rules.syntax.nodes import Entry, Keys, Node, Scalar
from bot.rules.syntax.synonyms import NO_SUCH, suggestion

_RULE = frozenset(names(RULE_KEYS))
_FILE = frozenset(names(FILE_KEYS))
_FIELDS = frozenset(about.name for kind in KINDS for about in fields(kind))
_NO_CONDITION = _RULE - _FIELDS - frozenset(GROUPS)

ELSEWHERE = {
    **{
        name: "when"
        for name in sorted(_FIELDS)
        if name not in NO_SUCH and not suggestion(name, _RULE)
    },
    **dict.fromkeys(WRITTEN.keys() - _RULE - NO_SUCH.keys(), "do"),
    **dict.fromkeys(("channel", "text", "at_most", "overflow"), "do.slack"),
}
"""Where a key belongs that is written on the level of `when` and `do`."""


def with_rules(root: Keys, place: Location) -> Keys:
    """The file's keys; rules that stand beside an empty `rules:` are under it."""
    section = root.entries.get("rules")
    if section is None or not _is_empty(section.node):
        return root
    strays = [it for it in root if it.key not in _FILE and _is_rule(it.node)]
    if not strays:
        return root
    place.at(strays[0].key, strays[0]).fault(f"indent {strays[0].key} more than rules:")
    return _below(root, section, strays)


def with_keys(rules: Keys, place: Location) -> Keys:
    """The rules by their ids; keys of a rule that stand beside it are in it."""
    found: Keys = rules
    above: Entry | None = None
    strays: list[Entry] = []
    for entry in rules:
        inside = above.node.entries if above and isinstance(above.node, Keys) else {}
        if above and entry.key in _RULE - inside.keys() and not _is_rule(entry.node, "watch"):
            strays.append(entry)
            continue
        found = _in_rule(found, above, strays, place)
        above, strays = entry, []
    return _in_rule(found, above, strays, place)


def _in_rule(rules: Keys, above: Entry | None, strays: list[Entry], place: Location) -> Keys:
    if above is None or not strays:
        return rules
    where = f"more than {above.key}" if _is_empty(above.node) else _AS_OTHERS
    _of_a_rule(strays[0], where, place)
    return _below(rules, above, strays)


_AS_OTHERS = "as far as the rule's other keys"


def _of_a_rule(entry: Entry, where: str, place: Location) -> None:
    words = f"{entry.key} is a key of a rule; indent it {where}"
    place.at(entry.key, entry).fault(words)


def at_their_depth(entry: Entry, place: Location) -> Entry:
    """The rule; conditions and actions that stand beside their key are under it, and back."""
    if not isinstance(entry.node, Keys):
        return entry
    rule = entry.node
    for name in ("when", "except", "do"):
        container = rule.entries.get(name)
        if container is None:
            continue
        if _is_empty(container.node):
            after = list(rule)[list(rule.entries).index(name) + 1 :]
            belongs = "do" if name == "do" else "when"
            theirs = {key for key, to in ELSEWHERE.items() if to == belongs}
            strays = list(takewhile(partial(_is_one_of, theirs), after))
            if strays:
                words = f"{strays[0].key} belongs under {name}; indent it more than {name}"
                place.at(strays[0].key, strays[0]).fault(words)
                rule = _below(rule, container, strays)
        elif isinstance(container.node, Keys) and name != "do":
            rule = _lifted(rule, container, place)
    return replace(entry, node=rule)


def _lifted(rule: Keys, container: Entry, place: Location) -> Keys:
    """The rule, with its keys that stand among the conditions of `container`."""
    inside = list(container.node) if isinstance(container.node, Keys) else []
    strays = [it for it in inside[1:] if it.key in _NO_CONDITION - rule.entries.keys()]
    if not strays:
        return rule
    first, *more = strays
    _of_a_rule(first, _AS_OTHERS, place.at(container.key, container))
    if _is_empty(first.node) and (rest := inside[inside.index(first) + 1 :]):
        strays, more = [first, *rest], []
        first = replace(first, node=_keys(rest))
    kept = [it for it in inside if it not in strays]
    entries = {**rule.entries, container.key: replace(container, node=_keys(kept))}
    return Keys(rule.line, rule.column, entries | {it.key: it for it in (first, *more)})


def _below(keys: Keys, parent: Entry, strays: list[Entry]) -> Keys:
    """The keys, with the strays moved under the parent."""
    inside = list(parent.node) if isinstance(parent.node, Keys) else []
    names = {it.key for it in strays}
    entries = {
        it.key: replace(it, node=_keys([*inside, *strays])) if it.key == parent.key else it
        for it in keys
        if it.key not in names
    }
    return Keys(keys.line, keys.column, entries)


def _keys(entries: Iterable[Entry]) -> Keys:
    made = {it.key: it for it in entries}
    first = next(iter(made.values()))
    return Keys(first.line, first.column, made)


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _is_one_of(keys: Collection[str], entry: Entry) -> bool:
    return entry.key in keys


def _is_rule(node: Node, *has: str) -> bool:
    some = has or ("watch", "when", "do")
    return isinstance(node, Keys) and not node.entries.keys().isdisjoint(some)
