"""Statements that mean the same on every database of the store.

SQL here is what SQLite and PostgreSQL both understand. Hot statements go past SQLAlchemy, straight
to the driver, which takes a third of the time.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects.sqlite import insert

from bot.store.schema import metadata

AT_ONCE = 500
"""How many rows are copied, or looked up, at once."""

Value = str | int | float | bytes | None

upsert = insert
"""An INSERT that may have ON CONFLICT; `bot.store.postgres` compiles it for PostgreSQL, too.

Ask with `returning` whether it has added a row: `rowcount` differs between the databases.
"""


class Rows(Protocol):
    """What a statement answers."""

    @property
    def rowcount(self) -> int:
        """How many rows it has changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, None if there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


def execute(conn: Connection, sql: str, values: Mapping[str, Value]) -> Rows:
    """Run one statement with its `:named` values; raises what the driver raises."""
    driver: Any = conn.connection.driver_connection
    rows: Rows = driver.execute(_SPELLED[conn.dialect.name](sql), values)
    return rows


def execute_later(conn: Connection, sql: str, values: Mapping[str, Value]) -> None:
    """Run one statement that changes at most one row and whose answer nobody needs.

    PostgreSQL gets it with the next statement, or with COMMIT: each round trip to the server costs
    as much as a small statement. That one then raises what is wrong with it.
    """
    driver: Any = conn.connection.driver_connection
    later = getattr(driver, "execute_later", driver.execute)
    later(_SPELLED[conn.dialect.name](sql), values)


def send_waiting(conn: Connection) -> None:
    """Send what `execute_later` left for the next statement; raises what is wrong with it."""
    driver: Any = conn.connection.driver_connection
    if send := getattr(driver, "send_waiting", None):
        send()


def execute_many(conn: Connection, sql: str, rows: Iterable[Mapping[str, Value]]) -> None:
    """Run one statement that changes at most one row and returns nothing, for each of the rows."""
    rows = [*rows]
    if len(rows) == 1:  # a cursor of its own costs more
        execute_later(conn, sql, rows[0])
        return
    driver: Any = conn.connection.driver_connection
    cursor = driver.cursor()
    try:
        cursor.executemany(_SPELLED[conn.dialect.name](sql), rows)
    finally:
        cursor.close()


def execute_for(
    conn: Connection, sql: str, values: Mapping[str, Value], ids: Sequence[str]
) -> Iterator[Any]:
    """The rows of one statement for all of these ids, whose list is `:ids` in it."""
    for start in range(0, len(ids), AT_ONCE):
        some = list(ids[start : start + AT_ONCE])
        some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
        named = {f"id_{n}": each for n, each in enumerate(some)}
        yield from execute(conn, _listed(sql, len(some)), {**values, **named})


@cache
def _listed(sql: str, count: int) -> str:
    """The SQL with `:ids` as a list of so many names.

    The count is a power of two, so that the database sees few different statements.
    """
    return sql.replace(":ids", ", ".join(f":id_{n}" for n in range(count)))


@cache
def _for_psycopg(sql: str) -> str:
    """The SQL as psycopg needs it: other placeholders, and no advice on indexes."""
    sql = re.sub(r" INDEXED BY \w+", "", sql.replace("%", "%%"))
    return re.sub(r"(?<!:):([a-z_][a-z_0-9]*)", r"%(\1)s", sql)


_SPELLED: dict[str, Callable[[str], str]] = {"sqlite": str, "postgresql": _for_psycopg}


def copy_rows(source: Connection, target: Connection) -> Mapping[str, int]:
    """Copy every row of every table; returns how many there were in each."""
    copied = {}
    for table in metadata.sorted_tables:
        found = source.execution_options(yield_per=AT_ONCE).execute(select(table))
        for some in found.mappings().partitions(AT_ONCE):
            target.execute(insert(table), [dict(row) for row in some])
        copied[table.name] = rows_in(source, table)
    return copied


def rows_in(conn: Connection, table: Table) -> int:
    """How many rows the table has."""
    return conn.execute(select(func.count()).select_from(table)).scalar_one()
