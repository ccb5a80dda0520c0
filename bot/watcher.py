"""Watches the account: which websites there are, by which rules, and what came of each look."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b

import structlog

from bot.budgets.poll import BudgetMemory, poll_budgets
from bot.budgets.state import covered
from bot.domain.subjects import Kind, Site, reread
from bot.errors import BotError
from bot.polling import recordings
from bot.polling.live_sessions import Memory
from bot.polling.ops_messages import announce
from bot.polling.outages import SITES, Troubles
from bot.polling.record_matches import Routing, Settled
from bot.polling.recordings import Desk
from bot.polling.site_rules import Book
from bot.replay.backfill import catch_up
from bot.reports import poll as report_poll
from bot.reports.fetch import LevelMemory
from bot.reports.poll import website_gone
from bot.rules.model import Rule, RuleSet
from bot.rules.plan_steps import applies
from bot.store import Connection
from bot.store.alert_states import websites_of_levels
from bot.store.audit import Note, record
from bot.store.recordings import (
    close_older,
    forget_watermark,
    missing_websites,
    set_websites,
    website_names,
)
from bot.store.renames import rename_rule
from bot.store.rules import rules_loaded
from mouseflow import websites
from mouseflow.models import Website


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


log = structlog.get_logger(__name__)

REPORTS: tuple[Kind, ...] = ("funnels", "forms", "pages", "websites")
"""What is looked at with the reports, in this order."""


class Watcher:
    """The rules in force and the websites they watch; polls one of them at a time it is told.

    `wake` is called when there is something new in the outbox. `ops` is the channel for news
    of the bot itself, None where there is nobody to tell. After longer than `away` without a
    look it is told when there is one again; None: never.
    """

    def __init__(
        self,
        desk: Desk,
        rules: RuleSet,
        *,
        ops: str | None,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        away: timedelta | None = None,
    ) -> None:
        self.desk = replace(desk, routing=replace(desk.routing, ops=ops))
        self.rules = rules
        self.places: dict[str, Place] = {}
        self.budget_memory = BudgetMemory()
        self.troubles = Troubles(desk.store, ops=ops, wake=wake, clock=clock)
        self._ops = ops
        self._wake = wake
        self._clock = clock
        self.away = away
        self._back: datetime | None = None
        self._sites: Sequence[Site] = ()
        self._refused: Sequence[str] = ()

    async def find_sites(self) -> Sequence[Site]:
        """Ask for the account's websites; those that some rule watches are under watch now.

        Demo websites are left out unless a rule names them. Raises the errors of the call.
        """
        found = await self.desk.mouseflow.send(websites.list())
        sites = listed(found, self.rules)
        if sites != self._sites:
            # Such a rule would be silent for ever.
            for rule, name in unknown(self.rules, sites):
                log.warning("rules.unknown_website", rule=rule, website=name)
        gone = await self.desk.store.run(
            partial(
                keep_list,
                sites=sites,
                there=frozenset(each.id for each in found),
                rules=self.rules,
                routing=self.desk.routing,
                now=self._clock(),
            )
        )
        for site in gone.sites:
            log.warning("websites.gone", website=site.name)
        if gone.settled.matches:
            self._wake()
        self._log_paused(gone.settled.paused)
        self._sites = sites
        await self._under_watch()
        return sites

    async def use(self, rules: RuleSet) -> None:
        """From the next poll on these rules hold; their state is kept by id."""
        now = self._clock()
        fingerprints = {rule.id: fingerprint(rule) for rule in rules.rules}
        text = f"{len(rules.rules)} rules in force"
        note = Note(kind="rules.loaded", text=text, details={"digest": rules.digest})

        def work(conn: Connection) -> frozenset[str]:
            record(conn, now, [note])
            for rule in rules.rules:
                for old in rule.was:
                    rename_rule(conn, old, rule.id, now)
            return rules_loaded(conn, fingerprints, now)

        changed = await self.desk.store.run(work)
        before = {rule.id for rule in self.rules.rules}
        self.rules = rules
        self._refused = ()
        await self._under_watch()
        log.info(
            "rules.loaded",
            rules=len(rules.rules),
            changed=sorted(changed),
            added=sorted(fingerprints.keys() - before),
            removed=sorted(before - fingerprints.keys()),
        )

    async def _under_watch(self) -> None:
        """The websites and rules have changed; what is asked no longer does not fail any more."""
        self.places = places(self.rules, self._sites, self.places)
        names = [place.site.name for place in self.places.values()]
        kinds = ("recordings", "feedback", *REPORTS)
        looks = {SITES, *(f"{kind} of {name}" for kind in kinds for name in names)}
        await self.troubles.keep_only(looks | ({"budgets"} if self.rules.budgets else set()))

    async def refuse(self, faults: Sequence[str]) -> None:
        """The changed rule files have faults: the rules in force go on, and people are told.

        The same faults again are in the log alone.
        """
        log.error("rules.reload_failed", faults=list(faults))
        if tuple(faults) == self._refused:
            return
        title = "The changed rule files are not taken up; the old rules go on"
        note = Note(kind="rules.refused", text=faults[0], details={"faults": list(faults)})
        await self.desk.store.run(partial(record, at=self._clock(), notes=[note]))
        more = [f"and {len(faults) - 5} more lines"] if len(faults) > 5 else []
        await self.say(title, *faults[:5], *more)
        self._refused = tuple(faults)

    async def poll_recordings(self, site: Site) -> bool:
        """One look at the website's recordings; false where it failed, which is logged."""
        before = self.places.get(site.id)
        if before is None:
            return True
        site = before.site

        async def look() -> Settled:
            await self._catch_up(before)
            # Only now: that may take hours, and the rules may have changed meanwhile.
            place = self.places.get(site.id)
            if place is None or not place.book.final.rules:
                return Settled()
            polled = await recordings.poll(
                place.site, place.book, self.desk, place.memory, self._clock()
            )
            if polled.judged:
                matches = len(polled.settled.matches)
                tell = log.info if matches else log.debug
                tell("poll.decided", website=site.name, read=polled.read,
                     judged=polled.judged, details=polled.details, matches=matches)  # fmt: skip
            if polled.since is not None:
                await self._back_after(polled.since)
            await self._doubts(place, polled.unread)
            return polled.settled

        async def forget() -> Settled:
            # A rule that comes later begins then: it does not act on what no rule watched.
            than = self._clock() + timedelta(days=1)

            def work(conn: Connection) -> None:
                forget_watermark(conn, source="recordings", website=site.id)
                close_older(conn, website=site.id, than=than)

            await self.desk.store.run(work)
            before.memory.live.clear()
            return Settled()

        watched = before.book.final.rules
        return await self._tried(f"recordings of {site.name}", look if watched else forget)

    async def _catch_up(self, place: Place) -> None:
        """After hours without a poll what was missed comes first, and people are told."""
        site = place.site
        tries = place.memory.tries
        missed = await catch_up(site, lambda: self.rules.rules, self.desk, tries, self._clock())
        if missed is None:
            return
        log.info("poll.backfilled", website=site.name, since=missed.since, read=missed.read,
                 matches=missed.matches, unread=missed.missed)  # fmt: skip
        # What was live before has been read again; its rows of then say nothing any more.
        place.memory.live.clear()
        if not missed.first:
            await self._back_after(missed.since)
        if missed.matches:
            self._wake()
        self._log_paused(missed.paused)

    async def _back_after(self, since: datetime) -> None:
        """One line for the account: the other websites have been away as long."""
        now = self._clock()
        if (
            self.away is None
            or now - since < self.away
            or (self._back is not None and now - self._back < self.away)
        ):
            return
        self._back = now
        if self.troubles.are_known:
            return  # the end of what people know of is told in a moment
        await self.say(
            f"Reading again: nothing was read since {since:%d %b %Y %H:%M} UTC",
            "What was missed is caught up. Posts about matches older than their rule's act_up_to "
            "come in one digest.",
        )

    async def poll_feedback(self, site: Site) -> bool:
        """One look at the website's feedback campaigns; false where it failed."""
        return await self._poll_levels("feedback", site)

    async def poll_reports(self, site: Site) -> bool:
        """One look at the website's funnels, forms, pages and switch; false where one failed."""
        went_well = [await self._poll_levels(kind, site) for kind in REPORTS]
        return all(went_well)

    async def poll_budgets(self) -> bool:
        """One look at all budgets; false where a website could not be asked."""
        counted = self.rules.budgets
        watched = [place.site for place in self.places.values()]
        if not counted:
            return True

        async def look() -> Settled:
            looked = await poll_budgets(
                counted, watched, self.desk, self.budget_memory, self._clock(), self._ops
            )
            for website, used in looked.used.items():
                if website in self.places:
                    self.places[website].levels.budget_used = used
            for site in (site for site in looked.ignored if site.id in self.places):
                await self._once(
                    self.places[site.id], "dates", f"Budgets cannot count on {site.name}",
                    "The API ignores dates there: a day before there was any visit counts visits.",
                )  # fmt: skip
            if looked.matches:
                self._wake()
            if looked.failed:
                raise looked.failed
            return Settled()

        return await self._tried("budgets", look)

    async def _poll_levels(self, kind: Kind, site: Site) -> bool:
        place = self.places.get(site.id)
        if place is None:
            return True
        site = place.site

        async def look() -> Settled:
            looked = await report_poll.look(
                kind, site, self.rules.rules, self.desk, place.levels, self._clock()
            )
            for name in looked.ignored:
                await self._once(
                    place, f"{kind}/{name}", f"Rules with {name} are held on {site.name}",
                    f"The API ignores that filter for {kind}: the figures are of all visitors.",
                )  # fmt: skip
            if looked.unread:
                log.warning("poll.unread", website=site.name, kind=kind, rows=looked.unread)
            if looked.failed:
                raise looked.failed
            return looked.settled

        return await self._tried(f"{kind} of {site.name}", look)

    async def _once(self, place: Place, about: str, title: str, line: str) -> None:
        """Say it, unless it was said before."""
        if about not in place.levels.said:
            place.levels.said.add(about)
            log.error("poll.filter_ignored", website=place.site.name, filter=about)
            await self.say(title, line, site=place.site)

    async def say(self, title: str, *lines: str, site: Site | None = None) -> None:
        """Tell the ops channel, if there is one; kept in the outbox until Slack takes it."""
        work = partial(
            announce, title=title, lines=lines, now=self._clock(), channel=self._ops, site=site
        )
        await self.desk.store.run(work)
        self._wake()

    async def _tried(self, name: str, look: Callable[[], Awaitable[Settled]]) -> bool:
        try:
            settled = await look()
            if settled.matches:
                self._wake()
            self._log_paused(settled.paused)
        except BotError as error:
            await self.troubles.failed(name, error)
            return False
        except Exception as error:
            # One website's odd data must not end the watch over the others.
            if await self.troubles.failed(name, error):
                log.exception("poll.internal_error", what=name)
            return False
        await self.works(name)
        return True

    async def works(self, name: str) -> None:
        """Note that a look went well; people hear of the end of what they were told of."""
        if await self.troubles.works(name):
            self._back = self._clock()  # the end that was told is that of all websites

    def _log_paused(self, paused: Sequence[tuple[str, str]]) -> None:
        """People are told by what was written with the pause."""
        for rule, reason in paused:
            log.warning("rule.paused", rule=rule, reason=reason)
        if paused:
            self._wake()

    async def _doubts(self, place: Place, unread: int) -> None:
        """What the last look could not vouch for is said once."""
        memory, site = place.memory, place.site
        if memory.friction_ignored and "friction" not in memory.said:
            memory.said.add("friction")
            log.error("poll.filter_ignored", website=site.name, filter="frictionmin")
            await self.say(
                f"Rules with friction are held on {site.name}",
                "The API ignores the friction filter there: an impossible friction counts visits.",
                site=site,
            )
        if unread and "unread" not in memory.said:
            memory.said.add("unread")
            log.warning("poll.unread", website=site.name, recordings=unread)


def fingerprint(rule: Rule) -> str:
    """Changes when the rule says something else; its name and its place do not count."""
    bare = replace(rule, id="", was=(), file="", line=0, column=1, tests=())
    return blake2b(repr(bare).encode(), digest_size=8).hexdigest()
