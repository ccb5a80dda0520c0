"""The store: one connection in one thread; a unit of work is one function.

Cancelling a task can't split a unit of work: once submitted, it is committed or rolled back as
a whole. What differs between SQLite and PostgreSQL is behind `StoreLocation` and `Database`.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bot.domain.pulse import Sign
from bot.errors import ConfigError, StoreError, StoreLost
from bot.store.audit import take_recorded
from bot.store.faults import translated
from bot.store.lineage import Restored
from bot.store.sharing import Replica, Sharing
from bot.store.sqlite import SqliteLocation

T = TypeVar("T")

AGAIN = 1.0
"""Seconds until a lost answer to a COMMIT is looked up again."""


TOGETHER = 16
"""How many units of work share a transaction at most, so that other work does not wait long."""

Run = Callable[[Callable[[Connection], None]], "Future[None]"]


class Database(Protocol):
    """An open store of one kind.

    `begin` begins a unit of work, `begin_reading` one that only reads. `counts`: it is the bot's
    own, and its transactions are counted. `lease` is for how many seconds one of them proves that
    no other bot has taken it over; None if none can. `sharing` is the bot's part of the work. All
    but `beat`, `check` and `close` runs in the store's thread."""

    place: str
    begin: str
    begin_reading: str
    counts: bool
    lease: float | None
    sharing: Sharing

    def engine(self) -> Engine:
        """SQLAlchemy's engine on one connection; connecting may raise StoreError."""
        ...

    def check(self) -> None:
        """Raise StoreLost if the connection is not the store's any more."""
        ...

    def is_usable(self, driver: Any) -> bool:
        """Whether the connection still works after an error."""
        ...

    def prepare(self, conn: Connection) -> None:
        """Create or check the tables, in the first unit of work."""
        ...

    def begun(self, driver: Any, answer: Any) -> None:
        """Look at what the database answered to `begin`; raises StoreLost."""
        ...

    def has_changed(self, driver: Any) -> bool:
        """Whether rows were changed on this connection since the last call."""
        ...

    def recognise(self, conn: Connection, now: datetime) -> tuple[int, Restored | None]:
        """How often the store was written, and whether it is older than what was done with it."""
        ...

    def count(self, conn: Connection, now: datetime) -> int:
        """Count the transaction that is open; returns how many this bot can tell apart."""
        ...

    def written(self, conn: Connection) -> int:
        """How many of those were counted."""
        ...

    def keep_count(self, writes: int) -> None:
        """Keep how often the store was written where a copy of the store does not have it."""
        ...

    def beat(self, text: str, run: "Run") -> None:
        """Say beside the store how its owner is doing; `run` runs a unit of work."""
        ...

    def shrink(self, conn: Connection) -> bool:
        """Give free space back to the disk; true if there may be more."""
        ...

    def renumber(self, conn: Connection) -> None:
        """Continue the numbers of rows after those that were written with theirs."""
        ...

    def delete_copies(self, before: datetime) -> None:
        """Delete copies of the store that the bot made before then."""
        ...

    def leave(self, conn: Connection) -> None:
        """Leave the work to the other bots on the store, in the last unit of work."""
        ...

    def close(self) -> None:
        """Release what is held beside the connection."""
        ...


class StoreLocation(Protocol):
    """Where a store is, or will be. `name` is for people and has no password."""

    name: str

    def exists(self) -> bool:
        """Whether there is a store; raises StoreError if that can't be told."""
        ...

    def readable(self) -> Database:
        """For reading; raises StoreError if there is none."""
        ...

    def writable(self, *, exclusive: bool, shared: bool = False) -> Database:
        """For writing; `exclusive` keeps other bots out. Raises StoreError.

        `shared` lets bots in that share the work, where the database can do that.
        """
        ...

    def copied(self) -> Database:
        """A copy in memory, empty if there is no store."""
        ...

    def copy_to(self, file: Path) -> None:
        """Copy it into a new SQLite file; raises StoreError."""
        ...

    def backup(self, file: Path) -> None:
        """Make a backup for `restore`; raises StoreError where the database has its own tool."""
        ...

    def restore(self, file: Path) -> Path | None:
        """Put a backup in its place; returns where the old store is kept. Raises StoreError."""
        ...

    def beside(self) -> Path:
        """The path whose name begins the names of what commands keep beside the store."""
        ...

    def daemon(self) -> Sign | None:
        """How the daemon is doing that holds the store; None if there is none."""
        ...

    def replicas(self) -> list[Replica]:
        """The bots that share the store, the one that leads first; none where only one can use it.

        Raises StoreError if the database can't be asked.
        """
        ...


