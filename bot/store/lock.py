"""One bot at a time: an exclusive lock on a file beside the store."""

import fcntl
import os
from pathlib import Path

from bot.errors import StoreError
from bot.store.faults import unwritable


class Lock:
    """Held from construction until `release`; the kernel frees it when the process dies.

    Raises StoreError that names the holder's process where another one holds it, or where
    the lock file can't be written.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreError(
                f"{database} is in use by another mouseflow-bot (process {holder}); "
                "stop that one first, or give this one a store of its own"
            ) from error
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._file)
            raise unwritable(self.path, error) from error

    def release(self) -> None:
        """Let go. The file stays: removing it would let two bots lock two files."""
        os.close(self._file)
