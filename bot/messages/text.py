"""Text from visitors made harmless and cut to size; durations, rates, numbers and times.

Visitors choose page titles, paths, tags, names and variables. Slack turns `<!channel>`,
`<@U1>` and `<url|label>` into pings and links, so `& < >` are escaped, always after the
text is cut: cutting later could leave half an entity.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from bot.domain.subjects import Band

VALUE_LIMIT = 300
NOTHING = "–"

# A value must not become a mention even if a template has a bare "<" before it.
_GUARD = "\u2060"
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# Look-alikes for bold, strike-through and code, which mrkdwn cannot escape.
MARKS = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ"})
# `_` starts italics at the edge of a word only, so `snake_case` stays.
EDGE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_HALF_ENTITY = re.compile(r"&[a-z]{0,3}$")
_DROPPED = {"Cf", "Cs", "Co"}
_SPACES = {"Cc", "Zl", "Zp", "Zs"}
# Letters, marks and symbols that print nothing: Hangul fillers, joiners, the empty Braille cell.
# Variation selectors 1 to 16 stay: emoji need them.
_BLANKS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\U0001d159\U000e0100-\U000e01ef]"
)


def clean(value: Any, limit: int = VALUE_LIMIT) -> str:
    """The value as one line of visible text of at most `limit` UTF-16 units.

    Control characters become spaces; direction marks, blank letters, zero-width characters and
    lone surrogates are removed.
    """
    raw = str(value)[: 4 * limit]
    if not raw.isascii():
        raw = _BLANKS.sub("", raw)
    text = raw if raw.isprintable() else raw.translate(_REPLACEMENTS)
    text = " ".join(text.split())
    return cut(text, limit)


def prints_nothing(letter: str) -> bool:
    """Whether the character is a mark or blank letter that a reader can't see."""
    return (
        unicodedata.category(letter) in _DROPPED
        or ord(letter) & 0xFFFE == 0xFFFE
        or 0xFDD0 <= ord(letter) <= 0xFDEF
        or _BLANKS.match(letter) is not None
    )


class _Replacements(dict[int, str]):
    """What replaces each character; computed on first use and cached for common ones."""

    def __missing__(self, code: int) -> str:
        kept = "" if prints_nothing(chr(code)) else chr(code)
        kept = " " if unicodedata.category(chr(code)) in _SPACES else kept
        if code < 0x3000:
            self[code] = kept
        return kept


_REPLACEMENTS = _Replacements()


def mrkdwn(value: Any, limit: int = VALUE_LIMIT, *, emoji: bool = False) -> str:
    """The value for mrkdwn: it cannot ping, link or format. Escaping makes it longer.

    `emoji`: names of emoji in it, such as `:fire:`, may become pictures.
    """
    text = clean(value, limit) if emoji else without_emoji(clean(value, limit))
    text = EDGE.sub("ˍ", text.translate(MARKS)).translate(_ENTITIES)
    return _GUARD + text if text[:1] in ("!", "@", "#") else text


def without_emoji(text: str) -> str:
    """The text with no emoji names: a similar sign replaces the colon before each name."""
    return _EMOJI.sub("∶", text) if text.count(":") > 1 else text


_EMOJI = re.compile(r":(?=(?:[^\s:/]*[^\W\d][^\s:/]*|(?<!\d:)(?:[+-]1|100|1234)):)")
"""Names have a letter, but for these four; times have none."""


def without_answer(reason: str) -> str:
    """Why a call failed, without its path (which has ids) and what the other side wrote."""
    return _ANSWER.sub(r"\1", _CALL.sub("", reason))


_CALL = re.compile(r"^[A-Z]+ /\S*: ")
_ANSWER = re.compile(r"^(\d{3}\b[^(:;]*?) \(.*?\)(?=; |$)", re.DOTALL)


