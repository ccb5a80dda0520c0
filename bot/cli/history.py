"""Show the audit log, newest entry first: what the bot did, what it did not do, and why.

An entry has the time of what it is about: a match has that of its poll.
"""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bot.cli.main import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bot.store import Connection
    from bot.store.audit import Entry

EXAMPLE = (
    "mouseflow-bot history --rule checkout-friction --since 2h\n"
    "mouseflow-bot history --recording 4a1b2c --json"
)

SHOWN = {
    "level.held": "alert.held",
    "level.no_history": "alert.no_history",
    "level.not_recorded": "alert.not_recorded",
    "step.folded": "step.digested",
    "step.put_off": "step.waits",
}
"""Names for people of kinds that the store calls otherwise; `--kind` takes both."""
_STORED = {shown: kind for kind, shown in SHOWN.items()}

_RECORDING = re.compile(r"/recordings/([^/?#]+)")


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--rule", default="", help="only this rule")
    parser.add_argument(
        "--recording",
        default="",
        type=recording_id,
        help="only this one: an id, its beginning, or a pasted link",
    )
    parser.add_argument("--website", default="", metavar="W", help="only this one: name or id")
    parser.add_argument("--kind", default="", help="only this kind, such as step.done, or step")
    parser.add_argument(
        "--since", type=since, metavar="WHEN", help="2h, 7d, or 2026-11-24T12:00 (UTC)"
    )
    parser.add_argument(
        "--limit", type=count, default=100, metavar="N", help="most entries (default: 100)"
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(usage_error=parser.error)


def recording_id(text: str) -> str:
    """The id in a link to a recording, or the text itself."""
    found = _RECORDING.search(text)
    return found[1] if found else text


def since(text: str) -> datetime:
    """A time, written as how long ago or as a date; without a zone it is in UTC."""
    from bot.messages import duration

    try:
        return datetime.now(UTC) - duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        advice = "write 2h, 7d, or a time such as 2026-11-24T12:00"
        raise ArgumentTypeError(f"{text}: {advice}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def run(args: Namespace) -> int:
    """Show the entries that match all filters."""
    from bot.cli import context, output
    from bot.store import audit
    from bot.store.recordings import website_names

    args.kind = _STORED.get(args.kind, args.kind)
    with context.existing_store(context.settings(args, offline=True), read_only=True) as store:
        if args.kind and (error := store.do(lambda conn: unknown_kind(conn, args.kind))):
            args.usage_error(error)
        entries = store.do(
            lambda conn: audit.history(
                conn,
                rule=_rule(conn, args.rule),
                subject=_recording(conn, args.recording),
                website=_website(conn, args.website),
                kind=args.kind,
                since=args.since,
                limit=args.limit,
            )
        )
        names = store.do(website_names)
    if args.json:
        output.document({"data": [_as_json(entry) for entry in entries]}, names)
    elif entries:
        show(entries, names)
    else:
        output.line("no matching entries")
    return 0


def show(entries: "Iterable[Entry]", websites: "Mapping[str, str]", *, indent: str = "") -> None:
    """Print one line per entry; what concerns a whole website has its name, of `websites`."""
    from bot.cli import output

    def about(each: "Entry") -> str:
        return websites.get(each.subject or each.website, each.subject)

    def kind(each: "Entry") -> str:
        return SHOWN.get(each.kind, each.kind)

    output.table(
        ((output.moment(each.at), kind(each), each.rule, about(each), each.text)
         for each in entries),
        indent=indent,
    )  # fmt: skip


def unknown_kind(conn: "Connection", kind: str) -> str:
    """The error for an unknown kind, empty for a known one."""
    from bot.cli.main import suggest
    from bot.store.audit import KINDS, history

    families = {each.partition(".")[0] for each in KINDS}
    if kind in KINDS or kind in families or history(conn, kind=kind, limit=1):
        return ""
    known = sorted({*families, *(SHOWN.get(each, each) for each in KINDS)})
    near = suggest(kind, known, f"known: {', '.join(known)}")
    return f"--kind {kind}: unknown kind{near}"


def _rule(conn: "Connection", rule: str) -> str:
    """The rule's id as the store has it; raises ConfigError for an unknown one."""
    from bot.cli.main import known_name
    from bot.store.audit import history
    from bot.store.rules import rule_states

    if not rule or history(conn, rule=rule, limit=1):
        return rule
    return known_name(rule, rule_states(conn), "unknown rule")


MOST_ALIKE = 5
"""Ids that begin alike and are named in an error."""


def whole_id(beginning: str, alike: "Sequence[str]") -> str:
    """The one id of those that begin so; without any the `beginning` itself.

    Raises ConfigError if there are several.
    """
    from bot.errors import ConfigError

    if beginning in alike or not alike:
        return beginning
    if len(alike) > 1:
        more = " and more" if len(alike) > MOST_ALIKE else ""
        named = ", ".join(alike[:MOST_ALIKE])
        raise ConfigError(f"several recordings begin with {beginning}: {named}{more}")
    return alike[0]


def _recording(conn: "Connection", recording: str) -> str:
    """The recording's whole id; raises ConfigError for an unknown one."""
    from bot.errors import ConfigError
    from bot.store.audit import history, subjects_beginning
    from bot.store.recordings import ids_beginning

    if not recording or history(conn, subject=recording, limit=1):
        return recording
    # The log may remember what the store of recordings has forgotten.
    alike = ids_beginning(conn, recording, "", MOST_ALIKE + 1)
    alike = alike or subjects_beginning(conn, recording, MOST_ALIKE + 1)
    if not alike:
        raise ConfigError(f"no entry is about a recording {recording}: give the whole id or a link")
    return whole_id(recording, alike)


def _website(conn: "Connection", website: str) -> str:
    """The website's id; raises ConfigError for an unknown one."""
    from bot.cli.main import known_name
    from bot.messages.text import told_apart
    from bot.replay.select import website_named
    from bot.store.audit import history
    from bot.store.recordings import website_names

    names = website_names(conn)
    if not website or website in names or history(conn, website=website, limit=1):
        return website
    if website in names.values():
        return website_named(names, website)
    ids = {name: key for key, name in told_apart(names).items()}
    seen = f"the daemon knows {', '.join(sorted(ids)[:10])}" if ids else ""
    name: str = known_name(website, sorted(ids), "unknown website", seen)
    return ids[name]


def _as_json(entry: Any) -> dict[str, Any]:
    names = ("id", "at", "kind", "rule", "website", "subject", "step", "text", "details")
    return {name: getattr(entry, name) for name in names}
