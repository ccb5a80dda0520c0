"""The blocking client, for scripts and notebooks: the async one on an event loop in a thread."""

import asyncio
import functools
import os
import random as randomness
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from threading import Thread
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from mouseflow.call_queue import Priority
from mouseflow.client import AsyncMouseflow, Options, RawAnswer, Sent, credentials_from
from mouseflow.errors import Unreachable
from mouseflow.request import Request
from mouseflow.transport import HttpxTransport

T = TypeVar("T")
P = ParamSpec("P")
_AT_AN_INTERRUPT = 0.5
"""How many seconds a call in flight still has after Ctrl-C."""


def _iterates(
    method: Callable[Concatenate[AsyncMouseflow, P], AsyncIterator[T]],
) -> "Callable[Concatenate[Mouseflow, P], Iterator[T]]":
    """The blocking form of an async client's list."""

    @functools.wraps(method)
    def items(self: "Mouseflow", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self.each(lambda api: method(api, *args, **kwargs))

    return items


def _waits(
    method: Callable[Concatenate[AsyncMouseflow, P], Coroutine[Any, Any, T]],
) -> "Callable[Concatenate[Mouseflow, P], T]":
    """The blocking form of an async client's method."""

    @functools.wraps(method)
    def result(self: "Mouseflow", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(lambda api: method(api, *args, **kwargs))

    return result


class Mouseflow:
    """The API of one account; takes the options of `AsyncMouseflow`.

    >>> with Mouseflow("eu", "ops@example.com", key) as api:
    ...     for site in api.send(websites.list()):
    ...         print(site.name)

    Works from several threads at once, and where an event loop is already running. Ctrl-C ends a
    call within a second.
    """

    def __init__(
        self,
        region_or_base_url: str,
        email: str,
        api_key: str,
        *,
        requests_per_second: float = 2.0,
        burst: int = 4,
        concurrency: int = 4,
        timeout: float = 30.0,
        longest: float = 120.0,
        tries: int = 3,
        patience: float = 60.0,
        app: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = randomness.random,
        observe: Callable[[Sent], None] | None = None,
        transport: HttpxTransport | None = None,
    ) -> None:
        self._api = AsyncMouseflow(
            region_or_base_url,
            email,
            api_key,
            requests_per_second=requests_per_second,
            burst=burst,
            concurrency=concurrency,
            timeout=timeout,
            longest=longest,
            tries=tries,
            patience=patience,
            app=app,
            clock=clock,
            monotonic=monotonic,
            sleep=sleep,
            random=random,
            observe=observe,
            transport=transport,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="mouseflow", daemon=True)
        self._thread.start()

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """A client with the address and credentials of the environment.

        >>> with Mouseflow.from_env() as api: ...

        Reads MOUSEFLOW_REGION or MOUSEFLOW_BASE_URL, MOUSEFLOW_EMAIL and MOUSEFLOW_API_KEY, or
        the same with BOT_MOUSEFLOW__ in front, as the bot does. Raises ConfigurationError.
        """
        return cls(*credentials_from(os.environ), **options)

    def __repr__(self) -> str:
        return f"Mouseflow({self._api.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        self.close(within=_AT_AN_INTERRUPT if interrupted else None)

    def send(
        self,
        request: Request[T],
        *,
        priority: Priority | None = None,
        timeout: float | None = None,
        tries: int | None = None,
    ) -> T:
        """The API's answer, decoded by the request; raises Rejected or Unavailable.

        >>> sites = api.send(websites.list(), timeout=5, tries=1)

        `timeout` and `tries` replace those of the client for this call.
        """
        return self.run(
            lambda api: api.send(request, priority=priority, timeout=timeout, tries=tries)
        )

    def with_raw(
        self,
        request: Request[T],
        *,
        priority: Priority | None = None,
        timeout: float | None = None,
        tries: int | None = None,
    ) -> RawAnswer[T]:
        """The answer with status, headers and JSON, beside its decoded value.

        >>> answer = api.with_raw(websites.list())
        >>> print(answer.status, answer.headers["Date"], answer.json())
        """
        return self.run(
            lambda api: api.with_raw(request, priority=priority, timeout=timeout, tries=tries)
        )

    def send_all(
        self, requests: Iterable[Request[T]], *, priority: Priority | None = None
    ) -> Iterator[T]:
        """The answers to many requests, in their order, several of them in flight at once.

        >>> for _ in api.send_all(recordings.delete(site, each) for each in ids): ...
        """
        return self.each(lambda api: api.send_all(requests, priority=priority))

    website = _waits(AsyncMouseflow.website)
    friction_bands = _waits(AsyncMouseflow.friction_bands)
    websites = _iterates(AsyncMouseflow.websites)
    recordings = _iterates(AsyncMouseflow.recordings)
    follow = _iterates(AsyncMouseflow.follow)
    pages = _iterates(AsyncMouseflow.pages)
    page_urls = _iterates(AsyncMouseflow.page_urls)
    funnels = _iterates(AsyncMouseflow.funnels)
    forms = _iterates(AsyncMouseflow.forms)
    campaigns = _iterates(AsyncMouseflow.campaigns)
    tags = _iterates(AsyncMouseflow.tags)
    variables = _iterates(AsyncMouseflow.variables)

    def run(self, work: Callable[[AsyncMouseflow], Awaitable[T]]) -> T:
        """The result of async work with this client.

        >>> works = api.run(lambda api: paging.probe_offset(api, site, filters))
        """
        if self._loop.is_closed():
            raise Unreachable("the client is closed")

        async def waited() -> T:
            return await work(self._api)

        future = asyncio.run_coroutine_threadsafe(waited(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C; nothing if the work itself has failed
            raise

    def each(self, items: Callable[[AsyncMouseflow], AsyncIterator[T]]) -> Iterator[T]:
        """The items of an async iterator over this client, one by one.

        >>> for part in api.each(lambda api: paging.read(api, site, filters)): ...
        """
        iterator = items(self._api)
        try:
            while True:
                try:
                    item = self.run(lambda _api: _next(iterator))
                except _Exhausted:
                    return
                yield item
        finally:
            with suppress(Unreachable):
                self.run(lambda _api: _close(iterator))

    def close(self, within: float | None = None) -> None:
        """Close the connections and end the thread. A second call does nothing.

        A call in flight still runs to its end, but not longer than `within` so many seconds.
        """
        if self._loop.is_closed():
            return
        self.run(lambda api: api.aclose(within))
        self.run(lambda _api: _end_tasks())
        self.run(lambda _api: self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Exhausted(Exception):
    """The end of an iterator: a coroutine may not raise StopAsyncIteration itself."""


async def _next(items: AsyncIterator[T]) -> T:
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise _Exhausted from None


async def _close(items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


async def _end_tasks() -> None:
    """Cancel what still runs on this loop, and wait until it has ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