def size(text: str) -> int:
    """The length as Slack may count it: in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, limit: int) -> str:
    """The text, cut with `…` if it is longer than `limit` UTF-16 units, after a word if it can."""
    if size(text) <= limit:
        return text
    kept = _first(text, limit - 1)
    words = kept.rpartition(" ")[0].rstrip(" ,;:·")
    in_a_word = text[len(kept)] != " " and len(kept) - len(words) <= _LONGEST_WORD
    return f"{words if words and in_a_word else kept}…"


_LONGEST_WORD = 30
"""What is longer, such as an address, is cut within."""


def cut_mrkdwn(text: str, limit: int) -> str:
    """The mrkdwn, cut like `cut` but never inside an entity or a link."""
    if size(text) <= limit:
        return text
    kept = _HALF_ENTITY.sub("", _first(text, limit - 1))
    opened = kept.rfind("<")
    if opened > kept.rfind(">"):
        kept = kept[:opened]
    return kept + "…"


def _first(text: str, limit: int) -> str:
    if len(text) * 2 <= limit:
        return text
    kept = text[:limit]
    while size(kept) > limit:
        kept = kept[: -max(1, (size(kept) - limit) // 2)]
    return kept


SPAN_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+$"
RATE_PATTERN = (
    r"^\s*0*[1-9][0-9]{0,5}\s+per\s+"
    r"(second|minute|hour|day|week|([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+)\s*$"
)

_MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)\s*", re.ASCII)
_WINDOWS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_LONGEST = timedelta(days=36_525)


def duration(text: str) -> timedelta:
    """`90s`, `5m`, `1h30m`, `7d` or `2w` as a timedelta; raises ValueError with what to write."""
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        hint = _duration_meant(text) or f"write a number and a unit: {_UNITS}"
        raise ValueError(f"{shown(text)} is not a duration; {hint}")
    total = sum(float(number) * _MILLISECONDS[unit] for number, unit in parts)
    if total > _LONGEST / timedelta(milliseconds=1):
        raise ValueError(f"{shown(text)} is longer than 100 years")
    return timedelta(milliseconds=total)


_UNITS = "90s, 5m, 1h30m, 7d or 2w"
_UNIT_WORDS = {
    "second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "hr": "h", "hourly": "h",
    "day": "d", "daily": "d", "week": "w", "wk": "w", "weekly": "w", "millisecond": "ms",
    "msec": "ms", "s": "s", "m": "m", "h": "h", "d": "d", "w": "w",
}  # fmt: skip
_WRITTEN_OUT = re.compile(r"(?:([0-9]{1,9})[ -]*)?([a-zA-Z]+?)s?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def _duration_meant(text: str) -> str:
    """What is probably meant: `60` has no unit, `5 min` and `day` are `5m` and `1d`."""
    written = text.strip()
    if written.isascii() and written.isdigit() and len(written) < 10:
        return f"add a unit: {written}s, {written}m, {written}h or {written}d"
    found = _WRITTEN_OUT.fullmatch(written)
    unit = _UNIT_WORDS.get(found[2].lower()) if found else None
    if found and unit and (found[1] or len(found[2]) > 1):
        return f"did you mean {found[1] or 1}{unit}?"
    if found := _CLOCK.fullmatch(written):
        first, second, third = (int(part or 0) for part in found.groups())
        if found[3]:
            return f"did you mean {first}h{second}m{third}s?"
        return f"did you mean {first}m{second}s or {first}h{second}m?"
    return ""


_ODD_RATE = re.compile(
    r"([0-9]{1,6}) *(?:x|times)? *(?:/|per|an?|every|each)? *(?:1 *)?([a-zA-Z]+?)s?"
)


def _rate_meant(text: str) -> str:
    """What is probably meant: `10/h` and `10 per 1 hour` are `10 per hour`."""
    found = _ODD_RATE.fullmatch(text.strip())
    unit = _UNIT_WORDS.get(found[2].lower()) if found else None
    window = next((name for name in _WINDOWS if name[0] == unit), None)
    if found is None or window is None:
        return "write 10 per hour, or 3 per 15m"
    return f"did you mean {found[1]} per {window}?"


def rate(text: str) -> tuple[int, timedelta]:
    """`10 per hour` or `3 per 15m` as (times, window); raises ValueError with what to write."""
    times, per, window = text.strip().partition(" per ")
    number = times.strip()
    if not per or not (number.isascii() and number.isdigit()):
        raise ValueError(f"{shown(text)} is not a rate; {_rate_meant(text)}")
    if len(number) > 6 or int(number) < 1:
        raise ValueError(f"{shown(text)}: the number must be from 1 to 999999")
    try:
        length = _WINDOWS.get(window.strip()) or duration(window)
    except ValueError:
        if not _ODD_RATE.fullmatch(text.strip()):
            raise
        raise ValueError(f"{shown(text)} is not a rate; {_rate_meant(text)}") from None
    if not length:
        raise ValueError(f"{shown(text)}: the window must be longer than 0 s")
    return int(number), length


def shown(text: str) -> str:
    """The text quoted, and cut to fit into an error message."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def and_more(left: int) -> str:
    """What ends a list of which so many are not named: ` and 4 more`; empty for none."""
    return f" and {number(left)} more" if left > 0 else ""


