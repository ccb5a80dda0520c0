"""The simulator without sockets: asked directly, or through an httpx transport."""

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple
from urllib.parse import unquote

import httpx
from starlette.types import ASGIApp, Message

from mouseflow.simulator.middleware import Dropped


class Answer(NamedTuple):
    """What the application answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def ask(
    app: ASGIApp,
    method: str,
    target: str,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes = b"",
    server: tuple[str, int | None] = ("127.0.0.1", 80),
    scheme: str = "http",
) -> Answer:
    """The answer to one request; raises Dropped for a dropped connection.

    `target` is path and query, percent-encoded. Names of `headers` are in lower case.
    """
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "headers": list(headers),
        "scheme": scheme,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "server": server,
        "client": ("127.0.0.1", 123),
        "root_path": "",
    }
    answered: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        answered.append(message)

    await app(scope, receive, send)
    start, *bodies = answered
    whole = b"".join(each.get("body", b"") for each in bodies)
    return Answer(start["status"], start["headers"], b"" if method == "HEAD" else whole)


class InProcess(httpx.AsyncBaseTransport):
    """Passes each request to the application; a dropped connection is httpx's ReadError.

    `httpx.AsyncClient(transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1")`.
    Half as dear as httpx.ASGITransport, which looks for other event loops at each call.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        target, sent = url.raw_path.decode(), await request.aread()
        server = (url.host, url.port)
        try:
            answer = await ask(self._app, request.method, target, headers, sent, server, url.scheme)
        except Dropped as problem:
            raise httpx.ReadError(str(problem), request=request) from problem
        return httpx.Response(answer.status, headers=answer.headers, stream=_Whole(answer.body))


class _Whole(httpx.AsyncByteStream):
    """An answer's body in one piece."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
