"""The bot's own connections: TLS is verified, certificates load once, names are looked up apart."""

import asyncio
import socket
import ssl
import subprocess
import sys
import threading

import aiohttp
import httpx
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from bot.delivery.http import Connections
from bot.delivery.slack import AppClient
from bot.errors import TryLater
from bot.transport import LOOKUPS, AiohttpTransport, tls
from bot.written import Secret

PEM = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHIGFjcDrPxYLgvLd
siGIEDUXHau6OX8Es1AshiiGE/2hRANCAARqKqHLKuMRCQHYygo46lyC17UAiS50
I3z7MCrWHyssNvfJrLcfAWo6EK5CUL5NZtx83rXnu9BtrwIokMzIZO5T
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBWzCCAQKgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAkxMjcuMC4w
LjEwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGoqocsq4xEJAdjK
CjjqXILXtQCJLnQjfPswKtYfKyw298mstx8BajoQrkJQvk1m3Hzetee70G2vAiiQ
zMhk7lOjQzBBMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAdBgNV
HQ4EFgQUUKXtHjFXYNAEwFPpEDkUh8boXBUwCgYIKoZIzj0EAwIDRwAwRAIgG7DS
liBU9BQ5i9f4fIwtqKt243iCf6eFObJk1mBF28wCIFDYptiA+MTrx9/xjxb7ZT8i
jDz+kv+EHKom2IdMLOkd
-----END CERTIFICATE-----
"""
"""Of 127.0.0.1, signed by itself, with a key that nothing else uses."""


@pytest.fixture
async def server(tmp_path):
    """A server over TLS; its certificate is in `SSL_CERT_FILE`'s place, not yet trusted."""
    (tmp_path / "server.pem").write_text(PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")

    async def answer(_request):
        return web.Response(text="ok")

    async def talk(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        return socket

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/socket", talk)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    tls.cache_clear()
    yield server
    tls.cache_clear()
    await server.close()


@pytest.fixture
async def get(server):
    """The answers of the server over Slack's and webhooks' connections, and over Mouseflow's."""
    url = str(server.make_url("/"))
    connections, transport = Connections(), AiohttpTransport(url)

    async def asked():
        reply = await connections.exchange("GET", "Slack", url, {}, most=9)
        async with httpx.AsyncClient(transport=transport) as client:
            return reply.body, (await client.get(url)).content

    yield asked
    await connections.close()
    await transport.aclose()


async def test_a_certificate_that_nobody_signed_is_refused(server, get, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(TryLater, match="the certificate of Slack is not trusted"):
        await get()
    async with httpx.AsyncClient(transport=AiohttpTransport(str(server.make_url("/")))) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(str(server.make_url("/")))


async def test_all_connections_trust_the_authorities_of_the_environment(
    server, get, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    assert await get() == (b"ok", b"ok")
    app = AppClient(Secret("xapp-1"), str(server.make_url("/")))
    url = server.make_url("/socket")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, ssl=app.client.ssl) as socket,
    ):
        assert (await socket.receive()).type is WSMsgType.TEXT
    await app.close()


def test_an_import_loads_no_certificates():
    seen = """if True:
        import gc, ssl
        import bot.daemon
        print([each for each in gc.get_objects() if isinstance(each, ssl.SSLContext)])
    """
    shown = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


async def test_a_name_server_that_hangs_holds_up_no_other_session(monkeypatch):
    hangs, looking = threading.Event(), []
    look_up = socket.getaddrinfo

    def slow(host, *arguments, **more):
        if host.endswith(".example"):
            looking.append(host)
            hangs.wait()
            raise socket.gaierror
        return look_up(host, *arguments, **more)

    async def answer(_request):
        return web.Response(text="ok")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    app = web.Application()
    app.router.add_get("/", answer)
    server, hooks, slack = TestServer(app), Connections(), Connections()
    await server.start_server()
    calls = [
        asyncio.create_task(hooks.exchange("GET", "it", f"http://h{n}.example/", {}, most=9))
        for n in range(2 * LOOKUPS)
    ]
    try:
        url = f"http://localhost:{server.port}/"
        async with asyncio.timeout(30):
            while len(looking) < LOOKUPS:  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(0.01)
            assert (await slack.exchange("GET", "Slack", url, {}, most=9)).body == b"ok"
            assert await asyncio.to_thread(lambda: "the process has threads left")
        assert len(looking) == LOOKUPS
    finally:
        hangs.set()
        for failed in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failed, TryLater)
            assert not failed.unknown
        await hooks.close()
        await slack.close()
        await server.close()
