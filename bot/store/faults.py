"""What an error of the database means for people, and whether waiting helps."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from bot.errors import StoreError, StoreLost

_SQLITE = {
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

_AWAY = (
    "PostgreSQL does not answer, or refused or closed the connection; "
    "check store.url, the server and the network"
)
_LOCKED = "another session has locked it; look for a long transaction in pg_stat_activity"
_REFUSED = "PostgreSQL rejects this user or password; check store.url and pg_hba.conf"
_CHANGED = "its tables were changed or deleted; stop the bot and restore a backup"
_DAMAGED = "the database is damaged; stop the bot and restore a backup"

# By SQLSTATE, or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL = {
    "": _AWAY,  # libpq has no code for what it finds itself
    "08": _AWAY,
    "57P": _AWAY,
    "25P03": _AWAY,  # idle in a transaction for too long: the process was frozen
    "57014": "PostgreSQL cancelled a statement; check statement_timeout",
    "53100": "the server's disk is full; free some space (nothing stored is lost)",
    "53200": "the server is out of memory",
    "53300": "the server has no connection left; raise max_connections, or close some",
    "53": "the server lacks resources; look into its log",
    "58": "the server had an I/O error; look into its log",
    "55P03": _LOCKED,
    "40001": _LOCKED,
    "40P01": _LOCKED,
    "55000": "the server can't do that now; is it a standby server? Check the host in store.url",
    "25006": "the database is read-only, perhaps a standby server; check the host in store.url",
    "28": _REFUSED,
    "3D000": "no such database; create it with createdb, or check store.url",
    "3F000": "no such schema; create it, or check search_path",
    "42501": "this user may not do that; the bot's user must own the database or its schema",
    "42P01": _CHANGED,
    "42703": _CHANGED,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}

_LASTING = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "42P01", "42703", "XX001", "XX002"})


@contextmanager
def translated(place: Path | str) -> Iterator[None]:
    """Turn the database's errors into StoreErrors that name the store (or StoreLost).

    A violated constraint is a bug, so it is raised unchanged.
    """
    try:
        yield
    except Exception as error:
        if (found := _found(error)) is None:
            raise
        code, meaning = found
        if not code:
            meaning = f"{meaning} ({_first_line(error)})"
        kind = StoreLost if code in _LASTING else StoreError
        raise kind(f"{place}: {meaning}") from error


def is_trouble(error: Exception) -> bool:
    """Whether the store itself is in trouble, so that no other write would succeed either."""
    return isinstance(error, StoreError) or _found(error) is not None


def _found(error: BaseException | None) -> tuple[str, str] | None:
    """The code and the meaning of a database's error; None for any other error."""
    if isinstance(error, DBAPIError):
        error = error.orig
    if isinstance(error, sqlite3.Error):
        # The family: SQLITE_IOERR for SQLITE_IOERR_WRITE.
        name = "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])
        return _known(_SQLITE, name)
    # psycopg is not imported where it is not used.
    if type(error).__module__.startswith("psycopg"):
        code = getattr(error, "sqlstate", None)
        if code is None:
            return _known(_POSTGRESQL, "") if _is_operational(error) else None
        return next(filter(None, (_known(_POSTGRESQL, code[:n]) for n in (5, 3, 2))), None)
    return None


def _first_line(error: BaseException) -> str:
    """What libpq says; it names host, user and database, never a password."""
    said = str(error.orig if isinstance(error, DBAPIError) else error)
    return said.removeprefix("connection failed: ").partition("\n")[0]


def _known(meanings: Mapping[str, str], code: str) -> tuple[str, str] | None:
    return (code, meanings[code]) if code in meanings else None


def _is_operational(error: object) -> bool:
    return any(each.__name__ == "OperationalError" for each in type(error).__mro__)
