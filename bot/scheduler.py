"""When each website is polled: every interval, spread out, and not too many at a time.

In reading order: PollSlots lets a few polls run at a time; the Schedule (APScheduler) ticks; the
pace says how often recordings are really polled; Polls puts them together for the watcher's
websites.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Protocol, TypeVar

import msgspec
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from msgspec import Struct, field

from bot.config.settings import PollSection
from bot.domain.subjects import Site
from bot.errors import StoreError
from bot.messages.text import lasting
from bot.polling.site_rules import SiteRules
from bot.ports import Mouseflow
from bot.store.recordings import ROUNDS, set_watermark, watermark
from bot.watcher import Watcher
from mouseflow.request import Request

T = TypeVar("T")

log = structlog.get_logger(__name__)

# How many polls run at a time

AT_ONCE = 8
"""Polls that run at a time: enough that the client always has a request to send."""

CALLS = 4
"""Requests that a poll may make before it counts as long."""

LEAST = timedelta(seconds=15)
"""No poll counts as long before this: the API itself may be slow."""


def fair_share(rate: float) -> timedelta:
    """How long a poll with `CALLS` requests takes among `AT_ONCE`, at `rate` requests/s."""
    return max(LEAST, timedelta(seconds=CALLS * AT_ONCE / rate))


class PollSlots:
    """Runs `AT_ONCE` polls at a time, first come, first served.

    A poll that takes longer than `share` gives up its place, so that polls with thousands of
    requests don't block the others. The client then sends their requests round robin.
    """

    def __init__(self, share: timedelta) -> None:
        self._share = share.total_seconds()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def run(self, poll: Callable[[], Awaitable[T]]) -> T:
        """Run the poll when its turn comes; raises what it raises."""
        await self._places.acquire()
        leave = _Once(self._places.release)
        timer = asyncio.get_running_loop().call_later(self._share, leave)
        try:
            return await poll()
        finally:
            timer.cancel()
            leave()


class _Once:
    """Calls `do` once, however often it is called."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do: Callable[[], None] | None = do

    def __call__(self) -> None:
        do, self._do = self._do, None
        if do is not None:
            do()


# When each poll starts

TOLERANCE = timedelta(seconds=2)
"""Time servers adjust the clock all the time; smaller steps back are ignored."""


class Schedule:
    """Sets events at intervals, from `start` to `stop`, inside a running event loop.

    All ticks share one grid that begins with the first of them, so ticks that were spread over
    an interval stay spread.
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
        """Set that event once an interval; returns the time until the first tick.

        `phase` (0 to 1) is the position of its ticks in the interval. A known name is replaced.
        Raises ValueError for an interval of zero or less.
        """
        seconds = interval.total_seconds()
        if seconds <= 0:
            raise ValueError(f"{name}: the interval must be longer than zero")
        now = datetime.now(UTC)
        self._began = self._began or now
        first = next_tick(self._began, interval, phase, now)
        self._grid[name] = (interval, phase)
        self._scheduler.add_job(
            _tick,
            _Grid(self._began, interval, phase),
            args=(event,),
            id=name,
            name=name,
            next_run_time=first,
            replace_existing=True,
        )
        return first - now

    def forget(self, name: str) -> None:
        """Stop the ticks of that name, if there are any."""
        self._grid.pop(name, None)
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    def start(self) -> None:
        """Start ticking."""
        self._scheduler.start()
        self._watchdog = asyncio.create_task(self._watch_the_clock(), name="schedule.watchdog")

    async def stop(self) -> None:
        """Stop ticking. Stopping twice, or before the start, does nothing."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None:
            return
        watchdog.cancel()
        await asyncio.gather(watchdog, return_exceptions=True)
        self._scheduler.pause()
        await asyncio.sleep(
            0
        )  # ticks that have begun end; cancelled ones would be logged as errors
        # With wait=True the asyncio scheduler cancels what runs instead of waiting for it.
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)

    async def _watch_the_clock(self) -> None:
        """Tick at once if the clock was set back: the scheduler would wait instead."""
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


class _Grid(BaseTrigger):  # type: ignore[misc]
    """The ticks of one grid. After a jump ahead only the next one counts, however long it was.

    APScheduler's own trigger computes each time that was passed over, one by one.
    """

    def __init__(self, began: datetime, interval: timedelta, phase: float) -> None:
        self._at = began, interval, phase

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return next_tick(*self._at, now)


