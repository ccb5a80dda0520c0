"""Finds out in which channels the bot may look posts up; in the others they are at-least-once."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog

from bot.errors import BotError, StoreError
from bot.ports import CannotLook, NoChannel, Slack
from bot.store import Store
from bot.store.recordings import set_blind_channels

log = structlog.get_logger(__name__)

AGAIN = timedelta(minutes=5)
"""How soon a channel that could not be tried is tried again."""


class Lookups:
    """Which channels can be looked into, kept for `status`. `channels` names those in use."""

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

    def try_anew(self) -> None:
        """Other channels may be in use, or the bot may have been invited: try them all."""
        self._changed.set()

    async def run(self) -> None:
        """Try every channel, and again those that did not answer; ends when it is cancelled."""
        while True:
            self._changed.clear()
            await self._try(sorted(self._channels()))
            while self._failing and not self._changed.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN.total_seconds()):
                        await self._changed.wait()
                if not self._changed.is_set():
                    await self._try(sorted(self._failing))
            await self._changed.wait()

    async def _try(self, channels: Iterable[str]) -> None:
        blind, failing = set(self._blind).intersection(self._channels()), dict[str, str]()
        for channel in channels:
            try:
                await self._slack.find(channel, "no such key", self._clock())
            except NoChannel as error:
                blind.discard(channel)
                failing[channel] = self._told("slack.no_channel", channel, str(error))
            except CannotLook:
                blind.add(channel)
            except BotError as error:
                failing[channel] = self._told("slack.not_tried", channel, str(error))
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

    def _told(self, event: str, channel: str, reason: str) -> str:
        """The reason, logged unless it was the last one, too."""
        if self._failing.get(channel) != reason:
            log.warning(event, channel=channel, reason=reason)
        return reason
