"""What is PostgreSQL's own: connections that break, its one lock, restores, passwords, moves."""

import os
import pkgutil
import random
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from msgspec.structs import replace
from postgres_proxy import Proxy
from postgres_server import PASSWORD, Server, connected, create_database, end_sessions
from sqlalchemy import Executable, TextClause, func, make_url, select
from sqlalchemy.exc import IntegrityError
from store_samples import MINUTE, NOW, match, poll, step

import bot.store
from bot.domain.subjects import PageSubject, Site
from bot.errors import ConfigError, StoreError, StoreLost, StoreTaken
from bot.store import backup, in_memory_copy, location_of, open_store, restore
from bot.store.audit import Note, history, record
from bot.store.formats import run_revisions
from bot.store.matches import commit_poll, matches_of, set_aside
from bot.store.move import move
from bot.store.outbox import claim, complete, recover
from bot.store.schema import lineage, steps
from bot.store.statements import _for_psycopg, copy_rows, execute, execute_later


def note(conn, text: str = "something") -> None:
    record(conn, NOW, [Note(kind="test", text=text)])


def texts(conn) -> list[str]:
    return [entry.text for entry in history(conn)]


def looks(conn) -> list[bool]:
    return [since is not None for since in conn.execute(select(steps.c.look_since)).scalars()]


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    network = Proxy(postgres_url)
    yield network
    network.close()


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    name = f"bot_test_{uuid4().hex[:12]}"
    yield create_database(postgres, name)
    with connected(postgres) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


# One bot.


def test_a_second_bot_is_refused_and_told_which_process_has_the_store(postgres_url):
    with (
        open_store(postgres_url),
        pytest.raises(StoreError, match=rf"in use by another .*process {os.getpid()} on "),
    ):
        open_store(postgres_url)
    open_store(postgres_url).close()


async def test_what_only_reads_waits_for_no_writer_and_writes_nothing(postgres_url):
    with (
        open_store(postgres_url) as daemon,
        open_store(postgres_url, exclusive=False) as command,
    ):
        inside, go_on = threading.Event(), threading.Event()

        def slow(conn) -> None:
            note(conn)
            inside.set()
            go_on.wait()

        writing = threading.Thread(target=command.do, args=[slow])
        writing.start()
        inside.wait()
        assert await daemon.read(texts) == []
        go_on.set()
        writing.join()
        with pytest.raises(StoreError, match="read-only"):
            await daemon.read(note)
        assert await daemon.read(texts) == ["something"]
        await daemon.run(note)


def test_commands_work_beside_a_running_daemon_and_readers_change_nothing(postgres_url):
    with (
        open_store(postgres_url) as daemon,
        open_store(postgres_url, exclusive=False) as command,
        open_store(postgres_url, read_only=True) as reader,
    ):
        command.do(note)
        assert daemon.do(texts) == reader.do(texts) == ["something"]
        with pytest.raises(StoreError, match="read-only"):
            reader.do(note)


