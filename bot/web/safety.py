"""Who may read and change something: host names, the token, the login cookie, forms, delays."""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import urlsplit

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # Not "no-referrer": browsers then send `Origin: null` with the page's own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer, unless it has another value of its own."""

LIFE = 7 * 86_400
"""Seconds that a login lasts."""

FREE_TRIES = 3
"""Wrong tokens from one address before it has to wait."""

LONGEST_DELAY = 300.0
"""The most seconds that an address waits after a wrong token."""

MOST_ADDRESSES = 1_000
"""Addresses whose wrong tokens are counted; the oldest is forgotten."""


def host_name(header: str) -> str:
    """The name or address in a Host header, in lower case and without the port; "" if bad."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The host names under which the page answers.

    A page elsewhere can make its own name lead to this machine (DNS rebinding), so names of the
    internet are refused unless the configuration has them. Addresses and names without a dot
    can't be abused that way.
    """

    known: frozenset[str]

    @classmethod
    def of(cls, listen: str, public_url: str | None) -> "Hosts":
        """The names in the configuration."""
        names = {listen.lower(), host_name(urlsplit(public_url).netloc) if public_url else ""}
        return cls(frozenset(names - {""}))

    def allow(self, header: str) -> bool:
        """Whether a request with this Host header is answered."""
        name = host_name(header)
        if not name:
            return False
        try:
            ip_address(name)
        except ValueError:
            return name in self.known or "." not in name
        return True


def same(one: str, other: str) -> bool:
    """Whether both are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


@dataclass(slots=True)
class _Tries:
    wrong: int
    until: float


class Gate:
    """Checks the token and what follows from it.

    `token` returns it as it is now: a login with another one has ended. Without a token nobody
    gets in, and nothing can be changed. `clock` returns seconds that never go back, `wall`
    seconds since 1970.
    """

    def __init__(
        self,
        token: Callable[[], str],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._token, self._clock, self._wall = token, clock, wall
        self._tries: dict[str, _Tries] = {}

    @property
    def exists(self) -> bool:
        """Whether there is a token."""
        return bool(self._token())

    def wait(self, address: str) -> float:
        """Seconds that this address has to wait before its next try; 0 for none."""
        tries = self._tries.get(address)
        return max(0.0, tries.until - self._clock()) if tries else 0.0

    def accepts(self, token: str, address: str) -> bool:
        """Whether it is the token. Not tested while the address has to wait."""
        if not self.exists or self.wait(address):
            return False
        if same(token, self._token()):
            self._tries.pop(address, None)
            return True
        self.note_wrong(address)
        return False

    def note_wrong(self, address: str) -> None:
        """Count a wrong token or hook secret: the delay grows with each."""
        before = self._tries.pop(address, None)
        wrong = before.wrong + 1 if before else 1
        delay = 0.0 if wrong < FREE_TRIES else 2.0 ** min(wrong - FREE_TRIES, 16)
        self._tries[address] = _Tries(wrong, self._clock() + min(delay, LONGEST_DELAY))
        while len(self._tries) > MOST_ADDRESSES:
            del self._tries[next(iter(self._tries))]

    def cookie(self) -> str:
        """The value of a new login cookie."""
        body = f"{int(self._wall()) + LIFE}.{secrets.token_urlsafe(9)}"
        return f"{body}.{self._sign(body)}"

    def logged_in(self, cookie: str) -> bool:
        """Whether this cookie is one of ours and has not expired."""
        body, _, signature = cookie.rpartition(".")
        expiry = body.partition(".")[0]
        if not self.exists or not expiry.isascii() or not expiry.isdigit() or len(expiry) > 12:
            return False
        return same(signature, self._sign(body)) and int(expiry) > self._wall()

    def form_key(self, cookie: str) -> str:
        """What forms carry, so that only a page made for this login can send them."""
        return self._sign(f"form {cookie}")

    def accepts_form(self, cookie: str, form: Mapping[str, str]) -> bool:
        """Whether the form carries what a page of this login gave it."""
        return same(form.get("csrf", ""), self.form_key(cookie))

    def _sign(self, text: str) -> str:
        key = hmac.digest(self._token().encode(), b"mouseflow-bot login", "sha256")
        return hmac.new(key, text.encode("utf-8", "replace"), sha256).hexdigest()


def from_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that one of our own pages sent this request."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == headers.get("host", "")


def local_path(text: str) -> str:
    """The address to return to after a login: a path of this page, else the overview."""
    if not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable():
        return "/"
    return text if all(each not in text for each in "\\\r\n\t") else "/"


def network(address: str) -> str:
    """The address itself, of IPv6 its /64 network, which one person owns as a whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "?"
    return str(parsed) if parsed.version == 4 else ":".join(parsed.exploded.split(":")[:4])
