"""What spares details: page views that were read before, and the filter for tags."""

import pytest
from test_filter_checks import Failing

from bot.errors import GiveUp
from mouseflow.recordings import tag
from mouseflow.simulator.scenarios import session

PAGES = """
paid:
  watch: recordings
  when: {friction: {min: 2.5}, saw_page: /paid*}
  do: {star: true}
left:
  watch: recordings
  when: {exit_page: /cart}
  do: {star: true}
"""

VIP = """
vip:
  watch: recordings
  when: {tags: vip}
  do: {star: true}
plain:
  watch: recordings
  when: {saw_page: /cart, not: {tags: vip}}
  do: {star: true}
"""

ADDED = """
added:
  watch: recordings
  when: {tags: add-to-cart}
  do: {star: true}
none:
  watch: recordings
  when: {pages: {min: 2}, not: {tags: add-to-cart}}
  do: {watched: true}
in-cart:
  watch: recordings
  when: {page: {path: /cart, tags: add-to-cart}}
  do: {variables: {added: cart}}
"""

TWO = [("/", 20), ("/cart", 20)]
CROSS = [(30, "click-rage"), (31, "click-rage")]
ADDING = [[], [(30, "add-to-cart")], [], [(5, "add-to-cart")], [], []]
"""Events of visitors, in turn; that tag is on pages alone, so no row has it."""


def details(shop, who: str) -> int:
    return sum(path.endswith(who) for path in shop.calls)


async def test_a_session_that_has_not_grown_needs_no_second_detail(account):
    shop = account(PAGES, expand=False)
    await shop.poll()
    who = shop.sim.add("myshop.com", session(TWO, CROSS), start=1)
    for minutes in (2, 10, 30):
        shop.wait(minutes=minutes)
        await shop.poll()
    assert details(shop, who) == 1
    assert shop.matched() == {("left", who)}


async def test_a_session_that_has_grown_does(account):
    shop = account(PAGES, expand=False)
    await shop.poll()
    long = session([*TWO, ("/search", 600), ("/paid/now", 20)], CROSS)
    who = shop.sim.add("myshop.com", long, start=1)
    for minutes in (2, 11, 20, 20):
        shop.wait(minutes=minutes)
        await shop.poll()
    assert details(shop, who) == 2
    assert shop.matched() == {("paid", who)}


async def test_page_views_of_before_say_nothing_about_tags(account):
    shop = account(VIP + PAGES, expand=False)
    await shop.poll()
    who, other = (shop.sim.add("myshop.com", session(TWO), start=1) for _ in range(2))
    shop.wait(minutes=2)
    await shop.poll()
    assert details(shop, who) == 1
    await shop.sender.send(tag(shop.site.id, who, "vip"))
    shop.wait(minutes=40)
    await shop.poll()
    assert shop.matched() == {("vip", who), ("plain", other), ("left", who), ("left", other)}


async def busy(shop, hours: int = 2) -> list[str]:
    """Poll every 15 minutes while visitors come; returns their recordings."""
    await shop.poll()
    there = []
    for _ in range(hours * 4):
        for n in range(12):
            script = session(TWO, ADDING[n % len(ADDING)])
            there.append(shop.sim.add("myshop.com", script, start=n - 60))
        shop.wait(minutes=15)
        await shop.poll()
    shop.wait(minutes=40)
    await shop.poll()
    return there


async def test_the_filter_decides_rules_about_tags(account):
    shop = account(ADDED, expand=False)
    there = await busy(shop)
    read = sum("/recordings/" in path for path in shop.calls)
    assert read < len(there) / 2  # where the tag is, only the detail tells on which page
    assert shop.matched() == await shop.truth(there)


@pytest.mark.parametrize("posts", [True, False])
async def test_the_detail_of_a_match_is_read_for_its_message(account, posts):
    action = "slack: {text: '{{ saw }}'}" if posts else "star: true"
    shop = account(
        f"added:\n  watch: recordings\n  when: {{tags: add-to-cart}}\n  do: {{{action}}}\n",
        expand=False,
    )
    there = await busy(shop)
    read = sum("/recordings/" in path for path in shop.calls)
    found = shop.matched()
    assert (read >= len(found)) is posts
    assert found == await shop.truth(there)


@pytest.mark.parametrize("trouble", ["ignored", "refused"])
async def test_without_that_filter_the_matches_are_the_same(account, trouble):
    shop = account(ADDED, expand=False)
    if trouble == "ignored":
        shop.sim.behave(ignored_filters=frozenset({"tags"}))
    else:
        shop.sender = Failing(shop.sender, "tags", GiveUp("no such filter"))
    there = await busy(shop)
    assert shop.matched() == await shop.truth(there)
