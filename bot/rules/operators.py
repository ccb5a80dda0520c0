"""What each operator asks of a value, as a function from the value to yes, no or unknown."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import re2

from bot.domain.subjects import Band
from bot.fields.field import Field, number
from bot.rules.model import Bounds, Every, Exists, Is, NoneOf, Numbers, OneOf, Pattern, Wants

Answer = bool | None
"""Yes, no, or unknown: the value is a friction band that lies across the threshold."""

Sees = Callable[[Any], Answer]
Matches = Callable[[str], bool]

OVER = 1e-6
"""The API only knows "at least", so "over t" is asked as "at least t + OVER" (L4388)."""


def glob(pattern: str) -> Matches:
    """Whether a text is like the pattern, where `*` is any run of characters; linear time."""
    if "*" not in pattern:
        return pattern.__eq__
    first, *middle, last = pattern.split("*")
    middle = [piece for piece in middle if piece]
    least = len(first) + len(last)
    if not middle:
        return lambda text: len(text) >= least and text.startswith(first) and text.endswith(last)

    def like(text: str) -> bool:
        at, end = len(first), len(text) - len(last)
        if at > end or not (text.startswith(first) and text.endswith(last)):
            return False
        for piece in middle:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    return like


def one_of(patterns: Iterable[str], normal: Callable[[str], str]) -> Matches:
    """Whether a text equals one of these or is like it, compared in normal form."""
    wanted = [normal(pattern) for pattern in patterns]
    plain = frozenset(pattern for pattern in wanted if "*" not in pattern)
    globs = [glob(pattern) for pattern in wanted if "*" in pattern]

    def matches(text: str) -> bool:
        text = normal(text)
        return text in plain or any(like(text) for like in globs)

    return matches


@lru_cache(maxsize=1024)
def _regex(regex: str) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return re2.compile(regex, options)


def found(regex: str) -> Matches:
    """Whether the expression is found in a text, ignoring case; RE2: linear in any text.

    Raises re2.error for what is no expression, or needs what RE2 does not have.
    """
    search = _regex(regex).search
    return lambda text: search(text.encode("utf-8", "replace")) is not None


def text_test(wants: OneOf | NoneOf | Pattern, normal: Callable[[str], str]) -> Matches:
    """What a single text must be like, or must not for NoneOf."""
    if isinstance(wants, Pattern):
        return found(wants.regex)
    return one_of(wants.values, normal)


def figure_test(wants: Numbers | Bounds) -> Callable[[float], bool]:
    """Whether a figure is one of these, or lies within."""
    if isinstance(wants, Numbers):
        return frozenset(wants.values).__contains__
    low, high, over, under = wants.min, wants.max, wants.over, wants.under
    return lambda x: (
        (low is None or x >= low)
        and (high is None or x <= high)
        and (over is None or x > over)
        and (under is None or x < under)
    )


def texts_of(value: Any) -> tuple[str, ...]:
    """A value as texts: none, one or several."""
    if value is None or value == "":
        return ()
    return value if isinstance(value, tuple) else (str(value),)


def values_of(variables: Iterable[str], key: str) -> tuple[str, ...]:
    """The variable's values: `key=value` split at the first `=`, keys may repeat (L841)."""
    key = key.casefold()
    pairs = (item.partition("=") for item in variables)
    return tuple(value for name, _, value in pairs if value and name.casefold() == key)


def sees(field: Field, wants: Wants, key: str | None = None) -> Sees:
    """The test as a function of the field's value; without data it says no."""
    if key is not None:
        named = _sees_texts(field, wants, lenient=False)
        return lambda value: named(values_of(value or (), key))
    if field.banded:
        return band_test(wants)
    if isinstance(wants, Exists):
        there = wants.wanted
        return lambda value: (value not in (None, "", ())) is there
    if isinstance(wants, Is):
        flag = wants.wanted
        return lambda value: value is flag
    if field.numeric and isinstance(wants, Numbers | Bounds):
        within = figure_test(wants)
        return lambda value: value is not None and value == value and within(value)
    if field.numeric or field.type == "flag":
        return lambda value: False  # a single look tells no change; see evaluate.changed
    return _sees_texts(field, wants, lenient=field.type in ("texts", "variables"))


def _sees_texts(field: Field, wants: Wants, *, lenient: bool) -> Sees:
    """A test of texts; `lenient`: an empty set of texts is data, so it can lack things."""
    if isinstance(wants, NoneOf):
        barred = text_test(wants, field.normal)
        return lambda value: (
            value is not None
            and (lenient or bool(texts_of(value)))
            and not any(map(barred, texts_of(value)))
        )
    if isinstance(wants, Every):
        each = [one_of((wanted,), field.normal) for wanted in wants.values]
        return lambda value: all(any(map(like, texts_of(value))) for like in each)
    if isinstance(wants, Exists):
        return lambda value: bool(value) is wants.wanted
    if isinstance(wants, Numbers | Bounds):
        within = figure_test(wants)
        return lambda value: any(
            (figure := number(text)) is not None and within(figure) for text in texts_of(value)
        )
    if isinstance(wants, OneOf | Pattern):
        wanted_text = text_test(wants, field.normal)
        return lambda value: any(map(wanted_text, texts_of(value)))
    return lambda value: False  # a flag or a change is asked of no text


def at_least(band: Band, threshold: float) -> Answer:
    """Whether the friction reaches the threshold, as far as the band tells."""
    if band.low >= threshold:
        return True
    return False if band.high <= threshold else None


def above(band: Band, threshold: float) -> Answer:
    """Whether the friction passes the threshold, as far as the band tells."""
    if band.low > threshold:
        return True
    return False if band.high <= threshold + OVER else None


def _opposite(answer: Answer) -> Answer:
    return None if answer is None else not answer


def both(answers: Iterable[Answer]) -> Answer:
    """All yes is yes, one no is no, else unknown."""
    unknown = False
    for answer in answers:
        if answer is False:
            return False
        unknown = unknown or answer is None
    return None if unknown else True


def either(answers: Iterable[Answer]) -> Answer:
    """One yes is yes, all no is no, else unknown."""
    return _opposite(both(_opposite(answer) for answer in answers))


def band_test(wants: Wants) -> Sees:
    """A test of a friction band: the server tells thresholds reached, never the figure."""
    if isinstance(wants, Exists):
        return lambda band: (band is not None) is wants.wanted
    if isinstance(wants, Numbers):
        ranges = [Bounds(min=value, max=value) for value in wants.values]
        return lambda band: band is not None and either(_within(band, it) for it in ranges)
    if isinstance(wants, Bounds):
        return lambda band: band is not None and _within(band, wants)
    return lambda band: False


def _within(band: Band, bounds: Bounds) -> Answer:
    answers: list[Answer] = []
    if bounds.min is not None:
        answers.append(at_least(band, bounds.min))
    if bounds.over is not None:
        answers.append(above(band, bounds.over))
    if bounds.max is not None:
        answers.append(_opposite(above(band, bounds.max)))
    if bounds.under is not None:
        answers.append(_opposite(at_least(band, bounds.under)))
    return both(answers)
