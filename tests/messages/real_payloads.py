"""One message of each main kind, as the bot posts it to the simulator's Slack.

`python tests/messages/real_payloads.py` writes them to `payloads/`.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

if __name__ == "__main__":
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests / name) for name in ("budgets", "end_to_end", "polling", "reports")]

import budget_world
import report_world
from posting_world import Bot, posting, visit
from weekly_world import Weeks

from bot.actions import ACTIONS
from bot.delivery import drain
from bot.domain.calendar import Calendar
from bot.domain.causes import Cause
from bot.domain.limits import Hours
from bot.domain.subjects import Site
from bot.errors import BadCredentials, TryLater
from bot.messages import ops
from bot.messages.ops import store_fails, store_works
from bot.notices import Notices
from bot.polling.ops_messages import announce, post_directly
from bot.polling.outages import Troubles
from bot.polling.record_matches import Caught
from bot.ports import Ports
from bot.store.rules import RejectedRules

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
payment-error:
  summary: Error on the payment page
  severity: critical
  watch: recordings
  runbook: https://wiki.larkfield.example/payment
  when: {tags: js-error}
  do: {slack: {channel: "#ux"}}
gift-finder-exit:
  summary: Gift finder left without a result
  severity: info
  watch: recordings
  when: {exit_page: /finder}
  do: {slack: {channel: "#ux"}}
gift-finder-shared:
  summary: Gift finder left without a result
  severity: info
  watch: recordings
  when: {exit_page: /finder}
  do: {share: {expires: 7d}, slack: {channel: "#ux"}}
boots-launch:
  summary: Visitor of the boots launch
  severity: info
  watch: recordings
  when: {saw_page: "/boots*"}
  do: {slack: {channel: "#ux"}}
big-basket:
  summary: Big basket, bad day
  watch: recordings
  when: {pages: {min: 9}}
  do: {slack: {channel: "#ux", text: "🧺 *Big basket, bad day* on {{ website }}: {{ duration }}"}}
outlet-404:
  summary: Visitor meets a missing page
  watch: recordings
  when: {saw_page: /404}
  safety: {at_most: 2 per hour}
  do: {tag: missing, slack: {channel: "#ux"}}
checkout-rage:
  summary: rage-click sessions
  watch: recordings
  severity: critical
  when: {tags: click-rage}
  count: {at_least: 3, within: 10m}
  do: {slack: {channel: "#ux"}}
"""
ALERTS = {
    "funnel": ("funnels", "summary: Checkout funnel", "conversion: {under: 25%}"),
    "form": ("forms", "summary: Newsletter form", "completion: {under: 50%}"),
    "feedback": ("feedback", "summary: Delivery survey", "response_rate: {under: 2%}"),
    "answers": ("feedback", "summary: Delivery survey", "new_responses: {min: 1}"),
    "page": ("pages", "summary: Slow page", "render_time: {over: 4s}"),
    "website": ("websites", "summary: Not recording\n  severity: critical", "status: Stopped"),
}
LASTING = "  resolved: true\n  remind: 4h\n"
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


class Accepts:
    """A Mouseflow that does whatever it is asked to."""

    async def send(self, request):
        return request.read(b'{"id": "r5", "token": "T0KEN"}')


async def kinds() -> dict[str, dict]:
    """A recording of each severity, with own text, hostile paths, a share, and of two rules."""
    shop, values = Site("site-1", SHOP), {"country": "DK", "browser": "Safari", "os": "iOS"}
    cart, finder = ("/", "/cart", "/CHECKOUT/PAYMENT", "/help"), ("/", "/gifts-under-50", "/finder")
    hostile = ("/checkout/<!channel>", "/out/https://evil.example|*click*")
    why = {
        "checkout-friction": "rage clicks on /checkout/<!channel>; friction at least 5",
        "payment-error": "a JavaScript error on /checkout/payment",
        "gift-finder-exit": "left on /finder",
        "gift-finder-shared": "left on /finder",
        "boots-launch": "saw /boots/alpine-2",
        "outlet-404": "saw /404",
    }
    found = {}
    share_url = "https://share.larkfield.example/{token}"
    async with posting(RECORDINGS, **APP, share_url=share_url) as slack:
        slack.account = Accepts()

        async def one(name: str, key: str, *rules: str, pages=cart, **more) -> None:
            seen = visit(key, *pages, at=slack.now, site=shop, **values, **more)
            for rule in rules:
                slack.match(seen, rule=rule, why=why)
            await slack.deliver()
            found[name] = body(slack.posts()[-1])
            slack.wait(hours=2)

        await one("recording-critical", "r1", "payment-error", friction=5)
        await one("recording-info", "r2", "gift-finder-exit", pages=finder)
        await one("recording-hostile", "r3", "checkout-friction", pages=hostile, friction=5)
        await one("recording-own-text", "r4", "big-basket", friction=5)
        await one("recording-shared", "r5", "gift-finder-shared", pages=finder)
        await one("recording-two-rules-answer", "r6", "boots-launch", "payment-error", friction=5)
        found["recording-two-rules"] = body(slack.posts()[-2])
        for n in range(3):
            slack.match(visit(f"n{n}", "/404", at=slack.now, site=shop), rule="outlet-404", why=why)
        await slack.deliver()
        found["ops-rule-paused"] = body(slack.posts("ops")[-1])
    return found


