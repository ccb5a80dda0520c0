"""The rules of one website, made ready for its polls."""

from collections.abc import Iterable, Iterator

from bot.domain.subjects import Site
from bot.fields.field import Field, TextKind
from bot.polling.server_facts import named_tags, own_tags, required_tags
from bot.rules.evaluate import RuleGroup, field_of
from bot.rules.index import RuleIndex
from bot.rules.model import OneItem, Rule, leaves
from bot.rules.needs import asks_friction, asks_visitor_type, fires_early, thresholds
from bot.rules.plan_steps import applies

__all__ = ["Book", "asks_friction", "asks_visitor_type"]


class Book:
    """The recording rules that watch this website.

    `final` holds all of them, for sessions that can't change any more; `early` those whose
    condition stays true once it is true, so that they need not wait for the end. `unheeded`
    are the bot's own tags that no rule names: they must not make rules match.

    `expandable` tells that a row with its page views leaves nothing to learn from the detail:
    no rule reads a field that such rows lack, as the region (L949). `reading_tags` holds the
    ids of rules that read tags, of a session or of its pages.
    """

    def __init__(self, rules: Iterable[Rule], site: Site) -> None:
        rules = tuple(rules)
        watching = tuple(
            rule for rule in rules if rule.watch == "recordings" and applies(rule, site)
        )
        self.final: RuleGroup = RuleIndex(watching)
        self.early: RuleGroup = RuleIndex(rule for rule in watching if fires_early(rule))
        self.thresholds = thresholds(watching)
        self.thresholds_of = {rule.id: frozenset(thresholds([rule])) for rule in watching}
        read = [(rule.id, field) for rule in watching for field in _fields_read(rule)]
        self.expandable = not any(field.missing_from_expanded_lists for _rule, field in read)
        self.reading_tags = frozenset(rule for rule, field in read if field.text is TextKind.TAG)
        self.unheeded = own_tags(rules) - named_tags(watching)
        self.required_tags = {rule.id: required_tags(rule) for rule in watching}


def _fields_read(rule: Rule) -> Iterator[Field]:
    """The fields that the condition asks about; of an item its parts."""
    for leaf in leaves(rule.condition):
        about = field_of(leaf, rule.watch)
        if isinstance(leaf, OneItem):
            yield from (about.part(test.field) for test in leaf.tests)
        else:
            yield about
