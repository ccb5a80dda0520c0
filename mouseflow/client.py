"""The async client of one account: queue, rate limit, retries, pause after a 429.

`mouseflow.transport` sends the bytes.
"""

import asyncio
import logging
import os
import random as randomness
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mouseflow.call_queue import CallQueue, Priority
from mouseflow.errors import (
    BadAnswer,
    ConfigurationError,
    MouseflowError,
    Rejected,
    TooLarge,
    TooManyRequests,
    Unavailable,
    Unreachable,
    status_error,
    unreadable,
)
from mouseflow.lists import AccountLists
from mouseflow.rate_limit import OTHER_REGION, AccountState, TokenBucket, backoff, retry_after
from mouseflow.request import Request
from mouseflow.transport import HttpxTransport, Reply, Transport, base_url
from mouseflow.turns import in_turns

T = TypeVar("T")
log = logging.getLogger("mouseflow")

ENVIRONMENT = {
    "region": ("MOUSEFLOW_REGION", "BOT_MOUSEFLOW__REGION"),
    "base_url": ("MOUSEFLOW_BASE_URL", "BOT_MOUSEFLOW__BASE_URL"),
    "email": ("MOUSEFLOW_EMAIL", "BOT_MOUSEFLOW__EMAIL"),
    "api_key": ("MOUSEFLOW_API_KEY", "BOT_MOUSEFLOW__API_KEY"),
}
"""The variables that `from_env` reads; the second of each pair is the bot's."""


LONG = 500_000
"""Bytes of an answer that is decoded in pieces, with turns for other tasks in between."""


class Sent(Struct, frozen=True):
    """One attempt, for metrics and logs: `status` is None if there was no answer.

    `route` is the request's template, never a path. `attempt` counts from 1; `seconds` is
    the time from sending to the end of the answer. `problem` is the error's class name,
    empty for success; `repeats` that of the attempt before. `website` is the id of the website
    that it is about, empty for the account.
    """

    method: str
    route: str
    status: int | None
    seconds: float
    attempt: int
    problem: str = ""
    repeats: str = ""
    website: str = ""


class Options(TypedDict, total=False):
    """The options of both clients."""

    requests_per_second: float
    burst: int
    concurrency: int
    timeout: float
    longest: float
    tries: int
    patience: float
    app: str
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]
    observe: Callable[[Sent], None] | None
    transport: HttpxTransport | None


