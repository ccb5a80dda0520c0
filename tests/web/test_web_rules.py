"""What the pages of rules say of disabled rules, limits, waiting sessions, edits and absence."""

from datetime import timedelta

import msgspec
import pytest
from test_web_pages import SITE, match, matched, perform, pressed, text_of
from web_world import NOW, RULES, WebWorld

from bot.domain.alert_state import Level
from bot.ports import Posted
from bot.reports.absence import Counting
from bot.rules.model import condition_id
from bot.store.alert_states import KeptLevel, save_level
from bot.store.matches import add_match
from bot.store.outbox import claim, complete
from bot.store.recordings import (
    COUNTING,
    SeenRecording,
    save_recordings,
    set_watermark,
    set_websites,
)
from bot.store.rules import Group, pause_rule, rules_loaded, tally_one

MORE = """
  old-funnel:
    summary: Last year’s funnel
    disabled: true
    watch: funnels
    when: {conversion: {under: 10%}}
    do: {slack: {}}
  nobody-pays:
    summary: Nobody reaches /thanks
    watch: recordings
    when: {saw_page: /thanks}
    count: {at_most: 0, within: 2h}
    do: {slack: {channel: "#checkout-alerts"}}
  left:
    watch: recordings
    when: {last_page: {starts_with: /cart}}
    do: {slack: {}}
"""


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path, RULES + MORE.replace("last_page: {starts_with: /cart}", "pages: 1"))
    world.sites = {SITE: False, "other": False}
    world.write(set_websites, {SITE: "larkfield.example", "other": "outlet.example"}, {}, NOW)
    yield world
    world.store.close()


async def rows(asking, query=""):
    found = (await asking.get(f"/api/v1/rules{query}")).json()
    return {row["id"]: row for row in found["rules"]}, found


async def test_disabled_rules_are_at_the_end_with_the_place_that_says_so(world):
    async with world.ask() as asking:
        found, every = await rows(asking)
        assert list(found)[-1] == "old-funnel"
        (about,) = world.rules.disabled
        assert found["old-funnel"]["state_text"] == "Disabled"
        assert found["old-funnel"]["state_reason"].endswith(f"/rules.yaml:{about.line}")
        assert (every["total"], every["counts"]["disabled"]) == (6, 1)
        only, _every = await rows(asking, "?state=disabled")
        assert list(only) == ["old-funnel"]
        page = (await asking.get("/rules")).text
        assert '<tr role="row" class="greyed">' in page
        assert "1 disabled" in text_of(page)
        of_rule = await asking.get("/rules/old-funnel")
        assert (of_rule.status_code, "Disabled" in of_rule.text) == (200, True)
        header = {"authorization": f"Bearer {world.token}"}
        snoozed = await asking.post(
            "/rules/old-funnel/snooze", data={"until": "1h"}, headers=header
        )
        assert snoozed.status_code == 404


async def test_a_rule_says_why_it_is_paused(world):
    world.write(pause_rule, "left", "more than 200 matches within 1 h", NOW)
    async with world.ask() as asking:
        found, _every = await rows(asking)
        assert found["left"]["state_reason"] == "more than 200 matches within 1 h"
        assert "more than 200 matches within 1 h" in (await asking.get("/rules/left")).text


async def test_a_rule_says_how_many_sessions_wait_for_it(world):
    seen = [
        SeenRecording(id=f"r{n}", fingerprint="f", settled=False, created=NOW, last_activity=NOW)
        for n in range(3)
    ]
    world.write(save_recordings, SITE, seen[:2], NOW)
    world.write(save_recordings, "other", seen[2:], NOW)
    async with world.ask() as asking:
        found, _every = await rows(asking)
        assert found["left"]["waiting_sessions"] == 3
        assert found["left"]["next_settled_at"] == "2026-11-26T14:07:00Z"
        assert found["outlet-404"]["waiting_sessions"] == 0  # decided at once
        assert "3 sessions wait" in text_of((await asking.get("/rules")).text)
        page = text_of((await asking.get("/rules/left")).text)
        assert "Sessions that wait 3, next final 15:07" in page


