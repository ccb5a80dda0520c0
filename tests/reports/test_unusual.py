"""Figures against the usual: the median of this weekday and hour in the last weeks."""

from datetime import UTC, datetime, timedelta

import pytest
from report_world import SITE, ZONE, World

from bot.domain.calendar import days_of
from bot.domain.subjects import PageSubject
from bot.rules import model as c
from bot.rules.evaluate import Given, answer
from bot.rules.operators.past import Unusual

FEWER = """
fewer:
  watch: funnels
  over_last: 1d
  when: {entered: {below_usual: 50%}}
  resolved: true
  do: {slack: {channel: "#ux"}}
"""
MORE = FEWER.replace("below_usual: 50%", "above_usual: 200%").replace("fewer", "more")
MONDAY = datetime(2026, 3, 2, 10, tzinfo=ZONE).astimezone(UTC)


def begin(rules=FEWER, holidays=()):
    world = World("funnels", rules, start=MONDAY)
    world.holidays = tuple(map(days_of, holidays))
    return world


async def weeks(world, *entered, days=7):
    """One look a week at the same time of day: what the looks bring."""
    found = []
    for count in entered:
        world.api.funnels["checkout"] = [count, count // 4]
        local = world.now.astimezone(ZONE) + timedelta(days=days)
        world.now = local.astimezone(UTC)
        found += await world.looked(seconds=0)
    return found


async def test_half_of_the_usual_fires_and_says_what_it_compared():
    world = begin()
    assert await weeks(world, 980, 1040, 1000, 2900, 1010) == []
    assert await weeks(world, 500) == ["fewer: slack"]
    assert "entered 500, usually 1,025 (4 past weeks: 1,010, 2,900, 1,000, 1,040)" in world.why()[0]


async def test_an_alert_ends_when_the_figure_is_as_usual():
    world = begin()
    await weeks(world, 1000, 1000, 1000, 1000, 400)
    assert await weeks(world, 900) == []  # one look alone ends nothing
    assert await weeks(world, 900, days=1 / 24) == ["fewer: resolved"]


async def test_other_hours_and_weekdays_are_not_compared():
    world = begin()
    await weeks(world, 1000, 1000, 1000, 1000)
    assert await weeks(world, 100, days=1) == []  # Tuesday has no past yet
    assert await weeks(world, 100, days=6.5) == []  # neither has Monday night
    assert world.notes("level.no_history") == ["not enough history yet to compare entered with "
                                               "the usual"]  # fmt: skip


async def test_less_than_three_weeks_are_no_history():
    world = begin()
    assert await weeks(world, 1000, 1000, 10) == []
    assert await weeks(world, 1000, 1000, 10) == ["fewer: slack"]


@pytest.mark.parametrize(
    ("wants", "usual", "now", "expected"),
    [
        (Unusual(below_usual=50), 40, 20, True),
        (Unusual(below_usual=50), 40, 21, False),
        (Unusual(below_usual=50), 34, 17, None),
        (Unusual(below_usual=50), 9, 0, True),
        (Unusual(below_usual=50), 8, 0, None),
        (Unusual(below_usual=50), 8, 8, False),
        (Unusual(below_usual=0), 0, 0, False),
        (Unusual(above_usual=200), 40, 80, True),
        (Unusual(above_usual=200), 9, 24, True),
        (Unusual(above_usual=200), 9, 23, None),
        (Unusual(above_usual=200), 0, 9, True),
        (Unusual(above_usual=200), 0, 8, None),
        (Unusual(below_usual=50, above_usual=200), 40, 80, True),
    ],
)
def test_a_small_count_may_differ_from_the_usual_by_chance(wants, usual, now, expected):
    page = PageSubject(website=SITE, path="/", views=now)
    assert answer(c.Test("views", wants), page, Given({"views": usual})) is expected


def test_times_and_shares_have_no_small_numbers():
    page = PageSubject(website=SITE, path="/", scroll=10.0, render_time=20)
    usual = Given({"scroll": 20, "render_time": 10})
    assert answer(c.Test("scroll", Unusual(below_usual=50)), page, usual) is True
    assert answer(c.Test("render_time", Unusual(above_usual=200)), page, usual) is True


async def test_a_count_too_small_to_tell_ends_no_alert():
    world = World("feedback", FEWER.replace("funnels", "feedback").replace("entered", "impressions")
                  .replace("  over_last: 1d\n", ""), start=MONDAY + timedelta(weeks=5))  # fmt: skip

    async def look(count, **wait):
        world.api.campaigns["c"] = {"name": "NPS", "report": {"responses": 0, "impressions": count}}
        return await world.looked(**wait)

    for _ in range(4):
        await look(1000, hours=0)
        await look(8, hours=12)
        world.now += timedelta(days=6.5)
    assert await look(100, hours=0) == ["fewer: slack"]
    assert await look(1, hours=12) == []  # at night, when few come anyway
    assert await look(1) == []
    assert [*await look(8), *await look(8)] == ["fewer: resolved"]


async def test_holidays_are_not_compared_with_and_have_no_usual():
    normal = begin()
    await weeks(normal, 1000, 100, 100, 1000, 1000)
    assert await weeks(normal, 300) == []  # two odd weeks of four make it usual
    world = begin(holidays=["2026-03-16", "03-23", "2026-04-20"])
    assert await weeks(world, 1000, 100, 100, 1000, 1000) == []
    assert await weeks(world, 300) == ["fewer: slack"]
    await weeks(world, 1000)
    assert world.now.astimezone(ZONE).date().isoformat() == "2026-04-20"
    assert await weeks(world, 1000, days=1 / 24) == []  # unknown: it neither fires nor ends


async def test_a_sale_of_several_weeks_is_left_out_by_its_first_and_last_day():
    world = begin(holidays=["2026-03-16..2026-04-05"])
    assert await weeks(world, 1000, 2000, 2000, 2000, 1000, 1000) == []
    assert await weeks(world, 400) == ["fewer: slack"]
    assert "usually 1,000 (3 past weeks: 1,000, 1,000, 1,000)" in world.why()[0]


async def test_two_weeks_of_a_sale_are_not_the_usual_yet():
    world = begin()
    assert await weeks(world, 1000, 1000, 2400, 2400) == []
    assert await weeks(world, 800) == []  # half of 1,700, but not of 1,000
    assert await weeks(world, 400, days=14) == ["fewer: slack"]


async def test_weeks_without_a_look_are_replaced_by_older_ones():
    world = begin()
    await weeks(world, 1000, 1000, 1000)
    world.now += timedelta(days=14)
    assert await weeks(world, 100) == ["fewer: slack"]


async def test_each_page_has_its_own_usual_of_the_hour():
    world = World("pages", MORE.replace("funnels", "pages").replace("entered", "views"),
                  start=MONDAY + timedelta(weeks=5))  # fmt: skip

    async def views(a, b):
        world.api.pages = {"/a": {"views": a}, "/b": {"views": b}}
        return await world.looked(seconds=0)

    for _ in range(4):
        for minutes in (0, 15, 40, 55):
            world.now = world.now.replace(minute=minutes)
            await views(100, 1000)
        world.now += timedelta(days=7)
    world.now = world.now.replace(minute=20)
    assert await views(1000, 1100) == ["more: slack"]
    assert "views 1,000, usually 100" in world.why()[0]
    figures = world.store.do(lambda conn: conn.exec_driver_sql("SELECT at FROM figures").fetchall())
    assert len({at for (at,) in figures}) == 5


SLOW = """
slow:
  watch: pages
  over_last: 1d
  when: {views: {min: 50}, render_time: {above_usual: 200%}}
  do: {slack: {channel: "#ux"}}
"""
SAGGING = """
sagging:
  watch: funnels
  over_last: 1d
  when: {entered: {min: 100}, conversion: {below_usual: 50%}}
  do: {slack: {channel: "#ux"}}
"""


async def test_shares_know_the_usual_on_the_first_day():
    world = begin(SAGGING)
    world.api.old, world.api.old_until = {"checkout": [1000, 300]}, "2026-03-02"
    world.api.funnels["checkout"] = [400, 50]
    assert await world.looked(seconds=0) == ["sagging: slack"]
    assert "12.5 %, usually 30 % (4 past weeks: 30 %, 30 %, 30 %, 30 %)" in world.why()[0]
    calls = len(world.api.calls)
    await world.looks(8, hours=1)
    assert len(world.api.calls) == calls + 8


DROPPED = """
dropped:
  watch: funnels
  over_last: 1d
  when: {entered: {min: 100}, conversion: {drops_by: 50%, against: 7d}}
  do: {slack: {channel: "#ux"}}
"""


async def test_a_share_is_compared_with_the_week_before_on_the_first_day():
    world = begin(DROPPED)
    world.api.old, world.api.old_until = {"checkout": [1000, 300]}, "2026-03-02"
    world.api.funnels["checkout"] = [400, 50]
    assert await world.looked(seconds=0) == ["dropped: slack"]
    assert "conversion down by 50 % against 7 d ago" in world.why()[0]
    assert "12.5 %, was 30 %" in world.why()[0]
    calls = len(world.api.calls)
    await world.looks(8, hours=1)
    assert len(world.api.calls) == calls + 8


async def test_a_count_is_compared_with_the_week_before_when_the_bot_has_seen_it():
    world = begin(DROPPED.replace("conversion: {drops_by", "completed: {drops_by"))
    world.api.old, world.api.old_until = {"checkout": [1000, 300]}, "2026-03-02"
    world.api.funnels["checkout"] = [400, 50]
    assert await world.looked(seconds=0) == []
    assert world.notes("level.no_history")


async def test_averages_of_pages_know_the_usual_on_the_first_day():
    world = World("pages", SLOW, start=MONDAY)
    world.api.pages = {"/a": {"views": 100, "renderTime": 4000}}
    world.api.old_pages = {"/a": {"views": 90, "renderTime": 1500}, "/b": {"renderTime": 900}}
    world.api.old_until = "2026-03-02"
    assert await world.looked(seconds=0) == ["slow: slack"]
    assert "4 s, usually 1.5 s (4 past weeks: 1.5 s, 1.5 s, 1.5 s, 1.5 s)" in world.why()[0]
    calls = len(world.api.calls)
    await world.looks(8, hours=1)
    assert len(world.api.calls) == calls + 8


async def test_counts_of_whole_past_days_are_not_like_those_of_a_part_of_today():
    world = begin()
    world.api.old, world.api.old_until = {"checkout": [1000, 300]}, "2026-03-02"
    world.api.funnels["checkout"] = [400, 50]
    assert await world.looked(seconds=0) == []
    assert world.notes("level.no_history")


async def test_a_holiday_is_not_asked_for():
    world = begin(SAGGING, holidays=["2026-02-23"])
    world.api.old, world.api.old_until = {"checkout": [1000, 300]}, "2026-03-02"
    world.api.funnels["checkout"] = [400, 50]
    assert await world.looked(seconds=0) == ["sagging: slack"]
    assert not [call for call in world.api.calls if "todate=2026-02-24" in call]


async def test_the_hour_is_that_of_the_clock_also_across_its_change():
    world = begin()  # clocks change on 29 March
    assert await weeks(world, 1000, 1000, 1000, 1000, 100) == ["fewer: slack"]
