"""The daemon as a process, across the end of a budget's period.

Its clock is the machine's. What the test sets is the account's time zone: one whose day ends
when the test wants it to, in a zone file of its own (PYTHONTZPATH).
"""

import struct
import zoneinfo
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from daemon_world import Daemon

from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

BUDGET = """
version: 1
rules:
  unused: {watch: websites, when: {status: Paused}, do: {slack: {}}}
budgets:
  credits:
    websites: [myshop.com]
    recordings: 3
    period: day
    steps: {"100%": {recording: stop, slack: {channel: "#ops"}}}
    resume: true
"""
NOON, LATE = "Test/Noon", "Test/Late"


@pytest.fixture
def zones(tmp_path):
    """Where zone files may be put: this process finds them, and so does the daemon."""
    before = zoneinfo.TZPATH
    folder = tmp_path / "zones"
    zoneinfo.reset_tzpath(to=[folder, *before])
    yield folder
    zoneinfo.reset_tzpath(to=before)


def zone(folder: Path, name: str, local: datetime) -> None:
    """A zone in which it is now that time; a file as RFC 8536 has it, with one fixed offset."""
    offset = round((local - datetime.now(UTC).replace(tzinfo=None)).total_seconds())
    header = struct.pack(">4sc15x6l", b"TZif", b"\0", 0, 0, 0, 0, 1, 4)
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(header + struct.pack(">lbB4s", offset, 0, 0, b"TST\0"))
    zoneinfo.ZoneInfo.clear_cache(only_keys=[name])  # another test may have written it before


@pytest.fixture
def sim(zones):
    zone(zones, NOON, datetime.combine(datetime.now(UTC).date(), time(12)))
    site = website("8fc2ace2-75bc-8ba4-b424-c8916670b990", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site], quirks=Quirks(time_zone=NOON)) as simulator:
        yield simulator


def said(sim, words):
    return [post for post in sim.slack.in_channel("#ops") if words in post.text]


async def test_a_budget_stops_survives_a_kill_and_sets_back_when_the_day_ends(sim, zones, tmp_path):
    site = sim.world.site("myshop.com")
    bot = Daemon(
        tmp_path, sim, BUDGET, BOT_POLL__REPORTS="500ms",
        BOT_MOUSEFLOW__TIME_ZONE=NOON, PYTHONTZPATH=str(zones),
    )  # fmt: skip
    today = datetime.now(zoneinfo.ZoneInfo(NOON)).date()
    bot.start()
    try:
        sim.wait_until(lambda: bot.events("daemon.started"))
        for _ in range(3):
            sim.add("myshop.com", "phone-bounce", start=-300)
        sim.wait_until(lambda: site.status == "Stopped" and said(sim, "100 % step"))
        bot.kill()

        left = timedelta(seconds=4)
        zone(zones, LATE, datetime.combine(today + timedelta(days=1), time()) - left)
        midnight = datetime.now(UTC) + left
        sim.behave(time_zone=LATE)
        bot.environment["BOT_MOUSEFLOW__TIME_ZONE"] = LATE
        bot.start()
        sim.wait_until(lambda: site.status == "Recording" and said(sim, "✅ Budget credits: "))
        for _ in range(3):
            sim.add("myshop.com", "phone-bounce", start=1)
        sim.wait_until(lambda: site.status == "Stopped" and len(said(sim, "100 % step")) == 2)
        assert bot.stop() == 0
    finally:
        if bot.process is not None:
            bot.kill()
    switches = sim.switches("myshop.com")
    assert [(who, what) for _at, who, what in switches] == [
        ("api", "Stopped"), ("api", "Recording"), ("api", "Stopped"),
    ]  # fmt: skip
    assert switches[1][0] >= midnight - timedelta(seconds=1)  # a zone's offset has no fractions
    assert len(said(sim, "✅ Budget credits: ")) == 1
