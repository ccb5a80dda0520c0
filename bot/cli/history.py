"""Shows the audit log, the newest entry first: what was done, what was not, and why."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bot.cli.main import count

if TYPE_CHECKING:
    from bot.store import Connection

EXAMPLE = (
    "mouseflow-bot history --rule checkout-friction --since 2h\n"
    "mouseflow-bot history --recording 4a1b2c --json"
)

KINDS = (
    "budget.step", "level.held", "level.no_history", "match", "notice", "poll.cost",
    "poll.truncated", "poll.undetailed", "poll.unreadable", "rule.paused", "rule.renamed",
    "rule.resumed", "rule.snooze_ended", "rule.snoozed", "rules.loaded", "rules.reload_failed",
    "step.dead", "step.done", "step.folded", "step.interrupted", "step.postponed",
    "step.put_off", "step.retried", "step.withheld", "suppressed", "website.held",
    "website.person", "website.released",
)  # fmt: skip
"""What the audit log tells of; one that is not here is known where the log has it."""

_RECORDING = re.compile(r"/recordings/([^/?#]+)")


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--rule", default="", help="of this rule")
    parser.add_argument(
        "--recording", default="", type=recording_id, help="about this one: an id or a pasted link"
    )
    parser.add_argument("--website", default="", metavar="W", help="about this one: name or id")
    parser.add_argument("--kind", default="", help="of this kind, such as step.done, or step")
    parser.add_argument(
        "--since", type=since, metavar="WHEN", help="from then: 2h, 7d, or 2026-11-24T12:00"
    )
    parser.add_argument("--limit", type=count, default=100, metavar="N", help="default: 100")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(usage_error=parser.error)


def recording_id(text: str) -> str:
    """The id in a link to a recording, or the text itself."""
    found = _RECORDING.search(text)
    return found[1] if found else text


def since(text: str) -> datetime:
    """How long ago, or a moment; without a zone it is in UTC."""
    from bot.messages import duration

    try:
        return datetime.now(UTC) - duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("write 2h, 7d, or a moment such as 2026-11-24T12:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def run(args: Namespace) -> int:
    """Show the entries that meet all filters."""
    from bot.cli import context, output
    from bot.store import audit

    with context.stored(context.settings(args, offline=True), read_only=True) as store:
        if args.kind and (wrong := store.do(lambda conn: unknown_kind(conn, args.kind))):
            args.usage_error(wrong)
        entries = store.do(
            lambda conn: audit.history(
                conn,
                rule=_rule(conn, args.rule),
                subject=args.recording,
                website=_website(conn, args.website),
                kind=args.kind,
                since=args.since,
                limit=args.limit,
            )
        )
    if args.json:
        output.document([_plain(entry) for entry in entries])
    elif entries:
        output.table(
            [
                (output.moment(each.at), each.kind, each.rule, each.subject, each.text)
                for each in entries
            ],
            indent="",
        )
    else:
        output.line("nothing was recorded that fits")
    return 0


def unknown_kind(conn: "Connection", kind: str) -> str:
    """What is wrong with a kind that is none, empty for one that there is."""
    from bot.cli.main import hint
    from bot.store.audit import history

    families = {each.partition(".")[0] for each in KINDS}
    if kind in KINDS or kind in families or history(conn, kind=kind, limit=1):
        return ""
    known = sorted({*families, *KINDS})
    near = hint(kind, known, f"there are {', '.join(known)}")
    return f"--kind {kind}: there is no such kind{near}"


def _rule(conn: "Connection", rule: str) -> str:
    """The rule's id as the store has it; raises ConfigError for one never heard of."""
    from bot.cli.main import one_of
    from bot.store.audit import history
    from bot.store.rules import rule_states

    if not rule or history(conn, rule=rule, limit=1):
        return rule
    return one_of(rule, rule_states(conn), "the daemon has run no such rule")


def _website(conn: "Connection", website: str) -> str:
    """The website's id; raises ConfigError for one that the daemon has not seen."""
    from bot.cli.main import one_of
    from bot.store.audit import history
    from bot.store.recordings import website_names

    ids = website_names(conn)
    if not website or website in ids or history(conn, website=website, limit=1):
        return website
    names = sorted(ids.values())
    seen = f"it knows {', '.join(names[:10])}" if names else ""
    name = one_of(website, names, "the daemon has seen no such website", seen)
    return next(id_ for id_, known in ids.items() if known == name)


def _plain(entry: Any) -> dict[str, Any]:
    names = ("id", "at", "kind", "rule", "website", "subject", "step", "text", "details")
    return {name: getattr(entry, name) for name in names}
