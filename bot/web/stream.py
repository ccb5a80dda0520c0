"""Server-sent events: the parts of a page that changed, and how many entries are new."""

import re
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bot.errors import StoreError
from bot.web.shared import Web

MOST = 20
"""Streams at once; further pages are told to reload."""

EVERY = 5.0
"""Seconds between two looks at what has changed."""

RETRY = 3_000
"""Milliseconds after which a browser connects again."""

IDLE = 12
"""A page is rendered after so many looks at the latest, and as soon as the audit log has an entry.

Polls alone change little else than when they were, and rendering would cost more than they do.
"""

KEEP_ALIVE = 3
"""After so many looks without news a comment keeps the connection open."""

Render = Callable[[], Coroutine[Any, Any, dict[str, str]]]


async def stream(request: Request, web: Web, about: str, render: Render | None) -> Response:
    """The stream of one page; without `render` it counts new entries of the audit log.

    Streams with the same words in `about` show the same.
    """
    if web.hub.open >= MOST:
        raise HTTPException(503, "all streams are taken", {"retry-after": "15"})
    headers = {"x-accel-buffering": "no"}
    kind = "text/event-stream"
    if request.method == "HEAD":  # it has no body, so its stream would never end
        return Response(b"", 200, headers, media_type=kind)
    if render is None:
        await web.reader.read(web.tail.read)
        news = _entries(web, web.tail.entries)
    else:
        # Who is logged in sees forms of their own.
        key = f"{about} {web.cookie_of(request) if web.logged_in(request) else ''}"
        await render()  # what there is not can't be followed
        news = _parts(web, key, render)
    return StreamingResponse(_counted(web, news), 200, headers, media_type=kind)


async def _counted(web: Web, news: AsyncIterator[str]) -> AsyncIterator[str]:
    web.hub.open += 1
    try:
        yield f"retry: {RETRY}\n\n"
        async for text in news:
            yield text
    finally:
        web.hub.open -= 1


async def _parts(web: Web, key: str, render: Render) -> AsyncIterator[str]:
    """Each part of the page that looks different from before; at first all of them.

    The page may have changed between its load and the beginning of the stream.
    """
    before, quiet, idle, entries = dict[str, str](), 0, IDLE, 0
    while await web.hub.pause(EVERY):
        try:
            news = await web.hub.look("", partial(_written, web), EVERY / 2)
            idle += 1
            if news != entries or idle >= IDLE:
                now = await web.hub.look(key, partial(_seen, render), EVERY / 2)
                entries, idle = news, 0
        except StoreError:
            continue  # the page itself says so when it is loaded again
        except HTTPException:
            return  # the rule is gone, as a new stream is told
        changed = [part for part, (look, _event) in now.items() if before.get(part) != look]
        for part in changed:
            yield now[part][1]
        quiet = 0 if changed else quiet + 1
        if quiet >= KEEP_ALIVE:
            quiet = 0
            yield ": keep-alive\n\n"
        before = {part: look for part, (look, _event) in now.items()}


async def _written(web: Web) -> int:
    """How many entries the audit log has got since the start."""
    await web.reader.read(web.tail.read)
    return web.tail.entries


async def _seen(render: Render) -> dict[str, tuple[str, str]]:
    """Each part of the page, with its look and the event that tells of it."""
    return {
        part: (_COUNTS_ON.sub(">", html), _event("part", {"id": part, "html": html}))
        for part, html in (await render()).items()
    }


_COUNTS_ON = re.compile(r" data-rel>[^<]*")
"""Relative times, which the script counts on by itself."""


async def _entries(web: Web, seen: int) -> AsyncIterator[str]:
    """How many entries were written since the last event, or since so many were `seen`."""
    quiet = 0
    while await web.hub.pause(EVERY):
        try:
            await web.reader.read(web.tail.read)
        except StoreError:
            continue
        if new := web.tail.entries - seen:
            seen, quiet = web.tail.entries, 0
            yield _event("entry", {"seq": web.tail.last, "entries": new})
        elif (quiet := quiet + 1) >= KEEP_ALIVE:
            quiet = 0
            yield ": keep-alive\n\n"


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n"
