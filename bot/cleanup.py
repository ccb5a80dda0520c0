"""The cleanup: data older than `[store] keep` leaves the store, a small piece at a time."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from bot.errors import StoreError
from bot.messages.ops import instant
from bot.polling.ops_messages import announce
from bot.store import Connection, Store
from bot.store.recordings import missing_websites, website_names
from bot.store.retention import forget, forget_website, last_poll, limit

log = structlog.get_logger(__name__)

CLEANUP = timedelta(hours=1)
"""How often data older than `[store] keep` is deleted."""

KEPT = timedelta(days=35)
"""How long to keep the history of figures at most, unless a rule compares with an older past."""

AHEAD, CORRECTION = timedelta(days=7), timedelta(days=1)
"""A clock that went on by so much between two cleanups may be wrong: so long nothing is deleted."""

BETWEEN_PIECES = 0.05
"""Seconds between two pieces of the cleanup, for the work that waits."""


async def clean_up(
    store: Store,
    keep: timedelta,
    *,
    figures: Callable[[], timedelta],
    counts: Callable[[], timedelta],
    ops: str | None,
    clock: Callable[[], datetime],
) -> None:
    """Delete old data every hour, without end; a fault is logged once and tried again.

    `figures` is for how long the history of figures is kept because rules compare with it, `counts`
    for how long back rules count. `ops` is the channel that learns of websites which are forgotten.
    """
    last: datetime | None = None
    started, failed = clock(), False
    pause_until, steady = 0.0, asyncio.get_running_loop().time
    while True:
        try:
            now = clock()
            before = last if last is not None else await store.read(partial(last_poll, now=now))
            last = now
            if now - before > AHEAD:
                pause_until = steady() + CORRECTION.total_seconds()
                log.warning("store.cleanup_waits", before=instant(before), now=instant(now))
            if steady() >= pause_until:
                limited = await store.run(partial(limit, keep=keep, now=now, started=started))
                for website, read in limited.lost.items():
                    await store.run(partial(_lose, website=website, read=read, now=now, ops=ops))
                figures_since = now - max(figures(), min(keep, KEPT))
                counts_since = limited.before - max(counts() - keep, timedelta())
                await _forget(store, limited.before, figures_since, counts_since)
                store.delete_copies(now - keep)
            failed = False
        except StoreError as error:
            if not failed:
                log.error("store.cleanup_failed", reason=str(error))  # noqa: TRY400 - for people
            failed = True
        except Exception:  # a bug here must not stop polls and deliveries
            log.exception("store.cleanup_failed", reason="internal error")
        await asyncio.sleep(CLEANUP.total_seconds())


async def _forget(
    store: Store, before: datetime, figures_since: datetime, counts_since: datetime
) -> None:
    old = partial(forget, before=before, figures_since=figures_since, counts_since=counts_since)
    for piece in (old, store.shrink):
        while await store.run(piece):  # noqa: ASYNC110 - a pause for other work
            await asyncio.sleep(BETWEEN_PIECES)


def _lose(conn: Connection, website: str, read: datetime, now: datetime, ops: str | None) -> None:
    """Forget a website that could not be read for longer than `keep`, and tell people."""
    name = (missing_websites(conn) | website_names(conn)).get(website, website)
    forget_website(conn, website)
    log.warning("store.website_forgotten", website=name, last_read=instant(read))
    lines = (
        f"Its recordings were last read on {instant(read)}, longer ago than store.keep. "
        "The bot deletes what it stored about them.",
        "If the website can be read again, the bot treats it like a new one.",
    )
    announce(conn, f"{name} has not been readable for too long", lines, now, ops)
