"""One rule or budget as written, read key by key."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from bot.actions import ACTIONS, WRITTEN
from bot.actions.base import Action
from bot.actions.notifier import Notifier
from bot.actions.recording_rate import RecordingRate
from bot.domain.subjects import Kind, Severity, Site
from bot.errors import Fault
from bot.fields.catalogue import (
    ALERTS,
    COUNT_BY,
    KINDS,
    ONCE_PER,
    SUBJECTS,
    VISITOR_FILTERS,
    WEBSITE,
    FilterValue,
    Span,
    fields,
    over_time,
    visitor_filters,
)
from bot.fields.field import NUMERIC, WEEKDAYS, Field
from bot.fields.recordings import PAGE
from bot.rules.evaluate import field_of
from bot.rules.files.actions import Allowed, actions
from bot.rules.files.conditions import condition, exceptions
from bot.rules.model import (
    AfterDowntime,
    Budget,
    BudgetStep,
    Count,
    OncePer,
    Pace,
    Rule,
    RuleTest,
    Sample,
    leaves,
)
from bot.rules.needs import asks_for_news
from bot.rules.syntax.location import (
    Place,
    choice,
    flag,
    is_number,
    item_place,
    length,
    listed,
    mapping,
    part,
    plain_text,
    share,
    text,
    texts,
    unknown,
    website_names,
    whole,
    worded,
)
from bot.rules.syntax.nodes import Entry, Items, Keys, Node, Scalar
from bot.rules.syntax.synonyms import suggestion
from bot.rules.syntax.values import figure
from bot.rules.units import Rate, active, percent, rate

RECORDINGS: Final[tuple[Kind, ...]] = tuple(kind for kind in KINDS if kind not in ALERTS)
OF_VISITORS: Final[tuple[Kind, ...]] = tuple(kind for kind in KINDS if SUBJECTS[kind].over_time)
LOOKING_BACK: Final[tuple[Kind, ...]] = tuple(
    kind for kind in KINDS if any(map(over_time, fields(kind)))
)


BEFORE: Final = "before"
"""The key of a test's `given` for figures of the past."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it says, an example value in YAML, and the subjects it fits."""

    name: str
    meaning: str
    example: str
    kinds: tuple[Kind, ...] = KINDS
    required: bool = False


RULE_KEYS: Final[tuple[Key, ...]] = (
    Key("summary", "what the rule is for, in a line; messages show it", "Cross visitors"),
    Key(
        "severity",
        "how much a match matters: the icon of its messages, and where they go",
        "critical",
    ),
    Key("runbook", "the address of instructions, linked in messages", "https://wiki.example/pay"),
    Key("watch", f"what the rule looks at: {', '.join(KINDS)}", "recordings", required=True),
    Key("websites", "names, ids or globs of websites; left out: all", "[myshop.com]"),
    Key("when", "the conditions, all of which must hold", "{friction: {min: 2.5}}", required=True),
    Key("except", "conditions none of which may hold", "{tags: [internal, load-test]}"),
    Key("do", "the actions of a match", "{tag: friction}", required=True),
    Key(
        "once_per",
        f"one match per value within a time; the value is one of {', '.join(ONCE_PER)}",
        "{visitor: 1d}",
        RECORDINGS,
    ),
    Key(
        "count",
        "one match of many: at_least so many within a time, counted by website (or page, or a "
        "name that once_per knows)",
        "{at_least: 15, within: 10m, by: website}",
        RECORDINGS,
    ),
    Key(
        "safety",
        "more matches than this pause the rule and tell the ops channel",
        "{at_most: 200 per hour}",
    ),
    Key("active", "when posts may go out, in the account's zone", "mon-fri 08:00-18:00"),
    Key(
        "after_downtime",
        "what becomes of matches older than act_up_to when the bot catches up: one digest, or drop",
        "{act_up_to: 6h, older: digest}",
        RECORDINGS,
    ),
    Key("for", "how long the condition must have held", "15m", ALERTS),
    Key("until", "what must hold before the rule can fire again", "{enabled: false}", ALERTS),
    Key("remind", "how often to post again while it lasts", "4h", ALERTS),
    Key("resolved", "whether the end is posted too", "true", ALERTS),
    Key("over_last", "the time the figures are taken over", "7d", LOOKING_BACK),
    Key(
        "visitors",
        f"whose figures: the API's own filters {', '.join(VISITOR_FILTERS)}; pages only "
        f"{', '.join(visitor_filters('pages'))}",
        "{device: phone}",
        OF_VISITORS,
    ),
    Key("was", "the rule's earlier ids, so that it keeps its state", "old-name"),
    Key("tests", "subjects with the outcome to expect", "[{given: {friction: 3}, expect: match}]"),
    Key("silence", "ids of warnings that are meant to be so", "[personal-data]"),
)

