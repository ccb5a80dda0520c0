"""Lets polls begin one after another, so that each has its calls answered while they are fresh."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 8
"""Polls under way together: enough that the account's client has always a call to send."""

CALLS = 4
"""Calls that a poll may make before it counts as a long one."""

LEAST = timedelta(seconds=15)
"""No poll is long before this: the API itself may be slow."""


def fair_share(rate: float) -> timedelta:
    """How long a poll with `CALLS` calls takes among `AT_ONCE` at that many calls a second."""
    return max(LEAST, timedelta(seconds=CALLS * AT_ONCE / rate))


class Gate:
    """First come, first served, `AT_ONCE` polls at a time.

    One that is not over after `share` lets the next one begin beside it: polls with thousands
    of calls must not keep the others out. Their calls then go in turn, website by website.
    """

    def __init__(self, share: timedelta) -> None:
        self._share = share.total_seconds()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def through(self, poll: Callable[[], Awaitable[T]]) -> T:
        """Do it when its turn has come; raises what it raises."""
        await self._places.acquire()
        leave = _Once(self._places.release)
        timer = asyncio.get_running_loop().call_later(self._share, leave)
        try:
            return await poll()
        finally:
            timer.cancel()
            leave()


class _Once:
    """Does it the first time it is called."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do: Callable[[], None] | None = do

    def __call__(self) -> None:
        do, self._do = self._do, None
        if do is not None:
            do()
