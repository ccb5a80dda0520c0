"""Budgets where two things come together: edits during a poll, people, refusals, other budgets."""

from budget_world import QUARTER
from test_budget_outcomes import BUDGET, stopped, to_february, uses, world

__all__ = ["world"]


async def during_a_poll(bot, text):
    """Load other budgets while a poll waits for an answer."""

    async def load():
        bot.load(text)

    bot.wait(minutes=15)
    bot.account.meanwhile = (True, load)
    await bot.poll()


async def test_a_budget_that_is_taken_out_during_a_poll_hands_back_once_it_is_back(world):
    bot = world()
    shop = await stopped(bot)
    await during_a_poll(bot, "")
    bot.load(BUDGET)
    await to_february(bot)
    await bot.run(every=QUARTER, hours=1)
    assert shop.status == "Recording"


async def test_a_budget_that_is_renamed_during_a_poll_posts_nothing_twice(world):
    bot = world()
    shop = await stopped(bot)
    await during_a_poll(bot, BUDGET.replace("credits:", "quota:\n  was: credits"))
    await bot.run(every=QUARTER, hours=1)
    assert len(bot.slack.posts) == 1
    await to_february(bot)
    await bot.run(every=QUARTER, hours=1)
    assert shop.status == "Recording"
