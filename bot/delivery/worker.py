"""Performs the steps of the outbox as they fall due, each lane in order, lanes side by side.

A step is claimed in one transaction, performed, and settled in another, which also claims
the next one of its lane. What the process was doing when it died is found `sending` and
comes back as an attempt whose outcome is unknown.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import structlog

from bot.actions.base import SETTLING, Action
from bot.delivery.attempt import Again, Dead, Outcome, Performed, following, judged, read_back
from bot.domain.backoff import lane_opens
from bot.errors import StoreError, StoreLost, TryLater
from bot.ports import Ports
from bot.store import Connection, Store, outbox
from bot.store.digests import fold_backlog
from bot.store.lanes import due_lanes, failures, next_due, pause_lane
from bot.store.outbox import Claim
from bot.store.rules import note_ended_snoozes

T = TypeVar("T")
log = structlog.get_logger(__name__)


class InsistentStore:
    """Runs units of work; one that fails is run again after `pause`, while `insists` says so.

    What was done outside must be written down: so it waits out a full disk or a lock.
    """

    def __init__(self, store: Store, pause: timedelta, insists: Callable[[], bool]) -> None:
        self._store = store
        self._pause = pause
        self._insists = insists
        self._failing = 0

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What the work returns. Raises StoreError where it does not insist, and StoreLost."""
        failed = False
        while True:
            try:
                done = await self._store.run(work)
            except StoreError as error:
                if isinstance(error, StoreLost) or not self._insists():
                    raise
                self._fails(error, again=failed)
                failed = True
                await asyncio.sleep(self._pause.total_seconds())
            else:
                if failed:
                    self._works()
                return done

    def _fails(self, error: StoreError, *, again: bool) -> None:
        """Said when it begins: what only reads may go on meanwhile, and all lanes may fail."""
        if not again:
            self._failing += 1
            if self._failing == 1:
                log.error("deliver.store_failed", reason=str(error))

    def _works(self) -> None:
        self._failing -= 1
        if not self._failing:
            log.info("deliver.store_works")


LANES_AT_ONCE = 16
"""How many lanes are worked side by side."""

IN_A_ROW = 20
"""How many steps of a lane are performed in a row while other lanes wait for a place."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take.

    After `patience` a lane no longer waits for a call, which goes on; after `abandon` the
    call is cancelled. `drain` is how long a stop waits for the calls in flight, `idle` how
    long the queue is left unseen (commands beside the daemon write into it).
    """

    patience: timedelta = timedelta(seconds=90)
    abandon: timedelta = timedelta(minutes=10)
    drain: timedelta = timedelta(seconds=20)
    idle: timedelta = timedelta(seconds=15)
    store_retry: timedelta = timedelta(seconds=2)


USUAL = Timing()


@dataclass(frozen=True, slots=True)
class Drained:
    """What one drain did."""

    done: int = 0
    postponed: int = 0
    dead: int = 0


def _put_in_order(conn: Connection, now: datetime) -> int:
    note_ended_snoozes(conn, now)
    return fold_backlog(conn, now)


def nothing(_: str) -> None:
    """The checkpoint of every day: does nothing. Tests pass one that kills the process."""


async def drain(
    store: Store,
    ports: Ports,
    actions: Mapping[str, type[Action]],
    *,
    clock: Callable[[], datetime],
    chance: Callable[[], float] = random.random,
    timing: Timing = USUAL,
    checkpoint: Callable[[str], None] = nothing,
) -> Drained:
    """Perform all that is due and can be performed now, then return.

    The store must be open exclusively, or in memory. Raises StoreError where the store can't
    be written; what was in flight then comes back as an attempt with an unknown outcome.
    """
    delivery = Delivery(
        store,
        ports,
        actions,
        clock=clock,
        chance=chance,
        timing=timing,
        checkpoint=checkpoint,
    )
    return await delivery.drain()


