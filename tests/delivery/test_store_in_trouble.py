"""Delivery on a store in trouble: nothing is done twice, nothing is lost, and it is said once."""

import asyncio
import contextlib
import gc
from datetime import timedelta

import pytest
from delivery_world import ACTIONS, Bench, Post, Write, match, until
from postgres_server import end_sessions
from structlog.testing import capture_logs

from bot.account import Account
from bot.delivery import Drained, Timing, drain
from bot.delivery.slack import SlackPoster
from bot.delivery.webhook import WebhookCaller
from bot.errors import StoreError, StoreLost, TryLater
from bot.ports import MAY_ACT, SlackPost, may_act
from bot.store import open_store
from bot.transport import AiohttpTransport
from bot.written import Secret
from mouseflow import AsyncMouseflow, recordings, websites


def states(bench):
    return list(
        bench.store.do(
            lambda conn: conn.exec_driver_sql("SELECT state FROM steps ORDER BY id").scalars().all()
        )
    )


class FailingStore:
    """A store whose disk is full for so many writes, or that is `lost`."""

    def __init__(self, store):
        self.store, self.full, self.lost = store, 0, False
        self.sharing = store.sharing

    async def confirm(self):
        await self.store.confirm()

    async def run(self, work):
        if self.lost:
            raise StoreLost("bot.db: the file is damaged")
        return await self.store.run(lambda conn: self._written(conn, work))

    run_together = read = run

    def _written(self, conn, work):
        raw = conn.connection.driver_connection
        before = raw.total_changes
        done = work(conn)
        if self.full and raw.total_changes > before:
            self.full -= 1
            raise StoreError("bot.db: the disk is full")
        return done


FOR_EVER = 10**9
HASTY = Timing(store_retry=timedelta(milliseconds=1), idle=timedelta(milliseconds=5))


@contextlib.contextmanager
def nothing_unseen():
    """No task's error is left for the interpreter to complain about."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    yield
    gc.collect()
    assert complaints == []


async def test_what_was_done_is_written_down_once_the_disk_has_room_again(bench):
    store, stop = FailingStore(bench.store), asyncio.Event()

    async def fill():
        store.full = 3

    bench.world.fail("a", fill)
    bench.add(match("r1", Write(name="a")))
    with capture_logs() as logs:
        delivery = bench.delivery(HASTY, store)
        running = asyncio.create_task(delivery.run_until_stopped(stop))
        await until(lambda: states(bench) == ["done"])
        stop.set()
        await running
    assert bench.world.tried == ["a"]
    told = [line["event"] for line in logs if "store" in line["event"]]
    assert told == ["deliver.store_failed", "deliver.store_recovered"]


async def test_a_full_disk_is_said_once_however_many_lanes_wait_for_it(bench):
    store, stop = FailingStore(bench.store), asyncio.Event()

    async def fill():
        store.full = 200

    for n in range(10):
        bench.world.fail(f"a{n}", fill)
        bench.add(match(f"r{n}", Post(name=f"a{n}", channel=f"#c{n}")))
    with capture_logs() as logs:
        running = asyncio.create_task(bench.delivery(HASTY, store).run_until_stopped(stop))
        await until(lambda: states(bench) == ["done"] * 10)
        stop.set()
        await running
    failed = [line for line in logs if line["event"] == "deliver.store_failed"]
    assert len(failed) <= 2
    assert sorted(bench.world.tried) == [f"a{n}" for n in range(10)]


async def test_a_stop_does_not_wait_for_a_store_that_cant_be_written(bench):
    store, stop = FailingStore(bench.store), asyncio.Event()

    async def fill():
        store.full = FOR_EVER

    bench.world.fail("a", fill)
    bench.add(match("r1", Write(name="a")))
    with nothing_unseen(), capture_logs() as logs:
        running = asyncio.create_task(bench.delivery(HASTY, store).run_until_stopped(stop))
        await until(lambda: any(line["event"] == "deliver.store_failed" for line in logs))
        stop.set()
        await running
        del running
    unwritten = [line for line in logs if line["event"] == "deliver.result_not_saved"]
    assert "the disk is full" in unwritten[0]["reason"]
    # What it did is looked up at the next start.
    assert states(bench) == ["sending"]


async def test_a_store_that_is_lost_ends_the_delivery(bench):
    store, stop = FailingStore(bench.store), asyncio.Event()

    async def lose():
        store.lost = True

    bench.world.fail("a", lose)
    bench.add(match("r1", Write(name="a")))
    with nothing_unseen():
        delivery = bench.delivery(HASTY, store)
        with pytest.raises(StoreLost, match="damaged"):
            await delivery.run_until_stopped(stop)
        del delivery


async def test_a_single_pass_says_that_the_store_cant_be_written(bench):
    store = FailingStore(bench.store)
    store.full = 1
    bench.add(match("r1", Write(name="a")))
    with pytest.raises(StoreError, match="disk is full"):
        await drain(store, bench.ports, bench.actions, clock=bench.clock)
    assert bench.world.tried == []
    assert await bench.drain() == Drained(done=1)


async def test_a_bot_that_was_frozen_while_another_took_over_posts_and_settles_nothing(
    postgres_url,
):
    with open_store(postgres_url) as store:
        bench = Bench(store)
        bench.add(match("r1", Post(name="a")))
        sent = []

        class Frozen(Post):
            async def perform(self, task, ports):
                # The server ends the session, and another bot works until this one wakes up.
                end_sessions(postgres_url)
                with open_store(postgres_url) as other:
                    await Bench(other).drain()
                    sent.append("other")
                store._confirmed -= 60
                await may_act()
                sent.append("frozen")
                return await super().perform(task, ports)

        bench.actions = ACTIONS | {"slack": Frozen}
        with pytest.raises(StoreLost, match="another mouseflow-bot has used the store"):
            await bench.drain()
        assert sent == ["other"]


async def test_a_request_that_changes_something_asks_whether_it_may(bench):
    asked = []

    async def ask():
        asked.append(1)
        raise TryLater("not sent")

    MAY_ACT.set(ask)
    url = "http://127.0.0.1:1"
    flow = AsyncMouseflow(url, "a@example.com", "key", tries=1, transport=AiohttpTransport(url))
    poster = SlackPoster(Secret("xoxb-1"), base_url="http://127.0.0.1:1/api/")
    webhook = WebhookCaller()
    for call in (
        Account(flow).send(recordings.star("w1", "r1")),
        poster.post(SlackPost("#x", "text")),
        webhook.call("http://127.0.0.1:1/", b"{}", {}),
    ):
        with pytest.raises(TryLater, match="not sent"):
            await call
    assert len(asked) == 3
    with pytest.raises(TryLater, match=r"not answer|fail|refused|reach"):
        await Account(flow).send(websites.list())
    for client in (flow, poster, webhook):
        await (client.aclose() if client is flow else client.close())
