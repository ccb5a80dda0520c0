"""Months at work: nothing grows, nothing is lost, nothing is done twice.

    python -m bench.soak [--days 90] [--websites 3] [--per-day 300] [--write soak]
    python -m bench.soak --real [--minutes 10] [--websites 20] [--rules 0] [--write soak-real]

The daemon has a process of its own; the simulated account, Slack and the judge are in another. By
default the daemon's clock is virtual: days pass in seconds, with faults of the API and of Slack,
changed and broken rule files, restarts, a clock that is wrong, and the change to summer time.
--real is ten real minutes over sockets. --rules adds so many rules that nearly no session meets.

Each day (each half minute) prints memory, descriptors, tasks, connections and the store's size.
Ends with 1 if they grow, or if an action is missing, done twice or done without cause.
--write puts the table of that name into the docs. Linux.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path

from msgspec.structs import replace

from bench.report import memory, write

ROOT = Path(__file__).parents[1]
RULES = """
version: 1
rules:
  deep:
    watch: recordings
    when: {pages: {min: 9}}
    do: {tag: deep}
  pays:
    watch: recordings
    when: {saw_page: /checkout/pay}
    do: {slack: {channel: "#checkout-alerts"}}
  friction:
    watch: recordings
    when: {friction: {min: 6}}
    do: {star: true}
  silent:
    watch: websites
    when: {recordings: {below_usual: 20%}}
    over_last: 2h
    do: {slack: {channel: "#ux"}}
  converts-badly:
    watch: funnels
    when: {conversion: {under: 1%}}
    do: {slack: {channel: "#ux"}}
"""
PAGE_OF = {"soak": "reliability.md", "soak-real": "reliability.md"}
JUDGED = ("deep", "pays", "friction")
KEEP = 14
REPORTS = "2h"
"""How often reports are polled on the virtual clock: they are half of all requests otherwise."""
HOUR = 3600


@dataclass(frozen=True)
class Sample:
    """What the daemon's process has at one moment; `at` in days or minutes.

    `memory` is without the `aside` MB of what is there for the run alone.
    """

    at: float
    memory: float
    descriptors: int
    connections: int
    tasks: int
    threads: int
    store: float
    cpu: float
    stall: float = 0.0
    aside: float = 0.0


HEADS = {
    "memory": "memory, MB",
    "descriptors": "descriptors",
    "connections": "connections",
    "tasks": "tasks",
    "threads": "threads",
    "store": "store, MB",
    "cpu": "processor time, s",
    "stall": "longest stall, ms of processor time",
}
MAY_GROW = {"memory": 4.0, "descriptors": 2, "connections": 2, "tasks": 3, "threads": 1}
"""How much more the second half of a run may have than its first."""


def sample(at: float, folder: Path, stall: float = 0.0, aside: float = 0.0) -> Sample:
    """This process as it is now, without `aside` MB of memory that are not the daemon's."""
    gc.collect()
    links = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except OSError:  # the descriptor that lists them
            continue
    return Sample(
        at=at,
        memory=memory() - aside,
        descriptors=len(links),
        connections=sum(it.startswith("socket:") for it in links),
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        store=sum(it.stat().st_size for it in folder.glob("bot.db*")) / 2**20,
        cpu=time.process_time(),
        stall=1000 * stall,
        aside=aside,
    )


