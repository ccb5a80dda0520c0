"""The blocking client, for scripts and notebooks: the async one on an event loop in a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from mouseflow.call_queue import Priority
from mouseflow.client import AsyncMouseflow
from mouseflow.request import Request

T = TypeVar("T")


class Mouseflow:
    """The API of one account; takes the options of `AsyncMouseflow`.

        with Mouseflow("eu", "ops@example.com", key) as api:
            for site in api.send(websites.list()):
                print(site.name)

    Works from several threads at once, and where an event loop is already running.
    """

    def __init__(self, region_or_base_url: str, email: str, api_key: str, **options: Any) -> None:
        self._api = AsyncMouseflow(region_or_base_url, email, api_key, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="mouseflow", daemon=True)
        self._thread.start()

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
        self.close()

    def send(self, request: Request[T], *, priority: Priority | None = None) -> T:
        """The API's answer, decoded by the request; raises Rejected or Unavailable."""
        return self._run(self._api.send(request, priority=priority))

    def each(self, items: Callable[[AsyncMouseflow], AsyncIterator[T]]) -> Iterator[T]:
        """The items of an async iterator over this client, one by one.

        for part in api.each(lambda api: paging.read(api, website, filters)): ...
        """
        iterator = items(self._api)
        while True:
            try:
                item = self._run(_next(iterator))
            except _Exhausted:
                return
            yield item

    def close(self) -> None:
        """Close the connections and end the thread. A second call does nothing."""
        if self._loop.is_closed():
            return
        self._run(self._api.aclose())
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Exhausted(Exception):
    """The end of an iterator: a coroutine may not raise StopAsyncIteration itself."""


async def _next(items: AsyncIterator[T]) -> T:
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise _Exhausted from None
