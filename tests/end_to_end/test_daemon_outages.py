"""What fails while the daemon runs is told to people once, shown by `status`, and so is its end."""

import asyncio
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs
from virtual_world import World, virtually

from bot.cli import status
from bot.store.audit import history
from bot.store.recordings import set_watermark

RULES = """
version: 1
rules:
  on-the-phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
"""


def failing(world):
    """What `status` shows of it."""
    now = datetime.now(UTC)
    seen = world.store.do(lambda conn: status.gather(conn, now, status.ALIVE))
    return [(it.what, it.since, it.reason) for it in seen.failing]


def test_a_refused_key_is_told_at_once_and_once_and_so_is_its_end(tmp_path):
    world = World(tmp_path, RULES, websites=3)

    async def work():
        async with world.daemon():
            await asyncio.sleep(200)
            began = datetime.now(UTC)
            world.sim.fail("status", status=401, times=10_000)
            await asyncio.sleep(70)
            (told,) = world.told_whole()
            assert "Mouseflow rejected the API key" in told
            assert "mouseflow.api_key" in told
            assert {what for what, _, _ in failing(world)} == {
                f"recordings of shop-00{n}.com" for n in range(3)
            }
            for _what, since, reason in failing(world):
                assert 0 <= (since - began).total_seconds() <= 70
                assert "rejected the email and key" in reason or "401" in reason
            await asyncio.sleep(7200)
            assert len(world.told()) == 1
            world.sim.faults.clear()
            await asyncio.sleep(7200)
        assert failing(world) == []

    virtually(work)
    assert len(world.told()) == 2
    assert "Mouseflow is reachable again" in world.told()[1]


def test_a_short_outage_is_shown_and_a_longer_one_is_told_once_with_its_end(tmp_path):
    world = World(tmp_path, RULES, websites=3)

    async def work():
        async with world.daemon():
            await asyncio.sleep(200)
            world.sim.fail("status", status=503, times=10_000)
            await asyncio.sleep(120)
            assert len(failing(world)) == 3
            world.sim.faults.clear()
            await asyncio.sleep(300)
            assert (world.told(), failing(world)) == ([], [])
            world.sim.fail("status", status=503, times=10_000)
            await asyncio.sleep(3600)
            (told,) = world.told()
            assert "Mouseflow can't be reached since" in told
            for number in (0, 0, 2):
                world.sim.add(f"shop-00{number}.com", "phone-bounce", start=-1200)
            world.sim.faults.clear()
            await asyncio.sleep(1800)

    virtually(work)
    assert len(world.told()) == 2
    assert "Mouseflow is reachable again" in world.told()[1]
    said = "Caught up: 3 recordings of 2 websites, 3 matches."
    assert said in world.told_whole()[1]
    told = world.store.do(lambda conn: history(conn, kind="notice"))
    assert said in str(told[0].details)


def test_what_was_told_before_a_restart_is_not_told_again_but_its_end_is(tmp_path):
    world = World(tmp_path, RULES, websites=1)

    async def work():
        async with world.daemon():
            await asyncio.sleep(200)
            world.sim.fail("status", status=401, times=10_000)
            await asyncio.sleep(1000)
        world.sim.faults.clear()
        async with world.daemon():  # with the right key
            await asyncio.sleep(600)
        async with world.daemon():
            await asyncio.sleep(600)

    virtually(work)
    assert ["rejected the API key" in it for it in world.told()] == [True, False]
    assert "Mouseflow is reachable again" in world.told()[1]


def test_a_website_that_no_rule_watches_any_more_does_not_fail_for_ever(tmp_path):
    world = World(tmp_path, RULES, websites=2)

    async def work():
        async with world.daemon():
            await asyncio.sleep(200)
            world.sim.fail("status", status=503, times=10_000)
            await asyncio.sleep(120)
            assert len(failing(world)) == 2
            only = RULES.replace("recordings\n", "recordings\n    websites: [shop-000.com]\n")
            world.rule_file.write_text(only)
            await asyncio.sleep(120)
            assert [what for what, _, _ in failing(world)] == ["recordings of shop-000.com"]

    virtually(work)


@pytest.mark.parametrize("daemon", ["alive", "the daemon is not running"])
def test_what_fails_is_shown_of_a_daemon_that_is_alive(tmp_path, capsys, daemon):
    world = World(tmp_path, RULES, websites=1)
    kept = (
        b'{"failing": [{"what": "recordings of a.com", "kind": "Unreachable", "trouble": "away",'
        b'"reason": "no answer", "since": "2026-03-10T08:00:00Z", "times": 3}], "things": 1}'
    ).decode()
    now = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
    world.store.do(lambda conn: set_watermark(conn, "outages", "", kept, now))
    status.show(
        world.store.do(lambda conn: status.gather(conn, now, daemon, runs=daemon == "alive"))
    )
    line = "recordings of a.com\n    since 2026-03-10 08:00:00Z (60m ago)\n    no answer\n"
    told = capsys.readouterr().out
    assert (line in told) is (daemon == "alive")
    assert ("failing: 1 poll" in told) is (daemon == "alive")


EVERYTHING = """
version: 1
rules:
  phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone, slack: {channel: "#alerts"}}
  funnels: {watch: funnels, when: {conversion: {under: 1%}}, do: {slack: {}}}
  sites: {watch: websites, when: {status: Stopped}, do: {slack: {}}}
budgets:
  credits:
    websites: ["*"]
    recordings: 100000
    period: month
    steps: {80%: {slack: {}}}
reports:
  weekly: {at: mon 09:00, do: {slack: {}}}
"""


def test_a_day_of_web_pages_from_mouseflow_is_told_twice_and_logged_little(tmp_path):
    world = World(
        tmp_path, EVERYTHING, websites=3, BOT_POLL__RECORDINGS="1h", BOT_POLL__START="3h",
        BOT_POLL__REPORTS="3h",
    )  # fmt: skip
    logs = []

    async def work():
        async with world.daemon():
            await asyncio.sleep(300)
            world.sim.add("shop-000.com", "phone-bounce", start=-4000)
            with capture_logs() as logged:
                world.sim.fail("html", times=10**6)
                await asyncio.sleep(24 * 3600)
                logs.extend(line for line in logged if line["log_level"] != "debug")
            assert len(world.told()) == 1
            world.sim.faults.clear()
            await asyncio.sleep(2 * 3600)

    virtually(work)
    assert len(logs) < 20, [line["event"] for line in logs]
    assert len(world.told()) == 2, world.told()
    assert "reachable again" in world.told()[1]


def test_one_of_two_websites_of_one_name_that_fails_is_told(tmp_path):
    world = World(tmp_path, RULES, websites=2)
    for key in ("site-000", "site-001"):
        world.sim.intervene(key, name="shop.com")

    async def work():
        async with world.daemon():
            await asyncio.sleep(200)
            world.sim.fail("status", status=403, times=10_000, path="site-001/recordings")
            await asyncio.sleep(1800)
            (told,) = world.told_whole()
            assert "recordings of shop.com (site-001)" in told
            assert [what for what, _, _ in failing(world)] == ["recordings of shop.com (site-001)"]
            world.sim.faults.clear()
            await asyncio.sleep(1800)
        assert failing(world) == []

    virtually(work)
    assert "All polls work again" in world.told()[-1]
