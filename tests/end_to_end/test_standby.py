"""A bot waits for a PostgreSQL store that somebody uses alone, and then takes it over."""

import pytest
from daemon_world import Daemon

from bot.store import open_store
from mouseflow.simulator.server import Simulator


@pytest.fixture
def bots(tmp_path, postgres_url):
    """A bot on PostgreSQL, and one with a file of its own, whose requests are the clock."""
    with Simulator(seed=3) as sim:
        made = []
        for name, settings in (("ours", {"BOT_STORE__URL": postgres_url}), ("other", {})):
            (tmp_path / name).mkdir()
            made.append(Daemon(tmp_path / name, sim, **settings))
        yield sim, *made
        for bot in made:
            if bot.process is not None:
                bot.kill()


def test_a_bot_waits_for_a_store_that_is_used_alone(bots, postgres_url):
    sim, waiting, other = bots
    other.start()
    with open_store(postgres_url):
        waiting.start()
        sim.wait_until(lambda: waiting.events("store.standby"))
        assert waiting.stop() == 0
        waiting.start()
        sim.wait_until(lambda: len(waiting.events("store.standby")) == 2)
        assert not waiting.events("daemon.started")
    sim.wait_until(lambda: waiting.events("store.taken_over"))
    sim.wait_until(lambda: waiting.events("daemon.started"))
    assert waiting.stop() == 0
