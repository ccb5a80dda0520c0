"""Requeues dead letters, the steps that were given up, and lets paused rules run again.

`status` shows both with their reasons. A rule's id stands for all of its dead letters, and
ends the pause that its safety has made. Where one name means nothing, nothing is done.
"""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.store import Connection

_NUMBER = re.compile(r"[0-9]{1,18}")

EXAMPLE = "mouseflow-bot retry\nmouseflow-bot retry 17 23\nmouseflow-bot retry checkout-friction"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "what",
        nargs="*",
        metavar="ID|RULE",
        help="numbers of dead letters in `status`, or ids of rules (default: all dead letters)",
    )
    parser.add_argument("--json", action="store_true", help="what was done, as JSON")


def run(args: Namespace) -> int:
    """Requeue, and say what was done; what names neither is a problem."""
    from dataclasses import asdict

    from bot.cli import context, dead_letters, output
    from bot.store.dead_letters import dead_groups

    ids = list(dict.fromkeys(int(what) for what in args.what if _NUMBER.fullmatch(what)))
    rules = [what for what in args.what if not _NUMBER.fullmatch(what)]
    now = datetime.now(UTC)
    with context.stored(context.settings(args, offline=True)) as store:
        groups, (requeued, resumed) = store.do(
            lambda conn: (dead_groups(conn, ids=ids, rules=rules), retried(conn, ids, rules, now))
        )
    if args.json:
        why = [asdict(group) for group in groups]
        output.document({"requeued": requeued, "resumed": resumed, "causes": why})
        return 0
    if requeued or resumed:
        print(f"requeued {output.counted(requeued, 'dead letter')}")
        dead_letters.shown(groups, now)
    else:
        print(f"there is no dead letter{' of those rules' if rules else ''}")
    for rule in resumed:
        print(f"{rule} runs again")
    return 0


def retried(
    conn: "Connection", ids: Sequence[int], rules: Sequence[str], now: datetime
) -> tuple[int, list[str]]:
    """How many dead letters were requeued, and which rules run again.

    Raises ConfigError for a number that no dead letter has, and for a rule never heard of.
    """
    from bot.cli.main import one_of
    from bot.errors import ConfigError
    from bot.store.dead_letters import retry
    from bot.store.rules import resume_rule, rule_states

    if not ids and not rules:
        return retry(conn, now), []
    known = rule_states(conn)
    named = [one_of(rule, known, "no rule was run that has this id") for rule in rules]
    count = 0
    for number in ids:
        if not retry(conn, now, ids=[number]):
            raise ConfigError(
                f"{number}: no dead letter has that number; `mouseflow-bot status` shows them"
            )
        count += 1
    resumed = [rule for rule in named if resume_rule(conn, rule, now, "by hand")]
    return count + sum(retry(conn, now, rule=rule) for rule in named), resumed
