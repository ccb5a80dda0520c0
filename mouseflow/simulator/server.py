"""The simulator as a whole: both pretend servers on one world, with or without sockets."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Self

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mouseflow.simulator import scenarios, world
from mouseflow.simulator.api import failure, mouseflow_app
from mouseflow.simulator.clock import Clock, Now, milliseconds, real
from mouseflow.simulator.control import control_app
from mouseflow.simulator.middleware import CONTROL, DROP, Call, Edge, Fault, Faults
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import SCENARIOS
from mouseflow.simulator.sessions import Script
from mouseflow.simulator.site import Site
from mouseflow.simulator.slack import SlackWorkspace, slack_app, slack_refusal
from mouseflow.simulator.world import World

MOUSEFLOW_PORT = 8700
SLACK_PORT = 8701
EMAIL = "ops@example.com"
API_KEY = "simulator-key"
CALLS_KEPT = 200_000


class Simulator:
    """A pretend Mouseflow account and a pretend Slack workspace.

    `world`, `slack`, `faults` and `clock` are its truth and may be changed while it runs;
    `calls` holds every request received. `mouseflow_app` and `slack_app` are ASGI
    applications that work without sockets; the URLs are set while the servers run.
    `with Simulator(seed=1) as sim:` runs them in a thread, `async with running_simulator(...)`
    on the caller's event loop.
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
        self.clock = Clock(now, speed=speed)
        self.faults = Faults()
        self.calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self.users = users or {EMAIL: API_KEY}
        self.email, self.api_key = next(iter(self.users.items()))
        self.world = World([], self.clock, quirks or Quirks(), seed=seed)
        for site in scenarios.demo_sites(self.clock.now(), seed) if sites is None else sites:
            self.world.sites[site.id] = site
        self.slack = SlackWorkspace(self.clock)
        for name in scenarios.CHANNELS:
            self.slack.add_channel(name)
        control = control_app(self)
        self.mouseflow_app = self._edge(
            _Fork(mouseflow_app(self.world, self.users), control), "mouseflow", seed
        )
        self.slack_app = self._edge(_Fork(slack_app(self.slack), control), "slack", seed)
        self.mouseflow_url = self.slack_url = self.webhook_url = ""
        self._ports = (port, slack_port)
        self._thread: _Thread | None = None

    @property
    def quirks(self) -> Quirks:
        """How the pretend Mouseflow behaves."""
        return self.world.quirks

    def behave(self, **quirks: Any) -> None:
        """Turns switches of `Quirks` by name."""
        self.world.quirks = replace(self.world.quirks, **quirks)

    def fail(self, kind: Any, **more: Any) -> None:
        """Orders a fault: `sim.fail("status", status=503, times=3)`."""
        self.faults.add(Fault(kind=kind, **more))

    def advance(self, seconds: float) -> None:
        """Lets time pass at once."""
        self.clock.advance(timedelta(seconds=seconds))

    def add(
        self, website: str, scenario: str | Script, *, start: float = 0.0, **options: Any
    ) -> str:
        """Plants a recording that begins `start` seconds from now; returns its id.

        `scenario` is one of `scenarios.SCENARIOS` (options go to it) or a script of
        `scenarios.session`. `website` is a name or an id.
        """
        script = scenario if isinstance(scenario, Script) else SCENARIOS[scenario](**options)
        begin = self.clock.now() + timedelta(seconds=start)
        return self.world.plant(self.world.site(website), script, begin)

    def intervene(self, website: str, **changes: Any) -> None:
        """Changes a website as a person would: `sim.intervene("myshop.com", status="Stopped")`."""
        self.world.change(self.world.site(website), changes, by="person")

    def respond(self, website: str, campaign: str, responses: int = 1) -> None:
        """Adds answers to a feedback campaign (by name or id) at this moment."""
        for one in self.world.site(website).campaigns.values():
            if campaign in (one.id, one.settings.get("name")):
                one.extra += [milliseconds(self.clock.now())] * responses
                return
        raise LookupError(campaign)

    def delete(self, recording: str) -> None:
        """Deletes a recording as a person would."""
        site, who, _ = self.world.truth(recording)
        self.world.delete(site, who)

    def effect(self, recording: str) -> world.Effect:
        """What was done to that recording."""
        return world.effect(self.world, recording)

    def friction(self, recording: str) -> float:
        """That recording's friction now, which no answer tells."""
        return world.friction(self.world, recording)

    def tags(self, recording: str) -> frozenset[str]:
        """That recording's tags now, the session's and its pages'."""
        return world.tags(self.world, recording)

    def switches(self, website: str) -> list[tuple[datetime, str, str]]:
        """When the website's status was set, by whom ("api" or "person"), and to what."""
        return world.switches(self.world, website)

    def effects(self) -> list[world.Effect]:
        """What was done to recordings, with how often each write was called."""
        return world.effects(self.world)

    def _edge(self, app: ASGIApp, side: Any, seed: int) -> Edge:
        refusal = failure if side == "mouseflow" else slack_refusal
        return Edge(
            app, side, faults=self.faults, calls=self.calls, clock=self.clock,
            quirks=lambda: self.world.quirks, refusal=refusal, seed=seed,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def serving(self, host: str = "127.0.0.1") -> AsyncIterator[Self]:
        """Serves both on the running event loop until the block ends."""
        port, slack_port = self._ports
        async with (
            _listening(self.mouseflow_app, host, port) as mouseflow,
            _listening(self.slack_app, host, slack_port) as slack,
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
    """Serves until interrupted (KeyboardInterrupt passes on) or until the event is set.

    `ready` is called once with the simulator when both servers listen. Raises OSError when a
    port is taken.
    """

    async def forever() -> None:
        sim = Simulator(port=port, slack_port=slack_port, seed=seed, quirks=quirks, speed=speed)
        async with sim.serving():
            if ready is not None:
                ready(sim)
            await (until or asyncio.Event()).wait()

    asyncio.run(forever())


class _Fork:
    """Sends control calls to the control application, all others to the pretend server."""

    def __init__(self, app: ASGIApp, control: ASGIApp) -> None:
        self._app = app
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and scope["path"].startswith(CONTROL)
        await (self._control if ours else self._app)(scope, receive, send)


class _Protocol(H11Protocol):
    """HTTP/1.1 that lets the application close its own connection."""

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
