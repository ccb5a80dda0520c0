"""A website with campaigns, funnels, forms and pages whose figures a test sets by hand."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from sqlalchemy import update

from bot.domain.alert_state import GAP
from bot.domain.calendar import Calendar, Days
from bot.domain.step import StepStatus
from bot.domain.subjects import Site
from bot.errors import GiveUp, Gone, TryLater
from bot.new_rules import fingerprint
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.reports.fetch import LevelMemory
from bot.reports.poll import ReportsPolled, poll
from bot.rules.files.load import read
from bot.store import in_memory_copy
from bot.store.alert_states import rules_present
from bot.store.audit import history
from bot.store.dead_letters import steps_of
from bot.store.renames import rename_rule
from bot.store.rules import rules_loaded
from bot.store.schema import ms, steps

ZONE = ZoneInfo("Europe/Copenhagen")
SITE = Site("w1", "myshop.com")


def rules(text):
    body = "\n".join("  " + line for line in text.strip("\n").splitlines())
    return read([("r.yaml", f"version: 1\nrules:\n{body}\n".encode())]).rules


@cache
def _day(at, zone):
    return at.astimezone(zone).date().isoformat()


class Figures:
    """The API: plain answers. `ignores` names query filters that have no effect.

    `deleted` are forms that the list still has but whose report is gone; `refuses` are filters that
    are an error, such as `device=phone`. `repeated` are rows whose key is in the list already;
    `row_cap` is how many recordings an answer has at most, `zone` the account's; `old` are the
    funnels of days before `old_until`, `old_pages` the pages.
    """

    def __init__(self) -> None:
        self.campaigns: dict[str, dict] = {}
        self.funnels: dict[str, list[int]] = {}
        self.steps: tuple[str, ...] = ()
        self.old: dict[str, list[int]] = {}
        self.old_pages: dict[str, dict] = {}
        self.old_until = ""
        self.forms: dict[str, dict] = {}
        self.pages: dict[str, dict] = {}
        self.tablets = 0.1
        self.recordings: list[datetime] = []
        self.chart = True
        self.row_cap = 10_000
        self.zone = ZONE
        self.page_count: int | None = None
        self.repeated: list[dict] = []
        self.website = {
            "id": "w1",
            "name": "myshop.com",
            "status": "Recording",
            "recordingRate": 100,
        }
        self.deleted: set[str] = set()
        self.refuses: set[str] = set()
        self.ignores: set[str] = set()
        self.broken: set[str] = set()
        self.calls: list[str] = []

    async def send(self, request):
        self.calls.append(request.target)
        tail = request.path.removeprefix("/websites/w1").strip("/")
        if not self.broken.isdisjoint((tail, tail.partition("/")[0])):
            raise TryLater("the account is away")
        if not self.refuses.isdisjoint(f"{name}={value}" for name, value in request.query):
            raise GiveUp("the API rejects the filter (400)")
        return request.read(json.dumps(self._answer(tail, dict(request.query))).encode())

    def _answer(self, tail, query):
        for name in self.ignores:
            query.pop(name, None)
            query.pop("todate" if name == "fromdate" else name, None)
        nobody = query.get("fromdate", "2026") < "2001" or any(
            "mouseflow-bot" in value or value in ("1000000", "-1000000", "864000000")
            for value in query.values()
        )
        few = query.get("device") == "tablet" or query.get("country") == "aq"
        few = few or query.get("star") == "1" or query.get("watched") == "0"
        share = 0 if nobody else self.tablets if few else 1
        kind, _, one = tail.partition("/")
        if kind == "websites":
            return [self.website]
        if kind == "recordings":
            return self._recordings(query)
        if kind == "feedback":
            found = [{"campaignId": key, **each} for key, each in self.campaigns.items()]
            return [*found, *self.repeated]
        if kind == "funnels":
            if "2001" < query.get("todate", "") < self.old_until:
                return [self._funnel(key, counts, share) for key, counts in self.old.items()]
            found = [self._funnel(key, counts, share) for key, counts in self.funnels.items()]
            return [*found, *self.repeated]
        if kind == "forms":
            found = [{"formId": k, **self._scaled(e, share)} for k, e in self.forms.items()]
            if one in self.deleted:
                raise Gone("no such form")
            if one:
                return next(each for each in found if each["formId"] == one)
            return [{**each, "fields": []} for each in found]
        if kind == "pagelist":
            old = "2001" < query.get("todate", "") < self.old_until
            pages = self.old_pages if old else self.pages
            rows = [{"displayUrl": k, **self._scaled(e, share)} for k, e in pages.items()]
            rows += self.repeated
            return {"pages": rows, "count": self.page_count or len(rows)}
        return self.website

    def _recordings(self, query):
        made = [(_day(at, self.zone), at) for at in self.recordings]
        made = [(day, at) for day, at in made if query["fromdate"] <= day < query["todate"]]
        chart = dict(Counter(day for day, _ in made)) if self.chart else {}
        limit = min(self.row_cap, int(query["limit"]))
        rows = [
            {"id": f"{n}", "created": at.astimezone(self.zone).isoformat()}
            for n, (_, at) in enumerate(made[:limit])
        ]
        return {"recordings": rows, "count": len(made), "chart": chart}

    def _funnel(self, key, counts, share):
        named = dict(enumerate(self.steps))
        steps = [{"name": named.get(n, f"step {n}"), "url": f"/{n}", "count": int(count * share)}
                 for n, count in enumerate(counts)]  # fmt: skip
        return {"funnelId": key, "name": key, "steps": steps}

    def _scaled(self, figures, share):
        return {k: int(v * share) if isinstance(v, int) else v for k, v in figures.items()}


class World:
    """Rules of one kind beside the figures; time passes only when it is told to."""

    def __init__(self, kind, text, start=datetime(2026, 3, 10, 9, tzinfo=UTC)) -> None:
        self.kind = kind
        self.rules = rules(text)
        self.api = Figures()
        self.now = start
        self.store = in_memory_copy("sqlite:////nowhere/at/all.db")
        self.memory = LevelMemory()
        self.holidays: tuple[Days, ...] = ()
        self.quiet = Calendar()
        self.zone = ZONE

    def restart(self) -> None:
        self.memory = LevelMemory()

    def edit(self, text) -> None:
        """Load other rules, as the watcher does."""
        self.rules = rules(text) if text else ()

        def work(conn):
            for rule in self.rules:
                for old in rule.was:
                    rename_rule(conn, old, rule.id, self.now)
            prints = {rule.id: fingerprint(rule) for rule in self.rules}
            rules_present(conn, prints, self.now, GAP)
            rules_loaded(conn, prints, self.now)

        self.store.do(work)

    async def looks(self, times: int, **wait: float) -> list[str]:
        """What several looks bring."""
        return [post for _ in range(times) for post in await self.looked(**wait)]

    async def look(self, **wait: float) -> ReportsPolled:
        """Let time pass, then look."""
        self.now += timedelta(**(wait or {"minutes": 15}))
        return await poll(self.kind, SITE, self.rules, self.context, self.memory, self.now)

    @property
    def context(self) -> PollContext:
        return PollContext(
            mouseflow=self.api,
            store=self.store,
            zone=self.zone,
            settle=timedelta(minutes=35),
            start=timedelta(hours=1),
            routing=Routing("#mouseflow", "Europe/Copenhagen", ops="#ops"),
            holidays=self.holidays,
            quiet=self.quiet,
        )

    async def looked(self, **wait: float) -> list[str]:
        """What a look has brought, as the posts it calls for: `slack` or `resolved`, by rule.

        All of them are in their channels at once.
        """
        recorded = (await self.look(**wait)).recorded

        def posts(conn):
            return [
                f"{s.rule}: {s.action}" for key in recorded.matches for s in steps_of(conn, key)
            ]

        def delivered(conn):
            waiting = steps.c.state == StepStatus.PENDING
            values = {"state": StepStatus.DONE, "ended": ms(self.now)}
            conn.execute(update(steps).where(waiting).values(values))

        found = self.store.do(posts)
        self.store.do(delivered)
        return found

    def why(self):
        return [entry.text for entry in self.store.do(lambda conn: history(conn, kind="match"))]

    def notes(self, kind):
        return [entry.text for entry in self.store.do(lambda conn: history(conn, kind=kind))]
