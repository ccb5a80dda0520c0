"""Disks that are full or read-only, files that are locked, damaged or gone: said, and survived."""

import asyncio
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from store_samples import NOW, match, poll, url

from bot.errors import StoreError, StoreLost
from bot.store import backup, open_store
from bot.store.audit import Note, history, record
from bot.store.matches import commit_poll, matches_of
from bot.store.recordings import set_watermark, watermark

Remount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)):
        pytest.skip("this user may not mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


def read_only(disk: Path) -> None:
    assert _mount("-o", "remount,ro", str(disk)) == 0


def fill(disk: Path) -> Path:
    """Not a byte is left."""
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * shutil.disk_usage(disk).free)
    assert shutil.disk_usage(disk).free == 0
    return ballast


def note(conn, text: str = "something") -> None:
    record(conn, NOW, [Note(kind="test", text=text)])


def smashed(file: Path, first: int) -> None:
    """Every page from that one on begins with rubbish."""
    size = file.stat().st_size
    with file.open("r+b") as raw:
        for page in range(first * 4096, size, 4096):
            raw.seek(page)
            raw.write(b"\xff" * 512)


def test_a_start_on_a_full_disk_says_so_and_leaves_the_lock_free(disk):
    ballast = fill(disk)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"bot\.db.*: the disk is full; free some space"):
            open_store(url(disk))
    ballast.unlink()
    open_store(url(disk)).close()


def test_a_disk_that_fills_up_while_the_bot_runs_loses_nothing_that_was_stored(disk):
    with open_store(url(disk)) as store:
        store.do(note)
        ballast = fill(disk)
        for _ in range(3):
            with pytest.raises(StoreError, match="the disk is full"):
                store.do(lambda conn: [note(conn, "x" * 10_000) for _ in range(100)])
        ballast.unlink()
        store.do(note)
        assert len(store.do(history)) == 2


def test_a_file_that_may_not_grow_says_so(tmp_path):
    grows = (
        "import resource, sys; from test_store_trouble import note; from bot.store import *\n"
        "store = open_store(sys.argv[1])\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, {resource.RLIM_INFINITY}))\n"
        "store.do(lambda conn: [note(conn, 'x' * 10_000) for _ in range(1000)])"
    )
    here = str(Path(__file__).parent)
    ended = subprocess.run(
        [sys.executable, "-c", grows, url(tmp_path)],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "bot.errors.StoreError: " in ended.stderr
    assert "quota" in ended.stderr
    with open_store(url(tmp_path)) as store:
        assert store.do(history) == []


def test_on_a_read_only_disk_a_start_says_so_and_what_is_there_can_be_read(disk, tmp_path):
    with open_store(url(disk)) as store:
        store.do(note)
    read_only(disk)
    with pytest.raises(StoreError, match="the file system is read-only"):
        open_store(url(disk))
    with pytest.raises(StoreError, match="its folder is read-only"):
        open_store(url(disk), exclusive=False)
    with open_store(url(disk), read_only=True) as reader:
        assert len(reader.do(history)) == 1
    backup(url(disk), tmp_path / "copy.db")
    with open_store(f"sqlite:///{tmp_path}/copy.db") as copy:
        assert len(copy.do(history)) == 1


def test_a_store_that_another_program_locks_waits_says_so_and_goes_on(tmp_path):
    with open_store(url(tmp_path)) as store:
        store.do(lambda conn: conn.exec_driver_sql("PRAGMA busy_timeout = 10"))
        other = sqlite3.connect(tmp_path / "bot.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program has locked it") as raised:
            store.do(note)
        assert not isinstance(raised.value, StoreLost)
        other.close()
        store.do(note)
        assert len(store.do(history)) == 1


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_written_into_a_file_that_was_taken_away(tmp_path, replaced):
    with open_store(url(tmp_path)) as store:
        store.do(note)
        (tmp_path / "bot.db").rename(tmp_path / "elsewhere.db")
        if replaced:
            (tmp_path / "bot.db").write_bytes((tmp_path / "elsewhere.db").read_bytes())
        for _ in range(2):
            with pytest.raises(
                StoreLost, match="was deleted or replaced while the bot was running"
            ):
                store.do(note)


def test_a_damaged_store_is_not_written_to_any_more(tmp_path):
    with open_store(url(tmp_path)) as store:
        store.do(lambda conn: commit_poll(conn, poll(*(match(f"r{n}") for n in range(200)))))
        store.do(lambda conn: conn.exec_driver_sql("PRAGMA shrink_memory"))
        with sqlite3.connect(tmp_path / "bot.db") as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.close()
        smashed(tmp_path / "bot.db", 1)
        store.do(lambda conn: conn.exec_driver_sql("PRAGMA shrink_memory"))
        with pytest.raises(StoreLost, match="the file is damaged"):
            store.do(lambda conn: matches_of(conn, limit=1000))
        with pytest.raises(StoreLost, match="the file is damaged"):
            store.do(lambda conn: conn.exec_driver_sql("SELECT 1"))


def test_a_first_page_that_is_damaged_is_no_database_any_more(tmp_path):
    open_store(url(tmp_path)).close()
    with (tmp_path / "bot.db").open("r+b") as raw:
        raw.write(b"\0" * 100)
    with pytest.raises(StoreLost, match="not a SQLite database, or its header is damaged"):
        open_store(url(tmp_path))


async def test_reading_waits_for_no_other_program_that_writes(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        store.do(lambda conn: set_watermark(conn, "s", "w", "1", NOW))
        store.do(lambda conn: conn.exec_driver_sql("PRAGMA busy_timeout = 0").scalar())
        with closing(sqlite3.connect(tmp_path / "bot.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await store.read(lambda conn: watermark(conn, "s", "w")) == "1"
            with pytest.raises(StoreError):
                await store.run(lambda conn: watermark(conn, "s", "w"))
        assert await store.run(lambda conn: watermark(conn, "s", "w")) == "1"


async def test_work_that_was_to_read_changes_nothing(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        with pytest.raises(TypeError, match="has written"):
            await store.read(lambda conn: set_watermark(conn, "s", "w", "1", NOW))
        assert await store.read(lambda conn: watermark(conn, "s", "w")) is None
        await store.run(lambda conn: set_watermark(conn, "s", "w", "2", NOW))


async def test_work_that_ends_with_stop_iteration_fails_and_nobody_waits_for_it(tmp_path):
    with open_store(url(tmp_path)) as store:
        for run in (store.run, store.run_together, store.read):
            with pytest.raises(RuntimeError, match="StopIteration"):
                async with asyncio.timeout(30):
                    await run(lambda _conn: next(iter(())))


async def test_what_failed_before_does_not_count_as_written_by_what_comes_after(store_url):
    def fails(conn) -> None:
        note(conn)
        raise StoreError("in trouble")

    with open_store(store_url) as store:
        for read in (store.read, store.run):
            with pytest.raises(StoreError):
                await store.run(fails)
            assert await read(history) == []
            assert store.trouble is not None  # only a write says that writing works


def test_entries_count_as_recorded_once_they_are_committed(tmp_path: Path) -> None:
    with open_store(url(tmp_path)) as store:
        before = store.recorded

        def work(conn):
            note(conn)
            return store.recorded

        assert store.do(work) == before
        assert store.recorded == before + 1
        store.do(lambda _conn: None)
        assert store.recorded == before + 1
