"""What polling costs: calls and bytes against the naive way and against the least possible.

    python -m bench.polling --write                 # the table of docs/explanation/performance.md
    python -m bench.polling --late                  # the table of what late knowledge costs
    python -m bench.polling --pages --no-expand     # rules about single pages
    python -m bench.polling --sites 50 --hours 24   # one run of any size

A simulated account without sockets, on a clock that jumps from poll to poll. Every recording
is judged by an omniscient judge too: no match may be missing, none may come twice.

*Least* is what the documented API allows: one list a poll, one call for each fact that was asked
in it (friction thresholds, visitor type) and for each tag that a rule names, and one detail
for each recording of which some rule depends on its pages even then. *Naive* is one list a
poll and one detail for each recording; *prompt* the same with a detail whenever a row is new or
has changed, which is what it takes to see pages as soon as we do.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.polling.list_filters import askable
from bot.polling.live_sessions import LiveSessions
from bot.polling.record_matches import Routing
from bot.polling.recordings import PollContext, poll
from bot.polling.server_facts import IMPOSSIBLE_FRICTION, Narrowing, Question
from bot.polling.session import fingerprint, merge
from bot.polling.site_rules import SiteRules
from bot.rules.evaluate import rule_answer
from bot.rules.files.load import read
from bot.rules.index import RuleIndex
from bot.rules.model import Rule
from bot.store import open_store
from bot.store.matches import matches_of
from mouseflow import recordings
from mouseflow.models import RecordingPage
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import shops
from mouseflow.simulator.server import Simulator

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "performance.md"

DAY = datetime(2026, 3, 10, tzinfo=UTC)
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
  many-pages: {watch: recordings, when: {pages: {min: 9}}, do: {tag: r9}}
  danish-phones: {watch: recordings, when: {country: dk, device: phone, duration: {over: 4m}}, do: {tag: r10}}
  rage-product: {watch: recordings, when: {page: {path: /product*, tags: click-rage}}, do: {tag: r11}}
  lost: {watch: recordings, when: {tags: "404"}, do: {tag: r12}}
  js-errors: {watch: recordings, when: {tags: click-error, duration: {over: 60s}}, do: {tag: r13}}
  failed-submit: {watch: recordings, when: {tags: submit-failure, variables: {cart-value: {min: 100}}}, do: {tag: r14}}
  old-browsers: {watch: recordings, when: {browser: ie}, do: {tag: r15}}
  social-landing: {watch: recordings, when: {referrer_type: social, entry_page: /landing*, duration: {over: 2m}}, do: {tag: r16}}
  night-owls: {watch: recordings, when: {hour: {under: 5}, pages: {min: 6}}, do: {tag: r17}}
  tablets: {watch: recordings, when: {device: tablet, friction: {min: 2.5}}, do: {tag: r18}}
  calm-buyers: {watch: recordings, when: {variables: {cart-value: {min: 200}}, friction: {under: 1}, pages: {min: 8}}, do: {tag: r19}}
  swedes: {watch: recordings, when: {country: [se, no], pages: {min: 7}}, do: {tag: r20}}
"""  # noqa: E501


PAGES = """
version: 1
rules:
  pay-phone: {watch: recordings, when: {device: phone, saw_page: /checkout/pay}, do: {tag: r1}}
  cart-lost: {watch: recordings, when: {pages: {min: 3}, saw_page: /cart, not: {saw_page: /checkout}}, do: {tag: r2}}
  way: {watch: recordings, when: {journey: [/cart, /checkout, /checkout/pay], country: dk}, do: {tag: r3}}
  cart-rage: {watch: recordings, when: {page: {path: /cart, tags: click-rage}}, do: {tag: r4}}
  new-search: {watch: recordings, when: {saw_page: /search, visitor_type: first}, do: {tag: r5}}
"""  # noqa: E501
"""Rules about single pages, without wildcards."""


