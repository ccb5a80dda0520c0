"""One message of each main kind, as the bot posts it to the simulator's Slack.

`python tests/messages/real_payloads.py` writes them to `payloads/`.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

if __name__ == "__main__":
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests / name) for name in ("budgets", "end_to_end", "polling", "reports")]

import budget_world
import report_world
from posting_world import posting, visit
from weekly_world import Weeks

from bot.actions import ACTIONS
from bot.delivery import drain
from bot.domain.calendar import Calendar
from bot.domain.causes import Cause
from bot.domain.limits import Hours
from bot.domain.subjects import Site
from bot.messages import ops
from bot.polling.ops_messages import announce
from bot.ports import Ports

FILES = Path(__file__).parent / "payloads"
APP = {"buttons": True, "page": "https://bot.larkfield.example"}
SHOP, OUTLET = "larkfield.example", "outlet.larkfield.example"

RECORDINGS = """
checkout-friction:
  summary: Frustrated visitor in the checkout
  watch: recordings
  runbook: https://wiki.larkfield.example/checkout
  when: {friction: {min: 2.5}}
  do: {slack: {channel: "#ux", at_most: 1 per hour}}
checkout-rage:
  summary: rage-click sessions
  watch: recordings
  severity: critical
  when: {tags: click-rage}
  count: {at_least: 3, within: 10m}
  do: {slack: {channel: "#ux"}}
"""
ALERTS = {
    "funnel": (
        "funnels",
        "summary: Checkout funnel\n  resolved: true\n  remind: 4h",
        "conversion: {under: 25%}",
    ),
    "form": ("forms", "summary: Newsletter form", "completion: {under: 50%}"),
    "answers": ("feedback", "summary: Delivery survey", "new_responses: {min: 1}"),
    "page": ("pages", "summary: Slow page", "render_time: {over: 4s}"),
    "website": ("websites", "summary: Not recording\n  severity: critical", "status: Stopped"),
}
BUDGET = """
plan-credits:
  summary: Plan credits
  websites: ["*larkfield.example"]
  recordings: 3000
  period: month
  starts_on: 15
  steps:
    80%: {slack: {channel: "#ux"}}
    95%: {recording_rate: 25, slack: {channel: "#ux"}}
    100%: {recording: stop, slack: {channel: "#ux"}}
  resume: true
"""


def body(post) -> dict:
    return {"text": post.text, "blocks": list(post.blocks)}


async def recordings() -> dict[str, dict]:
    """A recording, the digest of what is over the limit, and one match of many."""
    found = {}
    pages = ("/", "/boots/alpine-2", "/cart", "/checkout", "/CHECKOUT/PAYMENT")
    site = Site("site-1", SHOP)
    async with posting(RECORDINGS, **APP) as slack:
        rules = {"friction": "checkout-friction", "rage": "checkout-rage"}
        values = {"country": "DK", "browser": "Safari", "os": "iOS"}
        why = {rules["friction"]: "rage clicks on /checkout/payment; friction at least 5"}
        for n in range(4):
            at = slack.now
            seen = visit(f"r{n}", *pages, at=at, site=site, friction=5 if n % 2 else 2.5, **values)
            slack.match(seen, rule=rules["friction"], why=why)
            await slack.deliver()
            slack.wait(minutes=3)
        slack.wait(hours=1)
        await slack.deliver()
        one, many = slack.posts()
        found |= {"recording": body(one), "digest": body(many)}
        seen = [
            visit(f"c{n}", *pages, at=slack.now + timedelta(minutes=n), site=site, friction=5)
            for n in range(2)
        ]
        cart = visit("c2", "/CART", at=slack.now + timedelta(minutes=2), site=site, friction=2.5)
        slack.wait(minutes=3)
        slack.match(*seen, cart, rule=rules["rage"])
        await slack.deliver()
        found["count"] = body(slack.posts()[-1])
    return found


MANY = """
checkout-friction:
  summary: Frustrated visitor in the checkout
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {channel: "#ux"}}
search-dead-end:
  summary: Search without a click
  severity: info
  watch: recordings
  when: {tags: search}
  do: {slack: {channel: "#ux"}}
landing-left:
  summary: Left the landing page at once
  severity: info
  watch: recordings
  when: {pages: {max: 1}}
  do: {slack: {channel: "#digests", digest: "mon-fri 09:00"}}
