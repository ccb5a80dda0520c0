"""The page of the real daemon: served, safe to stop, and never in the way."""

import html
import re
import signal
import socket
import subprocess
import sys

import bot_process
import httpx
import pytest
from daemon_world import Daemon
from prometheus_client.parser import text_string_to_metric_families as families

from mouseflow.simulator.server import Simulator


@pytest.fixture
def sim():
    with Simulator(seed=3) as sim:
        yield sim


@pytest.fixture
def start(tmp_path, sim):
    started = []

    def begin(**settings):
        started.append(Daemon(tmp_path, sim, **settings))
        started[-1].start()
        return started[-1]

    yield begin
    for each in started:
        if each.process is not None:
            each.kill()


def address_of(daemon, sim) -> str:
    sim.wait_until(lambda: daemon.events("web.started"))
    return str(daemon.events("web.started")[0]["url"])


def figures(url):
    """The metrics by name and labels."""
    return {
        (sample.name.removeprefix("mouseflow_bot_"), *sample.labels.values()): sample.value
        for family in families(httpx.get(f"{url}/metrics", timeout=60).text)
        for sample in family.samples
    }


def crawl(url):
    """Every page that links lead to; each answers, and leads to no other host but Mouseflow's."""
    seen, ahead = set[str](), ["/"]
    with httpx.Client(base_url=url, timeout=60) as asking:
        while ahead:
            path = ahead.pop()
            if path in seen:
                continue
            seen.add(path)
            answer = asking.get(path)
            assert answer.status_code == 200, path
            if answer.headers["content-type"].startswith("text/html"):
                links = re.findall(r'(?:href|src|action)="([^"#]*)', answer.text)
                outside = [link for link in links if not link.startswith("/")]
                assert all("/recordings/" in link for link in outside if link), outside
                ahead += [html.unescape(link) for link in links if link.startswith("/")]
    return {path.partition("?")[0] for path in seen}


def test_no_page_causes_a_request_to_mouseflow_or_slack(start, sim):
    slow = {"BOT_POLL__RECORDINGS": "1d", "BOT_POLL__FEEDBACK": "1d", "BOT_POLL__REPORTS": "1d"}
    daemon = start(BOT_WEB__LISTEN="127.0.0.1:0", BOT_WEB__TOKEN="token", **slow)
    url = address_of(daemon, sim)
    sim.wait_until(lambda: daemon.events("daemon.started"))
    bearer = {"authorization": "Bearer token"}

    def asks_nobody():
        before = len(sim.calls)
        assert "/metrics" in crawl(url)
        return len(sim.calls) == before

    # The first polls of a start may still run during the first visits.
    assert any(asks_nobody() for _ in range(20))
    before = len(sim.calls)
    begun = httpx.post(f"{url}/hooks/poll", headers=bearer, timeout=60).json()["polls"]
    assert begun > 0
    sim.wait_until(lambda: len(sim.calls) > before)
    assert daemon.stop() == 0


def test_the_page_of_a_running_daemon(start, sim):
    daemon = start(BOT_WEB__LISTEN="127.0.0.1:0")
    url = address_of(daemon, sim)
    sim.wait_until(lambda: daemon.events("daemon.started"))
    assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    assert httpx.get(f"{url}/healthz", timeout=60).text == "ok\n"
    sim.wait_until(lambda: figures(url)["poll_runs_total", "recordings", "success"] >= 2)
    counted = figures(url)
    assert counted["api_requests_total", "GET", "/websites", "200"] >= 1
    assert all(
        at > 1.7e9 for it, at in counted.items() if it[0] == "poll_last_success_timestamp_seconds"
    )
    assert {it[1] for it in counted if it[0] == "poll_last_success_timestamp_seconds"} == {
        *("recordings", "feedback", "reports")
    }
    assert counted["recordings_seen_total",] > 0
    found = crawl(url)
    assert {"/", "/rules", "/rules/checkout-friction", "/budgets", "/activity", "/queue"} <= found
    with httpx.Client(timeout=60) as keeps_its_connection:
        assert keeps_its_connection.get(f"{url}/healthz").status_code == 200
        assert daemon.stop() == 0  # 1 after LONGEST_STOP


def test_a_chosen_address_that_is_taken_is_an_error_and_the_default_is_not(tmp_path, sim):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = Daemon(tmp_path, sim, BOT_WEB__LISTEN=listen)
        done = daemon.run("run")
        assert done.returncode == 1
        assert f"web.listen: can't listen on {listen}: another program uses it" in done.stderr


def test_what_a_daemon_without_page_and_buttons_does_not_use_is_not_imported():
    watch = (
        "import sys, bot.logs, bot.daemon, bot.cli.run; "
        "print([name for name in ('starlette', 'uvicorn', 'bot.web', 'prometheus_client',"
        " 'mouseflow.simulator', 'slack_sdk.socket_mode', 'slack_sdk.web.async_client',"
        " 'bot.weekly', 'alembic', 'ruamel', 'jinja2', 're2',"
        " 'rich', 'click', 'apprise', 'psycopg', 'sqlalchemy.dialects.postgresql',"
        " 'bot.rules.files.load', 'bot.config.load', 'pydantic', 'pydantic_core',"
        " 'pydantic_settings')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_demo_that_keeps_running_prints_the_address_of_its_page():
    asked = [sys.executable, "-m", "bot", "demo", "--keep", "--seconds", "1"]
    with bot_process.Popen(asked, stdout=subprocess.PIPE, text=True) as demo:
        try:
            line = next(line for line in demo.stdout if "Status page: " in line)
            url = line.rpartition(" ")[2].strip()
            assert "myshop.com" in httpx.get(url, timeout=60).text.replace("<wbr>", "")
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=60)
        finally:
            demo.kill()
    assert demo.returncode == 0
