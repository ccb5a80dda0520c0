"""Ticks: APScheduler sets events at intervals, and whoever waits for them does the work.

Sole owner of apscheduler. Nothing runs inside a job, so a late or lost tick costs a little
time and never a poll: the watermarks in the store are the truth.
"""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

log = structlog.get_logger(__name__)

TOLERANCE = timedelta(seconds=2)
"""Time servers nudge the clock all the time; a smaller step back is not worth a word."""


class Schedule:
    """Sets events at intervals, from `start` to `stop`, inside a running event loop.

    All ticks stand on one grid that begins with the first of them: whatever comes between,
    those that were spread over an interval stay spread.
    """

    def __init__(self, *, watch: timedelta = timedelta(seconds=5)) -> None:
        self._watch = watch
        self._began: datetime | None = None
        self._grid: dict[str, tuple[timedelta, float]] = {}
        self._watchdog: asyncio.Task[None] | None = None
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def every(
        self, name: str, interval: timedelta, event: asyncio.Event, *, phase: float = 0.0
    ) -> timedelta:
        """Set that event once an interval; tells how long it is until the first time.

        `phase` (from 0 to 1) is where in the interval its ticks stand. A known name gets the
        new ticks. Raises ValueError for an interval that is not longer than nothing.
        """
        seconds = interval.total_seconds()
        if seconds <= 0:
            raise ValueError(f"{name}: an interval must be longer than nothing")
        now = datetime.now(UTC)
        self._began = self._began or now
        first = next_tick(self._began, interval, phase, now)
        self._grid[name] = (interval, phase)
        self._scheduler.add_job(
            _tick,
            IntervalTrigger(seconds=seconds, timezone=UTC),
            args=(event,),
            id=name,
            name=name,
            next_run_time=first,
            replace_existing=True,
        )
        return first - now

    def forget(self, name: str) -> None:
        """No more ticks of that name; an unknown name is none already."""
        self._grid.pop(name, None)
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    def start(self) -> None:
        """Begin ticking."""
        self._scheduler.start()
        self._watchdog = asyncio.create_task(self._watch_the_clock(), name="schedule.watchdog")

    async def stop(self) -> None:
        """No tick comes after this. Stopping twice, or before the start, does nothing."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None:
            return
        watchdog.cancel()
        await asyncio.gather(watchdog, return_exceptions=True)
        # With wait=True the asyncio scheduler cancels what runs instead of waiting for it.
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)

    async def _watch_the_clock(self) -> None:
        """Tick at once when the clock was set back: the scheduler would wait it out."""
        loop = asyncio.get_running_loop()
        wall, steady = datetime.now(UTC), loop.time()
        while True:
            await asyncio.sleep(self._watch.total_seconds())
            before = wall, steady
            wall, steady = datetime.now(UTC), loop.time()
            lost = set_back(before, (wall, steady))
            if lost > TOLERANCE:
                log.warning("schedule.clock_set_back", seconds=round(lost.total_seconds(), 1))
                for job in self._scheduler.get_jobs():
                    (event,) = job.args
                    event.set()
                    job.modify(next_run_time=self._next(job.id, wall))

    def _next(self, name: str, now: datetime) -> datetime:
        return next_tick(self._began or now, *self._grid[name], now)


def next_tick(began: datetime, interval: timedelta, phase: float, now: datetime) -> datetime:
    """The first tick after `now` on the grid that begins then; `phase` is from 0 to 1."""
    passed = (now - began) / interval - phase
    return began + (math.floor(passed) + 1 + phase) * interval


def set_back(before: tuple[datetime, float], now: tuple[datetime, float]) -> timedelta:
    """By how much the wall clock fell behind the steady one between two looks at both."""
    passed = timedelta(seconds=now[1] - before[1])
    return max(passed - (now[0] - before[0]), timedelta())


async def _tick(event: asyncio.Event) -> None:
    # A coroutine, since the scheduler runs plain functions in threads.
    event.set()
