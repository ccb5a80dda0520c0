"""Shows the audit log, the newest entry first: what was done, what was not, and why."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime
from typing import Any

EXAMPLE = (
    "mouseflow-bot history --rule checkout-friction --since 2h\n"
    "mouseflow-bot history --recording 4a1b2c --json"
)

_RECORDING = re.compile(r"/recordings/([^/?#]+)")


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--rule", default="", help="of this rule")
    parser.add_argument(
        "--recording", default="", type=recording_id, help="about this one: an id or a pasted link"
    )
    parser.add_argument("--website", default="", metavar="ID", help="about this website")
    parser.add_argument("--kind", default="", help="of this kind, such as step.done, or step")
    parser.add_argument(
        "--since", type=since, metavar="WHEN", help="from then: 2h, 7d, or 2026-11-24T12:00"
    )
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--json", action="store_true", help="as JSON")


def recording_id(text: str) -> str:
    """The id in a link to a recording, or the text itself."""
    found = _RECORDING.search(text)
    return found[1] if found else text


def since(text: str) -> datetime:
    """How long ago, or a moment; without a zone it is in UTC."""
    from bot.wording import duration

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
    from bot.cli import show
    from bot.cli.given import settings
    from bot.store import audit, open_store

    with open_store(settings(args).store.url, read_only=True) as store:
        entries = store.do(
            lambda conn: audit.history(
                conn,
                rule=args.rule,
                subject=args.recording,
                website=args.website,
                kind=args.kind,
                since=args.since,
                limit=max(args.limit, 1),
            )
        )
    if args.json:
        show.document([_plain(entry) for entry in entries])
    elif entries:
        show.table(
            [
                (show.moment(each.at), each.kind, each.rule, each.subject, each.text)
                for each in entries
            ],
            indent="",
        )
    else:
        show.line("nothing of that kind was recorded")
    return 0


def _plain(entry: Any) -> dict[str, Any]:
    names = ("id", "at", "kind", "rule", "website", "subject", "step", "text", "details")
    return {name: getattr(entry, name) for name in names}
