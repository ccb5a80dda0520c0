"""Single values in the JSON Schema: texts, durations, percents, rates, and words to choose from."""

import re
from typing import Any

from bot.rulebook.catalogue import field
from bot.rulebook.fields import Field
from bot.rulebook.units import WEEKDAYS
from bot.wording.units import RATE_PATTERN, SPAN_PATTERN

Schema = dict[str, Any]

TEXT: Schema = {"type": ["string", "number", "boolean"]}
SPAN: Schema = {"type": "string", "pattern": SPAN_PATTERN}
LENGTH: Schema = SPAN | {"not": {"pattern": "^[^1-9]*$"}}
PERCENT: Schema = {"type": ["string", "number"], "pattern": r"^\s*-?[0-9]+(\.[0-9]+)?\s*%?\s*$"}
CHANGE: Schema = {
    "type": ["string", "number"],
    "exclusiveMinimum": 0,
    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%?\s*$",
}
RATE: Schema = {"type": "string", "pattern": RATE_PATTERN}
FLAG: Schema = {"type": "boolean"}


def _any_case(word: str) -> str:
    """A pattern for the word in small and capital letters: JSON Schema has no flag for it."""
    letters = (f"[{c}{c.upper()}]" if c.isalpha() else re.escape(c) for c in word)
    return "".join(letters)


def active_pattern() -> str:
    """Days, hours or both, as `active` takes them."""
    day = f"(?:{'|'.join(map(_any_case, WEEKDAYS))})[a-zA-Z]*"
    days = rf"{day}(?:-{day})?(?:,{day}(?:-{day})?)*"
    hours = r"[0-9]{1,2}(?::[0-9]{2})?-[0-9]{1,2}(?::[0-9]{2})?"
    return rf"^\s*(?:{days}|(?:{days}\s+)?{hours})\s*$"


_SPELLINGS = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
    "search", "searchengine", "link",
)  # fmt: skip
"""Other words that some fields take for one of their own."""


def chosen(field: Field, *, star: bool) -> Schema:
    """One of the field's words in any letters, or a pattern with `*`; editors offer the words."""
    words = [word for word in (*field.choices, *_SPELLINGS) if field.normal(word) in field.choices]
    pattern = f"^(?:{'|'.join(map(_any_case, words))})$" + (r"|\*" if star else "")
    return {"anyOf": [{"enum": list(field.choices)}, {"type": "string", "pattern": pattern}]}


def visitors(name: str) -> Schema:
    """A value of the API's own filter."""
    if name == "country":
        return {"type": "string", "pattern": "^[a-zA-Z]{2}$"}
    about = field("recordings", name)
    if about.choices:
        return chosen(about, star=False)
    return {"type": "string", "pattern": "^[0-9]+[xX][0-9]+$"}
