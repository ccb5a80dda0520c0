"""Writes matches of the past into a store, with the guarantees of any poll, and counts them.

The store is the bot's own (`--apply`) or one on trial, which is thrown away: what would be done
is found out by doing it there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from bot.actions.slack import Slack
from bot.poll.judging import Judged
from bot.poll.matching import Found, Routing, posting, settle
from bot.replay.posts import Posts
from bot.replay.tally import Tally
from bot.rulebook.decide import match_key
from bot.rulebook.explain import why
from bot.rulebook.rules import Rule
from bot.sources.recordings import last_activity
from bot.store import Connection
from bot.store.audit import history
from bot.store.matches import PollOutcome
from bot.store.queue import step_kinds

SOURCE = "replay"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one match: the kinds of its steps, or why it has none."""

    found: Found
    at: datetime
    steps: tuple[str, ...]
    held: str = ""


def founds(judged: Iterable[Judged], now: datetime) -> list[Found]:
    """Each match, with the time of the session's end."""
    return [
        Found(
            rule=rule,
            subject=each.subject,
            happened=min(now, last_activity(each.due.row) or now),
            why=why(rule, each.subject),
        )
        for each in judged
        for rule in each.rules
    ]


def write(
    conn: Connection, website: str, found: Sequence[Found], routing: Routing, now: datetime | None
) -> tuple[list[Written], dict[str, str]]:
    """Write the matches down; gives the new ones, and the rules that were paused.

    They come oldest first. With `now` None each is written as of the moment it happened, as a
    bot would have that had been at work then.
    """
    written: list[Written] = []
    paused: dict[str, str] = {}
    for group in [found] if now is not None else _as_they_happened(found):
        outcome = PollOutcome(source=SOURCE, website=website, at=now or group[-1].happened)
        settled = settle(conn, outcome, group, routing)
        paused.update(settled.paused)
        new = frozenset(settled.matches)
        kinds = step_kinds(conn, settled.matches)
        written += [
            _written(conn, each, kinds.get(_key(each), ()), now or each.happened)
            for each in group
            if _key(each) in new
        ]
    return written, paused


def _as_they_happened(found: Sequence[Found]) -> Iterator[Sequence[Found]]:
    """One by one where the store's memory decides; the others together, which is much faster."""
    plain = [each for each in found if not _remembers(each.rule)]
    if plain:
        yield plain
    for each in found:
        if _remembers(each.rule):
            yield [each]


def _remembers(rule: Rule) -> bool:
    return (rule.count, rule.once_per, rule.safety) != (None, None, None)


def _written(conn: Connection, each: Found, steps: tuple[str, ...], at: datetime) -> Written:
    if steps or not each.rule.do:
        return Written(each, at, steps)
    notes = history(
        conn, kind="suppressed", rule=each.rule.id, subject=each.subject.key, limit=1
    )  # fmt: skip
    return Written(each, at, (), notes[0].text if notes else "held back")


def count(
    tally: Tally, posts: Posts, day: date, written: Iterable[Written], routing: Routing
) -> None:
    """Add to the tally what was written."""
    for each in written:
        rule = each.found.rule
        line = tally.line(rule.id, day)
        line.new += 1
        if each.held:
            line.held[each.held] = line.held.get(each.held, 0) + 1
        for kind in each.steps:
            line.steps[kind] = line.steps.get(kind, 0) + 1
        for action in _posts(rule, each.steps):
            key = f"{rule.id}/{action.lane(each.found.subject, routing.channel)}"
            limits = posting(rule, routing.zone)
            fate = posts.fate(key, action, limits, each.found.happened, each.at)
            line.posts += fate == "alone"
            line.digests += fate == "digest"
            line.folded += fate in ("digest", "folded")
            line.dropped += fate == "dropped"


def _posts(rule: Rule, steps: Sequence[str]) -> list[Slack]:
    return [action for action in rule.do if isinstance(action, Slack)] if "slack" in steps else []


def _key(each: Found) -> str:
    return match_key(each.rule.id, each.subject)
