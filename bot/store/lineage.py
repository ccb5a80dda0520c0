"""Recognise a store that is older than what the bot did with it: restored, rolled back, copied.

The store counts its transactions, and the same number is kept in a file beside it, which is
written after each commit. So the file may be behind the store, but is ahead only if an older
copy was put in the store's place. Then posts that may be out already are looked up before they
are posted.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct
from sqlalchemy import Connection, func, select, text, update

from bot.store.schema import audit, lineage, moment, ms, steps
from bot.store.statements import execute, execute_later, upsert

UNSURE = timedelta(days=1)
"""How long after a restore new steps count as possibly done: rules may be evaluated again.

Also how far back the first look goes if the store does not say when it was written.
"""

_COUNT = (
    "INSERT INTO lineage (id, writes, written) VALUES (1, 1, :now) ON CONFLICT (id) DO UPDATE"
    " SET writes = lineage.writes + 1, written = excluded.written"
)
_COUNTED = f"{_COUNT} RETURNING writes"


class Restored(Struct, frozen=True):
    """The store was last written at `since`, and the bot worked with another one until `at`.

    `new`: there was no store any more, so this one is new, and `since` a guess.
    """

    since: datetime
    at: datetime
    new: bool = False


class GenerationFile:
    """The number of transactions in a file beside the store."""

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(f"{store.name}.generation")
        self._file: int | None = None

    def read(self) -> int | None:
        """The number; None if there is no such file, or none that can be read as one."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return None

    def write(self, number: int) -> None:
        """Keep the number; raises OSError. The first time it is also flushed to the disk."""
        first = self._file is None
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Always of one length, so that it is never half a number.
        os.pwrite(self._file, f"{number:019}\n".encode(), 0)
        if first:
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def count(conn: Connection, now: datetime) -> int:
    """Count the transaction that is open; returns how many there were."""
    return int(execute(conn, _COUNTED, {"now": ms(now)}).fetchone()[0])


def count_later(conn: Connection, now: datetime) -> None:
    """Count the open transaction; like `count`, for callers that don't need the number."""
    execute_later(conn, _COUNT, {"now": ms(now)})


def written(conn: Connection) -> int:
    """How many transactions were counted."""
    return conn.execute(select(lineage.c.writes)).scalar() or 0


def recognise(conn: Connection, beside: int | None, now: datetime) -> tuple[int, Restored | None]:
    """Compare the store with the number beside it; an older store is marked.

    Returns the number to keep beside it, too.
    """
    writes = written(conn)
    if writes >= (beside or 0) and not (beside is None and writes):
        return writes, None
    return mark_restored(conn, max(writes, beside or 0), now)


def mark_restored(conn: Connection, writes: int, now: datetime) -> tuple[int, Restored]:
    """The store is older than what was done with it, after so many transactions.

    All its open steps, and those of the next time, look first whether they were done already.
    """
    row = conn.execute(select(lineage)).first()
    since = row.written if row else conn.execute(select(func.max(audit.c.at))).scalar()
    new = since is None
    if since is None:
        since = ms(now - UNSURE)
    # `written` stays: if this process dies now, the next one must find the same.
    values = {"writes": writes, "restored_from": since, "restored_at": ms(now)}
    write = upsert(lineage).values(id=1, written=since, **values)
    conn.execute(write.on_conflict_do_update(index_elements=["id"], set_=values))
    conn.execute(
        update(steps)
        .where(text("state IN ('pending', 'sending', 'dead')"), steps.c.look_since.is_(None))
        .values(look_since=since)
    )
    return writes, Restored(moment(since), now, new)


def look_since(conn: Connection, happened: datetime, now: datetime) -> int | None:
    """From when on a new step looks whether it was done already; None if it need not.

    It must if what it is about happened before the store was restored, and for a while after,
    since an alert that fired in between is evaluated again.
    """
    row = execute(conn, "SELECT restored_from, restored_at FROM lineage", {}).fetchone()
    if row is None or row[1] is None:
        return None
    restored_from, restored_at = map(int, row)
    recent = ms(now) < restored_at + UNSURE // timedelta(milliseconds=1)
    return restored_from if recent or ms(happened) < restored_at else None
