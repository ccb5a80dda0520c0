"""The composition root: read this first. Builds everything once, starts it, and shuts it down.

Four tasks run side by side until the process is told to stop:

- The scheduler (`bot.scheduler`) ticks for each website and polls it through the watcher.
- Delivery (`bot.delivery`) performs the steps in the outbox.
- Rule files are reloaded when they change; the previous rules stay active if they have errors.
- Old data is deleted from the store.

The path of one poll: a tick → `Watcher.poll_recordings` → `bot.polling.recordings` reads the
list, evaluates the rules and saves watermark, matches and their steps in one transaction →
delivery is woken. Reports and feedback (`bot.reports`) and budgets (`bot.budgets`) go the same
way. A poll never sends anything.

The path of one step: delivery claims it (`sending`), its action (`bot.actions`) speaks through a
port (`bot.ports`) to Mouseflow, Slack or a webhook, and the outcome is saved: done, retried later
or a dead letter. Delivery decides nothing about rules.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from bot.account import Account, open_client
from bot.actions import ACTIONS
from bot.actions.base import Action
from bot.config import Settings
from bot.config.settings import allowed, channels
from bot.delivery import Delivery, Drained
from bot.delivery.dry_run import DryMouseflow, DryRunLog, DrySlack, DryWebhook, NoSlack
from bot.delivery.slack import SLACK, SlackLookup, SlackPoster, WebhookPoster
from bot.delivery.troubles import Ops
from bot.delivery.webhook import WebhookCaller
from bot.domain.alert_state import GAP
from bot.errors import BotError, ConfigError, Denied, RuleErrors, StoreError, internal_error
from bot.polling.ops_messages import announce
from bot.polling.outages import SITES, account_fails
from bot.polling.record_matches import Routing
from bot.polling.recordings import PollContext
from bot.ports import Addresses, Mouseflow, Ports
from bot.reports.poll import compared_for
from bot.rule_reader import ApartReader, RuleReader, Start, rules_at_start
from bot.rules.files.disk import Signature
from bot.scheduler import Polls, Schedule
from bot.store import Connection, Store, in_memory_copy, open_store
from bot.store.lanes import account_pause, keep_account_pause
from bot.store.retention import forget, may_forget
from bot.store.rules import kept_rule_files
from bot.watcher import Watcher
from mouseflow import AsyncMouseflow, Priority

log = structlog.get_logger(__name__)

CHECK_FILES = timedelta(seconds=3)
"""How often the rule files are checked for changes."""

CLEANUP = timedelta(hours=1)
"""How often data older than `[store] keep` is deleted."""

KEEP_PAUSE = timedelta(seconds=5)
"""How soon a pause of the whole account is saved."""

ANNOUNCE_AFTER = timedelta(minutes=10)
"""After a gap longer than this, announce that polling has resumed."""

RETRY_START = timedelta(seconds=15)
"""How soon the list of websites is requested again while the API is down at the start."""


def utc() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def poll_context(settings: Settings, store: Store, asking: Mouseflow) -> PollContext:
    """What every poll needs."""
    zone = settings.mouseflow.time_zone
    return PollContext(
        mouseflow=asking,
        store=store,
        zone=ZoneInfo(zone),
        settle=settings.poll.settle,
        start=settings.poll.start,
        routing=Routing(settings.slack.channel or "", zone),
        expand=settings.poll.expand,
        marks=settings.poll.marks,
        gap=max(GAP, 3 * settings.poll.feedback, 3 * settings.poll.reports),
    )


def ops_of(settings: Settings) -> Ops:
    """How delivery tells people of its troubles."""
    channel = settings.slack.ops

    def tell(conn: Connection, title: str, lines: Sequence[str], now: datetime) -> None:
        announce(conn, title, lines, now, channel)

    return Ops(lane=f"slack:{channel or ''}", announce=tell, polls_fail=account_fails)


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event,
    reload: asyncio.Event,
    reader: ApartReader | None = None,
) -> None:
    """Watch the account until `stop` is set; `reload` reloads the rule files.

    `reader` may be given if it has started its process. Raises RuleErrors, ConfigError or
    StoreError if it can't start, for example because Mouseflow rejects the API key. After the
    start only `stop` ends it.
    """
    reader = reader or ApartReader(settings.rules.paths, allowed(settings))
    try:
        seen = await reader.signature()  # first, so that a change while files are read is noticed
        with open_store(settings.store.url) as store:
            start = await rules_at_start(reader, partial(store.run, kept_rule_files))
            async with open_clients(settings) as clients:
                daemon = Daemon(settings, store, clients, start, reader=reader, seen=seen)
                await daemon.run(stop, reload)
    finally:
        await reader.end_process()


@dataclass(frozen=True, slots=True)
class OnceResult:
    """What `once` did. `failed` names the failed polls; `dry_run_log` is None in a real run.

    `start` says which rules it used, and what is wrong with the rule files.
    """

    websites: int
    failed: tuple[str, ...]
    drained: Drained
    start: Start
    dry_run_log: DryRunLog | None = None


async def once(
    settings: Settings,
    *,
    dry_run: bool = False,
    tell: Callable[[Store, OnceResult], None] = lambda _store, _round: None,
) -> OnceResult:
    """Poll everything once, perform what is due, return.

    A dry run works on a copy of the store in memory and changes nothing anywhere. `tell` is
    called before the store is closed. Raises what `run` raises at the start.
    """
    reader = RuleReader(settings.rules.paths, allowed(settings))
    opened = in_memory_copy if dry_run else open_store
    with opened(settings.store.url) as store:
        start = await rules_at_start(reader, partial(store.run, kept_rule_files))
        async with open_clients(settings) as clients:
            dry_run_log = DryRunLog() if dry_run else None
            used = clients if dry_run_log is None else dry_clients(clients, dry_run_log)
            daemon = Daemon(settings, store, used, start, once=True)
            did = await daemon.once(dry_run_log)
            tell(store, did)
            return did


class Daemon:
    """One account: polls, delivery, reload and cleanup as tasks.

    It begins with the rules of `start`, and reads changed files with `reader`. `seen` is the
    signature of the rule files from before they were read.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clients: "Clients",
        start: Start,
        *,
        reader: RuleReader | None = None,
        once: bool = False,
        seen: Signature | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._client = clients.client
        self._start = start
        self._reader = reader or RuleReader(settings.rules.paths, allowed(settings))
        self._seen = seen
        self._kept: datetime | None = None
        self._delivery = Delivery(
            store,
            clients.acting,
            ACTIONS,
            clock=utc,
            allows=self._why_not_allowed,
            ops=ops_of(settings),
        )
        self._watcher = Watcher(
            poll_context(settings, store, clients.reading),
            start.rules,
            ops=settings.slack.ops,
            wake=self._delivery.wake,
            clock=utc,
            announce_after=None if once else max(ANNOUNCE_AFTER, 3 * settings.poll.recordings),
        )
        self._schedule = Schedule()
        self._polls = Polls(
            self._watcher,
            self._schedule,
            settings.poll,
            rate=settings.mouseflow.requests_per_second,
            clock=utc,
        )
        self._slack_lookup = SlackLookup(clients.acting.slack, store, self._channels, utc)
        self._started = asyncio.Event()

    async def once(self, dry_run_log: DryRunLog | None) -> OnceResult:
        """Poll every source once, then deliver what is due."""
        await self._restore_pause()
        try:
            return await self._once(dry_run_log)
        finally:
            await self._keep_pause()

    async def _once(self, dry_run_log: DryRunLog | None) -> OnceResult:
        watcher = self._watcher
        await watcher.start_with(self._start)
        await watcher.find_sites()
        failed = [] if await watcher.poll_budgets() else list(watcher.troubles.failing)
        for watched in list(watcher.watched.values()):
            for poll in (
                watcher.poll_recordings,
                watcher.poll_feedback,
                watcher.poll_reports,
            ):
                if not await poll(watched.site):
                    failed += list(watcher.troubles.failing)
        drained = await self._delivery.drain()
        failures = tuple(dict.fromkeys(failed))
        return OnceResult(len(watcher.watched), failures, drained, self._start, dry_run_log)

    async def run(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        """Run until `stop`; then polling ends and requests in flight are finished."""
        watcher = self._watcher
        await self._restore_pause()
        await watcher.start_with(self._start)
        await watcher.troubles.remember()
        delivering = asyncio.create_task(self._delivery.run_until_stopped(stop))
        watching = [
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._reload(reload)),
            asyncio.create_task(self._check_channels()),
            asyncio.create_task(self._clean_up()),
            asyncio.create_task(self._keep_pauses()),
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait(
                {stopping, delivering, *watching}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {stopping}:
                task.result()  # none of them ends by itself: raise its error
        finally:
            stop.set()
            log.info("daemon.stopping")
            await self._schedule.stop()
            await _ended([stopping, *watching, *self._polls.tasks])
            await delivering
            log.info("daemon.stopped")

    async def _watch(self) -> None:
        """Find the websites, then keep the scheduler in step with them."""
        await self._wait_for_sites()
        self._started.set()
        log.info("daemon.started", websites=len(self._watcher.watched))
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
                await self._watcher.succeeded(SITES)

    async def _check_channels(self) -> None:
        """Check which channels the bot can read, once the account works."""
        await self._started.wait()
        await self._slack_lookup.run()

    def _why_not_allowed(self, rule: str, action: Action) -> str | None:
        """Why an action that waited is not allowed any more; None if it is."""
        if not self._settings.rules.allow_delete:
            return "rules.allow_delete is off"
        actions = (each.do for each in self._watcher.rules.rules if each.id == rule)
        if action not in next(actions, ()):
            return f"the rule {rule} is gone, or no longer has the action {action.kind}"
        return None

    def _channels(self) -> list[str]:
        return channels(self._settings, self._watcher.rules.rules)

    async def _wait_for_sites(self) -> None:
        """Request the websites until the API answers; raises ConfigError for wrong credentials."""
        while True:
            try:
                await self._watcher.find_sites()
            except Denied as error:
                raise ConfigError(f"Mouseflow refuses the credentials: {error}") from error
            except BotError as error:
                await self._watcher.troubles.failed(SITES, error)
                await asyncio.sleep(RETRY_START.total_seconds())
            else:
                await self._watcher.succeeded(SITES)
                return

    async def _reload(self, asked: asyncio.Event) -> None:
        """Reload the rule files when they change, or when asked to."""
        while True:
            asked_to = await _set_within(asked, CHECK_FILES)
            try:
                now = await self._reader.signature()
                if not asked_to and now == self._seen:
                    continue
                asked.clear()
                self._seen = now
                await self._load_rules()
            except Exception as error:
                # Also a surprise: nothing in a rule file may end the daemon. It retries soon.
                reason = str(error) if isinstance(error, BotError) else internal_error(error)
                log.error("rules.reload_postponed", reason=reason)  # noqa: TRY400 - for people
                self._seen = None

    async def _load_rules(self) -> None:
        """Load the files and run their tests; with errors the previous rules stay active."""
        try:
            found = await self._reader.contents()
            rules = await self._reader.read(found.files, found.faults)
            await self._watcher.use_rules(rules, found.files)
            self._polls.sync()
            self._slack_lookup.check_again()
        except (RuleErrors, ConfigError) as error:
            await self._watcher.reject_rules(str(error).splitlines())
        except BotError:
            raise
        except Exception as error:
            log.exception("rules.internal_error")
            failed = f"the rules could not be loaded: {internal_error(error)}"
            await self._watcher.reject_rules([failed])

    async def _restore_pause(self) -> None:
        """Wait on as long as Mouseflow asked before the restart."""
        if self._client is not None:
            self._client.pause_until = self._kept = await self._store.run(account_pause)

    async def _keep_pauses(self) -> None:
        while True:
            await asyncio.sleep(KEEP_PAUSE.total_seconds())
            await self._keep_pause()

    async def _keep_pause(self) -> None:
        """Save the account's pause if it has changed; a store in trouble may miss it."""
        until = self._client.pause_until if self._client is not None else None
        if until == self._kept:
            return
        with suppress(StoreError):
            await self._store.run(partial(keep_account_pause, until=until))
            self._kept = until

    async def _clean_up(self) -> None:
        """Delete old data from the store now and then."""
        keep = self._settings.store.keep
        while True:
            try:
                before = await self._store.run(partial(may_forget, keep=keep, now=utc()))
                compared = utc() - compared_for(self._watcher.rules.rules)
                work = partial(forget, before=before, compared_since=compared)
                while await self._store.run(work):
                    pass
            except StoreError as error:
                log.error("store.cleanup_failed", reason=str(error))  # noqa: TRY400 - for people
            except Exception:  # a bug here must not stop polls and deliveries
                log.exception("store.cleanup_failed", reason="internal error")
            await asyncio.sleep(CLEANUP.total_seconds())


async def _set_within(event: asyncio.Event, wait: timedelta) -> bool:
    try:
        async with asyncio.timeout(wait.total_seconds()):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait; a poll that is cancelled has changed nothing."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, BotError):
            log.error("daemon.internal_error", reason=repr(outcome))


@dataclass(frozen=True, slots=True)
class Clients:
    """`reading` is the account for polls, `acting` are the ports for actions.

    `client` is what both send with; its pause after a 429 is kept in the store.
    """

    reading: Mouseflow
    acting: Ports
    client: AsyncMouseflow | None = None


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """The clients for these settings, closed at the end."""
    client = open_client(settings.mouseflow)
    slack, webhook = _poster(settings), WebhookCaller()
    try:
        acting = Ports(Account(client, Priority.ACTION), slack, webhook, _addresses(settings))
        yield Clients(Account(client, Priority.POLL), acting, client)
    finally:
        await client.aclose()
        await webhook.close()
        await slack.close()


def dry_clients(clients: Clients, dry_run_log: DryRunLog) -> Clients:
    """The same account for polls; actions only go into the log."""
    acting = Ports(
        DryMouseflow(clients.acting.mouseflow, dry_run_log),
        DrySlack(dry_run_log),
        DryWebhook(dry_run_log),
        clients.acting.addresses,
    )
    return Clients(clients.reading, acting, clients.client)


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
