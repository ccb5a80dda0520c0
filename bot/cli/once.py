"""Poll every source once, perform what is due, and exit: for cron, or for a first try.

With --dry-run it shows what it would do and changes nothing: not in Mouseflow, not in Slack,
not in the store.
"""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.daemon import OnceResult
    from bot.domain.step import StepStatus
    from bot.store import Connection, Store
    from bot.store.audit import Entry

EXAMPLE = "mouseflow-bot once --dry-run\nmouseflow-bot once --json"
_MOST, _MOST_ODD, _MOST_WAITING = 10_000, 5, 5
FIRST_POLL_HINT = (
    "The first poll starts from now (poll.start), so it does not see older recordings. To look "
    "back, set BOT_POLL__START=24h or run `mouseflow-bot replay --since 24h`."
)
"""For people who try the bot and see no match."""


@dataclass(frozen=True, slots=True)
class MatchView:
    """A match of this run: `steps` are (action, state, error).

    `site` is the website's name, `held_back` why there are fewer steps than actions, or none.
    """

    rule: str
    website: str
    site: str
    subject: str
    why: str
    held_back: str
    steps: "tuple[tuple[str, StepStatus, str], ...]"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A rule that decides live sessions only once they are settled, the first one at `settles`."""

    rule: str
    sessions: int
    settles: datetime | None

    def words(self, settle: timedelta) -> str:
        from bot.cli.output import moment
        from bot.messages.text import counted, lasting

        return (
            f"rule {self.rule} waits until sessions have ended ({lasting(settle)} without "
            f"activity): {counted(self.sessions, 'live session')}, the first at "
            f"{moment(self.settles)}"
        )


@dataclass(frozen=True, slots=True)
class _Post:
    """A message of a dry run; `does` says where it goes, `edits` that it changes an earlier one."""

    does: str
    channel: str
    text: str
    edits: bool = False


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing, show what it would do"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: Namespace) -> int:
    """Poll once; 1 if a poll or an action failed, or the rule files have errors."""
    from bot import logs
    from bot.cli import output
    from bot.cli.context import auth_errors, settings
    from bot.cli.status import ODD, odd_recordings, waiting_rules

    configured = settings(args)
    logs.configure(configured.log.format, configured.log.level)

    from bot import daemon
    from bot.store import location_of
    from bot.store.recordings import website_names

    odd = list["Entry"]()
    first = not configured.poll.start and not location_of(configured.store.url).exists()
    began, found, names = datetime.now(UTC), list[MatchView](), dict[str, str]()
    waiting, settle = list[_Waiting](), configured.poll.settle

    def tell(store: "Store", did: "OnceResult") -> None:
        names.update(store.do(website_names))
        waits = store.do(lambda conn: waiting_rules(conn, did.start.rules, settle))
        waiting.extend(_Waiting(rule, *of) for rule, of in waits.items())
        found.extend(store.do(lambda conn: matches(conn, began, names)))
        for kind in ODD:
            odd.extend(store.do(partial(odd_recordings, kind=kind, since=began)))

    # The log would say that a dry run's actions have taken effect.
    with (
        auth_errors(configured),
        logs.hushed("bot.delivery") if args.dry_run else nullcontext(),
        output.busy("polling every website once"),
    ):
        did = asyncio.run(daemon.once(configured, dry_run=args.dry_run, tell=tell))
    if args.json:
        output.document(_as_json(did, found, odd, names) | {"waiting": waiting}, names)
    else:
        _show(did, found, names, configured.mouseflow.app_url)
        for each in waiting[:_MOST_WAITING]:
            output.line(each.words(settle))
        from bot.messages.text import counted

        if (more := len(waiting) - _MOST_WAITING) > 0:
            output.line(f"and {counted(more, 'more rule')} wait{'s' if more == 1 else ''}")
        _show_odd(odd, names)
        if first and not found:
            output.line(FIRST_POLL_HINT)
    drained = did.drained
    return 1 if did.failed or drained.dead or drained.held or did.start.errors else 0


def matches(conn: "Connection", began: datetime, names: Mapping[str, str]) -> list[MatchView]:
    """The matches since then with the state of every step; `names` has websites by id."""
    from bot.store.dead_letters import steps_of
    from bot.store.matches import matches_of

    why, held_back = _notes(conn, "match", began), _notes(conn, "suppressed", began)
    new = [match for match in matches_of(conn, limit=_MOST) if match.matched >= began]
    return [
        MatchView(
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


def _notes(conn: "Connection", kind: str, began: datetime) -> dict[tuple[str, str, str], str]:
    """The audit log's entries of one kind about whole matches, by rule, website and subject."""
    from bot.store.audit import history

    return {
        (entry.rule, entry.website, entry.subject): entry.text
        for entry in history(conn, kind=kind, since=began, limit=_MOST)
        if not entry.step
    }


def _show(
    did: "OnceResult", found: list[MatchView], names: Mapping[str, str], app_url: str
) -> None:
    from bot.cli import output
    from bot.messages.links import recording_url

    left, posts = _would(did, names), _posts(did)
    things = list(dict.fromkeys((match.website, match.subject) for match in found))
    for website, subject in things:
        for match in found:
            if (match.website, match.subject) == (website, subject):
                _show_match(match, did)
        # Only a recording's id is unique; of other subjects calls and posts come at the end.
        url = recording_url(app_url, website, subject)
        about = [words for words in left if f" {subject} on " in f"{words} "]
        told = [post for post in posts if f"/recordings/{subject}/" in post.text]
        if url and about and not told:  # a post has its own link
            output.line(f"    {url}")
        _show_would(about, told, "    ")
        left = [words for words in left if words not in about]
        posts = [post for post in posts if post not in told]
    _show_would(left, posts, "")
    if did.start.errors:
        used = "those of the other files" if did.start.incomplete else "the previous rules"
        output.line(f"the rule files have errors; this run used {used}:")
        output.table((fault,) for fault in did.start.errors)
    for failure in did.failed:
        output.line(f"poll failed: {failure}")
    output.line(_summary(did, len(found)))


