"""What the watcher tells people beside outages: limits of the API, gaps, what is set up wrong.

The bot posts each once, and its end, if it has one.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from bot.domain.subjects import Kind, Site
from bot.messages.ops import instant, resumed, turned
from bot.polling import recordings
from bot.polling.context import PollContext
from bot.polling.filter_checks import FILTERS, TRY_AGAIN, WORDS, failure
from bot.polling.ops_messages import amend, announce
from bot.polling.session import AccountOffset
from bot.reports.fetch import IGNORED
from bot.store import Connection
from bot.store.recordings import (
    OWN_RULES,
    forget_watermark,
    set_on_hold,
    set_watermark,
    watermark,
    watermarks_of,
)
from bot.store.rules import (
    BrokenConfiguration,
    broken_configurations,
    note_configuration,
    rejected_rules,
)
from bot.watched_sites import WatchedSite

log = structlog.get_logger(__name__)

RESUMED = "resumed"
"""The source under which the store keeps when people were last told that polling has resumed."""

TIME_ZONE = "time-zone"
"""The source under which the store keeps the wrong time zone that people were told of."""

OWN_FAULTS = timedelta(seconds=30)
"""After how long people hear of errors in the rule files of a bot that does not lead."""


class Notices:
    """Tells the ops channel and the log, each thing once.

    `wake` is called when there is something new in the outbox. `ops` is the channel for the
    bot's own troubles, None if there is none. After a gap longer than `announce_after`, people
    learn that polling has resumed; None turns that off.
    """

    def __init__(
        self,
        context: PollContext,
        *,
        ops: str | None,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        announce_after: timedelta | None = None,
    ) -> None:
        self.announce_after = announce_after
        self._context = context
        self._sharing = context.store.sharing
        self._ops = ops
        self._wake = wake
        self._clock = clock
        self._resumed: datetime | None = None
        self._wrong_zone: str | None = None  # None: not known yet in this process
        # The errors of its own and how many bots there were, when people last heard of both.
        self._own_faults: tuple[Sequence[str], int] | None = None
        self._own_since: datetime | None = None

    def works_again(self) -> None:
        """The end of an outage was told, for all websites: no other message says so again."""
        self._resumed = self._clock()

    async def announce_resumed(self, since: datetime, *, told: bool) -> None:
        """Tell people once for the account: the gap is the same for all websites.

        `told`: they know of an outage, and its end is announced instead.
        """
        now = self._clock()
        if (
            self.announce_after is None
            or now - since < self.announce_after
            or (self._resumed and timedelta() <= now - self._resumed < self.announce_after)
        ):
            return
        self._resumed = now
        if told:
            return
        longest = self.announce_after

        def work(conn: Connection) -> bool:
            said = watermark(conn, RESUMED, "")
            # A time in the future is that of a clock that was ahead.
            if said and timedelta() <= now - datetime.fromisoformat(said) < longest:
                return False  # another bot on this store has said so
            set_watermark(conn, RESUMED, "", now.isoformat(), now)
            announce(conn, said_now.title, said_now.lines, now, self._ops, grey=said_now.grey)
            return True

        said_now = resumed(since, now)
        if await self._context.store.run(work):
            self._wake()

    async def check_zone(self, offset: AccountOffset) -> None:
        """Tell people once that the configured time zone is wrong, and once that it is right."""
        configured = self._context.zone.key
        wrong = "" if offset.fits else configured
        if wrong == self._wrong_zone:
            return
        self._wrong_zone = wrong

        def work(conn: Connection) -> bool:
            now, said = self._clock(), watermark(conn, TIME_ZONE, "") or ""
            if wrong == said:
                return False
            set_watermark(conn, TIME_ZONE, "", wrong, now)
            title, *lines = zone_notice(offset, configured)
            announce(conn, title, lines, now, self._ops)
            return True

        if await self._context.store.run(work):
            tell = log.info if offset.fits else log.error
            tell("account.time_zone", configured=configured, offset=offset.shown, fits=offset.fits)
            self._wake()

    async def check_configuration(self, reason: str, *, removed: bool = False) -> None:
        """Tell people once why the configuration can't be read again, and once that it can.

        `reason` is empty if it was read; `removed`: the account is gone from it. Whatever bot is
        there tells of the end of what a bot had that is gone.
        """
        sharing = self._sharing

        def work(conn: Connection) -> bool:
            now = self._clock()
            names = {it.id: it.name for it in sharing.replicas(conn)}
            broken = BrokenConfiguration(
                since=now, reason=reason, removed=removed, bot=names.get(sharing.mark, "")
            )
            known = {it.reason for it in broken_configurations(conn).values()}
            over = note_configuration(
                conn, sharing.mark, broken if reason else None, sharing.alive(conn)
            )
            left = {it.reason for it in broken_configurations(conn).values()}
            ended = {it.reason: (it, mark) for mark, it in over.items() if it.reason not in left}
            for it, mark in ended.values():
                if mark == sharing.mark and reason:
                    errors = "it has errors" if it.removed else "it has other errors"
                    other = reason if removed else errors
                    said = turned(it.title.partition(". ")[0], other, it.since, now)
                    zone = self._context.zone.key
                    amend(conn, said.title, said.lines, now, zone, _about(it))
                else:
                    title = _mended(it) if mark == sharing.mark else _STOPPED
                    announce(conn, title, (), now, self._ops, about=_about(it), ends=True)
            begins = bool(reason) and reason not in known
            if begins:
                title, *lines = configuration_notice(broken)
                announce(conn, title, lines, now, self._ops, about=_about(broken))
            return begins or bool(ended)

        if await self._context.store.run(work):
            self._wake()

    async def tell_own_faults(self, faults: Sequence[str]) -> None:
        """Tell people once of errors in the rule files of a bot that does not lead, and their end.

        Not of those that the bot that leads has, too: it tells them itself, perhaps a bit later.
        Whatever bot is there tells of the end of those that a bot had that is gone.
        """
        sharing, now = self._sharing, self._clock()
        before, seen = self._own_faults, (faults, sharing.bots)
        if seen == before:
            self._own_since = None
            return
        since = self._own_since = self._own_since or now
        fixed = not faults and before is not None and bool(before[0])
        if not fixed and now - since < OWN_FAULTS:
            return
        self._own_since = None
        told = await self._context.store.run(partial(self._own_told, faults=faults, now=now))
        if told:
            self._wake()
        if told is not None:  # else it looks again: the bot that leads may be fixed first
            self._own_faults = seen

    def _own_told(self, conn: Connection, faults: Sequence[str], now: datetime) -> bool | None:
        """Whether a message was made; None if the bot that leads has the same errors."""
        sharing, mine = self._sharing, "\n".join(faults)
        rejected = rejected_rules(conn)
        leading = "\n".join(rejected.faults) if rejected is not None else ""
        if mine and mine == leading:
            return None
        known = watermarks_of(conn, OWN_RULES)
        there = {sharing.mark, *sharing.alive(conn)}
        over = {
            bot: text
            for bot, text in known.items()
            if bot not in there or (bot == sharing.mark and text != mine)
        }
        for bot in over:
            forget_watermark(conn, OWN_RULES, bot)
        if mine:
            set_watermark(conn, OWN_RULES, sharing.mark, mine, now)
        left = {mine, leading, *(text for bot, text in known.items() if bot not in over)}
        bots = {it.id: it.name for it in sharing.replicas(conn)}
        name = bots.get(sharing.mark, "that does not lead")
        if mine and mine not in known.values():
            title = f"Rule files of the bot {name} have errors. It uses its previous rules."
            announce(conn, title, some(faults, 5), now, self._ops)
        elif left.issuperset(over.values()):
            return False
        elif over.get(sharing.mark, leading) not in left:
            title = f"Rule files of the bot {name} are fixed. It uses them now."
            announce(conn, title, (), now, self._ops)
        else:
            title = "The bot with errors in its rule files has stopped."
            announce(conn, title, ["No other bot has these errors."], now, self._ops)
        return True

    async def tell_once(self, watched: WatchedSite, about: str, title: str, line: str) -> bool:
        """Tell people once; whether that was now."""
        if about in watched.levels.said:
            return False
        watched.levels.said.add(about)
        await self.tell_ops(title, line, site=watched.site)
        return True

    async def tell_ops(
        self, title: str, *lines: str, site: Site | None = None, grey: str = ""
    ) -> None:
        """Tell the ops channel, if there is one; the outbox keeps it until Slack accepts it."""
        work = partial(
            announce, title=title, lines=lines, now=self._clock(), channel=self._ops, site=site,
            grey=grey,
        )  # fmt: skip
        await self._context.store.run(work)
        self._wake()

    def log_filters(self, watched: WatchedSite, kind: Kind, held: Mapping[str, str]) -> None:
        """Log once that the API ignores a filter, and that it works again."""
        said, about = watched.levels.said, f"ignored/{kind}/"
        before = {name.removeprefix(about) for name in said if name.startswith(about)}
        now = {name for name, reason in held.items() if reason == IGNORED}
        for name in sorted(now - before):
            said.add(about + name)
            log.error("poll.filter_ignored", website=watched.site.name, kind=kind, filter=name)
        for name in sorted(before - held.keys()):
            said.discard(about + name)
            log.info("poll.filter_works", website=watched.site.name, kind=kind, filter=name)

    async def warn_of_limits(self, watched: WatchedSite, polled: recordings.Polled) -> None:
        """Tell people once about what the last poll could not check.

        A filter that fails again within an hour of its end has ended once it works for an hour.
        """
        site, reported, shaky = watched.site, watched.reported, watched.shaky
        now = self._clock()
        filters = watched.live.knowledge.filters
        for name in FILTERS:
            suspension = filters.suspended.get(name)
            rules = ", ".join(sorted(watched.rules.asking[name]))
            about = WORDS[name]
            if suspension is not None and suspension.lasts(now) and name not in reported:
                reported.add(name)
                log.error("poll.filter_suspended", website=site.name, filter=name,
                          cause=suspension.cause, reason=suspension.reason)  # fmt: skip
                await self._tell_of_filters(
                    watched,
                    f"Rules with {about} are on hold on {site.name}",
                    f"On this website {failure(name, suspension.cause)}: {suspension.reason}.",
                    f"On hold: {rules}. All other rules run. They catch up when it works again.",
                )
            steady = name not in shaky or abs(now - shaky[name]) >= TRY_AGAIN
            if suspension is not None and not steady:
                shaky[name] = now
            behind = watched.rules.asking[name] & polled.behind.keys()
            if suspension is None and name in reported and steady and not behind:
                reported.discard(name)
                shaky[name] = now
                log.info("poll.filter_works", website=site.name, filter=name)
                await self._tell_of_filters(
                    watched,
                    f"Rules with {about} run again on {site.name}",
                    f"The {about} filter works again. They have caught up: {rules}.",
                )
        await self._warn_of_page_views(watched)
        if polled.unread and "unread" not in reported:
            reported.add("unread")
            log.warning("poll.unread", website=site.name, recordings=polled.unread)
        if polled.bad_values and "bad values" not in reported:
            reported.add("bad values")
            log.warning("poll.bad_value", website=site.name, recordings=polled.bad_values)

    async def _tell_of_filters(self, watched: WatchedSite, title: str, *lines: str) -> None:
        """Tell people, and save what they know for the next process and for `status`."""
        now, site, known = self._clock(), watched.site, watched.live.knowledge.filters.suspended
        held = {
            WORDS[name]: suspension.reason
            for name, suspension in known.items()
            if name in watched.reported
        }

        def work(conn: Connection) -> None:
            announce(conn, title, lines, now, self._ops, site)
            set_on_hold(conn, "recordings", site.id, held, now)

        await self._context.store.run(work)
        self._wake()

    async def _warn_of_page_views(self, watched: WatchedSite) -> None:
        """Tell people once that sessions were decided by page views that are wrong."""
        site, since = watched.site, watched.live.knowledge.expansion.wrong_since
        if since is None:
            watched.reported.discard("page views")
        elif "page views" not in watched.reported:
            watched.reported.add("page views")
            log.error("poll.page_views_wrong", website=site.name, since=instant(since))
            await self.tell_ops(
                f"Page views in lists of {site.name} are wrong",
                "A list of recordings differs from a recording's detail. The bot reads details "
                "until both agree again.",
                f"Since {instant(since)} rules about pages may have missed sessions or "
                "matched wrong ones: mouseflow-bot replay lists them.",
                site=site,
            )


def some(lines: Sequence[str], most: int) -> tuple[str, ...]:
    """The first lines, and how many more there are."""
    more = [f"and {len(lines) - most:,} more lines"] if len(lines) > most else []
    return (*lines[:most], *more)


_STOPPED = "The bot whose configuration had errors has stopped."


def configuration_notice(broken: BrokenConfiguration) -> tuple[str, ...]:
    """The message about a configuration that can't be read: a title and lines."""
    lines = () if broken.removed else broken.reason.splitlines()[:5]
    return broken.title, *lines, broken.remedy


def _mended(broken: BrokenConfiguration) -> str:
    """The title of the message that says that it can be read again."""
    if broken.removed:
        return "Configuration reloaded: the account is in it again."
    whose = f" of the bot {broken.bot}" if broken.bot else ""
    return f"Configuration{whose} reloaded: its errors are fixed."


def _about(broken: BrokenConfiguration) -> str:
    return f"configuration: {broken.reason}"


def zone_notice(offset: AccountOffset, configured: str) -> tuple[str, ...]:
    """The message about the account's time zone: a title and more lines."""
    if offset.fits:
        return (
            "The time zone is right again",
            f"mouseflow.time_zone is {configured}; recordings are {offset.shown}, as there.",
        )
    return (
        f"Wrong time zone: mouseflow.time_zone is {configured}, the account is in {offset.shown}",
        "The hours and days of rules, budgets and posts are those of the wrong zone. Set "
        "mouseflow.time_zone to the account's, and restart.",
    )
