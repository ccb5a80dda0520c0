"""One HTTP exchange with the Mouseflow API: the only module that imports httpx.

It uses httpx's transport without its client, which would keep cookies, log every full URL (with
what people typed into filters) and unpack an answer in as many layers as the server names.

httpx leaks a slot of its connection pool whenever a request is cancelled or waits too long
for the pool, until no request gets through. Hence four rules: no pool timeout; a queue in
front of the pool (`CallQueue`); no request in flight is ever cancelled (it ends by its
timeouts); and connections that hang all the same are thrown away and built again. The bot hands
in a transport of its own (`bot.transport`), for which they hold as well.
"""

import asyncio
import base64
import ssl
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from mouseflow import __version__
from mouseflow.errors import ConfigurationError, TooLarge, Unreachable
from mouseflow.proxies import is_host, is_loopback, proxy_for
from mouseflow.request import Request

REGIONS = ("eu", "us")


def base_url(region_or_base_url: str) -> str:
    """The API's URL for "eu", "us" (L18) or a URL of your own, without a trailing slash.

    Raises ConfigurationError for plain http to another machine (L26: it would fail, and
    expose the API key on the way), for credentials in the URL, and for what is no URL.
    """
    if region_or_base_url in REGIONS:
        return f"https://api-{region_or_base_url}.mouseflow.com"
    try:
        parts = urlsplit(region_or_base_url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError("the Mouseflow address is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or not is_host(host):
        raise ConfigurationError("Mouseflow needs a region (eu or us) or a URL with https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "the Mouseflow address must not contain credentials, a query or a fragment"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(f"plain http to {host} would expose the API key: use https")
    return region_or_base_url.rstrip("/")


HttpxTransport = httpx.AsyncBaseTransport

MAX_BODY = 32 * 1024 * 1024
"""The largest answer that is read, packed or unpacked: 10,000 rows are about 10 MB."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.ProxyError,
)


class Reply(Struct, frozen=True):
    """An answer of any status. The names in `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """The connections to one base URL with one pair of credentials.

    `timeout` is the longest silence in seconds, `longest` the longest exchange in total,
    `connections` the maximum number of them. `app` goes in front of the User-Agent.
    `monotonic` returns seconds; `transport` replaces the network.
    """

    def __init__(
        self,
        base_url: str,
        email: str,
        api_key: str,
        *,
        timeout: float,
        longest: float,
        connections: int,
        app: str,
        monotonic: Callable[[], float],
        transport: HttpxTransport | None,
    ) -> None:
        self._base_url = base_url
        self._secrets: tuple[str, ...] = ()
        self._connected: HttpxTransport | None = None
        product = f"mouseflow-bot/{__version__}"
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"{app} {product}" if app else product,
        }
        self.use_credentials(email, api_key)
        self._timeout, self._longest = timeout, longest
        self._connections = connections
        self._monotonic = monotonic
        self._transport = transport
        # Raises ConfigurationError, before anything is sent.
        self._proxy = None if transport else proxy_for(base_url)
        self._tls: ssl.SSLContext | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def use_credentials(self, email: str, api_key: str) -> None:
        """Send these from now on; the former ones stay out of errors, too."""
        pair = base64.b64encode(f"{email}:{api_key}".encode()).decode()
        self._secrets = (pair, api_key, email, *self._secrets)[:6]
        self._headers["Authorization"] = f"Basic {pair}"

    async def exchange(self, request: Request[Any], timeout: float | None = None) -> Reply:
        """The answer; raises Unreachable or TooLarge. Cancelled only when the client closes.

        `timeout` replaces the longest silence. If the exchange hangs beyond all timeouts, the
        connections are thrown away.
        """
        writes = request.method != "GET"
        connected = self._connected = self._connected or self._connect()
        silence = self._timeout if timeout is None else timeout
        exchange = asyncio.create_task(self._exchange(connected, request, silence))
        longest = self._longest if timeout is None else max(self._longest, 4 * timeout)
        try:
            done, _pending = await asyncio.wait({exchange}, timeout=longest)
        except asyncio.CancelledError:
            exchange.add_done_callback(_retrieve)
            exchange.cancel()
            raise
        if not done:
            exchange.add_done_callback(_retrieve)  # it may fail instead of being cancelled
            exchange.cancel()
            self._connected = None
            closing = asyncio.create_task(connected.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closed)
            raise Unreachable(
                "no answer within all timeouts", outcome_unknown=writes, request=request
            )
        failed = exchange.exception()
        if failed is None:
            return exchange.result()
        if isinstance(failed, _TooLarge):
            raise TooLarge(str(failed), outcome_unknown=writes, request=request)
        if not isinstance(failed, httpx.HTTPError | OSError):
            raise failed
        # Not chained: httpx's errors hold the request with its Authorization header.
        raise Unreachable(
            self.without_secrets(_describe(failed)),
            outcome_unknown=writes and not isinstance(failed, _NEVER_SENT),
            request=request,
        )

    def without_secrets(self, text: str) -> str:
        """The text with the credentials replaced, in each form in which they are sent."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    async def aclose(self) -> None:
        """Close the connections. No exchange may be in flight."""
        if self._closing:
            await asyncio.wait(set(self._closing))
        if self._connected is not None:
            connected, self._connected = self._connected, None
            await connected.aclose()

    def _closed(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        _retrieve(closing)

    async def _exchange(
        self, connected: HttpxTransport, request: Request[Any], silence: float
    ) -> Reply:
        headers = dict(self._headers)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        timeout = httpx.Timeout(silence, connect=min(10.0, silence), pool=None)
        message = httpx.Request(
            request.method,
            self._base_url + request.target,
            content=request.body,
            headers=headers,
            extensions={"timeout": timeout.as_dict()},
        )
        deadline = self._monotonic() + 2 * silence
        response = await connected.handle_async_request(message)
        response.request = message
        try:
            unpack = _unpacker(response.headers.get("Content-Encoding", ""))
            body, packed = BytesIO(), 0  # a BytesIO hands out its bytes without a copy
            async for chunk in response.aiter_raw():
                body.write(unpack(chunk))
                packed += len(chunk)
                if self._monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer arrives too slowly")
                if max(body.tell(), packed) > MAX_BODY:  # gzip may unpack to nothing
                    raise _TooLarge(f"the answer has more than {MAX_BODY >> 20} MB")
        finally:
            await response.aclose()
        return Reply(response.status_code, response.headers, body.getvalue())

    def _connect(self) -> HttpxTransport:
        if self._transport is not None:
            return self._transport
        if self._tls is None:
            # Loopback needs no TLS: an empty context saves the time to load the certificates.
            local = self._base_url.startswith("http:")
            empty = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._tls = empty if local else httpx.create_ssl_context()
        return httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=self._connections, keepalive_expiry=5),
            verify=self._tls,
            trust_env=False,  # neither netrc nor its own reading of NO_PROXY
            proxy=self._proxy,
        )


class _TooLarge(Exception):
    """The answer is larger than what is read."""


def _unpacker(encoding: str) -> Callable[[bytes], bytes]:
    """Unpacks an answer piece by piece, one layer of gzip at most, and never beyond the limit."""
    layers = [name for each in encoding.split(",") if (name := each.strip().lower())]
    if layers in ([], ["identity"]):
        return bytes
    if layers not in (["gzip"], ["x-gzip"]):
        raise httpx.DecodingError("the answer is packed in a way that was not asked for")
    unzip = zlib.decompressobj(wbits=31)

    def unpack(chunk: bytes) -> bytes:
        try:
            unpacked = unzip.decompress(chunk, MAX_BODY + 1)
        except zlib.error:
            raise httpx.DecodingError("the answer is not gzip, as its header says") from None
        if unzip.unused_data:
            raise httpx.DecodingError("the answer goes on after the end of its gzip")
        return unpacked

    return unpack


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Retrieve the exception of a hung client's task, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    if "CERTIFICATE_VERIFY_FAILED" in text:
        text += " (if your company signs certificates itself, name its CA file in SSL_CERT_FILE)"
    name = type(error).__name__
    return f"{name}: {text}" if text else name
