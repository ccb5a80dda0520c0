"""One rule as written, read key by key."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, get_args

import msgspec

from bot.actions.base import Action, Allowed
from bot.actions.notifier import Notifier
from bot.domain.step import OWN_RULE
from bot.domain.subjects import Kind, Severity
from bot.errors import Fault
from bot.fields.catalogue import (
    COUNT_BY,
    KINDS,
    ONCE_PER,
    VISITOR_FILTERS,
    WEBSITE,
    FilterValue,
    Span,
    fields,
    visitor_filters,
)
from bot.fields.field import Field
from bot.rules.evaluate import field_of
from bot.rules.files.actions import actions
from bot.rules.files.conditions import condition, exceptions
from bot.rules.files.keys import OF_FEW, RULE_KEYS, names, required
from bot.rules.files.misplaced import ELSEWHERE
from bot.rules.files.rule_tests import tests, variables, watched_kind
from bot.rules.model import (
    AfterDowntime,
    Count,
    OncePer,
    Rule,
    TooFew,
    leaves,
)
from bot.rules.needs import asks_for_news
from bot.rules.syntax.location import (
    Location,
    choice,
    flag,
    length,
    listed,
    mapping,
    part,
    plain_text,
    text,
    texts,
    unknown,
    website_names,
    whole,
    worded,
)
from bot.rules.syntax.nodes import Entry, Keys, Node, Scalar
from bot.rules.syntax.values import figure
from bot.rules.units import Rate, active, rate

_EXAMPLE = "{watch: recordings, when: {tags: submit}, do: {star: true}}"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FITS = {key.name: key.kinds for key in RULE_KEYS}


def named(entry: Entry, place: Location, what: str) -> bool:
    """Whether the key can be an id; notes an error if not."""
    if what == "rule" and entry.key == OWN_RULE:
        place.fault(f"{OWN_RULE} is the id of the bot's own messages; choose another id")
        return False
    if _ID.fullmatch(entry.key):
        return True
    place.fault(f"a {what}'s id has at most 64 letters, digits, - and _")
    return False


def rule(entry: Entry, place: Location, allowed: Allowed) -> Rule | None:
    """One rule under its id; None if it has errors."""
    before = len(place.faults)
    if entry.key in _FITS and isinstance(entry.node, Keys) and "watch" not in entry.node.entries:
        place.fault(f"{entry.key} is a key of a rule; indent it as far as the rule's other keys")
        return None
    keys = mapping(entry.node, place, names(RULE_KEYS), required(RULE_KEYS), _EXAMPLE, ELSEWHERE)
    if keys is None:
        return None
    kind: Kind | None = part(keys, "watch", place, watched_kind)
    if kind is None:
        place.faults.extend(_faults_of_nearest(keys, place, allowed))
        return None
    values = _values(keys, place, kind, allowed)
    if len(place.faults) > before:
        return None
    known = {name: value for name, value in values.items() if value is not None}
    made = Rule(
        id=entry.key, watch=kind, file=place.file, line=entry.line, column=entry.column, **known
    )
    _check_state_keys(made, keys, place)
    return None if len(place.faults) > before else made


def _faults_of_nearest(keys: Keys, place: Location, allowed: Allowed) -> list[Fault]:
    """The other errors of a rule without a kind: those that it has if it is of the nearest."""
    found: list[list[Fault]] = []
    for kind in KINDS:
        found.append([])
        _values(keys, msgspec.structs.replace(place, faults=found[-1], warnings=[]), kind, allowed)
    return min(found, key=len)


def _values(keys: Keys, place: Location, kind: Kind, allowed: Allowed) -> dict[str, Any]:
    """The values of a rule's keys; None for those that are missing or have errors."""
    read = _Reading(keys, place)
    counted = read("count", _count)
    few = counted if isinstance(counted, TooFew) else None
    _fit(keys, place, kind, few)
    severity = read("severity", choice(*get_args(Severity)))
    channel = dict(allowed.channels).get(severity or "warning", "")
    if channel:
        allowed = replace(allowed, channel=True)
    do = read("do", lambda n, p: actions(n, p, "websites" if few else kind, allowed))
    return {
        "summary": read("summary", plain_text),
        "severity": severity,
        "runbook": read("runbook", worded(_address)),
        "owner": read("owner", plain_text),
        "disabled": read("disabled", flag),
        "websites": read("websites", website_names("leave websites out for all of them")),
        "when": read("when", lambda n, p: condition(n, p, kind)),
        "excepts": read("except", lambda n, p: exceptions(n, p, kind)),
        "do": do and tuple(_routed(action, channel) for action in do),
        "once_per": read("once_per", _once_per),
        "count": None if few else counted,
        "too_few": few,
        "safety": read("safety", _safety),
        "active": read("active", worded(active)),
        "after_downtime": read("after_downtime", _after_downtime),
        "held_for": read("for", length),
        "until": read("until", lambda n, p: condition(n, p, kind)),
        "remind": read("remind", length),
        "resolved": read("resolved", flag),
        "not_while": read("not_while", texts),
        "over_last": read("over_last", length),
        "visitors": read("visitors", lambda n, p: _visitors(n, p, kind)),
        "was": read("was", texts),
        "tests": read("tests", lambda n, p: tests(n, p, kind)),
    }


