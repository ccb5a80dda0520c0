"""After downtime the same happens as if the bot had watched, however the catch-up goes."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from poll_world import Account

from bot.errors import TryLater
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.replay.backfill import backfill
from bot.store.matches import matches_of
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import session

ANY = "any:\n  watch: recordings\n  when: {pages: {min: 1}}\n  do: {tag: any}\n"


async def caught_up(shop):
    context = PollContext(shop.sender, shop.store, ZoneInfo(shop.zone), shop.settle, shop.start,
                Routing("#mouseflow", shop.zone))  # fmt: skip
    return await backfill(shop.site, lambda: shop.rules, context, {}, shop.now)


def acted(shop, rule):
    """How many matches of the rule had actions."""
    query = "SELECT count(DISTINCT match_id) FROM steps JOIN matches ON match_id = matches.id"
    return shop.store.do(
        lambda conn: conn.exec_driver_sql(f"{query} WHERE rule = '{rule}'").scalar_one()
    )


@pytest.mark.parametrize(
    ("account", "zone"),
    [
        ("Australia/Sydney", "UTC"),
        ("Asia/Kolkata", "UTC"),
        ("Australia/Sydney", "America/Los_Angeles"),
        ("America/Los_Angeles", "Pacific/Auckland"),
        ("Pacific/Kiritimati", "Pacific/Pago_Pago"),
    ],
)
@pytest.mark.parametrize("skip", [12, 18, 24, 30])
async def test_a_catch_up_cut_off_in_a_wrong_zone_misses_nothing(tmp_path, account, zone, skip):
    quirks = Quirks(time_zone=account)
    shop = Account(tmp_path, ANY, quirks=quirks, zone=zone, start=timedelta())
    await shop.poll()
    planted = [
        shop.sim.add("myshop.com", session([("/", 5)]), start=60 + n * 1800) for n in range(144)
    ]
    shop.wait(days=3, hours=1)
    shop.sim.fail("status", status=503, times=1, skip=skip)
    try:
        await caught_up(shop)
    except TryLater:
        await caught_up(shop)
    await shop.poll()
    assert shop.matched() == {("any", each) for each in planted}
    shop.close()


MANY = """
many:
  watch: recordings
  when: {pages: {min: 1}}
  count: {at_least: 15, within: 10m, by: website}
  do: {tag: many}
"""


@pytest.mark.parametrize("number", [15, 20, 22, 30])
@pytest.mark.parametrize("away", [False, True])
async def test_a_count_is_the_same_after_downtime(tmp_path, number, away):
    shop = Account(tmp_path, MANY, start=timedelta())
    await shop.poll()
    for n in range(number):
        shop.sim.add("myshop.com", session([("/", 2)]), start=60 + n * 300 / number)
    if away:
        shop.wait(hours=5)
        await caught_up(shop)
    for _ in range(60):
        shop.wait(minutes=1)
        await shop.poll()
    assert acted(shop, "many") == number // 15
    shop.close()


async def test_a_row_that_appears_after_its_time_was_caught_up_is_seen(tmp_path):
    shop = Account(tmp_path, ANY, start=timedelta())
    await shop.poll()
    shop.sim.add("myshop.com", session([("/", 5)]), start=3600)
    shop.wait(hours=6)
    await caught_up(shop)
    await shop.poll()
    late = shop.sim.add("myshop.com", session([("/", 5)]), start=-3 * 3600)
    shop.wait(minutes=1)
    await shop.poll()
    assert ("any", late) in shop.matched()
    shop.close()


async def test_a_catch_up_leaves_alone_what_was_decided_before_a_rule_came(tmp_path):
    shop = Account(tmp_path, ANY, start=timedelta())
    await shop.poll()
    old = shop.sim.add("myshop.com", session([("/", 5)]), start=60)
    for _ in range(50):
        shop.wait(minutes=1)
        await shop.poll()
    shop.rules = (*shop.rules, shop.rules[0].__class__(**{
        name: getattr(shop.rules[0], name) for name in shop.rules[0].__slots__
    } | {"id": "new"}))  # fmt: skip
    new = shop.sim.add("myshop.com", session([("/", 5)]), start=600)
    shop.wait(hours=5)
    await caught_up(shop)
    await shop.poll()
    assert shop.matched() == {("any", old), ("any", new), ("new", new)}
    shop.close()


async def test_the_order_of_days_and_pages_does_not_matter_for_once_per(tmp_path):
    text = ANY.replace("do:", "once_per: {website: 30m}\n  do:")
    shop = Account(tmp_path, text, start=timedelta())
    await shop.poll()
    planted = [
        shop.sim.add("myshop.com", session([("/", 5)]), start=60 + n * 600) for n in range(24)
    ]
    shop.wait(hours=6)
    await caught_up(shop)
    await shop.poll()
    found = shop.store.do(lambda conn: matches_of(conn, limit=1000))
    assert {match.subject_key for match in found} == set(planted)
    assert acted(shop, "any") == 8
    shop.close()
