"""Levels fire when they become true, once an episode, and say their end; state survives."""

import itertools
import re
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_world import World

from bot.cli.status import gather
from bot.reports.fetch import IGNORED
from bot.reports.poll import end_disabled
from bot.store.retention import forget
from bot.store.rules import MatchCounts, match_counts, matches_since

FUNNEL = """
dip:
  watch: funnels
  when: {conversion: {under: 20%}}
  do: {slack: {channel: "#ux"}}
"""
SITE = """
off:
  watch: websites
  when: {status: NotInstalled}
  resolved: true
  do: {slack: {channel: "#ops"}}
"""


async def test_a_rule_fires_once_until_its_condition_was_false():
    world = World("funnels", FUNNEL)
    found = []
    for completed in (50, 10, 10, 10, 50, 50, 10):
        world.api.funnels["checkout"] = [100, completed]
        found.append(await world.looked())
    assert found == [[], ["dip: slack"], [], [], [], [], ["dip: slack"]]


async def test_it_must_have_held_for_so_long():
    world = World("funnels", FUNNEL + "  for: 1h\n")
    world.api.funnels["checkout"] = [100, 10]
    found = [await world.looked(minutes=30) for _ in range(4)]
    assert found == [[], [], ["dip: slack"], []]


async def test_until_decides_when_it_may_fire_again():
    world = World("funnels", FUNNEL + "  until: {conversion: {over: 40%}}\n")
    found = []
    for completed in (10, 30, 10, 50, 50, 10):
        world.api.funnels["checkout"] = [100, completed]
        found.append(await world.looked())
    assert found == [["dip: slack"], [], [], [], [], ["dip: slack"]]


async def test_the_end_is_posted_where_the_rule_says_so():
    world = World("websites", SITE)
    found = []
    for status in ("Recording", "NotInstalled", "NotInstalled", "Recording", "Recording"):
        world.api.website["status"] = status
        found.append(await world.looked())
    assert found == [[], ["off: slack"], [], [], ["off: resolved"]]


async def test_a_subject_that_disappears_is_over():
    world = World("funnels", FUNNEL + "  resolved: true\n")
    world.api.funnels["checkout"] = [100, 10]
    assert await world.looked() == ["dip: slack"]
    del world.api.funnels["checkout"]
    assert await world.looked() == []
    assert await world.looked() == ["dip: resolved"]
    assert await world.looked() == []
    world.api.funnels["checkout"] = [100, 10]
    assert await world.looked() == ["dip: slack"]


async def test_an_end_is_no_match_and_the_audit_log_names_it():
    world = World("funnels", FUNNEL + "  resolved: true\n")
    world.api.funnels["checkout"] = [100, 10]
    await world.looked()
    world.api.funnels["checkout"] = [100, 50]
    assert await world.looks(3) == ["dip: resolved"]
    (ended, began) = world.notes("match")
    assert began.startswith("conversion 10 %")
    assert re.fullmatch(r"ended after \d+ min", ended)
    status = world.store.do(lambda conn: gather(conn, world.now, "alive"))
    long_ago = world.now - timedelta(days=1)
    assert world.store.do(lambda conn: matches_since(conn, "dip", long_ago)) == 1
    counts = world.store.do(lambda conn: match_counts(conn, long_ago))
    assert counts == {"dip": MatchCounts(kept=1, lately=1, ended=1)}
    assert [mark.source for mark in status.watermarks] == ["funnels"]


async def test_what_is_missing_from_a_cut_list_is_not_gone():
    world = World("pages", """
slow:
  watch: pages
  when: {render_time: {over: 4s}}
  resolved: true
  do: {slack: {channel: "#ux"}}
""")  # fmt: skip
    world.api.pages["/cart"] = {"views": 100, "renderTime": 5000}
    assert await world.looked() == ["slow: slack"]
    del world.api.pages["/cart"]
    world.api.page_count = 1
    assert await world.looked() == []
    assert (await world.look()).unread == 1


async def test_state_survives_a_restart_and_another_name():
    world = World("funnels", FUNNEL)
    world.api.funnels["checkout"] = [100, 10]
    assert await world.looked() == ["dip: slack"]
    world.restart()
    assert await world.looked() == []
    world.edit(FUNNEL.replace("dip:", "sag:") + "  was: dip\n")
    assert await world.looked() == []


async def test_a_long_episode_is_not_forgotten_and_fired_again():
    world = World("funnels", FUNNEL)
    world.api.funnels["checkout"] = [100, 10]
    assert await world.looked() == ["dip: slack"]
    for _ in range(100):
        assert await world.looked(days=1) == []
        old = world.now - timedelta(days=90)
        world.store.do(lambda conn, old=old: forget(conn, old))


