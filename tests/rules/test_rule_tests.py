"""Tests in rule files: they judge the rule by what they give, and failures explain themselves."""

from xml.etree import ElementTree

import pytest

from bot.rules.files.load import read
from bot.rules.tests import junit, run

RULE = """
version: 1
rules:
  one:
    watch: {watch}
    when: {when}
    {more}
    do: {do}
    tests:
      - name: try
        given: {given}
        expect: {expect}
"""


def outcome(when, given, watch="recordings", more="summary: Look here", do="{slack: {}}",
            expect="match"):  # fmt: skip
    text = RULE.format(when=when, given=given, watch=watch, more=more, do=do, expect=expect)
    (result,) = run(read([("a.yaml", text.encode())]))
    return result


@pytest.mark.parametrize(
    ("given", "yes", "no"),
    [
        ("{friction: 3}", "{friction: {min: 3}}", "{friction: {over: 3}}"),
        ("{duration: 95s}", "{duration: {over: 60s}}", "{duration: {over: 2m}}"),
        ("{pages: 4}", "{pages: {min: 4}}", "{pages: {max: 3}}"),
        ("{pages: [/a, /b]}", "{pages: 2, saw_page: /b, entry_page: /a}", "{exit_page: /a}"),
        ("{pages: [/a, /b]}", "{journey: [/a, /b]}", "{journey: [/b, /a]}"),
        ("{saw_page: /x/y}", "{saw_page: /x*}", "{saw_page: /y*}"),
        ("{exit_page: /bye}", "{exit_page: /bye}", "{exit_page: /hi}"),
        ("{entry_page: /in}", "{entry_page: /in}", "{entry_page: /out}"),
        ("{page: {path: /a, time: 5s, scroll: 40%, title: T, engagement: 2s}}",
         "{page: {path: /a, time: {min: 5s}, scroll: {under: 50%}, title: t}}",
         "{page: {path: /a, engagement: {over: 2s}}}"),
        ("{pages: [{path: /a, tags: [x]}, /b]}", "{page: {path: /a, tags: x}, tags: x}",
         "{page: {path: /b, tags: x}}"),
        ("{variables: {v: 120, w: x}}", "{variables: {v: {min: 100}, w: X}}",
         "{variables: {v: {under: 100}}}"),
        ("{tags: [a, b]}", "{tags: {all: [a, b]}}", "{tags: {not: a}}"),
        ("{tags: []}", "{not: {tags: a}}", "{tags: a}"),
        ("{weekday: sat, hour: 23}", "{weekday: [sat, sun], hour: 23}", "{weekday: mon}"),
        ("{visitor_type: returning}", "{visitor_type: returning}", "{visitor_type: first}"),
        ("{shared: true, starred: true, watched: false}", "{shared: true, watched: false}",
         "{starred: false}"),
        ("{entry_url: 'https://a.b/?utm=x', referrer: 'https://c.d/', referrer_type: Search}",
         "{entry_url: '*utm=x', referrer_type: searchengines}", "{referrer: '*e.f*'}"),
        ("{country: dk, region: r, city: c, isp: i, ip: 1.2.3.4, lang: da, device: phone, os: ios, "
         "os_version: '17.0', browser: safari, browser_version: '17', screen: 390x844, "
         "user_agent: ua, visitor_id: v, visitor_name: n}",
         "{country: DK, region: r, city: c, isp: i, ip: 1.2.*, lang: d*, device: phone, os: ios, "
         "os_version: 17.0, browser: safari, browser_version: 17, screen: 390x844, "
         "user_agent: ua, visitor_id: v, visitor_name: n}", "{country: {not: dk}}"),
    ],
)  # fmt: skip
def test_a_recording_is_judged_by_what_is_given(given, yes, no):
    assert outcome(yes, given).passed
    assert outcome(no, given, expect="no match").passed
    assert not outcome(yes, given, expect="no match").passed
    assert not outcome(no, given).passed


