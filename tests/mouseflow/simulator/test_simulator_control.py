"""Another process steers the simulator through /_simulator/."""

import json
import signal
import subprocess
import sys

import httpx
import pytest

from mouseflow.simulator.__main__ import main


@pytest.fixture(scope="module")
def process():
    """A simulator in a process of its own."""
    command = [sys.executable, "-m", "mouseflow.simulator", "--port", "0", "--slack-port", "0",
               "--seed", "5", "--print-ready"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        yield running, json.loads(running.stdout.readline())
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0


@pytest.fixture
def control(process):
    with httpx.Client(base_url=process[1]["mouseflow"], timeout=60) as client:
        client.post("/_simulator/reset")
        yield client


@pytest.fixture
def api(process):
    _, ready = process
    auth = (ready["email"], ready["api_key"])
    with httpx.Client(base_url=ready["mouseflow"], auth=auth, timeout=60) as client:
        yield client


def asked(control, method, path, body=None):
    answer = control.request(method, f"/_simulator{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_state_tells_what_there_is(control):
    state = asked(control, "GET", "/state")
    assert [site["name"] for site in state["websites"]] == [
        "myshop.com", "outlet.myshop.com", "mysecondshop.com", "blog.myshop.com",
    ]  # fmt: skip
    assert state["seed"] == 5
    assert "checkout-friction" in state["scenarios"]
    assert state["quirks"]["row_cap"] == 10_000


def test_a_scenario_is_planted_and_its_truth_is_told(control, api):
    body = {"website": "outlet.myshop.com", "scenario": "checkout-friction", "start": -30,
            "options": {"calm_for": 3600}}  # fmt: skip
    made = asked(control, "POST", "/recordings", body)["id"]
    told = asked(control, "GET", f"/recordings/{made}")
    assert (told["friction"], told["frictionAtEnd"]) == (0, 3)
    website = asked(control, "GET", "/state")["websites"][1]["id"]
    assert api.get(f"/websites/{website}/recordings/{made}").status_code == 200
    api.post(f"/websites/{website}/recordings/{made}/tag?tag=x")
    assert asked(control, "GET", f"/recordings/{made}")["effect"]["calls"] == {"tag x": 1}
    assert [effect["recording"] for effect in asked(control, "GET", "/effects")] == [made]
    asked(control, "DELETE", f"/recordings/{made}")
    assert api.get(f"/websites/{website}/recordings/{made}").status_code == 410


def test_a_session_is_planted_page_by_page(control, api):
    body = {
        "website": "outlet.myshop.com", "start": -100, "pages": [["/a", 30], ["/b?x=1", 30]],
        "events": [[40, "custom-friction", 7.5]], "variables": [[1, "k", "v"]],
        "visitor": {"country": "no", "id": "me"},
    }  # fmt: skip
    made = asked(control, "POST", "/recordings", body)["id"]
    website = asked(control, "GET", "/state")["websites"][1]["id"]
    detail = api.get(f"/websites/{website}/recordings/{made}").json()
    assert (detail["country"], detail["visitorId"]) == ("no", "me")
    assert detail["variables"] == ["k=v"]
    assert asked(control, "GET", f"/recordings/{made}")["friction"] == 7.5


@pytest.mark.parametrize(
    ("path", "body"),
    [("/recordings", {"website": "myshop.com"}), ("/recordings", {"website": "myshop.com", "x": 1}),
     ("/recordings", {"website": "myshop.com", "scenario": "none"}),
     ("/recordings", {"website": "myshop.com", "scenario": "purchase", "options": {"x": 1}}),
     ("/faults", {"kind": "nonsense"}), ("/quirks", {"nonsense": 1}), ("/quirks", {"sort": "up"}),
     ("/advance", {}), ("/feedback", {"website": "myshop.com"})],
)  # fmt: skip
def test_a_wrong_order_is_400(control, path, body):
    assert control.post(f"/_simulator{path}", json=body).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/recordings", {"website": "none", "scenario": "purchase"}),
     ("GET", "/recordings/none", None), ("DELETE", "/recordings/none", None),
     ("PUT", "/websites/none", {"status": "Stopped"}), ("PUT", "/slack", {"archive": ["none"]}),
     ("POST", "/feedback", {"website": "myshop.com", "campaign": "none"})],
)  # fmt: skip
def test_what_is_not_there_is_404(control, method, path, body):
    assert control.request(method, f"/_simulator{path}", json=body).status_code == 404


