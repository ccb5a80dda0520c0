"""Pages of an invented shop group on a Thursday at 14:34, on which all that can go wrong has.

A Slack channel is archived, actions failed for good, an alert fires, one rule is snoozed and one
disabled, messages wait for a digest, a budget runs out, and one is nearly used up. Beside it: a bot
that has just started, one whose store is away, and two accounts with a third that does not run. A
browser walks through the pages, and pictures for the docs show them.
"""

import asyncio
import json
import random
import shutil
import threading
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from unittest.mock import patch

from sqlalchemy import insert
from test_web_accounts import AccountsWorld
from test_web_reports import look
from web_world import CHECKOUT_FRICTION, NOW, TOKEN, WebWorld

from bot.budgets.state import (
    BudgetMark,
    SiteLine,
    SiteMark,
    StepLine,
    set_budget_mark,
    set_site_mark,
)
from bot.domain.budget import Ownership
from bot.domain.calendar import Calendar
from bot.domain.causes import Cause
from bot.domain.press import Press
from bot.domain.step import Rank
from bot.domain.subjects import Band, RecordingSubject, Site, written
from bot.polling.candidates import Candidate, Evaluation
from bot.polling.record_matches import Routing, matches_in, record_poll
from bot.ports import Posted
from bot.rules.model import applies
from bot.store.audit import Note, record
from bot.store.budgets import keep_highest, own
from bot.store.lanes import LaneFault, pause_lane
from bot.store.matches import NewMatch, NewStep, PollOutcome, add_match
from bot.store.outbox import claim, complete, give_up
from bot.store.presses import apply, receive
from bot.store.recordings import SeenRecording, save_recordings, set_watermark, set_websites
from bot.store.rules import pause_rule, rules_loaded, snooze
from bot.store.schema import levels, ms
from bot.store.troubles import Trouble, keep_trouble
from bot.web.server import bound, serving, url_of
from mouseflow.models import PageView, Recording

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ZONE = "Europe/Copenhagen"
CALENDAR = Calendar(zone=ZONE)
RULES = (
    """
version: 1
reports:
  weekly: {summary: The week, at: wed 09:00, do: {slack: {channel: "#ux"}}}
rules:"""
    + CHECKOUT_FRICTION.replace("10 per hour", "3 per hour")
    + """
    safety: {at_most: 200 per hour}
  checkout-rage:
    summary: Many rage clicks in the checkout
    severity: critical
    watch: recordings
    when: {tags: click-rage, saw_page: /checkout*}
    count: {at_least: 4, within: 24h}
    do: {slack: {channel: "#incidents"}}
  checkout-funnel:
    summary: Checkout funnel converts badly
    watch: funnels
    websites: [larkfield.example]
    when: {conversion: {under: 25%}}
    do: {slack: {channel: "#checkout-alerts"}}
  outlet-404:
    summary: Broken links in the outlet
    watch: recordings
    websites: [outlet.larkfield.example]
    when: {saw_page: /sale/*}
    do: {slack: {channel: "#outlet-alerts"}}
  trade-login:
    summary: Trade customer can’t log in
    watch: recordings
    websites: [trade.larkfield.example]
    when: {saw_page: /login, pages: {under: 3}}
    do: {tag: [trade, login]}
  payment-error:
    summary: Error on the payment page
    severity: critical
    watch: recordings
    websites: [larkfield.example, de.larkfield.example, fr.larkfield.example]
    when: {saw_page: /checkout/payment, tags: click-error}
    do: {slack: {channel: "#incidents"}}
  nobody-pays:
    summary: Nobody reaches the order page
    severity: critical
    watch: recordings
    when: {saw_page: /thanks}
    count: {at_most: 0, within: 2h}
    do: {slack: {channel: "#incidents"}}
  gift-finder-exit:
    summary: Gift finder left without a result
    severity: info
    watch: recordings
    when: {saw_page: /gifts*, pages: {under: 4}}
    do: {slack: {channel: "#ux", digest: "mon-fri 17:00"}}
  summer-sale:
    summary: Summer sale page is slow
    disabled: true
    watch: recordings
    when: {saw_page: /summer}
    do: {slack: {channel: "#ux"}}
budgets:
  plan-credits:
    summary: Plan credits
    websites: ["*"]
    recordings: 50000
    period: month
    steps:
      80%: {slack: {channel: "#ops"}}
      95%: {recording_rate: 25, slack: {channel: "#ops"}}
      100%: {recording: stop, slack: {channel: "#ops"}}
  outlet-week:
    summary: Outlet week
    websites: [outlet.larkfield.example]
    recordings: 2850
    period: week
    steps:
      80%: {slack: {channel: "#ops"}}
      95%: {recording_rate: 25, slack: {channel: "#ops"}}
      100%: {recording: stop, slack: {channel: "#ops"}}
"""
)
SITES = {
    "s1": "larkfield.example", "s2": "de.larkfield.example", "s3": "outlet.larkfield.example",
    "s4": "fr.larkfield.example", "s5": "gifts.larkfield.example", "s6": "trade.larkfield.example",
}  # fmt: skip
BUSY = {"s1": 1.0, "s2": 0.6, "s3": 1.7, "s4": 0.2, "s5": 0.13, "s6": 0.05}
"""How much traffic each has beside the busiest shop's."""
HOURS = (5, 2, 2, 0, 3, 4, 13, 28, 38, 51, 50, 55, 65, 66, 30)
"""The busiest shop's recordings today, hour by hour."""
VISITS = {
    "s3": (("/sale/summer-2025",), ("/", "/cart", "/CHECKOUT")),
    "s5": (("/gifts", "/gifts/for-him"),),
    "s6": (("/", "/login"),),
}
SHOPS = (
    ("/", "/boots/alpine-2", "/cart", "/checkout", "/CHECKOUT/PAYMENT"),
    ("/", "/cart", "/CHECKOUT"),
    ("/", "/boots/alpine-2"),
)
SHOP = Site("s1", SITES["s1"])
DAYS = 30
ARCHIVED = NOW - timedelta(hours=1, minutes=51)
"""When the channel of the outlet was archived."""
NOON = NOW + timedelta(minutes=2)
"""When the pages are looked at."""
MIDNIGHT = NOW.replace(hour=23, minute=0) - timedelta(days=1)


