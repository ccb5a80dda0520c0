"""Trouble comes when it is ordered, where it is ordered and as often as it is ordered."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.server import Simulator, running_simulator

SHORT = httpx.Timeout(60, read=0.02)
"""A short timeout for the answer only: connecting can take long under load."""


@pytest.fixture
async def sim():
    async with running_simulator(seed=2) as it:
        yield it


@pytest.fixture
async def api(sim):
    async with httpx.AsyncClient(
        base_url=sim.mouseflow_url, auth=(sim.email, sim.api_key), timeout=60
    ) as client:
        yield client


@pytest.fixture
def star(sim):
    made = sim.add("myshop.com", "purchase", start=-600)
    return made, f"/websites/{sim.world.site('myshop.com').id}/recordings/{made}/star"


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true; raises TimeoutError after a minute."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the simulator has no event for it
            await asyncio.sleep(0.001)


async def test_the_next_calls_fail_and_then_no_more(sim, api):
    sim.fail("status", status=503, times=2)
    statuses = [(await api.get("/websites")).status_code for _ in range(4)]
    assert statuses == [503, 503, 200, 200]
    assert [call.status for call in sim.calls] == statuses


async def test_too_many_requests_with_and_without_a_time_to_come_back(sim, api):
    sim.fail("status", status=429, retry_after=2)
    sim.fail("status", status=429)
    first, second = await api.get("/websites"), await api.get("/websites")
    assert (first.headers["retry-after"], first.status_code) == ("2", 429)
    assert "retry-after" not in second.headers
    assert "too many requests" in second.json()["message"]


async def test_a_page_of_html_may_come_with_any_status(sim, api):
    for status in (200, 502):
        sim.fail("html", status=status)
        answer = await api.get("/websites")
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")


async def test_half_an_answer_is_no_json(sim, api):
    sim.fail("half")
    answer = await api.get("/websites")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


async def test_a_connection_closed_before_the_call_has_no_effect(sim, api, star):
    made, path = star
    sim.fail("close")
    with pytest.raises(httpx.RemoteProtocolError):
        await api.post(path)
    assert sim.effect(made).calls == {}
    assert sim.calls[-1].status == 0


async def test_a_connection_closed_after_the_call_has_taken_effect(sim, api, star):
    made, path = star
    sim.fail("close_after")
    with pytest.raises(httpx.RemoteProtocolError):
        await api.post(path)
    assert sim.effect(made).calls == {"star": 1}
    await api.post(path)
    assert sim.effect(made).calls == {"star": 2}


async def test_a_refused_write_has_no_effect(sim, api, star):
    _, path = star
    sim.fail("status", status=500)
    assert (await api.post(path)).status_code == 500
    assert sim.effects() == []


@pytest.mark.parametrize(("kind", "effect"), [("delay", {}), ("delay_after", {"star": 1})])
async def test_a_slow_call_takes_effect_late_or_answers_late(sim, api, star, kind, effect):
    made, path = star
    sim.fail(kind, seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        await api.post(path, timeout=SHORT)
    await until(lambda: sim.faults.pending == ())
    await until(lambda: sim.effect(made).calls == effect)


async def test_a_fault_may_be_meant_for_some_calls_only(sim, api, star):
    _, path = star
    sim.fail("status", status=500, method="POST", path="/star", skip=1)
    assert (await api.get("/websites")).status_code == 200
    assert [(await api.post(path)).status_code for _ in range(3)] == [200, 500, 200]
    sim.fail("status", status=500, side="slack")
    assert (await api.get("/websites")).status_code == 200
    assert len(sim.faults.pending) == 1
    sim.faults.clear()
    assert sim.faults.pending == ()


async def test_a_rate_limit_counts_calls_within_a_second():
    sim = Simulator(sites=[])
    frozen = sim.clock.now()
    sim = Simulator(sites=[], now=lambda: frozen)
    sim.behave(rate_limit=3, retry_after=1)
    async with httpx.AsyncClient(
        transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1",
        auth=(sim.email, sim.api_key),
    ) as api:  # fmt: skip
        answers = [await api.get("/websites") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].headers["retry-after"] == "1"
        sim.advance(1)
        assert (await api.get("/websites")).status_code == 200


async def test_a_flaky_server_fails_in_every_way_by_seed():
    async def statuses():
        sim = Simulator(sites=[], seed=7)
        sim.behave(error_rate=0.5)
        async with httpx.AsyncClient(
            transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1",
            auth=(sim.email, sim.api_key),
        ) as api:  # fmt: skip
            for _ in range(80):
                try:
                    await api.get("/websites")
                except httpx.ReadError:
                    continue
        return [call.status for call in sim.calls]

    first = await statuses()
    assert {0, 200, 429, 500, 502, 503} == set(first)
    assert await statuses() == first


async def test_without_sockets_a_dropped_connection_is_a_read_error():
    sim = Simulator(sites=[])
    sim.fail("close_after")
    async with httpx.AsyncClient(
        transport=InProcess(sim.mouseflow_app), base_url="http://127.0.0.1"
    ) as api:
        with pytest.raises(httpx.ReadError):
            await api.get("/websites")


async def test_a_slow_server_is_slow_on_each_call(sim, api):
    sim.behave(slow=30)
    with pytest.raises(httpx.ReadTimeout):
        await api.get("/websites", timeout=SHORT)
    sim.behave(slow=0)
    assert (await api.get("/websites")).status_code == 200


async def test_the_servers_stop_while_a_call_is_still_waiting():
    async with running_simulator(sites=[]) as sim:
        sim.fail("delay", seconds=600)
        async with httpx.AsyncClient(base_url=sim.mouseflow_url, timeout=60) as api:
            waiting = asyncio.create_task(api.get("/websites"))
            await until(lambda: sim.faults.pending == ())
    with pytest.raises(httpx.HTTPError):
        await waiting


async def test_answers_do_not_name_the_server(sim, api):
    assert "server" not in (await api.get("/websites")).headers


async def test_time_can_be_moved(sim):
    before = sim.clock.now()
    sim.advance(3600)
    assert sim.clock.now() - before >= timedelta(hours=1)
