"""Pictures of the status page for the docs, and of every page to look at.

    python tests/docs/web_pictures.py [FOLDER [NAME …]]

An invented shop group on a Thursday: one Slack channel is archived, one rule is snoozed, one
disabled. With FOLDER all pages, or those of these names, are written there instead, at 390 and
1280 px, in light and dark.
It needs Debian's package `chromium`.
"""

import asyncio
import random
import shutil
import socket
import sys
import tempfile
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests / name) for name in ("web", "polling", "reports")]

import uvicorn
from playwright.async_api import async_playwright
from test_web_reports import look
from web_world import NOW, WebWorld

from bot.budgets.state import (
    BudgetMark,
    SiteLine,
    SiteMark,
    StepLine,
    set_budget_mark,
    set_site_mark,
)
from bot.domain.causes import Cause
from bot.domain.subjects import Band, RecordingSubject, Site
from bot.polling.evaluate import Candidate, Evaluation
from bot.polling.record_matches import Routing, matches_in, record_poll
from bot.store.budgets import keep_highest
from bot.store.lanes import LaneFault, pause_lane
from bot.store.matches import PollOutcome
from bot.store.outbox import claim, complete, give_up
from bot.store.recordings import SeenRecording, save_recordings, set_watermark, set_websites
from bot.store.rules import rules_loaded, snooze
from bot.store.troubles import Trouble, keep_trouble
from mouseflow.models import PageView, Recording

DOCS = Path(__file__).parents[2] / "docs" / "images"
RULES = """
version: 1
reports:
  weekly: {summary: The week, at: wed 09:00, do: {slack: {channel: "#ux"}}}
rules:
  checkout-friction:
    summary: Frustrated visitor in the checkout
    watch: recordings
    when: {friction: {min: 2.5}, saw_page: /checkout*, duration: {over: 60s}}
    except: {tags: [internal, load-test]}
    do:
      tag: [friction, checkout]
      star: true
      slack: {channel: "#checkout-alerts", at_most: 3 per hour}
    safety: {at_most: 200 per hour}
  checkout-rage:
    summary: Many rage clicks in the checkout
    severity: critical
    watch: recordings
    when: {tags: click-rage, saw_page: /checkout*}
    count: {at_least: 4, within: 12h}
    do: {slack: {channel: "#incidents"}}
  outlet-404:
    summary: Broken links in the outlet
    watch: recordings
    websites: [outlet.larkfield.example]
    when: {saw_page: /sale/*}
    do: {slack: {channel: "#outlet-alerts"}}
  payment-error:
    summary: Error on the payment page
    severity: critical
    watch: recordings
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
    steps: {80%: {slack: {channel: "#ops"}}, 100%: {recording: stop}}
"""
SITES = {"s1": "larkfield.example", "s2": "de.larkfield.example", "s3": "outlet.larkfield.example"}
VISITS = (
    ("/", "/boots/alpine-2", "/cart", "/checkout", "/CHECKOUT/PAYMENT"),
    ("/", "/cart", "/CHECKOUT"),
    ("/gifts", "/gifts/for-him"),
    ("/sale/summer-2025",),
)
DAYS = 14


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


async def filled(folder):
    """The store of the shop group."""
    world = WebWorld(folder, RULES)
    world.sites = dict.fromkeys(SITES, False) | {"s3": True}
    world.write(set_websites, SITES, {}, NOW)
    world.write(rules_loaded, {"checkout-friction": "1"}, NOW - timedelta(days=30))
    world.write(rules_loaded, {"checkout-friction": "2"}, NOW - timedelta(days=6))
    await look(world, NOW - timedelta(days=DAYS))
    chance, number = random.Random(7), 0
    rules = {rule.id: rule for rule in world.rules.rules}
    for day in range(DAYS, -1, -1):
        for hour in range(0, 24 if day else 14, 3):
            at = NOW - timedelta(days=day) + timedelta(hours=hour - 13, minutes=-2 * hour)
            if at > NOW:
                break
            for key, name in SITES.items():
                number += 1
                subject = visit(number, Site(key, name), chance.choice(VISITS), at)
                row = subject.recording
                seen = SeenRecording(id=row.id, fingerprint="f", settled=day > 0, created=at,
                                     last_activity=at)  # fmt: skip
                world.write(save_recordings, key, [seen], at)
                saw = {view.website_page for view in row.page_views}
                which = [rules["checkout-friction"]] if row.tags else []
                which += [rules["checkout-rage"]] if row.tags else []
                which += [rules["gift-finder-exit"]] if "/gifts" in saw else []
                outlet = "/sale/summer-2025" in saw and key == "s3"
                which += [rules["outlet-404"]] if outlet else []
                judged = Evaluation(Candidate(row, settled=day > 0), subject, tuple(which))
                found = matches_in([judged], at, world.rules.rules)
                outcome = PollOutcome(source="recordings", website=key, at=at)
                routing = Routing("#mouseflow", "Europe/Copenhagen", weekly=True)
                world.write(partial(record_poll, outcome=outcome, found=found, routing=routing))
        perform(world, NOW - timedelta(days=day) + timedelta(minutes=1))
        if day == 1:
            await look(world, NOW - timedelta(days=1))
    trouble(world)
    budget(world)
    for n, key in enumerate(SITES):
        world.write(set_watermark, "recordings", key, "{}", NOW - timedelta(seconds=8 + 9 * n))
        world.write(set_site_mark, key, SiteMark(NOW, "Recording", 25 if n == 2 else 100))
    world.write(snooze, "checkout-rage", NOW + timedelta(hours=1), NOW)
    world.now = NOW + timedelta(minutes=2)
    return world


