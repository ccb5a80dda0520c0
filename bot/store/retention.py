"""Delete what is older than anything the bot still needs."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Connection, Table, delete, select, text, tuple_
from sqlalchemy.sql import ColumnElement

from bot.store.recordings import all_watermarks, forget_watermark
from bot.store.schema import audit, figures, levels, matches, ms, once, presses, recordings, tallies

AT_ONCE = 500
"""How many rows one transaction deletes, so that other work does not wait long."""

SETTLED = timedelta(days=1)
"""How long after the start every website has been polled that can be."""

_OPEN = text(
    "NOT EXISTS (SELECT 1 FROM steps WHERE steps.match_id = matches.id"
    " AND steps.state IN ('pending', 'sending'))"
)


class Limit(Struct, frozen=True):
    """What may be deleted: all from before `before`.

    `lost` are the websites whose recordings could not be read for longer than `keep`, each with
    the last time they could: they don't count any more.
    """

    before: datetime
    lost: Mapping[str, datetime]


def limit(conn: Connection, keep: timedelta, now: datetime, started: datetime) -> Limit:
    """The time before which nothing is needed: `keep` before the oldest unread recording.

    After a downtime longer than `keep`, what was done before it is needed until the backfill is
    complete, or it would be done again. A website that could not be read for longer than that,
    while others could or since the bot `started` long ago, must not keep everything.
    """
    read = {website: at for (source, website), (_, at) in all_watermarks(conn).items()
            if source == "recordings" and website}  # fmt: skip
    newest = now if now - started >= SETTLED else max(read.values(), default=now)
    lost = {website: at for website, at in read.items() if newest - at > keep}
    return Limit(min([now, *(read[website] for website in read.keys() - lost)]) - keep, lost)


def last_poll(conn: Connection, now: datetime) -> datetime:
    """When anything was last polled, by the clock of then; `now` if nothing was."""
    return max((at for _, at in all_watermarks(conn).values()), default=now)


def forget_website(conn: Connection, website: str) -> None:
    """Forget how far a website was read: if it comes back, it is like a new one."""
    forget_watermark(conn, "recordings", website)


def forget(
    conn: Connection,
    before: datetime,
    figures_since: datetime | None = None,
    counts_since: datetime | None = None,
) -> int:
    """Delete some of what is older; call it again while it returns more than 0.

    `figures_since` is the same for the history of figures, `counts_since` for what `count` has
    counted. Matches with open steps stay; dead letters are deleted with their match. The budgets'
    ledger, steps and ownership stay: they are a row a day.
    """
    limit = ms(before)
    figures_limit = ms(figures_since or before)
    for table, old in (
        (audit, audit.c.at < limit),
        (matches, (matches.c.matched < limit) & _OPEN),
        (recordings, recordings.c.created < limit),
        (once, once.c.until < limit),
        (tallies, tallies.c.at < ms(counts_since or before)),
        (presses, presses.c.at < limit),
        (figures, figures.c.at < figures_limit),
        (levels, levels.c.at < limit),
    ):
        if deleted := _delete(conn, table, old):
            return deleted
    return 0


def _delete(conn: Connection, table: Table, old: ColumnElement[bool]) -> int:
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(old).limit(AT_ONCE)
    return conn.execute(delete(table).where(key.in_(some))).rowcount
