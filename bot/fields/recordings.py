"""The fields of a recording: the API's row, its detail, and what only the server knows."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, get_args
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from bot.domain.subjects import Band, RecordingSubject, Site
from bot.fields.field import (
    FOLLOWS,
    WEEKDAYS,
    ApiFilter,
    AskedBy,
    Field,
    Source,
    TextKind,
    Unusual,
    moment_of,
    moment_text,
)
from bot.fields.normal import (
    folded,
    folded_path,
    host,
    page,
    path,
    referrer_word,
    split_address,
    weekday_word,
)
from mouseflow.filters import Browser, Device, Referrer, System, VisitorType
from mouseflow.models import PageView, Recording

MONDAY_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When the sessions of rule tests start, unless a test gives a weekday or an hour."""

FRICTION_TAGS: Mapping[str, str] = MappingProxyType({
    "click-rage": "rage clicks",
    "click-error": "JavaScript error after a click",
    "dead-click": "clicks without effect",
    "404": "page not found",
    "submit-failure": "form that did not send",
    "speed-browsing": "hurried browsing",
    "bounce": "bounce",
})  # fmt: skip
"""The tags of Mouseflow's friction events (the API document names none), in words."""

_SAMPLE_START = datetime(2026, 3, 2, 12, tzinfo=UTC)


def blank(site: Site) -> RecordingSubject:
    """A recording without any data, whose page views are known to be none."""
    recording = Recording(
        id="recording", created=MONDAY_NOON, last_activity=MONDAY_NOON, page_views=()
    )
    return RecordingSubject(website=site, recording=recording)


def _changed(subject: RecordingSubject, **values: Any) -> RecordingSubject:
    return replace(subject, recording=replace(subject.recording, **values))


# Reading


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The time zone of that name; raises ZoneInfoNotFoundError."""
    return ZoneInfo(name)


def started(subject: RecordingSubject) -> datetime | None:
    """When the session started, in the account's zone; the API's times carry an offset (L738)."""
    created = subject.recording.created
    if created is None or created.tzinfo is None:
        return created  # without an offset it is the account's own time already
    return created.astimezone(zone(subject.zone))


def created(subject: RecordingSubject) -> str | None:
    """When the session started, as `2026-05-01 09:30:00`."""
    start = started(subject)
    return None if start is None else moment_text(start)


def weekday(subject: RecordingSubject) -> str | None:
    """The day the session started, as `mon` to `sun`."""
    start = started(subject)
    return None if start is None else WEEKDAYS[start.weekday()]


def hour(subject: RecordingSubject) -> int | None:
    """The hour the session started, 0 to 23."""
    start = started(subject)
    return None if start is None else start.hour


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
    if first and (not seen or folded(seen[0]) != folded(first)):
        return (first, *seen)
    return seen


def pages_seen(subject: RecordingSubject) -> tuple[str, ...]:
    """The paths that are known to have been seen, in order as far as that is known."""
    return (*journey(subject), *subject.told_pages)


def page_views(subject: RecordingSubject) -> tuple[str, ...]:
    """The paths of the page views in order, without immediate repeats; empty without a detail."""
    paths = [found for view in subject.recording.page_views or () if (found := page_of(view))]
    return tuple(it for it, before in zip(paths, [None, *paths], strict=False) if it != before)


def page_pieces(subject: RecordingSubject) -> Sequence[str | None]:
    """The entry page and the page of every page view, as the API writes them."""
    recording = subject.recording
    found = [recording.entry_page or recording.entry, *subject.told_pages]
    if recording.page_views:
        found += [view.website_page or view.uri for view in recording.page_views]
    return found


def exit_page(subject: RecordingSubject) -> str | None:
    """The last page's path, None unless all pages are known."""
    if not knows_pages(subject):
        return None
    seen = journey(subject)
    return seen[-1] if seen else None


def tags(subject: RecordingSubject) -> tuple[str, ...]:
    """The session's tags and every page's: neither holds all of the other (L929-966)."""
    return tuple(dict.fromkeys(tag_pieces(subject)))


