"""The Mouseflow account as the bot's port: one client, its errors translated into the bot's.

This is the only place that says what an error of the client means for the bot.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, assert_never

from msgspec import Struct

from bot import errors
from bot.errors import ConfigError, GiveUp, TryLater
from bot.transport import AiohttpTransport
from mouseflow import AsyncMouseflow, Priority, Request, Sent
from mouseflow.errors import (
    BadCredentials,
    ConfigurationError,
    Forbidden,
    Gone,
    Rejected,
    TooManyRequests,
    Unavailable,
    Unreachable,
)
from mouseflow.transport import base_url

if TYPE_CHECKING:
    from bot.config.settings import MouseflowSection

T = TypeVar("T")


class Account(Struct, frozen=True):
    """The account's client, with every request at one priority. Raises GiveUp or TryLater."""

    client: AsyncMouseflow
    priority: Priority = Priority.POLL

    async def send(self, request: Request[T]) -> T:
        with translated():
            return await self.client.send(request, priority=self.priority)


ONE_MATCH = 5
"""Calls that lead to one match: list, friction, its proof, detail, action. They must not have to
wait for the rate budget after a quiet time, or the message comes half a second later."""


def open_client(
    settings: "MouseflowSection", *, tries: int = 3, observe: Callable[[Sent], None] | None = None
) -> AsyncMouseflow:
    """A client for these settings, to be closed by the caller; raises ConfigError.

    `observe` is called with each attempt.
    """
    with translated():
        url = base_url(settings.base_url or settings.region or "")
        return AsyncMouseflow(
            url,
            settings.email,
            settings.api_key.get_secret_value(),
            requests_per_second=settings.requests_per_second,
            burst=_burst(settings.requests_per_second),
            concurrency=max(4, round(settings.requests_per_second / 2)),
            tries=tries,
            observe=observe,
            transport=AiohttpTransport(url),
        )


def share_rate(client: AsyncMouseflow, settings: "MouseflowSection", bots: int) -> None:
    """Let the client send its part of what the account allows to so many bots."""
    rate = settings.requests_per_second
    client.use_rate(rate / bots, max(1, _burst(rate) // bots))


def _burst(rate: float) -> int:
    return max(ONE_MATCH, round(rate))


@contextmanager
def translated() -> Iterator[None]:
    """Raise the bot's error for each error of the client, with the client's error as its cause."""
    try:
        yield
    except (ConfigurationError, Rejected, Unavailable) as error:
        raise meaning(error) from error


def meaning(error: ConfigurationError | Rejected | Unavailable) -> ConfigError | GiveUp | TryLater:
    """What the client's error means for the bot: fix the configuration, give up, or try later."""
    match error:
        case ConfigurationError():
            return ConfigError(str(error))
        case Rejected():
            return _give_up(error)(error.reason, error.hint)
        case Unavailable():
            return _try_later(error)(
                error.reason,
                after=error.retry_after,
                unknown=error.outcome_unknown,
                lane=error.account_wide,
            )
        case _:
            assert_never(error)


def _try_later(error: Unavailable) -> type[TryLater]:
    match error:
        case Unreachable():
            return errors.Unreachable
        case TooManyRequests():
            return errors.RateLimited
        case _:
            return TryLater


def _give_up(error: Rejected) -> type[GiveUp]:
    match error:
        case BadCredentials():
            return errors.BadCredentials
        case Forbidden():
            return errors.Forbidden
        case Gone():
            return errors.Gone
        case _:
            return GiveUp
