"""A rule with a filter fires only by figures of its own visitors, and that is known beforehand."""

from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from report_world import SITE, World

from bot.cli.status import gather
from bot.reports.fetch import IGNORED, TOO_FEW
from bot.rules.model import RuleSet
from bot.store.audit import history
from bot.watcher import Watcher

PHONES = """
phones:
  watch: pages
  visitors: {device: phone}
  when: {views: {min: 5}}
  do: {slack: {channel: "#ux"}}
"""
GERMANS = """
germans:
  watch: pages
  visitors: {country: de}
  when: {views: {min: 40}}
  do: {slack: {channel: "#ux"}}
"""


def ops(world):
    """What the ops channel hears."""
    return [it.text for it in reversed(world.store.do(lambda conn: history(conn, kind="notice")))]


def status(world):
    found = world.store.do(lambda conn: gather(conn, world.now, "alive")).on_hold
    return [(it.website, it.kind, it.filter, it.reason) for it in found]


@pytest.mark.parametrize("ignored", [set(), {"device"}])
async def test_what_a_clock_ahead_made_of_a_filter_holds_no_rule(ignored):
    world = World("pages", PHONES)
    world.api.pages["/a"] = {"views": 6}
    world.api.ignores.add("device")
    world.now += timedelta(days=3)
    assert await world.looks(2) == []
    world.now -= timedelta(days=3)
    world.api.ignores = ignored
    world.api.pages["/a"] = {"views": 30}
    found = await world.looks(2)
    assert found == ([] if ignored else ["phones: slack"])
    assert ops(world) == (["Rules with device are on hold on myshop.com"] if ignored else [])


async def test_a_proof_of_a_clock_ahead_is_none():
    world = World("pages", PHONES.replace("min: 5", "min: 50"))
    world.api.pages["/a"] = {"views": 30}
    world.now += timedelta(days=3)
    await world.looks(2)
    world.now -= timedelta(days=3)
    world.api.ignores.add("device")
    world.api.pages["/a"] = {"views": 60}
    assert await world.looks(2) == []


async def test_while_it_cannot_be_told_the_rule_is_on_hold_and_status_says_why():
    world = World("pages", PHONES)
    world.api.ignores.add("device")
    world.api.pages["/a"] = {"views": 6}
    assert await world.looks(8) == []
    assert status(world) == [("w1", "pages", "device", TOO_FEW)]
    assert world.notes("level.held") == [f"rules for pages with device are on hold: {TOO_FEW}"]
    assert ops(world) == []
    world.api.pages["/a"] = {"views": 30}
    assert await world.looks(8) == []
    assert status(world) == [("w1", "pages", "device", IGNORED)]
    assert ops(world) == ["Rules with device are on hold on myshop.com"]


async def test_a_few_visitors_are_enough_where_the_filter_works():
    world = World("pages", PHONES)
    world.api.pages["/a"] = {"views": 6}
    assert await world.looked() == ["phones: slack"]
    assert status(world) == []


async def test_no_visitor_at_all_is_news_where_others_come():
    world = World("funnels", """
nobody:
  watch: funnels
  visitors: {device: tablet}
  when: {entered: {under: 1}}
  do: {slack: {channel: "#ux"}}
""")  # fmt: skip
    world.api.tablets = 0
    world.api.funnels["f"] = [200, 20]
    assert await world.looked() == ["nobody: slack"]


async def test_before_it_fires_the_filter_is_proved_again():
    world = World("pages", GERMANS)
    world.api.pages["/a"] = {"views": 30}
    assert await world.looks(3) == []
    world.api.ignores.add("country")
    world.api.pages["/b"] = {"views": 50}
    world.api.calls.clear()
    assert await world.looks(3) == []
    assert len(world.api.calls) == 3 + 1
    assert ops(world) == ["Rules with country are on hold on myshop.com"]


async def test_when_the_filter_works_again_the_rule_fires_and_people_are_told():
    world = World("pages", GERMANS)
    world.api.ignores.add("country")
    world.api.pages["/a"] = {"views": 50}
    assert await world.looks(4) == []
    world.restart()
    assert await world.looks(1) == []
    world.api.ignores.clear()
    assert await world.looks(8) == ["germans: slack"]
    assert ops(world) == [
        "Rules with country are on hold on myshop.com",
        "Rules with country run again on myshop.com",
    ]
    assert status(world) == []


