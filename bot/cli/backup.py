"""Writes a whole, consistent copy of the store to a file, also while the daemon runs.

A plain copy of the database file would lack what is still in its log.
"""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

EXAMPLE = "mouseflow-bot backup /backups/bot.db"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "file", nargs="?", type=Path, help="where to write (default: bot-<date>-<time>.db)"
    )


def run(args: Namespace) -> int:
    """Copy the store."""
    from bot.cli.given import settings
    from bot.store import backup

    url = settings(args).store.url
    file: Path = args.file or Path(f"bot-{datetime.now(UTC):%Y%m%d-%H%M%S}.db")
    backup(url, file)
    print(f"wrote {file} ({file.stat().st_size / 1024:.0f} KiB)")
    print(f"to restore: stop the bot, put {file} in the place of {url}, start the bot")
    return 0
