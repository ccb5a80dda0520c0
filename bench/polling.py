"""What polling costs: calls and bytes against the naive way and against the least possible.

    python -m bench.polling --write                 # the table of docs/explanation/performance.md
    python -m bench.polling --late                  # the table of what late knowledge costs
    python -m bench.polling --sites 50 --hours 24   # one run of any size

A simulated account without sockets, on a clock that jumps from poll to poll. Every recording
is judged by an omniscient judge too: no match may be missing, none may come twice.

Two other ways run beside it and send as early. *Details* asks no filter for tags and pages and
reads a detail instead; *filtered lists* always asks where that can decide. *Judged once* is
counted by the judge: nothing is asked of a session before it is over, and then what is fewer
calls. *Naive* is one list a poll and one detail for each recording.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import httpx
from msgspec import structs

from bench.report import bars, write
from bot.domain.subjects import Band, RecordingSubject, Site
from bot.polling.context import PollContext
from bot.polling.list_answers import ListAnswers
from bot.polling.list_filters import askable, is_answered
from bot.polling.live_sessions import LiveSessions
from bot.polling.record_matches import Routing
from bot.polling.recordings import poll
from bot.polling.server_facts import IMPOSSIBLE_FRICTION, PollFacts, Question
from bot.polling.session import merge
from bot.polling.site_rules import SiteRules
from bot.rules.evaluate import rule_answer
from bot.rules.files.load import read
from bot.rules.index import RuleIndex
from bot.rules.model import Rule
from bot.store import open_store
from bot.store.matches import matches_of
from mouseflow import recordings
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import shops
from mouseflow.simulator.server import Simulator

DAY = datetime(2026, 3, 10, tzinfo=UTC)
SETTLE = timedelta(minutes=35)
ZONE = "Europe/Copenhagen"

RULES = """
version: 1
rules:
  friction-checkout: {watch: recordings, when: {friction: {min: 2.5}, saw_page: /checkout*, duration: {over: 60s}}, do: {tag: r1}}
  friction-high: {watch: recordings, when: {friction: {min: 10}}, do: {tag: r2}}
  friction-cart: {watch: recordings, when: {friction: {min: 5}, saw_page: /cart*}, do: {tag: r3}}
  regulars: {watch: recordings, when: {visitor_type: returning, friction: {min: 5}}, do: {tag: r4}}
  phone-bounce: {watch: recordings, when: {device: phone, pages: {max: 1}, duration: {under: 10s}, entry_page: /landing*}, do: {tag: r5}}
  search-bounce: {watch: recordings, when: {referrer_type: searchengines, pages: {max: 1}, duration: {under: 10s}}, do: {tag: r6}}
  full-cart: {watch: recordings, when: {variables: {cart-value: {min: 300}}, duration: {over: 3m}}, do: {tag: r7}}
  long-visit: {watch: recordings, when: {duration: {over: 10m}}, do: {tag: r8}}
  pay-phone: {watch: recordings, when: {device: phone, saw_page: /checkout/pay}, do: {tag: r9}}
  danish-phones: {watch: recordings, when: {country: dk, device: phone, duration: {over: 4m}}, do: {tag: r10}}
  rage-product: {watch: recordings, when: {page: {path: /product*, tags: click-rage}}, do: {tag: r11}}
  lost: {watch: recordings, when: {tags: "404"}, do: {tag: r12}}
  js-errors: {watch: recordings, when: {tags: click-error, duration: {over: 60s}}, do: {tag: r13}}
  failed-submit: {watch: recordings, when: {tags: submit-failure, variables: {cart-value: {min: 100}}}, do: {tag: r14}}
  cart-left: {watch: recordings, when: {pages: {min: 3}, saw_page: /cart, not: {saw_page: /checkout}}, do: {tag: r15}}
  social-landing: {watch: recordings, when: {referrer_type: social, entry_page: /landing*, duration: {over: 2m}}, do: {tag: r16}}
  way: {watch: recordings, when: {journey: [/cart, /checkout, /checkout/pay], country: dk}, do: {tag: r17}}
  tablets: {watch: recordings, when: {device: tablet, friction: {min: 2.5}}, do: {tag: r18}}
  calm-buyers: {watch: recordings, when: {variables: {cart-value: {min: 200}}, friction: {under: 1}, pages: {min: 8}}, do: {tag: r19}}
  new-search: {watch: recordings, when: {saw_page: /search, visitor_type: first}, do: {tag: r20}}
