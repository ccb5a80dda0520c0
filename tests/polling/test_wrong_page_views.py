"""Rows with page views are used only as long as they agree with themselves and with details."""

from functools import partial
from zoneinfo import ZoneInfo

import msgspec
import pytest
from poll_world import Account

from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.rules.model import RuleSet
from bot.store.audit import history
from bot.watcher import Watcher
from mouseflow.simulator.scenarios import session

RULES = """
paid: {watch: recordings, when: {saw_page: /paid}, do: {tag: a}}
unpaid: {watch: recordings, when: {pages: {min: 2}}, except: {saw_page: /paid}, do: {tag: b}}
left-at-paid: {watch: recordings, when: {exit_page: /paid}, do: {tag: c}}
raged: {watch: recordings, when: {page: {path: /cart, tags: rage}}, do: {tag: d}}
calm: {watch: recordings, when: {pages: {min: 2}}, except: {tags: rage}, do: {tag: e}}
"""
replace = msgspec.structs.replace


def no_tags(rows):
    return [replace(row, page_views=tuple(replace(v, tags=()) for v in row.page_views or ()))
            for row in rows]  # fmt: skip


def of_the_row_below(rows):
    below = [*rows[1:], rows[-1]]
    return [
        replace(row, page_views=other.page_views, pages=len(other.page_views or ()))
        if number % 5 == 0
        else row
        for number, (row, other) in enumerate(zip(rows, below, strict=True))
    ]


def last_left_out(rows):
    return [
        replace(row, page_views=row.page_views[:-1], pages=row.pages - 1)
        if row.page_views and len(row.page_views) > 1
        else row
        for row in rows
    ]


def copies_of_the_first(rows):
    return [
        replace(row, page_views=row.page_views[:1] * len(row.page_views)) if row.page_views else row
        for row in rows
    ]


class Lying:
    """Answers lists with page views as `lie` makes them."""

    def __init__(self, real, lie) -> None:
        self.real, self.lie = real, lie

    async def send(self, request):
        answer = await self.real.send(request)
        if "expand=true" not in request.target or not hasattr(answer, "recordings"):
            return answer
        return replace(answer, recordings=type(answer.recordings)(self.lie(answer.recordings)))


def plant(shop: Account, number: int) -> str:
    pages = [("/", 20), ("/cart", 20), *([("/paid", 20)] if number % 2 else [])]
    events = [(30, "rage")] if number % 3 == 0 else []
    return shop.sim.add("myshop.com", session(pages, events), start=-180)


def details(shop: Account) -> int:
    return sum(path.count("/") == 4 for path in shop.calls)


async def traffic(shop: Account, minutes: int, begin: int = 0, poll=None) -> list[str]:
    """Three new sessions before each poll, every third minute."""
    there = []
    poll = poll or shop.poll
    for minute in range(0, minutes, 3):
        there += [plant(shop, begin + minute + n) for n in range(3)]
        shop.wait(minutes=3)
        await poll()
    return there


async def over(shop: Account) -> None:
    for _ in range(16):
        shop.wait(minutes=3)
        await shop.poll()


@pytest.mark.parametrize("lie", [no_tags, of_the_row_below, copies_of_the_first])
async def test_rows_that_contradict_themselves_decide_nothing(account, lie):
    shop = account(RULES)
    there = await traffic(shop, 60)
    shop.sender = Lying(shop.sender, lie)
    there += await traffic(shop, 45, begin=60)
    await over(shop)
    assert shop.matched() == await shop.truth(there)


async def test_rows_that_only_a_detail_gives_away_are_believed_for_an_hour_at_most(account):
    shop = account(RULES)
    there = await traffic(shop, 60)
    shop.sender = Lying(shop.sender, last_left_out)
    lied_to = await traffic(shop, 75, begin=60)
    believed = shop.live.knowledge.expansion
    assert not believed.trusted(shop.now)
    assert believed.wrong_since is not None
    later = await traffic(shop, 45, begin=135)
    await over(shop)
    wrong = shop.matched() ^ await shop.truth([*there, *lied_to, *later])
    assert {who for _rule, who in wrong} <= set(lied_to)


async def test_a_spot_check_costs_one_detail_an_hour(account):
    shop = account(RULES)
    there = await traffic(shop, 30)
    before = details(shop)
    there += await traffic(shop, 180, begin=30)
    assert 2 <= details(shop) - before <= 4
    await over(shop)
    assert shop.matched() == await shop.truth(there)


async def test_a_tag_of_the_session_alone_costs_no_detail_if_pages_show_theirs(account):
    shop = account(RULES)
    there = await traffic(shop, 60)
    before = details(shop)
    for _ in range(10):
        script = session([("/", 20), ("/cart", 20)], [(30, "rage"), (35, "submit")])
        there += [shop.sim.add("myshop.com", script, start=-180) for _ in range(3)]
        shop.wait(minutes=3)
        await shop.poll()
    assert details(shop) - before <= 1  # the spot check
    await over(shop)
    assert shop.matched() == await shop.truth(there)


async def test_the_ops_channel_hears_of_it_once(account):
    shop = account(RULES, ops="#ops")
    shop.sender = lying = Lying(shop.sender, list)
    context = PollContext(
        lying,
        shop.store,
        ZoneInfo(shop.zone),
        shop.settle,
        shop.start,
        Routing("#mouseflow", shop.zone),
    )
    watcher = Watcher(
        context, RuleSet(shop.rules), ops="#ops", wake=lambda: None, clock=lambda: shop.now
    )
    await watcher.find_sites()
    poll = partial(watcher.poll_recordings, shop.site)
    await traffic(shop, 60, poll=poll)
    lying.lie = last_left_out
    await traffic(shop, 150, begin=60, poll=poll)
    notices = [note.text for note in shop.store.do(lambda conn: history(conn, kind="notice"))]
    assert notices == ["Page views in lists of myshop.com are wrong"]
