"""A poll for every website under watch, each in its turn, and none for any other."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import TypeVar

import msgspec
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from bot.config.settings import PollSection
from bot.domain.subjects import Site
from bot.errors import StoreError
from bot.messages.text import lasting
from bot.store.recordings import ROUNDS, set_watermark, watermark
from bot.watcher import Watcher

T = TypeVar("T")

AT_ONCE = 8
"""Polls under way together: enough that the account's client has always a call to send."""

CALLS = 4
"""Calls that a poll may make before it counts as a long one."""

LEAST = timedelta(seconds=15)
"""No poll is long before this: the API itself may be slow."""


def fair_share(rate: float) -> timedelta:
    """How long a poll with `CALLS` calls takes among `AT_ONCE` at that many calls a second."""
    return max(LEAST, timedelta(seconds=CALLS * AT_ONCE / rate))


class Gate:
    """First come, first served, `AT_ONCE` polls at a time.

    One that is not over after `share` lets the next one begin beside it: polls with thousands
    of calls must not keep the others out. Their calls then go in turn, website by website.
    """

    def __init__(self, share: timedelta) -> None:
        self._share = share.total_seconds()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def run(self, poll: Callable[[], Awaitable[T]]) -> T:
        """Do it when its turn has come; raises what it raises."""
        await self._places.acquire()
        leave = _Once(self._places.release)
        timer = asyncio.get_running_loop().call_later(self._share, leave)
        try:
            return await poll()
        finally:
            timer.cancel()
            leave()


