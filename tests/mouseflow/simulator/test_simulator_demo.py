"""In the demo's world every example rule finds what it looks for, soon and also in the past."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import pytest

from mouseflow.simulator import scenarios, timeline
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.server import Simulator

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SOON = 35  # seconds


@pytest.fixture
def world():
    class Moving:
        moment = NOW

        def __call__(self):
            return self.moment

    time = Moving()
    sim = Simulator(seed=1, now=time)
    site = sim.world.site("myshop.com")

    def at(seconds):
        time.moment = NOW + timedelta(seconds=seconds)
        visits = [timeline.find_visit(site, timeline.pack(0, n)) for n in range(len(site.planted))]
        return [
            (visit, sim.world.observed(site, visit))
            for visit in visits
            if visit.start <= sim.world.now()
        ]

    return at


def page_tag(seen, path, tag):
    return any(view.page.path.startswith(path) and tag in view.tags for view in seen.views)


def cart(seen):
    return float(dict(seen.variables).get("cart-value", 0))


def saw(seen, path):
    return any(p.startswith(path) for p in seen.paths)


RULES = {
    "checkout friction": lambda s: s.friction >= 2.5 and saw(s, "/checkout")
    and s.duration > 60_000,
    "rage click on a product page": lambda s: page_tag(s, "/products/", "click-rage"),
    "abandoned form with a dear cart": lambda s: cart(s) >= 100
    and "form-interact" in s.all_tags and "submit" not in s.all_tags and saw(s, "/checkout"),
    "script errors": lambda s: "click-error" in s.all_tags,
    "returning visitors in trouble": lambda s: s.script.visitor.returning and s.friction >= 5,
    "phones that bounce": lambda s: s.script.visitor.device == "Phone" and len(s.views) == 1
    and s.duration < 10_000 and s.views[0].page.path.startswith("/landing"),
    "not found": lambda s: "404" in s.all_tags,
    "hurried search": lambda s: "speed-browsing" in s.all_tags
    and [v.page.path for v in s.views][:3] == ["/search", "/products/runner-3", "/search"],
    "search engines to a landing page and away": lambda s: len(s.views) == 1
    and s.script.visitor.referrer_type == "Search"
    and s.views[0].page.path.startswith("/landing"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_finds_a_settled_session_and_a_new_one(world, rule):
    fits = RULES[rule]
    settled = NOW - timedelta(minutes=35)
    before = {v.ref for v, seen in world(0) if fits(seen)}
    past = [v for v, _ in world(0)
            if v.ref in before and v.start + v.final.last < settled.timestamp() * 1000]  # fmt: skip
    assert past
    after = {v.ref for v, seen in world(SOON) if fits(seen)}
    assert after - before
    assert before <= after


async def test_feedback_surges_by_five_between_two_looks():
    moment = [NOW]
    sim = Simulator(seed=1, now=lambda: moment[0])
    counts = []
    async with httpx.AsyncClient(
        transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1",
        auth=(sim.email, sim.api_key),
    ) as api:  # fmt: skip
        for _ in range(4):
            campaigns = (await api.get(f"/websites/{scenarios.MYSHOP}/feedback")).json()
            counts.append(campaigns[0]["report"]["responses"])
            moment[0] += timedelta(seconds=15)
    grown = [after - before for before, after in pairwise(counts)]
    assert max(grown) >= 5
    assert sum(grown) >= 16


def test_the_demos_account_has_a_read_only_website():
    sites = scenarios.demo_sites(NOW, 1)
    assert [site.read_only for site in sites] == [False, False, True, False]
    assert sites[0].settings["name"] == "myshop.com"


def test_the_demo_is_the_same_for_the_same_moment_and_seed():
    assert scenarios.demo_sites(NOW, 1) == scenarios.demo_sites(NOW, 1)
    assert scenarios.demo_sites(NOW, 1) != scenarios.demo_sites(NOW, 2)
