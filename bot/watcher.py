"""Watches the account: its websites, the rules that apply to each, and their polls."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b

import structlog

from bot.budgets import poll as budget_poll
from bot.budgets.poll import BudgetMemory
from bot.budgets.state import covered
from bot.domain.subjects import Kind, Site, reread
from bot.errors import BotError
from bot.polling import recordings
from bot.polling.live_sessions import LiveSessions
from bot.polling.ops_messages import announce
from bot.polling.outages import SITES, Troubles
from bot.polling.record_matches import Recorded, Routing
from bot.polling.recordings import PollContext
from bot.polling.site_rules import SiteRules
from bot.replay.backfill import backfill
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
class WatchedSite:
    """A website under watch: its rules, prepared, and what is kept between its polls.

    `reported` are the doubts about its API that people were told; `backfill_attempts` counts
    by day how often a backfill lacked details.
    """

    site: Site
    rules: SiteRules
    live: LiveSessions = field(default_factory=LiveSessions)
    levels: LevelMemory = field(default_factory=LevelMemory)
    reported: set[str] = field(default_factory=set)
    backfill_attempts: dict[str, int] = field(default_factory=dict)


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


def watched_sites(
    rules: RuleSet, sites: Sequence[Site], before: Mapping[str, WatchedSite]
) -> dict[str, WatchedSite]:
    """The websites that some rule or budget watches, by id.

    What is kept of them stays, except for facts that other rules had asked for.
    """
    found = {}
    for site in sites:
        if not any(applies(rule, site) for rule in rules.rules) and not any(
            covered(budget, [site]) for budget in rules.budgets
        ):
            continue
        prepared = SiteRules(rules.rules, site)
        known = before.get(site.id)
        if known is None:
            found[site.id] = WatchedSite(site, prepared)
            continue
        same = known.rules.final.rules == prepared.final.rules
        live = known.live if same else known.live.forget_facts()
        found[site.id] = replace(known, site=site, rules=prepared, live=live)
    return found


@dataclass(frozen=True, slots=True)
class Gone:
    """The websites that are gone, and what came of the end of their levels."""

    sites: tuple[Site, ...]
    recorded: Recorded


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
    recorded = Recorded(
        tuple(key for each in ended for key in each.matches),
        tuple(pause for each in ended for pause in each.paused),
    )
    return Gone(gone, recorded)


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
        context: PollContext,
        rules: RuleSet,
        *,
        ops: str | None,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        away: timedelta | None = None,
    ) -> None:
        self.context = replace(context, routing=replace(context.routing, ops=ops))
        self.rules = rules
        self.watched: dict[str, WatchedSite] = {}
        self.budget_memory = BudgetMemory()
        self.troubles = Troubles(context.store, ops=ops, wake=wake, clock=clock)
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
        found = await self.context.mouseflow.send(websites.list())
        sites = listed(found, self.rules)
        if sites != self._sites:
            # Such a rule would be silent for ever.
            for rule, name in unknown(self.rules, sites):
                log.warning("rules.unknown_website", rule=rule, website=name)
        gone = await self.context.store.run(
            partial(
                keep_list,
                sites=sites,
                there=frozenset(each.id for each in found),
                rules=self.rules,
                routing=self.context.routing,
                now=self._clock(),
            )
        )
        for site in gone.sites:
            log.warning("websites.gone", website=site.name)
        if gone.recorded.matches:
            self._wake()
        self._log_paused(gone.recorded.paused)
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

        changed = await self.context.store.run(work)
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
        self.watched = watched_sites(self.rules, self._sites, self.watched)
        names = [each.site.name for each in self.watched.values()]
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
        title = "New rules not loaded: they have errors. The previous rules stay active."
        note = Note(kind="rules.reload_failed", text=faults[0], details={"faults": list(faults)})
        await self.context.store.run(partial(record, at=self._clock(), notes=[note]))
        more = [f"and {len(faults) - 5} more lines"] if len(faults) > 5 else []
        await self.say(title, *faults[:5], *more)
        self._refused = tuple(faults)

    async def poll_recordings(self, site: Site) -> bool:
        """Poll the website's recordings once; false if that failed, which is logged."""
        before = self.watched.get(site.id)
        if before is None:
            return True
        poll = self._poll_recordings if before.rules.final.rules else self._stop_recordings
        return await self._tried(f"recordings of {before.site.name}", partial(poll, before))

    async def _poll_recordings(self, before: WatchedSite) -> Recorded:
        await self._backfill(before)
        # Only now: a backfill may take hours, and the rules may have changed meanwhile.
        watched = self.watched.get(before.site.id)
        if watched is None or not watched.rules.final.rules:
            return Recorded()
        polled = await recordings.poll(
            watched.site, watched.rules, self.context, watched.live, self._clock()
        )
        self._keep(watched, polled.live)
        if polled.evaluated:
            matches = len(polled.recorded.matches)
            tell = log.info if matches else log.debug
            tell("poll.decided", website=watched.site.name, read=polled.read,
                 evaluated=polled.evaluated, details=polled.details, matches=matches,
                 without_detail=polled.without_detail)  # fmt: skip
        if polled.since is not None:
            await self._back_after(polled.since)
        await self._doubts(watched, polled.unread)
        if polled.outage:
            self._take(polled.recorded)
            raise BotError(
                f"details of recordings can't be read: {polled.outage}"
            ) from polled.outage
        return polled.recorded

    def _keep(self, polled: WatchedSite, live: LiveSessions) -> None:
        """Keep what a poll leaves for the next one. Other rules may be in force by now."""
        current = self.watched.get(polled.site.id, polled)
        same = current.rules.final.rules == polled.rules.final.rules
        current.live = live if same else live.forget_facts()

    async def _stop_recordings(self, watched: WatchedSite) -> Recorded:
        """No rule watches them: one that comes later does not act on the time until then."""
        than = self._clock() + timedelta(days=1)

        def work(conn: Connection) -> None:
            forget_watermark(conn, source="recordings", website=watched.site.id)
            close_older(conn, website=watched.site.id, than=than)

        await self.context.store.run(work)
        watched.live = watched.live.forget_sessions()
        return Recorded()

    async def _backfill(self, watched: WatchedSite) -> None:
        """After hours without a poll, first read what was missed, and tell people."""
        missed = await backfill(
            watched.site,
            lambda: self.rules.rules,
            self.context,
            watched.backfill_attempts,
            self._clock(),
        )
        if missed is None:
            return
        log.info("poll.caught_up", website=watched.site.name, since=missed.since,
                 read=missed.read, matches=missed.matches, unread=missed.missed)  # fmt: skip
        # What was live before has been read again; the rows of then are out of date.
        current = self.watched.get(watched.site.id, watched)
        current.live = current.live.forget_sessions()
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
        if self.troubles.are_announced:
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
        watched = [each.site for each in self.watched.values()]
        if not counted:
            return True

        async def look() -> Recorded:
            looked = await budget_poll.look(
                counted, watched, self.context, self.budget_memory, self._clock(), self._ops
            )
            for website, used in looked.used.items():
                if website in self.watched:
                    self.watched[website].levels.budget_used = used
            for site in (site for site in looked.ignored if site.id in self.watched):
                await self._once(
                    self.watched[site.id], "dates", f"Budgets cannot count on {site.name}",
                    "The API ignores dates there: a day before there was any visit counts visits.",
                )  # fmt: skip
            if looked.matches:
                self._wake()
            if looked.failed:
                raise looked.failed
            return Recorded()

        return await self._tried("budgets", look)

    async def _poll_levels(self, kind: Kind, site: Site) -> bool:
        watched = self.watched.get(site.id)
        if watched is None:
            return True
        site = watched.site

        async def look() -> Recorded:
            looked = await report_poll.poll(
                kind, site, self.rules.rules, self.context, watched.levels, self._clock()
            )
            for name in looked.ignored:
                await self._once(
                    watched, f"{kind}/{name}", f"Rules with {name} are held on {site.name}",
                    f"The API ignores that filter for {kind}: the figures are of all visitors.",
                )  # fmt: skip
            if looked.unread:
                log.warning("poll.unread", website=site.name, kind=kind, rows=looked.unread)
            if looked.failed:
                raise looked.failed
            return looked.recorded

        return await self._tried(f"{kind} of {site.name}", look)

    async def _once(self, watched: WatchedSite, about: str, title: str, line: str) -> None:
        """Say it, unless it was said before."""
        if about not in watched.levels.said:
            watched.levels.said.add(about)
            log.error("poll.filter_ignored", website=watched.site.name, filter=about)
            await self.say(title, line, site=watched.site)

    async def say(self, title: str, *lines: str, site: Site | None = None) -> None:
        """Tell the ops channel, if there is one; kept in the outbox until Slack takes it."""
        work = partial(
            announce, title=title, lines=lines, now=self._clock(), channel=self._ops, site=site
        )
        await self.context.store.run(work)
        self._wake()

    async def _tried(self, name: str, poll: Callable[[], Awaitable[Recorded]]) -> bool:
        try:
            self._take(await poll())
        except BotError as error:
            await self.troubles.failed(name, error)
            return False
        except Exception as error:
            # One website's odd data must not stop the polls of the others.
            if await self.troubles.failed(name, error):
                log.exception("poll.fault", what=name)
            return False
        await self.works(name)
        return True

    def _take(self, recorded: Recorded) -> None:
        """Have new matches delivered, and log the rules that were paused."""
        if recorded.matches:
            self._wake()
        self._log_paused(recorded.paused)

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

    async def _doubts(self, watched: WatchedSite, unread: int) -> None:
        """What the last look could not vouch for is said once."""
        site, reported = watched.site, watched.reported
        if watched.live.knowledge.friction_ignored and "friction" not in reported:
            reported.add("friction")
            log.error("poll.filter_ignored", website=site.name, filter="frictionmin")
            await self.say(
                f"Rules with friction are held on {site.name}",
                "The API ignores the friction filter there: an impossible friction counts visits.",
                site=site,
            )
        if unread and "unread" not in reported:
            reported.add("unread")
            log.warning("poll.unread", website=site.name, recordings=unread)


def fingerprint(rule: Rule) -> str:
    """Changes when the rule says something else; its id and its place in the files do not count."""
    bare = replace(rule, id="", was=(), file="", line=0, column=1, tests=())
    return blake2b(repr(bare).encode(), digest_size=8).hexdigest()