class _Once:
    """Does it the first time it is called."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do: Callable[[], None] | None = do

    def __call__(self) -> None:
        do, self._do = self._do, None
        if do is not None:
            do()


SLOW = 1.25
"""Polls at intervals this many times as long as wished are worth a word."""

SLIGHT = 1.1
"""Only when it is no worse than this the trouble is over."""

WORTH = timedelta(seconds=10)
"""Later by less than this is nothing that anybody would notice."""


def spread(taken: Iterable[float], new: int) -> list[float]:
    """Where in the interval (from 0 to 1) that many new polls go, beside those at `taken`.

    Evenly where there is none yet, else each into the middle of the widest gap.
    """
    there = sorted(taken)
    if not there:
        return [(number + 1) / new % 1 for number in range(new)]
    found: list[float] = []
    for _ in range(new):
        gaps = [((there[at] - there[at - 1]) % 1 or 1.0, there[at]) for at in range(len(there))]
        width, end = max(gaps)
        found.append((end - width / 2) % 1)
        there = sorted([*there, found[-1]])
    return found


@dataclass(frozen=True, slots=True)
class PollTimes:
    """When the latest polls of each website began, in seconds of a steady clock.

    `since` counts the beginnings since `seen` was called last.
    """

    begun: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    since: int = 0

    def began(self, website: str, at: float) -> "PollTimes":
        """A poll of that website begins."""
        latest = (*self.begun.get(website, ())[-2:], at)
        return PollTimes({**self.begun, website: latest}, self.since + 1)

    def over(self, websites: int) -> bool:
        """Whether a whole round of so many websites has begun since it was looked at last."""
        return self.since >= websites

    def seen(self, websites: Iterable[str]) -> "PollTimes":
        """It was looked at; these are the websites that are still polled."""
        left = frozenset(websites)
        return PollTimes({key: at for key, at in self.begun.items() if key in left})

    def every(self) -> timedelta:
        """How long it is from one poll of a website to the next; zero while that is not known.

        The shorter one of two such times: a single pause of the whole account, after a 429 or
        an outage, says nothing about the rate.
        """
        gaps = [
            min(second - first, third - second)
            for first, second, third in (at for at in self.begun.values() if len(at) == 3)
        ]
        return timedelta(seconds=median(gaps)) if gaps else timedelta()


@dataclass(frozen=True, slots=True)
class PollPace:
    """How often recordings are seen: `every`, where `wished` was asked for.

    `websites` have their turn with at most `rate` calls a second. `slow`: people should know.
    """

    websites: int
    rate: float
    wished: timedelta
    every: timedelta
    slow: bool

    @property
    def least(self) -> timedelta:
        """What a round takes with one call for each website and nothing else."""
        return timedelta(seconds=self.websites / self.rate)

    def differs(self, other: "PollPace | None") -> bool:
        """Whether it is worth being read_pace down in place of the other one."""
        if other is None or replace(self, every=other.every) != other:
            return True
        return self.slow and abs(self.every - other.every) > max(WORTH, other.every / 5)


def read_pace(text: str | None) -> PollPace | None:
    """The round as it was read_pace down; None where another version wrote something else."""
    try:
        return msgspec.json.decode(text, type=PollPace) if text else None
    except msgspec.MsgspecError:
        return None


def measure_pace(
    websites: int, rate: float, wished: timedelta, seen: timedelta, *, was_slow: bool
) -> PollPace:
    """What is to be told of the rounds; `seen` is what `PollTimes.every` says.

    What can't be faster is known before the first round has been measure_pace.
    """
    every = max(wished, seen, timedelta(seconds=websites / rate))
    limit = SLIGHT * wished if was_slow else max(SLOW * wished, wished + WORTH)
    return PollPace(websites, rate, wished, every, every > limit)


def slow_poll_lines(it: PollPace) -> Sequence[str]:
    """A slow round for people: what it means, and what to do."""
    often = f"recordings are seen every {lasting(it.every)}, not every {lasting(it.wished)}"
    at_rate = f"{it.websites} websites at {it.rate:g} requests a second"
    if it.least > SLIGHT * it.wished:
        what = f"{at_rate} take {it.every.total_seconds():.0f} s a round: {often}"
        return (what, "Raise mouseflow.requests_per_second or poll.recordings; nothing is left out")
    return (
        f"{at_rate} need more calls than that, or the API answers slowly: {often}",
        "`mouseflow-bot status` shows what the rules cost; nothing is left out",
    )


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


APART = timedelta(milliseconds=250)
"""How far apart the first polls begin, which do not wait for their places."""


@dataclass(frozen=True, slots=True)
class _Poll:
    """What is done at each tick: `kind` is what its ticks are spread among."""

    kind: str
    interval: timedelta
    look: Callable[[], Awaitable[object]]


class Polls:
    """Polls what the watcher watches, spread over the intervals and in turn.

    `rate` is how many calls a second the account allows.
    """

    def __init__(
        self,
        watcher: Watcher,
        schedule: Schedule,
        poll: PollSection,
        *,
        rate: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._watcher = watcher
        self._schedule = schedule
        self._poll = poll
        self._rate = rate
        self._clock = clock
        self._gate = Gate(fair_share(rate))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._phases: dict[str, dict[str, float]] = {}
        self._rounds = PollTimes()
        self._away = watcher.away
        self._judged = False
        self._told: PollPace | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs now, to be cancelled in the end: a poll that is cut off has changed nothing."""
        return list(self._tasks.values())

    def sync(self) -> None:
        """Begin to poll what has come under watch, and end what no longer is."""
        wanted = self._wanted()
        for name in self._tasks.keys() - wanted.keys():
            self._schedule.forget(name)
            self._tasks.pop(name).cancel()
            for phases in self._phases.values():
                phases.pop(name, None)
        soon = timedelta()
        for name, phase in self._new_phases(wanted).items():
            poll, tick = wanted[name], asyncio.Event()
            wait = self._schedule.every(name, poll.interval, tick, phase=phase)
            # The first look need not wait for its place, where there are calls enough for that.
            at_once = timedelta(seconds=len(self._phases[poll.kind]) / self._rate)
            if at_once <= poll.interval / 4 and soon < wait:
                asyncio.get_running_loop().call_later(soon.total_seconds(), tick.set)
                soon += APART
            self._tasks[name] = asyncio.create_task(self._at_each(tick, poll.look))

    def _wanted(self) -> dict[str, _Poll]:
        poll, watcher = self._poll, self._watcher
        wanted = {
            f"{kind}/{key}": _Poll(kind, interval, partial(look, place.site))
            for kind, interval, look in (
                ("recordings", poll.recordings, self._recordings),
                ("feedback", poll.feedback, watcher.poll_feedback),
                ("reports", poll.reports, watcher.poll_reports),
            )
            for key, place in watcher.places.items()
        }
        if watcher.rules.budgets:
            wanted["budgets"] = _Poll("budgets", poll.reports, watcher.poll_budgets)
        return wanted

    def _new_phases(self, wanted: dict[str, _Poll]) -> dict[str, float]:
        found: dict[str, float] = {}
        for kind in dict.fromkeys(poll.kind for poll in wanted.values()):
            phases = self._phases.setdefault(kind, {})
            new = [
                name for name, it in wanted.items() if it.kind == kind and name not in self._tasks
            ]
            phases |= zip(new, spread(phases.values(), len(new)), strict=True)
            found |= {name: phases[name] for name in new}
        return found

    async def _at_each(self, tick: asyncio.Event, look: Callable[[], Awaitable[object]]) -> None:
        while True:
            await tick.wait()
            tick.clear()
            await self._gate.run(look)

    async def _recordings(self, site: Site) -> None:
        if not self._judged:
            self._judged = True
            await self._check_pace()
        began = asyncio.get_running_loop().time()
        # A poll that fails says nothing about the rate; that it fails is told elsewhere.
        if await self._watcher.poll_recordings(site) and site.id in self._watched():
            self._rounds = self._rounds.began(site.id, began)
            if self._rounds.over(len(self._watched())):
                await self._check_pace()

    def _watched(self) -> frozenset[str]:
        """The websites whose recordings some rule watches: the others cost no call."""
        places = self._watcher.places
        return frozenset(key for key, place in places.items() if place.book.final.rules)

    async def _check_pace(self) -> None:
        """Tell how often recordings are seen, when that has become much less than wished."""
        watched = self._watched()
        self._rounds = self._rounds.seen(watched)
        with suppress(StoreError):  # polls meet it, too, and say so
            await self._tell(len(watched))

    async def _tell(self, websites: int) -> None:
        store, first = self._watcher.desk.store, self._told is None
        if first:
            text = await store.run(partial(watermark, source=ROUNDS, website=""))
            self._told = read_pace(text)
        was_slow = self._told is not None and self._told.slow
        now = measure_pace(
            websites,
            self._rate,
            self._poll.recordings,
            self._rounds.every(),
            was_slow=was_slow,
        )
        if self._away is not None:  # a website that waits for its turn has not been left alone
            self._watcher.away = max(self._away, 3 * now.every)
        if now.slow and (first or not was_slow):
            log.warning("poll.slow", websites=now.websites, seconds=now.every.total_seconds(),
                        wished=now.wished.total_seconds())  # fmt: skip
        if was_slow and not now.slow:
            log.info("poll.on_schedule", websites=now.websites,
                     seconds=now.every.total_seconds())  # fmt: skip
        if now.slow and not was_slow:
            await self._watcher.say(
                "Recordings are seen later than configured", *slow_poll_lines(now)
            )
        if now.differs(self._told):
            data = msgspec.json.encode(now).decode()
            work = partial(set_watermark, source=ROUNDS, website="", data=data, at=self._clock())
            await store.run(work)
            self._told = now
