"""All forty-one endpoints are served, and everything else is refused as the document says."""

import base64

import httpx
import pytest

from mouseflow.simulator.api import MEANINGS

W = "/websites/quiet"
FUNNEL = {
    "name": "My Funnel",
    "steps": [{"name": "First step", "url": "/"}, {"name": "Second step", "url": "/second"}],
}
FORM = {"url": "/checkout", "target": "checkout-form", "fields": [{"target": "coupon"}]}
CAMPAIGN = {"name": "A Campaign", "steps": [], "triggerType": "pageLoad", "enabled": False}
R, F, M, C = "{recording}", "{funnel}", "{form}", "{campaign}"

# method, path, body: the table of the API document, in its order.
ENDPOINTS = [
    ("GET", "/websites", None),
    ("PUT", "/websites/reorder", {"websiteIds": ["closed", "quiet", "busy"]}),
    ("GET", W, None),
    ("POST", "/websites", {"domain": "myshop2.com", "recordingRate": 50}),
    ("PUT", W, {"recordingStatus": "Stopped"}),
    ("PUT", W, {"name": "myshop2.com", "recordingRate": 50}),
    ("GET", f"{W}/recordings", None),
    ("GET", f"{W}/recordings/{R}", None),
    ("POST", f"{W}/recordings/{R}/star", None),
    ("DELETE", f"{W}/recordings/{R}/star", None),
    ("GET", f"{W}/recordings/tags", None),
    ("POST", f"{W}/recordings/{R}/tag?tag=my-tag", None),
    ("DELETE", f"{W}/recordings/{R}/tag?tag=my-tag", None),
    ("GET", f"{W}/recordings/variables", None),
    ("PUT", f"{W}/recordings/{R}/variables", {"cart-id": "df342", "cart-value": 43}),
    ("POST", f"{W}/recordings/{R}/share", None),
    ("DELETE", f"{W}/recordings/{R}/share", None),
    ("POST", f"{W}/recordings/{R}/watched", None),
    ("DELETE", f"{W}/recordings/{R}/watched", None),
    ("GET", f"{W}/pagelist", None),
    ("GET", f"{W}/pagelist?url=%2Fcart", None),
    ("GET", f"{W}/pagelist/urls", None),
    ("POST", f"{W}/heatmaps/share?url=%2Fcart", None),
    ("DELETE", f"{W}/heatmaps/share?url=%2Fcart", None),
    ("GET", f"{W}/funnels", None),
    ("GET", f"{W}/funnels/{F}", None),
    ("POST", f"{W}/funnels", FUNNEL),
    ("PUT", f"{W}/funnels/{F}", FUNNEL),
    ("DELETE", f"{W}/funnels/{F}", None),
    ("GET", f"{W}/forms", None),
    ("GET", f"{W}/forms/{M}", None),
    ("GET", f"{W}/forms/available?url=%2Fcheckout", None),
    ("POST", f"{W}/forms", FORM),
    ("PUT", f"{W}/forms/{M}", FORM),
    ("DELETE", f"{W}/forms/{M}", None),
    ("GET", f"{W}/feedback", None),
    ("GET", f"{W}/feedback/{C}", None),
    ("POST", f"{W}/feedback", CAMPAIGN),
    ("PUT", f"{W}/feedback/{C}", CAMPAIGN),
    ("DELETE", f"{W}/feedback/{C}", None),
    ("DELETE", f"{W}/recordings/{R}", None),
]


def test_the_table_is_complete():
    assert len(ENDPOINTS) == 41


@pytest.fixture
async def names(stand):
    recording = stand.sim.add("quiet.example", "purchase", start=-3600)
    made = {}
    for kind, key, body in (
        ("funnels", "funnelId", FUNNEL), ("forms", "formId", FORM),
        ("feedback", "campaignId", CAMPAIGN),
    ):  # fmt: skip
        made[kind] = (await stand.api.post(f"{W}/{kind}", json=body)).json()[key]
    return {
        "recording": recording, "funnel": made["funnels"], "form": made["forms"],
        "campaign": made["feedback"],
    }  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), ENDPOINTS)
