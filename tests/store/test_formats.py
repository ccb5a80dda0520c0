"""Stores of every released format: converted after a snapshot, or refused in words."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import bot_process
import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select

from bot.actions.webhook import Webhook
from bot.domain.subjects import RecordingSubject, reread
from bot.errors import StoreError
from bot.store import backup, in_memory_copy, open_store
from bot.store.rules import Group, once_near
from bot.store.schema import SCHEMA_VERSION, matches, metadata, moment, once, steps

HOUR = timedelta(hours=1)
DUMPS = Path(__file__).parent / "formats"
RELEASED = sorted(int(dump.stem) for dump in DUMPS.glob("*.sql"))
NEWEST = max(RELEASED)
"""The newest format that a release wrote. `tests/store/formats/` has a store of each."""


def write(file: Path, number: int) -> str:
    """Make the stored sample of this format; returns its URL."""
    with closing(sqlite3.connect(file)) as raw:
        raw.executescript((DUMPS / f"{number}.sql").read_text())
    return f"sqlite:///{file}"


def rows(file: Path) -> dict[str, int]:
    with closing(sqlite3.connect(file)) as raw:
        tables = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in tables
            if name != "alembic_version"
        }


def shape(conn: Connection) -> dict[str, object]:
    """The tables, with what SQLAlchemy's comparison leaves out: defaults, conditions, ROWID."""
    columns = 'name, type, "notnull", dflt_value, pk FROM pragma_table_info'
    references = '"from", "table", "to", on_delete FROM pragma_foreign_key_list'

    def rows(query: str) -> list[str]:
        return sorted(map(str, conn.exec_driver_sql(f"SELECT {query}")))

    found: dict[str, object] = {}
    for kind, name, sql in conn.exec_driver_sql(
        "SELECT type, name, sql FROM sqlite_master"
        " WHERE sql IS NOT NULL AND name <> 'alembic_version'"
    ).all():
        match kind:
            case "table":
                shape = rows(f"{columns}('{name}')"), rows(f"{references}('{name}')")
                found[name] = (*shape, "WITHOUT ROWID" in sql)
            case _:
                found[name] = " ".join(sql.replace('"', "").split())
    return found


def differences(conn: Connection) -> list[object]:
    return compare_metadata(MigrationContext.configure(conn), metadata)


def operations(conn: Connection) -> str:
    """The lines of a revision that would make the differences go."""
    wanted = produce_migrations(MigrationContext.configure(conn), metadata).upgrade_ops
    return "" if wanted is None else render_python_code(wanted)


@pytest.mark.parametrize("number", RELEASED)
def test_a_store_of_every_released_format_opens_with_all_its_rows(tmp_path, number):
    file = tmp_path / "bot.db"
    url = write(file, number)
    before = rows(file)
    with open_store(url) as store:
        found = store.do(shape)
        lacking, wanted = store.do(differences), store.do(operations)
    assert not lacking, (
        f"A store of format {number} lacks a change of bot/store/schema.py. "
        "Add it to the newest revision in bot/store/migrations/versions "
        f"(a new one if that is revision {NEWEST:04}, which is released):\n{wanted}"
    )
    with open_store(f"sqlite:///{tmp_path}/fresh.db") as fresh:
        new = fresh.do(shape)
    differing = {name: (found.get(name), of) for name, of in new.items() if found.get(name) != of}
    assert not differing, (
        f"A converted store of format {number} differs from a new one in a default, a condition of "
        "an index or a key. Let the newest revision make what bot/store/schema.py says."
    )
    assert found.keys() == new.keys()
    after = rows(file)
    assert {name: after[name] for name in before} == before
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []


def test_secrets_of_webhooks_are_taken_out_of_the_store(tmp_path):
    url = write(tmp_path / "bot.db", 1)
    assert "hook-secret-of-format-1" in (DUMPS / "1.sql").read_text()
    with open_store(url) as store:
        kept = store.do(
            lambda conn: conn.execute(
                select(steps.c.params).where(steps.c.action == "webhook")
            ).scalars().all()
        )  # fmt: skip
    assert kept
    assert {Webhook.restored(each).secret for each in kept} == {"rule"}
    assert b"hook-secret-of-format-1" not in (tmp_path / "bot.db").read_bytes()


def matched_visitors(conn: Connection) -> list[tuple[bytes, int]]:
    query = select(matches.c.subject, matches.c.happened).where(matches.c.rule == "long-visit")
    return [(row.subject, row.happened) for row in conn.execute(query)]


def once_last(conn: Connection, rule: str, group: Group):
    """When the rule acted last for the group, if it holds that against new matches."""
    keys = (group.key, group.key_of_format_1)
    times = select(once.c.at).where(once.c.rule == rule, once.c.value.in_(keys))
    last = max(map(moment, conn.execute(times).scalars()), default=None)
    assert last is None or once_near(conn, rule, group, last + HOUR, 2 * HOUR)
    return last


@pytest.mark.parametrize("number", RELEASED)
def test_once_per_holds_over_the_conversion(tmp_path, number):
    # The samples come from a rule with `once_per: {visitor: 1d}`.
    with open_store(write(tmp_path / "bot.db", number)) as store:
        known = []
        for data, happened in store.do(matched_visitors):
            subject = reread(data)
            assert isinstance(subject, RecordingSubject)
            group = Group("visitor", str(subject.recording.visitor_id))
            last = store.do(lambda conn, group=group: once_last(conn, "long-visit", group))
            known += [(last, moment(happened))] if last else []
    assert known
    assert all(last >= happened for last, happened in known)
    assert any(last == happened for last, happened in known)


