"""The fields of a recording: the API's row, its detail, and what only the server can judge."""

from collections.abc import Callable
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from bot.domain.subjects import Band, RecordingSubject
from bot.fields.field import Field, folded_path, page, text
from mouseflow.models import PageView

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
REFERRERS = ("searchengines", "links", "direct", "social", "email")
DEVICES = ("desktop", "tablet", "phone")
VISITORS = ("first", "returning")
BROWSERS = ("chrome", "firefox", "safari", "ie", "edge", "opera", "android")
SYSTEMS = (
    "windows",
    "mac os",
    "linux",
    "ios",
    "android",
    "blackberry os",
    "windows phone",
)

_REFERRER_WORDS = {
    # The row says Search and Link (L836), the filter searchengines and links (L4246).
    "search": "searchengines",
    "searchengine": "searchengines",
    "link": "links",
}


def referrer_word(value: str) -> str:
    """The filter's word for a kind of referrer, whichever of the two words is given."""
    word = value.casefold()
    return _REFERRER_WORDS.get(word, word)


def weekday_word(value: str) -> str:
    """`Monday`, `mon` and `MON` are one day."""
    word = value.casefold()
    return word[:3] if word.endswith("day") else word


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The time zone of that name; raises ZoneInfoNotFoundError."""
    return ZoneInfo(name)


def started(subject: RecordingSubject) -> Any:
    """When the session started, in the account's zone; the API's times carry an offset (L738)."""
    created = subject.recording.created
    if created is None or created.tzinfo is None:
        return created  # without an offset it is the account's own time already
    return created.astimezone(zone(subject.zone))


def weekday(subject: RecordingSubject) -> str | None:
    """The day the session started, as `mon` to `sun`."""
    start = started(subject)
    return None if start is None else WEEKDAYS[start.weekday()]


def hour(subject: RecordingSubject) -> int | None:
    """The hour the session started, 0 to 23."""
    start = started(subject)
    return None if start is None else int(start.hour)


def friction(subject: RecordingSubject) -> Band | None:
    """The band that was asked for, or the value itself should an answer ever hold one."""
    if subject.friction is not None:
        return subject.friction
    recording = subject.recording
    exact = recording.friction if recording.friction is not None else recording.friction_score
    return None if exact is None or exact != exact else Band.exactly(exact)


def page_count(subject: RecordingSubject) -> int | None:
    """How many pages were seen."""
    recording = subject.recording
    if recording.pages is None and recording.page_views is not None:
        return len(recording.page_views)  # the detail has no count of its own (L913-977)
    return recording.pages


def page_of(view: PageView) -> str | None:
    """The page's path: the normalised one first, the address where it is missing (L924-925)."""
    return page(view.website_page or view.uri)


def entry(subject: RecordingSubject) -> str | None:
    """Where the session began: the row's page, its address, or else the detail's first page."""
    recording = subject.recording
    first = recording.entry_page or recording.entry
    if first or not recording.page_views:
        return first
    return page_of(recording.page_views[0])


def entry_url(subject: RecordingSubject) -> str | None:
    """The full address the session began with."""
    recording = subject.recording
    if not recording.entry and recording.page_views:
        return recording.page_views[0].uri
    return recording.entry


def has_detail(subject: RecordingSubject) -> bool:
    """Whether the recording's detail is there, with its page views."""
    return subject.recording.page_views is not None


def knows_pages(subject: RecordingSubject) -> bool:
    """Whether every page seen is known: the detail is there, or the entry page was the only one."""
    recording = subject.recording
    return recording.page_views is not None or (recording.pages == 1 and bool(entry(subject)))


def journey(subject: RecordingSubject) -> tuple[str, ...]:
    """The paths seen in order, as far as they are known: the entry page at least."""
    views = subject.recording.page_views or ()
    seen = tuple(found for view in views if (found := page_of(view)))
    first = page(entry(subject))
    if first and (not seen or seen[0].casefold() != first.casefold()):
        return (first, *seen)
    return seen


def exit_page(subject: RecordingSubject) -> str | None:
    """The last page's path, None unless all pages are known."""
    if not knows_pages(subject):
        return None
    seen = journey(subject)
    return seen[-1] if seen else None


def tags(subject: RecordingSubject) -> tuple[str, ...]:
    """The session's tags and every page's: neither holds all of the other (L929-966)."""
    recording = subject.recording
    found = dict.fromkeys(recording.tags)
    for view in recording.page_views or ():
        found.update(dict.fromkeys(view.tags))
    return tuple(found)


