"""The bot's transport: what was sent is known exactly, nothing is repeated, nothing gets stuck."""

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable

import httpx
import pytest
from http_server import Wire, cut, half, held, reply

from bot.transport import AiohttpTransport
from mouseflow import AsyncMouseflow, errors, recordings, websites
from mouseflow.request import Request

SITES = websites.list()
SHARE = recordings.share("w", "r")


@pytest.fixture
def transport():
    """Here only the bot's."""
    return AiohttpTransport


async def _reset(writer: asyncio.StreamWriter) -> None:
    """Hangs up with a reset."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.close()


def _raw(answer: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    return write


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (cut, "RemoteProtocolError: the server closed the connection"),
        (half, "RemoteProtocolError: the answer is cut off"),
        (_reset, r"(ReadError|RemoteProtocolError)"),
        (_raw(b"\x16\x03\x01 no HTTP\r\n\r\n"), "RemoteProtocolError: not an answer in HTTP"),
        (_raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"), "RemoteProtocolError"),
        (_raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "RemoteProtocolError"),
        (_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "RemoteProtocol"),
    ],
    ids=["closed", "cut off", "reset", "junk", "long header", "bad length", "bad chunk"],
)
async def test_what_the_server_took_may_have_taken_effect(trouble, said, api, wire):
    wire.otherwise = trouble
    with pytest.raises(errors.Unreachable, match=said) as caught:
        await api.send(SHARE)
    assert caught.value.outcome_unknown
    assert len(wire.got) == 1


async def test_a_lost_answer_leaves_the_outcome_unknown(make, wire):
    release = asyncio.Event()
    api = make(tries=1)
    await api.send(SITES)  # connects: under load this can take longer than 0.3 s
    wire.otherwise = held(release, reply())
    with pytest.raises(errors.Unreachable, match="ReadTimeout") as caught:
        await api.send(SHARE, timeout=0.3)
    assert caught.value.outcome_unknown
    release.set()


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(5)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("url", "there", "said"),
    [
        ("http://127.0.0.1:9", None, "ConnectError"),
        ("https://nowhere.invalid", None, "ConnectError"),
        ("https://127.0.0.1:{port}", _silent, "ConnectTimeout: no connection in time"),
        ("https://127.0.0.1:{port}", _plain, r"ConnectError: \[SSL"),
    ],
    ids=["refused", "unknown name", "no TLS in time", "no TLS at all"],
)
async def test_what_never_left_has_not_taken_effect(url, there, said, make, monkeypatch):
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = await asyncio.start_server(there or _plain, "127.0.0.1", 0)
    api = make(url.format(port=server.sockets[0].getsockname()[1]), tries=1)
    with pytest.raises(errors.Unreachable, match=said) as caught:
        await api.send(SHARE, timeout=0.3 if there is _silent else None)
    assert not caught.value.outcome_unknown
    server.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", None])
async def test_a_proxy_that_refuses_or_is_gone_was_sent_nothing(answer, make, wire, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    wire.otherwise = _raw(answer or b"")
    place = wire.url.removeprefix("http://") if answer else "127.0.0.1:9"
    monkeypatch.setenv("HTTPS_PROXY", f"http://ops:hunter2@{place}")
    with pytest.raises(errors.Unreachable, match="ProxyError") as caught:
        await make("https://api.example", tries=1).send(SHARE)
    assert not caught.value.outcome_unknown
    assert "hunter2" not in str(caught.value)
    assert [got.method for got in wire.got] == (["CONNECT"] if answer else [])
    if answer:
        assert wire.got[0].headers["proxy-authorization"].startswith("Basic ")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nothing_is_repeated_on_a_connection_that_drops(method, make, wire):
    """aiohttp would repeat it by itself when the connection had been used before."""
    api = make(tries=1)
    await api.send(SITES)
    wire.otherwise = cut
    with pytest.raises(errors.Unreachable):
        await api.send(Request(method, "/websites", "/websites", read=bytes))
    assert [got.method for got in wire.got] == ["GET", method]


async def test_an_idle_connection_that_the_server_closed_is_not_used(api, wire):
    async def reply_and_close(writer):
        await reply(200, b'"token"')(writer)
        writer.close()

    wire.otherwise = reply_and_close
    for _ in range(20):
        assert await api.send(SHARE) == "token"  # would not be repeated
    assert len(wire.got) == 20


async def test_an_address_is_sent_as_it_was_written(api, wire):
    query = (("tags", "a,b~!+"), ("url", "/a b?c=d&e"))
    await api.send(Request("GET", "/websites", "/websites", query=query, read=bytes))
    assert wire.got[0].target == "/websites?tags=a%2Cb~%21%2B&url=%2Fa%20b%3Fc%3Dd%26e"


async def test_long_headers_of_an_answer_are_read(api, wire):
    wire.otherwise = reply(200, b"[]", Content_Security_Policy="x" * 20_000)
    assert await api.send(SITES) == ()


class _Counted(Wire):
    """Answers after a moment, and knows how many connections are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.chance = random.Random(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await super().serve(reader, writer)
        finally:
            self.open -= 1


@pytest.fixture
async def busy():
    wire = _Counted()

    async def after_a_moment(writer: asyncio.StreamWriter) -> None:
        wire.got.clear()
        await asyncio.sleep(wire.chance.random() / 500)
        await reply()(writer)

    wire.otherwise = after_a_moment
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield wire
    server.close()
    await server.wait_closed()


async def test_5000_cancelled_and_timed_out_calls_leave_every_slot_free(busy):
    transport = AiohttpTransport(busy.url)
    chance = random.Random(2)
    ended = {"answered": 0, "cancelled": 0, "timed out": 0}

    async def call(number: int) -> None:
        limits = {"connect": 5.0, "read": 0.0005 if number % 2 else 5.0}
        request = httpx.Request("GET", busy.url, extensions={"timeout": limits})
        try:
            async with asyncio.timeout(None if number % 2 else chance.random() / 500):
                answer = await transport.handle_async_request(request)
                [chunk async for chunk in answer.aiter_raw()]
                await answer.aclose()
        except httpx.ReadTimeout:
            ended["timed out"] += 1
        except TimeoutError:
            ended["cancelled"] += 1
        else:
            ended["answered"] += 1

    async def caller(first: int) -> None:
        for number in range(first, 5000, 25):
            await call(number)

    await asyncio.gather(*(caller(first) for first in range(25)))
    assert min(ended["cancelled"], ended["timed out"]) > 1000
    async with AsyncMouseflow(
        busy.url, "a@b.c", "key", concurrency=8, requests_per_second=1e6, burst=50,
        transport=transport,
    ) as api:  # fmt: skip
        await asyncio.gather(*(api.send(SITES) for _ in range(40)))
        assert busy.open <= 8
