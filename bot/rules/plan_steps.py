"""(rule, subject) -> the steps that a match calls for, each with a key for ever."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bot.actions.base import Action
from bot.domain.subjects import Site, Subject
from bot.rules.model import Rule


@dataclass(frozen=True, slots=True)
class Step:
    """One action to take, once. `rank` orders a match's steps, `lane` is what it queues behind."""

    key: str
    rank: int
    lane: str
    action: Action


def applies(rule: Rule, site: Site) -> bool:
    """Does the rule watch this website? By name, id or glob; without a list it watches all."""
    if not rule.websites:
        return True
    names = (site.name.casefold(), site.id.casefold())
    return any(fnmatchcase(name, wanted.casefold()) for wanted in rule.websites for name in names)


def match_key(rule_id: str, subject: Subject, episode: str = "") -> str:
    """Names a match for ever: a recording matches a rule once, a level once an episode."""
    tail = f"/{episode}" if episode else ""
    return f"{rule_id}/{subject.website.id}/{subject.key}{tail}"


def steps(
    actions: Iterable[Action], subject: Subject, key: str, default_channel: str
) -> Iterator[Step]:
    """The actions for this subject, writes first, then shares, then posts.

    Keys count per kind of action, so a star put before an alert renames no alert.
    """
    counts: Counter[str] = Counter()
    for action in sorted(actions, key=lambda action: action.rank):
        counts[action.kind] += 1
        yield Step(
            key=f"{key}/{action.kind}-{counts[action.kind]}",
            rank=action.rank,
            lane=action.lane(subject, default_channel),
            action=action,
        )
