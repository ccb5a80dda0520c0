"""How often websites are polled when the API's rate limit is what there is.

    python -m bench.scaling [--write]

The whole daemon on a virtual clock beside an account that refuses more than the limit: many quiet
websites, and busy ones with the 20 rules of bench/polling.py. Actions are not sent, so that only
reading is measured. --write puts the table into docs/explanation/scaling.md. Half an hour.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))

from virtual_world import START, Simulator, World, gaps, rules_now, virtually  # noqa: E402

from bench import polling  # noqa: E402
from bench.report import write  # noqa: E402
from bot import health, logs, reload  # noqa: E402
from bot.account import Account  # noqa: E402
from bot.clients import Clients  # noqa: E402
from bot.daemon import Daemon  # noqa: E402
from bot.delivery import worker  # noqa: E402
from bot.delivery.dry_run import DryMouseflow, DryRunLog  # noqa: E402
from bot.ports import Addresses, Ports  # noqa: E402
from mouseflow import Priority  # noqa: E402
from mouseflow.client import AsyncMouseflow  # noqa: E402
from mouseflow.simulator.in_process import InProcess  # noqa: E402
from mouseflow.simulator.quirks import Quirks  # noqa: E402
from mouseflow.simulator.scenarios import shops  # noqa: E402

QUIET = """
version: 1
rules:
  checkout: {watch: recordings, when: {saw_page: /checkout/pay, friction: {min: 2.5}}, do: {tag: a}}
"""
LIMIT = 2.0


@dataclass(frozen=True)
class Load:
    """So many websites with so many recordings a day, the wanted poll interval, and how long."""

    websites: int
    per_day: int
    every: int
    hours: float
    rules: str = QUIET
    expand: bool = False


LOADS = (
    Load(10, 100, 60, 1),
    Load(100, 100, 60, 1),
    Load(1_000, 100, 60, 1.5),
    Load(1_000, 100, 900, 1.5),
    Load(8, 20_000, 900, 2, polling.RULES),
    Load(24, 20_000, 900, 2, polling.RULES),
    Load(36, 20_000, 900, 2, polling.RULES),
    Load(36, 20_000, 900, 2, polling.RULES, expand=True),
)


class Reading(World):
    """A daemon that only reads."""

    def __init__(self, folder: Path, load: Load) -> None:
        super().__init__(
            folder, load.rules, 0, BOT_POLL__RECORDINGS=f"{load.every}s",
            BOT_POLL__FEEDBACK="1d", BOT_POLL__REPORTS="1d",
            BOT_MOUSEFLOW__REQUESTS_PER_SECOND=str(LIMIT),
        )  # fmt: skip
        now = partial(datetime.now, UTC)
        since = datetime(2026, 3, 8, tzinfo=UTC).date()
        quirks = Quirks(expand=load.expand, rate_limit=2 * LIMIT, retry_after=1)
        sites = shops(load.websites, per_day=load.per_day, since=since)
        self.sim = Simulator(seed=7, sites=sites, quirks=quirks, now=now)

    @asynccontextmanager
    async def daemon(self, **options):
        api = AsyncMouseflow(
            self.settings.mouseflow.base_url, self.sim.email, self.sim.api_key,
            requests_per_second=LIMIT, monotonic=asyncio.get_running_loop().time,
            transport=InProcess(self.sim.mouseflow_app),
        )  # fmt: skip
        dry = DryMouseflow(Account(api, Priority.ACTION), DryRunLog())
        ports = Ports(dry, self.slack, self.webhook, Addresses())
        clients = Clients(Account(api, Priority.POLL), ports)
        seen, start = await rules_now(self.settings, self.store)
        daemon = Daemon(self.settings, self.store, clients, seen=seen, start=start, **options)
        stop = asyncio.Event()
        running = asyncio.create_task(daemon.run(stop, self.reload))
        try:
            yield
        finally:
            stop.set()
            await running
            await api.aclose()


def row(load: Load) -> str:
    """One line of the table: what was reached in the second half of the time."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        world = Reading(Path(folder), load)
        virtually(lambda: world.runs(hours=load.hours))
    half = load.hours * 1800
    later = [it for it in world.sim.calls if it.at / 1000 >= START.timestamp() + half]
    polls = defaultdict(list)
    for at, site in world.polls():
        # One poll asks for several lists.
        if not polls[site] or at - polls[site][-1] > load.every / 2:
            polls[site].append(at)
    apart = [gap for moments in polls.values() for gap in gaps(moments)[1:]]
    refused = sum(it.status == 429 for it in later)
    kind = "expanded lists" if load.expand else "details"
    took = time.process_time() - began
    return (
        f"| {load.websites:,} | {load.per_day:,} | {kind if load.per_day > 1000 else '–'} "
        f"| {_minutes(load.every)} | {_minutes(median(apart))} | {_minutes(max(apart))} "
        f"| {len(later) / half:.2f} | {refused} | {1000 * took / len(world.sim.calls):.0f} ms |"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/explanation/scaling.md")
    args = parser.parse_args()
    reload.CHECK_FILES = health.BEAT = worker.TEND = timedelta(minutes=5)
    logs.configure("json", "error", stream=sys.stderr)
    lines = [
        "| websites | recordings a day each | page views from | wanted interval | median | longest "
        "| requests a second | refused | processor time a request, with the simulator |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for load in LOADS:
        lines.append(row(load))
        print(lines[-1], flush=True)
    if args.write:
        write("limit", "\n".join(lines), "scaling.md")


if __name__ == "__main__":
    main()
