"""How texts are compared: the normal forms of paths, addresses and words.

Both sides of a comparison pass through the same function, and a text in normal form stays as
it is. Pattern and value may so be written in different ways and still be one.
"""

import re
from unicodedata import normalize
from urllib.parse import quote, unquote_to_bytes

_PAGE_FILES = (".html", ".htm", ".php", ".asp", ".aspx", ".jsp")
_PORT = re.compile(r":[0-9]{1,5}$")

# A run behind a lone "%" is left alone: decoded, the two would make an escape that nobody wrote.
_ESCAPES = re.compile(r"(?<!%)(?<!%[0-9A-Fa-f])(?:%[0-9A-Fa-f]{2})+")

_ESCAPED = re.compile("(%[0-9A-Fa-f]{2})")
_ESCAPED_RUN = re.compile("(?:%[0-9A-Fa-f]{2})+")

_IN_PATHS = frozenset("%/?#*")
_IN_ADDRESSES = _IN_PATHS | frozenset("&=+;")
"""Characters that stay encoded: decoded, they would split the text, or be a wildcard."""

_REFERRER_WORDS = {
    # The row says Search and Link (L836), the filter searchengines and links (L4246).
    "search": "searchengines",
    "searchengine": "searchengines",
    "link": "links",
}


def path(address: object) -> str:
    """The page's path: no scheme, host, port, query, fragment or slash at the end; decoded.

    The API names one page in three ways (`https://shop.my/landing?x=1`, `shop.my/landing`,
    `/landing`: the API document, L756-757, L792). A pattern that begins with `*` keeps it.
    """
    rest = split_address(str(address).strip())[0]
    scheme, mark, tail = rest.partition("://")
    if mark and "/" not in scheme:
        rest = "/" + tail.partition("/")[2]
    elif not rest.startswith(("/", "*")):
        head, slash, tail = rest.partition("/")
        rest = "/" + (tail if is_host(head, alone=not slash) else rest)
    return _decoded(rest, _IN_PATHS).rstrip("/ ") or "/"


def is_host(head: str, *, alone: bool) -> bool:
    """Whether a text in front of the first `/` is a host, not a part of a path.

    `alone`: no path follows, so that `index.html` is a page.
    """
    name = _PORT.sub("", head.casefold()) if ":" in head else head.casefold()
    if name != head.casefold() or name == "localhost":
        return True
    return "." in name and not (alone and name.endswith(_PAGE_FILES))


def split_address(value: str) -> tuple[str, str, str]:
    """What precedes the query, the query and the fragment of an address or path."""
    rest, _, fragment = value.partition("#")
    base, _, query = rest.partition("?")
    return base, query, fragment


def host(value: str) -> str:
    """The host of an address, without port and final dot; empty where it names none."""
    base = split_address(value.strip())[0]
    scheme, mark, tail = base.partition("://")
    if mark and "/" not in scheme:
        head = tail.partition("/")[0].rpartition("@")[2]
    else:
        head, slash, _ = base.partition("/")
        head = head if head and is_host(head, alone=not slash) else ""
    return _PORT.sub("", head).rstrip(".").lower()


def half_character(value: str) -> str:
    """The first escapes of a path that are no UTF-8, such as the `%C3` of `/s%C3*`; or nothing."""
    for run in _ESCAPED_RUN.findall(path(value)):
        try:
            unquote_to_bytes(run).decode()
        except UnicodeDecodeError:
            return str(run)
    return ""


def is_decoded(value: str) -> bool:
    """Whether percent-encoding in the text also occurs in decoded paths."""
    runs = _ESCAPED_RUN.findall(value)
    return all(_decoded(run, _IN_PATHS).upper() == run.upper() for run in runs)


def page(value: str | None) -> str | None:
    """The page's path, None where there is none."""
    return path(value) if value else None


def address(value: str) -> str:
    """An address with its query, decoded."""
    return _decoded(value, _IN_ADDRESSES)


def _decoded(text: str, kept: frozenset[str]) -> str:
    """The text without percent-encoding, except of what is kept and what can't be printed.

    Escapes that are no UTF-8, such as the end of `/100%`, stay as they are.
    """
    if "%" in text:
        text = _ESCAPES.sub(lambda run: _decoded_run(run[0], kept), text)
    if not text.isprintable():
        text = "".join(map(_printable, text))
    if text.isascii():
        return text
    # An accent behind an escape must not change the escape's last letter.
    return "".join(normalize("NFC", piece) for piece in _ESCAPED.split(text))


def _decoded_run(run: str, kept: frozenset[str]) -> str:
    text = bytes.fromhex(run.replace("%", "")).decode("utf-8", "surrogateescape")
    return "".join(_encoded(char) if char in kept else _printable(char) for char in text)


def _printable(char: str) -> str:
    return char if char.isprintable() else _encoded(char)


def _encoded(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is no part of a character
        return f"%{ord(char) - 0xDC00:02X}"
    return quote(char, safe="", errors="surrogatepass")


def folded(value: str) -> str:
    """A text as it is compared: without regard to case, and é in one piece or two the same.

    Turkish has two letters i; both are one here, so that `istanbul` is İstanbul.
    """
    if value.isascii():
        return value.lower()
    bare = normalize("NFD", value).casefold().replace("i\u0307", "i").replace("\u0131", "i")
    return normalize("NFC", bare)


def folded_words(value: str) -> str:
    """A text for the API's search as it is compared: one space between words."""
    return folded(" ".join(value.split()))


def folded_path(value: str) -> str:
    """A page or a page pattern as it is compared."""
    return folded(path(value))


def folded_address(value: str) -> str:
    """An address or a pattern of addresses as it is compared."""
    return folded(address(value))


def language(value: str) -> str:
    """A language tag as it is compared: `en-us` for `en_US`."""
    return folded(value).replace("_", "-")


def weekday_word(value: str) -> str:
    """`mon` for `Monday`, `mon` and `MON`."""
    word = value.casefold()
    return word[:3] if word.endswith("day") else word


def referrer_word(value: str) -> str:
    """The filter's word for a kind of referrer, whichever of the two words is given."""
    word = value.casefold()
    return _REFERRER_WORDS.get(word, word)
