"""The simulated visitors are plausible, the same for the same seed, and cheap in any number."""

import statistics
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import httpx
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mouseflow.models import Recording
from mouseflow.simulator import api_recordings, scenarios, timeline
from mouseflow.simulator.filters import EVERYTHING, Window
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.scenarios import SCENARIOS, session
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.sessions import Visitor, length
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan, Surge, arrivals, pool, visitors

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_friction_is_rare_and_small_as_on_real_sites():
    for seed in range(5):
        frictions = [final.friction for final in pool(seed, 600).finals]
        assert 0.17 <= statistics.mean(frictions) < 1
        assert statistics.median(frictions) == 0
        assert sum(friction >= 2.5 for friction in frictions) < 0.15 * len(frictions)


def test_visitors_differ_and_shops_are_believable():
    finals = pool(1, 600).finals
    visitors_ = [final.script.visitor for final in finals]
    assert len({visitor.country for visitor in visitors_}) >= 8
    assert {visitor.device for visitor in visitors_} == {"Desktop", "Phone", "Tablet"}
    assert {v.referrer_type for v in visitors_} == {"Search", "Direct", "Social", "Email", "Link"}
    assert 0.2 < statistics.mean(visitor.returning for visitor in visitors_) < 0.4
    bounced = statistics.mean(len(final.views) == 1 for final in finals)
    bought = statistics.mean("/checkout/thank-you" in final.paths for final in finals)
    assert 0.2 < bounced < 0.5
    assert 0.01 < bought < 0.1
    assert pool(1, 600).longest < 60 * 60_000


def test_no_page_view_lasts_longer_than_the_recorder_allows():
    for script in pool(1, 600).scripts:
        assert len(script.pages) <= 100
        assert all(page.stay <= 3_600_000 for page in script.pages)
        assert length(script) < 86_400_000


def test_the_same_seed_brings_the_same_visitors():
    plan = Plan(per_day=500)
    assert arrivals(plan, 1, date(2026, 5, 5)) == arrivals(plan, 1, date(2026, 5, 5))
    assert arrivals(plan, 1, date(2026, 5, 5)) != arrivals(plan, 2, date(2026, 5, 5))
    arrivals.cache_clear()
    pool.cache_clear()
    first = pool(3, 50).scripts
    pool.cache_clear()
    assert pool(3, 50).scripts == first
    assert pool(4, 50).scripts != first


async def test_two_simulators_with_one_seed_answer_alike():
    texts = []
    for seed in (1, 1, 2):
        arrivals.cache_clear()
        sim = Simulator(seed=seed, now=lambda: NOW)
        async with httpx.AsyncClient(
            transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1",
            auth=(sim.email, sim.api_key),
        ) as api:  # fmt: skip
            paths = ("/recordings?limit=300", "/feedback", "/pagelist")
            texts.append([(await api.get(f"/websites/{scenarios.MYSHOP}{p}")).text for p in paths])
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_weekdays_and_surges_shape_the_days():
    quiet = Plan(per_day=1000, weekdays=(1, 1, 1, 1, 1, 2, 1), wobble=0)
    assert visitors(quiet, 1, date(2026, 11, 28)) == 2000  # a Saturday
    surge = Surge(date(2026, 11, 27), date(2026, 11, 28), 3)
    busy = Plan(per_day=1000, weekdays=(1,) * 7, wobble=0, surges=(surge,))
    days = [visitors(busy, 1, date(2026, 11, day)) for day in (26, 27, 28)]
    assert days == [1000, 3000, 1000]
    assert visitors(Plan(per_day=10, since=date(2026, 1, 2)), 1, date(2026, 1, 1)) == 0


def test_evenings_are_busier_than_nights():
    hours = Counter(
        start // 3_600_000 for start in arrivals(Plan(per_day=5000), 1, NOW.date()).starts
    )
    assert sum(hours[h] for h in range(17, 21)) > 3 * sum(hours[h] for h in range(4))


def test_people_who_return_have_several_recordings():
    site = website("s", "s.example", plan=Plan(per_day=3000, since=date(2026, 11, 20)))
    refs = [timeline.pack(date(2026, 11, 21).toordinal(), n) for n in range(2800)]
    visits = [timeline.find_visit(site, ref) for ref in refs]
    regulars = Counter(timeline.visitor_id(site, v) for v in visits if v.script.visitor.returning)
    strangers = Counter(
        timeline.visitor_id(site, v) for v in visits if not v.script.visitor.returning
    )
    assert max(regulars.values()) > 1
    assert set(strangers.values()) == {1}


