"""A store in a PostgreSQL database; imported only where one is used.

What SQLite keeps in and beside its file is in a table of one row: the format, who holds the
store and how it is doing, and where the database was when the bot used it last. A session lock of
the server keeps a second bot out; it is lost with the connection, and taken again or not at all.
Transactions that write take one more lock, so they follow one another, as they do in SQLite.
"""

import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import psycopg
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo
from psycopg.types.string import StrDumper
from sqlalchemy import URL, Connection, Engine, create_engine, func, select
from sqlalchemy.dialects.sqlite.dml import OnConflictDoNothing, OnConflictDoUpdate
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import StaticPool

from bot.domain.pulse import Sign
from bot.errors import ConfigError, StoreError, StoreHeld, StoreLost, StoreTaken
from bot.store import replicas
from bot.store.faults import translated
from bot.store.formats import create_tables, run_revisions
from bot.store.lineage import Restored, count_later, mark_restored, written
from bot.store.replicas import Membership
from bot.store.schema import APPLICATION_ID, SCHEMA_VERSION, metadata
from bot.store.sharing import Alone, Replica, Sharing
from bot.store.sqlite import SqliteFile, new_file
from bot.store.statements import copy_rows, execute

FIRST_FORMAT = 3
"""The format of the first version that could use PostgreSQL."""

OLDEST_SERVER = 140_000
"""PostgreSQL 14: it ends the session of a process that is frozen."""

RECONNECT = 1.0
"""Seconds between two attempts to connect; what is asked in between fails at once."""

WAIT = "5s"
"""How long a write waits for another session (a command beside the daemon)."""

FROZEN = "20s"
"""After how long without a word the server ends the daemon's session and frees the store.

The daemon says something every 5 s. A process that only waits for longer connects again.
"""

STUCK, WAIT_FOR_STUCK = "8s", "12s"
"""`FROZEN` inside a transaction where bots share the database, and how long the others wait for its
end: longer than that, so that one that is frozen costs them nothing else."""

TELL_WRITTEN = 5.0
"""How many seconds bots that share the database may be behind with when it was written last."""

LEASE = 15.0
"""For how many seconds a transaction proves that the store is ours; less than FROZEN."""

HANDOVER, BETWEEN = 50, 0.02
"""How often, and how many seconds apart, the bot asks for the lock: the server may be about to
end the session of a process that is gone."""

_NETWORK = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}

_OURS = "mouseflow_bot"

_CREATE = (
    f"CREATE TABLE {_OURS} (id integer PRIMARY KEY CHECK (id = 1), format integer NOT NULL,"
    " home text NOT NULL, holder text NOT NULL, pulse text NOT NULL, beat timestamptz NOT NULL)"
)
_TABLE = f"to_regclass(quote_ident(current_schema()) || '.{_OURS}')::oid"
_SCHEMA = "hashtext(current_schema())"  # one bot for each schema of a database
_LOCK = f"{APPLICATION_ID}, {_SCHEMA}"
_WRITING = f"{APPLICATION_ID + 1}, {_SCHEMA}"
_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_HELD_BY = (
    "SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"  # noqa: S608
    " WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pg_locks.database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND classid::bigint = {APPLICATION_ID}"
    f" AND objid::bigint = {_SCHEMA}::bigint & 4294967295"
)


for _table in metadata.tables.values():
    for _index in _table.indexes:  # see `_if` in the schema
        _index.dialect_options["postgresql"]["where"] = _index.dialect_options["sqlite"]["where"]


@compiles(OnConflictDoNothing, "postgresql")
@compiles(OnConflictDoUpdate, "postgresql")
def _on_conflict(clause: Any, compiler: Any, **options: Any) -> str:
    """SQLite's ON CONFLICT, which differs from PostgreSQL's only in what it can't name."""
    clause.constraint_target = None
    compiled: str = getattr(compiler, f"visit_{clause.__visit_name__}")(clause, **options)
    return compiled


