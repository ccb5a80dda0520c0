"""A store whose units of work are run again until it takes them."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import structlog

from bot.errors import StoreError, StoreLost
from bot.store import Connection, Store

T = TypeVar("T")
log = structlog.get_logger(__name__)


class InsistentStore:
    """Runs units of work; one that fails is run again after `pause`, while `insists` says so.

    What was done outside must be written down: so it waits out a full disk or a lock.
    """

    def __init__(self, store: Store, pause: timedelta, insists: Callable[[], bool]) -> None:
        self._store = store
        self._pause = pause
        self._insists = insists
        self._failing = 0

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What the work returns. Raises StoreError where it does not insist, and StoreLost."""
        failed = False
        while True:
            try:
                done = await self._store.run(work)
            except StoreError as error:
                if isinstance(error, StoreLost) or not self._insists():
                    raise
                self._fails(error, again=failed)
                failed = True
                await asyncio.sleep(self._pause.total_seconds())
            else:
                if failed:
                    self._works()
                return done

    def _fails(self, error: StoreError, *, again: bool) -> None:
        """Said when it begins: what only reads may go on meanwhile, and all lanes may fail."""
        if not again:
            self._failing += 1
            if self._failing == 1:
                log.error("deliver.store_failed", reason=str(error))

    def _works(self) -> None:
        self._failing -= 1
        if not self._failing:
            log.info("deliver.store_works")
