"""Copy a store's rows into another one, perhaps in another kind of database."""

from collections.abc import Mapping

from msgspec import Struct
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from bot.errors import StoreError
from bot.store.database import Store, location_of, opened
from bot.store.faults import is_trouble
from bot.store.schema import metadata
from bot.store.statements import copy_rows, rows_in


class Moved(Struct, frozen=True):
    """What was copied: from where, to where, and how many rows of each table."""

    source: str
    target: str
    rows: Mapping[str, int]


def move(source: str, target: str) -> Moved:
    """Copy the store at one URL into the empty one at another URL, whole or not at all.

    The source stays as it is. Raises StoreError if a bot uses either of them, if the target
    holds anything, or if it does not get every row.
    """
    from_place, to_place = location_of(source), location_of(target)
    if from_place.name == to_place.name:
        raise StoreError(f"{from_place.name} is the store itself; name another one")
    if not from_place.exists():
        raise StoreError(f"no store at {from_place.name}; there is nothing to move")
    with (
        opened(from_place.writable(exclusive=True)) as old,
        opened(to_place.writable(exclusive=True)) as new,
    ):
        rows = new.do(lambda into: _moved(old, new, into))
    return Moved(from_place.name, to_place.name, rows)


def _moved(old: Store, new: Store, into: Connection) -> Mapping[str, int]:
    _wait_for_the_other(into)
    for table in metadata.sorted_tables:
        if into.execute(select(table).limit(1)).first() is not None:
            raise StoreError(
                f"{new.place} is not empty: it has rows in {table.name}. Nothing was changed; "
                "create another database, or delete that file"
            )
    copied = old.do(lambda conn: _copied(old, conn, into))
    for table in metadata.sorted_tables:
        if (there := rows_in(into, table)) != copied[table.name]:
            raise StoreError(
                f"{new.place}: {table.name} has {there} rows there, of {copied[table.name]}. "
                "Nothing was changed"
            )
    new.renumber(into)
    return copied


def _wait_for_the_other(conn: Connection) -> None:
    """Let the transaction be idle while the other store checks, reads or counts big tables."""
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


def _copied(old: Store, conn: Connection, into: Connection) -> Mapping[str, int]:
    _wait_for_the_other(conn)
    if conn.dialect.name == "sqlite":
        fault = str(conn.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one())
        if fault != "ok":
            raise StoreError(
                f"{old.place}: the file is damaged ({' '.join(fault.split())[:100]}). Nothing was "
                "changed; restore a backup, and move that"
            )
    try:
        return copy_rows(conn, into)
    except DBAPIError as error:
        if is_trouble(error):
            raise
        # The rest of the text may have what is in the row.
        said = str(error.orig).partition("\n")[0].partition(" with text ")[0]
        raise StoreError(
            f"{old.place}: a row can't be copied ({said}). It is damaged, or the other database "
            "can't hold it. Nothing was changed; restore a backup, and move that"
        ) from error
