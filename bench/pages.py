"""How long a page of the status page takes at the server, with a million lines in the audit log.

    python -m bench.pages [--entries 1000000] [--write]
    python -m bench.pages --open [--turns 2] [--minutes 10] [--write]

Half a million recordings of 200 websites, 100,000 matches of 100 rules, 4,000 actions that wait
and as many that failed. Milliseconds of processor time: the first request, and the median of nine.
--open measures what 20 open pages cost a daemon whose polls find nothing, against one beside it
that has none. --write puts the table into docs/explanation/performance.md.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from bench.big_store import RULES, WEBSITES, build
from bench.report import met, write
from bench.stalls import environment_of, multiply, rules_text
from bench.start import processor_time, ten_rules
from bot.config.load import load
from bot.config.settings import allowed
from bot.domain.pulse import Pulse
from bot.rules.files.load import load as load_rules
from bot.store import open_store
from bot.store.audit import newest_entry
from bot.store.recordings import set_websites
from bot.web.app import ROUTES, application
from bot.web.facts import Facts, Reader
from bot.web.pages import Pages
from bot.web.safety import Gate, Hosts
from bot.web.shared import Pace, Web
from bot.web.stream import EVERY, Hub
from bot.web.tail import Tail
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

TIMES = 9
MOST_MS, MOST_KB = 50, 100
PAGES = (
    "/", "/rules", "/rules/rule-7", "/reports", "/budgets", "/activity", "/activity?kind=match",
    "/activity?rule=rule-7", "/activity?website=shop-007.com", "/activity?kind=people", "/queue",
    "/recordings/r777", "{match}", "{digest}", "/metrics",
)  # fmt: skip


def grown(store, entries: int) -> dict[str, str]:
    """A big store with so many lines in its audit log; returns keys of a match and a digest."""
    build(store, 500_000)
    names = {f"site-{n:03}": f"shop-{n:03}.com" for n in range(WEBSITES)}
    store.do(lambda conn: set_websites(conn, names, {}, datetime.now(UTC)))

    def more(conn):
        run = conn.exec_driver_sql
        count = run("SELECT count(*) FROM audit").scalar()
        run("CREATE TEMP TABLE one AS SELECT * FROM audit LIMIT 1")
        multiply(conn, "one", entries - count, kind="'step.postponed'",
                 rule=f"'rule-' || (n % {RULES})", subject="'r' || n",
                 website=f"printf('site-%03d', n % {WEBSITES})")  # fmt: skip
        columns = "at, kind, rule, website, subject, step, text, details"
        run(f"INSERT INTO audit ({columns}) SELECT {columns} FROM one WHERE rowid > 1")
        run("DROP TABLE one")
        newest, oldest = run("SELECT max(id), min(id) FROM matches").one()
        run(f"UPDATE matches SET kind = 'digest' WHERE id = {oldest}")
        digest = run(f"SELECT min(id) FROM steps WHERE match_id = {oldest}").scalar()
        run(f"UPDATE steps SET state = 'folded', digest_id = {digest}"
            f" WHERE match_id > {newest - 5000} AND action = 'slack'")  # fmt: skip
        return {
            name: run(f"SELECT key FROM matches WHERE id = {row}").scalar()
            for name, row in (("match", newest // 2), ("digest", oldest))
        }

    return store.do(more)


async def measured(folder: Path, entries: int) -> tuple[list[tuple[str, float, float, int]], int]:
    """(page, first, median, kilobytes), and the kilobytes of what all pages load once."""
    (folder / "rules.yaml").write_text(rules_text(RULES))
    settings = load(None, {
        "BOT_MOUSEFLOW__REGION": "eu", "BOT_MOUSEFLOW__EMAIL": "ops@example.com",
        "BOT_MOUSEFLOW__API_KEY": "k", "BOT_SLACK__BOT_TOKEN": "xoxb-1",
        "BOT_SLACK__CHANNEL": "#alerts", "BOT_RULES__PATHS": str(folder / "rules.yaml"),
        "BOT_STORE__URL": f"sqlite:///{folder}/bot.db",
    })  # fmt: skip
    rules = load_rules(settings.rules.paths, allowed(settings))
    found = []
    with open_store(settings.store.url) as store:
        keys = {name: f"/matches/{key}" for name, key in grown(store, entries).items()}
        now = datetime.now(UTC).timestamp()
        facts = Facts(
            settings=settings, store=store, rules=lambda: rules, pulse=lambda: Pulse(now, now),
            ready=lambda: True, wake=lambda: None, token=lambda: "t", poll=lambda _kind: 0,
            sites=lambda: {f"site-{n:03}": False for n in range(WEBSITES)},
            recordings_seen=lambda: 0,
        )  # fmt: skip
        reader = Reader(settings.store.url)
        gate = Gate(facts.token, clock=time.monotonic, wall=time.time)
        tail = Tail(store.do(newest_entry))
        pages = Pages()
        pages.compile()  # as the daemon does 10 s after its start
        web = Web(facts, reader, gate, pages, tail, Hub(facts, reader, tail), Pace(time.monotonic))
        app = application(web, Hosts.of("127.0.0.1", ""), ROUTES)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as asking:
            for path in PAGES:
                took = []
                for _ in range(TIMES + 1):
                    before = time.process_time()
                    answer = await asking.get(path.format(**keys))
                    took.append((time.process_time() - before) * 1000)
                    assert answer.status_code == 200, (path, answer.status_code)
                size = len(answer.content) // 1000
                found.append((path, took[0], statistics.median(took[1:]), size))
        reader.close()
    return found, sum(map(len, pages.static.values())) // 1000


QUIET, POLL_S, MOST_SHARE = 5, 15, 0.05
OPEN = (
    *["overview"] * 8, *["rules"] * 3, *["queue"] * 3, *["activity"] * 3,
    "budgets", "rule:friction-1", "rule:friction-2",
)  # fmt: skip


async def spent(pid: int, url: str, topics: Sequence[str], seconds: float) -> float:
    """Milliseconds a second that the daemon computes while these pages are open."""

    async def read(answer: httpx.Response) -> None:
        async for _ in answer.aiter_bytes():
            pass

    async with AsyncExitStack() as opened, httpx.AsyncClient(base_url=url, timeout=None) as asking:
        reading = []
        for topic in topics:
            asked = asking.stream("GET", "/api/v1/stream", params={"topic": topic})
            answer = await opened.enter_async_context(asked)
            assert answer.status_code == 200, (topic, answer.status_code)
            reading.append(asyncio.create_task(read(answer)))
        await asyncio.sleep(2 * EVERY)  # each has got its page
        before = processor_time(pid)
        await asyncio.sleep(seconds)
        took = processor_time(pid) - before
        assert not any(task.done() for task in reading), "a stream has ended"
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    return took / seconds * 1000


@contextmanager
def daemon(folder: Path, sim: Simulator) -> Iterator[tuple[int, str]]:
    """The process and the address of the page of a daemon that watches the simulated account."""
    folder.mkdir()
    ten_rules(folder)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    environment = environment_of(sim) | {
        "PATH": os.environ["PATH"],
        "BOT_SLACK__CHANNEL": "#mouseflow",
        "BOT_POLL__RECORDINGS": f"{POLL_S}s",
        "BOT_WEB__LISTEN": listen,
    }
    command = [sys.executable, "-m", "bot", "run"]
    run = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield run.pid, f"http://{listen}"
    finally:
        run.terminate()
        run.wait(30)


async def with_open_pages(folder: Path, turns: int, seconds: float) -> tuple[float, float]:
    """Milliseconds a second of a daemon without open pages, and of one with them.

    Both run at the same time, so that a busy machine hits both; at each turn they change places.
    """
    sites = [website(f"site-{n}", f"shop-{n}.com", plan=Plan(per_day=0)) for n in range(QUIET)]
    measured = []
    with ExitStack() as running:
        sim = running.enter_context(Simulator(seed=3, sites=sites))
        both = [running.enter_context(daemon(folder / name, sim)) for name in ("one", "other")]
        polls = 4 * QUIET  # until then the templates are compiled
        sim.wait_until(lambda: sum(it.path.endswith("/recordings") for it in sim.calls) > polls)
        for _ in range(turns):
            sides = zip(both, ((), OPEN), strict=True)
            measured.append(
                await asyncio.gather(*(spent(*each, topics, seconds) for each, topics in sides))
            )
            both.reverse()
    without, with_them = map(statistics.mean, zip(*measured, strict=True))
    return without, with_them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--open", action="store_true", help="what open pages cost")
    parser.add_argument("--turns", type=int, default=2, help="with --open")
    parser.add_argument("--minutes", type=float, default=10, help="with --open: of each turn")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.open:
        report_open(options.turns, options.minutes, into_docs=options.write)
        return
    with tempfile.TemporaryDirectory() as name:
        found, loaded = asyncio.run(measured(Path(name), options.entries))
    rows = [
        f"| `{path.format(match='/matches/KEY', digest='/matches/DIGEST')}`"
        f" | {first:.0f} | {then:.0f} | {size} |"
        for path, first, then, size in found
    ]
    quick = all(then < MOST_MS for _path, _first, then, _size in found)
    small = all(size + loaded < MOST_KB for _path, _first, _then, size in found)
    table = "\n".join([
        f"| with {options.entries:,} audit entries | first, ms | then, ms | kB |",
        "|---|---:|---:|---:|",
        *rows,
        "",
        "| goal for each page | |",
        "|---|---|",
        f"| under {MOST_MS} ms at the server | {met(quick)} |",
        f"| under {MOST_KB} kB with the {loaded} kB of CSS, script and icon | {met(small)} |",
    ])  # fmt: skip
    print(table)
    if options.write:
        write("pages", table)


def report_open(turns: int, minutes: float, *, into_docs: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        without, with_them = asyncio.run(with_open_pages(Path(name), turns, 60 * minutes))
    more = with_them / without - 1
    table = "\n".join([
        f"{QUIET} websites polled every {POLL_S} s; milliseconds of processor time a second, the"
        f" mean of {turns * minutes:g} min.",
        "",
        f"| no page open | {len(OPEN)} pages open | goal | measured | |",
        "|---:|---:|---:|---:|---|",
        f"| {without:.2f} | {with_them:.2f} | ≤ {MOST_SHARE:+.0%} | {more:+.1%}"
        f" | {met(more <= MOST_SHARE)} |",
    ])  # fmt: skip
    print(table)
    if into_docs:
        write("open", table)


if __name__ == "__main__":
    main()
