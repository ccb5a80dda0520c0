"""Warnings about rules that can be read but hardly mean what they say; each can be silenced."""

from collections import Counter
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any, Final

from bot.actions.notifier import Notifier
from bot.actions.share import Share
from bot.domain.subjects import Kind
from bot.messages.template_check import first_use
from bot.messages.template_variables import NAMES
from bot.messages.templates import names_used
from bot.rules.files.actions import Allowed
from bot.rules.files.location import Place, listed, text_place
from bot.rules.files.nodes import Items, Keys, Node
from bot.rules.files.rule_source import Written, everywhere, parts, together
from bot.rules.implication import implies, impossible, leaves
from bot.rules.model import All, AnyOf, Condition, Journey, Not, Rule

LINTS: Final = MappingProxyType(
    {
        "never-holds": "the condition can never hold",
        "always-true": "bounds that every figure meets",
        "shadowed": "whatever meets `when` also meets `except`, so the rule never matches",
        "same-rule": "two rules have the same conditions and the same actions",
        "friction-scale": "friction above 50: it is a small sum of event weights, not 0-100",
        "friction-exact": "an exact friction: hardly any session has it",
        "friction-on-page": "friction beside a page without tags: it speaks of the whole session",
        "personal-data": "a text posts personal data to Slack",
        "tag-comma": "a tag with a comma: no tag has one",
        "share-without-url": "a share whose link the bot cannot show, since share_url is not set",
        "unusual-value": "a word that the API does not know: of its filters, a website, a country",
        "compared-as-text": "a text that looks like a regular expression or a comparison",
        "path-query": "a path with a query: only what stands before the ? is compared",
        "fraction": "a percentage below one, written without its sign",
        "unread-given": "a test gives a field that the rule does not read",
    }
)
"""Every lint by its id, with what it finds."""

_PERSONAL: Final = MappingProxyType(
    {
        kind: frozenset(name for name, about in names.items() if about.personal)
        for kind, names in NAMES.items()
    }
)
_SAME_DATA = (
    frozenset({"pages", "saw_page", "page", "journey", "entry_page", "exit_page", "tags"}),
    frozenset({"entered", "completed", "conversion", "step"}),
    frozenset({"interactions", "success", "completion"}),
    frozenset({"responses", "impressions", "response_rate"}),
)
"""Fields that are made of the same data: giving one gives something of the others."""


def lint(written: Written, allowed: Allowed) -> None:
    """Warns, each at its place, of what the rule as a whole gives reason to."""
    _hopeless(written)
    _friction_on_page(written)
    _personal(written)
    _unread(written)
    if allowed.share_url is False and any(isinstance(act, Share) for act in written.rule.do):
        written.at("do", "share").warn(
            "share-without-url",
            "the recording becomes public, but messages cannot link to it; set share_url "
            "under [mouseflow] in the configuration",
        )


def lint_same(rules: Sequence[tuple[Rule, Place]]) -> None:
    """Warns of rules that do what another one does."""
    first: dict[Any, Rule] = {}
    for rule, place in rules:
        other = first.setdefault(_essence(rule), rule)
        if other is not rule:
            message = f"this does the same as {other.id} ({other.file}:{other.line})"
            place.warn("same-rule", message)


def _hopeless(written: Written) -> None:
    rule = written.rule
    if impossible(rule.when, rule.watch):
        place, node = written.reach("when")
        place, message = _contradiction(node, rule.when, place, rule.watch)
        place.warn("never-holds", message)
    elif rule.excepts is not None and implies(rule.when, rule.excepts, rule.watch):
        place, node = written.reach("except")
        swallows = (
            part.place
            for part in parts(node, rule.excepts, place)
            if implies(rule.when, part.condition, rule.watch)
        )
        next(swallows, place).warn(
            "shadowed", "whatever meets when also meets this, so the rule never matches"
        )


def _contradiction(node: Node, condition: Condition, place: Place, kind: Kind) -> tuple[Place, str]:
    """The first key that cannot hold beside another one, or by itself."""
    found = list(together(node, condition, place))
    for part in found:
        if impossible(part.condition, kind):
            if not (isinstance(part.node, Items) and isinstance(part.condition, AnyOf)):
                return part.place, "nothing can meet all of this"
            branch = part.node.items[0]
            inside = part.place.at(0, branch)
            return _contradiction(branch, part.condition.parts[0], inside, kind)
    for index, other in enumerate(found):
        for one in found[:index]:
            if impossible(All((one.condition, other.condition)), kind):
                return other.place, f"nothing can meet this and {one.key} (line {one.place.line})"
    return place, "these conditions exclude one another"


def _friction_on_page(written: Written) -> None:
    place, node = written.reach("when")
    if "friction" not in fields_read(leaves(written.rule.when)):
        return
    for here, key, value in everywhere(node, place):
        if key == "page" and isinstance(value, Keys) and value.entries.keys() <= {"path", "title"}:
            here.warn(
                "friction-on-page",
                "friction speaks of the whole session, not of this page; write saw_page, or ask "
                "for the page's tags, such as tags: click-rage",
            )


def _personal(written: Written) -> None:
    of_kind: Counter[str] = Counter()
    for post in (action for action in written.rule.do if isinstance(action, Notifier)):
        kind, index = post.kind, of_kind[post.kind]
        of_kind[kind] += 1
        if not post.own_text:
            continue
        named = sorted(_PERSONAL[written.rule.watch] & names_used(post.own_text))
        if named:
            several = isinstance(written.reach("do", kind)[1], Items)
            path = ("do", kind, index, "text") if several else ("do", kind, "text")
            place, text = written.reach(*path)
            spot, words = text_place(text, place, *first_use(post.own_text, named))
            message = f"the text posts personal data: {listed(named, 'and')}{words}"
            spot.warn("personal-data", message)


def _essence(rule: Rule) -> Any:
    """What two rules that do the same have in common."""
    return (
        rule.watch,
        tuple(sorted(rule.websites)),
        _ordered(rule.when),
        _ordered(rule.excepts),
        tuple(sorted(action.model_dump_json() + action.kind for action in rule.do)),
        (rule.once_per, rule.count, rule.held_for, rule.over_last, rule.active),
        tuple(sorted(rule.visitors.items())),
    )


def _ordered(condition: Condition | None) -> str:
    """The condition as a text that does not depend on the order of its parts."""
    if isinstance(condition, All | AnyOf):
        parts = sorted(_ordered(part) for part in condition.parts)
        return f"{type(condition).__name__}({','.join(parts)})"
    if isinstance(condition, Not):
        return f"Not({_ordered(condition.part)})"
    return repr(condition)


def fields_read(found: Iterable[Any]) -> set[str]:
    """The catalogue's fields that these tests ask about."""
    return {"journey" if isinstance(leaf, Journey) else leaf.field for leaf in found}


def _unread(written: Written) -> None:
    rule = written.rule
    if not rule.tests:
        return
    read = set()
    for condition in (rule.when, rule.excepts, rule.until):
        read |= fields_read(leaves(condition))
    for action in rule.do:
        if isinstance(action, Notifier) and action.own_text:
            read |= names_used(action.own_text)
    read |= {group for group in (rule.once_per and rule.once_per.field,) if group}
    read |= {"visitor_id"} if "visitor" in read else set()
    for same in _SAME_DATA:
        read |= same if read & same else set()
    for index, test in enumerate(rule.tests):
        if test.text is not None:
            continue  # the built-in message may show anything
        for name in test.given:
            if name not in read and name not in ("website", "before"):
                place = written.at("tests", index, "given", name)
                place.warn("unread-given", "the rule does not read this field")
