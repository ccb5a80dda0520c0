"""What a recording's fields are read from: its row, its detail, and the facts that were asked."""

from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from bot.mouseflow.models import PageView
from bot.rulebook.fields import page
from bot.subjects import Band, RecordingSubject

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
