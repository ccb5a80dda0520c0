"""What the commands on past recordings share: the account, its request rate, progress."""

import sys
import time
from argparse import ArgumentTypeError
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from bot.cli import output
from bot.cli.context import auth_errors

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.polling.candidates import CountingClient

PROGRESS_EVERY = 5.0
"""Seconds between two lines of progress without a terminal."""

Advance = Callable[[int, int], None]
"""Takes how many recordings were read since the last call, and how many there are in all."""


def moment(text: str) -> datetime:
    """A time, written as how long ago or as a date; without a zone it is in UTC."""
    from bot.cli.history import since

    at = since(text)
    if not 1971 <= at.year <= 2999:  # days before and after it are asked for
        raise ArgumentTypeError("write a year from 1971 to 2999")
    return at


def daemon_runs(url: str) -> bool:
    """Whether a process holds the store's lock."""
    from bot.cli.healthcheck import sign_of

    return sign_of(url) is not None


@asynccontextmanager
async def account(settings: "Settings") -> AsyncIterator["CountingClient"]:
    """The account at background priority, with its calls counted.

    Beside a running daemon it uses at most half of the configured rate, since two processes
    share no rate limit.
    """
    from bot.account import Account
    from bot.clients import open_clients
    from bot.polling.candidates import CountingClient
    from mouseflow import Priority

    if daemon_runs(settings.store.url):
        flow = settings.mouseflow
        slower = replace(flow, requests_per_second=flow.requests_per_second / 2)
        settings = replace(settings, mouseflow=slower)
    with auth_errors(settings):
        async with open_clients(settings) as out:
            asking = out.reading
            if isinstance(asking, Account):
                asking = msgspec.structs.replace(asking, priority=Priority.BACKGROUND)
            yield CountingClient(asking)


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Advance]:
    """Show a bar with rate and time left on a terminal, else a line on standard error at times."""
    if quiet:
        yield lambda _read, _expected: None
    elif sys.stderr.isatty():
        with _bar(what) as advance:
            yield advance
    else:
        yield _lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Advance]:
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

        def advance(read: int, expected: int) -> None:
            nonlocal done
            done += read
            rate = f"{rate_of(done, time.monotonic() - began)}/s"
            shown.update(bar, completed=done, total=max(expected, done) or None, rate=rate)

        yield advance


def _lines(what: str) -> Advance:
    began = printed = time.monotonic()
    done = 0

    def advance(read: int, expected: int) -> None:
        nonlocal done, printed
        done += read
        now = time.monotonic()
        if now - printed >= PROGRESS_EVERY:
            printed = now
            print(line_of(what, done, expected, now - began), file=sys.stderr, flush=True)

    return advance


def line_of(what: str, done: int, expected: int, seconds: float) -> str:
    """One line of progress: `replay: 4000 of 90000 recordings, 800/s, 2m left`."""
    from datetime import timedelta

    left = max(expected - done, 0) * seconds / done if done else 0
    tail = f", {output.span(timedelta(seconds=left))} left" if done and left else ""
    return f"{what}: {done} of {max(expected, done)} recordings, {rate_of(done, seconds)}/s{tail}"


def rate_of(done: int, seconds: float) -> int:
    """Recordings per second."""
    return round(done / seconds) if seconds > 0 else 0


def utc() -> datetime:
    """The current time."""
    return datetime.now(UTC)
