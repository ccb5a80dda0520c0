"""What a poll of recordings promises: nothing missed, nothing twice, few calls."""

from datetime import UTC, datetime, timedelta
from itertools import product
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poll_world import CHECKOUT, Account

from bot.domain.subjects import Site
from bot.errors import BadCredentials
from bot.polling.session import in_brief, seen_recording
from bot.store.audit import history
from bot.store.dead_letters import steps_of
from mouseflow.models import Recording
from mouseflow.recordings import tag
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Visitor

ALL_OF_THEM = (
    CHECKOUT
    + """
bounce:
  watch: recordings
  when: {device: phone, pages: {max: 1}, duration: {under: 10s}, entry_page: /landing*}
  do: {tag: bounce}
rage:
  watch: recordings
  when: {page: {path: /product*, tags: click-rage}}
  do: {tag: rage}
regulars:
  watch: recordings
  when: {visitor_type: returning, friction: {min: 5}}
  do: {tag: regular}
"""
)


async def test_a_condition_that_stays_true_fires_within_one_poll_of_becoming_true(account):
    shop = account()
    who = shop.sim.add("myshop.com", "checkout-friction", calm_for=80)
    shop.wait(seconds=60)
    await shop.poll()
    assert shop.matched() == set()
    shop.wait(seconds=60)
    assert shop.sim.friction(who) >= 2.5
    await shop.poll()
    assert shop.matched() == {("checkout-friction", who)}


async def test_a_condition_that_may_still_change_waits_until_the_session_is_settled(account):
    shop = account(ALL_OF_THEM)
    who = shop.sim.add("myshop.com", "phone-bounce")
    shop.wait(minutes=5)
    await shop.poll()
    assert shop.matched("bounce") == set()
    shop.wait(minutes=31)
    await shop.poll()
    assert shop.matched("bounce") == {("bounce", who)}


async def test_a_restart_between_two_polls_changes_nothing(account):
    shop = account(ALL_OF_THEM)
    who = shop.sim.add("myshop.com", "phone-bounce")
    shop.wait(minutes=5)
    await shop.poll()
    shop.restart()
    shop.wait(minutes=31)
    await shop.poll()
    assert shop.matched("bounce") == {("bounce", who)}


async def test_the_first_poll_begins_where_it_is_told_to(account):
    shop = account()
    shop.sim.add("myshop.com", "checkout-friction", start=-3 * 3600)
    recent = shop.sim.add("myshop.com", "checkout-friction", start=-1800)
    await shop.poll()
    assert shop.matched() == {("checkout-friction", recent)}


async def test_a_poll_that_fails_half_way_changes_nothing(account):
    shop = account()
    who = shop.sim.add("myshop.com", "checkout-friction", start=-300)
    shop.sim.fail("status", status=401, times=1, skip=2)
    with pytest.raises(BadCredentials):
        await shop.poll()
    assert shop.matched() == set()
    await shop.poll()
    assert shop.matched() == {("checkout-friction", who)}


async def test_a_detail_is_fetched_only_where_the_verdict_depends_on_it(account):
    shop = account()
    for start in range(-900, 0, 60):
        shop.sim.add("myshop.com", "search-bounce", start=start)
    who = shop.sim.add("myshop.com", "checkout-friction", start=-300)
    await shop.poll()
    assert shop.matched() == {("checkout-friction", who)}
    details = [path for path in shop.calls if "/recordings/" in path]
    assert details == [f"/websites/{shop.site.id}/recordings/{who}"]


async def test_a_filter_that_the_server_ignores_holds_the_rules_that_need_it(account):
    shop = account(ALL_OF_THEM)
    shop.sim.behave(ignored_filters=frozenset({"frictionmin"}))
    shop.sim.add("myshop.com", "purchase", start=-3600)
    raging = shop.sim.add("myshop.com", "rage-on-product", start=-3600)
    await shop.poll()
    assert "frictionmin" in shop.live.knowledge.filters.suspended
    assert shop.matched() == {("rage", raging)}


async def test_a_quiet_poll_costs_one_call(account):
    shop = account()
    await shop.poll()
    before = len(shop.calls)
    shop.wait(minutes=1)
    await shop.poll()
    assert len(shop.calls) - before == 1


async def test_a_read_only_website_is_posted_about_and_never_written_to(account):
    shop = account(
        CHECKOUT.replace("do: {tag: friction}", "do: {tag: friction, delete: true, slack: {}}")
    )
    shop.site = Site(id=shop.site.id, name=shop.site.name, read_only=True)
    who = shop.sim.add("myshop.com", "checkout-friction", start=-300)
    await shop.poll()
    key = f"checkout-friction/{shop.site.id}/{who}"
    planned = shop.store.do(lambda conn: steps_of(conn, key))
    assert [step.action for step in planned] == ["slack"]
    notes = shop.store.do(lambda conn: history(conn, kind="suppressed"))
    assert ["may only read" in note.text for note in notes] == [True]


OWN_TAGS = """
first:
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {tag: shop-friction}
by-glob:
  watch: recordings
  when: {tags: shop-*}
  do: {tag: glob}
"""
NAMED = (
    OWN_TAGS
    + """
by-name:
  watch: recordings
  when: {tags: shop-friction}
  do: {tag: named}
"""
)