def next_tick(began: datetime, interval: timedelta, phase: float, now: datetime) -> datetime:
    """The first tick after `now` on the grid that begins then; `phase` is from 0 to 1."""
    passed = (now - began) / interval - phase
    tick = began + (math.floor(passed) + 1 + phase) * interval
    # Rounding may give the tick that is now, and APScheduler would ask for it without end.
    return tick if tick > now else tick + interval


def set_back(before: tuple[datetime, float], now: tuple[datetime, float]) -> timedelta:
    """By how much the wall clock fell behind the monotonic one between two readings."""
    passed = timedelta(seconds=now[1] - before[1])
    return max(passed - (now[0] - before[0]), timedelta())


async def _tick(event: asyncio.Event) -> None:
    # A coroutine, since the scheduler runs plain functions in threads.
    event.set()


def spread(taken: Iterable[float], new: int) -> list[float]:
    """Phases (0 to 1) of that many new polls in the interval, beside those at `taken`.

    Evenly spread if there are none yet, else each in the middle of the widest gap.
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


# How often recordings are really polled

SLOW = 1.25
"""Tell people when polls take this many times the configured interval."""

SLIGHT = 1.1
"""Polls are on schedule again below this many times the interval."""

WORTH = timedelta(seconds=10)
"""A delay shorter than this is ignored."""


class PollTimes(Struct, frozen=True):
    """When the latest polls of each website began, in seconds of a monotonic clock.

    `since` counts the polls that began since `seen` was called.
    """

    begun: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    since: int = 0

    def began(self, website: str, at: float) -> "PollTimes":
        """With one more poll of that website."""
        latest = (*self.begun.get(website, ())[-2:], at)
        return PollTimes({**self.begun, website: latest}, self.since + 1)

    def over(self, websites: int) -> bool:
        """Whether so many polls have begun since `seen` was called."""
        return self.since >= websites

    def seen(self, websites: Iterable[str]) -> "PollTimes":
        """With the count reset, and only the websites that are still polled."""
        left = frozenset(websites)
        return PollTimes({key: at for key, at in self.begun.items() if key in left})

    def every(self) -> timedelta:
        """The time from one poll of a website to the next (median); zero while unknown.

        Of each website's last two intervals the shorter one counts: a single pause after a 429 or
        an outage says nothing about the pace.
        """
        gaps = [
            min(second - first, third - second)
            for first, second, third in (at for at in self.begun.values() if len(at) == 3)
        ]
        return timedelta(seconds=median(gaps)) if gaps else timedelta()


@dataclass(frozen=True, slots=True)
class PollPace:
    """How often recordings are polled: `every`, where `wished` is configured.

    `websites` are polled with at most `rate` requests/s. `slow`: worth telling people.
    """

    websites: int
    rate: float
    wished: timedelta
    every: timedelta
    slow: bool

    @property
    def least(self) -> timedelta:
        """How long one request per website takes."""
        return timedelta(seconds=self.websites / self.rate)

    def differs(self, other: "PollPace | None") -> bool:
        """Whether it differs enough from the saved one to save it."""
        if other is None or replace(self, every=other.every) != other:
            return True
        return self.slow and abs(self.every - other.every) > max(WORTH, other.every / 5)


def read_pace(text: str | None) -> PollPace | None:
    """The saved pace; None if there is none, or another version saved it."""
    try:
        return msgspec.json.decode(text, type=PollPace) if text else None
    except msgspec.MsgspecError:
        return None


def measure_pace(
    websites: int, rate: float, wished: timedelta, seen: timedelta, *, was_slow: bool
) -> PollPace:
    """The present pace; `seen` is `PollTimes.every`.

    What the rate limit makes impossible is known before anything is measured.
    """
    every = max(wished, seen, timedelta(seconds=websites / rate))
    limit = SLIGHT * wished if was_slow else max(SLOW * wished, wished + WORTH)
    return PollPace(websites, rate, wished, every, every > limit)


def slow_poll_lines(it: PollPace) -> Sequence[str]:
    """A slow pace for people: what it means, and what to do."""
    often = f"recordings are polled every {lasting(it.every)}, not every {lasting(it.wished)}"
    at_rate = f"{it.websites} websites at {it.rate:g} requests/s"
    if it.least > SLIGHT * it.wished:
        what = f"{at_rate} take {it.every.total_seconds():.0f} s: {often}"
        return (what, "Raise mouseflow.requests_per_second or poll.recordings. Nothing is skipped")
    return (
        f"{at_rate} are not enough, or the API is slow: {often}",
        "`mouseflow-bot status` shows how many requests the rules need. Nothing is skipped",
    )


# Polling the watcher's websites

APART = timedelta(milliseconds=250)
"""How far apart the first polls start if they don't wait for their phase."""


