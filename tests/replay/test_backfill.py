"""After downtime of days everything missed is read and judged, once, and in memory-sized pieces."""

from contextlib import suppress
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from poll_world import Account
from test_evaluate import SENT_AND_NEW, deletes_before_its_filter
from test_poll_recordings import ALL_OF_THEM

from bot.errors import TryLater
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.polling.recordings import recent
from bot.replay.backfill import MOST_ATTEMPTS, backfill
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import REGULAR, session

STORIES = ["checkout-friction", "phone-bounce", "rage-on-product", "regular-in-trouble", "purchase"]


@pytest.fixture
def shop(tmp_path):
    made = Account(tmp_path, ALL_OF_THEM, start=timedelta())
    yield made
    made.close()


async def caught_up(shop, in_force=None, attempts=None):
    context = PollContext(shop.sender, shop.store, ZoneInfo(shop.zone), shop.settle, shop.start,
                Routing("#mouseflow", shop.zone))  # fmt: skip
    attempts = {} if attempts is None else attempts
    return await backfill(shop.site, in_force or (lambda: shop.rules), context, attempts, shop.now)


def visitors(shop, days, per_day):
    """Sessions spread over the days to come."""
    step = 86_400 / per_day
    return [
        shop.sim.add("myshop.com", STORIES[n % len(STORIES)], start=60 + n * step)
        for n in range(days * per_day)
    ]


async def test_after_days_of_downtime_every_match_is_found_once(shop):
    await shop.poll()
    planted = visitors(shop, days=4, per_day=25)
    shop.wait(days=4, hours=1)
    assert (await caught_up(shop)).matches > 0
    await shop.poll()
    shop.wait(minutes=40)
    await shop.poll()
    assert shop.matched() == await shop.truth(planted)
    assert await caught_up(shop) is None


async def test_a_catch_up_that_is_cut_off_goes_on_where_it_was(shop):
    await shop.poll()
    planted = visitors(shop, days=3, per_day=20)
    shop.wait(days=3, hours=3)
    shop.sim.fail("status", status=503, times=1000, skip=12)
    with pytest.raises(TryLater):
        await caught_up(shop)
    so_far = shop.matched()
    shop.sim.faults.clear()
    shop.restart()
    await caught_up(shop)
    await shop.poll()
    assert so_far < shop.matched() == await shop.truth(planted)


async def test_a_first_start_that_looks_far_back_judges_what_was_active_since_then(tmp_path):
    shop = Account(tmp_path, ALL_OF_THEM, start=timedelta(days=2), quirks=Quirks(row_cap=20))
    old = shop.sim.add("myshop.com", "checkout-friction", start=-3 * 86_400)
    recent = [
        shop.sim.add("myshop.com", "checkout-friction", start=-hours * 3600)
        for hours in range(3, 46, 2)
    ]
    await caught_up(shop)
    await shop.poll()
    assert shop.matched() == await shop.truth(recent)
    assert old not in {who for _, who in shop.matched()}
    shop.close()


async def test_a_first_start_sees_sessions_that_had_begun_long_before_what_it_looks_at(tmp_path):
    text = "long:\n  watch: recordings\n  when: {duration: {over: 1h}}\n  do: {tag: long}"
    shop = Account(tmp_path, text, start=timedelta(hours=6))
    pages = [(f"/{page}", 600) for page in range(10)]
    who = shop.sim.add("myshop.com", session(pages), start=-6 * 3600 - 80 * 60)
    await caught_up(shop)
    assert shop.matched() == {("long", who)}
    shop.close()


async def test_a_short_gap_is_left_to_the_ordinary_poll(shop):
    await shop.poll()
    shop.wait(seconds=recent(shop.settle).total_seconds() - 1)
    assert await caught_up(shop) is None


async def test_sessions_that_are_final_only_after_hours_are_watched_on(shop):
    shop.settle = timedelta(hours=5)
    await shop.poll()
    who = shop.sim.add("myshop.com", "phone-bounce", start=3600)
    shop.wait(hours=5)
    await caught_up(shop)
    await shop.poll()
    assert ("bounce", who) not in shop.matched()
    for _ in range(4):
        shop.wait(minutes=30)
        await shop.poll()
    assert ("bounce", who) in shop.matched()


async def test_a_rule_removed_while_it_catches_up_is_obeyed_no_longer(shop):
    await shop.poll()
    planted = visitors(shop, days=4, per_day=25)
    shop.wait(days=4, hours=1)
    gone = "bounce"
    assert {rule for rule, _ in await shop.truth(planted)} > {gone}

    def in_force():
        """A person removes the rule after its first matches."""
        removed = len(shop.matched(gone)) >= 3
        return tuple(rule for rule in shop.rules if rule.id != gone or not removed)

    await caught_up(shop, in_force)
    obeyed = {who for rule, who in shop.matched() if rule == gone}
    assert 3 <= len(obeyed) < sum(rule == gone for rule, _ in await shop.truth(planted))
    others = {pair for pair in await shop.truth(planted) if pair[0] != gone}
    shop.rules = in_force()
    await shop.poll()
    assert others <= shop.matched()


async def test_where_no_rule_is_left_catching_up_ends_at_once(shop):
    await shop.poll()
    visitors(shop, days=4, per_day=25)
    shop.wait(days=4, hours=1)
    before = len(shop.calls)
    assert await caught_up(shop, lambda: shop.rules if len(shop.calls) - before < 6 else ()) is None
    assert len(shop.calls) - before < 20


