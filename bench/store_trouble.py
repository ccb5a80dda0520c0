"""What a store that can't be written costs: the disk is full for an hour, a lock is held for ten
minutes.

    python bench/store_trouble.py [--write]

The whole daemon runs on a virtual clock beside the simulated account, with its store in a file
of a small file system. Every 20 s a visitor does what the rule looks for. At the end everything
must have been done once. --write puts the table into docs/explanation/reliability.md. Linux, and
root to mount the file system.
"""

import argparse
import asyncio
import json
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs" / "explanation" / "reliability.md"
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
SCENARIOS = {"full": ("the disk is full", 3600), "locked": ("another program locks it", 600)}
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


def inner(kind: str, folder: Path) -> dict[str, object]:
    """One scenario; the log goes to stderr."""
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
            length = SCENARIOS[kind][1]
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


def outer(kind: str) -> dict[str, object]:
    """The scenario in a process and a file system of its own."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MOUNTED}", "tmpfs", name], check=True)
        try:
            done = subprocess.run(
                [sys.executable, __file__, "--inner", kind, "--folder", name],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            subprocess.run(["umount", name], check=True)
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    found["lines"] = done.stderr.split("MARK\n")[1].count("\n")
    return found


def table(found: dict[str, dict[str, object]]) -> str:
    heads = [f"{what}, {seconds // 60} min" for what, seconds in SCENARIOS.values()]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    lines += [
        f"| {row} | {' | '.join(str(found[kind][name]) for kind in SCENARIOS)} |"
        for row, name in ROWS.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--inner", choices=SCENARIOS)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.inner:
        print(json.dumps(inner(args.inner, args.folder)))
        return
    made = table({kind: outer(kind) for kind in SCENARIOS})
    print(made)
    if args.write:
        text = DOCS.read_text(encoding="utf-8")
        part = re.compile(r"(<!-- table: store -->\n).*?(<!-- end of table -->)", re.DOTALL)
        DOCS.write_text(part.sub(lambda it: it[1] + made + it[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
