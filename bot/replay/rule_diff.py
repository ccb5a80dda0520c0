"""The rule files against what the running rules have matched: gained, lost, and what it costs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from bot.domain.subjects import Site
from bot.replay.record import Line
from bot.replay.select import Span
from bot.rules.model import Rule
from bot.rules.needs import plan

State = Literal["new", "changed", "same", "gone"]
Pair = tuple[str, str]
"""A rule's id and a recording's."""


@dataclass(frozen=True, slots=True)
class Work:
    """What matches called for: actions that change something, and posts that go out alone."""

    writes: int = 0
    posts: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one rule: recordings that match with the files alone, or without them."""

    rule: str
    state: State
    before: int
    after: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]


def states(
    rules: Iterable[Rule], digests: Mapping[str, str], running: Mapping[str, str]
) -> dict[str, State]:
    """How each rule of the files differs from the running one, by fingerprint."""
    found: dict[str, State] = {}
    for rule in rules:
        old = next((running[it] for it in (rule.id, *rule.was) if it in running), None)
        found[rule.id] = "new" if old is None else "same" if old == digests[rule.id] else "changed"
    return found


def compare(
    rules: Sequence[Rule],
    known: Mapping[str, State],
    before: Collection[Pair],
    after: Collection[Pair],
) -> list[Change]:
    """Each rule of the files, then those that are gone and had matches."""
    renamed = {old: rule.id for rule in rules for old in rule.was}
    old = {(renamed.get(rule, rule), key) for rule, key in before}
    were, are = _by_rule(old), _by_rule(after)
    ids = [rule.id for rule in rules]
    gone = sorted(were.keys() - set(ids))
    return [
        _change(rule, known.get(rule, "gone"), were.get(rule, set()), are.get(rule, set()))
        for rule in (*ids, *gone)
    ]


def _change(rule: str, state: State, old: set[str], new: set[str]) -> Change:
    return Change(
        rule, state, len(old), len(new), tuple(sorted(new - old)), tuple(sorted(old - new))
    )  # fmt: skip


def _by_rule(pairs: Iterable[Pair]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for rule, key in pairs:
        found.setdefault(rule, set()).add(key)
    return found


def rows(changes: Iterable[Change]) -> list[tuple[str, ...]]:
    """The changes as texts, with headings."""
    found: list[tuple[str, ...]] = [("rule", "", "matches", "were", "gained", "lost")]
    for each in changes:
        counts = (each.after, each.before, len(each.gained), len(each.lost))
        found.append((each.rule, each.state, *map(str, counts)))
    return found


def differing(changes: Sequence[Change]) -> str:
    """How many rules of the files differ from the running ones, in words."""
    gone = sum(each.state == "gone" for each in changes)
    differ = sum(each.state in ("new", "changed") for each in changes)
    if not (gone or differ):
        return "no rule differs from the running ones"
    tail = f", {gone} {'is' if gone == 1 else 'are'} gone" if gone else ""
    return f"{differ} of {len(changes) - gone} rules differ from the running ones{tail}"


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls a day: `polling` is the most, were there something new at every poll.

    More than `rate` calls a second are never made; `bounded` where polls would come to more.
    """

    polling: float
    details: float
    writes: float
    rate: float
    bounded: bool


def calls(
    rules: Sequence[Rule],
    sites: Iterable[Site],
    interval: timedelta,
    rate: float,
    details: int,
    writes: int,
    span: Span,
) -> Calls:
    """What the rules cost a day, from their plan and from what the replay needed.

    `rate` is how many calls a second the account allows.
    """
    polls = timedelta(days=1) / interval
    each = sum(plan(rules, site).calls for site in sites)
    most = rate * timedelta(days=1).total_seconds()
    return Calls(min(polls * each, most), details / span.days, writes / span.days,
                 rate, polls * each > most)  # fmt: skip


def costs(now: Work, line: Line, cost: Calls, span: Span) -> list[str]:
    """Posts, writes and calls a day, in words."""
    days = span.days
    bound = f" (bounded by {cost.rate:g} calls a second)" if cost.bounded else ""
    return [
        f"posts a day: {line.posts / days:.1f} (the running rules: {now.posts / days:.1f}), "
        f"and {line.digests / days:.1f} digests",
        f"writes a day: {line.writes / days:.1f} (the running rules: {now.writes / days:.1f})",
        f"calls a day: at most {cost.polling:,.0f} for polling{bound}, about "
        f"{cost.details:,.0f} for details, {cost.writes:,.0f} for writes",
    ]


def watched(
    rule: str, recording: str, at: datetime, start: datetime | None, had: Collection[Pair]
) -> bool:
    """Whether the running bot could have had that match, or has it.

    `start` is when its polls began to watch the website, `had` the matches that it has, also
    of what it caught up on before. A website that it never watched counts whole.
    """
    return start is None or at >= start or (rule, recording) in had
