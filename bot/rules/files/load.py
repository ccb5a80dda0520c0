"""Rule files as one rule set, or every error of every file."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePath

from msgspec.structs import replace

from bot.actions.base import Allowed
from bot.errors import Fault, RuleErrors, internal_error
from bot.fields.catalogue import ALERTS
from bot.rules import tests
from bot.rules.files.budget import budget, report
from bot.rules.files.disk import Files, contents
from bot.rules.files.keys import FILE_KEYS, names
from bot.rules.files.lints import LINTS, Written, learns, lint, lint_same, lint_undoing, waits
from bot.rules.files.misplaced import at_their_depth, with_keys, with_rules
from bot.rules.files.rule import named, rule
from bot.rules.files.rule_tests import samples
from bot.rules.files.shared import Shared, resolved, shared_lists, without_blocks
from bot.rules.model import Budget, Report, Rule, RuleSet, Sample
from bot.rules.syntax import toml, yaml
from bot.rules.syntax.location import Location, item_location, mapping, texts, unknown
from bot.rules.syntax.nodes import (
    Empty,
    Entry,
    Items,
    Keys,
    Node,
    NoSpace,
    TooMuch,
    UnknownAlias,
    Unreadable,
    decoded,
)
from bot.rules.syntax.synonyms import suggestion

MOST_ERRORS = 10
"""After so many syntax errors the rest of a file is skipped: each costs another parse of it."""

MOST_PARSED = 500_000
"""Characters: a file whose parses sum up to more is not parsed again for further errors."""


MOST_TOLD = 200
"""Errors of one file that are listed."""


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of one rule or budget, or the lines before the first one.

    `last` is the first line after them. `section` and `name` are empty for the lines before.
    """

    first: int
    last: int
    section: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        """The rule's dotted path."""
        return f"{self.section}.{self.name}" if self.name else self.section

    @property
    def unread(self) -> str:
        """What a syntax error in these lines leaves unchecked."""
        if not self.section:
            return "the lines before the rules were not checked"
        return f"the rest of this {self.section[:-1]} was not checked"


@dataclass(slots=True)
class PartialText:
    """The part of a text that could be parsed. `partly`: something was skipped."""

    root: Node | None = None
    errors: list[tuple[str, Unreadable]] = field(default_factory=list)
    partly: bool = False

    def note(self, error: Unreadable, path: str = "", unread: str = "") -> None:
        """Keep an error with its path and what it leaves unchecked."""
        message = f"{error.message}; {unread}" if unread else error.message
        self.errors.append((path, Unreadable(error.line, error.column, message)))
        self.partly = True


Parse = Callable[[str, list[Unreadable]], Node]
Blocks = Callable[[list[str]], Iterator[Block]]


def parse_partially(text: str, parse: Parse, blocks: Blocks) -> PartialText:
    """The text without the rules that have syntax errors; an error elsewhere ends it there."""
    found = PartialText()
    lines = text.split("\n")
    known: list[Block] = []
    skipped: list[Block] = []
    whole = True
    parsed = 0
    while True:
        parsed += sum(map(len, lines))
        duplicates: list[Unreadable] = []
        try:
            found.root = parse("\n".join(lines), duplicates)
        except Empty as error:
            if not found.partly:
                found.note(error)
            return found
        except NoSpace as error:
            return PartialText(None, [("", error)], partly=True)
        except Unreadable as error:
            if not whole:
                return found
            known = known or list(blocks(lines))
            block = next((it for it in known if it.first <= error.line < it.last), None)
            enough = len(skipped) == MOST_ERRORS or parsed > MOST_PARSED
            if block is None or enough or isinstance(error, TooMuch):
                found.note(error, "", "the rest of this file was not checked")
                whole = False
                del lines[(block.first if block else error.line) - 1 :]
                continue
            found.note(_alias_error(error, text, skipped), block.path, block.unread)
            skipped.append(block)
            lines[block.first - 1 : block.last - 1] = [""] * (block.last - block.first)
        else:
            found.errors += (("", duplicate) for duplicate in duplicates)
            _remove(skipped, found.root)
            return found


def _alias_error(error: Unreadable, text: str, skipped: list[Block]) -> Unreadable:
    """The error; an alias may be unknown only because its anchor was skipped."""
    lines = text.split("\n")
    if isinstance(error, UnknownAlias) and any(
        re.search(rf"&{re.escape(error.name)}\b", "\n".join(lines[it.first - 1 : it.last - 1]))
        for it in skipped
    ):
        why = f"&{error.name} is in a part that cannot be read"
        return Unreadable(error.line, error.column, why)
    return error


