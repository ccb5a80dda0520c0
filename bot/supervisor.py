"""Several accounts in one process: each a whole bot of its own, started again when it fails.

An account has its own store, client, rate limit and queue, and a task (`bot.daemon.run`) that no
other account can end. Shared are only what exists once: the status page, the heartbeat, the
connection over which presses of one Slack app come, and the pace of one Slack token's channels.
"""

import asyncio
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Mapping,
)
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from msgspec.structs import replace

from bot import daemon
from bot.clients import open_clients
from bot.config import Settings
from bot.daemon import Running, Shared, side_task, unless, utc
from bot.delivery import SLACK_PACE, Paces
from bot.delivery.attempt import error_text
from bot.delivery.slack import SLACK
from bot.delivery.webhook import Heartbeat
from bot.errors import AccountRemoved, BotError, ConfigError, TryLater, internal_error
from bot.polling.ops_messages import post_directly
from bot.store.recordings import claim_for

if TYPE_CHECKING:
    from bot.delivery.buttons import PressConnection
    from bot.web.accounts import Accounts

log = structlog.get_logger(__name__)

RETRY = timedelta(seconds=15)
"""How soon an account that failed starts again; each further time after twice as long."""

LONGEST_RETRY = timedelta(minutes=5)

TELLING = timedelta(seconds=10)
"""How long it may take to tell people that an account failed."""

Run = Callable[..., Awaitable[None]]
Beside = Callable[[Settings], Coroutine[Any, Any, None]]


async def run(
    accounts: Mapping[str, Settings],
    *,
    stop: asyncio.Event,
    reload: asyncio.Event,
    reread: Callable[[], Awaitable[Mapping[str, Settings]]],
    beside: Beside,
    page: Callable[[str], None] = lambda _url: None,
    run_account: Run = daemon.run,
) -> None:
    """Watch all accounts until `stop` is set. Raises ConfigError if none of them can run.

    `reload` reloads rule files and secrets of all, which `reread` reads again. `beside` runs as
    long as an account does. `page` is called with the address of the status page.
    """
    supervisor = Supervisor(accounts, stop=stop, reread=reread, beside=beside, run=run_account)
    async with _pages(accounts, supervisor, page):
        await _run(accounts, supervisor, stop, reload)


