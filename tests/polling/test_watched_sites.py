"""Which websites are watched, and by which prepared rules."""

from zoneinfo import ZoneInfo

import pytest
from poll_world import Account

from bot.domain.subjects import Site
from bot.polling.record_matches import Routing
from bot.polling.recordings import PollContext
from bot.rules.files.load import read
from bot.watched_sites import watched_sites
from bot.watcher import Watcher
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULES = b"""
version: 1
rules:
  all:
    watch: recordings
    when: {device: phone}
    do: {tag: phone}
  shop:
    watch: recordings
    websites: [shop-*]
    when: {device: tablet}
    do: {tag: tablet}
"""
SITES = [Site(name, name) for name in ("a", "shop-1", "b", "shop-2")]


def test_websites_with_the_same_rules_share_them():
    watched = watched_sites(read([("r.yaml", RULES)]), SITES, {})
    a, one, b, two = (watched[site.id].rules for site in SITES)
    assert a is b
    assert one is two
    assert [rule.id for rule in a.final.rules] == ["all"]
    assert [rule.id for rule in one.final.rules] == ["all", "shop"]


def test_what_is_known_of_a_website_stays_if_its_rules_do():
    before = watched_sites(read([("r.yaml", RULES)]), SITES, {})
    edited = read([("r.yaml", RULES.replace(b"tablet}", b"desktop}"))])
    after = watched_sites(edited, SITES, before)
    assert [after[site.id].live is before[site.id].live for site in SITES] == [
        True, False, True, False,
    ]  # fmt: skip


@pytest.fixture
def account(tmp_path):
    made = Account(tmp_path, "any: {watch: recordings, when: {device: phone}, do: {star: true}}")
    yield made
    made.close()


async def test_rules_are_prepared_anew_only_if_rules_or_websites_have_changed(account):
    context = PollContext(account.sender, account.store, ZoneInfo(account.zone), account.settle,
                account.start, Routing("#mouseflow", account.zone))  # fmt: skip
    watcher = Watcher(context, read([("r.yaml", RULES)]), ops=None, wake=lambda: None,
                      clock=lambda: account.now)  # fmt: skip

    async def prepared():
        await watcher.find_sites()
        return watcher.watched[account.site.id].rules

    first = await prepared()
    assert await prepared() is first
    account.sim.world.sites["new"] = website("new", "other.com", plan=Plan(per_day=0))
    assert await prepared() is not first
    assert "new" in watcher.watched
    first = await prepared()
    await watcher.use_rules(read([("r.yaml", RULES)]))
    assert await prepared() is not first
