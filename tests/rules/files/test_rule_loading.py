"""Whatever a rule file holds, reading it ends in rules or in errors with a place."""

import json

import pytest

from bot.errors import RuleErrors
from bot.rules import tests
from bot.rules.files.load import read
from bot.rules.syntax import yaml
from bot.rules.syntax.nodes import Unreadable, place, plain

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
        ("yaml._Tree._node", "a.yaml:1:9: ", "this YAML can't be read"),
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


def summary(written, name="a.yaml"):
    if name.endswith(".toml"):
        text = 'version = 1\n[rules.first]\nwatch = "recordings"\nwhen.country = "dk"\n'
        text += f"do.star = true\nsummary = {written}\n"
    else:
        text = RULE.replace("    watch", f"    summary: {written}\n    watch", 1)
    return read([(name, text.encode())]).rules[0].summary


@pytest.mark.parametrize(
    "written",
    [
        r'"\ud83d\ude00 cross visitors"',
        r'"\uD83D\uDE00 cross visitors"',
        r'"\U0001F600 cross visitors"',
        '"\U0001f600 cross visitors"',
        "\U0001f600 cross visitors",
    ],
)
def test_an_emoji_is_one_character_however_it_is_written(written):
    assert summary(written) == "\U0001f600 cross visitors"


def test_a_json_file_with_an_emoji_is_read():
    rule = {"summary": "\U0001f600 cross", "watch": "recordings", "when": {"pages": {"min": 1}}}
    file = {"version": 1, "rules": {"emoji": rule | {"do": {"tag": "\U0001f600"}}}}
    (read_rule,) = read([("a.yaml", json.dumps(file).encode())]).rules
    assert read_rule.summary == "\U0001f600 cross"
    assert read_rule.do[0].tag == "\U0001f600"


@pytest.mark.parametrize(
    ("half", "at"),
    [
        (r"\ud800", 0), (r"ab\udfff", 2), (r"\ud83d\ude00\ud83d", 12), (r"\ude00\ud83d", 0),
        (r"\U0000D83D", 0), (r"\ud83d \ude00", 0), (r"\\ud83d\ud83d", 7),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rules:", '"{}": 1\nrules:'),
        ("first:", '"{}":'),
        ("dk", '"{}"'),
        ("star: true", 'tag: "{}"'),
        ("star: true", 'slack: {{text: "{}"}}'),
        ("sweden", '"{}"'),
        ("se}, expect", '"{}"}}, expect'),
    ],
)
def test_half_a_character_is_refused_where_it_is(half, at, old, new):
    before, _, after = RULE.partition(old)
    written = before + new.format(half)
    line, column = place(written, written.index(half) + at)
    said = refusals(written + after)[0]
    assert said.startswith(f"a.yaml:{line}:{column}: ")
    assert "this escape is half a character; write the character itself" in said


def test_half_a_character_on_a_later_line_of_a_text():
    said = refusals(RULE.replace("dk", '"one\n      two \\udc00"'))[0]
    assert said.startswith("a.yaml:6:11: rules.first: this escape is half a character")


@pytest.mark.parametrize("escape", [r"\U00110000", r"\UFFFFFFFF", r"\xzz", r"\q"])
def test_an_escape_that_is_no_character_is_refused_where_it_is(escape):
    said = refusals(RULE.replace("dk", f'"ab{escape}"'))[0]
    assert said.startswith("a.yaml:5:")
    assert "starts an escape" in said


@pytest.mark.parametrize("escape", [r"\ud83d\ude00", r"\ud800", r"\U00110000"])
def test_toml_refuses_escapes_that_are_no_characters(escape):
    with pytest.raises(RuleErrors, match=r"^a\.toml:6:14: .*no character"):
        summary(f'"ab{escape}"', "a.toml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("star: true", 'tag: "country-{{ country }}"'),
        ("star: true", 'tag: [plain, "{{ country }}"]'),
        ("star: true", 'tag: "{% if x %}a{% endif %}"'),
        ("star: true", 'untag: "{{ country }}"'),
        ("star: true", 'variables: {seen-from: "{{ country }}"}'),
        ("star: true", 'variables: {"{{ country }}": seen}'),
        ("star: true", 'slack: {channel: "#{{ website }}"}'),
        ("star: true", 'slack: "#{{ website }}"'),
        ("star: true", 'webhook: {url: "https://x.example/{{ id }}"}'),
        ("    watch", '    summary: "from {{ country }}"\n    watch'),
    ],
)
def test_a_template_where_none_works_is_refused_where_it_is(old, new):
    text = RULE.replace(old, new, 1)
    key = '{{ country }}": seen' in new
    line, column = place(text, text.index("{{" if "{{" in text else "{%") - key)
    (said,) = refusals(text)
    assert said.startswith(f"a.yaml:{line}:{column}: rules.first.")
    assert said.endswith(": templates work in slack.text only; write plain text here")


def test_templates_work_in_the_text_of_a_post():
    text = RULE.replace("star: true", 'slack: {channel: "#ux", text: "{{ country }}"}', 1)
    assert read([("a.yaml", text.encode())]).rules[0].do[0].text == "{{ country }}"


TABS = """version: 1\t# the format
rules:\t
\t
  \t# a comment
  chain:\t
    watch:\trecordings\t
    summary: two \twords\t
      and\t more
    when: {country: dk}\t# Denmark
    do:
      -\tx
      \t
    text: |\t
      a\tb
    chomped: >-\t# comment
      c
    quoted: "d"\t
    key\t: e
"""


def test_tabs_are_white_space_where_they_indent_nothing():
    assert plain(yaml.parse(TABS)) == {
        "version": 1,
        "rules": {
            "chain": {
                "watch": "recordings",
                "summary": "two \twords and\t more",
                "when": {"country": "dk"},
                "do": ["x"],
                "text": "a\tb\n",
                "chomped": "c",
                "quoted": "d",
                "key": "e",
            }
        },
    }


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a:\n\tb: 1\n", 2, 1),
        ("a:\n  b: 1\n \tc: 2\n", 3, 2),
        ("a:\n  \t- b\n", 2, 3),
        ("a:\n  -\tb: 1\n", 2, 4),
        ("a:\n  -\t- b\n", 2, 4),
        ("a:\n  - \t- b\n", 2, 5),
        ("\ta: 1\n", 1, 1),
    ],
)
def test_a_tab_that_indents_is_named_where_it_is(text, line, column):
    with pytest.raises(Unreadable) as caught:
        yaml.parse(text)
    error = caught.value
    assert (error.line, error.column, error.message) == (
        line, column, "indent with spaces, not tabs"
    )  # fmt: skip


@pytest.mark.parametrize("version", ["", "%YAML 1.1\n---\n"])
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("[?ref=mail*, x]", ["?ref=mail*", "x"]), ("[ ?a, b?c, d? ]", ["?a", "b?c", "d?"]),
        ("{ ?a: b }", {"?a": "b"}), ("{?a: ?b}", {"?a": "?b"}), ("?a", "?a"),
        ("[? a : b]", [{"a": "b"}]), ("{? a : b}", {"a": "b"}), ("[??]", ["??"]),
    ],
)  # fmt: skip
def test_a_text_may_begin_with_a_question_mark(version, written, value):
    assert plain(yaml.parse(f"{version}k: {written}\n")) == {"k": value}
