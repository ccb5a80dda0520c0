"""Exit 0 while the daemon is running, and polls and deliveries move.

An outage of Mouseflow or Slack does not make it unhealthy, because a restart would not help: the
output names it. A store that can't be written does: a person must act.
"""

import contextlib
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bot.cli.context import config_path, lock_file, secrets_dirs, start_of, written
from bot.domain.accounts import ACCOUNTS, folded, named_accounts, url_of_account
from bot.domain.pulse import Sign
from bot.errors import BotError
from bot.store.lock import sign_beside

EXAMPLE = "mouseflow-bot healthcheck && echo alive"
DEFAULT_URL = "sqlite:///data/bot.db"
NOT_RUNNING = "the daemon is not running (nothing holds its lock)"
NOT_HERE = "no bot on this host shares the store"


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
    urls = store_urls_of(config_path(args), os.environ, secrets_dirs())
    if args.account is not None:
        urls = {name: url for name, url in urls.items() if name == args.account}
        if not urls:
            print(f"unhealthy: there is no account {args.account}", file=sys.stderr)
            return 1
    now = time.time()
    if len(urls) > 1:
        return _several(urls, now, args)
    (url,) = urls.values()
    fault, host = health(url, args.within, now, own=True)
    held = [] if fault else troubles(url)
    if args.json:
        import json

        print(json.dumps({"version": 1, **_as_json(fault, host, held)}))
    elif fault:
        print(f"unhealthy: {fault}", file=sys.stderr)
    else:
        print(_state(host, held))
    return 1 if fault else 0


def _state(host: str, held: Sequence[str]) -> str:
    state = f"standby; the bot on {host} is at work" if host else "alive"
    return f"{state}, but actions wait: {'; '.join(held)}" if held else state


def _as_json(fault: str | None, host: str, held: Sequence[str]) -> dict[str, object]:
    return {"healthy": not fault, "fault": fault, "troubles": held, "at_work_on": host or None}


def _several(urls: Mapping[str, str], now: float, args: Namespace) -> int:
    """Several accounts: healthy while one of them runs, and all that run move.

    One that does not run is tried again by the bot: a restart would only disturb the others.
    """
    found = {name: health(url, args.within, now, own=True) for name, url in urls.items()}
    held = {name: [] if found[name][0] else troubles(url) for name, url in urls.items()}
    absent = (NOT_RUNNING, NOT_HERE)
    runs = {name for name, (fault, _) in found.items() if not (fault or "").startswith(absent)}
    healthy = bool(runs) and not any(found[name][0] for name in runs)
    if args.json:
        import json

        accounts = {name: _as_json(*found[name], held[name]) for name in urls}
        print(json.dumps({"version": 1, "healthy": healthy, "accounts": accounts}))
        return 0 if healthy else 1
    for name, (fault, host) in found.items():
        said = f"unhealthy: {fault}" if fault else _state(host, held[name])
        print(f"{name}: {said}", file=sys.stdout if healthy else sys.stderr)
    return 0 if healthy else 1


def sign_of(url: str) -> Sign | None:
    """How the daemon is doing that holds this store; None if none does. Raises StoreError."""
    if (lock := lock_file(url)) is not None:
        return sign_beside(lock)
    from bot.store import location_of

    return location_of(url).daemon()


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
        return NOT_RUNNING, ""
    if own and sign.older and (sign.host or not sign.shares):
        return None, sign.host  # the bot here waits for them, or converts the store just now
    if sign.shares and sign.host and own:
        return f"{NOT_HERE} (one on {sign.host} does)", ""
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
    waits = "1 action waits" if waiting == 1 else f"{waiting:,} actions wait"
    return f"{' '.join(filter(None, (cause, place)))} ({waits})"


def store_url(args: Namespace) -> str:
    """`store.url`, without the slow check of the rest of the configuration."""
    urls = store_urls_of(config_path(args), os.environ, secrets_dirs())
    named = getattr(args, "account", None)
    return urls.get(named or "") or next(iter(urls.values()))


def store_url_of(path: Path | None, environ: Mapping[str, str], secrets: Iterable[Path]) -> str:
    """The URL that `bot.config.load` finds in this file, environment and secret files."""
    return next(iter(store_urls_of(path, environ, secrets).values()))


def store_urls_of(
    path: Path | None, environ: Mapping[str, str], secrets: Iterable[Path]
) -> dict[str, str]:
    """The store's URL of each account; "" is the account where there is no `[accounts]`."""
    secrets = [directory for directory in secrets if directory.is_dir()]
    given = dict[str, Callable[[], str]]()
    for directory in reversed(secrets):
        given |= {file.name.upper(): partial(_text, file) for file in directory.iterdir()}
    given |= {
        name.upper(): partial(str.strip, value) for name, value in environ.items() if value.strip()
    }
    folder = path.parent if path is not None else Path()
    file = written(path) if path is not None else {}
    tables = file.get(ACCOUNTS)
    names = list(tables) if isinstance(tables, dict) else named_accounts(given)
    common = _url(given, "BOT_STORE__URL") or _beside(folder, _of(file) or DEFAULT_URL)
    if not names:
        return {"": common}
    return {
        name: _url(given, f"BOT_ACCOUNTS__{folded(name)}__STORE__URL")
        or _beside(folder, _of(tables.get(name)) if isinstance(tables, dict) else "")
        or url_of_account(common, name)
        for name in names
    }


def _url(given: "Mapping[str, Callable[[], str]]", name: str) -> str:
    return given[name]() if name in given else ""


def _text(file: Path) -> str:
    return start_of(file).decode().strip() if file.is_file() else ""


def _of(table: object) -> str:
    """`store.url` in a table."""
    section = table.get("store") if isinstance(table, dict) else None
    url = section.get("url") if isinstance(section, dict) else None
    return url.strip() if isinstance(url, str) else ""


def _beside(folder: Path, url: str) -> str:
    """The URL; a relative path is relative to the folder of the configuration."""
    if not url:
        return ""
    start = "sqlite:///"
    rest = url.removeprefix(start)
    return url if rest == url or folder == Path() else f"{start}{folder / rest}"
