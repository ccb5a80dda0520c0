"""The heartbeat's silence is an alarm: for what it stops, and what the log says then."""

import asyncio
from datetime import datetime, timedelta

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from delivery_world import NOW, Clock
from structlog.testing import capture_logs

from bot.config.load import load
from bot.daemon import ops_of
from bot.delivery.webhook import Heartbeat
from bot.domain.causes import Cause
from bot.errors import StoreError
from bot.health import Health
from bot.polling.outages import OUTAGES, Failing, Kept
from bot.store import in_memory_copy
from bot.store.recordings import set_watermark
from bot.store.troubles import UNREACHED, Trouble, keep_trouble
from bot.written import Secret

MINUTE = timedelta(minutes=1)


SLACK = {"BOT_SLACK__BOT_TOKEN": "xoxb-1", "BOT_SLACK__CHANNEL": "#alerts"}


@pytest.fixture
def settings():
    """The configuration, with Slack or without."""
    account = {
        "BOT_MOUSEFLOW__REGION": "eu",
        "BOT_MOUSEFLOW__EMAIL": "a@b.c",
        "BOT_MOUSEFLOW__API_KEY": "key",
    }
    return lambda slack: load(None, account | (SLACK if slack else {}))


@pytest.fixture
def health_of(tmp_path, settings):
    """Makes the health of a daemon with this store; polls move when they are told to."""
    with in_memory_copy(f"sqlite:///{tmp_path}/none.db") as store:

        def health(clock, polled=None, store=store, slack=True):
            ops = ops_of(settings(slack))
            return Health(ops, store, None, polled=polled or clock, clock=clock)

        yield health, store


def trouble(*, told: bool) -> Trouble:
    return Trouble(
        key="slack down", cause=Cause.SLACK_DOWN, place="", reason="503", remedy="", since=NOW,
        told=told, waiting=1,
    )  # fmt: skip


async def test_it_beats_while_all_is_well(health_of):
    make, _ = health_of
    clock = Clock()
    assert await make(clock).why_silent() is None


async def test_it_stops_when_polls_get_no_answer(health_of):
    make, _ = health_of
    clock = Clock()
    health = make(clock, lambda: NOW)
    clock.advance(9 * MINUTE)
    health.mark_delivered()
    assert await health.why_silent() is None
    clock.advance(2 * MINUTE)
    health.mark_delivered()
    assert await health.why_silent() == "polls are stuck: one had no answer for 660 s"


async def test_it_stops_when_deliveries_make_no_rounds(health_of):
    make, _ = health_of
    clock = Clock()
    health = make(clock)
    clock.advance(4 * MINUTE)
    assert await health.why_silent() == "deliveries are stuck: no round for 240 s"
    health.mark_delivered()
    assert await health.why_silent() is None


async def test_it_stops_when_nobody_can_be_told_of_what_fails(health_of):
    make, store = health_of
    clock = Clock()
    health = make(clock)
    store.do(lambda conn: keep_trouble(conn, trouble(told=False)))
    assert await health.why_silent() is None  # it may pass
    clock.advance(UNREACHED + MINUTE)
    health.mark_delivered()
    assert await health.why_silent() == "nobody could be told of slack down"
    store.do(lambda conn: keep_trouble(conn, trouble(told=True)))
    assert await health.why_silent() is None


@pytest.mark.parametrize("slack", [False, True], ids=["no Slack", "Slack"])
async def test_without_an_ops_channel_nobody_can_be_told_of_an_outage(health_of, slack):
    """Neither of failing polls nor of what can't be delivered: the heartbeat's alarm remains."""
    make, store = health_of
    clock = Clock()
    health = make(clock, slack=slack)
    down = Failing(
        what="myshop.com recordings", kind="503", trouble="away", reason="503", since=NOW, times=3
    )
    kept = msgspec.json.encode(Kept(failing=(down,), things=1)).decode()
    store.do(lambda conn: set_watermark(conn, OUTAGES, "", kept, NOW))
    clock.advance(UNREACHED)
    health.mark_delivered()
    assert await health.why_silent() is None
    clock.advance(MINUTE)
    health.mark_delivered()
    told = "nobody could be told that myshop.com recordings fails: 503"
    assert await health.why_silent() == (None if slack else told)


@pytest.mark.parametrize("slack", [False, True], ids=["no Slack", "Slack"])
def test_a_trouble_is_told_only_where_there_is_an_ops_channel(settings, slack):
    assert ops_of(settings(slack)).reaches is slack


class Broken:
    """A store that can't be written for so long."""

    def __init__(self, since: datetime | None) -> None:
        self.trouble = since and (since.timestamp(), "the disk is full")

    async def read(self, work):
        raise StoreError("the disk is full")


@pytest.mark.parametrize(
    ("since", "said"),
    [
        (NOW - 2 * MINUTE, "the store can't be written for 120 s: the disk is full"),
        (None, "the disk is full"),
    ],
    ids=["writes fail", "reads fail"],
)
async def test_it_stops_when_the_store_fails(since, said, health_of):
    health = health_of[0](Clock(), store=Broken(since))
    assert await health.why_silent() == said


class Receiver:
    """Counts calls and answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.calls = 0
        self.came = asyncio.Event()

    async def answer(self, _: web.Request) -> web.Response:
        self.calls += 1
        self.came.set()
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})

    async def next_call(self) -> None:
        self.came.clear()
        await self.came.wait()


@pytest.fixture
async def receiver():
    receiver = Receiver()
    app = web.Application()
    app.router.add_get("/ping/secret", receiver.answer)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/ping/secret"))
        yield receiver


async def beating(url: str, fault) -> asyncio.Task:
    heartbeat = Heartbeat(Secret(url), timedelta(milliseconds=5), fault)
    return asyncio.create_task(heartbeat.keep_beating())


async def test_the_address_is_called_while_all_is_well_and_each_change_is_logged_once(
    receiver,
):
    reasons, asked = [None], asyncio.Event()

    async def fault() -> str | None:
        asked.set()
        return reasons[-1]

    async def asked_again(times: int) -> None:
        for _ in range(times):
            asked.clear()
            await asked.wait()

    with capture_logs() as logs:
        running = await beating(receiver.url, fault)
        await receiver.next_call()
        reasons.append("polls are stuck")
        await asked_again(2)
        calls = receiver.calls
        await asked_again(4)
        assert receiver.calls == calls
        reasons.append(None)
        await receiver.next_call()
        await receiver.next_call()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [(each["event"], each.get("reason")) for each in logs] == [
        ("heartbeat.beats", None),
        ("heartbeat.stopped", "polls are stuck"),
        ("heartbeat.beats", None),
    ]


@pytest.mark.parametrize(("status", "said"), [(500, "answered 500"), (302, "answered 302")])
async def test_a_receiver_that_does_not_take_it_is_logged_once_without_its_address(
    status, said, receiver
):
    receiver.status = status

    async def fault() -> None:
        return None

    with capture_logs() as logs:
        running = await beating(receiver.url, fault)
        for _ in range(3):
            await receiver.next_call()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    (told,) = logs
    assert told["event"] == "heartbeat.stopped"
    assert said in told["reason"]
    assert "secret" not in str(logs)
