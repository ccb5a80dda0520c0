"""Decides slowly and plainly, from the docs alone, what a rule says about a recording.

Nothing here is shared with the bot: this is a second reading of `docs/reference/rules.md`, for
tests that compare. A recording is a `View`: field names to values, None where there is no value.
"""

import re
import tomllib
from collections.abc import Iterator
from datetime import datetime
from datetime import time as clock
from typing import Any
from zoneinfo import ZoneInfo

from ruamel.yaml import YAML

View = dict[str, Any]
Condition = dict[str, Any]

BOUNDS = {
    "min": lambda value, bound: value >= bound,
    "max": lambda value, bound: value <= bound,
    "over": lambda value, bound: value > bound,
    "under": lambda value, bound: value < bound,
}
NUMBERS = {
    "recording_rate",
    "responses",
    "impressions",
    "response_rate",
    "friction",
    "duration",
    "pages",
    "hour",
    "time",
    "engagement",
    "scroll",
}
VERSIONS = {"browser_version", "os_version"}
PATHS = {"saw_page", "journey", "entry_page", "exit_page", "path"}
MANY = {"saw_page", "tags", "domains", "excluded_ips", "merge_urls"}
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def rules_in(text: str, *, toml: bool = False) -> dict[str, dict[str, Any]]:
    """The rules of a file by their ids, without those that are disabled."""
    read = tomllib.loads(text) if toml else YAML(typ="safe", pure=True).load(text)
    rules = filled_in(read.get("rules", {}), read.get("vars", {}))
    return {name: rule for name, rule in rules.items() if not rule.get("disabled")}


def filled_in(value: Any, lists: dict[str, list[str]]) -> Any:
    """The same with each `{var: name}` replaced by the list of that name, or by its only text."""
    if isinstance(value, list):
        return [filled_in(each, lists) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"var"}:
        found = lists[value["var"]]
        return found if len(found) > 1 else found[0]
    return {key: filled_in(each, lists) for key, each in value.items()}


def watches(rule: dict[str, Any], name: str, key: str) -> bool:
    """Whether the rule watches the website of that name and id; `*` is the only wildcard."""
    wanted = rule.get("websites")
    return wanted is None or any(
        like(each, text) for each in listed(wanted) for text in (name, key)
    )


def matches(rule: dict[str, Any], view: View) -> bool:
    """Whether all of `when` hold and none of `except` does."""
    return not why_not(rule, view)


def why_not(rule: dict[str, Any], view: View) -> str:
    """The first reason why the rule does not match; empty if it does."""
    for key, test in rule["when"].items():
        if not entry(key, test, view):
            return f"when {key}: {test} does not hold for {shown(key, view)}"
    for key, test in rule.get("except", {}).items():
        if entry(key, test, view):
            return f"except {key}: {test} holds for {shown(key, view)}"
    return ""


def shown(key: str, view: View) -> str:
    """The value that a condition looked at."""
    return f"{view[key]!r}" if key in view else "the recording"


def mapping(condition: Condition, view: View) -> bool:
    """A mapping is *and*."""
    return all(entry(key, test, view) for key, test in condition.items())


def entry(key: str, test: Any, view: View) -> bool:
    """One entry of a mapping of conditions."""
    if key == "any":
        return any(mapping(each, view) for each in test)
    if key == "all":
        return all(mapping(each, view) for each in test)
    if key == "not":
        return not mapping(test, view)
    if key == "page":
        return any(mapping(test, page) for page in view["page"])
    if key == "journey":
        return travelled(listed(test), view["saw_page"])
    if key == "variables":
        return all(holds("variables", each, view[key].get(name)) for name, each in test.items())
    return holds(key, test, view[key])


def holds(field: str, test: Any, value: Any) -> bool:
    """Whether a field's value meets what stands behind the field."""
    if not isinstance(test, dict):
        return some(field, test, value)
    return all(operator(field, name, wanted, value) for name, wanted in test.items())


def operator(field: str, name: str, wanted: Any, value: Any) -> bool:
    """One operator; a value that is not there meets none but `exists: false`."""
    there = value not in (None, "", [])
    if name == "exists":
        return there == wanted
    if not there and field not in MANY:
        return False
    if name in ("after", "before"):
        moment = datetime.fromisoformat(str(wanted))
        return value >= moment if name == "after" else value < moment
    if name in BOUNDS and field in VERSIONS:
        bound = [int(part) for part in str(wanted).split(".")]
        parts = [int(part) for part in re.findall("[0-9]+", value)] + [0] * len(bound)
        return BOUNDS[name](parts[: len(bound)], bound)
    if name in BOUNDS:
        number = figure(value)
        return number is not None and BOUNDS[name](number, figure(wanted))
    if name == "not":
        return not some(field, wanted, value)
    if name == "other_than":
        return any(not some(field, wanted, one) for one in listed(value))
    if name == "all":
        return all(some(field, each, value) for each in wanted)
    if name == "matches":
        texts = [shape(field, each) for each in listed(value)]
        return any(re.search(wanted, text, re.IGNORECASE) for text in texts)
    raise AssertionError(f"no such operator: {name}")


def some(field: str, wanted: Any, value: Any) -> bool:
    """Whether the value, or one of several, is any of those wanted."""
    if value is None:
        return False
    return any(same(field, each, one) for each in listed(wanted) for one in listed(value))


def same(field: str, wanted: Any, value: Any) -> bool:
    """Whether one value is what is wanted."""
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    if field in NUMBERS:
        return figure(wanted) == figure(value)
    if field == "search":
        return str(wanted).casefold() in str(value).casefold()
    return bool(value) and like(shape(field, wanted), shape(field, value))


