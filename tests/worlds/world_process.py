"""The daemon of a random world: started, stopped, killed and told of new rules on a virtual clock.

What people and servers do around it is in `worlds.py` and `alert_worlds.py`.
"""

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import time_machine
import world_dice as dice
from judge import rules_in
from structlog.testing import capture_logs
from virtual_world import Prompt, VirtualLoop
from world_history import Said, Span

from bot.account import Account
from bot.cli.output import as_text
from bot.clients import Clients
from bot.config.load import load
from bot.config.settings import allowed
from bot.daemon import Daemon
from bot.delivery.worker import Timing
from bot.ports import Addresses, Ports, SlackPost
from bot.rule_reader import RuleReader, rules_at_start
from bot.rules.files import disk
from bot.store import in_memory_copy
from bot.store.rules import kept_rule_files
from mouseflow import Priority
from mouseflow.client import AsyncMouseflow
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.server import Simulator

SELDOM = Timing(idle=timedelta(minutes=10))
"""Nobody but the daemon writes into the store of a world, so the queue is read less often."""


class Coarse(VirtualLoop):
    """Whoever waits for seconds waits for the next full `grid`, with all the others.

    A daemon with nothing to do looks at its clocks every few seconds, so most wake-ups of an hour
    are none of its work. What the world itself does is exact: `exactly`.
    """

    grid = 15.0

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if when - self.time() >= 2:
            when = math.ceil(when / self.grid) * self.grid
        return super().call_at(when, callback, *args, context=context)

    async def exactly(self, seconds: float) -> None:
        """Wait for so long, not a moment longer."""
        woken = asyncio.Event()
        super().call_at(self.time() + seconds, woken.set)
        await woken.wait()


class Mortal(Prompt):
    """A store that no longer answers once its process is dead."""

    dead = False

    async def run(self, work: Any) -> Any:
        if self.dead:
            await asyncio.get_running_loop().create_future()
        return await super().run(work)

    async def read(self, work: Any) -> Any:
        if self.dead:
            await asyncio.get_running_loop().create_future()
        return await super().read(work)


@dataclass(frozen=True, slots=True)
class Announced(RuleReader):
    """Looks at the disk only when files were written; the daemon asks every three seconds."""

    written: list[disk.Signature] = field(default_factory=list)

    async def signature(self) -> disk.Signature:
        return self.written[-1]


class Wall:
    """A Slack in which everything can be looked up, so nothing is ever posted twice."""

    def __init__(self) -> None:
        self.said: list[Said] = []

    async def post(self, post: SlackPost) -> str:
        text = as_text(post.text, post.blocks)
        self.said.append(Said(now(), post.channel, post.key, text, post.thread))
        return str(len(self.said))

    async def update(self, post: SlackPost, stamp: str) -> None:
        """Edits are not looked at."""

    async def find(self, channel: str, key: str, since: datetime, thread: str = "") -> str | None:
        for number, each in enumerate(self.said, 1):
            if (each.channel, each.key, each.answers) == (channel, key, thread):
                return str(number)
        return None

    async def check_channel(self, channel: str) -> None:
        """Every channel can be read."""


