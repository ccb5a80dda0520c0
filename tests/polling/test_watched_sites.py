"""Which websites are watched, and by which prepared rules."""

from bot.domain.subjects import Site
from bot.rules.files.load import read
from bot.watcher import watched_sites

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
