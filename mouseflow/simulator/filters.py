"""The documented filters: parsed from query parameters, matched against sessions (L4072-4392)."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from mouseflow.simulator.sessions import Snapshot, View

# These filters have no effect on page lists (L4301).
NAVIGATIONAL = frozenset(
    {"entry", "exit", "funnel", "notfunnel", "pagesmin", "pagesmax", "visitmin", "visitmax"}
)
SESSION_ONLY = NAVIGATIONAL | {"watched", "star"}
FRICTION = frozenset({"frictionmin", "frictionmax"})
REFERRERS = {
    "searchengines": "search",
    "links": "link",
    "direct": "direct",
    "social": "social",
    "email": "email",
}
CHOICES: Mapping[str, frozenset[str]] = {
    "device": frozenset({"desktop", "tablet", "phone"}),
    "browser": frozenset({"chrome", "firefox", "safari", "ie", "edge", "opera", "android"}),
    "os": frozenset(
        {"windows", "mac os", "linux", "ios", "android", "blackberry os", "windows phone"}
    ),
    "visitortype": frozenset({"first", "returning"}),
    "referrer": frozenset(REFERRERS),
}
"""The documented values (L4242-4246)."""
NOWHERE = "\0"
"""A value that no session has."""


class BadFilter(ValueError):
    """A filter's value cannot be parsed; the API answers 400."""


@dataclass(frozen=True, slots=True)
class Var:
    """A condition on one variable; `value` is None for "any value" (*)."""

    key: str
    value: str | None
    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The filters of a call. None and empty both mean: no filter."""

    search: str = ""
    country: str = ""
    device: str = ""
    browser: str = ""
    os: str = ""
    visitortype: str = ""
    referrer: str = ""
    screenres: str = ""
    entry: str = ""
    exit: str = ""
    funnel: str = ""
    notfunnel: str = ""
    pagesmin: int | None = None
    pagesmax: int | None = None
    visitmin: int | None = None
    visitmax: int | None = None
    tags: tuple[str, ...] = ()
    vars: tuple[Var, ...] = ()
    watched: bool | None = None
    star: bool | None = None
    frictionmin: float | None = None
    frictionmax: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Whole days in the account's zone; `until` is not included (L4133)."""

    since: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the filters match besides the session: marks of the API user, and ids."""

    watched: bool = False
    starred: bool = False
    texts: tuple[str, ...] = ()


EVERYTHING = Query()
UNMARKED = Facts()


def parse_window(parameters: Mapping[str, str]) -> Window:
    """The date range of a call; raises BadFilter. Times of day are dropped."""
    return Window(_day(parameters, "fromdate"), _day(parameters, "todate"))


def parse_query(parameters: Mapping[str, str], *, strict: bool = True) -> Query:
    """The filters of a call, names in lower case; unknown names are ignored. Raises BadFilter.

    Values outside the document's enumerations raise too, or match nothing if not `strict`.
    """
    listed = {name: _one_of(parameters, name, strict) for name in CHOICES}
    return Query(
        search=parameters.get("search", "").casefold(),
        country=_written(parameters, "country", "[a-z]{2}", strict),
        device=listed["device"],
        browser=listed["browser"],
        os=listed["os"],
        visitortype=listed["visitortype"],
        referrer=REFERRERS.get(listed["referrer"], listed["referrer"]),
        screenres=_written(parameters, "screenres", "[0-9]+x[0-9]+", strict),
        entry=_page(parameters, "entry"),
        exit=_page(parameters, "exit"),
        funnel=_page(parameters, "funnel"),
        notfunnel=_page(parameters, "notfunnel"),
        pagesmin=_positive(parameters, "pagesmin"),
        pagesmax=_positive(parameters, "pagesmax"),
        visitmin=_positive(parameters, "visitmin"),
        visitmax=_positive(parameters, "visitmax"),
        tags=tuple(tag for tag in parameters.get("tags", "").split(",") if tag),
        vars=tuple(_var(text) for text in parameters.get("vars", "").split(",") if text),
        watched=_flag(parameters, "watched"),
        star=_flag(parameters, "star"),
        frictionmin=_float(parameters, "frictionmin"),
        frictionmax=_float(parameters, "frictionmax"),
    )


def integer(parameters: Mapping[str, str], name: str) -> int | None:
    """A whole number, None if missing or empty; raises BadFilter."""
    text = parameters.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise BadFilter(f"{name} must be a whole number.") from None


def _positive(parameters: Mapping[str, str], name: str) -> int | None:
    found = integer(parameters, name)
    if found is not None and found < 0:
        raise BadFilter(f"{name} must not be negative.")
    return found


def matches(query: Query, session: Snapshot, facts: Facts = UNMARKED) -> bool:
    """Whether a session matches every filter (L4072: all of them apply)."""
    return (
        _visitor_matches(query, session)
        and _pages_match(query, session)
        and _between(query.frictionmin, session.friction, query.frictionmax)
        and all(tag in session.all_tags for tag in query.tags)
        and _has_variables(query, session)
        and (query.watched is None or query.watched == facts.watched)
        and (query.star is None or query.star == facts.starred)
        and (not query.search or any(query.search in t.casefold() for t in _texts(session, facts)))
    )


def matches_view(query: Query, session: Snapshot, view: View) -> bool:
    """Whether a page view matches a page list's filters; `search` only applies to the path."""
    return (
        _visitor_matches(query, session)
        and all(tag in view.tags or _shared(tag, session) for tag in query.tags)
        and _has_variables(query, session)
        and (not query.search or query.search in view.page.path.casefold())
    )


