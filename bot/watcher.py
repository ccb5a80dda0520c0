"""The watcher: the active rules, and the polls of one website when the scheduler asks for them.

It polls recordings, feedback, reports and budgets, and tells people about troubles.
"""

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import structlog
from msgspec.structs import replace

from bot.budgets.poll import BudgetMemory, poll_budgets
from bot.budgets.state import share_used
from bot.domain.subjects import Kind, Site
from bot.errors import BadCredentials, BotError, GiveUp, StoreTaken, TryLater
from bot.fields.catalogue import KINDS
from bot.messages.ops import instant
from bot.messages.text import lasting, told_apart
from bot.new_rules import Accepted, accept, follow_edits, rebuild, rename_late
from bot.notices import Notices, some
from bot.polling import recordings
from bot.polling.context import PollContext
from bot.polling.filter_checks import FILTERS, WORDS
from bot.polling.list_reader import of_days, read
from bot.polling.live_sessions import LiveSessions
from bot.polling.outages import SITES, Troubles
from bot.polling.record_matches import NOTHING, Caught, Recorded
from bot.polling.server_facts import earlier_tags
from bot.polling.session import ZONE_ROWS, AccountOffset, account_offset, days_to_ask, is_due
from bot.polling.watermark import SOURCE, stop_reading
from bot.replay.backfill import backfill, catch_up
from bot.reports import poll as report_poll
from bot.reports.absence import record_absences
from bot.reports.fetch import note_switches
from bot.reports.site_poll import SitePoll
from bot.reports.sources import USUAL
from bot.rule_reader import Start, without_secrets
from bot.rules.model import RuleSet, applies, waits_for
from bot.rules.needs import counts_visitors
from bot.store import Connection
from bot.store.recordings import (
    missing_websites,
    on_hold,
    watermark,
    website_names,
)
from bot.store.rules import (
    RejectedRules,
    RuleFiles,
    keep_rule_files,
    reject_rules,
    rejected_rules,
)
from bot.watched_sites import (
    NOTHING_PREPARED,
    WatchedSite,
    prepare,
    save_sites,
    site_of,
    sites_of,
    stop_unwatched,
    unknown_websites,
    watched_sites,
)
from mouseflow import websites
from mouseflow.decode import Rows
from mouseflow.models import Website
from mouseflow.turns import in_turns

log = structlog.get_logger(__name__)

REPORTS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("recordings", "feedback"))
"""What `poll.reports` is about, in the order of polling."""

ZONE_AGAIN = timedelta(days=1)
"""How long to rely on the offset that recordings have shown."""

ZONE_FAILED = timedelta(hours=1)
"""How soon to ask a website again for its newest recordings if that failed."""

FORM = "form "
"""How the names of troubles with one form's report begin."""


