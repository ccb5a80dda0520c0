"""Recordings of visitors' sessions: list, detail, and what can be done to one of them."""

from collections.abc import Callable, Generator, Mapping, Sequence, Set
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mouseflow import decode
from mouseflow.arguments import number, plain, text, texts
from mouseflow.decode import Id, Int, Rows, Unreadable, days
from mouseflow.errors import BadAnswer
from mouseflow.filters import SessionFilters, session_pairs
from mouseflow.models import Recording, RecordingPage
from mouseflow.request import Pairs, Request, build, integer_pair

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
    """The latest recordings that match, up to `limit` rows, 50 by default.

    To decode less of a long answer: `brief` keeps only each row's id and times, `only` keeps
    only the rows with these ids.

    Undocumented, and ignored by a server that does not know them: `offset` skips rows,
    `expand` adds the page views to each row, `limit=0` only counts. Probe before use
    (`paging.probe_offset`).

    >>> page = api.send(recordings.list(site, SessionFilters(device="phone"), limit=100))
    """
    # The API document, L813, L855.
    query = session_pairs(filters) + integer_pair("limit", limit) + integer_pair("offset", offset)
    if expand:
        query += (("expand", "true"),)
    pieces = None if only is not None else _brief_in_pieces if brief else _page_in_pieces
    return build(
        "GET", _ALL, _page_reader(brief, only), query=query, in_pieces=pieces, website_id=website
    )


def detail(website: str, recording: str) -> Request[Recording]:
    """One recording with its page views.

    >>> views = api.send(recordings.detail(site, recording)).page_views or ()
    >>> paths = [view.website_page for view in views]
    """
    # The API document, L981.
    return build("GET", _ONE, decode.one(Recording), website_id=website, recording_id=recording)


def star(website: str, recording: str) -> Request[None]:
    """Star the recording for the API user. Repeatable.

    >>> api.send(recordings.star(site, recording))
    """
    # The API document, L1082.
    return _write("POST", "/star", website, recording)


def unstar(website: str, recording: str) -> Request[None]:
    """Remove the API user's star. Repeatable.

    >>> api.send(recordings.unstar(site, recording))
    """
    # The API document, L1138.
    return _write("DELETE", "/star", website, recording)


def tags(website: str, *, limit: int | None = None) -> Request[Rows[str]]:
    """The tags used on the website. May be truncated: the default limit is unknown.

    >>> known = set(api.send(recordings.tags(site, limit=1_000)))
    """
    # The API document, L1205.
    return _names("/tags", website, limit)


def tag(website: str, recording: str, tag: str) -> Request[None]:
    """Add a tag to the recording. Repeatable.

    Raises ValueError for a tag that cannot be filtered by: empty, or with a comma.

    >>> api.send(recordings.tag(site, recording, "checked"))
    """
    # The API document, L1268, L4372.
    return _write("POST", "/tag", website, recording, query=_tag(tag))


def untag(website: str, recording: str, tag: str) -> Request[None]:
    """Remove a tag from the recording. Repeatable.

    >>> api.send(recordings.untag(site, recording, "checked"))
    """
    # The API document, L1322.
    return _write("DELETE", "/tag", website, recording, query=_tag(tag))


def variables(website: str, *, limit: int | None = None) -> Request[Rows[str]]:
    """The variable keys used on the website. May be truncated, like `tags`.

    >>> keys = set(api.send(recordings.variables(site, limit=1_000)))
    """
    # The API document, L1387.
    return _names("/variables", website, limit)


def edit_variables(
    website: str, recording: str, values: Mapping[str, str | int | float]
) -> Request[None]:
    """Set custom variables of one recording; an empty string removes one.

    The document does not say whether variables that are not named stay: read the recording
    again to be sure. Repeatable: it sets values. Raises ValueError for a key that is empty or
    contains "=", which is how a recording lists its variables.

    >>> api.send(recordings.edit_variables(site, recording, {"plan": "pro", "coupon": ""}))
    """
    # The API document, L1451-1461.
    if not isinstance(values, Mapping) or not values:
        raise ValueError("variables: expected a dictionary that is not empty")
    body = {}
    for key, value in values.items():
        if "=" in text("a variable's key", key):
            raise ValueError(f"not a variable's key: {key!r}")
        body[key] = value if isinstance(value, str) else _number(f"variable {key}", value)
    return _write("PUT", "/variables", website, recording, body=body)


