"""Rules about a website's traffic: silence, too little, a fall against the usual."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from report_world import ZONE, World

from bot.errors import GiveUp, TryLater

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


async def test_a_count_of_long_before_a_short_downtime_is_not_taken_for_that_of_an_hour_ago():
    world = begin(SILENT.replace("over_last: 2h", "over_last: 1h"), MONDAY + timedelta(hours=8))
    await hours(world, 1, 8)
    world.api.recordings.append(world.now + timedelta(minutes=4))
    world.now += timedelta(minutes=40)
    assert await hours(world, 0.5) == []
    assert await hours(world, 0.25) == [(10, "silent: slack")]


async def test_silence_across_midnight_is_seen_and_nights_are_left_out_by_the_hour():
    rule = SILENT.replace(", hour: {min: 9, under: 20}", "")
    for text, found in ((rule, [(1, "silent: slack")]), (SILENT, [])):
        world = begin(text, MONDAY + timedelta(hours=19))
        await hours(world, 4, 8)
        assert await hours(world, 6) == found


async def test_a_new_bot_does_not_take_what_it_has_not_seen_for_silence():
    world = begin(SILENT, MONDAY + timedelta(hours=12))
    world.api.recordings = [world.now - timedelta(hours=5)] * 3
    world.api.row_cap = 1
    assert await hours(world, 1.75) == []
    assert await hours(world, 1) == [(14, "silent: slack")]


async def test_a_new_bot_counts_the_rows_of_the_time_before_it_began():
    world = begin(SILENT, MONDAY + timedelta(hours=12))
    world.api.recordings = [world.now - timedelta(hours=1, minutes=30)]
    assert await hours(world, 0.25) == []
    assert await hours(world, 1) == [(12, "silent: slack")]
    reads = [call for call in world.api.calls if "limit=10000" in call]
    assert len(reads) == 1


SYDNEY, HONOLULU = ZoneInfo("Australia/Sydney"), ZoneInfo("Pacific/Honolulu")


@pytest.mark.parametrize("chart", [True, False])
@pytest.mark.parametrize(
    ("account", "configured"),
    [(SYDNEY, ZoneInfo("UTC")), (ZoneInfo("UTC"), SYDNEY), (HONOLULU, SYDNEY), (SYDNEY, HONOLULU)],
)
async def test_traffic_is_no_silence_though_the_days_of_the_zone_are_not_the_accounts(
    account, configured, chart
):
    world = begin(SILENT.replace(", hour: {min: 9, under: 20}", ""))
    world.api.zone, world.zone, world.api.chart = account, configured, chart
    assert await hours(world, 50, 4) == []
    assert [post for _, post in await hours(world, 4)] == ["silent: slack"]
    world.api.recordings = []
    assert await hours(world, 4) == []
    assert [post for _, post in await hours(world, 1, 4)] == ["silent: resolved"]


async def test_whole_days_are_the_accounts_also_in_a_wrong_zone():
    world = begin("""
few:
  watch: websites
  over_last: 1d
  when: {recordings: {under: 96}}
  resolved: true
  do: {slack: {channel: "#ops"}}
