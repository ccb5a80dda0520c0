"""The outermost layer of both servers: records every call and injects faults."""

import asyncio
import random
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Literal, assert_never

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mouseflow.simulator.clock import Clock, milliseconds
from mouseflow.simulator.quirks import Quirks

Side = Literal["mouseflow", "slack"]
Kind = Literal["status", "html", "half", "close", "close_after", "delay", "delay_after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to the next `times` calls that match.

    `status` answers with that status, `html` with a page of HTML; `half` truncates the body
    of the real answer; `close` drops the connection before the call takes effect,
    `close_after` after it; `delay` waits before the call takes effect, `delay_after` before
    it is answered. Every kind waits `seconds`. `retry_after` (seconds) belongs to a status.
    `method`, `path` and `body` (parts of them) restrict which calls match; the first `skip`
    matching calls pass.
    """

    kind: Kind
    times: int = 1
    side: Side = "mouseflow"
    status: int = 500
    retry_after: float | None = None
    seconds: float = 0.0
    method: str = ""
    path: str = ""
    body: str = ""
    skip: int = 0

    def matches(self, side: Side, method: str, path: str, body: bytes = b"") -> bool:
        """Whether the fault applies to this call."""
        return (
            side == self.side
            and (not self.method or method == self.method.upper())
            and self.path in path
            and self.body.encode() in body
        )


class Faults:
    """The pending faults, in order. Thread-safe."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Append a fault."""
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._pending.clear()

    @property
    def pending(self) -> tuple[Fault, ...]:
        """The faults that have not happened yet."""
        with self._lock:
            return tuple(self._pending)

    def take(self, side: Side, method: str, path: str, body: bytes = b"") -> Fault | None:
        """The fault for this call, with one of its `times` used up; None if there is none."""
        with self._lock:
            for n, fault in enumerate(self._pending):
                if not fault.matches(side, method, path, body):
                    continue
                if fault.skip:
                    self._pending[n] = replace(fault, skip=fault.skip - 1)
                    continue
                self._pending[n : n + 1] = (
                    [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                )
                return fault
        return None


DROP = "simulator.drop"  # the ASGI extension with which our server closes a connection
CONTROL = "/_simulator"

_MAINTENANCE = "<!doctype html><html><head><title>Oops</title></head><body><h1>Oops</h1></body>"


class Dropped(ConnectionResetError):
    """The connection was closed without an answer (only where there are no sockets)."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request received. `status` is 0 if the connection was dropped; `at` is in ms."""

    side: Side
    method: str
    path: str
    query: str
    status: int
    at: int
    body: bytes = b""


class RateLimit:
    """Counts the calls of each second."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def exceeded(self, now_ms: int, per_second: float | None) -> bool:
        """Count a call; whether it exceeds `per_second` (None: no limit)."""
        if now_ms // 1000 != self._second:
            self._second, self._count = now_ms // 1000, 0
        self._count += 1
        return per_second is not None and self._count > per_second


class Middleware:
    """Wraps an application: injects faults, calls the application, records the call."""

    def __init__(
        self,
        app: ASGIApp,
        side: Side,
        *,
        faults: Faults,
        calls: "deque[Call]",
        clock: Clock,
        quirks: Callable[[], Quirks],
        failure: Callable[[int], Response],
        progress: threading.Event,
        seed: int = 1,
    ) -> None:
        self._app = app
        self._side = side
        self._faults = faults
        self._calls = calls
        self._clock = clock
        self._quirks = quirks
        self._failure = failure
        self._progress = progress
        self._chance = random.Random(f"edge {side} {seed}")  # the text is part of the seed
        self._limit = RateLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        fault = self._fault(scope["method"], scope["path"], body)
        self._progress.set()
        after = fault is not None and fault.kind == "delay_after"
        if not after:
            await self._wait(fault)
        app = self._app if fault is None else self._app_with(fault)
        messages = await _collected(app, scope, body) if app else []
        if after:
            await self._wait(fault)
        dropped = fault is not None and fault.kind in ("close", "close_after")
        self._record(scope, body, 0 if dropped else messages[0]["status"])
        if dropped:
            await _drop(scope, receive)
            return
        if fault is not None and fault.kind == "half":
            messages = _halved(messages)
        if self._side == "mouseflow":
            stamp = formatdate(self._clock.now().timestamp(), usegmt=True).encode()
            messages[0] = {**messages[0], "headers": [*messages[0]["headers"], (b"date", stamp)]}
        for message in messages:
            await send(message)

    async def _wait(self, fault: Fault | None) -> None:
        seconds = self._quirks().slow if self._side == "mouseflow" else 0.0
        seconds += fault.seconds if fault is not None else 0.0
        if seconds:
            await asyncio.sleep(seconds)

    def _fault(self, method: str, path: str, body: bytes) -> Fault | None:
        fault = self._faults.take(self._side, method, path, body)
        if fault is not None or self._side != "mouseflow":
            return fault
        quirks = self._quirks()
        now = milliseconds(self._clock.now())
        if self._limit.exceeded(now, quirks.rate_limit):
            return Fault(kind="status", status=429, retry_after=quirks.retry_after)
        if quirks.error_rate and self._chance.random() < quirks.error_rate:
            return self._chance.choice(
                (
                    Fault(kind="status", status=500),
                    Fault(kind="status", status=503),
                    Fault(kind="html", status=502),
                    Fault(kind="half"),
                    Fault(kind="close"),
                    Fault(kind="close_after"),
                    Fault(kind="status", status=429, retry_after=quirks.retry_after),
                )
            )
        return None

    def _app_with(self, fault: Fault) -> ASGIApp | None:
        """What answers a call with this fault; None if the call does not take effect."""
        match fault.kind:
            case "half" | "close_after" | "delay" | "delay_after":
                return self._app
            case "close":
                return None
            case "html":
                return HTMLResponse(_MAINTENANCE, fault.status)
            case "status":
                response = self._failure(fault.status)
                if fault.retry_after is not None:
                    response.headers["retry-after"] = f"{fault.retry_after:g}"
                return response
            case _:
                assert_never(fault.kind)

    def _record(self, scope: Scope, body: bytes, status: int) -> None:
        query = scope["query_string"].decode("ascii", "replace")
        at = milliseconds(self._clock.now())
        call = Call(self._side, scope["method"], scope["path"], query, status, at, body)
        self._calls.append(call)
        self._progress.set()


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body)


async def _collected(app: ASGIApp, scope: Scope, body: bytes) -> list[Message]:
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    return messages


def _halved(messages: list[Message]) -> list[Message]:
    body = b"".join(message.get("body", b"") for message in messages[1:])
    half = body[: len(body) // 2]
    headers = [(k, v) for k, v in messages[0]["headers"] if k != b"content-length"]
    headers.append((b"content-length", str(len(half)).encode()))
    return [
        {**messages[0], "headers": headers},
        {"type": "http.response.body", "body": half},
    ]


async def _drop(scope: Scope, receive: Callable[[], Awaitable[Message]]) -> None:
    drop: Callable[[], None] | None = scope.get("extensions", {}).get(DROP)
    if drop is None:
        raise Dropped("the connection was closed without an answer")
    drop()
    while (await receive())["type"] != "http.disconnect":
        pass
