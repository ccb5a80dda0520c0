"""The store: one SQLite connection in one thread; a unit of work is one function.

Cancelling a task can't split a unit of work: once submitted, it is committed or rolled back as
a whole.
"""

import asyncio
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import StaticPool

from bot.errors import ConfigError, StoreError, StoreLost
from bot.store.formats import convert, create_tables, is_empty, is_older
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


class Lock:
    """Held from construction until `release`; the kernel frees it when the process dies.

    Raises StoreError if another process holds it (and names that process), or if the lock file
    can't be written.
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
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreError(
                f"{database} is in use by another mouseflow-bot (process {holder}); "
                "stop that one first, or use another store"
            ) from error
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._file)
            raise unwritable(self.path, error) from error

    def release(self) -> None:
        """Release it. The file stays: removing it would let two bots lock two files."""
        os.close(self._file)


T = TypeVar("T")

BUSY_MS = 5_000
"""How long a write waits for another process (a command beside the daemon)."""


class Store:
    """Runs units of work, one after another. Made by `open_store` and `in_memory_copy`.

    It refuses all work once the store is damaged or its `file` is gone.
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
        self._file = file
        self._opened: tuple[int, int] | None = None
        self._lost = ""
        self._lock = lock
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._engine: Engine = create_engine(
            "sqlite://", creator=open_connection, poolclass=StaticPool
        )
        # IMMEDIATE takes the write lock at once, so a unit of work never fails half-way because
        # another process wrote in between.
        event.listen(self._engine, "begin", lambda conn: execute(conn, begin, {}))
        self._connection: Connection | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; raises StoreError and whatever `work` raises.

        After a StoreLost every later call raises it too.
        """
        future = asyncio.wrap_future(self._submit(work))
        future.add_done_callback(_seen)
        return await asyncio.shield(future)

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
        if self._lock:
            self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, work: Callable[[Connection], T]) -> "Future[T]":
        return self._thread.submit(self._in_transaction, work)

    def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        if self._lost:
            raise StoreLost(self._lost)
        try:
            with translated(self.place):
                connection = self._connected()
                with connection.begin():
                    return work(connection)
        except StoreLost as error:
            self._lost = str(error)
            raise

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
        "PRAGMA journal_mode = WAL",
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
    except BaseException:
        connection.close()
        raise
    return connection


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


def _seen(future: "asyncio.Future[Any]") -> None:
    # The waiting task may have been cancelled; the error must not cause a warning at exit.
    if not future.cancelled():
        future.exception()
