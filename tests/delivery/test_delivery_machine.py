"""Whatever happens in whatever order: no effect is lost, none is doubled, no limit is broken."""

import asyncio
import contextlib
import tempfile
from collections import Counter
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, ClassVar

from delivery_world import (
    ACTIONS,
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Bench,
    Post,
    Share,
    Unshare,
    Write,
    match,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bot.actions.base import Done, Later
from bot.actions.notifier import AtMost
from bot.errors import GiveUp, TryLater
from bot.store import open_store
from bot.store.dead_letters import queue_figures, retry
from bot.store.rules import snooze

TIMES, WINDOW = 2, HOUR


class Killed(BaseException):
    """The process dies here."""


class Digest(Post):
    """Counts what it stands for."""

    kind: ClassVar[str] = "digest"
    total: int
    reasons: dict[str, int]
    since: datetime
    items: tuple[Any, ...]
    spread: dict[str, Any] = field(default_factory=dict)
    over: int = 0
    snoozed: str = ""

    async def perform(self, task, ports) -> Done:
        done = await super().perform(task, ports)
        ports.mouseflow.digests[task.key] = self.total
        return done


class Careful:
    """A world that takes effect by key, and whose actions look before they repeat anything."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, str, datetime]] = []
        self.digests: dict[str, int] = {}
        self.next: list[str] = []

    async def send(self, asked):
        action, task = asked
        fault = self.next.pop(0) if self.next else ""
        if fault == "killed before":
            raise Killed
        if fault == "busy":
            raise TryLater("busy")
        if fault == "limited":
            raise TryLater("limited", after=30 * SECOND, lane=True)
        if fault == "refused":
            raise GiveUp("refused")
        if fault == "bug":
            raise ZeroDivisionError
        known = {key for _, key, _ in self.effects}
        if not (task.attempted and task.key in known):
            self.effects.append((action.kind, task.key, task.now))
        if fault == "killed after":
            raise Killed
        if fault == "lost":
            raise TryLater("lost", unknown=True)
        later = (Later(Unshare(), DAY),) if isinstance(action, Share) else ()
        return Done(result="tok", follow=later)


FAULTS = ["busy", "limited", "refused", "bug", "lost", "killed before", "killed after"]


class DeliveryMachine(RuleBasedStateMachine):
    """Matches, attempts, failures, crashes, restarts, snoozes and repeated polls, interleaved."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = Careful()
        self.runner = asyncio.Runner()
        self.matches: list[tuple] = []
        self.bench: Bench | None = None

    @initialize()
    def start(self) -> None:
        now = self.bench.clock() if self.bench else None
        store = open_store(f"sqlite:///{self.folder.name}/bot.db")
        self.bench = Bench(store, actions=ACTIONS | {"digest": Digest})
        if now:
            self.bench.clock.now = now
        self.bench.world = self.world
        self.bench.ports = type(self.bench.ports)(self.world, self.bench.slack, None)

    @rule(kinds=st.sets(st.sampled_from(["write", "share", "post", "limited"]), min_size=1))
    def matches_something(self, kinds) -> None:
        actions = {
            "write": Write(name="w"),
            "share": Share(name="s"),
            "post": Post(name="p", channel="#free"),
            "limited": Post(
                name="l", at_most=AtMost(times=TIMES, window_ms=WINDOW // SECOND * 1000)
            ),
        }
        self.matches.append((f"r{len(self.matches)}", [actions[kind] for kind in sorted(kinds)]))
        self.polls_again()

    @rule()
    def polls_again(self) -> None:
        now = self.bench.clock()
        self.bench.add(*(match(key, *actions, at=now) for key, actions in self.matches))

    @rule(faults=st.lists(st.sampled_from(FAULTS), max_size=3))
    def delivers(self, faults) -> None:
        self.world.next += faults
        try:
            self.runner.run(self.bench.drain())
        except Killed:
            self.restarts()

    @rule()
    def restarts(self) -> None:
        # Nothing of a dead process goes on: closing the runner ends what was in flight.
        self.runner.close()
        self.runner = asyncio.Runner()
        self.bench.store.close()
        self.start()

    @rule(by=st.sampled_from([SECOND, 10 * SECOND, 5 * MINUTE, HOUR, 2 * DAY]))
    def time_passes(self, by: timedelta) -> None:
        self.bench.clock.advance(by)

    @rule(length=st.sampled_from([MINUTE, 3 * HOUR]))
    def snoozes(self, length: timedelta) -> None:
        now = self.bench.clock()
        self.bench.store.do(lambda conn: snooze(conn, "rule", now + length, now))

    @rule()
    def retries(self) -> None:
        now = self.bench.clock()
        self.bench.store.do(lambda conn: retry(conn, now))

    @invariant()
    def nothing_took_effect_twice(self) -> None:
        doubled = [
            key
            for key, count in Counter(key for _, key, _ in self.world.effects).items()
            if count > 1
        ]
        assert doubled == []

    @invariant()
    def no_window_let_through_more_than_allowed(self) -> None:
        query = "SELECT max(used) FROM windows"
        used = self.bench.store.do(lambda conn: conn.exec_driver_sql(query).scalar())
        assert (used or 0) <= TIMES

    def teardown(self) -> None:
        """In the end all that was matched has come true, in person or in a digest."""
        try:
            if self.bench:
                self._come_true()
        finally:
            self.runner.close()
            if self.bench:
                self.bench.store.close()
            self.folder.cleanup()

    def _come_true(self) -> None:
        self.world.next.clear()
        self.polls_again()
        for _ in range(8):
            self.bench.clock.advance(DAY)
            now = self.bench.clock()
            self.bench.store.do(lambda conn, now=now: retry(conn, now))
            with contextlib.suppress(Killed):
                self.runner.run(self.bench.drain())
        figures = self.bench.store.do(lambda conn: queue_figures(conn, self.bench.clock()))
        assert (figures.pending, figures.sending, figures.dead) == (0, 0, 0)
        self.nothing_took_effect_twice()
        done = {key for _, key, _ in self.world.effects}
        query = "SELECT key, state FROM steps WHERE action <> 'digest'"
        steps = self.bench.store.do(lambda conn: conn.exec_driver_sql(query).all())
        assert {key for key, state in steps if state == "done"} == done - set(self.world.digests)
        folded = [key for key, state in steps if state == "folded"]
        assert len(folded) == sum(self.world.digests.values())
        assert {state for _, state in steps} <= {"done", "folded"}
        expected = sum(len(a) + any(isinstance(x, Share) for x in a) for _, a in self.matches)
        assert len(steps) == expected


DeliveryMachine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestDeliveryMachine = DeliveryMachine.TestCase
