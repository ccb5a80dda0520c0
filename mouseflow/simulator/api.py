"""The simulated Mouseflow REST API as an ASGI application."""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mouseflow.simulator import api_recordings, api_reports
from mouseflow.simulator.filters import BadFilter
from mouseflow.simulator.request import ApiCall, Endpoint, answer
from mouseflow.simulator.world import ApiError, World

# The document's text for each status (L4444-4457).
MEANINGS = {
    400: ("Bad Request", "Your request is invalid."),
    401: ("Unauthorized", "Your API key is wrong."),
    403: ("Forbidden", "You do not have permission to access."),
    404: ("Not Found", "The requested URL could not be found."),
    405: ("Method Not Allowed", "You tried to access an invalid method."),
    406: ("Not Acceptable", "You requested a format that isn't json."),
    410: ("Gone", "The URL requested has been removed from our servers."),
    418: ("I'm a teapot", "I'm a teapot."),
    429: ("Too Many Requests", "You are making too many requests within a short timeframe."),
    500: (
        "Internal Server Error",
        "We had a problem with our server. Try again later.",
    ),
    503: (
        "Service Unavailable",
        "We're temporarily offline for maintenance. Please try again later.",
    ),
}


def mouseflow_app(world: World, users: Mapping[str, str]) -> Starlette:
    """All endpoints for one account; `users` maps email addresses to API keys."""
    table = (*api_recordings.ENDPOINTS, *api_reports.ENDPOINTS)
    routes = [
        Route(path, _endpoint(world, users, endpoint), methods=[method])
        for method, path, endpoint in table
    ]

    async def routing_error(request: Request, problem: Exception) -> Response:
        if authenticated(request.headers.get("authorization", ""), users) is None:
            return failure(401)  # before 404: nobody learns which paths there are (L28)
        return failure(problem.status_code if isinstance(problem, HTTPException) else 500)

    return Starlette(routes=routes, exception_handlers={HTTPException: routing_error})


def failure(status: int, message: str = "") -> Response:
    """An error as JSON (L10); the document shows no example of one."""
    name, meaning = MEANINGS.get(status, ("Error", "The request failed."))
    response = answer({"error": name, "message": message or meaning}, status)
    if status == 401:
        response.headers["www-authenticate"] = 'Basic realm="Mouseflow"'
    return response


def _endpoint(
    world: World, users: Mapping[str, str], endpoint: Endpoint
) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        body = await request.body()
        user = authenticated(request.headers.get("authorization", ""), users)
        if user is None:
            return failure(401)
        if not accepts_json(request.headers.get("accept", "*/*")):
            return failure(406)
        parameters = {
            key if world.quirks.case_sensitive else key.casefold(): value
            for key, value in request.query_params.items()
        }
        call = ApiCall(world, user, request.path_params, parameters, body)
        try:
            if request.method not in ("GET", "HEAD") and "website" in call.path:
                _writable(call)
            return endpoint(call)
        except ApiError as error:
            return failure(error.status, error.message)
        except BadFilter as error:
            return failure(400, str(error))

    return serve


def _writable(call: ApiCall) -> None:
    if call.site.read_only:
        raise ApiError(403)


def authenticated(header: str, users: Mapping[str, str]) -> str | None:
    """The user whose credentials are in the Authorization header (L24), or None."""
    scheme, _, encoded = header.partition(" ")
    if scheme.casefold() != "basic":
        return None
    try:
        email, _, key = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    known = users.get(email)
    if known is None or not hmac.compare_digest(known.encode(), key.encode()):
        return None
    return email


def accepts_json(header: str) -> bool:
    """Whether an Accept header allows JSON (L4452): the most specific range that fits decides."""
    weights: dict[str, float] = {}
    for part in header.split(","):
        kind, *rest = (each.strip().casefold() for each in part.split(";"))
        weight = next((each[2:] for each in rest if each.startswith("q=")), "1")
        try:
            weights[kind] = float(weight)
        except ValueError:
            weights[kind] = 1.0
    fits = ("application/json", "application/*", "*/*", "")
    return next((weights[kind] > 0 for kind in fits if kind in weights), False)
