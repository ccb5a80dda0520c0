"""One rule as written -> a rule: its keys, and which of them fit what it watches."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bot.rulebook.catalogue import KINDS, field
from bot.rulebook.keys import (
    GROUP_FIELDS,
    RULE_KEYS,
    VISITOR_FILTERS,
    names,
    required,
)
from bot.rulebook.places import (
    Place,
    choice,
    flag,
    length,
    listed,
    mapping,
    part,
    text,
    texts,
    unknown,
    website_names,
    whole,
    worded,
)
from bot.rulebook.read_conditions import condition, exceptions
from bot.rulebook.read_do import Allowed, actions
from bot.rulebook.read_tests import tests
from bot.rulebook.rules import AfterDowntime, Count, OncePer, Rate, Rule
from bot.rulebook.slips import suggestion
from bot.rulebook.spans import Entry, Keys, Node, Scalar
from bot.rulebook.units import active, rate
from bot.subjects import Kind

_EXAMPLE = "{watch: recordings, when: {tags: submit}, do: {star: true}}"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FITS = {key.name: key.kinds for key in RULE_KEYS}


def named(entry: Entry, place: Place, what: str) -> bool:
    """Whether the key can be an id; notes a fault where not."""
    if _ID.fullmatch(entry.key):
        return True
    place.fault(f"a {what}'s id has letters, digits, - and _, and at most 64 of them")
    return False


def rule(entry: Entry, place: Place, allowed: Allowed) -> Rule | None:
    """One rule under its id; None and faults where it has any."""
    before = len(place.faults)
    keys = mapping(entry.node, place, names(RULE_KEYS), required(RULE_KEYS), _EXAMPLE)
    if keys is None:
        return None
    kind: Kind | None = part(keys, "watch", place, _kind)
    if kind is None:
        return None
    _fit(keys, place, kind)
    read = _Reading(keys, place)
    values: dict[str, Any] = {
        "summary": read("summary", text),
        "websites": read("websites", website_names("leave websites out for all of them")),
        "when": read("when", lambda n, p: condition(n, p, kind)),
        "excepts": read("except", lambda n, p: exceptions(n, p, kind)),
        "do": read("do", lambda n, p: actions(n, p, kind, allowed)),
        "once_per": read("once_per", _once_per),
        "count": read("count", _count),
        "safety": read("safety", _safety),
        "active": read("active", worded(active)),
        "after_downtime": read("after_downtime", _after_downtime),
        "held_for": read("for", length),
        "until": read("until", lambda n, p: condition(n, p, kind)),
        "resolved": read("resolved", flag),
        "over_last": read("over_last", length),
        "visitors": read("visitors", _visitors),
        "was": read("was", texts),
        "tests": read("tests", lambda n, p: tests(n, p, kind)),
    }
    if len(place.faults) > before:
        return None
    known = {name: value for name, value in values.items() if value is not None}
    return Rule(
        id=entry.key, watch=kind, file=place.file, line=entry.line, column=entry.column, **known
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads the values of a rule's keys."""

    keys: Keys
    place: Place

    def __call__(self, key: str, read: Callable[[Node, Place], Any]) -> Any:
        return part(self.keys, key, self.place, read)


def _kind(node: Node, place: Place) -> Kind | None:
    """The kind, or after a fault the one that is likely meant, so that the rest is checked too."""
    word = choice(*KINDS)(node, place)
    if word is None and isinstance(node, Scalar):
        word = suggestion(node.source, KINDS)
    return next((kind for kind in KINDS if kind == word), None)


def _fit(keys: Keys, place: Place, kind: Kind) -> None:
    for entry in keys:
        kinds = _FITS.get(entry.key, KINDS)
        if kind not in kinds:
            place.at(entry.key, entry).fault(f"{entry.key} fits {listed(kinds, 'and')}, not {kind}")


def _once_per(node: Node, place: Place) -> OncePer | None:
    example = "{visitor: 1d}"
    if not isinstance(node, Keys) or len(node.entries) != 1:
        place.on(node).fault(f"once_per wants one value and a time, such as {example}")
        return None
    (entry,) = node
    here = place.at(entry.key, entry)
    if entry.key not in GROUP_FIELDS:
        here.fault(unknown(entry.key, GROUP_FIELDS, "value"))
        return None
    window = length(entry.node, here)
    return None if window is None else OncePer(entry.key, window)


def _count(node: Node, place: Place) -> Count | None:
    example = "{at_least: 15, within: 10m}"
    keys = mapping(node, place, ("at_least", "within", "by"), ("at_least", "within"), example)
    if keys is None:
        return None
    least = part(keys, "at_least", place, whole(2, 1_000_000))
    within = part(keys, "within", place, length)
    by = (
        part(keys, "by", place, choice("page", *GROUP_FIELDS))
        if "by" in keys.entries
        else "website"
    )
    return None if least is None or within is None or by is None else Count(least, within, by)


def _safety(node: Node, place: Place) -> Rate | None:
    keys = mapping(node, place, ("at_most",), ("at_most",), "{at_most: 200 per hour}")
    return None if keys is None else part(keys, "at_most", place, worded(rate))


def _after_downtime(node: Node, place: Place) -> AfterDowntime | None:
    keys = mapping(node, place, ("act_up_to", "older"), (), "{act_up_to: 6h, older: digest}")
    if keys is None:
        return None
    default = AfterDowntime()
    act = part(keys, "act_up_to", place, length)
    older = part(keys, "older", place, choice("digest", "drop"))
    words: Mapping[str | None, Literal["digest", "drop"]] = {"drop": "drop", "digest": "digest"}
    return AfterDowntime(act or default.act_up_to, words.get(older, default.older))


def _visitors(node: Node, place: Place) -> Mapping[str, str] | None:
    keys = mapping(node, place, VISITOR_FILTERS, (), "{device: phone}")
    if keys is None:
        return None
    values = {entry.key: _filter(entry, place.at(entry.key, entry)) for entry in keys}
    good = {name: value for name, value in values.items() if value is not None}
    return good if len(good) == len(values) else None


def _filter(entry: Entry, place: Place) -> str | None:
    """A value of the API's own filter: one word, no pattern."""
    if entry.key not in VISITOR_FILTERS:
        return None
    if not isinstance(entry.node, Scalar):
        place.on(entry.node).fault(f"{entry.key} is one word here; the API's filter takes no more")
        return None
    value = text(entry.node, place)
    if value is None:
        return None
    about = field("recordings", entry.key)
    value = about.normal(value)
    if about.choices and value not in about.choices:
        place.on(entry.node).fault(
            f"{entry.key} is one of {listed(about.choices)}; the API's filter takes one of them"
        )
        return None
    pattern = _FILTER_PATTERNS.get(entry.key)
    if pattern and not pattern.fullmatch(value):
        place.on(entry.node).fault(_FILTER_WORDS[entry.key])
        return None
    return value


_FILTER_PATTERNS = {
    "country": re.compile(r"[a-z]{2}"),
    "screen": re.compile(r"[0-9]+x[0-9]+"),
}
_FILTER_WORDS = {
    "country": "write one country as two letters, such as de",
    "screen": "write a screen such as 1280x800",
}