class Watcher:
    """The active rules and the websites they watch; polls when asked to.

    `wake` is called when there is something new in the outbox. `ops` is the channel for the
    bot's own troubles, None if there is none. After a gap longer than `announce_after`, people
    learn that polling has resumed; None turns that off.
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
        self.rules = self._in_force = rules
        self.watched: dict[str, WatchedSite] = {}
        self._prepared, self._preparing = NOTHING_PREPARED, asyncio.Lock()
        self.budget_memory = BudgetMemory()
        self.notices = Notices(
            self.context, ops=ops, wake=wake, clock=clock, announce_after=announce_after
        )
        self.troubles = Troubles(
            context.store, ops=ops, wake=wake, clock=clock, zone=context.zone.key
        )
        self._ops = ops
        self._wake = wake
        self._clock = clock
        self._zone_seen: datetime | None = None
        self._zone_asked: dict[str, datetime] = {}
        self._asking_zone = asyncio.Lock()
        self.recordings_seen = 0
        self._started: float | None = None
        self._listed = False
        self._sites: Sequence[Site] = ()
        self._names: Mapping[str, str] = {}
        self._watching: tuple[RuleSet, Sequence[Site]] | None = None
        self._last_rules = rules.rules
        self._left_out: Sequence[Site] = ()
        self._rejected: Sequence[str] = ()
        # The number of the latest load, at which one each rule was edited, and what it has changed.
        self._load, self._edited = 0, dict[str, int]()
        self._on_their_way: frozenset[str] = frozenset()
        self._accepted: Accepted | None = None
        self._sharing, self._newest = context.store.sharing, Start(rules, ())

    async def find_sites(self) -> Sequence[Site]:
        """Fetch the account's websites and watch those that some rule or budget needs.

        Skips demo websites unless a rule names them. Raises the errors of the request.
        """
        found = await self.context.mouseflow.send(websites.list())
        sites = [*sites_of(found, self.rules), *await self._unread_sites(found)]
        if sites != self._sites:
            # Otherwise such a rule would silently never match.
            for rule, name in await in_turns(unknown_websites(self.rules, sites)):
                log.warning("rules.unknown_website", rule=rule, website=name)
        known = {site.id for site in sites}
        self._left_out = [site_of(row) for row in found if row.id not in known]
        if self._sharing.leads:
            await self._save_sites(sites, found)
        self._sites = sites
        self._names = told_apart({each.id: each.name for each in sites})
        await self._watch_sites()
        return sites

    async def _unread_sites(self, found: Rows[Website]) -> list[Site]:
        """The known websites whose row can't be read, or may be one without an id: nobody knows
        whether they have changed."""
        unread = {row.id for row in found.unreadable}
        if not unread:
            return []
        names, lacked = await self.context.store.read(
            lambda conn: (website_names(conn), missing_websites(conn))
        )
        known = {key: Site(key, name) for key, name in {**lacked, **names}.items()}
        known |= {site.id: site for site in self._sites}
        wanted = known.keys() - lacked.keys() | unread if None in unread else known.keys() & unread
        listed = {row.id for row in found}
        return [known[key] for key in known if key in wanted - listed]

    async def _save_sites(self, sites: Sequence[Site], found: Rows[Website]) -> None:
        counts = any(map(counts_visitors, self.rules.rules))
        unread = {row.id for row in found.unreadable if row.id}
        gone = await self.context.store.run(
            partial(
                save_sites,
                sites=sites,
                there={row.id for row in found} | {site.id for site in sites} | unread,
                whole=all(row.id for row in found.unreadable),
                left_out=self._left_out,
                rules=self.rules,
                routing=self.context.routing,
                now=self._clock(),
                statuses={row.id: row.status for row in found} if counts else {},
            )
        )
        for site in gone.sites:
            log.warning("websites.gone", website=site.name)
        if gone.recorded.matches:
            self._wake()
        self._log_paused(gone.recorded.paused)

    def begin_anew(self, websites: Collection[str]) -> None:
        """Know nothing of the polls of these websites: another bot has polled them until now."""
        for key in websites & self.watched.keys():
            known = self.watched[key]
            self.watched[key] = WatchedSite(known.site, known.rules, begun=known.begun)

    async def lead(self) -> None:
        """Do what only one of the bots on a store does, from now on, with the rules as they are."""
        self._watching = None
        await self.start_with(self._newest)
        await self.troubles.remember()

    async def tell_own_faults(self) -> None:
        """Tell people of errors in the files of a bot that does not lead, and of their end."""
        faults = () if self._sharing.leads else tuple(self._newest.errors)
        await self.notices.tell_own_faults(faults)

    async def start_with(self, start: Start) -> None:
        """Use these rules; tell people if the files have errors, unless they know already.

        If another bot leads, it keeps in the store what is to be known of the rules.
        """
        self._newest = start
        if self._sharing.leads:
            rejected = await self.context.store.read(rejected_rules)
            self._rejected = rejected.faults if rejected else ()
        await self._use(start.rules, start.files)
        if start.errors:
            await self.reject_rules(start.errors, incomplete=start.incomplete)
        elif self._sharing.leads:
            await self._tell_rules_fixed()

    async def use_rules(self, rules: RuleSet, files: RuleFiles = ()) -> None:
        """Use these rules from the next poll on; their state is kept by id.

        `files` hold them: they are kept for a start at which the files have errors.
        """
        self._newest = Start(rules, files)
        await self._use(rules, files)
        if self._sharing.leads:
            await self._tell_rules_fixed()

    async def _use(self, rules: RuleSet, files: RuleFiles) -> None:
        self._in_force = rules  # before the store has them: polls under way write nothing of others
        try:
            await self._take_up(rules, files)
        finally:
            self._in_force = self.rules

    async def _take_up(self, rules: RuleSet, files: RuleFiles) -> None:
        if not self._sharing.leads:
            await self._watch_with(rules)
            self._load += 1
            await rename_late(rules.rules, self.context, self._clock())
            log.info("rules.followed", rules=len(rules.rules))
            return
        now = self._clock()
        accepted = await accept(rules, self.context, self._ops, now, starts=not self._load)
        previous = self.rules
        await self._watch_with(rules)
        self._load, self._accepted = self._load + 1, accepted
        self._edited |= dict.fromkeys(accepted.changed, self._load)
        # Only now: until then polls could match by the rules of before. Whether a rule has changed
        # does not depend on what the store must not know of its actions, such as URLs.
        secret = {each.id for each in rules.rules for do in each.do if do.as_stored() != do}
        self._on_their_way = await rebuild({*accepted.changed, *secret}, rules, self.context, now)
        if accepted.posts or accepted.changed:
            self._wake()
        if files:
            kept = without_secrets(files, rules)
            await self.context.store.run(partial(keep_rule_files, files=kept, at=now))
        before, after = ({rule.id for rule in each.rules} for each in (previous, rules))
        log.info(
            "rules.loaded",
            rules=len(rules.rules),
            changed=sorted(accepted.changed),
            added=sorted(after - before),
            removed=sorted(before - after),
            disabled=sorted(rule.id for rule in rules.disabled),
            wait_until_settled=sorted(
                key for key, it in self._prepared.traits.items() if not it.early
            ),
            settled_after=lasting(self.context.settle),
        )

    async def _watch_with(self, rules: RuleSet) -> None:
        previous, self.rules = self.rules, rules
        routing = replace(self.context.routing, weekly=bool(rules.reports))
        self.context = replace(self.context, routing=routing)
        try:
            await self._watch_sites()
        except BaseException:
            self.rules = previous
            raise

    async def _follow_edits(self, load: int) -> None:
        """Have the matches of a poll that began with the rules of that load follow those of now."""
        if self._accepted is None or not self._sharing.leads:
            await rename_late(self.rules.rules, self.context, self._clock())
            return
        edited = {rule for rule, at in self._edited.items() if at > load}
        self._on_their_way |= await follow_edits(
            edited, self._accepted, self.rules, self.context, self._clock()
        )

    async def follow_up(self) -> None:
        """Have steps follow the last edit that were on their way then, and wait again."""
        if self._on_their_way:
            self._on_their_way = await rebuild(
                self._on_their_way, self.rules, self.context, self._clock(), probe=False
            )
            self._wake()

    async def _watch_sites(self) -> None:
        """Watch the present websites with the present rules; forget troubles of other polls.

        Does nothing while both are the same: preparing many rules takes a second.
        """
        async with self._preparing:
            await self._watch_present()

    async def _watch_present(self) -> None:
        rules, sites = self.rules, self._sites
        if self._watching and self._watching[0] is rules and self._watching[1] == sites:
            return
        self._watching = None
        if self._sharing.leads:
            watching = (rules.rules, self._last_rules)
            await self.context.store.run(
                partial(stop_unwatched, sites=sites, watching=watching, now=self._clock())
            )
        self._last_rules = rules.rules
        tags = await self.context.store.read(earlier_tags)
        self._prepared = await in_turns(prepare(rules, sites, self._prepared, tags))
        self.watched = watched_sites(sites, self.watched, self._prepared)
        now = asyncio.get_running_loop().time()
        self._started = now if self._started is None else self._started
        for each in self.watched.values():
            if each.begun is None:  # the first list may have taken long to come
                each.begun = now if self._listed else self._started
        self._listed = self._listed or bool(self._sites)
        await self.keep_troubles()
        self._watching = rules, sites

    def _name(self, site: Site) -> str:
        """The website's name in messages about its polls; no two websites have the same."""
        return self._names.get(site.id, site.name)

    async def keep_troubles(self) -> None:
        """Forget the troubles of polls that this bot no longer makes."""
        polls = self._sharing.polls
        names = {self._name(each.site) for key, each in self.watched.items() if polls(key)}
        kinds = ("recordings", "feedback", *REPORTS)
        looks = {SITES, *(f"{kind} of {name}" for kind in kinds for name in names)}
        looks |= {
            name
            for name in self.troubles.failing
            if name.startswith(FORM) and name.rpartition(" of ")[2] in names
        }
        await self.troubles.keep_only(looks | ({"budgets"} if self.rules.budgets else set()))

    async def reject_rules(self, faults: Sequence[str], *, incomplete: bool = False) -> None:
        """Keep the active rules, since the changed files have errors, and tell people.

        `incomplete`: the active rules are those of the files without an error. The same errors
        again only go to the log.
        """
        known, self._rejected = self._rejected, ()  # until it is stored
        faults = some(faults, MOST_FAULTS)
        self._newest = replace(self._newest, errors=faults, incomplete=incomplete)
        log.error("rules.reload_failed", faults=list(faults), incomplete=incomplete)
        if not self._sharing.leads:
            return
        rejected = RejectedRules(self._clock(), faults, incomplete)
        await self.context.store.run(partial(reject_rules, rejected=rejected))
        if faults != known:
            await self.notices.tell_ops(
                rejected.title,
                *some(faults, 5),
                grey=f"{instant(rejected.at)} · mouseflow-bot check shows every error",
            )
        self._rejected = faults

    async def _tell_rules_fixed(self) -> None:
        """Tell people that the errors they know of are gone."""
        if self._rejected:
            active = f"{len(self.rules.rules)} rules are active."
            await self.notices.tell_ops(
                "New rules loaded: the errors in the rule files are fixed.", active
            )
            self._rejected = ()

    async def poll_recordings(self, site: Site) -> bool:
        """Poll the website's recordings once; false if that failed, which is logged."""
        before = self.watched.get(site.id)
        if before is None:
            return True
        poll = self._poll_recordings if before.rules.final.rules else self._stop_recordings
        return await self._guarded(
            f"recordings of {self._name(before.site)}", partial(poll, before)
        )

    async def _poll_recordings(self, before: WatchedSite) -> Recorded:
        if before.first is None:
            text, held = await self.context.store.read(
                lambda conn: (watermark(conn, SOURCE, before.site.id), on_hold(conn))
            )
            before.first = text is None
            told = {
                it.filter for it in held if (it.kind, it.website) == ("recordings", before.site.id)
            }
            before.reported |= {name for name in FILTERS if WORDS[name] in told}
        earlier = await self._backfill(before)
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
            self._absences(watched, now),
        )
        self._keep(watched, polled.live)
        self.recordings_seen += polled.fresh
        if polled.evaluated:
            matches = len(polled.recorded.matches)
            tell = log.info if matches else log.debug
            tell("poll.decided", website=watched.site.name, read=polled.read,
                 evaluated=polled.evaluated, details=polled.details, matches=matches,
                 without_detail=polled.without_detail)  # fmt: skip
        if polled.since is not None:
            await self._announce_resumed(polled.since)
        await self.notices.warn_of_limits(watched, polled)
        if polled.offset is not None:
            await self._see_zone(polled.offset)
        caught = Caught(
            earlier.recordings + polled.fresh, earlier.matches + len(polled.recorded.matches)
        )
        if polled.recorded.unconfirmed:
            polled = await self._confirm_silence(watched, polled, now)
        if polled.behind:
            self._take(polled.recorded)
            return await self._catch_up(watched, polled.behind)
        if polled.outage:
            self._take(polled.recorded)
            raise BotError(
                f"details of recordings can't be read: {polled.outage}"
            ) from polled.outage
        return replace(polled.recorded, caught=caught)

    async def _see_zone(self, offset: AccountOffset) -> None:
        """Use the account's days as its recordings show them; tell people of a wrong zone."""
        seen = offset.days_of(self.context.zone)
        self.context = replace(self.context, seen_zone=seen)
        self._zone_seen = self._clock()
        await self.notices.check_zone(offset)

    async def _ask_zone(self, sites: Iterable[Site]) -> None:
        """See the account's zone where polls of recordings don't tell it: one call a day.

        The next website is asked if one has no recordings. None is asked twice a day.
        """
        async with self._asking_zone:
            now, asked = self._clock(), self._zone_asked
            if not is_due(self._zone_seen, ZONE_AGAIN, now):
                return
            due = (it for it in sites if is_due(asked.get(it.id), ZONE_AGAIN, now))
            if (site := next(due, None)) is None:
                return
            asked[site.id] = now
            days = of_days(*days_to_ask(now, now - USUAL))
            try:
                found = await read(self.context.mouseflow, site.id, days, ZONE_ROWS, brief=True)
            except (BadCredentials, TryLater):  # the poll that follows tells people
                asked[site.id] = now - ZONE_AGAIN + ZONE_FAILED
                return
            except GiveUp:
                return
            offset = account_offset(found.rows, self.context.zone)
            if offset is not None:
                await self._see_zone(offset)

    def _absences(
        self, watched: WatchedSite, now: datetime
    ) -> Callable[[Connection, recordings.Polled], Recorded]:
        """Fires and resolves the rules about too few sessions, with what a poll has read."""
        rules = [rule for rule in watched.rules.final.rules if rule.too_few is not None]
        context, all_rules = self.context, self.rules.rules

        def record(conn: Connection, polled: recordings.Polled) -> Recorded:
            there = self._ids_in_force()
            few = [rule for rule in rules if rule.id in there]
            if not few:
                return Recorded()
            site_poll = SitePoll(watched.site, now, context.zone, context.gap, quiet=context.quiet)
            others = waits_for(all_rules)
            return record_absences(
                conn, few, polled, site_poll, context.settle, context.routing, others
            )

        return record

    async def _confirm_silence(
        self, watched: WatchedSite, polled: recordings.Polled, now: datetime
    ) -> recordings.Polled:
        """Tell of a silence, once the website is seen to record; else ask at the next poll."""
        try:
            await note_switches(watched.site, self.context, now)
        except BotError as error:
            log.warning("poll.silence_unconfirmed", website=watched.site.name, reason=str(error))
            return polled
        tell = self._absences(watched, now)
        told = await self.context.store.run(lambda conn: tell(conn, polled))
        return replace(polled, recorded=polled.recorded.beside(told))

    async def _catch_up(self, watched: WatchedSite, behind: Mapping[str, datetime]) -> Recorded:
        """Have rules catch up whose filter works again."""
        done = await catch_up(
            watched.site,
            watched.rules.final.rules,
            self.context,
            behind,
            watched.backfill_attempts,
            self._clock(),
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
        work = partial(stop_reading, website=watched.site.id, now=self._clock())
        await self.context.store.run(work)
        watched.live = watched.live.forget_sessions()
        watched.begun, watched.first = asyncio.get_running_loop().time(), None
        return Recorded()

    async def _backfill(self, watched: WatchedSite) -> Caught:
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
            return NOTHING
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
        return Caught(missed.read, missed.matches)

    async def _announce_resumed(self, since: datetime) -> None:
        await self.notices.announce_resumed(since, told=self.troubles.are_announced)

    def _ids_in_force(self) -> Collection[str]:
        return {rule.id for rule in self._in_force.rules}

    async def poll_feedback(self, site: Site) -> bool:
        """Poll the website's feedback campaigns once; False if that failed."""
        return await self._poll_levels("feedback", site)

    async def poll_reports(self, site: Site) -> bool:
        """Poll the website's funnels, forms, pages and switches once; False if one failed."""
        others, turns = waits_for(self.rules.rules), dict.fromkeys(REPORTS, 0)
        for rule in self.rules.rules:
            if rule.watch in turns:
                turns[rule.watch] = max(turns[rule.watch], len(others[rule.id]))
        # What others wait for comes first, so that both are known in one round.
        went_well = [
            await self._poll_levels(kind, site) for kind in sorted(REPORTS, key=turns.__getitem__)
        ]
        return all(went_well)

    async def post_reports(self) -> None:
        """Post the weekly reports that are due."""
        if not self.rules.reports:
            return
        from bot import weekly

        if await weekly.post_reports(self.rules, self._sites, self.context, self._clock()):
            self._wake()

    async def poll_budgets(self) -> bool:
        """Poll all budgets once; False if a request failed."""
        counted, sites = self.rules.budgets, self._sites
        if not counted:
            return True

        async def poll() -> Recorded:
            await self._ask_zone(sites)
            polled = await poll_budgets(
                counted, sites, self.context, self.budget_memory, self._clock(), self._ops,
                others=self._left_out, in_force=lambda: self._in_force.budgets,
            )  # fmt: skip
            for site in (site for site in polled.ignored if site.id in self.watched):
                if await self.notices.tell_once(
                    self.watched[site.id], "dates", f"Budgets can't count on {site.name}",
                    "The API ignores dates there: it counts visits before the first one.",
                ):  # fmt: skip
                    log.error("poll.filter_ignored", website=site.name, filter="dates")
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
            if any(rule.watch == kind and applies(rule, site) for rule in self.rules.rules):
                await self._ask_zone([site])
            if kind == "websites":
                watched.levels.budget_used = await self._budget_used(site)
            polled = await report_poll.poll(
                kind, site, self.rules.rules, self.context, watched.levels, self._clock(),
                in_force=self._ids_in_force,
            )  # fmt: skip
            self.notices.log_filters(watched, kind, polled.held)
            await self._tell_of_forms(site, polled.failed_forms if kind == "forms" else None)
            for limited in polled.limited:
                if await self.notices.tell_once(
                    watched, limited.about, limited.title, limited.line
                ):
                    log.error("poll.limited", website=site.name, what=limited.about)
            if polled.unread:
                log.warning("poll.unread", website=site.name, kind=kind, rows=polled.unread)
            if polled.failed:
                raise polled.failed
            return polled.recorded

        return await self._guarded(f"{kind} of {self._name(site)}", poll)

    async def _budget_used(self, site: Site) -> float | Literal["unknown"] | None:
        today = self._clock().astimezone(self.context.zone).date()
        asked = partial(share_used, budgets=self.rules.budgets, site=site, today=today)
        return await self.context.store.run(asked)

    async def _tell_of_forms(self, site: Site, failed: Mapping[str, Exception] | None) -> None:
        """Report each form whose report can't be read, and the end of that."""
        if failed is None:
            return
        now = {f"{FORM}{form} of {self._name(site)}": error for form, error in failed.items()}
        for name, error in now.items():
            # Not as an outage of the API: all else works.
            await self.troubles.failed(name, BotError(f"its report can't be read: {error}"))
        for name in self.troubles.failing:
            if (
                name.startswith(FORM)
                and name.endswith(f" of {self._name(site)}")
                and name not in now
            ):
                await self.succeeded(name)

    async def _guarded(self, name: str, poll: Callable[[], Awaitable[Recorded]]) -> bool:
        load = self._load
        try:
            try:
                recorded = await poll()
            finally:
                if self._load != load:
                    await self._follow_edits(load)
            self._take(recorded)
        except StoreTaken:
            raise
        except BotError as error:
            await self.troubles.failed(name, error)
            return False
        except Exception as error:
            # One website's unexpected data must not stop the others.
            if await self.troubles.failed(name, error):
                log.exception("poll.internal_error", what=name)
            return False
        caught = recorded.caught
        if not caught.recordings:  # a poll of something else
            caught = replace(caught, matches=len(recorded.matches))
        await self.succeeded(name, caught)
        return True

    def _take(self, recorded: Recorded) -> None:
        """Have new matches delivered, and log the rules that were paused."""
        if recorded.matches or recorded.announced:
            self._wake()
        self._log_paused(recorded.paused)

    async def succeeded(self, name: str, caught: Caught = NOTHING) -> None:
        """Note that a poll succeeded; tell people if that ends a trouble they know of."""
        if await self.troubles.works(name, caught):
            self.notices.works_again()

    def _log_paused(self, paused: Sequence[tuple[str, str]]) -> None:
        """Log paused rules; their posts were saved with the pause."""
        for rule, reason in paused:
            log.warning("rule.paused", rule=rule, reason=reason)
        if paused:
            self._wake()


MOST_FAULTS = 50
"""Lines of errors in rule files that are logged and stored."""
