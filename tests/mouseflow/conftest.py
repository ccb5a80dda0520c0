"""What the tests of the API client share: a local server, a clock that obeys, clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from document_samples import SAMPLES
from http_server import Time, Wire

from bot.transport import AiohttpTransport
from mouseflow.client import AsyncMouseflow, Sent

EMAIL = "my@email.com"
KEY = "token1234"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield wire
    server.close()
    await server.wait_closed()
    if wire.serving:  # the clients have closed, so each connection ends
        await asyncio.wait(wire.serving, timeout=60)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def sent() -> list[Sent]:
    return []


@pytest.fixture(params=["httpx's transport", "the bot's transport"])
def transport(request: pytest.FixtureRequest) -> type[AiohttpTransport] | None:
    """What sends the bytes: each promise of the client holds with both."""
    return AiohttpTransport if request.param == "the bot's transport" else None


@pytest.fixture
async def make(
    wire: Wire, time: Time, sent: list[Sent], transport: type[AiohttpTransport] | None
) -> AsyncIterator[Callable[..., AsyncMouseflow]]:
    """Makes clients of the wire, on the obedient clock, closed at the end."""
    async with AsyncExitStack() as closing:

        def client(address: str = "", **options: object) -> AsyncMouseflow:
            settings = {
                "clock": time.clock,
                "monotonic": time.monotonic,
                "sleep": time.sleep,
                "random": lambda: 0.5,
                "observe": sent.append,
                "requests_per_second": 100.0,
                "burst": 50,
                "timeout": 60.0,
                "transport": transport and transport(address or wire.url),
            }
            api = AsyncMouseflow(address or wire.url, EMAIL, KEY, **(settings | options))
            closing.push_async_callback(api.aclose)
            return api

        yield client


@pytest.fixture
def api(make: Callable[..., AsyncMouseflow]) -> AsyncMouseflow:
    return make()


@pytest.fixture
def sample() -> Callable[[str], bytes]:
    return lambda name: (SAMPLES / f"{name}.json").read_bytes()
