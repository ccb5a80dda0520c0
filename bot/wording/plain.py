"""Text from strangers made harmless: for Slack's mrkdwn, for plain text, and cut to size.

Visitors choose page titles, paths, tags, names and variables. Slack turns `<!channel>`,
`<@U1>` and `<url|label>` into pings and links, so `& < >` are escaped, always after the
text has been cut: cutting later could leave half an entity.
"""

import re
import unicodedata
from typing import Any

VALUE_LIMIT = 300
NOTHING = "–"

# A value may not become a mention even where a template's author puts a bare "<" before it.
_GUARD = "\u2060"
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# Look-alikes for the marks of bold, strike-through and code, which mrkdwn can't escape.
_MARKS = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ"})
# `_` is a mark at the edge of a word only: `snake_case` stays as it is.
_EDGE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_HALF_ENTITY = re.compile(r"&[a-z]{0,3}$")
_DROPPED = {"Cf", "Cs", "Co"}
_SPACES = {"Cc", "Zl", "Zp", "Zs"}


def clean(value: Any, limit: int = VALUE_LIMIT) -> str:
    """The value as one line of text, at most `limit` UTF-16 units, nothing invisible in it.

    Control characters become spaces; direction marks, zero-width characters and lone
    surrogates go.
    """
    raw = str(value)[: 4 * limit]
    text = raw if raw.isprintable() else raw.translate(_KEPT)
    text = " ".join(text.split())
    return cut(text, limit)


class _Kept(dict[int, str]):
    """What becomes of each character; computed when first met, kept for the common ones."""

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        kept = "" if category in _DROPPED or code & 0xFFFE == 0xFFFE else chr(code)
        kept = " " if category in _SPACES else kept
        if code < 0x3000:
            self[code] = kept
        return kept


_KEPT = _Kept()


def mrkdwn(value: Any, limit: int = VALUE_LIMIT) -> str:
    """The value for a mrkdwn text: it can't ping, link or format. Grows by escaping."""
    text = _EDGE.sub("ˍ", clean(value, limit).translate(_MARKS)).translate(_ENTITIES)
    return _GUARD + text if text[:1] in ("!", "@", "#") else text


def size(text: str) -> int:
    """The length as Slack may count it: in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, limit: int) -> str:
    """The text, ended by `…` where it is longer than `limit` UTF-16 units."""
    return text if size(text) <= limit else _first(text, limit - 1) + "…"


def cut_mrkdwn(text: str, limit: int) -> str:
    """As `cut`, for text that is already mrkdwn: never half an entity, never half a link."""
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
