"""Goes through the slices of a replay: judges, writes, counts, and keeps how far it has come."""

from collections.abc import Callable, Sequence
from functools import partial

from bot.poll.judging import Counted
from bot.poll.matching import Found, Routing
from bot.replay.judging import Past, Place, judge, place
from bot.replay.posts import Posts
from bot.replay.progress import Progress
from bot.replay.spans import Slice, slices
from bot.replay.tally import Tally
from bot.replay.writing import Written, count, founds, write
from bot.rulebook.rules import Rule
from bot.subjects import Site

MOST_WAITING = 2_000
"""Matches of a slice that wait to be written in the order of their time; with more than
these, rules with `count` may see some out of order."""

AT_ONCE = 200
"""Matches of one transaction, so that a daemon beside it does not wait long."""

Told = Callable[[int, int], None]
"""Is told how many recordings were read now, and how many there are to read in all."""

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
    expected = sum(places[each.site.id].counts.get(each.day, 0) for each in todo)
    tell(0, expected)
    for each in todo:
        work = _Work(past, places[each.site.id], each, routing, progress, live, wrote)
        await work.run(lambda read: tell(read, expected), seen)
        progress.tally.calls = before + mouseflow.calls
        progress.done.append(each.name)
        keep(progress)


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
            if batch.passed:
                tell(batch.passed)
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
