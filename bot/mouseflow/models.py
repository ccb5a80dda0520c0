"""What the API answers, in Python's names.

Every field but the id is optional: the API leaves out what it does not have
(`token`, `visitorName`) and sends empty strings for what it does not know (`region`).
Both read as None. Unknown keys are ignored. `L123` is a line of the vendor's document.
"""

from datetime import datetime

from msgspec import Struct


class PageView(Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """One page of a session, from the recording's detail (L916-945).

    `visit_time` and `engagement_time` are milliseconds, `scroll` is percent of the page
    (the document's own descriptions of these rows are wrong: L1017-1025).
    `website_page` is the normalised path, `uri` the full address.
    """

    id: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    title: str | None = None
    uri: str | None = None
    website_page: str | None = None
    visit_time: int | None = None
    engagement_time: int | None = None
    scroll: int | None = None
    tags: tuple[str, ...] = ()


class Recording(Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """A row of the recordings list (L737-770) or a recording's detail (L913-977).

    `duration` is milliseconds of activity, not the time from start to end. `page_views` is
    None in a list row and filled in a detail. `variables` are `key=value` texts, keys may
    repeat. `starred` and `watched` speak of the API user alone (L842). `friction` is
    documented nowhere and kept only in case an answer has it.
    """

    id: str
    token: str | None = None
    created: datetime | None = None
    last_activity: datetime | None = None
    duration: int | None = None
    pages: int | None = None
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
