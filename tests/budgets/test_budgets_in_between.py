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


async def test_a_rate_that_a_person_sets_while_the_undo_waits_stays(world):
    bot = world(BUDGET.replace("recording: stop", "recording_rate: 25"))
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    [shop] = bot.shops
    assert shop.rate == 25
    bot.account.broken_writes = True
    await to_february(bot)
    await bot.run(every=QUARTER, hours=1)
    shop.set(bot.now, "person", rate=40)
    await bot.run(every=QUARTER, hours=1)
    bot.account.broken_writes = False
    await bot.run(every=QUARTER, hours=8)
    assert shop.rate == 40
    assert len(bot.slack.said("40 %")) == 1


DAILY = """
daily:
  websites: [myshop.com]
  recordings: 100
  period: day
  steps: {100%: {recording_rate: 10}}
  resume: true
month:
  websites: [myshop.com]
  recordings: 3000
  period: month
  steps: {50%: {recording_rate: 50}}
  resume: true
  pace: {min: 10, max: 100}
"""


async def test_a_daily_throttle_ends_where_a_person_decides_instead_of_the_pace(world):
    bot = world(DAILY.replace("50%: {recording_rate: 50}", "100%: {recording: stop}"), 150.0)
    [shop] = bot.shops
    await bot.run(every=QUARTER, hours=3)
    shop.set(bot.now, "person", rate=60)
    await bot.run(every=QUARTER, hours=2)
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=1)
    assert shop.rate == 10
    await bot.run(every=QUARTER, hours=24)
    assert shop.rate == 60


async def test_a_daily_throttle_ends_at_the_rate_of_the_step_that_ended_the_pace(world):
    bot = world(DAILY, 20.0)
    [shop] = bot.shops
    uses(bot, 1600)
    await bot.run(every=QUARTER, hours=2)
    assert shop.rate == 10
    await bot.run(every=QUARTER, hours=24)
    assert shop.rate == 50


TWO = BUDGET + DAILY.partition("month:")[0].replace("recordings: 100", "recordings: 50").replace(
    "recording_rate: 10", "recording: stop"
)


async def test_what_two_budgets_call_for_is_the_other_ones_when_one_is_taken_out(world):
    bot = world(TWO)
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=2)
    [held] = bot.owned().values()
    assert held.budget == "credits"
    bot.load(TWO.replace(BUDGET, ""))
    await bot.run(every=QUARTER, hours=2)
    assert bot.shops[0].status == "Stopped"
    assert bot.slack.said("no budget") == []
    await bot.run(every=QUARTER, hours=24)
    assert bot.shops[0].status == "Recording"


@pytest.mark.parametrize("refused", [False, True])
async def test_who_starts_what_the_new_period_starts_decides_nothing_for_it(world, refused):
    bot = world()
    shop = await stopped(bot)
    if refused:  # the bot tries again every hour, and somebody is quicker
        bot.account.refuses = REFUSED
        await to_february(bot)
        await bot.run(every=QUARTER, hours=1)
        shop.set(bot.now, "person", status="Recording")
        bot.account.refuses = None
    else:  # in January, while the bot is down
        shop.set(bot.now, "person", status="Recording")
        bot.wait(days=20)
    await bot.run(every=QUARTER, hours=3)
    assert bot.owned() == {}
    uses(bot, 105)
    await bot.run(every=QUARTER, hours=2)
    assert shop.status == "Stopped"
    assert bot.slack.said("somebody") == []
