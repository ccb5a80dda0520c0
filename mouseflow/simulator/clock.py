"""The simulator's clock: real time, shifted and scaled, or a clock of the caller."""

import base64
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Now = Callable[[], datetime]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def real() -> datetime:
    """The machine's time."""
    return datetime.fromtimestamp(time.time(), UTC)


class Clock:
    """The time in the simulated account; `speed` makes it run faster than `now`."""

    def __init__(self, now: Now = real, *, speed: float = 1.0) -> None:
        self._now = now
        self._speed = speed
        self._origin = now()
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The time, aware."""
        now = self._now()
        if self._speed != 1:
            now = self._origin + (now - self._origin) * self._speed
        return now + self._ahead

    def advance(self, by: timedelta) -> None:
        """Move the clock; a negative `by` sets it back."""
        self._ahead += by


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(ms: int) -> datetime:
    """The UTC time `ms` milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=ms)


_SPACE = 1 << 128
_ODD = 0x9E3779B97F4A7C15F39CC0605CEDC835
_BACK = pow(_ODD, -1, _SPACE)


def digest(*parts: object) -> bytes:
    """32 bytes that depend on the parts alone."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def number(*parts: object) -> int:
    """A 64-bit number that depends on the parts alone."""
    return int.from_bytes(digest(*parts)[:8], "big")


def website_id(*parts: object) -> str:
    """A UUID-shaped id, as websites have (L118)."""
    text = digest("website", *parts).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"


def token(*parts: object) -> str:
    """22 characters as campaigns, funnels, forms and shares have (L1517)."""
    return base64.urlsafe_b64encode(digest("token", *parts)[:16]).rstrip(b"=").decode()


def page_view_id(*parts: object) -> str:
    """40 hexadecimal characters (L921)."""
    return digest("page view", *parts).hex()[:40]


def recording_id(key: int, ref: int) -> str:
    """32 hexadecimal characters for the recording `ref` of the website with that key."""
    return f"{(ref * _ODD + key) % _SPACE:032x}"


def recording_ref(key: int, text: str) -> int | None:
    """The `ref` that `recording_id` was given, or None if the text is no id of that website."""
    if len(text) != 32:
        return None
    try:
        ref = (int(text, 16) - key) * _BACK % _SPACE
    except ValueError:
        return None
    return ref if ref < 1 << 64 and recording_id(key, ref) == text.lower() else None
