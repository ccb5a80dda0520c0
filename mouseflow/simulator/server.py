"""The running simulator: both servers on one state, with or without sockets."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mouseflow.simulator.api import failure, mouseflow_app
from mouseflow.simulator.clock import Now, real
from mouseflow.simulator.control import control_app
from mouseflow.simulator.middleware import CONTROL, DROP, Middleware, Side
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.site import Site
from mouseflow.simulator.slack import slack_app, slack_failure
from mouseflow.simulator.socket_mode import SocketMode
from mouseflow.simulator.state import SimulatorState

MOUSEFLOW_PORT = 8700
SLACK_PORT = 8701


class Simulator(SimulatorState):
    """A simulated Mouseflow account and a simulated Slack workspace.

    `mouseflow_app` and `slack_app` are ASGI applications that work without sockets; the URLs
    are set while the servers run. `with Simulator(seed=1) as sim:` runs them in a thread,
    `async with running_simulator(...)` on the caller's event loop.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        sites: list[Site] | None = None,
        quirks: Quirks | None = None,
        now: Now = real,
        speed: float = 1.0,
        users: dict[str, str] | None = None,
        port: int = 0,
        slack_port: int = 0,
    ) -> None:
        super().__init__(
            seed=seed, sites=sites, quirks=quirks, now=now, speed=speed, users=users
        )  # fmt: skip
        control = control_app(self)
        mouseflow = _WithControl(mouseflow_app(self.world, self.users), control)
        slack = _WithControl(slack_app(self.slack), control)
        self.mouseflow_app = self._wrapped(mouseflow, "mouseflow")
        self.slack_app = self._wrapped(slack, "slack")
        self.mouseflow_url = self.slack_url = self.webhook_url = ""
        self.socket_mode = SocketMode(self.slack)
        self._ports = (port, slack_port)
        self._thread: _Thread | None = None

    def _wrapped(self, app: ASGIApp, side: Side) -> Middleware:
        return Middleware(
            app, side, faults=self.faults, calls=self.calls, progress=self._progress,
            clock=self.clock, quirks=lambda: self.world.quirks,
            failure=failure if side == "mouseflow" else slack_failure, seed=self.world.seed,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def serving(self, host: str = "127.0.0.1") -> AsyncIterator[Self]:
        """Serve both on the running event loop until the block ends."""
        port, slack_port = self._ports
        async with (
            _listening(self.mouseflow_app, host, port) as mouseflow,
            _listening(self.slack_app, host, slack_port) as slack,
            self.socket_mode.serving(host),
        ):
            self.mouseflow_url = f"http://{host}:{mouseflow}"
            self.slack_url = f"http://{host}:{slack}/api/"
            self.webhook_url = f"http://{host}:{slack}{self.slack.webhook_path}"
            yield self

    def __enter__(self) -> Self:
        self._thread = _Thread(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None


@contextlib.asynccontextmanager
async def running_simulator(**options: Any) -> AsyncIterator[Simulator]:
    """A simulator on free loopback ports of the running loop; options as for `Simulator`."""
    async with Simulator(**options).serving() as sim:
        yield sim


def serve(
    *,
    port: int = MOUSEFLOW_PORT,
    slack_port: int = SLACK_PORT,
    seed: int = 1,
    quirks: Quirks | None = None,
    speed: float = 1.0,
    ready: Callable[[Simulator], None] | None = None,
    until: "asyncio.Event | None" = None,
) -> None:
    """Serve until interrupted (KeyboardInterrupt is passed on) or until the event is set.

    `ready` is called with the simulator once both servers listen. Raises OSError if a port
    is in use.
    """

    async def forever() -> None:
        sim = Simulator(port=port, slack_port=slack_port, seed=seed, quirks=quirks, speed=speed)
        async with sim.serving():
            if ready is not None:
                ready(sim)
            await (until or asyncio.Event()).wait()

    asyncio.run(forever())


class _WithControl:
    """Passes control calls to the control application, all others to the simulated API."""

    def __init__(self, app: ASGIApp, control: ASGIApp) -> None:
        self._app = app
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        steers = scope["type"] == "http" and scope["path"].startswith(CONTROL)
        await (self._control if steers else self._app)(scope, receive, send)


class _Protocol(H11Protocol):
    """HTTP/1.1 in which the application can close its own connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner: Any = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), DROP: transport.close}
            await inner(scope, receive, send)

        self.app = app


@contextlib.asynccontextmanager
async def _listening(app: ASGIApp, host: str, port: int) -> AsyncIterator[int]:
    config = Config(
        app, lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_keep_alive=60, proxy_headers=False, interface="asgi3",
    )  # fmt: skip
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Protocol(config=config, server_state=state, app_state={}), host, port
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in tuple(state.connections):
            connection.transport.abort()
        for task in tuple(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await asyncio.sleep(0)


class _Thread(threading.Thread):
    """Runs a simulator on an event loop of its own."""

    def __init__(self, sim: Simulator) -> None:
        super().__init__(name="simulator", daemon=True)
        self._sim = sim
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._problem: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as problem:
            self._problem = problem
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with self._sim.serving():
            self._ready.set()
            await self._end.wait()

    def start(self) -> None:
        super().start()
        self._ready.wait()
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        if self._loop is not None and self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        self.join()
