"""The web application: its routes, what every request must pass, and errors as pages."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.errors import ConfigError, StoreError
from bot.messages.text import capital
from bot.store.audit import newest_entry
from bot.web import changes, doors, hooks, routes
from bot.web.facts import Facts, Reader
from bot.web.pages import Pages
from bot.web.safety import HEADERS, Gate, Hosts
from bot.web.server import bound, serving, url_of
from bot.web.shared import Pace, Web, path_of, web_of
from bot.web.stream import Hub
from bot.web.tail import Tail

log = structlog.get_logger(__name__)

ANY_HOST = frozenset({"/healthz", "/readyz"})
"""Paths that answer under any host name: they say nothing but yes or no."""

ROUTES = [
    Route("/healthz", doors.healthz),
    Route("/readyz", doors.readyz),
    Route("/metrics", doors.metrics),
    Route("/login", doors.login_page, methods=["GET"]),
    Route("/login", doors.login, methods=["POST"]),
    Route("/logout", doors.logout, methods=["POST"]),
    Route("/static/{version}/{name}", doors.static),
    Route("/rules/{id}/snooze", changes.snooze_rule, methods=["POST"]),
    Route("/rules/{id}/resume", changes.resume, methods=["POST"]),
    Route("/queue/retry", changes.retry, methods=["POST"]),
    Route("/queue/cancel", changes.cancel, methods=["POST"]),
    Route("/hooks/poll", hooks.poll, methods=["POST"]),
    Route("/hooks/feedback/{secret}", hooks.feedback, methods=["POST"]),
    Route("/badge/{name}", hooks.badge),
    *routes.ROUTES,
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
                headers.setdefault("date", formatdate(usegmt=True))
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
        text = f"{capital(error.detail)}."
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
        f"{capital(str(error))}. The daemon may still be working: `mouseflow-bot healthcheck` "
        "on its machine tells."
    )
    headers = {"retry-after": "10", "refresh": "10"}
    heading = "The status page can’t read its data"
    return _error(request, 503, "store.unreadable", heading, text, headers)


async def on_bug(request: Request, error: Exception) -> Response:
    """A bug of the page must not stop the daemon, and says nothing of its data."""
    log.error("web.internal_error", path=_shape(request), exc_info=error)
    text = (
        "This is a bug in the status page; the log has the details. The bot itself keeps working."
    )
    return _error(request, 500, "internal", "Something went wrong", text, {})


def _shape(request: Request) -> str:
    """The path without the values in its segments."""
    return "/" + path_of(request).strip("/").partition("/")[0]


def for_programs(path: str) -> bool:
    """Whether programs ask for it, to whom errors are JSON."""
    return path.startswith(("/api/", "/hooks/", "/metrics", "/badge/"))


def _error(
    request: Request,
    status: int,
    code: str,
    heading: str,
    text: str,
    headers: Mapping[str, str] | None,
) -> Response:
    path = path_of(request)
    if for_programs(path):
        return JSONResponse({"error": code, "message": text}, status, dict(headers or {}))
    web = web_of(request)
    values = {"heading": heading, "text": text, "code": code, "status": status}
    return web.page(request, "error", values, status=status, headers=headers)


def application(web: Web, hosts: Hosts, routes: list[Route]) -> ASGIApp:
    """The application, without a server."""
    return Guard(application_of(web, routes), hosts)


def application_of(web: Web, routes: list[Route]) -> Starlette:
    """The application without `Guard`, which checks host names and adds headers."""
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: on_http_error,
            StoreError: on_store_error,
            Exception: on_bug,
        },
    )
    # Else `/rules/` would be answered by the list for a rule without a name.
    app.router.redirect_slashes = False
    app.state.web = web
    return app


AFTER_START = 10.0
"""Seconds after the start, when the first polls have the processor no more to themselves."""


@asynccontextmanager
async def compiling(pages: Pages) -> AsyncIterator[None]:
    """Compile the templates within the block, in a thread: no poll and no first visitor waits."""

    async def compile_them() -> None:
        await asyncio.sleep(AFTER_START)
        await asyncio.to_thread(pages.compile)

    task = asyncio.create_task(compile_them())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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
    hub = Hub(facts, reader, tail)
    pages = Pages()
    web = Web(facts, reader, gate, pages, tail, hub, Pace(time.monotonic))
    app = application(web, Hosts.of(host, section.public_url), ROUTES)
    url = url_of(listening)
    try:
        async with serving(app, listening, section.trusted_proxies), compiling(pages):
            log.info("web.started", url=url, changes=gate.exists)
            try:
                yield url
            finally:
                await hub.close()
    finally:
        await asyncio.to_thread(reader.close)