def tag_pieces(subject: RecordingSubject) -> Sequence[str]:
    """The tags of the session and of every page view, with repeats."""
    recording = subject.recording
    if not recording.page_views and not subject.told_tags:
        return recording.tags
    found = [*recording.tags, *subject.told_tags]
    for view in recording.page_views or ():
        if view.tags:
            found += view.tags
    return found


# Writing what a rule's test gives


def _give_friction(subject: RecordingSubject, value: Any) -> RecordingSubject:
    return replace(subject, friction=value if isinstance(value, Band) else Band.exactly(value))


def _give_duration(subject: RecordingSubject, value: float) -> RecordingSubject:
    start = subject.recording.created
    end = None if start is None else start + timedelta(milliseconds=value)
    return _changed(subject, duration=round(value), last_activity=end)


def _give_views(subject: RecordingSubject, rows: Any) -> RecordingSubject:
    """The subject with these page views behind those it has; a figure is their number alone."""
    if isinstance(rows, int | float):
        return _changed(subject, pages=round(rows))
    made = tuple(PAGE.made_item(PageView(), row) for row in rows)
    return _changed(subject, page_views=(*(subject.recording.page_views or ()), *made))


def _address(view: PageView) -> str:
    return view.uri or view.website_page or ""


def view_host(view: PageView) -> str | None:
    """The host in the page's address."""
    return host(_address(view)) or None


def view_query(view: PageView) -> str | None:
    """What follows the ? of the page's address."""
    return split_address(_address(view))[1] or None


def view_fragment(view: PageView) -> str | None:
    """What follows the # of the page's address."""
    return split_address(_address(view))[2] or None


def _giver(read: Callable[[PageView], str | None]) -> Callable[[PageView, str], PageView]:
    """A function that puts a host, a query or a fragment into the page's address."""

    def give(view: PageView, value: str) -> PageView:
        def kept(part: Callable[[PageView], str | None]) -> str:
            return value if part is read else part(view) or ""

        name, query, fragment = kept(view_host), kept(view_query), kept(view_fragment)
        uri = f"https://{name}" if name else ""
        uri += path(view.website_page or view.uri or "/")
        uri += f"?{query}" if query else ""
        uri += f"#{fragment}" if fragment else ""
        made = replace(view, uri=uri)
        if read(made) != value:
            raise ValueError(value)
        return made

    return give


def _give_exit_page(subject: RecordingSubject, value: str) -> RecordingSubject:
    return _give_views(subject, ({"path": value},))


def _give_variables(subject: RecordingSubject, pairs: Any) -> RecordingSubject:
    return _changed(subject, variables=tuple(f"{key}={value}" for key, value in pairs))


def _give_shared(subject: RecordingSubject, value: bool) -> RecordingSubject:
    return _changed(subject, token="T0KEN" if value else None)


def _started_at(subject: RecordingSubject, start: datetime) -> RecordingSubject:
    recording = subject.recording
    length = (recording.last_activity or start) - (recording.created or start)
    return _changed(subject, created=start, last_activity=start + length)


def _give_search(subject: RecordingSubject, values: str | Sequence[str]) -> RecordingSubject:
    texts = (values,) if isinstance(values, str) else tuple(values)
    return replace(subject, found_by=texts)


def _give_created(subject: RecordingSubject, value: str) -> RecordingSubject:
    at = moment_of(value)
    if at is None:
        raise ValueError("write a day or a moment, such as 2026-05-01 09:30")
    zone = (subject.recording.created or MONDAY_NOON).tzinfo
    return _started_at(subject, at.replace(tzinfo=zone))


def _give_weekday(subject: RecordingSubject, value: str) -> RecordingSubject:
    start = subject.recording.created or MONDAY_NOON
    ahead = WEEKDAYS.index(weekday_word(value)) - start.weekday()
    return _started_at(subject, start + timedelta(days=ahead))


def _give_hour(subject: RecordingSubject, value: float) -> RecordingSubject:
    start = subject.recording.created or MONDAY_NOON
    return _started_at(subject, start.replace(hour=min(int(value), 23)))


