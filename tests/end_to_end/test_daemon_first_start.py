"""What `start = "now"` means: when the bot was started, or a website first showed up."""

import asyncio

from virtual_world import World, virtually

from bot.store.audit import history

RULES = """
version: 1
rules:
  any: {watch: recordings, when: {pages: {min: 1}}, do: {tag: any}}
"""


def matched(world):
    entries = world.store.do(lambda conn: history(conn, kind="match", limit=10_000))
    return {it.subject for it in entries if it.rule != "mouseflow-bot"}


def test_sessions_that_end_while_the_api_is_away_at_the_first_start_count(tmp_path):
    world, found = World(tmp_path, RULES, websites=1), {}

    async def work():
        found["before"] = world.sim.add("site-000", "phone-bounce", start=-1800)
        world.sim.fail("status", status=503, times=10_000)
        async with world.daemon():
            found["meanwhile"] = world.sim.add("site-000", "phone-bounce", start=60)
            await asyncio.sleep(20 * 60)
            world.sim.faults.clear()
            await asyncio.sleep(3600)

    virtually(work)
    assert matched(world) == {found["meanwhile"]}


def test_a_restart_while_the_clock_is_right_looks_back_no_further(tmp_path):
    world, found = World(tmp_path, RULES, websites=1), {}

    async def work():
        found["before"] = world.sim.add("site-000", "phone-bounce", start=-1800)
        await world.runs(minutes=10)
        found["meanwhile"] = world.sim.add("site-000", "phone-bounce", start=60)
        await asyncio.sleep(600)
        await world.runs(minutes=10)

    virtually(work)
    assert matched(world) == {found["meanwhile"]}


def test_a_website_that_is_added_while_the_bot_runs_is_watched_without_its_past(tmp_path):
    world, found = World(tmp_path, RULES, websites=2), {}

    async def work():
        added = world.sim.world.sites.pop("site-001")
        async with world.daemon():
            await asyncio.sleep(1800)
            world.sim.world.sites["site-001"] = added
            for name, start in (("past", -7200), ("just before", -90), ("meanwhile", 1000)):
                found[name] = world.sim.add("site-001", "phone-bounce", start=start)
            await asyncio.sleep(7200)

    virtually(work)
    assert matched(world) == {found["meanwhile"]}
    assert {place for _at, place in world.polls()} == {"site-000", "site-001"}
