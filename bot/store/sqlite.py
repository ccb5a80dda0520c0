"""A store in a SQLite file: its opening, lock, copies, and the number beside it."""

import glob
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from stat import S_ISREG
from typing import Any
from urllib.parse import quote

import structlog
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import LRUCache

from bot.domain.pulse import Sign
from bot.errors import StoreError, StoreLost
from bot.store.faults import translated
from bot.store.formats import convert, create_tables, is_empty, is_older
from bot.store.lineage import GenerationFile, Restored, count, recognise, written
from bot.store.lock import Lock, sign_beside, unwritable
from bot.store.schema import SCHEMA_VERSION
from bot.store.sharing import Alone, Replica, Sharing

log = structlog.get_logger(__name__)

INCREMENTAL = 2
"""SQLite's number of the mode in which a file gives free space back when asked to."""

LONGEST_LOG = 8 * 2**20
"""How many bytes of the log beside the store stay on the disk after a large transaction."""

BUSY_MS = 5_000
"""How long a write waits for another process (a command beside the daemon)."""

PAGES_AT_ONCE = 250
"""How many pages (1 MB) one transaction gives back."""

SPARE_PAGES = 250
"""How many free pages stay in the file for what comes next."""


class SqliteLocation:
    """A SQLite file, whether it is there or not; see `StoreLocation`."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.path = path

    def exists(self) -> bool:
        """Whether there is such a file, and it was written to."""
        return self.path.exists() and (not self.path.is_file() or self.path.stat().st_size > 0)

    def readable(self) -> "SqliteFile":
        """The file for reading; raises StoreError if it does not exist."""
        if not self.path.exists():
            raise StoreError(
                f"{self.path} does not exist yet; the bot creates it at its first start"
            )
        return SqliteFile(self.path, lambda: _read_only(self.path), begin="BEGIN", create=False)

    def writable(self, *, exclusive: bool, shared: bool = False) -> "SqliteFile":
        """The file for writing; raises StoreError if another bot holds its lock.

        Bots can't share a file, so `shared` changes nothing.
        """
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent}: can't be created ({error.strerror})") from error
        lock = Lock(path) if exclusive else None
        return SqliteFile(path, lambda: _writable(path, locked=exclusive), file=path, lock=lock)

    def copied(self) -> "SqliteFile":
        """A copy in memory; empty if there is no file. An older format is converted there."""

        def copy() -> sqlite3.Connection:
            memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            if self.exists():
                with closing(_untouched(self.path)) as source:
                    source.backup(memory)
                if not is_empty(memory) and is_older(memory, self.name):
                    convert(memory, self.name)
            return memory

        return SqliteFile(self.path, copy)

    def copy_to(self, file: Path) -> None:
        """Write a consistent copy to a file that only this user can read, also while a bot runs.

        Raises StoreError if `file` exists, can't be written, or the store can't be read; then
        there is no `file`.
        """
        path = self.path
        if not path.exists():
            raise StoreError(f"{path} does not exist; there is nothing to back up")
        with new_file(file), translated(path), closing(_connect(path, _reading(path))) as source:
            source.execute("VACUUM INTO ?", (str(file),))

    backup = copy_to

    def beside(self) -> Path:
        """The file itself."""
        return self.path

    def daemon(self) -> Sign | None:
        """How the daemon is doing that holds the lock; None if it is free."""
        return sign_beside(self.path.with_name(self.path.name + ".lock"))

    def replicas(self) -> list[Replica]:
        """None: bots can't share a file."""
        return []

    def restore(self, file: Path) -> Path | None:
        """Put a backup in the place of the store, whole or not at all.

        Returns where the store that was there is kept now; None if there was none. At its next
        start the bot recognises the older store. Raises StoreError if `file` is not a store that
        this version can use, if a bot is running, or if the disk is full; then nothing has
        changed.
        """
        path = self.path
        if not file.is_file():
            raise StoreError(f"{file}: no such file")
        if path.exists() and path.samefile(file):
            raise StoreError(f"{file} is the store itself; name a backup")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path.parent, error) from error
        lock = Lock(path)
        try:
            return _restore(path, file)
        finally:
            lock.release()


_COMPILED: LRUCache[Any, Any] = LRUCache(500)
"""Compiled statements. A store has about 300; the stores of several accounts have the same."""


@cache
def _shared() -> Engine:
    """The engine whose dialect all files use: what is compiled is known by its dialect."""
    engine = create_engine("sqlite://")
    engine.connect().close()  # the dialect looks what SQLite can do
    engine.dispose()
    return engine


