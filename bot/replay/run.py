"""Replays slice by slice: evaluates, writes and counts matches, and keeps the progress."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from bot.domain.subjects import Site
from bot.errors import StoreError
from bot.polling.candidates import CountingClient, Knowledge
from bot.polling.record_matches import Found, Routing, matches_in
from bot.replay.evaluate_days import History, PreparedSite, evaluate_slice, prepare
from bot.replay.record import Posts, Tally, WrittenMatch, count, write
from bot.replay.select import Slice, slices
from bot.rules.model import Rule
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
        """Whether a replay of this process has begun in it, or is running."""
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
        """What was kept; None if there is no replay to resume."""
        try:
            data = (self.path / KEPT).read_bytes()
            return msgspec.json.decode(data, type=Progress)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(
                f"{self.path / KEPT}: can't be read; start a new replay without --resume"
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
"""Matches of a slice to collect and sort by time; beyond this, rules with `count` may see some
out of order."""

AT_ONCE = 200
"""Matches of one transaction, so that a daemon that runs beside it does not wait long."""

OnProgress = Callable[[int, int], None]
"""Called with how many recordings were read now, and how many there are to read in all.

The account counts by days only: for days that are partly in the span it is an estimate until
they are read.
"""

OnRead = Callable[[Sequence[str]], None]
OnWritten = Callable[[Sequence[WrittenMatch]], None]


def ignore(_some: Sequence[object]) -> None:
    """Do nothing with what was read or written."""


async def replay(
    history: History,
    mouseflow: CountingClient,
    sites: Sequence[Site],
    rules: Sequence[Rule],
    everything: Sequence[Rule],
    routing: Routing,
    progress: Progress,
    *,
    keep: Callable[[Progress], None],
    tell: OnProgress,
    live: bool = False,
    seen: OnRead = ignore,
    wrote: OnWritten = ignore,
) -> None:
    """Evaluate every slice that is not done yet, and write its matches into `history.store`.

    `progress` is updated and kept after each slice, so that a replay that ends early loses at
    most the last slice; matches of it that are written already are known when it is evaluated
    again. `live` writes each match as of the moment it happened. `seen` gets the ids of what
    was read, `wrote` the new matches. Raises the errors of the calls and of the store.
    """
    before = progress.tally.calls
    prepared = {site.id: await prepare(history, site, rules, everything) for site in sites}
    progress.tally.held = [
        each.site.name for each in prepared.values() if each.knowledge.filters.suspended
    ]
    done = frozenset(progress.done)
    todo = [
        each
        for each in slices(sites, history.span, history.zone)
        if each.name not in done and prepared[each.site.id].rules.final.rules
    ]
    expected = _Expected(history, prepared, todo)
    tell(0, expected.all())

    def read(slice_: Slice, count: int) -> None:
        tell(count, expected.more(slice_, count))

    for each in todo:
        at = prepared[each.site.id]
        work = _SliceReplay(history, at, each, routing, progress, live, wrote)
        knowledge = await work.run(partial(read, each), seen)
        prepared[each.site.id] = dataclasses.replace(at, knowledge=knowledge)
        tell(0, expected.over(each))
        progress.tally.calls = before + mouseflow.calls
        progress.done.append(each.name)
        keep(progress)


class _Expected:
    """How many recordings of the span there are: those read, and an estimate of the others."""

    def __init__(
        self, history: History, prepared: Mapping[str, PreparedSite], todo: Sequence[Slice]
    ) -> None:
        self._read = 0
        self._left = {
            each.name: prepared[each.site.id].counts.get(each.day, 0)
            * history.span.share(each.day, history.zone)
            for each in todo
        }
        self._estimate = sum(self._left.values())

    def all(self) -> int:
        """So many, as far as is known."""
        return self._read + max(0, round(self._estimate))

    def more(self, slice_: Slice, read: int) -> int:
        """So many more of that slice have been read."""
        self._read += read
        return self._less(slice_, min(read, self._left[slice_.name]))

    def over(self, slice_: Slice) -> int:
        """Nothing of that slice is left."""
        return self._less(slice_, self._left[slice_.name])

    def _less(self, slice_: Slice, by: float) -> int:
        self._left[slice_.name] -= by
        self._estimate -= by
        return self.all()


class _SliceReplay:
    """One slice under way; its matches join the progress when all of it is done."""

    def __init__(
        self,
        history: History,
        at: PreparedSite,
        slice_: Slice,
        routing: Routing,
        progress: Progress,
        live: bool,
        wrote: OnWritten,
    ) -> None:
        self._history, self._at, self._slice = history, at, slice_
        self._routing, self._progress, self._live = routing, progress, live
        self._wrote = wrote
        self._waiting: list[Found] = []

    async def run(self, tell: Callable[[int], None], seen: OnRead) -> Knowledge:
        """Replay the slice. Returns what is known of the API afterwards."""
        tally, knowledge = self._progress.tally, self._at.knowledge
        async for batch in evaluate_slice(self._history, self._at, self._slice):
            knowledge = batch.knowledge
            tally.read += batch.read
            tally.missed += batch.missed
            tally.details += batch.details
            tally.undetailed += len(batch.open)
            for rule, _key in batch.before:
                tally.line(rule, self._slice.day).known += 1
            self._waiting += matches_in(batch.evaluations, self._history.now)
            if len(self._waiting) >= MOST_WAITING:
                await self._write()
            seen(batch.ids)
            if batch.read:
                tell(batch.read)
        await self._write()
        return knowledge

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
                now=None if self._live else self._history.now,
            )
            written, paused = await self._history.store.run(work)
            self._progress.tally.paused.update(paused)
            self._wrote(written)
            count(self._progress.tally, posts, self._slice.day, written, self._routing)
        self._waiting = []
