"""The websites of the account: which ones rules watch, and which ones are gone."""

import asyncio
from collections.abc import (
    Collection,
    Generator,
    Iterable,
    Mapping,
    Sequence,
    Set,
)
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec
from msgspec import Struct

from bot.budgets.members import covered
from bot.domain.subjects import Site, reread
from bot.fields.normal import folded
from bot.polling.live_sessions import LiveSessions
from bot.polling.ops_messages import announce
from bot.polling.record_matches import Recorded, Routing
from bot.polling.server_facts import own_tags
from bot.polling.site_rules import SiteRules, Traits, traits_of
from bot.polling.watermark import stop_reading
from bot.replay.backfill import Attempts
from bot.reports.fetch import LevelMemory
from bot.reports.poll import uncovered, website_gone
from bot.rules.model import (
    Rule,
    RuleSet,
    applies,
    find_by_website,
    names_site,
    rules_by_website,
)
from bot.store import Connection
from bot.store.alert_states import note_share, websites_of_levels
from bot.store.recordings import (
    COUNTING,
    all_watermarks,
    forget_watermark,
    missing_websites,
    set_websites,
    website_names,
)
from mouseflow.models import Website


@dataclass(slots=True)
class WatchedSite:
    """A website under watch: its rules, prepared, and what is kept between its polls.

    `reported` are the doubts about its API that people were told; `backfill_attempts` tells
    by day how often a backfill lacked details. `begun` is since when rules watch its recordings,
    in seconds of the event loop's clock; `first`: they were never polled before. `shaky` is when
    a filter was last said to work again, or failed again soon after that.
    """

    site: Site
    rules: SiteRules
    live: LiveSessions = field(default_factory=LiveSessions)
    levels: LevelMemory = field(default_factory=LevelMemory)
    reported: set[str] = field(default_factory=set)
    shaky: dict[str, datetime] = field(default_factory=dict)
    backfill_attempts: dict[str, Attempts] = field(default_factory=dict)
    begun: float | None = None
    first: bool | None = None

    def watched_since(self, now: datetime) -> datetime | None:
        """Since when recordings have been watched, whatever the wall clock did meanwhile.

        None if an earlier process began it.
        """
        if not self.first or self.begun is None:
            return None
        return now - timedelta(seconds=asyncio.get_running_loop().time() - self.begun)


def sites_of(rows: Iterable[Website], rules: RuleSet) -> list[Site]:
    """The websites for rules; without demo websites, unless a rule names them."""
    return [site_of(row) for row in rows if not row.is_demo or _named(row.name or row.id, rules)]


def site_of(row: Website) -> Site:
    """The website of a row; its id where it has no name."""
    return Site(id=row.id, name=row.name or row.id, read_only=bool(row.read_only))


def _named(name: str, rules: RuleSet) -> bool:
    lists = [rule.websites for rule in rules.rules]
    lists += [budget.websites for budget in rules.budgets]
    return any(name.casefold() == wanted.casefold() for names in lists for wanted in names)


def unknown_websites(
    rules: RuleSet, sites: Sequence[Site]
) -> Generator[None, None, list[tuple[str, str]]]:
    """The rules that name a website which the account does not have, each with that name.

    A piece at a time: each name with a wildcard is compared with all websites.
    """
    called = {folded(text) for site in sites for text in (site.name, site.id)}
    missing: dict[str, bool] = {}
    for name in dict.fromkeys(name for rule in rules.rules for name in rule.websites):
        if "*" in name:
            yield
            missing[name] = not any(names_site((name,), site) for site in sites)
        else:
            missing[name] = folded(name) not in called
    yield
    return [(rule.id, name) for rule in rules.rules for name in rule.websites if missing[name]]


class Prepared(Struct, frozen=True):
    """The rules of each watched website, by its id: made once for all that have the same ones."""

    rules: Mapping[str, SiteRules]
    traits: Mapping[str, Traits]


NOTHING_PREPARED = Prepared({}, {})

AT_ONCE = 20
"""How many rules, or websites, are prepared at once, so that other work does not wait long."""


def prepare(
    rules: RuleSet, sites: Sequence[Site], before: Prepared, tags: Set[str] = frozenset()
) -> Generator[None, None, Prepared]:
    """Prepare the rules for the websites, a piece at a time. `tags` are those of earlier rules.

    What is the same as `before` is kept, with all that it has compiled: a rule that has only
    moved in its file is the same.
    """
    traits: dict[str, Traits] = {}
    for place, rule in enumerate(rules.watching("recordings"), 1):
        known = before.traits.get(rule.id)
        traits[rule.id] = known if known and _same(known.rule, rule) else traits_of(rule)
        if place % AT_ONCE == 0:
            yield
    own = own_tags(rules.rules) | tags
    every = yield from find_by_website(rules.rules, sites)
    found: dict[str, SiteRules] = {}
    shared = {each.traits: each for each in before.rules.values() if each.own_tags == own}
    for place, site in enumerate(sites, 1):
        if place % AT_ONCE == 0:
            yield
        watching = every[site.id]
        if not watching and not any(covered(budget, [site]) for budget in rules.budgets):
            continue
        mine = tuple(traits[rule.id] for rule in watching if rule.watch == "recordings")
        if mine not in shared:
            of_site = [it.rule for it in mine]
            shared[mine] = SiteRules(of_site, site, earlier_tags=own, known=traits)
            yield
            yield from shared[mine].get_ready()
        found[site.id] = shared[mine]
    return Prepared(found, traits)


