"""A light account on a virtual clock: arrivals, switches, people, deletions and outages.

It answers what the budgets ask (websites, switches, counts by day) from plain numbers, so
that a year passes in seconds. Decisions, store, outbox and actions are the real ones.
"""

import json
import math
from datetime import UTC, date, datetime, timedelta
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from virtual_world import Prompt

from bot.actions import ACTIONS
from bot.budgets.changed_by_others import follow_files
from bot.budgets.poll import BudgetMemory, BudgetsPolled, poll_budgets
from bot.budgets.state import budget_mark
from bot.delivery import Delivery
from bot.domain.subjects import Site
from bot.errors import GiveUp, Gone, TryLater
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.ports import Addresses, Ports, SlackPost
from bot.rules.files.load import read
from bot.store import in_memory_copy
from bot.store.audit import history
from bot.store.budgets import owned, who_stopped

ZONE = ZoneInfo("Europe/Copenhagen")
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
START = datetime(2026, 1, 15, 8, tzinfo=UTC)


def budgets(text: str):
    """Budgets from YAML without their frame."""
    body = "\n".join("  " + line for line in text.strip("\n").splitlines())
    rule = "rules:\n  r: {watch: websites, when: {status: Paused}, do: {slack: {}}}\n"
    return read([("b.yaml", f"version: 1\n{rule}budgets:\n{body}\n".encode())]).budgets


class Shop:
    """A website: how many come in an hour, who is recorded, and what people do to it.

    `log` holds every change of the status or the rate: (when, who, what). A change made
    through the API reaches visitors after `delay`.
    """

    def __init__(self, name, per_day=1000.0, *, status="Recording", rate=100, read_only=False,
                 delay=timedelta(minutes=20), shape=lambda at: 1.0):  # fmt: skip
        self.id, self.name, self.read_only = f"id-{name}", name, read_only
        self.per_day, self.shape, self.delay = per_day, shape, delay
        self.status, self.rate = status, rate
        self.log: list[tuple[datetime, str, str]] = []
        self.made: dict[date, float] = {}
        self.deleted: dict[date, int] = {}
        self._effective: list[tuple[datetime, float]] = []

    def has_been_there(self, since: datetime, until: datetime) -> None:
        """Recordings of a time before the bot."""
        self.pass_time(since, until)

    def recorded_share(self, now: datetime) -> float:
        share = self._effective[0][1] if self._effective else self._share()
        for at, value in self._effective:
            if at <= now:
                share = value
        return share

    def _share(self) -> float:
        return self.rate / 100 if self.status == "Recording" else 0.0

    def pass_time(self, start: datetime, end: datetime) -> None:
        """What is recorded between the two moments."""
        at = start
        while at < end:
            stop = min(at + timedelta(minutes=15), end)
            made = self.per_day * self.shape(at) * self.recorded_share(at)
            day = at.astimezone(ZONE).date()
            self.made[day] = self.made.get(day, 0.0) + made * ((stop - at) / timedelta(days=1))
            at = stop

    def set(self, now: datetime, who: str, *, status=None, rate=None) -> None:
        before = self._share()
        if not self._effective:
            self._effective.append((datetime.min.replace(tzinfo=UTC), before))
        if status is not None and status != self.status:
            self.status = status
            self.log.append((now, who, status))
        if rate is not None and rate != self.rate:
            self.rate = rate
            self.log.append((now, who, f"{rate} %"))
        self._effective.append((now + (self.delay if who == "bot" else timedelta()), self._share()))
        self._effective = self._effective[-40:]

    def true_count(self, day: date) -> int:
        """All recordings ever made on the day."""
        return math.floor(self.made.get(day, 0.0) + 1e-9)

    def count(self, day: date) -> int:
        """Those that are still there."""
        return max(0, self.true_count(day) - self.deleted.get(day, 0))


class Account:
    """The API's answers about the shops; `broken` fails every call, `broken_writes` the writes.

    `refuses` is the error that rejects the writes.
    Counts are answered `factor` times as high as they are.

    `meanwhile` happens once, just before or just after a website's switch is read.
    """

    def __init__(self, shops, clock, *, chart=True, dates=True) -> None:
        self.shops = {shop.id: shop for shop in shops}
        self.clock = clock
        self.chart, self.dates = chart, dates
        self.broken = self.broken_writes = False
        self.refuses: GiveUp | None = None
        self.factor = 1.0
        self.meanwhile = None
        self.calls: list[str] = []

    async def send(self, request):
        self.calls.append(f"{request.method} {request.target}")
        if self.broken or (self.broken_writes and request.method != "GET"):
            raise TryLater("the account is away", lane=True)
        if self.refuses and request.method != "GET":
            raise self.refuses
        shop = self.shops.get(unquote(request.path.split("/")[2]))
        if shop is None:
            raise Gone("no such website")
        if request.method == "PUT":
            body = json.loads(request.body)
            assert not shop.read_only, "a read-only website was written to"
            assert shop.status in ("Recording", "Stopped"), f"{shop.status} was touched"
            shop.set(self.clock(), "bot", status=body.get("recordingStatus"),
                     rate=body.get("recordingRate"))  # fmt: skip
            return request.read(b"")
        if request.path.endswith("/recordings"):
            return request.read(json.dumps(self._counts(shop, dict(request.query))).encode())
        (before, happens), self.meanwhile = self.meanwhile or (None, None), None
        if before:
            await happens()
        detail = {"id": shop.id, "name": shop.name, "status": shop.status,
                  "recordingRate": shop.rate, "readOnly": shop.read_only}  # fmt: skip
        if before is False:
            await happens()
        return request.read(json.dumps(detail).encode())

    def _counts(self, shop, query):
        assert query["limit"] == "1", "only counts are asked for"
        first, end = (date.fromisoformat(query[name]) for name in ("fromdate", "todate"))
        if not self.dates:
            first, end = date(2000, 1, 1), date(2100, 1, 1)
        days = {
            day: round(shop.count(day) * self.factor) for day in shop.made if first <= day < end
        }
        chart = {day.isoformat(): count for day, count in days.items()} if self.chart else {}
        return {"recordings": [], "count": sum(days.values()), "chart": chart}


