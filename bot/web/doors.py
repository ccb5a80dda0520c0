"""Health, readiness, metrics, login, static files."""

import math

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from bot.store import Connection
from bot.web.metrics import Metrics, Stored, exposition, intervals_of, read_stored
from bot.web.pages import Pages
from bot.web.safety import LIFE, from_own_page, local_path
from bot.web.shared import Web, address_of, authorised_form, form_of, web_of


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
    figures = await figures_of(web_of(request))
    body, kind = await exposition(figures, request.headers.get("accept", ""))
    return Response(body, 200, {"content-type": kind})


async def figures_of(web: Web) -> Metrics:
    """The figures of one account; raises StoreError."""
    facts = web.facts

    def work(conn: Connection) -> Stored:
        web.tail.read(conn)
        return read_stored(conn, facts.clock())

    stored = await web.reader.read(work)
    rules = [rule.id for rule in facts.rules().rules]
    every = intervals_of(facts.settings.poll)
    return Metrics(facts.meter, web.tail, stored, rules, facts.recordings_seen(), every)


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
    return static_of(web_of(request).pages, request)


def static_of(pages: Pages, request: Request) -> Response:
    """The static file that the request names."""
    name = request.path_params["name"]
    if pages.versions.get(name) != request.path_params["version"]:
        raise HTTPException(404)
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(pages.static[name], 200, headers, media_type=pages.content_type(name))
