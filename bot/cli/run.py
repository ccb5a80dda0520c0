"""The daemon: watches the account until SIGTERM or SIGINT, then finishes what is in flight.

A second signal ends it at once; nothing is lost by that, the next start goes on where this
one stopped. What comes within half a second is the same order, forwarded twice (by `timeout`,
a shell, a terminal). SIGHUP reads the rule files again.
"""

import math
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

EXAMPLE = "mouseflow-bot run --config /etc/mouseflow-bot/config.toml"

ONE_ORDER = 0.5
"""Seconds within which a second signal is the same order."""


def options(parser: ArgumentParser) -> None:
    """The daemon is configured by its file alone."""


def run(args: Namespace) -> int:
    """Watch until told to stop."""
    _leave_at_once()  # before the heavy imports: they take a second, and PID 1 has no defaults
    _leave_out_what_terminals_need()
    from bot import logs
    from bot.cli.context import lock_file, settings

    configured = settings(args)
    logs.configure(configured.log.format, configured.log.level)

    import asyncio

    from bot import daemon
    from bot.cli.heartbeat import beat

    async def watch() -> None:
        stop, reload = asyncio.Event(), asyncio.Event()
        _heed(asyncio.get_running_loop(), stop, reload)
        heart = asyncio.create_task(beat(lock_file(configured.store.url)))
        try:
            await daemon.run(configured, stop=stop, reload=reload)
        finally:
            heart.cancel()

    asyncio.run(watch())
    return 0


def _leave_out_what_terminals_need() -> None:
    """Five megabytes that a container never uses.

    httpx takes a command line of its own along, and structlog coloured tracebacks, with rich,
    click and pygments. A module that is None can't be imported (Python's documentation, "The
    import system", 5.3.1), which both libraries take for "not installed".
    """
    extras = ["httpx._main"] if sys.stderr.isatty() else ["httpx._main", "rich"]
    sys.modules.update(dict.fromkeys(extras))  # type: ignore[arg-type]


def _leave_at_once() -> None:
    """While nothing has begun, there is nothing to finish."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _heed(
    loop: "asyncio.AbstractEventLoop", stop: "asyncio.Event", reload: "asyncio.Event"
) -> None:
    """Turn signals into events from now on."""

    told = math.inf

    def end(number: signal.Signals) -> None:
        nonlocal told
        now = loop.time()
        told = min(told, now)
        if now - told >= ONE_ORDER:
            print("mouseflow-bot: told twice, leaving at once", file=sys.stderr, flush=True)
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
