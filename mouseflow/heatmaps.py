"""Heatmap pages: the pages of a website with their statistics, and sharing their heatmaps."""

from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mouseflow import decode
from mouseflow.arguments import text
from mouseflow.errors import BadAnswer
from mouseflow.filters import PageFilters, page_pairs
from mouseflow.models import HeatmapPage, HeatmapPages, PageUrls
from mouseflow.request import Pairs, Request, build, integer_pair

_PAGES = "/websites/{website-id}/pagelist"
_URLS = "/websites/{website-id}/pagelist/urls"
_SHARE = "/websites/{website-id}/heatmaps/share"


def pages(
    website: str, filters: PageFilters | None = None, *, limit: int | None = None
) -> Request[HeatmapPages]:
    """The pages with their visitors' statistics; 50 of them without a `limit`.

    Raises ValueError for filters about whole sessions: the API ignores them here without
    saying so.

    >>> page = api.send(heatmaps.pages(site, PageFilters(country="de"), limit=100))
    """
    # The API document, L1840, L4301.
    query = page_pairs(filters) + integer_pair("limit", limit)
    return build("GET", _PAGES, _read_pages, query=query, website_id=website)


def page(website: str, url: str, filters: PageFilters | None = None) -> Request[HeatmapPage]:
    """One page's statistics. `url` is its `display_url`, not a full address.

    The answer lacks the display URL; it is filled in.

    >>> scroll = api.send(heatmaps.page(site, page)).scroll
    """
    # The API document, L1935, L1920-1933.
    read = decode.one(HeatmapPage)

    def read_with_url(body: bytes) -> HeatmapPage:
        found = read(body)
        return msgspec.structs.replace(found, display_url=found.display_url or url)

    query = _url(url) + page_pairs(filters)
    request = build("GET", _PAGES, read_with_url, query=query, website_id=website)
    return replace(request, route=f"{request.route}?url=")


def urls(website: str, *, limit: int | None = None, search: str | None = None) -> Request[PageUrls]:
    """The display URLs alone. The only filter is `search`; 50 by default.

    >>> paths = api.send(heatmaps.urls(site, search="checkout")).urls
    """
    # The API document, L2033, L2041.
    query = integer_pair("limit", limit) + (
        () if search is None else (("search", text("search", search)),)
    )
    return build("GET", _URLS, _read_urls, query=query, website_id=website)


def share(website: str, url: str) -> Request[str | None]:
    """Make a page's heatmap public; returns the token if the API sends one.

    No answer is documented: the page list has the page's `token` afterwards. Not
    repeatable: a second share may replace the token.

    >>> token = api.send(heatmaps.share(site, page))
    """
    # The API document, L2155, L2101.
    return build(
        "POST", _SHARE, _read_token, query=_url(url), repeatable=False, website_id=website
    )  # fmt: skip


def unshare(website: str, url: str) -> Request[None]:
    """Make a page's heatmap private again. Repeatable.

    >>> api.send(heatmaps.unshare(site, page))
    """
    # The API document, L2159.
    return build("DELETE", _SHARE, decode.nothing, query=_url(url), website_id=website)


class _Pages(Struct):
    count: Any
    pages: tuple[Raw, ...] | None = None


class _Urls(Struct):
    count: Any
    urls: tuple[Raw, ...] | None = None


def _read_pages(body: bytes) -> HeatmapPages:
    answer = decode.exactly(body, _Pages)
    good, bad = decode.row_by_row(answer.pages or (), HeatmapPage, "displayUrl")
    return HeatmapPages(pages=good, count=decode.count(answer.count), unreadable=bad)


def _read_urls(body: bytes) -> PageUrls:
    answer = decode.exactly(body, _Urls)
    found = decode.texts(answer.urls or ())
    return PageUrls(
        urls=tuple(found), count=decode.count(answer.count), unreadable=found.unreadable
    )


def _read_token(body: bytes) -> str | None:
    try:
        return decode.token(body)
    except BadAnswer:
        return None


def _url(url: str) -> Pairs:
    return (("url", text("url", url)),)