class SqliteFile:
    """An open file, or a copy of one in memory; see `Database`.

    `file` is watched: it must not be replaced. With `lock` it is this process's own.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], sqlite3.Connection],
        *,
        file: Path | None = None,
        lock: Lock | None = None,
        begin: str = "BEGIN IMMEDIATE",
        create: bool = True,
    ) -> None:
        self.place = str(path)
        # IMMEDIATE takes the write lock at once, so a unit of work never fails half-way because
        # another process wrote in between. What only reads sees one state without any lock.
        self.begin, self.begin_reading = begin, "BEGIN"
        self.counts = lock is not None
        self.lease: float | None = (
            None  # the kernel keeps the lock for as long as the process is there
        )
        self.sharing: Sharing = Alone()
        self._create = create
        self._open = connect
        self._file = file
        self._lock = lock
        self._beside = GenerationFile(file) if file and lock else None
        self._opened: tuple[int, int] | None = None
        self._changes = 0

    def engine(self) -> Engine:
        """SQLAlchemy's engine on the one connection."""
        shared = _shared()
        return Engine(
            StaticPool(self._connect), shared.dialect, shared.url,
            execution_options={"compiled_cache": _COMPILED},
        )  # fmt: skip

    def _connect(self) -> Any:  # SQLAlchemy's protocol is narrower than sqlite3's connection
        driver = self._open()
        self._opened = _identity(self._file)
        return driver

    def begun(self, driver: sqlite3.Connection, answer: object) -> None:
        """Do nothing: a file has one bot."""

    def check(self) -> None:
        """Raise StoreLost if the file was taken away: SQLite would go on writing into it."""
        if _identity(self._file) != self._opened:
            raise StoreLost(
                f"{self.place}: the file was deleted or replaced while the bot was running. "
                "The bot has stopped writing. Stop it, restore the file, start it again"
            )

    def is_usable(self, _driver: sqlite3.Connection) -> bool:
        """Always: nothing breaks the connection to a file."""
        return True

    def prepare(self, conn: Connection) -> None:
        """Create the tables of an empty store; raises StoreError if it may not."""
        if not is_empty(_driver(conn)):
            return
        if not self._create:
            raise StoreError("the store is empty; the bot creates its tables at its first start")
        create_tables(conn)

    def has_changed(self, driver: sqlite3.Connection) -> bool:
        """Whether rows were changed since the last call."""
        changed = driver.total_changes != self._changes
        self._changes = driver.total_changes
        return changed

    def recognise(self, conn: Connection, now: datetime) -> tuple[int, Restored | None]:
        """Compare the store with the number beside it."""
        return recognise(conn, self._beside.read() if self._beside else None, now)

    def keep_count(self, writes: int) -> None:
        """Keep the number of transactions beside the store; raises StoreError."""
        if self._beside:
            try:
                self._beside.write(writes)
            except OSError as error:
                raise unwritable(self._beside.path, error) from error

    def count(self, conn: Connection, now: datetime) -> int:
        """Count the transaction that is open."""
        return count(conn, now)

    def written(self, conn: Connection) -> int:
        """How many were counted."""
        return written(conn)

    def beat(self, text: str, _run: object) -> None:
        """Write it into the lock file, also if the store can't be written."""
        if self._lock:
            self._lock.write(text)

    def shrink(self, conn: Connection) -> bool:
        """Give some of the free space back to the disk; true if there may be more."""
        free = conn.exec_driver_sql("PRAGMA freelist_count").scalar_one()
        if free <= SPARE_PAGES:
            return False
        for _ in range(PAGES_AT_ONCE):
            # sqlite3 steps such a statement once, which gives back one page whatever the number.
            _driver(conn).execute("PRAGMA incremental_vacuum(1)")
        return bool(conn.exec_driver_sql("PRAGMA freelist_count").scalar_one() < free)

    def renumber(self, conn: Connection) -> None:
        """Do nothing: SQLite continues after the highest number."""

    def delete_copies(self, before: datetime) -> None:
        """Delete copies beside the file that a conversion or a restore left before then."""
        if self._file is None:
            return
        for name in (f"{self._file.name}.format-*", f"{self._file.name}.before-restore*"):
            for copy in self._file.parent.glob(glob.escape(name[:-1]) + "*"):
                with suppress(OSError):
                    if copy.stat().st_mtime < before.timestamp():
                        copy.unlink()
                        log.info("store.copy_deleted", file=str(copy))

    def leave(self, conn: Connection) -> None:
        """Do nothing: there is no other bot."""

    def close(self) -> None:
        """Close what is beside the file, and release its lock."""
        if self._beside:
            self._beside.close()
        if self._lock:
            self._lock.release()


def _driver(conn: Connection) -> sqlite3.Connection:
    driver = conn.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("the store's connection is not SQLite's")
    return driver


