"""A recording rule that comes after hours without any begins when it comes."""

from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from poll_world import Account, rules
from sqlalchemy import select

from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.polling.server_facts import earlier_tags
from bot.store.matches import matches_of
from bot.store.schema import steps
from bot.watcher import Watcher

NONE_ABOUT_RECORDINGS = """
stopped:
  watch: websites
  when: {status: Stopped}
  do: {slack: {}}
"""


def short(name: str) -> str:
    return f"""
{name}:
  watch: recordings
  when: {{duration: {{under: 1h}}}}
  do: {{tag: {name}}}
"""


@pytest.fixture
def shop(tmp_path):
    made = Account(tmp_path, short("first"), start=timedelta())
    yield made
    made.close()


async def watched(shop: Account, watcher: Watcher, *, minutes: int) -> None:
    for _ in range(minutes):
        shop.wait(minutes=1)
        assert await watcher.poll_recordings(shop.site)


async def test_sessions_that_were_live_when_the_last_rule_went_are_left_to_no_later_rule(shop):
    context = PollContext(shop.sender, shop.store, ZoneInfo(shop.zone), shop.settle, shop.start,
                Routing("#mouseflow", shop.zone))  # fmt: skip
    watcher = Watcher(
        context, rules(short("first")), ops=None, wake=lambda: None, clock=lambda: shop.now
    )
    await watcher.find_sites()
    await watched(shop, watcher, minutes=1)
    shop.sim.add("myshop.com", "checkout-friction", start=1)
    await watched(shop, watcher, minutes=3)
    await watcher.use_rules(rules(NONE_ABOUT_RECORDINGS))
    await watched(shop, watcher, minutes=2)
    shop.wait(hours=5)
    await watcher.use_rules(rules(short("later")))
    await watched(shop, watcher, minutes=1)
    new = shop.sim.add("myshop.com", "checkout-friction", start=1)
    await watched(shop, watcher, minutes=50)
    assert shop.matched() == {("later", new)}


def watcher_of(shop: Account, text: str) -> Watcher:
    context = PollContext(shop.sender, shop.store, ZoneInfo(shop.zone), shop.settle, shop.start,
                Routing("#mouseflow", shop.zone), marks=shop.marks)  # fmt: skip
    return Watcher(context, rules(text), ops=None, wake=lambda: None, clock=lambda: shop.now)


ELSEWHERE = """
elsewhere:
  watch: recordings
  websites: [blog.myshop.com]
  when: {duration: {under: 1h}}
  do: {tag: elsewhere}
"""

FEEDBACK = """
campaigns:
  watch: feedback
  when: {enabled: false}
  do: {slack: {}}
"""


@pytest.mark.parametrize("start", [timedelta(), timedelta(days=30)])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("meanwhile", [ELSEWHERE, FEEDBACK, short("other"), NONE_ABOUT_RECORDINGS])
async def test_a_rule_that_is_put_back_does_not_act_on_the_time_between(
    tmp_path, meanwhile, restarted, start
):
    shop = Account(tmp_path, short("first"), start=start)
    watcher = watcher_of(shop, short("first"))
    await watcher.find_sites()
    await watched(shop, watcher, minutes=2)
    await watcher.use_rules(rules(meanwhile))
    for _ in range(10):
        shop.sim.add("myshop.com", "checkout-friction", start=1)
        shop.wait(hours=12)
        if restarted:
            watcher = watcher_of(shop, meanwhile)
        await watcher.find_sites()
        await watched(shop, watcher, minutes=2)
        shop.wait(hours=12)
    if restarted:
        watcher = watcher_of(shop, meanwhile)
        await watcher.find_sites()
    await watcher.use_rules(rules(short("first")))
    await watched(shop, watcher, minutes=2)
    new = shop.sim.add("myshop.com", "checkout-friction", start=1)
    await watched(shop, watcher, minutes=50)
    assert {it for it in shop.matched() if it[0] == "first"} == {("first", new)}
    shop.close()


async def test_a_website_that_is_missing_from_the_list_is_caught_up_with(tmp_path):
    shop = Account(tmp_path, short("first"), start=timedelta())
    watcher = watcher_of(shop, short("first"))
    await watcher.find_sites()
    await watched(shop, watcher, minutes=2)
    sites = dict(shop.sim.world.sites)
    shop.sim.world.sites.clear()
    await watcher.find_sites()
    shop.sim.world.sites.update(sites)
    made = shop.sim.add("myshop.com", "checkout-friction", start=1)
    shop.wait(hours=5)
    await watcher.find_sites()
    await watched(shop, watcher, minutes=2)
    assert shop.matched() == {("first", made)}
    shop.close()


TAGGED = """
tagged:
  watch: recordings
  when: {tags: {matches: "^bot-"}}
  do: {star: true}
"""


