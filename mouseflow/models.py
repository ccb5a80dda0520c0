"""The API's answers as models, with Python names.

Every field except the id is optional: the API omits what it does not have (`token`,
`visitorName`) and sends empty strings for what it does not know (`region`). Both read as
None, and so does a value that cannot be read, which `bad_values` names. Unknown keys are
ignored. `L123` is a line of the API document.
"""

from datetime import date, datetime
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from mouseflow.decode import (
    LONGEST_ID,
    Answer,
    BadValue,
    Id,
    Int,
    Unreadable,
    check_date,
    days,
    to_dict,
)


class PageView(Answer, frozen=True, gc=False, rename="camel", kw_only=True):
    """One page of a session, from the recording's detail (L916-945).

    `visit_time` and `engagement_time` are in milliseconds, `scroll` in percent of the page
    (the document describes these rows wrongly: L1017-1025). `website_page` is the normalised
    path, `uri` the full URL.
    """

    id: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    title: str | None = None
    uri: str | None = None
    website_page: str | None = None
    visit_time: Int | None = None
    engagement_time: Int | None = None
    scroll: Int | None = None
    tags: tuple[str, ...] = ()


class Recording(Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """A row of the recordings list (L737-770) or a recording's detail (L913-977).

    `duration` is milliseconds of activity, not the time from start to end; it may be more or
    less than that. `page_views` is None in a list row and set in a detail; `pages`, `entry`,
    `entry_page` and `playback_url` are None in a detail, `region` in a list row. `variables`
    are `key=value` texts, keys may repeat. `starred` and `watched` are those of the API user
    (L842). `token` is set while the recording is shared (L819): it opens the session to
    anyone.

    `friction`, `friction_score` and `engagement_time` (ms) are undocumented and kept in case
    an answer has them. `language` is another name for `lang` (L997).
    """

    id: Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]  # no pattern, for speed
    token: str | None = None
    created: datetime | None = None
    last_activity: datetime | None = None
    duration: Int | None = None
    pages: Int | None = None
    country: str | None = None
    region: str | None = None
    city: str | None = None
    isp: str | None = None
    ip: str | None = None
    lang: str | None = None
    user_agent: str | None = None
    browser: str | None = None
    browser_version: str | None = None
    os: str | None = None
    os_version: str | None = None
    device: str | None = None
    referrer: str | None = None
    referrer_type: str | None = None
    screen_res: str | None = None
    entry: str | None = None
    entry_page: str | None = None
    tags: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    watched: bool | None = None
    starred: bool | None = None
    lng: float | None = None
    lat: float | None = None
    visitor_id: str | None = None
    visitor_name: str | None = None
    playback_url: str | None = None
    page_views: tuple[PageView, ...] | None = None
    friction: float | None = None
    friction_score: float | None = None
    engagement_time: Int | None = None
    language: str | None = None
    bad_values: tuple[BadValue, ...] = msgspec.field(default=(), name="bad values")

    def __post_init__(self) -> None:
        # The hot path of the client: one C call and one scan for a row without empty strings.
        texts = _texts(self)
        if "" in texts:
            at = -1
            for _ in range(texts.count("")):
                at = texts.index("", at + 1)
                force_setattr(self, _TEXTS[at], None)
        if texts[-1] and not self.lang:
            force_setattr(self, "lang", texts[-1])
        if texts[0] in _NOT_IN_PATHS:
            raise ValueError("not an id")
        if self.created is not None:
            check_date(self.created)
        if self.last_activity is not None:
            check_date(self.last_activity)

    def to_dict(self) -> dict[str, Any]:
        """The values under their Python names, page views as dictionaries too."""
        return to_dict(self)

    @property
    def variable_values(self) -> dict[str, str]:
        """The custom variables by key; of a key that repeats, the last value."""
        pairs = (text.partition("=") for text in self.variables)
        return {key: value for key, _, value in pairs}


_NOT_IN_PATHS = (".", "..")
_TEXTS = (
    "id",
    *(name for name, kind in Recording.__annotations__.items() if kind == str | None),
)
assert _TEXTS[-1] == "language"  # noqa: S101 - __post_init__ counts on it
_texts = attrgetter(*_TEXTS)