@dataclass
class Counting:
    """Sends to the simulator's application and counts, each poll's facts by their names."""

    sim: Simulator
    calls: Counter[str] = field(default_factory=Counter)
    read: int = 0
    changed: int = 0
    facts: set[str] = field(default_factory=set)
    since: datetime = DAY
    _rows: dict[str, str] = field(default_factory=dict)

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
        asked = request.read(answer.content)
        if kind == "list" and isinstance(asked, RecordingPage):
            now = {
                row.id: fingerprint(row)
                for row in asked.recordings
                if row.last_activity and row.last_activity >= self.since
            }
            self.changed += sum(self._rows.get(key) != print_ for key, print_ in now.items())
            self._rows |= now
        if kind == "fact":
            self.facts |= {f"{k}={v}" for k, v in request.query if k in _SERVERS}
        return asked

    def begin(self, since: datetime) -> None:
        """Forget what was counted so far, but not which rows were seen."""
        self.since = since
        self.calls.clear()
        self.read = self.changed = 0


_SERVERS = ("frictionmin", "visitortype")


def _kind(request) -> str:
    if request.route.endswith("{recording-id}"):
        return "detail"
    asked = {*_SERVERS, "tags", "funnel"} & {name for name, _ in request.query}
    return "fact" if asked else "list"


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


@dataclass
class Cost:
    """What a run has cost, and what it would have cost otherwise."""

    run: Run
    calls: Counter[str]
    read: int
    least: int
    naive: int
    prompt: int
    rows: int
    matches: int

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
            f"  least possible {self.least}: {self.mine / self.least:.2f} times (goal 1.2)\n"
            f"  naive {self.naive}: {self.naive / self.mine:.1f} times fewer (goal 20)\n"
            f"  prompt {self.prompt}: {self.prompt / self.mine:.1f} times fewer"
        )

    def line(self) -> str:
        every = f"{self.run.every} s" if self.run.every < 120 else f"{self.run.every // 60} min"
        calls = " + ".join(f"{self.calls[kind]:,}" for kind in ("list", "fact", "detail"))
        return (
            f"| {every} | {'yes' if self.run.expand else 'no'} | {calls} "
            f"| {self.mine / self.least:.2f}× | {self.naive / self.mine:.1f}× "
            f"| {self.prompt / self.mine:.1f}× | {self.read / 1e6:.0f} MB |"
        )


async def measure(run: Run) -> Cost:
    now = DAY + timedelta(hours=8)
    pretend = shops(run.sites, per_day=run.per_day, since=DAY.date() - timedelta(days=3))
    sim = Simulator(sites=pretend, quirks=Quirks(expand=run.expand), now=lambda: now)
    rules = read([("bench.yaml", run.rules.encode())]).rules
    sender = Counting(sim)
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/b.db") as store:
        context = PollContext(sender, store, ZoneInfo(ZONE), timedelta(minutes=35), timedelta(),
                    Routing("", ZONE), marks=run.marks)  # fmt: skip
        watched = [Site(id=site.id, name=site.settings["name"]) for site in pretend]
        live = {site.id: LiveSessions() for site in watched}
        prepared = {site.id: SiteRules(rules, site) for site in watched}
        for site in watched:
            live[site.id] = (await poll(site, prepared[site.id], context, live[site.id], now)).live
        since = now
        sender.begin(since)
        tags = _of_tags(rules)
        lists = facts = 0
        polls = [run.every] * round(run.hours * 3600 / run.every)
        ending = timedelta(minutes=40).total_seconds()
        for step in [*polls, ending]:
            if step == ending:
                end = now
            now += timedelta(seconds=step)
            for site in watched:
                sender.facts.clear()
                live[site.id] = (
                    await poll(site, prepared[site.id], context, live[site.id], now)
                ).live
                lists += 1
                facts += len(sender.facts - {f"frictionmin={IMPOSSIBLE_FRICTION:.0f}"}) + len(tags)
        found = {
            (match.rule, match.website, match.subject_key)
            for match in store.do(lambda conn: matches_of(conn, limit=10_000_000))
        }
        cost = Cost(run, sender.calls.copy(), sender.read, lists + facts, lists,
                    lists + sender.changed, 0, 0)  # fmt: skip
        ids, active, needed, truth = await _truth(sim, watched, rules, since, end)
    found = {each for each in found if each[2] in ids}
    if truth != found:
        for rule, _site, key in sorted(truth ^ found)[:10]:
            print("differs:", rule, key)
        sys.exit(f"matches missing {len(truth - found)}, beyond the truth {len(found - truth)}")
    cost.rows, cost.matches = len(ids), len(truth)
    cost.least += needed
    cost.naive += active
    return cost


