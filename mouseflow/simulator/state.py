"""The state of a simulator: the account, the Slack workspace, the faults, and what happened."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from mouseflow.simulator import clock, scenarios
from mouseflow.simulator.clock import Clock, Now, milliseconds, moment, real
from mouseflow.simulator.middleware import Call, Fault, Faults
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import SCENARIOS
from mouseflow.simulator.sessions import Script
from mouseflow.simulator.site import Marks, Site
from mouseflow.simulator.slack import SlackWorkspace
from mouseflow.simulator.world import World

EMAIL = "ops@example.com"
API_KEY = "simulator-key"
CALLS_KEPT = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What was done to one recording. `calls` counts the writes: {"star": 1, "tag checkout": 2}.

    `tags` are those added through the API and still there; `token` is empty unless shared.
    """

    website: str
    recording: str
    tags: frozenset[str]
    starred: frozenset[str]
    watched: frozenset[str]
    token: str
    deleted: bool
    calls: dict[str, int]


class SimulatorState:
    """What a simulator knows, and how a test changes it.

    `world`, `slack`, `faults` and `clock` may be changed at any time; `calls` holds every
    request received.
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
    ) -> None:
        self.clock = Clock(now, speed=speed)
        self.faults = Faults()
        self.calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self._progress = threading.Event()  # set by every request, when it arrives and ends
        self.users = users or {EMAIL: API_KEY}
        self.email, self.api_key = next(iter(self.users.items()))
        if sites is None:
            sites = scenarios.demo_sites(self.clock.now(), seed)
        self.world = World(sites, self.clock, quirks or Quirks(), seed=seed)
        self.slack = SlackWorkspace(self.clock)
        for name in scenarios.CHANNELS:
            self.slack.add_channel(name)

    @property
    def quirks(self) -> Quirks:
        """How the simulated Mouseflow behaves."""
        return self.world.quirks

    def behave(self, **quirks: Any) -> None:
        """Set fields of `Quirks` by name."""
        self.world.quirks = replace(self.world.quirks, **quirks)

    def fail(self, kind: Any, **more: Any) -> None:
        """Inject a fault: `sim.fail("status", status=503, times=3)`."""
        self.faults.add(Fault(kind=kind, **more))

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.advance(timedelta(seconds=seconds))

    def wait_until(self, condition: Callable[[], object], timeout: float = 120.0) -> None:
        """Block until the condition is true; it is tested now and after every request.

        Call it from one thread, and not from that of the servers. Raises TimeoutError if the
        condition is still false after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while True:
            self._progress.clear()
            if condition():
                return
            if not self._progress.wait(end - time.monotonic()) and not condition():
                raise TimeoutError(f"still not true after {timeout:g} s")

    def add(
        self, website: str, scenario: str | Script, *, start: float = 0.0, **options: Any
    ) -> str:
        """Add a recording that begins `start` seconds from now; returns its id.

        `scenario` is one of `scenarios.SCENARIOS` (options go to it) or a script of
        `scenarios.session`. `website` is a name or an id.
        """
        script = scenario if isinstance(scenario, Script) else SCENARIOS[scenario](**options)
        begin = self.clock.now() + timedelta(seconds=start)
        return self.world.plant(self.world.site(website), script, begin)

    def intervene(self, website: str, **changes: Any) -> None:
        """Change a website by hand: `sim.intervene("myshop.com", status="Stopped")`."""
        self.world.change(self.world.site(website), changes, by="person")

    def respond(self, website: str, campaign: str, responses: int = 1) -> None:
        """Add responses to a feedback campaign (by name or id), now."""
        for one in self.world.site(website).campaigns.values():
            if campaign in (one.id, one.settings.get("name")):
                one.extra += [milliseconds(self.clock.now())] * responses
                return
        raise LookupError(campaign)

    def delete(self, recording: str) -> None:
        """Delete a recording as a person would."""
        site, visit, _ = self.world.inspect(recording)
        self.world.delete(site, visit)

    def effects(self) -> list[Effect]:
        """Every recording that was written to, in the order of the first write to each."""
        return [
            _effect(site, ref, marks)
            for site in self.world.sites.values()
            for ref, marks in site.marks.items()
            if marks.calls or marks.deleted
        ]

    def effect(self, recording: str) -> Effect:
        """What was done to that recording; raises LookupError if it does not exist."""
        site, visit, _ = self.world.inspect(recording)
        return _effect(site, visit.ref, site.marks.get(visit.ref, Marks()))

    def friction(self, recording: str, *, whole: bool = False) -> float:
        """The recording's friction now, or with `whole` at its end; no answer contains it."""
        return self.world.inspect(recording, whole=whole)[2].friction

    def tags(self, recording: str) -> frozenset[str]:
        """The recording's tags now, the session's and its pages'."""
        return self.world.inspect(recording)[2].all_tags

    def switches(self, website: str) -> list[tuple[datetime, str, str]]:
        """When the website's status was set, by whom ("api" or "person"), and to what."""
        return [
            (moment(at), *text.split(":", 1))  # type: ignore[misc]
            for at, text in self.world.site(website).events
        ]


def _effect(site: Site, ref: int, marks: Marks) -> Effect:
    return Effect(
        website=site.id,
        recording=clock.recording_id(site.key, ref),
        tags=frozenset(marks.tagged) - {"shared"},
        starred=frozenset(marks.starred),
        watched=frozenset(marks.watched),
        token=marks.token,
        deleted=marks.deleted,
        calls=dict(marks.calls),
    )