@pytest.mark.parametrize("late", [0, 120])
@pytest.mark.parametrize("restarted", [False, True])
async def test_the_tags_of_a_rule_that_is_gone_are_still_the_bots_own(tmp_path, restarted, late):
    shop = Account(tmp_path, short("first"), start=timedelta())
    shop.marks = timedelta(hours=24)
    watcher = watcher_of(shop, short("first").replace("tag: first", "tag: bot-first"))
    await watcher.use_rules(watcher.rules)
    await watcher.find_sites()
    await watched(shop, watcher, minutes=1)
    made = [shop.sim.add("myshop.com", "checkout-friction", start=1) for _ in range(2)]
    await watched(shop, watcher, minutes=1)
    if restarted:
        watcher = watcher_of(shop, TAGGED)
        await watcher.find_sites()
    await watcher.use_rules(rules(TAGGED))
    await watched(shop, watcher, minutes=late)
    site, who, _ = shop.sim.world.inspect(made[0])
    shop.sim.world.tag(site, who, "bot-first", on=True)
    site, who, _ = shop.sim.world.inspect(made[1])
    shop.sim.world.tag(site, who, "bot-other", on=True)
    await watched(shop, watcher, minutes=65 if late else 50)
    assert {it for it in shop.matched() if it[0] == "tagged"} == {("tagged", made[1])}
    shop.close()


async def test_a_month_after_its_rule_is_gone_a_tag_is_peoples_own(tmp_path):
    shop = Account(tmp_path, short("first"), start=timedelta())
    watcher = watcher_of(shop, short("first").replace("tag: first", "tag: bot-first"))
    await watcher.use_rules(watcher.rules)
    shop.wait(days=60)
    await watcher.use_rules(rules(TAGGED))
    shop.wait(days=29)
    await watcher.use_rules(rules(TAGGED))
    assert shop.store.do(earlier_tags) == {"bot-first"}
    shop.wait(days=2)
    await watcher.use_rules(rules(TAGGED))
    assert shop.store.do(earlier_tags) == set()
    shop.close()


class Editing:
    """Edits the rules once, while a poll waits for an answer."""

    def __init__(self, inner) -> None:
        self.inner, self.edit = inner, None

    async def send(self, request):
        answer = await self.inner.send(request)
        edit, self.edit = self.edit, None
        if edit:
            await edit()
        return answer


def deleting(name: str, tag: str, more: str = "") -> str:
    return short(name).replace(f"tag: {name}", f"tag: {tag}, delete: true") + more


OLD = ("tag", '{"tag":"first"}')


@pytest.mark.parametrize(
    ("edited", "left"),
    [
        (deleting("first", "better"), [("tag", '{"tag":"better"}')]),
        (deleting("first", "first", "  summary: edited\n"), [OLD]),
        ("\n" + deleting("first", "first"), [OLD, ("delete", "{}")]),
        (deleting("later", "later"), [OLD]),
    ],
)
async def test_an_edit_also_counts_for_a_poll_that_began_before_it(tmp_path, edited, left):
    shop = Account(tmp_path, deleting("first", "first"))
    shop.sender = Editing(shop.sender)
    watcher = watcher_of(shop, deleting("first", "first"))
    await watcher.use_rules(watcher.rules)
    await watcher.find_sites()
    await watched(shop, watcher, minutes=1)
    shop.sim.add("myshop.com", "checkout-friction", start=1)
    await watched(shop, watcher, minutes=10)
    assert not shop.matched()
    shop.wait(minutes=50)
    shop.sender.edit = partial(watcher.use_rules, rules(edited))
    await watched(shop, watcher, minutes=1)
    query = select(steps.c.action, steps.c.params).where(steps.c.state == "pending")
    assert [*map(tuple, shop.store.do(lambda conn: conn.execute(query).all()))] == left
    shop.close()


async def test_what_a_poll_that_began_before_a_rename_matches_does_not_match_again(tmp_path):
    shop = Account(tmp_path, short("first"))
    shop.sender = Editing(shop.sender)
    watcher = watcher_of(shop, short("first"))
    await watcher.use_rules(watcher.rules)
    await watcher.find_sites()
    await watched(shop, watcher, minutes=1)
    shop.sim.add("myshop.com", "checkout-friction", start=1)
    await watched(shop, watcher, minutes=10)
    assert not shop.matched()
    shop.wait(minutes=50)
    renamed = short("later").replace("watch:", "was: first\n  watch:")
    shop.sender.edit = partial(watcher.use_rules, rules(renamed))
    await watched(shop, watcher, minutes=3)
    assert [it.rule for it in shop.store.do(matches_of)] == ["later"]
    shop.close()
