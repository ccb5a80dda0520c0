"""A simulated account on a clock that tests turn, and polls against it without sockets."""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace
from virtual_world import Prompt

from bot.account import meaning
from bot.domain.step import DELETED
from bot.domain.subjects import Band, RecordingSubject, Site
from bot.errors import Unreachable
from bot.polling.context import PollContext
from bot.polling.live_sessions import LiveSessions
from bot.polling.record_matches import Routing
from bot.polling.recordings import Polled, poll
from bot.polling.session import merge
from bot.polling.site_rules import SiteRules
from bot.replay.backfill import catch_up
from bot.rules.evaluate import rule_answer
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read
from bot.rules.model import Rule, RuleSet
from bot.store import open_store
from bot.store.matches import matches_of
from bot.store.outbox import claim, complete
from mouseflow import recordings
from mouseflow.errors import BadAnswer, status_error, unreadable
from mouseflow.simulator.in_process import ask
from mouseflow.simulator.middleware import Dropped
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Site as PretendSite
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

START = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)

CHECKOUT = """
checkout-friction:
  watch: recordings
  when: {friction: {min: 2.5}, saw_page: /checkout*, duration: {over: 60s}}
  do: {tag: friction}
"""


def quiet() -> PretendSite:
    """A website whose only visitors are those that a test plants."""
    return website("site-1", "myshop.com", plan=Plan(per_day=0))


class Direct:
    """Sends to the simulator's application: no sockets, no rate budget, no second tries."""

    def __init__(self, sim: Simulator) -> None:
        self._app = sim.mouseflow_app
        pair = base64.b64encode(f"{sim.email}:{sim.api_key}".encode())
        self._headers = [
            (b"accept", b"application/json"),
            (b"authorization", b"Basic " + pair),
        ]

    async def send(self, request):
        headers, body = self._headers, request.body or b""
        if body:
            length = str(len(body)).encode()
            headers = [
                *headers, (b"content-type", b"application/json"), (b"content-length", length)
            ]  # fmt: skip
        try:
            answer = await ask(self._app, request.method, request.target, headers, body)
        except Dropped as error:
            raise Unreachable(str(error), unknown=True) from error
        if answer.status >= 300:
            error = status_error(request, answer.status, answer.body)
            raise meaning(error) from error
        try:
            return request.read(answer.body)
        except BadAnswer as problem:
            error = unreadable(request, answer.status, answer.body, problem)
            raise meaning(error) from error


def rules(text: str) -> RuleSet:
    """A rule set from YAML rules without their frame."""
    body = "\n".join("  " + line for line in text.strip().splitlines())
    return read(
        [("rules.yaml", f"version: 1\nrules:\n{body}\n".encode())], allowed=Allowed(delete=True)
    )


class Account:
    """One website under watch: simulator, store, rules, and the memory of the polls."""

    def __init__(
        self,
        path: Path,
        text: str,
        *,
        quirks: Quirks | None = None,
        zone: str | None = None,
        start: timedelta = timedelta(hours=1),
        sites: list[PretendSite] | None = None,
        ops: str | None = None,
        expand: bool = True,
    ) -> None:
        self.now = START
        quirks = quirks or Quirks()
        self.sim = Simulator(
            seed=7,
            sites=[quiet()] if sites is None else sites,
            quirks=quirks,
            now=lambda: self.now,
        )
        pretend = next(iter(self.sim.world.sites.values()))
        self.site = Site(id=pretend.id, name="myshop.com")
        self.rules = rules(text).rules
        self.path = path
        self.zone = zone or quirks.time_zone
        self.start = start
        self.ops = ops
        self.expand = expand
        self.marks = timedelta()
        self.settle = timedelta(minutes=35)
        self.live = LiveSessions()
        self.attempts: dict[str, int] = {}
        self.store = Prompt(open_store(f"sqlite:///{path / 'bot.db'}"))
        self.sender = Direct(self.sim)
        self._prepared = (self.rules, self.site, SiteRules(self.rules, self.site))

    def restart(self) -> None:
        """The process is gone and comes back: the store stays, what was in memory does not."""
        self.store.close()
        self.store = Prompt(open_store(f"sqlite:///{self.path / 'bot.db'}"))
        self.live = LiveSessions()

    def close(self) -> None:
        self.store.close()

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    @property
    def calls(self) -> list[str]:
        """Paths of the calls so far."""
        return [call.path for call in self.sim.calls]

    async def poll(self) -> Polled:
        context = PollContext(
            mouseflow=self.sender,
            store=self.store,
            zone=ZoneInfo(self.zone),
            settle=self.settle,
            start=self.start,
            routing=Routing("#mouseflow", self.zone, self.ops),
            expand=self.expand,
            marks=self.marks,
        )
        if self._prepared[:2] != (self.rules, self.site):
            self._prepared = (self.rules, self.site, SiteRules(self.rules, self.site))
        polled = await poll(self.site, self._prepared[2], context, self.live, self.now)
        self.live = polled.live
        if polled.behind:
            done = await catch_up(
                self.site, self.rules, context, polled.behind, self.attempts, self.now
            )
            knowledge = replace(self.live.knowledge, filters=done.filters)
            self.live = self.live.learnt(knowledge)
        return polled

    def delete_due(self) -> str:
        """Perform the deletion that is due, and return the recording."""
        lane = f"mouseflow:{self.site.id}"
        step = self.store.do(lambda conn: claim(conn, lane, self.now, "token"))
        assert step is not None
        assert step.action == "delete"
        self.sim.delete(step.subject_key)
        self.store.do(lambda conn: complete(conn, step, self.now, result=DELETED))
        return step.subject_key

    def matched(self, rule: str = "") -> set[tuple[str, str]]:
        """(rule, recording) of every match so far."""
        found = self.store.do(lambda conn: matches_of(conn, rule=rule, limit=100_000))
        keys = [(match.rule, match.subject_key) for match in found]
        assert len(keys) == len(set(keys)), "a recording matched a rule twice"
        return set(keys)

    async def truth(self, ids: Iterable[str]) -> set[tuple[str, str]]:
        """(rule, recording) of every match that an omniscient judge sees now."""
        found = set()
        for each in ids:
            subject = await self.subject(each)
            found |= {
                (rule.id, each) for rule in self.rules if rule_answer(rule, subject, complete=True)
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
            zone=self.zone,
            friction=Band.exactly(self.sim.friction(recording)),
            visitor_type="returning" if seen.script.visitor.returning else "first",
        )


def only(rule: Rule, **changes: object) -> Rule:
    return replace(rule, **changes)
