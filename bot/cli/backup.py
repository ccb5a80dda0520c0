"""Writes a whole, consistent copy of the store to a file, also while the daemon runs.

A plain copy of the database file would lack what is still in its log.
"""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

from bot.errors import ConfigError, StoreError

EXAMPLE = "mouseflow-bot backup /backups/bot.db"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "file", nargs="?", type=Path, help="where to write (default: bot-<date>-<time>.db)"
    )
    parser.add_argument("--json", action="store_true", help="what was written, as JSON")


def run(args: Namespace) -> int:
    """Copy the store."""
    from bot.cli import context, output
    from bot.store import backup

    configured = context.settings(args, offline=True)
    file: Path = args.file or Path(f"bot-{datetime.now(UTC):%Y%m%d-%H%M%S}.db")
    store = context.store_file(configured)
    _check_place(file)
    try:
        backup(configured.store.url, file)
    except StoreError as error:
        file.unlink(missing_ok=True)
        raise StoreError(f"the copy to {file} was not finished: {error}") from error
    size = file.stat().st_size
    if args.json:
        output.document({"file": str(file), "bytes": size})
        return 0
    print(f"wrote {file} ({size / 1024:.0f} KiB)")
    print(f"to restore: stop the bot, put {file} in the place of {store}, start the bot")
    return 0


def _check_place(file: Path) -> None:
    """Raises ConfigError where no new file can be made."""
    folder = file.parent
    try:
        if file.is_dir():
            raise ConfigError(
                f"{file}: that is a folder; name a file in it, such as {file / 'bot.db'}"
            )
        if not folder.is_dir():
            raise ConfigError(f"{folder}: there is no such folder; make it, or name another place")
        file.touch(exist_ok=False)
        file.unlink()
    except FileExistsError:
        raise ConfigError(f"{file} exists already; name another file") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None