# The API's filters


def _searched(value: str) -> str | None:
    text = value.strip()
    return None if "*" in text else text or None


def _word(normal: Callable[[str], str], words: Any) -> Callable[[str], str | None]:
    known = get_args(words)
    return lambda value: word if (word := normal(value)) in known else None


def _like(pattern: str) -> Callable[[str], str | None]:
    found = re.compile(pattern)
    return lambda value: value.casefold() if found.fullmatch(value.casefold()) else None


def _page(value: str) -> str | None:
    if any(split_address(value)[1:]) or host(value):
        return None  # the filter would find more than that
    found = folded_path(value)
    # How the API spells other characters is not documented, so it is not asked for them.
    return found if found.isascii() and not set(found) & set("*% ") else None


def _tag(value: str) -> str | None:
    return None if set(value) & set(",*") else value


def _range(
    name: str, take: Callable[[float], Any], nobody: tuple[float, float], *, exact: bool = True
) -> ApiFilter:
    return ApiFilter(name=name, take=take, exact=exact, is_range=True, contrast=nobody)


_NOWHERE = ("/mouseflow-bot-no-page", "/mouseflow-bot-no-other-page")
_NONE = ("mouseflow-bot-none", "mouseflow-bot-no-other")
"""Values that no visitor has."""


def _pages(name: str) -> ApiFilter:
    hint = "write one page, such as /checkout, without a host, a query, * or %"
    return ApiFilter(
        name=name, take=_page, exact=False, pattern="[^*?#]+", hint=hint, contrast=_NOWHERE
    )


_recording = partial(Field, watch="recordings")
_in_row = partial(_recording, source=Source.LIST)
_in_detail = partial(_recording, source=Source.DETAIL)
_part = partial(_in_detail, sample=FOLLOWS)

PAGE = _in_detail(
    name="page",
    type="items",
    meaning="one single page view that meets all of its parts",
    examples=("{path: /checkout*, tags: click-rage}",),
    personal=False,
    known=has_detail,
    raw=attrgetter("recording.page_views"),
    give=_give_views,
    gives_views=True,
    made_of="pages",
    sample=(
        {"path": "/cart", "title": "Cart", "time": 30_000, "engagement": 15_000, "scroll": 70},
        {
            "path": "/checkout/pay",
            "query": "step=2",
            "fragment": "card",
            "host": "myshop.com",
            "title": "Pay",
            "time": 65_000,
            "engagement": 32_500,
            "scroll": 70,
        },
    ),
    grows=True,
    text_name="page_views",
    text_meaning="list of the page views",
    label="on",
    parts=(
        _part(
            name="path",
            type="text",
            meaning="path of the page",
            examples=("/checkout*",),
            personal=False,
            text=TextKind.PATH,
            raw=lambda view: view.website_page or view.uri,
            give=lambda view, value: replace(view, website_page=value),
            names_item=True,
            query_in="page",
        ),
        _part(
            name="query",
            type="text",
            meaning="what follows the ? of the page's address",
            examples=("*coupon=*",),
            personal=True,
            text=TextKind.ADDRESS,
            raw=view_query,
            give=_giver(view_query),
            in_texts=False,
        ),
        _part(
            name="fragment",
            type="text",
            meaning="what follows the # of the page's address",
            examples=("step-2",),
            personal=True,
            text=TextKind.ADDRESS,
            raw=view_fragment,
            give=_giver(view_fragment),
            in_texts=False,
        ),
        _part(
            name="host",
            type="text",
            meaning="host in the page's address, without port",
            examples=("*.myshop.com",),
            personal=False,
            raw=view_host,
            give=_giver(view_host),
            in_texts=False,
        ),
        _part(
            name="title",
            type="text",
            meaning="title of the page",
            examples=("Your cart*",),
            personal=False,
            at="title",
            names_item=True,
        ),
        _part(
            name="time",
            type="duration",
            unit="ms",
            meaning="time between opening and leaving the page",
            examples=("{over: 30s}",),
            personal=False,
            at="visit_time",
            grows=True,
        ),
        _part(
            name="engagement",
            type="duration",
            unit="ms",
            meaning="time of activity on the page",
            examples=("{min: 10s}",),
            personal=False,
            at="engagement_time",
            grows=True,
        ),
        _part(
            name="scroll",
            type="percent",
            unit="%",
            most=100,
            meaning="how far down the page was seen",
            examples=("{under: 25%}",),
            personal=False,
            at="scroll",
            grows=True,
        ),
        _part(
            name="tags",
            type="texts",
            text=TextKind.TAG,
            meaning="tags of the page view, such as click-rage",
            examples=("click-rage",),
            personal=False,
            at="tags",
            grows=True,
            in_words=FRICTION_TAGS.get,
        ),
    ),
)

