# ruff: noqa: E402
"""A quarter of a shop in minutes: what people read, and what it cost.

    nice python -m bench.quarter [--days 90] [--rules rules] [--folder DIR] [--write]

The whole daemon runs on a virtual clock beside the simulated account, with the packs of `rules/`.
It meets two sales, a holiday, clock change, an outage of the tag, masking switched off, an outage
of the API, a plan that runs out, a checkout that breaks slowly, a restart and a reload. Each
message about figures must be explained by what happened. `--write` puts the tables into
docs/explanation/a-quarter.md and payloads for its pictures into docs/images. Linux.
"""

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))

import virtual_world
from virtual_world import START, Prompt, World, virtually

from bench.report import memory, write
from bot import health, logs, reload
from bot.delivery import worker
from bot.delivery.dry_run import DryRunLog, DrySlack
from bot.ports import SlackPost
from bot.rules.files import load
from bot.store import open_store
from mouseflow.simulator import scenarios, timeline, traffic
from mouseflow.simulator.site import Site, website
from mouseflow.simulator.traffic import Day, Plan, Surge

IMAGES = ROOT / "docs" / "images"
ZONE = ZoneInfo("Europe/Copenhagen")
SHOP = "myshop.com"
SINCE = date(2026, 1, 1)

OUTLET = """
  outlet-weekly:
    summary: Weekly recordings of the outlet
    websites: [outlet.myshop.com]
    recordings: 1000
    period: week
    steps:
      90%: {slack: {channel: "#ops"}}
    pace: {min: 20, max: 100}                   # adjust the rate so that they last until Sunday
"""
MORNING = 'digest: "mon-fri 09:00"'
CHANGES = (
    # One website: its plan, its pages.
    (
        "budgets.yaml",
        "websites: [myshop.com, outlet.myshop.com]   # counted together",
        "websites: [myshop.com]",
    ),
    ("budgets.yaml", "recordings: 60000", "recordings: 23500"),
    ("budgets.yaml", OUTLET, ""),
    ("checkout.yaml", "/checkout/thanks", "/checkout/thank-you"),
    # A small shop: ten buy in eight hours.
    ("checkout.yaml", "within: 2h", "within: 8h"),
    ("checkout.yaml", "the checkout for two hours", "the checkout for eight hours"),
    ("checkout.yaml", "# with budgets.yaml beside it: not_while", "not_while"),
    # Its people read single sessions in the morning, except for the worst.
    ("checkout.yaml", "at_most: 10 per hour", "at_most: 5 per day"),
    ("checkout.yaml", "at_most: 5 per hour", "at_most: 2 per day"),
    ("checkout.yaml", "at_most: 3 per hour", "at_most: 3 per day"),
    ("errors.yaml", "at_most: 5 per hour", MORNING),
    ("navigation.toml", 'at_most = "10 per day"', 'digest = "mon-fri 09:00"'),
    ("navigation.toml", 'at_most = "5 per hour"', 'digest = "mon-fri 09:00"'),
    ("navigation.toml", 'at_most = "4 per day"', 'at_most = "1 per day"'),
    ("feedback.yaml", "new_responses: {min: 5}", "new_responses: {min: 25}"),
    ("feedback.yaml", "new_responses: 8}", "new_responses: 28}"),
    ("feedback.yaml", "text: 8 new", "text: 28 new"),
)
LATER = """
version: 1
rules:
  big-cart:
    summary: A big cart was left
    watch: recordings
    when: {variables: {cart-value: {min: 400}}}
    except: {saw_page: /checkout/thank-you}
    do: {slack: {channel: "#ux", digest: "mon 09:00"}}
"""


def local(text: str) -> datetime:
    """`2026-04-11 17:40` in the account's zone."""
    return datetime.fromisoformat(text).replace(tzinfo=ZONE)


@dataclass(frozen=True)
class Event:
    """What happened, and which rules may say so from `begin` until so long after `end`."""

    what: str
    begin: datetime
    end: datetime
    rules: tuple[str, ...] = ()
    after: timedelta = timedelta(hours=4)

    def explains(self, rule: str, at: datetime) -> bool:
        return rule in self.rules and self.begin <= at <= self.end + self.after


