"""A clock that was wrong, by hours or years, and is right again, loses nothing and stops nothing.

The simulated account lives on true time, the daemon on a wall clock that steps.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from virtual_world import START, VirtualLoop, World

from bot.cleanup import clean_up
from bot.store.audit import Note, history, record
from bot.store.recordings import set_watermark

RULES = """
version: 1
rules:
  any: {watch: recordings, when: {pages: {min: 1}}, do: {tag: any}}
  left: {watch: recordings, when: {not: {pages: {min: 99}}}, do: {tag: left}}
"""

WRONG = [timedelta(hours=2), timedelta(days=3), timedelta(days=3650), -timedelta(hours=2),
         -timedelta(days=3), -timedelta(days=3650)]  # fmt: skip


class Stepped:
    """A daemon on a clock that steps, beside an account on true time."""

    def __init__(self, folder, wall, **settings: str) -> None:
        loop = asyncio.get_running_loop()
        self._wall = wall

        def true() -> datetime:
            return START + timedelta(seconds=loop.time())

        self.world = World(folder, RULES, 1, true_time=true, BOT_POLL__RECORDINGS="3m", **settings)

    def step(self, by: timedelta) -> None:
        self._wall.shift(by)

    def visit(self) -> str:
        """Somebody is on the website now."""
        return self.world.sim.add("site-000", "phone-bounce", start=0)

    def matched(self) -> list[tuple[str, str]]:
        entries = self.world.store.do(lambda conn: history(conn, kind="match", limit=10_000))
        return sorted((it.rule, it.subject) for it in entries if it.rule != "mouseflow-bot")


@pytest.fixture
def virtually(tmp_path):
    def run(work, **settings: str) -> None:
        with (
            time_machine.travel(START, tick=False) as wall,
            asyncio.Runner(loop_factory=lambda: VirtualLoop(wall)) as runner,
        ):

            async def begin() -> None:
                await work(Stepped(tmp_path, wall, **settings))

            runner.run(begin())

    return run


async def visits(it: Stepped, times: int, apart: float = 300) -> list[str]:
    made = []
    for _ in range(times):
        made.append(it.visit())
        await asyncio.sleep(apart)
    return made


def expected(who: list[str]) -> list[tuple[str, str]]:
    return sorted((rule, each) for rule in ("any", "left") for each in who)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_clock_that_steps_and_is_put_right_loses_nothing(virtually, wrong):
    async def work(it: Stepped) -> None:
        async with it.world.daemon():
            await asyncio.sleep(600)
            it.step(wrong)
            who = await visits(it, 3)
            it.step(-wrong)
            who += await visits(it, 1)
            await asyncio.sleep(3600)
        assert it.matched() == expected(who)

    virtually(work)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_is_far_ahead_for_hours_deletes_nothing(virtually, restarted):
    async def work(it: Stepped) -> None:
        store, far, keep = it.world.store, timedelta(days=200), timedelta(days=90)
        store.do(lambda conn: set_watermark(conn, "recordings", "one", "{}", START))
        store.do(lambda conn: record(conn, START, [Note(kind="poll")]))

        def kept() -> int:
            return len(store.do(lambda conn: history(conn, kind="poll")))

        if restarted:
            it.step(far)
        cleanup = asyncio.create_task(
            clean_up(
                store,
                keep,
                figures=lambda: keep,
                counts=timedelta,
                ops=None,
                clock=lambda: datetime.now(UTC),
            )
        )
        await asyncio.sleep(600)
        if not restarted:
            it.step(far)
        await asyncio.sleep(8 * 3600)
        assert kept() == 1
        it.step(-far)
        await asyncio.sleep(30 * 3600)
        assert kept() == 1
        it.step(far)
        await asyncio.sleep(23 * 3600)
        assert kept() == 1
        await asyncio.sleep(3 * 3600)
        assert kept() == 0  # for a day: so it is right
        cleanup.cancel()

    virtually(work)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_first_start_by_a_wrong_clock_loses_nothing(virtually, wrong):
    async def work(it: Stepped) -> None:
        before = it.visit()
        await asyncio.sleep(4 * 3600)
        it.step(wrong)
        async with it.world.daemon():
            await asyncio.sleep(300)
            who = await visits(it, 3)
            it.step(-wrong)
            who += await visits(it, 1)
            await asyncio.sleep(3600)
        assert it.matched() == expected(who)
        assert before not in who

    virtually(work)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_restart_with_the_right_clock_after_hours_with_a_wrong_one_loses_nothing(
    virtually, wrong
):
    async def work(it: Stepped) -> None:
        async with it.world.daemon():
            await asyncio.sleep(600)
            it.step(wrong)
            who = await visits(it, 6, 1800)
        it.step(-wrong)
        who += await visits(it, 2)
        async with it.world.daemon():
            who += await visits(it, 2)
            await asyncio.sleep(3600)
        assert it.matched() == expected(who)

    virtually(work)


@pytest.mark.parametrize(
    ("ahead", "meanwhile", "waits"),
    [
        (timedelta(hours=5), "put right in the downtime", False),
        (timedelta(minutes=20), "put right in the downtime", True),  # it may be real
        (timedelta(hours=5), "over before", False),
        (timedelta(minutes=20), "over before", False),
    ],
)
def test_a_pause_kept_by_a_clock_that_was_ahead(virtually, ahead, meanwhile, waits):
    async def work(it: Stepped) -> None:
        over = meanwhile == "over before"
        async with it.world.daemon():
            await asyncio.sleep(600)
            it.step(ahead)
            it.world.sim.fail("status", status=429, retry_after=600, times=1)
            await asyncio.sleep(300)
            if over:
                it.step(-ahead)
                await asyncio.sleep(600)
        if not over:
            it.step(-ahead)
        calls = len(it.world.sim.calls)
        async with it.world.daemon():
            await asyncio.sleep(200)
        assert (len(it.world.sim.calls) == calls) == waits

    virtually(work)


def test_a_downtime_after_a_wrong_clock_is_told(virtually):
    def told(it: Stepped) -> int:
        posts = it.world.store.do(lambda conn: history(conn, kind="notice", limit=1000))
        return sum("Polling resumed" in each.text for each in posts)

    async def work(it: Stepped) -> None:
        ahead = timedelta(days=30)
        async with it.world.daemon():
            await asyncio.sleep(600)
            it.step(ahead)
            await asyncio.sleep(600)
            it.step(-ahead)
            await asyncio.sleep(600)
        before = told(it)
        await asyncio.sleep(8 * 3600)
        async with it.world.daemon():
            await asyncio.sleep(600)
        assert told(it) == before + 1

    virtually(work)


def test_a_jump_of_years_is_no_work(virtually):
    async def work(it: Stepped) -> None:
        async with it.world.daemon():
            await asyncio.sleep(600)
            calls, began = len(it.world.sim.calls), time.process_time()
            it.step(timedelta(days=36_500))
            await asyncio.sleep(600)
            assert time.process_time() - began < 5
            assert len(it.world.sim.calls) - calls < 200

    virtually(work)