def _shared(tag: str, session: Snapshot) -> bool:
    """Whether the tag is `shared`, and the page view part of a shared session (L4384)."""
    return tag == "shared" and tag in session.all_tags


def _visitor_matches(query: Query, session: Snapshot) -> bool:
    visitor = session.script.visitor
    return (
        (not query.country or query.country == visitor.country.casefold())
        and (not query.device or query.device == visitor.device.casefold())
        and (not query.browser or query.browser == visitor.browser.casefold().split(" ")[0])
        and (not query.os or query.os == visitor.os.casefold())
        and query.visitortype in ("", "returning" if visitor.returning else "first")
        and (not query.referrer or query.referrer == visitor.referrer_type.casefold())
        and (not query.screenres or query.screenres == visitor.screen)
    )


def _pages_match(query: Query, session: Snapshot) -> bool:
    return (
        (not query.entry or (bool(session.views) and session.views[0].page.path == query.entry))
        and (not query.exit or (bool(session.views) and session.views[-1].page.path == query.exit))
        and (not query.funnel or query.funnel in session.paths)
        and (not query.notfunnel or query.notfunnel not in session.paths)
        and _between(query.pagesmin, len(session.views), query.pagesmax)
        and _between(query.visitmin, session.duration, query.visitmax)
    )


def _between(low: float | None, value: float, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _has_variables(query: Query, session: Snapshot) -> bool:
    return all(_has_variable(var, session) for var in query.vars)


def _has_variable(var: Var, session: Snapshot) -> bool:
    values = [value for key, value in session.variables if key == var.key]
    if var.absent:
        return not values
    return bool(values) if var.value is None else var.value in values


def _texts(session: Snapshot, facts: Facts) -> Iterator[str]:
    visitor = session.script.visitor
    yield from (visitor.country, visitor.region, visitor.city, visitor.isp, visitor.lang)
    yield from (visitor.browser, visitor.os, visitor.device, visitor.screen, visitor.user_agent)
    yield from (visitor.referrer, visitor.referrer_type, visitor.name)
    yield from session.paths
    yield from session.all_tags
    yield from (f"{key}={value}" for key, value in session.variables)
    yield from facts.texts


def _day(parameters: Mapping[str, str], name: str) -> date | None:
    text = parameters.get(name, "")
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        raise BadFilter(f"{name} must be an ISO 8601 date.") from None


def _one_of(parameters: Mapping[str, str], name: str, strict: bool) -> str:
    value = parameters.get(name, "").casefold()
    if not value or value in CHOICES[name]:
        return value
    if strict:
        raise BadFilter(f"{name} must be one of {', '.join(sorted(CHOICES[name]))}.")
    return NOWHERE


def _written(parameters: Mapping[str, str], name: str, form: str, strict: bool) -> str:
    value = parameters.get(name, "").casefold()
    if strict and value and not re.fullmatch(form, value):
        raise BadFilter(f"{name} is not written as documented.")
    return value


def _page(parameters: Mapping[str, str], name: str) -> str:
    path = parameters.get(name, "")
    return path.rstrip("/") or "/" if path else ""


def _float(parameters: Mapping[str, str], name: str) -> float | None:
    text = parameters.get(name, "")
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise BadFilter(f"{name} must be a number.")
    return found


def _flag(parameters: Mapping[str, str], name: str) -> bool | None:
    text = parameters.get(name, "")
    flags: dict[str, Literal[True, False]] = {"0": False, "1": True}
    if text and text not in flags:
        raise BadFilter(f"{name} must be 0 or 1.")
    return flags.get(text)


def _var(text: str) -> Var:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise BadFilter("vars must be written key=value.")
    if value == "*":
        return Var(key, None)
    return Var(key, None, absent=True) if value == "^" else Var(key, value)