def perform(world, at):
    """What is due is done, but for the archived channel."""
    lanes = ["slack:#checkout-alerts", "slack:#incidents", "slack:#ux", *map(
        "mouseflow:{}".format, SITES)]  # fmt: skip
    for lane in lanes:
        while claimed := world.write(claim, lane, at, "token"):
            if lane.endswith("s2") and at > NOW:
                world.store.do(partial(give_up, claimed=claimed, now=at, reason="403 refused",
                                       remedy="give the API user write access"))  # fmt: skip
            else:
                note = f"posted to {lane[6:]}" if lane.startswith("slack:") else ""
                world.store.do(partial(complete, claimed=claimed, now=at, note=note))


def trouble(world):
    """A channel was archived an hour ago."""
    since = NOW - timedelta(hours=1)
    lane = "slack:#outlet-alerts"

    def work(conn):
        fault = LaneFault(Cause.CHANNEL_ARCHIVED, "unarchive it, or choose another one", since)
        pause_lane(conn, lane, NOW + timedelta(minutes=9), "is_archived", fault)
        about = {"place": "#outlet-alerts", "reason": "is_archived"}
        kept = Trouble(
            key=f"channel archived {lane}", cause=Cause.CHANNEL_ARCHIVED, since=since, told=True,
            remedy="unarchive it, or choose another one", waiting=12, **about,
        )  # fmt: skip
        keep_trouble(conn, kept)

    world.store.do(work)


def budget(world):
    """The month's credits, 43 % used."""
    lines = tuple(SiteLine(key, name, "Recording", 100, "", False) for key, name in SITES.items())
    mark = BudgetMark(
        at=NOW, period="month 2026-11-15", first="2026-11-15", end="2026-12-15", recordings=50_000,
        used=21_430, expected=54_000, ends=NOW + timedelta(days=16), websites=lines,
        steps=(StepLine(80, "posts", None), StepLine(100, "stops recording", None)),
    )  # fmt: skip
    world.write(set_budget_mark, "plan-credits", mark)
    days = {NOW.date() - timedelta(days=n): 1700 + 60 * (n % 4) for n in range(1, 12)}
    world.write(keep_highest, "s1", days, NOW)


SHOTS = {
    "overview": ("/", 1280, "light"),
    "phone": ("/", 390, "light"),
    "rules": ("/rules", 1280, "light"),
    "rule": ("/rules/checkout-friction", 1280, "dark"),
    "queue": ("/queue", 1280, "light"),
    "recording": ("{recording}", 1280, "light"),
}
PAGES = {
    "overview": "/", "rules": "/rules", "rule": "/rules/checkout-friction",
    "absence": "/rules/nobody-pays", "disabled": "/rules/summer-sale", "budgets": "/budgets",
    "activity": "/activity", "queue": "/queue", "reports": "/reports", "recording": "{recording}",
    "count": "{count}", "digest": "{digest}", "login": "/login", "missing": "/nothing",
}  # fmt: skip


@asynccontextmanager
async def served(world):
    """The address of the page."""
    async with world.ask() as asking:
        found = await asking.get("/api/v1/rules/checkout-friction")
        recording = next(
            it["recording_id"] for it in found.json()["matches"] if not it["stands_for"]
        )
        counts = (await asking.get("/api/v1/rules/checkout-rage")).json()["matches"]
        count = next((it["key"] for it in counts if it["stands_for"]), counts[0]["key"])
        digest = world.store.do(
            lambda conn: conn.exec_driver_sql(
                "SELECT key FROM matches WHERE kind = 'digest' AND rule = 'gift-finder-exit'"
            ).scalar()
        )
        app = asking._transport.app
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
            task = asyncio.create_task(server.serve(sockets=[listening]))
            paths = {"recording": f"/recordings/{recording}", "count": f"/matches/{count}",
                     "digest": f"/matches/{digest}"}  # fmt: skip
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}", paths
            finally:
                server.should_exit = True
                await task


async def main(folder=None, *names):
    with tempfile.TemporaryDirectory() as temporary:
        folder_of_rules = Path(temporary) / "rules"
        folder_of_rules.mkdir()
        world = await filled(folder_of_rules)
        async with served(world) as (url, paths), async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"))
            shots = {f"web-{name}": shot for name, shot in SHOTS.items()}
            if folder:
                shots = {
                    f"{name}-{width}-{scheme}": (path, width, scheme)
                    for name, path in PAGES.items()
                    if not names or name in names
                    for width in (390, 1280)
                    for scheme in ("light", "dark")
                }
            for name, (path, width, scheme) in shots.items():
                page = await browser.new_page(
                    viewport={"width": width, "height": 844 if width < 500 else 800},
                    color_scheme=scheme, timezone_id="Europe/Copenhagen",
                )  # fmt: skip
                await page.clock.set_fixed_time(world.now)
                await page.goto(url + path.format(**paths), wait_until="load")
                target = Path(folder or DOCS) / f"{name}.png"
                await page.screenshot(path=target, full_page=True)
                await page.close()
            await browser.close()
        world.store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
