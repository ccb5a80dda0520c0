"""What polling costs: calls and bytes against the naive way and against the least possible.

    python -m bench.polling                     # 5 websites, two hours
    python -m bench.polling --sites 50 --hours 24   # the whole thing; takes a while

A simulated account without sockets, on a clock that jumps from poll to poll. Every recording
is judged by an omniscient judge too: no match may be missing, none may come twice.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import msgspec

from bot.mouseflow import recordings
from bot.poll.book import Book
from bot.poll.matching import Routing
from bot.poll.recordings import Desk, Memory, poll
from bot.rulebook.evaluate import matches
from bot.rulebook.queries import asks_friction, asks_visitor_type
from bot.rulebook.read import read
from bot.rulebook.rules import Rule
from bot.simulator.demo import shops
from bot.simulator.inprocess import InProcess
from bot.simulator.server import Simulator
from bot.sources.recordings import merge
from bot.store import open_store
from bot.store.matches import matches_of
from bot.subjects import Band, RecordingSubject, Site

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


@dataclass
class Counting:
    """Sends to the simulator's application and counts."""

    sim: Simulator
    calls: Counter[str] = field(default_factory=Counter)
    read: int = 0
    detailed: Counter[str] = field(default_factory=Counter)

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
        self.calls[_kind(request)] += 1
        if _kind(request) == "detail":
            self.detailed[request.path] += 1
        return request.read(answer.content)


def _kind(request) -> str:
    if request.route.endswith("{recording-id}"):
        return "detail"
    asked = {"frictionmin", "visitortype", "tags"} & {name for name, _ in request.query}
    return "fact" if asked else "list"


@dataclass
class Least:
    """The least that could do: a list a poll, a call for each fact with something new."""

    lists: int = 0
    facts: int = 0
    details: int = 0

    @property
    def calls(self) -> int:
        return self.lists + self.facts + self.details


async def measure(sites: int, per_day: int, hours: float, every: int) -> None:
    started = time.perf_counter()
    now = DAY + timedelta(hours=8)
    pretend = shops(sites, per_day=per_day, since=DAY.date() - timedelta(days=3))
    sim = Simulator(sites=pretend, now=lambda: now)
    book_rules = read([("bench.yaml", RULES.encode())]).rules
    sender = Counting(sim)
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/b.db") as store:
        desk = Desk(sender, store, ZoneInfo(ZONE), timedelta(minutes=35), timedelta(),
                    Routing("", ZONE))  # fmt: skip
        watched = [Site(id=site.id, name=site.settings["name"]) for site in pretend]
        memories = {site.id: Memory() for site in watched}
        books = {site.id: Book(book_rules, site) for site in watched}
        for site in watched:
            await poll(site, books[site.id], desk, memories[site.id], now)
        since = now
        first = Counter(sender.calls)
        sender.calls.clear()
        sender.read = 0
        sender.detailed.clear()
        least = Least()
        judged = 0
        for _ in range(round(hours * 3600 / every)):
            now += timedelta(seconds=every)
            for site in watched:
                before = dict(sender.calls)
                did = await poll(site, books[site.id], desk, memories[site.id], now)
                judged += did.judged
                least.lists += 1
                asked = sender.calls["fact"] - before.get("fact", 0)
                least.facts += min(asked, _facts(book_rules)) if did.judged else 0
        end = now
        now += timedelta(minutes=40)
        settle = Counter(sender.calls)
        for site in watched:
            await poll(site, books[site.id], desk, memories[site.id], now)
        ending = sender.calls - settle
        least.details = len(sender.detailed)
        least.lists += ending["list"]
        least.facts += ending["fact"]
        found = {
            (match.rule, match.website, match.subject_key)
            for match in store.do(lambda conn: matches_of(conn, limit=10_000_000))
        }
        ids, truth = await _truth(sim, watched, book_rules, since, end)
        found = {each for each in found if each[2] in ids}
        rows = len(ids)
    naive = least.lists + rows
    mine = sum(sender.calls.values())
    print(f"{sites} websites, {per_day} recordings a day each, {hours:g} h, a poll each {every} s, "
          f"{len(book_rules)} rules: {rows} recordings, {len(truth)} matches")  # fmt: skip
    print(f"calls: {mine} ({dict(sender.calls)}), first polls {sum(first.values())}")
    print(f"  least possible {least.calls}: {mine / least.calls:.2f} times (goal at most 1.2)")
    print(f"  naive {naive}: {naive / mine:.1f} times fewer (goal at least 20)")
    print(f"bytes read: {sender.read / 1e6:.1f} MB; recordings judged {judged}")
    print(f"matches missing {len(truth - found)}, beyond the truth {len(found - truth)}")
    print(f"took {time.perf_counter() - started:.0f} s")
    if truth != found:
        for rule, _site, key in sorted(truth ^ found)[:10]:
            print("  differs:", rule, key)
        sys.exit(1)


def _facts(rules: Iterable[Rule]) -> int:
    """Distinct facts that the rules ask of the server: thresholds, visitor type, tags."""
    from bot.poll.tags import required_tags
    from bot.rulebook.queries import thresholds

    rules = list(rules)
    tags = {tag for rule in rules for tag in required_tags(rule)}
    return len(thresholds(rules)) + any(map(asks_visitor_type, rules)) + len(tags)


async def _truth(sim, watched, rules, since, end):
    """Recordings whose whole activity lies within the measured time, and all their matches."""
    asking = Counting(sim)
    truth = set()
    ids = set()
    friction_rules = any(map(asks_friction, rules))
    for site in watched:
        page = await asking.send(
            recordings.list(
                site.id,
                limit=1_000_000,
                filters=None,
            )
        )
        for row in page.recordings:
            if row.last_activity is None or not since <= row.last_activity < end:
                continue
            ids.add(row.id)
            seen = sim.world.truth(row.id)[2]
            detail = await asking.send(recordings.detail(site.id, row.id))
            subject = RecordingSubject(
                website=site,
                recording=merge(row, msgspec.structs.replace(detail)),
                zone=ZONE,
                friction=Band.exactly(seen.friction) if friction_rules else None,
                visitor_type="returning" if seen.script.visitor.returning else "first",
            )
            truth |= {(rule.id, site.id, row.id) for rule in rules if matches(rule, subject)}
    return ids, truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--per-day", type=int, default=20_000)
    parser.add_argument("--hours", type=float, default=2)
    parser.add_argument("--every", type=int, default=60, help="seconds between polls")
    args = parser.parse_args()
    asyncio.run(measure(args.sites, args.per_day, args.hours, args.every))


if __name__ == "__main__":
    main()
