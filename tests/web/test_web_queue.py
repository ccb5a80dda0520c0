"""The queue says what waits on purpose, until when, and how often a dead letter was tried."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import update
from test_web_many import LANE, RULES, SITE, deliver, match
from test_web_pages import text_of
from web_world import NOW, WebWorld

from bot.domain.limits import Reason
from bot.store.outbox import claim, give_up
from bot.store.recordings import set_websites
from bot.store.rules import snooze
from bot.store.schema import ms, steps


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path, RULES)
    world.write(set_websites, {SITE.id: SITE.name}, {}, NOW)
    yield world
    world.store.close()


async def queue(world):
    async with world.ask() as asking:
        found = (await asking.get("/api/v1/queue")).json()
        return found, text_of((await asking.get("/queue")).text)


async def test_a_digest_that_waits_is_not_stuck(world):
    world.write(snooze, "cart", NOW + timedelta(hours=1), NOW)
    match(world, "cart", "r1", "r2")
    deliver(world)
    found, page = await queue(world)
    assert (found["waiting"], found["held"]) == (1, 1)
    (lane,) = found["lanes"]
    assert lane["state_text"] == "Holds messages back"
    assert lane["held"] == [
        {"reason": "for the next digest", "count": 1, "until": "2026-11-26T14:32:00Z"}
    ]
    assert "Nothing is stuck; 1 message waits for its time" in page
    assert "1 for the next digest, 15:32" in page


async def test_messages_of_a_quiet_time_say_its_end(world):
    match(world, "cart", "r1")
    later = {"due": ms(NOW + timedelta(hours=9)), "fault": str(Reason.QUIET)}
    world.write(lambda conn: conn.execute(update(steps).values(**later)))
    found, page = await queue(world)
    (lane,) = found["lanes"]
    assert [held["reason"] for held in lane["held"]] == ["for the end of the quiet time"]
    assert "1 for the end of the quiet time, 23:32" in page
    # A retry that waits is no message that is held back.
    world.write(lambda conn: conn.execute(update(steps).values(fault="timeout")))
    found, page = await queue(world)
    assert (found["held"], found["lanes"][0]["held"]) == (0, [])
    assert "1 action waits" in page


async def test_a_dead_letter_says_how_often_it_was_tried(world):
    match(world, "cart", "r1")
    claimed = world.write(claim, LANE, NOW, "token")
    end = partial(give_up, claimed=claimed, now=NOW, reason="no_service", remedy="create a new one")
    world.store.do(end)
    found, page = await queue(world)
    assert found["groups"][0]["items"][0]["attempts"] == 1
    assert "Attempts" in page
