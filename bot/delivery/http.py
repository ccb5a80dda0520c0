"""One HTTP exchange with Slack or a webhook's receiver, over a shared connection pool.

No redirect is followed: a body goes only where the configuration says. At most `most` bytes
of an answer are read, and never decompressed. Errors hold no URL, which may be a secret.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
from msgspec import Struct

from bot.errors import GiveUp, TryLater
from bot.ports import may_act
from bot.transport import new_session, tls_for
from mouseflow.errors import ConfigurationError
from mouseflow.proxies import from_environment
from mouseflow.rate_limit import retry_after

TIMEOUT = timedelta(seconds=15)


class Reply(Struct, frozen=True):
    """An answer of any status. `body` is its start, `whole` says that nothing was left out.

    The names in `headers` are case-insensitive. `after` is how long the other side asks the bot
    to wait (`Retry-After`), None if it does not say.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    after: timedelta | None


class Connections:
    """A pool of connections. Close it when done. `peer` names the other side in errors."""

    def __init__(self, *, timeout: timedelta = TIMEOUT, trust_env: bool = True) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None

    async def exchange(
        self,
        method: str,
        peer: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        most: int,
    ) -> Reply:
        """The answer to one request, whatever its status.

        Raises TryLater (`unknown` if a body may have arrived), or GiveUp for an invalid URL.
        """
        if body is not None:
            await may_act()
        sent = {"User-Agent": "mouseflow-bot", "Accept-Encoding": "identity", **headers}
        try:
            proxy = self.proxy_of(url)
            async with self._open().request(
                method,
                url,
                data=body,
                params=query,
                headers=sent,
                allow_redirects=False,
                proxy=proxy,
                ssl=tls_for(url, proxy),
                timeout=self._timeout,
            ) as answer:
                start = await _start(answer.content, most)
        except (aiohttp.InvalidURL, UnicodeError):  # no host can have that name
            raise GiveUp(f"the URL of {peer} is not valid", "fix the URL") from None
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError) as error:
            # No connection was made, so nothing was sent.
            raise TryLater(_dropped(peer, error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TryLater(_dropped(peer, error), unknown=body is not None) from None
        after = retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
        return Reply(answer.status, answer.headers, start[:most], len(start) <= most, after)

    def proxy_of(self, url: str) -> str | None:
        """The proxy for that URL, None for none; raises GiveUp for one that can't be used."""
        try:
            return from_environment().of(url) if self._trust_env else None
        except ConfigurationError as error:
            raise GiveUp(str(error), "fix it, then restart the bot") from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        # Created when first needed, since it belongs to a running loop.
        if self._session is None or self._session.closed:
            self._session = new_session()
        return self._session


async def _start(content: aiohttp.StreamReader, most: int) -> bytes:
    """The first bytes of a body: one more than `most` if there are more. With 0 none is read."""
    start = bytearray()
    if not most:
        return b""
    while len(start) <= most and (chunk := await content.read(most + 1 - len(start))):
        start += chunk
    return bytes(start)


def loopback(address: str) -> bool:
    """Whether the URL is on this machine, which no proxy can reach."""
    return urlsplit(address).hostname in {"127.0.0.1", "::1", "localhost"}


def _dropped(peer: str, error: Exception) -> str:
    """What happened to the connection, without the URL: a webhook's is a secret."""
    if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        status = getattr(error, "status", None)
        why = f"answered {status}" if status else "can't be reached"
        return f"the proxy for {peer} {why}; check HTTPS_PROXY and ALL_PROXY"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"the certificate of {peer} is not trusted; if your company signs certificates itself, "
            "name its CA file in SSL_CERT_FILE"
        )
    if isinstance(error, TimeoutError):
        return f"{peer} did not answer in time"
    return f"the connection to {peer} failed ({type(error).__name__})"
