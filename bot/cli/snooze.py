"""Mute the posts of a rule for a while, 30 days at most; tags and stars continue.

When the snooze ends, one digest lists the posts that were held back.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.messages.text import counted

if TYPE_CHECKING:
    from bot.store import Connection

EXAMPLE = "mouseflow-bot snooze checkout-friction 2h\nmouseflow-bot snooze checkout-friction --end"
LONGEST = timedelta(days=30)


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("rule", metavar="RULE", help="the rule's id")
    parser.add_argument(
        "length", metavar="LENGTH", nargs="?", type=length, help="how long: 30m, 2h, 7d"
    )
    parser.add_argument("--end", action="store_true", help="end the snooze now")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(usage_error=parser.error)


def length(text: str) -> timedelta:
    """A duration up to 30 days; a rule muted for longer would be forgotten."""
    from bot.messages import duration

    try:
        wanted = duration(text)
    except ValueError:
        raise ArgumentTypeError("write a duration such as 30m, 2h or 7d") from None
    if not timedelta() < wanted <= LONGEST:
        raise ArgumentTypeError(f"at most {LONGEST.days}d; for longer, edit the rule")
    return wanted


def run(args: Namespace) -> int:
    """Mute the rule, or end its snooze."""
    from bot.cli import context, output
    from bot.cli.main import known_name
    from bot.store.rules import rule_states, snooze

    if args.length is None and not args.end:
        args.usage_error("give a duration such as 2h, or --end")
    if args.length is not None and args.end:
        args.usage_error(f"give {output.span(args.length)} or --end, not both")
    now = datetime.now(UTC)
    with context.existing_store(context.settings(args, offline=True)) as store:
        names, lists = store.do(rule_states), "`mouseflow-bot status` lists the rules"
        rule = known_name(args.rule, names, "unknown rule", lists)
        if args.end:
            _show_end(rule, store.do(lambda conn: _ended(conn, rule, now)), as_json=args.json)
            return 0
        until = now + args.length
        store.do(lambda conn: snooze(conn, rule, until, now))
    if args.json:
        output.document({"rule": rule, "until": until})
    else:
        print(f"{rule}: posts are muted until {until:%Y-%m-%d %H:%M}Z")
    return 0


def _ended(conn: "Connection", rule: str, now: datetime) -> int | None:
    """How many posts the snooze has held back; None if the rule was not snoozed."""
    from bot.domain.limits import Reason
    from bot.store.rules import end_snooze, rule_states, withheld

    since = rule_states(conn)[rule].snoozed_at
    if since is None or not end_snooze(conn, rule, now):
        return None
    return withheld(conn, rule, since, Reason.SNOOZED)


def _show_end(rule: str, held: int | None, *, as_json: bool) -> None:
    from bot.cli import output

    if as_json:
        output.document({"rule": rule, "ended": held is not None, "held_back": held or 0})
    elif held is None:
        print(f"{rule}: not snoozed")
    else:
        digest = ", one digest lists them" if held else ""
        print(f"{rule}: snooze ended; {counted(held, 'post')} held back{digest}")
