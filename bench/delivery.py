"""How many steps a second are settled, against bare transactions of the same size.

    python -m bench.delivery            the ratio, from 2,000 steps
    python -m bench.delivery --beside   writes a second where each takes 0.3 s
    python -m bench.delivery --queue    a queue of 100,000 matches drained, with its memory
    python -m bench.delivery --write    all of it, into docs/explanation/performance.md

A step that is delivered costs one durable transaction: it settles this step and claims the next.
The bare transaction writes the same rows with plain SQL, on the same kind of file.
"""

import argparse
import asyncio
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import structlog

from bench.report import in_turns, write
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
from mouseflow import Priority
from mouseflow.models import Recording

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SITE = Site("w1", "shop.example")
RUNS = 5
GOAL = 0.4


class Tag(Action):
    """An action that costs nothing, so that only the store is measured."""

    kind: ClassVar[str] = "tag"

    async def perform(self, task, ports):
        return Done("tagged")


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
            params=action.model_dump_json(),
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


def fill(store: Store, matches: int, actions: list[Action]) -> None:
    for start in range(0, matches, 500):
        some = [match(n, actions) for n in range(start, min(start + 500, matches))]
        outcome = PollOutcome(source="recordings", website=SITE.id, at=NOW, matches=some)
        store.do(lambda conn, outcome=outcome: commit_poll(conn, outcome))


def delivered(folder: Path, steps: int) -> float:
    """Steps a second, one website's lane, everything durable."""
    with open_store(f"sqlite:///{folder}/bot.db") as store:
        fill(store, steps // 4, [Tag()] * 4)
        began = time.perf_counter()
        asyncio.run(drain(store, Ports(None, None, None), ACTIONS, clock=lambda: NOW))
        return steps / (time.perf_counter() - began)


BARE = (
    "UPDATE steps SET state = 'done', token = NULL, ended = 1 WHERE id = :n",
    "UPDATE matches SET why = why WHERE id = :m",
    "INSERT INTO audit (at, kind, rule, website, subject, step, text, details) VALUES"
    " (1, 'step.done', 'checkout-friction', 'w1', :key, :key, 'tagged', '{\"attempt\":1}')",
    "UPDATE steps SET state = 'sending', token = :key, began = 1, attempts = 1 WHERE id = :n + 1",
)


def bare(folder: Path, steps: int) -> float:
    """Transactions a second that write the same rows, with nothing around them."""
    with open_store(f"sqlite:///{folder}/bare.db") as store:
        fill(store, steps // 4, [Tag()] * 4)
    raw = sqlite3.connect(folder / "bare.db", isolation_level=None)
    raw.execute("PRAGMA synchronous = FULL")
    began = time.perf_counter()
    for n in range(1, steps + 1):
        raw.execute("BEGIN IMMEDIATE")
        for statement in BARE:
            raw.execute(statement, {"n": n, "m": n // 4, "key": f"{n:032x}"})
        raw.execute("COMMIT")
    rate = steps / (time.perf_counter() - began)
    raw.close()
    return rate


def rates(steps: int, rounds: int = RUNS) -> list[float]:
    """Steps and bare transactions a second."""

    def fresh(side: Callable[[Path, int], float]) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return side(Path(folder), steps)

    return in_turns(rounds, lambda: fresh(delivered), lambda: fresh(bare))


def ratio(steps: int) -> list[str]:
    settled, plain = rates(steps)
    return [
        f"| steps settled a second, one lane, every one durable | {settled:,.0f} |",
        f"| bare transactions of the same size a second | {plain:,.0f} |",
        f"| ratio (goal at least {GOAL}) | {settled / plain:.2f} |",
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
            base_url=url, email="a@b.c", api_key="key", requests_per_second=rate
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
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--queue", nargs="?", type=int, const=100_000, metavar="MATCHES")
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--write", action="store_true", help="into docs/explanation/performance.md")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    lines = []
    if args.write or not (args.queue or args.beside):
        lines += ratio(args.steps)
    if args.write or args.beside:
        lines += beside()
    if args.write or args.queue:
        lines += queue(args.queue or 100_000)
    print("\n".join(lines))
    if args.write:
        write("delivery", "\n".join(["| | |", "|---|---:|", *lines]))


if __name__ == "__main__":
    main()
