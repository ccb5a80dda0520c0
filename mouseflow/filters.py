"""The API's filters as typed values, and how they are written into a query.

Two kinds, because the API has two kinds of query (the API document, L4074-4076):
`SessionFilters` for recordings, funnels, forms and feedback, `PageFilters` for the heatmap
page lists. A page list silently ignores filters about whole sessions (L4301), so
`PageFilters` does not have them.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, Literal, get_args

from mouseflow.arguments import (
    Unlisted,
    choice,
    day,
    number,
    plain,
    span,
    text,
    texts,
    truth,
    whole,
)
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

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of every query; a row must match all that are given.

    (L4132-4133, L4187, L4241-4247, L4372-4373.)

    `fromdate` is midnight in the account's time zone, `todate` the first day that is not
    included. Without dates the API uses a window of about a month. `search` is free text over
    everything, on page lists over the URLs. `country` is an ISO 3166-1 alpha-2 code,
    `screenres` is written `1280x800`. All `tags` must be present. `vars` maps a variable to
    its value, `ANY` or `NOT_SET`. Values of numpy and pandas work as what they are.

    Raises ValueError for what the API would not understand, or would misunderstand: a time of
    day, an undocumented device that is not `Unlisted`, a comma in a list (it cannot be escaped,
    nor can `*` and `^` in values).
    """

    fromdate: date | None = None
    todate: date | None = None
    search: str | None = None
    country: str | None = None
    device: Device | Unlisted | None = None
    browser: Browser | Unlisted | None = None
    os: System | Unlisted | None = None
    visitortype: VisitorType | Unlisted | None = None
    referrer: Referrer | Unlisted | None = None
    screenres: str | None = None
    tags: Collection[str] = ()
    vars: Mapping[str, str | float | Mark] = field(default_factory=dict, hash=False)

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
    """Filters of the heatmap page lists, which count single page views.

    The API document names no kind of query for friction, so it is allowed here; no answer shows
    whether it has an effect: compare the counts with and without it.
    """

    frictionmin: float | None = None
    frictionmax: float | None = None


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


_SESSION_ONLY = frozenset(f.name for f in fields(SessionFilters)) - {
    f.name for f in fields(PageFilters)
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
    """Make every value what its type says; raises ValueError for what cannot be meant."""
    for each in fields(filters):
        value = getattr(filters, each.name)
        if value is not None:
            value = _CHECKS[each.name](each.name, value)
            object.__setattr__(filters, each.name, value)
    if filters.fromdate and filters.todate and filters.fromdate >= filters.todate:
        raise ValueError(
            f"todate: {filters.todate} is excluded, so the window from {filters.fromdate} is empty"
        )
    for low, high in _BOUNDS:
        least, most = getattr(filters, low, None), getattr(filters, high, None)
        if least is not None and most is not None and least > most:
            raise ValueError(f"{low} is above {high}")


def _country(name: str, value: Any) -> str:
    found = text(name, value)
    if not isinstance(found, Unlisted) and not re.fullmatch(r"[A-Za-z]{2}", found):
        raise ValueError(f"{name}: {found!r} is not a two-letter code")
    return found


def _screen(name: str, value: Any) -> str:
    found = text(name, value)
    if not isinstance(found, Unlisted) and not re.fullmatch(r"[0-9]+x[0-9]+", found):
        raise ValueError(f"{name}: {found!r} is not written like 1280x800")
    return found


def _tags(name: str, value: Any) -> tuple[str, ...]:
    found = texts(name, value)
    for tag in found:
        if "," in tag:
            raise ValueError(f"{name}: {tag!r} cannot be written in a comma-separated list")
    return found


def _variables(name: str, value: Any) -> dict[str, str | Mark]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected a dictionary of variables, got {value!r:.40}")
    return {_key(name, key): _variable(f"{name}: {key}", item) for key, item in value.items()}


def _key(name: str, key: Any) -> str:
    if not isinstance(key, str) or not key or "," in key or "=" in key:
        raise ValueError(f"{name}: the key {key!r} cannot be written")
    return key


def _variable(name: str, value: Any) -> str | Mark:
    value = value if isinstance(value, Mark) else plain(name, value)
    if isinstance(value, Mark):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _decimal(float(value)) if isinstance(value, float) else str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected a text, a number, ANY or NOT_SET, got {value!r:.40}")
    if not value or set(value) & set(",*^="):
        raise ValueError(
            f"{name}: the value {value!r} cannot be written; , * ^ = cannot be escaped"
        )
    return value


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "fromdate": day,
    "todate": day,
    "search": text,
    "country": _country,
    "device": partial(choice, choices=get_args(Device)),
    "browser": partial(choice, choices=get_args(Browser)),
    "os": partial(choice, choices=get_args(System)),
    "visitortype": partial(choice, choices=get_args(VisitorType)),
    "referrer": partial(choice, choices=get_args(Referrer)),
    "screenres": _screen,
    "tags": _tags,
    "vars": _variables,
    "entry": text,
    "exit": text,
    "funnel": text,
    "notfunnel": text,
    "pagesmin": whole,
    "pagesmax": whole,
    "visitmin": span,
    "visitmax": span,
    "watched": truth,
    "star": truth,
    "frictionmin": number,
    "frictionmax": number,
}
_BOUNDS = (
    ("pagesmin", "pagesmax"),
    ("visitmin", "visitmax"),
    ("frictionmin", "frictionmax"),
)


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