class Store:
    """Runs units of work, one after another. Made by `open_store` and `in_memory_copy`.

    It refuses all work once the store is lost. `restored` says that an older copy was put in the
    store's place before it was opened. `trouble` is since when (in seconds since 1970) and why it
    can't be written, None if it can. `recorded` is how many entries of the audit log were committed
    with it, or a few more after a rollback: whoever waits for entries need not ask the database.
    """

    def __init__(self, database: Database) -> None:
        self.place = database.place
        self.restored: Restored | None = None
        self.trouble: tuple[float, str] | None = None
        self.recorded = 0
        self.sharing = database.sharing
        self._database = database
        self._counting = False
        self._lost: StoreLost | None = None
        self._confirmed = 0.0
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._engine = database.engine()
        self._reads = False
        self._waiting: deque[tuple[Callable[[Connection], Any], Answer[Any]]] = deque()
        self._connection: Connection | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; raises StoreError and whatever `work` raises.

        After a StoreLost every later call raises it too.
        """
        return await _answer(self._submit(work))

    async def run_together(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction with all others that wait here, to commit only once.

        If one of them raises, they run again in transactions of their own; if the store itself is
        in trouble, all raise that.
        """
        answer: Answer[T] = Answer()  # Answer[T]() looks the type up each time
        self._waiting.append((work, answer))
        self._thread.submit(self._run_waiting)
        return await answer.future

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads: it waits for no other process that writes."""
        return await _answer(self._thread.submit(self._reading, work))

    def do(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as `run` does, for commands without an event loop; blocks until it is done."""
        return self._submit(work).result()

    def close(self) -> None:
        """Wait for running work, close the connection and release the lock; twice is harmless."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.submit(self._close).result()
        self._thread.shutdown()
        self._database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def confirm(self) -> None:
        """Make sure that no other bot has taken the store over; raises StoreError.

        A transaction a few seconds ago is enough.
        """
        lease = self._database.lease
        if lease is not None and not 0 <= time.time() - self._confirmed < lease:
            await self.run(lambda _conn: None)

    def beat(self, text: str) -> None:
        """Say beside the store how its owner is doing."""
        self._database.beat(text, self._submit)

    def shrink(self, conn: Connection) -> bool:
        """Give some of the free space back to the disk; call it again while it returns true."""
        return self._database.shrink(conn)

    def renumber(self, conn: Connection) -> None:
        """Rows were written with their numbers: new ones get higher numbers."""
        self._database.renumber(conn)

    def delete_copies(self, before: datetime) -> None:
        """Delete copies of the store that a conversion or a restore left before then."""
        self._database.delete_copies(before)

    def open(self) -> None:
        """Create or check the tables, and find out whether the store is an older copy."""
        self.do(self._database.prepare)
        if not self._database.counts:
            return  # commands don't count: they would hide that the store is older
        now = datetime.now(UTC)
        writes, self.restored = self.do(lambda conn: self._database.recognise(conn, now))
        self._database.keep_count(writes)
        self._counting = True

    def _begin(self, driver: Any) -> None:
        if self._reads:
            driver.execute(self._database.begin_reading)
        else:
            self._database.begun(driver, driver.execute(self._database.begin))

    def _submit(self, work: Callable[[Connection], T]) -> "Future[T]":
        return self._thread.submit(self._in_transaction, work)

    def _run_waiting(self) -> None:
        """Run what waits in one transaction, apart if that fails; there may be nothing left."""
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER))]
        error = self._run_group(group) if group else None
        if error is None:
            return
        # One that takes too long each time must not hold up the others. But if two in a row fail,
        # or the connection is gone, it is the store's trouble, which each attempt waits for.
        tries = 2 if len(group) > 1 else 0
        for each in group:
            if tries and (self._connection is not None or not isinstance(error, StoreError)):
                error = self._run_group([each])
                tries = tries - 1 if isinstance(error, StoreError) else 2
            if error is not None:
                each[1].fail(error)

    def _run_group(
        self, group: "list[tuple[Callable[[Connection], Any], Answer[Any]]]"
    ) -> BaseException | None:
        """Answer these, unless one of them raises: then return that error."""
        try:
            done = self._in_transaction(lambda conn: [work(conn) for work, _ in group])
        except BaseException as error:
            return error
        for (_, answer), result in zip(group, done, strict=True):
            answer.give(result)
        return None

    def _reading(self, work: Callable[[Connection], T]) -> T:
        def only_reads(conn: Connection) -> T:
            done = work(conn)
            if self._database.has_changed(_driver(conn)):
                raise TypeError("work that was to read has written")
            return done

        self._reads, confirmed = True, self._confirmed
        try:
            return self._in_transaction(only_reads)
        finally:
            self._reads, self._confirmed = False, confirmed

    def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        if self._lost is not None:
            raise type(self._lost)(str(self._lost))
        began = time.time()
        try:
            with translated(self.place):
                done, changed, writes = self._committed(work)
            if writes is not None:
                with suppress(StoreError):  # behind is safe
                    self._database.keep_count(writes)
        except StoreError as error:
            self._in_trouble(error)
            raise
        self._confirmed = began
        if changed:  # reading works also on a full disk
            self.trouble = None
        return done

    def _in_trouble(self, error: StoreError) -> None:
        if self.trouble is None:
            self.trouble = (time.time(), str(error))
        if isinstance(error, StoreLost):
            self._lost = error

    def _committed(self, work: Callable[[Connection], T]) -> tuple[T, bool, int | None]:
        """What the work returns, whether it has changed something, and the count if it is kept."""
        connection = self._begun()
        driver, writes = _driver(connection), None
        self._database.has_changed(driver)  # what was rolled back before is not of this work
        try:
            done = work(connection)
            changed = self._database.has_changed(driver)
            if changed and self._counting:
                writes = self._database.count(connection, datetime.now(UTC))
                self._database.has_changed(driver)
            recorded = take_recorded(connection)
        except BaseException:
            self._rolled_back(driver)
            raise
        try:
            driver.commit()
        except Exception as error:
            if self._rolled_back(driver) or writes is None:
                raise
            if not self._was_committed(writes, error):
                raise
        self.recorded += recorded
        return done, changed, writes

    def _begun(self) -> Connection:
        connection = self._connected()
        driver = _driver(connection)
        try:
            self._begin(driver)
        except Exception:
            if self._rolled_back(driver):
                raise
            connection = self._connected()  # it broke while nobody used it
            self._begin(_driver(connection))
        return connection

    def _rolled_back(self, driver: Any) -> bool:
        """Roll back; false if the connection is broken, which does that, too, and is replaced."""
        known_broken = self._connection is None or self._connection.invalidated
        if self._database.is_usable(driver) and not known_broken:
            driver.rollback()
            return True
        self._disconnect()
        return False

    def _was_committed(self, writes: int, error: Exception) -> bool:
        """Look up whether the COMMIT took effect whose answer was lost; waits for the database.

        All later work would go wrong if that was guessed. Raises StoreError once the store is
        closed, and StoreLost.
        """
        with suppress(StoreError), translated(self.place):
            self._in_trouble(StoreError(f"{self.place}: the answer to a COMMIT was lost: {error}"))
        while True:
            try:
                with translated(self.place):
                    connection = self._begun()
                    found = self._database.written(connection)
                    _driver(connection).rollback()
                    return found >= writes
            except StoreLost:
                raise
            except StoreError:
                if self._closing.wait(AGAIN):
                    raise

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            # Of one endless transaction, for SQLAlchemy: each unit of work begins and ends its own
            # at the driver, without SQLAlchemy's bookkeeping.
            self._connection.begin()
        else:
            self._database.check()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.invalidate()
            with suppress(Exception):
                self._connection.close()
            self._connection = None
            self._engine.dispose()

    def _close(self) -> None:
        if self.sharing.shares and self._counting:
            self._counting = False
            with suppress(StoreError):
                self._in_transaction(self._database.leave)
        self._disconnect()
        self._engine.dispose()


def open_store(
    url: str, *, read_only: bool = False, exclusive: bool = True, shared: bool = False
) -> Store:
    """Open the store at `url`; create it if it is missing.

    `exclusive` keeps other bots out; commands beside a running daemon open it without. `shared`
    lets in those that share the work, if the database can do that.
    `read_only` changes nothing and needs no lock. Raises ConfigError for a URL that this
    version does not support, StoreError for a store that can't be used.
    """
    place = location_of(url)
    if read_only:
        return opened(place.readable())
    return opened(place.writable(exclusive=exclusive, shared=shared))


def in_memory_copy(url: str) -> Store:
    """A copy of the store in memory, for dry runs; nothing is written.

    Empty if there is no store yet; a store of an older version is converted in memory. Raises
    like `open_store`.
    """
    return opened(location_of(url).copied())


def backup(url: str, file: Path) -> None:
    """Write a consistent copy of the store to `file`, also while the daemon runs.

    Raises StoreError if that can't be done; then there is no `file`.
    """
    location_of(url).backup(file)


def restore(url: str, file: Path) -> Path | None:
    """Put a backup in the place of the store; returns where the store before is kept, if any.

    Raises StoreError if that can't be done; then nothing has changed.
    """
    return location_of(url).restore(file)


def location_of(url: str) -> StoreLocation:
    """Where the store of this URL is; raises ConfigError if this version does not support it."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("store.url is not a URL; write it like sqlite:///data/bot.db") from error
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        try:
            from bot.store.postgres import PostgresLocation
        except ImportError as error:
            raise ConfigError(
                "store.url: PostgreSQL needs one more package; "
                'install it with: pip install "mouseflow-bot[postgres]"'
            ) from error
        return PostgresLocation(parsed)
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigError("store.url must name a file, like sqlite:///data/bot.db")
    return SqliteLocation(Path(parsed.database))


