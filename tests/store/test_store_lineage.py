"""A store that is older than what was done with it is recognised, and only such a one."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from store_samples import POST, match, poll, step, url

from bot.errors import StoreError
from bot.store import backup, in_memory_copy, open_store, restore
from bot.store.matches import commit_poll
from bot.store.outbox import claim, complete, postpone
from bot.store.schema import steps


def work(store, *keys: str) -> None:
    store.do(lambda conn: commit_poll(conn, poll(*(match(key) for key in keys))))


def looks(conn) -> list[bool]:
    query = select(steps.c.look_since).order_by(steps.c.id)
    return [since is not None for since in conn.execute(query).scalars()]


def copy(folder: Path, to: str) -> None:
    shutil.copy(folder / "bot.db", folder / to)


@pytest.fixture
def older(tmp_path):
    """A store that was rolled back by one poll; it holds one match."""
    with open_store(url(tmp_path)) as store:
        work(store, "r1")
    copy(tmp_path, "old.db")
    with open_store(url(tmp_path)) as store:
        work(store, "r2")
    copy(tmp_path, "new.db")
    (tmp_path / "old.db").rename(tmp_path / "bot.db")
    return tmp_path


def test_an_older_copy_is_recognised_once(older):
    with open_store(url(older)) as store:
        assert store.restored is not None
        assert not store.restored.new
        assert store.restored.since <= store.restored.at
        assert store.do(looks) == [True]
    with open_store(url(older)) as store:
        assert store.restored is None


def test_a_store_that_was_copied_without_its_number_is_recognised(tmp_path):
    with open_store(url(tmp_path)) as store:
        work(store, "r1")
    (tmp_path / "bot.db.generation").unlink()
    with open_store(url(tmp_path)) as store:
        assert store.restored is not None


def test_a_new_store_in_the_place_of_a_lost_one_is_recognised(tmp_path):
    with open_store(url(tmp_path)) as store:
        work(store, "r1")
    (tmp_path / "bot.db").unlink()
    with open_store(url(tmp_path)) as store:
        assert store.restored is not None
        assert store.restored.new
        work(store, "r1")
        assert store.do(looks) == [True]


def test_an_ordinary_start_is_no_restore(tmp_path):
    for number in range(3):
        with open_store(url(tmp_path)) as store:
            assert store.restored is None
            work(store, f"r{number}")
            assert not any(store.do(looks))


def test_a_number_that_was_not_written_in_time_is_no_restore(tmp_path):
    with open_store(url(tmp_path)) as store:
        work(store, "r1")
        behind = (tmp_path / "bot.db.generation").read_text()
        work(store, "r2")
    (tmp_path / "bot.db.generation").write_text(behind)
    with open_store(url(tmp_path)) as store:
        assert store.restored is None


def test_a_command_beside_it_hides_no_restore(older):
    with open_store(url(older), exclusive=False) as command:
        work(command, "r3")
    with open_store(url(older)) as store:
        assert store.restored is not None


def test_a_crash_while_it_is_recognised_finds_the_same_again(older):
    number = (older / "bot.db.generation").read_text()
    with open_store(url(older)) as store:
        first = store.restored
    copy(older, "marked.db")
    (older / "bot.db.generation").unlink()
    with open_store(url(older)) as store:
        assert store.restored is not None
        assert first is not None
        assert store.restored.since == first.since
    assert int(number) > 0


def test_dry_runs_and_readers_recognise_and_change_nothing(older):
    before = {file.name: file.read_bytes() for file in older.iterdir()}
    with in_memory_copy(url(older)) as store:
        assert store.restored is None
    with open_store(url(older), read_only=True) as store:
        assert store.restored is None
    after = {file.name: file.read_bytes() for file in older.iterdir()}
    assert {name: after[name] for name in before} == before


def test_steps_of_what_happened_before_the_restore_look_first_for_ever(older):
    with open_store(url(older)) as store:
        assert store.restored is not None
        at = store.restored.at
        late = at + timedelta(days=9)
        before = match("r5", at=late, happened=at - timedelta(minutes=1))
        after = match("r6", at=late, happened=at + timedelta(minutes=1))
        soon = match("r7", at=at + timedelta(hours=2), happened=at + timedelta(hours=2))
        store.do(lambda conn: commit_poll(conn, poll(before, after, soon)))
        assert store.do(looks) == [True, True, False, True]


def test_limits_hold_for_posts_that_were_looked_up_and_not_found(older):
    limited = '{"channel":"#alerts","at_most":{"times":2,"window_ms":3600000}}'
    with open_store(url(older)) as store:
        assert store.restored is not None
        now = store.restored.at
        waiting = [
            match(f"p{n}", [step(f"p{n}/post", POST, params=limited, due=now)], at=now)
            for n in range(5)
        ]
        store.do(lambda conn: commit_poll(conn, poll(*waiting)))
        posted = []
        for turn in range(12):
            got = store.do(lambda conn, t=turn: claim(conn, "slack:#alerts", now, f"t{t}"))
            if got is None:
                break
            if got.restored:
                assert got.attempted == store.restored.since
                store.do(
                    lambda conn, got=got: postpone(
                        conn, got, now, until=now, reason="not there", attempted=None, absent=True
                    )
                )
            else:
                posted.append(got.key)
                store.do(lambda conn, got=got: complete(conn, got, now))
        assert posted == ["p0/post", "p1/post"]


def test_restore_keeps_the_store_that_was_there(tmp_path):
    with open_store(url(tmp_path)) as store:
        work(store, "r1")
        backup(url(tmp_path), tmp_path / "copy.db")
        work(store, "r2")
    assert restore(url(tmp_path), tmp_path / "copy.db") == tmp_path / "bot.db.before-restore"
    assert (tmp_path / "bot.db").stat().st_mode & 0o777 == 0o600
    with open_store(url(tmp_path)) as store:
        assert store.restored is not None
        assert len(store.do(looks)) == 1
    with open_store(f"sqlite:///{tmp_path}/bot.db.before-restore", read_only=True) as store:
        assert len(store.do(looks)) == 2


def test_restore_takes_the_log_of_a_bot_that_was_killed_out_of_the_way(tmp_path):
    with open_store(url(tmp_path)) as store:
        work(store, "r1")
        backup(url(tmp_path), tmp_path / "copy.db")
        work(store, "r2")
        for name in ("bot.db", "bot.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / f"killed-{name}")
    for name in ("bot.db", "bot.db-wal"):
        (tmp_path / f"killed-{name}").rename(tmp_path / name)
    restore(url(tmp_path), tmp_path / "copy.db")
    assert not (tmp_path / "bot.db-wal").exists()
    with open_store(f"sqlite:///{tmp_path}/bot.db.before-restore", read_only=True) as store:
        assert len(store.do(looks)) == 2


def test_restore_of_an_older_format_is_converted_at_the_next_start(tmp_path):
    from test_formats import write

    write(tmp_path / "old.db", 1)
    assert restore(url(tmp_path), tmp_path / "old.db") is None
    with open_store(url(tmp_path)) as store:
        assert store.do(looks)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda file: None, "no such file"),
        (lambda file: file.mkdir(), "no such file"),
        (lambda file: file.touch(), "empty"),
        (lambda file: file.write_text("a letter to my aunt " * 99), "not a SQLite database"),
    ],
)
def test_restore_refuses_what_is_no_backup_and_changes_nothing(tmp_path, make, says):
    with open_store(url(tmp_path)) as store:
        work(store, "r1")
    make(tmp_path / "copy.db")
    with pytest.raises(StoreError, match=says):
        restore(url(tmp_path), tmp_path / "copy.db")
    with open_store(url(tmp_path)) as store:
        assert store.restored is None
        assert len(store.do(looks)) == 1


def test_restore_beside_a_running_bot_is_refused(tmp_path):
    with open_store(url(tmp_path)) as store:
        work(store, "r1")
        backup(url(tmp_path), tmp_path / "copy.db")
        with pytest.raises(StoreError, match="in use"):
            restore(url(tmp_path), tmp_path / "copy.db")


def test_the_store_itself_is_no_backup(tmp_path):
    open_store(url(tmp_path)).close()
    with pytest.raises(StoreError, match="is the store itself"):
        restore(url(tmp_path), tmp_path / "bot.db")
