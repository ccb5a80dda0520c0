"""What a call to Mouseflow costs: the bot's transport against httpx's own, in one run.

    python -m bench.calls [--calls 2000] [--write]

Processor time of this process a call, the median of five rounds that take turns; the server is a
process of its own. The client is the whole one: queue, rate limit, credentials, unpacking. Only
decoding is left out. --write puts the figures into docs/explanation/performance.md.
"""

import argparse
import asyncio
import gzip
import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection

from bench.report import in_turns, write
from bot.transport import AiohttpTransport
from mouseflow import AsyncMouseflow
from mouseflow.request import Request
from mouseflow.transport import HttpxTransport

GOAL = 0.6
ROUNDS = 5

ROW = {"id": "0953400cc896bc93", "country": "de", "entryPage": "/checkout", "duration": 95_000}
BODIES = {
    "/small": json.dumps([ROW] * 10).encode(),
    "/page": gzip.compress(json.dumps([{**ROW, "id": f"{n:016x}"} for n in range(2000)]).encode()),
}
ASKED = {"1 kB of JSON": ("/small", 1), "a list page of 2,000 rows": ("/page", 10)}


class Server(asyncio.Protocol):
    """Answers each request with what its path asks for; requests come one by one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1].decode()
        packed = "Content-Encoding: gzip\r\n" if path == "/page" else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODIES[path])}\r\n{packed}\r\n"
        self.transport.write(head.encode() + BODIES[path])


def serve(told: Connection) -> None:
    async def until_killed() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(until_killed())


async def cost(url: str, transport: HttpxTransport | None, path: str, calls: int) -> float:
    """Milliseconds of processor time a call."""
    request = Request("GET", path, f"GET {path}", read=len)
    async with AsyncMouseflow(
        url, "a@b.c", "key", requests_per_second=1e9, burst=1, transport=transport
    ) as api:
        await api.send(request)
        began = time.process_time()
        for _ in range(calls):
            await api.send(request)
        return (time.process_time() - began) / calls * 1e3


def by_kind(url: str, path: str, calls: int) -> tuple[float, float]:
    """Milliseconds a call through httpx's transport and through the bot's."""
    theirs, ours = in_turns(
        ROUNDS,
        lambda: asyncio.run(cost(url, None, path, calls)),
        lambda: asyncio.run(cost(url, AiohttpTransport(url), path, calls)),
    )
    return theirs, ours


@contextmanager
def served() -> Iterator[str]:
    """The address of the server, in a process of its own."""
    ours, theirs = Pipe()
    server = get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        server.kill()


def small(calls: int) -> tuple[float, float]:
    """The same for a small answer."""
    with served() as url:
        return by_kind(url, "/small", calls)


def measured(url: str, calls: int) -> list[str]:
    lines = []
    for name, (path, share) in ASKED.items():
        theirs, ours = by_kind(url, path, calls // share)
        lines.append(f"| {name} | {theirs:.2f} ms | {ours:.2f} ms | {theirs / ours:.1f}× |")
    return lines


def report(lines: list[str]) -> str:
    return "\n".join(
        [
            f"Python {platform.python_version()}, processor time a call, the median of "
            f"{ROUNDS} rounds; goal: at most {GOAL} ms for a small answer.",
            "",
            "| answer | httpx's own transport | the bot's | ratio |",
            "|---|---:|---:|---:|",
            *lines,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--write", action="store_true", help="into docs/explanation/performance.md")
    args = parser.parse_args()
    with served() as url:
        told = report(measured(url, args.calls))
    print(told)
    if args.write:
        write("calls", told)


if __name__ == "__main__":
    main()
