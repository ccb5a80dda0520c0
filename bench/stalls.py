"""What keeps the daemon from turning to anything else: the longest turn of its event loop.

    python -m bench.stalls [--only WORD] [--profile] [--write]

The real daemon runs in this process, the simulated account in another. A ticker measures how long
the event loop is busy between two looks at its sockets and timers, and how long the store's thread
works on one transaction; what waits for either waits that long at most. Processor time of the
thread, since a busy machine stretches the clock; the clock's time stands beside it. --profile shows
where the time of the event loop goes. --write puts the table into
docs/explanation/performance.md.
"""

import argparse
import asyncio
import contextlib
import cProfile
import gc
import json
import pstats
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import structlog

from bench.report import bars, write

ROOT = Path(__file__).parents[1]
NOW = datetime.now(UTC)
POSTS, RECORDINGS, MANY = 60_000, 300_000, 20_000
NOTES: list[str] = []


@dataclass(slots=True)
class Longest:
    """The longest of several spans, in seconds: of the thread's processor time, of the clock."""

    cpu: float = 0.0
    clock: float = 0.0

    def note(self, cpu: float, clock: float) -> None:
        self.cpu, self.clock = max(self.cpu, cpu), max(self.clock, clock)


@dataclass
class Ticker:
    """Measures the turns of an event loop (use `loop`) and the transactions of a store."""

    turns: Longest = field(default_factory=Longest)
    work: Longest = field(default_factory=Longest)
    profiled: bool = False
    profile: cProfile.Profile | None = None
    work_profile: cProfile.Profile | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_Selector(self))

    def watch(self, store_class: type) -> None:
        """Measure every transaction of these stores."""
        inner = store_class._in_transaction

        def timed(store, work):
            profile = cProfile.Profile() if self.profiled else None
            cpu, clock = time.thread_time(), time.perf_counter()
            try:
                return profile.runcall(inner, store, work) if profile else inner(store, work)
            finally:
                took = time.thread_time() - cpu
                if took > self.work.cpu:
                    self.work_profile = profile
                self.work.note(took, time.perf_counter() - clock)

        store_class._in_transaction = timed

    def begin(self) -> None:
        """Forget what was measured so far."""
        self.turns, self.work, self.profile, self.work_profile = Longest(), Longest(), None, None


class _Selector(selectors.DefaultSelector):
    """Tells how long nobody asked it for events."""

    def __init__(self, ticker: Ticker) -> None:
        super().__init__()
        self._ticker = ticker
        self._cpu = self._clock = 0.0
        self._profile: cProfile.Profile | None = None

    def select(self, timeout=None):
        ticker = self._ticker
        if self._profile:
            self._profile.disable()
        if self._clock:
            cpu, clock = time.thread_time() - self._cpu, time.perf_counter() - self._clock
            if cpu > ticker.turns.cpu:
                ticker.profile = self._profile
            ticker.turns.note(cpu, clock)
        found = super().select(timeout)
        self._cpu, self._clock = time.thread_time(), time.perf_counter()
        if ticker.profiled:
            self._profile = cProfile.Profile()
            self._profile.enable()
        return found


def rules_text(count: int, *, note: str = "") -> str:
    """So many rules: a quarter watches all websites, the others a tenth or a single one."""
    lines = [f"# {note}", "version: 1", "rules:"]
    for n in range(count):
        names = ("", f"websites: ['*{n % 10}.com'], ", f"websites: [shop-{n % 200:03}.com], ")
        where = names[0 if n % 4 == 0 else 1 if n % 4 < 3 else 2]
        lines.append(
            f"  rule-{n}: {{watch: recordings, {where}when: {{duration: {{over: {n + 1}s}}, "
            f"saw_page: /checkout/{n}*, country: [de, dk]}}, except: {{tags: [internal]}}, "
            f"do: {{tag: part-{n % 50}, slack: {{channel: '#alerts'}}}}}}"
        )
    return "\n".join(lines) + "\n"


def environment_of(sim) -> dict[str, str]:
    """The settings of a daemon that watches the simulated account, without its page."""
    return {
        "BOT_MOUSEFLOW__BASE_URL": sim.mouseflow_url,
        "BOT_MOUSEFLOW__EMAIL": sim.email,
        "BOT_MOUSEFLOW__API_KEY": sim.api_key,
        "BOT_SLACK__BASE_URL": sim.slack_url,
        "BOT_SLACK__BOT_TOKEN": sim.slack.token,
        "BOT_WEB__LISTEN": "",
    }


def serve(websites: int) -> None:
    """The simulated account, until it is ended."""
    from mouseflow.simulator.server import Simulator
    from mouseflow.simulator.site import website
    from mouseflow.simulator.traffic import Plan

    sites = [
        website(f"site-{n:03}", f"shop-{n:03}.com", plan=Plan(per_day=300)) for n in range(websites)
    ]
    with Simulator(seed=7, sites=sites) as sim:
        print(json.dumps(environment_of(sim)), flush=True)
        signal.pause()


