"""What SQLite complains about, in words that say what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from bot.errors import StoreError

_MEANING = {
    "SQLITE_FULL": "the disk is full; free some space, nothing that was stored is lost",
    "SQLITE_READONLY": "the file or its folder is read-only; give this user the right to write",
    "SQLITE_CANTOPEN": "it can't be opened; does the folder exist, and may this user read it?",
    "SQLITE_NOTADB": "this file is not a SQLite database; is store.url right?",
    "SQLITE_CORRUPT": "the file is damaged; stop the bot and put a backup in its place",
    "SQLITE_BUSY": "another program keeps it locked; is a second bot or a copy job at work?",
    "SQLITE_LOCKED": "another program keeps it locked; is a second bot or a copy job at work?",
    "SQLITE_IOERR": "the disk does not read or write; check it, then restore a backup",
    "SQLITE_PERM": "this user may not use the file; mend its permissions",
    "SQLITE_AUTH": "this user may not use the file; mend its permissions",
    "SQLITE_PROTOCOL": "locking does not work here; keep the store on a local disk, not on NFS",
    "SQLITE_SCHEMA": "its tables were changed by another program; restore a backup",
}


@contextmanager
def told(place: Path | str) -> Iterator[None]:
    """Turns the database's own complaints into StoreErrors that name the file.

    A broken constraint is no complaint about the store but a bug, and flies on.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        meaning = _meaning(error.orig if isinstance(error, DBAPIError) else error)
        if meaning is None:
            raise
        raise StoreError(f"{place}: {meaning}") from error


def _meaning(error: BaseException | None) -> str | None:
    # SQLITE_IOERR_WRITE and its kin begin with the name of their family.
    name = str(getattr(error, "sqlite_errorname", ""))
    return _MEANING.get("_".join(name.split("_")[:2]))
