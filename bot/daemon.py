"""The composition root: builds everything once, starts it, reloads the rules, and shuts down."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from bot.account import Account, open_client
from bot.actions import ACTIONS
from bot.config import Settings
from bot.config.settings import allowed, channels
from bot.delivery import Delivery, Drained
from bot.delivery.dry_run import DryMouseflow, DryRunLog, DrySlack, DryWebhook, NoSlack
from bot.delivery.slack import SLACK, SlackPoster, WebhookPoster
from bot.delivery.slack_lookup import SlackLookup
from bot.delivery.webhook import WebhookCaller
from bot.errors import BotError, ConfigError, Denied, RuleErrors, StoreError
from bot.polling.outages import SITES
from bot.polling.record_matches import Routing
from bot.polling.recordings import Desk
from bot.ports import Addresses, Mouseflow, Ports
from bot.rules import tests
from bot.rules.files import load
from bot.rules.model import RuleSet
from bot.scheduler import Polls, Schedule
from bot.store import Store, in_memory_copy, open_store
from bot.store.retention import forget, may_forget
from bot.watcher import Watcher
from mouseflow import Priority


@dataclass(frozen=True, slots=True)
class Clients:
    """Whom the polls ask, and what the actions may touch."""

    asking: Mouseflow
    acting: Ports


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Client, poster and webhook caller for these settings, closed in the end."""
    client = open_client(settings.mouseflow)
    slack, webhook = _poster(settings), WebhookCaller()
    try:
        acting = Ports(Account(client, Priority.ACTION), slack, webhook, _addresses(settings))
        yield Clients(Account(client, Priority.POLL), acting)
    finally:
        await client.aclose()
        await webhook.close()
        await slack.close()


def dry_clients(out: Clients, dry_run_log: DryRunLog) -> Clients:
    """The same account to ask, and actions that are only written into the dry_run_log."""
    acting = Ports(
        DryMouseflow(out.acting.mouseflow, dry_run_log),
        DrySlack(dry_run_log),
        DryWebhook(dry_run_log),
        out.acting.addresses,
    )
    return Clients(out.asking, acting)


def _addresses(settings: Settings) -> Addresses:
    return Addresses(
        app_url=settings.mouseflow.app_url,
        share_url=settings.mouseflow.share_url or "",
        channel=settings.slack.channel or "",
        ops_channel=settings.slack.ops_channel or "",
        zone=settings.mouseflow.time_zone,
    )


def _poster(settings: Settings) -> SlackPoster | WebhookPoster | NoSlack:
    slack = settings.slack
    if slack.bot_token is not None:
        return SlackPoster(slack.bot_token, base_url=slack.base_url or SLACK)
    if slack.webhook_url is not None:
        return WebhookPoster(slack.webhook_url)
    return NoSlack()


log = structlog.get_logger(__name__)

LOOK_AT_FILES = timedelta(seconds=3)
"""How often the rule files are looked at for changes."""

TIDY = timedelta(hours=1)
"""How often what is older than `[store] keep` is forgotten."""

AWAY = timedelta(minutes=10)
"""Without a look for longer than this, people are told when there is one again."""

ASK_AGAIN = timedelta(seconds=15)
"""How soon the websites are asked for again while the API is away at the start."""


def utc() -> datetime:
    """The time."""
    return datetime.now(UTC)


def rules_of(settings: Settings) -> RuleSet:
    """The rules as the files have them now; raises RuleErrors or ConfigError."""
    return load.load(settings.rules.paths, allowed(settings))


def _signature(settings: Settings) -> load.Signature | None:
    try:
        return load.signature(settings.rules.paths)
    except ConfigError:
        return None


def desk_of(settings: Settings, store: Store, asking: Mouseflow) -> Desk:
    """What every poll works with."""
    zone = settings.mouseflow.time_zone
    return Desk(
        mouseflow=asking,
        store=store,
        zone=ZoneInfo(zone),
        settle=settings.poll.settle,
        start=settings.poll.start,
        routing=Routing(settings.slack.channel or "", zone),
        expand=settings.poll.expand,
    )


async def run(settings: Settings, *, stop: asyncio.Event, reload: asyncio.Event) -> None:
    """Watch the account until `stop` is set; `reload` reads the rule files again.

    Raises RuleErrors, ConfigError or StoreError where it can't even start, among them wrong
    credentials. After the start only `stop` ends it.
    """
    seen = _signature(settings)  # before the files are read: a change in between is seen later
    rules = rules_of(settings)
    with open_store(settings.store.url) as store:
        async with open_clients(settings) as out:
            await Daemon(settings, store, out, rules, seen=seen).run(stop, reload)


@dataclass(frozen=True, slots=True)
class OnceResult:
    """What `once` did. `failed` names the looks that failed, `dry_run_log` is that of a dry run."""

    websites: int
    failed: tuple[str, ...]
    drained: Drained
    dry_run_log: DryRunLog | None = None


async def once(
    settings: Settings,
    *,
    dry_run: bool = False,
    tell: Callable[[Store, OnceResult], None] = lambda _store, _round: None,
) -> OnceResult:
    """Look at every source once, perform all that is due, return.

    A dry run works on a copy of the store in memory and changes nothing anywhere. `tell` is
    called before the store is closed. Raises what `run` raises at its start.
    """
    rules = rules_of(settings)
    opened = in_memory_copy if dry_run else open_store
    with opened(settings.store.url) as store:
        async with open_clients(settings) as out:
            dry_run_log = DryRunLog() if dry_run else None
            ways = out if dry_run_log is None else dry_clients(out, dry_run_log)
            daemon = Daemon(settings, store, ways, rules, once=True)
            did = await daemon.once(dry_run_log)
            tell(store, did)
            return did


