"""Yes, no or unknown, and the two shapes that most tests of a value have: texts and figures.

An operator that describes itself by a `TextTest` or a `FigureTest` gets everything else from it:
the test of a value, what is certain while more may come, and its place in the compiled index.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any

from msgspec import Struct

from bot.domain.subjects import Band
from bot.fields.normal import folded


class BadRegex(ValueError):
    """An expression that RE2 does not understand; the message says why."""


Answer = bool | None
"""Yes, no, or unknown: the value was not fetched, or not precisely enough to tell."""

OneText = Callable[[str], bool]
"""A test of one single text."""

OVER = 1e-6
"""The API only knows "at least", so "over t" is asked as "at least t + OVER" (L4388)."""


def opposite(answer: Answer) -> Answer:
    """The negation; unknown stays unknown."""
    return None if answer is None else not answer


def both(answers: Iterable[Answer]) -> Answer:
    """Yes if all are yes, no if one is no, else unknown."""
    unknown = False
    for answer in answers:
        if answer is False:
            return False
        unknown = unknown or answer is None
    return None if unknown else True


def either(answers: Iterable[Answer]) -> Answer:
    """Yes if one is yes, no if all are no, else unknown."""
    unknown = False
    for answer in answers:
        if answer:
            return True
        unknown = unknown or answer is None
    return None if unknown else False


def glob(pattern: str) -> OneText:
    """Whether a text is like the pattern, where `*` is any run of characters; linear time."""
    if "*" not in pattern:
        return pattern.__eq__
    first, *middle, last = pattern.split("*")
    middle = [piece for piece in middle if piece]
    shortest = len(first) + len(last)
    if not middle:
        return lambda text: len(text) >= shortest and text.startswith(first) and text.endswith(last)

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


class Alike:
    """Whether a text equals one of the patterns or is like one; compared in normal form.

    `patterns` are in normal form. The index looks plain ones up in a dictionary.
    """

    def __init__(self, patterns: Iterable[str], normal: Callable[[str], str]) -> None:
        self.patterns = tuple(map(normal, patterns))
        self._normal = normal

    def __call__(self, text: str) -> bool:
        text = self._normal(text)
        return text in self._plain or any(like(text) for like in self._globs)

    @cached_property
    def _plain(self) -> frozenset[str]:
        return frozenset(pattern for pattern in self.patterns if "*" not in pattern)

    @cached_property
    def _globs(self) -> list[OneText]:
        return [glob(pattern) for pattern in self.patterns if "*" in pattern]


@lru_cache(maxsize=1024)
def _compiled(regex: str) -> Any:
    import re2  # 3 MB with its C++ library, which most rules do without

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    try:
        return re2.compile(regex, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise BadRegex(words) from None


def search(regex: str) -> OneText:
    """Whether a regular expression is found in a text, ignoring case; linear time (RE2).

    Raises BadRegex for an invalid expression, or one that needs what RE2 does not have.
    """
    find = _compiled(regex).search
    return lambda text: find(text.encode("utf-8", "replace")) is not None


def texts_of(value: Any) -> tuple[str, ...]:
    """A value as texts: none, one or several."""
    if value is None or value == "":
        return ()
    return value if isinstance(value, tuple) else (str(value),)


def values_of(variables: Iterable[str], key: str) -> tuple[str, ...]:
    """The variable's values: `key=value` split at the first `=`, keys may repeat (L841)."""
    key = folded(key)
    pairs = (item.partition("=") for item in variables)
    return tuple(value for name, _, value in pairs if value and folded(name) == key)