class _Poll(Struct, frozen=True):
    """What a tick starts. Ticks of one `kind` are spread over the interval."""

    kind: str
    interval: timedelta
    poll: Callable[[], Awaitable[bool]]
    website: str = ""


@dataclass(eq=False, slots=True)
class Progress:
    """When a running poll last got an answer, good or bad; when it began if there was none."""

    at: datetime


_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)


class Marked:
    """The account for polls: notes when a request of the running poll has ended."""

    def __init__(self, asking: Mouseflow, clock: Callable[[], datetime]) -> None:
        self._asking = asking
        self._clock = clock

    async def send(self, request: Request[T]) -> T:
        """The answer; raises what the account raises."""
        try:
            return await self._asking.send(request)
        finally:
            if progress := _progress.get():
                progress.at = self._clock()


class Observer(Protocol):
    """Who hears of polls; `website` is the id, empty for what is polled for all of them."""

    def begin(self, kind: str, website: str, at: datetime) -> None:
        """The bot polls this from now on."""
        ...

    def end(self, kind: str, website: str) -> None:
        """The bot no longer polls this."""
        ...

    def observe_poll(
        self, kind: str, website: str, well: bool, seconds: float, at: datetime
    ) -> None:
        """A poll has ended."""
        ...


class Polls:
    """Polls the watcher's websites, spread over the intervals.

    `rate` is how many requests/s the account allows. `meter` hears of all polls.
    """

    def __init__(
        self,
        watcher: Watcher,
        schedule: Schedule,
        poll: PollSection,
        *,
        rate: float,
        clock: Callable[[], datetime],
        meter: Observer | None = None,
    ) -> None:
        self._watcher = watcher
        self._sharing = watcher.context.store.sharing
        self._schedule = schedule
        self._meter = meter
        self._poll = poll
        self._rate = rate
        self._clock = clock
        self._gate = PollSlots(fair_share(rate))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ticks: dict[str, asyncio.Event] = {}
        self._running: dict[Progress, str] = {}
        self._phases: dict[str, dict[str, float]] = {}
        self._rules: dict[str, SiteRules] = {}
        self._rounds = PollTimes()
        self._announce_after = watcher.notices.announce_after
        self._checked = False
        self._saved: PollPace | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The running tasks; a poll that is cancelled has changed nothing."""
        return list(self._tasks.values())

    def busy(self) -> frozenset[str]:
        """The ids of the websites of which a poll runs, also one that was cancelled and ends."""
        return frozenset(self._running.values())

    def sync(self) -> None:
        """Start polling websites that are new, and stop polling those that are gone.

        Also those that this bot has now, and has no longer, of a store that bots share.
        """
        wanted = self._wanted()
        for name in self._tasks.keys() - wanted.keys():
            self._schedule.forget(name)
            self._tasks.pop(name).cancel()
            del self._ticks[name]
            if self._meter:
                kind, _, website = name.partition("/")
                self._meter.end(kind, website)
            for phases in self._phases.values():
                phases.pop(name, None)
        soon = timedelta()
        for name, phase in self._new_phases(wanted).items():
            poll, tick = wanted[name], asyncio.Event()
            wait = self._schedule.every(name, poll.interval, tick, phase=phase)
            # The first poll need not wait for its phase if the rate limit allows it.
            at_once = timedelta(seconds=len(self._phases[poll.kind]) / self._rate)
            if at_once <= poll.interval / 4 and soon < wait:
                asyncio.get_running_loop().call_later(soon.total_seconds(), tick.set)
                soon += APART
            self._ticks[name] = tick
            self._tasks[name] = asyncio.create_task(self._at_each(tick, poll))
            if self._meter:
                self._meter.begin(poll.kind, poll.website, self._clock())
        self._poll_for_new_rules()

    def _poll_for_new_rules(self) -> None:
        """Poll soon where a rule was added that reads what people mark on finished sessions.

        Marks that are there at its first poll are no news for it, later ones are.
        """
        before = self._rules
        self._rules = {website: it.rules for website, it in self._watcher.watched.items()}
        new: dict[tuple[SiteRules, SiteRules], bool] = {}  # most websites have the same rules
        wait = timedelta()
        for website, now in self._rules.items() if self._poll.marks else ():
            known, tick = before.get(website, now), self._ticks.get(f"recordings/{website}")
            if tick is None or known is now:
                continue
            if (known, now) not in new:
                new[known, now] = now.has_new_marked(known.marked_by_id)
            if new[known, now]:
                asyncio.get_running_loop().call_later(wait.total_seconds(), tick.set)
                wait += APART

    def poll_now(self, kind: str = "", website: str = "") -> int:
        """Begin all polls without waiting for their ticks, or those of one kind or website.

        Returns how many.
        """
        due = []
        for name, tick in self._ticks.items():
            its_kind, _, its_website = name.partition("/")
            if kind in ("", its_kind) and website in ("", its_website):
                due.append(tick)
        for tick in due:
            tick.set()
        return len(due)

    def _wanted(self) -> dict[str, _Poll]:
        poll, watcher, sharing = self._poll, self._watcher, self._sharing
        wanted = {
            f"{kind}/{key}": _Poll(kind, interval, partial(poll_site, watched.site), key)
            for kind, interval, poll_site in (
                ("recordings", poll.recordings, self._recordings),
                ("feedback", poll.feedback, watcher.poll_feedback),
                ("reports", poll.reports, watcher.poll_reports),
            )
            for key, watched in watcher.watched.items()
            if sharing.polls(key)
        }
        if watcher.rules.budgets and sharing.leads:
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

    async def _at_each(self, tick: asyncio.Event, poll: _Poll) -> None:
        while True:
            await tick.wait()
            tick.clear()
            await self._gate.run(partial(self._timed, poll))

    async def _timed(self, poll: _Poll) -> None:
        progress = Progress(self._clock())
        _progress.set(progress)
        self._running[progress] = poll.website
        began = asyncio.get_running_loop().time()
        try:
            well = await poll.poll()
        finally:
            del self._running[progress]
        if self._meter:
            seconds = asyncio.get_running_loop().time() - began
            self._meter.observe_poll(poll.kind, poll.website, well, seconds, self._clock())

    def last_progress(self, *, waits: bool) -> datetime:
        """When the running poll that is stuck the longest last got an answer, else now.

        `waits`: the account asked for a pause, so that none can get on.
        """
        now = self._clock()
        for progress in self._running if waits else ():
            progress.at = now
        return min([now, *(progress.at for progress in self._running)])

    async def _recordings(self, site: Site) -> bool:
        if not self._checked:
            self._checked = True
            await self._check_pace()
        began = asyncio.get_running_loop().time()
        # A failed poll says nothing about the pace; the watcher reports that it failed.
        well = await self._watcher.poll_recordings(site)
        if well and site.id in self._watched():
            self._rounds = self._rounds.began(site.id, began)
            if self._rounds.over(sum(map(self._sharing.polls, self._watched()))):
                await self._check_pace()
        return well

    def _watched(self) -> frozenset[str]:
        """The websites whose recordings some rule watches; the others need no request."""
        watched = self._watcher.watched
        return frozenset(key for key, each in watched.items() if each.rules.final.rules)

    async def _check_pace(self) -> None:
        """Tell people when recordings are polled much less often than configured.

        Of the bots that share a store, the one that leads does: all have the same pace.
        """
        watched = self._watched()
        self._rounds = self._rounds.seen(watched)
        if self._announce_after is not None:  # waiting for its turn is no gap
            every = self._pace(len(watched), was_slow=False).every
            self._watcher.notices.announce_after = max(self._announce_after, 3 * every)
        if not self._sharing.leads:
            return
        with suppress(StoreError):  # polls meet it too, and report it
            await self._report_pace(len(watched))

    def _pace(self, websites: int, *, was_slow: bool) -> PollPace:
        seen = self._rounds.every()
        return measure_pace(websites, self._rate, self._poll.recordings, seen, was_slow=was_slow)

    async def _report_pace(self, websites: int) -> None:
        store, first = self._watcher.context.store, self._saved is None
        if first:
            text = await store.run(partial(watermark, source=ROUNDS, website=""))
            self._saved = read_pace(text)
        was_slow = self._saved is not None and self._saved.slow
        now = self._pace(websites, was_slow=was_slow)
        if now.slow and (first or not was_slow):
            log.warning("poll.slow", websites=now.websites, seconds=now.every.total_seconds(),
                        wished=now.wished.total_seconds())  # fmt: skip
        if was_slow and not now.slow:
            log.info("poll.on_schedule", websites=now.websites,
                     seconds=now.every.total_seconds())  # fmt: skip
        if now.slow and not was_slow:
            await self._watcher.notices.tell_ops(
                "Recordings are polled less often than configured", *slow_poll_lines(now)
            )
        if now.differs(self._saved):
            data = msgspec.json.encode(now).decode()
            work = partial(set_watermark, source=ROUNDS, website="", data=data, at=self._clock())
            await store.run(work)
            self._saved = now
