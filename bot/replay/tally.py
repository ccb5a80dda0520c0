"""What a look back found, counted by rule and day, and told as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from bot.actions import ACTIONS
from bot.actions.base import POST

HEADINGS = ("rule", "day", "matches", "new", "known", "held back", "writes", "posts", "digests")
MOST_DAYS = 31
"""Rows for single days that are shown of one rule; further ones stand in its total alone."""


class Line(msgspec.Struct):
    """One rule on one day.

    `new` matches were not known before, `known` ones were. `held` counts by reason the new
    ones that call for no action (`once_per`, `count`, a pause). `steps` are the actions that
    the others call for, by kind. `posts` go out alone, `folded` ones stand in `digests`,
    `dropped` ones nowhere.
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
        return sum(n for kind, n in self.steps.items() if ACTIONS[kind].rank < POST)

    @property
    def hooks(self) -> int:
        """Calls of webhooks."""
        return self.steps.get("webhook", 0)


class Tally(msgspec.Struct):
    """All lines, by rule and day, and what the look back read and cost.

    `missed` counts recordings that could not be read, `undetailed` those judged without
    their detail, `held` the websites whose rules with friction could not be judged. `paused`
    are the rules that their safety stopped, with the reason.
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
    """Rows of texts: the headings, each rule's days, oldest first, and its total."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for rule in rules:
        days = tally.lines.get(rule, {})
        shown = sorted(days)[-MOST_DAYS:]
        rows += [_row(rule, day.isoformat(), days[day]) for day in shown]
        if len(days) != 1:
            rows.append(_row(rule, "all", tally.total(rule)))
    return rows


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
        f"{tally.read} recordings read with {tally.calls} calls, "
        f"{tally.details} of them for details"
    ]
    found += [f"{n} held back: {reason}" for reason, n in sorted(whole.held.items())]
    if whole.folded:
        found.append(f"{whole.folded} posts stand in a digest beside others")
    if whole.dropped:
        found.append(f"{whole.dropped} posts are dropped, as their rules say")
    if whole.hooks:
        found.append(f"{whole.hooks} webhooks are called")
    found += [f"{rule} is paused by its safety: {why}" for rule, why in tally.paused.items()]
    if tally.missed:
        found.append(f"{tally.missed} recordings could not be read")
    if tally.undetailed:
        found.append(
            f"{tally.undetailed} recordings were judged without their detail, which failed"
        )
    found += [
        f"rules with friction could not be judged on {name}: the API ignores that filter"
        for name in tally.held
    ]
    return found


def plain(tally: Tally, rules: Sequence[str]) -> dict[str, object]:
    """The same for programs."""
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
