"""Random worlds of alerts: settings and campaigns that people change, and rules that look at them.

As in `worlds.py` a seed makes a world, which runs on a virtual clock through stops, kills and
edits of rules. Each rule posts to a channel of its own, so its messages are known by it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import world_dice as dice
from world_history import Said, Span
from world_process import Process, exactly, now

from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Campaign, Site, website
from mouseflow.simulator.traffic import Plan

POLL = 300.0
"""How often the daemon looks, in seconds."""

NAMES = ("alpha.com", "beta.com")
SURVEYS = ("Survey of guests", "Rating of pages")


@dataclass(slots=True)
class Subject:
    """A website, or a campaign of it, with its fields since when they were so."""

    kind: str
    site: str
    name: str
    states: list[tuple[float, dict[str, Any]]]

    def at(self, moment: float) -> dict[str, Any]:
        """Its fields at a moment, without those that the clock tells."""
        return next(state for since, state in reversed(self.states) if since <= moment)


@dataclass(slots=True)
class AlertHistory:
    """What happened in a world, and what was said in it. `polls` are by kind and website."""

    seed: int
    zone: str
    subjects: list[Subject]
    rules: dict[str, list[Span]]
    well: list[Span]
    quiet: list[Span] = field(default_factory=list)
    disabled: list[tuple[float, str]] = field(default_factory=list)
    polls: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    end: float = 0


class AlertWorld(Process):
    """One world. `run` lets it happen and returns its history."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        chance = self.chance
        self.began = datetime(2026, 3, 10, tzinfo=UTC) + timedelta(hours=chance.uniform(0, 500))
        zone = chance.choice(["Europe/Copenhagen", "America/Los_Angeles", "Asia/Tokyo", "UTC"])
        self.sites = [
            website(f"site-{n}", name, plan=Plan(per_day=0))
            for n, name in enumerate(NAMES[: chance.randint(1, 2)])
        ]
        for site in self.sites:
            site.campaigns = {
                f"c{n}": Campaign(f"c{n}", {"name": name, "enabled": True, "triggerType": "delay"})
                for n, name in enumerate(SURVEYS[: chance.randint(1, 2)])
            }
        began = self.began.timestamp()
        subjects = [
            Subject(kind, site.id, name, [(began, {})])
            for site in self.sites
            for kind, name in [
                ("websites", str(site.settings["name"])),
                *(("feedback", str(one.settings["name"])) for one in site.campaigns.values()),
            ]
        ]
        self.history = AlertHistory(seed, zone, subjects, self.in_force_since, self.well)
        self.quiet = chance.random() < 0.25
        for n in range(chance.randint(3, 5)):
            self.rules[f"r{n}"] = self.rule(f"r{n}")

    def rule(self, name: str) -> dict[str, Any]:
        """A rule that posts to its own channel, and may wait for rules that have lower numbers."""
        made = dice.alert(self.chance, name)
        if counts(made):
            return made
        former = sorted(
            each for each in self.rules if each[0] == "r" and int(each[1:]) < int(name[1:])
        )
        if former and self.chance.random() < 0.35:
            made["not_while"] = self.chance.choice([former[-1], former[-2:]])
        return made

    def run(self) -> AlertHistory:
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
        for site in self.sites:
            for one in site.campaigns:
                self.sim.respond(site.id, one, 1)
        self.changed()
        settings = {"BOT_POLL__REPORTS": f"{POLL:.0f}s", "BOT_POLL__FEEDBACK": f"{POLL:.0f}s"}
        if self.quiet:
            settings["BOT_QUIET__HOURS"] = self._quiet_hours()
        self.prepare(told.zone, **settings)
        await self.start()
        for _ in range(chance.randint(8, 14)):
            await exactly(chance.choice([chance.uniform(30, 600), chance.uniform(600, 5400)]))
            await chance.choice(ACTS)(self)
        self.sim.faults.clear()
        rest = (it.end - now() + 600 for it in told.quiet if it.at(now()) and it.end)
        await exactly(max([1200.0, *rest]))
        await self.end(kill=False)
        self.kept.close()
        told.said, told.end = self.wall.said, now()
        for call in self.sim.calls:
            parts = call.path.strip("/").split("/")
            if call.method == "GET" and call.status == 200 and len(parts) > 1:
                kind = {2: "websites", 3: parts[-1]}.get(len(parts), "")
                told.polls.setdefault((kind, parts[1]), []).append(call.at / 1000)

    def _quiet_hours(self) -> str:
        """A quiet time of some hours, later on this day or at night."""
        local = self.began.astimezone(ZoneInfo(self.history.zone))
        start = (local + timedelta(hours=self.chance.randint(1, 3))).replace(
            minute=0, second=0, microsecond=0
        )
        end = start + timedelta(hours=self.chance.randint(1, 4))
        for day in range(-1, 4):
            shift = timedelta(days=day)
            self.history.quiet.append(
                Span((start + shift).timestamp(), "quiet", (end + shift).timestamp())
            )
        return f"{start:%H:%M}-{end:%H:%M}"

    def changed(self) -> None:
        """Note how all subjects are now."""
        for subject in self.history.subjects:
            site = next(it for it in self.sites if it.id == subject.site)
            subject.states.append((now(), fields_of(site, subject)))