def _same(known: Rule, rule: Rule) -> bool:
    return rule == msgspec.structs.replace(
        known, file=rule.file, line=rule.line, column=rule.column, tests=rule.tests
    )


def watched_sites(
    sites: Sequence[Site], before: Mapping[str, WatchedSite], prepared: Prepared
) -> dict[str, WatchedSite]:
    """The websites that some rule or budget watches, by id, with the rules prepared for them.

    What is kept of them stays, except for facts that other rules had asked for.
    """
    found = {}
    unchanged: dict[tuple[int, int], bool] = {}
    for site in sites:
        rules = prepared.rules.get(site.id)
        if rules is None:
            continue
        known = before.get(site.id)
        if known is None:
            found[site.id] = WatchedSite(site, rules)
            continue
        pair = (id(known.rules), id(rules))
        if pair not in unchanged:
            unchanged[pair] = known.rules.final.rules == rules.final.rules
        live = known.live if unchanged[pair] else known.live.forget_facts()
        found[site.id] = replace(known, site=site, rules=rules, live=live)
    return found


def stop_unwatched(
    conn: Connection, sites: Sequence[Site], watching: Sequence[Sequence[Rule]], now: datetime
) -> None:
    """Stop reading the recordings of websites that no rule watches, now or until now.

    A rule that comes later begins when it comes, and one that counts too few sessions begins to
    count then. A website that is missing from the list keeps its place: it is caught up with.
    """
    of_recordings = [[rule for rule in rules if rule.watch == "recordings"] for rules in watching]
    by_website = [rules_by_website(rules, sites) for rules in of_recordings]
    for site in sites:
        if not all(rules[site.id] for rules in by_website):
            stop_reading(conn, site.id, now)
    counted = {it for it in all_watermarks(conn) if it[0].startswith(COUNTING)}
    for source, website in counted:
        rules = by_website[0].get(website)
        if rules is not None and source.removeprefix(COUNTING) not in {it.id for it in rules}:
            forget_watermark(conn, source, website)


class GoneSites(Struct, frozen=True):
    """The websites that are gone, and what resolving their alerts led to."""

    sites: tuple[Site, ...]
    recorded: Recorded


def save_sites(
    conn: Connection,
    sites: Sequence[Site],
    there: Collection[str],
    rules: RuleSet,
    routing: Routing,
    now: datetime,
    statuses: Mapping[str, str | None] = MappingProxyType({}),
    *,
    whole: bool = True,
    left_out: Sequence[Site] = (),
) -> GoneSites:
    """Save a new list of websites; `there` are all ids, including those `left_out`.

    `statuses` are those of the websites for which rules need to know what was recorded.

    A website that is missing from two lists in a row is gone: its alerts end. By a list that is
    not `whole` none is missing, since nobody knows which websites its unreadable rows are.
    """
    lacked = missing_websites(conn)
    missing = _with_alerts(conn, rules.rules, there) | website_names(conn)
    missing = {key: name for key, name in missing.items() if key not in there}
    again = {key: name for key, name in lacked.items() if key not in there}
    if whole:
        gone = tuple(Site(key, name) for key, name in again.items())
        lacks = {key: name for key, name in missing.items() if key not in lacked}
    else:
        gone, lacks = (), again
    ended = [website_gone(conn, site, rules.rules, routing, now) for site in gone]
    ended.append(uncovered(conn, sites, rules.rules, routing, now, left_out))
    _tell_of_new_names(conn, sites, rules.rules, routing, now)
    names = {site.id: site.name for site in sites}
    for website, status in statuses.items():
        note_share(conn, website, status, None, now)
    set_websites(conn, names, lacks, now)
    recorded = Recorded(
        tuple(key for each in ended for key in each.matches),
        tuple(pause for each in ended for pause in each.paused),
    )
    return GoneSites(gone, recorded)


def _tell_of_new_names(
    conn: Connection, sites: Sequence[Site], rules: Sequence[Rule], routing: Routing, now: datetime
) -> None:
    """Tell people which rules no longer watch a website, because it has another name now."""
    before = website_names(conn)
    for site in sites:
        old = Site(site.id, before.get(site.id, site.name))
        if old.name == site.name:
            continue
        lost = [rule.id for rule in rules if applies(rule, old) and not applies(rule, site)]
        if lost:
            title = f"Website {old.name} is now called {site.name}"
            lines = (
                f"These rules name {old.name} and no longer watch it: {', '.join(lost)}.",
                "Their alerts there end. To watch it, write its new name or its id in the rules.",
            )
            announce(conn, title, lines, now, routing.ops, site)


def _with_alerts(conn: Connection, rules: Sequence[Rule], there: Collection[str]) -> dict[str, str]:
    """Missing websites with an alert of a rule: names by id."""
    ids = {rule.id for rule in rules}
    return {
        website: reread(figures).website.name if figures else website
        for rule, website, figures in websites_of_levels(conn)
        if website not in there and rule in ids
    }
