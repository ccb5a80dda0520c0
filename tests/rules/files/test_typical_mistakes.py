"""Typical slips in a rule file: told once, where a person would point, with one remedy."""

import pytest

from bot.errors import RuleErrors
from bot.rules.files.load import read

GOOD = """version: 1
rules:
  rage:
    summary: Rage in the checkout
    watch: recordings
    websites: [myshop.com]
    when:
      friction: {min: 2}
      saw_page: /checkout*
    except:
      tags:
        - internal
        - load-test
    do:
      tag: [friction]
      slack:
        channel: "#ux"
        at_most: 10 per hour
"""
UNREAD = "; the rest of this rule was not checked"


def said(text):
    try:
        read([("r.yaml", text.encode())])
    except RuleErrors as error:
        return [f"{it.line}:{it.column} {it.message.removesuffix(UNREAD)}" for it in error.faults]
    return []


def test_the_file_without_a_slip_is_good():
    assert said(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        # A tab, or a space that is none.
        ("    watch: rec", "\twatch: rec", "5:1 indent with spaces, not tabs"),
        ("      friction:", "    \tfriction:", "8:5 indent with spaces, not tabs"),
        (
            "    watch:",
            "\u00a0   watch:",
            "5:1 this invisible character (U+00A0) is no space; indent with plain spaces",
        ),
        # A colon.
        ("    when:\n", "    when\n", "7:5 add a colon after the key"),
        ("watch: rec", "watch rec", "5:5 add a colon after the key"),
        ("watch: rec", "watch:rec", "5:11 add a space after the colon"),
        ("saw_page: /", "saw_page:/", "9:16 add a space after the colon"),
        ("watch: rec", "watch = rec", "5:11 write a colon instead of ="),
        ("watch: rec", "watch:\n    rec", "6:5 indent this line more: it is the value of watch"),
        # A dash.
        ("        - load", "        load", "13:9 start the item with a dash: - load-test"),
        ("        - load", "        -load", "13:9 add a space after the dash: - load-test"),
        (
            "        - internal\n        - load-test",
            "        -internal\n        -load-test",
            "12:9 add a space after the dash: - internal",
        ),
        (
            "        - load-test",
            "          - load-test",
            "13:11 this line continues the text above; indent its dash as far as the others",
        ),
        ("        - int", "        -int", "12:9 add a space after the dash: - internal"),
        ("        - load", "      - load", "13:7 indent this line with 8 spaces, as line 12"),
        # Depth.
        (
            "    watch: rec",
            "     watch: rec",
            "5:6 this line is indented too far: line 4 already has a value",
        ),
        ("    watch: rec", "   watch: rec", "5:4 indent this line with 4 spaces, as line 4"),
        ("      saw_page:", "       saw_page:", "9:8 indent this line with 6 spaces, as line 8"),
        ("      saw_page:", "     saw_page:", "9:6 indent this line with 6 spaces, as line 8"),
        ("      friction:", "       friction:", "8:8 indent this line with 6 spaces, as line 9"),
        (
            "        channel: ",
            "      channel: ",
            "18:9 this line is indented too far: line 17 already has a value",
        ),
        # A key under the wrong parent.
        (
            "      friction: {min: 2}\n      saw_page: /checkout*",
            "    friction: {min: 2}\n    saw_page: /checkout*",
            "8:5 friction belongs under when; indent it more than when",
        ),
        (
            "    do:",
            "      do:",
            "14:7 do is a key of a rule; indent it as far as the rule's other keys",
        ),
        (
            "    do:",
            "  do:",
            "14:3 do is a key of a rule; indent it as far as the rule's other keys",
        ),
        # A quote or bracket.
        ('"#ux"', '"#ux', "17:18 this quote is not closed"),
        ("[myshop.com]", "[myshop.com", "6:15 this [ is not closed"),
        ("[myshop.com]", "[myshop.com}", "6:26 } closes the [ of column 15; write ]"),
        ("{min: 2}", "{min: 2", "8:17 this { is not closed"),
        ("{min: 2}", "{min: 2}}", "8:25 one } too many; remove it"),
        ("{min: 2}", "{min: 2 max: 3}", "8:25 add a comma before max"),
        # Twice.
        ("    do:", "    watch: x\n    do:", "14:5 duplicate key watch; it is already on line 5"),
        (
            "    when:",
            "<<<<<<< HEAD\n    when:",
            "7:1 a merge conflict is left in this file; resolve it",
        ),
    ],
)  # fmt: skip
def test_one_slip_is_one_error_at_its_place_with_one_remedy(old, new, told):
    assert GOOD.count(old) == 1
    assert said(GOOD.replace(old, new)) == [told]


def test_a_rule_whose_keys_are_not_indented_is_one_error():
    text = (
        "version: 1\nrules:\n  rage:\n  watch: recordings\n  when: {tags: a}\n  do: {star: true}\n"
    )
    assert said(text) == ["4:3 watch is a key of a rule; indent it more than rage"]
    assert said(text.replace("star", "stra")) == [
        "4:3 watch is a key of a rule; indent it more than rage",
        "6:8 unknown action; did you mean star?",
    ]


