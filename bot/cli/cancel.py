"""Cancel actions that wait, by number or by rule.

`status` lists what waits. The end of a share stays, unless you give its number. What runs now
can't be cancelled. If one name is unknown, nothing is changed.
"""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.messages.text import counted

if TYPE_CHECKING:
    from bot.store import Connection

_NUMBER = re.compile(r"[0-9]{1,18}")

EXAMPLE = "mouseflow-bot cancel checkout-friction\nmouseflow-bot cancel 17 23"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "what", nargs="+", metavar="ID|RULE", help="numbers of waiting actions, or ids of rules"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: Namespace) -> int:
    """Cancel and show how many; 1 for an unknown name."""
    from bot.cli import context, output
    from bot.store.cancel import cancel, waiting

    ids = list(dict.fromkeys(int(what) for what in args.what if _NUMBER.fullmatch(what)))
    named = [what for what in args.what if not _NUMBER.fullmatch(what)]
    now = datetime.now(UTC)
    with context.existing_store(context.settings(args, offline=True)) as store:
        rules = store.do(lambda conn: known(conn, ids, named))
        found = store.do(lambda conn: waiting(conn, ids, rules))
        cancelled = sum(
            output.in_batches(lambda: store.do(lambda c: cancel(c, now, ids=ids, rules=rules)))
        )
    if args.json:
        done = {"cancelled": cancelled, "running": found.running, "left": found.restoring}
        output.document(done)
        return 0
    output.line(f"cancelled {counted(cancelled, 'action')}" if cancelled else "nothing waits")
    if found.running:
        output.line(f"{counted(found.running, 'action')} running now, not cancelled")
    if found.restoring:
        left = counted(found.restoring, "end", "ends")
        output.line(f"{left} of shares still to come; to cancel one, give its number")
    return 0


def known(conn: "Connection", ids: Sequence[int], rules: Sequence[str]) -> list[str]:
    """The rules as they are spelled; raises ConfigError for an unknown number or rule."""
    from bot.cli.main import known_name
    from bot.errors import ConfigError
    from bot.store.cancel import known_steps, rules_waiting
    from bot.store.rules import rule_states

    there = known_steps(conn, ids)
    for number in ids:
        if number not in there:
            raise ConfigError(
                f"{number}: no such waiting action; `mouseflow-bot status` lists them"
            )
    names = {*rule_states(conn), *rules_waiting(conn)} if rules else set()
    return [known_name(rule, names, "unknown rule") for rule in rules]
