"""A configuration that can't be read again: people are told once, and once that it is mended."""

import asyncio
import signal
from functools import partial

import httpx
import pytest
from daemon_world import Daemon
from virtual_world import World, virtually

from bot.config import Settings
from bot.errors import ConfigError
from bot.store.rules import broken_configuration
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULES = """
version: 1
rules:
  checkout: {watch: recordings, when: {saw_page: /checkout*}, do: {tag: checkout}}
"""
REASON = "config.toml:3: mouseflow.api_key is empty"


class Configuration:
    """What SIGHUP finds: an error, or the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reason = ""

    async def __call__(self) -> Settings:
        if self.reason:
            raise ConfigError(self.reason)
        return self.settings


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, RULES, websites=1)
    yield made
    made.store.close()


async def reloaded(world, configuration, reason):
    configuration.reason = reason
    world.reload.set()
    await asyncio.sleep(60)


def broken(world):
    return world.store.do(broken_configuration)


def test_a_broken_configuration_is_told_once_and_once_when_it_is_mended(world):
    configuration = Configuration(world.settings)
    reload = partial(reloaded, world, configuration)

    async def work():
        async with world.daemon(reread=configuration):
            await reload("")
            assert world.told() == []
            await reload(REASON)
            await reload(REASON)
            [told] = world.told_whole()
            assert "Configuration not reloaded: it has errors" in told
            assert REASON in told
            assert broken(world).reason == REASON
            await reload("")
            await reload("")
            [_, ended] = world.told()
            assert "its errors are fixed" in ended
            assert broken(world) is None

    virtually(work)


def test_a_restart_ends_what_was_told_of_a_broken_configuration(world):
    configuration = Configuration(world.settings)

    async def work():
        async with world.daemon(reread=configuration):
            await reloaded(world, configuration, REASON)
        assert broken(world).reason == REASON
        configuration.reason = ""
        async with world.daemon(reread=configuration):
            await asyncio.sleep(60)
        [_, ended] = world.told()
        assert "its errors are fixed" in ended
        assert broken(world) is None

    virtually(work)


def test_an_account_that_starts_again_with_what_was_read_before_ends_nothing(world):
    configuration = Configuration(world.settings)

    async def work():
        async with world.daemon(reread=configuration):
            await reloaded(world, configuration, REASON)
        async with world.daemon(reread=configuration):
            await asyncio.sleep(60)
            assert broken(world).reason == REASON
            await reloaded(world, configuration, "")
            [_, ended] = world.told()
            assert "its errors are fixed" in ended

    virtually(work)


def test_status_and_the_page_say_that_the_configuration_is_broken(tmp_path):
    with Simulator(seed=3, sites=[website("w1", "myshop.com", plan=Plan(per_day=0))]) as sim:
        daemon = Daemon(tmp_path, sim, RULES, BOT_WEB__LISTEN="127.0.0.1:0")
        daemon.start()
        sim.wait_until(lambda: daemon.events("daemon.started"))
        (tmp_path / "config.toml").write_text("[mouseflow\n")
        daemon.tell(signal.SIGHUP)
        sim.wait_until(lambda: any("not reloaded" in it.text for it in sim.slack.messages))
        (tmp_path / "config.toml").unlink()  # `status` could not read it either
        said = daemon.run("status").stdout
        assert "configuration not reloaded" in said
        assert "config.toml:1" in said
        [served] = daemon.events("web.started")
        assert "Configuration not reloaded: it has errors" in httpx.get(served["url"]).text
        daemon.tell(signal.SIGHUP)
        sim.wait_until(lambda: any("errors are fixed" in it.text for it in sim.slack.messages))
        assert "configuration" not in daemon.run("status").stdout
        daemon.stop()
