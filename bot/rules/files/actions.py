"""`do` as written to actions: each key's type validates it, this module adds words and places."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, assert_never

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bot.actions import WRITTEN
from bot.actions.base import Action, Allowed, Spec
from bot.actions.notifier import Notifier
from bot.domain.subjects import Kind
from bot.rules.syntax.location import (
    Location,
    listed,
    nearest,
    text_location,
    unknown,
    without_templates,
)
from bot.rules.syntax.nodes import Entry, Items, Keys, Node, Scalar
from bot.written import Wrong

_KINDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
}
_UNKNOWN_KEY = "unexpected_keyword_argument"
_LIMITS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "{min_length} value or more",
    "too_long": "{max_length} values at most",
}


def actions(node: Node, place: Location, kind: Kind, allowed: Allowed) -> tuple[Action, ...] | None:
    """The mapping's actions in the order of the file; None and faults where it has any."""
    fitting = [spec.key for spec in WRITTEN.values() if kind in spec.subjects]
    if not isinstance(node, Keys) or not node.entries:
        word = node.source if isinstance(node, Scalar) else ""
        spec = WRITTEN.get(word if word in fitting else fitting[0])
        dashes = ", without dashes" if isinstance(node, Items) else ""
        example = spec.example if spec else ""
        place.on(node).fault(f"{place.name} must have actions such as {example}{dashes}")
        return None
    found: list[Action] = []
    good = True
    for entry in node:
        here = place.at(entry.key, entry)
        spec = WRITTEN.get(entry.key)
        if spec is None:
            here.fault(unknown(entry.key, fitting, "action"))
        elif kind not in spec.subjects:
            here.fault(
                f"{spec.key} works with {listed(spec.subjects, 'and')}, not with {kind}; "
                f"here you can use {listed(fitting)}"
            )
        else:
            steps = _steps(spec, entry, here, kind)
            lacks = _lacks(spec, steps, allowed) if steps is not None else ""
            if lacks:
                here.fault(lacks)
            good = good and steps is not None and not lacks
            found += steps or ()
            continue
        good = False
    return tuple(found) if good else None


def _lacks(spec: Spec, steps: Sequence[Action], allowed: Allowed) -> str:
    """What the configuration lacks for this action and where to set it; empty for nothing."""
    match spec.needs:
        case None:
            return ""
        case "rules.allow_delete":
            needed = f"{spec.key} needs allow_delete = true under [rules] in the configuration"
            return "" if allowed.delete else needed
        case "slack":
            if not allowed.posts:
                return "Slack is not configured; set bot_token or webhook_url under [slack]"
            channels = [step.posts_to("") for step in steps if isinstance(step, Notifier)]
            if not allowed.channel and "" in channels:
                return "set a channel here, or under [slack] in the configuration"
            return ""
        case "notify":
            places = allowed.places
            named = [step.posts_to("") or "" for step in steps if isinstance(step, Notifier)]
            lost = [] if places is None else [each for each in named if each not in places]
            if not lost or places is None:
                return ""
            meant = nearest(lost[0], places) or "; add it with its address"
            return f"there is no place {lost[0]} under [notify] in the configuration{meant}"
        case _:
            assert_never(spec.needs)


_COMMENT = "# starts a comment; put text that starts with # in quotes"


def _steps(spec: Spec, entry: Entry, place: Location, kind: Kind) -> tuple[Action, ...] | None:
    missing = list(_nothing(entry.node, place))
    for here in missing:
        what = f"write {spec.example}" if here.path == place.path else _COMMENT
        here.fault(f"the value is missing; {what}")
    if missing:
        return None
    if not without_templates(entry.node, place, spec.templates):
        return None
    written, errors = _validated(spec, entry.node)
    for where, message in _worded(errors, spec, entry.node, place):
        where.fault(message)
    node = entry.node
    if errors:  # what is good may have problems as well
        node = _without(node, {_trail(error, node) for error in errors})
        written, more = _validated(spec, node)
        if more:
            return None
    problems = spec.problems(written, kind)
    for problem in problems:
        where, leaf = _locate(problem.path, node, place.on(node))
        spot, words = text_location(leaf, where, problem.line, problem.column)
        if problem.lint:
            spot.warn(problem.lint, problem.message + words)
        else:
            spot.fault(problem.message + words)
    return None if errors or any(not it.lint for it in problems) else spec.steps(written)


_Trail = tuple[str | int, ...]


def _without(node: Node, trails: Collection[_Trail], at: _Trail = ()) -> Node:
    """The node without the keys at these places; items of lists stay, so that indices do."""
    if isinstance(node, Items):
        items = [_without(item, trails, (*at, n)) for n, item in enumerate(node.items)]
        return Items(items, node.line, node.column)
    if isinstance(node, Keys):
        left = {
            name: replace(entry, node=_without(entry.node, trails, (*at, name)))
            for name, entry in node.entries.items()
            if (*at, name) not in trails
        }
        return Keys(node.line, node.column, left)
    if isinstance(node, Scalar):
        return node
    assert_never(node)


def _nothing(node: Node, place: Location) -> Iterator[Location]:
    """The places of values that are missing."""
    if isinstance(node, Items):
        for index, item in enumerate(node.items):
            yield from _nothing(item, place.at(index, item))
    elif isinstance(node, Keys):
        for entry in node:
            yield from _nothing(entry.node, place.at(entry.key, entry))
    elif node.value is None:
        yield place


@lru_cache(maxsize=64)
def _adapter(key: str) -> TypeAdapter[Any]:
    return TypeAdapter(WRITTEN[key].written)


