"""Rules whose matches are posted to the simulator's Slack: recorded, delivered, and looked at."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from bot.actions import ACTIONS
from bot.delivery import Drained, drain
from bot.delivery.buttons import Buttons, PressConnection
from bot.delivery.slack import SlackPoster
from bot.domain.subjects import Band, RecordingSubject, Site
from bot.messages.message import plain
from bot.polling.record_matches import Found, Routing, record_poll
from bot.ports import Addresses, Ports
from bot.rules.files.load import read
from bot.store import in_memory_copy
from bot.store.audit import history
from bot.store.matches import PollOutcome
from bot.store.rules import snoozed_until
from bot.written import Secret
from mouseflow.models import PageView, Recording
from mouseflow.simulator.server import Simulator

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
SITE = Site("site-1", "myshop.com")
ZONE = "Europe/Copenhagen"
PLAY = "https://app.mouseflow.com/websites/site-1/recordings/{}/play"


def rule_set(text):
    body = "\n".join("  " + line for line in text.strip("\n").splitlines())
    return read([("r.yaml", f"version: 1\nrules:\n{body}\n".encode())]).rules


def visit(key, *pages, at=NOW, site=SITE, friction=None, device="Phone", **values):
    """A session that saw these pages; a page in capitals has a rage click."""
    views = tuple(
        PageView(website_page=page.lower(), tags=("click-rage",) if page.isupper() else ())
        for page in pages
    )
    row = Recording(
        id=key, last_activity=at, duration=95_000, device=device, page_views=views, **values
    )
    band = None if friction is None else Band(friction)
    return RecordingSubject(website=site, recording=row, zone=ZONE, friction=band)


class PostingWorld:
    """A store, rules, and the poster of the bot against the simulator's Slack."""

    def __init__(self, sim: Simulator, text: str, **addresses: str) -> None:
        self.sim, self.now = sim, NOW
        self.store = in_memory_copy("sqlite:////nowhere/at/all.db")
        self.rules = {rule.id: rule for rule in (rule_set(text) if text else ())}
        self.addresses = Addresses(channel="#ux", ops_channel="#ops", zone=ZONE, **addresses)
        self.routing = Routing("#ux", ZONE, "#ops")
        self.account = self.hook = None
        self.poster = SlackPoster(Secret(sim.slack.token), base_url=sim.slack_url)

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def match(self, *subjects, rule: str = "", why: Mapping[str, str] | None = None) -> None:
        """These sessions match the rule, or every rule, in one poll."""
        rules = [self.rules[rule]] if rule else self.rules.values()
        found = [
            Found(rule=it, subject=subject, happened=subject.recording.last_activity or self.now,
                  why=(why or {}).get(it.id, "a reason").split("; "))
            for subject in subjects for it in rules
        ]  # fmt: skip
        site = subjects[0].website.id
        outcome = PollOutcome(source="recordings", website=site, at=self.now)
        self.store.do(lambda conn: record_poll(conn, outcome, found, self.routing))

    async def deliver(self, **more: Callable[[str], None]) -> Drained:
        """Perform what is due."""
        ports = Ports(self.account, self.poster, self.hook, self.addresses)
        return await drain(self.store, ports, ACTIONS, clock=lambda: self.now, **more)

    def posts(self, channel: str = "ux"):
        return self.sim.slack.in_channel(channel)


@asynccontextmanager
async def posting(text: str, **addresses: str):
    """The world, while the simulator's Slack serves it."""
    world: PostingWorld | None = None
    async with Simulator(sites=[], now=lambda: world.now if world else NOW).serving() as sim:
        for name in ("ux", "ops", "incidents"):
            sim.slack.add_channel(name)
        world = PostingWorld(sim, text, **addresses)
        try:
            yield world
        finally:
            await world.poster.close()
            world.store.close()


class Bot:
    """A message with buttons, and the bot that is connected to the simulator's Slack."""

    def __init__(self, world) -> None:
        self.world = world
        self.sim = world.sim
        self.socket = world.sim.socket_mode
        self.woken = asyncio.Event()

    @asynccontextmanager
    async def connected(self, token="xapp-simulator-token", users=()):
        buttons = Buttons(
            self.world.poster, self.world.store,
            users=users, zone=ZONE, clock=lambda: self.world.now, wake=self.woken.set,
        )  # fmt: skip
        connection = PressConnection(Secret(token), self.sim.slack_url, lambda: self.world.now)

        async def receive_presses() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(buttons.receive_presses(connection))
                tasks.create_task(connection.stay_connected())

        running = asyncio.create_task(receive_presses())
        try:
            yield self
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def until(self, holds) -> None:
        """Until it holds: looked at again whenever the store has done what came before."""
        async with asyncio.timeout(60):
            while not holds():
                await self.world.store.run(lambda conn: None)

    async def is_connected(self) -> None:
        await self.until(lambda: self.socket.connected)

    @property
    def post(self):
        return self.world.posts()[0]

    def audited(self):
        return [it.text for it in self.world.store.do(lambda conn: history(conn, kind="press"))]

    def snoozed(self, rule="friction"):
        return self.world.store.do(lambda conn: snoozed_until(conn, rule))


__all__ = ["NOW", "PLAY", "SITE", "Bot", "PostingWorld", "plain", "posting", "visit"]
