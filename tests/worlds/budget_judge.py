"""Decides from the docs alone what a budget may and must do, and compares that with what it did.

A second reading of `docs/explanation/budgets.md`. How much is used is known within the time of a
poll; where the docs leave something open, such as soon after an edit, nothing is judged.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from budget_worlds import NAMES, POLL, BudgetHistory, Shop, Switch
from judge import figure
from world_history import Said, Wrong

LAG = 2 * POLL
"""What was recorded longer ago has been counted, if the bot ran."""

ENOUGH = 4 * POLL + 1200.0
"""What has called for something so long must be done: a count that jumps is confirmed first."""

EARLY = 0.98
"""A step that switches may act a little early."""

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Judge:
    """What the docs say of a world at any moment."""

    told: BudgetHistory

    # what was so

    def budget(self, at: float) -> dict[str, Any] | None:
        """The budget as its file has it."""
        times = [since for since, _ in self.told.edits]
        n = bisect_right(times, at)
        return self.told.edits[n - 1][1] if n else None

    def budgets(self, since: float, until: float) -> list[dict[str, Any] | None]:
        """All that the budget was in that time."""
        found = [each for at, each in self.told.edits if since < at <= until]
        return [self.budget(since), *found]

    def begins(self, budget: dict[str, Any], at: float) -> float:
        """When the budget's period began."""
        zone = ZoneInfo(self.told.zone)
        day = datetime.fromtimestamp(at, zone).date()
        if budget["period"] == "week":
            day -= timedelta(days=(day.isoweekday() - budget.get("starts_on", 1)) % 7)
        elif budget["period"] == "month":
            while day.day != budget.get("starts_on", 1):
                day -= timedelta(days=1)
        return midnight(day, zone)

    def used(self, budget: dict[str, Any], at: float) -> tuple[int, int]:
        """The least and the most that the bot can have counted."""
        begin = self.begins(budget, at)
        shops = [shop for shop in self.told.shops if shop.name in budget["websites"]]
        least = sum(shop.count(begin, at - LAG) for shop in shops)
        most = sum(shop.count(begin, at + 60) for shop in self.told.shops)
        return least, most

    def status(self, shop: Shop, at: float) -> str:
        """Whether it is recorded."""
        found = [it.what for it in shop.switches if it.at <= at and isinstance(it.what, str)]
        return str(found[-1]) if found else "Recording"

    def rate(self, shop: Shop, at: float) -> float:
        found = [it.what for it in shop.switches if it.at <= at and not isinstance(it.what, str)]
        return float(found[-1]) if found else 100.0

    def well(self, since: float, until: float) -> bool:
        """Whether the bot ran all that time."""
        return any(it.start <= since and until <= (it.end or 0) for it in self.told.well)

    def calm(self, shop: Shop, since: float, until: float) -> bool:
        """Whether the bot ran, nobody edited, nobody switched the website, and it is writable."""
        return (
            self.well(since, until)
            and not any(since < at <= until for at, _ in self.told.edits)
            and not any(it.who != "bot" and since < it.at <= until for it in shop.switches)
            and not self.read_only(shop, since, until)
        )

    def read_only(self, shop: Shop, since: float, until: float) -> bool:
        states = [state for at, state in shop.read_only if at <= since][-1:]
        return any(states) or any(since < at <= until for at, _ in shop.read_only)

    def people(self, shop: Shop, since: float, until: float, kind: type) -> bool:
        """Whether somebody else switched the website's status, or its rate."""
        return any(
            it.who != "bot" and since <= it.at <= until and isinstance(it.what, kind)
            for it in shop.switches
        )

    # what the budget calls for

    def calls(self, budget: dict[str, Any] | None, name: str, at: float) -> dict[str, Any]:
        """Steps that surely call for something (`sure`), and that perhaps do (`perhaps`)."""
        if budget is None or name not in budget["websites"]:
            return {"sure": {}, "perhaps": {}}
        least, most = self.used(budget, at)
        sure: dict[str, Any] = {}
        perhaps: dict[str, Any] = {}
        for share, does in budget["steps"].items():
            limit = budget["recordings"] * (figure(share) or 0) / 100
            switches = "recording" in does or "recording_rate" in does
            if least >= limit:
                sure[share] = does
            if most >= limit * (EARLY if switches else 1):
                perhaps[share] = does
        return {"sure": sure, "perhaps": perhaps}

    # what is wrong

    def wrongs(self) -> Iterator[tuple[str, str]]:
        for shop in self.told.shops:
            for it in shop.switches:
                if it.who == "bot":
                    yield from self.switched(shop, it)
            yield from self.undone(shop)
        yield from self.posts()
        yield from self.levels()
        yield from self.stopped()
        yield from self.weekly()

    def switched(self, shop: Shop, it: Switch) -> Iterator[tuple[str, str]]:
        """A switch by the bot has a reason."""
        text = f"{shop.name} set to {it.what} by the bot at {clock(it.at)}"
        around = self.budgets(it.at - LAG, it.at)
        perhaps = [self.calls(each, shop.name, it.at)["perhaps"].values() for each in around]
        steps = [step for found in perhaps for step in found]
        before = [each for each in shop.switches if each.at < it.at]
        if self.read_only(shop, it.at - 1, it.at) and self.read_only(shop, it.at - 60, it.at - 60):
            yield "false", f"{text}: it is read-only"
        if it.what == "Stopped":
            mine = any(step.get("recording") == "stop" for step in steps)
            if self.rule_stops(shop, it.at):
                return
            if not mine:
                yield "false", f"{text}: no step calls for that"
            begin = max(self.begins(each, it.at) for each in around if each) if any(around) else 0
            stops = [n for n, each in enumerate(before) if each.who == "bot"
                     and each.what == "Stopped" and each.at >= begin]  # fmt: skip
            later = before[stops[0] :] if stops else []
            started = [
                each.at for each in later if each.who == "person" and each.what == "Recording"
            ]
            if started and started[-1] < it.at - LAG and len({str(each) for each in around}) == 1:
                yield "false", f"{text}: a person had started it at {clock(started[-1])}"
        elif it.what == "Recording":
            last = [each for each in before if isinstance(each.what, str)][-1:]
            if not last or (last[0].who, last[0].what) != ("bot", "Stopped"):
                yield "false", f"{text}: the bot had not stopped it"
            elif not self.by_budget(shop, last[0].at):
                yield "false", f"{text}: a rule had stopped it at {clock(last[0].at)}"
            elif not any(each and each.get("resume") for each in around):
                yield "false", f"{text}: the budget has no resume"
            elif all(
                "stop" in [does.get("recording") for does in self.calls(each, shop.name, it.at)
                           ["sure"].values()] for each in around
            ):  # fmt: skip
                yield "false", f"{text}: the budget is used up"
        else:
            was = self.rate(shop, it.at - 0.001)
            wanted = {float(step["recording_rate"]) for step in steps if "recording_rate" in step}
            own = [each for each in before if each.who == "bot" and not isinstance(each.what, str)]
            if float(it.what) > was and not own:
                yield "false", f"{text}: the bot had not lowered {was:g} %"
            if float(it.what) < was and float(it.what) not in wanted:
                yield "false", f"{text}: no step calls for that"

    def undone(self, shop: Shop) -> Iterator[tuple[str, str]]:
        """What must be, is: checked at times that are calm enough."""
        at = self.told.well[0].start
        while (at := at + POLL) < self.told.end:
            budget, since = self.budget(at), at - ENOUGH
            if budget is None or shop.name not in budget["websites"]:
                continue
            if not self.calm(shop, since, at) or self.begins(budget, at) > since:
                continue
            begin = min(self.begins(budget, at), at - DAY)
            then = self.calls(budget, shop.name, since)
            sure = [*then["sure"].values()]
            status = self.status(shop, at)
            stops = any(step.get("recording") == "stop" for step in sure)
            if stops and status == "Recording" and not self.people(shop, begin, at, str):
                least, _ = self.used(budget, since)
                yield (
                    "missed",
                    (
                        f"{shop.name} still records at {clock(at)}: {least} of "
                        f"{budget['recordings']} were used at {clock(since)}"
                    ),
                )
                return
            rates = [float(step["recording_rate"]) for step in sure if "recording_rate" in step]
            rate = self.rate(shop, at)
            free = not any(self.people(shop, begin, at, kind) for kind in (str, float, int))
            if rates and status == "Recording" and rate > min(rates) and free:
                yield "missed", f"{shop.name} records {rate:g} % at {clock(at)}: {min(rates)} %"
                return
            yield from self.not_handed_back(shop, budget, at)

    def not_handed_back(
        self, shop: Shop, budget: dict[str, Any], at: float
    ) -> Iterator[tuple[str, str]]:
        """With `resume` the bot undoes what the budget no longer calls for."""
        last = [each for each in shop.switches if each.at <= at and isinstance(each.what, str)]
        if not last or (last[-1].who, last[-1].what) != ("bot", "Stopped"):
            return
        if self.rule_stops(shop, last[-1].at):
            return
        always = self.budgets(last[-1].at - LAG, at)
        if not all(
            each and each.get("resume") and shop.name in each["websites"] for each in always
        ):
            return
        if any(self.calls(budget, shop.name, when)["perhaps"] for when in (at - ENOUGH, at)):
            return
        if self.people(shop, last[-1].at, at, str):
            return
        yield "missed", f"{shop.name} is still stopped at {clock(at)}: nothing calls for that"

    def by_budget(self, shop: Shop, at: float) -> bool:
        """Whether a step may have stopped the website at that moment."""
        calls = [self.calls(each, shop.name, at) for each in self.budgets(at - LAG, at)]
        return any(
            step.get("recording") == "stop" for each in calls for step in each["perhaps"].values()
        )

    def rule_stops(self, shop: Shop, at: float) -> bool:
        """Whether the rule that stops websites may have stopped this one at that moment."""
        return self.today(shop, at)[1] if "r3" in self.told.rules else False

    def today(self, shop: Shop, at: float) -> tuple[bool, bool]:
        """Whether the rule that stops websites surely, or perhaps, calls for that."""
        most = self.told.rules["r3"][0].what["when"]["recordings_today"]["min"]
        zone = ZoneInfo(self.told.zone)
        begin = midnight(datetime.fromtimestamp(at, zone).date(), zone)
        return shop.count(begin, at - LAG) >= most, shop.count(begin, at + 60) >= most

    def stopped(self) -> Iterator[tuple[str, str]]:
        """The rule on `stopped_by` fires while a website is stopped by that one, not otherwise."""
        wanted = str(self.told.rules["r2"][0].what["when"]["stopped_by"])
        for shop in self.told.shops:
            said = [
                it for it in self.told.said
                if it.channel == "#r2" and first(it).endswith(f" · {shop.name}")
            ]  # fmt: skip
            for each in said:
                times = [each.at - 2 * POLL + 60 * n for n in range(int(POLL / 30) + 1)]
                if not any(self.by(shop, at, wanted) is not False for at in times) and (
                    "Resolved" not in first(each)
                ):
                    yield "false", f"{line(each)}: it is not stopped by {wanted}"
            at = self.told.well[0].start
            while (at := at + POLL) < self.told.end:
                since = at - 4 * POLL
                if not self.well(since, at):
                    continue
                so = {self.by(shop, when, wanted) for when in (since, at)}
                if any(since < it.at <= at for it in shop.switches) or len(so) > 1:
                    continue
                last = [it for it in said if it.at <= at][-1:]
                fires = bool(last) and "Resolved" not in first(last[0])
                if so == {not fires}:
                    yield "missed", f"r2 {fires=} for {shop.name} at {clock(at)}"
                    return

    def by(self, shop: Shop, at: float, wanted: str) -> bool | None:
        """Whether that one has stopped the website; None where it may be another."""
        last = [it for it in shop.switches if it.at <= at and isinstance(it.what, str)][-1:]
        if not last or last[0].what != "Stopped":
            return False
        who = wanted.partition(" ")[0]
        since = self.budgets(last[0].at, at)
        same = len({it.get("resume") for it in since if it}) == 1
        covered = all(it and shop.name in it["websites"] for it in since)
        if last[0].who == "bot" and not (same and covered):
            return None  # given up, and perhaps taken back
        if who in ("bot", "person") or last[0].who != "bot":
            return last[0].who == who
        both = self.rule_stops(shop, last[0].at), self.by_budget(shop, last[0].at)
        if all(both) or len(self.told.edits) > 1:
            return None
        return both[0] if who == "rule" else both[1]

    def posts(self) -> Iterator[tuple[str, str]]:
        """Each step is posted once a period, with a figure that is right and never falls."""
        seen: dict[tuple[float, int, str], float] = {}
        highest: dict[tuple[float, int], int] = {}
        for each in self.said():
            found = re.search(r"([0-9,]+) of ([0-9,]+)\)", first(each))
            budget = next((it for it in self.budgets(each.at - LAG, each.at)[::-1] if it), None)
            if not found or budget is None or each.channel != "#budget":
                continue
            number, limit = (int(text.replace(",", "")) for text in found.groups())
            begin = self.begins(budget, each.at)
            edits = sum(at <= each.at for at, _ in self.told.edits)
            steady = len({str(it) for it in self.budgets(each.at - LAG, each.at)}) == 1
            if not steady or each.at - begin < LAG:
                continue
            if limit != budget["recordings"]:
                yield "false", f"{line(each)}: the budget is {budget['recordings']}"
            low, high = self.used(budget, each.at - 1200)[0], self.used(budget, each.at)[1]
            if not low <= number <= high:
                yield "false", f"{line(each)}: {low} to {high} are used"
            if number < highest.get((begin, edits), 0):
                yield "false", f"{line(each)}: it was {highest[begin, edits]} before"
            highest[begin, edits] = number
            for share in re.findall(r"([0-9]+) % step", first(each)):
                key = (begin, edits, share)
                if key in seen:
                    yield "false", f"{line(each)}: posted before at {clock(seen[key])}"
                seen[key] = each.at
        yield from self.unposted()

    def unposted(self) -> Iterator[tuple[str, str]]:
        """A step whose share is used has a post in its period."""
        at = self.told.well[0].start
        while (at := at + POLL) < self.told.end:
            budget = self.budget(at)
            if budget is None or not all(
                self.calm(shop, at - ENOUGH, at) for shop in self.told.shops
            ):
                continue
            begin = self.begins(budget, at)
            if begin > at - ENOUGH:
                continue
            for name in budget["websites"][:1]:
                for share in self.calls(budget, name, at - ENOUGH)["sure"]:
                    text = f"{share.removesuffix('%')} % step"
                    posts = [it for it in self.said() if begin <= it.at <= at and text in it.text]
                    if not posts:
                        yield "missed", f"no post of the {text} until {clock(at)}"
                        return

    def levels(self) -> Iterator[tuple[str, str]]:
        """Rules on `budget_used` fire when it is so, and not before."""
        for name, (span, *_) in self.told.rules.items():
            ((field, test),) = span.what["when"].items()
            if field != "budget_used":
                continue
            ((_, bound),) = test.items()
            share = (figure(bound) or 0) / 100
            for each in (it for it in self.told.said if it.channel == f"#{name}"):
                around = [it for it in self.budgets(each.at - 2 * LAG, each.at) if it]
                if "Resolved" in first(each) or not around:
                    continue
                most = [self.used(it, each.at)[1] >= share * it["recordings"] for it in around]
                if not any(most) and each.at - self.begins(around[-1], each.at) > 2 * LAG:
                    yield "false", f"{line(each)}: it is less"
            yield from self.silent(name, share)

    def silent(self, name: str, share: float) -> Iterator[tuple[str, str]]:
        """What is so for long enough has been said, of each website."""
        for shop in self.told.shops:
            at = self.told.well[0].start
            said = [
                it for it in self.told.said
                if it.channel == f"#{name}" and first(it).endswith(f" · {shop.name}")
            ]  # fmt: skip
            while (at := at + POLL) < self.told.end:
                budget, since = self.budget(at), at - ENOUGH
                if budget is None or shop.name not in budget["websites"]:
                    continue
                if not self.well(since, at) or self.begins(budget, at) > since:
                    continue
                if any(since < moment <= at for moment, _ in self.told.edits):
                    continue
                last = [it for it in said if it.at <= at][-1:]
                fires = bool(last) and "Resolved" not in first(last[0])
                if self.used(budget, since)[0] > share * budget["recordings"] and not fires:
                    yield "missed", f"{name} does not fire for {shop.name} at {clock(at)}"
                    return

    def weekly(self) -> Iterator[tuple[str, str]]:
        """A report of the websites comes exactly once, at its time or when the bot is back."""
        due = self.due()
        ran = [
            max(due, span.start) for span in self.told.well
            if (span.end or self.told.end) > max(due, span.start) + 900
        ]  # fmt: skip
        reports = [each for each in self.told.said if each.channel == "#weekly"]
        for shop in self.told.shops:
            ours = [each for each in reports if shop.name in each.text]
            if len(ours) > 1:
                yield "false", f"{line(ours[1])}: the second report of a week"
            if ran and not ours:
                yield "missed", f"no report of {shop.name}, due at {clock(due)}"
            for each in ours:
                if each.at < due or (ran and each.at > ran[0] + 900):
                    yield "false", f"{line(each)}: it was due at {clock(due)}"
                yield from self.reported(each, due)

    def due(self) -> float:
        """When the report comes first."""
        zone, (day, clock_time) = ZoneInfo(self.told.zone), self.told.report.split()
        start = datetime.fromtimestamp(self.told.well[0].start, zone)
        at = datetime.combine(start.date(), time.fromisoformat(clock_time), zone)
        while at <= start or at.strftime("%a").lower() != day:
            at = datetime.combine(at.date() + timedelta(days=1), at.time(), zone)
        return at.timestamp()

    def reported(self, report: Said, due: float) -> Iterator[tuple[str, str]]:
        """It has the number of matches, and how much of the budget is used."""
        fired = sum(
            it.channel.startswith("#r") and it.at < due - 60 and "Resolved" not in first(it)
            and first(it).endswith(tuple(shop.name for shop in self.told.shops))
            for it in self.told.said
        )  # fmt: skip
        found = re.search("([0-9]+) match", first(report))
        if (int(found[1]) if found else 0) != fired and self.well(due - 60, due + 60):
            yield "false", f"{line(report)}: {fired} alerts fired"
        budget, told = self.budget(due), re.search(r"\(([0-9,]+) of", report.text)
        steady = len({str(it) for it in self.budgets(due - LAG, report.at)}) == 1
        same = budget and self.begins(budget, due - 1200) == self.begins(budget, report.at)
        if budget and told and steady and same and self.well(due - LAG, due):
            low, high = self.used(budget, due - 1200)[0], self.used(budget, report.at)[1]
            if not low <= int(told[1].replace(",", "")) <= high:
                yield "false", f"{line(report)}: {told[0]}, {low} to {high} are used"

    def said(self) -> list[Said]:
        return [each for each in self.told.said if each.channel == "#budget"]


def midnight(day: date, zone: ZoneInfo) -> float:
    return datetime.combine(day, time(), zone).timestamp()


def wrongs(told: BudgetHistory) -> Iterator[Wrong]:
    """All that was done or said wrongly in a world, or missed."""
    assert {shop.name for shop in told.shops} == set(NAMES)
    return (Wrong(kind, "budget", told.seed, text) for kind, text in Judge(told).wrongs())


def counted(told: BudgetHistory) -> Counter[str]:
    """How much there was to judge."""
    switches = [it for shop in told.shops for it in shop.switches]
    return Counter(
        switched=sum(it.who == "bot" for it in switches),
        people=sum(it.who == "person" for it in switches),
        edits=len(told.edits) - 1, posts=len(told.said),
    )  # fmt: skip


def first(said: Said) -> str:
    return said.text.partition("\n")[0]


def line(said: Said) -> str:
    return f"{first(said)!r} at {clock(said.at)}"


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %H:%M:%S")
