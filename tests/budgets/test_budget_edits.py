"""What an edit in mid-period does: each row of the table in docs/explanation/budgets.md, tried."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from budget_world import QUARTER, Shop, World, budgets

DOCS = Path(__file__).parents[2] / "docs" / "explanation" / "budgets.md"
BUDGET = """
credits:
  websites: [big.com, small.com]
  recordings: 100
  period: month
  steps:
    50%: {recording_rate: 25, slack: {channel: "#ops"}}
    100%: {recording: stop, slack: {channel: "#ops"}}
  resume: true
"""
STOPPED = [("Stopped", 25), ("Stopped", 25)]
UNDONE = [("Recording", 100), ("Recording", 100)]


class Edited:
    """Two websites at 105 of 100, stopped; other.com is in no budget."""

    def __init__(self, bot):
        self.bot = bot

    async def edit(self, *pairs, text=BUDGET):
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        self.bot.budgets = budgets(text)
        await self.bot.run(every=QUARTER, hours=1)

    @property
    def now(self):
        return [(shop.status, shop.rate) for shop in self.bot.shops[:2]]

    @property
    def used(self):
        return self.bot.mark().used

    def said(self, words):
        return len(self.bot.slack.said(words))


@pytest.fixture
async def edited():
    shops = [Shop(name, 0.0) for name in ("big.com", "small.com", "other.com")]
    bot = World(BUDGET, *shops)
    yesterday = bot.now.date() - timedelta(days=1)
    for shop, count in zip(shops, (80, 25, 7), strict=True):
        shop.made[yesterday] = count
    await bot.run(every=QUARTER, hours=1)
    found = Edited(bot)
    assert (found.used, found.now) == (105, STOPPED)
    yield found
    bot.close()


async def raised(it):
    await it.edit(("100\n", "150\n"))
    assert (it.used, it.now) == (105, [("Recording", 25), ("Recording", 25)])
    await it.edit(("100\n", "1000\n"))
    assert (it.used, it.now) == (105, UNDONE)
    assert it.said("✅ Budget credits: ") == 2


async def lowered(it):
    await it.edit(("100\n", "1000\n"))
    await it.edit(("100\n", "200\n"))
    assert (it.used, it.now) == (105, [("Recording", 25), ("Recording", 25)])
    await it.edit(("100\n", "101\n"))
    assert (it.used, it.now) == (105, STOPPED)


async def another_period(it):
    await it.edit(("period: month", "period: day"))
    assert (it.used, it.now) == (0, UNDONE)
    await it.edit(("period: month", "period: month\n  starts_on: 15"))
    assert (it.used, it.now) == (0, UNDONE)


async def changed_back(it):
    for pair in (("100\n", "1000\n"), ("period: month", "period: day")):
        await it.edit(pair)
        assert it.now == UNDONE
        await it.edit()
        assert (it.used, it.now) == (105, STOPPED)


async def website_added(it):
    await it.edit(("small.com]", "small.com, other.com]"))
    assert (it.used, it.now) == (112, STOPPED)
    assert (it.bot.shops[2].status, it.bot.shops[2].rate) == ("Stopped", 25)


async def website_taken_out(it):
    await it.edit((", small.com]", "]"))
    assert (it.used, it.now) == (105, [("Stopped", 25), ("Recording", 100)])
    it.bot.shops[1].made[it.bot.now.date()] = 9
    await it.bot.run(every=QUARTER, hours=1)
    assert it.used == 105


async def step_taken_out(it):
    await it.edit(("recording: stop, ", ""))
    assert (it.used, it.now) == (105, [("Recording", 25), ("Recording", 25)])
    await it.edit(("recording: stop, ", ""), ("recording_rate: 25, ", ""))
    assert (it.used, it.now) == (105, UNDONE)


async def another_rate(it):
    await it.edit(("recording: stop, ", ""), ("rate: 25", "rate: 40"))
    assert (it.used, it.now) == (105, [("Recording", 40), ("Recording", 40)])


async def another_share(it):
    await it.edit(("100%:", "120%:"))
    assert (it.used, it.now) == (105, [("Recording", 25), ("Recording", 25)])
    await it.edit(("100%:", "90%:"))
    assert (it.used, it.now) == (105, STOPPED)


async def resume_false(it):
    await it.edit(("resume: true", "resume: false"))
    assert (it.used, it.now) == (105, STOPPED)
    assert it.said("The bot no longer undoes its changes") == 1


async def renamed(it):
    await it.edit(("credits:", "plan:\n  was: credits"))
    assert (it.bot.mark("plan").used, it.now) == (105, STOPPED)
    assert {held.owner for held in it.bot.owned().values()} == {"budget:plan"}


async def taken_out(it):
    it.bot.budgets = ()
    await it.bot.run(every=QUARTER, hours=1)
    assert (it.now, it.bot.owned()) == (STOPPED, {})
    assert it.said("big.com is in no budget now; it stays Stopped") == 1


async def put_back(it):
    await taken_out(it)
    await it.edit()
    assert (it.used, it.now, len(it.bot.owned())) == (105, STOPPED, 4)
    await it.edit(("100\n", "1000\n"))
    assert it.now == UNDONE


async def person_first(it):
    it.bot.shops[0].set(it.bot.now, "person", status="Recording")
    await it.bot.run(every=QUARTER, hours=1)
    await it.edit(("100\n", "1000\n"))
    await it.edit(("100\n", "90\n"))
    assert (it.used, it.now) == (105, [("Recording", 25), ("Stopped", 25)])


ROWS = {
    "`recordings` raised": raised,
    "`recordings` lowered": lowered,
    "`period` or `starts_on` changed": another_period,
    "any of these changed back": changed_back,
    "website added": website_added,
    "website taken out": website_taken_out,
    "a step or its switch taken out": step_taken_out,
    "`recording_rate` of a step changed": another_rate,
    "share of a step changed": another_share,
    "`resume: false`": resume_false,
    "budget renamed, with `was: old-id`": renamed,
    "whole budget taken out": taken_out,
    "… and put back within 7 days": put_back,
    "any of these, after a person started a website": person_first,
}


def test_every_row_of_the_docs_is_tried():
    table = DOCS.read_text().split("## What an edit in mid-period does")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    assert rows[1:] == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
async def test_an_edit_does_what_the_docs_say(edited, row):
    await ROWS[row](edited)