FEEDBACK = """
answers:
  watch: feedback
  when: {new_responses: {min: 1}}
  do: {slack: {channel: "#support"}}
"""


async def test_new_responses_fire_at_each_increase_after_a_baseline():
    world = World("feedback", FEEDBACK)
    found = []
    for responses in (40, 40, 42, 43, 5, 5, 5, 5, 5, 6):
        world.api.campaigns["c"] = {"name": "NPS", "report": {"responses": responses}}
        found.append(len(await world.looked()))
    assert found == [0, 0, 1, 1, 0, 0, 0, 0, 0, 1]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=20))
@settings(deadline=None, max_examples=25)
async def test_no_response_is_told_twice_and_no_fall_is_news(counts):
    world = World("feedback", FEEDBACK)
    found = []
    for responses in counts:
        world.api.campaigns["c"] = {"name": "NPS", "report": {"responses": responses}}
        found.append(len(await world.looked(minutes=1)))
    highest = list(itertools.accumulate(counts, max))
    rises = [int(now > before) for before, now in itertools.pairwise(highest)]
    assert found == [0, *rises]
    world.store.close()


FIVE = "new_responses: {min: 5}"
FEW = "new_responses: {under: 5}"


@pytest.mark.parametrize(
    ("when", "fires"),
    [
        (f"{{enabled: true, {FIVE}}}", [15, 21, 26]),
        (f"{{all: [{{enabled: true}}, {{{FIVE}}}]}}", [15, 21, 26]),
        (f"{{not: {{any: [{{enabled: false}}, {{{FEW}}}]}}}}", [15, 21, 26]),
        (f"{{not: {{not: {{all: [{{enabled: true}}, {{{FIVE}}}]}}}}}}", [15, 21, 26]),
        (f"{{not: {{{FEW}}}}}", [15, 20, 26]),
        (f"{{not: {{{FIVE}}}}}", [11, 12, 15, 16, 20, 21, 22, 23, 24, 26, 27, 29, 30]),
        (f"{{all: [{{{FIVE}}}, {{not: {{{FEW}}}}}]}}", [15, 20, 26]),
        (f"{{all: [{{{FIVE}}}, {{{FEW}}}]}}", []),
        (f"{{any: [{{enabled: false}}, {{{FIVE}}}]}}", [15, 16, 21, 26]),
        (f"{{not: {{all: [{{enabled: true}}, {{{FEW}}}]}}}}", [15, 16, 21, 26]),
    ],
)
async def test_new_responses_within_all_and_not_fire_as_the_logic_says(when, fires):
    """The campaign is off at 16 and 20. What is new counts since the rule fired last."""
    world = World("feedback", f"news:\n  watch: feedback\n  when: {when}\n  do: {{slack: {{}}}}\n")
    found = []
    for responses in (10, 11, 12, 15, 15, 16, 20, 21, 22, 22, 23, 24, 26, 27, 29, 30):
        report = {"responses": responses}
        enabled = responses not in (16, 20)
        world.api.campaigns["c"] = {"name": "NPS", "enabled": enabled, "report": report}
        found += [responses] * len(await world.looked())
    assert found == fires


CHANGE = """
sagging:
  watch: funnels
  when: {conversion: {drops_by: 20%, against: 7d}}
  do: {slack: {channel: "#ux"}}
"""


async def test_a_figure_is_compared_with_its_own_past():
    world = World("funnels", CHANGE)
    world.api.old, world.api.old_until = {"checkout": []}, "2026-03-10"
    world.api.funnels["checkout"] = [1000, 300]
    assert await world.looked() == []
    assert world.notes("level.no_history")
    for _ in range(7):
        assert await world.looked(days=1) == []
    world.api.funnels["checkout"] = [1000, 250]
    assert await world.looked(hours=1) == []
    world.api.funnels["checkout"] = [1000, 230]
    assert await world.looked(hours=1) == ["sagging: slack"]
    assert "was 30 %" in world.why()[0]


async def test_figures_are_thinned():
    world = World("funnels", FUNNEL)
    world.api.funnels["checkout"] = [100, 50]
    for _ in range(60):
        await world.look(minutes=1)
    count = lambda: world.store.do(  # noqa: E731
        lambda conn: conn.exec_driver_sql("SELECT count(*) FROM figures").scalar_one()
    )
    assert count() == 5 * 3


async def test_one_request_serves_all_rules_with_the_same_question():
    text = "".join(FUNNEL.replace("dip:", f"dip-{n}:") for n in range(5))
    text += FUNNEL.replace("dip:", "phones:") + "  visitors: {device: phone}\n"
    world = World("funnels", text)
    world.api.funnels["checkout"] = [50, 20]
    await world.look()
    world.api.calls.clear()
    await world.look()
    assert len(world.api.calls) == 2


