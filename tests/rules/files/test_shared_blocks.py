"""What rules share: blocks for aliases, lists under `vars`, owners, and rules that are disabled."""

import pytest
from jsonschema import Draft202012Validator

from bot.domain.subjects import RecordingSubject, Site
from bot.errors import RuleErrors
from bot.rules import tests
from bot.rules.evaluate import answer
from bot.rules.files.load import read
from bot.rules.files.schema import json_schema
from bot.rules.syntax.nodes import plain
from bot.rules.syntax.yaml import parse
from mouseflow.models import Recording

SHARING = """\
version: 1
x-posts:
  ux: &ux {channel: "#ux", at_most: 5 per day}
vars:
  internal_ips: [192.0.2.*, 198.51.100.7]
rules:
  one:
    watch: recordings
    when: {pages: {min: 2}}
    except:
      ip: {var: internal_ips}
    do: {slack: *ux}
"""
TOML = """\
version = 1
[rules.two]
watch = "recordings"
when.ip = { not = { var = "internal_ips" } }
when.variables = { var = "pro" }
do.star = true
"""


def loaded(*files):
    return read([(f"{n}{suffix}", text.encode()) for n, (suffix, text) in enumerate(files)])


def faults(*files):
    with pytest.raises(RuleErrors) as found:
        loaded(*files)
    return [str(fault) for fault in found.value.faults]


def matches(rule, ip):
    row = Recording(id="r1", ip=ip, pages=3)
    return answer(rule.condition, RecordingSubject(website=Site("w1", "myshop.com"), recording=row))


def test_a_list_under_vars_stands_for_itself_wherever_it_is_named():
    one, two = loaded((".yaml", SHARING), (".toml", TOML)).rules
    assert matches(one, "192.0.2.40") is False
    assert matches(one, "203.0.113.9") is True
    assert one.do[0].channel == "#ux"
    assert "internal_ips" not in repr(two.when)
    assert "192.0.2" in repr(two.when)


def test_lists_may_stand_in_a_file_of_their_own():
    shared = SHARING.replace("vars:\n  internal_ips: [192.0.2.*, 198.51.100.7]\n", "")
    lists = "version: 1\nvars:\n  internal_ips: 192.0.2.*\n"
    assert loaded((".yaml", shared), (".yaml", lists)).rules[0].excepts is not None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{var: internal_ips}", "{var: intern_ips}",
         "0.yaml:11:17: rules.one.except.ip.var: unknown name under vars; did you mean "
         "internal_ips?"),
        ("vars:\n", "x-vars:\n",
         "0.yaml:11:17: rules.one.except.ip.var: unknown name under vars"),
        ("internal_ips: [192.0.2.*, 198.51.100.7]", "internal_ips: []",
         "0.yaml:5:17: vars.internal_ips: internal_ips has an empty list; write at least one "
         "value"),
        ("vars:\n", "vars: many\nx-no:\n",
         "0.yaml:4:7: vars: write each list under its name: {internal_ips: [192.0.2.7]}"),
        ("ip: {var: internal_ips}", "device: {var: internal_ips}",
         "0.yaml:11:21: rules.one.except.device.1: device is one of desktop, tablet or phone"),
    ],
)  # fmt: skip
def test_an_error_in_a_list_or_its_use_has_its_place(old, new, said):
    text = SHARING.replace(old, new)
    assert any(each.endswith(said) for each in faults((".yaml", text)))


def test_two_lists_of_one_name_are_an_error():
    other = "version: 1\nvars:\n  internal_ips: 192.0.2.*\n"
    assert faults((".yaml", SHARING), (".yaml", other)) == [
        "1.yaml:3:3: vars.internal_ips: duplicate name; it is already at 0.yaml:5"
    ]


def test_toml_says_that_it_has_no_aliases():
    assert faults((".toml", f"{TOML}[x-posts]\nux = 1\n"), (".yaml", SHARING)) == [
        "0.toml:7:2: x-posts: TOML has no aliases that could use this block; write a list under "
        "vars, or use YAML"
    ]


def test_the_schema_knows_all_of_it():
    schema = Draft202012Validator(json_schema())
    assert schema.is_valid(plain(parse(SHARING)))
    assert not schema.is_valid(plain(parse(SHARING.replace("{var:", "{vra:"))))


DISABLED = SHARING.replace(
    "    watch:", "    owner: Checkout team\n    disabled: true\n    watch:"
) + (
    "    tests:\n      - {name: few, given: {pages: 1}, expect: no match}\n"
)  # fmt: skip


def test_a_disabled_rule_is_none_of_the_rules_but_is_checked_and_tested():
    found = loaded((".yaml", DISABLED))
    assert (found.rules, [rule.id for rule in found.disabled]) == ((), ["one"])
    assert found.disabled[0].owner == "Checkout team"
    assert [result.passed for result in tests.run(found)] == [True]
    assert faults((".yaml", DISABLED.replace("pages: {min", "pgaes: {min")))
