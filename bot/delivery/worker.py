"""Perform the steps of the outbox when they are due: each lane in order, lanes in parallel.

A step is claimed in one transaction, performed, and its outcome saved in another, which also
claims the lane's next step. After a crash, steps in flight are found `sending`: attempts
whose outcome is unknown.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar, assert_never
from uuid import uuid4

import structlog
from msgspec import Struct

from bot import __version__
from bot.actions.base import SETTLING, Action
from bot.delivery.attempt import (
    WAIT,
    DeadLetter,
    Outcome,
    Performed,
    Retry,
    Withheld,
    follow_up_steps,
    obstacle,
    outcome_of,
    restore,
)
from bot.delivery.pace import NO_PACE, Pace, Paces
from bot.delivery.troubles import NOBODY, Ops, TroubleFigures, expire_and_tell
from bot.domain.backoff import LANE_CEILING, LONGEST_ASKED, lane_opens
from bot.domain.calendar import ALWAYS_LOUD, Calendar
from bot.domain.causes import Cause, Stops, stops, trouble_key
from bot.domain.step import Rank
from bot.errors import GiveUp, StoreError, StoreLost, TryLater
from bot.messages.text import without_answer
from bot.ports import MAY_ACT, Ports
from bot.store import Connection, Store, outbox
from bot.store.digests import fold_backlog, has_backlog
from bot.store.lanes import LaneFault, failures, next_due, pause_lane, set_apart
from bot.store.outbox import Claim
from bot.store.rebuild import clock_set_back
from bot.store.rules import has_ended_snooze, note_ended_snoozes
from bot.store.sharing import Lanes

T = TypeVar("T")
log = structlog.get_logger(__name__)


class RetryingStore:
    """Retries a failed unit of work after `pause`, as long as `retries` says so.

    What was done outside must be saved, so it waits out a full disk or a lock.
    """

    def __init__(self, store: Store, pause: timedelta, retries: Callable[[], bool]) -> None:
        self._store = store
        self._pause = pause
        self._retries = retries
        self._failing = 0

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What the work returns. Raises StoreLost, and StoreError if it does not retry."""
        return await self._retried(lambda: self._store.run(work))

    async def run_together(self, work: Callable[[Connection], T]) -> T:
        """What `run` returns, in one transaction with others of the kind that wait."""
        return await self._retried(lambda: self._store.run_together(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What work that only reads returns, as `run`."""
        return await self._retried(lambda: self._store.read(work))

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        failed = False
        while True:
            try:
                done = await attempt()
            except StoreError as error:
                if isinstance(error, StoreLost) or not self._retries():
                    raise
                self._fails(error, again=failed)
                failed = True
                await asyncio.sleep(self._pause.total_seconds())
            else:
                if failed:
                    self._works()
                return done

    def _fails(self, error: StoreError, *, again: bool) -> None:
        """Log when it begins: reads may still work, and all lanes may fail at once."""
        if not again:
            self._failing += 1
            if self._failing == 1:
                log.error("deliver.store_failed", reason=str(error))

    def _works(self) -> None:
        self._failing -= 1
        if not self._failing:
            log.info("deliver.store_recovered")


TEND = timedelta(seconds=5)
"""How often the failing lanes are looked at if nothing happens."""

CUT_AGAIN = timedelta(hours=1)
"""How often at most the log says that steps were given up or not kept."""

MOST_REASONS = 5
"""How many reasons of one outage the log names."""

LANES_AT_ONCE = 16
"""How many lanes are worked in parallel."""

BESIDE = 7
"""How many steps more than one for each lane are performed at once: writes of other recordings."""

IN_A_ROW = 20
"""How many steps of a lane are performed in a row while other lanes wait."""


class Timing(Struct, frozen=True):
    """Timeouts of delivery.

    After `patience` a lane continues without a request that has no answer yet; after `abandon`
    the request is cancelled. `drain` is how long a stop waits for requests in flight, `idle`
    how often the queue is read at least (other commands write into it).
    """

    patience: timedelta = timedelta(seconds=90)
    abandon: timedelta = timedelta(minutes=10)
    drain: timedelta = timedelta(seconds=15)
    idle: timedelta = timedelta(seconds=15)
    store_retry: timedelta = timedelta(seconds=2)


DEFAULT_TIMING = Timing()


class Drained(Struct, frozen=True):
    """How many steps one drain performed, postponed and gave up.

    `held` of those postponed wait for a person: their account or channel must be fixed.
    """

    done: int = 0
    postponed: int = 0
    dead: int = 0
    held: int = 0


class _Queue(Struct, frozen=True):
    """The outbox as it was read: when each lane may begin, which are due, which are this bot's.

    `folding` counts the posts just held back, for each lane with a backlog.
    """

    next: Mapping[str, datetime]
    due: list[str]
    ours: Lanes
    folding: Mapping[str, int]


def everything(_rule: str, _action: Action) -> str | None:
    """Allow every action of every rule."""
    return None


def as_stored(_rule: str, action: Action) -> Action:
    """The action as the store has it."""
    return action


def no_checkpoint(_: str) -> None:
    """The default checkpoint: does nothing. Tests pass one that kills the process."""


async def drain(
    store: Store,
    ports: Ports,
    actions: Mapping[str, type[Action]],
    *,
    clock: Callable[[], datetime],
    chance: Callable[[], float] = random.random,
    timing: Timing = DEFAULT_TIMING,
    checkpoint: Callable[[str], None] = no_checkpoint,
    calendar: Calendar = ALWAYS_LOUD,
) -> Drained:
    """Perform everything that is due and can be performed now, then return.

    The store must be open exclusively, or in memory. Raises StoreError if the store can't be
    written; requests in flight then become attempts with an unknown outcome.
    """
    delivery = Delivery(
        store,
        ports,
        actions,
        clock=clock,
        chance=chance,
        timing=timing,
        checkpoint=checkpoint,
        calendar=calendar,
    )
    return await delivery.drain()


class Delivery:
    """Delivers steps from the outbox, until stopped or once.

    The store must be open exclusively, or shared: steps that are `sending` at the start, and not
    of a bot that is there, were interrupted.
    `clock` returns the time, `chance` a number from 0 to 1. `allows` returns why an action that
    can't be undone is no longer allowed for a rule, None if it is. `current` returns a stored
    action with what only the rule has, its secret. `paces` are how often services may be called;
    other accounts may share them.
    `turned` is called in each round, `checkpoint` with a name at each point where a crash matters.
    `calendar` has the quiet times.
    """

    def __init__(
        self,
        store: Store,
        ports: Ports,
        actions: Mapping[str, type[Action]],
        *,
        clock: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
        timing: Timing = DEFAULT_TIMING,
        allows: Callable[[str, Action], str | None] = everything,
        current: Callable[[str, Action], Action] = as_stored,
        ops: Ops = NOBODY,
        paces: Mapping[str, Pace] | Paces = NO_PACE,
        checkpoint: Callable[[str], None] = no_checkpoint,
        turned: Callable[[], None] = lambda: None,
        calendar: Calendar = ALWAYS_LOUD,
    ) -> None:
        self._confirm, self._sharing = store.confirm, store.sharing
        self._store = RetryingStore(store, timing.store_retry, self._may_wait_for_store)
        self._ports = ports
        self._actions = actions
        self._clock = clock
        self._chance = chance
        self._timing = timing
        self._allows = allows
        self._current = current
        self._ops = ops
        self._checkpoint = checkpoint
        self._turned = turned
        self._calendar = calendar
        self._paces = (
            paces
            if isinstance(paces, Paces)
            else Paces(paces, lambda: self._loop.time() if self._loop else 0.0)
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resting: dict[str, float] = {}
        self._elsewhere: frozenset[str] = frozenset()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._last_turn: dict[str, int] = {}
        self._in_a_row: dict[str, int] = {}
        self._crowded = False
        self._folding: Mapping[str, int] = {}
        self._next: Mapping[str, datetime] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._overdue: set[asyncio.Task[None]] = set()
        self._name, self._numbers = uuid4().hex, count()  # together unique
        self._paused: dict[str, tuple[str, int]] = {}
        self._logged: dict[str, set[str]] = {}
        self._tended, self._tended_once = datetime.min.replace(tzinfo=UTC), False
        self._cut, self._expired, self._dropped = self._tended, 0, 0
        self._news = False
        self._held = 0
        self._counts: Counter[type[Outcome]] = Counter()
        self._woken = asyncio.Event()
        self._recovered = False
        self._stopping = False
        self._stop: asyncio.Event | None = None

    def wake(self) -> None:
        """Look for work now: something new is in the outbox."""
        self._woken.set()

    async def drain(self) -> Drained:
        """Perform everything that is due and can be performed now, then return."""
        self._counts.clear()
        self._held = 0
        try:
            await self._recover()
            while await self._start_due() or self._lanes or self._beside or self._overdue:
                nap = 0.0 if self._folding else min(self._resting.values(), default=None)
                await self._wait_for(*self._lanes.values(), *self._beside, *self._overdue, nap=nap)
        except BaseException:
            self._stopping = True
            await self._finish_in_flight()
            raise
        done, postponed, dead = (self._counts[kind] for kind in (Performed, Retry, DeadLetter))
        return Drained(done, postponed, dead, self._held)

    async def run_until_stopped(self, stop: asyncio.Event) -> None:
        """Perform steps when they are due until `stop` is set, then finish requests in flight.

        While the store can't be written, outcomes are kept in memory and saved later. Raises
        StoreLost if waiting does not help.
        """
        self._stop = stop
        stopped, woken = asyncio.create_task(stop.wait()), asyncio.create_task(self._woken.wait())
        try:
            await self._recover()
            while not stop.is_set():
                self._turned()
                await self._start_due()
                nap = self._nap()
                await self._wait_for(stopped, woken, *self._lanes.values(), *self._beside, nap=nap)
                if woken.done():
                    self._woken.clear()
                    woken = asyncio.create_task(self._woken.wait())
        except StoreError as error:
            if isinstance(error, StoreLost) or not stop.is_set():
                raise
            log.error("deliver.result_not_saved", reason=str(error))  # noqa: TRY400 - for people
        finally:
            self._stopping = True
            stopped.cancel()
            woken.cancel()
            await self._finish_in_flight()

    async def _recover(self) -> None:
        """Once: mark what the last process was doing when it died as unknown.

        Where bots share the store, that of all that are gone.
        """
        self._loop = asyncio.get_running_loop()
        if self._recovered:
            return
        self._recovered = True
        now = self._clock()
        alive = self._sharing.alive
        interrupted = await self._store.run(
            lambda conn: outbox.recover(conn, now, SETTLING, alive(conn))
        )
        if interrupted:
            log.warning("deliver.recovered", steps=interrupted)

    async def _wait_for(self, *running: "asyncio.Task[Any]", nap: float | None = None) -> None:
        if running:
            await asyncio.wait(running, timeout=nap, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(nap or 0)
        for lane, task in list(self._lanes.items()):
            if task.done():
                del self._lanes[lane]
                task.result()
        for running_beside in (self._beside, self._overdue):
            for task in [each for each in running_beside if each.done()]:
                running_beside.remove(task)
                task.result()

    async def _finish_in_flight(self) -> None:
        in_flight = {*self._lanes.values(), *self._beside, *self._overdue}
        if not in_flight:
            return
        done, left = await asyncio.wait(in_flight, timeout=self._timing.drain.total_seconds())
        # Their steps stay `sending`; the next start looks up what became of them.
        if left:
            log.warning("deliver.left_in_flight", calls=len(left))
        for reason, calls in Counter(filter(None, map(_failure, done))).items():
            log.error("deliver.result_not_saved", reason=reason, calls=calls)

    async def _start_due(self) -> bool:
        """Start the lanes that have something due; False if there is none.

        A lane with a backlog waits until it is folded, and the others don't wait for that.
        """
        now = self._clock()
        await self._tend(now)
        queue = await self._look(now)
        self._folding, self._next, ours = queue.folding, queue.next, queue.ours
        self._sharing.use_lanes(ours)
        due, self._elsewhere = ours.due, frozenset(queue.due).difference(ours.due)
        ready = (lane for lane in due if lane not in self._lanes and lane not in self._folding)
        idle = {lane: self._paces.wait(lane, self._sharing.bots) for lane in ready}
        self._resting = {lane: wait for lane, wait in idle.items() if wait > 0}
        waiting = [lane for lane in idle if lane not in self._resting]
        waiting.sort(key=lambda lane: self._last_turn.get(lane, 0))  # least recently worked first
        free = max(LANES_AT_ONCE - len(self._lanes), 0)
        for lane in waiting[:free]:
            self._last_turn[lane] = max(self._last_turn.values(), default=0) + 1
            self._lanes[lane] = asyncio.create_task(self._work(lane))
        self._crowded = len(waiting) > free
        return bool(due or self._folding)

    async def _look(self, now: datetime) -> _Queue:
        """What is due; it writes only where there is something to tidy, or lanes are shared."""
        busy = frozenset(self._lanes)

        def look(conn: Connection, folding: Mapping[str, int]) -> _Queue:
            times = next_due(conn)
            due = [lane for lane, at in times.items() if at <= now]
            return _Queue(times, due, self._sharing.lanes(conn, due, busy), folding)

        def read(conn: Connection) -> _Queue | None:
            is_tidy = not has_ended_snooze(conn, now) and not has_backlog(conn)
            return look(conn, {}) if is_tidy else None

        def tidy(conn: Connection) -> _Queue:
            note_ended_snoozes(conn, now)
            return look(conn, fold_backlog(conn, now))

        found = None if self._sharing.shares else await self._store.read(read)
        return await self._store.run(tidy) if found is None else found

    async def _tend(self, now: datetime) -> None:
        """Tell people what began to fail and what works again; now and then, or after news."""
        if not self._news and timedelta() <= now - self._tended < TEND:
            return
        if now < self._tended or not self._tended_once:
            longest = LONGEST_ASKED + LANE_CEILING
            await self._store.run(lambda conn: clock_set_back(conn, now, longest))
        self._news, self._tended, self._tended_once = False, now, True
        done = await self._store.run(lambda conn: expire_and_tell(conn, now, self._ops))
        for key in [each for each in self._logged if ":" not in each and each not in done.failing]:
            del self._logged[key]
        self._log_cut(done, now)

    def _log_cut(self, done: TroubleFigures, now: datetime) -> None:
        """Log what was given up or not kept, at most once an hour, however long it lasts."""
        self._expired += done.expired
        self._dropped += done.dropped
        if (self._expired or self._dropped) and not timedelta() <= now - self._cut < CUT_AGAIN:
            log.error("deliver.queue_cut", expired=self._expired, dropped=self._dropped)
            self._cut, self._expired, self._dropped = now, 0, 0

    def _nap(self) -> float:
        """Seconds until there may be something to begin, at most `idle`."""
        if self._folding:
            return 0.0
        idle = self._timing.idle
        if len(self._lanes) >= LANES_AT_ONCE:
            return idle.total_seconds()
        busy = {*self._lanes, *self._resting, *self._elsewhere}
        due = min((at for lane, at in self._next.items() if lane not in busy), default=None)
        wait = idle if due is None else min(due - self._clock(), idle)
        return max(min([wait.total_seconds(), *self._resting.values()]), 0.0)

    async def _work(self, lane: str) -> None:
        self._in_a_row[lane] = 0
        await self._in_turn(lane)

    async def _in_turn(self, lane: str) -> None:
        """Perform the lane's steps one after another; what need not wait for them, beside them."""
        self._checkpoint("claim.before")
        claimed = await self._store.run_together(lambda conn: self._claimed(conn, lane))
        while claimed is not None:
            if claimed.more and self._has_room_beside():
                self._beside.add(asyncio.create_task(self._in_turn(lane)))
            claimed = await self._performed(claimed)

    def _has_room_beside(self) -> bool:
        return len(self._beside) < BESIDE and not self._crowded

    def _claimed(self, conn: Connection, lane: str) -> Claim | None:
        if self._stopping or lane in self._folding or not self._sharing.delivers(lane):
            return None
        if self._crowded and self._in_a_row[lane] >= IN_A_ROW:
            return None
        if self._paces.wait(lane, self._sharing.bots) > 0:
            return None
        token = f"{next(self._numbers):012} {self._name} {self._sharing.mark}"
        claimed = outbox.claim(
            conn, lane, self._clock(), token, self._calendar, beside=self._has_room_beside()
        )
        if claimed is not None:
            self._paces.take(lane, self._sharing.bots)
        return claimed

    async def _performed(self, claimed: Claim) -> Claim | None:
        """Perform the step and save its outcome; returns the lane's next step."""
        self._checkpoint("claim.after")
        self._in_a_row[claimed.lane] += 1
        attempt = asyncio.create_task(self._attempt(claimed))
        patience = self._timing.patience.total_seconds()
        if (await asyncio.wait({attempt}, timeout=patience))[0]:
            return await self._save(claimed, attempt.result(), go_on=True)
        # Never cancel a request in flight: the step stays `sending`, only its lane continues.
        log.warning("deliver.overdue", step=claimed.key, seconds=patience)
        self._overdue.add(asyncio.create_task(self._finish_overdue(claimed, attempt)))
        return await self._store.run_together(lambda conn: self._claimed(conn, claimed.lane))

    async def _finish_overdue(self, claimed: Claim, attempt: "asyncio.Task[Outcome]") -> None:
        longer = (self._timing.abandon - self._timing.patience).total_seconds()
        if not (await asyncio.wait({attempt}, timeout=longer))[0]:
            attempt.cancel()
            await asyncio.wait({attempt})
        hung = TryLater("no answer, and the request was abandoned", unknown=True)
        if attempt.cancelled():
            outcome: Outcome = outcome_of(claimed, hung, self._clock(), self._chance)
        else:
            outcome = attempt.result()
        await self._save(claimed, outcome, go_on=False)
        self._woken.set()  # others of its recording may have waited for it

    async def _attempt(self, claimed: Claim) -> Outcome:
        channel = self._ports.addresses.channel
        MAY_ACT.set(self._may_act)  # of this attempt's task alone
        try:
            try:
                stored, task = restore(claimed, self._actions, self._clock())
            except GiveUp as unreadable:
                bots = await self._store.read(self._sharing.replicas)
                if all(bot.version == __version__ for bot in bots):
                    raise
                # Another bot can read it: it may get the lane, or is all that a restart leaves.
                return Retry(self._clock() + WAIT, unreadable.reason, claimed.attempted, Cause.STEP)
            action = self._current(claimed.rule, stored)
            if (stopped := obstacle(claimed, action, self._allows, self._clock())) is not None:
                return stopped
            self._checkpoint("call.before")
            done = await action.perform(task, self._ports)
            self._checkpoint("call.after")
            follow = follow_up_steps(claimed, task.subject, done, channel, self._clock())
            return Performed(done, follow)
        except Exception as error:
            # The only catch-all of delivery: a bug in one step must not stop the others.
            return outcome_of(claimed, error, self._clock(), self._chance)

    async def _may_act(self) -> None:
        """Raise TryLater if another bot may have taken over while this one was frozen."""
        try:
            await self._confirm()
        except StoreError as error:
            raise TryLater(f"not sent: the store can't be asked ({error})") from error

    async def _save(self, claimed: Claim, outcome: Outcome, *, go_on: bool) -> Claim | None:
        """Save the outcome and claim the lane's next step in the same transaction."""
        self._checkpoint("save.before")

        def write(conn: Connection) -> tuple[bool, Claim | None]:
            ours = self._write(conn, claimed, outcome)
            self._checkpoint("save.inside")
            paused = isinstance(outcome, Retry) and outcome.pause is not None
            return ours, self._claimed(conn, claimed.lane) if go_on and not paused else None

        ours, following = await self._store.run_together(write)
        self._checkpoint("save.after")
        self._log(claimed, outcome, ours)
        if claimed.rank < Rank.POST and not isinstance(outcome, Retry):
            self._woken.set()  # posts on other lanes may have waited for this one
        return following

    def _write(self, conn: Connection, claimed: Claim, outcome: Outcome) -> bool:
        now = self._clock()
        match outcome:
            case Performed(done, follow):
                return outbox.complete(
                    conn, claimed, now, note=done.note, result=done.result, follow=follow,
                    posts=done.posts, works=not self._is_old_news(claimed, claimed.lane),
                )  # fmt: skip
            case DeadLetter(reason, remedy, cause):
                return outbox.give_up(conn, claimed, now, reason=reason, remedy=remedy, cause=cause)
            case Withheld(reason):
                return outbox.withhold(conn, claimed, now, reason)
            case Retry(until, reason, attempted):
                self._pause(conn, claimed, outcome, now)
                return outbox.postpone(
                    conn,
                    claimed,
                    now,
                    until=until,
                    reason=reason,
                    attempted=attempted,
                    absent=outcome.absent,
                )
            case _:
                assert_never(outcome)

    def _log(self, claimed: Claim, outcome: Outcome, ours: bool) -> None:
        step = {"step": claimed.key, "action": claimed.action, "lane": claimed.lane}
        if not ours:
            log.warning("deliver.lost_claim", **step)
            return
        self._counts[type(outcome)] += 1
        match outcome:
            case Performed(done):
                for key in [each for each in self._logged if each.endswith(f" {claimed.lane}")]:
                    del self._logged[key]
                log.info("deliver.done", note=done.note, attempts=claimed.attempts, **step)
            case DeadLetter(reason, remedy):
                self._news = True
                log.error("deliver.dead_letter", reason=reason, remedy=remedy, **step)
            case Withheld(reason):
                log.warning("deliver.withheld", reason=reason, **step)
            case Retry(until, reason, _, cause):
                self._news = True
                self._held += isinstance(outcome.pause, GiveUp)
                if cause is Cause.BUSY:
                    self._paces.end_bursts(claimed.lane)
                # During an outage log each reason once, not one line for each attempt.
                said = self._logged.setdefault(trouble_key(cause, claimed.lane), set())
                short = without_answer(reason)
                if short not in said and len(said) < MOST_REASONS:
                    said.add(short)
                    log.warning("deliver.postponed", reason=reason, until=until, **step)
            case _:
                assert_never(outcome)

    def _pause(self, conn: Connection, claimed: Claim, retry: Retry, now: datetime) -> None:
        """Pause the lane if the outcome asks for it; a refused kind of action gets its own lane."""
        if retry.pause is None:
            return
        lane = claimed.lane
        if stops(retry.cause) is Stops.KIND:
            lane = set_apart(conn, lane, claimed.action)
        if self._is_old_news(claimed, lane):
            return
        self._paused[lane] = claimed.token, next(self._numbers)
        opens = lane_opens(retry.pause, failures(conn, lane) + 1, now, self._chance)
        fault = None if retry.cause is Cause.BUSY else LaneFault(retry.cause, retry.remedy, now)
        pause_lane(conn, lane, max(opens, now + retry.settling), retry.reason, fault)

    def _is_old_news(self, claimed: Claim, lane: str) -> bool:
        """Whether the lane was paused while the step was in flight: its outcome changes nothing.

        Several that fail at once are one failure, and one that went out before the pause does not
        end it.
        """
        by, number = self._paused.get(lane, (claimed.token, 0))
        return by != claimed.token and int(claimed.token.split()[0]) < number

    def _may_wait_for_store(self) -> bool:
        return not (self._stopping or self._stop is None or self._stop.is_set())


def _failure(task: "asyncio.Task[Any]") -> str:
    error = None if task.cancelled() else task.exception()
    return str(error or "")
