"""Exit 0 while the daemon is running, and polls and deliveries move.

An outage of Mouseflow or Slack does not make it unhealthy, because a restart would not help: the
output names it. A store that can't be written does: a person must act.
"""

import contextlib
import fcntl
import os
import sys
import time
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

from bot.cli.context import config_path, lock_file, secrets_dirs
from bot.domain.pulse import read

EXAMPLE = "mouseflow-bot healthcheck && echo alive"
DEFAULT_URL = "sqlite:///data/bot.db"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--within",
        type=float,
        default=60,
        metavar="SECONDS",
        help="maximum age of the last heartbeat (default: 60)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: Namespace) -> int:
    """Check with the standard library alone, since this runs every few seconds."""
    url = store_url(args)
    lock = lock_file(url)
    fault = unhealthy(lock, args.within, time.time())
    held = [] if fault else troubles(lock.with_suffix(""))
    if args.json:
        import json

        print(json.dumps({"version": 1, "healthy": not fault, "fault": fault, "troubles": held}))
    elif fault:
        print(f"unhealthy: {fault}", file=sys.stderr)
    else:
        print(f"alive, but actions wait: {'; '.join(held)}" if held else "alive")
    return 1 if fault else 0


def unhealthy(lock: Path, within: float, now: float) -> str | None:
    """Why the daemon that should hold this lock is unhealthy, None if it is healthy."""
    try:
        number = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return f"the daemon is not running ({lock}: {error.strerror})"
    try:
        age = now - os.fstat(number).st_mtime
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        if age > within:
            return f"no heartbeat for {age:.0f} s"
        pulse = read(os.pread(number, 4096, 0).decode("utf-8", "replace").partition("\n")[2])
        return pulse.fault(now) if pulse else None
    finally:
        os.close(number)
    return "the daemon is not running (nothing holds its lock)"


def is_held(lock: Path) -> bool:
    """Whether a daemon holds this lock, healthy or not."""
    try:
        number = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(number)
    return False


def troubles(database: Path) -> list[str]:
    """What holds deliveries up, as the store has it: `slack token rejected (12 actions wait)`."""
    import sqlite3

    try:
        opened = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        with contextlib.closing(opened) as connection:
            rows = connection.execute("SELECT cause, place, waiting FROM troubles ORDER BY since")
            return [f"{' '.join(filter(None, row[:2]))} ({row[2]} actions wait)" for row in rows]
    except sqlite3.Error:
        return []  # another version wrote it, or it is in trouble: `status` says so


def store_url(args: Namespace) -> str:
    """`store.url`, without the slow check of the rest of the configuration."""
    return store_url_of(config_path(args), os.environ, secrets_dirs())


def store_url_of(path: Path | None, environ: Mapping[str, str], secrets: Iterable[Path]) -> str:
    """The URL that `bot.config.load` finds in this file, environment and secret files."""
    name = "BOT_STORE__URL"
    for key, value in environ.items():
        if key.upper() == name and value.strip():
            return value.strip()
    for directory in secrets:
        for file in (directory / name.lower(), directory / name):
            if file.is_file() and (text := file.read_text(encoding="utf-8").strip()):
                return text
    if path is None:
        return DEFAULT_URL
    return _beside(path.parent, _written(path) or DEFAULT_URL)


def _written(path: Path) -> str | None:
    try:
        section = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("store")
    except (OSError, ValueError, RecursionError):
        return None  # the running daemon has read a valid one
    url = section.get("url") if isinstance(section, dict) else None
    return url.strip() if isinstance(url, str) else None


def _beside(folder: Path, url: str) -> str:
    """The URL; a relative path is relative to the folder of the configuration."""
    start = "sqlite:///"
    rest = url.removeprefix(start)
    return url if rest == url or folder == Path() else f"{start}{folder / rest}"