class Daemon:
    """One account under watch: polls, delivery, reload and tidying as tasks of one group.

    `seen` is what the rule files looked like before `rules` were read from them.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        out: Clients,
        rules: RuleSet,
        *,
        once: bool = False,
        seen: load.Signature | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._seen = seen
        self._delivery = Delivery(store, out.acting, ACTIONS, clock=utc)
        self._watcher = Watcher(
            desk_of(settings, store, out.asking),
            rules,
            ops=settings.slack.ops,
            wake=self._delivery.wake,
            clock=utc,
            away=None if once else max(AWAY, 3 * settings.poll.recordings),
        )
        self._schedule = Schedule()
        self._polls = Polls(
            self._watcher,
            self._schedule,
            settings.poll,
            rate=settings.mouseflow.requests_per_second,
            clock=utc,
        )
        self._slack_lookup = SlackLookup(out.acting.slack, store, self._channels, utc)
        self._found = asyncio.Event()

    async def once(self, dry_run_log: DryRunLog | None) -> OnceResult:
        """One look at every source, then one drain."""
        watcher = self._watcher
        await watcher.use(watcher.rules)
        await watcher.find_sites()
        failed = [] if await watcher.poll_budgets() else list(watcher.troubles.failing)
        for place in list(watcher.places.values()):
            for look in (
                watcher.poll_recordings,
                watcher.poll_feedback,
                watcher.poll_reports,
            ):
                if not await look(place.site):
                    failed += list(watcher.troubles.failing)
        drained = await self._delivery.drain()
        return OnceResult(len(watcher.places), tuple(dict.fromkeys(failed)), drained, dry_run_log)

    async def run(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        """Until `stop`; then intake ends, and what is in flight is finished."""
        watcher = self._watcher
        await watcher.use(watcher.rules)
        await watcher.troubles.remember()
        delivering = asyncio.create_task(self._delivery.run_until_stopped(stop))
        watching = [
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._reload(reload)),
            asyncio.create_task(self._look_up()),
            asyncio.create_task(self._tidy()),
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait(
                {stopping, delivering, *watching}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {stopping}:
                task.result()  # none of them ends by itself: an error is passed on
        finally:
            stop.set()
            log.info("daemon.stopping")
            await self._schedule.stop()
            await _ended([stopping, *watching, *self._polls.tasks])
            await delivering
            log.info("daemon.stopped")

    async def _watch(self) -> None:
        """Find the websites, then poll each one when its time comes."""
        await self._first_sites()
        self._found.set()
        log.info("daemon.started", websites=len(self._watcher.places))
        self._schedule.start()
        again = asyncio.Event()
        self._schedule.every("websites", self._settings.poll.reports, again)
        while True:
            self._polls.sync()
            await again.wait()
            again.clear()
            try:
                await self._watcher.find_sites()
            except BotError as error:
                await self._watcher.troubles.failed(SITES, error)
            else:
                await self._watcher.works(SITES)

    async def _look_up(self) -> None:
        """See which channels can be looked into, once the account has let the bot in."""
        await self._found.wait()
        await self._slack_lookup.run()

    def _channels(self) -> list[str]:
        return channels(self._settings, self._watcher.rules.rules)

    async def _first_sites(self) -> None:
        """Ask for the websites until the API answers; wrong credentials end the start."""
        while True:
            try:
                await self._watcher.find_sites()
            except Denied as error:
                raise ConfigError(f"Mouseflow refuses the credentials: {error}") from error
            except BotError as error:
                await self._watcher.troubles.failed(SITES, error)
                await asyncio.sleep(ASK_AGAIN.total_seconds())
            else:
                await self._watcher.works(SITES)
                return

    async def _reload(self, asked: asyncio.Event) -> None:
        """Take up changed rule files, looked at now and then or when told to."""
        while True:
            told = await _set_within(asked, LOOK_AT_FILES)
            now = _signature(self._settings)
            if not told and now == self._seen:
                continue
            asked.clear()
            self._seen = now
            try:
                await self._take_up()
            except BotError as error:
                log.error("rules.reload_postponed", reason=str(error))  # noqa: TRY400 - in words
                self._seen = None

    async def _take_up(self) -> None:
        """Load the files on trial, with their own tests; with a fault the old rules go on."""
        try:
            rules = rules_of(self._settings)
        except (RuleErrors, ConfigError) as error:
            await self._watcher.refuse(str(error).splitlines())
            return
        failed = [str(result) for result in tests.run(rules) if not result.passed]
        if failed:
            await self._watcher.refuse([line for text in failed for line in text.splitlines()])
            return
        await self._watcher.use(rules)
        self._polls.sync()
        self._slack_lookup.check_again()

    async def _tidy(self) -> None:
        """Forget now and then what is older than anything the bot still looks at."""
        keep = self._settings.store.keep
        while True:
            try:
                before = await self._store.run(partial(may_forget, keep=keep, now=utc()))
                while await self._store.run(partial(forget, before=before)):
                    pass
            except StoreError as error:
                log.error("store.cleanup_failed", reason=str(error))  # noqa: TRY400 - told in words
            await asyncio.sleep(TIDY.total_seconds())


async def _set_within(event: asyncio.Event, wait: timedelta) -> bool:
    try:
        async with asyncio.timeout(wait.total_seconds()):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them and wait; a poll that is cut off has changed nothing."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, BotError):
            log.error("daemon.internal_error", reason=repr(outcome))
