"""Whatever a rule file holds, reading it ends in rules or in errors with a place."""

import pytest

from bot.errors import RuleErrors
from bot.rules import tests
from bot.rules.files.load import read

RULE = """version: 1
rules:
  first:
    watch: recordings
    when: {country: dk}
    do: {star: true}
  second:
    watch: recordings
    when: {country: se}
    do: {star: true}
    tests: [{name: sweden, given: {country: se}, expect: match}]
"""


def refusals(text, name="a.yaml"):
    with pytest.raises(RuleErrors) as caught:
        read([(name, text if isinstance(text, bytes) else text.encode())])
    return str(caught.value).splitlines()


@pytest.mark.parametrize("version", ["1.0", "1.3", "1.12", "2.0"])
def test_a_version_of_yaml_that_nobody_reads_is_refused_at_its_line(version):
    assert refusals(f"%YAML {version}\n---\n{RULE}") == [
        "a.yaml:1:1: write %YAML 1.2, or leave this line out; "
        "the lines before the rules were not checked"
    ]


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_the_versions_of_yaml_that_people_write_are_read(version):
    assert len(read([("a.yaml", f"%YAML {version}\n---\n{RULE}".encode())]).rules) == 2


def surprise(*_args, **_options):
    raise LookupError("nobody thought of this")


@pytest.mark.parametrize(
    ("broken", "where", "what"),
    [
        ("yaml._Tree._start", "a.yaml:1:9: ", "this YAML can't be read"),
        ("decoded", "a.yaml:1:1: ", "this file could not be read"),
        ("rule", "a.yaml:3:3: rules.first: ", "this rule could not be read"),
        ("lint", "a.yaml:3:3: rules.first: ", "this rule could not be read"),
        ("lint_same", "a.yaml:3:3: rules.first: ", "the rules could not be read"),
    ],
)
def test_a_bug_in_a_reader_or_a_lint_is_an_error_with_a_place(monkeypatch, broken, where, what):
    monkeypatch.setattr(f"bot.rules.files.load.{broken}", surprise)
    (said, *_) = refusals(RULE)
    assert said.startswith(f"{where}{what}: internal error: LookupError at test_rule_loading.py:")
    assert "nobody" not in said


@pytest.mark.parametrize("error", [MemoryError, RecursionError, AssertionError, OSError])
def test_every_file_is_read_whatever_another_file_raises(monkeypatch, error):
    def fails(_entry, here, _allowed):
        if here.file == "a.yaml":
            raise error
        here.fault("seen")

    monkeypatch.setattr("bot.rules.files.load.rule", fails)
    with pytest.raises(RuleErrors) as caught:
        read([("a.yaml", RULE.encode()), ("b.yaml", RULE.encode())])
    told = [fault.message for fault in caught.value.faults if fault.file == "b.yaml"]
    assert told.count("seen") == 2


def test_a_bug_in_a_rule_test_fails_that_test(monkeypatch):
    monkeypatch.setattr("bot.rules.tests.rule_answer", surprise)
    (result,) = tests.run(read([("a.yaml", RULE.encode())]))
    assert str(result).startswith(
        "a.yaml:11:13: second: sweden: can't run: internal error: LookupError at "
    )
