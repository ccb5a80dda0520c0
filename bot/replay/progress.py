"""How far a replay has come, in a folder beside the store, so that it can be gone on with."""

import shutil
from datetime import datetime
from pathlib import Path

import msgspec

from bot.errors import StoreError
from bot.replay.posts import Posts
from bot.replay.tally import Tally
from bot.store.lock import Lock

KEPT = "progress.json"
TRIAL = "trial.db"


class Progress(msgspec.Struct, kw_only=True):
    """What was asked, which slices are done, and what was found in them.

    `digest` is that of the rule set: with other rules the rest could not be added to it.
    `took` is the time of the runs so far, in seconds.
    """

    since: datetime
    until: datetime
    apply: bool
    rules: tuple[str, ...]
    websites: tuple[str, ...]
    digest: str
    now: datetime
    took: float = 0.0
    done: list[str] = []
    tally: Tally = msgspec.field(default_factory=Tally)
    posts: Posts = msgspec.field(default_factory=Posts)


class Folder:
    """The folder of an unfinished replay, for one process at a time.

    Raises StoreError where it can't be used, or another replay is at work in it.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".replay")
        self._lock: Lock | None = None

    @property
    def trial(self) -> Path:
        """Where the store on trial is, for a replay that only looks."""
        return self.path / TRIAL

    @property
    def held(self) -> bool:
        """Whether a replay of this process has begun in it, or goes on."""
        return self._lock is not None

    def begin(self) -> None:
        """An empty folder that is ours; what an earlier replay left is gone."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path}: can't be made ({error.strerror})") from error
        self.take()
        for file in self.path.iterdir():
            if self._lock is not None and file != self._lock.path:
                file.unlink()

    def take(self) -> None:
        """Keep other replays out of the folder until it is cleared or this process ends."""
        if self._lock is None and self.path.exists():
            self._lock = Lock(self.path / "replay")

    def load(self) -> Progress | None:
        """What was kept; None where there is no replay to go on with."""
        try:
            data = (self.path / KEPT).read_bytes()
            return msgspec.json.decode(data, type=Progress)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(
                f"{self.path / KEPT}: can't be read; start the replay anew without --resume"
            ) from error

    def save(self, progress: Progress) -> None:
        """Keep it; a crash leaves the old or the new one, never half of it."""
        new = self.path / f"{KEPT}.new"
        try:
            new.write_bytes(msgspec.json.encode(progress))
            new.replace(self.path / KEPT)
        except OSError as error:
            raise StoreError(f"{new}: can't be written ({error.strerror})") from error

    def clear(self) -> None:
        """Nothing is left of it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Let others in; what is kept stays."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
