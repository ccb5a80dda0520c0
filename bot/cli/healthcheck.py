"""Exits 0 while the daemon is alive: it holds the store's lock and its heart beats.

An outage of Mouseflow or Slack does not make it unhealthy: a restart would not help.
"""

import fcntl
import os
import sys
import time
import tomllib
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from bot.cli.given import config_path, lock_file, secrets_dirs

EXAMPLE = "mouseflow-bot healthcheck && echo alive"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--within",
        type=float,
        default=60,
        metavar="SECONDS",
        help="how old the last heartbeat may be (default: 60)",
    )


def run(args: Namespace) -> int:
    """Look, with the standard library alone: this runs every few seconds."""
    url = store_url(args)
    fault = unhealthy(lock_file(url), args.within, time.time())
    if fault:
        print(f"unhealthy: {fault}", file=sys.stderr)
        return 1
    print("alive")
    return 0


def unhealthy(lock: Path, within: float, now: float) -> str | None:
    """What is wrong with the daemon that should hold this lock, None if nothing is."""
    try:
        number = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return f"the daemon is not running ({lock}: {error.strerror})"
    try:
        age = now - os.fstat(number).st_mtime
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"no heartbeat for {age:.0f} s" if age > within else None
    finally:
        os.close(number)
    return "the daemon is not running (nobody holds its lock)"


def store_url(args: Namespace) -> str:
    """`store.url` without checking the rest of the configuration, which takes long."""
    name = "BOT_STORE__URL"
    for key, value in os.environ.items():
        if key.upper() == name:
            return value
    for directory in secrets_dirs():
        for file in (directory / name.lower(), directory / name):
            if file.is_file():
                return file.read_text(encoding="utf-8").strip()
    path = config_path(args)
    written: dict[str, Any] = {}
    if path is not None and path.is_file():
        try:
            written = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError:
            written = {}  # the running daemon read a good one
    section = written.get("store")
    url = section.get("url") if isinstance(section, dict) else None
    return url if isinstance(url, str) else "sqlite:///data/bot.db"
