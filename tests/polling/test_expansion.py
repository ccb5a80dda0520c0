"""What polls promise about page views that come with the list, which no document knows of."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poll_world import Account, rules

from bot.account import meaning
from bot.errors import TryLater
from bot.polling.page_views import ROWS_A_CALL, SEVERAL, Expansion, stretches
from mouseflow.errors import status_error
from mouseflow.models import PageView, Recording
from mouseflow.recordings import tag
from mouseflow.simulator.scenarios import session

PAGES_ALONE = """
checkout:
  watch: recordings
  when: {saw_page: /checkout*}
  do: {tag: checkout}
"""
CHECKOUT = f"""
{PAGES_ALONE}
rage:
  watch: recordings
  when: {{page: {{path: /product*, tags: click-rage}}}}
  do: {{tag: rage}}
"""
VIP = """
vip:
  watch: recordings
  when: {tags: vip, duration: {under: 1h}}
  do: {star: true}
"""
MANY = ["checkout-friction", "rage-on-product", "search-bounce"] * 10


def planted(shop: Account) -> list[str]:
    """Thirty sessions, half an hour long at most, that have just ended."""
    return [shop.sim.add("myshop.com", each, start=-300) for each in MANY]


def details(shop: Account) -> int:
    return sum(path.count("/") == 4 for path in shop.calls)


def expanded(shop: Account) -> int:
    return sum("expand=true" in call.query for call in shop.sim.calls)


async def test_once_seen_to_tell_the_same_one_list_stands_for_many_details(account):
    shop = account()
    first = planted(shop)
    await shop.poll()
    assert shop.matched() == await shop.truth(first)
    shown = details(shop) - len(first)  # asking for the truth costs a detail each
    assert 0 < shown < 10
    shop.wait(minutes=3)
    second = planted(shop)
    before = details(shop)
    await shop.poll()
    assert details(shop) == before
    assert shop.matched() == await shop.truth([*first, *second])


@pytest.mark.parametrize("lie", [{"expand": False}, {"tagless_expansion": True}])
async def test_a_server_that_gives_no_or_other_page_views_is_asked_for_details(account, lie):
    shop = account()
    shop.sim.behave(**lie)
    there = []
    for _ in range(3):
        there += planted(shop)
        await shop.poll()
        shop.wait(minutes=3)
    asked = details(shop)
    assert asked > len(there) / 2
    assert shop.matched() == await shop.truth(there)


async def test_details_without_tags_prove_nothing_about_tags(account):
    shop = account()
    shop.sim.behave(tagless_expansion=True)
    calm = session([("/", 20), ("/products/runner-3", 30), ("/cart", 20)], [])
    there = [shop.sim.add("myshop.com", calm, start=-900) for _ in range(12)]
    await shop.poll()
    shop.wait(minutes=3)
    there += [shop.sim.add("myshop.com", "rage-on-product", start=-120) for _ in range(12)]
    await shop.poll()
    assert shop.matched() == await shop.truth(there)


async def test_what_was_trusted_before_any_rule_read_tags_is_compared_anew(account):
    shop = account(PAGES_ALONE)
    shop.sim.behave(tagless_expansion=True)
    calm = session([("/", 20), ("/products/runner-3", 30), ("/cart", 20)], [])
    there = [shop.sim.add("myshop.com", calm, start=-300) for _ in range(12)]
    await shop.poll()
    assert expanded(shop)  # it is trusted now
    shop.wait(minutes=3)
    shop.rules = rules(CHECKOUT).rules
    shop.live = shop.live.forget_facts()
    there += [shop.sim.add("myshop.com", "rage-on-product", start=-120) for _ in range(12)]
    await shop.poll()
    assert shop.matched() == await shop.truth(there)


async def test_a_server_that_stops_to_expand_costs_details_and_no_match(account):
    shop = account()
    there = planted(shop)
    await shop.poll()
    shop.sim.behave(expand=False)
    shop.wait(minutes=3)
    there += planted(shop)
    await shop.poll()
    assert shop.matched() == await shop.truth(there)


class Refusing:
    """Gives no list with page views."""

    def __init__(self, real) -> None:
        self.real, self.refused = real, 0

    async def send(self, request):
        if "expand=true" in request.target:
            self.refused += 1
            raise meaning(status_error(request, 400, b"unknown argument"))
        return await self.real.send(request)


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_server_that_refuses_to_expand_costs_details_and_no_match(account, trusted):
    shop = account()
    there = planted(shop) if trusted else []
    await shop.poll()
    real = shop.sender
    refusing = shop.sender = Refusing(real)
    for _ in range(3):
        shop.wait(minutes=3)
        there += planted(shop)
        await shop.poll()
    shop.sender = real
    assert shop.matched() == await shop.truth(there)
    assert refusing.refused == 1


async def test_an_outage_says_nothing_about_expanded_lists(account):
    shop = account()
    there = planted(shop)
    await shop.poll()
    shop.wait(minutes=3)
    there += planted(shop)
    shop.sim.fail("status", status=503, times=100)
    with pytest.raises(TryLater):
        await shop.poll()
    shop.sim.faults.clear()
    before = details(shop)
    await shop.poll()
    assert details(shop) == before
    assert shop.matched() == await shop.truth(there)


class Leaving:
    """Is away from the moment on at which it is asked for a list with page views."""

    def __init__(self, real) -> None:
        self.real, self.away = real, False

    async def send(self, request):
        self.away = self.away or "expand=true" in request.target
        if self.away:
            raise meaning(status_error(request, 503, b""))
        return await self.real.send(request)


async def test_an_outage_between_the_list_and_its_page_views_ends_the_poll(account):
    shop = account(PAGES_ALONE)
    there = planted(shop)
    await shop.poll()
    shop.wait(hours=2)  # the list itself is asked for without page views again
    there += planted(shop)
    real, shop.sender = shop.sender, Leaving(shop.sender)
    with pytest.raises(TryLater):
        await shop.poll()
    shop.sender = real
    assert not shop.live.without_detail
    await shop.poll()
    assert shop.matched() == await shop.truth(there)


async def test_a_rule_on_the_region_is_judged_by_details(account):
    shop = account(CHECKOUT + "of-berlin:\n  watch: recordings\n  when: {region: Berlin}\n"
                   "  do: {tag: berlin}\n")  # fmt: skip
    for _ in range(2):
        planted(shop)
        await shop.poll()
        shop.wait(minutes=3)
    assert expanded(shop) == 0


async def test_it_can_be_turned_off(account):
    shop = account(expand=False)
    for _ in range(2):
        planted(shop)
        await shop.poll()
        shop.wait(minutes=3)
    assert expanded(shop) == 0


async def test_tags_that_people_set_after_the_last_activity_count_for_rules_added_meanwhile(
    account,
):
    shop = account()
    planted(shop)
    await shop.poll()
    shop.wait(minutes=3)
    (who, *_) = planted(shop)
    await shop.poll()
    shop.wait(minutes=3)
    await shop.poll()
    shop.rules = rules(VIP).rules
    shop.live = shop.live.forget_facts()
    await shop.sender.send(tag(shop.site.id, who, "vip"))
    shop.wait(minutes=40)
    for _ in range(400):  # they push the session out of what a poll reads
        shop.sim.add("myshop.com", "search-bounce", start=-60)
    await shop.poll()
    assert ("vip", who) in shop.matched()


@given(
    st.dictionaries(st.text("0123456789abcdef", min_size=1), st.integers(1, 9_000), max_size=80),
    st.booleans(),
)
def test_an_expanded_list_reads_no_more_rows_than_the_details_it_spares_are_worth(places, anywhere):
    found = stretches(places, 1_000, anywhere=anywhere)
    assert anywhere or [each.first for each in found] in ([], [1])
    named = [key for each in found for key in each.keys]
    assert len(named) == len(set(named))
    for each in found:
        assert len(each.keys) >= SEVERAL
        assert each.last - each.first < min(1_000, ROWS_A_CALL * len(each.keys))
        within = {key for key, place in places.items() if each.first <= place < each.last}
        assert within <= each.keys


@given(st.sets(st.integers(1, 900), min_size=9))
def test_recordings_that_stand_close_together_take_one_list(places):
    by_key = {str(place): place for place in places}
    (one,) = stretches(by_key, 1_000, anywhere=True)
    assert one.keys == by_key.keys()


def seen(*pages: str, at: int, last_tags: tuple[str, ...] = ("submit",)) -> Recording:
    """A session as it was `at` seconds: all but the last page have ended."""
    views = [PageView(id=page, website_page=page, visit_time=9, tags=("submit",)) for page in pages]
    views[-1] = msgspec.structs.replace(views[-1], visit_time=at, tags=last_tags)
    when = datetime(2026, 3, 10, 9, 0, at, tzinfo=UTC)
    return Recording(id="r", last_activity=when, page_views=tuple(views))


@pytest.mark.parametrize(
    ("row", "trusted"),
    [
        (seen("/", "/cart", at=5), True),
        (seen("/", "/cart", "/pay", at=7), True),
        (seen("/", "/cart", at=5, last_tags=()), False),
        (seen("/", "/cart", at=7, last_tags=()), True),  # it may have gone on
        (seen("/home", "/cart", "/pay", at=7), False),
        (seen("/", at=7), False),
    ],
    ids=["same", "gone on", "without a tag", "the last has changed", "another page", "cut"],
)
def test_what_had_ended_must_be_the_same_though_the_session_goes_on(row, trusted):
    now = datetime(2026, 3, 10, 10, tzinfo=UTC)
    expansion = Expansion().compared([row], {"r": seen("/", "/cart", at=5)}, True, now)
    assert expansion.trusted(now) is trusted


def test_what_shows_nothing_leaves_it_open():
    now = datetime(2026, 3, 10, 10, tzinfo=UTC)
    expansion = Expansion().compared([seen("/", "/x", at=7)], {"r": seen("/", at=5)}, True, now)
    assert not expansion.trusted(now)
    assert expansion.may_try(now)
