"""The composition root: read this first. Builds everything once, starts it, and shuts it down.

These run side by side until the process has to stop:

- The scheduler (`bot.scheduler`) ticks for each website and polls it through the watcher.
- Delivery (`bot.delivery`) performs the steps in the outbox.
- Rule files are reloaded when they change; the previous rules stay active if they have errors.
- Old data is deleted from the store.
- The status page (`bot.web`) is served, if the configuration wants one.

The path of one poll: a tick → `Watcher.poll_recordings` → `bot.polling.recordings` reads the
list, evaluates the rules and saves watermark, matches and their steps in one transaction →
delivery is woken. Reports and feedback (`bot.reports`) and budgets (`bot.budgets`) go the same
way. A poll never sends anything.

The path of one step: delivery claims it (`sending`), its action (`bot.actions`) speaks through a
port (`bot.ports`) to Mouseflow, Slack or a webhook, and the outcome is saved: done, retried later
or a dead letter. Delivery decides nothing about rules.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import structlog
from msgspec import Struct

from bot.actions import ACTIONS
from bot.actions.base import Action
from bot.cleanup import clean_up
from bot.clients import Clients, dry_clients, open_clients
from bot.config import Settings
from bot.config.settings import allowed, channels
from bot.delivery import SLACK_PACE, Delivery, Drained, Paces
from bot.delivery.dry_run import DryRunLog
from bot.delivery.rebuild import current_rules, retry_some
from bot.delivery.slack import SLACK, SlackPoster
from bot.delivery.slack_channels import SlackLookup
from bot.delivery.troubles import Ops
from bot.delivery.webhook import Heartbeat
from bot.delivery.worker import DEFAULT_TIMING, Timing
from bot.domain.alert_state import GAP
from bot.domain.calendar import days_of
from bot.errors import (
    BotError,
    ConfigError,
    Denied,
    StoreError,
    StoreHeld,
    StoreLost,
    StoreTaken,
)
from bot.health import Health
from bot.messages.ops import Notice
from bot.messages.text import without_answer
from bot.other_bots import OtherBots
from bot.polling.context import PollContext
from bot.polling.ops_messages import amend, announce
from bot.polling.outages import SITES, account_fails
from bot.polling.record_matches import Routing
from bot.ports import Mouseflow
from bot.reload import Reload, set_within
from bot.reports.history import compared_for
from bot.rule_reader import ProcessReader, RuleReader, Start, rules_at_start
from bot.rules.files.disk import Signature
from bot.rules.needs import counted_for
from bot.scheduler import Marked, Polls, Schedule
from bot.store import Connection, Store, in_memory_copy, open_store
from bot.store.lanes import account_pause, keep_account_pause
from bot.store.rules import kept_rule_files
from bot.watcher import Watcher

if TYPE_CHECKING:
    from bot.delivery.buttons import Buttons, PressConnection
    from bot.web.facts import Facts
    from bot.web.meter import Meter

log = structlog.get_logger(__name__)

T = TypeVar("T")

LAST_WORDS = timedelta(seconds=5)
"""How long the bot tries to tell people why it stops."""

KEEP_PAUSE = timedelta(seconds=5)
"""How soon a pause of the whole account is saved."""

ANNOUNCE_AFTER = timedelta(minutes=10)
"""After a gap longer than this, announce that polling has resumed."""

RESTART = timedelta(minutes=1)
"""How soon a side task begins again after a bug in it."""

STANDBY = timedelta(seconds=1)
"""How soon the bot tries again to get a store that another one uses."""

PRESENT = timedelta(seconds=1)
"""How often the bot looks whether it should show other bots on the store that it is there."""

RETRY_START = timedelta(seconds=15)
"""How soon the list of websites is requested again while the API is down at the start."""


class Running(Struct, frozen=True):
    """An account at work, as those see it who watch over several.

    `started` is set once its websites are known; `facts` is None where there is no status page.
    """

    store: Store
    started: asyncio.Event
    why_silent: Callable[[], Awaitable[str | None]]
    facts: "Facts | None"


class Shared(Struct, frozen=True):
    """What an account shares with others in this process, and for how long it is at work.

    `presses` is None where no token for buttons is configured.
    """

    at_work: Callable[[Running], AbstractAsyncContextManager[None]]
    paces: Paces
    presses: "PressConnection | None"


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
        holidays=tuple(map(days_of, settings.rules.holidays)),
        quiet=settings.quiet.calendar(zone),
    )


def ops_of(settings: Settings) -> Ops:
    """How delivery tells people of its troubles."""
    channel = settings.slack.ops

    def tell(conn: Connection, notice: Notice, now: datetime) -> None:
        announce(
            conn, notice.title, notice.lines, now, channel, page="queue", offer=notice.offer,
            about=notice.about, ends=notice.ends, grey=notice.grey,
        )  # fmt: skip

    def change(conn: Connection, notice: Notice, now: datetime) -> None:
        zone = settings.mouseflow.time_zone
        amend(conn, notice.title, notice.lines, now, zone, notice.about)

    return Ops(channel, tell, change, account_fails)


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event,
    reload: asyncio.Event,
    reader: ProcessReader | None = None,
    reread: Callable[[], Awaitable[Settings]] | None = None,
    page: Callable[[str], None] = lambda _url: None,
    shared: Shared | None = None,
) -> None:
    """Watch the account until `stop` is set.

    `reload` reloads the rule files that changed, and the secrets, which `reread` reads again.
    `page` is called with the address of the status page. `shared` is for one of several accounts.

    `reader` may be given if it has started its process. Raises RuleErrors, ConfigError or
    StoreError if it can't start, for example because Mouseflow rejects the API key. After the
    start only `stop` ends it.
    """
    reader = reader or ProcessReader(settings.rules.paths, allowed(settings))
    try:
        while not stop.is_set():
            ends = asyncio.Event()
            following = asyncio.create_task(_set_after(stop, ends))
            try:
                await _run(settings, reader, ends, reload, reread, page, shared)
            except StoreTaken as error:
                log.warning("replica.taken_over", reason=str(error))
            finally:
                await _ended([following])
    finally:
        await reader.end_process()


async def _run(
    settings: Settings,
    reader: ProcessReader,
    stop: asyncio.Event,
    reload: asyncio.Event,
    reread: Callable[[], Awaitable[Settings]] | None,
    page: Callable[[str], None],
    shared: Shared | None,
) -> None:
    """Watch the account until `stop` is set, or other bots on the store have taken over."""
    seen = await reader.signature()  # first, so that a change while files are read is noticed
    opened = await _store_of_ours(settings.store.url, stop)
    if opened is None:
        return
    async with _present(opened) as store:
        reading = rules_at_start(reader, partial(store.run, kept_rule_files))
        start = await unless(stop, reading)
        if start is None:
            return
        meter = _meter(settings)
        async with open_clients(settings, meter.observe if meter else None) as clients:
            daemon = Daemon(
                settings, store, clients, start, reader=reader, seen=seen, reread=reread,
                meter=meter, shared=shared,
            )  # fmt: skip
            async with daemon.status_page(page):
                await daemon.run(stop, reload)


@asynccontextmanager
async def _present(store: Store) -> AsyncIterator[Store]:
    """The store, closed at the end; meanwhile no other bot takes this one for dead.

    Also before it divides the work with them: reading the rules may take a minute.
    """

    async def confirm() -> None:
        while store.sharing.shares:
            with suppress(StoreError):  # whoever uses the store meets it, too
                await store.confirm()
            await asyncio.sleep(PRESENT.total_seconds())

    with store:
        confirming = asyncio.create_task(confirm())
        try:
            yield store
        finally:
            await _ended([confirming])


async def _set_after(first: asyncio.Event, then: asyncio.Event) -> None:
    await first.wait()
    then.set()


async def _store_of_ours(url: str, stop: asyncio.Event) -> Store | None:
    """The store, as soon as no bot uses it that does not share it, if it can be waited for.

    None if `stop` is set before. Raises StoreError and ConfigError.
    """
    waiting = False
    while True:
        try:
            opened = await asyncio.to_thread(open_store, url, shared=True)
        except StoreHeld as error:
            if not waiting:
                log.info("store.standby", reason=str(error).partition(". ")[0])
            waiting = True
        else:
            if waiting:
                log.warning("store.taken_over", store=opened.place)
            return opened
        if await set_within(stop, STANDBY):
            return None


def _meter(settings: Settings) -> "Meter | None":
    """What counts for the status page; None without one, so that nothing of it is imported."""
    if settings.web.address is None:
        return None
    from bot.web.meter import Meter

    return Meter()


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work returns; None, and its end, if `stop` is set before."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        await _ended([working, stopping])


class OnceResult(Struct, frozen=True):
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
        reread: Callable[[], Awaitable[Settings]] | None = None,
        timing: Timing = DEFAULT_TIMING,
        meter: "Meter | None" = None,
        shared: Shared | None = None,
    ) -> None:
        self._settings = settings
        self._shared = shared
        self._meter = meter
        self._store = store
        self._client = clients.client
        self._start = start
        self._kept: datetime | None = None
        self._ports = clients.acting
        ops = ops_of(settings)
        self._health = Health(ops, store, clients.acting, polled=self._polled, clock=utc)
        self._delivery = Delivery(
            store,
            clients.acting,
            ACTIONS,
            clock=utc,
            allows=self._why_not_allowed,
            current=self._with_secret,
            turned=self._health.mark_delivered,
            ops=ops,
            timing=timing,
            calendar=settings.quiet.calendar(settings.mouseflow.time_zone),
            paces=shared.paces if shared else SLACK_PACE,
        )
        self._watcher = Watcher(
            poll_context(settings, store, Marked(clients.reading, utc)),
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
            meter=meter,
        )
        self._slack_lookup = SlackLookup(clients.acting.slack, store, self._channels, utc)
        self._reload = Reload(
            settings,
            store,
            self._watcher,
            self._slack_lookup,
            reader=reader or RuleReader(settings.rules.paths, allowed(settings)),
            seen=seen,
            reread=reread or self._unchanged,
            rotate=clients.rotate,
            sync=self._polls.sync,
            wake=self._delivery.wake,
        )
        self._started = asyncio.Event()
        self._others = OtherBots(
            store,
            self._watcher,
            self._polls,
            clients.client,
            settings.mouseflow,
            started=self._started,
            wake=self._delivery.wake,
            clock=utc,
        )

    async def _unchanged(self) -> Settings:
        return self._settings

    @asynccontextmanager
    async def status_page(self, tell: Callable[[str], None]) -> AsyncIterator[None]:
        """Serve the status page within the block, if the configuration wants one.

        An address that nobody chose must not stop the bot: only the log says that it is taken.
        Raises ConfigError for one that the configuration names.
        """
        facts = self._facts()
        if self._shared is not None:
            async with self._shared.at_work(self._running(facts)):
                yield
            return
        if facts is None:
            yield
            return
        from bot.web.app import status_page

        async with AsyncExitStack() as served:
            try:
                tell(await served.enter_async_context(status_page(facts)))
            except ConfigError as error:
                if self._settings.chose_address:
                    raise
                log.warning("web.not_started", reason=str(error))
            yield

    def _running(self, facts: "Facts | None") -> Running:
        return Running(self._store, self._started, self._health.why_silent, facts)

    def _facts(self) -> "Facts | None":
        """What the status page knows; None without one."""
        if self._meter is None:
            return None
        from bot.web.facts import Facts

        return Facts(
            settings=self._settings,
            store=self._store,
            rules=lambda: self._watcher.rules,
            pulse=self._health.pulse,
            ready=self._started.is_set,
            wake=self._delivery.wake,
            token=self._token,
            poll=self._others.poll_now,
            sites=lambda: {key: each.site.read_only for key, each in self._watcher.watched.items()},
            recordings_seen=lambda: self._watcher.recordings_seen,
            meter=self._meter,
        )

    async def once(self, dry_run_log: DryRunLog | None) -> OnceResult:
        """Poll every source once, then deliver what is due."""
        await self._restore_pause()
        await self._health.tell_restored()
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
        await watcher.post_reports()
        drained = await self._delivery.drain()
        failures = tuple(dict.fromkeys(failed))
        return OnceResult(len(watcher.watched), failures, drained, self._start, dry_run_log)

    async def run(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        """Run until `stop`; then polling ends and requests in flight are finished."""
        watcher = self._watcher
        await self._restore_pause()
        await self._others.divide()
        await self._health.tell_restored()
        await watcher.start_with(self._start)
        if self._store.sharing.leads:
            await watcher.troubles.remember()
            self._others.leading.set()
        delivering = asyncio.create_task(self._delivery.run_until_stopped(stop))
        watching = [
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._reload.run(reload)),
            asyncio.create_task(side_task(self._health.beat)),
            *(
                asyncio.create_task(side_task(work, after=self._others.leading))
                for work in self._of_one_bot()
            ),
        ]
        if self._shared is not None and self._buttons is not None:
            watching.append(asyncio.create_task(side_task(self._keep_presses)))
        shares = self._store.sharing.shares
        watching.append(
            asyncio.create_task(self._others.run() if shares else side_task(self._keep_pauses))
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait(
                {stopping, delivering, *watching}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {stopping}:
                task.result()  # none of them ends by itself: raise its error
        except StoreTaken:
            raise
        except StoreLost as error:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS.total_seconds()):
                    await self._health.say("The bot has stopped: its store is lost", (str(error),))
            raise
        finally:
            stop.set()
            log.info("daemon.stopping")
            await self._schedule.stop()
            await _ended([stopping, *watching, *self._polls.tasks])
            await delivering
            log.info("daemon.stopped")

    def _of_one_bot(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """What only one of the bots on a store does."""
        yield self._check_channels
        yield self._clean_up
        yield self._post_reports
        if self._buttons is not None:
            yield self._buttons.do_presses if self._shared else self._receive_presses
        if (url := self._settings.heartbeat.url) is not None and self._shared is None:
            yield Heartbeat(
                url, self._settings.heartbeat.every, self._health.why_silent
            ).keep_beating

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
            except Exception as error:
                await self._no_sites(error)
            else:
                await self._watcher.succeeded(SITES)

    def _polled(self) -> datetime:
        """When polls moved last; one that waits because Mouseflow asked for it moves."""
        until = self._client.pause_until if self._client is not None else None
        return self._polls.last_progress(waits=until is not None and until > utc())

    def _token(self) -> str:
        token = self._reload.web_token
        return token.get_secret_value() if token else ""

    async def _check_channels(self) -> None:
        """Check which channels the bot can read, once the account works."""
        await self._started.wait()
        await self._slack_lookup.run()

    async def _post_reports(self) -> None:
        """Post the weekly reports when they are due; `side_task` asks again every minute."""
        await self._started.wait()
        await self._watcher.post_reports()

    def _why_not_allowed(self, rule: str, action: Action) -> str | None:
        """Why an action that waited is not allowed any more; None if it is."""
        if not self._settings.rules.allow_delete:
            return "rules.allow_delete is off"
        actions = (each.do for each in self._watcher.rules.rules if each.id == rule)
        if action not in next(actions, ()):
            return f"the rule {rule} is gone, or no longer has the action {action.kind}"
        return None

    def _with_secret(self, rule: str, action: Action) -> Action:
        """A stored action with the secrets that its rule or a budget has now."""
        return action.as_in_rule(self._current(rule))

    def _current(self, rule: str) -> Iterator[Action]:
        rules = self._watcher.rules
        in_rule = [each.do for each in rules.written if each.id == rule]
        in_budgets = (step.do for budget in rules.budgets for step in budget.steps)
        yield from chain.from_iterable(in_rule or in_budgets)

    @cached_property
    def _buttons(self) -> "Buttons | None":
        """Does what is pressed; None where the configuration has no token for that."""
        slack, poster = self._settings.slack, self._ports.slack
        if slack.app_token is None or not isinstance(poster, SlackPoster):
            return None
        from bot.delivery.buttons import Buttons

        return Buttons(
            poster,
            self._store,
            users=slack.users,
            zone=self._settings.mouseflow.time_zone,
            clock=utc,
            wake=self._delivery.wake,
            requeue=self._requeue,
        )

    async def _receive_presses(self) -> None:
        """Connect, and do what is pressed."""
        from bot.delivery.buttons import PressConnection

        slack = self._settings.slack
        if slack.app_token is not None and self._buttons is not None:
            connection = PressConnection(slack.app_token, slack.base_url or SLACK, utc)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._buttons.receive_presses(connection))
                tasks.create_task(connection.stay_connected())

    async def _keep_presses(self) -> None:
        """Keep what is pressed: of several bots that are connected Slack chooses one."""
        if self._shared is not None and self._shared.presses is not None and self._buttons:
            await self._buttons.keep_presses(self._shared.presses)

    def _requeue(self, conn: Connection, ids: Collection[int], now: datetime) -> None:
        """Put dead letters back, as their rules have them now."""
        slack = self._settings.slack
        current = current_rules(conn, self._watcher.rules.written, slack.channel or "", slack.ops)
        after: int | None = 0
        while after is not None:
            after = retry_some(conn, now, current, ids=ids, after=after).last

    def _channels(self) -> list[str]:
        return channels(self._settings, self._watcher.rules.rules)

    async def _wait_for_sites(self) -> None:
        """Request the websites until the API answers; raises ConfigError for wrong credentials."""
        while True:
            try:
                await self._watcher.find_sites()
            except Denied as error:
                why = without_answer(str(error))
                raise ConfigError(f"Mouseflow rejected the API key: {why}") from error
            except Exception as error:
                await self._no_sites(error)
                await asyncio.sleep(RETRY_START.total_seconds())
            else:
                await self._watcher.succeeded(SITES)
                return

    async def _no_sites(self, error: Exception) -> None:
        """The list of websites failed, perhaps for a bug; the polls of those known go on."""
        news = await self._watcher.troubles.failed(SITES, error)
        if news and not isinstance(error, BotError):
            log.error("websites.internal_error", exc_info=error)

    async def _clean_up(self) -> None:
        await clean_up(
            self._store,
            self._settings.store.keep,
            figures=lambda: compared_for(self._watcher.rules.rules),
            counts=lambda: counted_for(self._watcher.rules.rules),
            ops=self._settings.slack.ops,
            clock=utc,
        )

    async def _restore_pause(self) -> None:
        """Wait on as long as Mouseflow asked before the restart."""
        if self._client is not None:
            kept = await self._store.run(partial(account_pause, now=utc()))
            self._client.pause_until = self._kept = kept

    async def _keep_pauses(self) -> None:
        while True:
            await asyncio.sleep(KEEP_PAUSE.total_seconds())
            await self._keep_pause()

    async def _keep_pause(self) -> None:
        """Save the account's pause if it has changed; a store in trouble may miss it.

        Its end too: the time that was saved may be of a clock that was ahead.
        """
        until = self._client.pause_until if self._client is not None else None
        if until == self._kept:
            return
        with suppress(StoreError):
            await self._store.run(partial(keep_account_pause, until=until))
            self._kept = until


async def side_task(
    work: Callable[[], Awaitable[None]], *, after: asyncio.Event | None = None
) -> None:
    """Do it, and again after a bug in it: polls and deliveries don't depend on it."""
    if after is not None:
        await after.wait()
    while True:
        try:
            await work()
        except Exception:
            log.exception("daemon.task_failed", task=work.__name__.strip("_"))
        await asyncio.sleep(RESTART.total_seconds())


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait; a poll that is cancelled has changed nothing."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, BotError):
            log.error("daemon.internal_error", reason=repr(outcome))
