"""Client and simulator keep to the same document: each endpoint, in each uncertain world."""

from datetime import UTC, datetime, timedelta

import pytest
from http_server import Time

from mouseflow import (
    Mouseflow,
    PageFilters,
    SessionFilters,
    errors,
    feedback,
    forms,
    funnels,
    heatmaps,
    paging,
    recordings,
    websites,
)
from mouseflow.simulator.scenarios import MYSHOP, READ_ONLY
from mouseflow.simulator.server import Simulator


@pytest.fixture
def sim():
    moment = datetime.now(UTC)
    with Simulator(seed=3, now=lambda: moment) as running:  # its time stands still
        yield running


@pytest.fixture
def api(sim):
    with Mouseflow(
        sim.mouseflow_url, sim.email, sim.api_key, requests_per_second=1000, burst=1000
    ) as client:
        yield client


@pytest.fixture
def days(sim):
    today = sim.clock.now().date()
    return SessionFilters(fromdate=today - timedelta(days=2), todate=today + timedelta(days=2))


WORLDS = {
    "as documented": {},
    "writes answer text": {"write_answer": "text"},
    "reports are lists": {"report_as_list": True},
    "friction is told": {"friction_in_answers": True},
    "fields are missing": {"drop_optional_fields": True},
    "the page detail has its URL": {"page_detail_display_url": True},
    "ordered by created": {"sort": "created"},
}


@pytest.mark.parametrize("world", WORLDS)
def test_all_of_the_api_can_be_used_in_every_world(world, sim, api, days):
    sim.behave(**WORLDS[world])
    # websites
    sites = api.send(websites.list())
    assert not sites.unreadable
    api.send(websites.reorder([site.id for site in reversed(sites)]))
    new = api.send(websites.create("new.example.com", recording_rate=50))
    assert api.send(websites.detail(new.id)).recording_rate == 50
    api.send(websites.update(new.id, name="New", recording_rate=25))
    detail = api.send(websites.detail(new.id))
    assert (detail.name, detail.recording_rate) == ("New", 25)
    api.send(websites.set_recording_status(MYSHOP, "Stopped"))
    assert api.send(websites.detail(MYSHOP)).status == "Stopped"
    api.send(websites.set_recording_status(MYSHOP, "Recording"))
    # recordings
    page = api.send(recordings.list(MYSHOP, days, limit=20))
    assert (len(page.recordings), page.unreadable) == (20, ())
    assert page.count >= sum(page.chart.values()) > 0
    one = page.recordings[-1].id
    api.send(recordings.star(MYSHOP, one))
    api.send(recordings.watch(MYSHOP, one))
    api.send(recordings.tag(MYSHOP, one, "a tag & more"))
    api.send(recordings.edit_variables(MYSHOP, one, {"plan": "small=1"}))
    token = api.send(recordings.share(MYSHOP, one))
    effect = sim.effect(one)
    assert token
    assert "a tag & more" in sim.tags(one)
    assert effect.starred
    assert effect.watched
    found = api.send(recordings.detail(MYSHOP, one))
    assert found.id == one
    if world != "fields are missing":
        assert found.token == token
        assert "plan=small=1" in found.variables
        assert found.page_views
    assert "a tag & more" in api.send(recordings.tags(MYSHOP, limit=1000))
    assert "plan" in api.send(recordings.variables(MYSHOP, limit=1000))
    for undo in (recordings.unstar, recordings.unwatch, recordings.unshare):
        api.send(undo(MYSHOP, one))
    api.send(recordings.untag(MYSHOP, one, "a tag & more"))
    assert "a tag & more" not in sim.tags(one)
    assert not sim.effect(one).starred
    api.send(recordings.bulk_tag(MYSHOP, "bulk", [one]))
    assert "bulk" in sim.tags(one)
    api.send(recordings.bulk_untag(MYSHOP, "bulk", [one]))
    api.send(recordings.delete(MYSHOP, one))
    with pytest.raises(errors.Gone):
        api.send(recordings.detail(MYSHOP, one))
    # heatmaps
    views = PageFilters(fromdate=days.fromdate, todate=days.todate)
    pages = api.send(heatmaps.pages(MYSHOP, views, limit=5))
    url = pages.pages[0].display_url or "/"
    assert pages.count >= len(pages.pages)
    assert api.send(heatmaps.page(MYSHOP, url, views)).display_url == url
    assert url in api.send(heatmaps.urls(MYSHOP, limit=1000)).urls
    api.send(heatmaps.share(MYSHOP, url))
    api.send(heatmaps.unshare(MYSHOP, url))
    # funnels, forms, feedback
    funnel = api.send(funnels.create(MYSHOP, "F", [("Start", "/"), ("End", "/checkout")]))
    api.send(funnels.edit(MYSHOP, funnel.id, name="G"))
    assert api.send(funnels.report(MYSHOP, funnel.id, days)).name == "G"
    assert funnel.id in {listed.id for listed in api.send(funnels.list(MYSHOP, days))}
    api.send(funnels.delete(MYSHOP, funnel.id))
    form = api.send(forms.create(MYSHOP, "/checkout", "pay", fields=[("card", "Card")]))
    api.send(forms.edit(MYSHOP, form.id, alias="Pay"))
    assert api.send(forms.report(MYSHOP, form.id, days)).alias == "Pay"
    assert form.id in {listed.id for listed in api.send(forms.list(MYSHOP, days))}
    assert not api.send(forms.available(MYSHOP, "/checkout")).unreadable
    api.send(forms.delete(MYSHOP, form.id))
    (campaign, *_others) = api.send(feedback.list(MYSHOP))
    assert campaign.report.responses is not None
    api.send(feedback.update(MYSHOP, campaign.id, {"name": "Other", "enabled": False}))
    assert api.send(feedback.detail(MYSHOP, campaign.id)).name == "Other"
    api.send(feedback.create(MYSHOP, {"name": "Fresh", "steps": []}))
    assert "Fresh" in {listed.name for listed in api.send(feedback.list(MYSHOP))}
    api.send(feedback.delete(MYSHOP, campaign.id))
    with pytest.raises(errors.Gone):
        api.send(feedback.detail(MYSHOP, campaign.id))


