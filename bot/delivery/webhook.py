"""Call URLs: those of webhook actions, signed and sent once, and that of the heartbeat."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from bot.actions.webhook import REFERENCE, SIGNATURE, TIMESTAMP, signature
from bot.delivery.http import TIMEOUT, Connections, Reply, loopback
from bot.errors import BotError, RateLimited, Refused, TryLater
from bot.rules.files.disk import shown
from bot.written import Secret

log = structlog.get_logger(__name__)

_RETRY = {408, 425}


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
        self._connections = Connections(timeout=timeout, trust_env=trust_env)
        self._secrets = secrets

    async def call(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None = None
    ) -> None:
        """Post the body; raises Refused, or TryLater (`unknown` if it may have arrived)."""
        host = urlsplit(url).hostname or "?"
        signed = self._signed(body, headers, secret)
        reply = await self._connections.exchange("POST", host, url, signed, body=body, most=0)
        _judge(host, reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    def _signed(
        self, body: bytes, headers: Mapping[str, str], secret: str | None
    ) -> dict[str, str]:
        if secret is None:
            return dict(headers)
        found = self._secrets(secret) if REFERENCE.fullmatch(secret) else secret
        if found is None:
            raise Refused(
                f"the secret {secret} is not set", "set it, then restart the bot", code="no_secret"
            )
        return {**headers, SIGNATURE: signature(found.encode(), headers[TIMESTAMP], body)}


class Heartbeat:
    """Calls an address every so often while all is well: its silence is the alarm.

    `fault` says why it must be silent; None while polls and deliveries move.
    """

    def __init__(
        self, url: Secret, every: timedelta, fault: Callable[[], Awaitable[str | None]]
    ) -> None:
        self._url = url
        self._every = every
        self._fault = fault
        self._said: str | None = None

    async def keep_beating(self) -> None:
        """Runs until it is cancelled."""
        url = self._url.get_secret_value()
        host = urlsplit(url).hostname or "?"
        connections = Connections(trust_env=not loopback(url))
        try:
            while True:
                reason = await self._fault() or await self._called(connections, host, url)
                if reason != self._said:
                    self._said = reason
                    if reason:
                        log.warning("heartbeat.stopped", reason=reason)
                    else:
                        log.info("heartbeat.beats")
                await asyncio.sleep(self._every.total_seconds())
        finally:
            await connections.close()

    async def _called(self, connections: Connections, host: str, url: str) -> str:
        """Call it; returns what went wrong."""
        try:
            reply = await connections.exchange("GET", host, url, {}, most=0)
        except BotError as error:
            return str(error)
        return "" if 200 <= reply.status < 300 else f"{host} answered {reply.status}"


def _judge(host: str, reply: Reply) -> None:
    status = reply.status
    if 200 <= status < 300:
        return
    reason = f"{host} answered {status}"
    if status == 429:
        raise RateLimited(reason, after=reply.after, lane=True)
    if status in _RETRY or status >= 500:
        raise TryLater(reason, after=reply.after, unknown=status != 425)
    if 300 <= status < 400:
        remedy = "the bot follows no redirects: fix the rule's url"
        raise Refused(reason, remedy, code=str(status))
    remedy = "check the receiver's log, and the rule's url and secret"
    raise Refused(f"{host} rejected the webhook ({status})", remedy, code=str(status))
