"""A small HTTP server that answers what a test tells it, and a clock that obeys."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus


@dataclass(frozen=True)
class Got:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def reply(status: int = 200, body: bytes = b"[]", **headers: str) -> Answer:
    """A whole answer; header names with `_` for `-`."""

    async def write(writer: asyncio.StreamWriter) -> None:
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return write


async def cut(writer: asyncio.StreamWriter) -> None:
    """Closes the connection without a word."""
    writer.close()


async def half(writer: asyncio.StreamWriter) -> None:
    """Promises a hundred bytes, sends two, closes."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]")
    await writer.drain()
    writer.close()


def held(release: asyncio.Event, then: Answer) -> Answer:
    """Answers only when released."""

    async def write(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await then(writer)

    return write


@dataclass
class Wire:
    """The server: `answers` are used up in order, then `otherwise` again and again."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    otherwise: Answer = field(default_factory=reply)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set["asyncio.Task[None] | None"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            while not writer.is_closing() and (got := await _read(reader)) is not None:
                self.got.append(got)
                self.came.set()
                await (self.answers.popleft() if self.answers else self.otherwise)(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def requests(self, number: int) -> None:
        """Waits until so many requests have come."""
        while len(self.got) < number:
            self.came.clear()
            await self.came.wait()


async def _read(reader: asyncio.StreamReader) -> Got | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, target, _version = first.split(" ")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Got(method, target, headers, body)


class Time:
    """Time that passes only when somebody sleeps; `slept` keeps how long."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def clock(self) -> datetime:
        return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=self.seconds - 1000)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)
