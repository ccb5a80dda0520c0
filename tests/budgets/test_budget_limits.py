"""Throttles only lower a rate, and the lowest of the limits in force holds."""

from datetime import timedelta

import pytest
from budget_world import Shop, World, budgets
from test_budget_switching import log

from bot.rules.files.load import read

MONTH = """
credits:
  websites: [myshop.com]
  recordings: 10000
  period: month
  steps: {%s}
  resume: true
"""
DAY = """
daily:
  websites: [myshop.com]
  recordings: 1000
  period: day
  steps: {%s}
  resume: true
"""


@pytest.fixture
def world():
    made = []

    def make(text, shop):
        made.append(World(text, shop))
        return made[-1]

    yield make
    for each in made:
        each.close()


def quiet(rate=100):
    return Shop("myshop.com", 0.0, rate=rate)


async def uses(bot, count):
    """So many recordings are made now."""
    bot.shops[0].made[bot.now.date()] = bot.shops[0].made.get(bot.now.date(), 0) + count
    await bot.run(hours=3)


@pytest.mark.parametrize("rate", [0, 1, 10])
async def test_a_throttle_never_raises_the_rate_and_says_so(world, rate):
    bot = world(MONTH % '95%: {recording_rate: 25, slack: {channel: "#ops"}}', quiet(rate))
    await uses(bot, 9600)
    assert log(bot.shops[0]) == []
    [said] = bot.slack.said("95 % step")
    assert f"its recording rate is {rate} % already" in said


@pytest.mark.parametrize(("first", "second"), [(5000, 5000), (0, 10_000)])
async def test_a_later_step_never_raises_what_an_earlier_one_lowered(world, first, second):
    bot = world(MONTH % "50%: {recording_rate: 20}, 100%: {recording_rate: 50}", quiet())
    await uses(bot, first)
    await uses(bot, second)
    assert log(bot.shops[0]) == [("bot", "20 %")]


async def test_the_lowest_of_two_budgets_holds_and_the_other_one_follows_it(world):
    month = MONTH % "50%: {recording_rate: 50}"
    bot = world(month + DAY % "80%: {recording_rate: 10}", quiet(rate=90))
    yesterday = bot.now.date() - timedelta(days=1)
    bot.shops[0].made[yesterday] = 5200
    await bot.run(hours=2)
    assert log(bot.shops[0]) == [("bot", "50 %")]
    await uses(bot, 850)
    assert log(bot.shops[0])[1:] == [("bot", "10 %")]
    await bot.run(hours=24)
    assert log(bot.shops[0])[2:] == [("bot", "50 %")]
    await bot.run(days=31, until=lambda: bot.now.month == 2 and bot.now.day == 2)
    assert log(bot.shops[0])[3:] == [("bot", "90 %")]
    assert bot.owned() == {}


async def test_a_daily_throttle_does_not_raise_that_of_the_month(world):
    month = MONTH % "50%: {recording_rate: 10}"
    bot = world(month + DAY % "80%: {recording_rate: 50}", quiet())
    await uses(bot, 5200)
    assert log(bot.shops[0]) == [("bot", "10 %")]


async def test_a_website_that_was_stopped_is_throttled_once_it_records_again(world):
    bot = world(MONTH % '50%: {recording_rate: 25, slack: {channel: "#ops"}}', quiet())
    [shop] = bot.shops
    shop.set(bot.now, "person", status="Stopped")
    await uses(bot, 5200)
    [said] = bot.slack.said("50 % step")
    assert "myshop.com: not changed (Stopped)" in said
    shop.set(bot.now, "person", status="Recording")
    await bot.run(hours=3)
    assert log(shop)[2:] == [("bot", "25 %")]
    assert len(bot.slack.said("50 % step")) == 1


async def test_what_a_daily_budget_had_stopped_is_throttled_by_the_months_when_it_resumes(world):
    bot = world(MONTH % "50%: {recording_rate: 25}" + DAY % "80%: {recording: stop}", quiet())
    [shop] = bot.shops
    await uses(bot, 1100)
    assert log(shop) == [("bot", "Stopped")]
    await uses(bot, 4100)  # made elsewhere: the month's step is reached while it is stopped
    await bot.run(hours=24)
    assert log(shop)[1:] == [("bot", "Recording"), ("bot", "25 %")]


def test_check_warns_of_a_step_that_records_more_than_an_earlier_one():
    text = MONTH % "80%: {recording_rate: 20}, 100%: {recording_rate: 100}"
    body = "\n".join("  " + line for line in text.strip("\n").splitlines())
    [warning] = read([("b.yaml", f"version: 1\nbudgets:\n{body}\n".encode())]).warnings
    assert warning.lint == "raised-rate"
    assert "an earlier step lowers the rate to 20 %" in warning.message


@pytest.mark.parametrize("rate", [50, 10])
async def test_an_edited_rate_is_set_in_mid_period(world, rate):
    text = MONTH % "50%: {recording_rate: 25}"
    bot = world(text, quiet(rate=90))
    await uses(bot, 5200)
    bot.budgets = budgets(text.replace("25", str(rate)))
    await bot.run(hours=3)
    assert log(bot.shops[0]) == [("bot", "25 %"), ("bot", f"{rate} %")]
    [held] = bot.owned().values()
    assert held.before == 90
