"""The rules of one website, made ready for its polls."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from bot.poll.tags import named_tags, own_tags, required_tags
from bot.rulebook.compile import Decider
from bot.rulebook.decide import applies
from bot.rulebook.queries import asks_friction, asks_visitor_type, fires_early, thresholds
from bot.rulebook.rules import Rule
from bot.subjects import RecordingSubject, Site

__all__ = ["Book", "Sheet", "asks_friction", "asks_visitor_type"]


@dataclass(frozen=True)
class Sheet:
    """Some rules and the one decision over all of them."""

    rules: tuple[Rule, ...]

    @cached_property
    def decider(self) -> Decider:
        return Decider(self.rules)

    def matching(self, subject: RecordingSubject) -> list[Rule]:
        """The rules that match with what is known now."""
        return [self.rules[index] for index in self.decider.matches(subject)]

    def sure(self, subject: RecordingSubject) -> list[Rule]:
        """The rules that match whatever else may be learnt."""
        return [self.rules[index] for index in self.decider.candidates(subject).sure]

    def undecided(self, subject: RecordingSubject) -> list[Rule]:
        """The rules whose verdict still depends on a fact to ask or on the detail."""
        return [self.rules[index] for index in self.decider.candidates(subject).open]


class Book:
    """The recording rules that watch this website.

    `final` holds all of them, for sessions that can't change any more; `early` those whose
    condition stays true once it is true, so that they need not wait for the end. `unheeded`
    are the bot's own tags that no rule names: they must not make rules match.
    """

    def __init__(self, rules: Iterable[Rule], site: Site) -> None:
        rules = tuple(rules)
        watching = tuple(
            rule for rule in rules if rule.watch == "recordings" and applies(rule, site)
        )
        self.final = Sheet(watching)
        self.early = Sheet(tuple(rule for rule in watching if fires_early(rule)))
        self.thresholds = thresholds(watching)
        self.unheeded = own_tags(rules) - named_tags(watching)
        self.required_tags = {rule.id: required_tags(rule) for rule in watching}

    @property
    def waits(self) -> bool:
        """Does some rule have to wait until a session is settled?"""
        return len(self.early.rules) < len(self.final.rules)