class _Connection(psycopg.Connection[Any]):
    """Counts the rows that were changed, as SQLite's does, and has statements that can wait."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.total_changes = 0
        self.gathers = False  # whether a transaction is open that may write
        self._waiting: list[tuple[str, Any]] = []

    def execute_later(self, sql: str, values: Any) -> None:
        """Send it with what comes next in the transaction; it changes at most one row."""
        if not self.gathers:
            self.execute(sql, values)
            return
        self.total_changes += 1
        self._waiting.append((sql, values))

    @contextmanager
    def with_waiting(self) -> Iterator[None]:
        """Send what waits, and what the block sends, in one round trip."""
        if not self._waiting:
            yield
            return
        waiting, self._waiting = self._waiting, []
        with self.pipeline():
            for sql, values in waiting:
                psycopg.Cursor(self).execute(sql, values)
            yield

    def send_waiting(self) -> None:
        """Send what waits."""
        with self.with_waiting():
            pass

    def commit(self) -> None:
        """Commit, with what waits."""
        self.gathers = False
        try:
            with self.with_waiting():
                super().commit()
        except BaseException:
            with suppress(psycopg.Error):  # what waited has failed, so COMMIT was skipped
                super().rollback()
            raise

    def rollback(self) -> None:
        """Roll back, without what waits."""
        self.gathers = False
        self._waiting.clear()
        super().rollback()


class _Cursor(psycopg.Cursor[Any]):
    """Tells its connection how many rows it has changed; what waits there goes out first."""

    connection: _Connection

    def execute(self, *arguments: Any, **more: Any) -> Self:
        with self.connection.with_waiting():
            super().execute(*arguments, **more)
        self._count()
        return self

    def executemany(self, *arguments: Any, **more: Any) -> None:
        self.connection.send_waiting()
        super().executemany(*arguments, **more)
        self._count()

    def _count(self) -> None:
        if (self.statusmessage or "").startswith(("INSERT", "UPDATE", "DELETE")):
            self.connection.total_changes += max(self.rowcount, 0)


class _TextDumper(StrDumper):
    """Writes U+FFFD for NUL, which PostgreSQL does not store."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))


class PostgresLocation:
    """A schema of a PostgreSQL database, with tables or without; see `StoreLocation`."""

    def __init__(self, url: URL) -> None:
        url = url.set(drivername="postgresql+psycopg")
        # Without the password, and without options, which may have one, too.
        self.name = URL.create(
            "postgresql", url.username, None, url.host, url.port, url.database
        ).render_as_string()
        _, options = create_engine(url).dialect.create_connect_args(url)
        self._options = {name: value for name, value in options.items() if name != "context"}
        try:
            make_conninfo(**self._options)
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"store.url: {error}".strip()) from None

    def exists(self) -> bool:
        """Whether the database has the bot's tables; raises StoreError if it can't be asked."""
        with translated(self.name), closing(self._session().connect()) as driver:
            return _value(driver, f"SELECT {_TABLE}") is not None

    def readable(self) -> "PostgresSession":
        """The database for reading, always one state of it."""
        return self._session(begin=_READING, create=False)

    def writable(self, *, exclusive: bool, shared: bool = False) -> "PostgresSession":
        """The database for writing; its first use raises StoreError if another bot has it.

        If it is shared, then only if a bot has it that does not share.
        """
        return self._session(exclusive=exclusive, shared=shared)

    def copied(self) -> SqliteFile:
        """A copy in SQLite, in memory."""

        def copy() -> sqlite3.Connection:
            memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            if self.exists():
                self._fill(memory)
            return memory

        return SqliteFile(Path(self.name), copy)

    def copy_to(self, file: Path) -> None:
        """Write a consistent copy to a SQLite file that only this user can read."""
        with new_file(file):
            target = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            with closing(target):
                self._fill(target)

    def _fill(self, target: sqlite3.Connection) -> None:
        session = self.readable()
        ours = session.engine()
        theirs = create_engine("sqlite://", creator=lambda: target, poolclass=StaticPool)
        try:
            with translated(self.name), ours.connect() as source, theirs.connect() as into:
                source.exec_driver_sql(session.begin)
                into.exec_driver_sql("BEGIN")
                session.prepare(source)
                create_tables(into)
                copy_rows(source, into)
                into.commit()
        finally:
            ours.dispose()

    def backup(self, file: Path) -> None:
        """Raise StoreError: PostgreSQL has its own way."""
        raise StoreError(
            f"{self.name}: back up PostgreSQL with its own tools, such as "
            f"pg_dump --format=custom --file={file}"
        )

    def restore(self, file: Path) -> Path | None:
        """Raise StoreError: PostgreSQL has its own way."""
        raise StoreError(
            f"{self.name}: restore PostgreSQL with its own tools. Stop the bot, run "
            f"pg_restore --clean --if-exists --dbname=… {file}, start the bot: it recognises the "
            "older store. A backup of a SQLite store is put into an empty database with "
            "mouseflow-bot move"
        )

    def beside(self) -> Path:
        """Where commands keep what belongs to the store: in the working directory."""
        database = self._options.get("dbname") or "postgres"
        return Path(f"mouseflow-bot-{database}".replace("/", "-"))

    def daemon(self) -> Sign | None:
        """How the daemon is doing that holds the store, None if there is none."""
        with translated(self.name), closing(self._session().connect()) as driver:
            if driver.execute(_HELD_BY).fetchone() is None:
                return None
            here = socket.gethostname()
            older = _value(driver, f"SELECT format FROM {_OURS}") < SCHEMA_VERSION  # noqa: S608
            if (sign := replicas.sign(driver, here) if _shared(driver) else None) is not None:
                return replace(sign, older=older)
            said = f"SELECT pulse, extract(epoch FROM now() - beat)::float, holder FROM {_OURS}"  # noqa: S608
            for pulse, age, holder in driver.execute(said):
                host = holder.partition(" on ")[2].partition(" ")[0]
                return Sign(max(0.0, age), pulse, "" if host == here else host, older=older)
            return None

    def replicas(self) -> list[Replica]:
        """The bots that share the store."""
        with translated(self.name), closing(self._session().connect()) as driver:
            return replicas.there(driver) if _shared(driver) else []

    def _session(self, **how: Any) -> "PostgresSession":
        return PostgresSession(self.name, self._options, **how)


