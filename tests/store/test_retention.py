"""`keep` holds whatever becomes of a website, and the file shrinks."""

import sqlite3
from contextlib import closing
from datetime import timedelta

from store_samples import NOW, match, poll, seen, url

from bot.store import open_store
from bot.store.alert_states import add_figures
from bot.store.audit import Note, history, record
from bot.store.matches import commit_poll
from bot.store.recordings import watermark
from bot.store.retention import forget, forget_website, limit

DAY = timedelta(days=1)
KEEP = 90 * DAY


def read(store, website, at):
    changes = {"website": website, "at": at, "seen": [seen(website, created=at)]}
    store.do(lambda conn: commit_poll(conn, poll(**changes)))


def limited(store, started):
    return store.do(lambda conn: limit(conn, KEEP, NOW, started))


def test_a_website_that_could_not_be_read_for_longer_than_keep_does_not_count(store):
    read(store, "gone", NOW - 230 * DAY)
    read(store, "there", NOW)
    found = limited(store, NOW)
    assert found.before == NOW - KEEP
    assert found.lost == {"gone": NOW - 230 * DAY}


def test_one_that_fails_for_less_than_keep_counts(store):
    read(store, "failing", NOW - 60 * DAY)
    read(store, "there", NOW)
    assert limited(store, NOW - 300 * DAY).before == NOW - 150 * DAY


def test_after_a_downtime_longer_than_keep_nothing_is_forgotten_at_once(store):
    read(store, "one", NOW - 120 * DAY)
    read(store, "two", NOW - 121 * DAY)
    found = limited(store, NOW - timedelta(minutes=1))
    assert found.before == NOW - 211 * DAY
    assert not found.lost


def test_the_only_website_may_be_gone_too(store):
    read(store, "gone", NOW - 120 * DAY)
    found = limited(store, NOW - 2 * DAY)
    assert found.before == NOW - KEEP
    assert found.lost == {"gone": NOW - 120 * DAY}


def test_a_website_that_was_forgotten_comes_back_as_a_new_one(store):
    read(store, "gone", NOW - 120 * DAY)
    store.do(lambda conn: forget_website(conn, "gone"))
    assert store.do(lambda conn: watermark(conn, "recordings", "gone")) is None
    assert limited(store, NOW - 2 * DAY).lost == {}


def test_the_history_of_figures_goes_at_its_own_time(store):
    def write(conn):
        record(conn, NOW - 40 * DAY, [Note(kind="poll")])
        for days in (40, 30):
            add_figures(conn, "pages", "one", "/", {"views": 1.0}, NOW - days * DAY)

    store.do(write)
    while store.do(lambda conn: forget(conn, NOW - KEEP, NOW - 35 * DAY)):
        pass
    count = "SELECT count(*) FROM figures"
    assert store.do(lambda conn: conn.exec_driver_sql(count).scalar_one()) == 1
    assert store.do(lambda conn: history(conn, kind="poll"))


def fill(store):
    def write(conn):
        record(conn, NOW - 100 * DAY, [Note(kind="poll", text="x" * 4000)] * 2000)

    store.do(write)


def empty(store):
    while store.do(lambda conn: forget(conn, NOW - KEEP)):
        pass
    while store.do(store.shrink):
        pass


def size(store):
    pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    return store.do(lambda conn: conn.exec_driver_sql(pages).scalar_one())


def test_a_store_shrinks_in_pieces_when_what_is_old_is_deleted(tmp_path):
    with open_store(url(tmp_path)) as store:
        fill(store)
        assert size(store) > 8_000_000
        empty(store)
        assert size(store) < 2_000_000
        assert store.do(history) == []
    assert (tmp_path / "bot.db").stat().st_size < 2_000_000


def test_a_store_of_the_first_version_can_shrink_too(tmp_path):
    from test_formats import write

    write(tmp_path / "bot.db", 1)
    with open_store(url(tmp_path)) as store:
        fill(store)
        before = size(store)
        empty(store)
        assert size(store) < before / 4
    with closing(sqlite3.connect(tmp_path / "bot.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_large_transaction_leaves_no_large_log(tmp_path):
    with open_store(url(tmp_path)) as store:
        for _ in range(4):
            fill(store)
        store.do(lambda conn: conn.exec_driver_sql("PRAGMA user_version").scalar())
        empty(store)
        assert (tmp_path / "bot.db-wal").stat().st_size < 40_000_000
        for _ in range(3):
            store.do(lambda conn: record(conn, NOW, [Note(kind="poll")]))
        assert (tmp_path / "bot.db-wal").stat().st_size <= 8 * 2**20


def test_copies_of_the_store_are_deleted_after_keep(tmp_path):
    with open_store(url(tmp_path)) as store:
        store.do(lambda conn: commit_poll(conn, poll(match())))
        copies = ["bot.db.format-1", "bot.db.before-restore", "bot.db.before-restore-wal"]
        for name in (*copies, "bot.db.mine", "other.db.format-1"):
            (tmp_path / name).touch()
        mtime = (tmp_path / "bot.db.format-1").stat().st_mtime
        store.delete_copies(NOW.fromtimestamp(mtime - 9, NOW.tzinfo))
        assert (tmp_path / "bot.db.format-1").exists()
        store.delete_copies(NOW.fromtimestamp(mtime + 9, NOW.tzinfo))
        assert not [name for name in copies if (tmp_path / name).exists()]
        assert (tmp_path / "bot.db.mine").exists()
        assert (tmp_path / "other.db.format-1").exists()
