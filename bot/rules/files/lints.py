"""Warnings about rules that can be read but hardly mean what they say; each can be silenced."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final, assert_never

from bot.actions.base import Allowed
from bot.actions.notifier import Notifier
from bot.actions.share import Share
from bot.domain.subjects import Kind, Site
from bot.errors import Fault
from bot.fields.catalogue import (
    GROUPS,
    SUBJECTS,
    WEBSITE,
    field,
    fields,
    is_average,
    text_fields,
    told_of_the_past,
)
from bot.fields.field import Field, named
from bot.messages.template_check import first_use
from bot.messages.templates import names_used
from bot.messages.text import lasting
from bot.rules.evaluate import field_of, leaf_test, no_history
from bot.rules.files.keys import BEFORE
from bot.rules.model import (
    All,
    AnyOf,
    Condition,
    Journey,
    Leaf,
    Not,
    OneItem,
    Rule,
    Test,
    leaves,
    names_site,
)
from bot.rules.needs import fires_early, stays
from bot.rules.operators.past import FEWEST_WEEKS
from bot.rules.syntax.location import Location, listed, text_location
from bot.rules.syntax.nodes import Items, Keys, Node, Scalar


@dataclass(frozen=True, slots=True)
class Written:
    """A rule, its mapping and its place."""

    rule: Rule
    keys: Keys
    place: Location

    def at(self, *path: str | int) -> Location:
        """The place of the key or item that the path leads to."""
        return self.reach(*path)[0]

    def reach(self, *path: str | int) -> tuple[Location, Node]:
        """The place and node of a key or item that the rule has."""
        node: Node = self.keys
        place = self.place
        for name in path:
            if isinstance(node, Keys) and isinstance(name, str):
                place, node = place.at(name, node.entries[name]), node.entries[name].node
            elif isinstance(node, Items) and isinstance(name, int):
                place, node = place.at(name, node.items[name]), node.items[name]
        return place, node


@dataclass(frozen=True, slots=True)
class Part:
    """One key of a condition's mapping, with the condition that was read from it."""

    place: Location
    key: str
    node: Node
    condition: Condition


def everywhere(node: Node, place: Location) -> Iterator[tuple[Location, str, Node]]:
    """Every key at any depth, with its place and value."""
    if isinstance(node, Keys):
        for entry in node:
            here = place.at(entry.key, entry)
            yield here, entry.key, entry.node
            yield from everywhere(entry.node, here)
    elif isinstance(node, Items):
        for index, item in enumerate(node.items):
            yield from everywhere(item, place.at(index, item))
    elif not isinstance(node, Scalar):
        assert_never(node)


def parts(node: Node, condition: Condition, place: Location) -> list[Part]:
    """The keys of a mapping under `when` or `except`; none if it is not a mapping."""
    if not isinstance(node, Keys):
        return []
    read = (condition,) if len(node.entries) == 1 else getattr(condition, "parts", ())
    pairs = zip(node, read, strict=True)
    return [Part(place.at(entry.key, entry), entry.key, entry.node, it) for entry, it in pairs]


def together(node: Node, condition: Condition, place: Location) -> Iterator[Part]:
    """All keys that must hold together, those inside `all` among them."""
    for part in parts(node, condition, place):
        if part.key == "all" and isinstance(part.node, Items) and isinstance(part.condition, All):
            for index, item in enumerate(part.node.items):
                inner = part.condition.parts[index]
                yield from together(item, inner, part.place.at(index, item))
        else:
            yield part


_MOST = 300
"""Bigger conditions are not compared: a warning is not worth the time."""

_Known = dict[tuple[int, int], bool]


def _size(condition: Condition) -> int:
    """How many tests, each with its values, the tree has: comparing two costs the product."""
    found = 0
    for leaf in leaves(condition):
        match leaf:
            case Test():
                found += leaf.operator.size
            case OneItem(_, tests):
                found += sum(test.operator.size for test in tests)
            case Journey(paths):
                found += len(paths)
            case _:
                assert_never(leaf)
    return found


def impossible(condition: Condition, kind: Kind) -> bool:
    """Whether no subject of this kind can meet the condition; False if unclear."""
    match condition:
        case AnyOf(parts):
            return all(impossible(part, kind) for part in parts)
        case All():
            return _contradicts_itself(condition, kind)
        case Not() | Test() | OneItem() | Journey():
            return False
        case _:
            assert_never(condition)


def _contradicts_itself(condition: All, kind: Kind) -> bool:
    parts = list(_flat(condition))
    if any(impossible(part, kind) for part in parts):
        return True
    if _size(condition) > _MOST:
        return False
    return any(_contradict(one, other, kind) for one, other in combinations(parts, 2))


def _flat(condition: All) -> Iterator[Condition]:
    for part in condition.parts:
        if isinstance(part, All):
            yield from _flat(part)
        else:
            yield part


