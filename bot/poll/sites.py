"""The account's websites: which are under watch, which rules ask for in vain, which are gone."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from bot.mouseflow.models import Website
from bot.poll.answers import LevelMemory
from bot.poll.book import Book
from bot.poll.budget_scene import covered
from bot.poll.levels import website_gone
from bot.poll.matching import Routing, Settled
from bot.poll.memory import Memory
from bot.rulebook.decide import applies
from bot.rulebook.rules import Rule, RuleSet
from bot.store import Connection
from bot.store.levels import websites_of_levels
from bot.store.watermarks import missing_websites, set_websites, website_names
from bot.subjects import Site, reread


@dataclass(slots=True)
class Place:
    """A website under watch: its rules made ready, and what is remembered between polls."""

    site: Site
    book: Book
    memory: Memory = field(default_factory=Memory)
    levels: LevelMemory = field(default_factory=LevelMemory)


def listed(rows: Iterable[Website], rules: RuleSet) -> list[Site]:
    """The websites as rules know them; demo websites are left out unless a rule names them."""
    return [
        Site(id=row.id, name=row.name or row.id, read_only=bool(row.read_only))
        for row in rows
        if not row.is_demo or _named(row.name or row.id, rules)
    ]


def _named(name: str, rules: RuleSet) -> bool:
    lists = [rule.websites for rule in rules.rules]
    lists += [budget.websites for budget in rules.budgets]
    return any(name.casefold() == wanted.casefold() for names in lists for wanted in names)


def unknown(rules: RuleSet, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
    """The rules that ask for a website which the account does not have, each with its name."""
    for rule in rules.rules:
        for name in rule.websites:
            if not any(applies(replace(rule, websites=(name,)), site) for site in sites):
                yield rule.id, name


def places(rules: RuleSet, sites: Sequence[Site], before: Mapping[str, Place]) -> dict[str, Place]:
    """The websites that some rule or budget watches, by id.

    What is remembered of them stays, but facts that other rules had asked for go.
    """
    found = {}
    for site in sites:
        if not any(applies(rule, site) for rule in rules.rules) and not any(
            covered(budget, [site]) for budget in rules.budgets
        ):
            continue
        book = Book(rules.rules, site)
        known = before.get(site.id)
        memory = known.memory if known else Memory()
        looked = known.levels if known else LevelMemory()
        if known and known.book.final.rules != book.final.rules:
            memory.forget_facts()
        found[site.id] = Place(site, book, memory, looked)
    return found


@dataclass(frozen=True, slots=True)
class Gone:
    """The websites that are gone, and what came of the end of their levels."""

    sites: tuple[Site, ...]
    settled: Settled


def keep_list(
    conn: Connection,
    sites: Sequence[Site],
    there: Collection[str],
    rules: RuleSet,
    routing: Routing,
    now: datetime,
) -> Gone:
    """Write down a new list of the websites; `there` are the ids of all, also of those left out.

    A website that two lists in a row lack, this one and the last, is gone: its levels end.
    """
    lacked = missing_websites(conn)
    missing = _of_levels(conn, rules.rules, there) | website_names(conn)
    missing = {key: name for key, name in missing.items() if key not in there}
    gone = tuple(Site(key, name) for key, name in lacked.items() if key not in there)
    ended = [website_gone(conn, site, rules.rules, routing, now) for site in gone]
    names = {site.id: site.name for site in sites}
    set_websites(conn, names, {k: v for k, v in missing.items() if k not in lacked}, now)
    settled = Settled(
        tuple(key for each in ended for key in each.matches),
        tuple(pause for each in ended for pause in each.paused),
    )
    return Gone(gone, settled)


def _of_levels(conn: Connection, rules: Sequence[Rule], there: Collection[str]) -> dict[str, str]:
    """Websites elsewhere at which something is true by a rule that watches them: names by id."""
    by_id = {rule.id: rule for rule in rules}
    found = {}
    for rule, website, figures in websites_of_levels(conn):
        if website not in there and rule in by_id:
            site = reread(figures).website if figures else Site(website, website)
            if applies(by_id[rule], site):
                found[website] = site.name
    return found