class Process:
    """A daemon that lives several times, beside a simulated account."""

    sim: Simulator
    app: Any
    grid = Coarse.grid

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.wall = Wall()
        self.rules: dict[str, dict[str, Any]] = {}
        self.in_force_since: dict[str, list[Span]] = {}
        self.well: list[Span] = []
        self.once_called: dict[str, str] = {}

    def rename(self, name: str) -> None:
        """Give a rule a new id; it stays the rule that it was, under its first id here."""
        new = f"n{len(self.once_called)}-{self.first_name(name)}"
        self.once_called[new] = name
        self.rules = {
            new if each == name else each: rule | {"was": name} if each == name else rule
            for each, rule in self.rules.items()
        }

    def first_name(self, name: str) -> str:
        """The id with which a rule began."""
        while name in self.once_called:
            name = self.once_called[name]
        return name

    def runs(self, began: datetime, happen: Callable[[], Any]) -> None:
        """Let it all happen."""
        with (
            capture_logs(),
            time_machine.travel(began, tick=False) as wall,
            asyncio.Runner(loop_factory=lambda: Coarse(wall)) as runner,
        ):
            loop = runner.get_loop()
            assert isinstance(loop, Coarse)
            loop.grid = self.grid
            runner.run(happen())

    def prepare(self, zone: str, **settings: str) -> None:
        """The configuration and an empty store."""
        self.settings = load(
            None,
            {
                "BOT_MOUSEFLOW__BASE_URL": "http://127.0.0.1:1",
                "BOT_MOUSEFLOW__EMAIL": self.sim.email,
                "BOT_MOUSEFLOW__API_KEY": self.sim.api_key,
                "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "50",
                "BOT_MOUSEFLOW__TIME_ZONE": zone,
                "BOT_SLACK__BOT_TOKEN": "xoxb-1",
                "BOT_SLACK__CHANNEL": "#mouseflow",
                "BOT_SLACK__OPS_CHANNEL": "#ops",
                "BOT_RULES__PATHS": str(self.folder),
            }
            | settings,
        )
        self.reader = Announced(self.settings.rules.paths, allowed(self.settings))
        self.kept = in_memory_copy(f"sqlite:///{self.folder / 'none.db'}")
        self.write_rules()

    def write_rules(self) -> None:
        """Write the rules as YAML or TOML."""
        toml = self.chance.random() < 0.3
        for old in self.folder.glob("rules.*"):
            old.unlink()
        rules, lists = dice.shared(self.chance, self.rules)
        text = dice.as_toml(rules, lists) if toml else dice.as_yaml(self.chance, rules, lists)
        (self.folder / ("rules.toml" if toml else "rules.yaml")).write_text(text)
        self.reader.written.append(disk.signature(self.reader.paths))
        self.in_force(
            {
                self.first_name(name): {
                    # One website is written either way, which is no edit.
                    key: [one] if key == "websites" and isinstance(one, str) else one
                    for key, one in rule.items()
                    if key != "was"
                }
                for name, rule in rules_in(text, toml=toml).items()
            }
        )

    def in_force(self, rules: dict[str, dict[str, Any]]) -> None:
        """From now on these rules hold."""
        for name in dict.fromkeys([*self.in_force_since, *rules]):
            spans = self.in_force_since.setdefault(name, [])
            if spans and spans[-1].end is None:
                if spans[-1].what == rules.get(name):
                    continue
                spans[-1] = replace(spans[-1], end=now())
            if name in rules:
                spans.append(Span(now(), rules[name]))

    # the daemon

    async def start(self) -> None:
        """A new process on the old store."""
        loop = asyncio.get_running_loop()
        flow = self.settings.mouseflow
        self.store = Mortal(self.kept)
        self.api = AsyncMouseflow(
            flow.base_url, self.sim.email, self.sim.api_key,
            requests_per_second=flow.requests_per_second,
            monotonic=loop.time,
            transport=InProcess(self.app),
        )  # fmt: skip
        acting = Ports(
            Account(self.api, Priority.ACTION), self.wall, None,
            Addresses(channel="#mouseflow", ops_channel="#ops"),
        )  # fmt: skip
        start = await rules_at_start(self.reader, partial(self.store.run, kept_rule_files))
        accounts = Clients(Account(self.api, Priority.POLL), acting)
        daemon = Daemon(
            self.settings, self.store, accounts, start,
            seen=self.reader.written[-1], reader=self.reader, timing=SELDOM,
        )  # fmt: skip
        self.stop, self.reload = asyncio.Event(), asyncio.Event()
        self.daemon = loop.create_task(daemon.run(self.stop, self.reload))
        self.sick(False)

    async def end(self, *, kill: bool) -> None:
        """Stop the process in good order, or in the middle of whatever it does."""
        self.sick(True)
        if not kill:
            self.stop.set()
            await self.daemon
            await self.api.aclose()
            return
        self.store.dead = True
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for _ in range(20):
            for task in others:
                task.cancel()
            _, others = await asyncio.wait(others, timeout=1) if others else (None, set())
        with suppress(asyncio.CancelledError):
            await self.daemon

    async def restart(self, away: float) -> None:
        """End the process and start it again, at once or after `away` seconds."""
        await self.end(kill=self.chance.random() < 0.6)
        await exactly(self.chance.choice([self.chance.uniform(0, 120), away]))
        await self.start()

    def fail_calls(self, most: int, skip: int, *kinds: str) -> None:
        """Let some of the next calls fail: at most so many, after at most `skip` that do not."""
        chance = self.chance
        kind = chance.choice(["status", "close", *kinds])
        status = chance.choice([500, 503, 429])
        self.sim.fail(
            kind, times=chance.randint(1, most), skip=chance.randint(0, skip), status=status
        )

    def sick(self, trouble: bool) -> None:
        """Note that the bot works from now on, or that it does not."""
        spans = self.well
        if spans and spans[-1].end is None:
            spans[-1] = replace(spans[-1], end=now())
        if not trouble:
            spans.append(Span(now(), "well"))


def now() -> float:
    return datetime.now(UTC).timestamp()


async def exactly(seconds: float) -> None:
    """Let so much time pass."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Coarse)
    await loop.exactly(seconds)
