"""Several accounts on a virtual clock: who starts again, when, and what never crosses over."""

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs
from virtual_world import Prompt, World, gaps, virtually

from bot import supervisor
from bot.config.load import load
from bot.config.settings import allowed
from bot.daemon import Running
from bot.errors import ConfigError
from bot.logs import STRUCK, scrubber
from bot.reload import Reload
from bot.rule_reader import RuleReader
from bot.store import in_memory_copy

ENOUGH = {
    "BOT_MOUSEFLOW__REGION": "eu",
    "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
    "BOT_MOUSEFLOW__API_KEY": "key",
    "BOT_WEB__LISTEN": "",
}
BUDGET = """
version: 1
rules:
  on-the-phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
budgets:
  credits:
    websites: "*"
    recordings: 3
    period: day
    steps: {100%: {recording: stop}}
"""


def accounts_of(*names):
    settings = load(None, ENOUGH)
    return {name: settings.of_account(name, names) for name in names}


async def nothing(_settings):
    """Runs beside an account."""


@dataclass
class Group:
    """Accounts that do what the test says: `fails` has the error of each that can't run."""

    accounts: dict
    fails: dict = field(default_factory=dict)
    begun: dict = field(default_factory=dict)
    keys: list = field(default_factory=list)
    shared: dict = field(default_factory=dict)
    stores: dict = field(default_factory=dict)
    surprise: Exception | None = None
    reads: int = 0
    reading: float = 0.1

    async def read_again(self):
        self.reads += 1
        await asyncio.sleep(self.reading)
        if self.surprise is not None:
            raise self.surprise
        return self.accounts

    async def run_account(self, settings, *, stop, reload, reread, shared):
        name = settings.account
        self.begun.setdefault(name, []).append(asyncio.get_running_loop().time())
        self.keys.append(settings.mouseflow.email)
        self.shared[name] = shared
        if name in self.fails:
            raise self.fails[name]
        started = asyncio.Event()
        started.set()
        store = self.stores.setdefault(name, Prompt(in_memory_copy("sqlite:///none.db")))
        async with shared.at_work(Running(store, started, nothing_wrong, None)):
            ending = asyncio.create_task(stop.wait())
            while not ending.done() and name not in self.fails:
                await asyncio.wait({ending}, timeout=1)
            ending.cancel()
            if name in self.fails:
                raise self.fails[name]

    def start(self):
        self.stop, self.reload = asyncio.Event(), asyncio.Event()
        return asyncio.create_task(
            supervisor.run(
                self.accounts,
                stop=self.stop,
                reload=self.reload,
                reread=self.read_again,
                beside=nothing,
                run_account=self.run_account,
            )
        )


async def nothing_wrong():
    return None


@pytest.mark.parametrize("error", [ConfigError("a wrong key"), RuntimeError("a bug")])
def test_an_account_that_fails_starts_again_less_and_less_often(error):
    async def work():
        group = Group(accounts_of("shop", "outlet"), {"shop": error})
        running = group.start()
        await asyncio.sleep(2000)
        assert [round(gap) for gap in gaps(group.begun["shop"])] == [
            15, 30, 60, 120, 240, 300, 300, 300, 300, 300,
        ]  # fmt: skip
        assert len(group.begun["outlet"]) == 1
        del group.fails["shop"]
        await asyncio.sleep(3600)
        well = len(group.begun["shop"])
        group.fails["shop"] = error
        await asyncio.sleep(20)  # it ran, so its next start is soon again
        assert len(group.begun["shop"]) == well + 1
        assert len(group.begun["outlet"]) == 1
        group.stop.set()
        await running

    with capture_logs() as logs:
        virtually(work)
    assert [each["event"] for each in logs].count("account.recovered") == 1


def test_a_reload_starts_it_at_once_with_its_settings_of_then():
    async def work():
        group = Group(accounts_of("shop", "outlet"), {"shop": ConfigError("a wrong key")})
        running = group.start()
        await asyncio.sleep(100)
        before = len(group.begun["shop"])
        other = load(None, ENOUGH | {"BOT_MOUSEFLOW__EMAIL": "new@example.com"})
        names = tuple(group.accounts)
        group.accounts = {name: other.of_account(name, names) for name in (*names, "third")}
        del group.fails["shop"]
        group.reload.set()
        await asyncio.sleep(1)
        assert len(group.begun["shop"]) == before + 1
        assert group.keys[-1] == "new@example.com"
        group.stop.set()
        await running

    with capture_logs() as logs:
        virtually(work)
    [need] = [each for each in logs if each["event"] == "accounts.need_restart"]
    assert need["accounts"] == ["third"]


def test_accounts_that_read_the_configuration_at_the_same_moment_share_the_answer():
    async def work():
        names = ("shop", "outlet", "third")
        wrong = {name: ConfigError("a wrong key") for name in names[:2]}
        group = Group(accounts_of(*names), wrong)
        running = group.start()
        await asyncio.sleep(10)
        assert group.reads == 0
        group.reload.set()
        await asyncio.sleep(1)
        assert {name: len(begun) for name, begun in group.begun.items()} == {
            "shop": 2, "outlet": 2, "third": 1,
        }  # fmt: skip
        assert group.reads == 2  # which accounts there are, and the settings of both
        group.stop.set()
        await running

    virtually(work)


def test_a_stop_does_not_wait_for_a_slow_configuration():
    async def work():
        group = Group(accounts_of("shop", "outlet"), {"shop": ConfigError("a wrong key")})
        group.reading = 60
        running = group.start()
        await asyncio.sleep(20)
        assert group.reads == 1
        group.stop.set()
        async with asyncio.timeout(1):
            await running

    virtually(work)


