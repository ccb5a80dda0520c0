"""What a level rule asks of the API: figures over which days, for which visitors.

Rules that ask the same share one request. Every question has contrasts: the same question
with one filter changed so that no visitor can be in both answers. An API that answers a
contrast with the same figures ignores that filter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bot.mouseflow.filters import PageFilters, SessionFilters

USUAL = timedelta(days=30)
"""How far back figures go where the rule does not say; the API's own window is not documented."""

DATES = "over_last"
"""The name of the filter by dates, as rules write it."""

LONG_AGO = (date(2000, 1, 1), date(2000, 1, 2))
"""Days without any visitor: Mouseflow did not exist yet."""

ENOUGH = 20
"""With fewer visitors than this, two answers can be the same by chance."""

_FILTERS = {"visitor_type": "visitortype", "referrer_type": "referrer", "screen": "screenres"}
_OTHERS = {
    "country": ("aq", "bv"),
    "device": ("tablet", "phone"),
    "browser": ("opera", "edge"),
    "os": ("blackberry os", "windows phone"),
    "visitor_type": ("first", "returning"),
    "referrer_type": ("email", "social"),
    "screen": ("1x1", "2x2"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """The time that figures are taken over (None: the usual) and the visitors they count."""

    over_last: timedelta | None = None
    visitors: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The question as a short text that names it in the store; empty for the plain one."""
        back = () if self.over_last is None else ((DATES, f"{self.over_last.total_seconds():g}s"),)
        return "&".join(f"{name}={value}" for name, value in (*back, *self.visitors))

    @property
    def aspects(self) -> tuple[str, ...]:
        """The filters that the question depends on, by the names that rules have for them."""
        dates = () if self.over_last is None else (DATES,)
        return (*dates, *(name for name, _value in self.visitors))


def question(over_last: timedelta | None, visitors: Mapping[str, str]) -> Question:
    """The question of a rule's `over_last` and `visitors`."""
    return Question(over_last, tuple(sorted(visitors.items())))


def days(asked: Question, now: datetime, zone: ZoneInfo) -> tuple[date, date]:
    """The first day, and the first one no longer included (L4132-4133).

    The API knows whole days in the account's zone alone, so the window is `over_last` and
    what the day it begins in has more.
    """
    first = (now - (asked.over_last or USUAL)).astimezone(zone).date()
    return first, now.astimezone(zone).date() + timedelta(days=1)


def session_filters(asked: Question, window: tuple[date, date]) -> SessionFilters:
    """The question as filters of whole sessions (funnels, forms)."""
    return SessionFilters(**_given(asked, window))


def page_filters(asked: Question, window: tuple[date, date]) -> PageFilters:
    """The question as filters of a page list, where each view counts for itself."""
    return PageFilters(**_given(asked, window))


def _given(asked: Question, window: tuple[date, date]) -> dict[str, Any]:
    given: dict[str, Any] = {"fromdate": window[0], "todate": window[1]}
    given |= {_FILTERS.get(name, name): value for name, value in asked.visitors}
    return given


def contrast(
    asked: Question, window: tuple[date, date], aspect: str
) -> tuple[Question, tuple[date, date]]:
    """The question with one filter changed so that no visitor can be in both answers."""
    if aspect == DATES:
        return asked, LONG_AGO
    changed = tuple(
        (name, _other(name, value) if name == aspect else value) for name, value in asked.visitors
    )
    return replace(asked, visitors=changed), window


def _other(name: str, value: str) -> str:
    first, second = _OTHERS[name]
    return second if value == first else first


def honoured(answer: Mapping[str, int], other: Mapping[str, int]) -> bool | None:
    """Whether the API heeds the filter in which two answers' counters were asked to differ.

    None where there are too few visitors to tell. Counters of one answer may have moved on a
    little until the other was asked.
    """
    total = sum(answer.values())
    if total < ENOUGH:
        return None
    names = answer.keys() | other.keys()
    apart = sum(abs(answer.get(name, 0) - other.get(name, 0)) for name in names)
    return apart > max(2, total / 200)
