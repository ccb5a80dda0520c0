"""The JSON Schema: it is one, it takes what the reader takes, and refuses what it can refuse."""

import json
import math

import pytest
from broken_files import cases
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bot.actions import WRITTEN
from bot.errors import RuleErrors
from bot.fields.catalogue import KINDS, fields
from bot.rules.files.keys import BUDGET_KEYS, FILE_KEYS, RULE_KEYS, TEST_KEYS
from bot.rules.files.load import FORMATS, read
from bot.rules.files.schema import json_schema
from bot.rules.operators import operator_keys
from bot.rules.syntax.nodes import Unreadable, decoded, plain

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

UNKNOWABLE = {
    # A schema sees no bounds against each other, no times of day, no templates, no regular
    # expressions, no ids elsewhere, no key beside what a condition asks for, and not what the
    # configuration allows.
    "action-delete-not-allowed.yaml",
    "active-late-hour.yaml",
    "against-alone.yaml",
    "against-part-of-a-day.yaml",
    "budget-pace-bounds.yaml",
    "budget-step-twice.yaml",
    "change-of-nothing.yaml",
    "habit-budget-recordings-thousands.yaml",
    "habit-version-decimal.yaml",
    "not-while-unknown.yaml",
    "regex-broken.yaml",
    "regex-look-ahead.yaml",
    "state-for-news.yaml",
    "state-until-news.yaml",
    "state-until-own.yaml",
    "summary-empty.yaml",
    "test-action-unknown.yaml",
    "test-no-match-with-actions.yaml",
    "text-block.yaml",
    "text-unfinished.yaml",
    "text-unknown-name.yaml",
    "toml-multi-line-text.toml",
    "toml-not-a-number.toml",
    "toml-version-float.toml",
    "was-still-there.yaml",
}


def data_of(path):
    """The file as an editor sees it, None where it can't even be parsed."""
    try:
        return plain(FORMATS[path.suffix](decoded(path.read_bytes())))
    except Unreadable:
        return None


def test_it_is_a_json_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.name)
def test_it_refuses_each_bad_file_that_a_schema_can_refuse(path):
    data = data_of(path)
    if data is None or path.name in UNKNOWABLE:
        return
    try:
        read([(path.name, path.read_bytes())])
    except RuleErrors:
        assert not VALIDATOR.is_valid(data)
    else:
        assert VALIDATOR.is_valid(data), "a warning is no fault"


def test_the_list_of_what_it_cannot_know_is_no_longer_than_it_must_be():
    wrong = {
        path.name
        for path in cases()
        if path.name in UNKNOWABLE and not VALIDATOR.is_valid(data_of(path))
    }
    assert wrong == set()


