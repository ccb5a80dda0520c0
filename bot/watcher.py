"""Which websites and rules are active, and polling one of them when the scheduler asks.

First the list of websites: which ones rules watch, and which ones are gone. Then the Watcher,
which polls recordings, feedback, reports and budgets, and tells people about troubles.
"""

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

log = structlog.get_logger(__name__)

REPORTS: tuple[Kind, ...] = ("funnels", "forms", "pages", "websites")
"""What `poll.reports` is about, in the order of polling."""

# Which websites there are


@dataclass(slots=True)
class WatchedSite:
    """A watched website: its prepared rules, and what is kept between polls."""

    site: Site
    book: Book
    memory: Memory = field(default_factory=Memory)
    levels: LevelMemory = field(default_factory=LevelMemory)


def sites_of(rows: Iterable[Website], rules: RuleSet) -> list[Site]:
    """The websites for rules; without demo websites, unless a rule names them."""
    return [
        Site(id=row.id, name=row.name or row.id, read_only=bool(row.read_only))
        for row in rows
        if not row.is_demo or _named(row.name or row.id, rules)
    ]


def _named(name: str, rules: RuleSet) -> bool:
    lists = [rule.websites for rule in rules.rules]
    lists += [budget.websites for budget in rules.budgets]
    return any(name.casefold() == wanted.casefold() for names in lists for wanted in names)


def unknown_websites(rules: RuleSet, sites: Sequence[Site]) -> Iterator[tuple[str, str]]:
    """The rules that name a website which the account does not have, each with that name."""
    for rule in rules.rules:
        for name in rule.websites:
            if not any(applies(replace(rule, websites=(name,)), site) for site in sites):
                yield rule.id, name


