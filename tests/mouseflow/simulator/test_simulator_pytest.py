"""People who test their own code get the simulator as pytest fixtures."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from mouseflow.simulator.server import Simulator, serve

pytest_plugins = ["pytester"]


def test_fixtures_are_there_without_a_plugin_line(pytester):
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(
        """
        import httpx

        def test_mine(mouseflow_simulator, empty_mouseflow_simulator):
            sim = mouseflow_simulator
            auth = (sim.email, sim.api_key)
            listed = httpx.get(f"{sim.mouseflow_url}/websites", auth=auth, timeout=60).json()
            assert [site["name"] for site in listed][0] == "myshop.com"
            empty = empty_mouseflow_simulator
            assert httpx.get(f"{empty.mouseflow_url}/websites", auth=auth, timeout=60).json() == []
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_a_with_block_runs_it_in_a_thread_and_stops_it():
    with Simulator(seed=1) as sim:
        answer = httpx.get(
            f"{sim.mouseflow_url}/websites", auth=(sim.email, sim.api_key), timeout=60
        )
        assert answer.status_code == 200
        url = sim.mouseflow_url
        assert "simulator" in {thread.name for thread in threading.enumerate()}
    assert "simulator" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/websites", timeout=60)


def test_a_port_that_is_taken_is_an_error():
    with Simulator(sites=[]) as sim:
        port = int(sim.mouseflow_url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="address already in use"):
            serve(port=port, slack_port=0)
        second = Simulator(sites=[], port=port)
        with pytest.raises(OSError, match="address already in use"):
            second.__enter__()


def test_a_test_waits_for_what_another_thread_brings_about():
    with Simulator(sites=[]) as sim, ThreadPoolExecutor() as others:
        answered = others.submit(httpx.get, f"{sim.mouseflow_url}/websites")
        sim.wait_until(lambda: [call.path for call in sim.calls] == ["/websites"])
        assert answered.result().status_code == 401
        with pytest.raises(TimeoutError):
            sim.wait_until(lambda: len(sim.calls) > 1, timeout=0.01)
        sim.fail("delay_after", seconds=600, path="/slow")
        waiting = others.submit(httpx.get, f"{sim.mouseflow_url}/slow", timeout=None)
        sim.wait_until(lambda: not sim.faults.pending)
        assert not waiting.done()
        sim.__exit__()
        assert isinstance(waiting.exception(), httpx.HTTPError)