def test_two_connections_never_claim_the_same_step(postgres_url):
    keys = [f"r{number:03}" for number in range(60)]
    with (
        open_store(postgres_url, exclusive=False) as one,
        open_store(postgres_url, exclusive=False) as other,
    ):
        one.do(lambda conn: commit_poll(conn, poll(*map(match, keys))))
        claimed: list[str] = []

        def work(store, who: str) -> None:
            while got := store.do(lambda conn: claim(conn, "mouseflow:w1", NOW, who)):
                claimed.append(got.key)
                store.do(lambda conn, got=got: complete(conn, got, NOW))

        threads = [
            threading.Thread(target=work, args=(store, who))
            for store, who in ((one, "a"), (other, "b"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claimed) == [f"checkout/w1/{key}/tag-1" for key in keys]


def test_the_server_ends_the_session_of_a_bot_that_is_frozen(postgres_url):
    def settings(conn) -> list[str]:
        names = ("idle_session_timeout", "idle_in_transaction_session_timeout")
        return [conn.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]

    with open_store(postgres_url) as daemon:
        assert daemon.do(settings) == ["20s", "20s"]
    with open_store(postgres_url, exclusive=False) as command:
        assert command.do(settings)[0] == "0"


@pytest.mark.parametrize("still_there", [True, False])
def test_a_bot_that_wakes_up_after_another_took_over_does_nothing_any_more(
    postgres_url, still_there
):
    with open_store(postgres_url) as frozen:
        end_sessions(postgres_url)
        other = open_store(postgres_url)
        if not still_there:
            other.close()
        for _ in range(2):
            with pytest.raises(StoreLost, match="another mouseflow-bot has used the store"):
                frozen.do(note)
        other.close()
    with open_store(postgres_url) as store:
        assert store.do(texts) == []


def test_a_user_that_owns_nothing_but_the_database_is_enough(postgres, empty_database):
    made = make_url(empty_database)
    role = f"owner_{made.database}"
    with connected(postgres) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        admin.execute(f"ALTER DATABASE {made.database} OWNER TO {role}")
    try:
        url = made.set(username=role).render_as_string(hide_password=False)
        with open_store(url) as store:
            store.do(note)
            store.beat("well")
            sign = location_of(url).daemon()
            assert sign is not None
            with pytest.raises(StoreError, match=rf"process {os.getpid()} on "):
                open_store(url)
        with open_store(url) as store:
            assert store.restored is None
    finally:
        with connected(postgres) as admin:
            admin.execute(f"ALTER DATABASE {made.database} OWNER TO postgres")
        with connected(empty_database) as admin:
            admin.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP ROLE {role}")


# Connections that break.


def test_a_connection_that_broke_while_nobody_used_it_is_replaced(postgres_url):
    with open_store(postgres_url) as store:
        store.do(note)
        end_sessions(postgres_url)
        store.do(note)
        assert len(store.do(texts)) == 2
        with pytest.raises(StoreError, match="in use"):
            open_store(postgres_url)


def test_a_connection_that_breaks_during_work_leaves_nothing_and_the_next_one_works(postgres_url):
    def broken(conn) -> None:
        note(conn, "first half")
        end_sessions(postgres_url)
        note(conn, "second half")

    with open_store(postgres_url) as store:
        with pytest.raises(StoreError, match="closed the connection"):
            store.do(broken)
        assert store.trouble is not None
        store.do(note)
        assert store.trouble is None
        assert store.do(texts) == ["something"]


def test_while_the_database_is_away_work_fails_in_words_and_then_goes_on(proxy):
    with open_store(proxy.url) as store:
        store.do(note)
        proxy.cut()
        for _ in range(3):
            with pytest.raises(StoreError, match="PostgreSQL does not answer") as raised:
                store.do(note)
            assert not isinstance(raised.value, StoreLost)
            assert PASSWORD not in str(raised.value)
        proxy.heal()
        for _ in range(200):
            try:
                store.do(note)
                break
            except StoreError:
                threading.Event().wait(0.02)
        assert len(store.do(texts)) == 2


@pytest.mark.parametrize("took_effect", [True, False])
def test_a_commit_whose_answer_is_lost_is_looked_up(proxy, took_effect):
    with open_store(proxy.url) as store:
        proxy.forwards_lost, proxy.lose = took_effect, b"COMMIT"
        if took_effect:
            store.do(note)
        else:
            with pytest.raises(StoreError):
                store.do(note)
        assert store.do(texts) == ["something"] * took_effect
        store.do(note)
        assert store.trouble is None


LANE = "INSERT INTO lanes (lane) VALUES (:lane)"


def test_what_waits_for_the_next_statement_fails_with_it_or_with_the_commit(postgres_url):
    def at_the_commit(conn) -> None:
        note(conn)
        for _ in range(2):
            execute_later(conn, LANE, {"lane": "slack:#a"})

    def before_it(conn) -> None:
        at_the_commit(conn)
        texts(conn)
        raise AssertionError("it waits no longer")

    with open_store(postgres_url) as store:
        for work in (at_the_commit, before_it):
            with pytest.raises((psycopg.IntegrityError, IntegrityError), match="lanes_pkey"):
                store.do(work)
            assert store.do(texts) == []
        store.do(note)
        assert store.do(texts) == ["something"]
    with open_store(postgres_url) as again:
        assert again.restored is None


def test_text_that_cannot_be_sent_with_the_commit_leaves_no_transaction_open(postgres_url):
    with open_store(postgres_url) as store:
        with pytest.raises(UnicodeEncodeError):
            store.do(lambda conn: (execute(conn, LANE, {"lane": "a"}), note(conn, "\ud800")))
        store.do(note)
        assert store.do(texts) == ["something"]
        assert store.do(lambda conn: execute(conn, "SELECT lane FROM lanes", {}).fetchall()) == []


def test_what_waits_in_a_block_that_is_set_aside_takes_nothing_along(postgres_url):
    def work(conn) -> None:
        about = Note(kind="match", rule="odd")
        with set_aside(conn, about, NOW):
            for _ in range(2):
                execute_later(conn, LANE, {"lane": "slack:#a"})
        with set_aside(conn, about, NOW):
            note(conn)

    with open_store(postgres_url) as store:
        store.do(work)
        assert len(store.do(texts)) == 2


def test_what_waits_is_seen_by_the_next_statement_and_committed_without_one(postgres_url):
    with open_store(postgres_url) as store:
        assert store.do(lambda conn: (note(conn, "first"), texts(conn))[1]) == ["first"]
        store.do(lambda conn: note(conn, "second"))
        assert store.do(texts) == ["second", "first"]


def test_a_command_does_not_guess_whether_its_commit_took_effect(proxy):
    with open_store(proxy.url, exclusive=False) as command:
        proxy.lose = b"COMMIT"
        with pytest.raises(StoreError, match="closed the connection"):
            command.do(note)


@pytest.mark.parametrize(("shared", "error"), [(True, StoreTaken), (False, StoreLost)])
def test_a_failover_while_the_bot_runs_ends_its_work_until_it_begins_anew(
    postgres_url, monkeypatch, shared, error
):
    with open_store(postgres_url, shared=shared) as store:
        store.do(lambda conn: commit_poll(conn, poll(match("r1"))))
        end_sessions(postgres_url)
        store.do(note)  # the same server
        monkeypatch.setattr("bot.store.postgres._home", lambda _driver: "the standby")
        end_sessions(postgres_url)
        with pytest.raises(StoreError) as lost:
            store.do(note)
        assert type(lost.value) is error
    with open_store(postgres_url, shared=shared) as store:
        assert store.restored
        assert all(store.do(looks))


# What is wrong is said, and no password with it.


def test_no_error_and_no_name_has_the_password(postgres_url, proxy):
    proxy.cut()
    wrong = postgres_url.replace(PASSWORD, "wr0ng-secret")
    gone = postgres_url.replace("bot_test", "no_such")
    faults = {wrong: "password authentication", gone: "does not exist", proxy.url: "not answer"}
    for url, says in faults.items():
        with pytest.raises(StoreError, match=says) as raised:
            open_store(url)
        place = location_of(f"{url}?password={PASSWORD}")
        for text in (str(raised.value), repr(raised.value), place.name, repr(place)):
            assert PASSWORD not in text
            assert "wr0ng-secret" not in text
        assert "postgresql://postgres@127.0.0.1:" in str(raised.value)


def test_without_the_extra_it_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from bot.store import open_store\n"
        "open_store('sqlite:///bot.db').close()\n"
        "open_store('postgresql://db/bot')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert "ConfigError: store.url: PostgreSQL needs one more package" in done.stderr
    assert '"mouseflow-bot[postgres]"' in done.stderr


def test_another_programs_tables_and_newer_formats_are_left_alone(empty_database):
    with connected(empty_database) as admin:
        admin.execute("CREATE TABLE steps (x int)")
        with pytest.raises(StoreError, match="another program has a table steps"):
            open_store(empty_database)
        admin.execute("DROP TABLE steps")
        with pytest.raises(StoreError, match="no store yet"):
            open_store(empty_database, read_only=True)
        assert not location_of(empty_database).exists()
        open_store(empty_database).close()
        assert location_of(empty_database).exists()
        admin.execute("UPDATE mouseflow_bot SET format = 99")
        with pytest.raises(StoreError, match="newer mouseflow-bot"):
            open_store(empty_database)
        admin.execute("UPDATE mouseflow_bot SET format = 3; ALTER TABLE lanes DROP COLUMN remedy")
        with pytest.raises(StoreError, match=r"lacks lanes\.remedy"):
            open_store(empty_database)


def test_tables_that_are_deleted_under_the_bot_end_it(postgres_url, empty_database):
    with open_store(empty_database) as store:
        store.do(note)
        with connected(empty_database) as admin:
            admin.execute("DROP TABLE audit")
        with pytest.raises(StoreLost, match="changed or deleted"):
            store.do(note)


def test_text_that_postgresql_does_not_take_is_kept_as_well_as_it_goes(postgres_url):
    with open_store(postgres_url) as store:
        store.do(lambda conn: note(conn, "a\0b 🐭"))
        assert store.do(texts) == ["a\N{REPLACEMENT CHARACTER}b 🐭"]


def test_a_page_with_a_very_long_path_has_a_key_that_can_be_stored(postgres_url):
    """Visitors make paths."""
    rng = random.Random(1)
    long = "/" + "".join(rng.choices("åßc€efghij", k=6000))
    one, other = (PageSubject(website=Site("w1", ""), path=path).key for path in (long, long + "x"))
    assert one != other
    assert PageSubject(website=Site("w1", ""), path="/å").key == "/å"
    made = replace(match(), subject_key=one, match_key=f"rule/w1/{one}/2026/reminded")
    made = replace(made, steps=(step(f"quiet/digest/{made.match_key}/slack-1/after_quiet-1"),))
    with open_store(postgres_url) as store:
        store.do(lambda conn: commit_poll(conn, poll(made)))
        [kept] = store.do(lambda conn: matches_of(conn, rule="", limit=2))
    assert kept.subject_key == one


def test_revisions_of_the_format_run_there_too(empty_database, tmp_path):
    here = Path(run_revisions.__code__.co_filename).parent / "migrations"
    subprocess.run(["cp", "-r", here, tmp_path / "migrations"], check=True)
    (tmp_path / "migrations" / "versions" / "0004_test.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        'revision, down_revision = "0004", "0003"\n'
        "def upgrade():\n"
        '    op.add_column("lanes", sa.Column("x", sa.Text, server_default="", nullable=False))\n'
    )
    with open_store(empty_database) as store:
        store.do(lambda conn: run_revisions(conn, 3, tmp_path / "migrations"))
        store.do(lambda conn: conn.exec_driver_sql("SELECT x FROM lanes"))


def statements() -> Iterator[tuple[str, str]]:
    """Each statement that is written as SQL, with its name; of a text() what is not translated.

    Those that SQLAlchemy writes are its business.
    """
    for found in pkgutil.iter_modules(bot.store.__path__, "bot.store."):
        if found.name.rpartition(".")[2] in ("sqlite", "formats", "postgres", "migrations"):
            continue
        for name, value in vars(import_module(found.name)).items():
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Executable) and not isinstance(each, TextClause):
                    continue
                sql = each.text if isinstance(each, TextClause) else _for_psycopg(f"{each}")
                if re.match(r"(SELECT|UPDATE|DELETE|INSERT) ", sql):
                    yield f"{found.name}.{name}", sql


def test_postgresql_understands_every_statement(worker_database):
    told = {}
    with connected(worker_database) as conn:
        for name, sql in statements():
            names = dict.fromkeys(re.findall(r"%\((\w+)\)s|(?<!:):([a-z_]+)", sql))
            for number, (raw, of_text) in enumerate(names, 1):
                sql = sql.replace(f"%({raw})s" if raw else f":{of_text}", f"${number}")
            try:
                conn.execute(f"PREPARE it AS {sql.replace('%%', '%')}; DEALLOCATE it")
            except psycopg.Error as error:
                told[name] = f"{error}: {sql}"
    assert told == {}


# Copies.


@pytest.fixture(scope="module")
def programs() -> Path:
    return Server.programs()


def run(programs: Path, name: str, *arguments: str) -> None:
    done = subprocess.run(
        [programs / name, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_database_that_was_restored_is_recognised_once(empty_database, programs, tmp_path):
    dump = str(tmp_path / "bot.dump")
    with open_store(empty_database) as store:
        store.do(lambda conn: commit_poll(conn, poll(match("r1"))))
        assert store.restored is None
    run(programs, "pg_dump", "--format=custom", f"--file={dump}", empty_database)
    with open_store(empty_database) as store:
        assert store.restored is None
        store.do(lambda conn: commit_poll(conn, poll(match("r2"))))
        run(programs, "pg_restore", "--clean", "--if-exists", f"--dbname={empty_database}", dump)
        store.beat("well")
        with pytest.raises(StoreLost, match="restored or replaced"):
            store.do(note)
    with open_store(empty_database) as store:
        assert store.restored is not None
        assert store.do(looks) == [True]
    with open_store(empty_database) as store:
        assert store.restored is None


def test_backup_and_restore_name_postgresqls_own_tools(postgres_url, tmp_path):
    open_store(postgres_url).close()
    with pytest.raises(StoreError, match=r"pg_dump --format=custom"):
        backup(postgres_url, tmp_path / "x.dump")
    with pytest.raises(StoreError, match=r"pg_restore --clean --if-exists"):
        restore(postgres_url, tmp_path / "x.dump")


def test_a_dry_run_works_on_a_copy_in_memory(postgres_url):
    with open_store(postgres_url) as store:
        store.do(lambda conn: commit_poll(conn, poll(match("r1"))))
        with in_memory_copy(postgres_url) as copy:
            assert copy.do(lambda conn: len(matches_of(conn))) == 1
            copy.do(note)
        assert "something" not in store.do(texts)


def test_a_copy_in_a_file_is_a_whole_store_that_only_this_user_can_read(postgres_url, tmp_path):
    with open_store(postgres_url) as store:
        store.do(lambda conn: commit_poll(conn, poll(match("r1"))))
        location_of(postgres_url).copy_to(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    with open_store(f"sqlite:///{tmp_path}/copy.db") as copy:
        assert copy.do(lambda conn: len(matches_of(conn))) == 1


@pytest.mark.parametrize("back", [False, True])
def test_a_move_carries_everything_over_and_numbers_continue(postgres_url, tmp_path, back):
    old, new = f"sqlite:///{tmp_path}/bot.db", postgres_url
    old, new = (new, old) if back else (old, new)
    with open_store(old) as store:
        store.do(lambda conn: commit_poll(conn, poll(*(match(f"r{n}") for n in range(40)))))
        store.do(lambda conn: claim(conn, "mouseflow:w1", NOW, "ours"))
        before = {entry.id: entry for entry in store.do(lambda conn: history(conn, limit=9_999))}
    moved = move(old, new)
    assert moved.rows["steps"] == moved.rows["matches"] == 40
    assert PASSWORD not in str(moved)
    with open_store(new) as store:
        assert store.restored is None
        after = {entry.id: entry for entry in store.do(lambda conn: history(conn, limit=9_999))}
        assert after == before
        assert store.do(lambda conn: commit_poll(conn, poll(match("r1"), match("new")))) == (
            "checkout/w1/new",
        )
        sending = select(func.count()).where(steps.c.state == "sending")
        assert store.do(lambda conn: conn.execute(sending).scalar()) == 1
    with open_store(old) as store:
        assert store.do(lambda conn: len(matches_of(conn, limit=9_999))) == 40


def test_a_claim_of_a_dead_bot_is_found_in_the_database_that_it_was_moved_to(
    postgres_url, empty_database
):
    open_store(postgres_url).close()
    with connected(postgres_url) as admin:  # both databases count their bots from 1
        admin.execute("ALTER TABLE mouseflow_bot_replicas ALTER id RESTART")
    with open_store(postgres_url, shared=True) as died:
        died.do(lambda conn: commit_poll(conn, poll(match("r1"))))
        token = f"1 delivery {died.sharing.mark}"
        assert died.do(lambda conn: claim(conn, "mouseflow:w1", NOW, token))
    move(postgres_url, empty_database)
    with open_store(empty_database, shared=True) as new:
        alive = new.sharing.alive
        assert new.do(lambda conn: recover(conn, NOW, MINUTE, alive(conn))) == 1


@pytest.mark.parametrize("back", [False, True])
def test_a_move_waits_for_the_slower_store_however_long_that_takes(
    postgres_url, tmp_path, monkeypatch, back
):
    def copied(*conns) -> dict[str, int]:
        asked = "SHOW idle_in_transaction_session_timeout"
        (shown,) = (it for it in conns if it.dialect.name == "postgresql")
        assert shown.exec_driver_sql(asked).scalar_one() == "0"
        return {**copy_rows(*conns)}

    monkeypatch.setattr("bot.store.move.copy_rows", copied)
    old, new = f"sqlite:///{tmp_path}/bot.db", postgres_url
    old, new = (new, old) if back else (old, new)
    open_store(old).close()
    assert move(old, new)


def test_a_move_needs_an_empty_target_and_no_bot_on_either_side(postgres_url, tmp_path):
    old = f"sqlite:///{tmp_path}/bot.db"
    with pytest.raises(StoreError, match="nothing to move"):
        move(old, postgres_url)
    with open_store(old) as store:
        store.do(lambda conn: commit_poll(conn, poll(match("r1", [step("a")]))))
        with pytest.raises(StoreError, match="in use by another mouseflow-bot"):
            move(old, postgres_url)
    with open_store(postgres_url) as store, pytest.raises(StoreError, match="in use by another"):
        move(old, postgres_url)
    move(old, postgres_url)
    with pytest.raises(StoreError, match="is not empty"):
        move(old, postgres_url)
    with pytest.raises(StoreError, match="is the store itself"):
        move(old, old)


def test_a_move_that_fails_half_way_leaves_the_target_empty(postgres_url, tmp_path):
    old = f"sqlite:///{tmp_path}/bot.db"
    with open_store(old) as store:
        store.do(lambda conn: commit_poll(conn, poll(match("r1"))))
    with open_store(postgres_url, exclusive=False) as target:
        target.do(lambda conn: conn.exec_driver_sql(
            "ALTER TABLE audit ADD CONSTRAINT none CHECK (kind = '')"))  # fmt: skip
        try:
            with pytest.raises(Exception, match="none"):
                move(old, postgres_url)
            assert target.do(lambda conn: conn.execute(select(lineage)).all()) == []
        finally:
            target.do(lambda conn: conn.exec_driver_sql("ALTER TABLE audit DROP CONSTRAINT none"))
    assert move(old, postgres_url).rows["audit"] == 1


def test_an_address_that_libpq_does_not_know_is_an_error_of_the_configuration():
    with pytest.raises(ConfigError, match="colour"):
        location_of("postgresql://db/bot?colour=red")
    assert issubclass(psycopg.ProgrammingError, psycopg.Error)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE steps SET due = 'soon'", "a row can't be copied"),
        ("UPDATE steps SET due = 1e30", "a row can't be copied"),
        ("UPDATE audit SET text = CAST(X'ff' AS TEXT)", "a row can't be copied"),
        ("UPDATE audit SET subject = hex(randomblob(9000))", "a row can't be copied"),
        ("PRAGMA foreign_keys = OFF; DELETE FROM matches", "a row can't be copied"),
        ("DROP TABLE audit", "it lacks audit"),
        ("PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 3", "damaged"),
    ],
)
@pytest.mark.parametrize("into", ["postgresql", "sqlite"])
def test_a_damaged_store_is_moved_whole_or_refused_in_words(
    postgres_url, tmp_path, damage, said, into
):
    old = f"sqlite:///{tmp_path}/bot.db"
    new = postgres_url if into == "postgresql" else f"sqlite:///{tmp_path}/new.db"
    with open_store(old) as store:
        note = Note(kind="poll", text="a secret of the row")
        store.do(lambda conn: commit_poll(conn, poll(match("r1"), notes=[note])))
    with closing(sqlite3.connect(tmp_path / "bot.db")) as raw:
        raw.executescript(damage)
    told = ""
    try:
        move(old, new)
    except StoreError as error:
        told = str(error)
    if not told:
        assert into == "sqlite"
        return
    assert said in told
    assert "secret" not in told
    (tmp_path / "bot.db").unlink()
    with open_store(old) as store:
        store.do(lambda conn: commit_poll(conn, poll(match("r2"))))
    assert move(old, new).rows["steps"] == 1  # nothing of the other one was there
