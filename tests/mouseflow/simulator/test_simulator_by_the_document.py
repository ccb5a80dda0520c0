"""Where the API document is clear the simulator keeps to it; where it is open there is a switch."""

import asyncio

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mouseflow.simulator.api_recordings import ENDPOINTS as RECORDINGS
from mouseflow.simulator.api_reports import ENDPOINTS as REPORTS
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website

W = "/websites/quiet"


async def got(stand, path, written):
    """The answer to a query as it is written."""
    answer = await stand.api.get(f"{W}/{path}?{written}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def status(stand, method, path, **more):
    return (await stand.api.request(method, path, **more)).status_code


@pytest.fixture
async def shared(stand):
    made = stand.sim.add("quiet.example", "purchase", start=-3600)
    await stand.do("POST", f"{W}/recordings/{made}/share")
    return made


async def test_the_pages_of_a_shared_session_have_the_tag_shared(stand, shared):
    paths = {view["websitePage"] for view in (await stand.detail(shared))["pageViews"]}
    listed = await stand.get(f"{W}/pagelist", tags="shared")
    assert {page["displayUrl"] for page in listed["pages"]} == paths


async def test_a_page_list_looks_at_no_filter_of_whole_sessions(stand, shared):
    whole = await stand.get(f"{W}/pagelist")
    for wrong in ("pagesmin=x", "star=2", "watched=maybe", "visitmin=-1", "entry=/nowhere"):
        assert await got(stand, "pagelist", wrong) == whole


@pytest.mark.parametrize("filters", [True, False])
async def test_friction_filters_page_lists_or_not(stand, shared, filters):
    stand.sim.behave(page_list_friction=filters)
    assert (await stand.get(f"{W}/pagelist", frictionmin=1e6))["count"] == (
        0 if filters else (await stand.get(f"{W}/pagelist"))["count"]
    )


UNLISTED = ("device=watch", "browser=netscape", "os=amiga", "country=Germany", "screenres=big",
            "visitortype=third", "referrer=carrier-pigeon")  # fmt: skip


@pytest.mark.parametrize("written", UNLISTED)
async def test_a_value_outside_the_enumerations_is_refused_or_matches_nothing(
    stand, shared, written
):
    assert await status(stand, "GET", f"{W}/recordings?{written}") == 400
    stand.sim.behave(unlisted_values="nothing")
    assert (await got(stand, "recordings", written))["count"] == 0


@pytest.mark.parametrize(
    "written", ["frictionmin=nan", "frictionmax=inf", "pagesmin=-1", "visitmax=-5", "vars=plan",
                "vars==small"]
)  # fmt: skip
async def test_a_filter_that_is_no_number_or_no_pair_is_refused(stand, written):
    assert await status(stand, "GET", f"{W}/recordings?{written}") == 400


WEBSITE = [
    {"domains": [1]}, {"domains": []}, {"domains": "a.com"}, {"excludedIps": [1]}, {"name": ""},
    {"alignment": "Middle"}, {"recordingRate": 2.5}, {"recordingRate": True}, {"width": "wide"},
    {"anonymizeIps": 1}, {"mergeUrls": [None]}, {"pageIdentifiers": {}}, {"encoding": 8},
]  # fmt: skip
CAMPAIGN = [
    {"enabled": "yes"}, {"triggerType": "never"}, {"scope": "world"}, {"screenPosition": "middle"},
    {"pageRules": [{"type": "Near"}]}, {"segments": ["all"]}, {"steps": [{"type": "poll"}]},
    {"steps": {}}, {"name": ""}, {"triggerValue": [1]}, {"notification": 7},
]  # fmt: skip
FUNNEL = [
    {"name": 5}, {"name": ""}, {"steps": [{"url": "/"}]}, {"steps": [{"name": "x", "url": ""}]},
    {"steps": "/"}, {"steps": []},
]  # fmt: skip
FORM = [
    {"alias": 5}, {"url": ""}, {"target": 5}, {"fields": [{}]}, {"fields": [{"target": 1}]},
    {"fields": {"target": "a"}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("thing", "wrong"),
    [(thing, wrong)
     for thing, all_of in (("website", WEBSITE), ("feedback", CAMPAIGN), ("funnels", FUNNEL),
                           ("forms", FORM))
     for wrong in all_of],
    ids=repr,
)  # fmt: skip
async def test_a_write_of_the_wrong_type_is_refused_and_changes_nothing(stand, thing, wrong):
    path = W
    if thing != "website":
        body = {
            "feedback": {"name": "Survey", "steps": []},
            "funnels": {"name": "Way", "steps": [{"name": "Home", "url": "/"}]},
            "forms": {"url": "/", "target": "#f", "fields": [{"target": "a"}]},
        }[thing]
        made = (await stand.do("POST", f"{W}/{thing}", json=body)).json()
        key = {"feedback": "campaignId", "funnels": "funnelId", "forms": "formId"}[thing]
        path = f"{W}/{thing}/{made[key]}"
        assert await status(stand, "POST", f"{W}/{thing}", json=body | wrong) == 400
    before = await stand.get(path)
    refused = await stand.api.put(path, json=wrong)
    assert refused.status_code == 400
    assert set(refused.json()) == {"error", "message"}
    assert await stand.get(path) == before


async def test_credentials_come_first_and_the_answer_says_which_scheme(stand):
    async with stand.client("nobody@example.com", "key") as stranger:
        for method, path in (("GET", "/nope"), ("PATCH", "/websites"), ("GET", "/websites")):
            answer = await stranger.request(method, path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
    assert await status(stand, "GET", "/nope") == 404


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [("application/json;q=0", 406), ("*/*;q=0.1", 200), ("application/json;q=0, */*", 406),
     ("text/html, application/*;q=0.5", 200), ("*/*;q=0", 406), ("text/html", 406)],
)  # fmt: skip
async def test_a_format_that_is_not_accepted_is_not_sent(stand, accept, wanted):
    assert await status(stand, "GET", "/websites", headers={"Accept": accept}) == wanted


@pytest.mark.parametrize("gone", [404, 410])
async def test_a_deleted_recording_answers_410_or_404(stand, shared, gone):
    stand.sim.behave(gone=gone)
    await stand.do("DELETE", f"{W}/recordings/{shared}")
    assert await status(stand, "GET", f"{W}/recordings/{shared}") == gone


async def test_the_open_questions_about_rows_and_names_have_switches(stand, shared):
    assert "shared" in (await stand.detail(shared))["tags"]
    chart = (await stand.get(f"{W}/recordings"))["chart"]
    assert 0 in chart.values()
    upper = await stand.get(f"{W}/recordings", DEVICE="phone")
    stand.sim.behave(shared_tag=False, empty_days=False, case_sensitive=True)
    assert "shared" not in (await stand.detail(shared))["tags"]
    sparse = (await stand.get(f"{W}/recordings"))["chart"]
    assert sparse == {day: count for day, count in chart.items() if count}
    assert (await stand.get(f"{W}/recordings", DEVICE="phone"))["count"] > upper["count"]


async def test_an_update_of_a_campaign_replaces_it_or_merges(stand):
    body = {"name": "Survey", "steps": [], "enabled": True}
    one = (await stand.do("POST", f"{W}/feedback", json=body)).json()["campaignId"]
    stand.sim.behave(feedback_update="merges")
    await stand.do("PUT", f"{W}/feedback/{one}", json={"name": "Other"})
    assert (await stand.get(f"{W}/feedback/{one}"))["enabled"] is True
    stand.sim.behave(feedback_update="replaces")
    await stand.do("PUT", f"{W}/feedback/{one}", json={"name": "Other"})
    assert (await stand.get(f"{W}/feedback/{one}"))["enabled"] is False


async def test_a_campaign_can_be_deleted_by_the_path_without_a_website_or_not(stand):
    body = {"name": "Survey", "steps": []}
    one = (await stand.do("POST", f"{W}/feedback", json=body)).json()["campaignId"]
    stand.sim.behave(short_feedback_path=False)
    assert await status(stand, "DELETE", f"/websites/feedback/{one}") == 404
    stand.sim.behave(short_feedback_path=True)
    assert await status(stand, "DELETE", f"/websites/feedback/{one}") == 200
    assert await status(stand, "GET", f"{W}/feedback/{one}") == 404


WRITES = [(method, path) for method, path, _ in (*RECORDINGS, *REPORTS) if method != "GET"]


@settings(deadline=None, max_examples=150)
@given(body=st.binary(max_size=30) | st.sampled_from([b"[" * 90_000, b"\xff", b"{}", b"[1]"]),
       write=st.sampled_from(WRITES))  # fmt: skip
def test_no_body_makes_a_write_answer_500(body, write):
    sim = Simulator(seed=1, sites=[website("quiet", "quiet.example")])
    made = sim.add("quiet.example", "purchase", start=-3600)
    method, path = write
    filled = path.format(website="quiet", recording=made, funnel="f", form="f", campaign="c")

    async def call():
        async with httpx.AsyncClient(
            transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1",
            auth=(sim.email, sim.api_key),
        ) as api:  # fmt: skip
            query = {"tag": "x", "url": "/cart"}
            return (await api.request(method, filled, params=query, content=body)).status_code

    assert asyncio.run(call()) in (200, 400, 404)
