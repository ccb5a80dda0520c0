"""What outages cost: a full disk, a locked store, Slack down for a day, a receiver gone for days.

    python -m bench.outages [--write] [store | others]

The whole daemon runs on a virtual clock beside the simulated account. For `full` and `locked` its
store is a file of a small file system, and every 20 s a visitor does what the rule looks for; for
`slack` 100,000 do in a day, for `webhook` one a minute for eight days. At the end everything must
have been done once, or be told. --write puts the tables into docs/explanation/reliability.md.
Linux; root to mount the file system. `slack` takes half an hour.
"""

import argparse
import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from bench.report import write

ROOT = Path(__file__).parent.parent
EVERY = 20
MOUNTED = "8m"
RULES = """
version: 1
rules:
  checkout:
    watch: recordings
    when: {saw_page: /checkout*}
    do: {tag: checkout, slack: {channel: "#checkout-alerts"}}
"""
STORE = {
    "full": ("the disk is full, 60 min", 3600),
    "locked": ("another program locks it, 10 min", 600),
}
DAY = 86_400
OTHERS = {
    "slack": ("Slack is down for a day", DAY),
    "webhook": ("a receiver is gone for 8 days", 8 * DAY),
}
PER_MINUTE = {"slack": 70, "webhook": 1}
"""Matches in a minute: 100,800 in a day, 11,520 in eight days."""
POLLED = {"slack": "1m", "webhook": "15m"}
OTHER_RULES = {
    "slack": """
version: 1
rules:
  checkout:
    watch: recordings
    when: {duration: {over: 1s}}
    do: {slack: {channel: "#checkout-alerts", at_most: 1000 per hour}}
""",
    "webhook": """
version: 1
rules:
  checkout:
    watch: recordings
    when: {duration: {over: 1s}}
    do: {webhook: {url: "http://receiver.example/hook"}}
""",
}
ROWS = {
    "matches during it": "matches",
    "acted on twice, lost": "wrong",
    "seconds until all was done, after it": "caught_up",
    "log lines during it": "lines",
    "messages to the ops channel": "told",
    "`healthcheck` fails after, s": "unhealthy_after",
    "memory, MB more than before": "memory",
    "store and its log at the end, MB": "size",
}


OTHER_ROWS = {
    "matches during it": "matches",
    "what became of the steps": "ended",
    "sent twice, lost": "wrong",
    "most actions that wait": "waiting",
    "minutes until all was sent, after it": "caught_up",
    "log lines during it": "lines",
    "messages to the ops channel": "told",
    "memory, MB more than before": "memory",
    "store at its largest, MB": "size",
}

TABLES = {"store": (STORE, ROWS), "others": (OTHERS, OTHER_ROWS)}


def inner(kind: str, folder: Path) -> dict[str, object]:
    """One scenario; the log goes to stderr."""
    return _store_fails(kind, folder) if kind in STORE else _other_fails(kind, folder)