@contextlib.contextmanager
def account(websites: int) -> Iterator[dict[str, str]]:
    """The environment of a daemon that watches this account."""
    served = subprocess.Popen(
        [sys.executable, "-m", "bench.stalls", "--serve", str(websites)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stdout
        yield json.loads(served.stdout.readline()) | {
            "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "50",
            "BOT_SLACK__CHANNEL": "#alerts",
            "BOT_POLL__RECORDINGS": "20s",
            "BOT_POLL__START": "1h",
            "BOT_POLL__FEEDBACK": "1h",
            "BOT_POLL__REPORTS": "8s",
        }
    finally:
        served.terminate()
        served.wait()


class Events:
    """The events of the log, to wait for."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Event] = {}

    def __call__(self, _logger, _method, event):
        name = event["event"]
        if name in ("rules.reload_failed", "daemon.internal_error", "poll.internal_error"):
            print(event, file=sys.stderr)
        if name in self._waiting:
            waiting = self._waiting[name]
            asyncio.get_running_loop().call_soon(waiting.set)
        raise structlog.DropEvent

    async def wait(self, name: str) -> None:
        await self._waiting.setdefault(name, asyncio.Event()).wait()
        del self._waiting[name]


@dataclass(frozen=True)
class Scene:
    """A daemon that runs, and what a situation may do with it."""

    ticker: Ticker
    events: Events
    folder: Path
    environment: dict[str, str]
    rows: dict[str, tuple[Longest, Longest]]

    @contextlib.asynccontextmanager
    async def situation(self, name: str) -> AsyncIterator[None]:
        """Measure the block."""
        await asyncio.sleep(0)
        self.ticker.begin()
        yield
        await asyncio.sleep(0)
        self.rows[name] = replace(self.ticker.turns), replace(self.ticker.work)
        print(_row(name, *self.rows[name]), file=sys.stderr)
        for profile in filter(None, (self.ticker.profile, self.ticker.work_profile)):
            pstats.Stats(profile).sort_stats("cumulative").print_stats(25)

    @contextlib.asynccontextmanager
    async def daemon(self) -> AsyncIterator[None]:
        from bot.config.load import load
        from bot.daemon import run

        stop = asyncio.Event()
        settings = load(None, self.environment)
        running = asyncio.create_task(run(settings, stop=stop, reload=asyncio.Event()))
        try:
            yield
        finally:
            stop.set()
            await running


async def many_rules(scene: Scene, rules: int) -> None:
    """Start, look at the list of websites, reload after a changed comment."""
    file = scene.folder / "rules.yaml"
    file.write_text(rules_text(rules))
    name = f"{rules:,} rules, 200 websites: "
    waits = asyncio.create_task(scene.events.wait("daemon.started"))
    await asyncio.sleep(0)
    daemon = scene.daemon()
    async with scene.situation(name + "start"):
        await daemon.__aenter__()
        await waits
    async with scene.situation(name + "first polls, list of websites"):
        await asyncio.sleep(25)
    file.write_text(rules_text(rules, note="changed"))
    async with scene.situation(name + "reload after a changed comment"):
        await scene.events.wait("rules.loaded")
        await asyncio.sleep(2)
    await daemon.__aexit__(None, None, None)


def multiply(conn, table: str, count: int, **values: str) -> None:
    """So many copies of the table's first row, with these columns (SQL, `n` counts from 1)."""
    columns = [row[1] for row in conn.exec_driver_sql(f"PRAGMA table_info({table})")]
    if "id" in columns and "id" not in values:
        columns.remove("id")
    chosen = ", ".join(values.get(column, f"t.{column}") for column in columns)
    conn.exec_driver_sql(
        f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) "
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} "
        f"FROM s, (SELECT * FROM {table} LIMIT 1) t"
    )


def posts(store, count: int) -> None:
    """One match with a post as it is stored, and so many copies that wait."""
    from bench.delivery import Slack, Tag, fill

    fill(store, 1, [Slack()])

    def copy(conn) -> None:
        multiply(conn, "matches", count, key="t.key || n", subject_key="t.subject_key || n",
                 id="n + 1")  # fmt: skip
        multiply(conn, "steps", count, key="t.key || n", match_id="n + 1")

    store.do(copy)
    elsewhere = fill_one(Tag())
    store.do(elsewhere)


def fill_one(action):
    """Stores one more match with that action, on another website's lane."""
    from bench.delivery import NOW, match
    from bot.store.matches import PollOutcome, commit_poll

    found = match(10**9, [action])
    steps = [msgspec.structs.replace(step, lane="mouseflow:w9") for step in found.steps]
    outcome = PollOutcome(source="recordings", website="w9", at=NOW,
                          matches=[msgspec.structs.replace(found, steps=steps)])  # fmt: skip
    return lambda conn: commit_poll(conn, outcome)


