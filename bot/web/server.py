"""Serve the page on the daemon's event loop, and end it without waiting for open streams."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from bot.errors import ConfigError, internal_error

log = structlog.get_logger(__name__)

GRACE = 3
"""Seconds that a stop waits for answers in progress."""

_REASONS = {
    errno.EADDRINUSE: "another program uses it",
    errno.EACCES: "this user may not listen on it",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises ConfigError if that is impossible."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        why = _REASONS.get(error.errno or 0, error.strerror or "it can't be used")
        raise ConfigError(
            f"web.listen: can't listen on {host}:{port}: {why}. Choose another port, "
            'or write "" to turn the status page off'
        ) from error
    listening.setblocking(False)
    return listening


def url_of(listening: socket.socket) -> str:
    """The address of the page on this machine."""
    host, port = listening.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"


class _Server(uvicorn.Server):
    """uvicorn, without its own handling of signals: the daemon has one.

    It sleeps while nobody asks: uvicorn's own loop wakes ten times a second to see whether it is to
    end, which would cost more than the polls of a few websites.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.closing = asyncio.Event()

    async def main_loop(self) -> None:
        self.server_state.default_headers = self.config.encoded_headers
        await self.closing.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _say_if_failed(task: "asyncio.Task[None]") -> None:
    """Log that the page is gone: the daemon keeps working without it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("web.stopped", reason=internal_error(error), exc_info=error)


@asynccontextmanager
async def serving(
    app: ASGIApp, listening: socket.socket, proxies: Sequence[str] = ()
) -> AsyncIterator[None]:
    """Serve the application within the block. The caller ends its streams before.

    `proxies` are the addresses and networks whose X-Forwarded-For is believed.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the application adds it
            # A forged X-Forwarded-For would dodge the delay after wrong tokens.
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            h11_max_incomplete_event_size=16_384,
            limit_concurrency=200,
            timeout_graceful_shutdown=GRACE,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    task.add_done_callback(_say_if_failed)
    try:
        yield
    finally:
        server.closing.set()
        await asyncio.gather(task, return_exceptions=True)
        listening.close()