def _remove(skipped: list[Block], root: Node) -> None:
    """Remove other parts of skipped rules; in TOML a rule may have several tables."""
    for block in skipped:
        section = root.get(block.section) if isinstance(root, Keys) else None
        if isinstance(section, Keys):
            section.entries.pop(block.name, None)


_SECTION = re.compile(r"(rules|budgets|reports) *:\s*(#.*)?$")
_YAML_NAME = re.compile(r"""\s*["']?([A-Za-z0-9_-]*)""")


def yaml_blocks(lines: list[str]) -> Iterator[Block]:
    """The lines of each rule and budget of a YAML text, by their indentation."""
    section, name, begin, depth = "", "", 1, 0
    for number, line in enumerate(lines, 1):
        bare = line.lstrip(" ")
        indent = len(line) - len(bare)
        heads = _SECTION.match(line)
        if not bare.strip() or bare.startswith(("#", "\t", ":")):
            continue
        if not heads and (not section or (depth and indent > depth)):
            continue
        if begin < number:
            yield Block(begin, number, section, name)
        if heads:
            section, name, begin, depth = heads[1], "", len(lines) + 1, 0
        elif indent and indent >= depth:
            found = _YAML_NAME.match(line)
            name, begin, depth = found[1] if found else "", number, indent
        else:
            section, begin = "", len(lines) + 1
    if begin <= len(lines) and section:
        yield Block(begin, len(lines) + 1, section, name)


_TABLE = re.compile(
    r"""[ \t]*\[\[?[ \t]*([A-Za-z0-9_-]+)(?:[ \t]*\.[ \t]*["']?([A-Za-z0-9_-]+))?[^,]*$"""
)


def toml_blocks(lines: list[str]) -> Iterator[Block]:
    """The lines of each table of a TOML text."""
    section, name, begin = "", "", 1
    for number, line in enumerate(lines, 1):
        header = _TABLE.match(line)
        if header:
            if begin < number:
                yield Block(begin, number, section, name)
            inside = header[1] in ("rules", "budgets", "reports") and header[2]
            section, name = (header[1], header[2]) if inside else ("", "")
            begin = number if inside else len(lines) + 1
    if section:
        yield Block(begin, len(lines) + 1, section, name)


FORMATS = {".yaml": yaml.parse, ".yml": yaml.parse, ".toml": toml.parse}
"""How each kind of file becomes nodes."""

ALLOWED = Allowed(accounts=None)
"""What rules may do if the configuration is not known."""

Silences = set[tuple[str, str, str]]
"""(file, path or empty for the whole file, lint id)."""


def read(
    files: Files,
    *,
    allowed: Allowed = ALLOWED,
    unread: Iterable[Fault] = (),
    tested: bool = False,
    whole: bool = True,
    begin: Callable[[str], None] = lambda name: None,
) -> RuleSet:
    """All rules and budgets of the files.

    Raises RuleErrors with every error of every file, by file, line and column; `unread` are
    errors about files without content. `tested`: the rules' own tests must pass, too. `whole`:
    there are no other rule files, so a rule that none has is an error. `begin` is called with the
    name of each file before work on it begins.
    """
    unread = tuple(unread)
    faults: list[Fault] = [*unread]
    warnings: list[Fault] = []
    found = _Found()
    for name, data in files:
        if _MAY_HAVE_VARS.search(data):
            begin(name)
            place = Location(name, faults, warnings)
            with _surprises_told(place, "this file"):
                _vars(_parsed(name, data, []).root, place, found.lists)
    for name, data in files:
        begin(name)
        place = Location(name, faults, warnings)
        with _surprises_told(place, "this file"):
            text = _parsed(name, data, faults)
            whole = whole and not text.partly
            if text.root is not None:
                _file(text.root, place, allowed, found, partly=text.partly)
    faults += _duplicate_ids(found.ids)
    _renames(found)
    _waiting(found, whole=whole and not unread)
    own = [each for each in found.rules if allowed.has(each[0].accounts)]
    for _, first in own[:1]:
        with _surprises_told(first, "the rules"):
            lint_same(own)
            lint_undoing(own)
    for good, place in own if tested else ():
        begin(good.file)
        with _surprises_told(place, "the tests of this rule"):
            results = tests.run(RuleSet((good,)))
            faults += (result.fault for result in results if not result.passed)
    active = {fault for fault in warnings if not _silent(fault, found.silences)}
    shown = tuple(sorted(active, key=_order))
    notes = tuple(note for note in found.notes if not _silent(note, found.silences))
    disabled = tuple(rule for rule, _ in own if rule.disabled)
    if faults:
        told = _some(sorted(set(faults), key=_order))
        raise RuleErrors(told, shown, notes, [rule.id for rule in disabled])
    return RuleSet(
        tuple(rule for rule, _ in own if not rule.disabled),
        shown,
        _digest(files),
        tuple(budget for budget in found.budgets if allowed.has(budget.accounts)),
        notes,
        disabled,
        tuple(report for report in found.reports if allowed.has(report.accounts)),
        {it.id: it.accounts for it, _ in found.rules if not allowed.has(it.accounts)},
    )