JOURNEY = _in_detail(
    name="journey",
    type="texts",
    meaning="paths that were seen in this order, others may lie between",
    examples=("[/cart, /checkout*]",),
    personal=False,
    text=TextKind.PATH,
    ordered=True,
    query_in="page",
    known=knows_pages,
    raw=journey,
    give=_give_views,
    gives_views=True,
    made_of="pages",
    sample=FOLLOWS,
    grows=True,
    in_texts=False,
)
"""The field of conditions on the order of pages."""

TAGS = _in_detail(
    name="tags",
    type="texts",
    text=TextKind.TAG,
    meaning="tags of the session or of any of its pages",
    examples=("submit", "{all: [submit, click-rage]}", "{not: internal}"),
    personal=False,
    describes=2,
    known=has_detail,
    raw=tags,
    pieces=tag_pieces,
    give=lambda subject, value: _changed(subject, tags=tuple(value)),
    made_of="pages",
    sample=("click-rage",),
    grows=True,
    api_filter=ApiFilter(name="tags", take=_tag, exact=False, is_list=True, contrast=_NONE),
    label="tag",
    absent_label="no tag",
    in_words=FRICTION_TAGS.get,
)
"""The field whose tests the API's tag filter can decide."""

SAW_PAGE = _in_detail(
    name="saw_page",
    type="texts",
    meaning="path of any page that was seen",
    examples=("/checkout*",),
    personal=False,
    text=TextKind.PATH,
    known=knows_pages,
    raw=pages_seen,
    pieces=page_pieces,
    row_at="entry_page",
    give=_give_views,
    gives_views=True,
    made_of="pages",
    sample=FOLLOWS,
    grows=True,
    api_filter=_pages("funnel"),
    query_in="page",
    text_name="saw",
    told=page_views,
    text_meaning="list of the paths seen, in order; empty where no rule had to ask for them",
    label="saw",
    absent_label="did not see",
)
"""The field whose tests the API's filter for pages seen (`funnel`) can decide."""

