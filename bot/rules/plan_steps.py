"""The steps that a match of a rule calls for, each with a permanent key."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bot.actions.base import Action
from bot.domain.subjects import Site, Subject
from bot.rules.model import Rule


@dataclass(frozen=True, slots=True)
class Step:
    """One action to run, once. `rank` orders a match's steps; steps of one `lane` run in turn."""

    key: str
    rank: int
    lane: str
    action: Action


def applies(rule: Rule, site: Site) -> bool:
    """Whether the rule watches this website: by name, id or glob; without a list it watches all."""
    if not rule.websites:
        return True
    names = (site.name.casefold(), site.id.casefold())
    return any(fnmatchcase(name, wanted.casefold()) for wanted in rule.websites for name in names)


def match_key(rule_id: str, subject: Subject, episode: str = "") -> str:
    """The permanent key of a match: a recording matches a rule once, an alert once per episode."""
    tail = f"/{episode}" if episode else ""
    return f"{rule_id}/{subject.website.id}/{subject.key}{tail}"


def steps(
    actions: Iterable[Action], subject: Subject, key: str, default_channel: str
) -> Iterator[Step]:
    """The actions for this subject, writes first, then shares, then posts.

    Keys count per kind of action, so a star added before a post does not rename the post.
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