def grown(samples: list[Sample]) -> list[str]:
    """What the second half has more of than the first; the start is left out."""
    samples = samples[len(samples) // 6 :]
    half = len(samples) // 2
    if not half:
        return []
    early, late = samples[:half], samples[half:]
    found = []
    for name, may in MAY_GROW.items():
        before = max(getattr(it, name) for it in early)
        after = max(getattr(it, name) for it in late)
        if after > before + may:
            found.append(f"{HEADS[name]} grew from {before:.0f} to {after:.0f}")
    return found


# The daemon on a virtual clock: asks the parent for everything


class Remote:
    """The parent's account and Slack, as the daemon's process sees them."""

    def __init__(self, pipe: Connection, true_time: Callable[[], datetime]) -> None:
        self._pipe, self._true_time = pipe, true_time

    def ask(self, what: str, *args: object) -> object:
        self._pipe.send((self._true_time(), what, args))
        return self._pipe.recv()

    async def app(self, scope, receive, send) -> None:
        """The account as an ASGI application."""
        from mouseflow.simulator.middleware import Dropped

        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        target = scope["path"] + "?" + scope["query_string"].decode()
        answer = self.ask("call", scope["method"], target, list(scope["headers"]), body)
        if answer is None:
            raise Dropped("the connection was closed")
        status, headers, content = answer
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def on_virtual_clock(pipe: Connection, folder: Path, days: int, every: str) -> None:
    """The daemon for so many days. What happens beside the traffic is in `_troubles`."""
    from bot import daemon, health, logs, reload  # noqa: F401 - first: what it uses, too, is its own
    from bot.delivery import worker
    from bot.delivery.dry_run import DryRunLog, DrySlack
    from bot.errors import TryLater
    from bot.store import open_store

    own = memory()
    sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))
    import time_machine
    from virtual_world import START, Prompt, VirtualLoop, World

    from mouseflow.simulator.server import Simulator

    Simulator(sites=[])
    aside = memory() - own  # the simulator and the clock

    # Nothing here needs files, queue and heartbeat to be looked at sooner.
    reload.CHECK_FILES = health.BEAT = worker.TEND = timedelta(minutes=5)
    logs.configure("json", "info", stream=(folder / "log.jsonl").open("w"))
    url = f"sqlite:///{folder}/bot.db"

    async def work(wall) -> None:
        loop = asyncio.get_running_loop()

        def true_time() -> datetime:
            return START + timedelta(seconds=loop.time())

        remote = Remote(pipe, true_time)

        class Slack(DrySlack):
            async def post(self, post):
                stamp = remote.ask("post", post.channel, post.key, json.dumps(post.blocks))
                if stamp == "503":
                    raise TryLater("Slack answers 503")
                if stamp == "lost":
                    raise TryLater("the connection was closed", unknown=True)
                return stamp

            async def update(self, post, stamp):
                pass

            async def find(self, channel, key, since, thread=""):
                return remote.ask("find", channel, key)

        world = World(
            folder, RULES, 0, true_time=true_time, store=open_store(url),
            BOT_POLL__RECORDINGS=every, BOT_POLL__FEEDBACK=REPORTS, BOT_POLL__REPORTS=REPORTS,
            BOT_STORE__KEEP=f"{KEEP}d", BOT_MOUSEFLOW__REQUESTS_PER_SECOND="20",
        )  # fmt: skip
        timing = replace(worker.DEFAULT_TIMING, idle=timedelta(minutes=5))
        world.sim.mouseflow_app = remote.app
        world.slack = Slack(DryRunLog())
        todo = sorted([*_troubles(days), *((24 * day, "day", "") for day in range(1, days + 1))],
                      key=lambda it: it[0])  # fmt: skip
        while todo:
            async with world.daemon(timing=timing):
                while todo:
                    hours, what, how = todo.pop(0)
                    await asyncio.sleep(max(0.0, hours * HOUR - loop.time()))
                    match what:
                        case "day":
                            taken = sample(hours / 24, folder, aside=aside)
                            pipe.send((true_time(), "sample", (taken,)))
                            pipe.recv()
                        case "clock":
                            wall.shift(timedelta(hours=float(how)))
                        case "rules":
                            world.rule_file.write_text(f"{RULES}\n{how}\n")
                        case "restart":
                            break
                        case _:
                            remote.ask("trouble", what, how)
            if todo:
                world.store.close()
                world.store = Prompt(open_store(url))
                await asyncio.sleep(20)
        world.store.close()

    with (
        time_machine.travel(START, tick=False) as wall,
        asyncio.Runner(loop_factory=lambda: VirtualLoop(wall)) as runner,
    ):
        runner.run(work(wall))
    pipe.close()


API = ("500", "503", "429", "html", "half", "close", "close_after")