def test_a_website_is_stopped_by_hand(control, api):
    asked(control, "PUT", "/websites/outlet.myshop.com", {"status": "Paused"})
    site = asked(control, "GET", "/state")["websites"][1]
    assert (site["status"], site["recorded"]) == ("Paused", 0)
    assert site["switches"][-1] == "person:Paused"
    assert api.get(f"/websites/{site['id']}").json()["status"] == "Paused"
    asked(control, "PUT", "/websites/outlet.myshop.com", {"status": "Recording"})
    answer = control.put("/_simulator/websites/outlet.myshop.com", json={"status": "Asleep"})
    assert answer.status_code == 400


def test_feedback_time_faults_and_switches_are_steered(control, api):
    site = asked(control, "GET", "/state")["websites"][0]["id"]

    def responses():
        return api.get(f"/websites/{site}/feedback").json()[1]["report"]["responses"]

    before = responses()
    order = {"website": "myshop.com", "campaign": "Exit survey", "responses": 5}
    asked(control, "POST", "/feedback", order)
    assert responses() == before + 5
    earlier = asked(control, "GET", "/state")["now"]
    assert asked(control, "POST", "/advance", {"seconds": 86_400})["now"][:10] > earlier[:10]
    asked(control, "POST", "/faults", {"kind": "status", "status": 418})
    assert len(asked(control, "GET", "/faults")) == 1
    assert api.get("/websites").status_code == 418
    asked(control, "POST", "/faults", {"kind": "close", "times": 9})
    asked(control, "DELETE", "/faults")
    assert api.get("/websites").status_code == 200
    quirks = asked(control, "POST", "/quirks", {"row_cap": 5, "visibility_delay": 60,
                                                "ignored_filters": ["device"]})  # fmt: skip
    assert quirks["row_cap"] == 5
    assert len(api.get(f"/websites/{site}/recordings").json()["recordings"]) == 5
    asked(control, "POST", "/quirks", {"row_cap": 10_000, "visibility_delay": 0,
                                       "ignored_filters": []})  # fmt: skip
    calls = asked(control, "GET", "/calls")
    assert {"GET"} == {call["method"] for call in calls}
    assert 418 in {call["status"] for call in calls}


def test_slack_is_steered_and_read(control, process):
    _, ready = process
    headers = {"authorization": f"Bearer {ready['slack_token']}"}
    asked(control, "PUT", "/slack", {"add": ["new"], "scopes": ["chat:write"]})
    with httpx.Client(base_url=ready["slack"], headers=headers, timeout=60) as slack:
        posted = slack.post("chat.postMessage", json={"channel": "#new", "text": "hi"}).json()
        assert posted["ok"]
        read = slack.post("conversations.history", json={"channel": posted["channel"]}).json()
        assert read["error"] == "missing_scope"
        asked(control, "PUT", "/slack", {"leave": ["new"]})
        refused = slack.post("chat.postMessage", json={"channel": "#new", "text": "hi"}).json()
        assert refused["error"] == "not_in_channel"
        asked(control, "PUT", "/slack", {"join": ["new"], "archive": ["new"]})
        refused = slack.post("chat.postMessage", json={"channel": "#new", "text": "hi"}).json()
        assert refused["error"] == "is_archived"
    (message,) = asked(control, "GET", "/slack/messages")
    assert (message["channel"], message["text"]) == ("new", "hi")
    asked(control, "POST", "/reset")
    assert asked(control, "GET", "/slack/messages") == []
    assert asked(control, "GET", "/calls") == []


def test_control_calls_are_answered_on_the_slack_port_too(process):
    _, ready = process
    root = ready["slack"].removesuffix("/api/")
    assert httpx.get(f"{root}/_simulator/state", timeout=60).json()["seed"] == 5


def test_a_port_that_is_taken_is_said(process, capsys):
    port = process[1]["mouseflow"].rsplit(":", 1)[1]
    assert main(["--port", port, "--slack-port", "0"]) == 1
    assert "cannot listen" in capsys.readouterr().err
