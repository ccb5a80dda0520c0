"""What the commands that look back share: whom they ask, how fast, and how they tell."""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.cli import output
from bot.cli.context import explained

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.polling.evaluate import CountingClient

SUMMARY = 5.0
"""Seconds between two lines of progress where there is no terminal."""

Tell = Callable[[int, int], None]


def moment(text: str) -> datetime:
    """How long ago, or a moment; without a zone it is in UTC."""
    from bot.cli.history import since

    return since(text)


def daemon_runs(url: str) -> bool:
    """Does a process hold the store's lock?"""
    from bot.cli.context import lock_file
    from bot.cli.healthcheck import unhealthy

    return unhealthy(lock_file(url), float("inf"), time.time()) is None


@asynccontextmanager
async def account(settings: "Settings") -> AsyncIterator["CountingClient"]:
    """The account, last in its client's line, with the calls counted.

    Beside a running daemon it takes half of the configured rate at most: the daemon's calls
    come first, and two processes do not share one budget.
    """
    from bot.account import Account
    from bot.daemon import open_clients
    from bot.polling.evaluate import CountingClient
    from mouseflow import Priority

    if daemon_runs(settings.store.url):
        flow = settings.mouseflow
        slower = flow.model_copy(update={"requests_per_second": flow.requests_per_second / 2})
        settings = settings.model_copy(update={"mouseflow": slower})
    with explained(settings):
        async with open_clients(settings) as out:
            asking = out.reading
            if isinstance(asking, Account):
                asking = replace(asking, priority=Priority.BACKGROUND)
            yield CountingClient(asking)


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Tell]:
    """A bar with rate and time left on a terminal, else a line on standard error now and then."""
    if quiet:
        yield lambda _read, _expected: None
    elif sys.stderr.isatty():
        with _bar(what) as tell:
            yield tell
    else:
        yield _lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task(what, total=None, rate="")
        done = 0
        began = time.monotonic()

        def tell(read: int, expected: int) -> None:
            nonlocal done
            done += read
            rate = f"{rate_of(done, time.monotonic() - began)}/s"
            shown.update(bar, completed=done, total=max(expected, done) or None, rate=rate)

        yield tell


def _lines(what: str) -> Tell:
    began = told = time.monotonic()
    done = 0

    def tell(read: int, expected: int) -> None:
        nonlocal done, told
        done += read
        now = time.monotonic()
        if now - told >= SUMMARY:
            told = now
            print(line_of(what, done, expected, now - began), file=sys.stderr, flush=True)

    return tell


def line_of(what: str, done: int, expected: int, seconds: float) -> str:
    """One line of progress: `judged 4000 of 90000 recordings, 800/s, 2m left`."""
    from datetime import timedelta

    left = max(expected - done, 0) * seconds / done if done else 0
    tail = f", {output.span(timedelta(seconds=left))} left" if done and left else ""
    return f"{what}: {done} of {max(expected, done)} recordings, {rate_of(done, seconds)}/s{tail}"


def rate_of(done: int, seconds: float) -> int:
    """Recordings a second."""
    return round(done / seconds) if seconds > 0 else 0


def utc() -> datetime:
    """The time."""
    return datetime.now(UTC)
