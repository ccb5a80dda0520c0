"""Delete what is older than anything the bot still needs."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, Table, delete, select, text, tuple_
from sqlalchemy.sql import ColumnElement

from bot.store.recordings import all_watermarks
from bot.store.schema import audit, figures, levels, matches, ms, once, recordings, tallies

AT_ONCE = 2_000
"""How many rows of a table one transaction deletes, so that other work does not wait long."""

_OPEN = text(
    "NOT EXISTS (SELECT 1 FROM steps WHERE steps.match_id = matches.id"
    " AND steps.state IN ('pending', 'sending'))"
)


def may_forget(conn: Connection, keep: timedelta, now: datetime) -> datetime:
    """The time before which nothing is needed: `keep` before the oldest unread recording.

    After a downtime longer than `keep`, what was done before it is needed until the backfill is
    complete, or it would be done again.
    """
    read = [at for (source, website), (_, at) in all_watermarks(conn).items()
            if source == "recordings" and website]  # fmt: skip
    return min([now, *read]) - keep


def forget(conn: Connection, before: datetime, compared_since: datetime | None = None) -> int:
    """Delete what is older; call it again while it returns more than 0.

    `compared_since` is the time of the oldest figures that some rule compares with.
    Matches with open steps stay; dead letters are deleted with their match. The budgets'
    ledger, steps and ownership stay: they are a row a day.
    """
    limit = ms(before)
    compared = min(limit, ms(compared_since or before))
    return sum(
        _delete(conn, table, old)
        for table, old in (
            (audit, audit.c.at < limit),
            (matches, (matches.c.matched < limit) & _OPEN),
            (recordings, recordings.c.created < limit),
            (once, once.c.until < limit),
            (tallies, tallies.c.at < limit),
            (figures, figures.c.at < compared),
            (levels, levels.c.at < limit),
        )
    )


def _delete(conn: Connection, table: Table, old: ColumnElement[bool]) -> int:
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(old).limit(AT_ONCE)
    return conn.execute(delete(table).where(key.in_(some))).rowcount
