"""Random worlds: a simulated account, people and trouble, and the whole daemon beside them.

A seed and a set of features make a world. It runs on a virtual clock, the daemon is stopped,
killed and started again on one store, and in the end there is a `History`: what happened, and
what the bot says it matched.
"""

import asyncio
import json
import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import time_machine
import world_dice as dice
from judge import rules_in
from starlette.responses import JSONResponse
from structlog.testing import capture_logs
from virtual_world import Prompt, VirtualLoop
from world_history import History, Match, Recording, Span

from bot.account import Account
from bot.clients import Clients
from bot.config import load
from bot.config.settings import allowed
from bot.daemon import Daemon
from bot.delivery.dry_run import DryRunLog, DrySlack
from bot.delivery.worker import Timing
from bot.ports import Addresses, Ports
from bot.rule_reader import RuleReader, rules_at_start
from bot.rules.files import disk
from bot.store import in_memory_copy
from bot.store.audit import history
from bot.store.rules import kept_rule_files
from mouseflow import Priority
from mouseflow.client import AsyncMouseflow
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.sessions import Script
from mouseflow.simulator.site import Planted, website
from mouseflow.simulator.traffic import Plan

FEATURES = frozenset(
    {
        "quirks",
        "faults",
        "restarts",
        "downtime",
        "marks",
        "late-marks",
        "deletions",
        "reloads",
        "late-rows",
        "late-friction",
        "limits",
        "renames",
        "site-renames",
        "skew",
        "wrong-zone",
        "ignored",
        "refused",
        "details-away",
        "own-tags",
        "brackets",
    }
)
"""What may happen in a world."""

GRID = 15.0

SELDOM = Timing(idle=timedelta(minutes=10))
"""Nobody but the daemon writes into the store of a world, so the queue is read less often."""


