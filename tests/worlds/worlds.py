"""Random worlds: a simulated account, people and trouble, and the whole daemon beside them.

A seed and a set of features make a world. It runs on a virtual clock, the daemon is stopped,
killed and started again on one store, and in the end there is a `History`: what happened, and
what the bot says it matched.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import world_dice as dice
from starlette.responses import JSONResponse
from world_history import Ended, History, Match, Recording, Span
from world_process import Process, exactly, now

from bot.store.audit import history
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
        "posts",
        "absence",
        "effects",
    }
)
"""What may happen in a world."""

SELDOM = {"ignored": 0.2, "wrong-zone": 0.25, "brackets": 0.25, "own-tags": 0.4, "skew": 0.4}
"""How likely these are, which keep rules from being judged; others are in two of three worlds."""

ON_RECORDINGS = {
    ("POST", "star"): "starred", ("POST", "watched"): "watched", ("POST", "tag"): "tag",
    ("DELETE", "tag"): "untag", ("PUT", "variables"): "variable", ("POST", "share"): "shared",
}  # fmt: skip
"""What the bot's calls do to a recording."""


def drawn(seed: int) -> frozenset[str]:
    """What may happen in the world of that seed."""
    chance = random.Random(f"features {seed}")
    others = sorted(FEATURES - {"effects"})
    found = {name for name in others if chance.random() < SELDOM.get(name, 2 / 3)}
    # Drawn apart, so that a seed's world stays as it was before there were effects.
    return frozenset(found | {"effects"} if random.Random(seed).random() < 0.4 else found)


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


class World(Process):
    """One world. `run` lets it happen and returns its history."""

    def __init__(self, seed: int, features: frozenset[str], folder: Path) -> None:
        super().__init__(seed, folder)
        chance = self.chance
        self.features, self.effects = features, random.Random(f"effects {seed}")
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
            longest_poll=60 if "faults" in features else 2,
            calls_fail="faults" in features,
            rules=self.in_force_since,
            well=self.well,
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
            self.known = [name for name in self.known if name not in ("weekday", "hour", "created")]
        count = chance.randint(4, 7)
        self.rules = {f"r{n}": self._rule(f"r{n}") for n in range(count)}
        if "own-tags" in features:
            self.rules["r0"]["when"] = {"tags": {"exists": True}}
            self.rules["r1"]["when"] = {"tags": chance.choice(["bot-*", {"matches": "^bot"}])}
            self.rules["r2"]["except"] = {"tags": chance.choice(["bot-r0", "bot-r3"])}
        self.history.ignored = self.quirks.ignored_filters
        self.history.own_tags = frozenset(f"bot-r{n}" for n in range(40))

    # what there is

    def _quiet(self) -> dict[str, str]:
        """Sometimes a quiet time of half an hour to an hour and a half, soon."""
        if "posts" not in self.features or self.chance.random() < 0.6:
            return {}
        start = self.began.replace(second=0, microsecond=0) + timedelta(
            minutes=self.chance.randint(5, 40)
        )
        end = start + timedelta(minutes=self.chance.randint(20, 60))
        self.history.quiet.append(Span(start.timestamp(), "quiet", end.timestamp()))
        hours = (each.astimezone(ZoneInfo(self.history.zone)) for each in (start, end))
        return {"BOT_QUIET__HOURS": "-".join(f"{each:%H:%M}" for each in hours)}

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
        if "effects" in on:
            plain = replace(plain, share_again="rotates")
        if "skew" in on:
            plain = replace(plain, clock_skew=timedelta(seconds=chance.choice([50, -50, 200])))
        if "ignored" in on:
            plain = replace(plain, ignored_filters=frozenset({chance.choice(FILTERS)}))
        return plain

    def _rule(self, name: str) -> dict[str, Any]:
        names = [str(site.settings["name"]) for site in self.sites]
        made = dice.rule(self.chance, name, self.known, names)
        if "effects" in self.features:
            made["do"] |= dice.effects(self.effects)
        if self.limited and self.chance.random() < 0.6:
            made |= self.chance.choice([*LIMITS, *(dice.grouped(self.chance) for _ in LIMITS)])
        elif "absence" in self.features and self.chance.random() < 0.1:
            made |= dice.too_few(self.chance, name)
        elif "posts" in self.features and self.chance.random() < 0.3:
            made["do"] |= {"slack": self._post(name)}
            if self.chance.random() < 0.3:
                made |= self._hours()
        return made

    def _hours(self) -> dict[str, Any]:
        """Hours in which a rule may post, which begin or end soon, or what is too old for it."""
        local = self.began.astimezone(ZoneInfo(self.history.zone))
        soon = local + timedelta(minutes=self.chance.randint(10, 60))
        times = [f"{soon:%H:%M}", f"{local + timedelta(hours=10):%H:%M}"]
        old = {"act_up_to": self.chance.choice(["10m", "1h"]), "older": "digest"}
        return self.chance.choice(
            [
                {"active": "-".join(times)},
                {"active": "-".join(reversed(times))},
                {"active": f"{local:%a}".lower()},
                {"after_downtime": old},
            ]
        )

    def _post(self, name: str) -> dict[str, Any]:
        """A post to the rule's own channel: at once, some at once, or all at a time of the day."""
        local = self.began.astimezone(ZoneInfo(self.history.zone))
        soon = local + timedelta(minutes=self.chance.randint(15, 90))
        forms = [{}, {"at_most": "2 per 10m"}, {"digest": f"{soon:%H:%M}"}]
        return {"channel": f"#{name}"} | self.chance.choice(forms)

    # what happens

    def run(self) -> History:
        """Let it all happen."""
        self.runs(self.began, self._happen)
        return self.history

    async def _happen(self) -> None:
        chance, told = self.chance, self.history
        self.sim = Simulator(
            seed=7, sites=self.sites, quirks=self.quirks, now=lambda: datetime.now(UTC)
        )
        self.app = Meddler(self.sim.mouseflow_app)
        for site in self.sites:
            told.sites[site.id] = [Span(0, site.settings["name"])]
        for _ in range(3):
            self.plant(-chance.uniform(0, 5000))
        self.prepare(
            told.zone,
            **self._quiet(),
            BOT_POLL__RECORDINGS=f"{told.poll:.0f}s",
            BOT_POLL__MARKS=f"{told.marks:.0f}s",
            BOT_POLL__SETTLE=f"{told.settle:.0f}s",
            BOT_POLL__START=f"{told.start:.0f}s" if told.start else "now",
            BOT_RULES__ALLOW_DELETE="true",
        )
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
        longest = max(longest, *(it.end - now() for it in told.quiet if it.end), 0)
        await exactly(max(0, longest) + told.settle + 3 * told.poll + 300 + abs(told.skew))
        await self.end(kill=False)
        self._read_log()
        self.kept.close()
        told.said, told.end = self.wall.said, now()

    def _read_log(self) -> None:
        """What the bot says it matched, and which of its tags were set when."""
        entries = self.kept.do(lambda conn: history(conn, kind="match", limit=1_000_000))
        self.history.matches = [
            Match(
                self.first_name(it.rule), it.subject, it.at.timestamp(), bool(it.details["steps"])
            )
            for it in entries
            if not any("-resolved/" in key for key in it.details["steps"])  # the end of an alert
        ]
        for call in self.sim.calls:
            *_, name, last = call.path.split("/")
            act, at = ON_RECORDINGS.get((call.method, last)), call.at / 1000
            if call.status not in (0, 200):
                continue
            if act and (rec := self.history.recordings.get(name)):
                tag = parse_qs(call.query).get("tag", [""])[0]
                found = [(at, act, tag or (("seen-by", "bot") if act == "variable" else True))]
                found += [(at, "tag", "shared")] if act == "shared" else []
                rec.acts += found
                rec.by_bot |= {*found}
            elif (rec := self.history.recordings.get(last)) and call.method == "DELETE":
                rec.deleted = at
                rec.by_bot.add((at, "deleted", True))
        for rec in self.history.recordings.values():
            rec.acts.sort(key=lambda act: act[0])
            self.history.ended[rec.id] = self._ended(rec)

    def _ended(self, rec: Recording) -> Ended:
        site, who, state = self.sim.world.inspect(rec.id)
        marks = self.sim.world.marks(site, who)
        return Ended(
            tags=frozenset({*marks.tagged, *state.tags}),
            set_to={
                "star": self.sim.email in marks.starred,
                "watched": self.sim.email in marks.watched,
                "variables": (marks.variables or {}).get("seen-by") == "bot",
                "share": bool(marks.token),
            },
            shares=marks.shares - rec.shares,
        )

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
            had = world.marks(site, who).shares
            world.share(site, who)
            rec.shares += world.marks(site, who).shares - had
            rec.acts.append((now(), "tag", "shared"))
        else:
            getattr(world.marks(site, who), act).add(self.sim.email)
        rec.acts.append((now(), act, what))


