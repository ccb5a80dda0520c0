"""Hooks that have the bot poll now, and badges for other pages."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from urllib.parse import parse_qsl

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bot.errors import StoreError
from bot.messages.text import clean
from bot.store.recordings import websites_named
from bot.web.read.rules import rule
from bot.web.routes import json_response
from bot.web.safety import same
from bot.web.shared import address_of, authorised_form, body_of, check_wait, web_of


async def poll(request: Request) -> Response:
    """Poll everything now; needs the token."""
    await authorised_form(request)
    return _queued(request, "", ())


async def feedback(request: Request) -> Response:
    """A campaign's notification: poll the feedback of the websites that it names, or all, now."""
    web, address = web_of(request), address_of(request)
    check_wait(request)
    body = await body_of(request)
    secret = web.facts.settings.web.hook_secret
    if secret is None:
        raise HTTPException(404)
    if not same(request.path_params["secret"], secret.get_secret_value()):
        web.gate.note_wrong(address)
        raise HTTPException(404)
    named = {*names_in(request.url.query.encode()), *names_in(body)}
    websites: Sequence[str] = ()
    if named:
        with suppress(StoreError):  # nobody knows which they are: poll all
            websites = await web.reader.read(partial(websites_named, names=named))
    return _queued(request, "feedback", websites if len(websites) <= MOST_NAMED else ())


MOST_NAMED = 20
"""If a notification names more websites, all are polled."""

_NAMING = re.compile(r"(website|site|domain|campaign|feedback)(id|name)?")


def names_in(body: bytes) -> frozenset[str]:
    """The websites and campaigns that a notification names: ids and names, as it spells them.

    Mouseflow documents no format: this is JSON or a form, with keys such as `websiteId`.
    """
    found = set()
    try:
        left = [("", msgspec.json.decode(body))]
    except (msgspec.DecodeError, ValueError, RecursionError):
        try:
            left = list(parse_qsl(body.decode(), max_num_fields=50))
        except ValueError:
            return frozenset()
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += [
                (f"{key}{name}" if name in ("id", "name") else name, each)
                for name, each in value.items()
            ]
        elif isinstance(value, list):
            left += [(key, each) for each in value]
        elif isinstance(value, str | int) and _NAMING.fullmatch(re.sub(r"[\W_]", "", key).lower()):
            found.add(str(value))
    return frozenset(found)


def _queued(request: Request, kind: str, websites: Sequence[str]) -> Response:
    """Begin the polls of these websites, or of all, now or soon after the last ones.

    `polls` is how many began now at this bot, `websites` the ids; null: all.
    """
    web, begun = web_of(request), 0
    for website in websites or ("",):
        wait = web.pace.wait(f"{kind}/{website}")
        if wait:
            asyncio.get_running_loop().call_later(wait, web.facts.poll, kind, website)
        elif wait == 0:
            begun += web.facts.poll(kind, website)
    return json_response({"polls": begun, "websites": list(websites) or None}, 202)


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