PRESSED = {
    "watched": "Mark watched",
    "star": "Star recording",
    "not-useful": "Not useful",
    "snooze": "Snooze rule until tomorrow 09:00",
}


async def presses() -> dict[str, dict]:
    """What a button changes on its message, what only one person sees, and what a snooze held."""
    found = {}
    async with posting(MANY, **APP) as slack:
        bot, slack.account = Bot(slack), Accepts()
        why = {"checkout-friction": "rage clicks on /checkout/payment"}

        async def matched(key: str) -> None:
            seen = visit(key, "/cart", "/CHECKOUT/PAYMENT", at=slack.now, site=Site("site-1", SHOP))
            slack.match(seen, rule="checkout-friction", why=why)
            await slack.deliver()

        async with bot.connected():
            await bot.is_connected()
            for n, (name, label) in enumerate(PRESSED.items()):
                await matched(name)
                slack.wait(minutes=17)
                bot.socket.press(slack.posts()[-1], label)
                await bot.until(lambda n=n: len(bot.audited()) == n + 1)
                await slack.deliver()
                found[f"after-{name}"] = body(slack.posts()[-1])
            bot.socket.press(slack.posts()[0], "Not useful", user="U7", name="eve")
            await bot.until(lambda: slack.sim.slack.whispers)
            [(_, _, said)] = slack.sim.slack.whispers
            found["only-you-not-allowed"] = {"text": said, "blocks": []}
        for n in range(6):
            slack.wait(hours=1)
            await matched(f"held-{n}")
        slack.wait(hours=17)
        await slack.deliver()
        found["digest-after-snooze"] = body(slack.posts()[-1])
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
checkout-digest:
  summary: Frustrated visitor in the checkout
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {channel: "#morning", digest: "mon-fri 09:00"}}
search-digest:
  summary: Search without a click
  severity: info
  watch: recordings
  when: {tags: search}
  do: {slack: {channel: "#morning", digest: "mon-fri 09:00"}}