def on_behalf(by: str, because: str) -> str:
    """Who did something, and why, as far as it is known: ` by Kim: release`."""
    return (f" by {by}" if by else "") + (f": {because}" if because else "")


_STEPS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def lasting(length: timedelta) -> str:
    """A duration for people, in its two largest units: `1 min 35 s`, `2 h`, `350 ms`."""
    seconds = length.total_seconds()
    if 0 < abs(seconds) < 1:
        return f"{round(seconds * 1000)} ms"
    if abs(seconds) < 10 and round(seconds, 1) != round(seconds):
        return f"{seconds:.1f} s"
    left, parts = round(abs(seconds)), []
    for unit, size in _STEPS:
        count, left = divmod(left, size)
        parts.append((count, unit))
    while parts and not parts[0][0]:
        del parts[0]
    words = [f"{count} {unit}" for count, unit in takewhile(lambda part: part[0], parts[:2])]
    return ("-" if seconds < 0 else "") + " ".join(words or ["0 s"])


class Span(int):
    """Milliseconds that print as `1 min 35 s`."""

    def __str__(self) -> str:
        return lasting(timedelta(milliseconds=int(self)))


class Percent(float):
    """A percentage that prints as `12.5 %`."""

    def __str__(self) -> str:
        return f"{number(round(float(self), 1))} %"


class Friction(float):
    """A recording's lowest possible friction; prints what is known, such as `2.5 to 5`."""

    text: str

    def __new__(cls, band: Band) -> "Friction":
        value = super().__new__(cls, band.low)
        value.text = _band(band)
        return value

    def __str__(self) -> str:
        return self.text


class Safe(str):
    """Text made by the bot, which goes into mrkdwn unescaped."""

    __slots__ = ()


class Address(Struct, frozen=True):
    """A URL from a visitor or Mouseflow; prints so that it cannot end a link early."""

    text: str

    def __str__(self) -> str:
        return quote(clean(self.text), safe="/:?#[]@!$&'()*+,;=%-._~", errors="replace")


def number(value: float) -> str:
    """A number without superfluous digits: `2.5`, `3`, `1,204`."""
    whole = math.isfinite(value) and value == int(value)
    return f"{int(value):,}" if whole else f"{value:,.6g}"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 rule`, `12 rules`, `3 matches`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """The names of things by their ids; those that share a name get the beginning of the id.

    `{"8fc2ace2-75bc": "shop.com", "1b2c…": "shop.com"}` makes `shop.com (8fc2ace2)` of the first.
    """
    many = Counter(names.values())
    short = Counter((name, key[:8]) for key, name in names.items())
    return {
        key: name if many[name] == 1
        else f"{name} ({key[:8] if short[name, key[:8]] == 1 else key})"
        for key, name in names.items()
    }  # fmt: skip


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return f"{text[:1].upper()}{text[1:]}"


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop; empty text stays empty."""
    end = "" if not text or text.endswith((".", ")", "`")) else "."
    return f"{capital(text)}{end}"


def _band(band: Band) -> str:
    if band.high <= math.nextafter(band.low, math.inf):
        return number(band.low)
    if math.isinf(band.low):
        return "unknown" if math.isinf(band.high) else f"below {number(band.high)}"
    if math.isinf(band.high):
        return f"{number(band.low)} or more"
    return f"{number(band.low)} to {number(band.high)}"


def instant(at: datetime) -> str:
    """`2026-11-24 12:00:05Z`: the same instant whatever zone `at` has."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


_INSTANT = re.compile(r"(\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ)")


def with_instants(text: str) -> list[str | datetime]:
    """The text in parts: each instant in UTC that it contains as a datetime."""
    return [
        _read(part) if place % 2 else part
        for place, part in enumerate(_INSTANT.split(text))
        if part
    ]


def _read(text: str) -> str | datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # there is no such day, or no such time
        return text


def moment(at: datetime | None, zone: str = "UTC") -> str | None:
    """A time in the account's zone: `24 Nov 2026 20:29 (Europe/Copenhagen)`."""
    if at is None or at.tzinfo is None:
        return None
    try:
        local, name = at.astimezone(ZoneInfo(zone)), zone
    except (ZoneInfoNotFoundError, ValueError, OSError):
        local, name = at.astimezone(ZoneInfo("UTC")), "UTC"
    return f"{local.day} {local:%b %Y %H:%M} ({name})"