EVENTS = (
    Event("a sale, twice the visitors", local("2026-03-24 00:00"), local("2026-03-25 00:00")),
    Event("the clocks change", local("2026-03-29 00:00"), local("2026-03-30 00:00")),
    Event("Easter Monday, 40 % of the visitors", local("2026-04-06 00:00"),
          local("2026-04-07 00:00")),
    Event("the tag is gone on a Saturday night", local("2026-04-11 17:40"),
          local("2026-04-12 01:30"), ("fewer-than-usual", "silent", "nobody-buys")),
    Event("masking of IP addresses is off for a day", local("2026-04-16 10:05"),
          local("2026-04-17 10:05"), ("addresses-not-masked",)),
    Event("a sale, twice the visitors", local("2026-04-22 00:00"), local("2026-04-23 00:00")),
    Event("the API is down for two hours", local("2026-04-28 10:05"), local("2026-04-28 12:05"),
          ("ops",)),
    Event("spring sale, twice the visitors: the plan runs out", local("2026-05-01 00:00"),
          local("2026-05-15 00:00"), ("monthly-credits",)),
    Event("the checkout breaks slowly", local("2026-05-20 00:00"), local("2026-06-03 00:00"),
          ("checkout-conversion-drops", "nobody-buys", "form-left"), timedelta(days=7)),
)  # fmt: skip
TAG_GONE, MASK_OFF, API_DOWN = EVENTS[3], EVENTS[4], EVENTS[6]
BREAKS = EVENTS[8]
RELOAD, RESTART = local("2026-03-20 11:05"), local("2026-05-20 10:05")
HOLIDAY = date(2026, 4, 6)
SURGES = (
    Surge(date(2026, 3, 24), date(2026, 3, 25), 2),
    Surge(HOLIDAY, date(2026, 4, 7), 0.4),
    Surge(date(2026, 4, 22), date(2026, 4, 23), 2),
    Surge(date(2026, 5, 1), date(2026, 5, 12), 2),
)


def shop() -> Site:
    """The shop with its funnel, form and campaign."""
    plan = Plan(per_day=700, since=SINCE, surges=SURGES)
    domains = [SHOP, f"www.{SHOP}"]
    made = website("shop", SHOP, plan=plan, seed=3, disableKeystrokes=True, domains=domains)
    scenarios._add_reports(made)
    return made


