"""The keys of a rule file, each with what it means: read by the reader, the docs and the schema."""

from dataclasses import dataclass
from typing import Final

from bot.rulebook.catalogue import KINDS
from bot.subjects import Kind

RECORDINGS: Final[tuple[Kind, ...]] = ("recordings",)
LEVELS: Final[tuple[Kind, ...]] = ("feedback", "funnels", "forms", "pages", "websites")
LOOKING_BACK: Final[tuple[Kind, ...]] = ("funnels", "forms", "pages")

GROUP_FIELDS: Final[tuple[str, ...]] = (
    "visitor", "visitor_name", "ip", "website", "entry_page", "exit_page", "country", "region",
    "city", "isp", "device", "browser", "os", "referrer",
)  # fmt: skip
"""What `once_per` may name, and `count: {by: ...}` besides `page`."""

VISITOR_FILTERS: Final[tuple[str, ...]] = (
    "country", "device", "browser", "os", "visitor_type", "referrer_type", "screen",
)  # fmt: skip
"""What `visitors` may name: the API's filters that hold for every query (L4241-4247)."""


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
    Key("watch", f"what the rule looks at: {', '.join(KINDS)}", "recordings", required=True),
    Key("websites", "names, ids or globs of websites; left out: all", "[myshop.com]"),
    Key("when", "the conditions, all of which must hold", "{friction: {min: 2.5}}", required=True),
    Key("except", "conditions none of which may hold", "{tags: [internal, load-test]}"),
    Key("do", "the actions of a match", "{tag: friction}", required=True),
    Key(
        "once_per",
        f"one match per value within a time; the value is one of {', '.join(GROUP_FIELDS)}",
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
    Key("for", "how long the condition must have held", "15m", LEVELS),
    Key("until", "what must hold before the rule can fire again", "{enabled: false}", LEVELS),
    Key("resolved", "whether the end is posted too", "true", LEVELS),
    Key("over_last", "the time the figures are taken over", "7d", LOOKING_BACK),
    Key(
        "visitors",
        f"whose figures: the API's own filters {', '.join(VISITOR_FILTERS)}",
        "{device: phone}",
        LOOKING_BACK,
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
