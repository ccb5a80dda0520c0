"""Rules about a website's traffic: silence, too little, a fall against the usual."""

from datetime import UTC, datetime, timedelta

import pytest
from report_world import ZONE, World

SILENT = """
silent:
  watch: websites
  over_last: 2h
  when: {status: Recording, recordings: {under: 1}, hour: {min: 9, under: 20}}
  resolved: true
  do: {slack: {channel: "#ops"}}
"""
FEWER = """
fewer:
  watch: websites
  over_last: 2h
  when: {recordings: {drops_by: 50%, against: 7d}}
  do: {slack: {channel: "#ops"}}
"""
MONDAY = datetime(2026, 3, 9, 0, tzinfo=ZONE).astimezone(UTC)


def begin(rules, start=MONDAY):
    return World("websites", rules, start=start)


async def hours(world, count, an_hour=0, minutes=15):
    """Polls with so much traffic in between: the posts, each with the local hour."""
    found = []
    for _ in range(round(count * 60 / minutes)):
        world.now += timedelta(minutes=minutes)
        made = range(round(an_hour * minutes / 60))
        world.api.recordings += [world.now - timedelta(seconds=30 * n + 10) for n in made]
        posts = await world.looked(minutes=0)
        found += [(world.now.astimezone(ZONE).hour, post) for post in posts]
    return found


@pytest.mark.parametrize("chart", [True, False])
async def test_two_silent_hours_fire_once_and_traffic_ends_it(chart):
    world = begin(SILENT, MONDAY + timedelta(hours=8))
    world.api.chart = chart
    assert await hours(world, 6, 8) == []
    assert await hours(world, 4) == [(16, "silent: slack")]
    assert await hours(world, 1, 8) == [(18, "silent: resolved")]


async def test_silence_across_midnight_is_seen_and_nights_are_left_out_by_the_hour():
    rule = SILENT.replace(", hour: {min: 9, under: 20}", "")
    for text, found in ((rule, [(1, "silent: slack")]), (SILENT, [])):
        world = begin(text, MONDAY + timedelta(hours=19))
        await hours(world, 4, 8)
        assert await hours(world, 6) == found


async def test_a_new_bot_does_not_take_what_it_has_not_seen_for_silence():
    world = begin(SILENT, MONDAY + timedelta(hours=12))
    assert await hours(world, 1.75) == []
    assert await hours(world, 1) == [(14, "silent: slack")]


async def test_after_a_downtime_it_is_not_known_how_much_came_in_the_last_two_hours():
    world = begin(SILENT, MONDAY + timedelta(hours=9))
    await hours(world, 3, 8)
    world.now += timedelta(hours=4)
    assert await hours(world, 1) == []


async def test_a_stopped_website_is_not_silent_in_the_sense_of_the_rule():
    world = begin(SILENT, MONDAY + timedelta(hours=9))
    await hours(world, 3, 8)
    world.api.website["status"] = "Stopped"
    assert await hours(world, 5) == []


async def test_half_of_the_usual_fires():
    world = begin(FEWER)
    for _day in range(8):
        assert await hours(world, 10, 4, minutes=30) == []
        assert await hours(world, 10, 40, minutes=30) == []
        assert await hours(world, 4, 4, minutes=30) == []
    await hours(world, 10, 4, minutes=30)
    await hours(world, 4, 40, minutes=30)
    found = await hours(world, 4, 10, minutes=30)
    assert [post for _hour, post in found] == ["fewer: slack"]


async def test_whole_days_begin_at_midnight_and_need_no_history():
    world = begin("""
few:
  watch: websites
  over_last: 1d
  when: {recordings: {under: 100}}
  do: {slack: {channel: "#ops"}}
""")  # fmt: skip
    assert await hours(world, 0.25, 8) == [(0, "few: slack")]


async def test_recordings_cost_a_call_only_where_a_rule_asks():
    world = begin("""
off:
  watch: websites
  when: {status: Stopped}
  do: {slack: {}}
""")  # fmt: skip
    await hours(world, 1)
    assert not [call for call in world.api.calls if "recordings" in call]
    world = begin(SILENT + FEWER)
    await hours(world, 1)
    assert len(world.api.calls) == 4 * 2
