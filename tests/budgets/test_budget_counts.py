"""What a budget counts: one wrong answer changes nothing, and deleted recordings stay used."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from budget_world import QUARTER, START, Shop, World, budgets
from sqlalchemy import delete

from bot.store.budgets import visitors
from bot.store.schema import ledger

BUDGET = """
credits:
  websites: [myshop.com]
  recordings: 100
  period: %s
  steps: {100%%: {recording: stop, slack: {channel: "#ops"}}}
  resume: true
"""


@pytest.fixture
def world():
    made = []

    def make(text=BUDGET % "month", shop=None, **options):
        made.append(World(text, shop or Shop("myshop.com", 0.0), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def makes(bot, count):
    made = bot.shops[0].made
    made[bot.now.date()] = made.get(bot.now.date(), 0) + count


def deletes_all(bot):
    [shop] = bot.shops
    shop.deleted[bot.now.date()] = shop.true_count(bot.now.date())


@pytest.mark.parametrize("wrong", [{"factor": 2.0}, {"dates": False}, {"factor": 0.0}])
async def test_one_wrong_answer_neither_counts_nor_stops(world, wrong):
    bot = world()
    bot.shops[0].made[bot.now.date() - timedelta(days=40)] = 500
    makes(bot, 60)
    await bot.run(every=QUARTER, hours=1)
    for name, value in wrong.items():
        setattr(bot.account, name, value)
    bot.wait(minutes=15)
    await bot.poll()
    bot.account.factor, bot.account.dates = 1.0, True
    await bot.run(every=QUARTER, hours=2)
    assert bot.mark().used == 60
    assert bot.shops[0].status == "Recording"
    assert bot.shops[0].log == []


class Odd:
    """An account of which a few answers to counts are wrong: they are `factor` times as high."""

    def __init__(self, account, wrong, factor):
        self.account, self.wrong, self.factor = account, wrong, factor

    async def send(self, request):
        counts = request.path.endswith("/recordings") and dict(request.query)["fromdate"] > "2001"
        odd = counts and self.wrong > 0
        self.wrong -= counts
        self.account.factor, self.account.dates = (self.factor or 1.0) if odd else 1.0, True
        if odd and not self.factor:
            self.account.dates = False
        return await self.account.send(request)


@pytest.mark.parametrize("factor", [2.0, None], ids=["doubled", "dates ignored"])
async def test_one_wrong_first_answer_stops_nothing(world, factor):
    bot = world()
    bot.shops[0].made[bot.now.date() - timedelta(days=40)] = 500
    makes(bot, 60)
    bot.account = Odd(bot.account, 1, factor)
    bot.restart()
    await bot.run(every=QUARTER, hours=2)
    assert (bot.mark().used, bot.shops[0].log) == (60, [])


@pytest.mark.parametrize("factor", [2.0, None], ids=["doubled", "dates ignored"])
async def test_one_wrong_answer_after_an_edit_of_the_period_stops_nothing(world, factor):
    bot = world(BUDGET % "day")
    for back in range(14):
        bot.shops[0].made[bot.now.date() - timedelta(days=back)] = 5
    bot.shops[0].made[bot.now.date() - timedelta(days=40)] = 500
    await bot.run(every=QUARTER, hours=1)
    bot.store.do(lambda conn: forget_days(conn, bot.now.date() - timedelta(days=4)))
    bot.budgets = budgets(BUDGET % "month")
    bot.account = Odd(bot.account, 1, factor)
    bot.restart()
    await bot.run(every=QUARTER, hours=2)
    assert (bot.mark().used, bot.shops[0].log) == (70, [])


def forget_days(conn, before):
    """As in a store of a bot that has counted single days alone."""
    conn.execute(delete(ledger).where(ledger.c.day < before.isoformat()))


async def test_a_jump_that_a_second_answer_confirms_counts(world):
    bot = world()
    makes(bot, 20)
    await bot.run(every=QUARTER, hours=1)
    makes(bot, 100)
    bot.wait(minutes=15)
    await bot.poll()
    assert (bot.mark().used, bot.shops[0].status) == (20, "Recording")
    bot.wait(minutes=15)
    await bot.poll()
    assert (bot.mark().used, bot.shops[0].status) == (120, "Stopped")


async def test_dates_ignored_from_now_on_count_nothing_and_are_told(world):
    bot = world()
    bot.shops[0].made[bot.now.date() - timedelta(days=40)] = 500
    makes(bot, 60)
    await bot.run(every=QUARTER, hours=1)
    bot.account.dates = False
    await bot.run(every=QUARTER, hours=1)
    assert [site.name for site in (await bot.poll()).ignored] == ["myshop.com"]
    assert (bot.mark().used, bot.shops[0].status) == (60, "Recording")


async def test_recordings_made_after_a_deletion_count(world):
    bot = world()
    await bot.run(every=QUARTER, hours=1)
    for _ in range(6):
        makes(bot, 30)
        await bot.run(every=QUARTER, minutes=30)
        deletes_all(bot)
        await bot.run(every=QUARTER, minutes=30)
    assert bot.mark().used == 180
    assert bot.shops[0].status == "Stopped"


@pytest.mark.parametrize("period", ["month", "day"])
@pytest.mark.parametrize("zone", ["Europe/Copenhagen", "Pacific/Honolulu"])
async def test_a_day_that_began_in_the_account_counts_though_the_bots_has_not(world, period, zone):
    shop = Shop("myshop.com", 720.0, shape=lambda at: 1.0 if at.day == 1 else 0.0)
    bot = world(BUDGET % period, shop, zone=ZoneInfo(zone))
    bot.now = bot.now.replace(day=31, hour=22)
    await bot.run(every=QUARTER, hours=9)
    assert shop.status == "Stopped"
    assert shop.true_count(bot.now.date()) <= 160


@pytest.mark.parametrize(
    ("zone", "hour"),
    [("Pacific/Auckland", 23), ("Europe/Copenhagen", 12), ("Pacific/Honolulu", 5)],
)
async def test_of_a_website_without_visits_the_accounts_day_alone_is_learned(world, zone, hour):
    """It may not have existed on the days before; it is the 16th, the 15th and the 14th there."""
    shop = Shop("myshop.com", 0.0)
    bot = world(BUDGET % "month", shop, zone=ZoneInfo(zone), start=START.replace(hour=hour))
    await bot.poll()
    hours = bot.store.do(lambda conn: visitors(conn, shop.id, START - timedelta(days=40)))
    assert min(hours) == bot.now.astimezone(ZoneInfo(zone)).replace(hour=0)
    assert set(hours.values()) == {0.0}
