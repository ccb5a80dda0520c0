"""`when`, `except` and `until` as written -> a condition, driven by the catalogue of fields."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import assert_never

import re2

from bot.domain.subjects import Kind
from bot.fields.catalogue import ALERTS, KINDS, fields
from bot.fields.field import NUMERIC, WEEKDAYS, Field, TextKind
from bot.rules.explain import wanted
from bot.rules.files.location import (
    Place,
    flag,
    is_number,
    item_place,
    length,
    listed,
    nearest,
    part,
    share,
    text,
    texts,
    unknown,
    worded,
)
from bot.rules.files.nodes import Entry, Items, Keys, Node, Scalar
from bot.rules.files.synonyms import COUNTRIES, comparison, is_regex
from bot.rules.model import (
    All,
    AnyOf,
    Bounds,
    Change,
    Condition,
    Every,
    Exists,
    Is,
    Journey,
    NoneOf,
    Not,
    Numbers,
    OneItem,
    OneOf,
    Pattern,
    Test,
    Wants,
)
from bot.rules.operators import found
from bot.rules.units import milliseconds, weekdays


def doubt_numbers(numbers: Numbers, place: Place, field: Field) -> None:
    """Warn of figures that the field never has."""
    if field.banded:
        words = f"hardly any session has exactly this {field.name}; write {field.examples[0]}"
        place.warn("friction-exact", words)
    low, high = _range(field)
    if not any(low <= value <= high for value in numbers.values):
        place.warn("never-holds", _words(field))


def doubt_bounds(bounds: Bounds, last: Place, place: Place, field: Field) -> None:
    """Warn of bounds that no figure is within, or every one; `last` is where the last one is."""
    if _none(bounds, -math.inf, math.inf):
        last.warn("never-holds", f"nothing is {wanted(field, bounds)}")
    elif _none(bounds, *_range(field)):
        place.warn("never-holds", _words(field))
    elif _every(bounds, *_range(field)):
        more = "so this holds wherever there is a figure; if that is meant, write {exists: true}"
        place.warn("always-true", f"{_words(field)}, {more}")


def _range(field: Field) -> tuple[float, float]:
    """The least and the greatest figure that the field can have, as far as that is certain."""
    return (field.least, field.most) if field.numeric else (-math.inf, math.inf)


def _words(field: Field) -> str:
    if field.type == "percent" and field.most == 100:
        return f"{field.name} is a share between 0% and 100%"
    if math.isfinite(field.most):
        return f"{field.name} goes from {field.least:g} to {field.most:g}"
    return f"{field.name} is never below {field.least:g}"


def _none(bounds: Bounds, least: float, greatest: float) -> bool:
    """Whether no number from the least to the greatest is within."""
    low = max(end for end in (least, bounds.min, bounds.over) if end is not None)
    high = min(end for end in (greatest, bounds.max, bounds.under) if end is not None)
    return low > high or (low == high and (bounds.over == low or bounds.under == high))


def _every(bounds: Bounds, least: float, greatest: float) -> bool:
    """Whether every number from the least to the greatest is within."""
    return (
        (bounds.min is None or bounds.min <= least)
        and (bounds.over is None or bounds.over < least)
        and (bounds.max is None or bounds.max >= greatest)
        and (bounds.under is None or bounds.under > greatest)
    )


_LONGEST = 1000
_PERL = "there is no look-ahead and no look-behind in RE2; use not, or except"


def problem(regex: str) -> str | None:
    """What RE2 does not understand in the expression, None where all is well."""
    if len(regex) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    try:
        found(regex)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        return _PERL if words.startswith("invalid perl operator") else words
    return None


_CODE = re.compile(r"[a-z]{2}")
_EXCLUDED = re.compile(r"! ?[\w/]")
_TYPOGRAPHIC = tuple("“”„‘’‚«»")
_SEVERAL = re.compile(r"/\S*\s*(?:,|>|→|->)\s*/")


def doubt(value: str, place: Place, field: Field) -> None:
    """Warn of a value that the field can't have, or that hardly means what it says."""
    _doubt_kind(value, place, field)
    if field.type == "variables" and (meant := comparison(value)):
        place.warn("compared-as-text", f"this is compared as a text; for numbers write {meant}")
    if value[:1] in _TYPOGRAPHIC:
        words = "typographic quotes are part of the text; write plain ones, or none"
        place.warn("compared-as-text", words)
    elif _EXCLUDED.match(value):
        words = f"this is compared as a text; to exclude it write {{not: {value[1:].strip()}}}"
        place.warn("compared-as-text", words)
    elif value == "exists":
        place.warn("compared-as-text", "this is compared as a text; write {exists: true}")
    elif is_regex(value):
        words = f"this is compared as a text; a regular expression is {{matches: '{value}'}}"
        place.warn("compared-as-text", words)


