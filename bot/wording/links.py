"""Addresses that messages link to, built from ids alone so that no visitor can bend them."""

from urllib.parse import quote

from bot.ports import Addresses
from bot.subjects import RecordingSubject, Subject

LONGEST = 2000
"""No real id makes a longer address, and Slack refuses a message for one."""


def playback(subject: Subject, addresses: Addresses) -> str | None:
    """Where the recording is watched (needs a login), None for all other subjects.

    The path is that of `playbackUrl` (the API document, L769).
    """
    if not isinstance(subject, RecordingSubject):
        return None
    website, recording = _encoded(subject.website.id), _encoded(subject.recording.id)
    url = f"{addresses.app_url.rstrip('/')}/websites/{website}/recordings/{recording}/play"
    return url if len(url) <= LONGEST else None


def public(token: str | None, addresses: Addresses) -> str | None:
    """Where anybody can watch what was shared; None without a token or a known address.

    The vendor documents no address for a token, so it comes from the configuration.
    """
    if not token or not addresses.share_url:
        return None
    url = addresses.share_url.replace("{token}", _encoded(token))
    return url if len(url) <= LONGEST else None


def _encoded(part: str) -> str:
    return quote(part, safe="", errors="replace")
