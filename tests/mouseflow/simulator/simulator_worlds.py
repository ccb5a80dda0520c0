"""A world for property tests, and the slow and obvious way to look for recordings in it."""

from datetime import UTC, date, datetime, timedelta
from functools import cache

from mouseflow.simulator import clock, scenarios, timeline
from mouseflow.simulator.clock import Clock
from mouseflow.simulator.filters import Facts, Query, Window, matches
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.site import Site, website
from mouseflow.simulator.traffic import Plan
from mouseflow.simulator.world import World

START = datetime(2026, 3, 28, 20, 0, tzinfo=UTC)  # the night the clocks change
USER = "ops@example.com"


class Time:
    """A clock that a test sets."""

    moment = START

    def __call__(self) -> datetime:
        return self.moment


@cache
def _world() -> tuple[World, Site, Time]:
    time = Time()
    plan = Plan(per_day=150, since=date(2026, 3, 25), kinds=80)
    site = website("night", "night.example", plan=plan, seed=5)
    world = World([site], Clock(time), Quirks(), seed=5)
    for n, name in enumerate(sorted(scenarios.SCENARIOS)):
        world.plant(site, scenarios.SCENARIOS[name](), START + timedelta(hours=n * 5 - 20))
    world.change(site, {"recordingRate": 60})
    found = world.find(site, Query(), Window(), USER)
    for n, ref in enumerate(world.newest(site, found, offset=0, limit=60)):
        who = timeline.find_visit(site, ref)
        assert who is not None
        if n % 5 == 0:
            world.delete(site, who)
        if n % 3 == 0:
            world.tag(site, who, "bot-tag", on=True)
        if n % 4 == 0:
            world.marks(site, who).starred.add(USER)
    return world, site, time


def everything(passed: int, order: str) -> tuple[World, Site]:
    """The world `passed` seconds after its start."""
    world, site, time = _world()
    time.moment = START + timedelta(seconds=passed)
    world.quirks = Quirks(sort=order)
    return world, site


def naive(world: World, site: Site, wanted: Query) -> tuple[list[str], list[str]]:
    """Ids as the world finds them, and as a look at each recording finds them, in order."""
    day = Window(date(2026, 3, 29), date(2026, 3, 31))
    found = world.find(site, wanted, day, USER)
    refs = world.newest(site, found, offset=0, limit=10_000)
    assert found.count == len(refs)
    assert sum(world.chart(site, found, day).values()) == found.count
    since, until = world.range(day)
    fitting = []
    for ref in _all_refs(site):
        who = timeline.find_visit(site, ref)
        if who is None or not since <= who.start < min(until, world.now() + 1):
            continue
        marks = site.marks.get(ref)
        if marks is not None and marks.deleted:
            continue
        state = world.observed(site, who)
        facts = Facts(
            starred=marks is not None and USER in marks.starred,
            texts=(timeline.address(site, who), timeline.visitor_id(site, who)),
        )
        if matches(wanted, state, facts):
            by_start = world.quirks.sort == "created"
            fitting.append((who.start + (0 if by_start else state.last), ref))
    fitting.sort(reverse=True)
    name = site.key
    return (
        [clock.recording_id(name, ref) for ref in refs],
        [clock.recording_id(name, ref) for _, ref in fitting],
    )


def _all_refs(site: Site) -> list[int]:
    refs = [timeline.pack(timeline.PLANTED, n) for n in range(len(site.planted))]
    for day in range(date(2026, 3, 25).toordinal(), date(2026, 4, 1).toordinal()):
        arrivals = timeline.arrived(site, day)
        refs += [timeline.pack(day, n) for n in range(len(arrivals.starts))]
    return refs
