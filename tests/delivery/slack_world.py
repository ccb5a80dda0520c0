"""A small pretend Slack on loopback: posts, history, list of channels, and every trouble."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass
class PretendSlack:
    """Its channel, what was asked, and how it misbehaves: each trouble once, in order."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    troubles: list[Any] = field(default_factory=list)
    refuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)
    flooded: int = 0
    page: int = 2
    public_only: bool = False
    behind: timedelta = timedelta()
    shows_metadata: bool = True
    busy: int = 0
    url: str = ""
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(("chat.postMessage", body))
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble == "drop before":
            request.transport.abort()
            return web.Response()
        if trouble is None or trouble in ("drop after", "hang"):
            if "chat.postMessage" in self.refuses:
                return web.json_response({"ok": False, **self.refuses["chat.postMessage"]})
            self.messages.append({"ts": self._stamp(), "bot_id": "B1", **body})
        if trouble == "drop after":
            request.transport.abort()
            return web.Response()
        if trouble == "hang":
            await request.content.read()
            await self.gone.wait()
        if trouble == "flood":
            return await self._flood(request)
        if isinstance(trouble, web.Response):
            return trouble
        return web.json_response(
            {"ok": True, "ts": self.messages[-1]["ts"], "channel": "C0123ABCD"}
        )

    def _stamp(self) -> str:
        return f"{1772452800 - self.behind.total_seconds() + len(self.messages):.0f}.000100"

    async def history(self, request: web.Request) -> web.Response:
        self.asked.append(("conversations.history", dict(request.query)))
        if odd := self.odd.get("conversations.history"):
            return web.Response(text=odd, content_type="application/json")
        if "conversations.history" in self.refuses:
            return web.json_response({"ok": False, **self.refuses["conversations.history"]})
        if request.query["channel"] != "C0123ABCD":
            return web.json_response({"ok": False, "error": "channel_not_found"})
        if self.busy and request.query.get("cursor"):
            self.busy -= 1
            answer = {"ok": False, "error": "ratelimited"}
            return web.json_response(answer, status=429, headers={"Retry-After": "1"})
        seen = [m for m in self.messages if float(m["ts"]) > float(request.query["oldest"])]
        if not self.shows_metadata:
            seen = [{k: v for k, v in m.items() if k != "metadata"} for m in seen]
        start = int(request.query.get("cursor") or 0)
        more = str(start + self.page) if start + self.page < len(seen) else ""
        return web.json_response(
            {
                "ok": True,
                "messages": seen[::-1][start : start + self.page],
                "response_metadata": {"next_cursor": more},
            },
            headers={"Date": format_datetime(datetime.now(UTC) - self.behind, usegmt=True)},
        )

    async def who(self, request: web.Request) -> web.Response:
        self.asked.append(("auth.test", {}))
        return web.json_response({"ok": True, "bot_id": "B1"})

    async def channels(self, request: web.Request) -> web.Response:
        self.asked.append(("conversations.list", dict(request.query)))
        if odd := self.odd.get("conversations.list"):
            return web.Response(text=odd, content_type="application/json")
        if "conversations.list" in self.refuses:
            return web.json_response({"ok": False, **self.refuses["conversations.list"]})
        if "private" in request.query["types"] and self.public_only:
            return web.json_response({"ok": False, "error": "missing_scope"})
        second = request.query.get("cursor") == "next"
        found = {"id": "C0123ABCD", "name": "alerts"} if second else {"id": "C9", "name": "other"}
        cursor = "" if second else "next"
        return web.json_response(
            {"ok": True, "channels": [found], "response_metadata": {"next_cursor": cursor}}
        )

    async def hook(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(("hook", await request.json()))
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble == "drop after":
            request.transport.abort()
        if trouble == "flood":
            return await self._flood(request)
        return trouble if isinstance(trouble, web.Response) else web.Response(text="ok")

    async def spy(self, request: web.Request) -> web.Response:
        self.asked.append(("spy", {}))
        return web.Response(text="ok")

    async def _flood(self, request: web.Request) -> web.StreamResponse:
        """Answer with 600 MB, as long as somebody reads them."""
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(600):
            await answer.write(b"x" * 1024 * 1024)
            self.flooded += 1024 * 1024
        return answer


@asynccontextmanager
async def serving(slack: PretendSlack) -> AsyncIterator[PretendSlack]:
    """Slack listening; its `url` is the base address."""
    app = web.Application()
    app.router.add_post("/api/chat.postMessage", slack.post)
    app.router.add_get("/api/conversations.history", slack.history)
    app.router.add_get("/api/conversations.list", slack.channels)
    app.router.add_post("/api/auth.test", slack.who)
    app.router.add_post("/services/T1/B1/s3cret", slack.hook)
    app.router.add_route("*", "/spy", slack.spy)
    server = TestServer(app)
    await server.start_server()
    slack.url = str(server.make_url("/"))
    try:
        yield slack
    finally:
        slack.gone.set()
        await server.close()
