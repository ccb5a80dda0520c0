"""Fixtures for tests: `pytest_plugins = ["mouseflow.simulator.pytest"]`."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.types import ASGIApp

from mouseflow.simulator.middleware import Dropped
from mouseflow.simulator.server import Simulator


class InProcess(httpx.AsyncBaseTransport):
    """Hands each request to the application; a dropped connection is httpx's ReadError.

    `httpx.AsyncClient(transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1")`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._inner = httpx.ASGITransport(app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._inner.handle_async_request(request)
        except Dropped as problem:
            raise httpx.ReadError(str(problem), request=request) from problem


@pytest.fixture
def mouseflow_simulator() -> Iterator[Simulator]:
    """A running simulator with the demo's websites, fresh for each test."""
    with Simulator(seed=1) as sim:
        yield sim


@pytest.fixture
def empty_mouseflow_simulator() -> Iterator[Simulator]:
    """A running simulator whose account has no websites yet."""
    with Simulator(seed=1, sites=[]) as sim:
        yield sim