@pytest.mark.parametrize("malformed", [0, 3])
def test_every_recording_that_the_simulator_makes_decodes(malformed, sim, api, days):
    sim.behave(malformed_rows=malformed)
    for site in api.send(websites.list()):
        page = api.send(recordings.list(site.id, days, limit=10_000))
        assert len(page.unreadable) == min(malformed, page.count)
        assert len(page.recordings) + len(page.unreadable) == page.count
        for row in page.recordings[:40]:
            assert api.send(recordings.detail(site.id, row.id)).id == row.id


@pytest.mark.parametrize("cap", [10_000, 40])
@pytest.mark.parametrize("offset", ["honoured", "ignored"])
@pytest.mark.parametrize("allowed", [True, False])
def test_a_list_is_read_to_its_end_or_the_rest_is_counted(cap, offset, allowed, sim, api, days):
    sim.behave(row_cap=cap, offset=offset)
    count = api.send(recordings.list(MYSHOP, days, limit=1)).count
    parts = list(api.each(lambda api: paging.read(api, MYSHOP, days, limit=30, offset=allowed)))
    ids = [row.id for part in parts for row in part.recordings]
    assert len(ids) == len(set(ids))
    assert len(ids) + parts[-1].missed >= count
    assert parts[-1].missed == 0


@pytest.mark.parametrize("honoured", [True, False])
def test_probes_see_what_the_server_can(honoured, sim, api, days):
    sim.behave(offset="honoured" if honoured else "ignored")
    ask = SessionFilters(fromdate=days.fromdate, todate=days.todate, visitmin=timedelta(seconds=1))

    async def probe(client):
        yield await paging.probe_offset(client, MYSHOP, ask)

    assert list(api.each(probe)) == [honoured]


def test_a_read_only_website_refuses_writes_with_a_hint(api, days):
    page = api.send(recordings.list(READ_ONLY, days, limit=1))
    with pytest.raises(errors.Forbidden, match="read-only"):
        api.send(recordings.star(READ_ONLY, page.recordings[0].id))


def test_a_wrong_key_is_refused_with_a_hint_and_not_tried_again(sim):
    with Mouseflow(sim.mouseflow_url, sim.email, "wrong-key") as api:
        for _ in range(5):
            with pytest.raises(errors.BadCredentials, match="region"):
                api.send(websites.list())
    assert len(sim.calls) == 1


def test_a_flaky_server_is_got_along_with(sim, days):
    sim.behave(error_rate=0.3)
    time = Time()
    ports = {"clock": time.clock, "monotonic": time.monotonic, "sleep": time.sleep}
    with Mouseflow(
        sim.mouseflow_url, sim.email, sim.api_key, tries=20, patience=1000.0, **ports
    ) as api:
        for _ in range(30):
            assert api.send(recordings.list(MYSHOP, days, limit=1)).recordings
    assert len(sim.calls) > 30
