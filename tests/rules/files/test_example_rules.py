"""The example rules: they load without a warning, pass their tests, and fit the schema."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bot.actions.share import Share
from bot.fields.catalogue import KINDS
from bot.rules.files.actions import Allowed
from bot.rules.files.load import FORMATS, read
from bot.rules.files.schema import json_schema
from bot.rules.syntax.nodes import decoded, plain
from bot.rules.tests import run

RULES = Path(__file__).parents[3] / "rules"
FILES = sorted(path for path in RULES.iterdir() if path.suffix in FORMATS)


@pytest.fixture(scope="module")
def examples():
    return read([(path.name, path.read_bytes()) for path in FILES], allowed=Allowed())


def test_the_examples_load_without_a_warning(examples):
    assert examples.warnings == ()
    assert {path.suffix for path in FILES} == {".yaml", ".toml"}


def test_the_examples_cover_what_the_bot_polls_at_once(examples):
    watched = {rule.watch for rule in examples.rules}
    assert watched <= set(KINDS)
    assert {"recordings", "feedback", "websites"} <= watched


def test_each_example_has_a_test_that_matches_and_one_that_does_not(examples):
    for rule in examples.rules:
        assert {test.match for test in rule.tests} == {True, False}, rule.id


def test_all_tests_of_the_examples_pass(examples):
    assert [str(result) for result in run(examples) if not result.passed] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_example_fits_the_schema(path):
    data = plain(FORMATS[path.suffix](decoded(path.read_bytes())))
    found = Draft202012Validator(json_schema()).iter_errors(data)
    assert [error.message for error in found] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_pack_says_what_it_catches_and_when_it_is_noise(path):
    catches, noise = path.read_text(encoding="utf-8").splitlines()[1:3]
    assert catches.startswith("# Catches: ")
    assert noise.startswith("# Noise: ")


def test_no_example_makes_a_recording_public(examples):
    assert not any(isinstance(action, Share) for rule in examples.rules for action in rule.do)


def test_the_schema_beside_the_examples_is_current():
    text = (RULES / "rules.schema.json").read_text(encoding="utf-8")
    assert json.loads(text) == json_schema(), (
        "write it anew: mouseflow-bot schema > rules/rules.schema.json"
    )
