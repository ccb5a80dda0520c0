"""Heatmap pages: the pages of a website with their statistics, and the sharing of a heatmap."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from mouseflow import decode
from mouseflow.errors import BadAnswer
from mouseflow.filters import PageFilters, page_pairs
from mouseflow.models import HeatmapPage, HeatmapPages, PageUrls
from mouseflow.request import Pairs, Request, number, place

_PAGES = "/websites/{website-id}/pagelist"
_URLS = "/websites/{website-id}/pagelist/urls"
_SHARE = "/websites/{website-id}/heatmaps/share"


def pages(
    website: str, filters: PageFilters | None = None, *, limit: int | None = None
) -> Request[HeatmapPages]:
    """The pages with their visitors' statistics (L1840); 50 of them if no `limit` is given.

    Raises ValueError for filters that speak of whole sessions: they would have no effect
    here, in silence (L4301).
    """
    query = page_pairs(filters) + number("limit", limit)
    path = place(_PAGES, website_id=website)
    return Request("GET", path, f"GET {_PAGES}", _read_pages, query)


def page(website: str, url: str, filters: PageFilters | None = None) -> Request[HeatmapPage]:
    """One page's statistics (L1935). `url` is its `display_url`, not an address.

    The answer leaves the display URL out (L1920-1933); it is filled in.
    """
    query = _url(url) + page_pairs(filters)
    read = decode.one(HeatmapPage)

    def named(body: bytes) -> HeatmapPage:
        found = read(body)
        return msgspec.structs.replace(found, display_url=found.display_url or url)

    path = place(_PAGES, website_id=website)
    return Request("GET", path, f"GET {_PAGES}?url=", named, query)


def urls(website: str, *, limit: int | None = None, search: str | None = None) -> Request[PageUrls]:
    """The display URLs alone (L2033). Takes no filter but `search` (L2041); 50 by default."""
    query = number("limit", limit) + ((("search", search),) if search else ())
    path = place(_URLS, website_id=website)
    return Request("GET", path, f"GET {_URLS}", _read_urls, query)


def share(website: str, url: str) -> Request[str | None]:
    """Makes a page's heatmap public (L2155); gives the token where the API sends one.

    No answer is documented (L2101): the page's `token` is in the page list afterwards. Not
    repeatable: a second share may replace the token.
    """
    path = place(_SHARE, website_id=website)
    return Request("POST", path, f"POST {_SHARE}", _token, _url(url), repeatable=False)


def unshare(website: str, url: str) -> Request[None]:
    """Ends the sharing of a page's heatmap (L2159). Repeatable."""
    path = place(_SHARE, website_id=website)
    return Request("DELETE", path, f"DELETE {_SHARE}", decode.nothing, _url(url))


class _Pages(Struct):
    count: float
    pages: tuple[Raw, ...] | None = None


class _Urls(Struct):
    count: float
    urls: tuple[Raw, ...] | None = None


_pages = msgspec.json.Decoder(_Pages)
_urls = msgspec.json.Decoder(_Urls)


def _read_pages(body: bytes) -> HeatmapPages:
    answer = _whole(body, _pages)
    good, bad = decode.row_by_row(answer.pages or (), HeatmapPage, "displayUrl")
    return HeatmapPages(pages=good, count=round(answer.count), unreadable=bad)


def _read_urls(body: bytes) -> PageUrls:
    answer = _whole(body, _urls)
    found = decode.texts(answer.urls or ())
    return PageUrls(urls=tuple(found), count=round(answer.count), unreadable=found.unreadable)


def _whole(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decode.decode(body, decoder)
    except msgspec.ValidationError as wrong:
        raise BadAnswer(f"an answer of another shape: {wrong}") from None


def _token(body: bytes) -> str | None:
    try:
        return decode.token(body)
    except BadAnswer:
        return None


def _url(url: str) -> Pairs:
    if not url:
        raise ValueError("a page's display URL is missing")
    return (("url", url),)