def _contradict(one: Condition, other: Condition, kind: Kind) -> bool:
    if isinstance(one, Not) or isinstance(other, Not):
        inner, outer = (one, other) if isinstance(one, Not) else (other, one)
        return isinstance(inner, Not) and implies(outer, inner.part, kind)
    if not (isinstance(one, Test) and isinstance(other, Test)):
        return False
    if (one.field, one.key) != (other.field, other.key):
        return False
    about = field(kind, one.field)
    several = about.type in ("texts", "variables") or about.several_names
    first, second = one.operator, other.operator
    return first.excludes(second, about, several=several) or second.excludes(
        first, about, several=several
    )


def implies(one: Condition, other: Condition, kind: Kind) -> bool:
    """Whether all that meets `one` meets `other`; False if unclear."""
    if max(_size(one), _size(other)) > _MOST:
        return False
    return _implies(one, other, kind, {})


def _implies(one: Condition, other: Condition, kind: Kind, known: _Known) -> bool:
    """Compares each pair of parts once: deep nests would take exponential time."""
    pair = (id(one), id(other))
    if pair not in known:
        known[pair] = _compare(one, other, kind, known)
    return known[pair]


def _compare(one: Condition, other: Condition, kind: Kind, known: _Known) -> bool:
    if one == other:
        return True
    if isinstance(other, All):
        return all(_implies(one, part, kind, known) for part in other.parts)
    if isinstance(one, AnyOf):
        return all(_implies(part, other, kind, known) for part in one.parts)
    if isinstance(other, AnyOf) and any(_implies(one, p, kind, known) for p in other.parts):
        return True
    match one:
        case All(parts):
            return any(_implies(part, other, kind, known) for part in parts)
        case OneItem(name, tests):
            if not isinstance(other, OneItem) or name != other.field:
                return False
            about = field(kind, name).parts
            return all(
                any(_test_implies(have, asked, about) for have in tests) for asked in other.tests
            )
        case Test():
            return isinstance(other, Test) and _test_implies(one, other, fields(kind))
        case Not() | Journey():
            return False
        case _:
            assert_never(one)


def _test_implies(one: Test, other: Test, known: Sequence[Field]) -> bool:
    if (one.field, one.key) != (other.field, other.key):
        return False
    return other.operator.implied_by(one.operator, named(known, one.field))


