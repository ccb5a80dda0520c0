"""Convert a store that an older version wrote: a snapshot first, then one transaction.

The format of a store is SQLite's `user_version`, and the number of its newest revision in
`bot.store.migrations`. Alembic is imported only if there is something to convert.
"""

import sqlite3
from functools import cache
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, create_engine, create_mock_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import StaticPool

from bot.errors import StoreError
from bot.store.schema import APPLICATION_ID, SCHEMA_VERSION, metadata

log = structlog.get_logger(__name__)

_SCRIPTS = Path(__file__).parent / "migrations"

_VERSIONS = (
    "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL,"
    " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
_COLUMNS = (
    "SELECT tables.name, columns.name FROM sqlite_master AS tables,"
    " pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"
)


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever written to this database."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not tables and not _pragma(connection, "user_version")


def create_tables(connection: Connection) -> None:
    """Create the tables of the current format in an empty SQLite store."""
    driver: Any = connection.connection.driver_connection
    for statement in _statements():
        driver.execute(statement)
    _mark(connection)


@cache
def _statements() -> tuple[str, ...]:
    """The statements that create them, compiled once for all stores of a process."""
    made: list[str] = []
    dialect = sqlite.dialect()
    engine = create_mock_engine(
        "sqlite://", lambda it, *_: made.append(str(it.compile(dialect=dialect)))
    )
    metadata.create_all(engine, checkfirst=False)
    return tuple(made)


def is_older(connection: sqlite3.Connection, place: str) -> bool:
    """Whether the store must be converted; raises StoreError if this version can't use it."""
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreError(f"{place}: this is another program's database; check store.url")
    found = _pragma(connection, "user_version")
    if found < 1:
        raise StoreError(
            f"{place}: its format is unknown ({found}); no release wrote it. "
            "Restore a backup, or move the file away to start a new store"
        )
    if found > SCHEMA_VERSION:
        raise StoreError(
            f"{place}: a newer mouseflow-bot wrote it (format {found}, this one supports "
            f"{SCHEMA_VERSION}); use that version, or restore a backup of format "
            f"{SCHEMA_VERSION} or older"
        )
    if found < SCHEMA_VERSION:
        return True
    have = set(connection.execute(_COLUMNS))
    if lacking := [
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if (table.name, column.name) not in have
    ]:
        raise StoreError(
            f"{place}: it lacks {', '.join(lacking[:5])}; another program or an unreleased "
            "mouseflow-bot changed it. Restore a backup"
        )
    return False


def convert(connection: sqlite3.Connection, place: str, snapshot: Path | None = None) -> None:
    """Bring the tables to the current format in one transaction, or change nothing.

    `connection` must be outside a transaction, with `isolation_level=None`. `snapshot` is the copy
    that was made before, for the log.
    """
    found = _pragma(connection, "user_version")
    # Inside a transaction this setting does nothing. With it on, replacing a table would delete
    # the rows of every table that refers to it.
    connection.execute("PRAGMA foreign_keys = OFF")
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.connect() as conn, conn.begin():
        run_revisions(conn, found)
        if broken := conn.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise StoreError(
                f"{place}: it can't be converted from format {found}: a row of {broken[0]} "
                f"refers to a row of {broken[2]} that is missing. Nothing was changed; "
                "restore a backup"
            )
        _mark(conn)
    connection.execute("PRAGMA foreign_keys = ON")
    log.info(
        "store.converted",
        store=place,
        old_format=found,
        new_format=SCHEMA_VERSION,
        snapshot=str(snapshot or ""),
    )


def run_revisions(conn: Connection, found: int, scripts: Path = _SCRIPTS) -> None:
    """Run the revisions after that format, in the transaction that is open."""
    from alembic import command
    from alembic.config import Config

    _stamp(conn, found)
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _mark(conn: Connection) -> None:
    conn.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    conn.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    _stamp(conn, SCHEMA_VERSION)


def _stamp(conn: Connection, number: int) -> None:
    conn.exec_driver_sql(_VERSIONS)
    conn.exec_driver_sql("DELETE FROM alembic_version")
    conn.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{number:04}')")  # noqa: S608


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
