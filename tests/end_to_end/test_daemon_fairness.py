"""One rate budget for many websites: in turn, evenly, actions first, and people are told.

The whole daemon on a virtual clock, so that these are promises and not measurements.
"""

import asyncio
from collections import Counter, defaultdict
from datetime import timedelta

import msgspec
import pytest
from structlog.testing import capture_logs
from virtual_world import START, World, gaps, virtually

from bot.polling.outages import MANY
from bot.scheduler import AT_ONCE, PollPace
from bot.store.recordings import ROUNDS, watermark

EASY = """
version: 1
rules:
  on-the-phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
"""
DETAILED = """
version: 1
rules:
  slow-page:
    watch: recordings
    when: {page: {path: /nowhere*, time: {over: 10m}}}
    do: {tag: slow}
"""


def in_turn(polls):
    """No website twice before all others once; those under way together may change places."""
    websites = {site for _, site in polls}
    last = {}
    for at, (_, site) in enumerate(polls):
        if site in last:
            between = {other for _, other in polls[last[site] : at]}
            assert len(between) >= len(websites) - AT_ONCE
        last[site] = at
    counts = Counter(site for _, site in polls)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_500_websites_are_polled_in_turn_and_evenly_and_people_are_told_once(tmp_path):
    world = World(tmp_path, EASY, websites=500)

    async def work():
        await world.runs(minutes=13)

    virtually(work)
    polls = world.polls()
    in_turn(polls)
    assert len({site for _, site in polls}) == 500
    assert min(Counter(site for _, site in polls).values()) >= 3
    assert max(gaps([at for at, _ in polls])) <= 1.0  # the list of websites takes a turn, too
    assert [text for text in world.told_whole() if "500 websites" in text] == [
        "🔶 Recordings are polled less often than configured\n500 websites at 2 requests/s take "
        "250 s: recordings are polled every 4 min 10 s, not every 1 min\nRaise "
        "mouseflow.requests_per_second or poll.recordings. Nothing is skipped"
    ]


def test_a_flood_of_actions_goes_first_and_leaves_polling_a_fifth(tmp_path):
    world = World(tmp_path, EASY, websites=150, BOT_POLL__START="1h")

    async def work():
        for _ in range(200):
            world.sim.add("site-007", "phone-bounce", start=-600)
        await world.runs(minutes=5)

    virtually(work)
    tags = [it.at / 1000 - START.timestamp() for it in world.sim.calls if it.method != "GET"]
    assert len(tags) == 200
    between = [at for at, _ in world.polls() if tags[0] < at < tags[-1]]
    calls = len(tags) + len(between)
    assert len(between) == pytest.approx(calls / 5, rel=0.1)
    assert tags[-1] - tags[0] == pytest.approx(calls / 2, rel=0.1)
    in_turn([(at, site) for at, site in world.polls() if site != "site-007"])


def test_what_the_first_look_back_finds_is_acted_on_at_once(tmp_path):
    world = World(tmp_path, EASY, websites=1, BOT_POLL__START="2h")

    async def work():
        world.sim.add("site-000", "phone-bounce", start=-4000)
        await world.runs(seconds=10)

    virtually(work)
    assert [it for it in world.sim.calls if it.method != "GET"]


def test_thousands_of_calls_about_one_website_hardly_hold_up_the_others(tmp_path):
    world = World(tmp_path, DETAILED, websites=20, BOT_POLL__START="1h")

    async def work():
        for _ in range(600):
            world.sim.add("site-007", "phone-bounce", start=-600)
        await world.runs(minutes=8)

    virtually(work)
    details = [it for it in world.sim.calls if "/site-007/recordings/" in it.path]
    assert len(details) > 500
    polls = defaultdict(list)
    for at, site in world.polls():
        polls[site].append(at)
    for site, moments in polls.items():
        if site != "site-007":
            assert len(moments) >= 8
            assert max(gaps(moments)) <= 60 + 5