class Slack:
    def __init__(self, clock) -> None:
        self.clock = clock
        self.posts: list[tuple[datetime, str, str]] = []

    async def post(self, post: SlackPost) -> str:
        said = [post.text, *(json.dumps(block, ensure_ascii=False) for block in post.blocks)]
        self.posts.append((self.clock(), post.channel, " ".join(said)))
        return str(len(self.posts))

    async def find(self, channel, key, since, thread=""):
        return None

    def said(self, words: str) -> list[str]:
        return [text for _at, _channel, text in self.posts if words in text]


class NoWebhook:
    async def call(self, url, body, headers, secret=None) -> None:
        raise AssertionError("nothing here calls out")


class World:
    """Shops, budgets and the bot; time passes only when it is told to.

    What is not in `shops` is deleted; the list of websites leaves out those in `unlisted`.
    """

    def __init__(self, text, *shops, start=START, ops="#ops", zone=ZONE, **api):
        self.now = start
        self.zone = zone
        self.budgets = budgets(text)
        self.shops = list(shops)
        self.unlisted = set()
        self.account = Account(shops, lambda: self.now, **api)
        self.slack = Slack(lambda: self.now)
        self.ops = ops
        self.store = Prompt(in_memory_copy("sqlite:////nowhere/at/all.db"))
        for shop in shops:
            shop.has_been_there(start - timedelta(days=30), start)
        self.restart()

    def restart(self) -> None:
        """The process comes back: the store stays, what was in memory does not."""
        self.memory = BudgetMemory()
        ports = Ports(self.account, self.slack, NoWebhook(), Addresses(channel="#usual"))
        self.delivery = Delivery(
            self.store, ports, ACTIONS, clock=lambda: self.now, chance=lambda: 0.0
        )

    def wait(self, **time: float) -> None:
        end = self.now + timedelta(**time)
        for shop in self.shops:
            shop.pass_time(self.now, end)
        self.now = end

    async def poll_budgets(self) -> BudgetsPolled:
        self.account.shops = {shop.id: shop for shop in self.shops}
        sites = [
            Site(shop.id, shop.name, shop.read_only)
            for shop in self.shops
            if shop not in self.unlisted
        ]
        context = PollContext(
            mouseflow=self.account,
            store=self.store,
            zone=self.zone,
            settle=timedelta(minutes=35),
            start=HOUR,
            routing=Routing("#usual", str(ZONE)),
        )
        return await poll_budgets(
            self.budgets, sites, context, self.memory, self.now, self.ops,
            in_force=lambda: self.budgets,
        )  # fmt: skip

    def load(self, text: str) -> None:
        """Other budgets come into use, as the watcher loads them; none if empty."""
        self.budgets = budgets(text) if text else ()
        names = {shop.id: shop.name for shop in self.shops}
        self.store.do(lambda conn: follow_files(conn, self.budgets, names, self.ops, self.now))

    async def poll(self) -> BudgetsPolled:
        """A look and what it has put into the outbox."""
        looked = await self.poll_budgets()
        await self.delivery.drain()
        return looked

    async def run(self, *, every=None, until=lambda: False, **time: float) -> None:
        """Let time pass, with polls: each hour, or in longer times every three hours."""
        end = self.now + timedelta(**time)
        every = every or (HOUR if end - self.now <= timedelta(days=1) else 3 * HOUR)
        while self.now < end and not until():
            self.wait(seconds=every.total_seconds())
            await self.poll()

    def mark(self, budget="credits"):
        return self.store.do(lambda conn: budget_mark(conn, budget))

    def owned(self):
        return self.store.do(owned)

    def stopped_by(self):
        return self.store.do(lambda conn: who_stopped(conn, self.shops[0].id, self.now))

    def audit(self, kind=""):
        return self.store.do(lambda conn: history(conn, kind=kind, limit=100_000))

    def close(self) -> None:
        self.store.close()
