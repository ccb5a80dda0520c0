"""Random worlds of traffic: a website with weeks of visitors, and rules about too few or too many.

People stop the website or lower its rate, campaigns bring visitors, days are holidays, and the
daemon restarts. The judge below is a second reading of "Comparing with the usual" and "Websites" in
`docs/explanation/levels.md`; it counts the simulator's recordings itself.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from judge import figure
from world_history import Said
from world_process import Process, exactly, now

from mouseflow.simulator import timeline
from mouseflow.simulator.filters import Query
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan, Surge

POLL = 900.0
WEEK = 7 * 86_400.0
SOON = 60.0

HALF_AN_HOUR = 1800.0
"""After a start browsers keep the old script so long."""

BETWEEN = 1.5 * POLL
"""Parts of a day are the difference of two of the bot's own counts, so edges are not exact."""


@dataclass(frozen=True, slots=True)
class Range:
    """A figure within the precision with which the bot can know it."""

    low: float
    high: float


class TrafficWorld(Process):
    """One world. `run` lets it happen; `wrongs` compares it with the docs."""

    grid = 45.0

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        chance = self.chance
        self.seed = seed
        self.began = datetime(2026, 5, 4, tzinfo=UTC) + timedelta(hours=chance.uniform(0, 160))
        self.zone = chance.choice(["Europe/Copenhagen", "America/New_York", "Asia/Tokyo"])
        today = self.began.date()
        surges = [Surge(today, today + timedelta(days=2), chance.choice([0.3, 2.6, 3.5]))]
        odd = today - timedelta(days=chance.choice([7, 14]))
        surges.append(Surge(odd, odd + timedelta(days=2), chance.choice([0.2, 3.0])))
        self.site = website(
            "site-0", "alpha.com",
            plan=Plan(
                per_day=chance.choice([200, 900, 2400]), since=today - timedelta(days=50),
                surges=tuple(each for each in surges if chance.random() < 0.35), kinds=40,
            ),
        )  # fmt: skip
        self.switched: list[float] = []  # stopped, started, and so on
        self.holidays: frozenset[date] = frozenset()
        if chance.random() < 0.3:
            self.holidays = frozenset({today, odd} if chance.random() < 0.5 else {odd})
        for n in range(4):
            self.rules[f"r{n}"] = self._rule(f"r{n}")

    def _rule(self, name: str) -> dict[str, Any]:
        chance = self.chance
        test = chance.choice(
            [
                {"below_usual": chance.choice(["40%", "60%", "80%"])},
                {"above_usual": chance.choice(["150%", "200%", 300])},
                {"under": chance.choice([1, 5, 40])},
            ]
        )
        today = "under" in test and chance.random() < 0.5
        made: dict[str, Any] = {"summary": f"Rule {name}", "watch": "websites"}
        if today:
            over = {chance.choice(["over", "min"]): chance.choice([20, 150, 600])}
            made["when"] = {"recordings_today": over}
        else:
            made["over_last"] = chance.choice(["1h", "2h", "3h"])
            made["when"] = {"recordings": test}
        if chance.random() < 0.4:
            made["for"] = chance.choice(["20m", "50m"])
        return made | {"resolved": True, "do": {"slack": {"channel": f"#{name}"}}}

    def run(self) -> None:
        """Let it all happen."""
        self.runs(self.began, self._happen)

    async def _happen(self) -> None:
        chance = self.chance
        self.sim = Simulator(
            seed=7, sites=[self.site], quirks=Quirks(time_zone=self.zone),
            now=lambda: datetime.now(UTC),
        )  # fmt: skip
        self.app = self.sim.mouseflow_app
        self.prepare(
            self.zone,
            BOT_POLL__REPORTS=f"{POLL:.0f}s",
            BOT_POLL__RECORDINGS="1h",
            BOT_RULES__HOLIDAYS=",".join(each.isoformat() for each in sorted(self.holidays)),
        )
        await self.start()
        for _ in range(chance.randint(3, 5)):
            await exactly(chance.uniform(3600, 4 * 3600))
            match chance.choice(["lost", "lost", "lost", "back", "stop", "start", "restart"]):
                case "lost" | "back" as what:
                    # The script is lost on some pages or on all: nobody has switched anything.
                    share = chance.choice([0.0, 0.0, 30.0]) if what == "lost" else 100.0
                    self.site.rates.append((round(now() * 1000), share))
                case "stop" if len(self.switched) % 2 == 0:
                    self.sim.intervene("alpha.com", status="Stopped")
                    self.switched.append(now())
                case "start" if len(self.switched) % 2 == 1:
                    self.sim.intervene("alpha.com", status="Recording")
                    self.switched.append(now())
                case "restart":
                    await self.end(kill=chance.random() < 0.5)
                    await exactly(chance.choice([60, 3000, 9000]))
                    await self.start()
        await exactly(5 * 3600)
        await self.end(kill=False)
        self.kept.close()
        self.ended = now()
        self.polls = [
            call.at / 1000 for call in self.sim.calls
            if call.path == "/websites/site-0" and call.status == 200
        ]  # fmt: skip

    # the judge

    def wrongs(self) -> Iterator[str]:
        """All that was missed or said wrongly."""
        for name, rule in self.rules.items():
            said = [each for each in self.wall.said if each.channel == f"#{name}"]
            for text in self._wrongs(rule, said):
                yield f"traffic world {self.seed}: {name} {rule}: {text}"

    def _wrongs(self, rule: dict[str, Any], said: list[Said]) -> Iterator[str]:
        held = [(at, self.holds(rule, at)) for at in self.polls]
        need = figure(rule["for"]) or 0 if "for" in rule else 0
        before = False
        for each in said:
            fires = "Resolved" not in each.text.partition("\n")[0]
            if fires == before:
                yield f"twice the same {_line(each)}"
            before = fires
            seen = [holds for at, holds in held if each.at - 1.5 * POLL <= at <= each.at + 1]
            if seen and all(holds is (not fires) for holds in seen):
                yield f"{'false' if fires else 'too early'} {_line(each)}"
            if "usual" in str(rule["when"]) and fires and self.holiday(each.at):
                yield f"on a holiday {_line(each)}"
        for fires in (True, False):
            since: float | None = None
            wait = (need if fires else 0) + 3 * POLL
            for n, (at, holds) in enumerate(held):
                broken = n > 0 and at - held[n - 1][0] > 1.5 * POLL
                if holds is not fires or broken:
                    since = at if holds is fires else None
                since = at if since is None and holds is fires else since
                if since is not None and at - since >= wait:
                    last = [each for each in said if each.at <= at + SOON]
                    now_fires = bool(last) and "Resolved" not in last[-1].text.partition("\n")[0]
                    if now_fires is not fires:
                        word = "missed" if fires else "not ended"
                        yield f"{word} from {_time(since)} to {_time(at)}: {self.told(rule, at)}"
                        break

    def holds(self, rule: dict[str, Any], at: float) -> bool | None:
        """Whether the condition holds at that moment; None where the docs leave it open."""
        if "recordings_today" in rule["when"]:
            return self.today(rule["when"]["recordings_today"], at)
        ((name, bound),) = rule["when"]["recordings"].items()
        over = figure(rule["over_last"]) or 0
        made = self.figure(at, over)
        limit = float(figure(bound) or 0)
        if self.not_recorded(at - over - HALF_AN_HOUR, at):
            return None
        if name == "under":
            return True if made.high < limit else False if made.low >= limit else None
        usual = None if self.holiday(at) else self.usual(at, over)
        if usual is None:
            return None
        share = limit / 100
        if name == "below_usual":
            sure = made.high <= share * usual.low and _unlikely(made.high, usual.low)
            never = made.low > share * usual.high
        else:
            sure = made.low >= share * usual.high and _unlikely(usual.high, made.low)
            never = made.high < share * usual.low
        sure = sure and not (made.low <= usual.high and usual.low <= made.high)  # as usual
        return True if sure else False if never else None

    def today(self, test: dict[str, Any], at: float) -> bool | None:
        """Whether so many were made since midnight; open within a poll of it."""
        local = datetime.fromtimestamp(at, ZoneInfo(self.zone))
        begin = local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        if at - begin < 2 * BETWEEN:
            return None
        ((_, limit),) = test.items()
        low, high = self.made(begin, at - 60), self.made(begin, at + 60)
        return True if low > limit else False if high < limit else None

    def not_recorded(self, since: float, until: float) -> bool:
        """Whether the website was stopped at some time in between."""
        spans = zip(self.switched[::2], [*self.switched[1::2], self.ended], strict=False)
        return any(start < until and since < end for start, end in spans)

    def told(self, rule: dict[str, Any], at: float) -> str:
        over = figure(rule.get("over_last", "1h")) or 0
        return f"{self.figure(at, over)}, usually {self.usual(at, over)}"

    def usual(self, at: float, over: float) -> Range | None:
        """What both weeks in the middle of the last four have at the same time; no holidays."""
        weeks = [at - n * WEEK for n in range(1, 5)]
        if any(self.holiday(each) or self.holiday(each - over) for each in weeks):
            return None
        past = [self.figure(each, over) for each in weeks]
        return Range(sorted(it.low for it in past)[1], sorted(it.high for it in past)[2])

    def holiday(self, at: float) -> bool:
        return datetime.fromtimestamp(at, ZoneInfo(self.zone)).date() in self.holidays

    def figure(self, at: float, over: float) -> Range:
        """How many recordings were made in that time, as precisely as the bot may know it."""
        least, most = (
            self.made(at - over + BETWEEN, at - 60),
            self.made(at - over - BETWEEN, at + 60),
        )
        return Range(least, most)

    def made(self, since: float, until: float) -> int:
        low, high = round(since * 1000), round(until * 1000)
        user = self.sim.email
        search = timeline.Search(Query(), low, high, round(self.ended * 1000), user)
        found = timeline.find(self.site, search)
        return timeline.between(self.site, found, low, high)

    def counted(self) -> Counter[str]:
        """How much there was to judge."""
        sure = [self.holds(rule, at) for rule in self.rules.values() for at in self.polls]
        fired = sum("Resolved" not in each.text.partition("\n")[0] for each in self.wall.said)
        return Counter(sure=sum(it is not None for it in sure), open=sure.count(None), fired=fired)


def _unlikely(low: float, high: float) -> bool:
    """Whether chance hardly explains the difference of two counts."""
    return high - low >= 3 * math.sqrt(max(low, high))


def _line(said: Said) -> str:
    return f"at {_time(said.at)}: {said.text[:160]!r}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %H:%M:%S")
