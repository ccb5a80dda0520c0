"""Ids and pseudo-random numbers that depend only on their arguments."""

import base64
import hashlib

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
