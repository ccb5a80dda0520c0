"""What a test may ask the simulator that no API would answer."""

from dataclasses import dataclass
from datetime import datetime

from bot.simulator import ids
from bot.simulator.clock import moment
from bot.simulator.site import Marks, Site
from bot.simulator.world import World


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


def effects(world: World) -> list[Effect]:
    """Every recording that was written to, in the order of the first write to each."""
    return [
        _effect(site, ref, marks)
        for site in world.sites.values()
        for ref, marks in site.marks.items()
        if marks.calls or marks.deleted
    ]


def effect(world: World, recording: str) -> Effect:
    """What was done to that recording; raises LookupError if there is none."""
    site, who, _ = world.truth(recording)
    return _effect(site, who.ref, site.marks.get(who.ref, Marks()))


def friction(world: World, recording: str, *, whole: bool = False) -> float:
    """A recording's friction now, or with `whole` when it will be over."""
    return world.truth(recording, whole=whole)[2].friction


def tags(world: World, recording: str) -> frozenset[str]:
    """A recording's tags now, the session's and its pages'."""
    return world.truth(recording)[2].all_tags


def switches(world: World, website: str) -> list[tuple[datetime, str, str]]:
    """When a website's status was set, by whom ("api" or "person"), and to what."""
    return [
        (moment(at), *text.split(":", 1))  # type: ignore[misc]
        for at, text in world.site(website).events
    ]


def _effect(site: Site, ref: int, marks: Marks) -> Effect:
    return Effect(
        website=site.id,
        recording=ids.recording_id(site.key, ref),
        tags=frozenset(marks.tagged) - {"shared"},
        starred=frozenset(marks.starred),
        watched=frozenset(marks.watched),
        token=marks.token,
        deleted=marks.deleted,
        calls=dict(marks.calls),
    )
