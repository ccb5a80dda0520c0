"""Recordings of visitors' sessions: list, detail, and what can be done to one of them."""

from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mouseflow import decode
from mouseflow.decode import Id, Rows, days
from mouseflow.errors import BadAnswer
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording, RecordingPage
from mouseflow.request import Pairs, Request, json_body, number, place

_ALL = "/websites/{website-id}/recordings"
_ONE = "/websites/{website-id}/recordings/{recording-id}"


def list(
    website: str,
    filters: SessionFilters | None = None,
    *,
    limit: int | None = None,
    offset: int | None = None,
    expand: bool = False,
    brief: bool = False,
    only: Set[str] | None = None,
) -> Request[RecordingPage]:
    """The latest recordings that match (L813); `limit` rows of them, 50 if not said (L855).

    Of a long answer not all may be wanted: `brief` keeps of each row its id and its times,
    `only` the rows with these ids.

    Undocumented, and ignored by a server that does not know them: `offset` skips rows,
    `expand` puts the page views into each row, `limit=0` only counts. Probe before use
    (`mouseflow.paging`).
    """
    query: Pairs = filters.pairs() if filters else ()
    query += number("limit", limit) + number("offset", offset)
    if expand:
        query += (("expand", "true"),)
    path = place(_ALL, website_id=website)
    return Request("GET", path, f"GET {_ALL}", _reader(brief, only), query)


def detail(website: str, recording: str) -> Request[Recording]:
    """One recording with its page views (L981)."""
    return Request("GET", _path(website, recording), f"GET {_ONE}", decode.one(Recording))


def star(website: str, recording: str) -> Request[None]:
    """Stars the recording for the API user (L1082). Repeatable: a star is there or not."""
    return _act("POST", website, recording, "/star")


def unstar(website: str, recording: str) -> Request[None]:
    """Takes the API user's star away (L1138). Repeatable."""
    return _act("DELETE", website, recording, "/star")


def tags(website: str, *, limit: int | None = None) -> Request[Rows[str]]:
    """The tags used on the website (L1205). The list may be cut: the default limit is unknown."""
    return _names(website, "/tags", limit)


def tag(website: str, recording: str, tag: str) -> Request[None]:
    """Puts a tag on the recording (L1268). Repeatable: a tag is there or not.

    Raises ValueError for a tag that could not be filtered by: empty, or with a comma (L4372).
    """
    return _act("POST", website, recording, "/tag", _tag(tag))


def untag(website: str, recording: str, tag: str) -> Request[None]:
    """Takes a tag off the recording (L1322). Repeatable."""
    return _act("DELETE", website, recording, "/tag", _tag(tag))


def variables(website: str, *, limit: int | None = None) -> Request[Rows[str]]:
    """The variable keys used on the website (L1387); may be cut, as `tags`."""
    return _names(website, "/variables", limit)


def edit_variables(
    website: str, recording: str, values: Mapping[str, str | int | float]
) -> Request[None]:
    """Sets custom variables of one recording; an empty string removes one (L1451-1461).

    Whether variables that are not named stay is not said: read the recording again to be
    sure. Repeatable: it sets. Raises ValueError for a key that is empty or has a "=", which
    is how a recording shows its variables.
    """
    wrong = [key for key in values if not key or "=" in key]
    if wrong or not values:
        raise ValueError(f"not a variable's key: {wrong[0]!r}" if wrong else "no variables")
    return _act("PUT", website, recording, "/variables", body=json_body(values))


def share(website: str, recording: str) -> Request[str]:
    """Makes the recording public and gives its token (L1515, L1573).

    Not repeatable: a second share may replace the token of the first. Look at the
    recording's `token` instead.
    """
    path = _path(website, recording) + "/share"
    return Request("POST", path, f"POST {_ONE}/share", decode.token, repeatable=False)


def unshare(website: str, recording: str) -> Request[None]:
    """Ends the sharing (L1577). Repeatable."""
    return _act("DELETE", website, recording, "/share")


def watch(website: str, recording: str) -> Request[None]:
    """Marks the recording as watched by the API user (L1685). Repeatable."""
    return _act("POST", website, recording, "/watched")


def unwatch(website: str, recording: str) -> Request[None]:
    """Marks the recording as not watched by the API user (L1689). Repeatable."""
    return _act("DELETE", website, recording, "/watched")


