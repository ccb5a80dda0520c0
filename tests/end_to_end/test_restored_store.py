"""A store that is older than what was done with it: nothing is posted twice."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from daemon_world import Daemon

from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

SITE = "8fc2ace2-75bc-8ba4-b424-c8916670b990"
RULE = """
version: 1
rules:
  checkout:
    watch: recordings
    when: {saw_page: /checkout*}
    do:
      tag: [friction, checkout]
      slack: {channel: "#checkout-alerts"}
"""


@pytest.fixture
def sim():
    with Simulator(seed=3, sites=[website(SITE, "myshop.com", plan=Plan(per_day=0))]) as simulator:
        yield simulator


@pytest.fixture
def daemon(tmp_path, sim):
    bot = Daemon(tmp_path, sim, RULE)
    yield bot
    if bot.process is not None:
        bot.kill()


def posts(sim, channel="#checkout-alerts"):
    return sim.slack.in_channel(channel)


def visits(sim, count):
    for _ in range(count):
        sim.add("myshop.com", "checkout-friction", start=-79.5, calm_for=80)


def started(sim, daemon, times):
    sim.wait_until(lambda: len(daemon.events("daemon.started")) == times)


def back_up(daemon, how):
    """A copy of the store as it is now, while the bot runs on."""
    folder = daemon.folder
    match how:
        case "backup":
            assert daemon.run("backup", "copy.db").returncode == 0
        case "snapshot":
            shutil.copytree(folder / "data", folder / "snapshot")


def put_back(daemon, how):
    folder = daemon.folder
    match how:
        case "backup":
            done = daemon.run("restore", "copy.db")
            assert done.returncode == 0, done.stderr
        case "snapshot":
            for file in (folder / "snapshot").iterdir():
                if file.name != "bot.db.generation":  # as if only the database were copied
                    shutil.copy(file, folder / "data" / file.name)


def done(daemon):
    """How many posts of matches have ended well, as the store has it."""
    with closing(sqlite3.connect(daemon.folder / "data" / "bot.db")) as raw:
        query = "SELECT count(*) FROM steps WHERE action = 'slack' AND state = 'done'"
        return raw.execute(query).fetchone()[0]


@pytest.mark.parametrize("how", ["backup", "snapshot"])
def test_three_matches_posted_after_the_copy_are_not_posted_again(sim, daemon, how):
    daemon.start()
    started(sim, daemon, 1)
    back_up(daemon, how)
    visits(sim, 3)
    sim.wait_until(lambda: len(posts(sim)) == 3)
    assert daemon.stop() == 0
    put_back(daemon, how)

    daemon.start()
    started(sim, daemon, 2)
    visits(sim, 1)
    sim.wait_until(lambda: len(posts(sim)) == 4)
    sim.wait_until(lambda: [each for each in posts(sim, "#ops") if "older copy" in str(each)])
    sim.wait_until(lambda: done(daemon) == 4)
    assert daemon.stop() == 0
    assert len(posts(sim)) == 4
    assert len([post for post in posts(sim, "#ops") if "restored" in post.text]) == 1


def test_a_bot_that_is_killed_while_it_looks_up_its_posts_does_not_repeat_them(sim, daemon):
    daemon.start()
    started(sim, daemon, 1)
    back_up(daemon, "backup")
    visits(sim, 4)
    sim.wait_until(lambda: len(posts(sim)) == 4)
    assert daemon.stop() == 0
    put_back(daemon, "backup")
    for times in range(2, 5):
        daemon.start()
        started(sim, daemon, times)
        daemon.kill()
    daemon.start()
    visits(sim, 1)
    sim.wait_until(lambda: done(daemon) == 5)
    assert daemon.stop() == 0
    assert len(posts(sim)) == 5
    assert len(daemon.events("store.restored")) == 1


def test_a_start_after_a_kill_is_no_restore(sim, daemon):
    daemon.start()
    visits(sim, 2)
    sim.wait_until(lambda: len(posts(sim)) == 2)
    daemon.kill()
    daemon.start()
    started(sim, daemon, 2)
    assert daemon.stop() == 0
    assert not daemon.events("store.restored")
    assert len(posts(sim)) == 2
