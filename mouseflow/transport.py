"""One HTTP exchange with the Mouseflow API: the only module that imports httpx.

httpx leaks a slot of its connection pool whenever a request is cancelled or waits too long
for the pool, until no request gets through. Hence four rules: no pool timeout; a queue in
front of the pool (`CallQueue`); no request in flight is ever cancelled (it ends by its
timeouts); and a client that hangs all the same is thrown away and built again.
"""

import asyncio
import base64
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from mouseflow import __version__
from mouseflow.errors import ConfigurationError, Unreachable
from mouseflow.proxies import from_environment, is_loopback
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
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("Mouseflow needs a region (eu or us) or a URL with https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "the Mouseflow address must not contain credentials, a query or a fragment"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(f"plain http to {host} would expose the API key: use https")
    return region_or_base_url.rstrip("/")


HttpxTransport = httpx.AsyncBaseTransport

# At INFO httpx logs every full URL, including what people typed into filters.
logging.getLogger("httpx").setLevel(logging.WARNING)

_MAX_BODY = 256 * 1024 * 1024
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
    """An answer of any status. The names in `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """The connections to one base URL with one pair of credentials.

    `timeout` is the longest silence in seconds, `longest` the longest exchange in total,
    `connections` the maximum number of them. `monotonic` returns seconds; `transport`
    replaces the network.
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
        transport: HttpxTransport | None,
    ) -> None:
        self._base_url = base_url
        self._secrets: tuple[str, ...] = ()
        self._http: httpx.AsyncClient | None = None
        self.use_credentials(email, api_key)
        self._timeout, self._longest = timeout, longest
        self._connections = connections
        self._monotonic = monotonic
        self._transport = transport
        # Raises ConfigurationError, before anything is sent.
        local = is_loopback(urlsplit(base_url).hostname or "")
        self._proxy = None if local or transport else from_environment().of(base_url)
        self._tls: ssl.SSLContext | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def use_credentials(self, email: str, api_key: str) -> None:
        """Send these from now on; the former ones stay out of errors, too."""
        self._auth = httpx.BasicAuth(email, api_key)
        pair = base64.b64encode(f"{email}:{api_key}".encode()).decode()
        self._secrets = (pair, api_key, email, *self._secrets)[:6]
        if self._http is not None:
            self._http.auth = self._auth

    async def exchange(self, request: Request[Any]) -> Reply:
        """The answer; raises Unreachable. Must not be cancelled.

        If it hangs beyond all timeouts, the httpx client is thrown away.
        """
        writes = request.method != "GET"
        http = self._http = self._http or self._new_client()
        exchange = asyncio.create_task(self._exchange(http, request))
        done, _pending = await asyncio.wait({exchange}, timeout=self._longest)
        if not done:
            exchange.add_done_callback(_retrieve)  # it may fail instead of being cancelled
            exchange.cancel()
            self._http = None
            closing = asyncio.create_task(http.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closed)
            raise Unreachable(
                "no answer within all timeouts", outcome_unknown=writes, request=request
            )
        failed = exchange.exception()
        if failed is None:
            return exchange.result()
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
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    def _closed(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        _retrieve(closing)

    async def _exchange(self, http: httpx.AsyncClient, request: Request[Any]) -> Reply:
        headers = {"Content-Type": "application/json"} if request.body is not None else None
        message = http.build_request(
            request.method,
            self._base_url + request.target,
            content=request.body,
            headers=headers,
        )
        deadline = self._monotonic() + 2 * self._timeout
        response = await http.send(message, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if self._monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer arrives too slowly")
                if len(body) > _MAX_BODY:
                    raise httpx.ReadError("the answer is too large")
        finally:
            await response.aclose()
        return Reply(response.status_code, response.headers, bytes(body))

    def _new_client(self) -> httpx.AsyncClient:
        local = self._base_url.startswith("http:")
        if self._tls is None:
            # Loopback needs no TLS: an empty context saves the time to load the certificates.
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
            trust_env=False,  # neither netrc nor its own reading of NO_PROXY
            proxy=self._proxy,
            transport=self._transport,
        )


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
