"""Random worlds of figures: funnels, forms and pages of a shop, and rules that look at them.

As in `worlds.py` a seed makes a world. All that the API answered is kept with its time, so that
the judge knows which figures the bot could see.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import figure_dice as dice
from world_history import Said, Span
from world_process import Process, exactly, now

from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import PHONE, session
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Form, Funnel, website
from mouseflow.simulator.traffic import Plan, Surge

POLL = 1800.0
HOST = "alpha.com"
KINDS = {"funnels": "funnels", "forms": "forms", "pagelist": "pages"}
FUNNELS = {
    "f1": ("Checkout", [("Cart", "/cart"), ("Checkout", "/checkout"), ("Pay", "/checkout/pay")]),
    "f2": ("Landing", [("Landing", "/landing"), ("Product", "/products/runner-3")]),
    "f3": ("Nobody", [("Nowhere", "/nowhere"), ("Cart", "/cart")]),
}  # fmt: skip
FORMS = {
    "f1": ("/checkout", "Order", [("email", "", "email"), ("phone", "", "text")]),
    "f2": ("/search", "Search form", [("query", "", "text"), ("shelf", "", "select")]),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered to a question: a list of a kind, or one form's report."""

    at: float
    kind: str
    one: str
    query: dict[str, str]
    body: Any


@dataclass(slots=True)
class FigureHistory:
    """What happened in a world, and what was said in it."""

    seed: int
    zone: str
    rules: dict[str, list[Span]]
    well: list[Span]
    answers: list[Answer] = field(default_factory=list)
    ignored: frozenset[str] = frozenset()
    said: list[Said] = field(default_factory=list)
    end: float = 0


class Listener:
    """Stands before the simulated API and keeps its answers about figures."""

    def __init__(self, app: Any, kept: list[Answer]) -> None:
        self._app = app
        self._kept = kept

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        _, site, kind, *one = [*scope["path"].strip("/").split("/"), "", ""]
        if scope["method"] != "GET" or not site or kind not in KINDS:
            await self._app(scope, receive, send)
            return
        sent: list[Any] = []

        async def keep(message: Any) -> None:
            sent.append(message)
            await send(message)

        await self._app(scope, receive, keep)
        if sent[0]["status"] == 200:
            body = b"".join(each.get("body", b"") for each in sent[1:])
            query = {k.casefold(): v for k, v in parse_qsl(scope["query_string"].decode())}
            self._kept.append(Answer(now(), KINDS[kind], one[0], query, json.loads(body)))


class FigureWorld(Process):
    """One world. `run` lets it happen and returns its history."""

    grid = 45.0

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        chance = self.chance
        self.began = datetime(2026, 5, 4, tzinfo=UTC) + timedelta(hours=chance.uniform(0, 160))
        zone = chance.choice(["Europe/Copenhagen", "America/New_York", "Asia/Tokyo"])
        today = self.began.date()
        surges = tuple(
            Surge(day, day + timedelta(days=1), chance.choice([0.2, 0.5, 3.0]))
            for day in (today + timedelta(days=n) for n in (-1, 1, 2))
            if chance.random() < 0.4
        )
        plan = Plan(
            per_day=chance.choice([40, 150]),
            since=today - timedelta(days=chance.choice([12, 50])),
            surges=surges,
            kinds=chance.choice([15, 40]),
        )
        self.site = website("site-0", HOST, plan=plan, seed=chance.randrange(1000))
        for key, (name, steps) in FUNNELS.items():
            self.site.funnels[key] = Funnel(key, name, [*steps])
        for key, (url, name, fields) in FORMS.items():
            self.site.forms[key] = Form(key, url, f"#{key}", name, [*fields])
        self.history = FigureHistory(seed, zone, self.in_force_since, self.well)
        if chance.random() < 0.25:
            self.history.ignored = frozenset({chance.choice(IGNORABLE)})
        for n in range(chance.randint(4, 6)):
            self.rules[f"r{n}"] = dice.rule(chance, f"r{n}")

    def run(self) -> FigureHistory:
        """Let it all happen."""
        self.runs(self.began, self._happen)
        return self.history

    async def _happen(self) -> None:
        chance, told = self.chance, self.history
        self.sim = Simulator(
            seed=7, sites=[self.site], now=lambda: datetime.now(UTC),
            quirks=Quirks(time_zone=told.zone, ignored_filters=told.ignored),
        )  # fmt: skip
        self.app = Listener(self.sim.mouseflow_app, told.answers)
        self.prepare(told.zone, BOT_POLL__REPORTS=f"{POLL:.0f}s", BOT_POLL__RECORDINGS="1h")
        await self.start()
        for _ in range(chance.randint(6, 9)):
            await exactly(chance.uniform(0.5, 8) * 3600)
            await chance.choice(ACTS)(self)
        self.sim.faults.clear()
        await exactly(3 * 3600)
        await self.end(kill=False)
        self.kept.close()
        told.said, told.end = self.wall.said, now()


