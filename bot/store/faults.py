"""What SQLite complains about, in words that say what to do."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from bot.errors import StoreError, StoreLost

_MEANING = {
    "SQLITE_FULL": "the disk is full; free some space, nothing that was stored is lost",
    "SQLITE_READONLY": "the file or its folder is read-only; give this user the right to write",
    "SQLITE_CANTOPEN": "it can't be opened; does the folder exist, and may this user read it?",
    "SQLITE_NOTADB": (
        "this file is not a SQLite database, or its beginning is damaged; "
        "is store.url right? else put a backup in its place"
    ),
    "SQLITE_CORRUPT": "the file is damaged; stop the bot and put a backup in its place",
    "SQLITE_BUSY": "another program keeps it locked; is a second bot or a copy job at work?",
    "SQLITE_LOCKED": "another program keeps it locked; is a second bot or a copy job at work?",
    "SQLITE_IOERR": "the disk does not read or write, or a quota is used up; check both",
    "SQLITE_PERM": "this user may not use the file; mend its permissions",
    "SQLITE_AUTH": "this user may not use the file; mend its permissions",
    "SQLITE_PROTOCOL": "locking does not work here; keep the store on a local disk, not on NFS",
    "SQLITE_SCHEMA": "its tables were changed by another program; restore a backup",
}


_LASTING = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})

_WRITING = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "this user's quota is used up; free some space",
    errno.EROFS: "the file system is read-only, and the bot must be able to write in that folder",
}


def unwritable(place: Path | str, error: OSError) -> StoreError:
    """Why a file of the store's own can't be made or written, in words that say what to do."""
    usual = f"can't be written ({error.strerror}); give this user the right to write in that folder"
    return StoreError(f"{place}: {_WRITING.get(error.errno or 0, usual)}")


@contextmanager
def told(place: Path | str) -> Iterator[None]:
    """Turns the database's own complaints into StoreErrors that name the file (or StoreLost).

    A broken constraint is no complaint about the store but a bug, and flies on.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        name = _family(error.orig if isinstance(error, DBAPIError) else error)
        if name not in _MEANING:
            raise
        kind = StoreLost if name in _LASTING else StoreError
        raise kind(f"{place}: {_MEANING[name]}") from error


def _family(error: BaseException | None) -> str:
    """SQLITE_IOERR_WRITE and its kin begin with the name of their family."""
    name = str(getattr(error, "sqlite_errorname", ""))
    return "_".join(name.split("_")[:2])
