"""The API's filters as typed values, and how they are written into a query.

Two kinds, because the API has two kinds of query (the API document, L4074-4076):
`SessionFilters` for recordings, funnels, forms and feedback, `PageFilters` for the heatmap
page lists. A page list silently ignores filters about whole sessions (L4301), so
`PageFilters` does not have them.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Literal, get_args

from mouseflow.request import Pairs

Device = Literal["desktop", "tablet", "phone"]
Browser = Literal["chrome", "firefox", "safari", "ie", "edge", "opera", "android"]
System = Literal["windows", "mac os", "linux", "ios", "android", "blackberry os", "windows phone"]
VisitorType = Literal["first", "returning"]
Referrer = Literal["searchengines", "links", "direct", "social", "email"]

REFERRER_OF: Mapping[str, Referrer] = {
    "search": "searchengines",
    "link": "links",
    "direct": "direct",
    "social": "social",
    "email": "email",
}
"""A recording's `referrer_type` in lower case -> the filter's value for it (L836, L4246)."""


class Mark(Enum):
    """Special values for a variable in `vars` (L4373)."""

    ANY = "*"
    NOT_SET = "^"


ANY = Mark.ANY
NOT_SET = Mark.NOT_SET

_CHOICES = {
    "device": get_args(Device),
    "browser": get_args(Browser),
    "os": get_args(System),
    "visitortype": get_args(VisitorType),
    "referrer": get_args(Referrer),
}
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of every query; a row must match all that are given.

    (L4132-4133, L4187, L4241-4247, L4372-4373.)

    `fromdate` is midnight in the account's time zone, `todate` the first day that is not
    included. Without dates the API uses a window of about a month. `search` is free text over
    everything, on page lists over the URLs. `country` is an ISO 3166-1 alpha-2 code,
    `screenres` is written `1280x800`. All `tags` must be present. `vars` maps a variable to
    its value, `ANY` or `NOT_SET`.

    Raises ValueError for what the API would not understand, or would misunderstand: commas
    cannot be escaped in lists, nor `*` and `^` in values.
    """

    fromdate: date | None = None
    todate: date | None = None
    search: str | None = None
    country: str | None = None
    device: Device | None = None
    browser: Browser | None = None
    os: System | None = None
    visitortype: VisitorType | None = None
    referrer: Referrer | None = None
    screenres: str | None = None
    tags: tuple[str, ...] = ()
    vars: Mapping[str, str | Mark] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check(self)

    def pairs(self) -> Pairs:
        """Names and values for the query, not percent-encoded, in the document's order."""
        return tuple(
            (item.name, _format(item.name, value))
            for item in fields(self)
            if (value := getattr(self, item.name)) not in (None, (), {})
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFilters(Filters):
    """Filters of the heatmap page lists, which count single page views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilters(Filters):
    """Filters of whole sessions (L4304-4311, L4374-4375, L4388).

    `entry`, `exit`, `funnel` (saw it) and `notfunnel` (did not) are exact page paths, as in a
    page's `display_url`. `visitmin` and `visitmax` are the session's duration. `watched` and
    `star` are those of the API user. `frictionmin` and `frictionmax` bound a sum of event
    weights that no answer contains; a website's average is well under 1. Whether bounds
    include their value is undocumented: check the values you get.
    """

    entry: str | None = None
    exit: str | None = None
    funnel: str | None = None
    notfunnel: str | None = None
    pagesmin: int | None = None
    pagesmax: int | None = None
    visitmin: timedelta | None = None
    visitmax: timedelta | None = None
    watched: bool | None = None
    star: bool | None = None
    frictionmin: float | None = None
    frictionmax: float | None = None

    def __post_init__(self) -> None:
        _check(self)
        for low, high in (
            ("pagesmin", "pagesmax"),
            ("visitmin", "visitmax"),
            ("frictionmin", "frictionmax"),
        ):
            _in_order(low, getattr(self, low), high, getattr(self, high))


_SESSION_ONLY = frozenset(f.name for f in fields(SessionFilters)) - {
    f.name for f in fields(Filters)
}


def session_pairs(filters: SessionFilters | None) -> Pairs:
    """The query of a list of sessions, empty without filters."""
    return filters.pairs() if filters else ()


def page_pairs(filters: Filters | None) -> Pairs:
    """The query of a page list; raises ValueError for filters that the API ignores there."""
    pairs = filters.pairs() if filters else ()
    ignored = [name for name, _value in pairs if name in _SESSION_ONLY]
    if ignored:
        raise ValueError(
            f"{', '.join(ignored)}: no effect on a page list; these filter whole sessions"
        )
    return pairs


def _check(filters: Filters) -> None:
    for name, choices in _CHOICES.items():
        value = getattr(filters, name)
        if value is not None and value not in choices:
            raise ValueError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    if filters.country is not None and not re.fullmatch(r"[A-Za-z]{2}", filters.country):
        raise ValueError(f"country: {filters.country!r} is not a two-letter code")
    if filters.screenres is not None and not re.fullmatch(r"[0-9]+x[0-9]+", filters.screenres):
        raise ValueError(f"screenres: {filters.screenres!r} is not written like 1280x800")
    if filters.fromdate and filters.todate and filters.fromdate >= filters.todate:
        raise ValueError(
            f"todate: {filters.todate} is excluded, so the window from {filters.fromdate} is empty"
        )
    for name in ("search", "entry", "exit", "funnel", "notfunnel"):
        if getattr(filters, name, None) == "":
            raise ValueError(f"{name} must not be empty")
    _check_lists(filters.tags, filters.vars)


def _check_lists(tags: Iterable[str], variables: Mapping[str, str | Mark]) -> None:
    for tag in tags:
        if not tag or "," in tag:
            raise ValueError(f"tags: {tag!r} cannot be written in a comma-separated list")
    for key, value in variables.items():
        if not key or "," in key or "=" in key:
            raise ValueError(f"vars: the key {key!r} cannot be written")
        if isinstance(value, str) and (not value or set(value) & set(",*^=")):
            raise ValueError(
                f"vars: the value {value!r} cannot be written; , * ^ = cannot be escaped"
            )


def _in_order(low_name: str, low: object, high_name: str, high: object) -> None:
    for name, value in ((low_name, low), (high_name, high)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}: {value} is not a number")
        if isinstance(value, timedelta) and value < timedelta(0):
            raise ValueError(f"{name} must not be negative")
    if low is not None and high is not None and low > high:  # type: ignore[operator]
        raise ValueError(f"{low_name} is above {high_name}")


def _format(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        # Rounded outwards: the wider bound loses nothing.
        return str(-(-value // _MILLISECOND) if name == "visitmax" else value // _MILLISECOND)
    if isinstance(value, float):
        return _decimal(value)
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        return ",".join(
            f"{key}={item.value if isinstance(item, Mark) else item}" for key, item in value.items()
        )
    return str(value)


def _decimal(number: float) -> str:
    """2.5 as "2.5", 3.0 as "3", 0.000001 without an exponent."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
