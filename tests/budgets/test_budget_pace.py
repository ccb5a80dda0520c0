"""Pacing: the budget lasts to the end of the period and is used, whatever the visitors do."""

import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
from budget_world import QUARTER, ZONE, Shop, World

from bot.budgets.poll import BudgetMemory

PACED = """
credits:
  websites: [myshop.com]
  recordings: 30000
  period: month
  steps:
    100%: {recording: stop}
  resume: true
  pace: {min: 10, max: 100}
"""
_HOURS = (2, 1, 1, 1, 1, 2, 3, 5, 6, 7, 7, 7, 8, 7, 7, 7, 8, 9, 11, 12, 11, 9, 6, 4)
_WEEK = (1.1, 1.1, 1.05, 1.05, 1.0, 0.8, 0.9)


def seasonal(surge=None, factor=3.0):
    """Visitors by hour and weekday; `surge` is (from, until) with so many times as many."""

    def shape(at):
        local = at.astimezone(ZONE)
        usual = _HOURS[local.hour] * 24 / sum(_HOURS) * _WEEK[local.weekday()]
        return usual * (factor if surge and surge[0] <= at < surge[1] else 1.0)

    return shape


SURGES = {
    "none": None,
    "early": (datetime(2026, 3, 4, 10, tzinfo=UTC), datetime(2026, 3, 7, 10, tzinfo=UTC)),
    "late": (datetime(2026, 3, 27, 6, tzinfo=UTC), datetime(2026, 3, 29, 20, tzinfo=UTC)),
}


@pytest.mark.parametrize("surge", SURGES)
async def test_a_month_is_used_to_97_to_100_percent_without_stopping(surge):
    shop = Shop("myshop.com", 1500, shape=seasonal(SURGES[surge]), delay=timedelta(minutes=30))
    bot = World(PACED, shop, start=datetime(2026, 2, 28, 23, tzinfo=UTC))
    try:
        await bot.run(days=32, until=lambda: bot.now.astimezone(ZONE).month == 4)
        used = sum(shop.true_count(day) for day in shop.made if day.month == 3)
        assert 97 <= 100 * used / 30_000 <= 100
        assert "Stopped" not in [what for _at, _who, what in shop.log]
    finally:
        bot.close()


async def test_a_rate_changes_once_an_hour_at_most():
    shop = Shop("myshop.com", 1500, shape=seasonal(SURGES["early"]), delay=timedelta(minutes=30))
    bot = World(PACED, shop, start=datetime(2026, 3, 3, 23, tzinfo=UTC))
    try:
        await bot.run(every=QUARTER, days=3)
        rates = [at for at, who, what in shop.log if who == "bot" and what.endswith("%")]
        gaps = [later - earlier for earlier, later in itertools.pairwise(rates)]
        assert timedelta(hours=1) <= min(gaps) < timedelta(hours=2)
    finally:
        bot.close()


async def test_what_is_remembered_from_poll_to_poll_changes_no_forecast():
    chance = random.Random(5)
    weekly = PACED.replace("30000", "7000").replace("month", "week")
    shops = [Shop("myshop.com", 1500, shape=seasonal()) for _ in range(2)]
    start = datetime(2026, 3, 9, 22, 7, tzinfo=UTC)
    remembering, forgetful = bots = [World(weekly, shop, start=start) for shop in shops]
    for turn in range(300):
        forgetful.memory = BudgetMemory()
        minutes, broken = chance.choice([5, 15, 40, 90]), turn == 0 or chance.random() < 0.1
        for bot in bots:
            bot.wait(minutes=minutes)
            bot.account.broken = broken
            await bot.poll()
        assert remembering.mark() == forgetful.mark()
    assert remembering.mark().expected > 0
    for bot in bots:
        bot.close()


async def test_a_rate_that_a_person_sets_is_left_alone_until_the_next_period():
    shop = Shop("myshop.com", 1500, shape=seasonal())
    weekly = PACED.replace("30000", "7000").replace("month", "week")
    bot = World(weekly, shop, start=datetime(2026, 3, 10, 12, tzinfo=UTC))
    try:
        await bot.run(hours=3)
        assert shop.log
        shop.set(bot.now, "person", rate=50)
        await bot.run(days=2)
        assert shop.log[-1][1:] == ("person", "50 %")
        assert bot.slack.said("somebody changed the recording rate to 50 %")
        await bot.run(days=4)
        assert shop.log[-1][1] == "bot"
    finally:
        bot.close()
