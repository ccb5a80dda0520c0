"""Hooks that have the bot poll now, and badges for other pages."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bot.messages.text import clean
from bot.web.read.rules import rule
from bot.web.routes import json_response
from bot.web.safety import same
from bot.web.shared import address_of, authorised_form, body_of, check_wait, web_of


async def poll(request: Request) -> Response:
    """Poll everything now; needs the token."""
    await authorised_form(request)
    return _queued(request, "")


async def feedback(request: Request) -> Response:
    """A campaign's notification: whatever it says, poll the feedback now."""
    web, address = web_of(request), address_of(request)
    check_wait(request)
    await body_of(request)
    secret = web.facts.settings.web.hook_secret
    if secret is None:
        raise HTTPException(404)
    if not same(request.path_params["secret"], secret.get_secret_value()):
        web.gate.note_wrong(address)
        raise HTTPException(404)
    return _queued(request, "feedback")


def _queued(request: Request, kind: str) -> Response:
    """Begin the polls now, or soon after the last ones; `polls` is how many began now."""
    web = web_of(request)
    wait = web.pace.wait(kind)
    if wait:
        asyncio.get_running_loop().call_later(wait, web.facts.poll, kind)
    return json_response({"polls": web.facts.poll(kind) if wait == 0 else 0}, 202)


async def badge(request: Request) -> Response:
    """A rule's state as a small picture."""
    web, name = web_of(request), request.path_params["name"]
    if not name.endswith(".svg"):
        raise HTTPException(404)
    found = await web.read(lambda seen: rule(seen, name.removesuffix(".svg")))
    if found is None:
        raise HTTPException(404)
    row = found.row
    text = f"{row.state_text}, {row.last_24h} in 24 h"
    values = {"label": clean(row.id, 40), "text": clean(text, 60), "state": row.state}
    svg = web.pages.env.get_template("badge.svg").render(values)
    headers = {"cache-control": "no-cache", "cross-origin-resource-policy": "cross-origin"}
    return Response(svg, 200, headers, media_type="image/svg+xml")