def delete(website: str, recording: str) -> Request[None]:
    """Deletes the recording for good (L1745). Repeatable: deleted once, it answers 404 or 410."""
    return _act("DELETE", website, recording, "")


def bulk_tag(website: str, tag: str, recordings: Sequence[str]) -> Request[None]:
    """Undocumented: tags many recordings in one call. Repeatable, as `tag`."""
    return _bulk("POST", website, tag, recordings)


def bulk_untag(website: str, tag: str, recordings: Sequence[str]) -> Request[None]:
    """Undocumented: takes a tag off many recordings in one call. Repeatable."""
    return _bulk("DELETE", website, tag, recordings)


class _Page(Struct):
    count: int
    recordings: tuple[Recording, ...] | None = None
    chart: dict[str, int] | None = None


class _RawPage(Struct):
    count: float
    recordings: tuple[Raw, ...] | None = None
    chart: Any = None


class _Times(Struct, rename="camel", gc=False):
    id: Id
    created: datetime | None = None
    last_activity: datetime | None = None


class _BriefPage(Struct):
    count: int
    recordings: tuple[_Times, ...] | None = None
    chart: dict[str, int] | None = None


_fast = msgspec.json.Decoder(_Page)
_brief = msgspec.json.Decoder(_BriefPage)
_slow = msgspec.json.Decoder(_RawPage)
_times = msgspec.json.Decoder(_Times)


def _reader(brief: bool, only: Set[str] | None) -> Callable[[bytes], RecordingPage]:
    if only is not None:
        return partial(_page_of, ids=only)
    return _brief_page if brief else _page


def _brief_page(body: bytes) -> RecordingPage:
    try:
        page = decode.decode(body, _brief)
    except msgspec.ValidationError:
        return _page(body)
    rows = tuple(
        Recording(id=row.id, created=row.created, last_activity=row.last_activity)
        for row in page.recordings or ()
    )
    return RecordingPage(recordings=rows, chart=days(page.chart or {}), count=page.count)


def _page_of(body: bytes, ids: Set[str]) -> RecordingPage:
    return _page_row_by_row(body, lambda raw: _id(raw) in ids)


def _id(raw: Raw) -> str | None:
    try:
        return decode.decode(raw, _times).id
    except (msgspec.ValidationError, BadAnswer):
        return None


def _page(body: bytes) -> RecordingPage:
    try:
        page = decode.decode(body, _fast)
    except msgspec.ValidationError:
        return _page_row_by_row(body)
    return RecordingPage(
        recordings=page.recordings or (), chart=days(page.chart or {}), count=page.count
    )


def _page_row_by_row(
    body: bytes, wanted: Callable[[Raw], bool] = lambda _raw: True
) -> RecordingPage:
    try:
        page = decode.decode(body, _slow)
    except msgspec.ValidationError as wrong:
        raise BadAnswer(f"an answer of another shape: {wrong}") from None
    raws = [raw for raw in page.recordings or () if wanted(raw)]
    good, bad = decode.row_by_row(raws, Recording)
    chart = page.chart if isinstance(page.chart, dict) else {}
    counts = {key: round(n) for key, n in chart.items() if isinstance(n, int | float)}
    return RecordingPage(
        recordings=good, chart=days(counts), count=round(page.count), unreadable=bad
    )


def _names(website: str, tail: str, limit: int | None) -> Request[Rows[str]]:
    path = place(_ALL, website_id=website) + tail
    return Request("GET", path, f"GET {_ALL}{tail}", decode.strings, number("limit", limit))


def _act(
    method: str,
    website: str,
    recording: str,
    tail: str,
    query: Pairs = (),
    body: bytes | None = None,
) -> Request[None]:
    path = _path(website, recording) + tail
    return Request(method, path, f"{method} {_ONE}{tail}", decode.nothing, query, body)


def _bulk(method: str, website: str, tag: str, recordings: Sequence[str]) -> Request[None]:
    path = place(_ALL, website_id=website) + "/bulktag"
    body = json_body(tuple(recordings))
    return Request(method, path, f"{method} {_ALL}/bulktag", decode.nothing, _tag(tag), body)


def _tag(tag: str) -> Pairs:
    if not tag.strip() or "," in tag:
        raise ValueError(f"not a tag: {tag!r}; a tag is not empty and has no comma")
    return (("tag", tag),)


def _path(website: str, recording: str) -> str:
    return place(_ONE, website_id=website, recording_id=recording)
