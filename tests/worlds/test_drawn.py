"""What random worlds draw is what the docs have: each documented name is drawn, or excused here.

A name that the docs gain fails here by its name until some world draws it and its judge knows it.
"""

import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from alert_worlds import AlertWorld
from budget_worlds import BudgetWorld
from figure_worlds import FigureWorld
from traffic_worlds import TrafficWorld
from world_dice import grouped
from worlds import World, drawn

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "rules.md"
SEEDS = range(120)
"""So many worlds of each kind must be enough for each name."""

EXCUSED = {
    "key accounts": "a world has one account: tests/end_to_end/test_accounts_process.py",
    "key tests": "they try a condition alone: tests/rules/test_rule_tests.py",
    "budget summary": "a text",
    "budget accounts": "a world has one account: tests/end_to_end/test_accounts_process.py",
    "budget pace": "how well it steers is measured: tests/budgets/test_budget_pace.py",
    "action recording_rate": "budgets set rates; rules do in tests/reports/test_own_switches.py",
    "action enabled": "as `recording_rate`",
    "action notify": "as `slack`, to other places: tests/delivery",
    "action webhook": "as `slack`, to other places: tests/delivery",
}
"""What no world draws, and why."""


@cache
def worlds() -> list[Any]:
    """Many worlds of each kind, before anything has happened in them; some rules are renamed."""
    nowhere = Path("/nowhere")
    made = [
        world
        for seed in SEEDS
        for world in (
            World(seed, drawn(seed), nowhere), AlertWorld(seed, nowhere),
            FigureWorld(seed, nowhere), BudgetWorld(seed, nowhere), TrafficWorld(seed, nowhere),
        )
    ]  # fmt: skip
    for world in made[:5]:
        world.rename("r0")
    return made


def rules() -> list[dict[str, Any]]:
    """The rules with which these worlds begin."""
    return [rule for world in worlds() for rule in world.rules.values()]


def table(name: str) -> list[list[str]]:
    """The rows of a generated table of the docs, as their cells."""
    text = DOCS.read_text().partition(f"<!-- table: {name} -->")[2].partition("<!-- end")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert rows, f"no table {name} in the docs"
    return rows


def first(name: str) -> list[str]:
    """The names in the first column, without marks."""
    return [re.sub(r"\(needed\)|`", "", row[0]).strip() for row in table(name)]


def named_in(condition: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each field of a condition with what stands behind it; parts of items as `page: path`."""
    for key, test in condition.items():
        if key in ("any", "all") and isinstance(test, list):
            for each in test:
                yield from named_in(each)
        elif key == "not":
            yield from named_in(test)
        elif key in ("page", "step", "field"):
            yield key, None
            yield from ((f"{key}: {part}", one) for part, one in named_in(test))
        elif key == "variables":
            yield key, None
            yield from ((f"{key}.", each) for each in test.values())
        else:
            yield key, test


def conditions(rule: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("when", "except", "until"):
        yield from named_in(rule.get(key, {}))


def missing(kind: str, documented: list[str], found: set[str]) -> list[str]:
    """What the docs have and no world draws, without what is excused."""
    excused = {key.removeprefix(f"{kind} ") for key in EXCUSED if key.startswith(f"{kind} ")}
    assert not excused & found, "excused, and drawn all the same"
    assert excused <= {*documented}, "excused, and not documented"
    return [name for name in documented if name not in found | excused]


WATCHED = ("recordings", "feedback", "funnels", "forms", "pages", "websites")


@pytest.mark.parametrize("watch", WATCHED)
def test_each_field_is_drawn(watch):
    found = {
        name for rule in rules() if rule["watch"] == watch for name, _ in conditions(rule)
    }  # fmt: skip
    assert missing(watch, first(f"fields-{watch}"), found) == []


def test_each_operator_is_drawn():
    tests = [test for rule in rules() for _, test in conditions(rule)]
    found = {name for test in tests if isinstance(test, dict) for name in test}
    assert missing("operator", first("operators"), found) == []


def test_each_key_of_a_rule_is_drawn():
    found = {key for rule in rules() for key in rule}
    assert missing("key", first("rule-keys"), found) == []


def test_each_filter_of_visitors_is_drawn():
    (row,) = [each for each in table("rule-keys") if each[0] == "`visitors`"]
    documented = re.findall(r"[a-z_]+", row[1].partition("filters ")[2].partition(";")[0])
    found = {name for rule in rules() for name in rule.get("visitors", {})}
    assert missing("visitors", documented, found) == []


def test_each_value_of_once_per_and_count_is_drawn():
    (row,) = [each for each in table("rule-keys") if each[0] == "`once_per`"]
    documented = re.findall(r"[a-z_]+", row[1].partition("one of ")[2])
    limits = [grouped(random.Random(seed)) for seed in range(300)]
    found = {name for each in limits for name in each.get("once_per", {})}
    assert missing("once_per", documented, found) == []
    counted = {each["count"]["by"] for each in limits if "count" in each}
    documented[documented.index("entry_page")] = "page"  # as `count` calls it
    assert missing("count by", documented, counted) == []


def test_each_action_is_drawn():
    found = {name for rule in rules() for name in rule["do"]}
    assert missing("action", first("actions"), found) == []


def test_each_key_of_a_budget_is_drawn():
    drawn_ones = [each.budget for each in worlds() if isinstance(each, BudgetWorld)]
    found = {key for budget in drawn_ones for key in budget or {}}
    assert missing("budget", first("budget-keys"), found | {"was"}) == []
    periods = {budget["period"] for budget in drawn_ones if budget}
    assert missing("period", ["day", "week", "month"], periods) == []
