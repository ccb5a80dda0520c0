"""Divides the work with the other bots on the store: websites, lanes, and the account's limits.

`bot.store.sharing` says which part is this bot's. Where there can't be others, nothing is divided.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from bot.account import share_rate
from bot.actions.base import SETTLING
from bot.config.settings import MouseflowSection
from bot.errors import StoreError, StoreLost
from bot.polling.outages import Kept, of_others
from bot.scheduler import Polls
from bot.store import Connection, Store, outbox
from bot.store.lanes import account_pause, keep_account_pause
from bot.store.recordings import ask_polls, asked_polls
from bot.store.sharing import Turn
from bot.watcher import Watcher
from mouseflow import AsyncMouseflow

log = structlog.get_logger(__name__)

_Divided = tuple[Turn, int, datetime | None, Sequence[Kept], Mapping[tuple[str, str], str]]

EVERY = timedelta(seconds=1)
"""How often the work is divided again."""


class OtherBots:
    """The bots that share the store, and this bot's part of the work.

    `started` is set once the websites are known, `leading` once this bot also does what only one
    of them does. `wake` tells delivery that there may be other steps to perform.
    """

    def __init__(
        self,
        store: Store,
        watcher: Watcher,
        polls: Polls,
        client: AsyncMouseflow | None,
        account: MouseflowSection,
        *,
        started: asyncio.Event,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._watcher = watcher
        self._polls = polls
        self._client = client
        self._account = account
        self._started = started
        self._wake = wake
        self._clock = clock
        self._polled_here: frozenset[str] = frozenset()
        self._to_ask: set[tuple[str, str]] = set()
        self._asked: Mapping[tuple[str, str], str] | None = None
        self.leading = asyncio.Event()

    async def run(self) -> None:
        """Divide the work again and again; raises StoreLost and StoreTaken."""
        leads = False
        while True:
            try:
                await self.divide()
                if self._store.sharing.leads and not self.leading.is_set():
                    if not leads:
                        log.warning("replica.leads")
                    leads = True
                    await self._watcher.lead()
                    self.leading.set()
                    if self._started.is_set():
                        self._polls.sync()
            except StoreLost:
                raise
            except StoreError:
                pass  # polls and deliveries meet it, too, and report it
            except Exception:
                log.exception("daemon.task_failed", task="share")
            await asyncio.sleep(EVERY.total_seconds())

    def poll_now(self, kind: str = "", website: str = "") -> int:
        """As `Polls.poll_now`, and within a second or two at the bots that poll the others."""
        if self._store.sharing.shares:
            self._to_ask.add((kind, website))
        return self._polls.poll_now(kind, website)

    def _poll_as_asked(self, asked: Mapping[tuple[str, str], str]) -> None:
        """Begin the polls that another bot has asked for since the last look."""
        known, self._asked = self._asked, asked
        if known is None:  # it has just begun, and polls by itself
            return
        for (kind, website), token in asked.items():
            own = token.partition(" ")[0] == self._store.sharing.mark
            if not own and known.get((kind, website)) != token:
                self._polls.poll_now(kind, website)

    async def divide(self) -> None:
        """Take over, take or give back what is to be done, and keep the account's limits."""
        store, watcher, client = self._store, self._watcher, self._client
        sharing = store.sharing
        if not sharing.shares:
            return
        websites = frozenset(watcher.watched) if self._started.is_set() else None
        busy, pause = self._polls.busy(), client.pause_until if client is not None else None
        now, asks = self._clock(), frozenset(self._to_ask)

        def work(conn: Connection) -> _Divided:
            if asks:
                ask_polls(conn, asks, f"{sharing.mark} {uuid4().hex}", now)
            turn = sharing.turn(conn, websites, busy, watcher.rules.digest)
            alive = sharing.alive(conn)
            interrupted = outbox.recover(conn, now, SETTLING, alive)
            kept = account_pause(conn, now)
            if pause is not None and pause > (kept or now):
                kept = pause
                keep_account_pause(conn, kept)
            others = of_others(conn, alive) if turn.leads else ()
            return turn, interrupted, kept, others, asked_polls(conn)

        turn, interrupted, pause, others, asked = await store.run(work)
        self._to_ask -= asks
        before = sharing.bots
        new = sharing.use(turn)
        for bot in turn.lost:
            log.warning("replica.lost", process=bot)
        if interrupted:
            log.warning("deliver.recovered", steps=interrupted)
        if turn.bots != before:
            log.info("replica.others", replicas=turn.bots)
        if client is not None:
            if pause is not None and pause > (client.pause_until or now):
                client.pause_until = pause
            if turn.bots != before:
                share_rate(client, self._account, turn.bots)
        if turn.websites is not None and turn.websites != self._polled_here:
            self._polled_here = turn.websites
            watcher.begin_anew(new)
            self._polls.sync()
            await watcher.keep_troubles()
        self._poll_as_asked(asked)
        if self.leading.is_set():
            await watcher.troubles.hear(others)
        await watcher.tell_own_faults()
        self._wake()  # other bots add steps, and leave lanes