class RecordingPage(Struct, frozen=True, kw_only=True):
    """One answer of the recordings list (L733-809).

    `count` is how many recordings match the filters, whatever the limit (L850); compare
    `recordings` with it. `chart` is the same per day. `unreadable` names the rows that could
    not be decoded, `bad_values` entries of the chart. The order is not by `created` (L738, L773).
    """

    recordings: tuple[Recording, ...]
    chart: dict[date, int]
    count: int
    unreadable: tuple[Unreadable, ...] = ()
    bad_values: tuple[BadValue, ...] = ()


class Status(StrEnum):
    """What `Website.status` may be; compares equal to the API's text."""

    NOT_INSTALLED = "NotInstalled"
    RECORDING = "Recording"
    STOPPED = "Stopped"
    PAUSED = "Paused"


class DeviceType(StrEnum):
    """What `Recording.device` may be; the filter's values are lower case."""

    DESKTOP = "Desktop"
    TABLET = "Tablet"
    PHONE = "Phone"


class ReferrerType(StrEnum):
    """What `Recording.referrer_type` may be; `REFERRER_OF` has the filter's values."""

    SEARCH = "Search"
    SOCIAL = "Social"
    EMAIL = "Email"
    LINK = "Link"
    DIRECT = "Direct"


class Website(Answer, frozen=True, kw_only=True, rename="camel"):
    """A row of the websites list (L113-134, L141-151).

    `status` is NotInstalled, Recording, Stopped (by a person) or Paused (out of credits; it
    resumes automatically). `created` has no time zone. `read_only` is about the API user.
    """

    id: Id
    name: str | None = None
    created: datetime | None = None
    status: str | None = None
    thumb: str | None = None
    read_only: bool | None = None
    cdn_domain_name: str | None = None
    is_demo: bool | None = None


class WebsiteDetail(Website, frozen=True, kw_only=True, rename="camel"):
    """One website with its settings (L273-303, L309-329), or a new one (L406-422).

    `recording_rate` is the percentage of sessions, 100 for all (L319; the "1" of L667 is an
    error). `width` is documented as a String, and a number in the sample (L291, L321).
    """

    domains: tuple[str, ...] = ()
    recording_rate: Int | None = None
    alignment: str | None = None
    width: Int | str | None = None
    page_identifiers: tuple[str, ...] = ()
    encoding: str | None = None
    anonymize_ips: bool | None = None
    disable_keystrokes: bool | None = None
    excluded_ips: tuple[str, ...] = ()
    merge_urls: tuple[str, ...] = ()


class HeatmapPage(Answer, frozen=True, kw_only=True, rename="camel"):
    """A page with its visitors' statistics (L1805-1819, L1852-1864).

    `display_url` is the path that identifies the page; a page's detail omits it (L1920-1933)
    and the client fills it in. Averages over the views: `visit_time`, `engagement_time` and
    `render_time` in ms, `scroll` in percent, `fold` and `height` in pixels, `size` in bytes.
    `token` is set while the heatmap is shared.
    """

    display_url: str | None = None
    uri: str | None = None
    token: str | None = None
    title: str | None = None
    views: Int | None = None
    visit_time: Int | None = None
    engagement_time: Int | None = None
    clicks: Int | None = None
    render_time: Int | None = None
    scroll: Int | None = None
    fold: Int | None = None
    height: Int | None = None
    size: Int | None = None


class HeatmapPages(Struct, frozen=True, kw_only=True):
    """The page list (L1803-1836); `count` is the number of pages, whatever the limit."""

    pages: tuple[HeatmapPage, ...]
    count: int
    unreadable: tuple[Unreadable, ...] = ()


class PageUrls(Struct, frozen=True, kw_only=True):
    """The list of display URLs (L2017-2029); `count` is their total number."""

    urls: tuple[str, ...]
    count: int
    unreadable: tuple[Unreadable, ...] = ()


class FunnelStep(Answer, frozen=True, kw_only=True, rename="camel"):
    """One step of a funnel and how many visitors reached it (L2222-2226)."""

    name: str | None = None
    url: str | None = None
    count: Int | None = None


