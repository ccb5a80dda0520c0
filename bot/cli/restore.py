"""Put a backup in the place of the store. Stop the bot first.

The store that was there is kept beside it. When the bot starts again, it looks up in Slack what
it posted since the backup was made, and does not repeat it.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

EXAMPLE = "mouseflow-bot restore /backups/bot.db"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("file", type=Path, help="the backup")
    parser.add_argument("--json", action="store_true", help="print the files as JSON")


def run(args: Namespace) -> int:
    """Restore the store; returns the exit code."""
    from bot.cli import context, output
    from bot.store import location_of

    configured = context.settings(args, offline=True)
    place = location_of(configured.store.url)
    with output.busy("restoring the store"):
        kept, store = place.restore(args.file), place.name
    if args.json:
        output.document({"store": store, "kept": str(kept) if kept else None})
        return 0
    output.line(f"restored {store} from {args.file}")
    if kept is not None:
        output.line(f"the store before is {kept}; delete it when you don't need it any more")
    output.line("start the bot: it looks up its later posts in Slack before it repeats any of them")
    return 0