async def _truth(sim, watched, rules: Sequence[Rule], since, end):
    """Recordings whose whole activity lies within the measured time: their ids and all their
    matches. And of all that have been active since: how many there are, and how many need their
    detail though all facts are known."""
    sim.world.quirks = replace(sim.world.quirks, row_cap=10_000_000)
    asking = Counting(sim)
    truth = set()
    ids = set()
    active = needed = 0
    group = RuleIndex(rules)
    for site in watched:
        prepared = SiteRules(rules, site)
        page = await asking.send(recordings.list(site.id, limit=1_000_000, filters=None))
        for row in page.recordings:
            if row.last_activity is None or row.last_activity < since:
                continue
            active += 1
            seen = sim.world.inspect(row.id)[2]
            bare = RecordingSubject(
                website=site,
                recording=row,
                zone=ZONE,
                friction=Band.exactly(seen.friction),
                visitor_type="returning" if seen.script.visitor.returning else "first",
            )
            detail = await asking.send(recordings.detail(site.id, row.id))
            tags = {*row.tags, *(tag for view in detail.page_views or () for tag in view.tags)}
            told = {question: question.value in tags for question in _of_tags(rules)}
            needed += any(
                prepared.verdict_told(rule, bare, told, stale=False) is None
                for rule in group.open(bare)
            )
            if row.last_activity >= end:
                continue  # the last poll saw it, but not its end
            ids.add(row.id)
            whole = RecordingSubject(
                website=site,
                recording=merge(row, detail),
                zone=ZONE,
                friction=bare.friction,
                visitor_type=bare.visitor_type,
            )
            truth |= {(rule.id, site.id, row.id) for rule in rules if rule_answer(rule, whole)}
    return ids, active, needed, truth


def _of_tags(rules: Sequence[Rule]) -> set[Question]:
    """What the tag filter tells these rules."""
    return {it for rule in rules for it in askable(rule) if it.name is Narrowing.TAGS}


def _table(costs: Sequence[Cost]) -> str:
    first = costs[0]
    return "\n".join(
        [
            f"{first.run.sites} websites, {first.run.hours:g} hours of the day, {first.rows:,} "
            f"recordings, {first.matches:,} matches; in every run none was missing, none too many.",
            "",
            "| a poll every | expanded lists | calls: lists + facts + details "
            "| against the least (goal ≤ 1.2) | naive against ours (goal ≥ 20) "
            "| prompt against ours | read |",
            "|---|---|---:|---:|---:|---:|---:|",
            *(cost.line() for cost in costs),
        ]
    )


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


def _write(table: str, name: str = "polling") -> None:
    text = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- {name}: made by bench/polling.py -->", f"<!-- /{name} -->"
    found = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    PAGE.write_text(found.sub(lambda _: f"{start}\n{table}\n{end}", text), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--per-day", type=int, default=20_000)
    parser.add_argument("--hours", type=float, default=2)
    parser.add_argument("--every", type=int, default=60, help="seconds between polls")
    parser.add_argument("--no-expand", action="store_true", help="a server that does not expand")
    parser.add_argument(
        "--write", action="store_true", help="the table of docs/explanation/performance.md"
    )
    parser.add_argument("--late", action="store_true", help="write what late knowledge costs")
    parser.add_argument("--pages", action="store_true", help="rules about single pages instead")
    args = parser.parse_args()
    if args.late:
        _write(_late(per_day=500), "late")
        return
    every = (60, 300, 600, 900) if args.write else (args.every,)
    expand = (True, False) if args.write else (not args.no_expand,)
    costs = []
    for each in expand:
        for seconds in every:
            started = time.perf_counter()
            rules = PAGES if args.pages else RULES
            run = Run(args.sites, args.per_day, args.hours, seconds, each, rules)
            costs.append(asyncio.run(measure(run)))
            print(costs[-1].said())
            print(f"  took {time.perf_counter() - started:.0f} s", flush=True)
    if args.write:
        _write(_table(costs))


if __name__ == "__main__":
    main()
