"""Shows what the daemon does while it does it, read from its audit log."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bot.cli import show
from bot.errors import StoreError

if TYPE_CHECKING:
    from bot.store import Store
    from bot.store.audit import Entry

LOOK = 0.25
"""Seconds between two looks at the store."""
LINES = 60
"""Events shown; what comes after them is only counted."""
SHOWN = ("match", "step.done", "step.dead", "rule.paused")

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


async def watch(url: str, stop: asyncio.Event, seconds: float) -> None:
    """Show events for so many seconds, or until `stop`."""
    from bot.store.audit import history

    end = time.monotonic() + seconds
    seen, counts = 0, {"match": 0, "step.done": 0}
    store: Store | None = None
    try:
        with _screen(seconds) as (say, advance):
            while not stop.is_set() and time.monotonic() < end:
                await asyncio.sleep(LOOK)
                store = store or _opened(url)
                entries = await store.run(lambda conn: history(conn, limit=500)) if store else []
                for entry in reversed(entries):
                    if entry.id > seen and entry.kind in SHOWN:
                        seen = entry.id
                        counts[entry.kind] = counts.get(entry.kind, 0) + 1
                        if sum(counts.values()) <= LINES:
                            say(event(entry))
                advance(
                    seconds - max(end - time.monotonic(), 0),
                    f"{show.counted(counts['match'], 'match', 'matches')}, "
                    f"{show.counted(counts['step.done'], 'action')}",
                )
    finally:
        if store is not None:
            store.close()


def event(entry: "Entry") -> str:
    """An entry of the audit log as one line."""
    at = f"{entry.at:%H:%M:%S}"
    if entry.kind == "match":
        return f"{at}  {entry.rule} matched {entry.subject}: {entry.text}"
    action = entry.step.rpartition("/")[2].rpartition("-")[0]
    outcome = {"step.done": "done", "step.dead": "given up"}.get(entry.kind, entry.kind)
    return f"{at}    {action or entry.rule} {outcome}" + (f": {entry.text}" if entry.text else "")


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
        yield show.line, lambda _done, _text: sys.stdout.flush()
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
