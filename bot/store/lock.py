"""The lock beside a store in a file: who holds it, and how the holder is doing.

Only the standard library: `healthcheck` runs every few seconds.
"""

import errno
import fcntl
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from bot.domain.pulse import Sign
from bot.errors import StoreError

_WRITING = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "this user's quota is used up; free some space",
    errno.EROFS: "the file system is read-only, and the bot must be able to write in that folder",
}


def unwritable(place: Path | str, error: OSError) -> StoreError:
    """The error for a file of the store that can't be written, with what to do."""
    usual = f"can't be written ({error.strerror}); give this user write permission in that folder"
    return StoreError(f"{place}: {_WRITING.get(error.errno or 0, usual)}")


class Lock:
    """Held from construction until `release`; the kernel frees it when the process dies.

    Its file says who holds it, in the first line, and below how the holder is doing. Raises
    StoreError if another process holds it (and names that process), or if the lock file can't
    be written.
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
            first = os.read(self._file, 200).decode("utf-8", "replace").partition("\n")[0]
            os.close(self._file)
            raise StoreError(
                f"{database} is in use by another mouseflow-bot "
                f"(process {first.strip() or 'unknown'}). Stop that one first; "
                "`once --dry-run` works beside it. A second store would do everything twice"
            ) from error
        # Across containers the number alone names nobody: it is mostly 1.
        self._holder = f"{os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%FT%TZ}"
        try:
            self._write("")
        except OSError as error:
            os.close(self._file)
            raise unwritable(self.path, error) from error

    def write(self, text: str) -> None:
        """Say in one line how the holder is doing; a full disk may lose it."""
        with suppress(OSError):
            self._write(text)

    def _write(self, text: str) -> None:
        content = f"{self._holder}\n{text}\n".encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def release(self) -> None:
        """Release it. The file stays: removing it would let two bots lock two files."""
        os.close(self._file)


def sign_beside(lock: Path) -> Sign | None:
    """How the holder of this lock is doing; None if it is free, or is not there."""
    try:
        number = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        age = time.time() - os.fstat(number).st_mtime
        text = os.pread(number, 4096, 0).decode("utf-8", "replace").partition("\n")[2]
        return Sign(age, text)
    finally:
        os.close(number)
    return None