def _show_odd(odd: "Sequence[Entry]", names: Mapping[str, str]) -> None:
    """What could not be read of recordings: the first of them, and how many there are."""
    from bot.cli import output

    for entry in odd[:_MOST_ODD]:
        site = names.get(entry.website, entry.website)
        output.line(
            f"recording {entry.subject} on {site} can't be read as documented: {entry.text}"
        )
    if len(odd) > _MOST_ODD:
        output.line(f"{len(odd) - _MOST_ODD} more: `mouseflow-bot history --kind poll.bad_value`")


def _show_match(match: MatchView, did: "OnceResult") -> None:
    from bot.cli import output

    output.line(f"{match.rule} {_matched(match, did)}: {match.why}")
    for action, state, fault in match.steps:
        if not (did.dry_run_log and state == "done"):
            words = output.step_status(state, dry=did.dry_run_log is not None)
            output.line(f"    {action}: {words}" + (f" ({fault})" if fault else ""))
    if match.held_back:
        undone = "would not be done" if did.dry_run_log else "not done"
        output.line(f"    {undone}: {match.held_back}")


def _show_would(calls: Sequence[str], posts: Sequence[_Post], start: str) -> None:
    """Print what a dry run would have called and posted."""
    from bot.cli import output

    for words in calls:
        output.line(f"{start}{words}")
    for post in posts:
        output.line(f"{start}would {post.does}:")
        for line in post.text.splitlines():
            output.line(line, f"{start}  │ ")


def _summary(did: "OnceResult", matched: int) -> str:
    from bot.messages.text import counted

    drained = did.drained
    seen = f"{counted(did.websites, 'website')}, {counted(matched, 'match', 'matches')}"
    rest = f", {drained.postponed} postponed, {drained.dead} failed"
    actions = counted(drained.done, "action")
    if did.dry_run_log:
        more = rest if drained.postponed or drained.dead else ""
        return f"{seen}. {actions} would run{more}. Nothing was changed (dry run)."
    return f"{seen}, {actions} done{rest}"


def _matched(match: MatchView, did: "OnceResult") -> str:
    place = "" if match.subject == match.website else f"{match.subject} on "
    return f"{'would match' if did.dry_run_log else 'matched'} {place}{match.site}"


def _would(did: "OnceResult", names: Mapping[str, str]) -> list[str]:
    """What a dry run would have done, without posts."""
    from bot.delivery.dry_run import in_words

    if did.dry_run_log is None:
        return []
    return [
        *(f"would {in_words(request, names)}" for request in did.dry_run_log.requests),
        *(f"would call the webhook at {host}" for host in did.dry_run_log.hooks),
    ]


def _posts(did: "OnceResult") -> list[_Post]:
    """What a dry run would have posted; an edit follows the message that it changes."""
    from bot.cli.output import as_text

    if did.dry_run_log is None:
        return []
    edits, found = dict(did.dry_run_log.edits), list[_Post]()
    for post in did.dry_run_log.posts:
        to = f"answer in a thread of {post.channel}" if post.thread else f"post to {post.channel}"
        found.append(_Post(to, post.channel, as_text(post.text, post.blocks)))
        if (edit := edits.pop(post.key, None)) is not None:
            text = as_text(edit.text, edit.blocks)
            found.append(_Post("edit that message", edit.channel, text, edits=True))
    found += [
        _Post(
            f"edit a message in {it.channel}", it.channel, as_text(it.text, it.blocks), edits=True
        )
        for it in edits.values()
    ]
    for place, letter in did.dry_run_log.letters:
        found.append(_Post(f"post to {place}", place, f"{letter.title}\n{letter.body}"))
    return found


def _as_json(
    did: "OnceResult", found: list[MatchView], odd: "Sequence[Entry]", names: Mapping[str, str]
) -> dict[str, Any]:
    dry = did.dry_run_log is not None
    words = {"pending": "waiting", "sending": "running", "folded": "digested"}
    words |= {"done": "would-run"} if dry else {}
    return {
        "dry_run": dry,
        "polled": did.websites,
        "failed": did.failed,
        "rule_errors": did.start.errors,
        "done": 0 if dry else did.drained.done,
        "would_do": did.drained.done if dry else 0,
        "postponed": did.drained.postponed,
        "dead": did.drained.dead,
        "held": did.drained.held,
        "odd_recordings": [
            {
                "website": entry.website,
                "recording": entry.subject,
                "reason": entry.text,
            }
            for entry in odd
        ],
        "matches": [
            {
                "rule": match.rule,
                "website": match.website,
                "subject": match.subject,
                "why": match.why,
                "held_back": match.held_back,
                "steps": [
                    {
                        "action": action,
                        "state": words.get(state, state),
                        "fault": fault,
                    }
                    for action, state, fault in match.steps
                ],
            }
            for match in found
        ],
        "would": _would(did, names),
        "would_write": did.dry_run_log.writes if did.dry_run_log else [],
        "would_post": [
            {"channel": it.channel, "text": it.text, "edits": it.edits} for it in _posts(did)
        ],
    }
