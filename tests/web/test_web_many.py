"""The page of a count or a digest lists the matches that it stands for."""

from datetime import timedelta

import pytest
from web_world import NOW, WebWorld

from bot.domain.subjects import RecordingSubject, Site
from bot.polling.record_matches import Found, Routing, record_poll
from bot.store.matches import PollOutcome
from bot.store.outbox import claim, complete
from bot.store.recordings import set_websites
from bot.store.rules import snooze
from mouseflow.models import PageView, Recording

SITE = Site("site-1", "larkfield.example")
RULES = """
version: 1
rules:
  rage:
    summary: Many rage clicks
    watch: recordings
    when: {tags: click-rage}
    count: {at_least: 3, within: 10m, by: website}
    do: {slack: {channel: "#ux"}}
  cart:
    summary: Left the cart
    watch: recordings
    when: {saw_page: /cart}
    do: {slack: {channel: "#ux", at_most: 1 per hour}}
"""
LANE = "slack:#ux"


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path, RULES)
    world.write(set_websites, {SITE.id: SITE.name}, {}, NOW)
    yield world
    world.store.close()


def match(world, rule, *keys, at=NOW):
    """The rule matches these recordings, one a minute."""
    (about,) = (each for each in world.rules.rules if each.id == rule)
    views = (PageView(website_page="/cart", uri="https://larkfield.example/cart?email=ada@x.y"),)
    found = [
        Found(
            rule=about,
            subject=RecordingSubject(
                website=SITE,
                recording=Recording(id=key, created=at, page_views=views, visitor_name="Ada"),
            ),
            happened=at + timedelta(minutes=n),
            why=(f"rage clicks in {key}",),
        )
        for n, key in enumerate(keys)
    ]
    outcome = PollOutcome(source="recordings", website=SITE.id, at=at)
    world.write(record_poll, outcome, found, Routing("#mouseflow", "UTC"))


def deliver(world, at=NOW):
    while claimed := world.write(claim, LANE, at, "token"):
        world.write(complete, claimed, at)


async def shown(asking, key, **query):
    answer = await asking.get(f"/api/v1/matches/{key}", params=query)
    assert answer.status_code == 200, answer.text
    page = await asking.get(f"/matches/{key}", params=query)
    assert page.status_code == 200
    assert "Ada" not in page.text + answer.text
    return answer.json(), page.text


async def test_a_count_lists_its_recordings_also_after_their_data_is_erased(world):
    match(world, "rage", "r1", "r2", "r3", "r4")
    deliver(world)
    async with world.ask() as asking:
        found, page = await shown(asking, f"rage/{SITE.id}/r3")
        latest = (await asking.get("/api/v1/rules/rage")).json()["matches"]
    assert found["match"]["stands_for"] == 3
    assert [each["recording_id"] for each in found["members"]] == ["r3", "r2", "r1"]
    assert [each["stands_for"] for each in found["members"]] == [0, 0, 0]
    assert found["until"] > found["since"]
    assert "3 matches: Many rage clicks" in page
    assert "2 min in all" in page
    assert "/recordings/r1" in page
    assert "rage clicks in r1" in page
    of = {each["recording_id"]: (each["stands_for"], each["outcome"]) for each in latest}
    assert of == {
        "r1": (0, "Counted with others"),
        "r2": (0, "Counted with others"),
        "r3": (3, "Posted after 0 s"),
        "r4": (0, "Counted: not enough yet"),
    }


async def test_a_digest_lists_what_it_replaces_page_by_page(world):
    match(world, "cart", *(f"r{n:03}" for n in range(121)))
    deliver(world, NOW)
    deliver(world, NOW + timedelta(hours=2))
    key = f"digest/cart/{SITE.id}/r001/slack-1"
    async with world.ask() as asking:
        found, page = await shown(asking, key)
        assert found["match"]["stands_for"] == 120
        assert found["match"]["recording_id"] is None
        assert "120 matches: Left the cart" in page
        assert "50 of 120" in page
        ids = [each["recording_id"] for each in found["members"]]
        while found["older"]:
            found, page = await shown(asking, key, before=str(found["older"]))
            ids += [each["recording_id"] for each in found["members"]]
        assert "Newest" in page
        assert ids == [f"r{n:03}" for n in range(120, 0, -1)]
        every, _page = await shown(asking, key, limit="1000")
        assert len(every["members"]) == 120
        assert (await asking.get(f"/matches/{key}", params={"before": "x"})).status_code == 422


async def test_a_digest_after_a_snooze_has_a_page_while_it_waits(world):
    world.write(snooze, "cart", NOW + timedelta(hours=1), NOW)
    match(world, "cart", "r1", "r2")
    deliver(world)
    async with world.ask() as asking:
        found, page = await shown(asking, f"digest/cart/{SITE.id}/r1/slack-1")
    assert [each["outcome"] for each in found["members"]] == ["In a digest", "In a digest"]
    assert found["match"]["outcome"].startswith("Waits")
    assert "2 matches: Left the cart" in page
    assert "Waits for the digest" in page


async def test_a_match_of_one_lists_nothing(world):
    match(world, "cart", "r1")
    async with world.ask() as asking:
        found, page = await shown(asking, f"cart/{SITE.id}/r1")
    assert (found["match"]["stands_for"], found["members"], found["since"]) == (0, [], None)
    assert "What it stands for" not in page
