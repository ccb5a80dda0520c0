"""Requeues dead letters, the steps that were given up; `status` shows them with their reasons."""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

EXAMPLE = "mouseflow-bot retry\nmouseflow-bot retry 17 23"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "ids", nargs="*", type=int, metavar="ID", help="the numbers in `status` (default: all)"
    )
    parser.add_argument("--rule", default="", help="only those of this rule")


def run(args: Namespace) -> int:
    """Requeue, and say how many; a number that is no dead letter is a problem."""
    from bot.cli.given import settings
    from bot.cli.show import counted
    from bot.store import open_store
    from bot.store.queue import retry

    with open_store(settings(args).store.url, exclusive=False) as store:
        requeued = store.do(
            lambda conn: retry(conn, datetime.now(UTC), ids=args.ids or None, rule=args.rule)
        )
    print(f"requeued {counted(requeued, 'dead letter')}")
    return 1 if requeued < len(set(args.ids)) else 0