BUDGET_KEYS: Final[tuple[Key, ...]] = (
    Key("summary", "what the budget is for, in a line", "Credits of the plan"),
    Key(
        "websites",
        "names, ids or globs of websites, counted together",
        "[myshop.com]",
        required=True,
    ),
    Key("recordings", "how many recordings a period may have", "50000", required=True),
    Key("period", "day, week or month", "month", required=True),
    Key(
        "starts_on",
        "the first day of the period: of the month (1-31), or of the week (1 is Monday)",
        "15",
    ),
    Key(
        "steps",
        "what to do, once a period, at a share of the budget",
        "{95%: {recording_rate: 25}}",
    ),
    Key("resume", "whether the next period undoes what this budget did", "true"),
    Key(
        "pace",
        "whether to steer the recording rate so that the budget lasts; {min, max} bound it",
        "{min: 10, max: 100}",
    ),
    Key("was", "the budget's earlier ids, so that it keeps its state", "old-name"),
)

FILE_KEYS: Final[tuple[Key, ...]] = (
    Key("version", "the version of the rule language, always 1", "1", required=True),
    Key(
        "rules",
        "the rules by their ids",
        "{checkout-friction: {watch: recordings, when: {friction: {min: 2.5}}, do: {star: true}}}",
    ),
    Key(
        "budgets",
        "the budgets by their ids",
        "{credits: {websites: [myshop.com], recordings: 50000, period: month, pace: true}}",
    ),
    Key("silence", "ids of warnings that are meant to be so in this file", "[same-rule]"),
)

TEST_KEYS: Final[tuple[Key, ...]] = (
    Key("name", "what the test shows", "slow and cross"),
    Key("given", "the subject's values by field", "{friction: 3, duration: 95s}", required=True),
    Key(
        "expect",
        "match, no match, or a mapping of match, actions and text",
        "{match: true, actions: [tag, slack], text: checkout}",
        required=True,
    ),
)


def names(keys: tuple[Key, ...]) -> tuple[str, ...]:
    """The keys' names, in order."""
    return tuple(key.name for key in keys)


def required(keys: tuple[Key, ...]) -> tuple[str, ...]:
    """The names of the keys that must be there."""
    return tuple(key.name for key in keys if key.required)


_PERIODS = ("day", "week", "month")


def budget(entry: Entry, place: Place, allowed: Allowed) -> Budget | None:
    """One budget under its id; None if it has errors."""
    before = len(place.faults)
    keys = mapping(entry.node, place, names(BUDGET_KEYS), required(BUDGET_KEYS))
    if keys is None:
        return None
    summary = part(keys, "summary", place, plain_text)
    websites = part(keys, "websites", place, website_names('write "*" for all of them'))
    recordings = part(keys, "recordings", place, whole(1, 1_000_000_000))
    period = part(keys, "period", place, choice(*_PERIODS))
    starts = part(keys, "starts_on", place, _first_of_week if period == "week" else whole(1, 31))
    if starts is not None and period == "day":
        place.at("starts_on", keys.entries["starts_on"]).fault(
            "starts_on cannot be used with period: day; remove it"
        )
    steps = part(keys, "steps", place, lambda node, here: _steps(node, here, allowed))
    resume = part(keys, "resume", place, flag)
    pace = part(keys, "pace", place, _pace)
    was = part(keys, "was", place, texts)
    if "steps" not in keys.entries and pace is None and len(place.faults) == before:
        place.fault("this budget does nothing; add steps, or pace: true")
    if len(place.faults) > before or websites is None or recordings is None or period is None:
        return None
    return Budget(
        id=entry.key,
        websites=websites,
        recordings=recordings,
        period="day" if period == "day" else "week" if period == "week" else "month",
        starts_on=starts or 1,
        steps=steps or (),
        resume=bool(resume),
        pace=pace,
        was=was or (),
        summary=summary or "",
        file=place.file,
        line=entry.line,
        column=entry.column,
    )


