"""Budgets where two things come together: edits during a poll, people, refusals, other budgets."""

import pytest
from budget_world import QUARTER, Shop, World, budgets
from test_budget_outcomes import BUDGET, REFUSED, stopped, to_february, uses

SILENT = BUDGET.replace(', slack: {channel: "#ops"}', "")


@pytest.fixture
def world():
    made = []

    def make(text=BUDGET, per_day=0.0):
        made.append(World(text, Shop("myshop.com", per_day)))
        return made[-1]

    yield make
    for each in made:
        each.close()


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


async def raised_and_lowered(bot, text):
    """A refused stop is called for no more for some hours, and then again."""
    bot.account.refuses = REFUSED
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    bot.budgets = budgets(text.replace("recordings: 100", "recordings: 1000"))
    await bot.run(every=QUARTER, hours=3)
    bot.budgets = budgets(text)


async def test_a_stop_that_is_refused_anew_is_told_anew(world):
    bot = world(SILENT)
    await raised_and_lowered(bot, SILENT)
    await bot.run(every=QUARTER, hours=3)
    assert len(bot.slack.said("recording not stopped")) == 2


async def test_a_refusal_of_long_ago_is_not_the_reason_of_a_stop_that_works_at_once(world):
    bot = world()
    await raised_and_lowered(bot, BUDGET)
    bot.account.refuses = None
    await bot.run(every=QUARTER, hours=3)
    assert bot.shops[0].status == "Stopped"
    assert bot.slack.said("not been possible") == []