def share(website: str, recording: str) -> Request[str]:
    """Make the recording public; returns its token.

    Not repeatable: a second share may replace the token of the first. Read the recording's
    `token` instead.

    >>> token = api.send(recordings.share(site, recording))
    """
    # The API document, L1515, L1573.
    return build(
        "POST", f"{_ONE}/share", decode.token,
        repeatable=False, website_id=website, recording_id=recording,
    )  # fmt: skip


def unshare(website: str, recording: str) -> Request[None]:
    """Make the recording private again. Repeatable.

    >>> api.send(recordings.unshare(site, recording))
    """
    # The API document, L1577.
    return _write("DELETE", "/share", website, recording)


def watch(website: str, recording: str) -> Request[None]:
    """Mark the recording as watched by the API user. Repeatable.

    >>> api.send(recordings.watch(site, recording))
    """
    # The API document, L1685.
    return _write("POST", "/watched", website, recording)


def unwatch(website: str, recording: str) -> Request[None]:
    """Mark the recording as not watched by the API user. Repeatable.

    >>> api.send(recordings.unwatch(site, recording))
    """
    # The API document, L1689.
    return _write("DELETE", "/watched", website, recording)


def delete(website: str, recording: str) -> Request[None]:
    """Delete the recording for good. Repeatable: the second time answers 404 or 410.

    >>> api.send(recordings.delete(site, recording))
    """
    # The API document, L1745.
    return _write("DELETE", "", website, recording)


def bulk_tag(website: str, tag: str, recordings: Sequence[str]) -> Request[None]:
    """Undocumented: add a tag to many recordings in one call. Repeatable.

    >>> api.send(recordings.bulk_tag(site, "checked", [recording]))
    """
    return _bulk("POST", website, tag, recordings)


def bulk_untag(website: str, tag: str, recordings: Sequence[str]) -> Request[None]:
    """Undocumented: remove a tag from many recordings in one call. Repeatable.

    >>> api.send(recordings.bulk_untag(site, "checked", [recording]))
    """
    return _bulk("DELETE", website, tag, recordings)


class _Page(Struct):
    count: Int
    recordings: tuple[Recording, ...] | None = None
    chart: dict[str, int] | None = None


class _RawPage(Struct):
    count: Any
    recordings: tuple[Raw, ...] | None = None
    chart: Any = None


class _Times(Struct, rename="camel", gc=False):
    id: Id
    created: datetime | None = None
    last_activity: datetime | None = None


class _BriefPage(Struct):
    count: Int
    recordings: tuple[_Times, ...] | None = None
    chart: dict[str, int] | None = None


_page_decoder = msgspec.json.Decoder(_Page)
_brief_decoder = msgspec.json.Decoder(_BriefPage)
_times_decoder = msgspec.json.Decoder(_Times)
_raw_decoder = msgspec.json.Decoder(_RawPage)
_rows_decoder = msgspec.json.Decoder(tuple[Recording, ...])
_times_rows_decoder = msgspec.json.Decoder(tuple[_Times, ...])

AT_ONCE = 500
"""Rows that are decoded in one piece: some milliseconds."""


def _page_reader(brief: bool, only: Set[str] | None) -> Callable[[bytes], RecordingPage]:
    if only is not None:
        return partial(_read_only, ids=only)
    return _read_brief_page if brief else _read_page


def _read_page(body: bytes) -> RecordingPage:
    try:
        page = decode.decode(body, _page_decoder)
    except msgspec.ValidationError:
        return _read_row_by_row(body)
    return RecordingPage(
        recordings=page.recordings or (), chart=days(page.chart or {}), count=page.count
    )


def _read_brief_page(body: bytes) -> RecordingPage:
    try:
        page = decode.decode(body, _brief_decoder)
    except msgspec.ValidationError:
        return _read_page(body)
    try:
        rows = tuple(map(_brief, page.recordings or ()))
    except ValueError:  # an id that cannot be one
        return _read_page(body)
    return RecordingPage(recordings=rows, chart=days(page.chart or {}), count=page.count)


