"""Mutes the posts of a rule for a while, always with an end; tags and stars still happen.

What was held back comes as one digest when the snooze ends.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.errors import ConfigError

if TYPE_CHECKING:
    from bot.store import Connection

EXAMPLE = "mouseflow-bot snooze checkout-friction 2h\nmouseflow-bot snooze checkout-friction --end"
LONGEST = timedelta(days=30)


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("rule", help="the rule's id")
    parser.add_argument("length", nargs="?", type=length, help="how long: 30m, 2h, 7d")
    parser.add_argument("--end", action="store_true", help="end the snooze now")
    parser.set_defaults(usage_error=parser.error)


def length(text: str) -> timedelta:
    """Up to 30 days: what is muted for longer is forgotten."""
    from bot.wording import duration

    try:
        asked = duration(text)
    except ValueError:
        raise ArgumentTypeError("write a duration such as 30m, 2h or 7d") from None
    if not timedelta() < asked <= LONGEST:
        raise ArgumentTypeError(f"at most {LONGEST.days}d; for longer, edit the rule")
    return asked


def run(args: Namespace) -> int:
    """Mute the rule, or end its snooze."""
    from bot.cli.given import settings
    from bot.store import open_store
    from bot.store.rule_states import rule_states, snooze

    if (args.length is None) == (not args.end):
        args.usage_error("say how long, such as 2h, or --end")
    now = datetime.now(UTC)
    with open_store(settings(args).store.url, exclusive=False) as store:
        _known(args.rule, list(store.do(rule_states)))
        if args.end:
            print(f"{args.rule}: {store.do(lambda conn: _ended(conn, args.rule, now))}")
        else:
            until = now + args.length
            store.do(lambda conn: snooze(conn, args.rule, until, now))
            print(f"{args.rule}: posts are held back until {until:%Y-%m-%d %H:%M}Z")
    return 0


def _ended(conn: "Connection", rule: str, now: datetime) -> str:
    from bot.cli import show
    from bot.limits import Reason
    from bot.store.rule_states import end_snooze, rule_states, withheld

    since = rule_states(conn)[rule].snoozed_at
    if since is None or not end_snooze(conn, rule, now):
        return "was not snoozed"
    held = withheld(conn, rule, since, Reason.SNOOZED)
    return f"posts again; {show.counted(held, 'post')} held back" + (
        ", which one digest tells of now" if held else ""
    )


def _known(rule: str, known: list[str]) -> None:
    from difflib import get_close_matches

    if rule not in known:
        near = get_close_matches(rule, known, 1)
        hint = f"; did you mean {near[0]}?" if near else "; `mouseflow-bot status` lists the rules"
        raise ConfigError(f"{rule}: the daemon has no such rule{hint}")
