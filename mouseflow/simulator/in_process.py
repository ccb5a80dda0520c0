"""An httpx transport that calls the simulator directly, without sockets."""

from collections.abc import AsyncIterator

import httpx
from starlette.types import ASGIApp, Message

from mouseflow.simulator.middleware import Dropped


class InProcess(httpx.AsyncBaseTransport):
    """Passes each request to the application; a dropped connection is httpx's ReadError.

    `httpx.AsyncClient(transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1")`.
    Half as dear as httpx.ASGITransport, which looks for other event loops at each call.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": ("127.0.0.1", 123),
            "root_path": "",
        }
        sent, answered = await request.aread(), list[Message]()

        async def receive() -> Message:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: Message) -> None:
            answered.append(message)

        try:
            await self._app(scope, receive, send)
        except Dropped as problem:
            raise httpx.ReadError(str(problem), request=request) from problem
        start, *bodies = answered
        body = b"".join(each.get("body", b"") for each in bodies)
        return httpx.Response(
            start["status"],
            headers=start["headers"],
            stream=_Whole(b"" if request.method == "HEAD" else body),
        )


class _Whole(httpx.AsyncByteStream):
    """An answer's body in one piece."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
