"""Warnings about rules that can be read but hardly mean what they say; each can be silenced."""

from collections import Counter
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final, assert_never

from bot.actions.notifier import Notifier
from bot.actions.share import Share
from bot.domain.subjects import Kind
from bot.fields.catalogue import GROUPS, WEBSITE, fields, text_fields
from bot.fields.field import Field
from bot.messages.template_check import first_use
from bot.messages.templates import names_used
from bot.rules.evaluate import field_of
from bot.rules.files.actions import Allowed
from bot.rules.files.rule import BEFORE
from bot.rules.files.rule_source import Written, everywhere, parts, together
from bot.rules.implication import implies, impossible
from bot.rules.model import All, AnyOf, Condition, Journey, Not, OneItem, Rule, Test, leaves
from bot.rules.syntax.location import Place, listed, text_place
from bot.rules.syntax.nodes import Items, Keys, Node

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
    kind = written.rule.watch
    session = next((it for it in _read(written.rule.when, kind) if it.of_whole_session), None)
    if session is None:
        return
    naming = {
        about.name: {part.name for part in about.parts if part.names_item}
        for about in fields(kind)
        if about.parts
    }
    for here, key, value in everywhere(node, place):
        if key in naming and isinstance(value, Keys) and value.entries.keys() <= naming[key]:
            here.warn(
                "friction-on-page",
                f"{session.name} speaks of the whole session, not of this {key}; write saw_page, "
                f"or ask for the {key}'s tags, such as tags: click-rage",
            )


def _personal(written: Written) -> None:
    of_kind: Counter[str] = Counter()
    for post in (action for action in written.rule.do if isinstance(action, Notifier)):
        kind, index = post.kind, of_kind[post.kind]
        of_kind[kind] += 1
        if not post.own_text:
            continue
        known = text_fields(written.rule.watch)
        used = names_used(post.own_text)
        named = sorted(name for name in used if name in known and known[name].personal)
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
    match condition:
        case All(parts) | AnyOf(parts):
            inner = sorted(map(_ordered, parts))
            return f"{type(condition).__name__}({','.join(inner)})"
        case Not(part):
            return f"Not({_ordered(part)})"
        case Test() | OneItem() | Journey() | None:
            return repr(condition)
        case _:
            assert_never(condition)


def _read(condition: Condition | None, kind: Kind) -> list[Field]:
    """The fields that the condition asks about."""
    return [field_of(leaf, kind) for leaf in leaves(condition)]


def _unread(written: Written) -> None:
    rule = written.rule
    if not rule.tests:
        return
    about = [it for part in (rule.when, rule.excepts, rule.until) for it in _read(part, rule.watch)]
    known = text_fields(rule.watch)
    for action in rule.do:
        if isinstance(action, Notifier) and action.own_text:
            about += [known[name] for name in names_used(action.own_text) if name in known]
    if rule.once_per and rule.once_per.field in GROUPS:
        about.append(GROUPS[rule.once_per.field])
    made_of = {it.made_of for it in about if it.made_of}
    read = {it.name for it in about}
    read |= {it.name for it in fields(rule.watch) if it.made_of in made_of}
    for index, test in enumerate(rule.tests):
        if test.text is not None:
            continue  # the built-in message may show anything
        for name in test.given:
            if name not in read and name not in (WEBSITE, BEFORE):
                place = written.at("tests", index, "given", name)
                place.warn("unread-given", "the rule does not read this field")