@dataclass(frozen=True, slots=True)
class RawAnswer(Generic[T]):
    """An answer as it came, and as it was decoded. The names in `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    value: T

    def json(self) -> Any:
        """The body as plain dictionaries and lists, with keys that the models do not know."""
        return msgspec.json.decode(self.body)


class AsyncMouseflow(AccountLists):
    """The API of one account: one rate limit, one queue, one pause after a 429.

    >>> async with AsyncMouseflow("eu", "ops@example.com", key) as api:
    ...     sites = await api.send(websites.list())

    `region_or_base_url` is "eu", "us" or a URL; plain http is accepted for loopback only.
    `timeout` is the longest silence in seconds. A call still running after `longest` seconds
    is given up, and its connections are replaced. A request is tried up to `tries` times
    within `patience` seconds; then `Unavailable` is raised. After a 401 nothing is sent for a
    minute, doubling up to an hour with each further one: calls fail at once. `observe` is
    called after every attempt; what it raises is logged and breaks no call. `app`, such as
    "shop-tools/1.0", goes into the User-Agent. The log is `logging.getLogger("mouseflow")`:
    attempts at DEBUG, retries at INFO, pauses at WARNING; never a query. `transport` replaces
    the network, for instance with the simulator's `InProcess`.

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
        app: str = "",
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
            app=_product(app),
            monotonic=monotonic,
            transport=transport,
        )
        self._tries, self._patience = tries, patience
        self._clock, self._monotonic, self._sleep, self._random = clock, monotonic, sleep, random
        self._state = AccountState(clock, monotonic, random)
        self._observe = observe
        self._observed_badly = False
        self._concurrency = concurrency
        self._closed = False
        self._long = asyncio.Lock()
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._queue = CallQueue(
            TokenBucket(requests_per_second, burst),
            concurrency,
            pause=self._state.paused_for,
            monotonic=monotonic,
            sleep=sleep,
        )

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """A client with the address and credentials of the environment.

        Reads MOUSEFLOW_REGION or MOUSEFLOW_BASE_URL, MOUSEFLOW_EMAIL and MOUSEFLOW_API_KEY, or
        the same with BOT_MOUSEFLOW__ in front, as the bot does. Raises ConfigurationError.
        """
        return cls(*credentials_from(os.environ), **options)

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

    def use_rate(self, requests_per_second: float, burst: int) -> None:
        """Send at another rate from now on; raises ValueError if it is not above 0."""
        self._queue.use_rate(requests_per_second, burst)

    async def send(
        self,
        request: Request[T],
        *,
        priority: Priority | None = None,
        timeout: float | None = None,
        tries: int | None = None,
    ) -> T:
        """The API's answer, decoded by the request.

        >>> sites = await api.send(websites.list(), timeout=5, tries=1)

        Writes go before reads unless `priority` says otherwise, and websites take turns.
        `timeout` and `tries` replace those of the client for this call. Raises Rejected or
        Unavailable. If the caller is cancelled, a request in flight still runs to its end.
        """
        answer = await self.with_raw(request, priority=priority, timeout=timeout, tries=tries)
        return answer.value

    async def send_all(
        self, requests: Iterable[Request[T]], *, priority: Priority | None = None
    ) -> AsyncIterator[T]:
        """The answers to many requests, in their order, several of them in flight at once.

        >>> tag = (recordings.tag(site, each, "checked") for each in ids)
        >>> async for _ in api.send_all(tag): ...

        Raises the error of the first request that fails, in its place; of the following ones,
        those in flight run to their end and the others are not sent.
        """
        running: list[asyncio.Task[T]] = []
        try:
            for request in requests:
                running.append(asyncio.create_task(self.send(request, priority=priority)))
                if len(running) >= 2 * self._concurrency:
                    yield await running.pop(0)
            while running:
                yield await running.pop(0)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def with_raw(
        self,
        request: Request[T],
        *,
        priority: Priority | None = None,
        timeout: float | None = None,
        tries: int | None = None,
    ) -> RawAnswer[T]:
        """The answer with status, headers and JSON, beside its decoded value.

        >>> answer = await api.with_raw(websites.list())
        >>> answer.status, answer.headers["Date"], answer.json()

        Takes and raises what `send` does.
        """
        _check_request(request)
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
                return await self._shielded_attempt(request, attempt, timeout, repeats)
            except Unavailable as error:
                repeats = type(error).__name__
                error.outcome_unknown = error.outcome_unknown or outcome_unknown
                outcome_unknown = error.outcome_unknown
                most = self._tries if tries is None else tries
                delay = self._retry_delay(request, error, attempt, began, most)
                if delay is None:
                    raise
                log.info("%s: %s; retry in %.1f s", request.route, _why(error), delay)
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
        await self._transport.aclose()

    @property
    def closed(self) -> bool:
        """Whether the client was closed: it sends nothing any more."""
        return self._closed

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
        self, request: Request[Any], error: Unavailable, attempt: int, began: float, tries: int
    ) -> float | None:
        """Seconds until the next try, None for no further try."""
        if attempt >= tries or (error.outcome_unknown and not request.repeatable):
            return None
        if isinstance(error, TooLarge):
            return None
        delay = backoff(attempt, self._random())
        if isinstance(error, TooManyRequests):
            delay = self._state.paused_for()
        elif error.retry_after is not None:
            delay += error.retry_after.total_seconds()
        left = began + self._patience - self._monotonic()
        return delay if delay <= left else None

    async def _shielded_attempt(
        self, request: Request[T], attempt: int, timeout: float | None, repeats: str
    ) -> RawAnswer[T]:
        """One attempt in a task of its own, which goes on if the caller is cancelled."""
        task = asyncio.create_task(self._attempt(request, attempt, timeout, repeats))
        self._in_flight.add(task)
        task.add_done_callback(self._attempt_done)
        return await asyncio.shield(task)

    def _attempt_done(self, task: "asyncio.Task[Any]") -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that a cancelled caller leaves no warning

    async def _attempt(
        self, request: Request[T], attempt: int, timeout: float | None, repeats: str
    ) -> RawAnswer[T]:
        began = self._monotonic()
        status: int | None = None
        problem = ""
        try:
            reply = await self._transport.exchange(request, timeout)
            status = reply.status
            value = await self._decode(request, reply)
            return RawAnswer(reply.status, reply.headers, reply.body, value)
        except MouseflowError as error:
            problem = type(error).__name__
            raise
        finally:
            self._queue.release()
            seconds = self._monotonic() - began
            about = unquote(request.website)
            self._tell(
                Sent(
                    request.method, request.route, status, seconds, attempt, problem, repeats, about
                )
            )  # fmt: skip

    def _tell(self, sent: Sent) -> None:
        """Log the attempt and call `observe`, whose errors break no call."""
        outcome = sent.problem or sent.status
        log.debug("%s: %s in %.2f s, attempt %d", sent.route, outcome, sent.seconds, sent.attempt)
        if self._observe is None:
            return
        try:
            self._observe(sent)
        except Exception:
            if not self._observed_badly:
                self._observed_badly = True
                log.exception("observe failed; its further errors are not logged")

    async def _decode(self, request: Request[T], reply: Reply) -> T:
        if not 200 <= reply.status < 300:
            raise self._status_error(request, reply)
        self._state.succeeded()
        try:
            if request.in_pieces is None or len(reply.body) < LONG:
                return request.read(reply.body)
            async with self._long:  # two decoded at once would take twice the memory
                return await in_turns(request.in_pieces(reply.body))
        except BadAnswer as problem:
            body = self._transport.without_secrets(reply.body.decode("utf-8", "replace")).encode()
            error = unreadable(request, reply.status, body, problem)
        raise error

    def _status_error(self, request: Request[Any], reply: Reply) -> Rejected | Unavailable:
        after = retry_after(reply.headers.get("Retry-After"), self._clock())
        if reply.status == 401:
            log.warning("%s: 401, nothing is sent for a while", request.route)
            self._state.lock_out()
            self._queue.flush()
        if reply.status == 429:
            after = self._state.pause(after)
            log.warning("%s: 429, paused for %.0f s", request.route, self._state.paused_for())
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


