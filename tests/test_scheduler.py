"""What ticks promise: one an interval, each in its place, also when the clock is set back."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from bot.scheduler import Schedule, next_tick, set_back

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PATIENCE = 60.0


async def ticked(event: asyncio.Event, times: int = 1) -> None:
    async with asyncio.timeout(PATIENCE):
        for _ in range(times):
            await event.wait()
            event.clear()


async def test_ticks_follow_one_another() -> None:
    schedule, event = Schedule(), asyncio.Event()
    assert schedule.every("recordings", timedelta(milliseconds=5), event) > timedelta()
    schedule.start()
    await ticked(event, times=3)
    await schedule.stop()


async def test_after_the_stop_no_tick_comes() -> None:
    schedule, event = Schedule(), asyncio.Event()
    schedule.every("recordings", timedelta(milliseconds=2), event)
    schedule.start()
    await ticked(event)
    await schedule.stop()
    event.clear()
    await asyncio.sleep(0.01)
    assert not event.is_set()
    await schedule.stop()


async def test_ticks_at_the_moment_of_the_stop_are_no_errors(caplog) -> None:
    schedule, event = Schedule(), asyncio.Event()
    schedule.start()
    stopping = asyncio.create_task(schedule.stop())
    number = 0
    while not stopping.done():
        schedule.every(f"recordings/{(number := number + 1)}", timedelta(microseconds=1), event)
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [it.getMessage() for it in caplog.records if it.levelname == "ERROR"] == []


async def test_a_known_name_gets_the_new_interval_and_a_forgotten_one_none() -> None:
    schedule, slow, fast = Schedule(), asyncio.Event(), asyncio.Event()
    schedule.every("feedback", timedelta(hours=1), slow)
    schedule.start()
    schedule.every("feedback", timedelta(milliseconds=2), fast)
    await ticked(fast, times=2)
    assert not slow.is_set()
    schedule.forget("feedback")
    schedule.forget("feedback")
    await asyncio.sleep(0)
    fast.clear()
    await asyncio.sleep(0.01)
    assert not fast.is_set()
    await schedule.stop()


async def test_a_clock_set_back_does_not_stop_the_ticks() -> None:
    schedule, event = Schedule(watch=timedelta(milliseconds=2)), asyncio.Event()
    with time_machine.travel(NOW, tick=True) as clock:
        schedule.every("recordings", timedelta(minutes=1), event)
        schedule.start()
        await asyncio.sleep(0)
        clock.move_to(NOW - timedelta(hours=1))
        await ticked(event)  # not an hour later
        await schedule.stop()


@given(
    interval=st.timedeltas(timedelta(milliseconds=200), timedelta(days=1)),
    phase=st.floats(0, 1, exclude_max=True),
    away=st.timedeltas(timedelta(days=-30), timedelta(days=30)),
)
def test_every_tick_has_its_place_whatever_came_between(
    interval: timedelta, phase: float, away: timedelta
) -> None:
    now = NOW + away
    tick = next_tick(NOW, interval, phase, now)
    assert now < tick + timedelta(microseconds=1)
    assert tick <= now + interval + timedelta(microseconds=1)
    place = ((tick - NOW) / interval - phase) % 1
    assert min(place, 1 - place) < 1e-4


async def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="recordings"):
        Schedule().every("recordings", timedelta(), asyncio.Event())


@pytest.mark.parametrize(
    ("wall", "steady", "lost"),
    [(60, 60, 0), (-3540, 60, 3600), (3660, 60, 0), (59.5, 60, 0.5)],
)
def test_only_a_step_back_counts(wall: float, steady: float, lost: float) -> None:
    before, after = (NOW, 1000.0), (NOW + timedelta(seconds=wall), 1000.0 + steady)
    assert set_back(before, after) == timedelta(seconds=lost)


@given(
    st.integers(1, 10**8).map(lambda ms: timedelta(milliseconds=ms)),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 10**6),
)
def test_the_tick_after_a_tick_is_a_later_one(interval, phase, number) -> None:
    at = NOW + (number + phase) * interval
    assert at < next_tick(NOW, interval, phase, at) <= at + 2 * interval
