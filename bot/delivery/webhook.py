"""Calls the URLs of webhook actions over aiohttp: signs, sends once, and judges the answer."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from bot.actions.webhook import REFERENCE, SIGNATURE, TIMESTAMP, signature
from bot.errors import GiveUp, TryLater

TIMEOUT = timedelta(seconds=15)
_AGAIN = {408, 425, 429}
_LONGEST_PAUSE = timedelta(hours=1)


def secret_from(reference: str) -> str | None:
    """The secret that `env:NAME` or `file:/path` names; None where there is none."""
    kind, _, place = reference.partition(":")
    if kind == "env":
        return os.environ.get(place) or None
    try:
        return Path(place).read_text().strip() or None
    except (OSError, UnicodeError):
        return None


class WebhookCaller:
    """Implements `bot.ports.Webhook`. Close it when done.

    Redirects are not followed: a signed body goes only where the rule says. Neither the URL
    nor the secret is in any error, since either may be enough to pose as the bot.
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
        """Posts the body; raises GiveUp, or TryLater (`unknown` where it may have arrived)."""
        host = urlsplit(url).hostname or "?"
        signed = self._signed(body, headers, secret)
        try:
            async with self._open().post(
                url, data=body, headers=signed, allow_redirects=False
            ) as answer:
                status, after = answer.status, answer.headers.get("Retry-After", "")
        except aiohttp.InvalidURL:
            raise GiveUp("the webhook's address is not valid", "mend the rule's url") from None
        except aiohttp.ClientConnectorError as error:
            raise TryLater(_dropped(host, error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TryLater(_dropped(host, error), unknown=True) from None
        _judge(host, status, after)

    async def close(self) -> None:
        """Closes the connections."""
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
            raise GiveUp(f"the secret {secret} is not there", "set it, then retry the step")
        return sent | {SIGNATURE: signature(found.encode(), sent[TIMESTAMP], body)}


def _judge(host: str, status: int, after: str) -> None:
    if 200 <= status < 300:
        return
    if status in _AGAIN or status >= 500:
        raise TryLater(
            f"{host} answered {status}",
            after=_pause(after),
            unknown=status not in (425, 429),
            lane=status == 429,
        )
    if 300 <= status < 400:
        raise GiveUp(f"{host} answered {status}", "redirects are not followed: mend the rule's url")
    raise GiveUp(f"{host} refused the webhook: {status}", "look at the receiver's own log")


def _pause(after: str) -> timedelta | None:
    if not (after.isascii() and after.isdigit() and len(after) < 9):
        return None
    return min(timedelta(seconds=int(after)), _LONGEST_PAUSE)


def _dropped(host: str, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{host} did not answer in time"
    return f"the connection to {host} failed ({type(error).__name__})"
