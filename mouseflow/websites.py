"""The websites of the account: list, details, settings, and switching the recording on and off."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from mouseflow import decode
from mouseflow.arguments import text, texts, truth, whole
from mouseflow.decode import Rows
from mouseflow.models import Website, WebsiteDetail
from mouseflow.request import Request, build, changes

_ALL = "/websites"
_ONE = "/websites/{website-id}"


def list() -> Request[Rows[Website]]:
    """All websites that the API user can see.

    >>> names = [site.name for site in api.send(websites.list())]
    """
    # The API document, L139.
    return build("GET", _ALL, decode.rows(Website))


def reorder(ids: Sequence[str]) -> Request[None]:
    """Set the order of the websites; `ids` must name all of them. Repeatable.

    >>> api.send(websites.reorder([each.id for each in reversed(api.send(websites.list()))]))
    """
    # The API document, L213-217.
    return build("PUT", "/websites/reorder", decode.nothing, body={"websiteIds": texts("ids", ids)})


def detail(website: str) -> Request[WebsiteDetail]:
    """One website with its settings.

    >>> rate = api.send(websites.detail(site)).recording_rate
    """
    # The API document, L307.
    return build("GET", _ONE, decode.one(WebsiteDetail), website_id=website)


def create(
    domain: str,
    *,
    recording_rate: int | None = None,
    anonymize_ips: bool | None = None,
    disable_keystrokes: bool | None = None,
    excluded_ips: Sequence[str] | None = None,
) -> Request[WebsiteDetail]:
    """Register a website. `recording_rate` is in percent.

    Not repeatable: sending it twice creates two.

    >>> made = api.send(websites.create("shop.example", recording_rate=50))
    """
    # The API document, L424.
    body = {"domain": text("domain", domain)} | changes(
        _SETTINGS,
        recording_rate=recording_rate,
        anonymize_ips=anonymize_ips,
        disable_keystrokes=disable_keystrokes,
        excluded_ips=excluded_ips,
    )
    return build("POST", _ALL, decode.one(WebsiteDetail), body=body, repeatable=False)


def set_recording_status(website: str, status: Literal["Stopped", "Recording"]) -> Request[None]:
    """Stop or start recording. Repeatable: it sets a value.

    Written as `recordingStatus`, read as `status`. It takes a while to reach visitors:
    the setting is part of the recording script, which browsers cache.

    >>> api.send(websites.set_recording_status(site, "Stopped"))
    """
    # The API document, L511, L573, L147.
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
    """Change only the settings that are given. Repeatable: it sets values.

    `recording_rate` is the percentage of sessions: 100 records all of them. The document says
    in one place that 1 records all, which contradicts three others.

    >>> api.send(websites.update(site, recording_rate=25, anonymize_ips=True))
    """
    # The API document, L636, L659, L319, L667.
    body = changes(
        _SETTINGS,
        name=name,
        domains=domains,
        recording_rate=recording_rate,
        alignment=alignment,
        width=width,
        page_identifiers=page_identifiers,
        encoding=encoding,
        anonymize_ips=anonymize_ips,
        disable_keystrokes=disable_keystrokes,
        excluded_ips=excluded_ips,
        merge_urls=merge_urls,
    )
    if not body:
        raise ValueError("nothing to update")
    return _put(website, body)


def update_from(settings: WebsiteDetail) -> Request[None]:
    """Send back all settings that an update can set, as `detail` read them. Repeatable.

    Settings that the API left out or that could not be read are not sent.

    >>> api.send(websites.update_from(msgspec.structs.replace(settings, recording_rate=50)))
    """
    width = settings.width
    return update(
        settings.id,
        name=settings.name,
        domains=settings.domains or None,
        recording_rate=settings.recording_rate,
        alignment=settings.alignment,
        width=int(width) if isinstance(width, int) or (width and width.isdecimal()) else None,
        page_identifiers=settings.page_identifiers,
        encoding=settings.encoding,
        anonymize_ips=settings.anonymize_ips,
        disable_keystrokes=settings.disable_keystrokes,
        excluded_ips=settings.excluded_ips,
        merge_urls=settings.merge_urls,
    )


def _put(website: str, body: dict[str, Any]) -> Request[None]:
    return build("PUT", _ONE, decode.nothing, body=body, website_id=website)


def _percent(name: str, value: Any) -> int:
    try:
        return whole(name, value, most=100)
    except ValueError as error:
        raise ValueError(f"{error}; it is a percentage of sessions, 0 to 100") from None


_SETTINGS: Mapping[str, Callable[[str, Any], Any]] = {
    "name": text,
    "domains": texts,
    "recording_rate": _percent,
    "alignment": text,
    "width": whole,
    "page_identifiers": texts,
    "encoding": text,
    "anonymize_ips": truth,
    "disable_keystrokes": truth,
    "excluded_ips": texts,
    "merge_urls": texts,
}
