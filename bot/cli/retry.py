"""Requeues dead letters, the steps that were given up, and lets paused rules run again.

`status` shows both with their reasons. A rule's id stands for all of its dead letters, and
ends the pause that its safety has made.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.store import Connection

EXAMPLE = "mouseflow-bot retry\nmouseflow-bot retry 17 23\nmouseflow-bot retry checkout-friction"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "what",
        nargs="*",
        metavar="ID|RULE",
        help="numbers of dead letters in `status`, or ids of rules (default: all dead letters)",
    )


def run(args: Namespace) -> int:
    """Requeue, and say what was done; what names neither is a problem."""
    from bot.cli.given import settings
    from bot.cli.show import counted
    from bot.store import open_store

    ids = [int(what) for what in args.what if what.isdigit()]
    rules = [what for what in args.what if not what.isdigit()]
    with open_store(settings(args).store.url, exclusive=False) as store:
        requeued, resumed, unknown = store.do(
            lambda conn: retried(conn, ids, rules, datetime.now(UTC))
        )
    print(f"requeued {counted(requeued, 'dead letter')}")
    for rule in resumed:
        print(f"{rule} runs again")
    for what in unknown:
        print(f"{what}: no dead letter has that number, and no rule was run that has this id")
    return 1 if unknown else 0


def retried(
    conn: "Connection", ids: Sequence[int], rules: Sequence[str], now: datetime
) -> tuple[int, list[str], list[str]]:
    """How many dead letters were requeued, which rules resumed, and which names mean nothing."""
    from bot.store.queue import retry
    from bot.store.rule_states import resume_rule, rule_states

    if not ids and not rules:
        return retry(conn, now), [], []
    counts = {str(number): retry(conn, now, ids=[number]) for number in ids}
    known = rule_states(conn)
    resumed = [rule for rule in rules if resume_rule(conn, rule, now, "by hand")]
    counts |= {rule: retry(conn, now, rule=rule) for rule in rules}
    unknown = [what for what, requeued in counts.items() if not requeued and what not in known]
    return sum(counts.values()), resumed, unknown
