"""The status page of several accounts: of each one under `/accounts/NAME/`, and one of them all.

An account has an application of its own for as long as it runs. They share the token, its logins,
and what counts wrong ones.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.config.settings import WebSection
from bot.errors import StoreError
from bot.store.audit import newest_entry
from bot.store.dead_letters import queue_figures
from bot.web import doors
from bot.web.app import ROUTES, Guard, application_of, compiling, for_programs
from bot.web.facts import Facts, Reader, utc
from bot.web.metrics import OfAccounts, exposition
from bot.web.pages import Clock, Pages
from bot.web.read.world import plain
from bot.web.safety import Gate, Hosts
from bot.web.server import bound, serving, url_of
from bot.web.shared import Pace, Web
from bot.web.stream import Hub
from bot.web.tail import Tail

log = structlog.get_logger(__name__)


class AccountLine(msgspec.Struct, frozen=True, kw_only=True):
    """One account in the overview: `state` is `ok`, `warn`, `wait` or `crit`, `text` says why.

    Figures are None where they are not known: of an account that does not run.
    """

    name: str
    state: str
    text: str
    websites: int | None = None
    waiting: int | None = None
    dead: int | None = None


class Accounts:
    """The applications of the accounts that run. `why` is why one does not; empty: it starts."""

    def __init__(
        self, names: Sequence[str], section: WebSection, why: Callable[[str], str]
    ) -> None:
        self._names = names
        self._why = why
        self._token = section.token.get_secret_value() if section.token else ""
        self.pages = Pages()
        self._gate = Gate(self.token, clock=time.monotonic, wall=time.time)
        self._webs: dict[str, Web] = {}
        self._apps: dict[str, ASGIApp] = {}

    def token(self) -> str:
        """`web.token` as the accounts have read it last."""
        for web in self._webs.values():
            self._token = web.facts.token()
            break
        return self._token

    @asynccontextmanager
    async def serve(self, facts: Facts) -> AsyncIterator[None]:
        """Serve the page of one account within the block."""
        name = facts.settings.account
        root = f"/accounts/{name}"
        reader = Reader(facts.settings.store.url)
        tail = Tail(await facts.store.run(newest_entry))
        hub, pace = Hub(facts, reader, tail), Pace(time.monotonic)
        web = Web(facts, reader, self._gate, self.pages, tail, hub, pace, root)
        self._webs[name], self._apps[name] = web, Rooted(application_of(web, ROUTES), root)
        try:
            yield
        finally:
            del self._webs[name], self._apps[name]
            await hub.close()
            await asyncio.to_thread(reader.close)

    def app(self) -> Starlette:
        """The application of them all."""
        app = Starlette(
            routes=[
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                Route("/metrics", self.metrics),
                Route("/api/v1/accounts", self.as_json),
                Route("/static/{version}/{name}", self.static),
                Route("/accounts/", self.overview),
                Route("/accounts/{account}", _to_overview),
                Route("/", self.overview),
                Mount("/accounts/{account}", self.of_account),
            ]
        )
        app.router.redirect_slashes = False
        return app

    async def of_account(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the account in its path."""
        name = scope["path_params"]["account"]
        if (app := self._apps.get(name)) is not None:
            await app(scope, receive, send)
        elif name in self._names:
            await self._not_running(Request(scope), name)(scope, receive, send)
        else:
            known = ", ".join(self._names)
            text = f"There is no such account; there are {known}.\n"
            await PlainTextResponse(text, 404)(scope, receive, send)

    def _not_running(self, request: Request, name: str) -> Response:
        """What is asked of an account that does not run: why, and where the others are."""
        why = plain(self._why(name)) or "It starts"
        again = {"retry-after": "10", "refresh": "10"}
        if for_programs(request.url.path.removeprefix(f"/accounts/{name}")):
            body = {"error": "account.not_running", "message": why}
            return JSONResponse(body, 503, again)
        values = self._values(request) | {
            "heading": f"{name} does not run",
            "text": f"{why.rstrip('.')}. The other accounts keep running.",
            "code": "account.not_running",
            "status": 503,
            "account": name,
        }
        text = self.pages.render("error", values)
        return HTMLResponse(text, 503, again)

    async def healthz(self, _: Request) -> Response:
        """200 while an account runs, and polls and deliveries of all that run move."""
        faults = [
            web.facts.pulse().fault(web.facts.clock().timestamp()) for web in self._webs.values()
        ]
        well = bool(faults) and not any(faults)
        return PlainTextResponse("ok\n" if well else "unhealthy\n", 200 if well else 503)

    async def readyz(self, _: Request) -> Response:
        """200 once the websites of all accounts are known and polled.

        One that does not run holds up nobody, unless it is the only one.
        """
        ready = {name for name, web in self._webs.items() if web.facts.ready()}
        missing = [it for it in self._names if it not in ready and not (ready and self._why(it))]
        if not missing:
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"starting: {', '.join(missing)}\n", 503)

    async def metrics(self, request: Request) -> Response:
        """The figures of all accounts for Prometheus, each with its account."""
        found = {}
        for name, web in list(self._webs.items()):
            try:
                found[name] = await doors.figures_of(web)
            except StoreError as error:
                log.warning(
                    "web.store_unreadable", path="/metrics", reason=str(error), account=name
                )
        figures = OfAccounts({name: found.get(name) for name in self._names})
        body, kind = await exposition(figures, request.headers.get("accept", ""))
        return Response(body, 200, {"content-type": kind})

    async def static(self, request: Request) -> Response:
        """A style sheet, script or icon."""
        return doors.static_of(self.pages, request)

    async def as_json(self, _: Request) -> Response:
        """What the overview shows."""
        body = msgspec.json.encode({"accounts": await self._lines()})
        return Response(body, media_type="application/json")

    async def overview(self, request: Request) -> Response:
        """All accounts: which run, and what waits."""
        lines = await self._lines()
        values = self._values(request) | {"lines": lines}
        return HTMLResponse(self.pages.render("accounts", values))

    def _values(self, request: Request) -> dict[str, Any]:
        return {
            "at": Clock(ZoneInfo("UTC"), utc()),
            "logged_in": False,
            "can_log_in": False,
            "csrf": "",
            "path": request.url.path,
            "here": "",
            "topic": "",
            "frame": None,
            "account": "",
            "several": True,
        }

    async def _lines(self) -> list[AccountLine]:
        return [await self._line(name) for name in self._names]

    async def _line(self, name: str) -> AccountLine:
        web = self._webs.get(name)
        if web is None:
            why = plain(self._why(name))
            return AccountLine(name=name, state="crit" if why else "wait", text=why or "It starts")
        now = web.facts.clock()
        if fault := web.facts.pulse().fault(now.timestamp()):
            return AccountLine(name=name, state="crit", text=fault)
        if not web.facts.ready():
            return AccountLine(name=name, state="wait", text="It reads the list of websites")
        try:
            problems, queue = await web.read(
                lambda seen: (seen.problems, queue_figures(seen.conn, now))
            )
        except StoreError as error:
            return AccountLine(name=name, state="crit", text=plain(str(error)))
        severe = any(it.severity == "critical" for it in problems)
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        return AccountLine(
            name=name,
            state="crit" if severe else "warn" if problems else "ok",
            text=f"{problems[0].title}{more}" if problems else "It runs",
            websites=len(web.facts.sites()),
            waiting=queue.pending + queue.sending,
            dead=queue.dead,
        )


async def _to_overview(request: Request) -> Response:
    return RedirectResponse(f"{request.url.path}/", 307)


class Rooted:
    """An application under a path of its own: redirects to its pages stay under it."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app, self._root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def rooted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                to = headers.get("location", "")
                if to.startswith("/") and not to.startswith("/accounts/"):
                    headers["location"] = f"{self._root}{to}"
            await send(message)

        await self._app(scope, receive, rooted)


@asynccontextmanager
async def pages_of_accounts(
    names: Sequence[str], section: WebSection, why: Callable[[str], str]
) -> AsyncIterator[tuple[Accounts, str]]:
    """Serve the pages within the block; gives them, and their address on this machine.

    Raises ConfigError if it can't listen there.
    """
    host, port = section.address or ("", 0)
    listening = bound(host, port)
    accounts = Accounts(names, section, why)
    url = url_of(listening)
    app = Guard(accounts.app(), Hosts.of(host, section.public_url))
    async with serving(app, listening, section.trusted_proxies), compiling(accounts.pages):
        log.info("web.started", url=url, changes=section.token is not None)
        yield accounts, url
