"""Exit 0 while the daemon is running, and polls and deliveries move.

An outage of Mouseflow or Slack does not make it unhealthy, because a restart would not help: the
output names it. A store that can't be written does: a person must act.
"""

import contextlib
import os
import sys
import time
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

from bot.cli.context import config_path, lock_file, secrets_dirs
from bot.domain.pulse import Sign
from bot.errors import BotError
from bot.store.lock import sign_beside

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
    fault, host = health(url, args.within, time.time(), own=True)
    held = [] if fault else troubles(url)
    if args.json:
        import json

        health_of = {"healthy": not fault, "fault": fault, "troubles": held}
        print(json.dumps({"version": 1, **health_of, "at_work_on": host or None}))
    elif fault:
        print(f"unhealthy: {fault}", file=sys.stderr)
    else:
        state = f"standby; the bot on {host} is at work" if host else "alive"
        print(f"{state}, but actions wait: {'; '.join(held)}" if held else state)
    return 1 if fault else 0


def sign_of(url: str) -> Sign | None:
    """How the daemon is doing that holds this store; None if none does. Raises StoreError."""
    if (lock := lock_file(url)) is not None:
        return sign_beside(lock)
    from bot.store import place_of

    return place_of(url).daemon()


def unhealthy(url: str, within: float, now: float) -> str | None:
    """Why the daemon that should hold this store is unhealthy, None if it is healthy."""
    return health(url, within, now)[0]


def health(url: str, within: float, now: float, *, own: bool = False) -> tuple[str | None, str]:
    """Why that daemon is unhealthy, None if it is not; and its host if that is another one.

    `own` is about this host alone, if bots share the store.
    """
    try:
        sign = sign_of(url)
    except BotError as error:
        return str(error), ""
    if sign is None:
        return "the daemon is not running (nothing holds its lock)", ""
    if sign.shares and sign.host and own:
        return f"no bot on this host shares the store (one on {sign.host} does)", ""
    return sign.fault(now, within), sign.host


def troubles(url: str) -> list[str]:
    """What holds deliveries up, as the store has it: `slack token rejected (12 actions wait)`."""
    if (lock := lock_file(url)) is None:
        return _troubles(url)
    import sqlite3

    database = lock.with_suffix("")
    try:
        opened = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        with contextlib.closing(opened) as connection:
            rows = connection.execute("SELECT cause, place, waiting FROM troubles ORDER BY since")
            return [_held(*row) for row in rows]
    except sqlite3.Error:
        return []  # another version wrote it, or it is in trouble: `status` says so


def _troubles(url: str) -> list[str]:
    from bot.store import open_store
    from bot.store.troubles import troubles

    try:
        with open_store(url, read_only=True) as store:
            return [_held(each.cause, each.place, each.waiting) for each in store.do(troubles)]
    except BotError:
        return []


def _held(cause: str, place: str, waiting: int) -> str:
    return f"{' '.join(filter(None, (cause, place)))} ({waiting} actions wait)"


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