def _page_in_pieces(body: bytes) -> Generator[None, None, RecordingPage]:
    """What `_read_page` returns."""
    try:
        page = _raw_decoder.decode(body)
    except decode.MALFORMED:
        return _read_page(body)
    raws, strict = page.recordings or (), True
    found: tuple[Recording, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    for start in range(0, len(raws), AT_ONCE):
        yield
        some = raws[start : start + AT_ONCE]
        try:
            found += _rows_decoder.decode(_joined(some)) if strict else ()
        except msgspec.ValidationError:
            strict = False
        except decode.MALFORMED:
            return _read_page(body)
        if not strict:
            good, bad = decode.row_by_row(some, Recording, first=start)
            found, unreadable = found + good, unreadable + bad
    yield
    try:
        if strict:
            count = msgspec.convert(page.count, Int)
            by_day = msgspec.convert(page.chart, dict[str, int] | None)
            return RecordingPage(recordings=found, chart=days(by_day or {}), count=count)
    except msgspec.ValidationError:
        pass
    chart, bad_values = decode.chart(page.chart)
    return RecordingPage(
        recordings=found,
        chart=chart,
        count=decode.count(page.count),
        unreadable=unreadable,
        bad_values=bad_values,
    )


def _brief_in_pieces(body: bytes) -> Generator[None, None, RecordingPage]:
    """What `_read_brief_page` returns."""
    rows: tuple[Recording, ...] = ()
    try:
        page = _raw_decoder.decode(body)
        count = msgspec.convert(page.count, Int)
        by_day = msgspec.convert(page.chart, dict[str, int] | None)
        raws = page.recordings or ()
        for start in range(0, len(raws), AT_ONCE):
            yield
            some = _times_rows_decoder.decode(_joined(raws[start : start + AT_ONCE]))
            rows += tuple(map(_brief, some))
    except msgspec.ValidationError:
        return (yield from _page_in_pieces(body))
    except decode.MALFORMED:
        return _read_brief_page(body)
    except ValueError:  # an id that cannot be one
        return (yield from _page_in_pieces(body))
    return RecordingPage(recordings=rows, chart=days(by_day or {}), count=count)


def _brief(row: _Times) -> Recording:
    return Recording(id=row.id, created=row.created, last_activity=row.last_activity)


def _joined(raws: Sequence[Raw]) -> bytes:
    return b"[" + b",".join(raws) + b"]"


def _read_only(body: bytes, ids: Set[str]) -> RecordingPage:
    return _read_row_by_row(body, lambda raw: _id(raw) in ids)


def _read_row_by_row(body: bytes, keep: Callable[[Raw], bool] = lambda _raw: True) -> RecordingPage:
    page = decode.exactly(body, _RawPage)
    raws = [raw for raw in page.recordings or () if keep(raw)]
    good, bad = decode.row_by_row(raws, Recording)
    chart, bad_values = decode.chart(page.chart)
    return RecordingPage(
        recordings=good,
        chart=chart,
        count=decode.count(page.count),
        unreadable=bad,
        bad_values=bad_values,
    )


def _id(raw: Raw) -> str | None:
    try:
        return decode.decode(raw, _times_decoder).id
    except (msgspec.ValidationError, BadAnswer):
        return None


def _names(tail: str, website: str, limit: int | None) -> Request[Rows[str]]:
    query = integer_pair("limit", limit)
    return build("GET", _ALL + tail, decode.strings, query=query, website_id=website)


def _write(
    method: str, tail: str, website: str, recording: str, *, query: Pairs = (), body: Any = None
) -> Request[None]:
    return build(
        method, _ONE + tail, decode.nothing,
        query=query, body=body, website_id=website, recording_id=recording,
    )  # fmt: skip


def _bulk(method: str, website: str, tag: str, recordings: Sequence[str]) -> Request[None]:
    return build(
        method, f"{_ALL}/bulktag", decode.nothing,
        query=_tag(tag), body=texts("recordings", recordings), website_id=website,
    )  # fmt: skip


def _number(name: str, value: Any) -> int | float | str:
    if value is None:
        raise ValueError(f'{name}: None is no value; "" removes a variable')
    found = plain(name, value)
    return found if isinstance(found, str) else number(name, found)


def _tag(tag: str) -> Pairs:
    if not isinstance(tag, str) or not tag.strip() or "," in tag:
        raise ValueError(f"not a tag: {tag!r}; a tag is not empty and has no comma")
    return (("tag", tag),)
