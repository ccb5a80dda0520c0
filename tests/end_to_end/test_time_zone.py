"""A wrong time zone of the account is told once when it is seen, and once when it is right."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from virtual_world import World, seldom, virtually

from bot.polling.session import AccountOffset, account_offset
from bot.store.audit import history
from mouseflow.models import Recording

RULES = """version: 1
rules:
  one: {watch: recordings, when: {pages: {min: 50}}, do: {star: true}}
"""
FUNNELS = """
  two: {watch: funnels, over_last: 1d, when: {entered: {under: 1}}, do: {slack: {}}}
"""


def told(world):
    notices = world.store.do(lambda conn: history(conn, kind="notice"))
    return [it.text for it in notices if "time zone" in it.text]


def configured(world, zone):
    flow = replace(world.settings.mouseflow, time_zone=zone)
    world.settings = replace(world.settings, mouseflow=flow)


def test_a_wrong_time_zone_is_told_once_and_its_end_too(tmp_path):
    world = World(tmp_path, RULES, 2)

    async def work():
        for site in world.sim.world.sites:
            for start in range(-3000, 3600, 600):
                world.sim.add(site, "checkout-friction", start=start)
        configured(world, "Australia/Sydney")
        await world.runs(minutes=20)
        assert told(world) == [
            "Wrong time zone: mouseflow.time_zone is Australia/Sydney, the account is in +01:00"
        ]
        await world.runs(minutes=20)  # another process
        assert len(told(world)) == 1
        configured(world, "Europe/Rome")
        await world.runs(minutes=20)
        assert min(told(world)) == "The time zone is right again"
        assert len(told(world)) == 2

    virtually(work)


BUDGET = """version: 1
budgets:
  credits:
    {websites: "*", recordings: 5000, period: month, steps: {100%: {slack: {channel: "#ops"}}}}
"""
FEEDBACK = """version: 1
rules:
  one: {watch: feedback, when: {new_responses: {min: 1}}, do: {slack: {}}}
"""


@pytest.mark.parametrize("rules", [BUDGET, FEEDBACK, f"version: 1\nrules:{FUNNELS}"])
def test_a_wrong_time_zone_is_told_where_no_rule_is_about_recordings(tmp_path, monkeypatch, rules):
    seldom(monkeypatch)
    world = World(tmp_path, rules, 3, BOT_POLL__REPORTS="6h", BOT_POLL__FEEDBACK="6h")

    async def work():
        world.sim.add("site-001", "checkout-friction", start=-60)
        configured(world, "Australia/Sydney")
        await world.runs(hours=25)
        assert told(world) == [
            "Wrong time zone: mouseflow.time_zone is Australia/Sydney, the account is in +01:00"
        ]
        # Each day until one website has told it.
        asked = [it.path for it in world.calls() if "limit=20" in it.query]
        assert 2 <= len(asked) <= 5
        assert asked.count("/websites/site-001/recordings") <= 2
        configured(world, "Europe/Rome")
        await world.runs(hours=7)
        assert min(told(world)) == "The time zone is right again"

    virtually(work)


def test_who_may_not_read_recordings_is_asked_for_them_once_a_day(tmp_path, monkeypatch):
    seldom(monkeypatch)
    world = World(tmp_path, FEEDBACK, 1, BOT_POLL__REPORTS="1h", BOT_POLL__FEEDBACK="1h")

    async def work():
        world.sim.fail("status", status=403, path="/recordings", times=100)
        await world.runs(hours=25)
        assert len(world.calls()) == 2
        world.sim.fail("status", status=500, path="/recordings", times=1000)
        await world.runs(hours=5)
        assert len(world.calls()) <= 2 + 5 * 3
        assert world.told() == []

    virtually(work)


def test_the_zone_that_polls_of_recordings_have_seen_costs_no_call(tmp_path):
    world = World(tmp_path, RULES + FUNNELS, 1)

    async def work():
        world.sim.add("site-000", "checkout-friction", start=-60)
        await world.runs(hours=2)
        assert len([it for it in world.calls() if "fromdate=2026-02" in it.query]) <= 1

    virtually(work)


def test_figures_are_of_the_accounts_own_days_in_a_wrong_zone(tmp_path):
    world = World(tmp_path, RULES + FUNNELS, 1)

    async def work():
        world.sim.add("site-000", "checkout-friction", start=-60)
        configured(world, "Pacific/Honolulu")  # where it is still 9 March
        await world.runs(hours=1)
        assert "fromdate=2026-03-09&todate=2026-03-11" in world.calls(path="/funnels")[-1].query

    virtually(work)


def test_the_right_time_zone_is_told_nobody(tmp_path):
    world = World(tmp_path, RULES, 1)

    async def work():
        world.sim.add("site-000", "checkout-friction", start=-60)
        await world.runs(minutes=20)
        assert told(world) == []

    virtually(work)


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([], None),
        ([None, "2026-03-10T09:00:00"], None),
        (["2026-03-10T09:00:00+01:00"], AccountOffset("+01:00", True)),
        (["2026-03-10T09:00:00+10:00"], AccountOffset("+10:00", False)),
        (["2026-07-10T09:00:00+02:00"], AccountOffset("+02:00", True)),
        (["2026-07-10T09:00:00+01:00"], AccountOffset("+01:00", False)),
        # One odd row says nothing, and neither do as many for as against it.
        (
            ["2026-03-10T09:00:00+01:00"] * 2 + ["2026-03-10T09:00:00Z"],
            AccountOffset("+01:00", True),
        ),
        (["2026-03-10T09:00:00+01:00", "2026-03-10T09:00:00Z"], None),
        # The night when the clocks change.
        (["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"], AccountOffset("+01:00", True)),
    ],
)
def test_the_offset_is_that_of_most_recordings(starts, expected):
    rows = [
        Recording(id="r", created=datetime.fromisoformat(start) if start else None)
        for start in starts
    ]
    assert account_offset(rows, ZoneInfo("Europe/Copenhagen")) == expected