def visit(number, site, pages, at):
    """A session that saw these pages; a page in capitals has rage clicks."""
    views = tuple(
        PageView(
            website_page=page.lower(), visit_time=9_000 * (n + 1 + number % 4),
            tags=("click-rage",) if page.isupper() else (),
        )
        for n, page in enumerate(pages)
    )  # fmt: skip
    rage = any(view.tags for view in views)
    row = Recording(
        id=f"{number:032x}"[::-1], created=at - timedelta(minutes=4), last_activity=at,
        duration=95_000 + 1000 * number, device="Phone" if number % 3 else "Desktop",
        browser="Safari", os="iOS", country="dk", page_views=views,
        tags=("click-rage",) if rage else (),
    )  # fmt: skip
    return RecordingSubject(website=site, recording=row, friction=Band(5, 10) if rage else None)


def seen(key, at):
    """A recording as a poll saves it; its session is over after 35 minutes."""
    over = at < NOW - timedelta(minutes=35)
    return SeenRecording(id=key, fingerprint="f", settled=over, created=at, last_activity=at)


async def fill(world, days=DAYS):
    """The store of the shop group after so many days."""
    world.sites = dict.fromkeys(SITES, False) | {"s6": True}
    world.write(set_websites, SITES, {}, NOW)
    world.write(rules_loaded, {"checkout-friction": "1"}, NOW - timedelta(days=30))
    world.write(rules_loaded, {"checkout-friction": "2"}, NOW - timedelta(days=8))
    await look(world, NOW - timedelta(days=days), SHOP)
    visitors(world)
    chance = random.Random(7)
    for hour in range(24 * days, -1, -4):
        at = NOW - timedelta(hours=hour, minutes=3)
        if hour == 4:
            loaded = Note(kind="rules.loaded", text="9 rules, 2 budgets, 1 report")
            world.write(record, NOW - timedelta(hours=5), [loaded])
            alert(world)
        if hour == 0:
            budgets(world)
            for minutes in range(108, 0, -9):
                arrive(world, "s3", VISITS["s3"][0], NOW - timedelta(minutes=minutes))
        for key in chance.sample(sorted(SITES), 3) if hour > 8 else ("s1", "s5", "s6"):
            arrive(world, key, chance.choice(VISITS.get(key, SHOPS)), at)
        perform(world, at + timedelta(seconds=41))
        if hour == 24:
            await look(world, at, SHOP)
    trouble(world)
    requests(world)
    for n, key in enumerate(SITES):
        world.write(set_watermark, "recordings", key, "{}", NOW + timedelta(seconds=112 - 9 * n))
        world.write(set_site_mark, key, SiteMark(NOW, "Recording", 25 if key == "s3" else 100))
    about = {"by": "ux-lead", "because": "payment provider is down"}
    world.write(snooze, rule="checkout-rage", until=NOW + timedelta(hours=1), at=NOW, **about)
    world.now = NOON


