"""The whole daemon on a virtual clock beside the simulated account: hours pass in seconds.

Nothing sleeps: when nobody has anything to do, the clock jumps to the next timer. The store
does its work at once, and the account is asked in the process, without sockets.
"""

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import time_machine

from bot import health, reload
from bot.account import Account
from bot.cli.output import as_text
from bot.clients import Clients
from bot.config import Settings
from bot.config.load import load
from bot.config.settings import allowed
from bot.daemon import Daemon
from bot.delivery import worker
from bot.delivery.dry_run import DryRunLog, DrySlack
from bot.ports import Addresses, Ports, SlackPost, Webhook
from bot.rule_reader import RuleReader, Start, rules_at_start
from bot.rules.files.disk import Signature
from bot.store import Store, in_memory_copy
from bot.store.rules import kept_rule_files
from mouseflow import Priority
from mouseflow.client import AsyncMouseflow
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.middleware import Call
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

START = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer when nothing is ready, and takes the wall clock along."""

    def __init__(self, wall: time_machine.Traveller) -> None:
        super().__init__()
        self._now, self._wall = 0.0, wall

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:  # else select would wait for real
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready and self._scheduled and (due := self._scheduled[0]._when) >= self._now:
            due = math.floor(due * 1e6 + 1) / 1e6  # the wall clock counts microseconds
            if due <= self._now:  # rounded down; who waits for less than that would wait for ever
                due = self._now + 1e-6
            self._wall.shift(due - self._now)
            self._now = due
        super()._run_once()


def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at files, queue and heartbeat every five minutes: the test needs nothing sooner."""
    for module, name in ((reload, "CHECK_FILES"), (health, "BEAT"), (worker, "TEND")):
        monkeypatch.setattr(module, name, timedelta(minutes=5))


def virtually(work: Callable[[], Awaitable[None]]) -> None:
    """Run it on a virtual clock that begins at `START`."""
    with (
        time_machine.travel(START, tick=False) as wall,
        asyncio.Runner(loop_factory=lambda: VirtualLoop(wall)) as runner,
    ):
        runner.run(work())


class Prompt:
    """A store whose work is done when it is asked for, in this thread: no time passes meanwhile."""

    def __init__(self, store: Store) -> None:
        self.do = store._in_transaction
        self._reading = store._reading
        self.close = store.close
        self._store = store

    async def run(self, work):
        return self.do(work)

    async def run_together(self, work):
        return await self.run(work)

    async def read(self, work):
        return self._reading(work)

    def __getattr__(self, name):
        return getattr(self._store, name)


async def rules_now(settings: Settings, store: Prompt) -> tuple[Signature, Start]:
    """The rules to start with, and the signature of their files from before."""
    reader = RuleReader(settings.rules.paths, allowed(settings))
    seen = await reader.signature()
    return seen, await rules_at_start(reader, partial(store.run, kept_rule_files))


class World:
    """Simulated websites without visitors of their own, and a daemon that watches them."""

    def __init__(
        self,
        folder: Path,
        rules: str,
        websites: int,
        *,
        true_time: Callable[[], datetime] = lambda: datetime.now(UTC),
        store: Store | None = None,
        **settings: str,
    ) -> None:
        sites = [
            website(f"site-{n:03}", f"shop-{n:03}.com", plan=Plan(per_day=0))
            for n in range(websites)
        ]
        # Page views only in details: that is the dear case.
        quirks = Quirks(expand=False)
        self.sim = Simulator(seed=7, sites=sites, quirks=quirks, now=true_time)
        self.rule_file = folder / "rules.yaml"
        self.rule_file.write_text(rules)
        self.settings = load(
            None,
            {
                "BOT_MOUSEFLOW__BASE_URL": "http://127.0.0.1:1",
                "BOT_MOUSEFLOW__EMAIL": self.sim.email,
                "BOT_MOUSEFLOW__API_KEY": self.sim.api_key,
                "BOT_MOUSEFLOW__TIME_ZONE": quirks.time_zone,
                "BOT_SLACK__BOT_TOKEN": "xoxb-1",
                "BOT_SLACK__CHANNEL": "#mouseflow",
                "BOT_SLACK__OPS_CHANNEL": "#ops",
                "BOT_RULES__PATHS": str(self.rule_file),
            }
            | settings,
        )
        self.store = Prompt(store or in_memory_copy(f"sqlite:///{folder / 'none.db'}"))
        self.slack = DrySlack(DryRunLog())
        self.webhook: Webhook | None = None
        self.reload = asyncio.Event()

    @asynccontextmanager
    async def daemon(self, **options):
        """The daemon at work, until the end of the block."""
        flow, loop = self.settings.mouseflow, asyncio.get_running_loop()
        api = AsyncMouseflow(
            flow.base_url, self.sim.email, self.sim.api_key,
            requests_per_second=flow.requests_per_second,
            monotonic=loop.time,
            transport=InProcess(self.sim.mouseflow_app),
        )  # fmt: skip
        zone = self.settings.mouseflow.time_zone
        addresses = Addresses(channel="#mouseflow", ops_channel="#ops", zone=zone)
        acting = Ports(Account(api, Priority.ACTION), self.slack, self.webhook, addresses)
        open_clients = Clients(Account(api, Priority.POLL), acting, api)
        seen, start = await rules_now(self.settings, self.store)
        options = {"seen": seen, "start": start} | options
        stop = asyncio.Event()
        running = asyncio.create_task(
            Daemon(self.settings, self.store, open_clients, **options).run(stop, self.reload)
        )
        try:
            yield
        finally:
            stop.set()
            await running
            await api.aclose()

    async def runs(self, **length: float) -> None:
        """So much time passes with the daemon at work."""
        async with self.daemon():
            await asyncio.sleep(timedelta(**length).total_seconds())

    def calls(self, method: str = "GET", path: str = "/recordings") -> list[Call]:
        return [it for it in self.sim.calls if it.method == method and it.path.endswith(path)]

    def polls(self, since: float = 0) -> list[tuple[float, str]]:
        """(seconds since the start, website) of every list of recordings."""
        begin = START.timestamp()
        polls = [(it.at / 1000 - begin, it.path.split("/")[2]) for it in self.calls()]
        return [(at, site) for at, site in polls if at >= since]

    def told(self, channel: str = "#ops") -> list[str]:
        return [post.text for post in self._posts(channel)]

    def told_whole(self, channel: str = "#ops") -> list[str]:
        """The same with all lines, of which the text has only the first."""
        return [as_text(post.text, post.blocks) for post in self._posts(channel)]

    def _posts(self, channel: str) -> list[SlackPost]:
        """The messages as they were posted, without their edits."""
        first: dict[str, SlackPost] = {}
        for post in self.slack.dry_run_log.posts:
            first.setdefault(post.key, post)
        return [post for post in first.values() if post.channel == channel]


def gaps(moments: list[float]) -> list[float]:
    """The times between them."""
    return [after - before for before, after in pairwise(moments)]
