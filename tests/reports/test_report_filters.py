"""A rule with a filter fires only by figures of its own visitors, and that is known beforehand."""

from report_world import World

from bot.cli.status import gather
from bot.reports.fetch import IGNORED, TOO_FEW
from bot.store.audit import history

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