def arrive(world, key, pages, at):
    """A visit to a website is polled, and the rules match that it meets."""
    number = world.visits = getattr(world, "visits", 0) + 1
    rules = {it.id: it for it in world.rules.rules if it.watch == "recordings"}
    subject = visit(number, Site(key, SITES[key]), pages, at)
    row = subject.recording
    which = ["checkout-friction", "checkout-rage"] if row.tags else []
    which += ["gift-finder-exit"] if key == "s5" else []
    which += ["trade-login"] if key == "s6" else []
    which += ["outlet-404"] if "/sale/summer-2025" in pages else []
    judged = Evaluation(Candidate(row, settled=True), subject, tuple(rules[it] for it in which))
    found = matches_in([judged], at, [it for it in rules.values() if applies(it, subject.website)])
    outcome = PollOutcome(source="recordings", website=key, at=at, seen=[seen(row.id, at)])
    routing = Routing("#mouseflow", ZONE, weekly=True)
    world.write(partial(record_poll, outcome=outcome, found=found, routing=routing))


def visitors(world):
    """All of today's recordings, which match nothing."""
    for key, share in BUSY.items():
        found = [
            seen(f"{key}-{hour}-{n}", MIDNIGHT + timedelta(hours=hour, seconds=30 * n))
            for hour, count in enumerate(HOURS)
            for n in range(round(share * count))
        ]
        world.write(save_recordings, key, found, NOW)


def perform(world, at):
    """What is due is done, but for the archived channel and the website that may only be read."""
    lanes = [*(f"mouseflow:{key}" for key in SITES), "slack:#checkout-alerts", "slack:#incidents",
             "slack:#ux", *["slack:#outlet-alerts"] * (at < ARCHIVED)]  # fmt: skip
    for lane in lanes:
        while claimed := world.write(claim, lane, at, "token", CALENDAR):
            if lane.endswith("s6") and at > NOW - timedelta(hours=6):
                remedy = "give the API user write access to trade.larkfield.example"
                end = partial(give_up, reason="Mouseflow refuses the tag (403)", remedy=remedy)
            elif lane.startswith("slack:"):
                post = Posted(f"post-{claimed.key}", "C1", f"{ms(at)}.0", "")
                end = partial(complete, note=f"posted to {lane[6:]}", posts=[post])
            else:
                tag = json.loads(claimed.params).get("tag")
                end = partial(complete, note=f"tagged {tag}" if tag else "starred")
            world.store.do(partial(end, claimed=claimed, now=at))
            if lane == "slack:#checkout-alerts" and not at.day % 5:
                press(world, "not_useful", f"post-{claimed.key}", at)


def press(world, button, post, at):
    """Somebody in Slack presses a button."""
    pressed = Press(id=f"{button}/{post}", button=button, post=post, user="U1", name="ux-lead",
                    channel="C1", at=at)  # fmt: skip

    def work(conn):
        receive(conn, pressed)
        apply(conn, pressed, at, ZONE)

    world.store.do(work)