async def test_a_rule_says_how_much_of_its_limit_is_used(world):
    for n in range(2):
        matched(world, key=f"r{n}", steps=())
        limited = match(key=f"s{n}", steps=("slack",))
        (step,) = limited.steps
        params = '{"channel": "#checkout-alerts", "at_most": {"times": 10, "window_ms": 3600000}}'
        limited.steps[0] = type(step)(
            **{name: getattr(step, name) for name in step.__slots__} | {"params": params}
        )
        world.write(add_match, limited)
        claimed = world.write(claim, "slack:#checkout-alerts", NOW, "token")
        world.write(complete, claimed, NOW)
    async with world.ask() as asking:
        found = (await asking.get("/api/v1/rules/checkout-friction")).json()
        assert found["limits"] == [
            {"place": "#checkout-alerts", "used": 2, "at_most": 10, "within": 3600.0}
        ]
        page = text_of((await asking.get("/rules/checkout-friction")).text)
        assert "Messages 2 of 10 in 1 h" in page
        world.now = NOW + timedelta(hours=2)
        found = (await asking.get("/api/v1/rules/checkout-friction")).json()
        assert found["limits"][0]["used"] == 0


async def test_the_chart_says_when_the_rule_was_edited(world):
    world.write(rules_loaded, {"left": "1"}, NOW - timedelta(days=9))
    world.write(rules_loaded, {"left": "2"}, NOW - timedelta(days=8))
    async with world.ask() as asking:
        found = (await asking.get("/api/v1/rules/left")).json()
        assert found["edited_at"] == ["2026-11-18T13:32:00Z"]
        page = (await asking.get("/rules/left")).text
        assert "Edited 18 Nov." in page
        assert page.count(">edited</text>") == 2  # wide and phone
        assert "left was edited" in text_of((await asking.get("/activity?kind=people")).text)


async def test_a_match_says_that_its_message_was_called_not_useful(world):
    for n in (1, 2):
        matched(world, key=f"r{n}", steps=("slack",))
        out = (Posted(f"post-{n}", "C1", f"{n}.0", ""),)
        perform(
            world,
            "slack:#checkout-alerts",
            lambda conn, it, at, out=out: complete(conn, it, at, note="posted", posts=out),
        )
    pressed(world, "not_useful", "post-2")
    async with world.ask() as asking:
        found, _every = await rows(asking)
        assert found["checkout-friction"]["useful"] == {"useful": 1, "of": 2}
        of = (await asking.get("/api/v1/rules/checkout-friction")).json()["matches"]
        assert {it["recording_id"]: it["rating"] for it in of} == {"r1": None, "r2": "not useful"}
        assert "50 %" in text_of((await asking.get("/rules")).text)
        assert "not useful" in text_of((await asking.get("/rules/checkout-friction")).text)


async def test_a_rule_about_too_few_sessions_says_what_it_counted(world):
    (rule,) = (each for each in world.rules.rules if each.id == "nobody-pays")

    def count(conn, site, since, sessions):
        counting = Counting(since, NOW, condition_id(rule))
        text = msgspec.json.encode(counting).decode()
        set_watermark(conn, f"{COUNTING}{rule.id}", site, text, NOW)
        for n in range(sessions):
            tally_one(conn, rule.id, Group("website", site), f"r{n}", NOW - timedelta(hours=1))

    async with world.ask() as asking:
        page = text_of((await asking.get("/rules/nobody-pays")).text)
        assert "Sessions counted fires at 0 or fewer in 2 h" in page
        assert page.count("not counted yet") == 2
        world.write(count, SITE, NOW - timedelta(days=1), 12)
        world.write(count, "other", NOW - timedelta(hours=1), 0)
        found = (await asking.get("/api/v1/rules/nobody-pays")).json()["too_few"]
        assert [(it["website"], it["sessions"]) for it in found] == [
            ("larkfield.example", 12),
            ("outlet.example", 0),
        ]
        page = text_of((await asking.get("/rules/nobody-pays")).text)
        assert "larkfield.example 12 sessions" in page
        assert "outlet.example 0 sessions Can’t fire before" in page

        def fires(conn):
            level = Level(true_since=NOW, fired=NOW - timedelta(minutes=9))
            save_level(conn, rule.id, "other", "other", KeptLevel(level), NOW)

        world.store.do(fires)
        page = text_of((await asking.get("/rules/nobody-pays")).text)
        assert "outlet.example 0 sessions Fires since 14:23" in page
        row = (await rows(asking))[0]["nobody-pays"]
        assert (row["state_text"], row["state_reason"]) == ("Firing", "outlet.example")
