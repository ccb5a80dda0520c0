"""Opening the store: what is wrong is said with what to do, and nothing is lost or touched."""

import asyncio
import os
import sqlite3
import stat
import sys
import threading
from functools import partial
from pathlib import Path

import bot_process
import pytest
from store_samples import NOW, match, poll, url

from bot.errors import ConfigError, StoreError
from bot.store import backup, in_memory_copy, open_store
from bot.store.audit import Note, history, record
from bot.store.database import TOGETHER
from bot.store.lineage import written
from bot.store.matches import commit_poll, matches_of
from bot.store.recordings import set_watermark, watermark


def note(conn, text: str = "something") -> None:
    record(conn, NOW, [Note(kind="test", text=text)])


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_was_stored_is_there_after_a_restart(tmp_path):
    with open_store(url(tmp_path)) as store:
        store.do(lambda conn: commit_poll(conn, poll(match())))
    with open_store(url(tmp_path)) as store:
        assert store.do(lambda conn: watermark(conn, "recordings", "w1")) == '{"to":1}'


def test_every_commit_is_on_the_disk_before_it_counts(tmp_path):
    with open_store(url(tmp_path)) as store:
        pragmas = {
            name: store.do(
                lambda conn, name=name: conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            )
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }


def test_a_second_bot_is_refused_and_told_which_process_has_the_store(tmp_path):
    with open_store(url(tmp_path)), pytest.raises(StoreError, match=rf"process {os.getpid()}\b"):
        open_store(url(tmp_path))


def test_the_lock_goes_with_its_process(tmp_path):
    dies = (
        "import os, sys; from bot.store import open_store\n"
        "open_store(sys.argv[1]); print('open', flush=True); os.kill(os.getpid(), 9)"
    )
    ended = bot_process.run([sys.executable, "-c", dies, url(tmp_path)])
    assert ended.returncode == -9
    assert ended.stdout == "open\n"
    open_store(url(tmp_path)).close()


def test_commands_write_beside_a_running_daemon(tmp_path):
    with open_store(url(tmp_path)) as daemon, open_store(url(tmp_path), exclusive=False) as command:
        command.do(note)
        assert [entry.text for entry in daemon.do(history)] == ["something"]


def test_a_reader_sees_what_the_daemon_wrote_and_changes_nothing(tmp_path):
    with open_store(url(tmp_path)) as daemon:
        daemon.do(note)
        with open_store(url(tmp_path), read_only=True) as reader:
            assert len(reader.do(history)) == 1
            with pytest.raises(StoreError, match="read-only"):
                reader.do(note)


def test_reading_a_store_that_is_not_there_says_so(tmp_path):
    with pytest.raises(StoreError, match="does not exist yet"):
        open_store(url(tmp_path), read_only=True)


def test_a_store_of_a_newer_version_is_left_alone(tmp_path):
    open_store(url(tmp_path)).close()
    with sqlite3.connect(tmp_path / "bot.db") as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(StoreError, match="newer mouseflow-bot"):
        open_store(url(tmp_path))
    # The refusal gave the lock back.
    with pytest.raises(StoreError, match="newer mouseflow-bot"):
        open_store(url(tmp_path))


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_of_another_program_is_left_alone(tmp_path, journal, exclusive):
    with sqlite3.connect(tmp_path / "bot.db") as raw:
        raw.execute(f"PRAGMA journal_mode = {journal}")
        raw.execute("CREATE TABLE theirs (x)")
    raw.close()
    before = (tmp_path / "bot.db").read_bytes()
    with pytest.raises(StoreError, match="another program"):
        open_store(url(tmp_path), exclusive=exclusive)
    assert (tmp_path / "bot.db").read_bytes() == before


@pytest.mark.parametrize(
    "opens",
    [
        open_store,
        partial(open_store, exclusive=False),
        partial(open_store, read_only=True),
        in_memory_copy,
    ],
    ids=["exclusive", "beside", "read only", "in memory"],
)
@pytest.mark.parametrize(
    "make",
    [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")],
    ids=["folder", "pipe", "device"],
)
def test_what_is_no_file_is_no_store(tmp_path, make, opens):
    make(tmp_path / "bot.db")
    with pytest.raises(StoreError, match=r"bot\.db: this is no file"):
        opens(url(tmp_path))


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "bot.db").write_bytes(b"This is a letter to my aunt. " * 100)
    with pytest.raises(StoreError, match=r"bot\.db: not a SQLite database"):
        open_store(url(tmp_path))


