"""How many steps a second are settled, against bare transactions of the same size.

    python -m bench.delivery            the ratios
    python -m bench.delivery --beside   writes a second where each takes 0.3 s
    python -m bench.delivery --queue    a queue of 100,000 matches drained, with its memory
    python -m bench.delivery --write    all of it, into docs/explanation/performance.md

A transaction settles a step and claims the next of its lane; those that are ready together share
one. The bare transaction, one for each step, writes the same rows with plain SQL in a store of the
same kind. Both sides take turns of a tenth of a second or so, and the ratio is the median of those
of all rounds: what else the machine does hits both. Where much else runs, waiting for a turn of the
processor hides what it costs: so there is the ratio of processor time, too, of this process and of
its session on the server. PostgreSQL is the tests' own or BOT_TEST_POSTGRES; what is committed is
on the disk there, too.
"""

import argparse
import asyncio
import os
import re
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import structlog

from bench.report import write
from bot.account import Account, open_client
from bot.actions.base import Action, Done
from bot.actions.tag import Tag as RealTag
from bot.config.settings import MouseflowSection
from bot.delivery import drain, worker
from bot.domain.step import Rank
from bot.domain.subjects import RecordingSubject, Site, written
from bot.ports import Ports
from bot.store import Store, in_memory_copy, open_store
from bot.store.dead_letters import queue_figures
from bot.store.matches import NewMatch, NewStep, PollOutcome, commit_poll
from bot.written import Secret
from mouseflow import Priority
from mouseflow.models import Recording

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SITE = Site("w1", "shop.example")
RUNS, STEPS = 15, 400
GOAL = 0.4


class Tag(Action):
    """An action that costs nothing, so that only the store is measured."""

    kind: ClassVar[str] = "tag"

    async def perform(self, task, ports):
        return Done("tagged")


class InTurn(Tag):
    """The same on a lane whose steps are performed one after another."""

    def lane(self, subject, default_channel):
        return "webhook:hooks.example"


class Slack(Tag):
    """A post, for the queue."""

    kind: ClassVar[str] = "slack"
    rank: ClassVar[Rank] = Rank.POST
    channel: str = "#alerts"

    def lane(self, subject, default_channel):
        return f"slack:{self.channel}"


ACTIONS = {"tag": Tag, "slack": Slack}


def match(number: int, actions: list[Action]) -> NewMatch:
    recording = Recording(id=f"{number:032x}", country="de", entry_page="/checkout", pages=7)
    subject = RecordingSubject(website=SITE, recording=recording)
    key = f"checkout-friction/w1/{number:032x}"
    steps = [
        NewStep(
            key=f"{key}/{action.kind}-{n}",
            rank=action.rank,
            lane=action.lane(subject, ""),
            kind=action.kind,
            params=action.stored(),
            due=NOW,
        )
        for n, action in enumerate(actions)
    ]
    return NewMatch(
        rule="checkout-friction",
        kind="recordings",
        website=SITE.id,
        subject_key=recording.id,
        match_key=key,
        subject=written(subject),
        matched=NOW,
        steps=steps,
        why=("friction 3.5", "saw /checkout"),
    )


def fill(store: Store, matches: int, actions: list[Action], first: int = 0) -> None:
    for start in range(first, first + matches, 500):
        some = [match(n, actions) for n in range(start, min(start + 500, first + matches))]
        outcome = PollOutcome(source="recordings", website=SITE.id, at=NOW, matches=some)
        store.do(lambda conn, outcome=outcome: commit_poll(conn, outcome))


BARE = (
    "UPDATE steps SET state = 'done', token = NULL, ended = 1 WHERE id = :n",
    "UPDATE matches SET why = why WHERE id = :m",
    "INSERT INTO audit (at, kind, rule, website, subject, step, text, details) VALUES"
    " (1, 'step.done', 'checkout-friction', 'w1', :key, :key, 'tagged', '{\"attempt\":1}')",
    "UPDATE steps SET state = 'sending', token = :key, began = 1, attempts = 1 WHERE id = :n + 1",
)


