"""Whole lists of the account, from both clients: complete, or an error that says what lacks."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from mouseflow import AsyncMouseflow, Mouseflow, PageFilters, SessionFilters, errors
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.scenarios import MYSHOP
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def sim():
    with Simulator(seed=1, now=lambda: NOW) as running:
        yield running


@pytest.fixture
def api(sim):
    sim.behave(row_cap=10_000, offset="honoured", ignored_filters=frozenset())
    with opened(sim) as client:
        yield client


def opened(sim):
    return Mouseflow(sim.mouseflow_url, sim.email, sim.api_key, requests_per_second=1000, burst=100)


WEEK = {"since": date(2026, 11, 20), "until": date(2026, 11, 25)}


def count(sim, **filters):
    days = SessionFilters(fromdate=WEEK["since"], todate=WEEK["until"], **filters)
    from mouseflow import recordings

    with opened(sim) as client:
        return client.send(recordings.list(MYSHOP, days, limit=1)).count


@pytest.mark.parametrize("cap", [10_000, 40])
@pytest.mark.parametrize("offset", ["honoured", "ignored"])
def test_all_recordings_of_a_window_come_once_whatever_the_cap(cap, offset, sim, api):
    sim.behave(row_cap=cap, offset=offset)
    ids = [recording.id for recording in api.recordings(MYSHOP, **WEEK)]
    assert len(ids) == len(set(ids)) == count(sim) > 100


def test_a_list_that_is_cut_ends_in_an_error_or_in_the_log_if_that_is_wanted(sim, api, caplog):
    caplog.set_level("WARNING", "mouseflow")
    splits = frozenset({"visitmin", "visitmax", "device", "visitortype", "referrer"})
    sim.behave(row_cap=5, offset="ignored", ignored_filters=splits)
    with pytest.raises(errors.IncompleteList) as caught:
        list(api.recordings(MYSHOP, **WEEK))
    assert caught.value.missed > 0
    assert list(api.recordings(MYSHOP, incomplete=True, **WEEK))
    assert "could not be read" in caplog.text


def test_a_moment_cuts_exactly_and_a_duration_counts_from_now(sim, api):
    moment = NOW - timedelta(hours=6)
    found = list(api.recordings(MYSHOP, since=moment, until=NOW))
    assert found
    assert all(moment <= recording.created < NOW for recording in found)
    everything = {row.id for row in api.recordings(MYSHOP, **WEEK) if moment <= row.created < NOW}
    assert {row.id for row in found} == everything


def test_a_moment_without_a_zone_and_two_windows_at_once_are_refused(api):
    with pytest.raises(ValueError, match="time zone"):
        list(api.recordings(MYSHOP, since=datetime(2026, 11, 1)))  # noqa: DTZ001
    with pytest.raises(ValueError, match="one of them"):
        list(api.recordings(MYSHOP, SessionFilters(fromdate=date(2026, 11, 1)), since=NOW))


def test_friction_bands_hold_what_the_filter_holds(sim, api):
    bands = api.friction_bands(MYSHOP, **WEEK)
    for least in (0.5, 1.0, 2.5, 5.0):
        reached = sum(band >= least for band in bands.values())
        assert reached == count(sim, frictionmin=least)
    assert api.friction_bands(MYSHOP, bands=[1e6], **WEEK) == {}


def test_friction_is_not_told_if_the_api_ignores_the_filter(sim, api):
    sim.behave(ignored_filters=frozenset({"frictionmin"}))
    with pytest.raises(errors.IgnoredFilter, match="frictionmin"):
        api.friction_bands(MYSHOP, **WEEK)


def test_of_two_websites_of_one_name_neither_is_picked(sim, api, monkeypatch):
    for key in ("twin-a", "twin-b"):
        monkeypatch.setitem(sim.world.sites, key, website(key, "twin.example"))
    with pytest.raises(
        LookupError, match=r"2 websites are called 'twin\.example'; use an id: twin-a, twin-b"
    ):
        api.website("twin.example")
    assert api.website("twin-b").id == "twin-b"


def test_the_other_lists_are_whole_too(sim, api):
    site = api.website("myshop.com")
    assert site.id == MYSHOP == api.website(MYSHOP).id
    with pytest.raises(LookupError, match=r"nobody\.example"):
        api.website("nobody.example")
    assert len(list(api.websites())) == 4
    assert [page.display_url for page in api.pages(site, PageFilters(country="de"), **WEEK)]
    assert "/" in list(api.page_urls(site))
    assert [step.count for funnel in api.funnels(site, **WEEK) for step in funnel.steps]
    assert all(form.fields for form in api.forms(site, **WEEK))
    assert [campaign.name for campaign in api.campaigns(site)]
    assert set(api.tags(site))
    assert set(api.variables(site))
    detailed = next(api.recordings(site, detail=True, **WEEK))
    assert detailed.page_views


def test_leaving_a_list_early_leaves_nothing_behind(api):
    for recording in api.recordings(MYSHOP, **WEEK):
        assert recording.id
        break


class Clock:
    """Time that passes only in `sleep`, for the simulator and the client."""

    def __init__(self):
        self.now = NOW

    async def sleep(self, seconds):
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def followed(sim, clock):
    return AsyncMouseflow(
        "http://127.0.0.1:1",
        sim.email,
        sim.api_key,
        transport=InProcess(sim.mouseflow_app),
        clock=lambda: clock.now,
        sleep=clock.sleep,
        requests_per_second=1e6,
        burst=1_000_000,
    )


async def test_a_live_tail_gives_each_new_recording_once_and_survives_an_outage():
    clock = Clock()
    sim = Simulator(seed=1, sites=None, now=lambda: clock.now)
    async with followed(sim, clock) as api:
        tail = api.follow(MYSHOP)
        made = sim.add("myshop.com", "checkout-friction", start=5)
        sim.fail("status", status=500, times=3)
        seen = []
        while made not in seen:
            seen.append((await anext(tail)).id)
        later = sim.add("myshop.com", "purchase", start=90)
        while later not in seen:
            seen.append((await anext(tail)).id)
        assert len(seen) == len(set(seen))
        await tail.aclose()


async def test_a_live_tail_of_settled_sessions_waits_for_their_end():
    clock = Clock()
    sim = Simulator(seed=1, now=lambda: clock.now)
    async with followed(sim, clock) as api:
        made = sim.add("myshop.com", "checkout-friction", start=5)
        quiet = timedelta(minutes=35)
        async for recording in api.follow(MYSHOP, settled=quiet, every=300):
            assert recording.last_activity <= clock.now - quiet
            if recording.id == made:
                break
