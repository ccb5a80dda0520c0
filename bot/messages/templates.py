"""Message texts of rules: Jinja2 in a sandbox, with bounded output.

A text can use names, parts of items, `if`, `for`, tests, comparisons and the filters below. It
has no calls, assignments, macros or repetition of text, so it always ends soon.
"""

import math
import re
from collections.abc import Callable, Iterable, Sized
from datetime import timedelta
from functools import lru_cache
from html import unescape
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bot.fields.normal import path
from bot.messages.plain_text import harmless
from bot.messages.template_variables import LIST_LIMIT, values
from bot.messages.text import NOTHING, Safe, cut, cut_mrkdwn, lasting, mrkdwn, number
from bot.ports import Addresses, Task

LONGEST_OUTPUT = 2900
# `<{{ share_url }}|watch>` without a share: the label stays, as plain text.
_NO_ADDRESS = re.compile(r"<\|([^<>]*)>")
# `<{{ url }}|watch>`: plain text has the address behind the label.
_LINKED = re.compile(r"<(https?://[^|<>]*)\|([^<>]*)>")
_ADDRESSES = frozenset({"url", "share_url"})
_VALUE = 500


class _WrongValue(ValueError):
    """A filter does not take this value; the message says what it takes."""


class BadText(ValueError):
    """The text cannot be filled in; the message says why."""


def _figure(value: Any, name: str) -> float:
    if not isinstance(value, int | float):
        raise _WrongValue(f"{name} takes a number")
    return value


def _items(value: Any, name: str) -> Iterable[Any]:
    if not isinstance(value, Iterable):
        raise _WrongValue(f"{name} takes a list")
    return value


def _duration(value: Any) -> str:
    """Milliseconds as `1 min 35 s`."""
    return lasting(timedelta(milliseconds=float(_figure(value, "duration"))))


def _join(value: Any, separator: str = ", ") -> str:
    items = tuple(islice(_items(value, "join"), LIST_LIMIT))
    if items and all(isinstance(item, Safe) for item in items):
        return Safe(separator[:20].join(items))
    return separator[:20].join(_text(item) for item in items)[: 2 * _VALUE]


def _round(value: Any, digits: int = 0) -> float:
    rounded = round(float(_figure(value, "round")), digits)
    return int(rounded) if digits <= 0 else rounded


def _default(value: Any, other: Any = "") -> Any:
    return other if value is None or value in ("", ()) else value


def _truncate(value: Any, length: int = 80) -> str:
    text = _text(value)
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"


def _length(value: Any) -> int:
    if not isinstance(value, Sized):
        raise _WrongValue("length takes a list or a text")
    return len(value)


def _list(value: Any, name: str) -> tuple[Any, ...]:
    return tuple(islice(_items(value, name), LIST_LIMIT))


FILTERS = {
    "default": _default,
    "duration": _duration,
    "first": lambda value: next(iter(_items(value, "first")), None),
    "join": _join,
    "last": lambda value: next(reversed(_list(value, "last")), None),
    "length": _length,
    "lower": lambda value: _text(value).lower(),
    "number": lambda value: number(_figure(value, "number")),
    "path": path,
    "round": _round,
    "sort": lambda value: tuple(sorted(_list(value, "sort"), key=_text)),
    "truncate": _truncate,
    "unique": lambda value: tuple(dict.fromkeys(_list(value, "unique"))),
    "upper": lambda value: _text(value).upper(),
}
"""The filters of a text; `docs/reference/messages.md` says what each does."""

TESTS = ("defined", "none", "divisibleby", "even", "odd", "in", "number", "string")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Arithmetic is for numbers only, since text could be repeated without end. A mapping has no
    methods; a missing key or item is no data, like a missing field.
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        return obj.get(attribute) if isinstance(obj, dict) else super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if not isinstance(obj, dict | tuple):
            return super().getitem(obj, argument)
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return None

    intercepted_binops = frozenset({"*", "+", "-", "/", "//"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(side, int | float) for side in (left, right)):
            raise SecurityError(f"{operator} needs numbers on both sides; ~ joins texts")
        return super().call_binop(context, operator, left, right)


def _text(value: Any) -> str:
    if value is None or value == ():
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if type(value) is float:
        return number(value) if math.isfinite(value) else NOTHING
    if isinstance(value, tuple | list):
        return _join(value)
    if isinstance(value, dict):
        return _join(f"{key}={item}" for key, item in value.items())
    return str(value)


def _printed(value: Any) -> Any:
    """What an expression prints: escaped unless the bot made it."""
    if isinstance(value, Undefined | Safe):
        return value
    if value and isinstance(value, tuple) and all(isinstance(item, Safe) for item in value):
        return _join(value)
    return Safe(mrkdwn(_text(value), _VALUE))


def _printed_plain(value: Any) -> Any:
    """What an expression prints in plain text, where links are `text (url)`."""
    if isinstance(value, tuple) and value and all(isinstance(item, Safe) for item in value):
        value = _join(value)
    if isinstance(value, Safe):
        return Safe(unescape(_LINKED.sub(r"\2 (\1)", value)))
    return value if isinstance(value, Undefined) else Safe(harmless(_text(value), _VALUE))


def _sandbox(printed: Callable[[Any], Any]) -> _Sandbox:
    made = _Sandbox(
        undefined=StrictUndefined,
        finalize=printed,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.clear()
    made.filters = dict(FILTERS)
    known = made.tests
    made.tests = {name: known[name] for name in known if name in TESTS or not name.isalpha()}
    return made


ENVIRONMENT = _sandbox(_printed)
"""Parses and fills in texts; it has no state."""
_PLAIN = _sandbox(_printed_plain)


def names_used(text: str) -> set[str]:
    """The names that the text uses; empty for a text with a syntax error."""
    try:
        return set(meta.find_undeclared_variables(ENVIRONMENT.parse(text)))
    except TemplateError:
        return set()


@lru_cache(maxsize=256)
def _compiled(text: str, plain: bool) -> Template:
    return (_PLAIN if plain else ENVIRONMENT).from_string(text)


def render(text: str, task: Task, addresses: Addresses, *, plain: bool = False) -> str:
    """The text as mrkdwn, or `plain`, filled in for this match; raises BadText if it cannot be."""
    parts, length = [], 0
    found = values(task, addresses)
    if plain:  # these are the bot's own, and may be links
        found |= {name: Safe(found[name]) for name in _ADDRESSES & found.keys() if found[name]}
    try:
        for part in _compiled(text, plain).generate(found):
            parts.append(part)
            length += len(part)
            if length > LONGEST_OUTPUT:
                break
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as wrong:
        raise BadText(_reason(wrong)) from wrong
    linked = _NO_ADDRESS.sub(r"\1", "".join(parts)).strip()
    if plain:
        return cut(_LINKED.sub(r"\2 (\1)", linked), LONGEST_OUTPUT)
    return cut_mrkdwn(linked, LONGEST_OUTPUT)


def _reason(wrong: Exception) -> str:
    reason = str(wrong).partition("\n")[0]
    compared = re.match(r"'(<|>|<=|>=)' not supported", reason)
    if compared:
        reason = f"{compared[1]} needs two numbers or two texts"
    elif isinstance(wrong, ZeroDivisionError):
        reason = "division by zero"
    elif not isinstance(wrong, SecurityError | _WrongValue):
        reason = "a value has the wrong type for what is done with it"
    return f"the text cannot be filled in: {reason}"
