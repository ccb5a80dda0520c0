"""The control calls under /_simulator/, with which another process steers the simulator."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mouseflow.simulator.middleware import CONTROL, Fault
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.request import answer
from mouseflow.simulator.scenarios import SCENARIOS, session
from mouseflow.simulator.sessions import Script, Visitor
from mouseflow.simulator.state import SimulatorState
from mouseflow.simulator.world import ApiError


class NewEvent(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """An event in a new session: [second, tag] or [second, tag, friction]."""

    at: float
    tag: str
    friction: float | None = None


class NewRecording(msgspec.Struct, forbid_unknown_fields=True):
    """A session to add: a scenario, or pages with the seconds spent on each.

    `start` is in seconds from now, negative for the past. `options` are passed to the scenario.
    """

    website: str
    scenario: str = ""
    start: float = 0.0
    options: dict[str, Any] = {}
    pages: list[tuple[str, float]] = []
    events: list[NewEvent] = []
    variables: list[tuple[float, str, str]] = []
    visitor: dict[str, Any] = {}


class WebsiteChange(msgspec.Struct, forbid_unknown_fields=True):
    """What a person changes in Mouseflow's web interface."""

    status: str | None = None
    recordingRate: int | None = None  # noqa: N815 - the API's word
    readOnly: bool | None = None  # noqa: N815


class NewResponses(msgspec.Struct, forbid_unknown_fields=True):
    """New responses to a campaign (by name or id), all of them now."""

    website: str
    campaign: str
    responses: int = 1


class Advance(msgspec.Struct, forbid_unknown_fields=True):
    """How far to move the clock."""

    seconds: float