def _some(faults: Iterable[Fault]) -> list[Fault]:
    """The first errors of each file, and how many more there are."""
    some: list[Fault] = []
    for name, group in groupby(faults, key=lambda fault: fault.file):
        of_file = list(group)
        some += of_file[:MOST_TOLD]
        if more := of_file[MOST_TOLD:]:
            last = more[-1]
            text = f"and {len(more):,} more errors in this file; the last one is here"
            some.append(Fault(name, last.line, last.column, "", text))
    return some


@contextmanager
def _surprises_told(place: Location, what: str) -> Iterator[None]:
    """Within, an exception that nobody thought of is an error in the file, not the end."""
    try:
        yield
    except MemoryError:
        place.fault(f"{what} needs too much memory to read; make it smaller")
    except Exception as error:
        place.fault(f"{what} could not be read: {internal_error(error)}")


def _order(fault: Fault) -> tuple[str, int, int, str, str]:
    return fault.file, fault.line, fault.column, fault.path, fault.message


def _parsed(name: str, data: bytes, faults: list[Fault]) -> PartialText:
    suffix = PurePath(name).suffix.lower()
    if suffix not in FORMATS:
        faults.append(Fault(name, 1, 1, "", "rule files end in .yaml, .yml or .toml"))
        return PartialText()
    try:
        text = decoded(data)
    except Unreadable as error:
        faults.append(Fault(name, error.line, error.column, "", error.message))
        return PartialText()
    if suffix == ".toml":
        found = parse_partially(text, lambda text, _: toml.parse(text), toml_blocks)
    else:
        found = parse_partially(text, yaml.parse, yaml_blocks)
    faults += (Fault(name, it.line, it.column, path, it.message) for path, it in found.errors)
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    """What the files have so far.

    `ids` are the places of all rules and budgets; `was` and `budgets_were` earlier ids of rules
    and of budgets, with their places; `lists` are those under `vars`; `not_while` which rule waits
    for which other one.
    """

    rules: list[tuple[Rule, Location]] = field(default_factory=list)
    was: list[tuple[str, Location]] = field(default_factory=list)
    not_while: list[tuple[str, str, Location]] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    budgets_were: list[tuple[str, Location]] = field(default_factory=list)
    silences: Silences = field(default_factory=set)
    ids: list[Location] = field(default_factory=list)
    lists: dict[str, Shared] = field(default_factory=dict)
    notes: list[Fault] = field(default_factory=list)


def _file(root: Node, place: Location, allowed: Allowed, into: _Found, *, partly: bool) -> None:
    """Read one file. `partly`: some of it was skipped, so missing keys are no error."""
    if isinstance(root, Keys) and not partly and not _of_rules(root):
        place.fault("this is no rule file: it has neither version nor rules; move it elsewhere")
        return
    root = without_blocks(root, place)
    keys = mapping(
        with_rules(root, place) if isinstance(root, Keys) else root, place, names(FILE_KEYS)
    )
    if keys is None:
        return
    if not partly or "version" in keys.entries:
        _version(keys, place)
    into.silences.update(_silence(keys, place, ""))
    default = _accounts(keys, place, allowed)
    has = ("rules", "budgets", "reports", "vars")
    if not partly and not any(suggestion(entry.key, has) for entry in keys):
        place.fault("the file has no rules; write them under rules:")
    for entry, here in _section(keys, "rules", place, partly=partly):
        into.ids.append(here)
        with _surprises_told(here, "this rule"):
            entry = at_their_depth(entry, here)
            _rule(_of_accounts(entry, here, default, allowed, into), into)
    for entry, here in _section(keys, "budgets", place, partly=partly):
        into.ids.append(here)
        with _surprises_told(here, "this budget"):
            if named(entry, here, "budget"):
                _budget(_of_accounts(entry, here, default, allowed, into), into)
    for entry, here in _section(keys, "reports", place, partly=partly):
        into.ids.append(here)
        with _surprises_told(here, "this report"):
            if named(entry, here, "report"):
                part = _of_accounts(entry, here, default, allowed, into)
                made = report(part.entry, part.place, part.allowed)
                into.reports.extend([replace(made, accounts=part.accounts)] if made else ())