def _doubt_kind(value: str, place: Place, field: Field) -> None:
    """Warn of what no text of this kind is."""
    match field.text:
        case TextKind.PATH:
            _doubt_path(value, place, field)
        case TextKind.COUNTRY:
            _doubt_country(value.casefold(), place)
        case TextKind.TAG:
            if "," in value:
                place.warn("tag-comma", "a tag cannot hold a comma; write a list: [a, b]")
        case TextKind.IP:
            if "/" in value:
                words = "a range of addresses is written with *, such as 10.1.*"
                place.warn("compared-as-text", words)
        case TextKind.PLAIN | TextKind.ADDRESS | TextKind.WEEKDAY | TextKind.REFERRER:
            pass
        case _:
            assert_never(field.text)


def _doubt_path(path: str, place: Place, field: Field) -> None:
    if field.ordered and _SEVERAL.search(path):
        place.warn("never-holds", "a journey is a list of paths, such as [/cart, /checkout*]")
    elif not path.startswith(("/", "*")) and not is_regex(path):
        hint = "the path alone, such as /checkout*" if "://" in path else f"/{path}"
        place.warn("never-holds", f"{path} fits no page, since paths begin with /; write {hint}")
    elif "?" in path and not is_regex(path):
        said = "what stands behind the ? is left out; only entry_url has a query"
        place.warn("path-query", said)


def _doubt_country(value: str, place: Place) -> None:
    code = COUNTRIES.get(value, "")
    if "*" not in value and (code or not _CODE.fullmatch(value)):
        words = f"; write {code}" if code else ", such as de"
        place.warn("unusual-value", f"a country is a code of two letters{words}")


BOUNDS = ("min", "max", "over", "under")
CHANGES = ("drops_by", "rises_by", "against")
TEXT_OPERATORS = ("not", "matches", "exists")


def wants(node: Node, place: Place, field: Field) -> list[Wants] | None:
    """What the field's value must be, all of it; None and faults where it cannot be read."""
    if isinstance(node, Keys):
        return _operators(node, place, field)
    if isinstance(node, Scalar) and node.value is None:
        place.on(node).fault(f"{place.name} has no value; for no value write {{exists: false}}")
        return None
    want: Wants | None
    if field.type == "flag":
        said = flag(node, place)
        want = None if said is None else Is(said)
    elif field.type in NUMERIC:
        want = _numbers(node, place, field)
    else:
        values = _texts(node, place, field)
        want = None if values is None else OneOf(values)
    return None if want is None else [want]


def _texts(node: Node, place: Place, field: Field) -> tuple[str, ...] | None:
    values = texts(node, place)
    if values is None:
        return None
    if isinstance(node, Items):
        spots = [place.at(index, item) for index, item in enumerate(node.items)]
    else:
        spots = [place.on(node)]
    good = [_sensible(value, spot, field) for value, spot in zip(values, spots, strict=True)]
    return values if all(good) else None