"""


async def waited() -> dict[str, dict]:
    """What waited in a quiet night, and a scheduled digest."""
    shops = [Site("site-1", SHOP), Site("site-2", OUTLET)]
    zone = "Europe/Copenhagen"
    night = Calendar(zone, (Hours(frozenset(range(7)), 20 * 60, 7 * 60, zone),))
    async with posting(MANY, **APP) as slack:
        slack.sim.slack.add_channel("digests")
        slack.wait(hours=11)
        why = dict.fromkeys(slack.rules, "rage clicks on /checkout/payment")
        for n in range(6):
            page = "/CHECKOUT/PAYMENT" if n % 3 else "/CART"
            seen = visit(f"r{n}", page, at=slack.now, site=shops[n % 2], friction=5 - n % 2)
            slack.match(seen, rule="search-dead-end" if n == 5 else "checkout-friction", why=why)
            seen = visit(f"d{n}", "/landing/spring", at=slack.now, site=shops[0])
            slack.match(seen, rule="landing-left", why=why)
            await slack.deliver(calendar=night)
            slack.wait(hours=1)
        for _ in range(2):
            slack.wait(hours=6)
            await slack.deliver(calendar=night)
        return {"after-quiet": body(slack.posts()[0]), "scheduled": body(slack.posts("digests")[0])}


async def report() -> dict[str, dict]:
    """The weekly report of a website."""
    monday = datetime(2026, 3, 16, 8, tzinfo=UTC)
    async with posting("", **APP) as slack:
        world = Weeks(slack)
        await world.tick(monday - timedelta(days=14))
        world.matches("checkout-friction", monday - timedelta(days=10), "/CART", count=8)
        await world.tick(monday - timedelta(days=7))
        world.matches("checkout-friction", monday - timedelta(days=3), "/CHECKOUT/PAY", count=6)
        world.matches("search-dead-end", monday - timedelta(days=2), "/search", count=3)
        await world.tick(monday)
        return {"report-weekly": body(slack.posts()[-1])}


async def notices() -> dict[str, dict]:
    """What the ops channel gets."""
    async with posting("", **APP) as slack:
        fault = ops.Fault(
            cause=Cause.CHANNEL_ARCHIVED, place="#outlet-alerts",
            reason="Slack rejected the request: is_archived",
            remedy="unarchive the channel, or choose another one", since=slack.now,
            waiting=12, rules=("outlet-404",),
        )  # fmt: skip
        refused = "Mouseflow refuses tags on trade.larkfield.example (403)"
        remedy = "Give the API user write access, then retry"
        told = {
            "ops-channel": ops.began(fault, timedelta(days=3)),
            "ops-channel-over": ops.ended(fault, slack.now + timedelta(hours=2, minutes=4), 0),
            "ops-dead-letters": ops.dead_letters(7, "tag", refused, remedy, ["trade-login"]),
        }
        found = {}
        for name, it in told.items():
            slack.store.do(
                lambda conn, it=it, name=name: announce(
                    conn,
                    it.title,
                    it.lines,
                    slack.now,
                    "#ops",
                    page="queue",
                    offer=it.offer,
                    about="" if it.offer else "#outlet-alerts",
                    grey=it.grey,
                    ends="over" in name,
                )
            )
            await slack.deliver()
            found[name] = body(slack.posts("ops")[-1])
            if it.title[0] == "✅":
                found[f"{name}-edit"] = body(slack.posts("ops")[0])
            slack.wait(minutes=1)
    return found


async def alerts() -> dict[str, dict]:
    """The beginning of an alert of each kind, and how the funnel's ends."""
    found = {}
    for name, (kind, head, when) in ALERTS.items():
        rule = f"{name}-rule:\n  {head}\n  watch: {kind}\n  when: {{{when}}}\n"
        world = report_world.World(kind, rule + '  do: {slack: {channel: "#ux"}}\n')
        async with posting("", **APP) as slack:
            slack.store.close()
            slack.store = world.store
            api = world.api
            for responses in (31, 34):
                report = {"responses": responses, "impressions": 2901}
                api.funnels["checkout"] = [1204, 219]
                api.forms["f1"] = {"name": "Newsletter", "visits": 120, "interactions": 78,
                                   "submits": 78, "success": 17}  # fmt: skip
                api.campaigns["c1"] = {"name": "Delivery survey", "report": report}
                api.pages["/boots"] = {"views": 1902, "renderTime": 5200, "visitTime": 41_000}
                api.website["status"] = "Stopped"
                await world.look()
            slack.now = world.now
            await slack.deliver()
            (post,) = slack.posts()
            found[name] = body(post)
            if name == "funnel":
                api.funnels["checkout"] = [1204, 212]
                await world.look(hours=4)
                slack.now = world.now
                await slack.deliver()
                api.funnels["checkout"] = [1204, 330]
                await world.look(hours=1, minutes=12)
                await world.look(minutes=15)
                for _ in range(2):
                    slack.now = world.now
                    await slack.deliver()
                ended, reminder, answer = slack.posts()
                found["reminder"] = body(reminder)
                found |= {"resolved": body(ended), "resolved-answer": body(answer)}
    return found


async def budgets() -> dict[str, dict]:
    """Three steps of a budget, a person who steps in, and a new period."""
    shops = [budget_world.Shop(SHOP, 100), budget_world.Shop(OUTLET, 50)]
    bot = budget_world.World(BUDGET, *shops)
    async with posting("", **APP) as slack:
        slack.store.close()
        slack.store = bot.store
        ports = Ports(bot.account, slack.poster, None, slack.addresses)

        async def run(until) -> None:
            while not until():
                bot.wait(hours=1)
                await bot.poll_budgets()
                await drain(bot.store, ports, ACTIONS, clock=lambda: bot.now)

        await run(lambda: len(slack.posts()) == 3)
        shops[1].set(bot.now, "person", status="Recording")
        await run(lambda: len(slack.posts()) == 4)
        await run(lambda: len(slack.posts()) == 5)
        names = ("80", "95", "100", "aside", "reset")
        found = {
            f"budget-{name}": body(post) for name, post in zip(names, slack.posts(), strict=True)
        }
    bot.close()
    return found


async def payloads() -> dict[str, dict]:
    """Each message by its kind."""
    return {
        **await recordings(),
        **await waited(),
        **await report(),
        **await alerts(),
        **await budgets(),
        **await notices(),
    }


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for name, made in asyncio.run(payloads()).items():
        text = json.dumps(made, ensure_ascii=False, indent=2)
        (FILES / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