@dataclass(frozen=True)
class Rates:
    """Steps and bare transactions a second, and the ratios; medians of all rounds.

    `cpu` is how much processor time a bare transaction takes of that of a step.
    """

    settled: float
    bare: float
    ratio: float
    cpu: float

    def lines(self, place: str, how: str) -> list[str]:
        """Rows of the table."""
        return [
            f"| {place}: steps settled a second, {how} | {self.settled:,.0f} |",
            f"| bare transactions a second between them | {self.bare:,.0f} |",
            f"| ratio (goal at least {GOAL}) | {self.ratio:.2f} |",
            f"| ratio of processor time | {self.cpu:.2f} |",
        ]


@dataclass(frozen=True)
class Cost:
    """Seconds, and those of the processor."""

    seconds: float
    cpu: float


def cost(work: Callable[[], object], session: int | None) -> Cost:
    """What the work costs this process, and the process of its session on a server here."""
    began, cpu = time.perf_counter(), time.process_time() + _cpu_of(session)
    work()
    taken = time.process_time() + _cpu_of(session) - cpu
    return Cost(time.perf_counter() - began, taken)


def _cpu_of(process: int | None) -> float:
    """Seconds of processor time; 0 where that can't be known."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


def rates(ours: str, bare: "Bare", action: Action, rounds: int, steps: int) -> Rates:
    """What both do in turns: the bot on the store `ours`, `bare` on one of its own."""
    seen: list[tuple[Cost, Cost]] = []
    with open_store(ours) as store, bare:
        sessions = (
            store.do(lambda conn: session_of(conn.connection.driver_connection)),
            bare.session,
        )
        for turn in range(rounds + 1):
            fill(store, steps // 4, [action] * 4, turn * steps)
            sides = [lambda: delivered(store), lambda turn=turn: bare.run(turn * steps, steps)]
            took = {n: cost(sides[n], sessions[n]) for n in ((0, 1), (1, 0))[turn % 2]}
            seen.append((took[0], took[1]))
    seen = seen[1:]  # the first warms up
    return Rates(
        settled=statistics.median(steps / a.seconds for a, _ in seen),
        bare=statistics.median(steps / b.seconds for _, b in seen),
        ratio=statistics.median(b.seconds / a.seconds for a, b in seen),
        cpu=statistics.median(b.cpu / a.cpu for a, b in seen),
    )


def session_of(driver: Any) -> int | None:
    """The process of a connection's session on a server; None for a file."""
    return None if isinstance(driver, sqlite3.Connection) else driver.info.backend_pid


def delivered(store: Store) -> None:
    """Perform all that is due."""
    asyncio.run(drain(store, Ports(None, None, None), ACTIONS, clock=lambda: NOW))


