"""How much more two and four bots on one PostgreSQL store do than one.

    python -m bench.replicas [--write]      needs PostgreSQL: BOT_TEST_POSTGRES, or the tests' own

Each bot is a process of its own that delivers from the same store. Every action takes 8 s, as a
request to a slow API does, so that a bot waits most of the time: what two of them lose against
twice one is what sharing costs. There are 64 websites with an action each; a bot works on 16 at a
time.
"""

import argparse
import asyncio
import multiprocessing
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import structlog

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from postgres_server import GIVEN, Server, connected, create_database

from bench.report import write
from bot.actions.base import Action, Done
from bot.delivery import Delivery
from bot.domain.subjects import RecordingSubject, Site, written
from bot.ports import Ports
from bot.store import Connection, open_store
from bot.store.dead_letters import queue_figures
from bot.store.matches import NewMatch, NewStep, PollOutcome, commit_poll
from mouseflow.models import Recording

TAKES = 8.0
WEBSITES, EACH = 64, 1
BOTS = (1, 2, 4)
RUNS = 3


class Tag(Action):
    """An action that takes as long as a request."""

    kind: ClassVar[str] = "tag"

    async def perform(self, task, ports):
        await asyncio.sleep(TAKES)
        return Done("tagged")


def fill(url: str) -> None:
    """Matches of many websites, each with one action."""
    now = datetime.now(UTC)
    with open_store(url) as store:
        for number in range(WEBSITES):
            site = Site(f"w{number}", f"shop-{number}.example")
            found = [match(site, f"r{number}-{each}", now) for each in range(EACH)]
            outcome = PollOutcome(source="recordings", website=site.id, at=now, matches=found)
            store.do(lambda conn, outcome=outcome: commit_poll(conn, outcome))


def match(site: Site, key: str, now: datetime) -> NewMatch:
    """A match with one action on its website's lane."""
    step = NewStep(
        key=f"{key}/tag", rank=Tag.rank, lane=f"mouseflow:{site.id}", kind="tag", params="{}",
        due=now,
    )  # fmt: skip
    subject = written(RecordingSubject(website=site, recording=Recording(id=key)))
    return NewMatch(
        rule="bench", kind="recordings", website=site.id, subject_key=key, match_key=key,
        subject=subject, matched=now, steps=[step],
    )  # fmt: skip


def deliver(url: str, ready, begin, ended) -> None:
    """One bot: looks at the others every second, and delivers, until nothing waits."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(_deliver(url, ready, begin, ended))


async def _deliver(url: str, ready, begin, ended) -> None:
    with open_store(url, shared=True) as store:
        sharing, stop = store.sharing, asyncio.Event()
        delivery = Delivery(
            store, Ports(None, None, None), {"tag": Tag}, clock=lambda: datetime.now(UTC)
        )

        def look(conn: Connection):
            return sharing.turn(conn, None, (), "")

        def left(conn: Connection) -> int:
            queue = queue_figures(conn, datetime.now(UTC))
            return queue.pending + queue.sending

        sharing.use(await store.run(look))
        ready.release()
        await asyncio.to_thread(begin.wait)
        sharing.use(await store.run(look))
        working = asyncio.create_task(delivery.run_until_stopped(stop))
        for turn in count():
            if not await store.read(left):
                break
            if turn % 5 == 0:  # once a second, as the daemon does
                sharing.use(await store.run(look))
                delivery.wake()
            await asyncio.sleep(0.2)
        ended.release()
        stop.set()
        await working


def seconds(server: str, bots: int) -> float:
    """How long so many bots take for all actions."""
    name = f"bench_{uuid4().hex[:12]}"
    url = create_database(server, name)
    fill(url)
    spawn = multiprocessing.get_context("spawn")
    ready, begin, ended = spawn.Semaphore(0), spawn.Event(), spawn.Semaphore(0)
    signs = (ready, begin, ended)
    working = [spawn.Process(target=deliver, args=(url, *signs)) for _ in range(bots)]
    for each in working:
        each.start()
    for _ in working:
        ready.acquire()
    began = time.perf_counter()
    begin.set()
    for _ in working:
        ended.acquire()
    took = time.perf_counter() - began  # ending a process is no part of the work
    for each in working:
        each.join()
    with open_store(url) as store:
        done = store.do(
            lambda conn: conn.exec_driver_sql(
                "SELECT count(*) FROM steps WHERE state = 'done' AND attempts = 1"
            ).scalar_one()
        )
    assert done == WEBSITES * EACH, done
    with connected(server) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    return took


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true")
    args = options.parse_args()
    server = None if os.environ.get(GIVEN) else Server()
    address = os.environ.get(GIVEN) or server.url
    try:
        connected(address).close()
        took = {bots: [] for bots in BOTS}
        for _ in range(RUNS):  # in turn, so that what else the machine does hits all
            for bots in BOTS:
                took[bots].append(seconds(address, bots))
    finally:
        if server is not None:
            server.remove()
    median = {bots: statistics.median(times) for bots, times in took.items()}
    lines = ["| bots | of so many times one bot |", "|---|---|"]
    lines += [f"| {bots} | {median[1] / took_ / bots:.2f} |" for bots, took_ in median.items()]
    table = "\n".join(lines)
    print(table)
    if args.write:
        write("replicas", table)


if __name__ == "__main__":
    main()
