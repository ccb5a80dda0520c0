"""The web application: its routes, what every request must pass, and errors as pages."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.errors import ConfigError, StoreError
from bot.store import Connection
from bot.store.audit import newest_entry
from bot.web.facts import Facts, Reader
from bot.web.metrics import Metrics, Stored, exposition, read_stored
from bot.web.pages import Clock, Pages
from bot.web.safety import HEADERS, LIFE, Gate, Hosts, from_own_page, local_path, network
from bot.web.server import bound, serving, url_of
from bot.web.tail import Tail

log = structlog.get_logger(__name__)

MOST_BODY = 64 * 1024
"""Bytes of a request's body; a form of this page has less than one thousand."""

ANY_HOST = frozenset({"/healthz", "/readyz"})
"""Paths that answer under any host name: they say nothing but yes or no."""

COOKIE = "mouseflow_bot"


@dataclass(frozen=True, slots=True)
class Web:
    """What the handlers share."""

    facts: Facts
    reader: Reader
    gate: Gate
    pages: Pages
    tail: Tail

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
        text = self.pages.render(name, self.values(request) | dict(values))
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
            "frame": None,
        }


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


def check_token(request: Request, token: str) -> None:
    """Raise HTTPException if this is not the token."""
    gate, address = web_of(request).gate, address_of(request)
    if wait := gate.wait(address):
        raise HTTPException(429, headers={"retry-after": str(math.ceil(wait))})
    if not gate.accepts(token, address):
        raise HTTPException(401)


async def healthz(request: Request) -> Response:
    """200 while polls and deliveries move, as `mouseflow-bot healthcheck`."""
    facts = web_of(request).facts
    fault = facts.pulse().fault(facts.clock().timestamp())
    return PlainTextResponse("unhealthy\n" if fault else "ok\n", 503 if fault else 200)


async def readyz(request: Request) -> Response:
    """200 once the websites are known and polled."""
    ready = web_of(request).facts.ready()
    return PlainTextResponse("ok\n" if ready else "starting\n", 200 if ready else 503)


async def metrics(request: Request) -> Response:
    """The figures for Prometheus."""
    web = web_of(request)
    facts = web.facts

    def work(conn: Connection) -> Stored:
        web.tail.read(conn)
        return read_stored(conn, facts.clock())

    stored = await web.reader.read(work)
    rules = [rule.id for rule in facts.rules().rules]
    figures = Metrics(facts.meter, web.tail, stored, rules, facts.recordings_seen())
    body, kind = await exposition(figures, request.headers.get("accept", ""))
    return Response(body, 200, {"content-type": kind})


async def login_page(request: Request) -> Response:
    """Ask for the token."""
    after = local_path(request.query_params.get("next", "/"))
    web = web_of(request)
    if not web.gate.exists:
        raise HTTPException(404)
    return web.page(request, "login", {"next": after, "error": ""})


async def login(request: Request) -> Response:
    """Check the token and set the cookie."""
    web = web_of(request)
    if not web.gate.exists:
        raise HTTPException(404)
    if not from_own_page(request.headers):
        raise HTTPException(403, "log in on the login page of this address")
    form = await form_of(request)
    after, address = local_path(form.get("next", "/")), address_of(request)
    wait = web.gate.wait(address)
    if not wait and web.gate.accepts(form.get("token", ""), address):
        answer = RedirectResponse(after, 303)
        answer.set_cookie(
            web.cookie_name(request),
            web.gate.cookie(),
            max_age=LIFE,
            httponly=True,
            secure=web.secure(request),
            samesite="strict",
        )
        return answer
    left = math.ceil(web.gate.wait(address))
    error = "Too many attempts." if wait else "Wrong token."
    if left:
        error += f" The next attempt is possible in {left} s."
    headers = {"retry-after": str(left)} if left else {}
    status = 429 if wait else 403
    values = {"next": after, "error": error}
    return web.page(request, "login", values, status=status, headers=headers)


async def logout(request: Request) -> Response:
    """Delete the cookie."""
    await authorised_form(request)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(web_of(request).cookie_name(request), httponly=True, samesite="strict")
    return answer


async def static(request: Request) -> Response:
    """A style sheet, script or icon, under a name that changes with its content."""
    pages, name = web_of(request).pages, request.path_params["name"]
    if pages.versions.get(name) != request.path_params["version"]:
        raise HTTPException(404)
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(pages.static[name], 200, headers, media_type=pages.content_type(name))