class PostgresSession:
    """A connection to the database, again after it broke; see `Database`.

    `exclusive`: with the lock that one bot has; `shared`: with the one of those that share.
    """

    def __init__(
        self,
        place: str,
        options: dict[str, Any],
        *,
        begin: str = f"BEGIN; SELECT pg_advisory_xact_lock({_WRITING})",
        exclusive: bool = False,
        shared: bool = False,
        create: bool = True,
    ) -> None:
        self.place = place
        self.begin, self.begin_reading = begin, _READING
        self.counts = exclusive
        self.lease = LEASE if exclusive else None
        self._create = create
        self._name = f"mouseflow-bot {uuid4().hex[:12]}"
        self.sharing: Sharing = Alone()
        self._member: Membership | None = None
        if shared:
            here = socket.gethostname()
            self._member = self.sharing = Membership(place, self._name, here, os.getpid())
            self.lease = replicas.LEASE
        self._options = {**_NETWORK, **options, "application_name": self._name}
        # Its end tells apart what the beginning may not: another session of this process.
        who = f"{os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%FT%TZ}"
        self._holder = f"{who} ({self._name})"
        self._table: int | None = None
        self._home = ""
        self._failed: psycopg.Error | None = None
        self._tried = 0.0
        self._changes = 0
        self._written = 0
        self._counted = datetime.min.replace(tzinfo=UTC)
        self._beating: Future[None] | None = None

    def engine(self) -> Engine:
        """SQLAlchemy's engine on the one connection."""
        return create_engine(
            "postgresql+psycopg://",
            creator=self.connect,
            poolclass=StaticPool,
            use_native_hstore=False,
        )

    def connect(self) -> _Connection:
        """A new connection, with the lock if it is exclusive."""
        if self._failed and 0 <= time.time() - self._tried < RECONNECT:
            raise self._failed
        try:
            driver = _Connection.connect(**self._options, autocommit=True, cursor_factory=_Cursor)
        except psycopg.Error as error:
            self._failed, self._tried = error, time.time()
            raise
        self._failed, self._changes = None, 0
        try:
            self._set_up(driver)
        except BaseException:
            driver.close()
            raise
        return driver

    def _set_up(self, driver: _Connection) -> None:
        driver.adapters.register_dumper(str, _TextDumper)
        if driver.info.server_version < OLDEST_SERVER:
            raise StoreError(
                f"{self.place}: PostgreSQL {driver.info.server_version // 10_000} is too old; "
                f"the bot needs {OLDEST_SERVER // 10_000} or newer"
            )
        driver.execute(
            f"SET lock_timeout = '{WAIT_FOR_STUCK if self._member else WAIT}';"
            "SET client_encoding = 'UTF8';"
            f"SET idle_in_transaction_session_timeout = '{STUCK if self._member else FROZEN}';"
            f"SET idle_session_timeout = '{FROZEN if self.counts else 0}'"
        )
        # A step must be on the disk as `sending` before its request goes out.
        driver.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
        if self.counts:
            self._take(driver)
        if self._home and _home(driver) != self._home:
            kind = StoreLost if self._member is None else StoreTaken
            raise kind(
                f"{self.place}: the connection leads to another server, or to an older state of "
                "the database, since a failover or a restore. It may lack what was committed last"
            )

    def _take(self, driver: _Connection) -> None:
        """Take the lock of the one bot; raises StoreError if another one has or had it.

        Bots that share it keep out those that don't; `Membership` says what is whose.
        """
        asked, shared = 0, "_shared" if self._member else ""
        while not _value(driver, f"SELECT pg_try_advisory_lock{shared}({_LOCK})"):
            asked += 1
            if asked > HANDOVER:
                raise self._refused(driver)
            for pid, name in driver.execute(_HELD_BY).fetchall():
                if name == self._name:
                    # Our own session: the server has not noticed that its connection is gone.
                    driver.execute("SELECT pg_terminate_backend(%s)", (pid,))
            time.sleep(BETWEEN)
        opened = self._table is not None
        if opened and self._member is None and self._told_holder(driver) != self._holder:
            raise self._refused(driver)

    def _told_holder(self, driver: _Connection) -> str:
        if _value(driver, f"SELECT {_TABLE}") is None:
            return ""
        return str(_value(driver, f"SELECT holder FROM {_OURS}") or "")  # noqa: S608

    def _refused(self, driver: _Connection) -> StoreError:
        other = self._told_holder(driver).partition(" (")[0] or "unknown"
        if self._table is not None:
            kind = StoreLost if self._member is None else StoreTaken
            return kind(
                f"{self.place}: while this bot had no connection, another mouseflow-bot has used "
                f"the store (process {other}). This one stops, so that nothing is done twice"
            )
        return StoreHeld(
            f"{self.place} is in use by another mouseflow-bot (process {other}). Stop that one "
            "first; `once --dry-run` works beside it. A second store would do everything twice"
        )

    def check(self) -> None:
        """Do nothing: the server says so if the connection is gone."""

    def is_usable(self, driver: _Connection) -> bool:
        """Whether the connection is still alive."""
        return not driver.closed

    def prepare(self, conn: Connection) -> None:
        """Create the tables in an empty schema, or check those that are there."""
        driver: Any = conn.connection.driver_connection
        encoding = _value(driver, "SHOW server_encoding")
        if encoding != "UTF8":
            raise StoreError(f"{self.place}: its encoding is {encoding}; create it with UTF8")
        have = set(driver.execute(_COLUMNS).fetchall())
        tables = {table for table, _ in have}
        if _OURS in tables:
            found = _value(driver, f"SELECT format FROM {_OURS}")  # noqa: S608
            self._check_format(conn, found, have)
            if self.counts and replicas.BOTS not in tables:
                driver.execute(replicas.CREATE)  # an earlier version made the others
        elif theirs := tables & metadata.tables.keys():
            raise StoreError(
                f"{self.place}: another program has a table {min(theirs)} there; "
                "create a database for the bot alone"
            )
        elif not self._create:
            raise StoreError(
                f"{self.place} has no store yet; the bot creates it at its first start"
            )
        else:
            metadata.create_all(conn)
            driver.execute(_CREATE)
            driver.execute(replicas.CREATE)
            driver.execute(
                f"INSERT INTO {_OURS} VALUES (1, %s, '', '', '', now())",  # noqa: S608
                (SCHEMA_VERSION,),
            )

    def _check_format(self, conn: Connection, found: int, have: set[tuple[str, str]]) -> None:
        if found > SCHEMA_VERSION:
            raise StoreError(
                f"{self.place}: a newer mouseflow-bot wrote it (format {found}, this one supports "
                f"{SCHEMA_VERSION}); use that version, or restore a backup"
            )
        if found < FIRST_FORMAT:
            raise StoreError(f"{self.place}: its format is unknown ({found}); restore a backup")
        if found < SCHEMA_VERSION:
            if not self._create:
                raise StoreError(
                    f"{self.place}: an older mouseflow-bot wrote it; start the bot once (`run` or "
                    "`once`), which converts it"
                )
            self._wait_for_older(conn, found)
            run_revisions(conn, found)
            execute(conn, f"UPDATE {_OURS} SET format = :new", {"new": SCHEMA_VERSION})  # noqa: S608
            return
        lacking = [
            f"{table.name}.{column.name}"
            for table in metadata.sorted_tables
            for column in table.columns
            if (table.name, column.name) not in have
        ]
        if lacking:
            raise StoreError(
                f"{self.place}: it lacks {', '.join(lacking[:5])}; another program or an "
                "unreleased mouseflow-bot changed it. Restore a backup"
            )

    def _wait_for_older(self, conn: Connection, found: int) -> None:
        """Raise StoreHeld while bots use the format that is there."""
        driver: Any = conn.connection.driver_connection
        others = {name for _, name in driver.execute(_HELD_BY).fetchall()} - {self._name}
        if self._member is not None and others:
            raise StoreHeld(
                f"{self.place} is in use by {len(others)} of an older mouseflow-bot. "
                "This one converts it once they have stopped"
            )

    def has_changed(self, driver: _Connection) -> bool:
        """Whether rows were changed since the last call."""
        changed = driver.total_changes != self._changes
        self._changes = driver.total_changes
        return changed

    def recognise(self, conn: Connection, now: datetime) -> tuple[int, Restored | None]:
        """Compare where the database is with where it was when the bot used it last."""
        driver: Any = conn.connection.driver_connection
        home = self._home = _home(driver)
        writes, restored = written(conn), None
        before = _value(driver, f"SELECT home FROM {_OURS}")  # noqa: S608
        if writes and before not in ("", home):
            writes, restored = mark_restored(conn, writes, now)
        driver.execute(
            f"UPDATE {_OURS} SET home = %s, holder = %s, pulse = '', beat = now()",  # noqa: S608
            (home, self._holder),
        )
        self._table = _value(driver, f"SELECT {_TABLE}")
        if self._member is None:
            driver.execute(replicas.FORGET)
        else:
            self._member.join(conn)
            self.begin += self._member.fence
        return writes, restored

    def begun(self, driver: _Connection, answer: _Cursor) -> None:
        """Raise StoreLost if the other bots have taken over, or the database is another one."""
        driver.gathers = True
        if self._member is not None and self._member.mark:
            while answer.nextset():
                pass
            self._member.check(driver, answer.fetchone())

    def count(self, conn: Connection, now: datetime) -> int:
        """Count the transaction that is open: if bots share the database, among one's own."""
        if self._member is None:
            count_later(conn, now)
            return self._written + 1
        if not 0 <= (now - self._counted).total_seconds() < TELL_WRITTEN:
            count_later(conn, now)
            self._counted = now
        return self._member.count(conn)

    def written(self, conn: Connection) -> int:
        """How many of those were counted."""
        return written(conn) if self._member is None else self._member.written(conn)

    def keep_count(self, writes: int) -> None:
        """Keep it in memory, to count on; there is no place that outlives the database."""
        self._written = writes

    def beat(
        self, text: str, run: Callable[[Callable[[Connection], None]], "Future[None]"]
    ) -> None:
        """Write it into the database, unless the last one still waits to be written."""
        if self.counts and (self._beating is None or self._beating.done()):
            self._beating = run(lambda conn: self._beat(conn, text))

    def _beat(self, conn: Connection, text: str) -> None:
        if self._member is not None:
            self._member.beat(conn, text)
            return
        values = {"text": text, "holder": self._holder, "table": self._table}
        if execute(conn, _BEAT, values).rowcount != 1:
            raise StoreLost(
                f"{self.place}: the database was restored or replaced while the bot was running. "
                "The bot has stopped writing. Start it again"
            )

    def shrink(self, conn: Connection) -> bool:
        """Do nothing: the server vacuums its tables by itself."""
        return False

    def renumber(self, conn: Connection) -> None:
        """Let the sequences continue after the highest numbers."""
        for table in metadata.sorted_tables:
            for column in table.primary_key.columns:
                if column is table.autoincrement_column:
                    sequence = func.pg_get_serial_sequence(table.name, column.name)
                    highest = select(func.setval(sequence, func.max(column)))
                    conn.execute(highest.having(func.count() > 0))

    def delete_copies(self, before: datetime) -> None:
        """Do nothing: the bot makes none."""

    def leave(self, conn: Connection) -> None:
        """Leave the work to the other bots."""
        if self._member is not None:
            self._member.leave(conn)

    def close(self) -> None:
        """Do nothing: the connection is closed, and the lock with it."""


_COLUMNS = (
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = current_schema()"
)
_BEAT = (
    f"UPDATE {_OURS} SET pulse = :text, beat = now()"  # noqa: S608
    f" WHERE holder = :holder AND {_TABLE} = :table"
)


def _home(driver: Any) -> str:
    """Another one after a restore, a move to another server, and a failover.

    All of them may have lost what was committed last.
    """
    system = ""
    if _value(driver, "SELECT has_function_privilege('pg_control_system()', 'execute')"):
        system = _value(driver, "SELECT system_identifier FROM pg_control_system()")
    database = _value(driver, "SELECT oid FROM pg_database WHERE datname = current_database()")
    table = _value(driver, f"SELECT {_TABLE}")
    timeline = _value(driver, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")
    return f"{system}/{database}/{table}/{timeline}"


def _shared(driver: Any) -> bool:
    """Whether bots of a version that can share the database have used it."""
    return _value(driver, f"SELECT to_regclass('{replicas.BOTS}')") is not None


def _value(driver: Any, sql: str) -> Any:
    """The first column of the first row; None without one."""
    row = driver.execute(sql).fetchone()
    return row[0] if row else None