LIMITS: list[dict[str, Any]] = [
    {"count": {"at_least": 3, "within": "10m", "by": "website"}},
    {"once_per": {"visitor": "10m"}},
    {"once_per": {"visitor": "1d"}},
    {"safety": {"at_most": "4 per hour"}},
]
FILTERS = ["frictionmin", "visitortype", "search"]


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
    taken = {*world.rules, *world.once_called.values()}
    new = next(f"r{n}" for n in count(len(world.history.rules)) if f"r{n}" not in taken)
    if chance.random() < 0.25 and len(world.rules) > 1:
        del world.rules[name]
    elif chance.random() < 0.25:
        rule = world.rules[name]
        world.rules[name] = rule | {"disabled": not rule.get("disabled", False)}
    elif chance.random() < 0.2:
        world.rename(name)
    elif chance.random() < 0.5:
        world.rules[new] = world._rule(new)
    else:
        world.rules[name] = world._rule(world.first_name(name))
    world.write_rules()
    world.reload.set()
    await exactly(1)


async def details_away(world: World) -> None:
    await _away(world, "detail", world.chance.choice([500, 503, 403]), 12_000)


async def refused(world: World) -> None:
    await _away(world, world.chance.choice(FILTERS), world.chance.choice([400, 403, 500]), 3000)


async def _away(world: World, what: str, status: int, longest: float) -> None:
    if world.app.refused:
        return
    world.app.refused = {what: status}
    spans = world.history.broken.setdefault(what, [])
    begin = now()
    for _ in range(2):
        world.plant(world.chance.uniform(1, 60))
    await exactly(world.chance.uniform(60, longest))
    spans.append(Span(begin, status, now()))
    world.app.refused = {}


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
