"""What the demo tells at its end: frozen values in, lines out."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bot.cli.show import counted

EXAMPLES = 2
"""Matches shown of each rule."""
MESSAGES = 2
"""Messages shown of each channel, of different kinds if there are: the rest is counted."""
WIDTH = 78


@dataclass(frozen=True, slots=True)
class Action:
    """An action of one rule: how many took effect, wait, or were given up or withheld."""

    kind: str
    done: int
    waiting: int = 0
    failed: int = 0
    withheld: int = 0


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule did. `examples` are (subject, why) of some of its matches."""

    rule: str
    summary: str
    file: str
    matches: int
    actions: Sequence[Action] = ()
    examples: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Posted:
    """A Slack message, as its text."""

    channel: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that the report tells. `calls` are (what, how often), `faults` went wrong for good."""

    seconds: float
    websites: int
    recordings: int
    rules: Sequence[RuleOutcome]
    posts: Sequence[Posted]
    calls: Sequence[tuple[str, int]]
    faults: Sequence[str] = ()


def report(outcome: Outcome) -> list[str]:
    """The report, line by line, for somebody who sees the bot for the first time."""
    return [
        *_heading("What the bot did"),
        *_summary(outcome),
        "",
        *_heading("Rule by rule"),
        *(line for rule in outcome.rules for line in _rule(rule)),
        *_heading("What the team saw in Slack"),
        *_posts(outcome.posts),
        *_heading("What it cost"),
        *_calls(outcome),
        *_faults(outcome.faults),
        *_heading("What to do next"),
        "  mouseflow-bot init              write a config.toml and a first rule of your own",
        "  mouseflow-bot check             validate them, every problem at once",
        "  mouseflow-bot once --dry-run    see what would happen on your account",
        "  mouseflow-bot run               the daemon",
    ]


def _heading(title: str) -> list[str]:
    return [title, "─" * len(title)]


def _summary(outcome: Outcome) -> Iterator[str]:
    matches = sum(rule.matches for rule in outcome.rules)
    fired = sum(1 for rule in outcome.rules if rule.matches)
    acted = sum(action.done for rule in outcome.rules for action in rule.actions)
    yield (
        f"  In {outcome.seconds:.0f} s it looked at {counted(outcome.recordings, 'recording')} of "
        f"{counted(outcome.websites, 'website')} of a simulated account."
    )
    yield (
        f"  {fired} of {counted(len(outcome.rules), 'rule')} fired: "
        f"{counted(matches, 'match', 'matches')}, {counted(acted, 'action')}, "
        f"{counted(len(outcome.posts), 'Slack message')}."
    )


def _rule(rule: RuleOutcome) -> Iterator[str]:
    yield f"  {rule.rule}  ({rule.file})"
    if rule.summary:
        yield f"    {rule.summary}"
    did = ", ".join(_action(action) for action in rule.actions)
    yield f"    {counted(rule.matches, 'match', 'matches')}" + (f": {did}" if did else "")
    for subject, why in rule.examples[:EXAMPLES]:
        yield f"      {subject}: {why}" if why else f"      {subject}"
    yield ""


def _action(action: Action) -> str:
    more = [
        f"{number} {word}"
        for number, word in (
            (action.waiting, "to come"),
            (action.withheld, "in a digest"),
            (action.failed, "given up"),
        )
        if number
    ]
    done = [str(action.done)] if action.done or not more else []
    return " ".join((action.kind, *done, *([f"({', '.join(more)})"] if more else [])))


def _posts(posts: Sequence[Posted]) -> Iterator[str]:
    if not posts:
        yield "  nothing"
        yield ""
    for channel in dict.fromkeys(post.channel for post in posts):
        those = [post for post in posts if post.channel == channel]
        yield f"  #{channel.lstrip('#')}: {counted(len(those), 'message')}"
        shown = _different(those)[:MESSAGES]
        for post in shown:
            yield "    ┌" + "─" * (WIDTH - 6)
            yield from (f"    │ {line}" for line in post.text.splitlines())
            yield "    └" + "─" * (WIDTH - 6)
        if len(those) > len(shown):
            yield f"    and {len(those) - len(shown)} more"
        yield ""


def _different(posts: Sequence[Posted]) -> list[Posted]:
    """First one of each title, then the others."""
    firsts: dict[str, Posted] = {}
    others = []
    for post in posts:
        title = post.text.partition("\n")[0]
        if firsts.setdefault(title, post) is not post:
            others.append(post)
    return [*firsts.values(), *others]


def _calls(outcome: Outcome) -> Iterator[str]:
    total = sum(number for _, number in outcome.calls)
    yield f"  {counted(total, 'request')} in {outcome.seconds:.0f} s"
    for what, number in outcome.calls:
        yield f"  {number:5}  {what}"
    yield ""


def _faults(faults: Sequence[str]) -> Iterator[str]:
    if faults:
        yield from _heading("What went wrong")
        for fault, times in Counter(faults).items():
            yield f"  {fault}" + (f" ({times} times)" if times > 1 else "")
        yield ""


_ID = re.compile(r"/(?=[^/]*\d)[\w.-]{6,}(?=/|$)|/[0-9a-f-]{12,}(?=/|$)")


def grouped(calls: Iterable[tuple[str, str, str]]) -> list[tuple[str, int]]:
    """(side, method, path) -> what was asked how often, ids left out, the most frequent first."""
    counts = Counter(
        f"{side.capitalize():9}  {method:6} {_ID.sub('/{id}', path)}"
        for side, method, path in calls
    )
    return counts.most_common()