class Meddler:
    """Stands before the simulated API and refuses what it is told to: a filter, or details."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.refused: dict[str, int] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        what = parse_qs(scope["query_string"].decode()).keys() | {""}
        if scope["method"] == "GET" and "/recordings/" in scope["path"]:
            what |= {"detail"}
        status = next((code for name, code in self.refused.items() if name in what), None)
        app = self._app if status is None else JSONResponse({"message": "no"}, status)
        await app(scope, receive, send)


class Coarse(VirtualLoop):
    """Whoever waits for seconds waits for the next quarter of a minute, with all the others.

    A daemon with nothing to do looks at its clocks every few seconds, so most wake-ups of an hour
    are none of its work. What the world itself does is exact: `exactly`.
    """

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if when - self.time() >= 2:
            when = math.ceil(when / GRID) * GRID
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


class World:
    """One world. `run` lets it happen and returns its history."""

    def __init__(self, seed: int, features: frozenset[str], folder: Path) -> None:
        self.chance = chance = random.Random(seed)
        self.features = features
        self.folder = folder
        self.began = datetime(2026, 3, 10, tzinfo=UTC) + timedelta(hours=chance.uniform(0, 500))
        self.unnoticed = 0.0  # how long it may take to notice what people marked late
        self.quirks = self._quirks()
        zone = self.quirks.time_zone
        if "wrong-zone" in features:
            zone = chance.choice(["UTC", "Pacific/Auckland", "America/Los_Angeles"])
        self.history = History(
            seed=seed,
            poll=chance.choice([60, 120, 180, 180]),
            settle=chance.choice([480, 480, 480, 900, 2100]),
            start=chance.choice([0, 0, 3600]),
            skew=self.quirks.clock_skew.total_seconds(),
            zone=zone,
            marks=86_400 if "late-marks" in features else 0,
        )
        names = chance.choice([["myshop.com"], ["myshop.com", "outlet.myshop.com"]])
        if "brackets" in features:
            names = ["Shop [EU]", "Shop E"]
        self.sites = [
            website(f"site-{n}", name, plan=Plan(per_day=0)) for n, name in enumerate(names)
        ]
        self.limited = "limits" in features and chance.random() < 0.4
        self.known = sorted(dice.FIELDS)
        if "wrong-zone" in features:
            self.known = [name for name in self.known if name not in ("weekday", "hour")]
        count = chance.randint(4, 7)
        self.rules = {f"r{n}": self._rule(f"r{n}") for n in range(count)}
        if "own-tags" in features:
            self.rules["r0"]["when"] = {"tags": {"exists": True}}
            self.rules["r1"]["when"] = {"tags": chance.choice(["bot-*", {"matches": "^bot"}])}
            self.rules["r2"]["except"] = {"tags": chance.choice(["bot-r0", "bot-r3"])}
        self.history.ignored = self.quirks.ignored_filters
        self.history.own_tags = frozenset(f"bot-r{n}" for n in range(40))

    # what there is

    def _quirks(self) -> Quirks:
        chance, on = self.chance, self.features
        zone = chance.choice(["Europe/Copenhagen", "America/Los_Angeles", "Asia/Tokyo", "UTC"])
        plain = Quirks(time_zone=zone)
        if "quirks" in on:
            offset: Any = chance.choice(["honoured", "ignored"])
            plain = replace(
                plain,
                sort=chance.choice(["created", "last_activity"]),
                offset=offset,
                row_cap=chance.choice([10_000, 8]) if offset == "honoured" else 10_000,
                reversed_rows=chance.random() < 0.1,
                visibility_delay=timedelta(seconds=chance.choice([0, 0, 40, 200])),
                entry_page_host=chance.random() < 0.2,
                stale_detail=chance.random() < 0.2,
                expand=chance.random() < 0.7,
                tagless_expansion=chance.random() < 0.3,
            )
        if "skew" in on:
            plain = replace(plain, clock_skew=timedelta(seconds=chance.choice([50, -50, 200])))
        if "ignored" in on:
            plain = replace(plain, ignored_filters=frozenset({chance.choice(FILTERS)}))
        return plain

    def _rule(self, name: str) -> dict[str, Any]:
        names = [str(site.settings["name"]) for site in self.sites]
        made = dice.rule(self.chance, name, self.known, names)
        if self.limited and self.chance.random() < 0.6:
            made |= self.chance.choice(LIMITS)
        return made

    def _write_rules(self) -> None:
        toml = self.chance.random() < 0.3
        for old in self.folder.glob("rules.*"):
            old.unlink()
        text = dice.as_toml(self.rules) if toml else json.dumps({"version": 1, "rules": self.rules})
        (self.folder / ("rules.toml" if toml else "rules.yaml")).write_text(text)
        self.reader.written.append(disk.signature(self.reader.paths))
        self.in_force(rules_in(text, toml=toml))

    def in_force(self, rules: dict[str, dict[str, Any]]) -> None:
        """From now on these rules hold."""
        for name in dict.fromkeys([*self.history.rules, *rules]):
            spans = self.history.rules.setdefault(name, [])
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
            transport=InProcess(self.meddler),
        )  # fmt: skip
        acting = Ports(
            Account(self.api, Priority.ACTION), DrySlack(DryRunLog()), None,
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

    def sick(self, trouble: bool) -> None:
        """Note that the bot works from now on, or that it does not."""
        spans = self.history.well
        if spans and spans[-1].end is None:
            spans[-1] = replace(spans[-1], end=now())
        if not trouble:
            spans.append(Span(now(), "well"))

    # what happens

    def run(self) -> History:
        """Let it all happen."""
        with (
            capture_logs(),
            time_machine.travel(self.began, tick=False) as wall,
            asyncio.Runner(loop_factory=lambda: Coarse(wall)) as runner,
        ):
            runner.run(self._happen())
        return self.history

    async def _happen(self) -> None:
        chance, told = self.chance, self.history
        self.sim = Simulator(
            seed=7, sites=self.sites, quirks=self.quirks, now=lambda: datetime.now(UTC)
        )
        self.meddler = Meddler(self.sim.mouseflow_app)
        for site in self.sites:
            told.sites[site.id] = [Span(0, site.settings["name"])]
        for _ in range(3):
            self.plant(-chance.uniform(0, 5000))
        self.settings = load(
            None,
            {
                "BOT_MOUSEFLOW__BASE_URL": "http://127.0.0.1:1",
                "BOT_MOUSEFLOW__EMAIL": self.sim.email,
                "BOT_MOUSEFLOW__API_KEY": self.sim.api_key,
                "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "50",
                "BOT_MOUSEFLOW__TIME_ZONE": told.zone,
                "BOT_SLACK__BOT_TOKEN": "xoxb-1",
                "BOT_SLACK__CHANNEL": "#mouseflow",
                "BOT_SLACK__OPS_CHANNEL": "#ops",
                "BOT_RULES__PATHS": str(self.folder),
                "BOT_POLL__RECORDINGS": f"{told.poll:.0f}s",
                "BOT_POLL__MARKS": f"{told.marks:.0f}s",
                "BOT_POLL__SETTLE": f"{told.settle:.0f}s",
                "BOT_POLL__START": f"{told.start:.0f}s" if told.start else "now",
            },
        )
        self.reader = Announced(self.settings.rules.paths, allowed(self.settings))
        self.kept = in_memory_copy(f"sqlite:///{self.folder / 'none.db'}")
        self._write_rules()
        await self.start()
        await exactly(5)
        acts = [act for name, act in ACTS if name in self.features]
        for _ in range(chance.randint(5, 9)):
            for _ in range(chance.randint(0, 3)):
                self.plant(chance.uniform(1, 60))
            await exactly(chance.uniform(10, 240))
            if acts and chance.random() < 0.7:
                await chance.choice(acts)(self)
        self.sim.faults.clear()
        longest = max(rec.last for rec in told.recordings.values()) - now()
        longest += self.unnoticed
        await exactly(max(0, longest) + told.settle + 3 * told.poll + 300 + abs(told.skew))
        await self.end(kill=False)
        self._read_log()
        self.kept.close()
        told.end = now()

    def _read_log(self) -> None:
        """What the bot says it matched, and which of its tags were set when."""
        entries = self.kept.do(lambda conn: history(conn, kind="match", limit=1_000_000))
        self.history.matches = [
            Match(it.rule, it.subject, it.at.timestamp(), bool(it.details["steps"]))
            for it in entries
        ]
        for call in self.sim.calls:
            if call.method == "POST" and call.path.endswith("/tag") and call.status in (0, 200):
                rec = self.history.recordings[call.path.split("/")[-2]]
                rec.acts.append((call.at / 1000, "tag", parse_qs(call.query)["tag"][0]))
        for rec in self.history.recordings.values():
            rec.acts.sort(key=lambda act: act[0])

    # what people and servers do

    def plant(self, start: float) -> None:
        """A session that begins so many seconds from now."""
        site, script = self.chance.choice(self.sites), dice.script(self.chance)
        made = self.sim.add(site.id, script, start=start)
        begins = site.planted[-1].start / 1000
        hidden = self.quirks.visibility_delay.total_seconds()
        self.history.recordings[made] = Recording(
            made, site.id, begins, max(now(), begins + hidden), [(0, script)]
        )

    def some(self, fits: Callable[[Recording], bool] = lambda _: True) -> Recording | None:
        """A recording that is there and fits."""
        there = [
            rec
            for rec in self.history.recordings.values()
            if rec.deleted is None and rec.start < now() and fits(rec)
        ]
        return self.chance.choice(there) if there else None

    def rewrite(self, rec: Recording, script: Script) -> None:
        """From now on the server says something else of the session."""
        site = self.sim.world.sites[rec.site]
        index = next(
            n for n, one in enumerate(site.planted)
            if one.start / 1000 == rec.start and one.script == rec.scripts[-1][1]
        )  # fmt: skip
        site.planted[index] = Planted(site.planted[index].start, script)
        rec.scripts.append((now(), script))

    def mark(self, rec: Recording) -> None:
        """A person stars, tags, watches, shares, or sets a variable."""
        chance, world = self.chance, self.sim.world
        site, who, _ = world.inspect(rec.id)
        act = chance.choice(["watched", "starred", "tag", "tag", "untag", "variable", "shared"])
        what: Any = True
        if act in ("tag", "untag"):
            what = chance.choice(["vip", "internal", "404"])
            world.tag(site, who, what, on=act == "tag")
        elif act == "variable":
            what = ("plan", chance.choice(["pro", "free"]))
            world.set_variables(site, who, dict([what]))
        elif act == "shared":
            world.share(site, who)
            rec.acts.append((now(), "tag", "shared"))
        else:
            getattr(world.marks(site, who), act).add(self.sim.email)
        rec.acts.append((now(), act, what))


def now() -> float:
    return datetime.now(UTC).timestamp()


async def exactly(seconds: float) -> None:
    """Let so much time pass."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Coarse)
    await loop.exactly(seconds)