async def test_each_endpoint_is_served(stand, names, method, path, body):
    answer = await stand.api.request(method, path.format(**names), json=body)
    assert answer.status_code == 200, answer.text
    if method == "GET" or (method == "POST" and path.endswith("/share")):
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.json() is not None


@pytest.mark.parametrize(("method", "path", "body"), ENDPOINTS)
async def test_each_endpoint_wants_credentials(stand, names, method, path, body):
    for auth in (None, ("ops@example.com", "wrong"), ("nobody@example.com", "simulator-key")):
        answer = await httpx.AsyncClient(
            transport=stand.api._transport, base_url="http://127.0.0.1", auth=auth
        ).request(method, path.format(**names), json=body)
        assert answer.status_code == 401
        assert answer.json()["message"] == "Your API key is wrong."
    assert stand.sim.effects() == []


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Bearer abc", "Basic " + base64.b64encode(b"\xff").decode()]
)
async def test_credentials_that_cannot_be_read_are_401(stand, header):
    answer = await stand.api.get("/websites", headers={"authorization": header}, auth=lambda r: r)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("accept", "status"),
    [("application/json", 200), ("*/*", 200), ("text/html, application/json;q=0.5", 200),
     ("application/*", 200), ("text/html", 406), ("application/xml", 406)],
)  # fmt: skip
async def test_only_json_can_be_had(stand, accept, status):
    answer = await stand.api.get("/websites", headers={"accept": accept})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/websites/none", "/websites/none/recordings", f"{W}/recordings/none",
     f"{W}/recordings/{'0' * 32}", f"{W}/recordings/{'f' * 32}", f"{W}/funnels/none",
     f"{W}/forms/none", f"{W}/feedback/none", f"{W}/pagelist?url=%2Fnone"],
)  # fmt: skip
async def test_what_is_not_there_is_404(stand, path):
    answer = await stand.api.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"] == "Not Found"


async def test_a_recording_of_one_website_is_not_found_on_another(stand):
    made = stand.sim.add("quiet.example", "purchase", start=-60)
    assert (await stand.api.get(f"/websites/busy/recordings/{made}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/websites"), ("POST", W), ("PUT", f"{W}/recordings")]
)
async def test_a_method_the_path_does_not_have_is_405(stand, method, path):
    answer = await stand.api.request(method, path)
    assert answer.status_code == 405
    assert answer.json()["message"] == "You tried to access an invalid method."


async def test_trap_79_a_new_order_must_name_every_website(stand):
    answer = await stand.api.put("/websites/reorder", json={"websiteIds": ["quiet"]})
    assert answer.status_code == 400
    await stand.do("PUT", "/websites/reorder", json={"websiteIds": ["quiet", "closed", "busy"]})
    listed = [row["id"] for row in await stand.get("/websites")]
    assert listed == ["quiet", "closed", "busy"]


async def test_trap_78_a_website_is_created_by_its_domain_and_read_with_domains(stand):
    answer = await stand.do("POST", "/websites", json={"domain": "new.example"})
    made = answer.json()
    assert made["status"] == "NotInstalled"
    assert made["domains"] == ["new.example"]
    assert "thumb" not in made
    assert (await stand.get(f"/websites/{made['id']}"))["name"] == "new.example"
    assert (await stand.api.post("/websites", json={})).status_code == 400


async def test_trap_4_a_body_is_read_whatever_its_content_type(stand):
    answer = await stand.do(
        "POST", "/websites", content=b'{"domain": "plain.example"}',
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert answer.json()["name"] == "plain.example"


def test_every_documented_status_has_the_documents_words():
    assert set(MEANINGS) == {400, 401, 403, 404, 405, 406, 410, 418, 429, 500, 503}


async def test_every_call_is_counted(stand):
    await stand.get("/websites")
    await stand.api.get("/websites/none?x=1")
    calls = [(call.method, call.path, call.query, call.status) for call in stand.sim.calls]
    assert calls == [("GET", "/websites", "", 200), ("GET", "/websites/none", "x=1", 404)]
