"""Warnings about rules that can be read but hardly mean what they say; each can be silenced."""

from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Any, Final

from bot.actions.share import Share
from bot.actions.slack import Slack
from bot.errors import Fault
from bot.rulebook.conditions import (
    All,
    AnyOf,
    Condition,
    Journey,
    Not,
    OneItem,
)
from bot.rulebook.logic import implies, impossible, leaves
from bot.rulebook.places import listed
from bot.rulebook.read_do import Allowed
from bot.rulebook.rules import Rule, RuleTest
from bot.wording.names import NAMES
from bot.wording.templates import names_used

LINTS: Final = MappingProxyType(
    {
        "never-holds": "the condition can never hold",
        "shadowed": "whatever meets `when` also meets `except`, so the rule never matches",
        "same-rule": "two rules have the same conditions and the same actions",
        "friction-scale": "friction above 50: it is a small sum of event weights, not 0-100",
        "friction-exact": "an exact friction: hardly any session has it",
        "friction-on-page": "friction beside a page without tags: it speaks of the whole session",
        "personal-data": "a text posts personal data to Slack",
        "tag-comma": "a tag with a comma: no tag has one",
        "share-without-url": "a share whose link the bot cannot show, since share_url is not set",
        "unusual-value": "a word that the API's filters do not know",
        "unread-given": "a test gives a field that the rule does not read",
    }
)
"""Every lint by its id, with what it finds."""

_SAME_DATA = (
    frozenset({"pages", "saw_page", "page", "journey", "entry_page", "exit_page", "tags"}),
    frozenset({"entered", "completed", "conversion", "step"}),
    frozenset({"interactions", "success", "completion"}),
    frozenset({"responses", "impressions", "response_rate"}),
)
"""Fields that are made of the same data: giving one gives something of the others."""


def lints(rules: Sequence[Rule], allowed: Allowed) -> Iterator[Fault]:
    """What the rules as wholes give reason to warn about."""
    yield from _same(rules)
    for rule in rules:
        yield from _hopeless(rule)
        yield from _friction_on_page(rule)
        yield from _personal(rule)
        yield from _unread(rule)
        if allowed.share_url is False and any(isinstance(act, Share) for act in rule.do):
            yield _warning(
                rule, "share-without-url",
                "the recording becomes public, but messages cannot link to it; set share_url "
                "under [mouseflow] in the configuration", "do.share",
            )  # fmt: skip


def _warning(rule: Rule, lint: str, message: str, below: str = "") -> Fault:
    path = f"rules.{rule.id}" + (f".{below}" if below else "")
    return Fault(rule.file, rule.line, rule.column, path, message, lint)


def _hopeless(rule: Rule) -> Iterator[Fault]:
    if impossible(rule.when, rule.watch):
        yield _warning(rule, "never-holds", "these conditions exclude one another", "when")
    elif rule.excepts is not None and implies(rule.when, rule.excepts, rule.watch):
        message = "whatever meets when also meets except, so this rule never matches"
        yield _warning(rule, "shadowed", message, "except")


def _friction_on_page(rule: Rule) -> Iterator[Fault]:
    found = list(leaves(rule.when))
    bare = [
        leaf
        for leaf in found
        if isinstance(leaf, OneItem)
        and leaf.field == "page"
        and {test.field for test in leaf.tests} <= {"path", "title"}
    ]
    if bare and "friction" in fields_read(found):
        yield _warning(
            rule, "friction-on-page",
            "friction speaks of the whole session, not of this page; write saw_page, or ask for "
            "the page's tags, such as tags: click-rage", "when",
        )  # fmt: skip


def _personal(rule: Rule) -> Iterator[Fault]:
    personal = {name for name, about in NAMES[rule.watch].items() if about.personal}
    for action in rule.do:
        if isinstance(action, Slack) and action.text:
            named = sorted(personal & names_used(action.text))
            if named:
                message = f"the text posts personal data: {listed(named, 'and')}"
                yield _warning(rule, "personal-data", message, "do.slack.text")


def _same(rules: Sequence[Rule]) -> Iterator[Fault]:
    first: dict[Any, Rule] = {}
    for rule in rules:
        other = first.setdefault(_essence(rule), rule)
        if other is not rule:
            message = f"this does the same as {other.id} ({other.file}:{other.line})"
            yield _warning(rule, "same-rule", message)


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


def _unread(rule: Rule) -> Iterator[Fault]:
    if not rule.tests:
        return
    read = set()
    for condition in (rule.when, rule.excepts, rule.until):
        read |= fields_read(leaves(condition))
    for action in rule.do:
        if isinstance(action, Slack) and action.text:
            read |= names_used(action.text)
    read |= {group for group in (rule.once_per and rule.once_per.field,) if group}
    read |= {"visitor_id"} if "visitor" in read else set()
    for same in _SAME_DATA:
        read |= same if read & same else set()
    for index, test in enumerate(rule.tests):
        yield from _unread_by(rule, test, index, read)


def _unread_by(rule: Rule, test: RuleTest, index: int, read: set[str]) -> Iterator[Fault]:
    if test.text is not None:
        return  # the built-in message may show anything
    for name in test.given:
        if name not in read and name not in ("website", "before"):
            yield Fault(
                rule.file, test.line, test.column,
                f"rules.{rule.id}.tests.{index}.given.{name}",
                "the rule does not read this field", "unread-given",
            )  # fmt: skip
