"""The keys of rule files: what each is for, which kinds of rules may have it, an example."""

from dataclasses import dataclass
from typing import Final

from bot.domain.subjects import Kind
from bot.fields.catalogue import (
    ALERTS,
    KINDS,
    ONCE_PER,
    SUBJECTS,
    VISITOR_FILTERS,
    fields,
    over_time,
    visitor_filters,
)

RECORDINGS: Final[tuple[Kind, ...]] = tuple(kind for kind in KINDS if kind not in ALERTS)


OF_FEW: Final = ("remind", "resolved", "not_while")
"""Keys of alerts that rules on recordings may have beside `count: {at_most}`."""

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
    Key("owner", "who looks after the rule; messages show it", "Checkout team"),
    Key("disabled", "the rule is kept, but does nothing", "true"),
    Key("watch", f"what the rule looks at: {', '.join(KINDS)}", "recordings", required=True),
    Key("accounts", "names of the configuration's accounts that have it; left out: all", "[shop]"),
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
        "one match of many: at_least so many within a time, counted by website (or page, the "
        "first one, or a name that once_per knows); or an alert while at_most "
        "so many came within a time",
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
    Key(
        "not_while",
        "ids of rules: nothing is posted while one of their alerts fires on the same website",
        "website-stopped",
        ALERTS,
    ),
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
    Key("accounts", "names of the configuration's accounts that have it; left out: all", "[shop]"),
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


REPORT_KEYS: Final[tuple[Key, ...]] = (
    Key("summary", "what the report is for, in a line", "The shops' week"),
    Key("accounts", "names of the configuration's accounts that have it; left out: all", "[shop]"),
    Key("websites", "names, ids or globs of websites; left out: all", "[myshop.com]"),
    Key("at", "the weekday and time at which it comes", "mon 09:00", required=True),
    Key("do", "where it is posted", '{slack: {channel: "#ux"}}', required=True),
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
    Key(
        "reports",
        "weekly reports of websites, by their ids",
        '{weekly: {at: mon 09:00, do: {slack: {channel: "#ux"}}}}',
    ),
    Key(
        "vars",
        "lists of texts by name, for all files: a condition writes {var: name} for one",
        "{internal_ips: [192.0.2.*, 198.51.100.7]}",
    ),
    Key(
        "accounts",
        "accounts that have the rules, budgets and reports of this file that name none",
        "[shop]",
    ),
    Key("silence", "ids of warnings that are meant to be so in this file", "[same-rule]"),
)


SHARED: Final = "x-"
"""How keys of a file begin that hold blocks for its aliases."""

VAR: Final = "var"
"""The key of a reference to a list under `vars`."""

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


SAMPLE_KEYS: Final[tuple[Key, ...]] = (
    Key("name", "what the sample is", "an ordinary visit"),
    Key("watch", f"what kind of subject it is: {', '.join(KINDS)}; left out: recordings", "pages"),
    Key("given", "the subject's values by field", "{friction: 1, pages: [/]}", required=True),
)


EXPECTED = {
    "true": "match", "yes": "match", "match": "match", "matched": "match",
    "false": "no match", "no": "no match", "none": "no match", "no_match": "no match",
    "no-match": "no match", "nomatch": "no match", "not match": "no match",
}  # fmt: skip
"""Other words for the expected result."""