def opened(database: Database) -> Store:
    """The store, with its tables; raises StoreError if it can't be used."""
    store = Store(database)
    try:
        store.open()
    except BaseException:
        store.close()
        raise
    return store


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection


class Answer(Generic[T]):
    """What the store's thread tells a task; cancelling the task does not cancel the work.

    asyncio's `wrap_future` and `shield` do the same with four more futures and callbacks, which
    were a fifth of the cost of settling a step.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    def give(self, result: T) -> None:
        """Tell the result; called in the store's thread."""
        self._tell(self.future.set_result, result)

    def fail(self, error: BaseException) -> None:
        """Tell the error; called in the store's thread."""
        if isinstance(error, StopIteration):  # no future takes it: the task would wait for ever
            error = RuntimeError("the work on the store ended with StopIteration")
        self._tell(self.future.set_exception, error)

    def _tell(self, how: Callable[[Any], None], what: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._tell_waiting, how, what)

    def _tell_waiting(self, how: Callable[[Any], None], what: object) -> None:
        if not self.future.done():  # or the waiting task was cancelled
            how(what)
            self.future.exception()  # it may be cancelled now: then asyncio would log the error


async def _answer(work: "Future[T]") -> T:
    answer: Answer[T] = Answer()

    def tell(done: "Future[T]") -> None:
        error = done.exception()
        if error is None:
            answer.give(done.result())
        else:
            answer.fail(error)

    work.add_done_callback(tell)
    return await answer.future