def filled(values: tuple[str, ...]) -> tuple[str, ...]:
    """The texts that are not empty."""
    return tuple(value for value in values if value)


_one = partial(Field, watch="recordings")
_view: Callable[..., Field] = partial(Field, watch="recordings", source="detail")


def _word(name: str, meaning: str, *, attribute: str = "", **more: Any) -> Field:
    attribute = attribute or name
    raw = attrgetter("recording." + attribute)
    more |= {"raw": raw, "attribute": attribute, "clean": text}
    return _one(name=name, type="text", meaning=meaning, **more)


def _flag(name: str, meaning: str, **more: Any) -> Field:
    more.setdefault("raw", attrgetter("recording." + name))
    return _one(name=name, type="flag", meaning=meaning, changes=True, examples=("true",), **more)


PAGE_PARTS: tuple[Field, ...] = (
    _view(
        name="path",
        type="text",
        meaning="path of the page",
        raw=lambda view: view.website_page or view.uri,
        clean=page,
        normal=folded_path,
        examples=("/checkout*",),
    ),
    _view(
        name="title",
        type="text",
        meaning="title of the page",
        raw=attrgetter("title"),
        clean=text,
        examples=("Your cart*",),
    ),
    _view(
        name="time",
        grows=True,
        type="duration",
        meaning="time between opening and leaving the page",
        raw=attrgetter("visit_time"),
        unit="ms",
        examples=("{over: 30s}",),
    ),
    _view(
        name="engagement",
        grows=True,
        type="duration",
        meaning="time of activity on the page",
        raw=attrgetter("engagement_time"),
        unit="ms",
        examples=("{min: 10s}",),
    ),
    _view(
        name="scroll",
        grows=True,
        type="percent",
        meaning="how far down the page was seen",
        raw=attrgetter("scroll"),
        unit="%",
        examples=("{under: 25%}",),
    ),
    _view(
        name="tags",
        grows=True,
        type="texts",
        meaning="tags of the page view, such as click-rage",
        raw=attrgetter("tags"),
        clean=filled,
        examples=("click-rage",),
    ),
)