class Bare:
    """Transactions that write the same rows, with nothing around them."""

    def __init__(
        self, url: str, connect: Callable[[], Any], begin: str, spelled: Callable[[str], str]
    ) -> None:
        self._url, self._connect, self._begin = url, connect, begin
        self._statements = [spelled(each) for each in BARE]
        self._connection: Any = None

    def __enter__(self) -> None:
        with open_store(self._url) as store:
            fill(store, 1000, [Tag()] * 4)
        self._connection = self._connect()

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def session(self) -> int | None:
        """The process of its session on a server."""
        return session_of(self._connection)

    def run(self, first: int, steps: int) -> None:
        """Do so many."""
        execute = self._connection.execute
        for each in range(first, first + steps):
            n = each % 3999 + 1
            execute(self._begin)
            for statement in self._statements:
                execute(statement, {"n": n, "m": n // 4 + 1, "key": f"{each:032x}"})
            execute("COMMIT")


def on_sqlite(action: Action, rounds: int = RUNS, steps: int = STEPS) -> Rates:
    """Both on files of the folder for temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bare.db"

        def connect() -> sqlite3.Connection:
            raw = sqlite3.connect(file, isolation_level=None)
            raw.execute("PRAGMA synchronous = FULL")
            return raw

        bare = Bare(f"sqlite:///{file}", connect, "BEGIN IMMEDIATE", str)
        return rates(f"sqlite:///{folder}/bot.db", bare, action, rounds, steps)


def on_postgres(action: Action) -> Rates:
    """Both on databases of one server."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import postgres_server

    postgres_server.QUICK |= {"fsync": "on", "synchronous_commit": "on"}
    given = os.environ.get(postgres_server.GIVEN)
    server = None if given else postgres_server.Server()
    address = given or server.url
    try:
        postgres_server.connected(address).close()
        names = [f"bench_{uuid4().hex[:12]}" for _ in range(2)]
        ours, theirs = (postgres_server.create_database(address, name) for name in names)
        bare = Bare(theirs, lambda: postgres_server.connected(theirs), "BEGIN", _for_psycopg)
        try:
            return rates(ours, bare, action, RUNS, STEPS)
        finally:
            with postgres_server.connected(address) as admin:
                for name in names:
                    admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        if server is not None:
            server.remove()


def _for_psycopg(sql: str) -> str:
    return re.sub(r":([a-z]+)\b", r"%(\1)s", sql)


def ratios() -> list[str]:
    """The rows about settling."""
    beside, turn = "of several recordings", "one after another"
    return [
        *on_sqlite(Tag()).lines("SQLite", beside),
        *on_sqlite(InTurn()).lines("SQLite", turn),
        *on_postgres(Tag()).lines("PostgreSQL", beside),
        *on_postgres(InTurn()).lines("PostgreSQL", turn),
    ]


LATENCY = 0.3


async def _slow_account(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each write after 0.3 s."""
    while head := await reader.readline():
        while head.strip():
            head = await reader.readline()
        await asyncio.sleep(LATENCY)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
    writer.close()


def writes_a_second(rate: float, side_by_side: int, recordings: int = 60) -> float:
    """Tags of as many recordings of one website, with the real client."""

    async def run() -> float:
        server = await asyncio.start_server(_slow_account, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = MouseflowSection(
            base_url=url, email="a@b.c", api_key=Secret("key"), requests_per_second=rate
        )
        with in_memory_copy("sqlite:///none.db") as store:
            tags = [match(n, [RealTag(tag="friction")]) for n in range(recordings)]
            commit = PollOutcome(source="recordings", website=SITE.id, at=NOW, matches=tags)
            store.do(lambda conn: commit_poll(conn, commit))
            async with open_client(settings) as client:
                ports = Ports(Account(client, Priority.ACTION), None, None)
                began = time.perf_counter()
                await drain(store, ports, {"tag": RealTag}, clock=lambda: NOW)
                took = time.perf_counter() - began
        server.close()
        return recordings / took

    before, worker.BESIDE = worker.BESIDE, side_by_side
    try:
        return asyncio.run(run())
    finally:
        worker.BESIDE = before


def beside() -> list[str]:
    """One after another, as the bot did before, and side by side."""
    return [
        f"| writes a second at {LATENCY} s each, rate limit {rate}: one by one; side by side"
        f" | {writes_a_second(rate, 0):.1f}; {writes_a_second(rate, worker.BESIDE):.1f} |"
        for rate in (2, 5, 20)
    ]


def queue(matches: int) -> list[str]:
    """Slack was away while so many matches came; now it is back."""
    with tempfile.TemporaryDirectory() as folder:
        with open_store(f"sqlite:///{folder}/bot.db") as store:
            fill(store, matches, [Tag(), Slack()])
            before = _memory()
            began = time.perf_counter()
            drained = asyncio.run(
                drain(store, Ports(None, None, None), ACTIONS | _digest(), clock=lambda: NOW)
            )
            took = time.perf_counter() - began
            left = store.do(lambda conn: queue_figures(conn, NOW))
        size = (Path(folder) / "bot.db").stat().st_size
    return [
        f"| {matches:,} matches, each with a tag and a post: drained in | {took:.0f} s |",
        f"| steps performed; still waiting | {drained.done:,}; {left.pending} |",
        f"| memory before; at most | {before:.0f} MiB; {_memory():.0f} MiB |",
        f"| the store's file | {size / 2**20:.0f} MiB |",
    ]


def _digest() -> dict[str, type[Action]]:
    from bot.actions.slack import Digest

    class Counted(Digest):
        async def perform(self, task, ports):
            return Done("posted")

    return {"digest": Counted}


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", nargs="?", type=int, const=100_000, metavar="MATCHES")
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--write", action="store_true", help="into docs/explanation/performance.md")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    lines = []
    if args.write or not (args.queue or args.beside):
        lines += ratios()
    if args.write or args.beside:
        lines += beside()
    if args.write or args.queue:
        lines += queue(args.queue or 100_000)
    print("\n".join(lines))
    if args.write:
        write("delivery", "\n".join(["| | |", "|---|---:|", *lines]))


if __name__ == "__main__":
    main()
