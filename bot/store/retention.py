"""Forgetting what is older than anything that the bot still looks at."""

from datetime import datetime

from sqlalchemy import Connection, Table, delete, select, text, tuple_
from sqlalchemy.sql import ColumnElement

from bot.store.tables import audit, figures, levels, matches, once, recordings, tallies
from bot.store.times import ms

AT_ONCE = 2_000
"""How many rows of a table one transaction deletes, so that no other work waits long."""

_OPEN = text(
    "NOT EXISTS (SELECT 1 FROM steps WHERE steps.match_id = matches.id"
    " AND steps.state IN ('pending', 'sending'))"
)


def forget(conn: Connection, before: datetime) -> int:
    """Delete what is older; call it again while it returns more than 0.

    Matches with open steps stay, dead letters go with their match. The budgets' ledger,
    steps and ownership stay for ever: they are a row a day.
    """
    limit = ms(before)
    return sum(
        _delete(conn, table, old)
        for table, old in (
            (audit, audit.c.at < limit),
            (matches, (matches.c.matched < limit) & _OPEN),
            (recordings, recordings.c.created < limit),
            (once, once.c.until < limit),
            (tallies, tallies.c.at < limit),
            (figures, figures.c.at < limit),
            (levels, levels.c.at < limit),
        )
    )


def _delete(conn: Connection, table: Table, old: ColumnElement[bool]) -> int:
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(old).limit(AT_ONCE)
    return conn.execute(delete(table).where(key.in_(some))).rowcount