def _troubles(days: int) -> Iterator[tuple[float, str, str]]:
    """(hours since the start, what, how)."""
    for day in range(days - 1):
        begin = 24.0 * day
        yield begin + 3, "api", API[day % len(API)]
        yield begin + 4.1, "api", ""
        if day % 2:
            yield begin + 6, "slack", ("503", "lost")[day // 2 % 2]
            yield begin + 7, "slack", ""
        if day % 3 == 1:
            yield begin + 8, "rules", f"# changed on day {day}"
        if day % 9 == 4:
            yield begin + 9, "rules", "  broken: {watch: recordings, wen: {}}"
            yield begin + 11, "rules", f"# fixed on day {day}"
        if day % 10 == 5:
            step = (2, -2, 72, -72)[day // 10 % 4]
            yield begin + 12, "clock", str(step)
            yield begin + 15, "clock", str(-step)
        if day % 15 == 7:
            yield begin + 18, "restart", ""


# The account, Slack and the judge


@dataclass
class Account:
    """The simulated account beside a daemon on a virtual clock, and what reached it."""

    websites: int
    per_day: int
    posts: dict[str, tuple[str, str]] = field(default_factory=dict)
    twice: int = 0
    slack: str = ""
    now: datetime = datetime(2026, 3, 10, 9, tzinfo=UTC)

    def __post_init__(self) -> None:
        from mouseflow.simulator.in_process import InProcess
        from mouseflow.simulator.quirks import Quirks
        from mouseflow.simulator.server import Simulator

        self.sim = Simulator(seed=7, sites=shops(self.websites, self.per_day),
                             quirks=Quirks(expand=False), now=lambda: self.now)  # fmt: skip
        self._http = InProcess(self.sim.mouseflow_app)
        self._dice = random.Random(7)

    async def answer(self, what: str, args: tuple) -> object:
        match what:
            case "call":
                return await self._call(*args)
            case "trouble":
                return self._trouble(*args)
            case "find":
                return next((key for key in self.posts if key == args[1]), None)
            case "post":
                return self._post(*args)
        raise ValueError(what)

    async def _call(self, method: str, target: str, headers: list, body: bytes) -> object:
        import httpx

        request = httpx.Request(method, f"http://127.0.0.1{target}", headers=headers, content=body)
        try:
            answer = await self._http.handle_async_request(request)
        except httpx.ReadError:
            return None
        content = b"".join([part async for part in answer.aiter_raw()])
        return answer.status_code, answer.headers.raw, content

    def _trouble(self, side: str, how: str) -> None:
        if side == "slack":
            self.slack = how
            return
        self.sim.faults.clear()
        if how.isdigit():
            self.sim.fail("status", status=int(how), times=10**9, retry_after=30)
        elif how == "close_after":  # a write that took effect, whose answer is lost
            self.sim.fail(how, method="POST", times=10**9)
        elif how:
            self.sim.fail(how, times=10**9)

    def _post(self, channel: str, key: str, blocks: str) -> str:
        if self.slack == "503":
            return "503"
        lost = self.slack == "lost" and self._dice.random() < 0.5
        if lost and self._dice.random() < 0.5:
            return "lost"  # before it arrived
        self.twice += key in self.posts
        self.posts[key] = channel, blocks
        return "lost" if lost else key


def shops(websites: int, per_day: int) -> list:
    """So many websites with visitors, and with funnels and campaigns."""
    from mouseflow.simulator import scenarios
    from mouseflow.simulator.site import website
    from mouseflow.simulator.traffic import Plan

    made = []
    for n in range(websites):
        site = website(f"site-{n:03}", f"shop-{n:03}.com", plan=Plan(per_day=per_day), seed=n)
        scenarios._add_reports(site)
        made.append(site)
    return made


@dataclass(frozen=True)
class Verdict:
    """What the judge found."""

    recordings: int
    expected: int
    lost: tuple[str, ...]
    twice: int
    wrong: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not (self.lost or self.twice or self.wrong)


def judge(
    sim, posts: Mapping[str, int], begin: datetime, until: Callable[[str], int], twice: int
) -> Verdict:
    """Compares what was done with the sessions that began after `begin`.

    What a session met by `until` (ms, of its website) must be done; what it never meets must not.
    `posts`: how many messages name each recording.
    """
    from mouseflow.simulator import clock, timeline

    first = clock.milliseconds(begin)
    done = {it.recording: it for it in sim.effects()}
    recordings = expected = 0
    lost: list[str] = []
    wrong: list[str] = []
    for site in sim.world.sites.values():
        last = until(site.id)
        for day in range(timeline.day_of(first), timeline.day_of(last) + 1):
            for index in range(len(timeline.arrived(site, day).starts)):
                visit = timeline.find_visit(site, timeline.pack(day, index))
                if visit is None or not first <= visit.start < last:
                    continue
                recordings += 1
                name = clock.recording_id(site.key, visit.ref)
                effect = done.get(name)
                did = (
                    effect is not None and "deep" in effect.tags,
                    name in posts,
                    effect is not None and bool(effect.starred),
                )
                now = _met(timeline.snapshot(visit.script, last - visit.start))
                ever = _met(visit.final)
                expected += sum(now)
                for rule, must, may, it in zip(JUDGED, now, ever, did, strict=True):
                    if must and not it:
                        lost.append(f"{rule} {site.id} {name} {clock.moment(visit.start)}")
                    if it and not may:
                        wrong.append(f"{rule} {site.id} {name} {clock.moment(visit.start)}")
    twice += sum(count - 1 for count in posts.values())
    return Verdict(recordings, expected, tuple(lost), twice, tuple(wrong))


def _met(state) -> tuple[bool, bool, bool]:
    """Which of the rules `JUDGED` the session meets."""
    return len(state.views) >= 9, "/checkout/pay" in state.paths, state.friction >= 6


_ID = re.compile(r"recordings/([0-9a-f]{32})|\b([0-9a-f]{32})\b")


def named(messages: Iterator[str]) -> Counter[str]:
    """How many messages name each recording."""
    return Counter(each for text in messages for each in {a or b for a, b in _ID.findall(text)})


def simulated(days: int, websites: int, per_day: int, every: str, folder: Path) -> "Outcome":
    """So many days on the virtual clock."""
    account = Account(websites, per_day)
    begin = account.now + timedelta(minutes=30)
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "131072")  # as in the container
    ours, theirs = Pipe()
    daemon = get_context("spawn").Process(
        target=on_virtual_clock, args=(theirs, folder, days, every)
    )
    daemon.start()
    theirs.close()
    samples: list[Sample] = []

    async def serve() -> None:
        while True:
            try:
                account.now, what, args = ours.recv()
            except (EOFError, ConnectionError):
                return
            if what == "sample":
                samples.append(args[0])
                print(line(samples[-1], "day"), flush=True)
                ours.send(None)
            else:
                ours.send(await account.answer(what, args))

    asyncio.run(serve())
    daemon.join()
    if daemon.exitcode:
        sys.exit(f"the daemon's process ended with {daemon.exitcode}")
    posts = named(text for channel, text in account.posts.values() if channel != "#ops")
    until = round((account.now - timedelta(hours=3)).timestamp() * 1000)
    verdict = judge(account.sim, posts, begin, lambda _: until, account.twice)
    note = f"{samples[-1].aside:.0f} MB of simulator and clock are not in the memory."
    return Outcome(samples, verdict, store_per_recording(folder), note)


# Real minutes


@asynccontextmanager
async def _real_daemon() -> AsyncIterator[None]:
    from bot.config.load import load
    from bot.daemon import run

    stop = asyncio.Event()
    running = asyncio.create_task(
        run(load(None, dict(os.environ)), stop=stop, reload=asyncio.Event())
    )
    try:
        yield
    finally:
        stop.set()
        await running


def for_real(pipe: Connection, folder: Path, environment: dict[str, str], minutes: float) -> None:
    """The daemon over sockets."""
    import bot.daemon  # noqa: F401 - importing is no stall: nothing runs yet
    from bench.stalls import Ticker
    from bot import logs

    os.environ |= environment
    logs.configure("json", "info", stream=(folder / "log.jsonl").open("w"))
    gc.collect()
    gc.freeze()  # as the command `run` does
    ticker = Ticker()

    async def work() -> None:
        async with _real_daemon():
            for n in range(round(minutes * 2)):
                await asyncio.sleep(30)
                pipe.send(sample((n + 1) / 2, folder, ticker.turns.cpu))
                await asyncio.sleep(0)  # taking the sample is no stall of the daemon
                ticker.begin()

    with asyncio.Runner(loop_factory=ticker.loop) as runner:
        runner.run(work())
    pipe.send(None)


def real(minutes: float, websites: int, per_day: int, rules: int, folder: Path) -> "Outcome":
    """So many real minutes over sockets, with faults all the time."""
    from bench.stalls import environment_of, rules_text
    from mouseflow.simulator.quirks import Quirks
    from mouseflow.simulator.server import Simulator

    (folder / "rules").mkdir()
    (folder / "rules" / "soak.yaml").write_text(RULES)
    if rules:
        (folder / "rules" / "many.yaml").write_text(rules_text(rules))
    with Simulator(seed=7, sites=shops(websites, per_day), quirks=Quirks(expand=False)) as sim:
        sim.slack.add_channel("#alerts")
        for name in ("#ux", "#ops", "#checkout-alerts"):
            sim.slack.add_channel(name)
        environment = environment_of(sim) | {
            "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "50",
            "BOT_SLACK__CHANNEL": "#alerts",
            "BOT_SLACK__OPS_CHANNEL": "#ops",
            "BOT_STORE__URL": f"sqlite:///{folder}/bot.db",
            "BOT_RULES__PATHS": str(folder / "rules"),
            "BOT_WEB__LISTEN": "127.0.0.1:0",
        }
        ours, theirs = Pipe()
        daemon = get_context("spawn").Process(
            target=for_real, args=(theirs, folder, environment, minutes)
        )
        begin = datetime.now(UTC) + timedelta(seconds=90)
        daemon.start()
        theirs.close()
        samples: list[Sample] = []
        seen: dict[str, int] = {}
        while (one := ours.recv()) is not None:
            samples.append(one)
            if len(samples) <= minutes * 2 - 2:  # what is found later may not be done at the end
                seen = last_polls(folder)
            print(line(one, "minute"), flush=True)
            if len(samples) < minutes * 2 - 8:
                _disturb(sim, folder, len(samples))
        daemon.join()
        posts = named(json.dumps(it.blocks) for it in sim.slack.in_channel("#checkout-alerts"))
        verdict = judge(sim, posts, begin, lambda website: seen.get(website, 0) - 2000, 0)
        cost = f"{len(sim.calls):,} requests, {1000 * samples[-1].cpu / len(sim.calls):.1f} ms of "
        note = cost + "processor time each, all work of the daemon included."
    return Outcome(samples, verdict, store_per_recording(folder), note)


def _disturb(sim, folder: Path, turn: int) -> None:
    """A few faults, and now and then a changed rule file."""
    sim.faults.clear()
    kind = API[turn % len(API)]
    if kind.isdigit():
        sim.fail("status", status=int(kind), times=3, retry_after=2)
    else:
        sim.fail(kind, times=3)
    if turn % 5 == 0:
        sim.fail("status", side="slack", status=503)
    if turn % 4 == 0:
        (folder / "rules" / "soak.yaml").write_text(f"{RULES}\n# changed {turn}\n")


# Messages


@dataclass(frozen=True)
class Outcome:
    """A run: its samples, the judge's verdict, bytes of the store for each recording in it."""

    samples: list[Sample]
    verdict: Verdict
    per_recording: float
    note: str = ""

    def faults(self, *, store: bool) -> list[str]:
        """Why the run fails."""
        found = grown(self.samples)
        if store:  # it has forgotten the first days since
            half = [it for it in self.samples if it.at > 1.5 * KEEP]
            half = half[: len(half) // 2]
            if half and self.samples[-1].store > 1.15 * max(it.store for it in half):
                found.append("the store grew")
        if not self.verdict.good:
            found.append(f"actions: {self.verdict}")
        return found

    def table(self, unit: str) -> str:
        """The run as Markdown."""
        last, verdict = len(self.samples) - 1, self.verdict
        picked = [self.samples[n] for n in sorted({round(last * n / 6) for n in range(7)})]
        names = [it for it in HEADS if it != "stall" or any(one.stall for one in picked)]
        lines = [
            f"| {unit} | {' | '.join(HEADS[it] for it in names)} |",
            "|---:|" + "---:|" * len(names),
        ]
        lines += [
            f"| {it.at:g} | {' | '.join(f'{asdict(it)[name]:,.0f}' for name in names)} |"
            for it in picked
        ]
        stall = max(it.stall for it in self.samples)
        return "\n".join([
            *lines, "",
            *([f"Longest stall of all: {stall:.0f} ms of processor time.", ""] if stall else []),
            f"{verdict.recordings:,} recordings, {verdict.expected:,} actions asked for: "
            f"{len(verdict.lost)} lost, {verdict.twice} twice, {len(verdict.wrong)} without cause. "
            f"The store has {self.per_recording:.0f} bytes for each recording that it knows. "
            f"{self.note}",
        ])  # fmt: skip


def last_polls(folder: Path) -> dict[str, int]:
    """When each website was last polled, in ms."""
    with sqlite3.connect(f"file:{folder}/bot.db?mode=ro", uri=True) as db:
        found = db.execute("SELECT website, at FROM watermarks WHERE source = 'recordings'")
        return dict(found.fetchall())


def store_per_recording(folder: Path) -> float:
    """Bytes of the table of recordings with its indexes, for each row."""
    with sqlite3.connect(folder / "bot.db") as db:
        count = db.execute("SELECT count(*) FROM recordings").fetchone()[0]
        try:
            size = db.execute(
                "SELECT sum(pgsize) FROM dbstat WHERE name IN "
                "(SELECT name FROM sqlite_master WHERE tbl_name = 'recordings')"
            ).fetchone()[0]
        except sqlite3.OperationalError:  # this SQLite has no dbstat
            size = (folder / "bot.db").stat().st_size
    return size / max(count, 1)


def line(one: Sample, unit: str) -> str:
    figures = ", ".join(
        f"{HEADS[name]}: {value:.0f}"
        for name, value in asdict(one).items()
        if name in HEADS and (value or name != "stall")
    )
    return f"{unit} {one.at:g}: {figures}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--websites", type=int, help="3, or 20 with --real")
    parser.add_argument("--per-day", type=int, default=300, help="recordings of each website")
    parser.add_argument("--every", default="30m", help="the poll interval on the virtual clock")
    parser.add_argument("--real", action="store_true", help="over sockets, by the real clock")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rules", type=int, default=0, help="with --real: so many rules more")
    parser.add_argument("--folder", type=Path, help="keep store and log here")
    parser.add_argument("--write", metavar="TABLE", help="put the table of that name into the docs")
    args = parser.parse_args()
    # Thousands of transactions: in memory they wait for no disk.
    fast = None if args.real or not Path("/dev/shm").exists() else "/dev/shm"
    with tempfile.TemporaryDirectory(dir=fast) as name:
        folder = args.folder or Path(name)
        folder.mkdir(exist_ok=True)
        if args.real:
            run = real(args.minutes, args.websites or 20, args.per_day, args.rules, folder)
        else:
            run = simulated(args.days, args.websites or 3, args.per_day, args.every, folder)
    table = run.table("minute" if args.real else "day")
    print(table)
    if args.write:
        write(args.write, table, PAGE_OF.get(args.write, "performance.md"))
    faults = run.faults(store=not args.real)
    sys.exit("\n".join(faults) if faults else 0)


if __name__ == "__main__":
    main()
