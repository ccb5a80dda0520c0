"""A store that is taken away under the daemon: people are told, and it ends in time, always."""

import sys

import bot_process
import pytest
from daemon_world import RULE, Daemon

from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan


@pytest.fixture
def sim():
    site = website("8fc2ace2-75bc-8ba4-b424-c8916670b990", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site]) as simulator:
        yield simulator


@pytest.mark.parametrize("slack", ["works", "hangs"])
def test_a_daemon_whose_store_is_deleted_says_so_and_ends(tmp_path, sim, slack):
    daemon = Daemon(tmp_path, sim, RULE)
    daemon.start()
    sim.wait_until(lambda: daemon.events("daemon.started"))
    if slack == "hangs":
        sim.fail("delay", side="slack", path="chat.postMessage", seconds=3600, times=100)
    for file in (tmp_path / "data").glob("bot.db*"):
        file.unlink()
    assert daemon.process is not None
    code = daemon.process.wait(300)
    daemon.process = None
    assert code == 1
    if slack == "works":
        (told,) = sim.slack.in_channel("#ops")
        assert "The bot has stopped: its store is lost" in str(told)
        assert "deleted or replaced" in str(told)


HANGS = """
import asyncio, time
from bot.cli import run

run.LONGEST_STOP = 0.2

async def work():
    stop = asyncio.Event()
    limit = asyncio.create_task(run._limit_stop(stop))
    stop.set()
    await asyncio.sleep(0.01)
    time.sleep(3600)  # the event loop hangs

asyncio.run(work())
"""


def test_a_stop_that_hangs_is_forced():
    done = bot_process.run([sys.executable, "-c", HANGS], timeout=300)
    assert done.returncode == 1
    assert "daemon.stop_forced" in done.stdout + done.stderr