async def test_a_proof_costs_a_call_for_each_firing_alone():
    world = World("pages", GERMANS)
    world.api.pages["/a"] = {"views": 50}
    assert await world.looks(1) == ["germans: slack"]
    world.api.calls.clear()
    assert await world.looks(12) == []
    assert len(world.api.calls) == 12
    assert status(world) == []


@pytest.mark.parametrize(
    ("visitors", "query"),
    [
        ("{tags: [a, b]}", {"tags": "a,b"}),
        ("{variables: {plan: pro}}", {"vars": "plan=pro"}),
        ("{entry_page: /landing}", {"entry": "/landing"}),
        ("{exit_page: /paid}", {"exit": "/paid"}),
        ("{saw_page: /cart}", {"funnel": "/cart"}),
        ("{friction: {min: 2.5}}", {"frictionmin": "2.5"}),
        ("{friction: {min: 2, max: 9}}", {"frictionmin": "2", "frictionmax": "9"}),
        ("{duration: {min: 30s}}", {"visitmin": "30000"}),
        ("{pages: {min: 3}, device: phone}", {"pagesmin": "3", "device": "phone"}),
        ("{starred: false}", {"star": "0"}),
        ("{watched: true}", {"watched": "1"}),
        ("{search: acme corp}", {"search": "acme corp"}),
    ],
)
async def test_whatever_the_api_filters_by_a_rule_can_say_and_the_bot_proves(visitors, query):
    text = PHONES.replace("{device: phone}", visitors).replace("pages", "funnels", 1)
    world = World("funnels", text.replace("views: {min: 5}", "entered: {min: 5}"))
    world.api.funnels["f"] = [50, 20]
    if "starred" in visitors or "watched" in visitors:
        world.api.tablets = 0.5
    found = await world.looked()
    asked = [dict(parse_qsl(urlsplit(call).query)) for call in world.api.calls]
    first = {name: value for name, value in asked[0].items() if "date" not in name}
    assert first == query
    assert found == ["phones: slack"]
    for name in query:
        assert any(
            other.get(name, query[name]) != query[name] and other | {name: query[name]} in asked
            for other in asked
        ), f"{name} is proved by itself"


@pytest.mark.parametrize("ignored", ["frictionmin", "frictionmax"])
async def test_each_bound_of_a_range_is_proved(ignored):
    world = World("funnels", """
cross:
  watch: funnels
  visitors: {friction: {min: 2, max: 9}}
  when: {entered: {min: 5}}
  do: {slack: {}}
""")  # fmt: skip
    world.api.ignores.add(ignored)
    world.api.funnels["f"] = [50, 20]
    assert await world.looks(3) == []
    assert [name for _, _, name, _ in status(world)] == [f"friction {ignored[-3:]}"]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_refused_over_last_holds_its_own_rules_is_told_once_and_catches_up(restarts):
    rule = "{watch: funnels, when: {conversion: {under: 20%}}, resolved: true, do: {slack: {}}"
    world = World("funnels", f"week: {rule}, over_last: 7d}}\nalways: {rule}}}\n")

    def starts():
        return Watcher(
            world.context, RuleSet(world.rules), ops="#ops", wake=lambda: None,
            clock=lambda: world.now,
        )  # fmt: skip

    watcher = starts()

    async def polls(times, completed, *, refused=False):
        """What matches bring, as the rules' ids, the ends among them."""
        world.api.refuses = {"fromdate=2026-03-03"} if refused else set()
        world.api.funnels["f"] = [100, completed]
        before = len(matches(world))
        for _ in range(times):
            world.now += timedelta(minutes=15)
            await watcher.find_sites()
            assert await watcher.poll_reports(SITE) != refused
        return matches(world)[before:]

    assert await polls(2, 50) == []
    assert await polls(2, 10, refused=True) == ["always"]
    if restarts:
        watcher = starts()
        await watcher.troubles.remember()
    assert await polls(2, 10, refused=True) == []
    assert await polls(2, 10) == ["week"]
    assert await polls(3, 50, refused=True) == ["always: ended"]
    assert await polls(2, 50) == ["week: ended"]
    assert [text[0] for text in reversed(ops(world))] == ["🔶", "✅", "🔶", "✅"][::-1]


def matches(world):
    """Every match, oldest first: the rule's id, and whether it is the end of an alert."""
    found = reversed(world.store.do(lambda conn: history(conn, kind="match")))
    return [f"{it.rule}: ended" if it.text.startswith("ended") else it.rule for it in found
            if it.rule in ("week", "always")]  # fmt: skip
