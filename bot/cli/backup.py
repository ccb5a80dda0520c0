"""Write a consistent copy of the store to a file, also while the daemon runs.

A copy of the database file alone would miss recent changes.
"""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

from bot.errors import ConfigError, StoreError

EXAMPLE = "mouseflow-bot backup /backups/bot.db"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "file", nargs="?", type=Path, help="file to write (default: bot-<date>-<time>.db)"
    )
    parser.add_argument("--json", action="store_true", help="print file and size as JSON")


def run(args: Namespace) -> int:
    """Copy the store; returns the exit code."""
    from bot.cli import context, output
    from bot.store import backup

    configured = context.settings(args, offline=True)
    file: Path = args.file or Path(f"bot-{datetime.now(UTC):%Y%m%d-%H%M%S}.db")
    context.existing_place(configured)
    _check_target(file)
    try:
        with output.busy("copying the store"):
            backup(configured.store.url, file)
    except StoreError as error:
        raise StoreError(f"backup to {file} failed: {error}") from error
    size = file.stat().st_size
    if args.json:
        output.document({"file": str(file), "bytes": size})
        return 0
    output.line(f"wrote {file} ({size / 1024:.0f} KiB)")
    output.line(f"to restore: stop the bot, run mouseflow-bot restore {file}, start the bot")
    return 0


def _check_target(file: Path) -> None:
    """Raise ConfigError if the file cannot be created."""
    folder = file.parent
    try:
        if file.is_dir():
            raise ConfigError(f"{file} is a folder; name a file in it, such as {file / 'bot.db'}")
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; create it, or choose another one")
        file.touch(exist_ok=False)
        file.unlink()
    except FileExistsError:
        raise ConfigError(f"{file} already exists; choose another name") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None