RECORDING_FIELDS: tuple[Field, ...] = (
    _one(
        name="friction",
        known=lambda subject: friction(subject) is not None,
        type="number",
        meaning="sum of the weights of the session's friction events (a site's average is "
        "well under 1); the server judges it and never says the figure",
        raw=friction,
        source="asked",
        api_filter="frictionmin",
        examples=("{min: 2.5}",),
        grows=True,
    ),
    _one(
        name="duration",
        type="duration",
        meaning="time of activity, not the time from start to end",
        raw=attrgetter("recording.duration"),
        attribute="duration",
        unit="ms",
        api_filter="visitmin, visitmax",
        examples=("{over: 60s}",),
        grows=True,
    ),
    _one(
        name="pages",
        known=lambda subject: page_count(subject) is not None or has_detail(subject),
        type="number",
        meaning="how many pages were seen",
        raw=page_count,
        unit="pages",
        api_filter="pagesmin, pagesmax",
        examples=("{min: 3}",),
        grows=True,
    ),
    _one(
        name="saw_page",
        known=knows_pages,
        type="texts",
        meaning="path of any page that was seen",
        raw=journey,
        normal=folded_path,
        source="detail",
        api_filter="funnel",
        examples=("/checkout*",),
        grows=True,
    ),
    _one(
        name="page",
        known=has_detail,
        type="items",
        meaning="one single page view that meets all of its parts",
        raw=attrgetter("recording.page_views"),
        source="detail",
        examples=("{path: /checkout*, tags: click-rage}",),
        grows=True,
        parts=PAGE_PARTS,
    ),
    _one(
        name="journey",
        known=knows_pages,
        type="texts",
        meaning="paths that were seen in this order, others may lie between",
        raw=journey,
        normal=folded_path,
        source="detail",
        examples=("[/cart, /checkout*]",),
        grows=True,
    ),
    _one(
        name="entry_page",
        known=lambda subject: bool(entry(subject)) or has_detail(subject),
        type="text",
        meaning="path of the first page",
        raw=entry,
        clean=page,
        normal=folded_path,
        api_filter="entry",
        examples=("/landing*",),
    ),
    _one(
        name="exit_page",
        changes=True,
        known=knows_pages,
        type="text",
        meaning="path of the last page",
        raw=exit_page,
        clean=page,
        normal=folded_path,
        source="detail",
        api_filter="exit",
        examples=("/checkout/pay",),
    ),
    _one(
        name="entry_url",
        known=lambda subject: bool(subject.recording.entry) or has_detail(subject),
        type="text",
        meaning="full address of the first page, with its query",
        raw=entry_url,
        clean=text,
        personal=True,
        examples=("*utm_campaign=spring*",),
    ),
    _word(
        "country",
        "two-letter code of the visitor's country",
        api_filter="country",
        examples=("de", "[de, at, ch]"),
    ),
    _word(
        "region",
        "region of the visitor",
        source="detail",
        known=lambda subject: bool(subject.recording.region) or has_detail(subject),
        examples=("Bavaria",),
    ),
    _word("city", "city of the visitor, by the address", examples=("Berlin",)),
    _word("isp", "provider or organisation of the visitor's address", examples=("*telekom*",)),
    _word(
        "ip",
        "the visitor's address, its end may be masked",
        personal=True,
        examples=("213.252.153.*",),
    ),
    _word("lang", "language tag of the visitor's browser", examples=("de*",)),
    _word(
        "browser",
        "browser family",
        api_filter="browser",
        choices=BROWSERS,
        examples=("chrome",),
    ),
    _word("browser_version", "version of the browser", examples=("45.*",)),
    _word(
        "os",
        "operating system family",
        api_filter="os",
        choices=SYSTEMS,
        examples=("windows",),
    ),
    _word("os_version", "version of the operating system", examples=("10",)),
    _word(
        "device",
        "kind of device",
        api_filter="device",
        choices=DEVICES,
        examples=("phone", "[phone, tablet]"),
    ),
    _word(
        "screen",
        "size of the screen, width x height",
        attribute="screen_res",
        api_filter="screenres",
        examples=("1920x1200",),
    ),
    _word("user_agent", "the browser's own description of itself", examples=("*bot*",)),
    _word(
        "referrer",
        "full address of the page that led here; the API cuts long ones",
        personal=True,
        examples=("*google.*",),
    ),
    _word(
        "referrer_type",
        "kind of page that led here",
        normal=referrer_word,
        api_filter="referrer",
        choices=REFERRERS,
        examples=("searchengines", "social"),
    ),
    _word(
        "visitor_id",
        "id of the visitor over all sessions",
        personal=True,
        examples=("7359eec3c0b8b4bb3c2837b1f09fe80d",),
    ),
    _word(
        "visitor_name",
        "name the site has given the visitor",
        changes=True,
        personal=True,
        examples=("{exists: true}",),
    ),
    _one(
        name="visitor_type",
        known=lambda subject: subject.visitor_type is not None,
        type="text",
        meaning="whether the visitor came for the first time; the server judges it",
        raw=attrgetter("visitor_type"),
        source="asked",
        api_filter="visitortype",
        choices=VISITORS,
        examples=("returning",),
    ),
    _one(
        name="tags",
        known=has_detail,
        type="texts",
        meaning="tags of the session or of any of its pages",
        raw=tags,
        clean=filled,
        source="detail",
        api_filter="tags",
        examples=("submit", "{all: [submit, click-rage]}", "{not: internal}"),
        grows=True,
    ),
    _one(
        name="variables",
        changes=True,
        type="variables",
        meaning="variables the site has set, by their names",
        raw=attrgetter("recording.variables"),
        attribute="variables",
        clean=filled,
        api_filter="vars",
        personal=True,
        examples=("{cart-value: {min: 100}}",),
    ),
    _flag(
        "watched",
        "whether the API's user has watched the recording",
        attribute="watched",
        api_filter="watched",
    ),
    _flag(
        "starred",
        "whether the API's user has starred the recording",
        attribute="starred",
        api_filter="star",
    ),
    _flag(
        "shared",
        "whether the recording is public by a link",
        raw=lambda subject: bool(subject.recording.token),
    ),
    _one(
        name="weekday",
        type="text",
        meaning="day the session started, in the account's zone",
        raw=weekday,
        normal=weekday_word,
        choices=WEEKDAYS,
        examples=("[sat, sun]",),
    ),
    _one(
        name="hour",
        type="number",
        meaning="hour the session started, in the account's zone (0-23)",
        raw=hour,
        unit="h",
        examples=("{min: 9, under: 17}",),
    ),
)