@dataclass(frozen=True, slots=True)
class _Part:
    """A rule, budget or report: as written, for which accounts, and what it may do."""

    entry: Entry
    place: Location
    accounts: tuple[str, ...]
    allowed: Allowed


def _of_accounts(
    entry: Entry, here: Location, default: tuple[str, ...], allowed: Allowed, into: _Found
) -> _Part:
    """It with its accounts; for one of others nothing is known, and nobody is warned."""
    entry = resolved(entry, here, into.lists)
    node = entry.node
    own = _accounts(node, here, allowed) if isinstance(node, Keys) else ()
    accounts = own or default
    if allowed.has(accounts):
        return _Part(entry, here, accounts, allowed)
    return _Part(entry, replace(here, warnings=[]), accounts, allowed.elsewhere())


def _accounts(keys: Keys, place: Location, allowed: Allowed) -> tuple[str, ...]:
    """The accounts under the key; notes errors for those that the configuration lacks."""
    entry = keys.entries.get("accounts")
    if entry is None:
        return ()
    here = place.at("accounts", entry)
    found = texts(entry.node, here) or ()
    known = allowed.accounts
    if known == ():
        here.fault("the configuration has no [accounts]; remove accounts")
    for index, name in enumerate(found if known else ()):
        if known and name not in known:
            item_location(entry.node, index, here).fault(unknown(name, known, "account"))
    return found


_MAY_HAVE_VARS = re.compile(rb"(?m)^\s*\[?[\"']?vars\b|[{,]\s*[\"']?vars\b")


def _vars(root: Node | None, place: Location, into: dict[str, Shared]) -> None:
    """Add the lists under `vars`; notes errors."""
    entry = root.entries.get("vars") if isinstance(root, Keys) else None
    if entry is not None:
        shared_lists(entry, place.at("vars", entry), into)


def _of_rules(root: Keys) -> bool:
    """Whether a key is one of a rule file, or a slip for one, or has a rule."""
    return any(
        suggestion(entry.key, ("version", "rules", "budgets", "reports", "vars"))
        or (isinstance(entry.node, Keys) and {"watch", "when", "do"} & entry.node.entries.keys())
        for entry in root
    )


def _budget(part: _Part, into: _Found) -> None:
    entry, here = part.entry, part.place
    good = budget(entry, here, part.allowed)
    if good is None or not isinstance(entry.node, Keys):
        return
    into.budgets.append(replace(good, accounts=part.accounts))
    for index, old in enumerate(good.was):
        written = entry.node.entries["was"]
        into.budgets_were.append((old, item_location(written.node, index, here.at("was", written))))


def _rule(part: _Part, into: _Found) -> None:
    entry, here = part.entry, part.place
    has_name = named(entry, here, "rule")
    good = rule(entry, here, part.allowed)
    if isinstance(entry.node, Keys):
        into.silences.update(_silence(entry.node, here, here.path))
        if good is not None and has_name:
            good = replace(good, accounts=part.accounts)
            _keep(Written(good, entry.node, here), part.allowed, into)


def _keep(written: Written, allowed: Allowed, into: _Found) -> None:
    """Keep the rule without its nodes, which are most of the memory of a big rule set."""
    lint(written, allowed)
    if allowed.has(written.rule.accounts):
        into.notes.extend((*waits(written), *learns(written)))
    into.rules.append((written.rule, written.place))
    good = written.rule
    into.was.extend(_listed(written, "was", good.was))
    for other, place in _listed(written, "not_while", good.not_while):
        into.not_while.append((good.id, other, place))


def _listed(written: Written, key: str, names: Iterable[str]) -> Iterator[tuple[str, Location]]:
    """Each of the names under the rule's key, with its place."""
    for index, name in enumerate(names):
        here, node = written.reach(key)
        yield name, item_location(node, index, here)


def _version(keys: Keys, place: Location) -> None:
    entry = keys.entries.get("version")
    if entry is None:
        place.fault("the key version is missing; write version 1 at the top")
        return
    value = getattr(entry.node, "value", None)
    if type(value) is not int or value != 1:
        place.at("version", entry.node).fault("unsupported version of the rule language; write 1")


_NAMES = {"rules": "checkout-friction", "budgets": "monthly-credits", "reports": "weekly"}