def test_keys_of_a_rule_among_its_conditions_are_one_error():
    text = (
        "version: 1\nrules:\n  rage:\n    watch: recordings\n    when:\n      tags: a\n"
        "      except: {tags: b}\n      do: {star: true}\n"
    )
    words = "7:7 except is a key of a rule; indent it as far as the rule's other keys"
    assert said(text) == [words]
    assert said(text.replace("star", "stra")) == [words, "8:12 unknown action; did you mean star?"]


def test_rules_that_are_not_indented_are_one_error():
    text = "version: 1\nrules:\nrage:\n  watch: recordings\n  when: {tags: a}\n  do: {star: true}\n"
    assert said(text) == ["3:1 indent rage more than rules:"]
    assert said(text + text.partition("rules:\n")[2].replace("rage", "more")) == [
        "3:1 indent rage more than rules:"
    ]


def test_texts_with_a_dash_are_texts_where_they_mean_something():
    assert said(GOOD.replace("- load-test", "- -5")) == []
    assert said(GOOD.replace("Rage in the checkout", "Rage - in\n      the checkout")) == []
    assert said(GOOD.replace("{min: 2}", "\n        min:\n          2")) == []
    items = "[\n        -internal,\n        -load-test\n      ]"
    written = "\n        - internal\n        - load-test"
    assert GOOD.count(written) == 1
    assert said(GOOD.replace(written, f" {items}")) == []


def test_a_message_may_be_indented_with_hard_spaces():
    good = "summary: |\n      Rage:\n      \u00a0\u00a0friction: high"
    text = GOOD.replace("    do:", f"    {good}\n    do:")
    text = text.replace("    summary: Rage in the checkout\n", "")
    assert said(text) == []
    toml = (
        "version = 1\n[rules.rage]\nwatch = 'recordings'\nwhen = {tags = 'a'}\n"
        'do = {slack = {channel = \'#a\', text = """Rage:\n\u00a0 friction = high\n"""}}\n'
    )
    assert read([("r.toml", toml.encode())]).rules
    with pytest.raises(RuleErrors, match="3:1: this invisible character"):
        read([("r.toml", toml.replace("watch", "\u00a0 watch").encode())])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("visitor", "did you mean visitor_type?"),
        ("returning", "write visitor_type: returning"),
        ("returning_visitor", "write visitor_type: returning"),
        ("new_visitor", "write visitor_type: first"),
        ("mobile", "write device: phone"),
        ("bounce", "write pages: 1"),
        ("bounced", "write pages: 1"),
        ("page_count", "did you mean pages?"),
        ("time_on_site", "did you mean duration?"),
        ("time_on_page", "write page: {path: /checkout*, engagement: {over: 60s}}"),
        ("session_length", "did you mean duration?"),
        ("ip_address", "did you mean ip?"),
        ("user_id", "did you mean visitor_id?"),
        ("user", "did you mean visitor_id?"),
        ("email", "did you mean visitor_name?"),
        ("first_page", "did you mean entry_page?"),
        ("last_page", "did you mean exit_page?"),
        ("exit_url", "did you mean exit_page?"),
        ("utm", 'write entry_url: "*name=value*"'),
    ],
)
def test_a_word_of_other_tools_is_told_with_the_field_to_write(word, told):
    (line,) = said(GOOD.replace("friction: {min: 2}", f"{word}: {{min: 2}}"))
    assert line == f"8:7 unknown field; {told}"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("pages: 5 pages", "8:14 pages has no unit; write 5"),
        ("pages: {min: 3 pages}", "8:20 pages has no unit; write 3"),
        ("pages: {over: 60s}", "8:21 pages has no unit; write 60; for a time write duration"),
        ("friction: 50%", "8:17 friction has no unit; write 50"),
        ("pages: 3+", "8:14 a comparison is written in words: {min: 3}"),
        ("pages: 3 or more", "8:14 a comparison is written in words: {min: 3}"),
    ],
)
def test_a_unit_where_there_is_none_is_told(value, told):
    assert said(GOOD.replace("friction: {min: 2}", value)) == [told]


@pytest.mark.parametrize(
    ("watch", "word", "told"),
    [
        ("pages", "rage_clicks", "write visitors: {tags: click-rage} beside when, and views"),
        ("forms", "start_time", "write field: {start: {over: 10s}}"),
        (
            "funnels",
            "date",
            "known here: funnel, entered, completed, conversion, step, any, all, not",
        ),
        ("websites", "ip_masking", "did you mean anonymize_ips?"),
        ("websites", "mask_ips", "did you mean anonymize_ips?"),
        ("websites", "keystrokes", "did you mean disable_keystrokes?"),
        ("websites", "masking", "did you mean disable_keystrokes?"),
    ],
)
def test_a_word_of_other_tools_is_told_with_what_the_watched_kind_has(watch, word, told):
    text = (
        f"version: 1\nrules:\n  one:\n    watch: {watch}\n    when: {{{word}: {{min: 2}}}}\n"
        '    do: {slack: {channel: "#ux"}}\n'
    )
    assert said(text) == [f"5:12 unknown field; {told}"]


def test_the_apis_names_of_filters_name_the_filter_to_write():
    text = GOOD.replace("recordings\n", "funnels\n    visitors: {landing: /a, exit: /b, tag: x}\n")
    assert said(text)[:3] == [
        "6:16 unknown key; did you mean entry_page?",
        "6:29 unknown key; did you mean exit_page?",
        "6:39 unknown key; did you mean tags?",
    ]