def _first_of_week(node: Node, place: Place) -> int | None:
    """A weekday by its number, 1 for Monday."""
    if isinstance(node, Scalar) and type(node.value) is int and 1 <= node.value <= 7:
        return node.value
    source = node.source if isinstance(node, Scalar) else ""
    found = next((n for n, day in enumerate(WEEKDAYS, 1) if source.lower().startswith(day)), None)
    hint = f"; write {found}" if found else ""
    place.on(node).fault(f"starts_on must be a weekday from 1 (Monday) to 7 (Sunday){hint}")
    return None


def _steps(node: Node, place: Place, allowed: Allowed) -> tuple[BudgetStep, ...] | None:
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(
            "steps must have shares and actions such as {95%: {recording_rate: 25}}"
        )
        return None
    found: dict[float, BudgetStep] = {}
    places: dict[float, Place] = {}
    for entry in node:
        here = place.at(entry.key, entry)
        at = _share(entry, here)
        do = actions(entry.node, here, "websites", allowed)
        if at in found:
            here.fault("duplicate step")
        elif at is not None and do is not None:
            found[at], places[at] = BudgetStep(at, do), here
    steps = tuple(found[at] for at in sorted(found))
    lowest: int | None = None
    for step in steps:
        for to in (each.rate for each in step.do if isinstance(each, RecordingRate)):
            if lowest is not None and to > lowest:
                places[step.at].warn(
                    "raised-rate",
                    f"an earlier step lowers the rate to {lowest} %; a step never raises it",
                )
            lowest = to if lowest is None else min(to, lowest)
    return steps


def _share(entry: Entry, place: Place) -> float | None:
    scalar = Scalar(entry.key, entry.key, True, entry.line, entry.column)
    at = share(scalar, place)
    if at is not None and not 0 < at <= 200:
        place.fault("a step must be above 0% and at most 200% of the budget")
        return None
    return at


def _pace(node: Node, place: Place) -> Pace | None:
    if not isinstance(node, Keys):
        wanted = flag(node, place)
        return Pace() if wanted else None
    keys = mapping(node, place, ("min", "max"))
    low, high = (part(node, key, place, _rate) for key in ("min", "max"))
    if keys is None or (low is None and "min" in node.entries):
        return None
    pace = Pace(10.0 if low is None else low, 100.0 if high is None else high)
    if pace.low > pace.high:
        place.on(node).fault("min is above max")
        return None
    return pace


def _rate(node: Node, place: Place) -> float | None:
    value = worded(percent)(node, place) if isinstance(node, Scalar) or is_number(node) else None
    if value is not None and 1 <= value <= 100:
        return value
    if value is not None or not isinstance(node, Scalar):
        place.on(node).fault(f"{place.name} must be a percentage from 1 to 100")
    return None


def tests(node: Node, place: Place, kind: Kind) -> tuple[RuleTest, ...]:
    """The list's tests; those with faults are left out."""
    if not isinstance(node, Items) or not node.items:
        place.on(node).fault("write a list of tests, each with given and expect")
        return ()
    read = [
        _test(item, place.at(index, item), kind, index) for index, item in enumerate(node.items)
    ]
    return tuple(test for test in read if test is not None)


def _test(node: Node, place: Place, kind: Kind, index: int) -> RuleTest | None:
    keys = mapping(node, place, names(TEST_KEYS), example="{given: {…}, expect: match}")
    if keys is None:
        return None
    known = names(TEST_KEYS)
    meant = {suggestion(key, known) for key in keys.entries if key not in known}
    if "expect" not in keys.entries and "expect" not in meant:
        place.fault("this test asserts nothing; add expect: match, or expect: no match")
    if "given" not in keys.entries and "given" not in meant:
        place.fault("the key given is missing: the values to test the rule with")
    name = part(keys, "name", place, text)
    values = part(keys, "given", place, lambda n, p: given(n, p, kind))
    expected = part(keys, "expect", place, _expect)
    if values is None or expected is None:
        return None
    match, actions, message = expected
    return RuleTest(
        name=name or f"test {index + 1}",
        given=values,
        match=match,
        line=node.line,
        column=node.column,
        actions=actions,
        text=message,
    )