def _section(
    keys: Keys, key: str, place: Location, *, partly: bool
) -> Iterator[tuple[Entry, Location]]:
    """The entries under a top-level key, each with its place."""
    section = keys.entries.get(key)
    if section is None:
        return
    here = place.at(key, section)
    node = section.node
    if isinstance(node, Keys) and node.entries:
        for entry in with_keys(node, here) if key == "rules" else node:
            yield entry, here.at(entry.key, entry)
    elif not partly:
        dashes = ", without dashes" if isinstance(node, Items) else ""
        example = f"{_NAMES[key]}: {{…}}{dashes}"
        here.on(node).fault(f"write each {key[:-1]} under its id, such as {example}")


def _silence(keys: Keys, place: Location, path: str) -> Silences:
    entry = keys.entries.get("silence")
    if entry is None:
        return set()
    here = place.at("silence", entry)
    ids = texts(entry.node, here) or ()
    for index, name in enumerate(ids):
        if name not in LINTS:
            item_location(entry.node, index, here).fault(unknown(name, tuple(LINTS), "warning"))
    return {(place.file, path, lint) for lint in ids}


def _silent(fault: Fault, silences: Silences) -> bool:
    rule = ".".join(fault.path.split(".")[:2])  # ids have no dot
    return any((fault.file, path, fault.lint) in silences for path in ("", rule))


def _duplicate_ids(ids: Sequence[Location]) -> list[Fault]:
    """Errors for ids that several rules have, in whichever files."""
    first: dict[str, Location] = {}
    faults = []
    for here in ids:
        other = first.setdefault(here.path, here)
        if other is not here:
            message = f"duplicate id; it is already at {other.file}:{other.line}"
            faults.append(Fault(here.file, here.line, here.column, here.path, message))
    return faults


def _renames(found: _Found) -> None:
    """Note errors: an old id passes its state to one rule, and only if no rule still has it."""
    _renamed("rule", {rule.id for rule, _ in found.rules}, found.was)
    _renamed("budget", {each.id for each in found.budgets}, found.budgets_were)


def _waiting(found: _Found, *, whole: bool) -> None:
    """Note errors: `not_while` names other rules with alerts, and never in a circle."""
    known = [here.name for here in found.ids if here.path.startswith("rules.")]
    by_id = {rule.id: rule for rule, _ in found.rules}
    named = {rule.id: rule.not_while for rule, _ in found.rules}
    for own, other, place in found.not_while:
        about = by_id.get(other)
        if other == own:
            place.fault(f"{own} waits for itself")
        elif other not in known:
            if whole:
                place.fault(unknown(other, [name for name in known if name != own], "rule"))
        elif about is not None and about.watch not in ALERTS and about.too_few is None:
            place.fault(f"{other} watches {about.watch}, so it has no alert that could last")
        elif circle := _circle(named, own, other):
            place.fault(f"these rules wait for each other: {', '.join(circle)}")


def _circle(named: Mapping[str, Sequence[str]], rule: str, other: str) -> tuple[str, ...]:
    """The way from the rule over the other one back to the rule; empty if there is none."""
    ways: list[tuple[str, ...]] = [(rule, other)]
    seen = {rule}
    for way in ways:
        for following in named.get(way[-1], ()):
            if following == rule:
                return (*way, rule)
            if following not in seen:
                seen.add(following)
                ways.append((*way, following))
    return ()


def _renamed(what: str, present: Collection[str], was: Sequence[tuple[str, Location]]) -> None:
    claims = Counter(old for old, _ in was)
    for old, place in was:
        if old in present:
            place.fault(f"{old} is still the id of another {what}")
        elif claims[old] > 1:
            place.fault(f"several {what}s claim {old}")


def _digest(files: Files) -> str:
    """A digest of the content; the same files in any order have the same digest."""
    content = sorted(hashlib.sha256(data).hexdigest() for _, data in files)
    return hashlib.sha256("".join(content).encode()).hexdigest()[:16]


def read_samples(name: str, data: bytes) -> tuple[Sample, ...]:
    """The samples of a file for `test --quiet-on`; raises RuleErrors with every error."""
    faults: list[Fault] = []
    found = _parsed(name, data, faults)
    read = samples(found.root, Location(name, faults, [])) if found.root else ()
    if faults:
        raise RuleErrors(sorted(set(faults), key=_order))
    return read


def load(paths: Sequence[str | Path], allowed: Allowed, *, tested: bool = False) -> RuleSet:
    """The rule set of these paths; raises RuleErrors with every error, ConfigError for no files.

    `allowed` is what the configuration lets rules do. `tested`: the rules' own tests must pass.
    """
    found = contents(paths)
    return read(found.files, allowed=allowed, unread=found.faults, tested=tested)
