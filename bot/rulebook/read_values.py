"""What one field must be, as written: a value, a list, bounds or operators -> wants."""

from collections.abc import Iterable, Sequence

from bot.rulebook.conditions import (
    Bounds,
    Change,
    Every,
    Exists,
    Is,
    NoneOf,
    Numbers,
    OneOf,
    Pattern,
    Wants,
)
from bot.rulebook.fields import NUMERIC, Field
from bot.rulebook.number_lints import doubt_bounds, doubt_numbers
from bot.rulebook.patterns import problem as pattern_problem
from bot.rulebook.places import (
    Place,
    flag,
    is_number,
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
from bot.rulebook.slips import comparison
from bot.rulebook.spans import Items, Keys, Node, Scalar
from bot.rulebook.text_lints import doubt
from bot.rulebook.units import WEEKDAYS, milliseconds, weekdays

BOUNDS = ("min", "max", "over", "under")
CHANGES = ("drops_by", "rises_by", "against")
TEXT_OPERATORS = ("not", "matches", "exists")
OPEN_CHOICES = frozenset({"browser", "os"})
"""Fields whose choices are the API filter's words, while rows may hold others."""


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
    hint = _days(value) if field.name == "weekday" else ""
    message = f"{field.name} is one of {listed(field.choices)}"
    meant = hint or nearest(value, field.choices)
    if field.name in OPEN_CHOICES:
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
        if field.name == "friction" and value > 50:
            place.warn(
                "friction-scale",
                "friction is a small sum of event weights, well under 1 on average, not 0-100; "
                "hardly any session gets above 50",
            )
        return value
    place.on(node).fault(_wants_number(node, field))
    return None


def _wants_number(node: Node, field: Field) -> str:
    example = field.examples[0] if field.examples and field.type != "variables" else "{min: 5}"
    quoted = isinstance(node, Scalar) and node.quoted and _looks_numeric(node.source)
    tail = "; write it without quotes" if quoted else ""
    if field.name == "pages" and isinstance(node, Scalar) and node.source.startswith(("/", "*")):
        tail = "; for the path of a page write saw_page"
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
        changes = CHANGES if field.watch != "recordings" else ()
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
    trouble = pattern_problem(regex)
    if trouble:
        here.on(entry.node).fault(f"this is no regular expression: {trouble}")
        return None
    return Pattern(regex)


def _read_exists(node: Keys, place: Place, field: Field, known: Sequence[str]) -> Wants | None:
    there = part(node, "exists", place, flag)
    return None if there is None else Exists(there)


_READERS = (_read_bounds, _read_change, _read_all, _read_matches, _read_not, _read_exists)
