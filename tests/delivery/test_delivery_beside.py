"""Writes of different recordings run side by side; those of one recording keep their order."""

import asyncio
from datetime import timedelta

from delivery_world import HOUR, MINUTE, SECOND, Bench, Delete, Post, Share, Write, match, until
from msgspec.structs import replace

from bot.delivery import Drained, Timing
from bot.delivery.worker import BESIDE
from bot.errors import Forbidden, TryLater
from bot.store.lanes import lane_states

LANE = "mouseflow:w1"
APART = f"{LANE} write"


class Gate:
    """Holds calls until it is opened; then each does what it was told."""

    def __init__(self, *faults: Exception | None) -> None:
        self._open = asyncio.Event()
        self._faults = list(faults)

    async def __call__(self) -> None:
        await self._open.wait()
        if self._faults and (fault := self._faults.pop(0)) is not None:
            raise fault

    def open(self) -> None:
        self._open.set()


def failures(bench: Bench) -> dict[str, int]:
    return {each.lane: each.failures for each in bench.store.do(
        lambda conn: lane_states(conn, bench.clock()))}  # fmt: skip


async def settled(bench: Bench) -> None:
    """Let everything run that can."""
    for _ in range(50):
        await bench.store.run(lambda _conn: None)


async def test_writes_of_different_recordings_are_in_flight_together_up_to_a_bound(bench):
    gate = Gate()
    bench.world.fail("*", *[gate] * 30)
    bench.add(*(match(f"r{n}", Write(name=f"w{n}")) for n in range(30)))
    draining = asyncio.create_task(bench.drain())
    await until(lambda: len(bench.world.tried) == 1 + BESIDE)
    await settled(bench)
    assert bench.world.tried == [f"w{n}" for n in range(1 + BESIDE)]
    gate.open()
    assert await draining == Drained(done=30)


async def test_writes_on_one_recording_keep_their_order_whatever_rules_they_are_of(bench):
    gate = Gate()
    bench.world.fail("a1", gate)
    bench.add(
        match("r1", Write(name="a1"), Write(name="a2"), rule="a"),
        match("r1", Write(name="b1"), Write(name="b2"), rule="b"),
        match("r2", Write(name="c1"), Write(name="c2")),
    )
    draining = asyncio.create_task(bench.drain())
    await until(lambda: bench.world.done == ["c1", "c2"])
    await settled(bench)
    assert bench.world.done == ["c1", "c2"]
    gate.open()
    assert await draining == Drained(done=6)
    assert bench.world.done[2:] == ["a1", "a2", "b1", "b2"]


async def test_the_stages_of_each_match_stay_in_order_while_others_run_beside_it(bench):
    bench.world.fail("*", *[lambda: asyncio.sleep(0)] * 500)
    bench.add(
        *(
            match(
                f"r{n}",
                Write(name=f"{n} write"),
                Write(name=f"{n} also"),
                Share(name=f"{n} share"),
                Post(name=f"{n} post"),
                Delete(name=f"{n} delete"),
            )
            for n in range(20)
        )
    )
    assert await bench.drain() == Drained(done=100)
    for number in range(20):
        stages = [each.split()[1] for each in bench.world.done if each.startswith(f"{number} ")]
        assert stages == ["write", "also", "share", "post", "delete"]


async def test_what_concerns_a_website_is_done_one_by_one(bench):
    gate = Gate()
    bench.world.fail("stop", gate)
    bench.add(
        replace(match("w1", Write(name="stop"), rule="budget"), kind="websites"),
        replace(match("other", Write(name="rate"), rule="pace"), kind="websites"),
        match("r1", Write(name="tag")),
    )
    draining = asyncio.create_task(bench.drain())
    await until(lambda: bench.world.done == ["tag"])
    await settled(bench)
    assert bench.world.tried == ["stop", "tag"]
    gate.open()
    assert await draining == Drained(done=3)
    assert bench.world.done == ["tag", "stop", "rate"]


async def test_several_that_fail_at_once_are_one_failure_and_one_of_them_probes(bench):
    gate = Gate(*[TryLater("down")] * 8)
    bench.world.fail("*", *[gate] * 8)
    bench.add(*(match(f"r{n}", Write(name=f"w{n}")) for n in range(12)))
    draining = asyncio.create_task(bench.drain())
    await until(lambda: len(bench.world.tried) == 8)
    gate.open()
    assert await draining == Drained(postponed=8)
    assert failures(bench) == {LANE: 1}
    probe = Gate(TryLater("still down"))
    bench.world.fail("*", probe)
    bench.clock.advance(3 * SECOND)
    draining = asyncio.create_task(bench.drain())
    await until(lambda: len(bench.world.tried) == 9)
    await settled(bench)
    assert len(bench.world.tried) == 9
    probe.open()
    assert await draining == Drained(postponed=1)
    assert failures(bench) == {LANE: 2}
    bench.clock.advance(MINUTE)
    assert await bench.drain() == Drained(done=12)
    assert failures(bench) == {}


async def test_what_went_out_before_a_pause_does_not_end_it(bench):
    early = Gate()
    bench.world.fail("early", early)
    bench.world.fail("fails", TryLater("busy", after=HOUR))
    bench.add(match("r1", Write(name="early")), match("r2", Write(name="fails")))
    draining = asyncio.create_task(bench.drain())
    await until(lambda: failures(bench) == {LANE: 1})
    bench.add(match("r3", Write(name="later")))
    early.open()
    assert await draining == Drained(done=1, postponed=1)
    assert bench.world.tried == ["early", "fails"]
    bench.clock.advance(HOUR)
    assert await bench.drain() == Drained(done=2)


async def test_a_kind_of_action_that_is_refused_to_several_is_set_apart_once(bench):
    gate = Gate(*[Forbidden("403", "ask")] * 4)
    bench.world.fail("*", *[gate] * 4)
    bench.add(*(match(f"r{n}", Write(name=f"w{n}")) for n in range(4)))
    draining = asyncio.create_task(bench.drain())
    await until(lambda: len(bench.world.tried) == 4)
    gate.open()
    assert await draining == Drained(postponed=4, held=4)
    assert failures(bench) == {APART: 1}
    bench.clock.advance(HOUR)
    assert await bench.drain() == Drained(done=4)


async def test_an_overdue_call_holds_up_its_own_recording_alone(bench):
    slow = Gate()
    bench.world.fail("slow", slow)
    bench.add(match("r1", Write(name="slow"), Write(name="after it")), match("r2", Write(name="o")))
    timing = Timing(patience=timedelta(milliseconds=5))
    draining = asyncio.create_task(bench.drain(timing=timing))
    await until(lambda: bench.world.done == ["o"])
    slow.open()
    assert await draining == Drained(done=3)
    assert bench.world.done == ["o", "slow", "after it"]


async def test_what_waits_for_a_call_in_flight_keeps_nobody_busy(bench):
    gate, rounds = Gate(), []
    bench.world.fail("first", gate)
    bench.add(match("r1", Write(name="first"), *(Write(name=f"w{n}") for n in range(20))))
    delivery = bench.delivery(Timing())
    delivery._turned = lambda: rounds.append(1)
    stop = asyncio.Event()
    running = asyncio.create_task(delivery.run_until_stopped(stop))
    await until(lambda: bench.world.tried == ["first"])
    await settled(bench)
    assert len(rounds) < 5
    gate.open()
    await until(lambda: len(bench.world.done) == 21)
    stop.set()
    await running
