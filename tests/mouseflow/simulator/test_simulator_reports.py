"""Page lists, funnels, forms and feedback add up what the recordings hold."""

import pytest

from mouseflow.simulator import scenarios
from mouseflow.simulator.scenarios import PHONE, session
from mouseflow.simulator.server import Simulator

W = "/websites/quiet"
BUYER = session(
    [("/cart", 10), ("/checkout", 20), ("/thanks", 5)], [(15, "form-interact"), (25, "submit")]
)
FAILER = session(
    [("/cart", 10), ("/checkout", 40)],
    [(15, "form-interact"), (25, "submit"), (26, "submit-failure")],
)
LOOKER = session([("/checkout", 30), ("/cart", 4)], visitor=PHONE)


@pytest.fixture
def three(stand):
    for script in (BUYER, FAILER, LOOKER):
        stand.sim.add("quiet.example", script, start=-600)
    return stand


async def test_pages_have_their_views_and_averages(three):
    answer = await three.get(f"{W}/pagelist")
    pages = {page["displayUrl"]: page for page in answer["pages"]}
    assert answer["count"] == 3
    assert pages["/checkout"]["views"] == 3
    assert pages["/checkout"]["visitTime"] == 30_000
    assert pages["/thanks"]["views"] == 1
    assert "token" not in pages["/cart"]
    assert [page["displayUrl"] for page in answer["pages"]][-1] == "/thanks"


async def test_trap_100_one_path_has_two_shapes(three):
    (listed,) = [p for p in (await three.get(f"{W}/pagelist"))["pages"]
                 if p["displayUrl"] == "/cart"]  # fmt: skip
    one = await three.get(f"{W}/pagelist", url="/cart")
    assert {"displayUrl": "/cart", **one} == listed
    three.sim.behave(page_detail_display_url=True)
    assert await three.get(f"{W}/pagelist", url="/cart") == listed


async def test_trap_103_navigational_filters_do_nothing_to_a_page_list(three):
    whole = await three.get(f"{W}/pagelist")
    assert await three.get(f"{W}/pagelist", entry="/none", pagesmin=9, visitmin=10**9) == whole
    phones = await three.get(f"{W}/pagelist", device="phone")
    assert {page["displayUrl"]: page["views"] for page in phones["pages"]} == {
        "/cart": 1, "/checkout": 1,
    }  # fmt: skip


async def test_a_page_lists_tags_are_those_of_the_page(three):
    tagged = await three.get(f"{W}/pagelist", tags="submit-failure")
    assert [page["displayUrl"] for page in tagged["pages"]] == ["/checkout"]


async def test_a_page_lists_search_looks_at_the_path_alone(three):
    assert (await three.get(f"{W}/pagelist", search="check"))["count"] == 1
    assert (await three.get(f"{W}/pagelist", search="iphone"))["count"] == 0


async def test_a_server_may_ignore_every_filter_of_a_page_list(three):
    three.sim.behave(page_list_filters=False)
    assert (await three.get(f"{W}/pagelist", device="tablet"))["count"] == 3


async def test_trap_104_page_urls_take_limit_and_search_alone(three):
    answer = await three.get(f"{W}/pagelist/urls", limit=1, device="tablet")
    assert (len(answer["urls"]), answer["count"]) == (1, 3)
    assert (await three.get(f"{W}/pagelist/urls", search="CART"))["urls"] == ["/cart"]


async def test_trap_61_merged_urls_are_one_page(stand):
    stand.sim.add("quiet.example", session([("/search/a", 5), ("/search/b", 5)]), start=-60)
    (page,) = (await stand.get(f"{W}/pagelist"))["pages"]
    assert (page["displayUrl"], page["views"]) == ("/search/*", 2)