"""  # noqa: E501


@dataclass
class Counting:
    """Sends to the simulator's application and counts, each poll's facts by their names."""

    sim: Simulator
    calls: Counter[str] = field(default_factory=Counter)
    read: int = 0
    facts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.http = httpx.AsyncClient(
            transport=InProcess(self.sim.mouseflow_app),
            base_url="http://127.0.0.1",
            auth=(self.sim.email, self.sim.api_key),
            headers={"Accept": "application/json"},
        )

    async def send(self, request):
        answer = await self.http.request(request.method, request.target, content=request.body)
        answer.raise_for_status()
        self.read += len(answer.content)
        kind = _kind(request)
        self.calls[kind] += 1
        if kind == "fact":
            self.facts |= {f"{k}={v}" for k, v in request.query if k in _SERVERS}
        return request.read(answer.content)


_SERVERS = ("frictionmin", "visitortype")


def _kind(request) -> str:
    if request.route.endswith("{recording-id}"):
        return "detail"
    asked = {*_SERVERS, "tags", "funnel"} & {name for name, _ in request.query}
    return "fact" if asked else "list"


Way = Literal["ours", "details", "filtered lists"]


@contextmanager
def forced(way: Way) -> Iterator[None]:
    """Asks no filter for tags and pages, or always."""
    told, price = ListAnswers._told_by_filters, PollFacts.calls_for

    async def nothing(_self, _subjects, _wanted):
        return {}

    match way:
        case "details":
            ListAnswers._told_by_filters = nothing
        case "filtered lists":
            PollFacts.calls_for = lambda _self, _question: 0
        case "ours":
            pass
    try:
        yield
    finally:
        ListAnswers._told_by_filters, PollFacts.calls_for = told, price


@dataclass(frozen=True)
class Run:
    """What is measured: so many websites, hours, seconds between polls."""

    sites: int
    per_day: int
    hours: float
    every: int
    expand: bool
    rules: str = RULES
    marks: timedelta = timedelta(hours=24)
    way: Way = "ours"


@dataclass
class Cost:
    """What a run has cost, and what it would have cost otherwise."""

    run: Run
    calls: Counter[str]
    read: int
    once: int = 0
    naive: int = 0
    rows: int = 0
    matches: int = 0

    @property
    def mine(self) -> int:
        return sum(self.calls.values())

    def said(self) -> str:
        run = self.run
        return (
            f"{run.sites} websites, {run.per_day} recordings a day each, {run.hours:g} h, a poll "
            f"each {run.every} s, {'expanded lists' if run.expand else 'no expanded lists'}: "
            f"{self.rows} recordings, {self.matches} matches, none missing, none too many\n"
            f"  calls: {self.mine} ({dict(self.calls)}), {self.read / 1e6:.0f} MB\n"
            f"  judged once, after the session: {self.once}; naive: {self.naive}"
        )


async def measure(run: Run) -> Cost:
    """One run; the judge looks at it unless a way is forced."""
    with forced(run.way):
        return await _measure(run)


async def _measure(run: Run) -> Cost:
    now = DAY + timedelta(hours=8)
    pretend = shops(run.sites, per_day=run.per_day, since=DAY.date() - timedelta(days=3))
    sim = Simulator(sites=pretend, quirks=Quirks(expand=run.expand), now=lambda: now)
    rules = read([("bench.yaml", run.rules.encode())]).rules
    sender = Counting(sim)
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/b.db") as store:
        context = PollContext(sender, store, ZoneInfo(ZONE), SETTLE, timedelta(),
                    Routing("", ZONE), marks=run.marks)  # fmt: skip
        watched = [Site(id=site.id, name=site.settings["name"]) for site in pretend]
        live = {site.id: LiveSessions() for site in watched}
        prepared = {site.id: SiteRules(rules, site) for site in watched}
        for site in watched:
            live[site.id] = (await poll(site, prepared[site.id], context, live[site.id], now)).live
        since = now
        sender.calls.clear()
        sender.read = 0
        lists = facts = 0
        polls = [run.every] * round(run.hours * 3600 / run.every)
        ending = timedelta(minutes=40).total_seconds()
        moments = []
        for step in [*polls, ending]:
            if step == ending:
                end = now
            now += timedelta(seconds=step)
            moments.append(now)
            for site in watched:
                sender.facts.clear()
                live[site.id] = (
                    await poll(site, prepared[site.id], context, live[site.id], now)
                ).live
                lists += 1
                facts += len(sender.facts - {f"frictionmin={IMPOSSIBLE_FRICTION:.0f}"})
        found = {
            (match.rule, match.website, match.subject_key)
            for match in store.do(lambda conn: matches_of(conn, limit=10_000_000))
        }
        if run.way != "ours":
            return Cost(run, sender.calls, sender.read)
        truth = await _truth(sim, watched, rules, since, end, moments)
    found = {each for each in found if each[2] in truth.ids}
    if truth.matches != found:
        for rule, _site, key in sorted(truth.matches ^ found)[:10]:
            print("differs:", rule, key)
        missing, beyond = len(truth.matches - found), len(found - truth.matches)
        sys.exit(f"matches missing {missing}, beyond the truth {beyond}")
    once = min(truth.in_doubt, len(truth.questions) + truth.not_told)
    return Cost(run, sender.calls, sender.read, lists + facts + once, lists + truth.active,
                len(truth.ids), len(found))  # fmt: skip


@dataclass
class Truth:
    """What a judge knows of a run who sees everything.

    `ids` and `matches` are of recordings whose whole activity lies within the measured time, the
    counts of all that were active in it: how many there are, how many depend on their tags or
    pages, and how many of those do so though filters have told of tags and pages. `questions` has
    the filtered lists for the others, with the poll that asks.
    """

    ids: set[str] = field(default_factory=set)
    matches: set[tuple[str, str, str]] = field(default_factory=set)
    questions: set[tuple[str, int, Question]] = field(default_factory=set)
    active: int = 0
    in_doubt: int = 0
    not_told: int = 0


async def _truth(sim, watched, rules: Sequence[Rule], since, end, moments) -> Truth:
    sim.world.quirks = replace(sim.world.quirks, row_cap=10_000_000)
    asking = Counting(sim)
    truth = Truth()
    group = RuleIndex(rules)
    for site in watched:
        prepared = SiteRules(rules, site)
        page = await asking.send(recordings.list(site.id, limit=1_000_000, filters=None))
        for row in page.recordings:
            if row.last_activity is None or row.last_activity < since:
                continue
            seen = sim.world.inspect(row.id)[2]
            detail = await asking.send(recordings.detail(site.id, row.id))
            bare = RecordingSubject(
                website=site,
                recording=row,
                zone=ZONE,
                friction=Band.exactly(seen.friction),
                visitor_type="returning" if seen.script.visitor.returning else "first",
            )
            whole = structs.replace(bare, recording=merge(row, detail))

            def is_open(rule, told, bare=bare, prepared=prepared) -> bool:
                return prepared.verdict_told(rule, bare, told, stale=False) is None

            truth.active += 1
            doubtful = [rule for rule in group.open(bare) if is_open(rule, {})]
            asked = {question for rule in doubtful for question in askable(rule)}
            told = {question: is_answered(question, whole) for question in asked}
            truth.in_doubt += bool(doubtful)
            if any(is_open(rule, told) for rule in doubtful):
                truth.not_told += 1
            else:
                at = min(bisect_left(moments, row.last_activity + SETTLE), len(moments) - 1)
                truth.questions |= {(site.id, at, question) for question in asked}
            if row.last_activity < end:  # else the last poll saw it, but not its end
                truth.ids.add(row.id)
                matches = (rule.id for rule in rules if rule_answer(rule, whole))
                truth.matches |= {(rule, site.id, row.id) for rule in matches}
    return truth


HOURS = {2_000: 24, 20_000: 6}
"""How long each run of the matrix is, by recordings a day."""


def _matrix() -> str:
    """Calls of one website by recordings a day, poll interval and expanded lists."""
    lines = [
        "One website, from 8:00 on; in every run the matches were those of the judge.",
        "",
        "| recordings a day, hours | a poll every | expanded lists | lists + facts + details "
        "| calls | by details alone | by filtered lists where they can | against the better "
        "(goal ≤ 1.2) | judged once | naive |",
        "|---:|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for per_day, every, expand in product(HOURS, (60, 300, 900), (True, False)):
        run = Run(1, per_day, HOURS[per_day], every, expand)
        ours, details, filtered = (
            asyncio.run(measure(replace(run, way=way))) for way in get_args(Way)
        )
        calls = " + ".join(f"{ours.calls[kind]:,}" for kind in ("list", "fact", "detail"))
        better = min(details.mine, filtered.mine)
        lines.append(
            f"| {per_day:,}, {run.hours} h | {every // 60} min | {'yes' if expand else 'no'} "
            f"| {calls} | {ours.mine:,} | {details.mine:,} | {filtered.mine:,} "
            f"| {ours.mine / better:.2f}× | {ours.once:,} | {ours.naive:,} |"
        )
        print(lines[-1], flush=True)
        chart = {"ours": ours.mine, "by details alone": details.mine,
                 "by filtered lists": filtered.mine, "naive": ours.naive}  # fmt: skip
    return "\n".join([*lines, "", "Calls in the last row:", "", bars(chart, "calls")])


_LATE = {
    "nothing late: `device: phone`": "{device: phone}",
    "friction": "{friction: {min: 2.5}}",
    "a star": "{starred: true}",
    "a variable": "{variables: {plan: pro}}",
}


def _late(per_day: int) -> str:
    """A day's calls by what a rule reads that may become known late."""
    lines = [
        f"One website, {per_day:,} recordings a day, 24 hours, no expanded lists.",
        "",
        "| a rule reads | a poll every 5 min: lists + facts + details | a poll every 15 min |",
        "|---|---:|---:|",
    ]
    for name, when in _LATE.items():
        rule = f"{{watch: recordings, when: {when}, do: {{watched: true}}}}"
        text = f"{{version: 1, rules: {{one: {rule}}}}}"
        runs = [Run(1, per_day, 24, every, False, rules=text) for every in (300, 900)]
        costs = [asyncio.run(measure(run)).calls for run in runs]
        cells = (" + ".join(f"{it[kind]:,}" for kind in ("list", "fact", "detail")) for it in costs)
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=1)
    parser.add_argument("--per-day", type=int, default=20_000)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--every", type=int, default=60, help="seconds between polls")
    parser.add_argument("--no-expand", action="store_true", help="a server that does not expand")
    parser.add_argument(
        "--write", action="store_true", help="the table of docs/explanation/performance.md"
    )
    parser.add_argument("--late", action="store_true", help="write what late knowledge costs")
    args = parser.parse_args()
    if args.late:
        write("late", _late(per_day=500))
        return
    if args.write:
        write("polling", _matrix())
        return
    started = time.perf_counter()
    run = Run(args.sites, args.per_day, args.hours, args.every, not args.no_expand)
    print(asyncio.run(measure(run)).said())
    print(f"  took {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
