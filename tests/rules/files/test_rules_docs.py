"""docs/reference/rules.md has every field, operator, action, key and warning; examples work."""

import re
import textwrap

import pytest
from rules_docs import BLOCK, RULES, filled, pages, tables

from bot.actions import WRITTEN
from bot.fields.catalogue import KINDS, fields
from bot.fields.field import NUMERIC
from bot.rules.files.keys import BUDGET_KEYS, FILE_KEYS, RULE_KEYS, TEST_KEYS
from bot.rules.files.lints import LINTS
from bot.rules.files.load import read
from bot.rules.operators import operator_keys
from bot.rules.tests import run

TEXT = RULES.read_text(encoding="utf-8")
PAGES = pages().items()


def examples():
    """The blocks in YAML and TOML."""
    return re.findall(r"^```(?:yaml|toml)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("page", "made"), PAGES)
def test_the_tables_are_those_of_the_code(page, made):
    text = page.read_text(encoding="utf-8")
    assert filled(text, made) == text


@pytest.mark.parametrize(("page", "made"), PAGES)
def test_every_table_stands_once(page, made):
    assert sorted(BLOCK.findall(page.read_text(encoding="utf-8"))) == sorted(made)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_and_part_is_explained(kind):
    section = tables()[f"fields-{kind}"]
    for field in fields(kind):
        assert field.meaning in section
        assert f"| `{field.name}` |" in TEXT
        for part in field.parts:
            assert f"| `{field.name}: {part.name}` |" in TEXT


def test_every_operator_of_every_field_is_explained():
    known = {name for kind in KINDS for field in fields(kind) for name in operator_keys(field)}
    assert {name for name in known if f"| `{name}` |" not in TEXT} == set()
    assert any(field.type in NUMERIC for field in fields("recordings"))


def test_every_action_key_and_warning_is_explained():
    keys = [key.name for key in (*FILE_KEYS, *RULE_KEYS, *BUDGET_KEYS, *TEST_KEYS)]
    for name in (*keys, *WRITTEN, *LINTS):
        assert f"| `{name}`" in TEXT


def test_the_whole_examples_load_and_pass_their_tests():
    whole = [text for text in examples() if re.search(r"^version\b", text, re.MULTILINE)]
    assert len(whole) == 2
    for text in whole:
        name = "a.yaml" if "version: 1" in text else "a.toml"
        ruleset = read([(name, text.encode())])
        assert ruleset.warnings == ()
        assert [result.passed for result in run(ruleset)] == [True]


def test_the_two_examples_say_the_same():
    loaded = []
    for text in examples():
        if re.search(r"^version\b", text, re.MULTILINE):
            name = "a.yaml" if "version: 1" in text else "a.toml"
            (rule,) = read([(name, text.encode())]).rules
            loaded.append((rule.id, rule.watch, rule.summary, rule.when, rule.excepts, rule.do))
    assert loaded[0] == loaded[1]


def test_the_budget_example_loads():
    (text,) = [text for text in examples() if text.startswith("budgets:")]
    (budget,) = read([("a.yaml", f"version: 1\n{text}".encode())]).budgets
    assert [step.at for step in budget.steps] == [80, 95, 100]


def test_the_condition_example_loads():
    (text,) = [text for text in examples() if text.startswith("when:")]
    head = "version: 1\nrules:\n  one:\n    watch: recordings\n    do: {star: true}\n"
    assert read([("a.yaml", (head + textwrap.indent(text, "    ")).encode())]).rules