def test_a_surprise_while_the_configuration_is_read_ends_no_account():
    async def work():
        group = Group(accounts_of("shop", "outlet"), {"shop": ConfigError("a wrong key")})
        group.surprise = LookupError("a bug")
        running = group.start()
        await asyncio.sleep(1)
        for before in (1, 2):
            group.reload.set()
            await asyncio.sleep(1)
            assert len(group.begun["shop"]) == before + 1
        assert len(group.begun["outlet"]) == 1
        group.stop.set()
        await running

    virtually(work)


def test_it_ends_with_an_error_only_if_none_can_run():
    async def work():
        wrong = {name: ConfigError(f"the key of {name}") for name in ("shop", "outlet")}
        group = Group(accounts_of("shop", "outlet"), wrong)
        with pytest.raises(ConfigError) as caught:
            await group.start()
        assert str(caught.value).splitlines() == [
            "No account can run.", "shop: the key of shop", "outlet: the key of outlet",
        ]  # fmt: skip

    virtually(work)


def test_a_store_is_that_of_one_account_whatever_address_leads_to_it():
    async def work():
        group = Group(accounts_of("shop", "outlet"))
        store = Prompt(in_memory_copy("sqlite:///none.db"))
        group.stores = {"shop": store, "outlet": store}
        running = group.start()
        await asyncio.sleep(100)
        assert {name: len(begun) for name, begun in group.begun.items()} == {"shop": 1, "outlet": 3}
        group.stop.set()
        await running
        # The shop is called otherwise from now on, and keeps its store.
        group = Group(accounts_of("store", "outlet"))
        group.stores = {"store": store}
        running = group.start()
        await asyncio.sleep(100)
        assert {name: len(begun) for name, begun in group.begun.items()} == {
            "store": 1, "outlet": 1,
        }  # fmt: skip
        group.stop.set()
        await running

    with capture_logs() as logs:
        virtually(work)
    [first, *_] = [each for each in logs if each["event"] == "account.failed"]
    assert "is the store of shop; each account needs its own" in first["reason"]


def test_accounts_of_one_slack_token_share_the_pace_of_its_channels():
    async def work():
        names = ("shop", "outlet", "other", "silent", "mute")
        tokens = {"shop": "xoxb-1", "outlet": "xoxb-1", "other": "xoxb-2"}
        accounts = {
            name: load(
                None, ENOUGH | ({"BOT_SLACK__BOT_TOKEN": tokens[name]} if name in tokens else {})
            ).of_account(name, names)
            for name in names
        }
        group = Group(accounts)
        running = group.start()
        await asyncio.sleep(1)
        paces = {name: shared.paces for name, shared in group.shared.items()}
        assert paces["shop"] is paces["outlet"]
        assert len({id(each) for each in paces.values()}) == 4
        paces["shop"].take("slack:#alerts")
        for _ in range(4):
            paces["outlet"].take("slack:#alerts")
        assert paces["outlet"].wait("slack:#alerts") > 0
        assert paces["outlet"].wait("slack:#other") == 0
        assert paces["other"].wait("slack:#alerts") == 0
        group.stop.set()
        await running

    virtually(work)


def test_budgets_and_pauses_of_one_account_never_touch_the_other(tmp_path):
    async def work():
        worlds = {}
        for name in ("shop", "outlet"):
            (tmp_path / name).mkdir()
            worlds[name] = World(tmp_path / name, BUDGET, websites=1, BOT_WEB__LISTEN="")
            worlds[name].settings = worlds[name].settings.of_account(name, ("shop", "outlet"))

        async def run_account(settings, *, stop, reload, reread, shared):
            async with worlds[settings.account].daemon(shared=shared):
                await stop.wait()

        stop = asyncio.Event()
        running = asyncio.create_task(
            supervisor.run(
                {name: world.settings for name, world in worlds.items()},
                stop=stop,
                reload=asyncio.Event(),
                reread=None,
                beside=nothing,
                run_account=run_account,
            )
        )
        shop, outlet = worlds["shop"].sim, worlds["outlet"].sim
        await asyncio.sleep(60)
        shop.fail("status", status=429, retry_after=3600, times=1)
        for number in range(5):
            outlet.add("site-000", "phone-bounce", start=number)
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(3000)
        stop.set()
        await running
        assert len(worlds["shop"].polls(began + 120)) == 0
        assert len(worlds["outlet"].polls(began + 120)) > 30
        assert len(outlet.effects()) == 5
        assert not shop.effects()
        status = {name: _status(world) for name, world in worlds.items()}
        assert status == {"shop": "Recording", "outlet": "Stopped"}

    virtually(work)


def _status(world):
    [site] = world.sim.world.sites.values()
    return site.status


async def test_a_secret_at_work_stays_redacted_when_another_account_reads_a_new_one():
    settings = load(None, ENOUGH | {"BOT_MOUSEFLOW__API_KEY": "key-at-work"})
    reader = RuleReader(settings.rules.paths, allowed(settings))
    at_work = Reload(
        settings, None, None, None, reader=reader, seen=await reader.signature(),
        reread=None, rotate=None, sync=None, wake=None,
    )  # fmt: skip
    running = asyncio.create_task(at_work.run(asyncio.Event()))
    try:
        await asyncio.sleep(0)
        scrubber.register(["key-of-the-file"], settings.account)  # as `accounts` of the commands
        assert scrubber.text("key-at-work, key-of-the-file") == f"{STRUCK}, {STRUCK}"
    finally:
        running.cancel()
        scrubber.register(())
        scrubber.register((), " at work")