def alert(world):
    """A funnel fires since 10:20, and somebody has said that he knows."""
    at, about = NOW - timedelta(hours=4, minutes=12), RecordingSubject(
        website=SHOP, recording=Recording(id="f1")
    )  # fmt: skip
    step = NewStep(key="funnel/slack", rank=Rank.POST, lane="slack:#checkout-alerts", kind="slack",
                   params="{}", due=at)  # fmt: skip
    found = NewMatch(
        rule="checkout-funnel", kind="funnels", website="s1", subject_key="f1",
        match_key="checkout-funnel/s1/f1/1", subject=written(about), matched=at, happened=at,
        why=("conversion 18.2 %, under 25 %",), steps=[step],
    )  # fmt: skip
    state = {"rule": found.rule, "website": "s1", "subject": "f1", "fired": ms(at), "at": ms(at)}

    def fire(conn):
        add_match(conn, found)
        conn.execute(insert(levels).values(**state))

    world.store.do(fire)
    perform(world, at)
    press(world, "ack", "post-funnel/slack", at + timedelta(minutes=21))


def trouble(world):
    """A channel is archived."""
    since, lane = ARCHIVED, "slack:#outlet-alerts"
    remedy = "unarchive it, or choose another one"

    def work(conn):
        fault = LaneFault(Cause.CHANNEL_ARCHIVED, remedy, since)
        pause_lane(conn, lane, NOW + timedelta(minutes=9), "is_archived", fault)
        about = {"place": "#outlet-alerts", "reason": "is_archived", "remedy": remedy}
        key = f"channel archived {lane}"
        cause = Cause.CHANNEL_ARCHIVED
        keep_trouble(
            conn, Trouble(key=key, cause=cause, since=since, told=True, waiting=12, **about)
        )

    world.store.do(work)


def budgets(world):
    """The month's credits run out, the outlet's week is nearly used up; one site is left alone."""
    used = {}
    for key, share in BUSY.items():
        used[key] = {
            NOW.date() - timedelta(days=n): round(share * (300 + 60 * (n * 5 % 7)) * (n > 0 or 0.6))
            for n in range(12)
        }
        world.write(keep_highest, key, used[key], NOW)
    month, week = sum(sum(it.values()) for it in used.values()), sum([*used["s3"].values()][:4])
    rate = {"s3": 25}
    lines = {
        key: SiteLine(key, name, "Recording", rate.get(key, 100),
                      "budget:outlet-week" if key in rate else "", key == "s6",
                      NOW - timedelta(days=2) if key == "s5" else None)
        for key, name in SITES.items()
    }  # fmt: skip
    plan = BudgetMark(
        at=NOW, period="month 2026-11-15", first="2026-11-15", end="2026-12-15", recordings=50_000,
        used=month, expected=54_000, ends=NOW + timedelta(days=16, hours=14),
        websites=tuple(lines.values()),
        steps=tuple(StepLine(at, "posts", None) for at in (80, 95, 100)),
    )  # fmt: skip
    passed = (NOW - timedelta(hours=16), NOW - timedelta(hours=3, minutes=12), None)
    outlet = BudgetMark(
        at=NOW, period="week 2026-11-23", first="2026-11-23", end="2026-11-30", recordings=2_850,
        used=week, expected=3_100, ends=NOW + timedelta(hours=20), websites=(lines["s3"],),
        steps=tuple(map(StepLine, (80, 95, 100), ("posts",) * 3, passed)),
    )  # fmt: skip
    world.write(set_budget_mark, "plan-credits", plan)
    world.write(set_budget_mark, "outlet-week", outlet)
    held = Ownership(
        "s3", "recording_rate", "budget:outlet-week", passed[1], "95 % used", "25", 100
    )
    world.write(own, held)


def requests(world):
    """What the past day has asked of Mouseflow."""
    for hour in range(25):
        world.seconds = 3600.0 * hour
        counted = world.meter._hour()
        counted.requests += 2_500
        counted.websites.update({key: round(240 + 370 * min(it, 1)) for key, it in BUSY.items()})
    costs = {"checkout-friction": 2016, "gift-finder-exit": 912, "payment-error": 744,
             "trade-login": 432, "outlet-404": 528, "checkout-funnel": 96}  # fmt: skip
    note = Note(kind="poll.cost", website="s1", details=costs)
    world.write(record, NOW - timedelta(hours=1), [note])


@asynccontextmanager
async def alone(world):
    """The application of one account."""
    app = world.app()
    try:
        yield app
    finally:
        await world.hub.close()
        world.reader.close()
        world.store.close()


@asynccontextmanager
async def together(accounts):
    """The application of several accounts."""
    async with accounts.ask() as asking:
        yield asking._transport.app
    for world in accounts.worlds.values():
        world.store.close()


