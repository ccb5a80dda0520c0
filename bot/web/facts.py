"""What the pages know of the running daemon, and the connection they read the store with."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import TypeVar
from zoneinfo import ZoneInfo

from bot.config import Settings
from bot.domain.pulse import Pulse
from bot.errors import StoreError
from bot.rules.model import RuleSet
from bot.store import Connection, Store, open_store
from bot.store.overview import Counted
from bot.web.meter import Meter

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds that a page waits for the store."""


def utc() -> datetime:
    """The current time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Facts:
    """The daemon as the pages see it.

    `store` is the daemon's own, only for what people change; `wake` tells delivery of it. `rules`
    are the active ones, `pulse` how polls and deliveries move, `ready` whether the websites are
    known. `token` is `web.token` as it is now. `poll` has every website polled now, or only what
    the given kind of poll reads, or only the given website, by whichever bot polls it; it returns
    how many polls that starts at this one. `sites` are the ids of the watched websites, each with
    whether it is read-only. `recordings_seen` counts new recordings since the start. `counted`
    keeps counts of past days.
    """

    settings: Settings
    store: Store
    rules: Callable[[], RuleSet]
    pulse: Callable[[], Pulse]
    ready: Callable[[], bool]
    wake: Callable[[], None]
    token: Callable[[], str]
    poll: Callable[[str, str], int]
    sites: Callable[[], Mapping[str, bool]]
    recordings_seen: Callable[[], int]
    counted: Counted = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    started: datetime = field(default_factory=utc)
    clock: Callable[[], datetime] = utc

    @property
    def zone(self) -> ZoneInfo:
        """The account's time zone."""
        return ZoneInfo(self.settings.mouseflow.time_zone)


class StoreBusy(StoreError):
    """The store did not answer in time."""


def _busy() -> StoreBusy:
    return StoreBusy(f"the store did not answer within {PATIENCE:.0f} s")


class Reader:
    """Reads the store with a connection and a thread of its own, so that no poll waits for it."""

    def __init__(self, url: str) -> None:
        self._open = partial(open_store, url, read_only=True)
        self._store: Store | None = None
        self._opening = asyncio.Lock()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, from one consistent state of the store.

        Raises StoreError if the store can't be read, and StoreBusy if that takes too long. What
        nobody waits for any more is not read: else a slow store would never catch up.
        """
        gone = Event()

        def unless_gone(conn: Connection) -> T:
            if gone.is_set():
                raise _busy()
            return work(conn)

        try:
            async with asyncio.timeout(PATIENCE):
                async with self._opening:
                    if self._store is None:
                        self._store = await asyncio.to_thread(self._open)
                return await self._store.run(unless_gone)
        except TimeoutError:
            raise _busy() from None
        finally:
            gone.set()

    def close(self) -> None:
        """Close the connection."""
        if self._store is not None:
            self._store.close()