@pytest.mark.parametrize(
    ("text", "expected"), [(OWN_TAGS, {"first"}), (NAMED, {"first", "by-name"})]
)
async def test_the_bots_own_tags_count_only_for_the_rules_that_name_them(account, text, expected):
    shop = account(text)
    who = shop.sim.add("myshop.com", "checkout-friction", start=-300)
    await shop.poll()
    await shop.sender.send(tag(shop.site.id, who, "shop-friction"))
    shop.wait(minutes=40)
    await shop.poll()
    assert {rule for rule, _ in shop.matched()} == expected


async def test_the_audit_log_says_once_an_hour_what_each_rule_costs(account):
    shop = account()
    await shop.poll()
    for _ in range(61):
        shop.sim.add("myshop.com", "checkout-friction", start=-120)
        shop.wait(minutes=1)
        await shop.poll()
    notes = shop.store.do(lambda conn: history(conn, kind="poll.cost"))
    assert len(notes) == 1
    assert notes[0].details["checkout-friction"] >= 61


async def test_a_first_look_back_reads_no_further_than_it_looks(account):
    shop = account("any:\n  watch: recordings\n  when: {pages: {min: 1}}\n  do: {tag: any}",
                   start=timedelta(minutes=90), quirks=Quirks(row_cap=40))  # fmt: skip
    for hours in range(2, 22):
        for minute in range(20):
            shop.sim.add("myshop.com", "search-bounce", start=-3600 * hours - 60 * minute)
    recent = [shop.sim.add("myshop.com", "search-bounce", start=-60 * n) for n in range(6, 86)]
    await shop.poll()
    assert {who for _, who in shop.matched()} == set(recent)
    assert len(shop.calls) < 8  # 480 recordings are 12 lists of 40


@pytest.mark.parametrize("cap", [40, 100])
async def test_a_first_look_back_in_pieces_reads_them_all(account, cap):
    shop = account("any:\n  watch: recordings\n  when: {pages: {min: 1}}\n  do: {tag: any}",
                   start=timedelta(minutes=90),
                   quirks=Quirks(row_cap=cap, offset="ignored"))  # fmt: skip
    minutes = [*range(6, 86), *range(120, 2_400, 3)]
    there = [
        shop.sim.add("myshop.com", session([("/", 5 + 37 * n % 290)]), start=-60 * minute - more)
        for n, (minute, more) in enumerate(product(minutes, (0, 30)))
    ]
    await shop.poll()
    assert {who for _, who in shop.matched()} == set(there[: 2 * 80])


THRESHOLDS = """
tablets:
  watch: recordings
  when: {friction: {min: 1}, device: tablet}
  do: {tag: tablet}
everyone:
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {tag: everyone}
regulars:
  watch: recordings
  when: {visitor_type: returning, friction: {min: 2.5}}
  do: {tag: regular}
"""


def asked(shop: Account, name: str) -> list[str]:
    """The values of that filter, in the order they were asked for."""
    queries = [dict(parse_qsl(call.query)) for call in shop.sim.calls]
    return [query[name] for query in queries if query.get(name, "1000000000") != "1000000000"]


async def test_friction_is_asked_only_at_thresholds_on_which_a_rule_turns(account):
    shop = account(THRESHOLDS)
    who = shop.sim.add("myshop.com", "checkout-friction", start=-300)  # no tablet
    await shop.poll()
    assert asked(shop, "frictionmin") == ["2.5"]
    assert ("everyone", who) in shop.matched()
    visitor = Visitor(device="Tablet")
    tablet = session([("/", 200)], [(100, "dead-click"), (120, "dead-click")], visitor=visitor)
    who = shop.sim.add("myshop.com", tablet, start=-200)
    await shop.poll()
    assert asked(shop, "frictionmin")[1:] == ["1", "2.5"]
    assert ("tablets", who) in shop.matched()


async def test_whether_the_visitor_came_back_is_asked_once_in_a_session(account):
    shop = account(
        THRESHOLDS
        + """
more:
  watch: recordings
  when: {friction: {min: 40}}
  do: {tag: more}
"""
    )
    shop.sim.add("myshop.com", "checkout-friction", calm_for=10)  # a first visit
    for _ in range(6):
        shop.wait(seconds=30)
        await shop.poll()
    assert len(asked(shop, "frictionmin")) > 3
    # The check of the filter, then the question.
    assert asked(shop, "visitortype") == ["returning", "first", "returning"]


MOMENTS = st.none() | st.integers(0, 10**9).map(lambda it: datetime.fromtimestamp(it, UTC))


@given(
    row=st.builds(
        Recording,
        id=st.just("a"),
        created=MOMENTS,
        last_activity=MOMENTS,
        duration=st.none() | st.integers(0, 99),
        pages=st.none() | st.integers(0, 9),
        country=st.sampled_from(["de", None]),
        tags=st.tuples() | st.tuples(st.sampled_from(["vip", "bug"])),
        variables=st.tuples() | st.just(("plan=pro", "plan=free")),
        watched=st.none() | st.booleans(),
        starred=st.none() | st.booleans(),
        token=st.sampled_from(["t", None]),
        visitor_name=st.sampled_from(["Ada", None]),
    ),
    settled=st.booleans(),
)
def test_a_row_in_brief_is_stored_like_the_whole_row(row, settled):
    brief, whole = (
        seen_recording(it, settled, frozenset(), fresh=True) for it in (in_brief(row), row)
    )
    assert brief == whole