async def backlog(scene: Scene) -> None:
    """Slack was away while posts came; a tag on another lane must not wait for them."""
    from bench.delivery import ACTIONS, NOW, _digest
    from bot.delivery.worker import Delivery
    from bot.ports import Ports
    from bot.store import open_store

    with open_store(scene.environment["BOT_STORE__URL"]) as store:
        posts(store, POSTS)
        first = asyncio.Event()

        class Watched(ACTIONS["tag"]):
            async def perform(self, task, ports):
                first.set()
                return await super().perform(task, ports)

        actions = ACTIONS | _digest() | {"tag": Watched}
        delivery = Delivery(store, Ports(None, None, None), actions, clock=lambda: NOW)
        began = time.perf_counter()
        async with scene.situation(f"{POSTS:,} posts in the queue"):
            draining = asyncio.create_task(delivery.drain())
            await first.wait()
            waited = time.perf_counter() - began
            await draining
        NOTES.append(
            f"\nWith {POSTS:,} posts in the queue, an action on another lane waited {waited:.1f} s;"
            f" all were folded after {time.perf_counter() - began:.0f} s."
        )


async def retention(scene: Scene) -> None:
    """Most of a big store is older than `store.keep`."""
    from bot.cleanup import _forget
    from bot.store import open_store
    from bot.store.audit import Note, record
    from bot.store.recordings import SeenRecording, save_recordings

    old = datetime(2020, 1, 1, tzinfo=UTC)
    with open_store(scene.environment["BOT_STORE__URL"]) as store:
        posts(store, POSTS)
        seen = SeenRecording(id="r", fingerprint="f" * 16, settled=True, created=old)
        note = Note(kind="step.done", rule="checkout", website="w1", subject="x" * 32, text="ok")
        store.do(lambda conn: save_recordings(conn, "w1", [seen], old))
        store.do(lambda conn: record(conn, old, [note]))
        store.do(lambda conn: multiply(conn, "recordings", RECORDINGS, id="'r' || n"))
        store.do(lambda conn: multiply(conn, "audit", RECORDINGS))
        store.do(lambda conn: conn.exec_driver_sql("UPDATE steps SET state = 'done'") and None)
        async with scene.situation(f"retention of {2 * RECORDINGS + POSTS:,} rows"):
            await _forget(store, NOW, NOW, NOW)


async def commands(scene: Scene) -> None:
    """`retry` and `cancel` of many, beside a daemon: how long they keep its store locked."""
    from bot.delivery.rebuild import retry_some
    from bot.store import open_store
    from bot.store.cancel import cancel

    with open_store(scene.environment["BOT_STORE__URL"]) as store:
        posts(store, MANY)
        store.do(
            lambda conn: conn.exec_driver_sql("UPDATE steps SET state = 'dead', ended = 1") and None
        )
        async with scene.situation(f"`retry` of {MANY:,} dead letters"):
            after = 0
            while done := await store.run(partial(retry_some, now=NOW, book=None, after=after)):
                after = done.last
        async with scene.situation(f"`cancel` of {MANY:,} actions"):
            while await store.run(lambda conn: cancel(conn, NOW, rules=["checkout-friction"])):
                pass


def _row(name: str, turns: Longest, work: Longest) -> str:
    spans = (turns.cpu, turns.clock, work.cpu, work.clock)
    return f"| {name} | {' | '.join(f'{1000 * it:,.0f}' for it in spans)} |"


SITUATIONS: dict[str, tuple[int, Callable[[Scene], Awaitable[None]]]] = {
    "100 rules": (200, lambda scene: many_rules(scene, 100)),
    "1,000 rules": (200, lambda scene: many_rules(scene, 1000)),
    "backlog": (0, backlog),
    "retention": (0, retention),
    "commands": (0, commands),
}


def measure(name: str, *, profile: bool) -> dict[str, tuple[Longest, Longest]]:
    import bot.daemon  # noqa: F401 - importing is no stall: nothing runs yet
    from bot.store.database import Store

    gc.freeze()  # as the command `run` does

    ticker, events = Ticker(profiled=profile), Events()
    ticker.watch(Store)
    structlog.configure(processors=[events])
    websites, situation = SITUATIONS[name]
    with tempfile.TemporaryDirectory() as folder, account(websites) as environment:
        environment |= {
            "BOT_RULES__PATHS": str(Path(folder) / "rules.yaml"),
            "BOT_STORE__URL": f"sqlite:///{folder}/bot.db",
        }
        scene = Scene(ticker, events, Path(folder), environment, {})
        with asyncio.Runner(loop_factory=ticker.loop) as runner:
            runner.run(situation(scene))
    return scene.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SITUATIONS)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    rows: dict[str, tuple[Longest, Longest]] = {}
    for name in [options.only] if options.only else SITUATIONS:
        rows |= measure(name, profile=options.profile)
    head = (
        "| ms | event loop, processor time | by the clock | a transaction, processor time"
        " | by the clock |"
    )
    lines = [_row(name, *longest) for name, longest in rows.items()]
    chart = bars({name: 1000 * turns.cpu for name, (turns, _) in rows.items()}, "ms")
    parts = [head, "|---|---:|---:|---:|---:|", *lines, *NOTES]
    table = "\n".join([*parts, "", "Event loop, processor time:", "", chart])
    print(table)
    if options.write:
        write("stalls", table)


if __name__ == "__main__":
    main()
