"""Addresses that messages link to; the bot makes them all itself."""

from urllib.parse import quote

from bot.domain.subjects import RecordingSubject, Subject
from bot.ports import Addresses

LONGEST = 2000
"""No real id makes a longer URL, and Slack rejects a message with one."""


def playback(subject: Subject, addresses: Addresses) -> str | None:
    """The URL of the playback (needs a login), None for other subjects than recordings.

    The path is that of `playbackUrl` (the API document, L769).
    """
    if not isinstance(subject, RecordingSubject):
        return None
    return recording_url(addresses.app_url, subject.website.id, subject.recording.id)


def recording_url(app_url: str, website: str, recording: str) -> str | None:
    """The URL of the playback of the recording with these ids; None for ids too long for one."""
    place = f"websites/{_encoded(website)}/recordings/{_encoded(recording)}/play"
    url = f"{app_url.rstrip('/')}/{place}"
    return url if len(url) <= LONGEST else None


def website(subject: Subject, addresses: Addresses) -> str:
    """The URL of the subject's website in Mouseflow, empty for no website.

    Mouseflow documents no URL of a funnel, form, heatmap or campaign; this one leads to them all.
    """
    name = _encoded(subject.website.id)
    url = f"{addresses.app_url.rstrip('/')}/websites/{name}" if name else ""
    return url if len(url) <= LONGEST else ""


def public(token: str | None, addresses: Addresses) -> str | None:
    """The public URL of a shared recording; None without a token or a configured share_url.

    Mouseflow documents no URL for a token, so it comes from the configuration.
    """
    if not token or not addresses.share_url:
        return None
    url = addresses.share_url.replace("{token}", _encoded(token))
    return url if len(url) <= LONGEST else None


def page(addresses: Addresses, *parts: str, at: str = "") -> str:
    """The URL of a page of the status page, `at` an element of it; empty without an address.

    A `/` in a part stays: keys of matches have some.
    """
    if not addresses.page:
        return ""
    path = "/".join(quote(part, safe="/") for part in parts)
    url = f"{addresses.page}/{path}{f'#{_encoded(at)}' if at else ''}"
    return url if len(url) <= LONGEST else ""


def _encoded(part: str) -> str:
    return quote(part, safe="", errors="replace")
