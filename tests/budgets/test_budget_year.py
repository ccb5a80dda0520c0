"""A year at random: whatever people, clocks, outages and restarts do, the promises hold."""

import os
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from budget_world import ZONE, Shop, World

from bot.domain.budget import period

BUDGET = """
credits:
  websites: ["shop-*"]
  recordings: 30000
  period: month
  starts_on: {starts}
  steps:
    80%: {{slack: {{channel: "#ops"}}}}
    95%: {{recording_rate: 25, slack: {{channel: "#ops"}}}}
    100%: {{recording: stop, slack: {{channel: "#ops"}}}}
  resume: true
"""
YEARS = int(os.environ.get("BUDGET_YEARS", "1"))
"""How many years; BUDGET_YEARS=20 makes a longer test of it."""


def people(chance, bot):
    """What happens beside the bot; returns the shops whose status somebody has changed."""
    touched = []
    for shop in bot.shops:
        lot = chance.random()
        if lot < 0.002:
            status = chance.choice(["Recording", "Stopped", "Paused", "NotInstalled"])
            if status != shop.status:
                shop.set(bot.now, "person", status=status)
                touched.append(shop)
        elif lot < 0.004:
            shop.set(bot.now, "person", rate=chance.choice([30, 60, 100]))
        elif lot < 0.02 and shop.made:
            day = chance.choice(sorted(shop.made)[-40:])
            shop.deleted[day] = chance.randint(0, shop.true_count(day))
    return touched


@pytest.mark.parametrize("seed", range(YEARS))
async def test_a_year_of_accidents(seed):
    chance = random.Random(seed)
    starts = chance.choice([1, 15, 31])
    shops = [
        Shop("shop-a", chance.uniform(600, 1100)),
        Shop("shop-b", chance.uniform(200, 500)),
        Shop("shop-c", 100, read_only=True),
    ]
    bot = World(BUDGET.format(starts=starts), *shops, start=datetime(2026, 1, 2, tzinfo=UTC))
    disturbed: set[date] = set()
    broken_until = bot.now
    end = bot.now + timedelta(days=365)
    while bot.now < end:
        bot.wait(hours=8)
        first = period(bot.now.astimezone(ZONE).date(), "month", starts).first
        if people(chance, bot):
            disturbed.add(first)
        if chance.random() < 0.003:
            broken_until = bot.now + timedelta(hours=chance.choice([3, 30, 60]))
        bot.account.broken = bot.now < broken_until
        if bot.account.broken:
            disturbed.add(first)
        if chance.random() < 0.02:
            bot.restart()
        await bot.poll()
    check_nothing_started_that_others_stopped(shops)
    check_steps_once_a_period(bot)
    check_undisturbed_periods_keep_the_budget(shops, disturbed, starts, end)
    assert (
        len(bot.store.do(lambda conn: conn.exec_driver_sql("SELECT * FROM figures").all())) < 9000
    )
    bot.close()


def check_nothing_started_that_others_stopped(shops):
    for shop in shops:
        stopped_by = None
        for _at, who, what in shop.log:
            if what == "Recording" and who == "bot":
                assert stopped_by == "bot", f"{shop.name} was started though a person stopped it"
            if what in ("Recording", "Stopped", "Paused", "NotInstalled"):
                stopped_by = who if what == "Stopped" else None


def check_steps_once_a_period(bot):
    keys = [
        entry.step
        for entry in bot.audit("step.done")
        if "/post/" in entry.step and "/slack" in entry.step
    ]
    assert keys
    assert max(Counter(keys).values()) == 1
    posts = Counter(key.rsplit("/post", 1)[0] for key in keys)
    assert max(posts.values()) == 1


def check_undisturbed_periods_keep_the_budget(shops, disturbed, starts, end):
    looked = 0
    day = date(2026, 2, 1)
    while day < end.date() - timedelta(days=40):
        at = period(day, "month", starts)
        day = at.end
        if at.first in disturbed:
            continue
        looked += 1
        used = sum(
            shop.true_count(each)
            for shop in shops
            for each in shop.made
            if at.first <= each < at.end
        )
        late = sum(shop.per_day for shop in shops if shop.read_only) * 31
        assert used <= 30_000 * 1.02 + late
    assert looked