class TextTest(Struct, frozen=True):
    """A test of all texts of a value, put together from tests of single texts.

    It is met if some text meets each test in `each`, no text meets a test in `none`, and there
    is a text at all (`there` is True) or none at all (`there` is False).
    """

    each: tuple[OneText, ...] = ()
    none: tuple[OneText, ...] = ()
    there: bool | None = None

    def met(self, texts: tuple[str, ...]) -> bool:
        """Whether these texts, which are all there are, meet the test."""
        if self.there is not None and bool(texts) is not self.there:
            return False
        return self._each_met(texts) and not self._barred(texts)

    def met_so_far(self, texts: tuple[str, ...]) -> Answer:
        """Whether the texts meet the test while more may come."""
        if self._barred(texts) or (self.there is False and texts):
            return False
        if self.may_end or not self._each_met(texts) or (self.there and not texts):
            return None
        return True

    def _each_met(self, texts: tuple[str, ...]) -> bool:
        return all(any(map(one, texts)) for one in self.each)

    def _barred(self, texts: tuple[str, ...]) -> bool:
        return any(any(map(one, texts)) for one in self.none)

    @property
    def may_end(self) -> bool:
        """Whether one more text can turn yes into no: the test asks for an absence."""
        return bool(self.none) or self.there is False

    @property
    def may_begin(self) -> bool:
        """Whether one more text can turn no into yes."""
        return bool(self.each) or self.there is True


class Range(Struct, frozen=True):
    """The numbers between two limits: min and max are in, over and under are out."""

    min: float | None = None
    max: float | None = None
    over: float | None = None
    under: float | None = None

    def has(self, figure: float) -> bool:
        """Whether the figure lies within."""
        return (
            (self.min is None or figure >= self.min)
            and (self.max is None or figure <= self.max)
            and (self.over is None or figure > self.over)
            and (self.under is None or figure < self.under)
        )

    def has_band(self, band: Band) -> Answer:
        """Whether the friction lies within, as far as the band tells."""
        return both(self._limits_met(band))

    def _limits_met(self, band: Band) -> Iterator[Answer]:
        if self.min is not None:
            yield _at_least(band, self.min)
        if self.over is not None:
            yield _above(band, self.over)
        if self.max is not None:
            yield opposite(_above(band, self.max))
        if self.under is not None:
            yield opposite(_at_least(band, self.under))

    @property
    def low(self) -> tuple[float, int]:
        """The lower end; 1: the end itself is outside."""
        ends = ((-math.inf, 0), (self.min, 0), (self.over, 1))
        return max((end, out) for end, out in ends if end is not None)

    @property
    def high(self) -> tuple[float, int]:
        """The upper end; -1: the end itself is outside."""
        ends = ((math.inf, 0), (self.max, 0), (self.under, -1))
        return min((end, out) for end, out in ends if end is not None)

    def within(self, other: "Range") -> bool:
        """Whether every number of this range is in the other."""
        return self.low >= other.low and self.high <= other.high

    def apart(self, other: "Range") -> bool:
        """Whether no number is in both."""
        low, opened = max(self.low, other.low)
        high, shut = min(self.high, other.high)
        return low > high or (low == high and bool(opened or shut))

    def span(self) -> tuple[float, float]:
        """The range as a half-open interval: first number in, second number out."""
        (low, opened), (high, shut) = self.low, self.high
        low = math.nextafter(low, math.inf) if opened else low
        return low, high if shut else math.nextafter(high, math.inf)

    def thresholds(self) -> Iterator[float]:
        """The frictions of which "at least that much" has to be asked to decide this range."""
        yield from (it for it in (self.min, self.under) if it is not None)
        yield from (it + OVER for it in (self.over, self.max) if it is not None)


def _at_least(band: Band, threshold: float) -> Answer:
    if band.low >= threshold:
        return True
    return False if band.high <= threshold else None


def _above(band: Band, threshold: float) -> Answer:
    if band.low > threshold:
        return True
    return False if band.high <= threshold + OVER else None


class FigureTest(Struct, frozen=True):
    """A test of a number: it lies in one of the ranges. `missing` is the answer without one."""

    ranges: tuple[Range, ...]
    missing: bool = False

    def met(self, figure: float | None) -> bool:
        """Whether the number meets the test; NaN counts as none."""
        if figure is None or figure != figure:
            return self.missing
        return any(it.has(figure) for it in self.ranges)

    def met_by_band(self, band: Band | None) -> Answer:
        """Whether a friction of which only the band is known meets the test."""
        if band is None:
            return self.missing
        return either(it.has_band(band) for it in self.ranges)
