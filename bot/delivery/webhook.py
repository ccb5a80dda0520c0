"""Call the URLs of webhook actions over aiohttp: sign, send once, and check the answer."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from bot.actions.webhook import REFERENCE, SIGNATURE, TIMESTAMP, signature
from bot.errors import GiveUp, TryLater
from bot.rules.files.disk import shown

TIMEOUT = timedelta(seconds=15)
_RETRY = {408, 425, 429}
_LONGEST_PAUSE = timedelta(hours=1)


def secret_from(reference: str) -> str | None:
    """The secret at `env:NAME` or `file:/path`; None if there is none."""
    kind, _, place = reference.partition(":")
    if kind == "env":
        secret = os.environ.get(place, "")
        return secret if secret and shown(secret) == secret else None  # else it can't sign
    try:
        return Path(place).read_text().strip() or None
    except (OSError, UnicodeError):
        return None


class WebhookCaller:
    """Implements `bot.ports.Webhook`. Close it when done.

    It follows no redirects: a signed body goes only where the rule says. Errors hold neither
    the URL nor the secret, since either may be enough to impersonate the bot.
    """

    def __init__(
        self,
        *,
        timeout: timedelta = TIMEOUT,
        trust_env: bool = True,
        secrets: Callable[[str], str | None] = secret_from,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._trust_env = trust_env
        self._secrets = secrets
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None = None
    ) -> None:
        """Post the body; raises GiveUp, or TryLater (`unknown` if it may have arrived)."""
        host = urlsplit(url).hostname or "?"
        signed = self._signed(body, headers, secret)
        try:
            async with self._open().post(
                url, data=body, headers=signed, allow_redirects=False
            ) as answer:
                status, after = answer.status, answer.headers.get("Retry-After", "")
        except aiohttp.InvalidURL:
            raise GiveUp("the webhook's URL is not valid", "fix the rule's url") from None
        except aiohttp.ClientConnectorError as error:
            raise TryLater(_dropped(host, error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TryLater(_dropped(host, error), unknown=True) from None
        _judge(host, status, after)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=self._trust_env)
        return self._session

    def _signed(
        self, body: bytes, headers: Mapping[str, str], secret: str | None
    ) -> dict[str, str]:
        sent = {"User-Agent": "mouseflow-bot", **headers}
        if secret is None:
            return sent
        found = self._secrets(secret) if REFERENCE.fullmatch(secret) else secret
        if found is None:
            raise GiveUp(f"the secret {secret} is not set", "set it, then retry the step")
        return sent | {SIGNATURE: signature(found.encode(), sent[TIMESTAMP], body)}


def _judge(host: str, status: int, after: str) -> None:
    if 200 <= status < 300:
        return
    if status in _RETRY or status >= 500:
        raise TryLater(
            f"{host} answered {status}",
            after=_pause(after),
            unknown=status not in (425, 429),
            lane=status == 429,
        )
    if 300 <= status < 400:
        raise GiveUp(
            f"{host} answered {status}", "the bot follows no redirects: fix the rule's url"
        )
    raise GiveUp(f"{host} rejected the webhook ({status})", "check the receiver's log")


def _pause(after: str) -> timedelta | None:
    if not (after.isascii() and after.isdigit() and len(after) < 9):
        return None
    return min(timedelta(seconds=int(after)), _LONGEST_PAUSE)


def _dropped(host: str, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{host} did not answer in time"
    return f"the connection to {host} failed ({type(error).__name__})"