def _sensible(value: str, place: Place, field: Field) -> bool:
    """Whether the field can ever have the value; says so where not."""
    doubt(value, place, field)
    if not field.choices or "*" in value or field.normal(value) in field.choices:
        return True
    hint = _days(value) if field.text is TextKind.WEEKDAY else ""
    message = f"{field.name} is one of {listed(field.choices)}"
    meant = hint or nearest(value, field.choices)
    if field.open_choices:
        known = f"as far as the API's filters know, {message}{meant}"
        place.warn("unusual-value", known)
        return True
    place.fault(message + meant)
    return False


def _days(value: str) -> str:
    """`weekend` and `mon-fri` as the list that they are here."""
    try:
        days = weekdays({"weekend": "sat,sun", "weekends": "sat,sun"}.get(value, value))
    except ValueError:
        days = (0, 1, 2, 3, 4) if value.startswith(("weekday", "workday", "working")) else ()
    return f"; write [{', '.join(WEEKDAYS[day] for day in days)}]" if days else ""


def _numbers(node: Node, place: Place, field: Field) -> Numbers | None:
    items = node.items if isinstance(node, Items) else [node]
    if not items:
        place.on(node).fault(f"{field.name} has an empty list; write at least one value")
        return None
    values = [figure(item, place.on(item), field) for item in items]
    good = tuple(value for value in values if value is not None)
    if len(good) != len(values):
        return None
    numbers = Numbers(good)
    doubt_numbers(numbers, place.on(node), field)
    return numbers


def figure(node: Node, place: Place, field: Field) -> float | None:
    """One number in the field's base unit."""
    if isinstance(node, Scalar) and not is_number(node) and (meant := comparison(node.source)):
        place.on(node).fault(f"a comparison is written in words: {meant}")
        return None
    if field.type == "duration":
        return worded(milliseconds)(node, place)
    if field.type == "percent":
        return share(node, place)
    if is_number(node) and isinstance(node, Scalar) and isinstance(node.value, (int, float)):
        value = float(node.value)
        if field.unusual is not None and value > field.unusual.above:
            place.warn(field.unusual.lint, field.unusual.words)
        return value
    place.on(node).fault(_wants_number(node, field))
    return None


def _wants_number(node: Node, field: Field) -> str:
    example = field.examples[0] if field.examples and field.type != "variables" else "{min: 5}"
    quoted = isinstance(node, Scalar) and node.quoted and _looks_numeric(node.source)
    tail = "; write it without quotes" if quoted else ""
    if field.counts and isinstance(node, Scalar) and node.source.startswith(("/", "*")):
        tail = f"; for the path of a page write {field.counts}"
    return f"{field.name} wants a number or a bound such as {example}{tail}"


def _looks_numeric(source: str) -> bool:
    try:
        float(source)
    except ValueError:
        return False
    return True


def _operators(node: Keys, place: Place, field: Field) -> list[Wants] | None:
    known = operators(field)
    before = len(place.faults)
    for entry in node:
        if entry.key not in known:
            place.at(entry.key, entry).fault(_unknown_operator(entry.key, field, known))
    if not node.entries:
        example = field.examples[0] if field.examples else "{exists: true}"
        place.on(node).fault(
            f"{field.name} has nothing to compare with; write {field.name}: {example}"
        )
    found: list[Wants] = []
    for read in _READERS:
        want = read(node, place, field, known)
        if want is not None:
            found.append(want)
    return None if len(place.faults) > before else found


def operators(field: Field) -> tuple[str, ...]:
    """The operators that fit the field."""
    if field.type in NUMERIC:
        changes = CHANGES if field.watch in ALERTS else ()
        return (*BOUNDS, "exists", *changes)
    if field.type == "flag":
        return ("exists",)
    if field.type == "variables":
        return (*TEXT_OPERATORS, *BOUNDS)
    if field.type == "texts":
        return (*TEXT_OPERATORS, "all")
    return TEXT_OPERATORS


_ALL_OPERATORS = (*BOUNDS, *CHANGES, *TEXT_OPERATORS, "all")


