"""The async client of one account: queue, rate limit, retries, pause after a 429.

`mouseflow.transport` sends the bytes.
"""

import asyncio
import random as randomness
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from mouseflow.call_queue import CallQueue, Priority
from mouseflow.errors import (
    BadAnswer,
    ConfigurationError,
    MouseflowError,
    Rejected,
    TooManyRequests,
    Unavailable,
    Unreachable,
    status_error,
    unreadable,
)
from mouseflow.rate_limit import OTHER_REGION, AccountState, TokenBucket, backoff, retry_after
from mouseflow.request import Request
from mouseflow.transport import HttpxTransport, Reply, Transport, base_url

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt, for metrics and logs: `status` is None if there was no answer.

    `route` is the request's template, never a path. `attempt` counts from 1; `seconds` is
    the time from sending to the end of the answer. `problem` is the error's class name,
    empty for success; `repeats` that of the attempt before.
    """

    method: str
    route: str
    status: int | None
    seconds: float
    attempt: int
    problem: str = ""
    repeats: str = ""


class AsyncMouseflow:
    """The API of one account: one rate limit, one queue, one pause after a 429.

    `region_or_base_url` is "eu", "us" or a URL; plain http is accepted for loopback only.
    `timeout` is the longest silence in seconds. A call still running after `longest` seconds
    is given up, and its connections are replaced. A request is tried up to `tries` times
    within `patience` seconds; then `Unavailable` is raised. After a 401 nothing is sent for a
    minute, doubling up to an hour with each further one: calls fail at once. `observe` is
    called after every attempt. `transport` replaces the network, for instance with the
    simulator's `InProcess`.

    Raises ConfigurationError for an address or credentials that cannot be right.
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
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = randomness.random,
        observe: Callable[[Sent], None] | None = None,
        transport: HttpxTransport | None = None,
    ) -> None:
        self.base_url = base_url(region_or_base_url)
        _check(email, api_key)
        self._transport = Transport(
            self.base_url,
            email,
            api_key,
            timeout=timeout,
            longest=longest,
            connections=concurrency,
            monotonic=monotonic,
            transport=transport,
        )
        self._tries, self._patience = tries, patience
        self._clock, self._monotonic, self._sleep, self._random = clock, monotonic, sleep, random
        self._state = AccountState(clock, monotonic, random)
        self._observe = observe or (lambda _sent: None)
        self._closed = False
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._queue = CallQueue(
            TokenBucket(requests_per_second, burst),
            concurrency,
            pause=self._state.paused_for,
            monotonic=monotonic,
            sleep=sleep,
        )

    def __repr__(self) -> str:
        return f"AsyncMouseflow({self.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def pause_until(self) -> datetime | None:
        """When the pause of the whole account after a 429 ends. Aware; can be set, from a store."""
        return self._state.pause_until

    @pause_until.setter
    def pause_until(self, moment: datetime | None) -> None:
        self._state.pause_until = moment

    async def send(self, request: Request[T], *, priority: Priority | None = None) -> T:
        """The API's answer, decoded by the request.

        Writes go before reads unless `priority` says otherwise, and websites take turns.
        Raises Rejected or Unavailable. If the caller is cancelled, a request in flight still
        runs to its end.
        """
        if priority is None:
            priority = Priority.POLL if request.method == "GET" else Priority.ACTION
        call = self._queue.new_call(priority, request.website)
        outcome_unknown = False
        began: float | None = None
        attempt, repeats = 0, ""
        while True:
            self._check_may_send(request, outcome_unknown=outcome_unknown)
            if not await self._queue.acquire(call):
                self._check_may_send(request, outcome_unknown=outcome_unknown)
                raise self._state.pause_error(request, outcome_unknown=outcome_unknown)
            attempt += 1
            began = self._monotonic() if began is None else began
            try:
                return await self._shielded_attempt(request, attempt, repeats)
            except Unavailable as error:
                repeats = type(error).__name__
                error.outcome_unknown = error.outcome_unknown or outcome_unknown
                outcome_unknown = error.outcome_unknown
                delay = self._retry_delay(request, error, attempt, began)
                if delay is None:
                    raise
                # After a 429 the call returns to its place at once: the queue waits.
                call = replace(call, retried=isinstance(error, TooManyRequests))
            if not call.retried:
                await self._sleep(delay)

    def use_credentials(self, email: str, api_key: str) -> None:
        """Send these from now on; a lockout after a 401 ends. Raises ConfigurationError."""
        _check(email, api_key)
        self._transport.use_credentials(email, api_key)
        self._state.unlock()

    async def aclose(self, within: float | None = None) -> None:
        """Wait for what is in flight, fail what is queued, and close the connections.

        What has no answer `within` so many seconds is abandoned: only for the end of a process.
        """
        self._closed = True
        self._queue.flush()
        if self._in_flight:
            _, left = await asyncio.wait(set(self._in_flight), timeout=within)
            for task in left:
                task.cancel()
            if left:
                return  # the connections end with the loop
        await self._transport.aclose()

    def _check_may_send(self, request: Request[Any], *, outcome_unknown: bool) -> None:
        """Raises if sending is useless, or not allowed for a while."""
        if self._closed:
            raise Unreachable(
                "the client is closed", outcome_unknown=outcome_unknown, request=request
            )
        lockout = self._state.lockout_error(request)
        if lockout is not None:
            raise lockout
        if self._state.paused_for() > self._patience:
            raise self._state.pause_error(request, outcome_unknown=outcome_unknown)

    def _retry_delay(
        self, request: Request[Any], error: Unavailable, attempt: int, began: float
    ) -> float | None:
        """Seconds until the next try, None for no further try."""
        if attempt >= self._tries or (error.outcome_unknown and not request.repeatable):
            return None
        delay = backoff(attempt, self._random())
        if isinstance(error, TooManyRequests):
            delay = self._state.paused_for()
        elif error.retry_after is not None:
            delay += error.retry_after.total_seconds()
        left = began + self._patience - self._monotonic()
        return delay if delay <= left else None

    async def _shielded_attempt(self, request: Request[T], attempt: int, repeats: str) -> T:
        """One attempt in a task of its own, which goes on if the caller is cancelled."""
        task = asyncio.create_task(self._attempt(request, attempt, repeats))
        self._in_flight.add(task)
        task.add_done_callback(self._attempt_done)
        return await asyncio.shield(task)

    def _attempt_done(self, task: "asyncio.Task[Any]") -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that a cancelled caller leaves no warning

    async def _attempt(self, request: Request[T], attempt: int, repeats: str) -> T:
        began = self._monotonic()
        status: int | None = None
        problem = ""
        try:
            reply = await self._transport.exchange(request)
            status = reply.status
            return self._decode(request, reply)
        except MouseflowError as error:
            problem = type(error).__name__
            raise
        finally:
            self._queue.release()
            seconds = self._monotonic() - began
            self._observe(
                Sent(request.method, request.route, status, seconds, attempt, problem, repeats)
            )

    def _decode(self, request: Request[T], reply: Reply) -> T:
        if not 200 <= reply.status < 300:
            raise self._status_error(request, reply)
        self._state.succeeded()
        try:
            return request.read(reply.body)
        except BadAnswer as problem:
            body = self._transport.without_secrets(reply.body.decode("utf-8", "replace")).encode()
            error = unreadable(request, reply.status, body, problem)
        raise error

    def _status_error(self, request: Request[Any], reply: Reply) -> Rejected | Unavailable:
        after = retry_after(reply.headers.get("Retry-After"), self._clock())
        if reply.status == 401:
            self._state.lock_out()
            self._queue.flush()
        if reply.status == 429:
            after = self._state.pause(after)
            if self._state.paused_for() > self._patience:
                self._queue.flush()
        start = reply.body[:4096].decode("utf-8", "replace")
        body = self._transport.without_secrets(start).encode()
        return status_error(request, reply.status, body, after, _hint(request, reply.status))


def _hint(request: Request[Any], status: int) -> str:
    if status == 401 or (status in (403, 404) and request.route == "GET /websites"):
        return OTHER_REGION
    if status == 403 and request.method != "GET":
        return "the website may be read-only for this user"
    if 300 <= status < 400:
        return "redirects are not followed: check the address"
    return ""


def _check(email: str, api_key: str) -> None:
    if not email or not api_key or ":" in email:
        raise ConfigurationError("Mouseflow needs an email without a colon, and an API key")
