"""A poll for every website under watch, each in its turn, and none for any other."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import msgspec
import structlog

from bot.config.sections import PollSection
from bot.errors import StoreError
from bot.gate import Gate, fair_share
from bot.rounds import Round, Rounds, measured, spread, words, written
from bot.schedule import Schedule
from bot.store.watermarks import ROUNDS, set_watermark, watermark
from bot.subjects import Site
from bot.watching import Watcher

log = structlog.get_logger(__name__)

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
        self._rounds = Rounds()
        self._away = watcher.away
        self._judged = False
        self._told: Round | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs now, to be cancelled in the end: a poll that is cut off has changed nothing."""
        return list(self._tasks.values())

    def keep_up(self) -> None:
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
            await self._gate.through(look)

    async def _recordings(self, site: Site) -> None:
        if not self._judged:
            self._judged = True
            await self._judge_the_round()
        began = asyncio.get_running_loop().time()
        # A poll that fails says nothing about the rate; that it fails is told elsewhere.
        if await self._watcher.poll_recordings(site) and site.id in self._watched():
            self._rounds = self._rounds.began(site.id, began)
            if self._rounds.over(len(self._watched())):
                await self._judge_the_round()

    def _watched(self) -> frozenset[str]:
        """The websites whose recordings some rule watches: the others cost no call."""
        places = self._watcher.places
        return frozenset(key for key, place in places.items() if place.book.final.rules)

    async def _judge_the_round(self) -> None:
        """Tell how often recordings are seen, when that has become much less than wished."""
        watched = self._watched()
        self._rounds = self._rounds.seen(watched)
        with suppress(StoreError):  # polls meet it, too, and say so
            await self._tell(len(watched))

    async def _tell(self, websites: int) -> None:
        store, first = self._watcher.desk.store, self._told is None
        if first:
            text = await store.run(partial(watermark, source=ROUNDS, website=""))
            self._told = written(text)
        was_slow = self._told is not None and self._told.slow
        now = measured(
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
            log.info("poll.in_time_again", websites=now.websites,
                     seconds=now.every.total_seconds())  # fmt: skip
        if now.slow and not was_slow:
            await self._watcher.say("Recordings are seen later than configured", *words(now))
        if now.differs(self._told):
            data = msgspec.json.encode(now).decode()
            work = partial(set_watermark, source=ROUNDS, website="", data=data, at=self._clock())
            await store.run(work)
            self._told = now
