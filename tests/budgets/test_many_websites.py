"""A budget of hundreds of websites: asked side by side, so many at a time, and failing softly."""

import asyncio
import sys
from pathlib import Path

import pytest
from budget_world import Shop, World

sys.path.append(str(Path(__file__).parents[1] / "end_to_end"))

import virtual_world
from virtual_world import virtually

from bot.budgets.poll import AT_ONCE
from bot.budgets.state import budget_mark
from bot.errors import StoreError, TryLater

RULES = """
version: 1
rules:
  on-the-phone:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
budgets:
"""
CREDITS = """
  credits:
    websites: ["*"]
    recordings: 1000000
    period: month
    steps:
      100%: {slack: {channel: "#ops"}}
"""


class Crowded:
    """The account's answers, some later than others; `worst` is how many were ever awaited.

    `faults` are raised instead of an answer, by the website's id. Every request
    waits until `answers` is set.
    """

    def __init__(self, account):
        self.account = account
        self.under_way = self.worst = 0
        self.faults = {}
        self.asked = set()
        self.answers = asyncio.Event()
        self.answers.set()

    async def send(self, request):
        website = request.path.split("/")[2]
        self.asked.add(website)
        self.under_way += 1
        self.worst = max(self.worst, self.under_way)
        await self.answers.wait()
        for _ in range(1 + len(self.asked) % 3):
            await asyncio.sleep(0)
        self.under_way -= 1
        if website in self.faults:
            raise self.faults[website]
        return await self.account.send(request)


@pytest.fixture
def crowd():
    shops = [Shop(f"shop-{n:02}.com", 10 * (n + 1)) for n in range(30)]
    world = World(CREDITS, *shops)
    world.account = Crowded(world.account)
    yield world
    world.close()


def used(shops, now):
    """What the shops have made since the month began."""
    first = now.date().replace(day=1)
    return sum(shop.count(day) for shop in shops for day in shop.made if day >= first)


def test_200_websites_are_counted_soon_while_their_recordings_are_polled(tmp_path):
    """Three calls for each of them, at two a second, of which the polls have half."""
    world = virtual_world.World(tmp_path, RULES + CREDITS, websites=200)

    async def work():
        await world.runs(minutes=12)

    virtually(work)
    assert world.store.do(lambda conn: budget_mark(conn, "credits")) is not None
    # The budget's own lists are two for each website.
    assert len(world.polls()) - 2 * 200 >= 0.75 * 12 * 60


async def test_so_many_websites_are_asked_at_once_and_no_more(crowd):
    crowd.account.answers.clear()
    looking = asyncio.create_task(crowd.poll_budgets())
    async with asyncio.timeout(60):
        while crowd.account.under_way < AT_ONCE:  # noqa: ASYNC110 - a count, not an event
            await asyncio.sleep(0.001)
    # The store runs its jobs in order, so one more website would be asking by now.
    await crowd.store.run(lambda conn: None)
    assert crowd.account.under_way == AT_ONCE
    crowd.account.answers.set()
    await looking
    assert crowd.account.worst == AT_ONCE


async def test_each_website_has_its_own_count_whoever_answers_first(crowd):
    await crowd.poll_budgets()
    assert [line.name for line in crowd.mark().websites] == [shop.name for shop in crowd.shops]
    assert crowd.mark().used == used(crowd.shops, crowd.now)


async def test_where_some_cannot_be_asked_the_others_are_counted_and_the_first_error_is_told(crowd):
    first, second = TryLater("the third is away"), TryLater("the twentieth is away")
    crowd.account.faults = {"id-shop-20.com": second, "id-shop-03.com": first}
    looked = await crowd.poll_budgets()
    assert looked.failed is first
    there = [shop for shop in crowd.shops if shop.name not in ("shop-20.com", "shop-03.com")]
    assert crowd.mark().used == used(there, crowd.now)
    crowd.account.faults = {}
    crowd.wait(hours=1)
    assert (await crowd.poll_budgets()).failed is None
    assert crowd.mark().used == used(crowd.shops, crowd.now)


async def test_what_is_no_answer_at_all_ends_the_look_and_asks_nobody_else(crowd):
    fault = StoreError("the disk is full")
    crowd.account.faults = {"id-shop-00.com": fault}
    with pytest.raises(StoreError) as raised:
        await crowd.poll_budgets()
    assert raised.value is fault
    assert crowd.mark() is None
    asked = len(crowd.account.asked)
    await crowd.store.run(lambda conn: None)  # whatever is still queued runs first
    assert len(crowd.account.asked) == asked <= 2 * AT_ONCE
