"""Random rules and random sessions that have something to say about each other."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Script, Visitor

PATHS = ["/", "/landing", "/products/runner-3", "/product/x", "/cart", "/checkout", "/checkout/pay"]
PATTERNS = ["/", "/cart", "/checkout*", "/product*", "*/pay", "/landing", "*", "/nowhere", "/Cart/"]
QUERIES = ["", "", "?utm=spring", "?utm=fall&q=a%20b#step-2"]
EVENTS = ["click-rage", "404", "submit-failure", "click-error", "dead-click", "submit", "vip"]
TAGS = ["click-rage", "404", "submit", "vip", "internal", "click-*", "nothing"]
NAMES = ["Jane Roe", "John Doe", "Ärzte GmbH"]
VISITORS = [
    {"country": "de", "region": "Hesse", "city": "Frankfurt", "lang": "de-DE"},
    {"country": "de", "region": "", "city": "Berlin", "lang": "de-DE"},
    {"country": "dk", "region": "Capital Region", "city": "Copenhagen", "lang": "da-DK",
     "isp": "TDC A/S", "network": "80.62.117"},
    {"country": "us", "region": "California", "city": "", "lang": "en-US", "isp": "Comcast"},
]  # fmt: skip
MACHINES = [
    {},
    {
        "device": "Phone",
        "os": "iOS",
        "browser": "Safari",
        "os_version": "18.1",
        "screen": "393x852",
    },
    {"device": "Tablet", "os": "Android", "browser": "Firefox", "browser_version": "144.0"},
]
SOURCES = [
    {},
    {"referrer": "https://www.google.de/", "referrer_type": "Search"},
    {"referrer": "https://news.example/a?b=c", "referrer_type": "Link"},
]


def visitor(chance: random.Random) -> Visitor:
    """Somebody, out of not too many, so that people come again."""
    return Visitor(
        **chance.choice(VISITORS),
        **chance.choice(MACHINES),
        **chance.choice(SOURCES),
        returning=chance.random() < 0.4,
        name=chance.choice(["", "", *NAMES]),
        id=f"{chance.randrange(8):032x}",
    )


def script(chance: random.Random) -> Script:
    """A session of one to six pages, of some seconds up to some minutes."""
    longest = chance.choice([8, 30, 120])
    stay = [
        (
            chance.choice(PATHS)
            + chance.choice(["", "", "?utm=spring", "?utm=fall&q=a%20b#step-2"]),
            chance.uniform(2, longest),
        )
        for _ in range(chance.randint(1, 6))
    ]
    length = sum(seconds for _, seconds in stay)
    events = [
        (chance.uniform(0, length), chance.choice(EVENTS)) for _ in range(chance.randint(0, 3))
    ]
    variables = [
        (chance.uniform(0, length), chance.choice(["cart-value", "plan"]), chance.choice(VALUES))
        for _ in range(chance.randint(0, 2))
    ]
    made = session(stay, sorted(events), variables=variables, visitor=visitor(chance))
    scroll = [replace(page, scroll=chance.choice([10, 50, 100])) for page in made.pages]
    return replace(made, pages=tuple(scroll))


VALUES = ["19.90", "120", "249", "pro", "free"]

Test = Callable[[random.Random], Any]


def bounds(*values: Any) -> Test:
    def draw(chance: random.Random) -> Any:
        low = {chance.choice(["min", "over"]): chance.choice(values)}
        high = {chance.choice(["max", "under"]): chance.choice(values)}
        return chance.choice([low, low, high, high, low | high])

    return draw


def texts(*values: str, ops: bool = True, regex: str = "", absent: bool = False) -> Test:
    """A text, several, or an operator on texts."""

    def draw(chance: random.Random) -> Any:
        one, two = chance.choice(values), chance.sample(values, min(2, len(values)))
        forms: list[Any] = [one, one, two]
        if ops:
            forms += [{"not": one}, {"not": two}]
        if regex:
            forms.append({"matches": regex})
        if absent:
            forms += [{"exists": True}, {"exists": False}]
        return chance.choice(forms)

    return draw


def several(*values: str, regex: str) -> Test:
    """For fields that have many values: all the operators."""

    def draw(chance: random.Random) -> Any:
        plain = texts(*values, regex=regex, absent=True)(chance)
        two = chance.sample(values, 2)
        return chance.choice([plain, plain, plain, plain, {"all": two}, {"other_than": two}])

    return draw


def either(one: Test, other: Test) -> Test:
    """Now this, now that."""
    return lambda chance: chance.choice([one, other])(chance)


def flag(chance: random.Random) -> bool:
    return chance.random() < 0.7


def page(chance: random.Random) -> dict[str, Any]:
    """Two or three parts that one page view must meet."""
    parts: dict[str, Test] = {
        "path": texts(*PATTERNS, regex="^/(cart|check)"),
        "title": texts("*MyShop*", "Your cart*", "nothing"),
        "time": bounds("5s", "20s", "1m"),
        "engagement": bounds("5s", "15s"),
        "scroll": bounds("25%", 50, "90%"),
        "tags": several("click-rage", "404", "vip", regex="click"),
        "query": texts("*utm=spring*", "utm=*", "*q=a b", regex="utm=(fall|x)", absent=True),
        "fragment": texts("step-*", "other", absent=True),
        "host": texts("*.com", "myshop.com", "outlet.*"),
    }
    return {
        name: parts[name](chance) for name in chance.sample(sorted(parts), chance.randint(1, 2))
    }


def variables(chance: random.Random) -> dict[str, Any]:
    forms: dict[str, Test] = {
        "cart-value": bounds(20, 100, 200),
        "plan": texts("pro", "fr*", regex="^p", absent=True),
    }
    name = chance.choice(sorted(forms))
    return {name: forms[name](chance)}


def moments(chance: random.Random) -> dict[str, str]:
    """From a moment on, before another, or both."""
    first = chance.randint(10, 30)
    both = {
        "after": f"2026-03-{first:02}",
        "before": f"2026-03-{first + 1:02} {chance.randint(0, 23):02}:30",
    }
    return chance.choice([both, {"after": both["before"]}, {"before": both["after"]}])


FIELDS: dict[str, Test] = {
    "friction": bounds(0.5, 1, 2, 2.5, 5, 7),
    "duration": bounds("5s", "30s", "1m", "2m30s", "3m"),
    "pages": bounds(2, 3, 4),
    "saw_page": several(*PATTERNS, regex="^/checkout(/pay)?$"),
    "page": page,
    "journey": lambda chance: [chance.choice(PATTERNS) for _ in range(chance.randint(2, 3))],
    "entry_page": texts(*PATTERNS, regex="^/$"),
    "exit_page": texts(*PATTERNS, regex="pay"),
    "entry_url": texts("*utm=spring*", "https://*"),
    "country": texts("de", "DK", "us"),
    "region": texts("Hesse", "cal*", absent=True),
    "city": texts("Berlin", "Copen*", absent=True),
    "isp": texts("*telekom*", "TDC A/S"),
    "ip": texts("80.62.*", "79.*"),
    "lang": texts("de*", "en-US", regex="^d"),
    "browser": texts("chrome", "safari", "firefox"),
    "browser_version": either(texts("141.*", "144.0"), bounds("144.0", 100, "144.0.1", "141")),
    "os": texts("windows", "ios", "android"),
    "os_version": either(texts("10", "18.1"), bounds("18.1", 18, "9", "10.0")),
    "device": texts("desktop", "tablet", "phone"),
    "screen": texts("1920x1080", "393x852"),
    "user_agent": texts("*Chrome*", regex="safari/[0-9]+"),
    "referrer": texts("*google.*", "https://news.example/*", absent=True),
    "referrer_type": texts("searchengines", "links", "direct"),
    "visitor_id": texts(f"{1:032x}", f"{2:032x}"),
    "visitor_name": texts("Jane*", "john doe", "ärzte gmbh", absent=True),
    "visitor_type": texts("first", "returning", ops=False),
    "tags": several(*TAGS, regex="^click-(rage|error)$"),
    "variables": variables,
    "watched": flag,
    "starred": flag,
    "shared": flag,
    "weekday": texts("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
    "hour": bounds(0, 6, 9, 12, 17, 22),
    "created": moments,
    "search": texts("frankfurt", "Copenhagen", "hesse", "AppleWebKit/605", "nobody", ops=False),
}
HEAVY = ("friction", "duration", "pages", "saw_page", "page", "tags", "journey", "visitor_type")
"""Drawn more often than the others."""


def condition(chance: random.Random, known: list[str], depth: int = 0) -> dict[str, Any]:
    """A mapping of conditions; negations and choices nest."""
    found: dict[str, Any] = {}
    for _ in range(chance.choice([1, 1, 2])):
        shape = chance.random() + depth * 0.15
        if shape < 0.12:
            found["any"] = [condition(chance, known, depth + 1) for _ in range(2)]
        elif shape < 0.24:
            found["not"] = condition(chance, known, depth + 1)
        elif shape < 0.28:
            found["all"] = [condition(chance, known, depth + 1) for _ in range(2)]
        else:
            heavy = [name for name in HEAVY if name in known]
            name = chance.choice(heavy if chance.random() < 0.6 else known)
            found[name] = FIELDS[name](chance)
    return found


def rule(chance: random.Random, name: str, known: list[str], sites: list[str]) -> dict[str, Any]:
    """A rule that puts its own tag on what it matches."""
    made: dict[str, Any] = {"watch": "recordings"}
    if chance.random() < 0.2:
        made["websites"] = chance.choice([sites[:1], [sites[0][:3] + "*"], ["*" + sites[-1][-3:]]])
    made["when"] = condition(chance, known)
    if chance.random() < 0.3:
        made["except"] = condition(chance, known, 1)
    made["do"] = {"tag": f"bot-{name}"}
    return made | {key: one for key, one in ADORNMENTS.items() if chance.random() < 0.1}


EFFECTS: dict[str, Any] = {
    "star": True, "watched": True, "untag": "internal", "variables": {"seen-by": "bot"},
    "share": True, "delete": True,
}  # fmt: skip


def effects(chance: random.Random) -> dict[str, Any]:
    """What a rule does beside its tag; seldom something, and seldom it deletes."""
    if chance.random() < 0.4:
        return {}
    names = chance.sample(sorted(EFFECTS), chance.randint(1, 3))
    return {name: EFFECTS[name] for name in names if name != "delete" or chance.random() < 0.4}


def too_few(chance: random.Random, name: str) -> dict[str, Any]:
    """What makes a rule an alert while few sessions meet it."""
    made: dict[str, Any] = {
        "count": {"at_most": chance.choice([0, 0, 1]), "within": chance.choice(["15m", "30m"])},
        "resolved": True,
        "do": {"slack": {"channel": f"#{name}"}},
    }
    return made


GROUPS = (
    "website", "entry_page", "exit_page", "country", "region", "city", "isp", "ip", "browser", "os",
    "device", "referrer", "visitor", "visitor_name",
)  # fmt: skip
"""Names that `once_per` and `count` know."""


def grouped(chance: random.Random) -> dict[str, Any]:
    """A limit for each value of some field."""
    name = chance.choice(GROUPS)
    once = {"once_per": {name: chance.choice(["10m", "1d"])}}
    least = chance.choice([2, 3])
    by = "page" if name == "entry_page" else name
    many = {"count": {"at_least": least, "within": chance.choice(["10m", "30m"]), "by": by}}
    return chance.choice([once, many])


ADORNMENTS: dict[str, Any] = {
    "severity": "critical", "owner": "Ops", "runbook": "https://wiki.example/x", "disabled": True,
    "silence": ["waits"],
}  # fmt: skip


def shared(chance: random.Random, rules: dict[str, dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    """The same rules with some of their texts as lists under `vars`, and those lists."""
    found: dict[str, Any] = {}

    def each(value: Any) -> Any:
        if isinstance(value, list):
            return [each(one) for one in value]
        if not isinstance(value, dict):
            return value
        made = {}
        for key, one in value.items():
            texts = one if isinstance(one, list) else [one]
            plain = all(isinstance(text, str) for text in texts)
            if key in SHAREABLE and plain and chance.random() < 0.15:
                name = f"list_{len(found)}"
                found[name] = texts
                made[key] = {"var": name}
            else:
                made[key] = each(one)
        return made

    parts = ("when", "except", "websites")
    for rule in rules.values():
        both = each({key: rule[key] for key in parts if key in rule})
        rules = rules | {name: one | both for name, one in rules.items() if one is rule}
    return rules, found


SHAREABLE = ("websites", "not", "saw_page", "entry_page", "country", "ip", "tags", "device", "path")
"""Under these keys a list of texts may stand under `vars`."""


def as_yaml(chance: random.Random, rules: dict[str, dict[str, Any]], lists: dict[str, Any]) -> str:
    """The rules as YAML, some of their conditions under `x-conditions`."""
    blocks, lines = [], []
    for name, rule in rules.items():
        parts = []
        for key, value in rule.items():
            text = json.dumps(value)
            if key in ("when", "except", "do") and chance.random() < 0.1:
                blocks.append(f"  b{len(blocks)}: &b{len(blocks)} {text}")
                text = f"*b{len(blocks) - 1}"
            parts.append(f"    {key}: {text}")
        lines += [f"  {name}:", *parts]
    head = ["version: 1", f"vars: {json.dumps(lists)}"] if lists else ["version: 1"]
    head += ["x-conditions:", *blocks] if blocks else []
    return "\n".join([*head, "rules:", *lines, ""])


def as_toml(rules: dict[str, dict[str, Any]], lists: dict[str, Any]) -> str:
    """The same file as TOML."""
    lines = ["version = 1"]
    if lists:
        lines.append(f"vars = {_inline(lists)}")
    for name, body in rules.items():
        lines.append(f"[rules.{name}]")
        lines += [f"{key} = {_inline(value)}" for key, value in body.items()]
    return "\n".join(lines)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_inline(each)}' for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value + "'"
    return str(value)


WEBSITE: dict[str, Test] = {
    "anonymize_ips": flag,
    "disable_keystrokes": flag,
    "read_only": flag,
    "status": texts("recording", "stopped", "paused"),
    "recording_rate": bounds("25%", 50, "100%"),
    "excluded_ips": several("192.0.2.*", "198.51.100.1", "10.*", regex="^192"),
    "merge_urls": several("/search/*", "/product/*", "/x", regex="prod"),
    "domains": several("*.com", "evil.example", "checkout.*", regex="evil"),
    "website": texts("alpha*", "beta.com"),
    "is_demo": flag,
    "stopped_by": texts("person", "bot", ops=False),
    "weekday": texts("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
    "hour": bounds(3, 9, 12, 17, 22),
}
SURVEY: dict[str, Test] = {
    "enabled": flag,
    "campaign": texts("survey*", "Rating of pages"),
    "trigger": texts("delay", "scroll"),
    "responses": bounds(1, 4, 10),
    "impressions": bounds(4, 20, 50),
    "response_rate": bounds("10%", 25, "40%"),
    "locked": flag,
}


def alert(chance: random.Random, name: str, watch: str = "") -> dict[str, Any]:
    """A rule about settings of websites or about campaigns."""
    watch = watch or chance.choice(["websites", "websites", "feedback"])
    known = WEBSITE if watch == "websites" else SURVEY
    made: dict[str, Any] = {"summary": f"Rule {name} has fired", "watch": watch}
    names = chance.sample(sorted(known), chance.choice([1, 1, 2]))
    found = [{field: known[field](chance)} for field in names]
    made["when"] = chance.choice([{"any": found}, {"all": found}, found[0], {"not": found[0]}])
    if watch == "websites" and chance.random() < 0.2:
        made["when"] = {"recording_rate": {"under": 60}}
        made["until"] = {"recording_rate": {"min": chance.choice([60, 100])}}
    counts = watch == "feedback" and chance.random() < 0.25
    if counts:
        made["when"] = {"new_responses": {"min": chance.randint(1, 9)}}
    for key, values in KEYS.items():
        if chance.random() < 0.4 and not (counts and key in ("for", "remind")):
            made[key] = chance.choice(values)
    if not counts and chance.random() < 0.7:
        made["resolved"] = True
    made["do"] = {"slack": {"channel": f"#{name}"}}
    return made


KEYS: dict[str, list[Any]] = {
    "severity": ["info", "warning", "critical"],
    "for": ["8m", "13m", "28m"],
    "remind": ["33m", "1h7m"],
    "active": ["08:00-20:00", "20:00-08:00", "mon-fri 06:00-18:00", "sat,sun"],
    "owner": ["Ops"],
    "runbook": ["https://wiki.example/x"],
}
