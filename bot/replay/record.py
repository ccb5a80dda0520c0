"""Writes matches of the past into a store, with the guarantees of any poll, and counts them.

The store is the bot's own (`--apply`) or a temporary copy: what would be done is found out by
doing it there.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import compress
from typing import Literal

import msgspec

from bot.actions import ACTIONS
from bot.actions.notifier import Notifier
from bot.domain.limits import Held, Post, Posting, Window, admit
from bot.polling.record_matches import Found, Routing, posting, record_poll
from bot.rules.model import Rule, match_key
from bot.store import Connection
from bot.store.audit import history
from bot.store.dead_letters import step_kinds
from bot.store.matches import PollOutcome

Fate = Literal["alone", "digest", "folded", "dropped"]
"""A message of its own, the first of a digest, one more of a digest, or none at all."""


class Posts(msgspec.Struct):
    """The state of all limits, by rule and lane. `digests` has when the open ones are due."""

    windows: dict[str, Window] = {}
    digests: dict[str, datetime] = {}

    def fate(
        self,
        key: str,
        action: Notifier,
        posting: Posting,
        happened: datetime,
        now: datetime,
        zone: str = "UTC",
    ) -> Fate:
        """What becomes of one post; `key` names its rule and lane. Posts come in order of `now`."""
        at = action.schedule
        verdict = admit(
            now,
            happened=happened,
            posting=posting,
            limit=action.limit,
            window=self.windows.get(key),
            snoozed_until=None,
            scheduled=at.following(now, zone) if at else None,
        )
        if not isinstance(verdict, Held):
            if isinstance(verdict, Post) and verdict.window is not None:
                self.windows[key] = verdict.window
            return "alone"
        if verdict.drop:
            return "dropped"
        due = self.digests.get(key)
        if due is not None and (now < due or due == verdict.until):
            return "folded"
        self.digests[key] = verdict.until
        return "digest"


HEADINGS = ("rule", "day", "matches", "new", "known", "held back", "writes", "posts", "digests")
MOST_DAYS = 31
"""How many days of one rule get a row of their own; others count in its total only."""


class Line(msgspec.Struct):
    """One rule on one day.

    `new` matches were not known before, `known` ones were. `held` counts by reason the new
    ones that call for no action (`once_per`, `count`, a pause). `steps` are the actions that
    the others call for, by kind. `posts` go out alone, `folded` ones are part of `digests`,
    `dropped` ones are never sent.
    """

    new: int = 0
    known: int = 0
    held: dict[str, int] = {}
    steps: dict[str, int] = {}
    posts: int = 0
    digests: int = 0
    folded: int = 0
    dropped: int = 0

    @property
    def matches(self) -> int:
        """New and known ones."""
        return self.new + self.known

    @property
    def writes(self) -> int:
        """Actions that change something at Mouseflow: a call each, at least."""
        return sum(n for kind, n in self.steps.items() if not ACTIONS[kind].posts)

    @property
    def unlimited(self) -> dict[str, int]:
        """The posts that no limit may hold back, such as calls of webhooks, by kind."""
        kinds = [kind for kind in self.steps if ACTIONS[kind].posts and not ACTIONS[kind].digest]
        return {kind: self.steps[kind] for kind in kinds}


class Tally(msgspec.Struct):
    """All lines, by rule and day, and what the replay read and cost.

    `missed` counts recordings that could not be read, `undetailed` those whose
    detail could not be read, `held` the websites where a filter does not work, so that rules are
    suspended. `paused` are the rules that their safety paused, with the reason.
    """

    lines: dict[str, dict[date, Line]] = {}
    read: int = 0
    calls: int = 0
    details: int = 0
    missed: int = 0
    undetailed: int = 0
    held: list[str] = []
    paused: dict[str, str] = {}

    def line(self, rule: str, day: date) -> Line:
        """The line of that rule and day, there from now on."""
        return self.lines.setdefault(rule, {}).setdefault(day, Line())

    def total(self, rule: str) -> Line:
        """All days of one rule together."""
        return summed(self.lines.get(rule, {}).values())


def summed(lines: Iterable[Line]) -> Line:
    """Many lines as one."""
    whole = Line()
    for line in lines:
        whole.new += line.new
        whole.known += line.known
        whole.held = dict(Counter(whole.held) + Counter(line.held))
        whole.steps = dict(Counter(whole.steps) + Counter(line.steps))
        whole.posts += line.posts
        whole.digests += line.digests
        whole.folded += line.folded
        whole.dropped += line.dropped
    return whole


def table(tally: Tally, rules: Sequence[str]) -> list[tuple[str, ...]]:
    """Rows of texts: the headings, each rule's days, oldest first, and its total.

    Columns after `matches` that hold nothing but 0 are left out.
    """
    rows: list[tuple[str, ...]] = [HEADINGS]
    for rule in rules:
        days = tally.lines.get(rule, {})
        shown = sorted(days)[-MOST_DAYS:]
        rows += [_row(rule, day.isoformat(), days[day]) for day in shown]
        if len(days) != 1:
            rows.append(_row(rule, "all", tally.total(rule)))
    told = [
        index < 3 or any(row[index] != "0" for row in rows[1:]) for index in range(len(rows[0]))
    ]
    return [tuple(compress(row, told)) for row in rows]


def _row(rule: str, day: str, line: Line) -> tuple[str, ...]:
    numbers = (
        line.matches, line.new, line.known, sum(line.held.values()),
        line.writes, line.posts, line.digests,
    )  # fmt: skip
    return (rule, day, *map(str, numbers))


def remarks(tally: Tally) -> list[str]:
    """What the table does not say: reasons, doubts, and what it cost."""
    whole = summed(tally.total(rule) for rule in tally.lines)
    found = [
        f"{tally.read:,} recordings read with {tally.calls:,} calls, "
        f"{tally.details:,} of them for details"
    ]
    found += [f"{n} held back: {reason}" for reason, n in sorted(whole.held.items())]
    if whole.folded:
        found.append(f"{whole.folded} posts are part of a digest")
    if whole.dropped:
        found.append(f"{whole.dropped} posts are dropped, as their rules say")
    found += [f"{n} {kind} posts without a limit" for kind, n in whole.unlimited.items()]
    found += [f"{rule} is paused by its safety: {why}" for rule, why in tally.paused.items()]
    if tally.missed:
        found.append(f"{tally.missed:,} recordings could not be read")
    if tally.undetailed:
        found.append(f"{tally.undetailed:,} recordings lack their details, which could not be read")
    found += [
        f"rules with friction, visitor_type or search were not evaluated on {name}: "
        "the filter fails there"
        for name in tally.held
    ]
    return found


def plain(tally: Tally, rules: Sequence[str]) -> dict[str, object]:
    """The tally as `--json` prints it."""
    return {
        "rules": {
            rule: {
                "total": _figures(tally.total(rule)),
                "days": {
                    day.isoformat(): _figures(line)
                    for day, line in sorted(tally.lines.get(rule, {}).items())
                },
            }
            for rule in rules
        },
        "read": tally.read,
        "calls": tally.calls,
        "details": tally.details,
        "missed": tally.missed,
        "undetailed": tally.undetailed,
        "friction_ignored_on": tally.held,
        "paused": tally.paused,
    }


def _figures(line: Line) -> Mapping[str, object]:
    return {
        "matches": line.matches,
        "new": line.new,
        "known": line.known,
        "held_back": line.held,
        "actions": line.steps,
        "writes": line.writes,
        "posts": line.posts,
        "digests": line.digests,
        "folded": line.folded,
        "dropped": line.dropped,
    }


SOURCE = "replay"


@dataclass(frozen=True, slots=True)
class WrittenMatch:
    """What became of one match: the kinds of its steps, or why it has none."""

    found: Found
    at: datetime
    steps: tuple[str, ...]
    held: str = ""


def write(
    conn: Connection, website: str, found: Sequence[Found], routing: Routing, now: datetime | None
) -> tuple[list[WrittenMatch], dict[str, str]]:
    """Write the matches down; gives the new ones, and the rules that were paused.

    They come oldest first. With `now` None each is written as of the moment it happened, as a
    bot would have that had been at work then.
    """
    written: list[WrittenMatch] = []
    paused: dict[str, str] = {}
    for group in [found] if now is not None else _as_they_happened(found):
        outcome = PollOutcome(source=SOURCE, website=website, at=now or group[-1].happened)
        recorded = record_poll(conn, outcome, group, routing)
        paused.update(recorded.paused)
        new = frozenset(recorded.matches)
        kinds = step_kinds(conn, recorded.matches)
        written += [
            _written(conn, each, kinds.get(_key(each), ()), now or each.happened)
            for each in group
            if _key(each) in new
        ]
    return written, paused


def _as_they_happened(found: Sequence[Found]) -> Iterator[Sequence[Found]]:
    """One by one if the store's history decides; the others together, which is much faster."""
    plain = [each for each in found if not _remembers(each.rule)]
    if plain:
        yield plain
    for each in found:
        if _remembers(each.rule):
            yield [each]


def _remembers(rule: Rule) -> bool:
    return (rule.count, rule.once_per, rule.safety) != (None, None, None)


def _written(conn: Connection, each: Found, steps: tuple[str, ...], at: datetime) -> WrittenMatch:
    if steps or not each.rule.do:
        return WrittenMatch(each, at, steps)
    notes = history(
        conn, kind="suppressed", rule=each.rule.id, subject=each.subject.key, limit=1
    )  # fmt: skip
    return WrittenMatch(each, at, (), notes[0].text if notes else "held back")


def count(
    tally: Tally, posts: Posts, day: date, written: Iterable[WrittenMatch], routing: Routing
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
            fate = posts.fate(key, action, limits, each.found.happened, each.at, routing.zone)
            line.posts += fate == "alone"
            line.digests += fate == "digest"
            line.folded += fate in ("digest", "folded")
            line.dropped += fate == "dropped"


def _posts(rule: Rule, steps: Sequence[str]) -> list[Notifier]:
    """The posts of the rule that limits may hold back, if the match calls for them."""
    notifiers = [action for action in rule.do if isinstance(action, Notifier)]
    return [action for action in notifiers if action.digest and action.kind in steps]


def _key(each: Found) -> str:
    return match_key(each.rule.id, each.subject)
