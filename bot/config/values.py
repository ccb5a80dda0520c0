"""The kinds of value that config.toml has, as they are written and checked.

Every check raises ValueError whose words repeat nothing of what was written.
"""

from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, SecretStr

from bot.wording import duration


def _duration(value: object) -> timedelta:
    try:
        length = duration(value) if isinstance(value, str) else timedelta()
    except ValueError:
        length = timedelta()  # its words repeat what was written: it may be a misplaced secret
    if length <= timedelta():
        raise ValueError("write a duration with a unit, such as 60s, 5m, 1h or 7d")
    return length


def _start(value: object) -> timedelta:
    if value == "now":
        return timedelta()
    try:
        return _duration(value)
    except ValueError:
        raise ValueError('write "now" or how far back, such as 24h') from None


def _stripped(value: object) -> object:
    """Blanks around a pasted key would be refused by the other side without a hint."""
    if isinstance(value, str):
        return value.strip() or None
    return value


def _listed(value: object) -> object:
    """In the environment a list is written with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _parts(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write a whole address, such as https://example.com")
    if parts.username or parts.password:
        raise ValueError("no user or password in an address")
    return parts


def web_address(value: str) -> str:
    """The address, if it is a whole one without credentials; raises ValueError."""
    _parts(value)
    return value


def is_loopback(host: str) -> bool:
    """Whether that host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def private_address(value: str) -> str:
    """The same, for an address that credentials travel to: plain http is for this machine only."""
    parts = _parts(value)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("plain http would show the credentials; use https (http is for 127.0.0.1)")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Start = Annotated[timedelta, BeforeValidator(_start)]
Text = Annotated[str, BeforeValidator(_stripped)]
OptionalText = Annotated[str | None, BeforeValidator(_stripped)]
Secret = Annotated[SecretStr, BeforeValidator(_stripped)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_stripped)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