def _restore(path: Path, file: Path) -> Path | None:
    part = path.with_name(f"{path.name}.restoring")
    part.unlink(missing_ok=True)  # left by a crash
    with translated(file), closing(_untouched(file)) as source:
        if is_empty(source):
            raise StoreError(f"{file}: empty; it is no backup")
        is_older(source, str(file))  # raises if it can't be used
        if (fault := source.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreError(f"{file}: damaged ({fault}); use another backup")
        with new_file(part):
            source.execute("VACUUM INTO ?", (str(part),))
    kept = _set_aside(path) if path.exists() else None
    part.replace(path)
    _flush(path.parent)
    return kept


def _set_aside(path: Path) -> Path:
    """Keep the store under another name, with what is still in its log."""
    kept = path.with_name(f"{path.name}.before-restore")
    with suppress(sqlite3.Error), closing(_connect(path, "rw")) as damaged_or_not:
        damaged_or_not.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm", ""):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.replace(kept.with_name(kept.name + suffix))
        else:
            kept.with_name(kept.name + suffix).unlink(missing_ok=True)
    return kept


@contextmanager
def new_file(file: Path) -> Iterator[None]:
    """Create a file that only this user can read; it is on the disk at the end, or gone."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise StoreError(f"{file} already exists; choose another file") from None
    except OSError as error:
        raise unwritable(file, error) from error
    try:
        with translated(file):
            yield
        _flush(file)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _flush(place: Path) -> None:
    """Wait until the file or folder is on the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _writable(path: Path, *, locked: bool) -> sqlite3.Connection:
    """A connection to a store of the current format, or to an empty one; converts an older one.

    `locked` says whether this process holds the store's lock.
    """
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"{path}: its folder is read-only; give this user write permission there")
    # It holds personal data: only for the bot. SQLite gives its log the same permissions.
    if not path.exists():
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise unwritable(path, error) from error
    with closing(_untouched(path)) as found:  # what is not ours must not change
        if not is_empty(found):
            is_older(found, str(path))
    # A step must be on the disk as `sending` before its request goes out, even if the power
    # fails: hence FULL; NORMAL could lose the last commits.
    connection = _connect(
        path,
        "rwc",
        f"PRAGMA auto_vacuum = {INCREMENTAL}",  # of a new store
        "PRAGMA journal_mode = WAL",
        f"PRAGMA journal_size_limit = {LONGEST_LOG}",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
    )
    try:
        if not is_empty(connection) and is_older(connection, str(path)):
            lock = None if locked else Lock(path)
            try:
                convert(connection, str(path), _snapshot(connection, path))
            finally:
                if lock:
                    lock.release()
        if locked:
            _let_it_shrink(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _let_it_shrink(connection: sqlite3.Connection, path: Path) -> None:
    """Rewrite a store of the first version, which could not give space back to the disk."""
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] == INCREMENTAL:
        return
    try:
        connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        connection.execute("VACUUM")
    except sqlite3.Error as error:
        log.warning("store.not_compacted", store=str(path), reason=str(error))


def _snapshot(connection: sqlite3.Connection, path: Path) -> Path:
    """Copy the store beside itself, so that the version before can be used again."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    file = path.with_name(f"{path.name}.format-{found}")
    part = path.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)  # left by a crash
    with new_file(part):
        connection.execute("VACUUM INTO ?", (str(part),))
    part.replace(file)
    _flush(path.parent)
    return file


def _read_only(path: Path) -> sqlite3.Connection:
    connection = _connect(path, _reading(path), "PRAGMA query_only = ON")
    try:
        _refuse_older(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_older(connection: sqlite3.Connection, path: Path) -> None:
    if not is_empty(connection) and is_older(connection, str(path)):
        raise StoreError(
            f"{path}: an older mouseflow-bot wrote it, and this one uses format "
            f"{SCHEMA_VERSION}; start the bot once (`run` or `once`), which converts it"
        )


def _reading(path: Path) -> str:
    """The mode for reading. In a read-only folder SQLite must not try to create its log."""
    writable = os.access(path.parent, os.W_OK)
    return "ro" if writable or _log(path).exists() else "ro&immutable=1"


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _identity(file: Path | None) -> tuple[int, int] | None:
    """Identifies the file behind the name; None if there is none."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _untouched(path: Path) -> sqlite3.Connection:
    """Open a store for reading without leaving a file behind.

    Opening a WAL database creates two files beside it, even for reading. Without a log no
    process uses it and the file is the whole store; otherwise those files already exist.
    """
    return _connect(path, "ro" if _log(path).exists() else "ro&immutable=1")


def _connect(path: Path, mode: str, *settings: str) -> sqlite3.Connection:
    with suppress(FileNotFoundError):
        if not S_ISREG(path.stat().st_mode):  # SQLite waits for who writes into a pipe
            raise StoreError(f"{path}: this is no file; check store.url")
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for setting in (f"PRAGMA busy_timeout = {BUSY_MS}", *settings):
            connection.execute(setting)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