class SlackChange(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to the simulated Slack; `archive`, `leave`, `join` and `add` name channels."""

    scopes: list[str] | None = None
    token: str | None = None
    add: list[str] = []
    archive: list[str] = []
    leave: list[str] = []
    join: list[str] = []


def control_app(sim: SimulatorState) -> Starlette:
    """The control calls of one simulator. They need no credentials: loopback only."""

    def route(method: str, path: str, serve: Callable[[Request, bytes], Any]) -> Route:
        return Route(f"{CONTROL}{path}", _endpoint(serve), methods=[method])

    return Starlette(
        routes=[
            route("GET", "/state", lambda _, __: state(sim)),
            route("GET", "/calls", lambda _, __: [_call(call) for call in sim.calls]),
            route("GET", "/effects", lambda _, __: _json_value(sim.effects())),
            route("GET", "/slack/messages", lambda _, __: _json_value(sim.slack.messages)),
            route("GET", "/recordings/{id}", lambda r, __: _inspect(sim, r.path_params["id"])),
            route("POST", "/recordings", lambda _, body: plant(sim, body)),
            route("DELETE", "/recordings/{id}", lambda r, __: remove(sim, r.path_params["id"])),
            route("PUT", "/websites/{id}", lambda r, b: intervene(sim, r.path_params["id"], b)),
            route("POST", "/feedback", lambda _, body: respond(sim, body)),
            route("POST", "/advance", lambda _, body: advance(sim, body)),
            route("POST", "/quirks", lambda _, body: behave(sim, body)),
            route("GET", "/faults", lambda _, __: _json_value(sim.faults.pending)),
            route("POST", "/faults", lambda _, body: fail(sim, body)),
            route("DELETE", "/faults", lambda _, __: sim.faults.clear()),
            route("PUT", "/slack", lambda _, body: workspace(sim, body)),
            route("POST", "/reset", lambda _, __: reset(sim)),
        ]
    )


def state(sim: SimulatorState) -> dict[str, Any]:
    """The time, the websites, the quirks, and how much has happened."""
    return {
        "now": sim.clock.now().isoformat(),
        "seed": sim.world.seed,
        "websites": [
            {"id": s.id, "name": s.settings["name"], "status": s.status, "recorded": s.recorded,
             "readOnly": s.read_only, "switches": [text for _, text in s.events]}
            for s in sim.world.sites.values()
        ],
        "quirks": _json_value(sim.quirks),
        "calls": len(sim.calls),
        "messages": len(sim.slack.messages),
        "faults": len(sim.faults.pending),
        "scenarios": sorted(SCENARIOS),
    }  # fmt: skip


def plant(sim: SimulatorState, body: bytes) -> dict[str, str]:
    """Add a recording; answers its id."""
    wanted = msgspec.json.decode(body, type=NewRecording)
    site = sim.world.site(wanted.website)
    return {"id": sim.add(site.id, _script(wanted), start=wanted.start)}


def remove(sim: SimulatorState, recording: str) -> None:
    """Delete a recording as a person would."""
    sim.delete(recording)


def intervene(sim: SimulatorState, name: str, body: bytes) -> None:
    """Change a website by hand."""
    changes = msgspec.json.decode(body, type=WebsiteChange)
    changed = {k: v for k, v in msgspec.structs.asdict(changes).items() if v is not None}
    if changed.get("status", "Recording") not in ("NotInstalled", "Recording", "Stopped", "Paused"):
        raise ApiError(400, "No such status.")
    sim.intervene(name, **changed)


def respond(sim: SimulatorState, body: bytes) -> None:
    """Add responses to a feedback campaign."""
    wanted = msgspec.json.decode(body, type=NewResponses)
    sim.respond(wanted.website, wanted.campaign, wanted.responses)


def advance(sim: SimulatorState, body: bytes) -> dict[str, str]:
    """Move the clock; answers the new time."""
    sim.advance(msgspec.json.decode(body, type=Advance).seconds)
    return {"now": sim.clock.now().isoformat()}


def behave(sim: SimulatorState, body: bytes) -> dict[str, Any]:
    """Set quirks, durations in seconds; answers all of them."""
    values = msgspec.json.decode(body, type=dict[str, Any])
    known = {**asdict(sim.quirks), **values}
    if unknown := set(values) - set(asdict(sim.quirks)):
        raise ApiError(400, f"No such quirk: {', '.join(sorted(unknown))}.")
    for key, value in values.items():
        if isinstance(getattr(sim.quirks, key), timedelta):
            known[key] = timedelta(seconds=value)
    sim.world.quirks = msgspec.convert(known, Quirks)
    return _json_value(sim.quirks)  # type: ignore[no-any-return]


def fail(sim: SimulatorState, body: bytes) -> None:
    """Inject a fault."""
    sim.faults.add(msgspec.json.decode(body, type=Fault))


def workspace(sim: SimulatorState, body: bytes) -> None:
    """Change the simulated Slack."""
    wanted = msgspec.json.decode(body, type=SlackChange)
    if wanted.scopes is not None:
        sim.slack.scopes = frozenset(wanted.scopes)
    sim.slack.token = wanted.token or sim.slack.token
    for name in wanted.add:
        sim.slack.add_channel(name)
    for names, trait, value in (
        (wanted.archive, "archived", True),
        (wanted.leave, "member", False),
        (wanted.join, "member", True),
    ):
        for name in names:
            channel = sim.slack.channel(name)
            if channel is None:
                raise ApiError(404, "No such channel.")
            setattr(channel, trait, value)


def reset(sim: SimulatorState) -> None:
    """Forget calls, faults and Slack messages; the account stays as it is."""
    sim.calls.clear()
    sim.faults.clear()
    sim.slack.messages.clear()


def _script(wanted: NewRecording) -> Script:
    if wanted.scenario:
        if wanted.scenario not in SCENARIOS:
            raise ApiError(400, f"No such scenario; there are {', '.join(SCENARIOS)}.")
        script = SCENARIOS[wanted.scenario](**wanted.options)
        if wanted.visitor:
            script = replace(script, visitor=replace(script.visitor, **wanted.visitor))
        return script
    events = [
        (e.at, e.tag) if e.friction is None else (e.at, e.tag, e.friction) for e in wanted.events
    ]
    if not wanted.pages:
        raise ApiError(400, "A recording needs a scenario or pages.")
    return session(
        wanted.pages, events, variables=wanted.variables,
        visitor=Visitor(**wanted.visitor),
    )  # fmt: skip


def _inspect(sim: SimulatorState, recording: str) -> dict[str, Any]:
    return {
        "friction": sim.friction(recording),
        "frictionAtEnd": sim.friction(recording, whole=True),
        "tags": sorted(sim.tags(recording)),
        "effect": _json_value(sim.effect(recording)),
    }


def _call(call: Any) -> dict[str, Any]:
    return asdict(call) | {"body": call.body.decode("utf-8", "replace")}


def _json_value(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _endpoint(serve: Callable[[Request, bytes], Any]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            found = serve(request, await request.body())
        except ApiError as error:
            return answer({"error": error.message}, error.status)
        except LookupError as error:
            return answer({"error": f"Not found: {error}"}, 404)
        except (msgspec.MsgspecError, TypeError) as error:
            return answer({"error": str(error)}, 400)
        return answer({"ok": True} if found is None else found)

    return endpoint
