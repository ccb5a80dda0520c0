"""A visitor's session as a script, and what has been recorded of it so far."""

from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["page", "session", "both"]

# What the tracking script adds to a session's friction, by event.
FRICTION = {
    "click-rage": 5.0,
    "404": 5.0,
    "submit-failure": 3.0,
    "bounce": 2.0,
    "click-error": 2.0,
    "dead-click": 1.0,
    "speed-browsing": 1.0,
}

# The session's tags are not the union of its pages' tags (the API document, L929-966).
_SCOPES: dict[str, Scope] = {"submit": "session", "add-to-cart": "page"}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens `at` ms into the session: a tag and its friction."""

    at: int
    tag: str
    friction: float = 0.0
    scope: Scope = "both"


def event(at: int, tag: str, friction: float | None = None) -> Event:
    """An event with the friction and the scope that the tracking script assigns to it."""
    weight = FRICTION.get(tag, 0.0) if friction is None else friction
    return Event(at, tag, weight, _SCOPES.get(tag, "both"))


@dataclass(frozen=True, slots=True)
class Page:
    """One page view of a script; times in ms, `start` counts from the session's start."""

    path: str
    title: str
    start: int
    stay: int
    query: str = ""
    engaged: int = 0
    scroll: int = 50
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Visitor:
    """A visitor: location, device, and where they came from."""

    country: str = "de"
    region: str = ""
    city: str = "Berlin"
    isp: str = "Deutsche Telekom AG"
    network: str = "79.255.13"
    lang: str = "de-DE"
    lng: float = 13.405
    lat: float = 52.52
    browser: str = "Chrome"
    browser_version: str = "141.0.0.0"
    os: str = "Windows"
    os_version: str = "10"
    device: str = "Desktop"
    screen: str = "1920x1080"
    user_agent: str = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/141.0.0.0 Safari/537.36"
    )
    referrer: str = ""
    referrer_type: str = "Direct"
    returning: bool = False
    name: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that will happen in a session. `variables` are (at, key, value), in order."""

    visitor: Visitor
    pages: tuple[Page, ...]
    variables: tuple[tuple[int, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """A page view as recorded so far; `stay` and `engaged` in ms."""

    page: Page
    stay: int
    engaged: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session as recorded so far; `last` is its last activity in ms from its start."""

    script: Script
    views: tuple[View, ...]
    duration: int
    last: int
    friction: float
    tags: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    all_tags: frozenset[str] = field(default=frozenset())
    paths: frozenset[str] = field(default=frozenset())


def length(script: Script) -> int:
    """Milliseconds from the session's start to the end of its last page."""
    return max((page.start + page.stay for page in script.pages), default=0)


def snapshot(script: Script, age: int | None = None) -> Snapshot:
    """What is recorded `age` ms after the session's start; None means all of it."""
    end = length(script)
    at = end if age is None else max(0, min(age, end))
    views = tuple(_view(page, at) for page in script.pages if page.start <= at)
    events = [e for view in views for e in view.page.events if e.at <= at]
    tags = tuple(dict.fromkeys(e.tag for e in events if e.scope != "page"))
    values = {key: value for when, key, value in script.variables if when <= at}
    return Snapshot(
        script=script,
        views=views,
        duration=sum(view.stay for view in views),
        last=max((view.page.start + view.stay for view in views), default=0),
        friction=round(sum(e.friction for e in events), 4),
        tags=tags,
        variables=tuple(values.items()),
        all_tags=frozenset(tags).union(*(view.tags for view in views)),
        paths=frozenset(view.page.path for view in views),
    )


def _view(page: Page, at: int) -> View:
    stay = min(page.stay, at - page.start)
    engaged = page.engaged * stay // page.stay if page.stay else 0
    happened = (e.tag for e in page.events if e.at <= at and e.scope != "session")
    return View(page, stay, engaged, tuple(dict.fromkeys(happened)))