def _validated(spec: Spec, node: Node) -> tuple[Any, Sequence[ErrorDetails]]:
    """The value and no errors, or the errors.

    YAML and TOML guess types: `channel: 1.10` is a number to them. So a number is offered as
    it was written first, and the other reading of a scalar is tried where the type requires it.
    """
    swapped: set[int] = set()
    while True:
        try:
            return _adapter(spec.key).validate_python(_data(node, swapped)), ()
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
            more = {id(leaf) for leaf in _swappable(errors, node)} - swapped
            if not more:
                return None, errors
            swapped |= more


def _swappable(errors: Sequence[ErrorDetails], node: Node) -> Iterator[Scalar]:
    for error in errors:
        leaf = _follow(error["loc"], node)[-1].node
        if not isinstance(leaf, Scalar) or leaf.quoted or isinstance(leaf.value, str):
            continue
        # `tag: true` is no tag, but a slip for `star: true`; in a list it may be one.
        alone = leaf is node
        wants_text = error["type"] == "string_type" and isinstance(leaf.value, bool) and not alone
        wants_number = error["type"] in (
            "int_type",
            "float_type",
            "is_instance_of",
            "literal_error",
        )
        if wants_text or (wants_number and not isinstance(leaf.value, bool)):
            yield leaf


def _data(node: Node, swapped: set[int]) -> Any:
    if isinstance(node, Items):
        return [_data(item, swapped) for item in node.items]
    if isinstance(node, Keys):
        return {entry.key: _data(entry.node, swapped) for entry in node}
    numeric = isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
    return node.source if numeric != (id(node) in swapped) else node.value


@dataclass(frozen=True, slots=True)
class _Step:
    name: str | int
    node: Node
    where: Entry | Node


def _follow(loc: Sequence[str | int], node: Node) -> list[_Step]:
    """The nodes that the location leads over. What is not in the file is a name of the type's."""
    trail = [_Step("", node, node)]
    for name in loc:
        if isinstance(node, Keys) and str(name) in node.entries:
            entry = node.entries[str(name)]
            node = entry.node
            trail.append(_Step(name, node, entry))
        elif isinstance(node, Items) and isinstance(name, int) and name < len(node.items):
            node = node.items[name]
            trail.append(_Step(name, node, node))
    return trail


def _trail(error: ErrorDetails, node: Node) -> _Trail:
    """The error's place as far as the file has it."""
    return tuple(step.name for step in _follow(error["loc"], node)[1:])


def _locate(
    loc: Sequence[str | int], node: Node, place: Location, *, key: bool = False
) -> tuple[Location, Node]:
    """The place and node of a location: where its value is, or its key."""
    for step in _follow(loc, node)[1:]:
        place, node = place.at(step.name, step.where if key else step.node), step.node
    return place, node


def _worded(
    errors: Sequence[ErrorDetails], spec: Spec, node: Node, place: Location
) -> Iterator[tuple[Location, str]]:
    """Each spot's errors as one message. Readings of a union that got less far say nothing."""
    by_depth: dict[_Trail, list[ErrorDetails]] = {}
    for error in errors:
        trail = _trail(error, node)
        by_depth.setdefault(trail, []).append(error)
    deeper = [trail for trail in by_depth if trail]
    for trail, found in by_depth.items():
        own = [error for error in found if error["type"] not in _KINDS]
        hidden = any(other[: len(trail)] == trail and other != trail for other in deeper)
        if hidden and not own:
            continue
        extra = all(error["type"] == _UNKNOWN_KEY for error in own or found)
        here, leaf = _locate(trail, node, place.on(node), key=extra)
        yield from _messages(own or found, spec, leaf, here, node)


def _messages(
    errors: Sequence[ErrorDetails], spec: Spec, leaf: Node, place: Location, root: Node
) -> Iterator[tuple[Location, str]]:
    kinds = dict.fromkeys(_KINDS[error["type"]] for error in errors if error["type"] in _KINDS)
    if kinds:
        example = f", such as {spec.example}" if leaf is root or place.name == spec.key else ""
        yield place, f"{place.name} must be {listed(tuple(kinds))}{example}"
        return
    said: set[str] = set()
    for error in errors:
        where, message = _message(error, spec, leaf, place)
        if message not in said:
            said.add(message)
            yield where, message


def _message(error: ErrorDetails, spec: Spec, leaf: Node, place: Location) -> tuple[Location, str]:
    kind, context = error["type"], error.get("ctx", {})
    last = str(error["loc"][-1]) if error["loc"] else ""
    if kind == _UNKNOWN_KEY:
        return place, unknown(last, _known_keys(spec.key))
    if kind == "missing":
        return place, f"the key {last} is missing"
    if kind == "literal_error":
        words = str(context.get("expected", "")).replace("'", "")
        choices = words.replace(" or ", ", ").split(", ")
        source = leaf.source if isinstance(leaf, Scalar) else ""
        choices = ["true" if choice == "True" else choice for choice in choices]
        return place, f"{place.name} must be {_one_of(choices)}{nearest(source, choices)}"
    if kind in _LIMITS:
        return place, f"{place.name} must have {_LIMITS[kind].format(**context)}"
    if isinstance(context.get("error"), Wrong):
        return place, str(context["error"])
    if "." not in kind and kind not in _PYDANTIC:
        return place, error["msg"]
    return place, f"{place.name} cannot be read; write it like {spec.example}"


def _one_of(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {listed(choices)}"


_PYDANTIC = frozenset(
    {"value_error", "assertion_error", "is_instance_of", "union_tag_invalid", "none_required"}
)


@lru_cache(maxsize=64)
def _known_keys(key: str) -> tuple[str, ...]:
    """All keys that mappings below this action may have."""
    return tuple(dict.fromkeys(_properties(_adapter(key).json_schema())))


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from _properties(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _properties(inner)
