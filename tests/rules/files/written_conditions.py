"""Conditions as people may write them, made from the catalogue."""

import json

from hypothesis import strategies as st

from bot.fields.catalogue import fields
from bot.fields.field import NUMERIC, TextKind
from bot.rules.operators import operator_keys
from bot.rules.operators.base import TEXTS
from bot.rules.operators.figures import Bounds, Moments

WORDS = ("a", "b", "ab", "A*", "*b", "/x", "/x*", "NO", "1.10")
SPANS = ("1s", "90s", "5m", "1h30m")
PERCENTS = ("5%", "50%", 20, "99.5%")
NUMBERS = (0, 1, 2, 2.5, 7)
DAYS = ("2026-05-01", "2026-05-01 09:30", "2026-12-31T23:59:59")
REGEXES = ("^a", "b$", "x+")


def scalars(field):
    """Values of the field's type."""
    if field.type == "duration":
        return SPANS
    if field.type == "percent":
        return PERCENTS
    if field.type in NUMERIC:
        return NUMBERS
    if field.text is TextKind.MOMENT:
        return ("2026-05-01*", "*:30:00")
    if field.text is TextKind.SEARCH:
        return ("acme", "Globex corp")
    return field.choices or WORDS


class Pen:
    """Writes conditions; every choice is one of hypothesis's, so failures shrink."""

    def __init__(self, draw, kind, names):
        self.draw = draw
        self.known = {f.name: f for f in fields(kind) if names is None or f.name in names}

    def below(self, limit):
        return self.draw(st.integers(0, limit - 1))

    def one(self, options):
        return options[self.below(len(options))]

    def several(self, options):
        count = self.below(4)
        return [self.one(options) for _ in range(count)] if count else self.one(options)

    def some(self, options):
        """One to three of the names."""
        return dict.fromkeys(self.one(options) for _ in range(1 + self.below(3)))

    def operand(self, name, field):
        if name == "exists":
            return bool(self.below(2))
        if name == "matches":
            return self.one(REGEXES)
        if name in Moments.keys:
            return self.one(DAYS)
        if field.type in TEXTS and name not in Bounds.keys:
            return self.several(scalars(field))
        return self.one(scalars(field) if field.type in NUMERIC else NUMBERS)

    def wants(self, field):
        if self.below(2):
            known = [name for name in operator_keys(field) if name not in CHANGES]
            return {name: self.operand(name, field) for name in self.some(known)}
        return bool(self.below(2)) if field.type == "flag" else self.several(scalars(field))

    def value(self, field):
        if field.type == "items":
            parts = {part.name: part for part in field.parts}
            return {name: self.wants(parts[name]) for name in self.some(list(parts))}
        if field.type == "variables":
            return {name: self.wants(field) for name in self.some("vw")}
        return self.several(WORDS) if field.name == "journey" else self.wants(field)

    def condition(self, depth=2):
        written = {name: self.value(self.known[name]) for name in self.some(list(self.known))}
        if depth and not self.below(2):
            group = self.one(("any", "all", "not"))
            inner = [self.condition(depth - 1) for _ in range(1 + self.below(2))]
            written[group] = inner[0] if group == "not" else inner
        return written


CHANGES = ("drops_by", "rises_by", "against", "below_usual", "above_usual")


@st.composite
def conditions(draw, kind, names=None):
    """Mappings of fields and groups for this kind; `names` keeps to some fields."""
    return Pen(draw, kind, names).condition()


def as_json(value):
    """The value in YAML's flow style, which JSON is a part of."""
    return json.dumps(value)


def as_toml(value):
    """The value in TOML, in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {as_toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else f"'{value}'"