def _store_fails(kind: str, folder: Path) -> dict[str, object]:
    sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))
    from virtual_world import Prompt, World, virtually

    from bot import logs
    from bot.domain.pulse import read
    from bot.store import open_store, sqlite

    sqlite.BUSY_MS = 0  # on a virtual clock nobody waits for a lock
    logs.configure("json", "info", stream=sys.stderr)
    world = World(folder, RULES, websites=5)
    store = open_store(f"sqlite:///{folder}/bot.db")
    world.store = Prompt(store)
    pulses: list[str] = []
    world.store.beat = pulses.append
    planted: list[tuple[str, str]] = []
    found: dict[str, object] = {}
    blocked: list[object] = []

    def block() -> None:
        if kind == "locked":
            other = sqlite3.connect(folder / "bot.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            blocked.append(other)
            return
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                blocked.append(filler)

    def unblock() -> None:
        if kind == "locked":
            blocked[0].close()
        else:
            blocked[0].unlink()

    async def visits(seconds: int, *, plant: bool = True) -> None:
        for _ in range(seconds // EVERY):
            if plant:
                site = f"shop-00{len(planted) % 5}.com"
                who = world.sim.add(site, "checkout-friction", start=-79.5, calm_for=80)
                planted.append((site, who))
            await asyncio.sleep(EVERY)

    def posts() -> int:
        return len(world.told("#checkout-alerts"))

    async def work() -> None:
        async with world.daemon():
            await visits(600)
            sys.stderr.write("MARK\n")
            before, memory = len(planted), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            block()
            began = time.time()
            length = STORE[kind][1]
            unhealthy = None
            for _ in range(length // EVERY):
                await visits(EVERY)
                pulse = read(pulses[-1])
                if unhealthy is None and pulse and pulse.fault(time.time()):
                    unhealthy = time.time() - began
            sys.stderr.write("MARK\n")
            unblock()
            ended = time.time()
            during = len(planted) - before
            while posts() < len(planted) and time.time() - ended < 7200:
                await visits(EVERY, plant=False)
            found["caught_up"] = f"{time.time() - ended:.0f}"
            await visits(3600, plant=False)
            now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found["memory"] = f"{(now - memory) / 1024:.0f}"
            found["matches"] = during
            found["unhealthy_after"] = f"{unhealthy or 0:.0f}"

    virtually(work)
    store.close()
    tags = Counter(
        call
        for _, who in planted
        for call, n in world.sim.effect(who).calls.items()
        for _ in range(n)
    )
    twice = sum(n - len(planted) for n in (posts(), tags["tag checkout"]))
    found["wrong"] = f"{max(twice, 0)}, {max(-twice, 0)}"
    found["told"] = len(world.told())
    found["size"] = f"{sum(f.stat().st_size for f in folder.glob('bot.db*')) / 2**20:.1f}"
    return found


def _other_fails(kind: str, folder: Path) -> dict[str, object]:
    """Slack or a receiver of webhooks answers nothing but 503 for long."""
    sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))
    from virtual_world import Prompt, World, virtually

    from bot import health, logs, reload
    from bot.delivery import worker
    from bot.delivery.dry_run import DryRunLog, DrySlack
    from bot.errors import TryLater
    from bot.store import open_store

    # Nothing here needs files, queue and heartbeat to be looked at sooner.
    reload.CHECK_FILES = health.BEAT = worker.TEND = timedelta(minutes=5)
    away = False

    class Slack(DrySlack):
        async def post(self, post):
            if away and kind == "slack":
                raise TryLater("Slack answers 503")
            return await super().post(post)

    class Receiver:
        async def call(self, url, body, headers, secret=None):
            if away:
                raise TryLater("receiver.example answers 503")
            received[json.loads(body)["key"]] += 1

    logs.configure("json", "info", stream=sys.stderr)
    received: Counter[str] = Counter()
    world = World(
        folder, OTHER_RULES[kind], websites=5, BOT_POLL__RECORDINGS=POLLED[kind],
        BOT_POLL__FEEDBACK="1d", BOT_POLL__REPORTS="1d",
    )  # fmt: skip
    world.slack = Slack(DryRunLog())
    world.webhook = Receiver()
    store = open_store(f"sqlite:///{folder}/bot.db")
    world.store = Prompt(store)
    found: dict[str, object] = {}
    planted = largest = 0

    def count(query: str) -> int:
        return store._in_transaction(lambda conn: conn.exec_driver_sql(query).scalar_one())

    def size() -> int:
        return sum(file.stat().st_size for file in folder.glob("bot.db*"))

    async def visits(minutes: int) -> None:
        nonlocal planted, largest
        for _ in range(minutes):
            for _ in range(PER_MINUTE[kind]):
                site = f"shop-00{planted % 5}.com"
                world.sim.add(site, "checkout-friction", start=-79.5, calm_for=80)
                planted += 1
            await asyncio.sleep(60)
            largest = max(largest, size())

    async def work() -> None:
        nonlocal away
        async with world.daemon():
            await visits(10)
            sys.stderr.write("MARK\n")
            before, memory = planted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            away = True
            await visits(OTHERS[kind][1] // 60)
            sys.stderr.write("MARK\n")
            found["matches"] = planted - before
            found["waiting"] = count("SELECT count(*) FROM steps WHERE state = 'pending'")
            away, ended = False, time.time()
            while (  # noqa: ASYNC110 - on a virtual clock
                count("SELECT count(*) FROM steps WHERE state = 'pending'")
                and time.time() - ended < 2 * DAY
            ):
                await asyncio.sleep(60)
            found["caught_up"] = f"{(time.time() - ended) / 60:.0f}"
            await asyncio.sleep(7200)
            now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found["memory"] = f"{(now - memory) / 1024:.0f}"

    virtually(work)
    ended = {
        (state, fault): number
        for state, fault, number in store._in_transaction(
            lambda conn: conn.exec_driver_sql(
                "SELECT state, fault, count(*) FROM steps WHERE action = ? GROUP BY 1, 2", (kind,)
            ).all()
        )
    }
    sent = sum(number for (state, _), number in ended.items() if state == "done")
    arrived = received.total() if kind == "webhook" else len(world.told("#checkout-alerts"))
    if kind == "slack":
        arrived -= count("SELECT count(*) FROM steps WHERE action = 'digest' AND state = 'done'")
    found["ended"] = "; ".join(
        f"{number:,} {state}{f' ({fault})' if fault else ''}"
        for (state, fault), number in sorted(ended.items())
    )
    found["wrong"] = f"{max(arrived - sent, 0)}, {planted - sum(ended.values())}"
    found["told"] = len(world.told())
    sys.stderr.write("\n".join(world.told()))
    store.close()
    found["size"] = f"{largest / 2**20:.0f}"
    return found


def outer(kind: str) -> dict[str, object]:
    """The scenario in a process of its own, and a small file system if its store is what fails."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MOUNTED}", "tmpfs"]
    with tempfile.TemporaryDirectory(dir=None if kind in STORE else "/dev/shm") as name:
        if kind in STORE:
            subprocess.run([*mount, name], check=True)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "bench.outages", "--inner", kind, "--folder", name],
                cwd=ROOT,                capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            if kind in STORE:
                subprocess.run(["umount", name], check=True)
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    found["lines"] = done.stderr.split("MARK\n")[1].count("\n")
    return found


def table(kinds: dict[str, tuple[str, int]], rows: dict[str, str]) -> str:
    found = {kind: outer(kind) for kind in kinds}
    heads = [what for what, _ in kinds.values()]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    lines += [
        f"| {row} | {' | '.join(str(found[kind][name]) for kind in kinds)} |"
        for row, name in rows.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", nargs="?", choices=TABLES)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--inner", choices=[*STORE, *OTHERS])
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.inner:
        print(json.dumps(inner(args.inner, args.folder)))
        return
    for name in [args.table] if args.table else TABLES:
        made = table(*TABLES[name])
        print(made)
        if args.write:
            write(name, made, "reliability.md")


if __name__ == "__main__":
    main()