def _unknown_operator(name: str, field: Field, known: Sequence[str]) -> str:
    hint = "" if name in _VALUE_ITSELF | _ANY | _HOLDS else nearest(name, known)
    if name in _ALL_OPERATORS and not hint:
        why = " on recordings" if name in CHANGES and field.type in NUMERIC else ""
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


def _read_bounds(node: Keys, place: Place, field: Field, known: Sequence[str]) -> Wants | None:
    found = [entry for entry in node if entry.key in BOUNDS and entry.key in known]
    values: dict[str, float] = {}
    for entry in found:
        value = figure(entry.node, place.at(entry.key, entry).on(entry.node), field)
        if value is not None:
            values[entry.key] = value
    if not found or len(values) != len(found):
        return None
    bounds = Bounds(**values)
    doubt_bounds(bounds, place.at(found[-1].key, found[-1]), place.on(node), field)
    return bounds


def _read_change(node: Keys, place: Place, field: Field, known: Sequence[str]) -> Wants | None:
    if "against" not in known or not any(key in node.entries for key in CHANGES):
        return None
    if any(key not in known for key in node.entries):
        return None  # told already; what is missing may only be misspelt
    drops = part(node, "drops_by", place, share)
    rises = part(node, "rises_by", place, share)
    against = part(node, "against", place, length)
    if "drops_by" not in node.entries and "rises_by" not in node.entries:
        place.on(node).fault("against goes with drops_by or rises_by")
        return None
    if "against" not in node.entries:
        place.on(node).fault("say against how long ago, such as against: 7d")
        return None
    for key, by in (("drops_by", drops), ("rises_by", rises)):
        if by is not None and (by <= 0 or (key == "drops_by" and by > 100)):
            place.at(key, node.entries[key]).fault(f"{key} wants a percentage such as 20%")
    if against is None:
        return None
    return Change(drops, rises, round(against.total_seconds() * 1000))


def _read_not(node: Keys, place: Place, field: Field, known: Sequence[str]) -> Wants | None:
    values = _operand_texts("not", node, place, field, known)
    return None if values is None else NoneOf(values)


def _read_all(node: Keys, place: Place, field: Field, known: Sequence[str]) -> Wants | None:
    values = _operand_texts("all", node, place, field, known)
    return None if values is None else Every(values)


def _operand_texts(
    key: str, node: Keys, place: Place, field: Field, known: Iterable[str]
) -> tuple[str, ...] | None:
    entry = node.entries.get(key)
    if entry is None or key not in known:
        return None
    if isinstance(entry.node, Scalar) and entry.node.value is None:
        place.at(key, entry).on(entry.node).fault(f"{key} has no value; write {{exists: true}}")
        return None
    return _texts(entry.node, place.at(key, entry), field)


def _read_matches(node: Keys, place: Place, field: Field, known: Sequence[str]) -> Wants | None:
    entry = node.entries.get("matches")
    if entry is None or "matches" not in known:
        return None
    here = place.at("matches", entry)
    regex = text(entry.node, here)
    if regex is None:
        return None
    trouble = problem(regex)
    if trouble:
        here.on(entry.node).fault(f"this is no regular expression: {trouble}")
        return None
    return Pattern(regex)


def _read_exists(node: Keys, place: Place, field: Field, known: Sequence[str]) -> Wants | None:
    there = part(node, "exists", place, flag)
    return None if there is None else Exists(there)


_READERS = (_read_bounds, _read_change, _read_all, _read_matches, _read_not, _read_exists)


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
            f"{place.name} wants conditions such as {_example_condition(kind)}, without dashes; "
            "a list stands under any or all"
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
    if field.ordered:
        if isinstance(node, Keys):
            words = f"{field.name} wants paths in their order, such as {field.examples[0]}"
            place.on(node).fault(words)
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
    if any(it.name == name and it.of_whole_session for it in fields(field.watch)):
        return (
            f"{name} speaks of the whole session, never of one {field.name}; ask for the "
            f"{field.name}'s tags instead, such as tags: click-rage"
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
