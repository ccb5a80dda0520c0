"""The websites of the account: list, details, settings, and the recording switch."""

from collections.abc import Sequence
from typing import Literal

from mouseflow import decode
from mouseflow.decode import Rows
from mouseflow.models import Website, WebsiteDetail
from mouseflow.request import Request, given, json_body, place

_ALL = "/websites"
_ONE = "/websites/{website-id}"


def list() -> Request[Rows[Website]]:
    """All websites that the API user can see (L139)."""
    return Request("GET", _ALL, f"GET {_ALL}", decode.rows(Website))


def reorder(ids: Sequence[str]) -> Request[None]:
    """Puts the websites in this order; `ids` must be all of them (L213-217). Repeatable."""
    path = "/websites/reorder"
    body = json_body({"websiteIds": tuple(ids)})
    return Request("PUT", path, f"PUT {path}", decode.nothing, body=body)


def detail(website: str) -> Request[WebsiteDetail]:
    """One website with its settings (L307)."""
    return Request("GET", _path(website), f"GET {_ONE}", decode.one(WebsiteDetail))


def create(
    domain: str,
    *,
    recording_rate: int | None = None,
    anonymize_ips: bool | None = None,
    disable_keystrokes: bool | None = None,
    excluded_ips: Sequence[str] | None = None,
) -> Request[WebsiteDetail]:
    """Registers a website (L424). `recording_rate` in percent. Not repeatable: twice makes two."""
    body = {"domain": domain} | given(
        recording_rate=_percent(recording_rate),
        anonymize_ips=anonymize_ips,
        disable_keystrokes=disable_keystrokes,
        excluded_ips=excluded_ips,
    )
    return Request(
        "POST",
        _ALL,
        f"POST {_ALL}",
        decode.one(WebsiteDetail),
        body=json_body(body),
        repeatable=False,
    )


def set_recording_status(website: str, status: Literal["Stopped", "Recording"]) -> Request[None]:
    """Stops or starts recording (L511, L573). Repeatable: it sets.

    Written as `recordingStatus`, read as `status` (L147). Visitors notice late: the setting
    is part of the recording script, which browsers cache.
    """
    if status not in ("Stopped", "Recording"):
        raise ValueError(f"a recording status is Stopped or Recording, not {status!r}")
    return _put(website, {"recordingStatus": status})


def update(
    website: str,
    *,
    name: str | None = None,
    domains: Sequence[str] | None = None,
    recording_rate: int | None = None,
    alignment: str | None = None,
    width: int | None = None,
    page_identifiers: Sequence[str] | None = None,
    encoding: str | None = None,
    anonymize_ips: bool | None = None,
    disable_keystrokes: bool | None = None,
    excluded_ips: Sequence[str] | None = None,
    merge_urls: Sequence[str] | None = None,
) -> Request[None]:
    """Changes the settings that are given and no other (L636, L659). Repeatable: it sets.

    `recording_rate` is percent of the sessions: 100 records all (L319). Where the document
    says that 1 records all (L667) it contradicts itself three times.
    """
    changes = given(
        name=name,
        domains=domains,
        recording_rate=_percent(recording_rate),
        alignment=alignment,
        width=width,
        page_identifiers=page_identifiers,
        encoding=encoding,
        anonymize_ips=anonymize_ips,
        disable_keystrokes=disable_keystrokes,
        excluded_ips=excluded_ips,
        merge_urls=merge_urls,
    )
    if not changes:
        raise ValueError("nothing to update")
    return _put(website, changes)


def _put(website: str, changes: dict[str, object]) -> Request[None]:
    return Request("PUT", _path(website), f"PUT {_ONE}", decode.nothing, body=json_body(changes))


def _percent(rate: int | None) -> int | None:
    if rate is not None and not 0 <= rate <= 100:
        raise ValueError(f"a recording rate is 0 to 100 percent, not {rate}")
    return rate


def _path(website: str) -> str:
    return place(_ONE, website_id=website)
