"""Random worlds of budgets: shops that use recordings up, people who switch, edit and rename.

As in `worlds.py` a seed makes a world. Its history has every switch of a website, by whom, and how
many recordings there were at any time.
"""

import json
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from world_history import Said, Span
from world_process import Process, exactly, now

from bot.rules.files import disk
from mouseflow.simulator import timeline
from mouseflow.simulator.filters import Query
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Site, website
from mouseflow.simulator.traffic import Plan, Surge

POLL = 900.0
NAMES = ("alpha.com", "beta.com")


@dataclass(frozen=True, slots=True)
class Switch:
    """A website's status or rate was set to `what` by the bot, a person, or Mouseflow."""

    at: float
    who: str
    what: str | float


@dataclass(slots=True)
class Shop:
    """A website: the times of all its recordings, and what became of its switches."""

    name: str
    made: list[float] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    read_only: list[tuple[float, bool]] = field(default_factory=list)

    def count(self, since: float, until: float) -> int:
        return max(0, bisect_left(self.made, until) - bisect_left(self.made, since))


@dataclass(slots=True)
class BudgetHistory:
    """What happened in a world. `edits` are the budget as it was from a moment on, None: gone."""

    seed: int
    zone: str
    rules: dict[str, list[Span]]
    well: list[Span]
    shops: list[Shop]
    report: str  # when the weekly report comes
    edits: list[tuple[float, dict[str, Any] | None]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    end: float = 0


class BudgetWorld(Process):
    """One world. `run` lets it happen and returns its history."""

    grid = 45.0

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        chance = self.chance
        self.began = datetime(2026, 5, 4, tzinfo=UTC) + timedelta(hours=chance.uniform(0, 160))
        zone = chance.choice(["Europe/Copenhagen", "America/New_York", "Asia/Tokyo"])
        today = self.began.date()
        self.sites = [
            website(
                f"site-{n}", name, seed=chance.randrange(1000),
                plan=Plan(
                    per_day=chance.choice([300, 800]), since=today - timedelta(days=10), kinds=20,
                    surges=(Surge(today + timedelta(days=1), today + timedelta(days=2), 2.0),),
                ),
            )
            for n, name in enumerate(NAMES)
        ]  # fmt: skip
        soon = self.began.astimezone(ZoneInfo(zone)) + timedelta(hours=chance.randint(1, 26))
        shops = [Shop(name) for name in NAMES]
        report = f"{soon:%a %H:%M}".lower()
        self.history = BudgetHistory(seed, zone, self.in_force_since, self.well, shops, report)
        self.names = ["credits"]
        self.budget: dict[str, Any] | None = self._budget()
        for n, share in enumerate(chance.sample([50, 80, 95], 2)):
            self.rules[f"r{n}"] = {
                "summary": f"Rule r{n}", "watch": "websites",
                "when": {"budget_used": {chance.choice(["min", "over"]): f"{share}%"}},
                "resolved": True, "do": {"slack": {"channel": f"#r{n}"}},
            }  # fmt: skip
        self.rules["r2"] = {
            "summary": "Rule r2", "watch": "websites", "resolved": True,
            "when": {"stopped_by": chance.choice(["bot", "person", "budget credits"])},
            "do": {"slack": {"channel": "#r2"}},
        }  # fmt: skip

        if chance.random() < 0.4:
            self.rules["r3"] = {
                "summary": "Rule r3", "watch": "websites",
                "when": {"recordings_today": {"min": chance.choice([100, 250, 600])}},
                "do": {"recording": "stop", "slack": {"channel": "#r3"}},
            }  # fmt: skip
            self.rules["r2"]["when"] = {"stopped_by": chance.choice(["bot", "rule r3", "person"])}

    def _budget(self) -> dict[str, Any]:
        chance = self.chance
        post = {"slack": {"channel": "#budget"}}
        steps: dict[str, Any] = {"100%": {"recording": "stop"} | post}
        if chance.random() < 0.5:
            steps["60%"] = {"recording_rate": chance.choice([25, 50])} | post
        if chance.random() < 0.5:
            steps["40%"] = dict(post)
        made: dict[str, Any] = {
            "websites": list(NAMES), "recordings": self._limit(),
            "period": chance.choice(["day", "day", "day", "week", "month"]), "steps": steps,
        }  # fmt: skip
        if made["period"] != "day":
            made |= {"starts_on": chance.randint(1, 7)}
            made["recordings"] *= 3
        return made | ({"resume": True} if chance.random() < 0.8 else {})

    def _limit(self) -> int:
        return self.chance.choice([150, 300, 500, 900])

    def write_rules(self) -> None:
        """Write rules and budget as JSON, which is YAML."""
        budgets = {"budgets": {self.names[-1]: self.budget}} if self.budget else {}
        report = {"at": self.history.report, "do": {"slack": {"channel": "#weekly"}}}
        whole = {"version": 1, "rules": self.rules, "reports": {"weekly": report}}
        text = json.dumps(whole | budgets)
        (self.folder / "rules.yaml").write_text(text)
        self.reader.written.append(disk.signature(self.reader.paths))
        self.in_force(self.rules)
        edits = self.history.edits
        if not edits or edits[-1][1] != self.budget:
            edits.append((now(), json.loads(json.dumps(self.budget))))

    def run(self) -> BudgetHistory:
        """Let it all happen."""
        self.runs(self.began, self._happen)
        return self.history

    async def _happen(self) -> None:
        chance, told = self.chance, self.history
        self.sim = Simulator(
            seed=7, sites=self.sites, quirks=Quirks(time_zone=told.zone),
            now=lambda: datetime.now(UTC),
        )  # fmt: skip
        self.app = self.sim.mouseflow_app
        for shop in told.shops:
            shop.read_only.append((now(), False))
        self.prepare(told.zone, BOT_POLL__REPORTS=f"{POLL:.0f}s", BOT_POLL__RECORDINGS="1h")
        await self.start()
        for _ in range(chance.randint(6, 8)):
            await exactly(chance.uniform(0.5, 6) * 3600)
            await chance.choice(ACTS)(self)
        self.sim.faults.clear()
        await exactly(chance.uniform(3, 8) * 3600)
        await self.end(kill=False)
        self.kept.close()
        told.said, told.end = self.wall.said, now()
        for shop, site in zip(told.shops, self.sites, strict=True):
            self._note(shop, site)

    def _note(self, shop: Shop, site: Site) -> None:
        """All recordings, and the switches by the API's user."""
        low, high = self.history.well[0].start - 40 * 86_400, self.history.end
        search = timeline.Search(
            Query(), round(low * 1000), round(high * 1000), round(high * 1000), self.sim.email
        )
        found = timeline.find(site, search)
        shop.made = sorted(
            (zero + times[i]) / 1000
            for zero, times, picks in timeline.starts(site, found)
            for i in picks
        )
        for call in self.sim.calls:
            if (call.method, call.path, call.status) == ("PUT", f"/websites/{site.id}", 200):
                body = json.loads(call.body)
                what = body.get("recordingStatus", body.get("recordingRate"))
                shop.switches.append(Switch(call.at / 1000, "bot", what))
        shop.switches.sort(key=lambda it: it.at)

    def switch(self, n: int, who: str, **changes: Any) -> None:
        """Somebody switches a website."""
        self.sim.world.change(self.sites[n], changes, by=who)
        shop = self.history.shops[n]
        shop.switches += [Switch(now(), who, what) for what in changes.values()]

    async def edited(self, **changes: Any) -> None:
        """The budget is edited."""
        if self.budget is not None:
            self.budget = self.budget | changes
        await self.reloaded()

    async def reloaded(self) -> None:
        self.write_rules()
        self.reload.set()
        await exactly(1)


async def people(world: BudgetWorld) -> None:
    """A person stops or starts a website, or sets its rate."""
    n = world.chance.randrange(2)
    site = world.sites[n]
    if world.chance.random() < 0.25:
        rates = [each for each in (10, 40, 100) if each != site.settings["recordingRate"]]
        world.switch(n, "person", recordingRate=world.chance.choice(rates))
    elif site.status in ("Recording", "Stopped"):
        other = "Stopped" if site.status == "Recording" else "Recording"
        world.switch(n, "person", status=other)


async def mouseflow(world: BudgetWorld) -> None:
    """Mouseflow pauses a website and starts it again, or it becomes read-only for a while."""
    n = world.chance.randrange(2)
    site, shop = world.sites[n], world.history.shops[n]
    if world.chance.random() < 0.5:
        if site.status == "Recording":
            world.switch(n, "mouseflow", status="Paused")
            await exactly(world.chance.uniform(600, 7200))
            world.switch(n, "mouseflow", status="Recording")
        return
    for read_only in (True, False):
        site.settings["readOnly"] = read_only
        shop.read_only.append((now(), read_only))
        await exactly(world.chance.uniform(600, 7200) if read_only else 0)


async def edits(world: BudgetWorld) -> None:
    """The budget is raised, lowered, renamed, moved to another period, taken out and put back."""
    chance = world.chance
    match chance.choice(
        ["limit", "limit", "limit", "name", "period", "gone", "websites", "resume"]
    ):
        case "limit":
            await world.edited(recordings=world._limit())
        case "name":
            old = world.names[-1]
            world.names.append(f"plan{len(world.names)}")
            await world.edited(was=old)
        case "period":
            assert world.budget is not None
            world.budget.pop("starts_on", None)
            starts = {"starts_on": chance.randint(1, 7)}
            other = [{"period": "day"}, {"period": "week"} | starts, {"period": "month"} | starts]
            await world.edited(**chance.choice(other))
        case "gone":
            kept, world.budget = world.budget, None
            await world.reloaded()
            await exactly(chance.uniform(600, 20_000))
            world.budget = kept
            await world.reloaded()
        case "websites":
            await world.edited(websites=chance.choice([["alpha.com"], list(NAMES)]))
        case _:
            await world.edited(resume=chance.random() < 0.5)


async def faults(world: BudgetWorld) -> None:
    """Some calls fail."""
    world.fail_calls(4, 4, "close_after")


async def restarts(world: BudgetWorld) -> None:
    await world.restart(away=9000)


async def nothing(world: BudgetWorld) -> None:
    """A quiet day: only visitors come."""
    await exactly(3600)


ACTS: list[Callable[[BudgetWorld], Any]] = [
    people, people, people, mouseflow, edits, edits, edits, faults, restarts, nothing,
]  # fmt: skip