LIMITS: list[dict[str, Any]] = [
    {"count": {"at_least": 3, "within": "10m", "by": "website"}},
    {"once_per": {"visitor": "10m"}},
    {"once_per": {"visitor": "1d"}},
    {"safety": {"at_most": "4 per hour"}},
]
FILTERS = ["frictionmin", "visitortype"]


async def marks(world: World) -> None:
    settle = world.history.settle
    for _ in range(2):
        if rec := world.some(lambda rec: now() < rec.last + settle * 0.8):
            world.mark(rec)


async def late_marks(world: World) -> None:
    if rec := world.some(lambda rec: now() > rec.last + world.history.settle + 600):
        world.mark(rec)
        world.unnoticed = world.history.marks_noticed


async def deletions(world: World) -> None:
    if rec := world.some():
        world.sim.delete(rec.id)
        rec.deleted = now()


async def renames(world: World) -> None:
    """People learn a visitor's name."""
    if rec := world.some(lambda rec: now() < rec.last + world.history.settle * 0.8):
        script = rec.scripts[-1][1]
        who = replace(script.visitor, name=world.chance.choice(dice.NAMES))
        world.rewrite(rec, replace(script, visitor=who))


async def site_renames(world: World) -> None:
    """People give a website another name."""
    site = world.chance.choice(world.sites)
    spans = world.history.sites[site.id]
    if now() - spans[-1].start > 2000:
        spans[-1] = replace(spans[-1], end=now())
        world.sim.intervene(site.id, name=f"new-{len(spans)}.{site.settings['name']}")
        spans.append(Span(now(), site.settings["name"]))


