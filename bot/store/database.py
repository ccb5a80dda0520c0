"""The store: one SQLite connection in one thread; a unit of work is one function.

Cancelling a task can't split a unit of work: once submitted, it is committed or rolled back as
a whole.
"""

import asyncio
import errno
import fcntl
import glob
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import StaticPool

from bot.errors import ConfigError, StoreError, StoreLost
from bot.store.formats import convert, create_tables, is_empty, is_older
from bot.store.lineage import Beside, Restored, count, recognise
from bot.store.schema import SCHEMA_VERSION

Value = str | int | float | bytes | None


def execute(conn: Connection, sql: str, values: Mapping[str, Value]) -> sqlite3.Cursor:
    """Run one statement with its `:named` values; raises what sqlite3 raises."""
    return _driver(conn).execute(sql, values)


def execute_many(conn: Connection, sql: str, rows: Iterable[Mapping[str, Value]]) -> None:
    """Run one statement that returns nothing, for each of the rows."""
    _driver(conn).executemany(sql, rows)


def _driver(conn: Connection) -> sqlite3.Connection:
    driver = conn.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("the store's connection is not SQLite's")
    return driver


_MEANING = {
    "SQLITE_FULL": "the disk is full; free some space (nothing stored is lost)",
    "SQLITE_READONLY": "the file or its folder is read-only; give this user write permission",
    "SQLITE_CANTOPEN": "can't open the file; check the folder and this user's permissions",
    "SQLITE_NOTADB": (
        "not a SQLite database, or its header is damaged; check store.url, or restore a backup"
    ),
    "SQLITE_CORRUPT": "the file is damaged; stop the bot and restore a backup",
    "SQLITE_BUSY": "another program has locked it; look for a second bot or a copy job",
    "SQLITE_LOCKED": "another program has locked it; look for a second bot or a copy job",
    "SQLITE_IOERR": "I/O error; check the disk and the quota",
    "SQLITE_PERM": "this user may not use the file; fix its permissions",
    "SQLITE_AUTH": "this user may not use the file; fix its permissions",
    "SQLITE_PROTOCOL": "file locking does not work here; put the store on a local disk, not on NFS",
    "SQLITE_SCHEMA": "another program changed its tables; restore a backup",
}


_LASTING = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})

_WRITING = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "this user's quota is used up; free some space",
    errno.EROFS: "the file system is read-only, and the bot must be able to write in that folder",
}


def unwritable(place: Path | str, error: OSError) -> StoreError:
    """The error for a file of the store that can't be written, with what to do."""
    usual = f"can't be written ({error.strerror}); give this user write permission in that folder"
    return StoreError(f"{place}: {_WRITING.get(error.errno or 0, usual)}")


@contextmanager
def translated(place: Path | str) -> Iterator[None]:
    """Turn the database's errors into StoreErrors that name the file (or StoreLost).

    A violated constraint is a bug, so it is raised unchanged.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        name = _family(error.orig if isinstance(error, DBAPIError) else error)
        if name not in _MEANING:
            raise
        kind = StoreLost if name in _LASTING else StoreError
        raise kind(f"{place}: {_MEANING[name]}") from error


def is_trouble(error: Exception) -> bool:
    """Whether the store itself is in trouble, so that no other write would succeed either."""
    if isinstance(error, DBAPIError | sqlite3.Error):
        return _family(error.orig if isinstance(error, DBAPIError) else error) in _MEANING
    return isinstance(error, StoreError)


def _family(error: BaseException | None) -> str:
    """The family of an error: SQLITE_IOERR for SQLITE_IOERR_WRITE."""
    name = str(getattr(error, "sqlite_errorname", ""))
    return "_".join(name.split("_")[:2])


log = structlog.get_logger(__name__)


class Lock:
    """Held from construction until `release`; the kernel frees it when the process dies.

    Its file says who holds it, in the first line, and below how the holder is doing. Raises
    StoreError if another process holds it (and names that process), or if the lock file can't
    be written.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            first = os.read(self._file, 200).decode("utf-8", "replace").partition("\n")[0]
            os.close(self._file)
            raise StoreError(
                f"{database} is in use by another mouseflow-bot "
                f"(process {first.strip() or 'unknown'}). Stop that one first, or use "
                "`once --dry-run`, which works beside it. A second store would do everything twice"
            ) from error
        # Across containers the number alone names nobody: it is mostly 1.
        self._holder = f"{os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%FT%TZ}"
        try:
            self._write("")
        except OSError as error:
            os.close(self._file)
            raise unwritable(self.path, error) from error

    def write(self, text: str) -> None:
        """Say in one line how the holder is doing; a full disk may lose it."""
        with suppress(OSError):
            self._write(text)

    def _write(self, text: str) -> None:
        content = f"{self._holder}\n{text}\n".encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def release(self) -> None:
        """Release it. The file stays: removing it would let two bots lock two files."""
        os.close(self._file)


