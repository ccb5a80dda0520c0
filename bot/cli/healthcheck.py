"""Exits 0 while the daemon is alive: it holds the store's lock and its heart beats.

An outage of Mouseflow or Slack does not make it unhealthy: a restart would not help.
"""

import fcntl
import os
import sys
import time
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

from bot.cli.context import config_path, lock_file, secrets_dirs

EXAMPLE = "mouseflow-bot healthcheck && echo alive"
DEFAULT_URL = "sqlite:///data/bot.db"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--within",
        type=float,
        default=60,
        metavar="SECONDS",
        help="how old the last heartbeat may be (default: 60)",
    )
    parser.add_argument("--json", action="store_true", help="the outcome as JSON")


def run(args: Namespace) -> int:
    """Look, with the standard library alone: this runs every few seconds."""
    url = store_url(args)
    fault = unhealthy(lock_file(url), args.within, time.time())
    if args.json:
        import json

        print(json.dumps({"healthy": not fault, "fault": fault}))
    elif fault:
        print(f"unhealthy: {fault}", file=sys.stderr)
    else:
        print("alive")
    return 1 if fault else 0


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
    return store_url_of(config_path(args), os.environ, secrets_dirs())


def store_url_of(path: Path | None, environ: Mapping[str, str], secrets: Iterable[Path]) -> str:
    """What `bot.config.load` finds, from that file, environment and folders of secret files."""
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
    except (OSError, ValueError):
        return None  # the running daemon read a good one
    url = section.get("url") if isinstance(section, dict) else None
    return url.strip() if isinstance(url, str) else None


def _beside(folder: Path, url: str) -> str:
    """Relative places count from the folder of the configuration."""
    start = "sqlite:///"
    rest = url.removeprefix(start)
    return url if rest == url or folder == Path() else f"{start}{folder / rest}"
