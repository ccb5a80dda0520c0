"""Two bots on one PostgreSQL database: one works, the other waits and takes over."""

import pytest
from daemon_world import Daemon

from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULE = """
version: 1
rules:
  checkout:
    watch: recordings
    when: {saw_page: /checkout*}
    do:
      tag: friction
      slack: {channel: "#checkout-alerts"}
"""


@pytest.fixture
def sim():
    site = website("8fc2ace2-75bc-8ba4-b424-c8916670b990", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site]) as simulator:
        yield simulator


@pytest.fixture
def bots(tmp_path, sim, postgres_url):
    two = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        two.append(Daemon(tmp_path / name, sim, RULE, BOT_STORE__URL=postgres_url))
    yield two
    for bot in two:
        if bot.process is not None:
            bot.kill()


def test_a_standby_takes_over_from_a_bot_that_was_killed(sim, bots):
    first, second = bots
    first.start()
    sim.wait_until(lambda: first.events("daemon.started"))
    second.start()
    sim.wait_until(lambda: second.events("store.standby"))
    assert second.stop() == 0
    second.start()
    sim.wait_until(lambda: len(second.events("store.standby")) == 2)
    sim.add("myshop.com", "checkout-friction", start=-79.5, calm_for=80)
    sim.wait_until(lambda: len(sim.slack.in_channel("#checkout-alerts")) == 1)
    assert not second.events("daemon.started")
    first.kill()
    sim.add("myshop.com", "checkout-friction", start=-79.5, calm_for=80)
    sim.wait_until(lambda: second.events("store.taken_over"))
    sim.wait_until(lambda: len(sim.slack.in_channel("#checkout-alerts")) == 2)
    assert second.stop() == 0
    assert len(sim.slack.in_channel("#checkout-alerts")) == 2
