"""Mute the posts of a rule for a while, 30 days at most; tags and stars continue.

When the snooze ends, one digest lists the posts that were held back.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.messages.text import counted, on_behalf

if TYPE_CHECKING:
    from bot.store import Connection

EXAMPLE = (
    "mouseflow-bot snooze checkout-friction 2h\n"
    'mouseflow-bot snooze --all 2h --by Kim --because "release night"\n'
    "mouseflow-bot snooze checkout-friction --end"
)
LONGEST = timedelta(days=30)


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("rule", metavar="RULE", nargs="?", help="the rule's id")
    parser.add_argument("length", metavar="LENGTH", nargs="?", help="how long: 30m, 2h, 7d")
    parser.add_argument("--all", action="store_true", help="every rule, instead of one")
    parser.add_argument("--end", action="store_true", help="end the snooze now")
    parser.add_argument("--by", metavar="NAME", type=said, help="who does it")
    parser.add_argument("--because", metavar="TEXT", type=said, help="why")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(paths=[], usage_error=parser.error)


def said(text: str) -> str:
    """A text with something in it."""
    if not text.strip():
        raise ArgumentTypeError("write a text, or leave it out")
    return text


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


def _read(args: Namespace) -> tuple[str, timedelta | None]:
    """The rule, empty for all, and how long; ends the process if they are not as they must be."""
    rule, given = (args.rule, args.length) if not args.all else ("", args.length or args.rule)
    if args.all and args.length is not None:
        args.usage_error(f"give {args.rule} or --all, not both")
    if not args.all and rule is None:
        args.usage_error("give a rule, or --all")
    if given is None and not args.end:
        args.usage_error("give a duration such as 2h, or --end")
    if given is not None and args.end:
        args.usage_error(f"give {given} or --end, not both")
    try:
        return rule, None if given is None else length(given)
    except ArgumentTypeError as error:
        args.usage_error(f"{given}: {error}")
        raise


def run(args: Namespace) -> int:
    """Mute the rule or all rules, or end their snoozes."""
    from bot.cli import context, output
    from bot.cli.polling_plan import active_rules, plan_rules
    from bot.store.rules import end_snooze, rule_states, snooze

    rule, lasts = _read(args)
    by, because = args.by or "", args.because or ""
    configured = context.settings(args, offline=True)
    files = plan_rules(args, configured)
    now = datetime.now(UTC)

    def begin(conn: "Connection", until: datetime) -> tuple[list[str], int]:
        states, active = rule_states(conn), active_rules(conn, files, configured)
        there = states if active is None else [each.id for each in active.rules]
        rules = [_known(rule, there, states)] if rule else sorted(there)
        longer = {
            key for key, it in states.items()
            if not rule and it.snoozed_until is not None and it.snoozed_until > until
        }  # fmt: skip
        chosen = [each for each in rules if each not in longer]
        for each in chosen:
            snooze(conn, each, until, now, by, because)
        return chosen, len(rules) - len(chosen)

    def end(conn: "Connection") -> tuple[list[str], dict[str, int]]:
        states = rule_states(conn)
        rules = [_known(rule, states, states)] if rule else sorted(states)
        held = {each: end_snooze(conn, each, now, by, because) for each in rules}
        return rules, {each: count for each, count in held.items() if count is not None}

    with context.existing_store(configured) as store:
        if lasts is None:
            _show_end(args, *store.do(end))
            return 0
        until = now + lasts
        rules, longer = store.do(lambda conn: begin(conn, until))
    about = {"until": until, "by": by, "because": because}
    if args.json:
        output.document({**({"rule": rules[0]} if rule else {"rules": rules}), **about})
        return 0
    who = on_behalf(by, because)
    output.line(f"{_named(args, rules)}: posts are muted until {output.moment(until)}{who}")
    if longer:
        output.line(f"{counted(longer, 'rule')} snoozed for longer: unchanged")
    return 0


def _known(rule: str, there: Collection[str], states: Collection[str]) -> str:
    """The rule's id; raises ConfigError if no active rule has it."""
    from bot.cli.main import known_name
    from bot.errors import ConfigError

    if rule in states and rule not in there:
        raise ConfigError(f"{rule}: the daemon no longer runs this rule; nothing to mute")
    return known_name(rule, there, "unknown rule", "`mouseflow-bot status` lists the rules")


def _named(args: Namespace, rules: Sequence[str]) -> str:
    return counted(len(rules), "rule") if args.all else rules[0]


def _show_end(args: Namespace, rules: Sequence[str], held: Mapping[str, int]) -> None:
    from bot.cli import output

    total = sum(held.values())
    if args.json:
        about = {"rules": sorted(held)} if args.all else {"rule": rules[0]}
        output.document({**about, "ended": bool(held), "held_back": total})
    elif not held:
        output.line(f"{'all rules' if args.all else rules[0]}: not snoozed")
    else:
        which = "a digest of each rule" if args.all else "one digest"
        digest = f", {which} lists them" if total else ""
        held_back = f"{counted(total, 'post')} held back{digest}"
        output.line(f"{_named(args, sorted(held))}: snooze ended; {held_back}")
