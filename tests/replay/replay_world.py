"""A simulated past on a clock that stands still, looked back at without sockets."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from poll_world import Direct

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.polling.candidates import CountingClient
from bot.polling.record_matches import Routing
from bot.polling.session import merge
from bot.replay.evaluate_days import History
from bot.replay.run import Progress, replay
from bot.replay.select import Span
from bot.rules.evaluate import rule_answer
from bot.rules.files.load import read
from bot.rules.model import RuleSet
from bot.rules.needs import fires_early
from bot.store import Store, open_store
from bot.store.dead_letters import steps_of
from bot.store.matches import KeptMatch, matches_of
from mouseflow import recordings
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Site as PretendSite
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

NOW = datetime(2026, 3, 12, 15, 30, tzinfo=UTC)
SETTLE = timedelta(minutes=35)


def rules(text: str) -> RuleSet:
    """A rule set from YAML rules without their frame."""
    body = "\n".join("  " + line for line in text.strip().splitlines())
    return read([("rules.yaml", f"version: 1\nrules:\n{body}\n".encode())])


def busy(per_day: int = 150) -> PretendSite:
    return website("site-1", "myshop.com", plan=Plan(per_day=per_day))


class CutOff(Exception):
    """The process ends here."""


class Interrupted(Direct):
    """Breaks off at call `fail_at`, and does `between` calls."""

    def __init__(self, sim: Simulator) -> None:
        super().__init__(sim)
        self.fail_at = 0
        self.between = lambda: None
        self.sent: list[str] = []

    async def send(self, request):
        self.sent.append(request.target)
        if len(self.sent) == self.fail_at:
            raise CutOff
        self.between()
        return await super().send(request)


class World:
    """One website with a past, rules, and a store."""

    def __init__(
        self,
        path: Path,
        text: str,
        *,
        site: PretendSite | None = None,
        quirks: Quirks | None = None,
        zone: str = "Europe/Copenhagen",
    ) -> None:
        pretend = site or busy()
        self.sim = Simulator(
            seed=7, sites=[pretend], quirks=quirks or Quirks(time_zone=zone), now=lambda: NOW
        )
        self.site = Site(id=pretend.id, name="myshop.com")
        self.rules = rules(text)
        self.zone = ZoneInfo(zone)
        self.sender = Interrupted(self.sim)
        self.store: Store = open_store(f"sqlite:///{path / 'bot.db'}")
        self.kept: list[bytes] = []
        self.told: list[tuple[int, int]] = []

    def close(self) -> None:
        self.store.close()

    def progress(self, span: Span) -> Progress:
        ids = tuple(rule.id for rule in self.rules.rules)
        return Progress(
            since=span.since, until=span.until, apply=True, rules=ids, websites=(),
            digest=self.rules.digest, now=NOW,
        )  # fmt: skip

    async def replay(
        self, days: float = 2, progress: Progress | None = None, *, live: bool = False
    ) -> Progress:
        """Look back over the last days."""
        span = Span(NOW - timedelta(days=days), NOW)
        progress = progress or self.progress(span)
        counted = CountingClient(self.sender)
        history = History(
            mouseflow=counted, store=self.store, zone=self.zone, settle=SETTLE, span=span, now=NOW
        )
        everything = self.rules.rules
        await replay(
            history, counted, [self.site], everything, everything, Routing("#ux", self.zone.key),
            progress, live=live,
            keep=lambda it: self.kept.append(msgspec.json.encode(it)),
            tell=lambda read, expected: self.told.append((read, expected)),
        )  # fmt: skip
        return progress

    def matches(self) -> list[KeptMatch]:
        return self.store.do(lambda conn: matches_of(conn, limit=100_000))

    def matched(self) -> set[tuple[str, str]]:
        """(rule, recording) of every match; none of them is there twice."""
        found = [(match.rule, match.subject_key) for match in self.matches()]
        assert len(found) == len(set(found))
        return set(found)

    def steps(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(rule, recording, actions) of every match."""

        def work(conn):
            return [
                (it.rule, it.subject_key, tuple(step.action for step in steps_of(conn, it.key)))
                for it in matches_of(conn, limit=100_000)
            ]

        return self.store.do(work)

    async def ids(self, days: float = 2) -> list[str]:
        """Every recording of the last days, oldest first, read without any cleverness."""
        since = NOW - timedelta(days=days)
        page = await self.sender.send(recordings.list(self.site.id, limit=10_000))
        assert len(page.recordings) == page.count
        rows = [row for row in page.recordings if since <= row.created < NOW]
        return [row.id for row in sorted(rows, key=lambda row: row.created)]

    async def truth(self, ids) -> set[tuple[str, str]]:
        """(rule, recording) of every match that an omniscient judge sees."""
        found = set()
        for each in ids:
            subject = await self.subject(each)
            settled = NOW - subject.recording.last_activity >= SETTLE
            found |= {
                (rule.id, each)
                for rule in self.rules.rules
                if (settled or fires_early(rule)) and rule_answer(rule, subject, complete=True)
            }
        return found

    async def subject(self, recording: str) -> RecordingSubject:
        """The recording with everything that there is to know of it."""
        site, _who, seen = self.sim.world.inspect(recording)
        detail = await self.sender.send(recordings.detail(site.id, recording))
        row = msgspec.structs.replace(detail, pages=len(detail.page_views or ()))
        return RecordingSubject(
            website=self.site,
            recording=merge(row, detail),
            zone=self.zone.key,
            friction=Band.exactly(self.sim.friction(recording)),
            visitor_type="returning" if seen.script.visitor.returning else "first",
        )
