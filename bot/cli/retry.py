"""Requeue dead letters (failed actions) and resume paused rules.

`status` lists both with their reasons. A rule's id stands for all of its dead letters and ends
its pause. If one name is unknown, nothing is changed.
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
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: Namespace) -> int:
    """Requeue and show what was done; 1 for an unknown name."""
    from dataclasses import asdict

    from bot.cli import context, output
    from bot.cli import output as dead_letters
    from bot.store.dead_letters import dead_groups

    ids = list(dict.fromkeys(int(what) for what in args.what if _NUMBER.fullmatch(what)))
    rules = [what for what in args.what if not _NUMBER.fullmatch(what)]
    now = datetime.now(UTC)
    with context.existing_store(context.settings(args, offline=True)) as store:
        groups, (requeued, resumed) = store.do(
            lambda conn: (dead_groups(conn, ids=ids, rules=rules), requeue(conn, ids, rules, now))
        )
    if args.json:
        why = [asdict(group) for group in groups]
        output.document({"requeued": requeued, "resumed": resumed, "causes": why})
        return 0
    if requeued or resumed:
        print(f"requeued {output.counted(requeued, 'dead letter')}")
        dead_letters.show(groups, now)
    else:
        print(f"no dead letters{' of these rules' if rules else ''}")
    for rule in resumed:
        print(f"{rule} runs again")
    return 0


def requeue(
    conn: "Connection", ids: Sequence[int], rules: Sequence[str], now: datetime
) -> tuple[int, list[str]]:
    """How many dead letters were requeued, and which rules run again.

    Raises ConfigError for an unknown number or rule.
    """
    from bot.cli.main import known_name
    from bot.errors import ConfigError
    from bot.store.dead_letters import retry
    from bot.store.rules import resume_rule, rule_states

    if not ids and not rules:
        return retry(conn, now), []
    known = rule_states(conn)
    named = [known_name(rule, known, "unknown rule") for rule in rules]
    count = 0
    for number in ids:
        if not retry(conn, now, ids=[number]):
            raise ConfigError(f"{number}: no such dead letter; `mouseflow-bot status` lists them")
        count += 1
    resumed = [rule for rule in named if resume_rule(conn, rule, now, "by hand")]
    return count + sum(retry(conn, now, rule=rule) for rule in named), resumed
