"""Polls every source once, performs all that is due, and exits: for cron, or to try things out.

With --dry-run it says what it would do and writes nothing anywhere: not to Mouseflow, not
to Slack, not to the store.
"""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bot.daemon import OnceResult
    from bot.store import Connection, Store

EXAMPLE = "mouseflow-bot once --dry-run\nmouseflow-bot once --json"
_MOST = 10_000
FIRST = (
    "the very first look begins now (poll.start), so nothing older was judged; "
    "BOT_POLL__START=24h lets it look back, and `mouseflow-bot replay --since 24h` tells, too"
)
"""Said to who tries the bot out and sees nothing."""


@dataclass(frozen=True, slots=True)
class Found:
    """A match of this round: `steps` are (action, state, what was wrong with it).

    `site` is the website's name, `held_back` why there are fewer steps than actions, or none.
    """

    rule: str
    website: str
    site: str
    subject: str
    why: str
    held_back: str
    steps: tuple[tuple[str, str, str], ...]


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON")


def run(args: Namespace) -> int:
    """One round; 1 if a source could not be read or a step was given up."""
    from bot import logs
    from bot.cli import output
    from bot.cli.context import explained, settings

    configured = settings(args)
    logs.configure(configured.log.format, configured.log.level)

    from bot import daemon
    from bot.store.database import database_path
    from bot.store.recordings import website_names

    first = not configured.poll.start and not database_path(configured.store.url).exists()
    began, found, names = datetime.now(UTC), list[Found](), dict[str, str]()

    def tell(store: "Store", _: "OnceResult") -> None:
        names.update(store.do(website_names))
        found.extend(store.do(lambda conn: matches(conn, began, names)))

    # A delivery into the dry-run log would be logged as if it had taken effect.
    with explained(configured), logs.hushed("bot.delivery") if args.dry_run else nullcontext():
        did = asyncio.run(daemon.once(configured, dry_run=args.dry_run, tell=tell))
    if args.json:
        output.document(_plain(did, found, names))
    else:
        _show(did, found, names)
        if first and not found:
            output.line(FIRST)
    return 1 if did.failed or did.drained.dead else 0


def matches(conn: "Connection", began: datetime, names: Mapping[str, str]) -> list[Found]:
    """What has matched since then, with the fate of every step; `names` has websites by id."""
    from bot.store.dead_letters import steps_of
    from bot.store.matches import matches_of

    why, held_back = _told(conn, "match", began), _told(conn, "suppressed", began)
    new = [match for match in matches_of(conn, limit=_MOST) if match.matched >= began]
    return [
        Found(
            match.rule,
            match.website,
            names.get(match.website, match.website),
            match.subject_key,
            why.get((match.rule, match.website, match.subject_key), ""),
            held_back.get((match.rule, match.website, match.subject_key), ""),
            tuple((step.action, step.state, step.fault) for step in steps_of(conn, match.key)),
        )
        for match in reversed(new)
    ]


def _told(conn: "Connection", kind: str, began: datetime) -> dict[tuple[str, str, str], str]:
    """What the audit log says of whole matches, by rule, website and subject."""
    from bot.store.audit import history

    return {
        (entry.rule, entry.website, entry.subject): entry.text
        for entry in history(conn, kind=kind, since=began, limit=_MOST)
        if not entry.step
    }


def _show(did: "OnceResult", found: list[Found], names: Mapping[str, str]) -> None:
    from bot.cli import output

    for match in found:
        output.line(f"{match.rule} {_matched(match, did)}: {match.why}")
        for action, state, fault in match.steps:
            if not (did.dry_run_log and state == "done"):
                output.line(f"    {action}: {state}" + (f" ({fault})" if fault else ""))
        if match.held_back:
            output.line(f"    held back: {match.held_back}")
    for words in _would(did, names):
        output.line(words)
    for channel, text in _posts(did):
        output.line()
        output.line(f"would be posted to {channel}:")
        for line in text.splitlines():
            output.line(f"    {line}")
    for failure in did.failed:
        output.line(f"could not be read: {failure}")
    drained = did.drained
    output.line(
        f"{output.counted(did.websites, 'website')}, "
        f"{output.counted(len(found), 'match', 'matches')}, "
        f"{output.counted(drained.done, 'action')} {'to do' if did.dry_run_log else 'done'}, "
        f"{drained.postponed} put off, {drained.dead} given up"
        + ("; nothing was changed" if did.dry_run_log else "")
    )


def _matched(match: Found, did: "OnceResult") -> str:
    place = "" if match.subject == match.website else f"{match.subject} on "
    return f"{'would match' if did.dry_run_log else 'matched'} {place}{match.site}"


def _would(did: "OnceResult", names: Mapping[str, str]) -> list[str]:
    """What a dry run has not done, posts aside."""
    from bot.delivery.dry_run import in_words

    if did.dry_run_log is None:
        return []
    return [
        *(f"would {in_words(request, names)}" for request in did.dry_run_log.requests),
        *(f"would call a webhook of {host}" for host in did.dry_run_log.hooks),
    ]


def _posts(did: "OnceResult") -> list[tuple[str, str]]:
    from bot.cli.output import as_text

    posts = did.dry_run_log.posts if did.dry_run_log else ()
    return [(post.channel, as_text(post.text, post.blocks)) for post in posts]


def _plain(did: "OnceResult", found: list[Found], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "dry_run": did.dry_run_log is not None,
        "websites": did.websites,
        "failed": did.failed,
        "done": did.drained.done,
        "postponed": did.drained.postponed,
        "dead": did.drained.dead,
        "matches": [
            {
                "rule": match.rule,
                "website": match.website,
                "site": match.site,
                "subject": match.subject,
                "why": match.why,
                "held_back": match.held_back,
                "steps": [
                    {"action": action, "state": state, "fault": fault}
                    for action, state, fault in match.steps
                ],
            }
            for match in found
        ],
        "would": _would(did, names),
        "would_write": did.dry_run_log.writes if did.dry_run_log else [],
        "would_post": [{"channel": channel, "text": text} for channel, text in _posts(did)],
    }