def _why(error: Unavailable) -> str:
    return type(error).__name__ if error.status is None else f"status {error.status}"


def credentials_from(environ: Mapping[str, str]) -> tuple[str, str, str]:
    """Address, email and API key from these variables; raises ConfigurationError."""
    found = {
        name: next((environ[each] for each in variables if environ.get(each)), "")
        for name, variables in ENVIRONMENT.items()
    }
    address = found["base_url"] or found["region"]
    lacking = [
        ENVIRONMENT[name][0]
        for name, value in (("region", address), *found.items())
        if not value and name != "base_url" and not (name == "region" and address)
    ]
    if lacking:
        names = ", ".join(dict.fromkeys(lacking))
        raise ConfigurationError(f"set {names} (or the bot's variables, BOT_MOUSEFLOW__...)")
    return address, found["email"], found["api_key"]


def _check_request(given: object) -> None:
    if not isinstance(given, Request):
        name = getattr(given, "__name__", "")
        hint = f"; call it first: {name}(...)" if name and callable(given) else ""
        raise TypeError(f"expected a request, got a {type(given).__name__}{hint}")


def _product(app: str) -> str:
    if not app.isprintable() or not app.isascii():
        raise ConfigurationError("app: expected a name and version, such as shop-tools/1.0")
    return app


def _check(email: str, api_key: str) -> None:
    if not isinstance(email, str) or not isinstance(api_key, str):
        raise ConfigurationError("Mouseflow needs an email and an API key, both as texts")
    if not email or not api_key or ":" in email:
        raise ConfigurationError("Mouseflow needs an email without a colon, and an API key")