def test_everything_in_it_is_described_and_has_examples():
    rule = SCHEMA["$defs"]["rule"]["properties"]
    assert list(rule) == [key.name for key in RULE_KEYS]
    assert list(SCHEMA["$defs"]["budget"]["properties"]) == [key.name for key in BUDGET_KEYS]
    assert list(SCHEMA["properties"]) == [key.name for key in FILE_KEYS]
    test = SCHEMA["$defs"]["tests-recordings"]["items"]["properties"]
    assert list(test) == [key.name for key in TEST_KEYS]
    for value in (*rule.values(), *test.values(), *SCHEMA["properties"].values()):
        assert value["description"]
        assert value["examples"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_offers_every_field_with_its_operators(kind):
    when = SCHEMA["$defs"][f"when-{kind}"]["properties"]
    for field in fields(kind):
        assert when[field.name]["description"].startswith(field.meaning)
        if field.type not in ("items", "variables") and field.name != "journey":
            name = when[field.name]["anyOf"][-1]["$ref"].removeprefix("#/$defs/")
            offered = SCHEMA["$defs"][name]["properties"]
            assert set(offered) == set(operator_keys(field))
    assert {"any", "all", "not"} <= set(when)


@pytest.mark.parametrize("kind", KINDS)
def test_it_offers_the_actions_that_fit(kind):
    offered = SCHEMA["$defs"][f"do-{kind}"]["properties"]
    assert set(offered) == {key for key, spec in WRITTEN.items() if kind in spec.subjects}


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_of_a_field_is_taken_by_schema_and_reader(kind):
    for field in fields(kind):
        examples = SCHEMA["$defs"][f"when-{kind}"]["properties"][field.name]["examples"]
        assert examples, field.name
        for example in examples:
            data = rule_with(kind, {field.name: example})
            assert VALIDATOR.is_valid(data), (field.name, example)
            assert read([("a.toml", as_toml(data).encode())]).rules


@pytest.mark.parametrize("key", WRITTEN)
def test_every_example_of_an_action_is_taken_by_the_schema(key):
    kind = WRITTEN[key].subjects[0]
    field = fields(kind)[0]
    for example in SCHEMA["$defs"][f"action-{key}"]["examples"]:
        data = rule_with(kind, {field.name: {"exists": True}}, {key: example})
        assert VALIDATOR.is_valid(data)


def agree(field, operator, value):
    """Whether schema and reader both take the bound; an assertion if they differ."""
    data = rule_with("recordings", {field: {operator: value}}, {"star": True})
    try:
        read([("a.yaml", json.dumps(data).encode())])
    except RuleErrors:
        taken = False
    else:
        taken = True
    assert VALIDATOR.is_valid(data) == taken, value
    return taken


DIGITS = st.integers(0, 99).flatmap(lambda n: st.sampled_from([f"{n:02}", str(n)]))
DAYS = st.dates().map(lambda day: day.isoformat()) | st.builds(
    "{}-{}-{}".format, st.sampled_from(["2024", "2026", "1900", "2000", "0000", "26"]),
    st.sampled_from(["2", "02", "04", "4", "12", "13", "00"]),
    st.sampled_from(["1", "01", "28", "29", "30", "31", "32", "00"]),
)  # fmt: skip
TIMES = st.just("") | st.builds(
    "{}{}:{}".format, st.sampled_from([" ", "T", "t", ""]), DIGITS, DIGITS
)
SECONDS = st.sampled_from(["", ":00", ":5", ":59", ":60", ":61", "Z", "+01:00", ".5"])
SPACES = st.sampled_from(["", " ", "\t", "\n", "\u00a0", "x"])


@given(st.builds("{}{}{}{}{}".format, SPACES, DAYS, TIMES, SECONDS, SPACES))
def test_schema_and_reader_agree_on_moments(written):
    agree("created", "after", written)


PARTS = st.lists(st.sampled_from(["0", "1", "17", "05", "123456789", "1234567890", "x", ""]))


@given(st.builds(str.join, st.sampled_from([".", "_", "..", "-"]), PARTS), SPACES)
def test_schema_and_reader_agree_on_versions(written, space):
    agree("browser_version", "min", f"{space}{written}")


@given(st.integers() | st.sampled_from([0, 17, 999_999_999, 10**9]) | st.booleans() | st.none())
def test_schema_and_reader_agree_on_whole_versions(written):
    agree("browser_version", "min", written)


def test_days_moments_and_versions_are_taken_by_both():
    for written in ("2026-05-01", "2026-05-01 9:30", "2026-05-01T09:30:05", "2024-02-29"):
        assert agree("created", "before", written)
    for written in ("2026-5-1", "2026-02-29", "2026-05-01 24:00", "2026-05-01 9:5", "1.5.2026"):
        assert not agree("created", "before", written)
    assert all(agree("os_version", "under", it) for it in ("17", "17.4.1", 17, 10.15, "0.9"))
    assert all(agree("os_version", "under", it) for it in ("22.04", 22.04, "10.0.04"))
    assert not any(agree("os_version", "under", it) for it in ("17.", "017", "v17", -1))


def rule_with(kind, when, do=None):
    rule = {"watch": kind, "when": when, "do": do or {"slack": {"channel": "#ux"}}}
    return {"version": 1, "rules": {"one": rule}}


def as_toml(data):
    return "\n".join(f"{key} = {inline(value)}" for key, value in data.items())


def inline(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {inline(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        raise AssertionError("no example is without end")
    return repr(value) if isinstance(value, int | float) else f"'{value}'"