""")
    world.api.zone, world.zone = SYDNEY, ZoneInfo("UTC")
    world.api.recordings = [world.now - n * timedelta(minutes=15) for n in range(400)]
    assert await hours(world, 30, 4) == []


async def test_past_days_of_another_zone_make_no_usual():
    world = begin(UNUSUAL.replace("below_usual: 50%", "above_usual: 200%"))
    world.api.zone, world.zone = SYDNEY, ZoneInfo("UTC")
    past(world, an_hour=40)
    assert await hours(world, 30, 40) == []
    assert world.notes("level.no_history")


async def test_a_day_that_began_in_the_account_alone_counts_though_no_row_tells_the_zone():
    world = begin(SILENT.replace(", hour: {min: 9, under: 20}", ""))
    world.api.zone, world.zone, world.api.row_cap = SYDNEY, ZoneInfo("UTC"), 0
    world.api.recordings = [world.now - timedelta(days=1)]
    assert await hours(world, 50, 4) == []
    assert [post for _, post in await hours(world, 4)] == ["silent: slack"]


@pytest.mark.parametrize(("kind", "over_last"), [("funnels", "1d"), ("pages", ""), ("forms", "7d")])
async def test_figures_are_asked_until_the_end_of_the_accounts_day(kind, over_last):
    text = "one: {watch: %s, when: %s, do: {slack: {}}}"
    when = {"funnels": "{entered: {under: 1}}", "pages": "{views: {min: 1}}", "forms":
            "{visits: {under: 1}}"}[kind]  # fmt: skip
    over = f", over_last: {over_last}" if over_last else ""
    world = World(kind, text % (f"{kind}{over}", when), start=datetime(2026, 3, 9, 20, tzinfo=UTC))
    world.zone = ZoneInfo("UTC")
    await world.looked()
    (call,) = world.api.calls
    assert "todate=2026-03-11" in call


async def test_rows_are_counted_across_midnight():
    rule = SILENT.replace("hour: {min: 9, under: 20}", "hour: {under: 2}")
    world = begin(rule, MONDAY + timedelta(hours=1))
    world.api.recordings = [world.now - timedelta(hours=1, minutes=30)]
    assert await hours(world, 0.25) == []
    assert await hours(world, 0.5) == [(1, "silent: slack")]


@pytest.mark.parametrize(("rows", "found"), [(10_000, [(16, "silent: slack")]), (1, [])])
async def test_after_a_downtime_the_rows_tell_how_much_came_or_it_is_not_known(rows, found):
    world = begin(SILENT, MONDAY + timedelta(hours=9))
    await hours(world, 3, 8)
    world.now += timedelta(hours=4)
    world.api.row_cap = rows
    assert await hours(world, 1) == found


async def test_a_stopped_website_is_not_silent_in_the_sense_of_the_rule():
    world = begin(SILENT, MONDAY + timedelta(hours=9))
    await hours(world, 3, 8)
    world.api.website["status"] = "Stopped"
    assert await hours(world, 5) == []


async def test_hours_that_were_not_recorded_are_no_silence():
    world = begin(SILENT, MONDAY + timedelta(hours=9))
    await hours(world, 3, 8)
    world.api.website["status"] = "Stopped"
    assert await hours(world, 3) == []
    world.api.website["status"] = "Recording"
    assert await hours(world, 2) == []
    assert await hours(world, 1) == [(17, "silent: slack")]


async def test_hours_that_were_not_recorded_are_no_silence_after_a_wrong_clock():
    world = begin(SILENT, MONDAY + timedelta(hours=9))
    await hours(world, 3, 8)
    world.now += timedelta(days=3)
    await hours(world, 0.5, 8)
    world.now -= timedelta(days=3)
    world.api.recordings = [at for at in world.api.recordings if at <= world.now]
    world.api.website["status"] = "Stopped"
    assert await hours(world, 3) == []
    world.api.website["status"] = "Recording"
    assert await hours(world, 2) == []
    assert await hours(world, 1) == [(18, "silent: slack")]


async def noons(world, *an_hour):
    """Four hours of each day, with so much traffic; `None`: recording is off."""
    found = []
    for many in an_hour:
        world.api.website["status"] = "Stopped" if many is None else "Recording"
        found += [post for _, post in await hours(world, 4, many or 0, minutes=30)]
        world.now += timedelta(hours=20)
    return found


async def test_a_week_that_was_not_recorded_is_not_compared_with():
    world = begin(FEWER, MONDAY + timedelta(hours=9))
    assert await noons(world, 40, None, 40, 40, 40, 40, 40) == []
    assert await noons(world, 10, 10, 10) == ["fewer: slack"]
    # Nothing is known of Tuesday, so the alert of Monday neither ends nor fires again.
    assert world.notes("match.resolved") == []


async def test_hours_of_which_a_part_was_not_recorded_are_not_fewer_than_usual():
    world = begin(FEWER, MONDAY + timedelta(hours=9))
    assert await noons(world, 40, 40, 40, 40, 40, 40, 40) == []
    world.api.website["status"] = "Stopped"
    assert await hours(world, 1, minutes=30) == []
    world.api.website["status"] = "Recording"
    assert await hours(world, 2, 10, minutes=30) == []
    assert world.notes("level.not_recorded") == [
        "recordings not compared: part of the time was not recorded"
    ]
    assert await hours(world, 1, 10, minutes=30) == [(13, "fewer: slack")]


async def test_counts_at_another_rate_are_compared_in_proportion():
    world = begin(FEWER, MONDAY + timedelta(hours=9))
    assert await noons(world, 40, 40, 40, 40, 40, 40) == []
    world.api.website["recordingRate"] = 50
    await hours(world, 3, 20, minutes=30)
    world.now += timedelta(hours=21)
    assert await noons(world, 20) == []
    assert await noons(world, 8) == ["fewer: slack"]
    assert world.why()[0].endswith("4, was 10")  # 20 at the full rate


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
    world = begin(SILENT + FEWER, MONDAY + timedelta(hours=3))
    await hours(world, 1)
    assert len(world.api.calls) == 4 * 2 + 1  # at first the rows of the day


UNUSUAL = """
half:
  watch: websites
  over_last: 2h
  when: {status: Recording, recordings: {below_usual: 50%}}
  do: {slack: {channel: "#ops"}}