IGNORABLE = ["device", "country", "browser", "frictionmin", "tags", "search", "vars", "entry"]


async def visits(world: FigureWorld) -> None:
    """Many visitors of one kind come at once."""
    chance = world.chance
    script = chance.choice(
        [
            session([("/cart", 9), ("/checkout", 20), ("/checkout/pay", 30)],
                    [(12, "form-interact"), (28, "submit")]),
            session([("/cart", 9), ("/checkout", 20)],
                    [(12, "form-interact"), (28, "submit"), (28.5, "submit-failure")]),
            session([("/cart", 4)], [(2, "dead-click")], variables=[(1, "plan", "basic")]),
            session([("/landing", 6)], visitor=PHONE),
            session([("/landing", 6), ("/search", 40), ("/products/runner-3", 70)],
                    [(10, "form-interact")], visitor=PHONE),
        ]
    )  # fmt: skip
    for _ in range(chance.randint(5, 40)):
        made = world.sim.add(HOST, script, start=-chance.uniform(0, 1500))
        if chance.random() < 0.2:
            site, who, _ = world.sim.world.inspect(made)
            mark = chance.choice(["watched", "starred"])
            getattr(world.sim.world.marks(site, who), mark).add(world.sim.email)


async def changes(world: FigureWorld) -> None:
    """People take a funnel or form away, bring it back, rename it, or share a page."""
    site, key = world.site, world.chance.choice(["f1", "f2"])
    match world.chance.choice(["funnel", "form", "name", "page"]):
        case "funnel":
            name, steps = FUNNELS[key]
            if site.funnels.pop(key, None) is None:
                site.funnels[key] = Funnel(key, name, [*steps])
        case "form":
            url, name, fields = FORMS[key]
            if site.forms.pop(key, None) is None:
                site.forms[key] = Form(key, url, f"#{key}", name, [*fields])
        case "name" if key in site.funnels:
            site.funnels[key].name += " anew"
        case _:
            site.shared_pages["/cart"] = "token"


async def faults(world: FigureWorld) -> None:
    """Some calls fail."""
    world.fail_calls(4, 4)


async def restarts(world: FigureWorld) -> None:
    await world.restart(away=7500)


async def edits(world: FigureWorld) -> None:
    """Rules change, or are disabled and enabled again."""
    chance = world.chance
    name = chance.choice(sorted(world.rules))
    rule = world.rules[name]
    other = dice.rule(chance, name, rule["watch"])
    match chance.choice(["texts", "when", "visitors", "off", "for", "new"]):
        case "texts":
            rule = rule | {"owner": chance.choice(["Ops", "Shop"])}
        case "when":
            rule = rule | {"when": other["when"]}
        case "visitors":
            rule = rule | {"visitors": dice.visitors(chance, rule["watch"])}
        case "off":
            rule = rule | {"disabled": not rule.get("disabled", False)}
        case "for":
            rule = rule | {"for": chance.choice(["50m", "1h40m"])}
        case _:
            name = f"r{len(world.in_force_since)}"
            rule = dice.rule(chance, name)
    world.rules[name] = rule
    world.write_rules()
    world.reload.set()
    await exactly(1)


ACTS: list[Callable[[FigureWorld], Any]] = [
    visits,
    visits,
    visits,
    changes,
    faults,
    restarts,
    edits,
]