ROUTES = [
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
    Route("/login", login_page, methods=["GET"]),
    Route("/login", login, methods=["POST"]),
    Route("/logout", logout, methods=["POST"]),
    Route("/static/{version}/{name}", static),
]


class Guard:
    """Refuses foreign host names and adds the headers of every answer."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        if scope["path"] not in ANY_HOST and not self._hosts.allow(host.decode("latin-1")):
            text = "This name is not in the configuration: set web.public_url.\n"
            await PlainTextResponse(text, 400)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the request did wrong, as a page or as JSON."""
    if not isinstance(error, HTTPException):
        raise TypeError
    status = error.status_code
    heading, text = _WORDS.get(status, ("This can’t be done", "The request was not understood."))
    if error.detail and error.detail not in _DEFAULT_DETAILS:
        text = f"{error.detail[:1].upper()}{error.detail[1:]}."
    return _error(request, status, f"http.{status}", heading, text, error.headers)


_WORDS = {
    401: ("Log in first", "This needs the token of the configuration (web.token)."),
    403: ("This is not allowed", "The request did not come from a page of this login."),
    404: ("There is no such page", "The rule, recording or address may have gone."),
    405: ("This can’t be done here", "The address does not know this method."),
    413: ("This is too long", "The body of the request is too long."),
    429: ("Too many attempts", "Wait a little before the next one."),
}
_DEFAULT_DETAILS = frozenset(
    {"Unauthorized", "Forbidden", "Not Found", "Method Not Allowed", "Too Many Requests",
     "Request Entity Too Large", "Content Too Large"}
)  # fmt: skip


async def on_store_error(request: Request, error: Exception) -> Response:
    """The store can't be read: the daemon may work all the same."""
    log.warning("web.store_unreadable", path=_shape(request), reason=str(error))
    text = (
        f"{error}. The daemon may still be working: `mouseflow-bot healthcheck` on its machine "
        "tells."
    )
    headers = {"retry-after": "10", "refresh": "10"}
    heading = "The status page can’t read its data"
    return _error(request, 503, "store.unreadable", heading, text, headers)


async def on_bug(request: Request, error: Exception) -> Response:
    """A bug of the page must not stop the daemon, and says nothing of its data."""
    log.error("web.internal_error", path=_shape(request), exc_info=error)
    text = "This is a bug in the status page; the log has the details. The bot works on."
    return _error(request, 500, "internal", "Something went wrong", text, {})


def _shape(request: Request) -> str:
    """The path without what stands in its segments."""
    return "/" + request.url.path.strip("/").partition("/")[0]


def _error(
    request: Request,
    status: int,
    code: str,
    heading: str,
    text: str,
    headers: Mapping[str, str] | None,
) -> Response:
    path = request.url.path
    if path.startswith(("/api/", "/hooks/", "/metrics", "/badge/")):
        return JSONResponse({"error": code, "message": text}, status, dict(headers or {}))
    web = web_of(request)
    values = {"heading": heading, "text": text, "code": code, "status": status}
    return web.page(request, "error", values, status=status, headers=headers)


def application(web: Web, hosts: Hosts, routes: list[Route]) -> ASGIApp:
    """The application, without a server."""
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: on_http_error,
            StoreError: on_store_error,
            Exception: on_bug,
        },
    )
    app.state.web = web
    return Guard(app, hosts)


@asynccontextmanager
async def status_page(facts: Facts) -> AsyncIterator[str]:
    """Serve the page within the block; gives its address on this machine.

    Raises ConfigError if it can't listen there.
    """
    section = facts.settings.web
    if section.address is None:
        raise ConfigError("web.listen is empty")
    host, port = section.address
    listening = bound(host, port)
    reader = Reader(facts.settings.store.url)
    tail = Tail(await facts.store.run(newest_entry))
    gate = Gate(facts.token, clock=time.monotonic, wall=time.time)
    web = Web(facts, reader, gate, Pages(), tail)
    app = application(web, Hosts.of(host, section.public_url), ROUTES)
    url = url_of(listening)
    try:
        async with serving(app, listening):
            log.info("web.started", url=url, changes=gate.exists)
            yield url
    finally:
        await asyncio.to_thread(reader.close)