"""


def past(world, an_hour, weeks=5):
    """Recordings of this weekday and the day before, in each of the past weeks, all day long."""
    many, quarter = range(round(an_hour / 4)), timedelta(minutes=15)
    for n in range(round(weeks * timedelta(weeks=1) / quarter)):
        if n // 96 % 7 in (0, 1, 6):
            at = world.now - n * quarter
            world.api.recordings += [at - timedelta(seconds=30 * each + 10) for each in many]


async def test_the_first_day_knows_the_usual_from_the_rows_of_past_weeks():
    world = begin(UNUSUAL, MONDAY + timedelta(hours=10))
    past(world, an_hour=40)
    assert await hours(world, 1, 40) == []
    calls = len(world.api.calls)
    assert calls == 4 * 2 + 1 + 4  # the rows of today, and of the same day of four weeks
    assert await hours(world, 4, 8) == [(12, "half: slack")]
    assert len(world.api.calls) == calls + 16 * 2
    assert "usually 80 (4 past weeks: 80, 80, 80, 80)" in world.why()[0]


async def test_the_usual_of_parts_of_a_day_reaches_over_midnight():
    world = begin(UNUSUAL, MONDAY + timedelta(minutes=30))
    past(world, an_hour=40)
    assert await hours(world, 0.5, 40) == []
    assert await hours(world, 2, 0) == [(2, "half: slack")]


async def test_the_usual_of_whole_days_is_that_of_the_same_time_of_day():
    world = begin(UNUSUAL.replace("2h", "1d"), MONDAY + timedelta(hours=10))
    past(world, an_hour=40)
    assert await hours(world, 1, 40) == []
    world.api.recordings = [at for at in world.api.recordings if at < MONDAY - timedelta(days=1)]
    assert await hours(world, 1) == [(11, "half: slack")]
    assert "usually 1,410" in world.why()[0]


async def test_days_without_recordings_or_with_too_many_rows_make_no_usual():
    for weeks, rows in ((1.5, 10_000), (5, 100)):
        world = begin(UNUSUAL, MONDAY + timedelta(hours=10))
        past(world, an_hour=40, weeks=weeks)
        world.api.row_cap = rows
        assert await hours(world, 3) == []
        assert world.notes("level.no_history")


@pytest.mark.parametrize("error", [TryLater("busy"), GiveUp("refused", "nothing")])
async def test_the_present_is_judged_though_the_past_can_not_be_asked_for(error):
    world = begin(SILENT.replace("over_last: 2h", "over_last: 3d"), MONDAY + timedelta(hours=9))
    world.edit(
        "silent: {watch: websites, over_last: 3d, do: {slack: {}},"
        " when: {any: [{recordings: {under: 1}}, {recordings: {below_usual: 10%}}]}}"
    )
    world.api.recordings = [world.now - timedelta(weeks=1, hours=1)]
    send = world.api.send

    async def without_the_past(request):
        query = dict(request.query)
        if query.get("limit") == "1" and query["todate"] <= "2026-03-02":
            raise error
        return await send(request)

    world.api.send = without_the_past
    assert await world.looks(2) == ["silent: slack"]