def _routed(action: Action, channel: str) -> Action:
    """The action, posting where the configuration sends rules of this severity."""
    return action.routed(channel) if channel and isinstance(action, Notifier) else action


_ADDRESS = re.compile(r"https?://[^\s<>|\"\x00-\x1f]{1,1900}")


def _address(text: str) -> str:
    """The address; raises ValueError for what is none."""
    if not _ADDRESS.fullmatch(text):
        raise ValueError("write an address that begins with https://")
    return text


_NO_STATE: Mapping[str, str] = {
    "for": "it is true only when something is new, and does not last",
    "until": "it is true only when something is new, and fires each time",
    "remind": "it is true only when something is new, and does not last",
    "resolved": "it is true only when something is new, so it has no end to post",
}


def _check_state_keys(made: Rule, keys: Keys, place: Location) -> None:
    """Refuse keys about an alert's state that can't work with what the rule asks for or does."""
    kind = made.watch
    new = next((field for field in fields(kind) if field.news_of), None)
    if new and asks_for_news(made.condition, kind):
        for entry in (entry for entry in keys if entry.key in _NO_STATE):
            place.at(entry.key, entry).fault(
                f"{entry.key} does not fit {new.name}: {_NO_STATE[entry.key]}. Remove "
                f"{entry.key}, or ask for {new.news_of} instead"
            )
    elif made.until is not None:
        here = place.at("until", keys.entries["until"])
        if new and asks_for_news(made.until, kind):
            here.fault(f"until can't ask for {new.name}, which does not last; use {new.news_of}")
        own = {name for action in made.do for name in action.sets}
        for name in sorted(own & {field_of(leaf, kind).name for leaf in leaves(made.until)}):
            here.fault(
                f"the rule itself sets {name}, which ends no alert; leave {name} out of until, "
                "or leave out until: the alert ends when its other conditions do"
            )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads the values of a rule's keys."""

    keys: Keys
    place: Location

    def __call__(self, key: str, read: Callable[[Node, Location], Any]) -> Any:
        return part(self.keys, key, self.place, read)


def _fit(keys: Keys, place: Location, kind: Kind, few: TooFew | None) -> None:
    for entry in keys:
        kinds = _FITS.get(entry.key, KINDS)
        if few and entry.key in _NOT_OF_FEW:
            place.at(entry.key, entry).fault(
                f"{entry.key} does not fit count: {{at_most: …}}, which fires once for a website"
            )
        elif kind not in kinds and not (few and entry.key in OF_FEW):
            place.at(entry.key, entry).fault(
                f"{entry.key} works with {listed(kinds, 'and')}, not with {kind}"
            )


def _once_per(node: Node, place: Location) -> OncePer | None:
    example = "{visitor: 1d}"
    if not isinstance(node, Keys) or len(node.entries) != 1:
        place.on(node).fault(f"once_per must have one value and a time, such as {example}")
        return None
    (entry,) = node
    here = place.at(entry.key, entry)
    if entry.key not in ONCE_PER:
        here.fault(unknown(entry.key, ONCE_PER, "value"))
        return None
    window = length(entry.node, here)
    return None if window is None else OncePer(entry.key, window)


_NOT_OF_FEW = ("once_per", "after_downtime")
"""Keys that a rule with `count: {at_most}` can't have."""


