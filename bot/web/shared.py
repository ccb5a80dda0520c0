"""What the handlers share: the parts of the page, who asks, and the forms they send."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bot.domain.accounts import commands_of
from bot.web.facts import Facts, Reader
from bot.web.pages import Clock, Pages
from bot.web.read.world import World, world
from bot.web.safety import Gate, from_own_page, network
from bot.web.stream import Hub
from bot.web.tail import Tail

T = TypeVar("T")

MOST_BODY = 64 * 1024
"""Bytes of a request's body; a form of this page has less than one thousand."""

COOKIE = "mouseflow_bot"

PAUSE = 10.0
"""Seconds between two polls of a kind that hooks begin; one serves all that came before it."""


@dataclass(slots=True)
class Pace:
    """When hooks begin polls of each kind. `clock` returns seconds that never go back."""

    clock: Callable[[], float]
    latest: dict[str, float] = field(default_factory=dict)

    def wait(self, kind: str) -> float | None:
        """Seconds until a poll is to begin for this call; None if one is to begin anyway."""
        now, latest = self.clock(), self.latest.get(kind, float("-inf"))
        if latest > now:
            return None
        self.latest[kind] = max(now, latest + PAUSE)
        return self.latest[kind] - now


@dataclass(frozen=True, slots=True)
class Web:
    """What the handlers share."""

    facts: Facts
    reader: Reader
    gate: Gate
    pages: Pages
    tail: Tail
    hub: Hub
    pace: Pace
    root: str = ""
    """The path under which the pages of one of several accounts are."""

    async def read(self, work: Callable[[World], T]) -> T:
        """What `work` returns, from one consistent state of the store; raises StoreError."""
        return await self.reader.read(lambda conn: work(world(conn, self.facts)))

    def rooted(self, html: str) -> str:
        """The page or part of one, with its addresses under the account's path, and its commands.

        Texts of others can't look like an attribute: a quote in them is escaped.
        """
        if not self.root:
            return html
        account = self.facts.settings.account
        return commands_of(account, _OWN_ADDRESS.sub(rf' \1="{self.root}/', html))

    def secure(self, request: Request) -> bool:
        """Whether the browser came over https: a proxy in front of `web.public_url` says so."""
        public = self.facts.settings.web.public_url or ""
        return public.startswith("https:") and urlsplit(public).netloc == request.headers.get(
            "host"
        )

    def cookie_name(self, request: Request) -> str:
        """Browsers drop a `Secure` cookie that comes over plain http, and the login with it."""
        return f"__Host-{COOKIE}" if self.secure(request) else COOKIE

    def cookie_of(self, request: Request) -> str:
        """The login cookie that came with the request."""
        return request.cookies.get(self.cookie_name(request), "")

    def logged_in(self, request: Request) -> bool:
        """Whether the request comes from somebody who gave the token."""
        return self.gate.logged_in(self.cookie_of(request))

    def page(
        self,
        request: Request,
        name: str,
        values: Mapping[str, Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A rendered page."""
        text = self.rooted(self.pages.render(name, self.values(request) | dict(values)))
        kind = "text/html; charset=utf-8"
        return Response(text, status, dict(headers or {}), media_type=kind)

    def values(self, request: Request) -> dict[str, Any]:
        """What every template may use."""
        cookie = self.cookie_of(request)
        logged_in = self.gate.logged_in(cookie)
        query = f"?{request.url.query}" if request.url.query else ""
        return {
            "at": Clock(self.facts.zone, self.facts.clock()),
            "logged_in": logged_in,
            "can_log_in": self.gate.exists,
            "csrf": self.gate.form_key(cookie) if logged_in else "",
            "path": request.url.path + query,
            "here": "",
            "topic": "",
            "asked": {},
            "frame": None,
            "account": self.facts.settings.account if self.root else "",
            "several": False,
        }


_OWN_ADDRESS = re.compile(r' (href|src|action|formaction|data-stream)="/(?!accounts/|/)')


def path_of(request: Request) -> str:
    """The path without that of the account."""
    return request.url.path.removeprefix(web_of(request).root)


def web_of(request: Request) -> Web:
    """What the handlers share."""
    web: Web = request.app.state.web
    return web


def address_of(request: Request) -> str:
    """Whose wrong tokens are counted together."""
    return network(request.client.host) if request.client else "socket"


async def body_of(request: Request, most: int = MOST_BODY) -> bytes:
    """The body; raises HTTPException if it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413)
    return bytes(body)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form."""
    body = await body_of(request)
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=50))
    except ValueError:
        raise HTTPException(400, "this is no form") from None


async def authorised_form(request: Request) -> dict[str, str]:
    """The fields of a form that somebody with the token sent; raises HTTPException otherwise.

    A program sends the token in a header. A browser sends the login cookie, which other sites
    could make it send too: so the form must come from a page of this login.
    """
    web = web_of(request)
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        check_token(request, given.strip())
        return await form_of(request)
    form = await form_of(request)
    cookie = web.cookie_of(request)
    if not web.gate.logged_in(cookie):
        raise HTTPException(401)
    if not from_own_page(request.headers) or not web.gate.accepts_form(cookie, form):
        raise HTTPException(403, "the form is out of date; go back, reload the page and try again")
    return form


def check_wait(request: Request) -> None:
    """Raise HTTPException if the sender has to wait after wrong tokens."""
    if wait := web_of(request).gate.wait(address_of(request)):
        raise HTTPException(429, headers={"retry-after": str(math.ceil(wait))})


def check_token(request: Request, token: str) -> None:
    """Raise HTTPException if this is not the token."""
    check_wait(request)
    if not web_of(request).gate.accepts(token, address_of(request)):
        raise HTTPException(401)
