"""Run the daemon until SIGTERM or SIGINT, then finish requests in flight.

A second signal exits at once; nothing is lost, the next start continues where this one stopped.
Signals within half a second count as one. SIGHUP loads changed rule files and secrets.
"""

import contextlib
import gc
import math
import os
import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Mapping

    from bot.config import Settings

EXAMPLE = "mouseflow-bot run --config /etc/mouseflow-bot/config.toml"

SAME_SIGNAL = 0.5
"""Seconds within which a second signal counts as the first: `timeout`, a shell or a terminal
forwards one signal twice."""
LONGEST_STOP = 20.0
"""Seconds after which a stop is forced; delivery waits 15 s for requests in flight."""
HEARTBEAT = 1.0
"""Seconds between two heartbeats."""


def options(parser: ArgumentParser) -> None:
    """Add nothing: the daemon has a configuration file alone."""


def run(args: Namespace) -> int:
    """Run until a signal; returns the exit code."""
    _exit_on_signals()  # before the slow imports; PID 1 has no default handlers
    gc.disable()  # imports make a hundred thousand objects, and none of them is garbage
    import asyncio

    asyncio.run(_run(args))
    return 0


async def _run(args: Namespace) -> None:
    import asyncio

    from bot import logs
    from bot.cli.context import accounts_apart
    from bot.rule_reader import end_process, start_process

    child = await start_process()
    try:
        reading = asyncio.create_task(accounts_apart(args, child))
        await asyncio.sleep(0)  # sends the request
        from bot import daemon  # noqa: F401 - the slow import, while the process reads

        configured = await reading
        first = next(iter(configured.values()))
        logs.configure(first.log.format, first.log.level)
        stop, reload = asyncio.Event(), asyncio.Event()
        _handle_signals(asyncio.get_running_loop(), stop, reload)
        limit = asyncio.create_task(_limit_stop(stop))
        try:
            if "" in configured:
                await _watch_one(first, stop, reload, partial(_again, args), child)
            else:
                await end_process(child)  # each account has a process for its rules
                await _watch_several(configured, stop, reload, partial(_all_again, args))
        finally:
            limit.cancel()
    finally:
        await end_process(child)


async def _all_again(args: Namespace) -> "dict[str, Settings]":
    """The settings as they are now; raises BotError."""
    from bot.cli.context import accounts_apart
    from bot.rule_reader import PATIENCE, end_process, start_process

    child = await start_process()
    try:
        return await accounts_apart(args, child, PATIENCE)
    finally:
        await end_process(child)


async def _again(args: Namespace) -> "Settings":
    """Read the settings of the chosen account again."""
    from bot.cli.context import chosen

    return chosen(args, await _all_again(args))


async def _watch_one(
    settings: "Settings",
    stop: "asyncio.Event",
    reload: "asyncio.Event",
    again: "Callable[[], Awaitable[Settings]]",
    child: "Process",
) -> None:
    import asyncio

    from bot import daemon
    from bot.cli.context import lock_file
    from bot.config.settings import allowed
    from bot.rule_reader import ProcessReader

    _freeze()
    reader = ProcessReader(settings.rules.paths, allowed(settings), started=[child])
    heartbeat = asyncio.create_task(beat(lock_file(settings.store.url)))
    try:
        await daemon.run(settings, stop=stop, reload=reload, reader=reader, reread=again)
    finally:
        heartbeat.cancel()


async def _watch_several(
    accounts: "Mapping[str, Settings]",
    stop: "asyncio.Event",
    reload: "asyncio.Event",
    again: "Callable[[], Awaitable[dict[str, Settings]]]",
) -> None:
    from bot import supervisor
    from bot.cli.context import lock_file

    async def beside(settings: "Settings") -> None:
        await beat(lock_file(settings.store.url))

    _freeze()
    await supervisor.run(accounts, stop=stop, reload=reload, reread=again, beside=beside)


def _freeze() -> None:
    """Collect garbage from now on, but not what was imported.

    Else every full collection scans it and blocks the event loop for 50 ms.
    """
    gc.freeze()
    gc.enable()


async def _limit_stop(stop: "asyncio.Event") -> None:
    """End the process some time after it was asked to stop, or began to because of an error.

    A timer of its own, since the event loop may be what hangs. What was in flight is looked up
    at the next start.
    """
    import structlog

    log = structlog.get_logger(__name__)
    await stop.wait()

    def leave() -> None:
        log.error("daemon.stop_forced", seconds=LONGEST_STOP)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(LONGEST_STOP, leave)
    timer.daemon = True
    timer.start()


async def beat(lock: Path | None, interval: float = HEARTBEAT) -> None:
    """Touch the store's lock file until cancelled; `healthcheck` notices when that stops.

    A store that has none keeps the time of the daemon's pulse.
    """
    import asyncio

    while lock is not None:
        with contextlib.suppress(OSError):  # not taken yet, or the disk is full
            os.utime(lock)
        await asyncio.sleep(interval)


def _exit_on_signals() -> None:
    """Exit at once on a signal while nothing has started."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _handle_signals(
    loop: "asyncio.AbstractEventLoop", stop: "asyncio.Event", reload: "asyncio.Event"
) -> None:
    """Turn signals into events from now on."""
    first = math.inf

    def end(number: signal.Signals) -> None:
        nonlocal first
        now = loop.time()
        first = min(first, now)
        if now - first >= SAME_SIGNAL:
            print("mouseflow-bot: second signal, exiting now", file=sys.stderr, flush=True)
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