@contextmanager
def served(opened):
    """The address of an application, served by a thread of its own."""
    address = Future()

    async def serve():
        end = asyncio.Event()
        async with opened as app:
            listening = bound("127.0.0.1", 0)
            async with serving(app, listening):
                loop = asyncio.get_running_loop()
                address.set_result((url_of(listening), partial(loop.call_soon_threadsafe, end.set)))
                await end.wait()

    def work():
        try:
            asyncio.run(serve())
        except BaseException as error:
            if address.done():
                raise
            address.set_exception(error)

    thread = threading.Thread(target=work, name="served")
    thread.start()
    url, stop = address.result()
    try:
        yield url
    finally:
        stop()
        thread.join()


PAGES = {
    "overview": "/", "rules": "/rules", "rule": "/rules/checkout-friction",
    "rule-snoozed": "/rules/checkout-rage", "rule-too-few": "/rules/nobody-pays",
    "rule-disabled": "/rules/summer-sale", "reports": "/reports", "budgets": "/budgets",
    "activity": "/activity", "queue": "/queue", "recording": "/recordings/{recording}",
    "match": "/matches/{match}", "count": "/matches/{count}", "digest": "/matches/{digest}",
    "missing": "/nothing",
}  # fmt: skip
"""The pages of the shop group, by the name of their picture."""

ERRORS = {"missing": 404, "error": 503, "account-down": 503}
"""The pages that are errors, and their status."""

NEW = {
    "first-run": "/", "first-run-budgets": "/budgets",
    "first-run-activity": "/activity", "first-run-queue": "/queue",
    "first-run-reports": "/reports", "login": "/login",
}  # fmt: skip
"""The pages of a bot that has polled nothing yet, to which nobody has logged in."""

ACCOUNTS = {
    "accounts": "/", "account": "/accounts/outlet/", "account-down": "/accounts/later/",
}  # fmt: skip
NAMES = (*PAGES, *NEW, *ACCOUNTS, "error")


def _keys(world):
    """What is in the addresses of matches and recordings."""

    def newest(conn, rule, which):
        sql = f"SELECT key, subject_key FROM matches WHERE rule = ? AND {which} ORDER BY id DESC"
        return conn.exec_driver_sql(sql, (rule,)).first()

    def work(conn):
        match, recording = newest(conn, "checkout-friction", "kind = 'recordings'")
        count, _ = newest(conn, "checkout-rage", "counted_in = id")
        digest, _ = newest(conn, "gift-finder-exit", "kind = 'digest'")
        return {"match": match, "recording": recording, "count": count, "digest": digest}

    return world.store.do(work)


@contextmanager
def pages(folder, days=DAYS):
    """The addresses of all pages by name."""
    for name in ("shop", "new", "away", "accounts"):
        (folder / name).mkdir()
    shop = WebWorld(folder / "shop", RULES)
    asyncio.run(fill(shop, days))
    new, away = WebWorld(folder / "new"), WebWorld(folder / "away")
    accounts = AccountsWorld(folder / "accounts")
    accounts.worlds["outlet"].write(pause_rule, "outlet-404", "more than 200 in 1 h", NOW)
    keys = _keys(shop)
    with ExitStack() as stack:
        stack.enter_context(patch("bot.web.facts.PATIENCE", 60.0))  # a busy machine is no matter
        opened = alone(shop), alone(new), alone(away), together(accounts)
        url, of_new, of_away, of_all = (stack.enter_context(served(it)) for it in opened)
        path = folder / "away" / "bot.db"
        path.rename(path.with_suffix(".gone"))
        found = {name: url + path.format(**keys) for name, path in PAGES.items()}
        found |= {name: of_new + path for name, path in NEW.items()}
        found |= {name: of_all + path for name, path in ACCOUNTS.items()}
        yield found | {"login-wrong": of_new + "/login", "error": of_away + "/"}


def host_of(address):
    """`http://127.0.0.1:8080` of a page's address."""
    return address[: address.index("/", len("http://"))]


def log_in(page, url, token=TOKEN):
    """Log in on the page."""
    page.goto(f"{url}/login", wait_until="load")
    page.get_by_label("Token").fill(token)
    with page.expect_navigation():
        page.keyboard.press("Enter")