T = TypeVar("T")

INCREMENTAL = 2
"""SQLite's number of the mode in which a file gives free space back when asked to."""

LONGEST_LOG = 8 * 2**20
"""How many bytes of the log beside the store stay on the disk after a large transaction."""

BUSY_MS = 5_000
"""How long a write waits for another process (a command beside the daemon)."""


class Store:
    """Runs units of work, one after another. Made by `open_store` and `in_memory_copy`.

    It refuses all work once the store is damaged or its `file` is gone. `restored` says that an
    older copy was put in the store's place before it was opened. `trouble` is since when (in
    seconds since 1970) and why it can't be written, None if it can.
    """

    def __init__(
        self,
        place: str,
        open_connection: Callable[[], sqlite3.Connection],
        *,
        file: Path | None = None,
        lock: Lock | None = None,
        begin: str = "BEGIN IMMEDIATE",
    ) -> None:
        self.place = place
        self.restored: Restored | None = None
        self.trouble: tuple[float, str] | None = None
        self._beside = Beside(file) if file and lock else None
        self._file = file
        self._opened: tuple[int, int] | None = None
        self._counting = False
        self._changes = 0
        self._lost = ""
        self._lock = lock
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._engine: Engine = create_engine(
            "sqlite://", creator=open_connection, poolclass=StaticPool
        )
        # IMMEDIATE takes the write lock at once, so a unit of work never fails half-way because
        # another process wrote in between. What only reads sees one state without any lock.
        self._begin = begin
        event.listen(self._engine, "begin", lambda conn: execute(conn, self._begin, {}))
        self._connection: Connection | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; raises StoreError and whatever `work` raises.

        After a StoreLost every later call raises it too.
        """
        return await _answer(self._submit(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The same for work that only reads: it waits for no other process that writes."""
        return await _answer(self._thread.submit(self._reading, work))

    def do(self, work: Callable[[Connection], T]) -> T:
        """The same for commands that have no event loop; blocks until it is done."""
        return self._submit(work).result()

    def close(self) -> None:
        """Wait for running work, close the file and release the lock; twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._thread.submit(self._close).result()
        self._thread.shutdown()
        if self._beside:
            self._beside.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, work: Callable[[Connection], T]) -> "Future[T]":
        return self._thread.submit(self._in_transaction, work)

    def _reading(self, work: Callable[[Connection], T]) -> T:
        usual, self._begin = self._begin, "BEGIN"
        try:
            return self._in_transaction(partial(_unchanged, work))
        finally:
            self._begin = usual

    def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        if self._lost:
            raise StoreLost(self._lost)
        try:
            with translated(self.place):
                connection = self._connected()
                with connection.begin():
                    done = work(connection)
                    changed, writes = self._count(connection)
                self._keep(writes)
                if changed:  # reading works also on a full disk
                    self.trouble = None
                return done
        except StoreError as error:
            if self.trouble is None:
                self.trouble = (time.time(), str(error))
            if isinstance(error, StoreLost):
                self._lost = str(error)
            raise

    def _count(self, connection: Connection) -> tuple[bool, int | None]:
        """Whether this transaction has changed something; if so, it is counted."""
        driver = _driver(connection)
        changed = driver.total_changes != self._changes
        writes = count(driver, datetime.now(UTC)) if changed and self._counting else None
        self._changes = driver.total_changes
        return changed, writes

    def _keep(self, writes: int | None) -> None:
        if self._beside and writes is not None:
            with suppress(OSError):  # behind is safe
                self._beside.write(writes)

    def beat(self, text: str) -> None:
        """Say beside the store how its owner is doing, also if the store can't be written."""
        if self._lock:
            self._lock.write(text)

    def delete_copies(self, before: datetime) -> None:
        """Delete copies of the store that a conversion or a restore left before then."""
        if self._file is None:
            return
        for name in (f"{self._file.name}.format-*", f"{self._file.name}.before-restore*"):
            for copy in self._file.parent.glob(glob.escape(name[:-1]) + "*"):
                with suppress(OSError):
                    if copy.stat().st_mtime < before.timestamp():
                        copy.unlink()
                        log.info("store.copy_deleted", file=str(copy))

    def recognise(self) -> None:
        """Find out whether an older copy was put in the place of the store; see `restored`."""
        if self._beside is None:
            return  # commands don't count: they would hide that the store is older
        beside, now = self._beside.read(), datetime.now(UTC)
        writes, self.restored = self.do(lambda conn: recognise(conn, beside, now))
        try:
            self._beside.write(writes)
        except OSError as error:
            raise unwritable(self._beside.path, error) from error
        self._counting = True

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._opened = _identity(self._file)
        # SQLite would keep writing into a deleted file, and lose everything.
        elif _identity(self._file) != self._opened:
            raise StoreLost(
                f"{self.place}: the file was deleted or replaced while the bot was running. "
                "The bot has stopped writing. Stop it, restore the file, start it again"
            )
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()


