"""An httpx transport that calls the simulator directly, without sockets."""

import httpx
from starlette.types import ASGIApp

from mouseflow.simulator.middleware import Dropped


class InProcess(httpx.AsyncBaseTransport):
    """Passes each request to the application; a dropped connection is httpx's ReadError.

    `httpx.AsyncClient(transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1")`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._inner = httpx.ASGITransport(app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._inner.handle_async_request(request)
        except Dropped as problem:
            raise httpx.ReadError(str(problem), request=request) from problem