async def _run(
    accounts: Mapping[str, Settings],
    supervisor: "Supervisor",
    stop: asyncio.Event,
    reload: asyncio.Event,
) -> None:
    keeping = [asyncio.create_task(supervisor.keep(name), name=name) for name in accounts]
    around = [asyncio.create_task(work) for work in supervisor.side_tasks(reload)]
    none_runs = asyncio.create_task(supervisor.none_runs.wait())
    try:
        await asyncio.wait({none_runs, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        if supervisor.none_runs.is_set():
            failed = (f"{name}: {reason}" for name, reason in supervisor.failed.items())
            raise ConfigError("\n".join(("No account can run.", *failed)))
        await asyncio.gather(*keeping)
    finally:
        stop.set()
        await asyncio.gather(*keeping, return_exceptions=True)
        for task in (none_runs, *around):
            task.cancel()
        await asyncio.gather(none_runs, *around, return_exceptions=True)


@asynccontextmanager
async def _pages(
    accounts: Mapping[str, Settings], supervisor: "Supervisor", tell: Callable[[str], None]
) -> AsyncIterator[None]:
    """Serve the status pages within the block, if the configuration wants them.

    As with one account, only an address that the configuration names must be free.
    """
    first = next(iter(accounts.values()))
    web = first.web
    if web.address is None:
        yield
        return
    from bot.web.accounts import pages_of_accounts

    async with AsyncExitStack() as served:
        try:
            pages = pages_of_accounts(tuple(accounts), web, supervisor.why_not)
            supervisor.pages, url = await served.enter_async_context(pages)
            tell(url)
        except ConfigError as error:
            if first.chose_address:
                raise
            log.warning("web.not_started", reason=str(error))
        yield


class Supervisor:
    """Which accounts run, and why the others don't."""

    def __init__(
        self,
        accounts: Mapping[str, Settings],
        *,
        stop: asyncio.Event,
        reread: Callable[[], Awaitable[Mapping[str, Settings]]],
        beside: Beside,
        run: Run,
    ) -> None:
        self._accounts = dict(accounts)
        self._stop = stop
        self._reread = reread
        self._reading: asyncio.Task[Mapping[str, Settings]] | None = None
        self._beside = beside
        self._run = run
        self._reloads = {name: asyncio.Event() for name in accounts}
        self._again = {name: asyncio.Event() for name in accounts}
        self._told: set[str] = set()
        self._wait = dict.fromkeys(accounts, RETRY)
        self._connections = connections(accounts.values())
        self._paces: dict[str, Paces] = {}
        self._reasons: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.running: dict[str, Running] = {}
        self.none_runs = asyncio.Event()
        self.pages: Accounts | None = None

    def side_tasks(self, reload: asyncio.Event) -> Iterator[Coroutine[Any, Any, None]]:
        """What runs beside the accounts."""
        yield self._pass_on_reloads(reload)
        for connection in self._connections.values():
            yield side_task(connection.stay_connected)
        heartbeat = next(iter(self._accounts.values())).heartbeat
        if heartbeat.url is not None:
            beats = Heartbeat(heartbeat.url, heartbeat.every, self._why_silent)
            yield side_task(beats.keep_beating)

    def why_not(self, account: str) -> str:
        """Why the account failed last; empty if it has started since, or not failed."""
        return self._reasons.get(account, "")

    async def keep(self, name: str) -> None:
        """Run the account, and again after a failure, until the stop."""
        structlog.contextvars.bind_contextvars(account=name)
        while not self._stop.is_set():
            self._again[name].clear()
            try:
                await self._attempt(name, self._accounts[name])
            except Exception as error:
                wait = self._wait[name]
                self._wait[name] = min(2 * wait, LONGEST_RETRY)
                await self._note_failure(name, error, wait)
                await _either(self._stop, self._again[name], wait)
                self.failed.pop(name, None)
                with suppress(Exception):  # else as it was
                    if now := await unless(self._stop, self._read_again(name)):
                        self._accounts[name] = now

    async def _attempt(self, name: str, settings: Settings) -> None:
        """Run it once. Raises whatever ends it."""
        ended = asyncio.Event()
        beside = [
            asyncio.create_task(_pass_on(self._stop, ended)),
            asyncio.create_task(self._beside(settings)),
        ]
        try:
            await self._run(
                settings,
                stop=ended,
                reload=self._reloads[name],
                reread=partial(self._read_again, name),
                shared=self._shared(name, settings),
            )
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _read_again(self, name: str) -> Settings:
        """The account's settings as they are now; raises ConfigError."""
        accounts = await self._read_all()
        if name not in accounts:
            raise AccountRemoved(f"[accounts.{name}] is gone from the configuration")
        return accounts[name]

    async def _read_all(self) -> Mapping[str, Settings]:
        """All settings as they are now; who asks meanwhile has the same answer."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._reread())
        return await asyncio.shield(self._reading)

    def _shared(self, name: str, settings: Settings) -> Shared:
        slack = settings.slack
        secret = slack.bot_token or slack.webhook_url
        token = secret.get_secret_value() if secret is not None else name
        paces = self._paces.get(token)
        if paces is None:
            paces = self._paces[token] = Paces(SLACK_PACE, asyncio.get_running_loop().time)
        connection = self._connections.get(_app(settings))
        return Shared(partial(self._at_work, name), paces, connection)

    @asynccontextmanager
    async def _at_work(self, name: str, running: Running) -> AsyncIterator[None]:
        """Within, the account is at work. Raises ConfigError if its store is that of another one.

        Two addresses may lead to one database, and two accounts may have changed theirs.
        """
        others = self._accounts.keys() - {name}
        claim = partial(claim_for, account=name, others=others, at=utc())
        if owner := await running.store.run(claim):
            raise ConfigError(
                f"accounts.{name}.store.url: {running.store.place} is the store of {owner}; each "
                "account needs its own"
            )
        self.running[name] = running
        started = asyncio.create_task(self._note_started(name, running.started))
        try:
            async with AsyncExitStack() as served:
                if self.pages is not None and running.facts is not None:
                    await served.enter_async_context(self.pages.serve(running.facts))
                yield
        finally:
            started.cancel()
            del self.running[name]

    async def _note_started(self, name: str, started: asyncio.Event) -> None:
        """Say that it works, once its websites are known."""
        await started.wait()
        self._wait[name] = RETRY
        self._reasons.pop(name, None)
        if name in self._told:
            log.info("account.recovered")
            if await self._tell(name, "The account runs again", ()):
                self._told.discard(name)

    async def _note_failure(self, name: str, error: Exception, wait: timedelta) -> None:
        """Note it, and tell people when it begins."""
        ours = isinstance(error, BotError)
        reason = str(error) if ours else internal_error(error)
        seconds = round(wait.total_seconds())
        self._reasons[name] = reason
        log.error("account.failed", reason=reason, seconds=seconds, exc_info=not ours)
        if name not in self._told and not self._stop.is_set():
            lines = (*reason.splitlines(), "The bot tries again. Its other accounts keep running.")
            telling = self._tell(name, "The account does not run", lines)
            if await unless(self._stop, telling):
                self._told.add(name)
        self.failed[name] = reason
        if len(self.failed) == len(self._accounts):
            self.none_runs.set()

    async def _tell(self, name: str, title: str, lines: tuple[str, ...]) -> bool:
        """Post it to the account's ops channel, else to that of another one; false if nobody can.

        Without any such channel the log is all there is.
        """
        own_first = sorted(self._accounts.values(), key=lambda each: each.account != name)
        places = [settings for settings in own_first if settings.slack.ops is not None]
        for settings in places:
            try:
                async with asyncio.timeout(TELLING.total_seconds()):
                    async with open_clients(settings) as clients:
                        addresses = replace(clients.acting.addresses, account=name)
                        ports = replace(clients.acting, addresses=addresses)
                        channel = settings.slack.ops or ""
                        await post_directly(title, lines, utc(), channel, ports)
            except TryLater as error:
                if error.unknown:  # it may be out: once is enough
                    return True
                log.warning("account.not_told", by=settings.account, reason=error.reason)
            except Exception as error:
                log.warning("account.not_told", by=settings.account, reason=error_text(error))
            else:
                return True
        return not places

    async def _pass_on_reloads(self, asked: asyncio.Event) -> None:
        """Pass on what is asked of all accounts; one that failed starts again at once."""
        while True:
            await asked.wait()
            asked.clear()
            self._reading = None  # it may have begun before the change
            with suppress(Exception):  # which each account says itself
                if changed := sorted(set(await self._read_all()) ^ set(self._accounts)):
                    log.warning("accounts.need_restart", accounts=changed)
            for event in (*self._reloads.values(), *self._again.values()):
                event.set()

    async def _why_silent(self) -> str | None:
        """Why the heartbeat stops: one of the accounts does not run, or does not move."""
        for name in self._accounts:
            running = self.running.get(name)
            why = "it does not run" if running is None else await running.why_silent()
            if why:
                return f"{name}: {why}"
        return None


def _app(settings: Settings) -> tuple[str, str]:
    """What accounts of one Slack app have in common; empty without buttons."""
    token = settings.slack.app_token
    if token is None:
        return "", ""
    return token.get_secret_value(), settings.slack.base_url or SLACK


def connections(accounts: Collection[Settings]) -> "dict[tuple[str, str], PressConnection]":
    """The connection of each Slack app over which presses come."""
    sharing = Counter(map(_app, accounts))
    with_token = [each for each in accounts if each.slack.app_token is not None]
    if not with_token:
        return {}
    from bot.delivery.buttons import PressConnection

    return {
        _app(each): PressConnection(
            each.slack.app_token, each.slack.base_url or SLACK, utc, sharing[_app(each)]
        )
        for each in with_token
        if each.slack.app_token is not None
    }


async def _pass_on(event: asyncio.Event, to: asyncio.Event) -> None:
    await event.wait()
    to.set()


async def _either(one: asyncio.Event, other: asyncio.Event, wait: timedelta) -> None:
    """Until one of them is set, but no longer than so."""
    waiting = [asyncio.create_task(each.wait()) for each in (one, other)]
    try:
        await asyncio.wait(
            waiting, timeout=wait.total_seconds(), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for task in waiting:
            task.cancel()
