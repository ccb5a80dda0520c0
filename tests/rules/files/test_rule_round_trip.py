"""Whatever the catalogue allows can be written, in both formats, and fits the schema."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from written_conditions import as_json, as_toml, conditions

from bot.fields.catalogue import KINDS
from bot.rules.files.load import read
from bot.rules.files.schema import json_schema

VALIDATOR = Draft202012Validator(json_schema())


def document(kind, when, excepts=None):
    rule = {"watch": kind, "when": when, "do": {"slack": {"channel": "#ux"}}}
    return {"version": 1, "rules": {"one": rule | ({"except": excepts} if excepts else {})}}


def rule(name, text):
    (found,) = read([(name, text.encode())]).rules
    return found


def in_toml(data):
    return "\n".join(f"{key} = {as_toml(value)}" for key, value in data.items())


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_yaml_and_toml_say_the_same_and_the_schema_agrees(kind, data):
    written = document(kind, data.draw(conditions(kind)), data.draw(conditions(kind)))
    yaml, toml = rule("a.yaml", as_json(written)), rule("a.toml", in_toml(written))
    assert (yaml.when, yaml.excepts, yaml.do) == (toml.when, toml.excepts, toml.do)
    assert [error.message for error in VALIDATOR.iter_errors(written)] == []


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_yaml_means_the_same_in_block_style(data):
    written = document("recordings", data.draw(conditions("recordings")))
    assert rule("a.yaml", block(written)).when == rule("a.yaml", as_json(written)).when


def block(value, depth=0):
    """The value in YAML's block style."""
    pad = "  " * depth
    if isinstance(value, dict):
        return "".join(
            f"{pad}{json.dumps(key)}:" + _below(item, depth) for key, item in value.items()
        )
    return "".join(f"{pad}-" + _below(item, depth) for item in value)


def _below(item, depth):
    if isinstance(item, dict | list):
        return "\n" + block(item, depth + 1)
    return f" {json.dumps(item)}\n"