SAMPLE_KEYS: Final[tuple[Key, ...]] = (
    Key("name", "what the sample is", "an ordinary visit"),
    Key("watch", f"what kind of subject it is: {', '.join(KINDS)}; left out: recordings", "pages"),
    Key("given", "the subject's values by field", "{friction: 1, pages: [/]}", required=True),
)


def samples(node: Node, place: Place) -> tuple[Sample, ...]:
    """The samples of a file for `test --quiet-on`; those with errors are left out."""
    keys = mapping(node, place, ("samples",), ("samples",), "{samples: [{given: {pages: [/]}}]}")
    entry = keys.entries.get("samples") if keys else None
    if entry is None:
        return ()
    here = place.at(entry.key, entry)
    if not isinstance(entry.node, Items) or not entry.node.items:
        here.on(entry.node).fault("write a list of samples, each with given")
        return ()
    read = [_sample(item, here.at(n, item), n) for n, item in enumerate(entry.node.items)]
    return tuple(sample for sample in read if sample is not None)


def _sample(node: Node, place: Place, index: int) -> Sample | None:
    keys = mapping(node, place, names(SAMPLE_KEYS), required(SAMPLE_KEYS))
    if keys is None:
        return None
    name = part(keys, "name", place, text)
    written = "watch" in keys.entries
    kind: Kind | None = part(keys, "watch", place, _kind) if written else "recordings"
    if kind is None:
        return None
    watch = kind
    values = part(keys, "given", place, lambda n, p: given(n, p, watch))
    if values is None:
        return None
    return Sample(name or f"sample {index + 1}", kind, values, node.line)


_EXPECTED = {
    "true": "match", "yes": "match", "match": "match", "matched": "match",
    "false": "no match", "no": "no match", "none": "no match", "no_match": "no match",
    "no-match": "no match", "nomatch": "no match", "not match": "no match",
}  # fmt: skip
"""Other words for the expected result."""


def _expect(node: Node, place: Place) -> tuple[bool, tuple[str, ...], str | None] | None:
    if isinstance(node, Scalar) and node.source in ("match", "no match"):
        return node.source == "match", (), None
    if not isinstance(node, Keys):
        word = node.source.lower() if isinstance(node, Scalar) else ""
        meant = _EXPECTED.get(word) or _EXPECTED.get(word.removesuffix("es"))
        hint = f"; did you mean {meant}?" if meant else ""
        said = "expect must be match, no match or a mapping such as {actions: [slack]}"
        place.on(node).fault(said + hint)
        return None
    keys = mapping(node, place, ("match", "actions", "text"))
    if keys is None:
        return None
    if not keys.entries:
        place.on(node).fault("this test asserts nothing; write match: true, actions or text")
        return None
    match = part(keys, "match", place, flag)
    kinds = part(keys, "actions", place, _actions)
    message = part(keys, "text", place, text)
    if match is False and (kinds or message):
        place.on(node).fault(
            "a test that expects no match cannot expect actions or text; remove them"
        )
        return None
    return match is not False, kinds or (), message


def _actions(node: Node, place: Place) -> tuple[str, ...] | None:
    kinds = texts(node, place)
    wrong = False
    for index, kind in enumerate(kinds or ()):
        if kind not in WRITTEN and kind not in ACTIONS:
            item_place(node, index, place).fault(unknown(kind, tuple(WRITTEN), "action"))
            wrong = True
    return None if wrong else kinds


def given(node: Node, place: Place, kind: Kind) -> Mapping[str, Any] | None:
    """Values by field name, in base units; None if one has an error."""
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(
            "given must have values by field, such as {friction: 3, duration: 95s}"
        )
        return None
    known = {field.name: field for field in fields(kind)}
    values: dict[str, Any] = {}
    good = True
    for entry in node:
        here = place.at(entry.key, entry)
        if entry.key == WEBSITE and WEBSITE not in known:
            value: Any = text(entry.node, here)
        elif entry.key == BEFORE and kind in ALERTS:
            value = _before(entry.node, here, known)
        elif entry.key not in known:
            here.fault(unknown(entry.key, [*known, WEBSITE], "field"))
            value = None
        elif known[entry.key].gives_views:
            value = _views(entry.node, here, known[entry.key])
        else:
            value = _value(entry.node, here, known[entry.key])
        if value is not None and entry.key in known:
            value = _given(value, here.on(entry.node), known[entry.key])
        good = good and value is not None
        values[entry.key] = value
    return values if good else None