TWO_PAGES = """
pages:
  watch: recordings
  when: {saw_page: /thanks*, pages: {min: 2}}
  do: {tag: pages}
"""
PAGES = "pages:\n  watch: recordings\n  when: {saw_page: /thanks*}\n  do: {tag: pages}\n"


async def test_a_day_read_again_for_a_detail_evaluates_the_recording_that_lacked_it(tmp_path):
    shop = Account(tmp_path, PAGES, start=timedelta(), expand=False)
    await shop.poll()
    planted = [
        shop.sim.add("myshop.com", session([("/", 5), ("/thanks", 5)]), start=60 + n * 600)
        for n in range(6)
    ]
    shop.wait(days=1)
    shop.sim.fail("status", status=500, times=1, path=planted[2])
    with pytest.raises(TryLater, match="details of 1"):
        await caught_up(shop)
    await caught_up(shop)
    assert shop.matched() == {("pages", each) for each in planted}
    shop.close()


async def test_two_broken_details_of_a_day_do_not_look_like_an_outage(tmp_path):
    shop = Account(tmp_path, TWO_PAGES, start=timedelta(), expand=False)
    await shop.poll()
    pages = [("/", 5), ("/thanks", 5)]
    planted = [shop.sim.add("myshop.com", session(pages), start=60 + n * 600) for n in range(4)]
    of_no_rule = [
        shop.sim.add("myshop.com", session(pages[1:]), start=60 + n * 600) for n in (4, 5, -1)
    ]
    shop.wait(days=1)
    for each in (planted[2], *of_no_rule[1:]):
        shop.sim.fail("status", status=500, times=100, path=each)
    attempts = {}
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(TryLater, match="details of 1"):
            await caught_up(shop, attempts=attempts)
    assert await caught_up(shop, attempts=attempts)
    assert shop.matched() == {("pages", each) for each in planted if each != planted[2]}
    shop.close()


@pytest.mark.parametrize("broken", [slice(0, 4), slice(2, 6), slice(0, 6)])
async def test_many_broken_details_of_a_day_hold_up_nobody_else(tmp_path, broken):
    shop = Account(tmp_path, TWO_PAGES, start=timedelta(), expand=False)
    await shop.poll()
    pages = [("/", 5), ("/thanks", 5)]
    planted = [shop.sim.add("myshop.com", session(pages), start=60 + n * 600) for n in range(6)]
    shop.sim.add("myshop.com", session(pages[1:]), start=5000)
    shop.wait(days=1)
    for each in planted[broken]:
        shop.sim.fail("status", status=500, times=100, path=each)
    attempts = {}
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(TryLater, match="could not be read"):
            await caught_up(shop, attempts=attempts)
    assert await caught_up(shop, attempts=attempts)
    assert shop.matched() == {("pages", each) for each in planted} - {
        ("pages", each) for each in planted[broken]
    }
    shop.close()


@pytest.mark.parametrize("many", [0, 2, 20], ids=["alone", "one page", "a page of its own"])
async def test_a_day_waits_for_its_details_as_long_as_none_can_be_read(tmp_path, many):
    shop = Account(tmp_path, TWO_PAGES, start=timedelta(), expand=False, quirks=Quirks(row_cap=20))
    await shop.poll()
    pages = [("/", 5), ("/thanks", 5)]
    who = shop.sim.add("myshop.com", session(pages), start=60)
    others = [
        shop.sim.add("myshop.com", session(pages[1:]), start=600 + 60 * n) for n in range(many)
    ]
    shop.wait(days=3)
    for each in (who, *others):
        shop.sim.fail("status", status=500, times=1000, path=each)
    attempts = {}
    for _ in range(MOST_ATTEMPTS + 2):
        with pytest.raises(TryLater, match="details of 1"):
            await caught_up(shop, attempts=attempts)
    shop.sim.faults.clear()
    await caught_up(shop, attempts=attempts)
    assert shop.matched() == {("pages", who)}
    shop.close()


async def test_a_day_whose_only_detail_stays_broken_holds_up_the_others_for_a_day(tmp_path):
    shop = Account(tmp_path, TWO_PAGES, start=timedelta(), expand=False)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 5), ("/thanks", 5)]), start=60)
    shop.wait(days=3)
    shop.sim.fail("status", status=500, times=1000, path=who)
    attempts = {}
    for _ in range(4):
        with pytest.raises(TryLater, match="details of 1"):
            await caught_up(shop, attempts=attempts)
        shop.wait(hours=6, minutes=1)
    assert await caught_up(shop, attempts=attempts)
    assert shop.matched() == set()
    shop.close()


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_recording_that_is_deleted_in_a_backfill_is_no_first_visit(tmp_path, deleted):
    shop = Account(tmp_path, SENT_AND_NEW)
    await shop.poll()
    who = shop.sim.add("myshop.com", session([("/", 30)], visitor=REGULAR), start=5)
    shop.wait(minutes=2)
    await shop.poll()
    assert ("sent", who) in shop.matched()
    shop.wait(hours=9)
    waiting = deletes_before_its_filter(shop, who, deleted=deleted, rows="10000")
    attempts = {}
    for _ in range(MOST_ATTEMPTS + 1):
        with suppress(TryLater):  # the day is read again
            await caught_up(shop, attempts=attempts)
            break
    shop.wait(minutes=2)
    await shop.poll()
    assert not waiting
    assert ("new", who) not in shop.matched()
    shop.close()
