"""The page of weekly reports: when each is due, and what the latest ones said."""

from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from web_world import NOW, WebWorld

from bot.domain.subjects import RecordingSubject, Site
from bot.polling.context import PollContext
from bot.polling.record_matches import Found, Routing, record_poll
from bot.store.matches import PollOutcome
from bot.store.outbox import claim, complete
from bot.store.recordings import set_websites
from bot.store.schema import steps
from bot.weekly import post_reports
from mouseflow.models import Recording

SITE = Site("site-1", "larkfield.example")
RULES = """
version: 1
reports:
  weekly:
    summary: The week
    at: mon 09:00
    do: {slack: {channel: "#ux"}}
rules:
  cart:
    summary: Left the cart
    watch: recordings
    when: {saw_page: /cart}
    do: {star: true}
  silent:
    watch: recordings
    when: {saw_page: /nowhere}
    do: {star: true}
"""
MONDAY = NOW.replace(day=30, hour=8, minute=0)  # 09:00 in Copenhagen


class Uncounted:
    """A Mouseflow that finds no session."""

    async def send(self, request):
        return request.read(b'{"recordings": [], "count": 0}')


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path, RULES)
    world.write(set_websites, {SITE.id: SITE.name}, {}, NOW)
    yield world
    world.store.close()


async def look(world, at, *more, site=SITE):
    """The daemon looks whether a report is due, and posts it."""
    zone = ZoneInfo(world.settings.mouseflow.time_zone)
    context = PollContext(
        mouseflow=Uncounted(), store=world.store, zone=zone, settle=timedelta(minutes=35),
        start=timedelta(hours=1), routing=Routing("#mouseflow", zone.key),
    )  # fmt: skip
    await post_reports(world.rules, [site, *more], context, at)
    world.now = at


def matched(world, *keys):
    (rule,) = (each for each in world.rules.rules if each.id == "cart")
    found = [
        Found(
            rule=rule,
            subject=RecordingSubject(website=SITE, recording=Recording(id=key)),
            happened=NOW,
        )
        for key in keys
    ]
    outcome = PollOutcome(source="recordings", website=SITE.id, at=NOW)
    world.write(partial(record_poll, outcome=outcome, found=found, routing=Routing("#ux", "UTC")))


async def shown(world, path="reports"):
    async with world.ask() as asking:
        answer = await asking.get(f"/api/v1/{path}")
        page = await asking.get(f"/{path}")
    assert (answer.status_code, page.status_code) == (200, 200)
    return answer.json(), page.text


async def test_the_latest_reports_and_when_the_next_is_due(world):
    await look(world, NOW)  # from now on it is known
    found, page = await shown(world)
    assert found["planned"][0]["next_at"] == "2026-11-30T08:00:00Z"
    assert (found["planned"][0]["place"], found["reports"]) == ("#ux", [])
    assert "The first one comes when it is due." in page
    matched(world, "r1", "r2")
    await look(world, MONDAY)
    found, page = await shown(world)
    (report,) = found["reports"]
    assert report["headline"] == "Week 48: 2 matches"
    assert (report["website"], report["outcome"]) == ("larkfield.example", "Waits")
    assert report["week"]["rules"][0]["rule"] == "cart"
    claimed = world.write(claim, "slack:#ux", MONDAY, "token")
    world.write(complete, claimed, MONDAY)
    found, page = await shown(world)
    assert found["reports"][0]["outcome"] == "Posted"
    assert '<a href="/rules/cart">Left the cart</a>' in page
    assert found["planned"][0]["next_at"] == "2026-12-07T08:00:00Z"
    entries = (await shown(world, "activity"))[0]["entries"]
    told = {entry["subject"]: entry["text"] for entry in entries}
    assert (told["weekly"], told["cart"]) == ("weekly report", "matched")
    _found, rules = await shown(world, "rules")
    assert '<a href="/reports">1 weekly report</a>' in rules


async def test_a_report_about_several_websites_says_how_many(world):
    outlet = Site("outlet", "outlet.example")
    await look(world, NOW, outlet)
    await look(world, MONDAY, outlet)
    found, _page = await shown(world)
    assert [it["website"] for it in found["reports"]] == ["2 websites"]


async def test_a_report_of_another_version_is_named(world):
    await look(world, NOW)
    await look(world, MONDAY)
    world.write(lambda conn: conn.execute(update(steps).values(params='{"week": 7}')))
    found, page = await shown(world)
    assert found["reports"][0]["week"] is None
    assert "written by another version" in page


async def test_without_reports_the_page_says_how_to_write_one(tmp_path):
    world = WebWorld(tmp_path)
    found, page = await shown(world)
    assert (found["planned"], found["reports"]) == ([], [])
    assert "at: mon 09:00" in page
    _found, rules = await shown(world, "rules")
    assert "weekly report" not in rules
    world.store.close()