@pytest.mark.parametrize(
    ("watch", "given", "yes", "no"),
    [
        ("feedback", "{campaign: NPS, new_responses: 8, enabled: true}",
         "{campaign: nps, new_responses: {min: 5}, enabled: true}", "{enabled: false}"),
        ("feedback", "{response_rate: 1.5%}", "{response_rate: {under: 2%}}",
         "{response_rate: {over: 2%}}"),
        ("feedback", "{responses: 20, impressions: 1000}", "{response_rate: 2%}",
         "{impressions: {over: 1000}}"),
        ("funnels", "{funnel: Buy, conversion: 19%}", "{funnel: buy, conversion: {under: 20%}}",
         "{conversion: {over: 20%}}"),
        ("funnels", "{entered: 200, completed: 10}", "{conversion: 5%, entered: {min: 200}}",
         "{completed: {over: 10}}"),
        ("funnels", "{step: [{name: Cart, count: 100}, {name: Pay, count: 30}]}",
         "{step: {name: Pay, conversion: {under: 40%}, dropped: 70}, entered: 100}",
         "{step: {name: Cart, conversion: {under: 40%}}}"),
        ("funnels", "{step: {name: Pay, conversion: 30%}}",
         "{step: {name: pay, conversion: {max: 30%}}}", "{step: {name: pay, dropped: {max: 5}}}"),
        ("funnels", "{step: {name: Pay, dropped: 60}}", "{step: {name: Pay, dropped: {over: 50}}}",
         "{step: {name: Pay, dropped: {over: 60}}}"),
        ("funnels", "{conversion: 15%, before: {conversion: 20%}}",
         "{conversion: {drops_by: 20%, against: 7d}}",
         "{conversion: {drops_by: 30%, against: 7d}}"),
        ("forms", "{form: Demo, url: /demo, completion: 25%, submits: 9, visits: 90}",
         "{form: demo, url: /demo, completion: {under: 30%}, visits: 90}", "{submits: {over: 9}}"),
        ("forms", "{field: [{name: phone, dropped: 51, time: 4s, type: text}, {name: x}]}",
         "{field: {name: phone, dropped: {over: 50}}}", "{field: {name: x, time: {min: 1s}}}"),
        ("pages", "{path: /a, views: 9, render_time: 5s, scroll: 20%, clicks: 3, title: T, "
         "visit_time: 3s, engagement_time: 2s}",
         "{path: /a, render_time: {over: 4s}, scroll: {under: 25%}, clicks: 3}", "{views: 8}"),
        ("websites", "{status: NotInstalled, website: myshop.com}",
         "{status: notinstalled, website: my*}", "{status: Recording}"),
        ("websites", "{recording_rate: 25%, budget_used: 81%}",
         "{recording_rate: {under: 100%}, budget_used: {over: 80%}}", "{budget_used: {over: 81%}}"),
    ],
)  # fmt: skip
def test_a_level_is_judged_by_what_is_given(watch, given, yes, no):
    assert outcome(yes, given, watch).passed
    assert outcome(no, given, watch, expect="no match").passed
    assert not outcome(yes, given, watch, expect="no match").passed
    assert not outcome(no, given, watch).passed


def test_exceptions_and_websites_count():
    assert outcome(
        "{tags: a}", "{tags: [a, b]}", more="except: {tags: b}", expect="no match"
    ).passed
    sites = "websites: ['*.shop.com']"
    assert outcome("{tags: a}", "{tags: a}", more=sites).passed
    other = "{tags: a, website: else.com}"
    assert outcome("{tags: a}", other, more=sites, expect="no match").passed


def test_the_actions_expected_must_be_there():
    do = "{tag: x, share: false, slack: {}}"
    assert outcome("{tags: a}", "{tags: a}", do=do, expect="{actions: [tag, share, slack]}").passed
    result = outcome("{tags: a}", "{tags: a}", do=do, expect="{actions: [star]}")
    assert result.problems == ("the match causes no star",)


def test_the_text_expected_must_be_in_a_message():
    do = "{slack: {text: 'Cross for {{ duration }} & more'}}"
    given = "{tags: a, duration: 95s}"
    assert outcome("{tags: a}", given, do=do, expect="{text: cross for 1 min 35 s}").passed
    (problem,) = outcome("{tags: a}", given, do=do, expect="{text: calm}").problems
    assert problem.startswith("no message says 'calm'; they say: Cross for 1 min 35 s")


def test_the_built_in_message_can_be_looked_at_too():
    assert outcome("{tags: a}", "{tags: a, country: dk}", expect="{text: look here}").passed
    result = outcome("{tags: a}", "{tags: a}", do="{tag: x}", expect="{text: look}")
    assert result.problems == ("no message says 'look'; they say: nothing",)


def test_a_failure_shows_place_and_explanation():
    result = outcome("{duration: {over: 60s}, tags: a}", "{duration: 58s, tags: a}")
    text = str(result)
    assert text.startswith("a.yaml:10:9: one: try: expected a match, found none\n")
    assert "58 s" in text
    assert "✗" in text
    assert "✓" in text


def test_only_the_rules_named_are_tested():
    text = RULE.format(watch="recordings", when="{tags: a}", more="summary: x", do="{star: true}",
                       given="{tags: a}", expect="match")  # fmt: skip
    ruleset = read([("a.yaml", text.encode()), ("b.yaml", text.replace("one:", "two:").encode())])
    assert [result.rule for result in run(ruleset)] == ["one", "two"]
    assert [result.rule for result in run(ruleset, only=["two"])] == ["two"]


def test_junit_holds_counts_places_and_failures():
    good = outcome("{tags: a}", "{tags: a}")
    bad = outcome("{tags: a}", "{tags: 'x<y\\u0001'}".replace("'", '"'))
    root = ElementTree.fromstring(junit([good, bad]))
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    (suite,) = root
    assert [case.get("name") for case in suite] == ["try", "try"]
    assert suite[0].find("failure") is None
    failure = suite[1].find("failure")
    assert failure.get("message") == "expected a match, found none"
    assert "x<y" in failure.text
    assert suite[1].get("line") == "10"


def test_junit_of_nothing_is_a_document():
    assert ElementTree.fromstring(junit([])).get("tests") == "0"
