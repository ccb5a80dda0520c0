"""A website's weeks: matches that a test makes, and the API's counts of sessions."""

import json
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

from posting_world import SITE, ZONE, visit

from bot.polling.context import PollContext
from bot.polling.record_matches import Found, Routing, record_poll
from bot.rules.files.load import read
from bot.store.matches import PollOutcome
from bot.weekly import post_reports

RULES = """
version: 1
reports:
  weekly:
    at: mon 09:00
    do: {slack: {channel: "#ux"}}
rules:
  checkout-friction:
    summary: Frustrated visitor in the checkout
    watch: recordings
    when: {friction: {min: 2.5}}
    do: {slack: {channel: "#ops", digest: "sun 23:59"}}
  search-dead-end:
    summary: Search without a click
    watch: recordings
    when: {tags: search}
    do: {slack: {channel: "#ops", digest: "sun 23:59"}}
  old-landing:
    watch: recordings
    when: {tags: landing}
    do: {slack: {channel: "#ops", digest: "sun 23:59"}}
  checkout-funnel:
    summary: Checkout funnel
    watch: funnels
    when: {conversion: {under: 25%}}
    resolved: true
    do: {slack: {channel: "#ops"}}
"""


class Counts:
    """The API: 1,000 sessions a week, 42 of them with friction; `fails` makes it refuse."""

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.calls = 0

    async def send(self, request):
        self.calls += 1
        if self.fails:
            raise self.fails
        query = dict(request.query)
        count = 1000 if query["fromdate"] >= "2026-03-09" else 2000
        friction = float(query.get("frictionmin", 0))
        count = 0 if friction > 1000 else 42 if friction else count
        return request.read(json.dumps({"recordings": [], "count": count}).encode())


class Weeks:
    """The weeks before Monday, 16 March 2026, 09:00 in Copenhagen, when the report is due."""

    def __init__(self, slack, text=RULES) -> None:
        self.slack, self.text = slack, text
        self.rules = read([("r.yaml", text.encode())])
        self.api = Counts()
        self.context = PollContext(
            mouseflow=self.api, store=slack.store, zone=ZoneInfo(ZONE),
            settle=timedelta(minutes=35), start=timedelta(hours=1),
            routing=Routing("#ux", ZONE, ops="#ops", weekly=True),
        )  # fmt: skip

    def matches(self, rule, at, *pages, count=1):
        """The rule matches so many sessions then."""
        self.slack.now = at
        (about,) = [each for each in self.rules.rules if each.id == rule]
        found = [
            Found(rule=about, subject=visit(f"{rule}-{at:%m%d%H}-{n}", *pages, at=at), happened=at)
            for n in range(count)
        ]
        outcome = PollOutcome(source="recordings", website=SITE.id, at=at)
        work = partial(record_poll, outcome=outcome, found=found, routing=self.context.routing)
        self.slack.store.do(work)

    async def tick(self, at) -> list[str]:
        """The daemon looks whether a report is due; what the channel has got so far."""
        self.slack.now = at
        await post_reports(self.rules, [SITE], self.context, at)
        await self.slack.deliver()
        return [post.text for post in self.slack.posts() if "📊" in post.text]
