"""One exchange with the Mouseflow API: the one place that knows httpx.

httpx leaks a place in its pool whenever a request is cancelled or waits for the pool too
long, until nothing goes any more. Hence four rules: no pool time-out, a line before it (the
client's `Turns`), no request in flight is ever cancelled (it ends by its time-outs), and a
client that hangs all the same is thrown away and built anew.
"""

import asyncio
import base64
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from bot.errors import ConfigError
from mouseflow import __version__
from mouseflow.errors import unreachable
from mouseflow.request import Request

REGIONS = ("eu", "us")


def base_url(region_or_base_url: str) -> str:
    """The API's address for "eu", "us" (L18) or a URL of one's own, without a slash at the end.

    Raises ConfigError for plain http to another machine (L26: it would fail, and show the
    key on the way), for credentials in the URL, and for what is no URL.
    """
    if region_or_base_url in REGIONS:
        return f"https://api-{region_or_base_url}.mouseflow.com"
    try:
        parts = urlsplit(region_or_base_url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError("the Mouseflow address is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("Mouseflow needs a region (eu or us) or an address with https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError("the Mouseflow address may hold no credentials, query or fragment")
    if parts.scheme == "http" and not _loopback(host):
        raise ConfigError(f"plain http to {host} would show the API key: use https")
    return region_or_base_url.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Transport = httpx.AsyncBaseTransport

# httpx writes every full URL, with what people typed into filters, at INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)

_LARGEST_BODY = 256 * 1024 * 1024
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.ProxyError,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever it says. The names of `headers` are of any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """The connections to one address with one pair of credentials.

    `timeout` is the longest silence in seconds, `longest` the longest exchange whatever comes,
    `connections` how many there are at most. `monotonic` tells seconds; `transport` takes the
    place of the network.
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
        monotonic: Callable[[], float],
        transport: Transport | None,
    ) -> None:
        self._base_url = base_url
        self._auth = httpx.BasicAuth(email, api_key)
        pair = base64.b64encode(f"{email}:{api_key}".encode()).decode()
        self._secrets = (pair, api_key, email)
        self._timeout, self._longest = timeout, longest
        self._connections = connections
        self._monotonic = monotonic
        self._transport = transport
        self._tls: ssl.SSLContext | None = None
        self._http: httpx.AsyncClient | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def exchange(self, request: Request[Any]) -> Reply:
        """The answer; raises Unreachable. What hangs beyond all time-outs is thrown away.

        Must not be cancelled.
        """
        writes = request.method != "GET"
        http = self._http = self._http or self._built()
        exchange = asyncio.create_task(self._exchange(http, request))
        done, _pending = await asyncio.wait({exchange}, timeout=self._longest)
        if not done:
            exchange.cancel()
            exchange.add_done_callback(_retrieved)  # it can fail instead of being cancelled
            self._http = None
            closing = asyncio.create_task(http.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closed)
            raise unreachable(request, "no answer beyond all time-outs", unknown=writes)
        failed = exchange.exception()
        if failed is None:
            return exchange.result()
        if not isinstance(failed, httpx.HTTPError | OSError):
            raise failed
        # Not chained: httpx's errors hold the request with its Authorization header.
        unknown = writes and not isinstance(failed, _NEVER_SENT)
        raise unreachable(request, self.without_secrets(_said(failed)), unknown=unknown)

    def without_secrets(self, text: str) -> str:
        """The text with the credentials struck out, in each form in which they travel."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    async def aclose(self) -> None:
        """Close the connections, when no exchange is under way."""
        if self._closing:
            await asyncio.wait(set(self._closing))
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    def _closed(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        _retrieved(closing)

    async def _exchange(self, http: httpx.AsyncClient, request: Request[Any]) -> Reply:
        headers = {"Content-Type": "application/json"} if request.body is not None else None
        message = http.build_request(
            request.method,
            self._base_url + request.target,
            content=request.body,
            headers=headers,
        )
        last = self._monotonic() + 2 * self._timeout
        response = await http.send(message, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if self._monotonic() > last:
                    raise httpx.ReadTimeout("the answer comes too slowly")
                if len(body) > _LARGEST_BODY:
                    raise httpx.ReadError("the answer is too large")
        finally:
            await response.aclose()
        return Reply(response.status_code, response.headers, bytes(body))

    def _built(self) -> httpx.AsyncClient:
        local = self._base_url.startswith("http:")
        if self._tls is None:
            # Loopback needs none: an empty one saves the time to load the certificates.
            empty = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._tls = empty if local else httpx.create_ssl_context()
        return httpx.AsyncClient(
            auth=self._auth,
            headers={
                "Accept": "application/json",
                "User-Agent": f"mouseflow-bot/{__version__}",
            },
            timeout=httpx.Timeout(self._timeout, connect=min(10.0, self._timeout), pool=None),
            limits=httpx.Limits(max_connections=self._connections, keepalive_expiry=5),
            follow_redirects=False,
            verify=self._tls,
            trust_env=not local,
            transport=self._transport,
        )


def _retrieved(task: "asyncio.Task[Any]") -> None:
    """Retrieve the exception of a hung client's task, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    name = type(error).__name__
    return f"{name}: {text}" if text else name