async def late_friction(world: World) -> None:
    """The server counts friction some minutes after the session, without new activity."""
    if rec := world.some(lambda rec: rec.last + 90 < now() < rec.last + world.history.settle * 0.8):
        script = rec.scripts[-1][1]
        first = script.pages[0]
        event = dice.session([("/", 1)], [(0.001, "click-rage", 6)]).pages[0].events[0]
        pages = (replace(first, events=(*first.events, event)), *script.pages[1:])
        world.rewrite(rec, replace(script, pages=pages))


async def late_rows(world: World) -> None:
    """A recording appears long after it began."""
    world.plant(-world.chance.uniform(600, 5400))


async def faults(world: World) -> None:
    """Some calls go wrong, in any way."""
    chance = world.chance
    kind = chance.choice(["status", "half", "html", "close", "close_after"])
    status = chance.choice([500, 503, 429])
    world.sim.fail(kind, times=chance.randint(1, 3), skip=chance.randint(0, 4), status=status)


async def restarts(world: World) -> None:
    await world.end(kill=world.chance.random() < 0.6)
    await exactly(world.chance.uniform(0, 60))
    await world.start()


async def downtime(world: World) -> None:
    """Nobody watches for hours, and sessions come and go."""
    if world.chance.random() < 0.7:
        return
    await world.end(kill=world.chance.random() < 0.5)
    for _ in range(world.chance.randint(1, 4)):
        world.plant(world.chance.uniform(0, 9000))
    await exactly(world.chance.uniform(2000, 10_000))
    await world.start()


async def reloads(world: World) -> None:
    """Rules come, go, or change."""
    chance = world.chance
    name = chance.choice(sorted(world.rules))
    new = f"r{len(world.history.rules)}"
    if chance.random() < 0.3 and len(world.rules) > 1:
        del world.rules[name]
    elif chance.random() < 0.5:
        world.rules[new] = world._rule(new)
    else:
        world.rules[name] = world._rule(name)
    world._write_rules()
    world.reload.set()
    await exactly(1)


async def details_away(world: World) -> None:
    await _away(world, "detail", world.chance.choice([500, 503, 403]), 12_000)


async def refused(world: World) -> None:
    await _away(world, world.chance.choice(FILTERS), world.chance.choice([400, 403, 500]), 3000)


async def _away(world: World, what: str, status: int, longest: float) -> None:
    if world.meddler.refused:
        return
    world.meddler.refused = {what: status}
    spans = world.history.broken.setdefault(what, [])
    begin = now()
    for _ in range(2):
        world.plant(world.chance.uniform(1, 60))
    await exactly(world.chance.uniform(60, longest))
    spans.append(Span(begin, status, now()))
    world.meddler.refused = {}


ACTS = [
    ("marks", marks),
    ("late-marks", late_marks),
    ("deletions", deletions),
    ("renames", renames),
    ("site-renames", site_renames),
    ("late-friction", late_friction),
    ("late-rows", late_rows),
    ("faults", faults),
    ("restarts", restarts),
    ("downtime", downtime),
    ("reloads", reloads),
    ("details-away", details_away),
    ("refused", refused),
]