class Funnel(Answer, frozen=True, kw_only=True, rename="camel"):
    """A funnel; list and report have the same shape (L2218-2233, L2320-2335)."""

    funnel_id: Id
    name: str | None = None
    steps: tuple[FunnelStep, ...] = ()

    @property
    def id(self) -> str:
        """The funnel's id, as paths call it."""
        return self.funnel_id


class FormField(Answer, frozen=True, kw_only=True, rename="camel"):
    """One field of a form (L2661-2666, L2802-2812).

    Only the report has `start_time` and `duration` (averages in ms, the start counted from
    the start of the page view), `refills`, `blanks` (submitted empty) and `dropped` (visitors
    who left just before this field). A new form has neither `type` nor counters (L3071-3084).
    """

    target: str | None = None
    alias: str | None = None
    type: str | None = None
    interactions: Int | None = None
    start_time: Int | None = None
    duration: Int | None = None
    refills: Int | None = None
    blanks: Int | None = None
    dropped: Int | None = None


class Form(Answer, frozen=True, kw_only=True, rename="camel"):
    """A form with its counts of visitors and submits (L2655-2690, L2728-2740)."""

    form_id: Id
    url: str | None = None
    target: str | None = None
    alias: str | None = None
    fields: tuple[FormField, ...] = ()
    visits: Int | None = None
    interactions: Int | None = None
    submits: Int | None = None
    success: Int | None = None

    @property
    def id(self) -> str:
        """The form's id, as paths call it."""
        return self.form_id


class AvailableForm(Answer, frozen=True, kw_only=True, rename="camel"):
    """A form found on a page that is not tracked yet (L2938-2963)."""

    target: str | None = None
    fields: tuple[FormField, ...] = ()


class PageRule(Answer, frozen=True, kw_only=True, rename="camel"):
    """On which pages a campaign shows (L3326-3334): startsWith, equals, regex... and a value."""

    type: str | None = None
    value: str | None = None


class Segment(Answer, frozen=True, kw_only=True, rename="camel"):
    """To which visitors a campaign shows (L3336-3344): language, visitorType or device; a value."""

    type: str | None = None
    value: str | None = None


class Choice(Answer, frozen=True, kw_only=True, rename="camel"):
    """An answer of a radio step (L3352-3361); `skip_to` may name a step that does not exist."""

    answer_id: str | None = None
    value: str | None = None
    skip_to: str | None = None


class CampaignStep(Answer, frozen=True, kw_only=True, rename="camel"):
    """One step of the widget (L3347-3372): radio, text, textarea, success or nps."""

    step_id: str | None = None
    type: str | None = None
    text: str | None = None
    button_text: str | None = None
    randomize: bool | None = None
    answers: tuple[Choice, ...] = ()


class Report(Answer, frozen=True, kw_only=True, rename="camel"):
    """A campaign's counters (L3374-3382). Total and chart may disagree: use `responses`."""

    impressions: Int | None = None
    responses: Int | None = None
    response_chart: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def by_day(self) -> dict[date, int]:
        """Responses per day, from keys such as `2018-12-25T00:00:00`."""
        return days(self.response_chart)


class Campaign(Answer, frozen=True, kw_only=True, rename="camel"):
    """A feedback campaign (L3313-3427, L3437-3455).

    The API has no individual responses, only the counters of `report`. Paths call the id
    `feedback-id`, answers call it `campaignId`. `trigger_value` is as the API sends it:
    seconds, percent or milliseconds (L3320 contradicts L3445). `notification` is an email or
    a URL, and only in a detail (L3638).
    """

    campaign_id: Id
    name: str | None = None
    enabled: bool | None = None
    show_branding: bool | None = None
    trigger_type: str | None = None
    trigger_value: Int | str | None = None
    screen_position: str | None = None
    background_color: str | None = None
    foreground_color: str | None = None
    scope: str | None = None
    start_minimized: bool | None = None
    can_be_discarded: bool | None = None
    page_rules: tuple[PageRule, ...] = ()
    segments: tuple[Segment, ...] = ()
    steps: tuple[CampaignStep, ...] = ()
    report: Report | None = None
    is_locked: bool | None = None
    notification: str | None = None

    @property
    def id(self) -> str:
        """The campaign's id, as paths call it."""
        return self.campaign_id