@lru_cache(maxsize=64)
def arrivals(plan: Plan, seed: int, day: date) -> Day:
    """The arrivals of a day. While the checkout breaks, fewer of those who pay are thanked.

    They see errors in its last step and leave.
    """
    usual = traffic.arrivals(plan, seed, day)
    length = (BREAKS.end - BREAKS.begin).days
    passed = (day - BREAKS.begin.date()).days
    if not 0 <= passed < length:
        return usual
    pool, dice = traffic.pool(seed % 8, plan.kinds), random.Random(f"breaks {day}")
    buyers, stuck = set(), []
    for kind, final in enumerate(pool.finals):
        if "/checkout/thank-you" in final.paths:
            buyers.add(kind)
        elif "/checkout/pay" in final.paths:
            stuck.append((final.friction, kind))
    worst = [kind for _, kind in sorted(stuck, reverse=True)[: len(stuck) // 2]]
    fails = 0.75 * (passed + 1) / length
    kinds = (dice.choice(worst) if it in buyers and dice.random() < fails else it
             for it in usual.kinds)  # fmt: skip
    return Day(usual.starts, array("H", kinds), usual.draws)


class Reader(DrySlack, frozen=True):
    """Slack, as people read it: each post with its moment."""

    dry_run_log: DryRunLog = msgspec.field(default_factory=DryRunLog)
    read: list[tuple[datetime, SlackPost, bool]] = msgspec.field(default_factory=list)

    async def post(self, post: SlackPost) -> str:
        self.read.append((datetime.now(UTC), post, False))
        return f"{len(self.read)}.0"

    async def update(self, post: SlackPost, stamp: str) -> None:
        self.read.append((datetime.now(UTC), post, True))


class Lines(logging.Handler):
    """Counts the log's lines by level, and keeps those of warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: Counter[str] = Counter()
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.levels[record.levelname] += 1
        if record.levelno >= logging.WARNING:
            self.kept.append(f"{datetime.now(ZONE):%m-%d %H:%M} {record.getMessage()}")


def packs(folder: Path, source: Path) -> Path:
    """The rule files with `CHANGES`, in a folder of their own."""
    made = folder / "rules"
    made.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix in (".yaml", ".toml"):
            text = path.read_text(encoding="utf-8")
            for name, old, new in CHANGES:
                if path.name == name:
                    assert old in text, f"{name} no longer has {old!r}"
                    text = text.replace(old, new)
            (made / path.name).write_text(text, encoding="utf-8")
    return made


class Quarter:
    """The daemon and the account, and what is measured meanwhile."""

    def __init__(self, folder: Path, source: Path, days: int, every: str) -> None:
        self.url = f"sqlite:///{folder}/bot.db"
        self.folder, self.days = folder, days
        self.rules = packs(folder, source)
        self.world = World(
            folder, "version: 1\n", 0, store=open_store(self.url),
            BOT_RULES__PATHS=str(self.rules), BOT_RULES__HOLIDAYS=str(HOLIDAY),
            BOT_POLL__RECORDINGS=every, BOT_POLL__FEEDBACK=every, BOT_POLL__REPORTS=every,
            BOT_MOUSEFLOW__REQUESTS_PER_SECOND="20",
        )  # fmt: skip
        self.site = shop()
        now = partial(datetime.now, UTC)
        self.world.sim = virtual_world.Simulator(seed=7, sites=[self.site], now=now)
        self.world.slack = self.slack = Reader()
        self.calls: list[int] = []
        self.memory: dict[int, float] = {}
        self.size: dict[int, float] = {}
        self.saved = 0
        self.timing = replace(worker.DEFAULT_TIMING, idle=timedelta(minutes=5))

    def doings(self) -> Iterator[tuple[datetime, str]]:
        """What happens by hand, in order."""
        yield RELOAD, "reload"
        yield TAG_GONE.begin, "tag gone"
        yield TAG_GONE.end, "tag back"
        yield MASK_OFF.begin, "mask off"
        yield MASK_OFF.end, "mask on"
        yield API_DOWN.begin, "api down"
        yield API_DOWN.end, "api up"
        yield RESTART, "restart"

    def do(self, what: str) -> None:
        sim, now = self.world.sim, round(time.time() * 1000)
        match what:
            case "reload":
                (self.rules / "later.yaml").write_text(LATER, encoding="utf-8")
                self.world.reload.set()
            case "tag gone" | "tag back":
                rate = self.site.recorded if what == "tag back" else 0.0
                self.site.rates.append((now, rate))
            case "mask off" | "mask on":
                sim.intervene(SHOP, anonymizeIps=what == "mask on")
            case "api down":
                sim.fail("status", status=503, times=10**9)
            case "api up":
                sim.faults.clear()

    async def passes(self) -> None:
        """All days, with a restart."""
        end = START + timedelta(days=self.days)
        doings = [*self.doings(), (end, "end")]
        days = [(START + timedelta(days=n + 1), "day") for n in range(self.days)]
        running = sorted([it for it in doings if it[0] <= end] + days)
        while running:
            async with self.world.daemon(timing=self.timing):
                while running:
                    at, what = running.pop(0)
                    await asyncio.sleep(max(0.0, at.timestamp() - time.time()))
                    if what == "day":
                        self.ends(len(self.calls) + 1)
                    elif what == "restart":
                        break
                    else:
                        self.do(what)
            if running:
                self.world.store.close()
                self.world.store = Prompt(open_store(self.url))
                await asyncio.sleep(20)

    def ends(self, day: int) -> None:
        """Note what the day cost."""
        calls = self.world.sim.calls
        self.calls.append(len(calls))
        calls.clear()
        self.memory[day] = memory()
        with (self.folder / "messages.jsonl").open("a", encoding="utf-8") as out:
            for at, post, edit in self.slack.read[self.saved :]:
                row = {
                    "at": at.astimezone(ZONE).isoformat(),
                    "edit": edit,
                    "thread": post.thread,
                    "channel": post.channel,
                    "text": post.text,
                    "blocks": post.blocks,
                }
                print(json.dumps(row, ensure_ascii=False, default=dict), file=out)
        self.saved = len(self.slack.read)
        self.size[day] = sum(it.stat().st_size for it in self.folder.glob("bot.db*")) / 2**20
        print(f"day {day}: {self.calls[-1]} calls, {self.memory[day]:.0f} MB, "
              f"{len(self.slack.read)} messages, {time.process_time():.0f} s of CPU",
              file=sys.stderr, flush=True)  # fmt: skip


def seldom() -> None:
    """Look at files, queue and heartbeat every few minutes: nothing here needs it sooner."""
    reload.CHECK_FILES = health.BEAT = worker.TEND = timedelta(minutes=5)


def run(folder: Path, source: Path, days: int, every: str) -> None:
    """Let the days pass; messages and figures go into the folder."""
    seldom()
    timeline.arrivals = arrivals
    lines = Lines()
    logs.configure("json", "info", stream=(folder / "log.jsonl").open("w"))
    logging.getLogger().addHandler(lines)
    quarter = Quarter(folder, source, days, every)
    virtually(quarter.passes)
    figures = {"calls": quarter.calls, "memory": quarter.memory, "size": quarter.size,
               "lines": lines.levels, "kept": lines.kept}  # fmt: skip
    (folder / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


SESSIONS, PLANNED = "single sessions", "the plan, or a report by schedule"
OPS, FALSE = "the bot itself", "**nothing**"
PICTURES = {
    "tag": "fewer-than-usual",
    "masking": "addresses-not-masked",
    "checkout": "checkout-conversion-drops",
}
"""Pictures of the first message of a rule."""


@dataclass(frozen=True)
class Message:
    """What people read, which rule or budget says it, and what explains it."""

    at: datetime
    channel: str
    text: str
    rule: str
    edit: bool
    cause: str
    payload: dict[str, object]


def kinds(rules: Path) -> dict[str, tuple[str, str]]:
    """What each rule and budget is about, and its summary."""
    found = load.read([(it.name, it.read_bytes()) for it in sorted(rules.iterdir())])
    about = {it.id: (it.watch if it.too_few is None else "figures", it.summary)
             for it in found.rules}  # fmt: skip
    return about | {it.id: ("budget", it.summary) for it in found.budgets}


def messages(folder: Path) -> list[Message]:
    """The messages in order."""
    about, made = kinds(folder / "rules"), []
    for line in (folder / "messages.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        at = datetime.fromisoformat(row["at"])
        last = row["blocks"][-1] if row["blocks"] else {}
        grey = " ".join(it.get("text", "") for it in last.get("elements", ()))
        says = (it for it, (_, summary) in about.items() if it in grey or summary in row["text"])
        rule = max(says, key=len, default="")
        text = row["text"].split("<")[0].split(" · ")[0]
        cause = _cause(rule, about.get(rule, ("", ""))[0], at, row["channel"])
        made.append(Message(at, row["channel"], text, rule, row["edit"], cause, row))
    return made


def _cause(rule: str, kind: str, at: datetime, channel: str) -> str:
    if kind in ("recordings", "feedback"):
        return SESSIONS
    for event in EVENTS:
        if event.explains(rule or ("ops" if channel == "#ops" else ""), at):
            return event.what
    if kind == "budget" or (not rule and channel != "#ops"):
        return PLANNED
    return FALSE if rule else OPS


def story(folder: Path) -> str:
    """The messages about figures, budgets and the bot itself, in order."""
    lines = ["| when | channel | message | because |", "|---|---|---|---|"]
    lines += [
        f"| {it.at:%a %d %b %H:%M} | {it.channel} | {it.text} | {it.cause} |"
        for it in messages(folder)
        if it.cause != SESSIONS and not it.edit
    ]
    return "\n".join(lines) + "\n"


def delays(folder: Path) -> str:
    """How long after each event the first message about it came."""
    lines = ["| event | from | first message after |", "|---|---|---|"]
    told = [it for it in messages(folder) if not it.edit]
    for event in EVENTS:
        first = next((it for it in told if it.cause == event.what), None)
        after = "nothing to tell" if not event.rules else "none"
        if first:
            hours = (first.at - event.begin) / timedelta(hours=1)
            after = f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
        lines.append(f"| {event.what} | {event.begin:%a %d %b %H:%M} | {after} |")
    return "\n".join(lines) + "\n"


def cost(folder: Path) -> str:
    """Messages a week, calls a day, memory, store and log."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    told = [it for it in messages(folder) if not it.edit]
    calls, weeks = figures["calls"], len(figures["calls"]) / 7
    by = Counter(SESSIONS if it.cause == SESSIONS else it.cause for it in told)
    rows = {
        "messages a week: single sessions, digests of them, new answers": by[SESSIONS] / weeks,
        "messages a week: all others": (len(told) - by[SESSIONS]) / weeks,
        "messages without a cause, in all": by[FALSE],
        "calls a day: median": sorted(calls)[len(calls) // 2],
        "calls a day: most": max(calls),
        **{f"{what}, day {day}": f"{figures[key][day]:.0f} MB"
           for what, key in (("memory with the simulator", "memory"), ("store", "size"))
           for day in ("1", "30", "90") if day in figures[key]},
        "log lines a day": sum(figures["lines"].values()) / len(calls),
        "of them warnings and errors, in all": len(figures["kept"]),
    }  # fmt: skip
    lines = ["| figure | |", "|---|---:|"]
    lines += [f"| {name} | {it if isinstance(it, str) else format(it, ',.0f')} |"
              for name, it in rows.items()]  # fmt: skip
    return "\n".join(lines) + "\n"


TABLES = {"story": story, "delays": delays, "cost": cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--every", default="15m", help="the poll interval")
    parser.add_argument("--rules", type=Path, default=ROOT / "rules")
    parser.add_argument("--folder", type=Path, help="keep the messages, the log and the store here")
    parser.add_argument("--read", action="store_true", help="only read what is in the folder")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    if not args.read:
        folder.mkdir(exist_ok=True)
        run(folder, args.rules, args.days, args.every)
    for name, table in TABLES.items():
        made = table(folder)
        print(made)
        if args.write:
            write(name, made, "a-quarter.md")
    if args.write:
        for name, rule in PICTURES.items():
            first = next(it.payload for it in messages(folder) if it.rule == rule)
            shown = {"text": first["text"], "blocks": first["blocks"]}
            (IMAGES / f"quarter-{name}.json").write_text(
                json.dumps(shown, ensure_ascii=False) + "\n", encoding="utf-8"
            )


if __name__ == "__main__":
    main()
