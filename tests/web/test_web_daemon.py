"""The page of the real daemon: served, safe to stop, and never in the way."""

import socket
import subprocess
import sys
import time

import httpx
import pytest
from daemon_world import Daemon

from mouseflow.simulator.server import Simulator


@pytest.fixture
def sim():
    with Simulator(seed=3) as sim:
        yield sim


def address_of(daemon, sim) -> str:
    sim.wait_until(lambda: daemon.events("web.started"))
    return str(daemon.events("web.started")[0]["url"])


def test_the_page_of_a_running_daemon(tmp_path, sim):
    daemon = Daemon(tmp_path, sim, BOT_WEB__LISTEN="127.0.0.1:0")
    daemon.start()
    url = address_of(daemon, sim)
    sim.wait_until(lambda: daemon.events("daemon.started"))
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert httpx.get(f"{url}/healthz").text == "ok\n"
    with httpx.Client() as keeps_its_connection:
        assert keeps_its_connection.get(f"{url}/healthz").status_code == 200
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 10


def test_a_chosen_address_that_is_taken_is_an_error_and_the_default_is_not(tmp_path, sim):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = Daemon(tmp_path, sim, BOT_WEB__LISTEN=listen)
        done = daemon.run("run")
        assert done.returncode == 1
        assert f"web.listen: can't listen on {listen}: another program uses it" in done.stderr


def test_without_a_page_nothing_of_it_is_imported():
    watch = (
        "import sys, bot.daemon, bot.cli.run; "
        "print([name for name in ('starlette', 'uvicorn', 'bot.web', 'prometheus_client')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