async def test_over_last_and_visitors_become_the_apis_filters():
    world = World("funnels", FUNNEL + "  over_last: 7d\n  visitors: {device: phone, country: de}\n")
    await world.look()
    (call,) = world.api.calls
    assert "fromdate=2026-03-03" in call
    assert "todate=2026-03-12" in call
    assert "device=phone" in call
    assert "country=de" in call


@pytest.mark.parametrize(
    ("name", "aspect"), [("fromdate", "over_last"), ("device", "device"), ("country", "country")]
)
async def test_a_filter_that_the_api_ignores_holds_the_rule(name, aspect):
    world = World("funnels", FUNNEL + "  over_last: 7d\n  visitors: {device: phone, country: de}\n")
    world.api.funnels["checkout"] = [1000, 10]
    world.api.ignores.add(name)
    looked = await world.look()
    assert looked.held == {aspect: IGNORED}
    assert looked.recorded.matches == ()
    assert world.notes("level.held")


async def test_filters_that_work_are_asked_about_once_a_day():
    world = World("funnels", FUNNEL + "  over_last: 7d\n")
    world.api.funnels["checkout"] = [1000, 10]
    assert await world.looked() == ["dip: slack"]
    world.api.calls.clear()
    await world.look()
    assert len(world.api.calls) == 1


async def test_a_question_that_fails_does_not_silence_the_others():
    world = World("forms", """
unsent:
  watch: forms
  when: {completion: {under: 30%}}
  do: {slack: {channel: "#ux"}}
stuck:
  watch: forms
  visitors: {device: phone}
  when: {field: {name: phone, dropped: {over: 50}}}
  do: {slack: {channel: "#ux"}}
""")  # fmt: skip
    world.api.forms["f"] = {
        "alias": "Sign-up", "visits": 400, "interactions": 100, "submits": 20, "success": 10,
        "fields": [{"target": "phone", "dropped": 60}],
    }  # fmt: skip
    assert sorted(await world.looked()) == ["stuck: slack", "unsent: slack"]


async def test_a_broken_answer_leaves_everything_as_it_was():
    world = World("funnels", FUNNEL)
    world.api.funnels["checkout"] = [100, 10]
    world.api.broken.add("funnels")
    with pytest.raises(Exception, match="away"):
        await world.look()
    world.api.broken.clear()
    assert await world.looked() == ["dip: slack"]


@pytest.mark.parametrize("more", [0, 30])
async def test_two_rows_with_one_key_are_one_subject_the_one_with_more_views(more):
    world = World("pages", """
busy:
  watch: pages
  when: {views: {min: 10}}
  do: {slack: {channel: "#ux"}}
""")  # fmt: skip
    world.api.pages["/a"] = {"views": 30, "title": "A"}
    world.api.repeated = [{"displayUrl": "/a", "views": 30 + more, "title": "A, again"}]
    found = []
    for _ in range(8):
        found += await world.looked()
        world.api.pages["/a"]["views"], world.api.repeated[0]["views"] = 30 + more, 30
    assert found == ["busy: slack"]


async def test_a_campaign_listed_twice_brings_its_responses_once():
    world = World("feedback", """
news:
  watch: feedback
  when: {new_responses: {min: 1}}
  do: {slack: {channel: "#ux"}}
""")  # fmt: skip
    world.api.campaigns["c"] = {"name": "NPS", "report": {"responses": 10}}
    world.api.repeated = [{"campaignId": "c", "name": "NPS", "report": {"responses": 8}}]
    found = [await world.looked() for _ in range(3)]
    world.api.campaigns["c"]["report"]["responses"] = 11
    found += [await world.looked() for _ in range(2)]
    assert found == [[], [], [], ["news: slack"], []]


async def test_a_funnel_listed_twice_fires_once():
    world = World("funnels", FUNNEL)
    world.api.funnels["checkout"] = [100, 10]
    world.api.repeated = [world.api._funnel("checkout", [40, 30], 1)]
    assert [await world.looked() for _ in range(3)] == [["dip: slack"], [], []]


async def test_the_alerts_of_a_disabled_rule_end_with_words():
    text = (
        "slow:\n  watch: pages\n  when: {render_time: {over: 4s}}\n  resolved: true\n"
        "  do: {slack: {}}\n"
    )
    world = World("pages", text)
    world.api.pages["/boots"] = {"views": 900, "renderTime": 5000}
    assert await world.looked() == ["slow: slack"]
    rule = world.rules[0]
    work = partial(end_disabled, rules=[rule], routing=world.context.routing, now=world.now)
    (ended,) = world.store.do(work).matches
    assert ended.endswith("-resolved")
    assert world.why()[0] == "ended after 0 s; the rule was disabled"
    assert world.store.do(work).matches == ()
    assert await world.looked() == ["slow: slack"]  # enabled again, it begins anew