"""


async def waited() -> dict[str, dict]:
    """What waited in a quiet night, and a scheduled digest."""
    shops = [Site("site-1", SHOP), Site("site-2", OUTLET)]
    zone = "Europe/Copenhagen"
    night = Calendar(zone, (Hours(frozenset(range(7)), 20 * 60, 7 * 60, zone),))
    async with posting(MANY, **APP) as slack:
        for name in ("digests", "morning"):
            slack.sim.slack.add_channel(name)
        slack.wait(hours=11)
        why = dict.fromkeys(slack.rules, "rage clicks on /checkout/payment")
        for n in range(6):
            page = "/CHECKOUT/PAYMENT" if n % 3 else "/CART"
            seen = visit(f"r{n}", page, at=slack.now, site=shops[n % 2], friction=5 - n % 2)
            slack.match(seen, rule="search-dead-end" if n == 5 else "checkout-friction", why=why)
            seen = visit(f"d{n}", "/landing/spring", at=slack.now, site=shops[0])
            slack.match(seen, rule="landing-left", why=why)
            seen = visit(f"m{n}", page, at=slack.now, site=shops[0], friction=5)
            slack.match(seen, rule="search-digest" if n == 5 else "checkout-digest", why=why)
            await slack.deliver(calendar=night)
            slack.wait(hours=1)
        for _ in range(2):
            slack.wait(hours=6)
            await slack.deliver(calendar=night)
        return {
            "after-quiet": body(slack.posts()[0]),
            "scheduled": body(slack.posts("digests")[0]),
            "scheduled-of-several": body(slack.posts("morning")[0]),
        }


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
            "ops-dead-letters": ops.dead_letters(
                7, "tag", refused, remedy, ["trade-login"], slack.now
            ),
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


def fire(api, responses: int) -> None:
    """Figures at which every alert fires."""
    api.steps = ("Cart", "Shipping", "Payment", "Order")
    api.funnels["checkout"] = [1204, 612, 388, 219]
    api.forms["f1"] = {"alias": "newsletter", "visits": 120, "interactions": 78,
                       "submits": 78, "success": 17}  # fmt: skip
    report = {"responses": responses, "impressions": 2901}
    api.campaigns["c1"] = {"name": "Delivery survey", "report": report}
    api.pages["/boots"] = {"views": 1902, "renderTime": 5200, "visitTime": 41_000}
    api.website["status"] = "Stopped"


def worsen(api) -> None:
    """It still holds, with other figures."""
    api.funnels["checkout"] = [1204, 612, 388, 212]
    api.forms["f1"]["success"] = 12
    api.campaigns["c1"]["report"] = {"responses": 34, "impressions": 3100}
    api.pages["/boots"]["renderTime"] = 6100


def mend(api) -> None:
    """It holds no more."""
    api.funnels["checkout"] = [1204, 612, 388, 330]
    api.forms["f1"]["success"] = 70
    api.campaigns["c1"]["report"] = {"responses": 120, "impressions": 3300}
    api.pages["/boots"]["renderTime"] = 1200
    api.website["status"] = "Recording"


async def alerts() -> dict[str, dict]:
    """An alert of each kind: how it begins, is acknowledged, reminds and ends; and new answers."""
    found = {}
    for name, (kind, head, when) in ALERTS.items():
        lasting = LASTING if name != "answers" else ""
        rule = f"{name}-rule:\n  {head}\n  watch: {kind}\n  when: {{{when}}}\n{lasting}"
        world = report_world.World(kind, rule + '  do: {slack: {channel: "#ux"}}\n')
        async with posting("", **APP) as slack:
            slack.store.close()
            slack.store = world.store
            for responses in (31, 34):
                fire(world.api, responses)
                await world.look()
            await delivered(slack, world)
            (post,) = slack.posts()
            found[name] = body(post)
            if lasting:
                became = await life(slack, world, known=name != "funnel")
                found |= {f"{name}-{each}": it for each, it in became.items()}
    return found


async def delivered(slack, world) -> None:
    """What is due is out, an edit after its post, too."""
    for _ in range(2):
        slack.now = world.now
        await slack.deliver()


async def life(slack, world, *, known: bool) -> dict[str, dict]:
    """What becomes of an alert that fires, and that somebody acknowledges or nobody."""
    worsen(world.api)
    await world.look(hours=4)
    await delivered(slack, world)
    first, reminder = slack.posts()
    found = {"reminder": body(reminder)}
    if known:
        bot = Bot(slack)
        async with bot.connected():
            await bot.is_connected()
            bot.socket.press(first, "Acknowledge")
            await bot.until(bot.audited)
        await delivered(slack, world)
        found["acknowledged"] = body(slack.posts()[0])
    mend(world.api)
    await world.look(hours=1, minutes=12)
    await world.look(minutes=15)
    await delivered(slack, world)
    ended, _, answer = slack.posts()
    return found | {"resolved": body(ended), "resolved-answer": body(answer)}


async def troubles() -> dict[str, dict]:
    """Outages, rejected rule files, a store that can't be written, and what follows a gap."""
    found = {}
    async with posting("", **APP) as slack:

        async def told(name: str, *more: str) -> None:
            await slack.deliver()
            await slack.deliver()
            for each, post in zip((name, *more), slack.posts("ops")[-1 - len(more) :], strict=True):
                found[each] = body(post)

        def outages() -> Troubles:
            return Troubles(slack.store, ops="#ops", wake=int, clock=lambda: slack.now)

        polls = [f"recordings of {name}" for name in (SHOP, OUTLET)]
        away = outages()
        for _ in range(8):
            for poll in polls:
                await away.failed(poll, TryLater("503 from Mouseflow"))
            slack.wait(minutes=1)
        await told("ops-outage")
        for poll in polls:
            await away.works(poll, Caught(206, 4))
        await told("ops-outage-over-edit", "ops-outage-over")
        await outages().failed(polls[0], BadCredentials("401 from Mouseflow"))
        await told("ops-key-rejected")

        rule = "stopped:\n  watch: websites\n  when: {status: Stopped}\n  do: {slack: {}}\n"
        context = report_world.World("websites", rule).context
        notices = Notices(
            replace(context, store=slack.store), ops="#ops", wake=int, clock=lambda: slack.now,
            announce_after=timedelta(hours=1),
        )  # fmt: skip
        since = slack.now
        slack.wait(hours=9, minutes=14)
        await notices.announce_resumed(since, told=False)
        await told("ops-back")
        errors = (
            'rules/checkout.yaml:7:7: unknown field "frction"; did you mean "friction"?',
            'rules/checkout.yaml:18:15: channel "checkout" needs quotes and a #: "#checkout"',
        )
        rejected = RejectedRules(slack.now, errors)
        await notices.tell_ops(
            rejected.title,
            *errors,
            grey=f"{ops.instant(rejected.at)} · mouseflow-bot check shows every error",
        )
        await told("ops-rules-not-loaded")
        ports = Ports(None, slack.poster, None, slack.addresses)
        for name, it in {
            "ops-store": store_fails(slack.now, "the disk is full"),
            "ops-store-over": store_works(slack.now),
        }.items():
            await post_directly(it.title, it.lines, slack.now, "#ops", ports, it.grey)
            found[name] = body(slack.posts("ops")[-1])
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
        **await kinds(),
        **await presses(),
        **await waited(),
        **await report(),
        **await alerts(),
        **await budgets(),
        **await notices(),
        **await troubles(),
    }


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for name, made in asyncio.run(payloads()).items():
        text = json.dumps(made, ensure_ascii=False, indent=2)
        (FILES / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
