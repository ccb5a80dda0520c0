"""Rule files -> one rule set, or every fault of every file at once."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from bot.errors import Fault, RuleErrors
from bot.rulebook import toml_text, yaml_text
from bot.rulebook.keys import FILE_KEYS, names
from bot.rulebook.lints import LINTS, lints
from bot.rulebook.places import Place, item_place, mapping, suggestion, texts, unknown
from bot.rulebook.read_budgets import budget
from bot.rulebook.read_do import Allowed
from bot.rulebook.read_rule import named, rule
from bot.rulebook.rules import Budget, RuleSet
from bot.rulebook.spans import Entry, Keys, Node, Unreadable, decoded
from bot.rulebook.written import Written

FORMATS = {".yaml": yaml_text.parse, ".yml": yaml_text.parse, ".toml": toml_text.parse}
"""How each kind of file becomes nodes."""

ALLOWED = Allowed()
"""What rules may do where the configuration is not known."""

Silences = set[tuple[str, str, str]]
"""(file, path or empty for the whole file, lint id)."""


def read(files: Sequence[tuple[str, bytes]], *, allowed: Allowed = ALLOWED) -> RuleSet:
    """All rules and budgets of the files, each given as (name to show, content).

    Raises RuleErrors with every fault of every file, by file, line and column.
    """
    faults: list[Fault] = []
    warnings: list[Fault] = []
    found = _Found()
    for name, data in files:
        root = _parsed(name, data, faults)
        if root is not None:
            _file(root, Place(name, faults, warnings), allowed, found)
    rules = tuple(written.rule for written in found.rules)
    faults += _doubles(found.ids)
    _renames(found.rules)
    if faults:
        raise RuleErrors(sorted(set(faults), key=_order))
    lints(found.rules, allowed)
    heard = {fault for fault in warnings if not _silent(fault, found.silences)}
    return RuleSet(
        rules,
        tuple(sorted(heard, key=_order)),
        _digest(files),
        tuple(found.budgets),
    )


def _order(fault: Fault) -> tuple[str, int, int, str, str]:
    return fault.file, fault.line, fault.column, fault.path, fault.message


def _parsed(name: str, data: bytes, faults: list[Fault]) -> Node | None:
    parse = FORMATS.get(PurePath(name).suffix.lower())
    if parse is None:
        faults.append(Fault(name, 1, 1, "", "rule files end in .yaml, .yml or .toml"))
        return None
    try:
        return parse(decoded(data))
    except Unreadable as error:
        faults.append(Fault(name, error.line, error.column, "", error.message))
        return None


@dataclass(frozen=True, slots=True)
class _Found:
    """What the files have brought so far; `ids` are the places of all rules and budgets."""

    rules: list[Written] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    silences: Silences = field(default_factory=set)
    ids: list[Place] = field(default_factory=list)


def _file(root: Node, place: Place, allowed: Allowed, into: _Found) -> None:
    keys = mapping(root, place, names(FILE_KEYS))
    if keys is None:
        return
    _version(keys, place)
    into.silences.update(_silence(keys, place, ""))
    if not any(suggestion(entry.key, ("rules", "budgets")) for entry in keys):
        place.fault("the file has no rules; write them under rules:")
    for entry, here in _section(keys, "rules", place):
        into.ids.append(here)
        if named(entry, here, "rule"):
            good = rule(entry, here, allowed)
            if isinstance(entry.node, Keys):
                into.silences.update(_silence(entry.node, here, here.path))
                into.rules.extend([Written(good, entry.node, here)] if good else [])
    for entry, here in _section(keys, "budgets", place):
        into.ids.append(here)
        if named(entry, here, "budget"):
            limits = budget(entry, here, allowed)
            into.budgets.extend([limits] if limits else [])


def _version(keys: Keys, place: Place) -> None:
    entry = keys.entries.get("version")
    if entry is None:
        place.fault("the key version is missing; write version 1 at the top")
        return
    value = getattr(entry.node, "value", None)
    if type(value) is not int or value != 1:
        place.at("version", entry.node).fault("this bot reads version 1 of the rule language")


def _section(keys: Keys, key: str, place: Place) -> Iterator[tuple[Entry, Place]]:
    """The entries under a top-level key, each with its place."""
    section = keys.entries.get(key)
    if section is None:
        return
    here = place.at(key, section)
    if not isinstance(section.node, Keys) or not section.node.entries:
        here.on(section.node).fault(f"write {key} by their ids: a mapping of id and {key[:-1]}")
        return
    for entry in section.node:
        yield entry, here.at(entry.key, entry)


def _silence(keys: Keys, place: Place, path: str) -> Silences:
    entry = keys.entries.get("silence")
    if entry is None:
        return set()
    here = place.at("silence", entry)
    ids = texts(entry.node, here) or ()
    for index, lint in enumerate(ids):
        if lint not in LINTS:
            item_place(entry.node, index, here).fault(unknown(lint, tuple(LINTS), "warning"))
    return {(place.file, path, lint) for lint in ids}


def _silent(fault: Fault, silences: Silences) -> bool:
    rule = ".".join(fault.path.split(".")[:2])  # ids hold no dot
    return any((fault.file, path, fault.lint) in silences for path in ("", rule))


def _doubles(ids: Sequence[Place]) -> list[Fault]:
    """An id is one rule's alone, whichever file it stands in."""
    first: dict[str, Place] = {}
    faults = []
    for here in ids:
        other = first.setdefault(here.path, here)
        if other is not here:
            message = f"this id stands at {other.file}:{other.line} already"
            faults.append(Fault(here.file, here.line, here.column, here.path, message))
    return faults


def _renames(rules: Sequence[Written]) -> None:
    """An old id passes its state to one rule, and only when no rule bears it any more."""
    present = {written.rule.id for written in rules}
    claims = Counter(old for written in rules for old in written.rule.was)
    for written in rules:
        for index, old in enumerate(written.rule.was):
            was, node = written.reach("was")
            place = item_place(node, index, was)
            if old in present:
                place.fault(f"{old} is still the id of a rule")
            elif claims[old] > 1:
                place.fault(f"{old} is claimed by several rules")


def _digest(files: Sequence[tuple[str, bytes]]) -> str:
    """Names the files' content: the same files in any order have the same digest."""
    content = sorted(hashlib.sha256(data).hexdigest() for _, data in files)
    return hashlib.sha256("".join(content).encode()).hexdigest()[:16]
