"""Values that print as people read them and still compare as the numbers they are."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bot.subjects import Band
from bot.wording.plain import clean
from bot.wording.units import lasting


class Span(int):
    """Milliseconds that print as `1 min 35 s`."""

    def __str__(self) -> str:
        return lasting(timedelta(milliseconds=int(self)))


class Percent(float):
    """A share of a hundred that prints as `12.5 %`."""

    def __str__(self) -> str:
        return f"{number(round(float(self), 1))} %"


class Friction(float):
    """The least that a recording's friction is; prints what is known, such as `2.5 to 5`."""

    text: str

    def __new__(cls, band: Band) -> "Friction":
        value = super().__new__(cls, band.low)
        value.text = _band(band)
        return value

    def __str__(self) -> str:
        return self.text


class Safe(str):
    """Text made by ourselves that goes into mrkdwn as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Address:
    """An address that visitors or the vendor chose; prints so that it can't end a link early."""

    text: str

    def __str__(self) -> str:
        return quote(clean(self.text), safe="/:?#[]@!$&'()*+,;=%-._~", errors="replace")


def number(value: float) -> str:
    """A number without needless digits: `2.5`, `3`, `1,204`."""
    whole = math.isfinite(value) and value == int(value)
    return f"{int(value):,}" if whole else f"{value:,.6g}"


def _band(band: Band) -> str:
    if band.high <= math.nextafter(band.low, math.inf):
        return number(band.low)
    if math.isinf(band.low):
        return "unknown" if math.isinf(band.high) else f"below {number(band.high)}"
    if math.isinf(band.high):
        return f"{number(band.low)} or more"
    return f"{number(band.low)} to {number(band.high)}"


def moment(instant: datetime | None, zone: str = "UTC") -> str | None:
    """A time in the account's zone: `24 Nov 2026 20:29 (Europe/Copenhagen)`."""
    if instant is None or instant.tzinfo is None:
        return None
    try:
        local, name = instant.astimezone(ZoneInfo(zone)), zone
    except (ZoneInfoNotFoundError, ValueError, OSError):
        local, name = instant.astimezone(ZoneInfo("UTC")), "UTC"
    return f"{local.day} {local:%b %Y %H:%M} ({name})"


def path(address: object) -> str:
    """The path of an address or page: without scheme, host, query, fragment and last slash.

    One page has three spellings in the API's answers (the API document, L756-757, L792).
    """
    rest = str(address).strip().partition("#")[0].partition("?")[0]
    _, mark, after = rest.partition("://")
    if mark:
        rest = "/" + after.partition("/")[2]
    elif not rest.startswith("/"):
        host, slash, after = rest.partition("/")
        rest = "/" + after if slash and "." in host else "/" + rest
    return rest.rstrip("/") or "/"
