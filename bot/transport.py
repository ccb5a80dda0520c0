"""HTTP over aiohttp: sessions that send each request once, and httpx's transport over one.

httpx's own transport takes three times the processor time, and loses a connection for good with
each call that is cancelled in flight.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from ssl import SSLContext
from threading import Thread

import aiohttp
import aiohttp.connector
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bot.ports import may_act
from mouseflow.proxies import proxy_for

IDLE = 5.0
"""After so many seconds without a request a connection is closed."""

LONGEST_LINE = 64 * 1024
"""The longest header, and the longest first line, that is read of an answer."""

# aiohttp loads the certificates twice when it is imported: 2 MB. The bot's connections use `tls()`;
# without these contexts, a connection that forgets it fails.
for _name in ("_SSL_CONTEXT_VERIFIED", "_SSL_CONTEXT_UNVERIFIED"):
    vars(aiohttp.connector).pop(_name, None)


@cache
def tls() -> SSLContext:
    """The TLS context of all connections, made when first needed: certificates take a while.

    It trusts the system's authorities, and those of `SSL_CERT_FILE`, `SSL_CERT_DIR` or certifi.
    """
    context = httpx.create_ssl_context()
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context


def tls_for(url: str, proxy: str | None) -> SSLContext | bool:
    """aiohttp's `ssl` for a request: `tls()` if the URL or the proxy is https, else True."""
    secure = any(each.lower().startswith("https:") for each in (url, proxy or ""))
    return tls() if secure else True


LOOKUPS = 20
"""How many host names one session looks up at once."""

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class _Resolver(AbstractResolver):
    """Looks host names up in threads of its session alone.

    aiohttp takes those of the whole process: a few hosts whose name server does not answer would
    hold up every other account and service, and whatever else needs a thread. These threads are
    daemons, so the process can end before the name server answers.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of the host; raises OSError if there are none."""
        found: Future[list[ResolveResult]] = Future()

        def look_up() -> None:
            if not found.set_running_or_notify_cancel():
                return
            try:
                found.set_result(_addresses(host, port, family))
            except Exception as error:
                found.set_exception(error)

        async with self._free:
            Thread(target=look_up, name=f"look up {host}", daemon=True).start()
            return await asyncio.wrap_future(found)

    async def close(self) -> None:
        """Do nothing: a thread ends with its lookup."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [
        ResolveResult(
            hostname=host, host=socket.getnameinfo(address, _NUMERIC)[0], port=port,
            family=kind, proto=proto, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, proto, _, address in found
    ]  # fmt: skip


def new_session() -> aiohttp.ClientSession:
    """A session that repeats nothing by itself, keeps no cookies and unpacks nothing.

    It limits neither the number of connections nor the time: its users do.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE, resolver=_Resolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=["Content-Type"],
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )
    # There is no public switch. aiohttp would send a GET, PUT or DELETE again if the connection
    # drops; the server may have performed the first one.
    session._retry_connection = False  # noqa: SLF001
    return session


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests through aiohttp, to `url` and its proxy.

    ConnectError, ConnectTimeout, ProxyError and UnsupportedProtocol mean that nothing was sent.
    Raises ConfigurationError for a proxy of the environment that can't be used.
    """

    def __init__(self, url: str) -> None:
        self._proxy = proxy_for(url)
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, its body not yet read. Raises httpx's errors."""
        if request.method != "GET":
            await may_act()
        limits = request.extensions.get("timeout", {})
        with _httpx_errors():
            answer = await self._open().request(
                request.method,
                URL(str(request.url), encoded=True),  # as it is: a `%2C` is no comma
                headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
                proxy=self._proxy,
                ssl=tls_for(str(request.url), self._proxy),
                timeout=aiohttp.ClientTimeout(
                    connect=limits.get("connect"), sock_read=limits.get("read")
                ),
            )
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer))

    async def aclose(self) -> None:
        """Close the connections; the next request opens others."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Made when first needed, since it belongs to the running loop.
        if self._session is None:
            self._session = new_session()
        return self._session


class _Body(httpx.AsyncByteStream):
    """The body of an answer as it arrives. A connection whose body was not read is closed."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for chunk in self._answer.content.iter_any():
                yield chunk

    async def aclose(self) -> None:
        self._answer.close()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise httpx's error for aiohttp's: the first four say that nothing was sent."""
    try:
        yield
    except aiohttp.ClientHttpProxyError as error:
        raise httpx.ProxyError(f"{error.status} {error.message}") from None
    except aiohttp.ClientProxyConnectionError as error:
        raise httpx.ProxyError(str(error.os_error)) from None
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(str(error.os_error)) from None
    except aiohttp.ConnectionTimeoutError:
        raise httpx.ConnectTimeout("no connection in time") from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, UnicodeError):
        raise httpx.UnsupportedProtocol("not an http or https address") from None
    except TimeoutError:
        raise httpx.ReadTimeout("no answer in time") from None
    except aiohttp.ServerDisconnectedError:
        raise httpx.RemoteProtocolError("the server closed the connection") from None
    except aiohttp.ClientPayloadError:
        raise httpx.RemoteProtocolError("the answer is cut off") from None
    except aiohttp.ClientResponseError as error:
        raise httpx.RemoteProtocolError(f"not an answer in HTTP: {error.message}") from None
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.ReadError(str(error)) from None
