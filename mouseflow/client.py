"""The client of one account: calls wait in one line, are tried again, and rest after a refusal.

What goes over the network, and how, is `mouseflow.wire`'s matter.
"""

import asyncio
import random as randomness
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from bot.errors import BotError, ConfigError
from mouseflow.account_state import OTHER_REGION, Standing
from mouseflow.call_queue import Turns
from mouseflow.errors import (
    BadAnswer,
    CallFailed,
    TooManyRequests,
    Unavailable,
    failure,
    unreachable,
    unreadable,
)
from mouseflow.rate_limit import Budget, Priority, backoff, retry_after
from mouseflow.request import Request
from mouseflow.transport import Reply, Transport, Wire, base_url

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt, for metrics and logs: `status` is None without an answer.

    `route` is the request's template, never a path. `attempt` counts from 1; `seconds` is
    the time between sending and the end of the answer. `problem` names the error's class,
    empty for success.
    """

    method: str
    route: str
    status: int | None
    seconds: float
    attempt: int
    problem: str = ""


class AsyncMouseflow:
    """The API of one account: one rate budget, one line, one pause after a 429.

    `region_or_base_url` is "eu", "us" or a URL; plain http is taken for loopback only.
    `timeout` is the longest silence in seconds, `longest` the longest call whatever comes: a
    client still busy then hangs, and a new one takes its place. A request is tried `tries`
    times, and not after `patience` seconds; then `Unavailable` is raised. After a 401 nothing
    is sent for a minute, doubling up to an hour with each further one: calls fail at once.
    `observe` is told of every attempt. `transport` takes the place of the network, such as
    the simulator's `InProcess`.

    Raises ConfigError for an address or credentials that can't be right.
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
        transport: Transport | None = None,
    ) -> None:
        self.base_url = base_url(region_or_base_url)
        if not email or not api_key or ":" in email:
            raise ConfigError("Mouseflow needs an email and an API key; an email has no colon")
        self._wire = Wire(
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
        self._standing = Standing(clock, monotonic, random)
        self._observe = observe or (lambda _sent: None)
        self._closed = False
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._turns = Turns(
            Budget(requests_per_second, burst),
            concurrency,
            pause=self._standing.paused_for,
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
        """Until when the whole account rests after a 429; can be set, from a store. Aware."""
        return self._standing.pause_until

    @pause_until.setter
    def pause_until(self, moment: datetime | None) -> None:
        self._standing.pause_until = moment

    async def send(self, request: Request[T], *, priority: Priority | None = None) -> T:
        """What the API answers, as the request reads it.

        Writes go before reads unless `priority` says otherwise, and websites take turns.
        Raises the errors of `mouseflow.errors`. When the caller is cancelled, a request
        in flight still ends.
        """
        if priority is None:
            priority = Priority.POLL if request.method == "GET" else Priority.ACTION
        call = self._turns.call(priority, request.website)
        unknown = False
        began: float | None = None
        attempt = 0
        while True:
            self._stop_early(request, unknown=unknown)
            if not await self._turns.take(call):
                self._stop_early(request, unknown=unknown, sent_home=True)
            attempt += 1
            began = self._monotonic() if began is None else began
            try:
                return await self._undisturbed(request, attempt)
            except Unavailable as error:
                unknown = error.unknown = error.unknown or unknown
                delay = self._again_in(request, error, attempt, began)
                if delay is None:
                    raise
                # Back into its place at once: the line itself waits for the pause's end.
                call = replace(call, refused=isinstance(error, TooManyRequests))
            if not call.refused:
                await self._sleep(delay)

    async def aclose(self) -> None:
        """Lets what is in flight end, fails what still waits, and closes the connections."""
        self._closed = True
        self._turns.send_home()
        if self._in_flight:
            await asyncio.wait(set(self._in_flight))
        await self._wire.aclose()

    def _stop_early(self, request: Request[Any], *, unknown: bool, sent_home: bool = False) -> None:
        """Raises where sending would be useless, or forbidden for a while."""
        if self._closed:
            raise unreachable(request, "the client is closed", unknown=unknown)
        locked = self._standing.locked(request)
        if locked is not None:
            raise locked
        if sent_home or self._standing.paused_for() > self._patience:
            resting = self._standing.resting(request)
            resting.unknown = unknown
            raise resting

    def _again_in(
        self, request: Request[Any], error: Unavailable, attempt: int, began: float
    ) -> float | None:
        """Seconds until the next try, None if there is to be none."""
        if attempt >= self._tries or (error.unknown and not request.repeatable):
            return None
        delay = backoff(attempt, self._random())
        if isinstance(error, TooManyRequests):
            delay = self._standing.paused_for()
        elif error.after is not None:
            delay += error.after.total_seconds()
        left = began + self._patience - self._monotonic()
        return delay if delay <= left else None

    async def _undisturbed(self, request: Request[T], attempt: int) -> T:
        """One attempt in a task of its own, which a cancelled caller leaves running."""
        task = asyncio.create_task(self._attempt(request, attempt))
        self._in_flight.add(task)
        task.add_done_callback(self._landed)
        return await asyncio.shield(task)

    def _landed(self, task: "asyncio.Task[Any]") -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # taken, so that a caller who has gone leaves no warning

    async def _attempt(self, request: Request[T], attempt: int) -> T:
        began = self._monotonic()
        status: int | None = None
        problem = ""
        try:
            reply = await self._wire.exchange(request)
            status = reply.status
            return self._read(request, reply)
        except BotError as error:
            problem = type(error).__name__
            raise
        finally:
            self._turns.give_back()
            seconds = self._monotonic() - began
            self._observe(Sent(request.method, request.route, status, seconds, attempt, problem))

    def _read(self, request: Request[T], reply: Reply) -> T:
        if not 200 <= reply.status < 300:
            raise self._failure(request, reply)
        self._standing.welcomed()
        try:
            return request.read(reply.body)
        except BadAnswer as problem:
            body = self._wire.without_secrets(reply.body.decode("utf-8", "replace")).encode()
            error = unreadable(request, reply.status, body, problem)
        raise error

    def _failure(self, request: Request[Any], reply: Reply) -> CallFailed:
        after = retry_after(reply.headers.get("Retry-After"), self._clock())
        if reply.status == 401:
            self._standing.lock()
            self._turns.send_home()
        if reply.status == 429:
            after = self._standing.rest(after)
            if self._standing.paused_for() > self._patience:
                self._turns.send_home()
        body = self._wire.without_secrets(reply.body[:4096].decode("utf-8", "replace")).encode()
        return failure(request, reply.status, body, after, _hint(request, reply.status))


def _hint(request: Request[Any], status: int) -> str:
    if status == 401 or (status in (403, 404) and request.route == "GET /websites"):
        return OTHER_REGION
    if status == 403 and request.method != "GET":
        return "the website may be read-only for this user"
    if 300 <= status < 400:
        return "redirects are not followed: check the address"
    return ""