def watched_sites(
    rules: RuleSet, sites: Sequence[Site], before: Mapping[str, WatchedSite]
) -> dict[str, WatchedSite]:
    """The websites that some rule or budget watches, by id.

    Keeps what is known of them, but drops facts that other rules needed.
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
        polled = known.levels if known else LevelMemory()
        if known and known.book.final.rules != book.final.rules:
            memory.forget_facts()
        found[site.id] = WatchedSite(site, book, memory, polled)
    return found


@dataclass(frozen=True, slots=True)
class GoneSites:
    """The websites that are gone, and what resolving their alerts led to."""

    sites: tuple[Site, ...]
    settled: Settled


def save_sites(
    conn: Connection,
    sites: Sequence[Site],
    there: Collection[str],
    rules: RuleSet,
    routing: Routing,
    now: datetime,
) -> GoneSites:
    """Save a new list of websites; `there` are all ids, including those left out.

    A website that is missing from two lists in a row is gone: its alerts end.
    """
    lacked = missing_websites(conn)
    missing = _with_alerts(conn, rules.rules, there) | website_names(conn)
    missing = {key: name for key, name in missing.items() if key not in there}
    gone = tuple(Site(key, name) for key, name in lacked.items() if key not in there)
    ended = [website_gone(conn, site, rules.rules, routing, now) for site in gone]
    names = {site.id: site.name for site in sites}
    set_websites(conn, names, {k: v for k, v in missing.items() if k not in lacked}, now)
    settled = Settled(
        tuple(key for each in ended for key in each.matches),
        tuple(pause for each in ended for pause in each.paused),
    )
    return GoneSites(gone, settled)


def _with_alerts(conn: Connection, rules: Sequence[Rule], there: Collection[str]) -> dict[str, str]:
    """Missing websites with an alert of a rule that watches them: names by id."""
    by_id = {rule.id: rule for rule in rules}
    found = {}
    for rule, website, figures in websites_of_levels(conn):
        if website not in there and rule in by_id:
            site = reread(figures).website if figures else Site(website, website)
            if applies(by_id[rule], site):
                found[website] = site.name
    return found


# What is polled, and with which rules


class Watcher:
    """The active rules and the websites they watch; polls when asked to.

    `wake` is called when there is something new in the outbox. `ops` is the channel for the
    bot's own troubles, None if there is none. After a gap longer than `announce_after`, people
    are told that polling has resumed; None: never.
    """

    def __init__(
        self,
        desk: Desk,
        rules: RuleSet,
        *,
        ops: str | None,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        announce_after: timedelta | None = None,
    ) -> None:
        self.desk = replace(desk, routing=replace(desk.routing, ops=ops))
        self.rules = rules
        self.watched: dict[str, WatchedSite] = {}
        self.budget_memory = BudgetMemory()
        self.troubles = Troubles(desk.store, ops=ops, wake=wake, clock=clock)
        self._ops = ops
        self._wake = wake
        self._clock = clock
        self.announce_after = announce_after
        self._announced: datetime | None = None
        self._sites: Sequence[Site] = ()
        self._rejected: Sequence[str] = ()

    async def find_sites(self) -> Sequence[Site]:
        """Fetch the account's websites and watch those that some rule or budget needs.

        Skips demo websites unless a rule names them. Raises the errors of the request.
        """
        found = await self.desk.mouseflow.send(websites.list())
        sites = sites_of(found, self.rules)
        if sites != self._sites:
            # Otherwise such a rule would silently never match.
            for rule, name in unknown_websites(self.rules, sites):
                log.warning("rules.unknown_website", rule=rule, website=name)
        gone = await self.desk.store.run(
            partial(
                save_sites,
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
        await self._watch_sites()
        return sites

    async def use_rules(self, rules: RuleSet) -> None:
        """Use these rules from the next poll on; their state is kept by id."""
        now = self._clock()
        fingerprints = {rule.id: fingerprint(rule) for rule in rules.rules}
        text = f"{len(rules.rules)} rules active"
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
        self._rejected = ()
        await self._watch_sites()
        log.info(
            "rules.loaded",
            rules=len(rules.rules),
            changed=sorted(changed),
            added=sorted(fingerprints.keys() - before),
            removed=sorted(before - fingerprints.keys()),
        )

    async def _watch_sites(self) -> None:
        """Watch the present websites with the present rules; forget troubles of other polls."""
        self.watched = watched_sites(self.rules, self._sites, self.watched)
        names = [watched.site.name for watched in self.watched.values()]
        kinds = ("recordings", "feedback", *REPORTS)
        looks = {SITES, *(f"{kind} of {name}" for kind in kinds for name in names)}
        await self.troubles.keep_only(looks | ({"budgets"} if self.rules.budgets else set()))

    async def reject_rules(self, faults: Sequence[str]) -> None:
        """Keep the active rules, since the changed files have errors, and tell people.

        The same errors again only go to the log.
        """
        log.error("rules.reload_failed", faults=list(faults))
        if tuple(faults) == self._rejected:
            return
        title = "New rules not loaded: they have errors. The previous rules stay active"
        note = Note(kind="rules.refused", text=faults[0], details={"faults": list(faults)})
        await self.desk.store.run(partial(record, at=self._clock(), notes=[note]))
        more = [f"and {len(faults) - 5} more lines"] if len(faults) > 5 else []
        await self.tell_ops(title, *faults[:5], *more)
        self._rejected = tuple(faults)

    async def poll_recordings(self, site: Site) -> bool:
        """Poll the website's recordings once; False if that failed, which is logged."""
        before = self.watched.get(site.id)
        if before is None:
            return True
        site = before.site

        async def poll() -> Settled:
            await self._backfill(before)
            # Only now: the backfill may take hours, and the rules may have changed.
            watched = self.watched.get(site.id)
            if watched is None or not watched.book.final.rules:
                return Settled()
            polled = await recordings.poll(
                watched.site, watched.book, self.desk, watched.memory, self._clock()
            )
            if polled.judged:
                matches = len(polled.settled.matches)
                tell = log.info if matches else log.debug
                tell("poll.decided", website=site.name, read=polled.read,
                     judged=polled.judged, details=polled.details, matches=matches)  # fmt: skip
            if polled.since is not None:
                await self._announce_resumed(polled.since)
            await self._warn_of_limits(watched, polled.unread)
            return polled.settled

        async def forget() -> Settled:
            # A rule that is added later starts then: it does not act on what no rule watched.
            than = self._clock() + timedelta(days=1)

            def work(conn: Connection) -> None:
                forget_watermark(conn, source="recordings", website=site.id)
                close_older(conn, website=site.id, than=than)

            await self.desk.store.run(work)
            before.memory.live.clear()
            return Settled()

        has_rules = before.book.final.rules
        return await self._guarded(f"recordings of {site.name}", poll if has_rules else forget)

    async def _backfill(self, watched: WatchedSite) -> None:
        """After hours without a poll, backfill what was missed first, and tell people."""
        site = watched.site
        tries = watched.memory.tries
        missed = await catch_up(site, lambda: self.rules.rules, self.desk, tries, self._clock())
        if missed is None:
            return
        log.info("poll.backfilled", website=site.name, since=missed.since, read=missed.read,
                 matches=missed.matches, unread=missed.missed)  # fmt: skip
        # What was live before has been read again; the old rows are outdated.
        watched.memory.live.clear()
        if not missed.first:
            await self._announce_resumed(missed.since)
        if missed.matches:
            self._wake()
        self._log_paused(missed.paused)

    async def _announce_resumed(self, since: datetime) -> None:
        """Tell people once for the account: the gap is the same for all websites."""
        now = self._clock()
        if (
            self.announce_after is None
            or now - since < self.announce_after
            or (self._announced is not None and now - self._announced < self.announce_after)
        ):
            return
        self._announced = now
        if self.troubles.are_known:
            return  # the end of that trouble is announced instead
        await self.tell_ops(
            f"Polling resumed: nothing was read since {since:%d %b %Y %H:%M} UTC",
            "The bot has caught up on what it missed. Matches older than their rule's act_up_to "
            "arrive as one digest.",
        )

    async def poll_feedback(self, site: Site) -> bool:
        """Poll the website's feedback campaigns once; False if that failed."""
        return await self._poll_levels("feedback", site)

    async def poll_reports(self, site: Site) -> bool:
        """Poll the website's funnels, forms, pages and switches once; False if one failed."""
        went_well = [await self._poll_levels(kind, site) for kind in REPORTS]
        return all(went_well)

    async def poll_budgets(self) -> bool:
        """Poll all budgets once; False if a request failed."""
        counted = self.rules.budgets
        watched = [watched.site for watched in self.watched.values()]
        if not counted:
            return True

        async def poll() -> Settled:
            polled = await poll_budgets(
                counted, watched, self.desk, self.budget_memory, self._clock(), self._ops
            )
            for website, used in polled.used.items():
                if website in self.watched:
                    self.watched[website].levels.budget_used = used
            for site in (site for site in polled.ignored if site.id in self.watched):
                await self._tell_once(
                    self.watched[site.id], "dates", f"Budgets can't count on {site.name}",
                    "The API ignores dates there: it counts visits before the first one.",
                )  # fmt: skip
            if polled.matches:
                self._wake()
            if polled.failed:
                raise polled.failed
            return Settled()

        return await self._guarded("budgets", poll)

    async def _poll_levels(self, kind: Kind, site: Site) -> bool:
        watched = self.watched.get(site.id)
        if watched is None:
            return True
        site = watched.site

        async def poll() -> Settled:
            polled = await report_poll.look(
                kind, site, self.rules.rules, self.desk, watched.levels, self._clock()
            )
            for name in polled.ignored:
                await self._tell_once(
                    watched, f"{kind}/{name}", f"Rules with {name} are on hold on {site.name}",
                    f"The API ignores that filter for {kind}: its figures are of all visitors.",
                )  # fmt: skip
            if polled.unread:
                log.warning("poll.unread", website=site.name, kind=kind, rows=polled.unread)
            if polled.failed:
                raise polled.failed
            return polled.settled

        return await self._guarded(f"{kind} of {site.name}", poll)

    async def _tell_once(self, watched: WatchedSite, about: str, title: str, line: str) -> None:
        """Tell people once."""
        if about not in watched.levels.said:
            watched.levels.said.add(about)
            log.error("poll.filter_ignored", website=watched.site.name, filter=about)
            await self.tell_ops(title, line, site=watched.site)

    async def tell_ops(self, title: str, *lines: str, site: Site | None = None) -> None:
        """Tell the ops channel, if there is one; the outbox keeps it until Slack accepts it."""
        work = partial(
            announce, title=title, lines=lines, now=self._clock(), channel=self._ops, site=site
        )
        await self.desk.store.run(work)
        self._wake()

    async def _guarded(self, name: str, poll: Callable[[], Awaitable[Settled]]) -> bool:
        try:
            settled = await poll()
            if settled.matches:
                self._wake()
            self._log_paused(settled.paused)
        except BotError as error:
            await self.troubles.failed(name, error)
            return False
        except Exception as error:
            # One website's unexpected data must not stop the others.
            if await self.troubles.failed(name, error):
                log.exception("poll.internal_error", what=name)
            return False
        await self.succeeded(name)
        return True

    async def succeeded(self, name: str) -> None:
        """Note that a poll succeeded; tell people if that ends a trouble they know of."""
        if await self.troubles.works(name):
            self._announced = self._clock()  # announced for all websites

    def _log_paused(self, paused: Sequence[tuple[str, str]]) -> None:
        """Log paused rules; their posts were saved with the pause."""
        for rule, reason in paused:
            log.warning("rule.paused", rule=rule, reason=reason)
        if paused:
            self._wake()

    async def _warn_of_limits(self, watched: WatchedSite, unread: int) -> None:
        """Tell people once about what the last poll could not check."""
        memory, site = watched.memory, watched.site
        if memory.friction_ignored and "friction" not in memory.said:
            memory.said.add("friction")
            log.error("poll.filter_ignored", website=site.name, filter="frictionmin")
            await self.tell_ops(
                f"Rules with friction are on hold on {site.name}",
                "The API ignores the friction filter there: an impossible friction matches visits.",
                site=site,
            )
        if unread and "unread" not in memory.said:
            memory.said.add("unread")
            log.warning("poll.unread", website=site.name, recordings=unread)


def fingerprint(rule: Rule) -> str:
    """A hash that changes when the rule does; its name and position do not count."""
    bare = replace(rule, id="", was=(), file="", line=0, column=1, tests=())
    return blake2b(repr(bare).encode(), digest_size=8).hexdigest()