LINTS: Final = MappingProxyType(
    {
        "never-holds": "the condition can never hold",
        "always-true": "bounds that every figure meets",
        "shadowed": "whatever meets `when` also meets `except`, so the rule never matches",
        "same-rule": "two rules have the same conditions and the same actions",
        "friction-scale": "friction above 50: it is a small sum of event weights, not 0-100",
        "friction-exact": "an exact friction: hardly any session has it",
        "friction-on-page": "friction beside a page without tags; it is of the whole session",
        "personal-data": "a text posts personal data to Slack",
        "tag-comma": "a tag with a comma: no tag has one",
        "share-without-url": "a share whose link the bot cannot show, since share_url is not set",
        "webhook-channel": "a channel, though the incoming webhook posts to its own",
        "unusual-value": "a word that Mouseflow does not know: a filter, website, country or tag",
        "compared-as-text": "a text that looks like a regular expression or a comparison",
        "path-query": "an expression asks a path for a query, a host or encoded letters",
        "path-host": "a path with a host: only the path is compared",
        "fraction": "a percentage below one, written without its sign",
        "waits": "only a note: the key for which the rule waits until a session is settled",
        "learns": "only a note: a comparison with a past that the bot must first see itself",
        "webhook-http": "a webhook that is called without encryption on another machine",
        "whole-days": "an over_last that is no whole days: figures always begin at midnight",
        "undo-each-other": "two rules that undo what the other one does",
        "raised-rate": "a budget's step that records more than an earlier one",
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
    _whole_days(written)
    if allowed.share_url is False and any(isinstance(act, Share) for act in written.rule.do):
        written.at("do", "share").warn(
            "share-without-url",
            "the recording becomes public, but messages cannot link to it; set share_url "
            "under [mouseflow] in the configuration",
        )
    if not allowed.any_channel:
        _channels(written)


def _channels(written: Written) -> None:
    """Warns of each channel that a post names."""
    start, node = written.reach("do")
    for place, key, _ in everywhere(node, start):
        if key == "channel":
            place.warn(
                "webhook-channel",
                "the incoming webhook (slack.webhook_url) posts to its own channel; to choose one, "
                "set slack.bot_token, or remove channel",
            )


def waits(written: Written) -> Iterator[Fault]:
    """The key for which the rule waits until a session is settled, if it does."""
    rule = written.rule
    if fires_early(rule):
        return
    places = []
    for key, condition, answer in (("when", rule.when, True), ("except", rule.excepts, False)):
        if condition is None or stays(condition, answer, rule.watch):
            continue
        place, node = written.reach(key)
        places += [
            part.place
            for part in parts(node, condition, place)
            if not stays(part.condition, answer, rule.watch)
        ] or [place]
    message = "because of this, the rule waits until the session is settled"
    places += [written.at(key) for key in ("once_per", "count") if key in written.keys.entries]
    for first in places[:1]:
        yield Fault(first.file, first.line, first.column, first.path, message, "waits")


def learns(written: Written) -> Iterator[Fault]:
    """The keys that compare with a past which the API does not tell, so that it must be learnt."""
    rule = written.rule
    for key, condition in (("when", rule.when), ("except", rule.excepts)):
        if condition is None:
            continue
        place, node = written.reach(key)
        for part in parts(node, condition, place):
            learnt = map(partial(_learnt_in, watch=rule.watch), leaves(part.condition))
            known_after = max(learnt, default=timedelta())
            if known_after:
                here, message = part.place, f"known after {lasting(known_after)}: {_LEARNS}"
                yield Fault(here.file, here.line, here.column, here.path, message, "learns")


_LEARNS = "the bot compares with its own history here"


def _learnt_in(leaf: Leaf, watch: Kind) -> timedelta:
    """How much history of its own the bot needs for the test."""
    if not isinstance(leaf, Test):
        return timedelta()
    if leaf.operator.looks_back is not None:
        told = is_average(field(watch, leaf.field))
        return timedelta() if told else timedelta(milliseconds=leaf.operator.looks_back)
    unknown = leaf.operator.asks_usual and not told_of_the_past(field(watch, leaf.field))
    return timedelta(weeks=FEWEST_WEEKS) if unknown else timedelta()


def lint_same(rules: Sequence[tuple[Rule, Location]]) -> None:
    """Warns of rules that do what another one does."""
    first: dict[Any, Rule] = {}
    for rule, place in rules:
        other = first.setdefault(_essence(rule), rule)
        if other.id != rule.id:  # one id twice is an error of its own
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


def _contradiction(
    node: Node, condition: Condition, place: Location, kind: Kind
) -> tuple[Location, str]:
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
                f"{session.name} is of the whole session, not of this {key}; write saw_page, "
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
            spot, words = text_location(text, place, *first_use(post.own_text, named))
            message = f"the text posts personal data: {listed(named, 'and')}{words}"
            spot.warn("personal-data", message)


def _whole_days(written: Written) -> None:
    over_last = written.rule.over_last
    by_days = SUBJECTS[written.rule.watch].over_time
    if by_days and over_last is not None and over_last % timedelta(days=1):
        days = over_last.days + 1
        written.at("over_last").warn(
            "whole-days",
            "figures begin at midnight, so this takes the whole day in which it begins; "
            f"write {over_last.days or 1}d or {days}d if you mean whole days"
            if days > 1
            else "figures begin at midnight, so this takes that whole day; write 1d",
        )


def lint_undoing(rules: Sequence[tuple[Rule, Location]]) -> None:
    """Warns of two rules each of which makes the condition of the other one true again."""
    setting = [(rule, place, sets) for rule, place in rules if (sets := _all_set(rule))]
    for (one, _, first), (other, place, second) in combinations(setting, 2):
        shared = [name for name in first if name in second and first[name] != second[name]]
        if one.watch == other.watch and shared and _share_websites(one, other):
            name = shared[0]
            if _asks_for(one, name, second[name]) and _asks_for(other, name, first[name]):
                place.warn(
                    "undo-each-other",
                    f"this sets {name} to the opposite of what {one.id} sets "
                    f"({one.file}:{one.line}), and each asks for what the other one sets",
                )


def _all_set(rule: Rule) -> dict[str, Any]:
    return {name: value for action in rule.do for name, value in action.sets.items()}


def _asks_for(rule: Rule, name: str, value: Any) -> bool:
    """Whether some test of the rule asks for this value of the field."""
    return any(
        isinstance(leaf, Test)
        and leaf.field == name
        and leaf_test(leaf, rule.watch).known(value, no_history) is True
        for leaf in leaves(rule.condition)
    )


def _share_websites(one: Rule, other: Rule) -> bool:
    """Whether some website may be watched by both, as far as their names tell."""
    if not one.websites or not other.websites:
        return True
    return any(
        names_site((mine,), Site(theirs, theirs)) or names_site((theirs,), Site(mine, mine))
        for mine in one.websites
        for theirs in other.websites
    )


def _essence(rule: Rule) -> Any:
    """What two rules that do the same have in common."""
    return (
        rule.watch,
        tuple(sorted(rule.websites)),
        _ordered(rule.when),
        _ordered(rule.excepts),
        tuple(sorted(action.stored() + action.kind for action in rule.do)),
        (rule.once_per, rule.count, rule.too_few, rule.held_for, rule.over_last, rule.active),
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