def _given(value: Any, place: Place, field: Field) -> Any:
    """The value, if a subject can have it; else None and an error."""
    try:
        field.give(SUBJECTS[field.watch].blank(Site("", "")), value)
    except ValueError:
        example = f"; write a value such as {field.examples[0]}" if field.examples else ""
        place.fault(f"{field.name} can't have this value{example}")
        return None
    return value


def _views(node: Node, place: Place, field: Field) -> Any:
    """The number of pages, or the page views: paths, or mappings of a page's parts."""
    if field.numeric and not isinstance(node, (Items, Keys)):
        return figure(node, place, field)
    items = node.items if isinstance(node, Items) else [node]
    views = [_view(item, place.at(i, item)) for i, item in enumerate(items)]
    return None if None in views else tuple(views)


def _view(node: Node, place: Place) -> Mapping[str, Any] | None:
    if isinstance(node, Keys):
        return _parts(node, place, PAGE)
    path = text(node, place)
    return None if path is None else {PAGE.parts[0].name: path}


def _parts(node: Node, place: Place, field: Field) -> Mapping[str, Any] | None:
    known = {part.name: part for part in field.parts}
    if not isinstance(node, Keys) or not node.entries:
        place.on(node).fault(f"{field.name} must be a mapping of {listed(tuple(known), 'and')}")
        return None
    values: dict[str, Any] = {}
    for entry in node:
        here = place.at(entry.key, entry)
        if entry.key not in known:
            here.fault(unknown(entry.key, tuple(known), f"part of {field.name}"))
            values[entry.key] = None
        else:
            values[entry.key] = _value(entry.node, here, known[entry.key])
    return None if None in values.values() else values


def _value(node: Node, place: Place, field: Field) -> Any:
    """One value of the field's type."""
    if isinstance(node, Keys) and field.type not in ("items", "variables"):
        place.on(node).fault(f"given takes the value of {field.name} itself, not an operator")
        return None
    if field.type in NUMERIC:
        return figure(node, place.on(node), field)
    if field.type == "items":
        items = node.items if isinstance(node, Items) else [node]
        values = [_parts(item, place.at(i, item), field) for i, item in enumerate(items)]
        return None if None in values else tuple(values)
    if field.type == "variables":
        return _variables(node, place)
    read: Callable[[Node, Place], Any] = {"flag": flag, "texts": _texts}.get(field.type, text)
    value = read(node, place)
    if field.type == "text" and value is not None and field.choices:
        return _chosen(value, place.on(node), field)
    return value


def _before(node: Node, place: Place, known: Mapping[str, Field]) -> Mapping[str, float] | None:
    """Figures of the past, for conditions on a change."""
    numeric = tuple(name for name, field in known.items() if field.numeric)
    keys = mapping(node, place, numeric, example="{conversion: 20%}")
    if keys is None:
        return None
    found = {
        entry.key: figure(entry.node, place.at(entry.key, entry).on(entry.node), known[entry.key])
        for entry in keys
        if entry.key in numeric
    }
    good = {name: value for name, value in found.items() if value is not None}
    return good if len(good) == len(keys.entries) else None


def _texts(node: Node, place: Place) -> tuple[str, ...] | None:
    """Texts; an empty list is allowed."""
    return () if isinstance(node, Items) and not node.items else texts(node, place)


def _chosen(value: str, place: Place, field: Field) -> str | None:
    if field.normal(value) in field.choices or field.open_choices:
        return value
    place.fault(unknown(value, field.choices, "value"))
    return None


def _variables(node: Node, place: Place) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(node, Keys):
        place.on(node).fault("variables must have names and values such as {cart-value: 120}")
        return None
    pairs = [(entry.key, text(entry.node, place.at(entry.key, entry))) for entry in node]
    good = tuple((key, value) for key, value in pairs if value is not None)
    return good if len(good) == len(pairs) else None


_EXAMPLE = "{watch: recordings, when: {tags: submit}, do: {star: true}}"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FITS = {key.name: key.kinds for key in RULE_KEYS}


