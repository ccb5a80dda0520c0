"""Carry the store over into another database, such as from SQLite to PostgreSQL.

Stop the bot first, and start it with the new `store.url` afterwards. The store that was moved
stays as it is.
"""

from argparse import ArgumentParser, Namespace

EXAMPLE = "mouseflow-bot move sqlite:///data/bot.db postgresql://bot@db.example/bot"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("source", metavar="FROM", help="the URL of the store")
    parser.add_argument("target", metavar="TO", help="the URL of an empty database or a new file")
    parser.add_argument("--json", action="store_true", help="print the number of rows as JSON")


def run(args: Namespace) -> int:
    """Move the store; returns the exit code."""
    from bot.cli import output
    from bot.store.move import move

    with output.busy("copying the store"):
        moved = move(args.source, args.target)
    if args.json:
        output.document({"source": moved.source, "target": moved.target, "rows": dict(moved.rows)})
        return 0
    rows = {table: count for table, count in moved.rows.items() if count}
    output.line(f"moved {sum(rows.values()):,} rows of {len(rows)} tables to {moved.target}")
    output.line(
        f"set store.url to the new address and start the bot; {moved.source} stays as it was"
    )
    output.line("don't start a bot on the old store any more: it would do everything again")
    return 0