async def test_a_shared_page_has_a_token_until_it_is_unshared(three):
    assert (await three.do("POST", f"{W}/heatmaps/share?url=/cart")).text == ""
    assert len((await three.get(f"{W}/pagelist", url="/cart"))["token"]) == 22
    await three.do("DELETE", f"{W}/heatmaps/share?url=/cart")
    assert "token" not in await three.get(f"{W}/pagelist", url="/cart")
    assert (await three.api.post(f"{W}/heatmaps/share?url=/none")).status_code == 404
    assert (await three.api.post(f"{W}/heatmaps/share")).status_code == 400


async def test_a_funnel_counts_those_who_saw_its_pages_in_order(three):
    steps = [
        {"name": "Cart", "url": "/cart"},
        {"name": "Checkout", "url": "/checkout"},
        {"name": "Thanks", "url": "/thanks"},
    ]
    made = (await three.do("POST", f"{W}/funnels", json={"name": "F", "steps": steps})).json()
    assert [step["count"] for step in made["steps"]] == [0, 0, 0]
    path = f"{W}/funnels/{made['funnelId']}"
    report = await three.get(path)
    assert [step["count"] for step in report["steps"]] == [3, 2, 1]
    assert await three.get(f"{W}/funnels") == [report]
    phones = await three.get(path, device="phone")
    assert [step["count"] for step in phones["steps"]] == [1, 0, 0]
    await three.do("PUT", path, json={"name": "G"})
    assert (await three.get(path))["name"] == "G"
    assert len((await three.get(path))["steps"]) == 3
    await three.do("PUT", path, json={"steps": [{"name": "Home", "url": "/"}]})
    assert (await three.get(path))["steps"] == [{"name": "Home", "url": "/", "count": 0}]
    await three.do("DELETE", path)
    assert await three.get(f"{W}/funnels") == []


@pytest.mark.parametrize(
    "body", [{}, {"name": "x"}, {"name": "x", "steps": []}, {"name": "x", "steps": [{"name": "y"}]},
             {"steps": [{"url": "/"}]}],
)  # fmt: skip
async def test_a_funnel_needs_a_name_and_steps_with_urls(stand, body):
    assert (await stand.api.post(f"{W}/funnels", json=body)).status_code == 400


async def test_a_form_counts_visits_interactions_submits_and_success(three):
    body = {"url": "/checkout", "target": "#f", "alias": "Checkout",
            "fields": [{"target": "email", "alias": "E-mail"}, {"target": "terms"}]}  # fmt: skip
    made = (await three.do("POST", f"{W}/forms", json=body)).json()
    assert set(made) == {"formId", "url", "target", "alias", "fields"}
    report = await three.get(f"{W}/forms/{made['formId']}")
    assert [report[key] for key in ("visits", "interactions", "submits", "success")] == [3, 2, 2, 1]
    assert set(report["fields"][0]) == {
        "target", "alias", "type", "interactions", "startTime", "duration", "refills", "blanks",
        "dropped",
    }  # fmt: skip
    (row,) = await three.get(f"{W}/forms")
    assert set(row["fields"][0]) == {"target", "alias", "type", "interactions"}
    (available,) = await three.get(f"{W}/forms/available", url="/checkout")
    assert available["fields"][0] == {"target": "email", "type": "text"}
    assert await three.get(f"{W}/forms/available", url="/none") == []
    phones = await three.get(f"{W}/forms/{made['formId']}", device="phone")
    assert (phones["visits"], phones["interactions"]) == (1, 0)


async def test_a_forms_fields_are_replaced_as_a_whole(stand):
    made = (await stand.do("POST", f"{W}/forms", json={"url": "/", "target": "#f", "fields": [
        {"target": "a"}, {"target": "b"}]})).json()["formId"]  # fmt: skip
    await stand.do("PUT", f"{W}/forms/{made}", json={"fields": [{"target": "c"}]})
    report = await stand.get(f"{W}/forms/{made}")
    assert [field["target"] for field in report["fields"]] == ["c"]
    assert report["target"] == "#f"
    await stand.do("DELETE", f"{W}/forms/{made}")
    assert await stand.get(f"{W}/forms") == []


