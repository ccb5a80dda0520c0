"""Checks which channels of the rules the bot can read, and tells `status`.

Where it can't read, a post whose outcome is unknown can't be looked up: it is repeated.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog

from bot.errors import BotError, OddAnswer, StoreError
from bot.ports import CannotLook, NoChannel, Slack
from bot.store import Store
from bot.store.recordings import set_blind_channels

log = structlog.get_logger(__name__)

RECHECK = timedelta(minutes=5)
"""How soon a channel that could not be checked is checked again."""


class SlackLookup:
    """Which channels the bot can read, saved for `status`. `channels` returns those in use."""

    def __init__(
        self,
        slack: Slack,
        store: Store,
        channels: Callable[[], Iterable[str]],
        clock: Callable[[], datetime],
    ) -> None:
        self._slack = slack
        self._store = store
        self._channels = channels
        self._clock = clock
        self._changed = asyncio.Event()
        self._blind: frozenset[str] = frozenset()
        self._failing: dict[str, str] = {}

    def check_again(self) -> None:
        """Check all channels again: others may be in use."""
        self._changed.set()

    def check_unreadable(self) -> None:
        """Check again if there is a channel that can't be read: the bot may have been invited."""
        if self._blind or self._failing:
            self._changed.set()

    async def run(self) -> None:
        """Check every channel, and again those that failed; runs until it is cancelled."""
        while True:
            self._changed.clear()
            await self._check(sorted(self._channels()))
            while self._failing and not self._changed.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK.total_seconds()):
                        await self._changed.wait()
                if not self._changed.is_set():
                    await self._check(sorted(self._failing))
            await self._changed.wait()

    async def _check(self, channels: Iterable[str]) -> None:
        blind, failing = set(self._blind).intersection(self._channels()), dict[str, str]()
        for channel in channels:
            try:
                await self._slack.check_channel(channel)
            except NoChannel as error:
                blind.discard(channel)
                failing[channel] = self._warn("slack.no_channel", channel, str(error))
            except CannotLook:
                blind.add(channel)
            except OddAnswer as error:
                blind.add(channel)
                failing[channel] = self._warn("slack.check_failed", channel, str(error))
            except BotError as error:
                failing[channel] = self._warn("slack.check_failed", channel, str(error))
            except Exception as error:  # a bug here must not stop deliveries
                blind.add(channel)
                reason = f"internal error: {type(error).__name__}"
                failing[channel] = self._warn("slack.check_failed", channel, reason)
            else:
                blind.discard(channel)
        if blind - self._blind:
            log.warning("slack.at_least_once", channels=sorted(blind))
        self._blind, self._failing = frozenset(blind), failing
        try:
            work = partial(set_blind_channels, channels=sorted(blind), at=self._clock())
            await self._store.run(work)
        except StoreError as error:
            self._failing = dict.fromkeys(channels, str(error))

    def _warn(self, event: str, channel: str, reason: str) -> str:
        """The reason; logged when it changes."""
        if self._failing.get(channel) != reason:
            log.warning(event, channel=channel, reason=reason)
        return reason
