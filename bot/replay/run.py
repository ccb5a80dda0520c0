"""Goes through the slices of a replay: judges, writes, counts, and keeps how far it has come."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from bot.domain.subjects import Site
from bot.errors import StoreError
from bot.polling.evaluate import Counted
from bot.polling.record_matches import Found, Routing
from bot.replay.date_slices import Slice, slices
from bot.replay.evaluate_days import Past, Place, judge, place
from bot.replay.record import Posts, Tally, Written, count, founds, write
from bot.rules.model import Rule
from bot.store.database import Lock

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


MOST_WAITING = 2_000
"""Matches of a slice that wait to be written in the order of their time; with more than
these, rules with `count` may see some out of order."""

AT_ONCE = 200
"""Matches of one transaction, so that a daemon beside it does not wait long."""

Told = Callable[[int, int], None]
"""Is told how many recordings were read now, and how many there are to read in all.

The account counts by days only: of days that lie in the span by a part it is a guess until
they are read.
"""

Seen = Callable[[Sequence[str]], None]
Wrote = Callable[[Sequence[Written]], None]


def nobody(_some: Sequence[object]) -> None:
    """Nobody wants to know which recordings were read, or which matches are new."""


async def replay(
    past: Past,
    mouseflow: Counted,
    sites: Sequence[Site],
    rules: Sequence[Rule],
    everything: Sequence[Rule],
    routing: Routing,
    progress: Progress,
    *,
    keep: Callable[[Progress], None],
    tell: Told,
    live: bool = False,
    seen: Seen = nobody,
    wrote: Wrote = nobody,
) -> None:
    """Judge every slice that is not done yet, and write what matches into `past.store`.

    `progress` is brought up to date and kept after each slice, so that a replay which ends
    early loses the last slice at most; what that one has written already is known when it
    is judged again. `live` writes each match as of the moment it happened. `seen` is told the
    ids of what was read, `wrote` the new matches. Raises the errors of the calls and of the
    store.
    """
    before = progress.tally.calls
    places = {site.id: await place(past, site, rules, everything) for site in sites}
    progress.tally.held = [each.site.name for each in places.values() if each.held]
    done = frozenset(progress.done)
    todo = [
        each
        for each in slices(sites, past.span, past.zone)
        if each.name not in done and places[each.site.id].book.final.rules
    ]
    expected = _Expected(past, places, todo)
    tell(0, expected.all())

    def told(slice_: Slice, read: int) -> None:
        tell(read, expected.more(slice_, read))

    for each in todo:
        work = _Work(past, places[each.site.id], each, routing, progress, live, wrote)
        await work.run(partial(told, each), seen)
        tell(0, expected.over(each))
        progress.tally.calls = before + mouseflow.calls
        progress.done.append(each.name)
        keep(progress)


class _Expected:
    """How many recordings of the span there are: read ones, and a guess of the others."""

    def __init__(self, past: Past, places: Mapping[str, Place], todo: Sequence[Slice]) -> None:
        self._read = 0
        self._left = {
            each.name: places[each.site.id].counts.get(each.day, 0)
            * past.span.share(each.day, past.zone)
            for each in todo
        }

        self._guess = sum(self._left.values())

    def all(self) -> int:
        """So many, as far as is known."""
        return self._read + max(0, round(self._guess))

    def more(self, slice_: Slice, read: int) -> int:
        """So many more of that slice have been read."""
        self._read += read
        return self._less(slice_, min(read, self._left[slice_.name]))

    def over(self, slice_: Slice) -> int:
        """Nothing of that slice is left."""
        return self._less(slice_, self._left[slice_.name])

    def _less(self, slice_: Slice, by: float) -> int:
        self._left[slice_.name] -= by
        self._guess -= by
        return self.all()


class _Work:
    """One slice under way; what it found joins the progress when it is done as a whole."""

    def __init__(
        self,
        past: Past,
        at: Place,
        slice_: Slice,
        routing: Routing,
        progress: Progress,
        live: bool,
        wrote: Wrote,
    ) -> None:
        self._past, self._at, self._slice = past, at, slice_
        self._routing, self._progress, self._live = routing, progress, live
        self._wrote = wrote
        self._waiting: list[Found] = []

    async def run(self, tell: Callable[[int], None], seen: Seen) -> None:
        tally: Tally = self._progress.tally
        async for batch in judge(self._past, self._at, self._slice):
            tally.read += batch.read
            tally.missed += batch.missed
            tally.details += batch.details
            tally.undetailed += batch.open
            for rule, _key in batch.before:
                tally.line(rule, self._slice.day).known += 1
            self._waiting += founds(batch.judged, self._past.now)
            if len(self._waiting) >= MOST_WAITING:
                await self._write()
            seen(batch.ids)
            if batch.read:
                tell(batch.read)
        await self._write()

    async def _write(self) -> None:
        self._waiting.sort(key=lambda each: each.happened)
        posts: Posts = self._progress.posts
        for start in range(0, len(self._waiting), AT_ONCE):
            some = self._waiting[start : start + AT_ONCE]
            work = partial(
                write,
                website=self._at.site.id,
                found=some,
                routing=self._routing,
                now=None if self._live else self._past.now,
            )
            written, paused = await self._past.store.run(work)
            self._progress.tally.paused.update(paused)
            self._wrote(written)
            count(self._progress.tally, posts, self._slice.day, written, self._routing)
        self._waiting = []