def fields_of(site: Site, subject: Subject) -> dict[str, Any]:
    """The fields of a website or a campaign as `docs/reference/rules.md` names them."""
    its = site.settings
    if subject.kind == "websites":
        return {
            "website": its["name"],
            "status": its["status"].lower(),
            "recording_rate": its["recordingRate"],
            "read_only": its["readOnly"],
            "is_demo": its["isDemo"],
            "stopped_by": "person" if its["status"] == "Stopped" else None,
            "anonymize_ips": its["anonymizeIps"],
            "disable_keystrokes": its["disableKeystrokes"],
            "excluded_ips": list(its["excludedIps"]),
            "merge_urls": list(its["mergeUrls"]),
            "domains": list(its["domains"]),
        }
    one = next(it for it in site.campaigns.values() if it.settings["name"] == subject.name)
    answers = len(one.extra)
    return {
        "campaign": subject.name,
        "enabled": one.settings["enabled"],
        "trigger": one.settings["triggerType"],
        "locked": False,
        "responses": answers,
        "impressions": 4 * answers,
        "response_rate": 25 if answers else None,
    }


async def settings(world: AlertWorld) -> None:
    """A person changes a website."""
    chance = world.chance
    for _ in range(chance.randint(1, 2)):
        site = chance.choice(world.sites)
        name, value = chance.choice(
            [
                ("anonymizeIps", chance.random() < 0.5),
                ("disableKeystrokes", chance.random() < 0.5),
                ("excludedIps", chance.choice([[], ["192.0.2.7"], ["192.0.2.7", "198.51.100.1"]])),
                ("mergeUrls", chance.choice([[], ["/search/*"], ["/product/*", "/search/*"]])),
                ("domains", chance.choice([[site.host], [site.host, "evil.example"]])),
                ("recordingRate", chance.choice([100, 50, 25, 10])),
                ("status", chance.choice(["Recording", "Stopped", "Paused"])),
            ]
        )
        site.settings[name] = value
    world.changed()


async def surveys(world: AlertWorld) -> None:
    """Visitors answer, and a person switches a campaign."""
    chance = world.chance
    site = chance.choice(world.sites)
    one = chance.choice([*site.campaigns.values()])
    if chance.random() < 0.5:
        world.sim.respond(site.id, one.id, chance.randint(1, 8))
    else:
        one.settings["enabled"] = chance.random() < 0.5
        one.settings["triggerType"] = chance.choice(["delay", "scroll"])
    world.changed()


async def blips(world: AlertWorld) -> None:
    """Something is otherwise for one poll, and then as before."""
    site = world.chance.choice(world.sites)
    before = dict(site.settings)
    await settings(world)
    await exactly(world.chance.uniform(60, 1.5 * POLL))
    site.settings |= before
    world.changed()


async def faults(world: AlertWorld) -> None:
    """Some calls fail."""
    world.fail_calls(6, 2)


async def restarts(world: AlertWorld) -> None:
    await world.restart(away=5400)


async def edits(world: AlertWorld) -> None:
    """Rules come, go, come back or change."""
    chance = world.chance
    name = chance.choice(sorted(world.rules))
    rule = world.rules[name]
    first = world.first_name(name)
    edit = chance.choice(["texts", "when", "gone", "off", "for", "new", "name"])
    if counts(rule) and edit in ("when", "gone", "for"):
        return  # what becomes of the count is not documented, and such a rule has no `for`
    match edit:
        case "texts":
            rule = rule | {"summary": f"Rule {first} anew", "severity": chance.choice(SEVERITIES)}
        case "when":
            while counts(other := dice.alert(chance, first, rule["watch"])):
                pass
            rule = rule | {"when": other["when"]}
            rule.pop("until", None)
        case "off":
            rule = rule | {"disabled": not rule.get("disabled", False)}
            world.history.disabled.append((now(), world.first_name(name)))
        case "for":
            rule = rule | {"for": chance.choice(["8m", "18m"])}
        case "name":
            if not awaited(world, name):
                world.rename(name)
                await reload(world)
            return
        case "new":
            name = f"r{len(world.in_force_since)}"
            rule = world.rule(name)
        case "gone":
            if awaited(world, name):
                return
            del world.rules[name]
            await reload(world)
            await exactly(chance.choice([chance.uniform(60, 2400), 4500]))
    world.rules[name] = rule
    await reload(world)


async def reload(world: AlertWorld) -> None:
    world.write_rules()
    world.reload.set()
    await exactly(1)


def awaited(world: AlertWorld, name: str) -> bool:
    """Whether another rule names this one."""
    return any(name in listed(each.get("not_while", [])) for each in world.rules.values())


def counts(rule: dict[str, Any]) -> bool:
    """Whether the rule counts new responses, so that each firing is one of many."""
    return "new_responses" in rule["when"]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


SEVERITIES = ["info", "warning", "critical"]
ACTS: list[Callable[[AlertWorld], Any]] = [
    settings, settings, settings, surveys, surveys, blips, faults, restarts, edits,
]  # fmt: skip