def test_a_poll_that_has_begun_is_not_held_up_by_those_that_wait(tmp_path):
    angry = EASY.replace("device: phone", "friction: {min: 2.5}")
    world = World(tmp_path, angry, websites=200, BOT_POLL__START="1h")

    async def work():
        for number in range(200):
            world.sim.add(f"site-{number:03}", "phone-bounce", start=-600)
        await world.runs(minutes=8)

    virtually(work)
    first_two = defaultdict(list)  # the list, and whether the filter for friction is heeded
    for at, site in world.polls():
        first_two[site].append(at)
    assert len(first_two) == 200
    assert max(moments[1] - moments[0] for moments in first_two.values()) <= 2 * AT_ONCE / 2


def spacing(world, since):
    """The times between polls once everything has found its place."""
    return gaps([at for at, _ in world.polls(since)])


def test_polls_are_spread_evenly_over_the_interval_and_begin_at_once(tmp_path):
    world = World(tmp_path, EASY, websites=10)

    async def work():
        await world.runs(minutes=10)

    virtually(work)
    assert len({site for at, site in world.polls() if at < 5}) == 10
    assert spacing(world, since=10) == pytest.approx([6.0] * len(spacing(world, 10)), abs=0.5)


def test_after_a_restart_polls_are_as_evenly_spread(tmp_path):
    world = World(tmp_path, EASY, websites=10)

    async def work():
        await world.runs(seconds=333)
        await world.runs(minutes=10)

    virtually(work)
    assert spacing(world, since=345) == pytest.approx([6.0] * len(spacing(world, 345)), abs=0.5)


def test_after_a_429_for_the_whole_account_polls_find_back_into_their_places(tmp_path):
    world = World(tmp_path, EASY, websites=60)

    async def work():
        async with world.daemon():
            await asyncio.sleep(300)
            world.sim.fail("status", status=429, retry_after=200, times=1)
            await asyncio.sleep(600)

    virtually(work)
    assert max(spacing(world, since=0)) >= 200
    in_turn(world.polls(since=560))
    assert spacing(world, since=600) == pytest.approx([1.0] * len(spacing(world, 600)), abs=0.6)
    assert world.told() == []  # a pause is no reason to speak of the rate


def test_an_outage_of_the_api_is_not_taken_for_a_low_rate_and_fills_no_log(tmp_path):
    world = World(tmp_path, EASY, websites=60)

    async def work():
        async with world.daemon():
            await asyncio.sleep(200)
            world.sim.fail("status", status=503, times=10_000)
            await asyncio.sleep(900)
            world.sim.faults.clear()
            await asyncio.sleep(300)

    with capture_logs() as log:
        virtually(work)
    events = Counter(line["event"] for line in log)
    began, ended = world.told()
    assert "Mouseflow can't be reached since" in began
    assert "Mouseflow is reachable again" in ended
    assert "poll.slow" not in events
    assert events["poll.outage"] == MANY
    assert events["poll.outage_widespread"] == events["poll.recovered_widespread"] == 1
    assert events["poll.recovered"] <= 20
    assert spacing(world, since=1250) == pytest.approx([1.0] * len(spacing(world, 1250)), abs=0.6)


def test_a_round_of_many_minutes_is_not_taken_for_an_absence(tmp_path):
    slowly = {"BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "0.1"}
    world = World(tmp_path, EASY, websites=70, **slowly)

    async def work():
        await world.runs(minutes=40)

    virtually(work)
    assert len(world.polls()) > 200
    (told,) = world.told_whole()
    assert "recordings are polled every 11 min 40 s, not every 1 min" in told


def test_when_there_is_room_again_it_is_not_said_but_shown(tmp_path):
    world = World(tmp_path, EASY, websites=200)

    def kept():
        return msgspec.json.decode(
            world.store.do(lambda conn: watermark(conn, ROUNDS, "")), type=PollPace
        )

    async def work():
        async with world.daemon():
            await asyncio.sleep(300)
            assert kept().slow
            assert kept().every == timedelta(seconds=100)
            few = EASY.replace("device: phone}", "device: phone}\n    websites: [shop-00*]")
            world.rule_file.write_text(few)
            await asyncio.sleep(300)
            assert not kept().slow
            assert kept().websites == 10

    virtually(work)
    assert len(world.told()) == 1
