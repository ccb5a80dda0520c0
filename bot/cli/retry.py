"""Requeue dead letters (failed actions) and resume paused rules.

Each action is rebuilt from its rule as it is now. `status` lists both with their reasons.
A rule's id means all of its dead letters, and ends its pause. What waits for a channel or
an account to be fixed is tried at once. If one name is unknown, nothing is changed.
"""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.messages.text import counted

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.delivery.rebuild import CurrentRules
    from bot.rules.model import Rule
    from bot.store import Connection, Store

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
    parser.set_defaults(paths=[])


def run(args: Namespace) -> int:
    """Requeue and show what was done; 1 for an unknown name."""
    from dataclasses import asdict

    from bot.cli import context, output
    from bot.store.dead_letters import dead_groups
    from bot.store.lanes import probe_lanes

    ids = list(dict.fromkeys(int(what) for what in args.what if _NUMBER.fullmatch(what)))
    named = [what for what in args.what if not _NUMBER.fullmatch(what)]
    now, settings = datetime.now(UTC), context.settings(args, offline=True)
    files = _rules(args, settings)  # before the store is opened: many files take a while
    with output.busy("requeueing dead letters"), context.existing_store(settings) as store:
        rules = store.do(lambda conn: known(conn, ids, named))
        groups = store.do(lambda conn: dead_groups(conn, ids=ids, rules=rules))
        resumed = store.do(lambda conn: resume(conn, rules, now))
        current = store.do(lambda conn: _book(conn, files, settings))
        requeued, refused = _requeue(store, current, ids, rules, now)
        store.do(probe_lanes)
    if args.json:
        why = [asdict(group) for group in groups]
        done = {"requeued": requeued, "resumed": resumed, "causes": why, "refused": refused}
        output.document(done)
        return 0
    if requeued or resumed or refused:
        output.line(f"requeued {counted(requeued, 'dead letter')}")
        output.show(groups, now)
    else:
        output.line(f"no dead letters{' of these rules' if rules else ''}")
    for reason, count in refused.items():
        output.line(f"not requeued: {counted(count, 'dead letter')}, {reason}")
    if groups and current is None:
        output.line("the rule files have errors: requeued as they were; see `mouseflow-bot check`")
    for rule in resumed:
        output.line(f"{rule} runs again")
    return 0


def _rules(args: Namespace, settings: "Settings") -> "Sequence[Rule] | None":
    """The rules in the files now; None if they have errors."""
    from bot.cli import context
    from bot.errors import ConfigError, RuleErrors

    try:
        return context.rules(args, settings, offline=True).written
    except (ConfigError, RuleErrors):
        return None


def _book(
    conn: "Connection", rules: "Sequence[Rule] | None", settings: "Settings"
) -> "CurrentRules | None":
    from bot.delivery.rebuild import current_rules

    if rules is None:
        return None
    return current_rules(conn, rules, settings.slack.channel or "", settings.slack.ops)


def _requeue(
    store: "Store",
    current: "CurrentRules | None",
    ids: Sequence[int],
    rules: Sequence[str],
    now: datetime,
) -> tuple[int, dict[str, int]]:
    """How many dead letters were requeued, and why others were not: how many for each reason."""
    from bot.cli import output
    from bot.delivery.rebuild import Retried, retry_some

    after, refused = 0, dict[str, int]()

    def batch() -> Retried:
        return store.do(
            lambda conn: retry_some(conn, now, current, ids=ids, rules=rules, after=after)
        )

    requeued = 0
    for done in output.in_batches(batch):
        after, requeued = done.last or after, requeued + done.requeued
        for reason, count in done.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    return requeued, refused


def known(conn: "Connection", ids: Sequence[int], rules: Sequence[str]) -> list[str]:
    """The rules as they are spelled; raises ConfigError for an unknown number or rule."""
    from bot.cli.main import known_name
    from bot.errors import ConfigError
    from bot.store.dead_letters import dead_ids
    from bot.store.rules import rule_states

    states = rule_states(conn)
    named = [known_name(rule, states, "unknown rule") for rule in rules]
    there = dead_ids(conn, ids)
    for number in ids:
        if number not in there:
            raise ConfigError(f"{number}: no such dead letter; `mouseflow-bot status` lists them")
    return named


def resume(conn: "Connection", rules: Sequence[str], now: datetime) -> list[str]:
    """End the pauses of these rules; returns those that run again."""
    from bot.store.rules import resume_rule

    return [rule for rule in rules if resume_rule(conn, rule, now, "by hand")]
