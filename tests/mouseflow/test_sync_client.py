"""The door for scripts: the same client, without an event loop of one's own."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from mouseflow import Mouseflow, SessionFilters, errors, paging, recordings, websites
from mouseflow.models import Website
from mouseflow.simulator.scenarios import MYSHOP
from mouseflow.simulator.server import Simulator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sim():
    moment = datetime.now(UTC)
    with Simulator(seed=1, now=lambda: moment) as running:  # stands still: nobody visits meanwhile
        yield running


def opened(sim, **options):
    return Mouseflow(
        sim.mouseflow_url, sim.email, sim.api_key, requests_per_second=1000, burst=100, **options
    )


def test_a_script_sends_and_reads(sim):
    with opened(sim) as api:
        sites = api.send(websites.list())
        assert all(isinstance(site, Website) for site in sites)
        page = api.send(recordings.list(MYSHOP, limit=3))
        assert (len(page.recordings), page.count > 3) == (3, True)


def test_errors_come_through_as_they_are(sim):
    with opened(sim) as api, pytest.raises(errors.NotFound, match="404"):
        api.send(recordings.detail(MYSHOP, "nobody"))


async def test_it_works_where_a_loop_is_running_already(sim):
    with opened(sim) as api:
        assert api.send(websites.list())


def test_several_threads_may_share_it(sim):
    found = []
    with opened(sim) as api:
        threads = [Thread(target=lambda: found.append(api.send(websites.list()))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 5


def test_a_long_list_is_read_part_by_part(sim):
    today = sim.clock.now().date()
    days = SessionFilters(fromdate=today - timedelta(days=3), todate=today + timedelta(days=2))
    with opened(sim) as api:
        count = api.send(recordings.list(MYSHOP, days, limit=1)).count
        parts = list(api.each(lambda api: paging.read(api, MYSHOP, days, limit=20)))
        ids = [row.id for part in parts for row in part.recordings]
    assert len(ids) == len(set(ids)) == count > 20
    assert all(part.missed == 0 for part in parts)


def test_closing_twice_is_nothing_and_wrong_settings_leave_no_thread(sim):
    api = opened(sim)
    api.close()
    api.close()
    with pytest.raises(errors.ConfigurationError):
        Mouseflow("http://example.com", "a@b.c", "key")


def test_a_closed_client_says_so(sim):
    api = opened(sim)
    api.close()
    with pytest.raises(errors.Unreachable, match="the client is closed"):
        api.send(websites.list())
    with pytest.raises(errors.Unreachable, match="the client is closed"):
        list(api.websites())


def test_a_misspelt_option_names_this_client(sim):
    with pytest.raises(TypeError, match=r"\bMouseflow\.__init__.*timout"):
        opened(sim, timout=3)


def test_the_probes_work_from_a_script(sim):
    today = sim.clock.now().date()
    days = SessionFilters(fromdate=today - timedelta(days=3), todate=today + timedelta(days=2))
    with opened(sim) as api:
        assert api.run(lambda api: paging.probe_offset(api, MYSHOP, days)) is True


@pytest.mark.parametrize("call", ["api.send(websites.list())", "list(api.websites())"])
def test_an_interrupt_ends_a_call_in_flight_within_a_second_and_without_noise(call, tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(
        """
import os, signal, socket, threading, time
from mouseflow import Mouseflow, websites

server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(5)

def interrupt():
    global connection
    connection = server.accept()  # kept open
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    with Mouseflow(f"http://127.0.0.1:{server.getsockname()[1]}", "a@b", "k", timeout=60) as api:
        began = time.monotonic()
        CALL
except KeyboardInterrupt:
    print(time.monotonic() - began)
""".replace("CALL", call)
    )
    run = subprocess.run(
        [sys.executable, "-X", "dev", script],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "Task was destroyed" not in run.stderr
    assert "Traceback" not in run.stderr
    assert float(run.stdout) < 5  # a second, on a machine that is not busy


def test_its_repr_holds_no_credential(sim):
    with opened(sim) as api:
        assert sim.api_key not in repr(api)


def test_requests_alone_need_no_http_library():
    code = (
        "import sys; from mouseflow import recordings, paging, SessionFilters, Request;"
        "recordings.list('w', SessionFilters(country='de'));"
        "sys.exit('httpx' in sys.modules or 'asyncio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
