"""A clock that is ahead for a while and is right again leaves a budget as it was."""

from datetime import UTC, datetime, timedelta

import pytest
from budget_world import Shop, World

from bot.budgets.counting import _rate
from bot.budgets.state import SiteMark

BUDGET = """
credits:
  websites: [shop]
  recordings: 10000
  period: month
  steps:
    50%: {recording_rate: 50, slack: {channel: "#ops"}}
    100%: {recording: stop, slack: {channel: "#ops"}}
  resume: true
"""


@pytest.mark.parametrize("days", [3, 20, 40, 500])
async def test_what_a_wrong_clock_has_resumed_is_stopped_again(days):
    bot = World(BUDGET, Shop("shop", per_day=1500))
    await bot.run(hours=5)
    [shop] = bot.shops
    assert shop.status == "Stopped"
    bot.now += timedelta(days=days)
    for _ in range(4):
        await bot.poll()
        bot.now += timedelta(minutes=5)
    assert shop.status == ("Stopped" if days == 3 else "Recording")  # a period was over
    bot.now -= timedelta(days=days)
    await bot.run(hours=3)
    assert (shop.status, shop.rate) == ("Stopped", 50)
    assert bot.mark().used >= 20_000
    bot.wait(days=17)
    await bot.run(hours=2)
    assert (shop.status, shop.rate) == ("Recording", 100)


@pytest.mark.parametrize(("minutes", "rate"), [(-10, 100), (-300, 50), (60 * 24 * 20, 50)])
def test_a_rate_that_a_clock_ahead_has_seen_changed_is_not_just_changed(minutes, rate):
    now = datetime(2026, 3, 10, 9, tzinfo=UTC)
    changed = now + timedelta(minutes=minutes)
    assert _rate(SiteMark(at=now, rate=50, former=100, changed=changed), now) == rate


async def test_a_renamed_website_stays_counted_after_a_wrong_clock():
    bot = World(BUDGET, Shop("shop", per_day=1500))
    await bot.run(hours=5)
    [shop] = bot.shops
    shop.name = "renamed"
    await bot.run(hours=2)
    used = bot.mark().used
    bot.now += timedelta(days=40)
    for _ in range(4):
        await bot.poll()
        bot.now += timedelta(minutes=5)
    bot.now -= timedelta(days=40)
    await bot.run(hours=3)
    assert bot.mark().used >= used
    assert shop.status == "Stopped"
    bot.wait(days=17)
    await bot.run(hours=2)
    assert bot.mark().used == 0
    assert shop.status == "Recording"
