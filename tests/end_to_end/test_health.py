"""What is stuck is unhealthy, an outage is not; trouble with the store is told directly."""

import asyncio
import time

import pytest
from postgres_proxy import Proxy
from virtual_world import World, virtually

from bot.account import Account
from bot.domain.pulse import Pulse, read
from bot.errors import TryLater
from bot.store import open_store

RULES = """
version: 1
rules:
  on-the-phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
"""


class Watched:
    """A world whose daemon's pulses are taken."""

    def __init__(self, folder, store=None) -> None:
        self.world = World(folder, RULES, websites=3, store=store)
        self.text = ""
        self.world.store.beat = self._take

    def _take(self, text):
        self.text = text

    @property
    def pulse(self) -> Pulse:
        found = read(self.text)
        assert found is not None
        return found

    def fault(self):
        return self.pulse.fault(time.time())

    def read_only(self, *, on: bool) -> None:
        number = int(on)
        self.world.store._store._connection.connection.driver_connection.execute(
            f"PRAGMA query_only = {number}"
        )


def test_an_hour_with_a_store_that_cant_be_written_is_told_and_so_is_its_end(tmp_path):
    seen = Watched(tmp_path)

    async def work():
        async with seen.world.daemon():
            await asyncio.sleep(300)
            assert seen.fault() is None
            seen.read_only(on=True)
            await asyncio.sleep(60)
            assert seen.world.told() == []
            await asyncio.sleep(600)
            (told,) = seen.world.told_whole()
            assert "The store can't be written since 10:05" in told
            assert "the file or its folder is read-on" in told
            assert "the store can't be written for" in seen.fault()
            await asyncio.sleep(3000)
            assert len(seen.world.told()) == 1
            seen.read_only(on=False)
            await asyncio.sleep(400)
            assert seen.fault() is None

    virtually(work)
    # The usual message after a gap says that it catches up.
    titles = ("The store works again", "catches up on what it missed")
    assert [sum(title in told for told in seen.world.told()) for title in titles] == [1, 1]
    assert len(seen.world.told()) == 3


def test_minutes_without_postgresql_are_told_once_and_then_all_goes_on(tmp_path, postgres_url):
    network = Proxy(postgres_url)
    with open_store(network.url) as store:
        seen = Watched(tmp_path, store)

        async def work():
            async with seen.world.daemon():
                await asyncio.sleep(100)
                assert seen.fault() is None
                network.cut()
                await asyncio.sleep(20)
                assert seen.fault() is None
                await asyncio.sleep(200)
                (told,) = seen.world.told_whole()
                assert "The store can't be written since 10:0" in told
                assert "PostgreSQL does not answer" in told
                assert "the store can't be written for" in seen.fault()
                network.heal()
                await asyncio.sleep(200)
                assert seen.fault() is None

        virtually(work)
        titles = ("can't be written", "The store works again")
        assert [sum(title in told for told in seen.world.told()) for title in titles] == [1, 1]
    network.close()


def test_what_can_not_be_told_is_tried_again_without_a_flood(tmp_path, monkeypatch):
    seen = Watched(tmp_path)
    posted = []

    async def post(_, message):
        posted.append(message)
        if len(posted) < 3:
            raise TryLater("Slack is down")
        return "1"

    monkeypatch.setattr(type(seen.world.slack), "post", post)

    async def work():
        async with seen.world.daemon():
            await asyncio.sleep(300)
            seen.read_only(on=True)
            await asyncio.sleep(3600)
            seen.read_only(on=False)

    virtually(work)
    assert len(posted) == 3


def test_a_long_outage_of_mouseflow_is_not_unhealthy(tmp_path):
    seen = Watched(tmp_path)

    async def work():
        async with seen.world.daemon():
            await asyncio.sleep(300)
            seen.world.sim.fail("status", status=503, times=100_000)
            for _ in range(60):
                await asyncio.sleep(120)
                assert seen.fault() is None

    virtually(work)


def test_a_pause_that_mouseflow_asked_for_is_not_unhealthy(tmp_path):
    seen = Watched(tmp_path)

    async def work():
        async with seen.world.daemon():
            await asyncio.sleep(300)
            seen.world.sim.fail("status", status=429, times=1, retry_after=7200)
            for _ in range(30):
                await asyncio.sleep(120)
                assert seen.fault() is None

    virtually(work)


def test_polls_that_hang_are_unhealthy(tmp_path, monkeypatch):
    seen = Watched(tmp_path)
    send = Account.send

    async def work():
        async with seen.world.daemon():
            await asyncio.sleep(300)

            async def hang(self, request):
                await asyncio.Event().wait()

            monkeypatch.setattr(Account, "send", hang)
            await asyncio.sleep(500)
            assert seen.fault() is None
            await asyncio.sleep(400)
            assert "polls are stuck: one had no answer for" in (seen.fault() or "")
            monkeypatch.setattr(Account, "send", send)

    virtually(work)


@pytest.mark.parametrize(
    ("pulse", "says"),
    [
        (Pulse(1000, 1000), None),
        (Pulse(300, 1000), "polls are stuck: one had no answer for 700 s"),
        (Pulse(1000, 800), "deliveries are stuck: no round for 200 s"),
        (Pulse(1000, 1000, "full", 980), None),
        (Pulse(300, 300, "the disk is full", 900), "can't be written for 100 s: the disk"),
    ],
)
def test_a_pulse_says_what_is_wrong(pulse, says):
    fault = pulse.fault(1000)
    assert fault is None if says is None else says in fault
    assert read(pulse.written()) == pulse


@pytest.mark.parametrize("text", ["", "\n", "{}", "[]", "null", '{"polled": 1}', "{", "12\n13"])
def test_what_is_no_pulse_says_nothing(text):
    assert read(text) is None