def travelled(wanted: list[str], paths: list[str]) -> bool:
    """Whether the paths were seen in this order, others between them."""
    rest = iter(paths)
    return all(any(same("journey", each, path) for path in rest) for each in wanted)


def like(pattern: str, text: str) -> bool:
    """Equal without regard to case; `*` stands for any run of characters."""
    parts = (re.escape(part) for part in str(pattern).casefold().split("*"))
    return re.fullmatch(".*".join(parts), str(text).casefold(), re.DOTALL) is not None


def shape(field: str, text: Any) -> str:
    """The text as it is compared: paths without query, fragment and final slash."""
    if field not in PATHS:
        return str(text)
    return re.split("[?#]", str(text))[0].rstrip("/") or "/"


def figure(value: Any) -> float | None:
    """A number, a share, or a duration in seconds; None where it is none of these."""
    if isinstance(value, int | float):
        return value
    text = str(value).removesuffix("%")
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"([0-9.]+(ms|[smhdw]))+", text):
        return sum(float(n) * UNITS[u] for n, u in re.findall(r"([0-9.]+)(ms|[smhdw])", text))
    return None


def in_hours(zone: str, hours: str, at: float) -> bool:
    """Whether the moment lies in these hours: days, times of the day, or both."""
    local = datetime.fromtimestamp(at, ZoneInfo(zone))
    *days, times = hours.split(" ") if ":" in hours else [hours, "00:00-00:00"]
    start, end = (clock.fromisoformat(each) for each in times.split("-"))
    inside = start <= local.time() < end if start < end else not end <= local.time() < start
    names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    found = names if not days else list[str]()
    for part in days[0].split(",") if days else ():
        first, _, last = part.partition("-")
        found = [*found, *names[names.index(first) : names.index(last or first) + 1]]
    return inside and names[local.weekday()] in found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# When a rule may decide: "a condition that stays true once it is true fires as soon as it is
# true; any other waits until the session is over".

CHANGED_BY_PEOPLE = {"watched", "starred", "shared", "visitor_name"}
GROWING = {"exit_page"}
"""What a session may still change, so that a rule that groups by it waits."""
LATE, EITHER, EARLY = "waits", "either", "early"


def phase(rule: dict[str, Any]) -> str:
    """Whether the rule must wait for the session's end, must not, or the docs leave it open."""
    if GROWING & {*rule.get("once_per", {}), rule.get("count", {}).get("by")}:
        return LATE
    found = {each for key, test in rule["when"].items() for each in phases(key, test)}
    found |= {
        each for key, test in rule.get("except", {}).items() for each in phases(key, test, no=True)
    }
    return next((it for it in (LATE, EITHER) if it in found), EARLY)


def phases(key: str, test: Any, *, no: bool = False) -> Iterator[str]:
    """The phases of all tests within; `no` where the entry stands under a negation."""
    if key in ("any", "all"):
        for each in test:
            for inner, wanted in each.items():
                yield from phases(inner, wanted, no=no)
    elif key == "not":
        for inner, wanted in test.items():
            yield from phases(inner, wanted, no=not no)
    elif key == "page":
        # There is such a page: that stays, if what makes it such a page stays.
        for inner, wanted in test.items():
            yield from (phases(inner, wanted) if inner not in ("path", "title") else (EARLY,))
        yield LATE if no else EARLY
    elif key in ("exit_page", "variables", "search"):
        yield LATE
    elif key in CHANGED_BY_PEOPLE:
        yield EITHER
    elif key == "tags":
        yield EITHER if grows(test) != no else LATE
    elif key in MANY | {"journey"} or (key in NUMBERS and key != "hour"):
        yield EARLY if grows(test, number=key in NUMBERS) and not no else shrinks(test, no)
    else:
        yield EARLY


def grows(test: Any, *, number: bool = False) -> bool:
    """Whether the test stays true when there is more of what it looks at."""
    if not isinstance(test, dict):
        return not number
    return all(
        name in ("min", "over", "all", "other_than", "matches") or (name == "exists" and wanted)
        for name, wanted in test.items()
    )


def shrinks(test: Any, no: bool) -> str:
    """A test that ends by growth, under a negation, stays; any other waits."""
    if not no or not isinstance(test, dict):
        return LATE
    ends = all(
        name in ("max", "under", "not") or (name == "exists" and not wanted)
        for name, wanted in test.items()
    )
    return EARLY if ends else LATE


def fields(condition: Any) -> set[str]:
    """All fields that a condition names, parts of pages as `page.tags`."""
    found: set[str] = set()
    for key, test in condition.items():
        if key in ("any", "all"):
            found |= {name for each in test for name in fields(each)}
        elif key == "not":
            found |= fields(test)
        elif key == "page":
            found |= {key} | {f"page.{name}" for name in test}
        else:
            found.add(key)
    return found


def reads(rule: dict[str, Any]) -> set[str]:
    """All fields that a rule reads."""
    return fields(rule["when"]) | fields(rule.get("except", {}))


def named_tags(rule: dict[str, Any]) -> set[str]:
    """The tags that a rule names in full."""
    return set(_tags(rule["when"])) | set(_tags(rule.get("except", {})))


def _tags(condition: Condition) -> Iterator[str]:
    for key, test in condition.items():
        if key in ("any", "all"):
            for each in test:
                yield from _tags(each)
        elif key in ("not", "page"):
            yield from _tags(test)
        elif key == "tags":
            wanted = test.values() if isinstance(test, dict) else [test]
            for each in wanted:
                yield from (text for text in listed(each) if isinstance(text, str))
