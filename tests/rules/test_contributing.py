"""The operator and the field of CONTRIBUTING.md work as the page shows them."""

import re
import textwrap
from pathlib import Path

import pytest

from bot.errors import RuleErrors
from bot.fields import catalogue, recordings
from bot.rules import operators
from bot.rules.files.load import read
from bot.rules.operators import texts
from bot.rules.tests import run

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
RULE = """
version: 1
rules:
  one:
    watch: recordings
    when: {when}
    do: {{star: true}}
    tests:
      - given: {given}
        expect: {expect}
"""


def blocks(title):
    """The Python code in the section of that title."""
    section = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [textwrap.dedent(it) for it in re.findall(r"```python\n(.*?)```", section, re.DOTALL)]


def rules(when, given, expect="match"):
    return read([("a.yaml", RULE.format(when=when, given=given, expect=expect).encode())])


def passes(when, given, expect="match"):
    found = rules(when, given, expect)
    assert found.warnings == ()
    (result,) = run(found)
    return result.passed


@pytest.fixture
def starts_with(monkeypatch):
    names = {**vars(texts)}
    (code,) = blocks("Add an operator")
    exec(code, names)
    others = [it for it in operators.OPERATORS if "starts_with" not in it.keys]
    registry = operators.registry(*others, names["StartsWith"])
    monkeypatch.setattr(operators, "OPERATORS", registry)


@pytest.fixture
def timezone(monkeypatch):
    names = {**vars(recordings)}
    functions, declaration = blocks("Add a field")
    exec(functions, names)
    (field,) = eval(f"({declaration})", names)
    monkeypatch.setitem(catalogue._IN_CONDITIONS["recordings"], field.name, field)
    return field


@pytest.mark.usefixtures("starts_with")
@pytest.mark.parametrize(
    ("field", "prefix", "met", "unmet"),
    [
        ("saw_page", "/check", "/checkout/pay", "/cart"),
        ("saw_page", "[/x, /check]", "/Checkout", "/a/check"),
        ("tags", "click", "[a, click-rage]", "[a]"),
        ("weekday", "s", "sat", "mon"),
        ("country", "d", "de", "at"),
    ],
)
def test_the_operator_takes_parts_of_values(field, prefix, met, unmet):
    when = f"{{{field}: {{starts_with: {prefix}}}}}"
    assert passes(when, f"{{{field}: {met}}}")
    assert passes(when, f"{{{field}: {unmet}}}", "no match")


@pytest.mark.usefixtures("starts_with")
def test_the_operator_warns_of_a_wildcard_that_it_does_not_know():
    (warning,) = rules('{city: {starts_with: "b*"}}', "{city: bonn}", "no match").warnings
    assert "* is compared as a text here, not as a wildcard" in str(warning)


@pytest.mark.usefixtures("timezone")
def test_the_field_is_read_and_given_beside_others():
    given = '{timezone: "+02:00", weekday: sun, hour: 9}'
    assert passes('{timezone: "+02:00", weekday: sun, hour: 9}', given)
    assert passes('{timezone: "+01:00"}', '{timezone: "+02:00"}', "no match")


def test_the_field_is_unknown_without_an_offset(timezone):
    subject = catalogue.sample("recordings")
    created = subject.recording.created.replace(tzinfo=None)
    assert timezone.get(recordings._changed(subject, created=created)) is None


@pytest.mark.usefixtures("timezone")
def test_a_value_that_the_field_can_not_have_is_an_error_at_its_place():
    with pytest.raises(RuleErrors) as caught:
        rules('{timezone: "+02:00"}', "{timezone: Berlin}")
    assert [str(fault) for fault in caught.value.faults] == [
        "a.yaml:9:27: rules.one.tests.0.given.timezone: "
        "timezone can't have this value; write a value such as +02:00"
    ]