def named(entry: Entry, place: Place, what: str) -> bool:
    """Whether the key can be an id; notes an error if not."""
    if _ID.fullmatch(entry.key):
        return True
    place.fault(f"a {what}'s id has at most 64 letters, digits, - and _")
    return False


def rule(entry: Entry, place: Place, allowed: Allowed) -> Rule | None:
    """One rule under its id; None if it has errors."""
    before = len(place.faults)
    keys = mapping(entry.node, place, names(RULE_KEYS), required(RULE_KEYS), _EXAMPLE)
    if keys is None:
        return None
    kind: Kind | None = part(keys, "watch", place, _kind)
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


def _faults_of_nearest(keys: Keys, place: Place, allowed: Allowed) -> list[Fault]:
    """The other errors of a rule without a kind: those that it has if it is of the nearest."""
    found: list[list[Fault]] = []
    for kind in KINDS:
        found.append([])
        _values(keys, replace(place, faults=found[-1], warnings=[]), kind, allowed)
    return min(found, key=len)


def _values(keys: Keys, place: Place, kind: Kind, allowed: Allowed) -> dict[str, Any]:
    """The values of a rule's keys; None for those that are missing or have errors."""
    _fit(keys, place, kind)
    read = _Reading(keys, place)
    severity = read("severity", choice(*get_args(Severity)))
    channel = dict(allowed.channels).get(severity or "warning", "")
    if channel:
        allowed = replace(allowed, channel=True)
    do = read("do", lambda n, p: actions(n, p, kind, allowed))
    return {
        "summary": read("summary", plain_text),
        "severity": severity,
        "runbook": read("runbook", worded(_address)),
        "websites": read("websites", website_names("leave websites out for all of them")),
        "when": read("when", lambda n, p: condition(n, p, kind)),
        "excepts": read("except", lambda n, p: exceptions(n, p, kind)),
        "do": do and tuple(_routed(action, channel) for action in do),
        "once_per": read("once_per", _once_per),
        "count": read("count", _count),
        "safety": read("safety", _safety),
        "active": read("active", worded(active)),
        "after_downtime": read("after_downtime", _after_downtime),
        "held_for": read("for", length),
        "until": read("until", lambda n, p: condition(n, p, kind)),
        "remind": read("remind", length),
        "resolved": read("resolved", flag),
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


def _check_state_keys(made: Rule, keys: Keys, place: Place) -> None:
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
    place: Place

    def __call__(self, key: str, read: Callable[[Node, Place], Any]) -> Any:
        return part(self.keys, key, self.place, read)


def _kind(node: Node, place: Place) -> Kind | None:
    """The kind, or after an error the one probably meant, so that the rest is checked too."""
    word = choice(*KINDS)(node, place)
    if word is None and isinstance(node, Scalar):
        word = suggestion(node.source, KINDS)
    return next((kind for kind in KINDS if kind == word), None)


def _fit(keys: Keys, place: Place, kind: Kind) -> None:
    for entry in keys:
        kinds = _FITS.get(entry.key, KINDS)
        if kind not in kinds:
            place.at(entry.key, entry).fault(
                f"{entry.key} works with {listed(kinds, 'and')}, not with {kind}"
            )


def _once_per(node: Node, place: Place) -> OncePer | None:
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


def _count(node: Node, place: Place) -> Count | None:
    example = "{at_least: 15, within: 10m}"
    keys = mapping(node, place, ("at_least", "within", "by"), ("at_least", "within"), example)
    if keys is None:
        return None
    least = part(keys, "at_least", place, whole(2, 1_000_000))
    within = part(keys, "within", place, length)
    by = part(keys, "by", place, choice(*COUNT_BY)) if "by" in keys.entries else WEBSITE
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


def _visitors(node: Node, place: Place, kind: Kind) -> Mapping[str, FilterValue] | None:
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


def _filter_value(entry: Entry, place: Place, about: Field) -> FilterValue | None:
    """A value of the API's own filter, by the type of the field."""
    if about.served.is_range:
        return _span(entry.node, place, about)
    if about.type == "flag":
        return flag(entry.node, place)
    if about.type == "variables":
        pairs = _variables(entry.node, place)
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


def _span(node: Node, place: Place, about: Field) -> Span | None:
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


def _filter(entry: Entry, place: Place) -> str | None:
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
