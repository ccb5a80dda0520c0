"""How the daemon is: told beside the store, to a heartbeat URL, and to people.

The trouble of the store itself is posted directly, since the outbox is in the store.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from bot.delivery.attempt import error_text
from bot.delivery.troubles import Ops
from bot.domain.pulse import STORE_PATIENCE, Pulse
from bot.errors import StoreError, TryLater
from bot.messages.ops import instant, store_fails, store_works
from bot.polling.ops_messages import announce, post_directly
from bot.polling.outages import long_failing
from bot.ports import Ports
from bot.store import Connection, Store
from bot.store.troubles import UNREACHED, unreached

log = structlog.get_logger(__name__)

TELL_AGAIN = timedelta(minutes=5)
"""How soon the bot tries again to tell people about the store."""

BEAT = timedelta(seconds=5)
"""How often the daemon says beside the store how it is doing."""


class Health:
    """What moves, since when the store fails, and who has been told.

    `ops` is how people are told; `polled` is when polls moved last.
    """

    def __init__(
        self,
        ops: Ops,
        store: Store,
        ports: Ports,
        *,
        polled: Callable[[], datetime],
        clock: Callable[[], datetime],
    ) -> None:
        self._ops = ops
        self._store = store
        self._ports = ports
        self._polled = polled
        self._clock = clock
        self._delivered = clock()

    def pulse(self) -> Pulse:
        """When polls and deliveries last moved, and what is wrong with the store."""
        return self._pulse_with(self._store.trouble)

    def _pulse_with(self, trouble: tuple[float, str] | None) -> Pulse:
        since, reason = trouble or (0.0, "")
        return Pulse(self._polled().timestamp(), self._delivered.timestamp(), reason, since)

    async def why_silent(self) -> str | None:
        """Why the heartbeat stops: nothing moves, or nobody can be told of what is wrong."""
        now = self._clock()
        try:
            if fault := self.pulse().fault(now.timestamp()):
                return fault
            return await self._store.read(self._untold)
        except StoreError as error:
            return str(error)

    def _untold(self, conn: Connection) -> str | None:
        """What lasts of which nobody could be told; without an ops channel, of anything."""
        now = self._clock()
        if (trouble := unreached(conn, now)) or self._ops.reaches:
            return trouble
        failing = long_failing(conn, now, UNREACHED)
        return f"nobody could be told that {failing}" if failing else None

    def mark_delivered(self) -> None:
        """Delivery has finished a round."""
        self._delivered = self._clock()

    async def tell_restored(self) -> None:
        """Tell people, once, that the store is older than what the bot did with it."""
        restored = self._store.restored
        if restored is None:
            return
        since = instant(restored.since)
        log.warning("store.restored", store=self._store.place, last_written=since)
        if restored.new:
            title = "The store was missing, so the bot made a new one"
            first = "What the bot knew is lost. If there is a backup, stop the bot and restore it."
        else:
            title = "The store was restored from an older copy"
            first = f"It was last written on {since}. It lacks what came later."
        lines = (
            first,
            "Posts that may be out already are looked up in Slack before they are repeated. Where "
            "the bot can't read the channel, and with webhooks, some may come twice.",
        )
        told = partial(
            announce, title=title, lines=lines, now=self._clock(), channel=self._ops.channel
        )
        await self._store.run(told)

    async def beat(self) -> None:
        """Say beside the store how polls and deliveries move, and what is wrong with the store.

        The trouble of the store itself is posted directly, since the outbox is in the store.
        """
        told, again = None, self._clock()
        while True:
            trouble, now = self._store.trouble, self._clock()
            self._store.beat(self._pulse_with(trouble).written())
            if now >= again and self._store.sharing.leads:
                again = now + TELL_AGAIN
                if told is None and trouble and now.timestamp() - trouble[0] > STORE_PATIENCE:
                    told = trouble if await self._tell_store_fails(*trouble) else None
                elif told is not None and trouble is None:
                    told = None if await self._tell_store_works(told[0]) else told
                else:
                    again = now
            await asyncio.sleep(BEAT.total_seconds())

    async def _tell_store_fails(self, since: float, reason: str) -> bool:
        told = store_fails(datetime.fromtimestamp(since, UTC), reason)
        return await self.say(told.title, told.lines, told.grey)

    async def _tell_store_works(self, since: float) -> bool:
        told = store_works(datetime.fromtimestamp(since, UTC))
        return await self.say(told.title, told.lines)

    async def say(self, title: str, lines: Sequence[str], grey: str = "") -> bool:
        """Post to the ops channel without the store, as well as that goes; false to try again."""
        channel = self._ops.channel
        try:
            if channel is not None:
                await post_directly(title, lines, self._clock(), channel, self._ports, grey)
        except TryLater as error:
            log.warning("store.not_told", title=title, reason=error_text(error))
            return error.unknown  # it may be out: once is enough
        except Exception as error:
            log.warning("store.not_told", title=title, reason=error_text(error))
        else:
            log.warning("store.told", title=title)
        return True