class Delivery:
    """A drain that goes on: what runs now, and what failed last.

    The store must be open exclusively: what is `sending` at the start counts as interrupted.
    `clock` tells the time, `chance` gives numbers from 0 to 1, `checkpoint` is called with a
    name at each point at which a process can die.
    """

    def __init__(
        self,
        store: Store,
        ports: Ports,
        actions: Mapping[str, type[Action]],
        *,
        clock: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
        timing: Timing = USUAL,
        checkpoint: Callable[[str], None] = nothing,
    ) -> None:
        self._store = InsistentStore(store, timing.store_retry, self._waits_for_the_store)
        self._ports = ports
        self._actions = actions
        self._clock = clock
        self._chance = chance
        self._timing = timing
        self._checkpoint = checkpoint
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, int] = {}
        self._in_a_row: dict[str, int] = {}
        self._crowded = False
        self._late: set[asyncio.Task[None]] = set()
        self._faults: dict[str, str] = {}
        self._counts: Counter[type[Outcome]] = Counter()
        self._woken = asyncio.Event()
        self._recovered = False
        self._stopping = False
        self._stop: asyncio.Event | None = None

    def wake(self) -> None:
        """Something new is in the outbox."""
        self._woken.set()

    async def drain(self) -> Drained:
        """Perform all that is due and can be performed now, then return."""
        self._counts.clear()
        try:
            await self._recover()
            while await self._start_due() or self._lanes or self._late:
                await self._wait_for(*self._lanes.values(), *self._late)
        except BaseException:
            self._stopping = True
            await self._finish_in_flight()
            raise
        done, postponed, dead = (self._counts[kind] for kind in (Performed, Again, Dead))
        return Drained(done, postponed, dead)

    async def run_until_stopped(self, stop: asyncio.Event) -> None:
        """Perform steps as they fall due until `stop` is set, then finish the calls in flight.

        While the store can't be written, what was done is held on to and written later. Raises
        StoreLost where waiting cannot help.
        """
        self._stop = stop
        stopped, woken = asyncio.create_task(stop.wait()), asyncio.create_task(self._woken.wait())
        try:
            await self._recover()
            while not stop.is_set():
                await self._start_due()
                await self._wait_for(stopped, woken, *self._lanes.values(), nap=await self._nap())
                if woken.done():
                    self._woken.clear()
                    woken = asyncio.create_task(self._woken.wait())
        except StoreError as error:
            if isinstance(error, StoreLost) or not stop.is_set():
                raise
            log.error("deliver.not_written", reason=str(error))  # noqa: TRY400 - in words
        finally:
            self._stopping = True
            stopped.cancel()
            woken.cancel()
            await self._finish_in_flight()

    async def _recover(self) -> None:
        """Once: what the last process was doing when it died has an unknown outcome."""
        if self._recovered:
            return
        self._recovered = True
        now = self._clock()
        interrupted = await self._store.run(lambda conn: outbox.recover(conn, now, SETTLING))
        if interrupted:
            log.warning("deliver.recovered", steps=interrupted)

    async def _wait_for(self, *running: "asyncio.Task[Any]", nap: float | None = None) -> None:
        await asyncio.wait(running, timeout=nap, return_when=asyncio.FIRST_COMPLETED)
        for lane, task in list(self._lanes.items()):
            if task.done():
                del self._lanes[lane]
                task.result()
        for task in [late for late in self._late if late.done()]:
            self._late.remove(task)
            task.result()

    async def _finish_in_flight(self) -> None:
        in_flight = {*self._lanes.values(), *self._late}
        if not in_flight:
            return
        done, left = await asyncio.wait(in_flight, timeout=self._timing.drain.total_seconds())
        # Their steps stay `sending` and are looked up at the next start.
        if left:
            log.warning("deliver.left_in_flight", calls=len(left))
        for reason, calls in Counter(filter(None, map(_failure, done))).items():
            log.error("deliver.not_written", reason=reason, calls=calls)

    async def _start_due(self) -> bool:
        """Start the lanes that have something to do; False if there is none."""
        now = self._clock()
        while await self._store.run(lambda conn: _put_in_order(conn, now)):
            pass
        due = await self._store.run(lambda conn: due_lanes(conn, now))
        waiting = [lane for lane in due if lane not in self._lanes]
        waiting.sort(key=lambda lane: self._turns.get(lane, 0))  # longest ago first
        free = max(LANES_AT_ONCE - len(self._lanes), 0)
        for lane in waiting[:free]:
            self._turns[lane] = max(self._turns.values(), default=0) + 1
            self._lanes[lane] = asyncio.create_task(self._work(lane))
        self._crowded = len(waiting) > free
        return bool(due)

    async def _nap(self) -> float:
        idle = self._timing.idle
        if len(self._lanes) >= LANES_AT_ONCE:
            return idle.total_seconds()
        busy = frozenset(self._lanes)
        due = await self._store.run(lambda conn: next_due(conn, busy))
        wait = idle if due is None else min(due - self._clock(), idle)
        return max(wait.total_seconds(), 0.0)

    async def _work(self, lane: str) -> None:
        self._checkpoint("claim.before")
        self._in_a_row[lane] = 0
        claimed = await self._store.run(lambda conn: self._claimed(conn, lane))
        while claimed is not None:
            claimed = await self._performed(claimed)

    def _claimed(self, conn: Connection, lane: str) -> Claim | None:
        if self._stopping or (self._crowded and self._in_a_row[lane] >= IN_A_ROW):
            return None
        return outbox.claim(conn, lane, self._clock(), uuid4().hex)

    async def _performed(self, claimed: Claim) -> Claim | None:
        """Perform the step and write down what came of it; returns the next one of the lane."""
        self._checkpoint("claim.after")
        self._in_a_row[claimed.lane] += 1
        attempt = asyncio.create_task(self._attempt(claimed))
        patience = self._timing.patience.total_seconds()
        if (await asyncio.wait({attempt}, timeout=patience))[0]:
            return await self._settled(claimed, attempt.result(), go_on=True)
        # Never cancelled in flight: the step stays `sending`, only its lane goes on.
        log.warning("deliver.overdue", step=claimed.key, seconds=patience)
        self._late.add(asyncio.create_task(self._finish_late(claimed, attempt)))
        return await self._store.run(lambda conn: self._claimed(conn, claimed.lane))

    async def _finish_late(self, claimed: Claim, attempt: "asyncio.Task[Outcome]") -> None:
        longer = (self._timing.abandon - self._timing.patience).total_seconds()
        if not (await asyncio.wait({attempt}, timeout=longer))[0]:
            attempt.cancel()
            await asyncio.wait({attempt})
        hung = TryLater("no answer, and the call was abandoned", unknown=True)
        if attempt.cancelled():
            outcome: Outcome = judged(claimed, hung, self._clock(), self._chance)
        else:
            outcome = attempt.result()
        await self._settled(claimed, outcome, go_on=False)

    async def _attempt(self, claimed: Claim) -> Outcome:
        channel = self._ports.addresses.channel
        try:
            action, task = read_back(claimed, self._actions, self._clock())
            self._checkpoint("call.before")
            done = await action.perform(task, self._ports)
            self._checkpoint("call.after")
            follow = following(claimed, task.subject, done, channel, self._clock())
            return Performed(done, follow)
        except Exception as error:
            # The one place that takes every error: a bug in one step must not stop the others.
            return judged(claimed, error, self._clock(), self._chance)

    async def _settled(self, claimed: Claim, outcome: Outcome, *, go_on: bool) -> Claim | None:
        """Write the outcome down and, in the same transaction, claim the lane's next step."""
        self._checkpoint("settle.before")

        def write(conn: Connection) -> tuple[bool, Claim | None]:
            ours = self._write(conn, claimed, outcome)
            self._checkpoint("settle.inside")
            paused = isinstance(outcome, Again) and outcome.pause is not None
            return ours, self._claimed(conn, claimed.lane) if go_on and not paused else None

        ours, following = await self._store.run(write)
        self._checkpoint("settle.after")
        self._log(claimed, outcome, ours)
        return following

    def _write(self, conn: Connection, claimed: Claim, outcome: Outcome) -> bool:
        now = self._clock()
        match outcome:
            case Performed(done, follow):
                return outbox.settle(
                    conn, claimed, now, note=done.note, result=done.result, follow=follow
                )
            case Dead(reason, remedy):
                return outbox.give_up(conn, claimed, now, reason=reason, remedy=remedy)
            case Again(until, reason, attempted, pause, settling):
                if pause is not None:
                    tries = failures(conn, claimed.lane) + 1
                    opens = lane_opens(pause, tries, now, self._chance)
                    pause_lane(conn, claimed.lane, max(opens, now + settling), reason)
                return outbox.postpone(
                    conn, claimed, now, until=until, reason=reason, attempted=attempted
                )

    def _log(self, claimed: Claim, outcome: Outcome, ours: bool) -> None:
        step = {"step": claimed.key, "action": claimed.action, "lane": claimed.lane}
        if not ours:
            log.warning("deliver.lost_claim", **step)
            return
        self._counts[type(outcome)] += 1
        match outcome:
            case Performed(done):
                self._faults.pop(claimed.lane, None)
                log.info("deliver.settled", note=done.note, attempts=claimed.attempts, **step)
            case Dead(reason, remedy):
                log.error("deliver.given_up", reason=reason, remedy=remedy, **step)
            case Again(until, reason):
                # During an outage one line says so, not one for each attempt.
                if self._faults.get(claimed.lane) != reason:
                    self._faults[claimed.lane] = reason
                    log.warning("deliver.postponed", reason=reason, until=until, **step)

    def _waits_for_the_store(self) -> bool:
        return not (self._stopping or self._stop is None or self._stop.is_set())


def _failure(task: "asyncio.Task[Any]") -> str:
    error = None if task.cancelled() else task.exception()
    return str(error or "")