def open_store(url: str, *, read_only: bool = False, exclusive: bool = True) -> Store:
    """Open the store at `url`, a `sqlite:///` URL; create it if it is missing.

    `exclusive` keeps other bots out; commands beside a running daemon open it without.
    `read_only` changes nothing and needs no lock. Raises ConfigError for a URL that this
    version does not support, StoreError for a store that can't be used.
    """
    path = database_path(url)
    if read_only:
        if not path.exists():
            raise StoreError(f"{path} does not exist yet; the bot creates it at its first start")
        return _ready(Store(str(path), lambda: _read_only(path), begin="BEGIN"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent}: can't be created ({error.strerror})") from error
    lock = Lock(path) if exclusive else None
    return _ready(
        Store(str(path), lambda: _writable(path, locked=exclusive), file=path, lock=lock),
        create=True,
    )


def in_memory_copy(url: str) -> Store:
    """A copy of the store in memory, for dry runs; nothing is written.

    Empty if there is no store yet; a store of an older version is converted in memory. Raises
    like `open_store`.
    """
    path = database_path(url)

    def copy() -> sqlite3.Connection:
        memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if path.exists():
            with closing(_untouched(path)) as source:
                source.backup(memory)
            if not is_empty(memory) and is_older(memory, str(path)):
                convert(memory, str(path))
        return memory

    return _ready(Store(str(path), copy), create=True)


def backup(url: str, file: Path) -> None:
    """Write a consistent copy of the store to `file`, also while the daemon runs.

    Only this user can read it, since it holds personal data. Raises StoreError if `file`
    exists, can't be written, or the store can't be read; then there is no `file`.
    """
    path = database_path(url)
    if not path.exists():
        raise StoreError(f"{path} does not exist; there is nothing to back up")
    with _new_file(file), translated(path), closing(_connect(path, _reading(path))) as source:
        source.execute("VACUUM INTO ?", (str(file),))


def restore(url: str, file: Path) -> Path | None:
    """Put a backup in the place of the store, whole or not at all.

    Returns where the store that was there is kept now; None if there was none. At its next start
    the bot recognises the older store. Raises StoreError if `file` is not a store that this
    version can use, if a bot is running, or if the disk is full; then nothing has changed.
    """
    path = database_path(url)
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


def _restore(path: Path, file: Path) -> Path | None:
    part = path.with_name(f"{path.name}.restoring")
    part.unlink(missing_ok=True)  # left by a crash
    with translated(file), closing(_untouched(file)) as source:
        if is_empty(source):
            raise StoreError(f"{file}: empty; it is no backup")
        is_older(source, str(file))  # raises if it can't be used
        if (fault := source.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreError(f"{file}: damaged ({fault}); use another backup")
        with _new_file(part):
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
def _new_file(file: Path) -> Iterator[None]:
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


def database_path(url: str) -> Path:
    """The file of a store's URL; raises ConfigError if this version does not support it."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("store.url is not a URL; write it like sqlite:///data/bot.db") from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        raise ConfigError(
            "store.url: this version supports SQLite only; "
            "use something like sqlite:///data/bot.db and run one bot"
        )
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigError("store.url must name a file, like sqlite:///data/bot.db")
    return Path(parsed.database)


def _ready(store: Store, *, create: bool = False) -> Store:
    try:
        store.do(lambda connection: _checked(connection, create=create))
        store.recognise()
    except BaseException:
        store.close()
        raise
    return store


def _checked(connection: Connection, *, create: bool) -> None:
    if not is_empty(_driver(connection)):
        return
    if not create:
        raise StoreError("the store is empty; the bot creates its tables at its first start")
    create_tables(connection)


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
    with _new_file(part):
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


def _unchanged(work: Callable[[Connection], T], conn: Connection) -> T:
    driver = _driver(conn)
    before = driver.total_changes
    done = work(conn)
    if driver.total_changes != before:
        raise TypeError("work that was to read has written")
    return done


async def _answer(work: "Future[T]") -> T:
    """What the store's thread returns; cancelling the task does not cancel the work."""
    future = asyncio.wrap_future(work)
    future.add_done_callback(_seen)
    return await asyncio.shield(future)


def _seen(future: "asyncio.Future[Any]") -> None:
    # The waiting task may have been cancelled; the error must not cause a warning at exit.
    if not future.cancelled():
        future.exception()