def _count(node: Node, place: Location) -> Count | TooFew | None:
    if isinstance(node, Keys) and "at_most" in node.entries:
        return _too_few(node, place)
    example = "{at_least: 15, within: 10m}"
    keys = mapping(node, place, ("at_least", "within", "by"), ("at_least", "within"), example)
    if keys is None:
        return None
    least = part(keys, "at_least", place, whole(2, 1_000_000))
    within = part(keys, "within", place, length)
    by = part(keys, "by", place, choice(*COUNT_BY)) if "by" in keys.entries else WEBSITE
    return None if least is None or within is None or by is None else Count(least, within, by)


def _too_few(node: Node, place: Location) -> TooFew | None:
    keys = mapping(node, place, ("at_most", "within"), ("at_most", "within"), _FEW)
    if keys is None:
        return None
    most = part(keys, "at_most", place, whole(0, 1_000_000))
    within = part(keys, "within", place, length)
    if within is not None and within > LONGEST_COUNT:
        place.at("within", keys.entries["within"]).fault(f"within is at most {LONGEST_COUNT.days}d")
    return None if most is None or within is None else TooFew(most, within)


_FEW = "{at_most: 0, within: 2h}"
LONGEST_COUNT = timedelta(days=7)
"""The longest time in which sessions are counted one by one."""


def _safety(node: Node, place: Location) -> Rate | None:
    keys = mapping(node, place, ("at_most",), ("at_most",), "{at_most: 200 per hour}")
    return None if keys is None else part(keys, "at_most", place, worded(rate))


def _after_downtime(node: Node, place: Location) -> AfterDowntime | None:
    keys = mapping(node, place, ("act_up_to", "older"), (), "{act_up_to: 6h, older: digest}")
    if keys is None:
        return None
    default = AfterDowntime()
    act = part(keys, "act_up_to", place, length)
    older = part(keys, "older", place, choice("digest", "drop"))
    words: Mapping[str | None, Literal["digest", "drop"]] = {"drop": "drop", "digest": "digest"}
    return AfterDowntime(act or default.act_up_to, words.get(older, default.older))


def _visitors(node: Node, place: Location, kind: Kind) -> Mapping[str, FilterValue] | None:
    known = visitor_filters(kind)
    keys = mapping(node, place, tuple(known), (), "{device: phone}")
    if keys is None:
        return None
    values = {
        entry.key: _filter_value(entry, place.at(entry.key, entry), known[entry.key])
        for entry in keys
        if entry.key in known
    }
    good = {name: value for name, value in values.items() if value is not None}
    return good if len(good) == len(keys.entries) else None


def _filter_value(entry: Entry, place: Location, about: Field) -> FilterValue | None:
    """A value of the API's own filter, by the type of the field."""
    if about.served.is_range:
        return _span(entry.node, place, about)
    if about.type == "flag":
        return flag(entry.node, place)
    if about.type == "variables":
        pairs = variables(entry.node, place)
        if pairs and any(set(value) & set(",*^=") for _key, value in pairs):
            place.on(entry.node).fault("the API's filter takes no value with , * ^ or =")
            return None
        return pairs
    if about.served.is_list:
        tags = texts(entry.node, place)
        if tags and any(about.served.take(tag) is None for tag in tags):
            place.on(entry.node).fault("the API's filter takes whole tags, without , or *")
            return None
        return tags
    return _filter(entry, place)


def _span(node: Node, place: Location, about: Field) -> Span | None:
    keys = mapping(node, place, ("min", "max"), (), "{min: 2}")
    if keys is None:
        return None
    bounds = {it.key: figure(it.node, place.at(it.key, it).on(it.node), about) for it in keys}
    if not bounds or None in bounds.values():
        return None
    span = Span(bounds.get("min"), bounds.get("max"))
    if span.low is not None and span.high is not None and span.low > span.high:
        place.on(node).fault("min is above max")
        return None
    return span


def _filter(entry: Entry, place: Location) -> str | None:
    """A value of the API's own filter: one word, no pattern."""
    if entry.key not in VISITOR_FILTERS:
        return None
    if not isinstance(entry.node, Scalar):
        place.on(entry.node).fault(
            f"{entry.key} must be one value here; the API's filter takes only one"
        )
        return None
    value = text(entry.node, place)
    if value is None:
        return None
    about = VISITOR_FILTERS[entry.key]
    taken: str | None = about.served.take(value)
    if taken is None:
        choices = f"{entry.key} must be one of {listed(about.choices)}"
        place.on(entry.node).fault(about.served.hint or choices)
    return taken
