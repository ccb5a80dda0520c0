"""Rule files -> one rule set, or every fault of every file at once."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from bot.errors import Fault, RuleErrors
from bot.rulebook import toml_text, yaml_text
from bot.rulebook.keys import FILE_KEYS, names
from bot.rulebook.lints import LINTS, lint, lint_same
from bot.rulebook.places import Place, item_place, mapping, texts, unknown
from bot.rulebook.read_budgets import budget
from bot.rulebook.read_do import Allowed
from bot.rulebook.read_rule import named, rule
from bot.rulebook.recovery import Text, readable, toml_blocks, yaml_blocks
from bot.rulebook.rules import Budget, Rule, RuleSet
from bot.rulebook.slips import suggestion
from bot.rulebook.spans import Entry, Items, Keys, Node, Unreadable, decoded
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
        text = _parsed(name, data, faults)
        if text.root is not None:
            place = Place(name, faults, warnings)
            _file(text.root, place, allowed, found, partly=text.partly)
    faults += _doubles(found.ids)
    _renames(found)
    lint_same(found.rules)
    heard = {fault for fault in warnings if not _silent(fault, found.silences)}
    told = tuple(sorted(heard, key=_order))
    if faults:
        raise RuleErrors(sorted(set(faults), key=_order), told)
    return RuleSet(
        tuple(rule for rule, _ in found.rules),
        told,
        _digest(files),
        tuple(found.budgets),
    )


def _order(fault: Fault) -> tuple[str, int, int, str, str]:
    return fault.file, fault.line, fault.column, fault.path, fault.message


def _parsed(name: str, data: bytes, faults: list[Fault]) -> Text:
    suffix = PurePath(name).suffix.lower()
    if suffix not in FORMATS:
        faults.append(Fault(name, 1, 1, "", "rule files end in .yaml, .yml or .toml"))
        return Text()
    try:
        text = decoded(data)
    except Unreadable as error:
        faults.append(Fault(name, error.line, error.column, "", error.message))
        return Text()
    if suffix == ".toml":
        found = readable(text, lambda text, _: toml_text.parse(text), toml_blocks)
    else:
        found = readable(text, yaml_text.parse, yaml_blocks)
    faults += (Fault(name, it.line, it.column, path, it.message) for path, it in found.errors)
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    """What the files have brought so far.

    `ids` are the places of all rules and budgets, `was` the earlier ids of rules with theirs.
    """

    rules: list[tuple[Rule, Place]] = field(default_factory=list)
    was: list[tuple[str, Place]] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    silences: Silences = field(default_factory=set)
    ids: list[Place] = field(default_factory=list)


def _file(root: Node, place: Place, allowed: Allowed, into: _Found, *, partly: bool) -> None:
    """`partly` tells that some of the file can't be read: then nothing is missed in it."""
    keys = mapping(root, place, names(FILE_KEYS))
    if keys is None:
        return
    if not partly or "version" in keys.entries:
        _version(keys, place)
    into.silences.update(_silence(keys, place, ""))
    if not partly and not any(suggestion(entry.key, ("rules", "budgets")) for entry in keys):
        place.fault("the file has no rules; write them under rules:")
    for entry, here in _section(keys, "rules", place, partly=partly):
        into.ids.append(here)
        if named(entry, here, "rule"):
            good = rule(entry, here, allowed)
            if isinstance(entry.node, Keys):
                into.silences.update(_silence(entry.node, here, here.path))
                if good is not None:
                    _keep(Written(good, entry.node, here), allowed, into)
    for entry, here in _section(keys, "budgets", place, partly=partly):
        into.ids.append(here)
        if named(entry, here, "budget"):
            limits = budget(entry, here, allowed)
            into.budgets.extend([limits] if limits else [])


def _keep(written: Written, allowed: Allowed, into: _Found) -> None:
    """The rule without its nodes: of a big rule set those are most of the memory."""
    lint(written, allowed)
    into.rules.append((written.rule, written.place))
    for index, old in enumerate(written.rule.was):
        was, node = written.reach("was")
        into.was.append((old, item_place(node, index, was)))


def _version(keys: Keys, place: Place) -> None:
    entry = keys.entries.get("version")
    if entry is None:
        place.fault("the key version is missing; write version 1 at the top")
        return
    value = getattr(entry.node, "value", None)
    if type(value) is not int or value != 1:
        place.at("version", entry.node).fault(
            "this bot reads version 1 of the rule language; write 1"
        )


_NAMES = {"rules": "checkout-friction", "budgets": "monthly-credits"}


def _section(keys: Keys, key: str, place: Place, *, partly: bool) -> Iterator[tuple[Entry, Place]]:
    """The entries under a top-level key, each with its place."""
    section = keys.entries.get(key)
    if section is None:
        return
    here = place.at(key, section)
    node = section.node
    if isinstance(node, Keys) and node.entries:
        for entry in node:
            yield entry, here.at(entry.key, entry)
    elif not partly:
        dashes = ", without dashes" if isinstance(node, Items) else ""
        example = f"{_NAMES[key]}: {{…}}{dashes}"
        here.on(node).fault(f"write {key} by their ids, such as {example}")


def _silence(keys: Keys, place: Place, path: str) -> Silences:
    entry = keys.entries.get("silence")
    if entry is None:
        return set()
    here = place.at("silence", entry)
    ids = texts(entry.node, here) or ()
    for index, name in enumerate(ids):
        if name not in LINTS:
            item_place(entry.node, index, here).fault(unknown(name, tuple(LINTS), "warning"))
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


def _renames(found: _Found) -> None:
    """An old id passes its state to one rule, and only when no rule bears it any more."""
    present = {rule.id for rule, _ in found.rules}
    claims = Counter(old for old, _ in found.was)
    for old, place in found.was:
        if old in present:
            place.fault(f"{old} is still the id of a rule")
        elif claims[old] > 1:
            place.fault(f"{old} is claimed by several rules")


def _digest(files: Sequence[tuple[str, bytes]]) -> str:
    """Names the files' content: the same files in any order have the same digest."""
    content = sorted(hashlib.sha256(data).hexdigest() for _, data in files)
    return hashlib.sha256("".join(content).encode()).hexdigest()[:16]
