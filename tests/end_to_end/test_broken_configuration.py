"""A configuration that can't be read again: people are told once, and once that it is mended."""

import asyncio
import signal
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import httpx
import pytest
from daemon_world import Daemon
from virtual_world import World, virtually

from bot.config import Settings
from bot.errors import AccountRemoved, ConfigError
from bot.notices import Notices
from bot.store import open_store
from bot.store.audit import history
from bot.store.rules import broken_configuration
from bot.store.sharing import Alone, Replica
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
        self.error = ConfigError

    async def __call__(self) -> Settings:
        if self.reason:
            raise self.error(self.reason)
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


def test_other_errors_are_told_and_the_first_message_says_so(world):
    configuration = Configuration(world.settings)

    async def work():
        async with world.daemon(reread=configuration):
            await reloaded(world, configuration, REASON)
            await reloaded(world, configuration, "config.toml:9: another error")
            [_, told] = world.told_whole()
            assert "another error" in told
            notices = world.store.do(lambda conn: history(conn, kind="notice"))
            assert len(notices) == 2
            await reloaded(world, configuration, "")
            [*_, ended] = world.told()
            assert "its errors are fixed" in ended

    virtually(work)
    assert len(world.told()) == 3


def test_a_surprise_while_the_configuration_is_read_ends_nothing(world):
    configuration = Configuration(world.settings)
    configuration.error = LookupError

    async def work():
        async with world.daemon(reread=configuration):
            await reloaded(world, configuration, "a text of anything")
            assert broken(world).reason.startswith("internal error: LookupError at ")
            await reloaded(world, configuration, "")
            [_, ended] = world.told()
            assert "its errors are fixed" in ended

    virtually(work)


def test_an_account_that_is_gone_from_the_configuration_runs_until_a_restart(world):
    configuration = Configuration(world.settings)
    configuration.error = AccountRemoved

    async def work():
        async with world.daemon(reread=configuration):
            await reloaded(world, configuration, "[accounts.shop] is gone from the configuration")
            [told] = world.told_whole()
            assert "It runs until the bot restarts" in told
            assert "would fail" not in told
            assert "errors" not in told
            assert broken(world).removed
            await reloaded(world, configuration, "")
            [_, ended] = world.told()
            assert "the account is in it again" in ended

    virtually(work)


@pytest.mark.parametrize("ends", ["mended", "stopped"])
def test_each_of_several_bots_has_a_configuration_of_its_own(tmp_path, ends):
    now, there = datetime(2026, 3, 10, tzinfo=UTC), ["r1", "r2"]
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        context = SimpleNamespace(store=store, zone=ZoneInfo("UTC"))

        def says(mark, reason):
            store.sharing = OneOf(mark, there)
            notices = Notices(context, ops="#ops", wake=lambda: None, clock=lambda: now)
            asyncio.run(notices.check_configuration(reason))

        def told():
            said = store.do(lambda conn: history(conn, kind="notice"))
            return [line.text.partition(":")[0] for line in reversed(said)]

        says("r1", REASON)
        says("r2", "config.toml:9: another error")
        begun = [f"Configuration of the bot {n} on host not reloaded" for n in (1, 2)]
        assert told() == begun
        says("r1", "")
        assert told() == [*begun, "Configuration of the bot 1 on host reloaded"]
        assert store.do(broken_configuration).bot == "2 on host"
        says("r1", "config.toml:9: another error")  # people know of it
        says("r1", "")
        assert len(told()) == 3
        if ends == "mended":
            says("r2", "")
            assert told()[-1] == "Configuration of the bot 2 on host reloaded"
        else:
            there.remove("r2")
            says("r1", "")
            assert told()[-1] == "The bot whose configuration had errors has stopped."
        assert len(told()) == 4
        assert store.do(broken_configuration) is None


class OneOf(Alone):
    """One of the bots that share a store."""

    shares = True

    def __init__(self, mark, there):
        self.mark, self.there = mark, there

    def alive(self, conn):
        return list(self.there)

    def replicas(self, conn):
        return [
            Replica(
                id=mark, host="host", process=int(mark[1:]), version="1", rules="",
                started=datetime(2026, 3, 10, tzinfo=UTC), age=0.0, leads=mark == "r1",
            )
            for mark in self.there
        ]  # fmt: skip


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
        assert (
            "Configuration not reloaded: it has errors" in httpx.get(served["url"], timeout=60).text
        )
        daemon.tell(signal.SIGHUP)
        sim.wait_until(lambda: any("errors are fixed" in it.text for it in sim.slack.messages))
        assert "configuration" not in daemon.run("status").stdout
        daemon.stop()
