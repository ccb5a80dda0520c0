"""The status page over a store of its own, asked without sockets."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import httpx

from bot.config.load import load
from bot.config.settings import allowed
from bot.domain.pulse import Pulse
from bot.rules.files.load import load as load_rules
from bot.store import open_store
from bot.store.audit import newest_entry
from bot.web.app import ROUTES, application
from bot.web.facts import Facts, Reader
from bot.web.meter import Meter
from bot.web.pages import Pages
from bot.web.safety import Gate, Hosts
from bot.web.shared import Pace, Web
from bot.web.stream import Hub
from bot.web.tail import Tail

NOW = datetime(2026, 11, 26, 13, 32, tzinfo=UTC)
TOKEN = "a-token-of-the-page"

CHECKOUT_FRICTION = """
  checkout-friction:
    summary: Frustrated visitor in the checkout
    watch: recordings
    when: {friction: {min: 2.5}, saw_page: /checkout*, duration: {over: 60s}}
    except: {tags: [internal, load-test]}
    do:
      tag: [friction, checkout]
      star: true
      slack: {channel: "#checkout-alerts", at_most: 10 per hour}"""
RULES = f"""
version: 1
rules:{CHECKOUT_FRICTION}
  outlet-404:
    summary: Visitor meets a missing page
    severity: critical
    runbook: https://wiki.example/missing-pages
    watch: recordings
    websites: [outlet.example]
    when: {{saw_page: /404}}
    do: {{slack: {{channel: "#outlet-alerts"}}}}
  checkout-funnel:
    summary: Checkout funnel converts badly
    watch: funnels
    when: {{conversion: {{under: 25%}}}}
    do: {{slack: {{}}}}
"""


pages = cache(Pages)  # compiling the templates takes longer than any test


class WebWorld:
    """Settings, rules and a store; `ask()` gives a client of the page."""

    def __init__(self, folder: Path, rules: str = RULES, **settings: str) -> None:
        self.rule_file = folder / "rules.yaml"
        self.rule_file.write_text(rules)
        self.settings = load(
            None,
            {
                "BOT_MOUSEFLOW__REGION": "eu",
                "BOT_MOUSEFLOW__EMAIL": "ops@larkfield.example",
                "BOT_MOUSEFLOW__API_KEY": "key-of-the-account",
                "BOT_MOUSEFLOW__TIME_ZONE": "Europe/Copenhagen",
                "BOT_SLACK__BOT_TOKEN": "xoxb-secret",
                "BOT_SLACK__CHANNEL": "#mouseflow",
                "BOT_SLACK__OPS_CHANNEL": "#ops",
                "BOT_RULES__PATHS": str(self.rule_file),
                "BOT_STORE__URL": f"sqlite:///{folder / 'bot.db'}",
                "BOT_WEB__TOKEN": TOKEN,
            }
            | settings,
        )
        self.store = open_store(self.settings.store.url)
        self.rules = load_rules(self.settings.rules.paths, allowed(self.settings))
        self.now = NOW
        self.seconds = 0.0
        self.pulse = Pulse(NOW.timestamp(), NOW.timestamp())
        self.ready = True
        self.polled: list[str] = []
        self.woken = 0
        self.sites: dict[str, bool] = {}
        self.token = TOKEN
        self.meter = Meter(clock=lambda: self.seconds)

    def write(self, work, *arguments, **named):
        """Do it in one transaction of the daemon's store."""
        return self.store.do(
            partial(work, **named) if named else lambda conn: work(conn, *arguments)
        )

    def _poll(self, kind, website):
        self.polled.append(f"{kind} {website}".strip())
        return 3

    def _wake(self):
        self.woken += 1

    def facts(self) -> Facts:
        return Facts(
            settings=self.settings,
            store=self.store,
            rules=lambda: self.rules,
            pulse=lambda: self.pulse,
            ready=lambda: self.ready,
            wake=self._wake,
            token=lambda: self.token,
            poll=self._poll,
            sites=lambda: self.sites,
            recordings_seen=lambda: 7,
            meter=self.meter,
            started=NOW,
            clock=lambda: self.now,
        )

    def app(self):
        """The application; `reader` must be closed after it."""
        facts, hosts = self.facts(), Hosts.of("127.0.0.1", self.settings.web.public_url)
        self.reader, tail = Reader(self.settings.store.url), Tail(self.store.do(newest_entry))
        self.hub = Hub(facts, self.reader, tail)
        gate = Gate(
            facts.token, clock=lambda: self.seconds, wall=lambda: NOW.timestamp() + self.seconds
        )
        pace = Pace(lambda: self.seconds)
        web = Web(facts, self.reader, gate, pages(), tail, self.hub, pace)
        return application(web, hosts, ROUTES)

    @asynccontextmanager
    async def ask(self, host="127.0.0.1:8080", client="127.0.0.1"):
        app = self.app()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(client, 1))
        try:
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as asking:
                yield asking
        finally:
            await self.hub.close()
            self.reader.close()


async def logged_in(asking, token=TOKEN):
    """Log in as a browser does; returns what forms must carry."""
    answer = await asking.post(
        "/login", data={"token": token}, headers={"sec-fetch-site": "same-origin"}
    )
    assert answer.status_code == 303, answer.text
    return answer
