"""What a rule reads beside its condition is a fact that it needs, fetched like any other."""

import pytest
from sqlalchemy import select
from test_evaluate import pass_time

from bot.domain.subjects import reread
from bot.fields.catalogue import text_fields
from bot.store.audit import history
from bot.store.schema import matches
from mouseflow.simulator.scenarios import session
from mouseflow.simulator.sessions import Visitor


def told(shop, name):
    """The value that the texts of the matches show for this name."""
    rows = shop.store.do(lambda conn: conn.execute(select(matches.c.subject)).scalars().all())
    return sorted(str(text_fields("recordings")[name].in_text(reread(row))) for row in rows)


def rule(more, text="x"):
    return (
        "one:\n  watch: recordings\n  when: {pages: {min: 2}}\n"
        f'  {more}\n  do: {{slack: {{text: "{text}"}}}}\n'
    )


def suppressed(shop):

    return len(shop.store.do(lambda conn: history(conn, kind="suppressed")))


@pytest.mark.parametrize(("field", "groups"), [("exit_page", 2), ("region", 3)])
@pytest.mark.parametrize("expand", [True, False])
async def test_once_per_groups_by_what_only_a_detail_tells(account, field, groups, expand):
    shop = account(rule(f"once_per: {{{field}: 1d}}"), expand=expand)
    await shop.poll()
    for number in range(6):
        page = "/paid" if number % 2 else "/cart"
        who = Visitor(region=f"r{number % 3}")
        shop.sim.add("myshop.com", session([("/", 20), (page, 20)], visitor=who), start=1 + number)
    await pass_time(shop, 60)
    assert len(shop.matched("one")) == 6
    assert suppressed(shop) == 6 - groups


async def test_count_groups_by_what_only_a_detail_tells(account):
    shop = account(rule("count: {at_least: 3, within: 1h, by: exit_page}"), expand=False)
    await shop.poll()
    for number in range(6):
        page = "/paid" if number % 2 else "/cart"
        shop.sim.add("myshop.com", session([("/", 20), (page, 20)]), start=1 + number)
    await pass_time(shop, 60)
    assert suppressed(shop) == 6 - 2


async def test_a_group_that_may_still_change_waits_for_the_end_of_the_session(account):
    shop = account(rule("once_per: {exit_page: 1d}"), expand=False)
    await shop.poll()
    shop.sim.add("myshop.com", session([("/", 60), ("/cart", 300), ("/paid", 20)]), start=1)
    await pass_time(shop, 60)
    assert told(shop, "exit_page") == ["/paid"]


@pytest.mark.parametrize(
    ("name", "value"), [("region", "Hesse"), ("visitor_type", "returning"), ("exit_page", "/cart")]
)
async def test_a_text_shows_what_has_to_be_fetched(account, name, value):
    shop = account(rule("summary: x", f"{{{{ {name} }}}}"), expand=False)
    await shop.poll()
    who = Visitor(region="Hesse", returning=True)
    shop.sim.add("myshop.com", session([("/", 20), ("/cart", 20)], visitor=who), start=1)
    await pass_time(shop, 45)
    assert told(shop, name) == [value]


async def test_a_text_that_shows_the_row_alone_costs_no_detail(account):
    shop = account(rule("summary: x", "{{ country }} {{ duration }}"), expand=False)
    await shop.poll()
    shop.sim.add("myshop.com", session([("/", 20), ("/cart", 20)]), start=1)
    await pass_time(shop, 45)
    assert len(shop.matched("one")) == 1
    assert not [call for call in shop.sim.calls if "/recordings/" in call.path]


@pytest.mark.parametrize(("more", "count"), [("once_per: {exit_page: 1d}", 0), ("summary: x", 1)])
async def test_without_its_detail_a_group_waits_and_a_text_does_not(account, more, count):
    shop = account(rule(more, "{{ exit_page }}"), expand=False)
    await shop.poll()
    shop.sim.add("myshop.com", session([("/", 20), ("/cart", 20)]), start=1)
    shop.sim.fail("status", status=503, times=10**6, path="/recordings/")
    await pass_time(shop, 40)
    assert len(shop.matched("one")) == count
    shop.sim.faults.clear()
    await pass_time(shop, 20)
    assert len(shop.matched("one")) == 1


async def test_a_group_is_not_lost_where_only_the_pages_of_an_earlier_detail_are_kept(account):
    once = rule("once_per: {region: 1d}").replace("pages: {min: 2}", "duration: {under: 10m}")
    looks = "looks: {watch: recordings, when: {saw_page: /never*}, do: {tag: never}}\n"
    shop = account(looks + once, expand=False)
    await shop.poll()
    who = Visitor(region="Hesse")
    for number in range(2):
        shop.sim.add("myshop.com", session([("/", 20), ("/cart", 20)], visitor=who), start=number)
    await pass_time(shop, 4)
    assert [call for call in shop.sim.calls if "/recordings/" in call.path]
    shop.sim.fail("status", status=503, times=10**6, path="/recordings/")
    await pass_time(shop, 36)
    assert not shop.matched("one")
    shop.sim.faults.clear()
    await pass_time(shop, 20)
    assert (len(shop.matched("one")), suppressed(shop)) == (2, 1)
