"""Which websites and rules are active, and polling one of them when the scheduler asks.

First the list of websites: which ones rules watch, and which ones are gone. Then the Watcher,
which polls recordings, feedback, reports and budgets, and tells people about troubles.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b

import structlog

from bot.budgets.decide import let_go_of_missing
from bot.budgets.members import covered
from bot.budgets.poll import BudgetMemory, poll_budgets
from bot.domain.subjects import Kind, Site, reread
from bot.errors import BotError
from bot.fields.catalogue import KINDS
from bot.polling import recordings
from bot.polling.filter_checks import FILTERS, WORDS, failure
from bot.polling.live_sessions import LiveSessions
from bot.polling.ops_messages import announce
from bot.polling.outages import SITES, Troubles
from bot.polling.record_matches import Recorded, Routing
from bot.polling.recordings import PollContext
from bot.polling.site_rules import SiteRules
from bot.replay.backfill import backfill, catch_up
from bot.reports import poll as report_poll
from bot.reports.fetch import LevelMemory
from bot.reports.poll import website_gone
from bot.rules.model import Rule, RuleSet, applies
from bot.store import Connection
from bot.store.alert_states import websites_of_levels
from bot.store.audit import Note, record
from bot.store.recordings import (
    close_older,
    forget_watermark,
    missing_websites,
    set_websites,
    watermark,
    website_names,
)
from bot.store.renames import rename_rule
from bot.store.rules import rules_loaded
from mouseflow import websites
from mouseflow.models import Website

log = structlog.get_logger(__name__)

REPORTS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("recordings", "feedback"))
"""What `poll.reports` is about, in the order of polling."""

# Which websites there are


@dataclass(slots=True)
class WatchedSite:
    """A website under watch: its rules, prepared, and what is kept between its polls.

    `reported` are the doubts about its API that people were told; `backfill_attempts` counts
    by day how often a backfill lacked details. `begun` is since when rules watch its recordings,
    in seconds of the event loop's clock; `first`: they were never polled before.
    """

    site: Site
    rules: SiteRules
    live: LiveSessions = field(default_factory=LiveSessions)
    levels: LevelMemory = field(default_factory=LevelMemory)
    reported: set[str] = field(default_factory=set)
    backfill_attempts: dict[str, int] = field(default_factory=dict)
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
    return [_site(row) for row in rows if not row.is_demo or _named(row.name or row.id, rules)]


def _site(row: Website) -> Site:
    return Site(id=row.id, name=row.name or row.id, read_only=bool(row.read_only))


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
class GoneSites:
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
    recorded = Recorded(
        tuple(key for each in ended for key in each.matches),
        tuple(pause for each in ended for pause in each.paused),
    )
    return GoneSites(gone, recorded)


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
        context: PollContext,
        rules: RuleSet,
        *,
        ops: str | None,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        announce_after: timedelta | None = None,
    ) -> None:
        self.context = replace(context, routing=replace(context.routing, ops=ops))
        self.rules = rules
        self.watched: dict[str, WatchedSite] = {}
        self.budget_memory = BudgetMemory()
        self.troubles = Troubles(context.store, ops=ops, wake=wake, clock=clock)
        self._ops = ops
        self._wake = wake
        self._clock = clock
        self.announce_after = announce_after
        self._announced: datetime | None = None
        self._zone_told = False
        self._started: float | None = None
        self._listed = False
        self._sites: Sequence[Site] = ()
        self._left_out: Sequence[Site] = ()
        self._rejected: Sequence[str] = ()

    async def find_sites(self) -> Sequence[Site]:
        """Fetch the account's websites and watch those that some rule or budget needs.

        Skips demo websites unless a rule names them. Raises the errors of the request.
        """
        found = await self.context.mouseflow.send(websites.list())
        sites = sites_of(found, self.rules)
        if sites != self._sites:
            # Otherwise such a rule would silently never match.
            for rule, name in unknown_websites(self.rules, sites):
                log.warning("rules.unknown_website", rule=rule, website=name)
        gone = await self.context.store.run(
            partial(
                save_sites,
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
        known = {site.id for site in sites}
        self._left_out = [_site(row) for row in found if row.id not in known]
        await self._watch_sites()
        return sites

    async def use_rules(self, rules: RuleSet) -> None:
        """Use these rules from the next poll on; their state is kept by id."""
        now = self._clock()
        fingerprints = {rule.id: fingerprint(rule) for rule in rules.rules}
        text = f"{len(rules.rules)} rules active"
        note = Note(kind="rules.loaded", text=text, details={"digest": rules.digest})

        def work(conn: Connection) -> tuple[frozenset[str], bool]:
            record(conn, now, [note])
            for rule in rules.rules:
                for old in rule.was:
                    rename_rule(conn, old, rule.id, now)
            names = website_names(conn)
            lost = let_go_of_missing(conn, rules.budgets, names, self._ops, now)
            return rules_loaded(conn, fingerprints, now), lost

        changed, lost = await self.context.store.run(work)
        if lost:
            self._wake()
        previous, self.rules = self.rules, rules
        try:
            await self._watch_sites()
        except BaseException:
            self.rules = previous
            raise
        self._rejected = ()
        before = {rule.id for rule in previous.rules}
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
        now = asyncio.get_running_loop().time()
        self._started = now if self._started is None else self._started
        for each in self.watched.values():
            if each.begun is None:  # the first list may have taken long to come
                each.begun = now if self._listed else self._started
        self._listed = self._listed or bool(self._sites)
        names = [each.site.name for each in self.watched.values()]
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
        title = "New rules not loaded: they have errors. The previous rules stay active."
        note = Note(kind="rules.reload_failed", text=faults[0], details={"faults": list(faults)})
        await self.context.store.run(partial(record, at=self._clock(), notes=[note]))
        more = [f"and {len(faults) - 5} more lines"] if len(faults) > 5 else []
        await self.tell_ops(title, *faults[:5], *more)
        self._rejected = tuple(faults)

    async def poll_recordings(self, site: Site) -> bool:
        """Poll the website's recordings once; false if that failed, which is logged."""
        before = self.watched.get(site.id)
        if before is None:
            return True
        poll = self._poll_recordings if before.rules.final.rules else self._stop_recordings
        return await self._guarded(f"recordings of {before.site.name}", partial(poll, before))

    async def _poll_recordings(self, before: WatchedSite) -> Recorded:
        if before.first is None:
            text = await self.context.store.run(
                partial(watermark, source=recordings.SOURCE, website=before.site.id)
            )
            before.first = text is None
        await self._backfill(before)
        # Only now: a backfill may take hours, and the rules may have changed meanwhile.
        watched = self.watched.get(before.site.id)
        if watched is None or not watched.rules.final.rules:
            return Recorded()
        now = self._clock()
        polled = await recordings.poll(
            watched.site,
            watched.rules,
            self.context,
            watched.live,
            now,
            watched.watched_since(now),
        )
        self._keep(watched, polled.live)
        if polled.evaluated:
            matches = len(polled.recorded.matches)
            tell = log.info if matches else log.debug
            tell("poll.decided", website=watched.site.name, read=polled.read,
                 evaluated=polled.evaluated, details=polled.details, matches=matches,
                 without_detail=polled.without_detail)  # fmt: skip
        if polled.since is not None:
            await self._announce_resumed(polled.since)
        await self._warn_of_zone(polled.zone)
        await self._warn_of_limits(watched, polled.unread)
        if polled.behind:
            self._take(polled.recorded)
            return await self._catch_up(watched, polled.behind)
        if polled.outage:
            self._take(polled.recorded)
            raise BotError(
                f"details of recordings can't be read: {polled.outage}"
            ) from polled.outage
        return polled.recorded

    async def _catch_up(self, watched: WatchedSite, behind: Mapping[str, datetime]) -> Recorded:
        """Have rules catch up whose filter works again."""
        done = await catch_up(
            watched.site, watched.rules.final.rules, self.context, behind, self._clock()
        )
        current = self.watched.get(watched.site.id, watched)
        knowledge = replace(current.live.knowledge, filters=done.filters)
        current.live = current.live.learnt(knowledge)
        log.info("poll.caught_up", website=watched.site.name, rules=sorted(behind),
                 matches=done.matches)  # fmt: skip
        if done.matches:
            self._wake()
        return Recorded(paused=done.paused)

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
        watched.begun, watched.first = asyncio.get_running_loop().time(), None
        return Recorded()

    async def _backfill(self, watched: WatchedSite) -> None:
        """After hours without a poll, first read what was missed, and tell people."""
        now = self._clock()
        missed = await backfill(
            watched.site,
            lambda: self.rules.rules,
            self.context,
            watched.backfill_attempts,
            now,
            watched.watched_since(now),
        )
        if missed is None:
            return
        log.info("poll.backfilled", website=watched.site.name, since=missed.since,
                 read=missed.read, matches=missed.matches, unread=missed.missed)  # fmt: skip
        # What was live before has been read again; the rows of then are out of date.
        current = self.watched.get(watched.site.id, watched)
        current.live = current.live.forget_sessions()
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
        if self.troubles.are_announced:
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
        counted, sites = self.rules.budgets, self._sites
        if not counted:
            return True

        async def poll() -> Recorded:
            polled = await poll_budgets(
                counted, sites, self.context, self.budget_memory, self._clock(), self._ops,
                others=self._left_out,
            )  # fmt: skip
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
            return Recorded()

        return await self._guarded("budgets", poll)

    async def _poll_levels(self, kind: Kind, site: Site) -> bool:
        watched = self.watched.get(site.id)
        if watched is None:
            return True
        site = watched.site

        async def poll() -> Recorded:
            polled = await report_poll.poll(
                kind, site, self.rules.rules, self.context, watched.levels, self._clock()
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
            return polled.recorded

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
        await self.context.store.run(work)
        self._wake()

    async def _guarded(self, name: str, poll: Callable[[], Awaitable[Recorded]]) -> bool:
        try:
            self._take(await poll())
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

    def _take(self, recorded: Recorded) -> None:
        """Have new matches delivered, and log the rules that were paused."""
        if recorded.matches:
            self._wake()
        self._log_paused(recorded.paused)

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

    async def _warn_of_zone(self, counted: str | None) -> None:
        """Tell people once that the account counts its days in another time zone."""
        if counted is None or self._zone_told:
            return
        self._zone_told = True
        zone = self.context.zone.key
        log.error("poll.wrong_time_zone", account=counted, time_zone=zone)
        await self.tell_ops(
            "mouseflow.time_zone is wrong",
            f"The account counts in {counted}, `time_zone` says {zone}.",
            "Until it is corrected, `weekday`, `hour` and the days of budgets are off. "
            "No recording is missed.",
        )

    async def _warn_of_limits(self, watched: WatchedSite, unread: int) -> None:
        """Tell people once about what the last poll could not check."""
        site, reported = watched.site, watched.reported
        filters = watched.live.knowledge.filters
        for name in FILTERS:
            suspension = filters.suspended.get(name)
            rules = ", ".join(sorted(watched.rules.asking[name]))
            about = WORDS[name]
            if suspension is not None and suspension.lasts(self._clock()) and name not in reported:
                reported.add(name)
                log.error("poll.filter_suspended", website=site.name, filter=name,
                          cause=suspension.cause, reason=suspension.reason)  # fmt: skip
                await self.tell_ops(
                    f"Rules with {about} are on hold on {site.name}",
                    f"On this website {failure(name, suspension.cause)}: {suspension.reason}.",
                    f"On hold: {rules}. All other rules run. They catch up when it works again.",
                    site=site,
                )
            if suspension is None and name in reported:
                reported.discard(name)
                log.info("poll.filter_works", website=site.name, filter=name)
                await self.tell_ops(
                    f"Rules with {about} run again on {site.name}",
                    f"The {about} filter works again. Catching up: {rules}.",
                    site=site,
                )
        if unread and "unread" not in reported:
            reported.add("unread")
            log.warning("poll.unread", website=site.name, recordings=unread)


def fingerprint(rule: Rule) -> str:
    """A hash that changes when the rule does; its name and position do not count."""
    bare = replace(rule, id="", was=(), file="", line=0, column=1, tests=())
    return blake2b(repr(bare).encode(), digest_size=8).hexdigest()
