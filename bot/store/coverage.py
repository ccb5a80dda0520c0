"""How much of a window is known: what a poll holds against the server's count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, text

from bot.store.tables import recordings
from bot.store.times import ms

"""SQLite takes only so many values in one statement."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known of one answer and of its window.

    `fingerprints` has those of the answer's rows that are known, by id; `closed` the ids
    among them that need no more looks. `total` counts the recordings known in the window,
    `live` holds the ids that are still to be settled, wherever they are.
    """

    fingerprints: Mapping[str, str]
    closed: frozenset[str]
    total: int
    live: frozenset[str]


def coverage(
    conn: Connection, website: str, ids: Sequence[str], start: datetime, end: datetime
) -> Coverage:
    """What is known of these rows, and of the window from `start` up to `end`."""
    table = recordings.c
    fingerprints: dict[str, str] = {}
    closed: set[str] = set()
    for at in range(0, len(ids), _CHUNK):
        query = select(table.id, table.fingerprint, table.closed).where(
            table.website == website, table.id.in_(ids[at : at + _CHUNK]), table.vanished == 0
        )
        for row in conn.execute(query):
            fingerprints[row.id] = row.fingerprint
            if row.closed:
                closed.add(row.id)
    total = conn.execute(
        select(func.count()).where(
            table.website == website,
            table.created >= ms(start),
            table.created < ms(end),
            table.vanished == 0,
        )
    ).scalar_one()
    # Literals, not parameters: only so does SQLite use the partial index.
    waiting = text("settled = 0 AND closed = 0 AND vanished = 0")
    live = conn.execute(select(table.id).where(table.website == website).where(waiting))
    return Coverage(fingerprints, frozenset(closed), total, frozenset(live.scalars()))
