"""Delivery on a store in trouble: nothing is done twice, nothing is lost, and it is said once."""

import asyncio
import contextlib
import gc
from datetime import timedelta

import pytest
from delivery_world import Post, Write, match, until
from structlog.testing import capture_logs

from bot.delivery import Drained, Timing, drain
from bot.errors import StoreError, StoreLost


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

    async def run(self, work):
        if self.lost:
            raise StoreLost("bot.db: the file is damaged")
        return await self.store.run(lambda conn: self._written(conn, work))

    def _written(self, conn, work):
        database = self.store._database
        database.has_changed(conn.connection.driver_connection)
        done = work(conn)
        if self.full and database.has_changed(conn.connection.driver_connection):
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
