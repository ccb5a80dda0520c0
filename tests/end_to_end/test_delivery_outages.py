"""What waits for Mouseflow or Slack for hours: told once each, logged little, done once."""

import asyncio
from datetime import UTC, datetime

from structlog.testing import capture_logs
from virtual_world import World, virtually

from bot.cli import status
from bot.errors import OddAnswer

RULES = """
version: 1
rules:
  seen:
    watch: recordings
    when: {pages: {min: 1}}
    do: {tag: seen, slack: {channel: "#alerts"}}
"""


def visited(world, visits):
    for number in range(visits):
        world.sim.add("shop-000.com", "checkout-friction", start=-4000 - 60 * number)


def delivered(world):
    done = [call.path for call in world.sim.calls
            if call.path.endswith("/tag") and call.status == 200]  # fmt: skip
    return len(done), len(set(done)), len(world.told("#alerts"))


def dead(world):
    now = datetime.now(UTC)
    return world.store.do(lambda conn: status.gather(conn, now, status.ALIVE)).queue.dead


def test_writes_that_fail_for_hours_while_reads_work(tmp_path):
    world = World(tmp_path, RULES, websites=1, BOT_POLL__START="3h", BOT_POLL__RECORDINGS="10m")

    async def work():
        visited(world, 20)
        world.sim.fail("status", status=500, method="POST", times=100_000)
        async with world.daemon():
            await asyncio.sleep(240)
            assert world.told() == []
            await asyncio.sleep(4 * 3600)
            (told,) = world.told()
            assert "Mouseflow does not accept actions: 20 actions wait" in told
            assert delivered(world) == (
                0,
                0,
                20,
            )  # they wait for a while only
            world.sim.faults.clear()
            await asyncio.sleep(1800)

    with capture_logs() as logs:
        virtually(work)
    assert delivered(world) == (20, 20, 20)
    assert len(world.told()) == 2
    assert "again after 4 h" in world.told()[1]
    assert dead(world) == 0
    noisy = [line["event"] for line in logs if line["log_level"] in ("warning", "error")]
    assert len(noisy) <= 5, noisy


class Captive:
    """A Slack behind a portal: it answers with a web page while `shut`."""

    def __init__(self, inner):
        self.inner, self.shut, self.dry_run_log = inner, True, inner.dry_run_log

    async def post(self, post):
        if self.shut:
            raise OddAnswer("Slack's address answered 200 with a web page, not as Slack does")
        return await self.inner.post(post)

    async def find(self, channel, key, since, thread=""):
        if self.shut:
            raise OddAnswer("Slack's address answered 200 with a web page, not as Slack does")
        keys = [post.key for post in self.dry_run_log.posts]
        return "1" if key in keys else None

    async def check_channel(self, channel):
        await self.find(channel, "", None)


def test_hours_without_slack_are_told_when_they_are_over(tmp_path):
    world = World(tmp_path, RULES, websites=1, BOT_POLL__START="3h", BOT_POLL__RECORDINGS="10m")
    world.slack = Captive(world.slack)

    async def work():
        visited(world, 20)
        async with world.daemon():
            await asyncio.sleep(4 * 3600)
            assert (world.told(), world.told("#alerts")) == ([], [])
            world.slack.shut = False
            await asyncio.sleep(1800)

    with capture_logs() as logs:
        virtually(work)
    assert delivered(world) == (20, 20, 20)
    (told,) = world.told()
    assert "Slack accepts messages again after" in told
    assert dead(world) == 0
    noisy = [line["event"] for line in logs if line["log_level"] in ("warning", "error")]
    assert len(noisy) < 20, noisy