RECORDING_FIELDS: tuple[Field, ...] = (
    _in_row(
        name="id",
        type="text",
        meaning="id of the recording",
        personal=False,
        at="recording.id",
        sample="r1",
        in_conditions=False,
    ),
    _recording(
        name="friction",
        type="number",
        meaning="sum of the weights of the session's friction events (a site's average is "
        "well under 1); only the server knows it, as thresholds reached, never as a figure",
        examples=("{min: 2.5}",),
        personal=False,
        describes=1,
        source=Source.SERVER,
        asked_by=AskedBy.THRESHOLD,
        known=lambda subject: friction(subject) is not None,
        raw=friction,
        give=_give_friction,
        sample=Band(2.5, 5),
        grows=True,
        least=float("-inf"),  # a site's own weights may be negative
        unusual=Unusual(
            50,
            "friction-scale",
            "friction is a small sum of event weights, well under 1 on average, not 0-100; "
            "hardly any session gets above 50",
        ),
        of_whole_session=True,
        api_filter=_range("friction", float, (1e6, -1e6), exact=False),
        thresholds=(0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10),
        text_meaning="what is known of the friction; compares as its lower bound",
    ),
    _in_row(
        name="duration",
        type="duration",
        unit="ms",
        meaning="time of activity, not the time from start to end",
        examples=("{over: 60s}",),
        personal=False,
        at="recording.duration",
        give=_give_duration,
        sample=95_000,
        grows=True,
        api_filter=_range("visit", lambda ms: timedelta(milliseconds=ms), (864_000_000, 0)),
        thresholds=(10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_200_000, 1_800_000),
        label="",
    ),
    _in_row(
        name="pages",
        type="number",
        unit="pages",
        meaning="how many pages were seen",
        examples=("{min: 3}",),
        personal=False,
        known=lambda subject: page_count(subject) is not None or has_detail(subject),
        raw=page_count,
        give=_give_views,
        gives_views=True,
        counts="saw_page",
        made_of="pages",
        sample=2,
        grows=True,
        api_filter=_range("pages", round, (1_000_000, 0)),
        thresholds=(1, 2, 3, 5, 8, 12, 20),
    ),
    SAW_PAGE,
    PAGE,
    JOURNEY,
    _in_row(
        name="entry_page",
        type="text",
        meaning="path of the first page",
        examples=("/landing*",),
        personal=False,
        text=TextKind.PATH,
        known=lambda subject: bool(entry(subject)) or has_detail(subject),
        raw=entry,
        row_at="entry_page",
        give=lambda subject, value: _changed(subject, entry_page=value),
        made_of="pages",
        sample="/cart",
        group_as="entry_page",
        count_as="page",
        api_filter=_pages("entry"),
        query_in="entry_url",
    ),
    _in_detail(
        name="exit_page",
        type="text",
        meaning="path of the last page",
        examples=("/checkout/pay",),
        personal=False,
        text=TextKind.PATH,
        known=knows_pages,
        raw=exit_page,
        give=_give_exit_page,
        made_of="pages",
        sample=FOLLOWS,
        changes=True,
        group_as="exit_page",
        api_filter=_pages("exit"),
    ),
    _in_row(
        name="entry_url",
        type="text",
        meaning="full address of the first page, with its query",
        label="first page's address",
        examples=("*utm_campaign=spring*",),
        personal=True,
        text=TextKind.ADDRESS,
        known=lambda subject: bool(subject.recording.entry) or has_detail(subject),
        raw=entry_url,
        give=lambda subject, value: _changed(subject, entry=value),
        sample="https://myshop.com/cart",
    ),
    _in_row(
        name="country",
        type="text",
        meaning="two-letter code of the visitor's country",
        examples=("de", "[de, at, ch]"),
        personal=False,
        describes=6,
        text=TextKind.COUNTRY,
        at="recording.country",
        sample="de",
        group_as="country",
        api_filter=ApiFilter(
            name="country",
            take=_like("[a-z]{2}"),
            pattern="[a-zA-Z]{2}",
            hint="write one country as two letters, such as de",
            contrast=("aq", "bv"),
        ),
    ),
    _in_detail(
        name="region",
        type="text",
        meaning="region of the visitor",
        examples=("Bavaria",),
        personal=False,
        at="recording.region",
        locates=True,
        known=lambda subject: bool(subject.recording.region) or has_detail(subject),
        missing_from_expanded_lists=True,  # (L949)
        sample="Berlin",
        group_as="region",
    ),
    _in_row(
        name="city",
        type="text",
        meaning="city of the visitor, by the address",
        examples=("Berlin",),
        personal=False,
        at="recording.city",
        locates=True,
        sample="Berlin",
        group_as="city",
    ),
    _in_row(
        name="isp",
        type="text",
        meaning="provider or organisation of the visitor's address",
        examples=("*telekom*",),
        personal=True,
        at="recording.isp",
        sample="Example Net",
        group_as="isp",
    ),
    _in_row(
        name="ip",
        type="text",
        meaning="the visitor's IP address, its end may be masked",
        examples=("213.252.153.*",),
        personal=True,
        text=TextKind.IP,
        at="recording.ip",
        sample="192.0.2.7",
        group_as="ip",
    ),
    _in_row(
        name="lang",
        type="text",
        text=TextKind.LANGUAGE,
        meaning="language tag of the visitor's browser",
        examples=("de*",),
        personal=False,
        at="recording.lang",
        sample="de-DE",
    ),
    _in_row(
        name="browser",
        type="text",
        meaning="browser family",
        examples=("chrome",),
        personal=False,
        describes=4,
        at="recording.browser",
        choices=get_args(Browser),
        open_choices=True,
        sample="Safari",
        group_as="browser",
        api_filter=ApiFilter(
            name="browser", take=_word(str.casefold, Browser), contrast=("opera", "edge")
        ),
    ),
    _in_row(
        name="browser_version",
        type="text",
        text=TextKind.VERSION,
        meaning="version of the browser; bounds compare it part by part",
        examples=("45.*", "{under: 100}"),
        personal=False,
        at="recording.browser_version",
        sample="17",
    ),
    _in_row(
        name="os",
        type="text",
        meaning="operating system family",
        examples=("windows",),
        personal=False,
        describes=5,
        at="recording.os",
        choices=get_args(System),
        open_choices=True,
        sample="iOS",
        group_as="os",
        api_filter=ApiFilter(
            name="os",
            take=_word(str.casefold, System),
            contrast=("blackberry os", "windows phone"),
        ),
    ),
    _in_row(
        name="os_version",
        type="text",
        text=TextKind.VERSION,
        meaning="version of the operating system; bounds compare it part by part",
        examples=("10", "{min: 17.4}"),
        personal=False,
        at="recording.os_version",
        sample="17.2",
    ),
    _in_row(
        name="device",
        type="text",
        meaning="kind of device",
        examples=("phone", "[phone, tablet]"),
        personal=False,
        describes=3,
        at="recording.device",
        choices=get_args(Device),
        sample="Phone",
        group_as="device",
        api_filter=ApiFilter(
            name="device", take=_word(str.casefold, Device), contrast=("tablet", "phone")
        ),
    ),
    _in_row(
        name="screen",
        type="text",
        meaning="size of the screen, width x height",
        examples=("1920x1200",),
        personal=False,
        at="recording.screen_res",
        sample="390x844",
        api_filter=ApiFilter(
            name="screenres",
            take=_like("[0-9]+x[0-9]+"),
            pattern="[0-9]+[xX][0-9]+",
            hint="write a screen such as 1280x800",
            contrast=("1x1", "2x2"),
        ),
    ),
    _in_row(
        name="user_agent",
        type="text",
        meaning="the browser's own description of itself",
        examples=("*bot*",),
        personal=True,
        at="recording.user_agent",
        sample="Mozilla/5.0",
    ),
    _in_row(
        name="referrer",
        type="text",
        meaning="full address of the page that led here; the API cuts long ones",
        examples=("*google.*",),
        personal=True,
        text=TextKind.ADDRESS,
        at="recording.referrer",
        sample="https://example.com/",
        group_as="referrer",
    ),
    _in_row(
        name="referrer_type",
        type="text",
        meaning="kind of page that led here",
        examples=("searchengines", "social"),
        personal=False,
        describes=7,
        text=TextKind.REFERRER,
        at="recording.referrer_type",
        choices=get_args(Referrer),
        sample="Search",
        api_filter=ApiFilter(
            name="referrer", take=_word(referrer_word, Referrer), contrast=("email", "social")
        ),
    ),
    _in_row(
        name="visitor_id",
        type="text",
        meaning="id of the visitor over all sessions",
        examples=("7359eec3c0b8b4bb3c2837b1f09fe80d",),
        personal=True,
        at="recording.visitor_id",
        sample="v1",
        group_as="visitor",
    ),
    _in_row(
        name="visitor_name",
        type="text",
        meaning="name the site has given the visitor",
        examples=("{exists: true}",),
        personal=True,
        at="recording.visitor_name",
        sample="Example Visitor",
        changes=True,
        group_as="visitor_name",
    ),
    _recording(
        name="visitor_type",
        type="text",
        meaning="whether the visitor came for the first time; only the server knows it",
        examples=("returning",),
        personal=False,
        source=Source.SERVER,
        asked_by=AskedBy.VISITOR_TYPE,
        known=lambda subject: subject.visitor_type is not None,
        at="visitor_type",
        choices=get_args(VisitorType),
        sample="returning",
        api_filter=ApiFilter(
            name="visitortype",
            take=_word(str.casefold, VisitorType),
            exact=False,
            contrast=("first", "returning"),
        ),
        text_meaning="first or returning",
        in_words={"first": "first visit", "returning": "returning visitor"}.get,
    ),
    TAGS,
    _in_row(
        name="variables",
        type="variables",
        meaning="variables the site has set, by their names",
        examples=("{cart-value: {min: 100}}",),
        personal=True,
        at="recording.variables",
        give=_give_variables,
        sample=(("cart-value", "120"),),
        changes=True,
        api_filter=ApiFilter(name="vars", take=lambda _: None, exact=False, contrast=_NONE),
        text_meaning="custom variables by key: variables['cart-value']",
    ),
    _in_row(
        name="watched",
        type="flag",
        meaning="whether the API's user has watched the recording",
        examples=("true",),
        personal=False,
        at="recording.watched",
        sample=False,
        changes=True,
        api_filter=ApiFilter(name="watched", take=bool, contrast=(True, False)),
    ),
    _in_row(
        name="starred",
        type="flag",
        meaning="whether the API's user has starred the recording",
        examples=("true",),
        personal=False,
        at="recording.starred",
        sample=False,
        changes=True,
        api_filter=ApiFilter(name="star", take=bool, contrast=(True, False)),
    ),
    _in_row(
        name="shared",
        type="flag",
        meaning="whether the recording is public by a link",
        examples=("true",),
        personal=False,
        raw=lambda subject: bool(subject.recording.token),
        give=_give_shared,
        sample=True,
        changes=True,
        in_texts=False,
    ),
    _recording(
        name="search",
        type="texts",
        meaning="the API's free-text search finds the session by one of these texts: in all that "
        "it can filter by, the user agent, IP address, city and region",
        examples=("acme corp", "[acme, globex]"),
        personal=True,
        text=TextKind.SEARCH,
        source=Source.SERVER,
        asked_by=AskedBy.SEARCH,
        known=lambda subject: subject.found_by is not None,
        raw=lambda subject: subject.found_by or (),
        give=_give_search,
        sample=("acme corp",),
        changes=True,
        in_texts=False,
        api_filter=ApiFilter(
            name="search",
            take=_searched,
            exact=False,
            pattern="[^*]+",
            hint="search takes one text, without *: the API looks for it in all that it knows",
            contrast=("mouseflow-bot finds nobody", "mouseflow-bot finds no one"),
        ),
    ),
    _in_row(
        name="started",
        type="moment",
        meaning="when the session began, in the account's zone",
        personal=False,
        at="recording.created",
        sample=_SAMPLE_START,
        in_conditions=False,
    ),
    _in_row(
        name="last_activity",
        type="moment",
        meaning="when the visitor was last active",
        personal=False,
        at="recording.last_activity",
        sample=_SAMPLE_START + timedelta(minutes=2),
        in_conditions=False,
    ),
    _in_row(
        name="created",
        type="text",
        meaning="when the session started, in the account's zone",
        examples=("{after: 2026-05-01, before: 2026-05-11 18:00}",),
        personal=False,
        text=TextKind.MOMENT,
        raw=created,
        give=_give_created,
        sample=FOLLOWS,
        in_texts=False,
    ),
    _in_row(
        name="weekday",
        type="text",
        meaning="day the session started, in the account's zone",
        examples=("[sat, sun]",),
        personal=False,
        text=TextKind.WEEKDAY,
        raw=weekday,
        give=_give_weekday,
        choices=WEEKDAYS,
        sample=FOLLOWS,
        in_texts=False,
    ),
    _in_row(
        name="hour",
        type="number",
        unit="h",
        most=23,
        meaning="hour the session started, in the account's zone (0-23)",
        examples=("{min: 9, under: 17}",),
        personal=False,
        raw=hour,
        give=_give_hour,
        sample=FOLLOWS,
        in_texts=False,
    ),
)