async def test_a_website_with_370_000_recordings_is_read_to_its_end():
    sites = scenarios.shops(1, per_day=12_000, since=date(2026, 10, 20))
    sim = Simulator(sites=sites, now=lambda: NOW, seed=1)
    site = sites[0]
    window = Window(date(2026, 10, 24), date(2026, 11, 24))
    found = sim.world.find(site, EVERYTHING, window, sim.email)
    assert found.count > 370_000
    assert sum(sim.world.chart(site, found, window).values()) == found.count
    last = sim.world.newest(site, found, offset=found.count - 5, limit=10)
    assert len(last) == 5
    oldest = timeline.find_visit(site, last[-1])
    assert oldest.start - sim.world.range(window)[0] < 3_600_000


async def test_fifty_busy_websites_are_counted_without_being_generated_row_by_row():
    sites = scenarios.shops(50, per_day=20_000, since=date(2026, 11, 23))
    sim = Simulator(sites=sites, now=lambda: NOW, seed=1)
    assert len({site.id for site in sites}) == 50
    counts = []
    for site in sites[:3]:
        found = sim.world.find(site, EVERYTHING, Window(date(2026, 11, 23)), sim.email)
        assert all(isinstance(picks, range) for _, picks in found.days)
        counts.append(found.count)
    assert min(counts) > 20_000
    assert len(set(counts)) == 3


pages = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=20).map(lambda t: "/" + t), st.floats(0, 5000)
    ),
    min_size=1, max_size=6,
)  # fmt: skip
events = st.lists(st.tuples(st.floats(0, 9000), st.text(min_size=1, max_size=12)), max_size=5)
variables = st.lists(
    st.tuples(st.floats(0, 9000), st.text(min_size=1, max_size=8), st.text(max_size=30)),
    max_size=4,
)
people = st.builds(
    Visitor, country=st.text(max_size=2), city=st.text(max_size=30), name=st.text(max_size=30),
    referrer=st.text(max_size=50), user_agent=st.text(max_size=50), id=st.text(max_size=32),
)  # fmt: skip
decoder = msgspec.json.Decoder(Recording)


@settings(deadline=None, max_examples=150)
@given(pages, events, variables, people, st.floats(0, 20_000), st.booleans(), st.booleans())
def test_whatever_recording_there_is_decodes(pages, events, variables, who, age, share, friction):
    site = website("s", "s.example")
    sim = Simulator(
        sites=[site], now=lambda: NOW, quirks=Quirks(friction_in_answers=friction), seed=1
    )
    script = session(pages, events, variables=variables, visitor=who)
    made = sim.add("s.example", script, start=-age)
    visit = sim.world.visit(site, made)
    if share:
        sim.world.share(site, visit)
    row = decoder.decode(
        msgspec.json.encode(api_recordings.recording_row(sim.world, site, visit.ref, sim.email))
    )
    detail = decoder.decode(
        msgspec.json.encode(api_recordings.detail(sim.world, site, visit, sim.email))
    )
    assert row.id == detail.id == made
    assert row.created == detail.created
    assert row.last_activity == detail.last_activity >= row.created
    assert row.pages == len(detail.page_views) >= 1
    assert row.duration == detail.duration == sum(view.visit_time for view in detail.page_views)
    assert row.tags == detail.tags
    assert (row.token is not None) == share == ("shared" in row.tags)
    assert (row.friction is not None) == friction
    assert NOW - row.created <= timedelta(seconds=age + 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 500), st.integers(0, 10_000), st.sampled_from(sorted(SCENARIOS)))
def test_every_generated_recording_decodes(seed, index, scenario):
    site = website("s", "s.example", plan=Plan(per_day=12_000, since=date(2026, 11, 20)), seed=seed)
    sim = Simulator(sites=[site], now=lambda: NOW, seed=1)
    planted = sim.add("s.example", scenario, start=-30)
    bulk = timeline.pack(date(2026, 11, 22).toordinal(), index)
    for ref in (bulk, timeline.pack(timeline.PLANTED, 0)):
        row = api_recordings.recording_row(sim.world, site, ref, sim.email)
        assert decoder.decode(msgspec.json.encode(row)).id == row["id"]
        again = sim.world.visit(site, row["id"])
        assert again.ref == ref
    assert planted == row["id"]