async def test_reports_over_many_recordings_agree_with_the_recordings_themselves(stand):
    steps = [{"name": "Cart", "url": "/cart"}, {"name": "Checkout", "url": "/checkout"}]
    made = await stand.do("POST", "/websites/busy/funnels", json={"name": "F", "steps": steps})
    report = await stand.get(f"/websites/busy/funnels/{made.json()['funnelId']}")
    saw_cart = await stand.get("/websites/busy/recordings", limit=0, funnel="/cart")
    assert report["steps"][0]["count"] == saw_cart["count"] > report["steps"][1]["count"] > 0
    pages = await stand.get("/websites/busy/pagelist", limit=1000)
    rows = await stand.rows("busy", limit=10_000)
    assert sum(page["views"] for page in pages["pages"]) == sum(row["pages"] for row in rows)


async def test_feedback_counts_up_and_never_down(stand):
    site = stand.sim.world.site("quiet")
    site.campaigns.update(scenarios.demo_sites(stand.moment, 1)[0].campaigns)
    counts, impressions = [], []
    for _ in range(40):
        first, second = await stand.get(f"{W}/feedback")
        counts.append(first["report"]["responses"])
        impressions.append(first["report"]["impressions"])
        stand.later(hours=7)
    assert counts == sorted(counts)
    assert impressions == sorted(impressions)
    assert counts[0] < counts[-1] < impressions[-1]
    assert sum(first["report"]["responseChart"].values()) == first["report"]["responses"]
    assert second["report"] == {"impressions": 0, "responses": 0, "responseChart": {}}


async def test_trap_14_feedback_days_have_a_time_and_no_offset(stand):
    await stand.do("POST", f"{W}/feedback", json={"name": "N"})
    stand.sim.respond("quiet.example", "N", 3)
    (one,) = await stand.get(f"{W}/feedback")
    assert one["report"]["responses"] == 3
    assert list(one["report"]["responseChart"])[-1] == "2026-11-24T00:00:00"


async def test_trap_87_a_report_may_be_a_list(stand):
    await stand.do("POST", f"{W}/feedback", json={"name": "N"})
    stand.sim.behave(report_as_list=True)
    (one,) = await stand.get(f"{W}/feedback")
    assert isinstance(one["report"], list)


async def test_trap_88_dates_matter_to_feedback_or_not(stand):
    await stand.do("POST", f"{W}/feedback", json={"name": "N"})
    stand.sim.respond("quiet.example", "N", 3)
    old = {"fromdate": "2026-11-01", "todate": "2026-11-10"}
    (one,) = await stand.get(f"{W}/feedback", **old)
    assert one["report"]["responses"] == 3
    stand.sim.behave(feedback_filters=True)
    (one,) = await stand.get(f"{W}/feedback", **old)
    assert one["report"]["responses"] == 0
    (one,) = await stand.get(f"{W}/feedback", fromdate="2026-11-24")
    assert one["report"]["responses"] == 3


async def test_trap_96_a_campaigns_update_is_not_partial(stand):
    made = await stand.do(
        "POST", f"{W}/feedback", json={"name": "N", "notification": "a@b.example"}
    )
    path = f"{W}/feedback/{made.json()['campaignId']}"
    assert "report" not in made.json()
    assert (await stand.get(path))["notification"] == "a@b.example"
    await stand.do("PUT", path, json={"enabled": True})
    changed = await stand.get(path)
    assert (changed["name"], changed["enabled"]) == ("", True)
    assert "notification" not in changed
    await stand.do("DELETE", path)
    assert (await stand.api.get(path)).status_code == 404
    assert (await stand.api.post(f"{W}/feedback", json={})).status_code == 400
    assert (
        await stand.api.post(f"{W}/feedback", json={"name": "x", "steps": 3})
    ).status_code == 400


def test_a_simulator_needs_no_websites():
    assert Simulator(sites=[]).effects() == []
