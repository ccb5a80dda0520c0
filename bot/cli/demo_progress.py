"""Shows what the daemon does while it does it, read from its audit log."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bot.cli import show
from bot.errors import StoreError

if TYPE_CHECKING:
    from bot.store import Store
    from bot.store.audit import Entry

LOOK = 0.25
"""Seconds between two looks at the store."""
LINES = 40
"""Events shown; what comes after them is only counted."""
SHOWN = ("match", "step.dead", "rule.paused")
STARTS_WITHIN = 30.0
"""Seconds that a slow machine may take until the first poll; they do not count."""
SUMMARY = 5.0
"""Seconds between two lines of counts where there is no terminal."""

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


async def watch(url: str, stop: asyncio.Event, seconds: float) -> None:
    """Show events until `stop`, or for so many seconds from the first poll."""
    with _screen(seconds) as (say, advance):
        store = await _polled(url, stop)
        if store is not None:
            with store:
                await _follow(store, stop, seconds, say, advance)


async def _polled(url: str, stop: asyncio.Event) -> "Store | None":
    """The store once the daemon has polled, None if it does not come to that."""
    from bot.store.watermarks import all_watermarks

    end = time.monotonic() + STARTS_WITHIN
    store = None
    while not stop.is_set() and time.monotonic() < end:
        store = store or _opened(url)
        marks = await store.run(all_watermarks) if store is not None else {}
        if marks:
            return store
        await asyncio.sleep(LOOK)
    return store


async def _follow(
    store: "Store", stop: asyncio.Event, seconds: float, say: Say, advance: Advance
) -> None:
    from bot.store.audit import history
    from bot.store.watermarks import website_names

    seen, counts = 0, Counter[str]()
    begin = time.monotonic()
    while not stop.is_set() and (passed := time.monotonic() - begin) < seconds:
        entries = await store.run(lambda conn: history(conn, limit=500))
        names = await store.run(website_names)
        for entry in reversed([entry for entry in entries if entry.id > seen]):
            seen = entry.id
            counts[entry.kind] += 1
            if entry.kind in SHOWN and sum(counts[kind] for kind in SHOWN) <= LINES:
                say(event(entry, names))
        matches, actions = counts["match"], counts["step.done"]
        advance(
            passed,
            f"{show.counted(matches, 'match', 'matches')}, {show.counted(actions, 'action')} done",
        )
        await asyncio.sleep(LOOK)


def event(entry: "Entry", names: Mapping[str, str]) -> str:
    """An entry of the audit log as one line; `names` has websites by id."""
    at, subject = f"{entry.at:%H:%M:%S}", short(entry.subject, names)
    if entry.kind == "match":
        return f"{at}  {entry.rule} matched {subject}: {entry.text}"
    action = entry.step.rpartition("/")[2].rpartition("-")[0]
    outcome = "given up" if entry.kind == "step.dead" else entry.kind
    return f"{at}  {' '.join(filter(None, (entry.rule, action, outcome, subject)))}: {entry.text}"


def short(subject: str, names: Mapping[str, str]) -> str:
    """A website's name, or enough of another id to tell it from others on the screen."""
    if subject in names:
        return names[subject]
    return f"{subject[:8]}…" if len(subject) > 20 and subject.isalnum() else subject


def _opened(url: str) -> "Store | None":
    """The store, None while the daemon has not made it yet."""
    from bot.store import open_store

    try:
        return open_store(url, read_only=True)
    except StoreError:
        return None


@contextmanager
def _screen(seconds: float) -> Iterator[tuple[Say, Advance]]:
    """Lines, and on a terminal a bar below them."""
    if not sys.stdout.isatty():
        yield show.line, _now_and_then()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    from bot.logs import neutral

    console = Console(highlight=False)
    columns = (BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=seconds)

        def say(text: str) -> None:
            line = Text(neutral(text, show.WIDEST), overflow="ellipsis", no_wrap=True)
            console.print(line)

        def advance(done: float, text: str) -> None:
            progress.update(bar, completed=done, description=text)

        yield say, advance


def _now_and_then() -> Advance:
    """A line of counts every few seconds."""
    told = 0.0

    def advance(done: float, text: str) -> None:
        nonlocal told
        if done - told >= SUMMARY:
            told = done
            show.line(f"   … {done:.0f} s: {text}")
        sys.stdout.flush()

    return advance
