"""A file with an error in its syntax is read on around it, and it is said what was not checked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import RuleErrors
from bot.rules.files.load import read

YAML = """\
version: 1
rules:
  one:
    watch: recordings
    when: {frction: 1}
    do: {star: true}
  two:
    watch: recordings
BROKEN
    do: {star: true}
  three:
    watch: recordings
    when: {contry: de}
    do: {star: true}
"""
TOML = """\
version = 1
[rules.one]
watch = "recordings"
when = { frction = 1 }
do = { star = true }
[rules.two]
watch = "recordings"
BROKEN
[rules.two.do]
star = "yes"
[rules.three]
watch = "recordings"
when = { contry = "de" }
do = { star = true }
"""


def faults(text, name):
    with pytest.raises(RuleErrors) as caught:
        read([(name, text.encode())])
    return [(fault.line, fault.path, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("    when: {country: [de, at}", "this [ is not closed"),
        ("    when: {country: de", "this { is not closed"),
        ('    when: {country: "de}', "this quote is not closed"),
        ('    summary: "a', "this quote is not closed"),
        ("    summary: a: b", 'text with ": " in it needs quotes'),
        ("    when: {saw_page: *x}", "unknown alias *x; put text that starts with * in quotes"),
        ("    when: {city: @x}", "text cannot start with @; put it in quotes"),
        ("    <<: *x", "merge keys (<<) are not supported; repeat the keys"),
        ("\twhen: {country: de}", "indent with spaces, not tabs"),
    ],
)
def test_the_other_rules_of_a_broken_yaml_file_are_checked(broken, said):
    assert faults(YAML.replace("BROKEN", broken), "a.yaml") == [
        (5, "rules.one.when.frction", "unknown field; did you mean friction?"),
        (9, "rules.two", f"{said}; the rest of this rule was not checked"),
        (13, "rules.three.when.contry", "unknown field; did you mean country?"),
    ]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("when = { country = de }", 'text needs quotes: country = "…"'),
        ('when = { country = "de }', 'the " opened here is not closed'),
        ("when = { country = ['de' }", "a comma is missing here"),
        ("when = { country = [", "the [ opened here is not closed"),
        ("when: x", "TOML uses = instead of a colon: when = …"),
        ("watch = 'x'", "watch is already defined on line 7"),
    ],
)
def test_the_other_rules_of_a_broken_toml_file_are_checked(broken, said):
    assert faults(TOML.replace("BROKEN", broken), "a.toml") == [
        (4, "rules.one.when.frction", "unknown field; did you mean friction?"),
        (8, "rules.two", f"{said}; the rest of this rule was not checked"),
        (13, "rules.three.when.contry", "unknown field; did you mean country?"),
    ]


def test_several_broken_rules_of_a_file_are_each_told():
    text = YAML.replace("BROKEN", "    when: [").replace("{frction: 1}", "{frction: 1")
    assert [(line, path) for line, path, _ in faults(text, "a.yaml")] == [
        (5, "rules.one"),
        (9, "rules.two"),
        (13, "rules.three.when.contry"),
    ]
    text = TOML.replace("BROKEN", "when = [").replace("frction = 1", "frction = x")
    assert [(line, path) for line, path, _ in faults(text, "a.toml")] == [
        (4, "rules.one"),
        (8, "rules.two"),
        (13, "rules.three.when.contry"),
    ]


def test_a_key_that_stands_twice_hides_nothing():
    text = YAML.replace("BROKEN", "    when: {tags: a}\n    watch: x\n    unles: {tags: b}")
    assert [(line, path) for line, path, _ in faults(text, "a.yaml")] == [
        (5, "rules.one.when.frction"),
        (10, ""),
        (11, "rules.two.unles"),
        (15, "rules.three.when.contry"),
    ]


def test_a_rule_that_repeats_what_cannot_be_read_is_not_blamed():
    text = YAML.replace("BROKEN", "    when: &w {tags: [a}").replace("{contry: de}", "*w")
    assert faults(text, "a.yaml")[2] == (
        13,
        "rules.three",
        "&w is in a part that cannot be read; the rest of this rule was not checked",
    )


def test_what_stands_before_the_rules_may_be_broken_too():
    text = YAML.replace("BROKEN", "    when: {tags: a}").replace("version: 1", "version 1")
    head = "add a colon after the key; the lines before the rules were not checked"
    assert faults(text, "a.yaml")[0] == (1, "", head)
    assert len(faults(text, "a.yaml")) == 3
    text = TOML.replace("BROKEN", "when.tags = 'a'").replace("version = 1", "version: 1")
    head = (
        "TOML uses = instead of a colon: version = …; the lines before the rules were not checked"
    )
    assert faults(text, "a.toml")[0] == (1, "", head)
    assert [path for _, path, _ in faults(text, "a.toml")] == [
        "",
        "rules.one.when.frction",
        "rules.two.do.star",
        "rules.three.when.contry",
    ]


def test_a_budget_may_be_broken():
    text = "version: 1\nbudgets:\n  b:\n    websites: [a\n    period: month\nrules:\n  one: 3\n"
    assert [(line, path) for line, path, _ in faults(text, "a.yaml")] == [
        (4, "budgets.b"),
        (7, "rules.one"),
    ]
    text = "version = 1\n[budgets.b]\nwebsites = a\nperiod = 'month'\n[rules]\none = 3\n"
    found = faults(text, "a.toml")
    assert [(line, path) for line, path, _ in found] == [(3, "budgets.b"), (6, "rules.one")]
    assert found[0][2].endswith("; the rest of this budget was not checked")


def test_where_no_rule_can_be_left_out_it_is_said_that_the_rest_was_not_checked():
    text = YAML.replace("BROKEN", "    when: {tags: a}").replace("  three:", " three:")
    assert faults(text, "a.yaml") == [
        (5, "rules.one.when.frction", "unknown field; did you mean friction?"),
        (
            11,
            "",
            "indent this line with 2 spaces, as line 7; the rest of this file was not checked",
        ),
    ]
    text = "rules.one = { watch = x }\nrules.two = { watch = 3 }\n"
    assert faults(text, "a.toml") == [
        (1, "", 'text needs quotes: watch = "…"; the rest of this file was not checked')
    ]


def test_a_broken_file_hides_no_fault_of_another_one():
    with pytest.raises(RuleErrors) as caught:
        read([("a.yaml", b"a: ["), ("b.toml", b"version = 1\n[rules.one]\nx = 1\n")])
    assert {fault.file for fault in caught.value.faults} == {"a.yaml", "b.toml"}
    assert len(caught.value.faults) == 5


def test_a_file_that_is_broken_all_over_is_given_up_soon():
    text = "version: 1\nrules:\n" + "".join(f"  r{n}:\n    when: [\n" for n in range(3000))
    found = faults(text, "a.yaml")
    assert len(found) <= 11
    assert found[-1][2].endswith("; the rest of this file was not checked")


MARKS = st.sampled_from([*":,{}[]#'\"?&*!|>a \t=.%@`\\-", "{{", '"""', "a: ", "- ", "&a ", "*a"])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 24), MARKS), min_size=1, max_size=4),
    st.sampled_from([("a.yaml", YAML, "    when: {tags: [a, b]}"), ("a.toml", TOML, "when.a = 1")]),
)
def test_whatever_is_wrong_in_one_rule_the_others_are_checked_or_it_is_said(changes, file):
    name, text, line = file
    indent = len(line) - len(line.lstrip())
    for at, mark in changes:
        cut = max(indent, min(at, len(line)))
        line = line[:cut] + mark + line[cut:]
    found = faults(text.replace("BROKEN", line), name)
    paths = {path for _, path, _ in found}
    others = {"rules.one.when.frction", "rules.three.when.contry"}
    assert others <= paths or "the rest of this file was not checked" in found[-1][2]