def test_a_damaged_file_says_to_restore_a_backup(tmp_path):
    with open_store(url(tmp_path)) as store:
        store.do(lambda conn: commit_poll(conn, poll(*(match(f"r{n}") for n in range(200)))))
    file = tmp_path / "bot.db"
    data = bytearray(file.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    file.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"), open_store(url(tmp_path)) as store:
        store.do(lambda conn: matches_of(conn, limit=1000))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="right to write"):
        open_store(url(tmp_path))
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_full_disk_is_said_and_nothing_is_lost(store):
    store.do(note)
    store.do(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count = 60"))
    with pytest.raises(StoreError, match="the disk is full"):
        store.do(lambda conn: [note(conn, "x" * 10_000) for _ in range(1000)])
    assert [entry.text for entry in store.do(history)] == ["something"]
    store.do(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count = 100000"))
    store.do(note)
    assert len(store.do(history)) == 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("postgresql://db/bot?colour=red", "invalid connection option"),
        ("mysql+x://db/bot", "must name a file"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("mysql://db/bot", "must name a file"),
        ("data/bot.db", "not a URL"),
    ],
)
def test_a_url_that_this_version_cant_serve_is_a_fault_of_the_configuration(wrong, says):
    with pytest.raises(ConfigError, match=says):
        open_store(wrong)


def test_a_dry_run_without_a_store_makes_no_file(tmp_path):
    with in_memory_copy(f"sqlite:///{tmp_path}/data/bot.db") as copy:
        copy.do(note)
        assert len(copy.do(history)) == 1
    assert files(tmp_path) == {}


def test_a_dry_run_sees_the_store_and_leaves_every_file_as_it_was(tmp_path):
    with open_store(url(tmp_path)) as store:
        store.do(note)
    before = files(tmp_path)
    with in_memory_copy(url(tmp_path)) as copy:
        copy.do(note)
        assert len(copy.do(history)) == 2
    assert files(tmp_path) == before


def test_a_dry_run_beside_the_daemon_sees_its_last_commit_and_changes_nothing(tmp_path):
    with open_store(url(tmp_path)) as daemon:
        daemon.do(note)
        before = {name: data for name, data in files(tmp_path).items() if not name.endswith("-shm")}
        with in_memory_copy(url(tmp_path)) as copy:
            copy.do(note)
            assert len(copy.do(history)) == 2
        after = files(tmp_path)
        assert {name: after[name] for name in before} == before
        assert after.keys() - before.keys() == {"bot.db-shm"}
        assert len(daemon.do(history)) == 1


def test_a_backup_while_running_is_whole(tmp_path):
    with open_store(url(tmp_path)) as daemon:
        daemon.do(note)
        backup(url(tmp_path), tmp_path / "copy.db")
        daemon.do(note)
    with open_store(f"sqlite:///{tmp_path}/copy.db") as copy:
        assert len(copy.do(history)) == 1


def test_a_backup_is_only_for_its_owner_from_its_first_byte(tmp_path, monkeypatch):
    store, copy = tmp_path / "bot.db", tmp_path / "copy.db"
    modes = []
    connect = sqlite3.connect

    def watched(*args, **kwargs):
        modes.append(stat.S_IMODE(copy.stat().st_mode))
        return connect(*args, **kwargs)

    with open_store(f"sqlite:///{store}") as opened:
        opened.do(lambda conn: commit_poll(conn, poll(match())))
        monkeypatch.setattr(sqlite3, "connect", watched)
        before = os.umask(0o022)
        try:
            backup(f"sqlite:///{store}", copy)
        finally:
            os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_backup_that_fails_leaves_no_file(tmp_path):
    (tmp_path / "bot.db").write_text("no database" * 100)
    with pytest.raises(StoreError):
        backup(url(tmp_path), tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_backup_never_overwrites(tmp_path):
    open_store(url(tmp_path)).close()
    (tmp_path / "precious").write_text("precious")
    with pytest.raises(StoreError, match="already exists"):
        backup(url(tmp_path), tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_backup_of_nothing_says_so(tmp_path):
    with pytest.raises(StoreError, match="nothing to back up"):
        backup(url(tmp_path), tmp_path / "copy.db")


def test_a_unit_of_work_that_fails_leaves_no_trace(store):
    def fails(conn):
        note(conn)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.do(fails)
    assert store.do(history) == []


async def test_cancellation_cant_split_a_unit_of_work(store):
    started, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(conn):
        note(conn, "first half")
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        note(conn, "second half")

    waiting = asyncio.create_task(store.run(slow))
    await started.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert len(await store.run(history)) == 2


async def test_units_of_work_run_one_after_another(store):
    def raise_by_one(conn):
        seen = int(watermark(conn, "s", "w") or 0)
        set_watermark(conn, "s", "w", str(seen + 1), NOW)

    await asyncio.gather(*(store.run(raise_by_one) for _ in range(50)))
    assert await store.run(lambda conn: watermark(conn, "s", "w")) == "50"


async def while_others_wait(store, *units):
    """What becomes of the units; all of them wait until the store is free."""
    free = threading.Event()
    busy = asyncio.create_task(store.run(lambda _conn: free.wait()))
    waiting = [asyncio.create_task(store.run_together(unit)) for unit in units]
    await asyncio.sleep(0)  # now they are in the queue
    free.set()
    await busy
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_units_that_wait_share_one_transaction(store):
    before = await store.run(written)
    said = [lambda conn, n=n: (note(conn, f"note {n}"), n)[1] for n in range(TOGETHER + 3)]
    assert await while_others_wait(store, *said) == [*range(TOGETHER + 3)]
    assert len(await store.run(history)) == TOGETHER + 3
    assert await store.run(written) == before + 2


async def test_a_unit_that_fails_takes_no_other_along(store):
    def fails(conn):
        note(conn, "never stored")
        raise ValueError("of this unit")

    answers = await while_others_wait(store, lambda conn: note(conn, "first"), fails, note)
    assert [type(each) for each in answers] == [type(None), ValueError, type(None)]
    stored = [entry.text for entry in await store.run(history)]
    assert stored == ["something", "first"]


async def test_a_unit_that_always_takes_too_long_holds_up_no_other(store):
    def slow(conn):
        note(conn, "never stored")
        raise StoreError("PostgreSQL cancelled a statement")

    answers = await while_others_wait(store, slow, note, note, slow, note)
    assert [type(each) for each in answers] == [
        StoreError, type(None), type(None), StoreError, type(None)
    ]  # fmt: skip
    assert [entry.text for entry in await store.run(history)] == ["something"] * 3


async def test_an_error_of_the_store_is_told_to_all_that_shared_the_transaction(store):
    calls = []

    def full(_conn):
        calls.append(1)
        raise StoreError("the disk is full")

    answers = await while_others_wait(store, *[full] * TOGETHER)
    assert [str(each) for each in answers] == ["the disk is full"] * TOGETHER
    assert len(calls) == 3  # together, and two apart
    assert await store.run(history) == []