def test_the_number_of_the_format_is_that_of_the_newest_revision():
    revisions = Path(open_store.__code__.co_filename).parent / "migrations" / "versions"
    newest = max(int(file.name[:4]) for file in revisions.glob("[0-9]*.py"))
    assert newest == SCHEMA_VERSION, "SCHEMA_VERSION is the number of the newest revision"
    assert newest >= NEWEST


def test_a_snapshot_of_the_old_format_is_made_first_for_its_owner_alone(tmp_path):
    file = tmp_path / "bot.db"
    url = write(file, 1)
    open_store(url).close()
    snapshot = tmp_path / "bot.db.format-1"
    assert snapshot.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(snapshot)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (1,)
    before = snapshot.read_bytes()
    open_store(url).close()
    assert snapshot.read_bytes() == before
    assert not [each for each in tmp_path.iterdir() if each.suffix == ".part"]


def test_going_back_to_the_snapshot_and_on_again_works(tmp_path):
    file = tmp_path / "bot.db"
    url = write(file, 1)
    open_store(url).close()
    file.unlink()
    (tmp_path / "bot.db.format-1").rename(file)
    with open_store(url) as store:
        assert store.do(lambda conn: conn.exec_driver_sql("PRAGMA user_version").scalar()) > 1


def test_a_conversion_that_fails_changes_nothing(tmp_path):
    file = tmp_path / "bot.db"
    url = write(file, 1)
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("DELETE FROM matches WHERE id = (SELECT max(match_id) FROM steps)")
        raw.commit()
        before = "\n".join(raw.iterdump())
    with pytest.raises(StoreError, match="matches that is missing"):
        open_store(url)
    with closing(sqlite3.connect(file)) as raw:
        assert "\n".join(raw.iterdump()) == before
        assert raw.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_dry_run_converts_its_copy_alone(tmp_path):
    file = tmp_path / "bot.db"
    url = write(file, 1)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with in_memory_copy(url) as copy:
        assert not copy.do(differences)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_reader_of_an_older_store_is_told_to_start_the_bot(tmp_path):
    url = write(tmp_path / "bot.db", 1)
    with pytest.raises(StoreError, match=r"an older mouseflow-bot wrote it.*start the bot once"):
        open_store(url, read_only=True)


def test_a_command_converts_an_older_store_unless_a_bot_runs_on_it(tmp_path):
    url = write(tmp_path / "bot.db", 1)
    with open_store(f"sqlite:///{tmp_path}/other.db"):
        (tmp_path / "bot.db.lock").hardlink_to(tmp_path / "other.db.lock")
        with pytest.raises(StoreError, match="in use by another"):
            open_store(url, exclusive=False)
    with open_store(url, exclusive=False) as store:
        assert not store.do(differences)


def test_a_backup_of_an_older_store_keeps_its_format(tmp_path):
    url = write(tmp_path / "bot.db", 1)
    backup(url, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("PRAGMA user_version = 0", "its format is unknown"),
        ("PRAGMA user_version = -3", "its format is unknown"),
        ("PRAGMA user_version = 99", r"a newer mouseflow-bot wrote it \(format 99"),
        ("PRAGMA application_id = 7", "another program's database"),
        ("ALTER TABLE steps DROP COLUMN remedy", r"lacks steps\.remedy"),
        ("DROP TABLE digests", r"lacks digests\.rule"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_that_no_release_wrote_is_said_and_not_touched(tmp_path, change, says, read_only):
    file = tmp_path / "bot.db"
    open_store(f"sqlite:///{file}").close()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute(change)
        raw.commit()
        before = "\n".join(raw.iterdump())
    with pytest.raises(StoreError, match=says):
        open_store(f"sqlite:///{file}", read_only=read_only)
    with closing(sqlite3.connect(file)) as raw:
        assert "\n".join(raw.iterdump()) == before


def test_reading_an_empty_file_says_so(tmp_path):
    (tmp_path / "bot.db").touch()
    with pytest.raises(StoreError, match="empty"):
        open_store(f"sqlite:///{tmp_path}/bot.db", read_only=True)


DIES = """
import os, sys
from bot.store import formats, open_store, sqlite

def die(*_):
    os.kill(os.getpid(), 9)

where, name = sys.argv[2].split(".")
setattr({"sqlite": sqlite, "formats": formats}[where], name, die)
open_store(sys.argv[1])
"""


@pytest.mark.parametrize(
    "at", ["sqlite._flush", "sqlite.convert", "formats._mark", "sqlite._let_it_shrink"]
)
def test_a_crash_during_the_conversion_loses_nothing(tmp_path, at):
    file = tmp_path / "bot.db"
    url = write(file, 1)
    before = rows(file)
    died = bot_process.run([sys.executable, "-c", DIES, url, at])
    assert died.returncode == -9, died.stderr
    with open_store(url) as store:
        assert not store.do(differences)
    after = rows(file)
    assert {name: after[name] for name in before} == before
    assert not list(tmp_path.glob("*.part"))
    with closing(sqlite3.connect(tmp_path / "bot.db.format-1")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_disk_without_room_for_the_snapshot_is_said_and_nothing_is_converted(tmp_path):
    url = write(tmp_path / "bot.db", 1)
    code = "import sys; from bot.store import open_store; open_store(sys.argv[1])"
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 64; exec "$0" -c "$1" "$2"', sys.executable, code, url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "StoreError" in done.stderr
    assert "bot.db.format-1.part" in done.stderr
    with closing(sqlite3.connect(tmp_path / "bot.db")) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (1,)
    open_store(url).close()
