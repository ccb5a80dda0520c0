"""Hooks that have the bot poll at once, badges, and the streams of open pages."""

import asyncio
import json
from dataclasses import replace
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from structlog.testing import capture_logs
from web_world import NOW, TOKEN, WebWorld

from bot.store.audit import Note, record
from bot.store.rules import pause_rule
from bot.web import stream
from bot.web.safety import FREE_TRIES
from bot.web.server import bound, serving, url_of
from bot.web.shared import PAUSE

SECRET = "a-secret-of-the-hook"


@pytest.fixture
def world(tmp_path):
    world = WebWorld(tmp_path, BOT_WEB__HOOK_SECRET=SECRET)
    yield world
    world.store.close()


async def test_a_campaign_has_its_feedback_polled_whatever_it_sends(world):
    async with world.ask() as asking:
        for body in (b"", b"{", b"\xff\x00", json.dumps({"score": 1}).encode()):
            answer = await asking.post(f"/hooks/feedback/{SECRET}", content=body)
            assert answer.status_code == 202
        assert world.polled == ["feedback"]  # the first poll serves all that came with it
        world.seconds += PAUSE
        answer = await asking.post(f"/hooks/feedback/{SECRET}")
        assert answer.json() == {"polls": 3}
        assert world.polled == ["feedback", "feedback"]
        large = await asking.post(f"/hooks/feedback/{SECRET}", content=b"x" * 100_000)
        assert large.status_code == 413


async def test_a_wrong_secret_is_a_missing_page_and_soon_has_to_wait(world):
    async with world.ask() as asking:
        for _ in range(FREE_TRIES):
            assert (await asking.post("/hooks/feedback/wrong")).status_code == 404
        assert (await asking.post(f"/hooks/feedback/{SECRET}")).status_code == 429
        assert world.polled == []


async def test_without_a_secret_there_is_no_hook(tmp_path):
    world = WebWorld(tmp_path)
    async with world.ask() as asking:
        for secret in ("x", "None", "%00"):
            assert (await asking.post(f"/hooks/feedback/{secret}")).status_code == 404
    world.store.close()


async def test_polling_everything_needs_the_token(world):
    async with world.ask() as asking:
        assert (await asking.post("/hooks/poll")).status_code == 401
        assert (await asking.get("/hooks/poll")).status_code == 405
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await asking.post("/hooks/poll", headers=bearer)).status_code == 202
        assert world.polled == [""]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    path=st.sampled_from(["/hooks/feedback/", "/hooks/poll", "/login", "/queue/retry", "/logout"]),
    rest=st.text(max_size=40),
    body=st.binary(max_size=200),
    authorization=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40),
)
def test_no_request_is_a_server_error(world, path, rest, body, authorization):
    async def send():
        async with world.ask() as asking:
            headers = {"authorization": authorization.strip().encode("latin-1")}
            url = path + quote(rest.encode("utf-8", "replace"), safe="")
            return await asking.post(url, content=body, headers=headers)

    assert asyncio.run(send()).status_code < 500


async def test_a_badge_says_the_state_of_a_rule(world):
    world.store.do(lambda conn: pause_rule(conn, "outlet-404", "too many", NOW))
    async with world.ask() as asking:
        answer = await asking.get("/badge/outlet-404.svg")
        assert answer.headers["content-type"].startswith("image/svg+xml")
        assert "outlet-404: Paused, 0 in 24 h" in answer.text
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        for other in ("outlet-404", "nothing.svg", "%3Csvg%3E.svg"):
            assert (await asking.get(f"/badge/{other}")).status_code == 404


@pytest.fixture
def often(monkeypatch):
    """Streams look as often as they can, so that nobody waits five seconds."""
    monkeypatch.setattr(stream, "EVERY", 0.0)


async def events(asking, topic):
    """(name, data) of the events as they come."""
    async with asking.stream("GET", f"/api/v1/stream?topic={topic}", timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("retry:"):
                yield "open", None
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


async def served(world, work):
    """Do the work with a client of the page behind a real socket."""
    async with world.ask() as inner:
        listening = bound("127.0.0.1", 0)
        url = url_of(listening)
        async with (
            serving(inner._transport.app, listening),
            httpx.AsyncClient(base_url=url) as asking,
        ):
            try:
                async with asyncio.timeout(30):
                    await work(asking)
            finally:
                world.hub.closing.set()


async def test_an_open_activity_hears_of_new_entries(world, often):
    two = [Note(kind="notice", text="one"), Note(kind="notice", text="two")]

    async def work(asking):
        async for name, data in events(asking, "activity"):
            if name == "open":
                world.store.do(lambda conn: record(conn, NOW, two))
            else:
                assert (name, data["entries"]) == ("entry", 2)
                break

    await served(world, work)
    assert world.hub.open == 0


async def test_an_open_page_gets_the_parts_that_changed(world, often):
    async def work(asking):
        async for name, data in events(asking, "rule:outlet-404"):
            if name == "open":
                world.store.do(lambda conn: pause_rule(conn, "outlet-404", "too many", NOW))
            elif data["id"] == "state" and "Paused" in data["html"]:
                break

    await served(world, work)


async def test_a_stream_ends_quietly_when_its_rule_is_gone(world, often):
    async def work(asking):
        async for name, _data in events(asking, "rule:outlet-404"):
            if name == "open":
                world.rules = replace(world.rules, rules=())

    with capture_logs() as logs:
        await served(world, work)
    assert [it for it in logs if it["log_level"] == "error"] == []


async def test_a_server_that_fails_is_in_the_log_and_ends_nothing():
    listening = bound("127.0.0.1", 0)
    listening.close()
    with capture_logs() as logs:
        async with serving(None, listening), asyncio.timeout(30):
            while "web.stopped" not in [it["event"] for it in logs]:
                await asyncio.to_thread(lambda: None)


async def test_streams_of_one_page_look_together(world):
    looks = []

    async def render():
        looks.append(1)
        return {"state": "x"}

    async def look(key):
        return await world.hub.look(key, render, 10.0)

    async with world.ask():
        assert await asyncio.gather(*(look("rules ") for _ in range(20))) == [{"state": "x"}] * 20
        assert len(looks) == 1
        await look("rules somebody")
        assert len(looks) == 2


async def test_a_page_is_rendered_for_news_and_else_seldom(world, often):
    rendered = []

    async def render():
        rendered.append(1)
        return {"state": str(len(rendered))}

    async with world.ask() as asking:
        web = asking._transport.app._app.state.web
        request = Request({"type": "http", "method": "GET", "headers": [], "path": "/"})
        answer = await stream.stream(request, web, "rules", render)
        texts = answer.body_iterator
        assert (await anext(texts)).startswith("retry: ")
        assert (await anext(texts)).startswith("event: part")
        assert await anext(texts) == ": keep-alive\n\n"  # three looks without news
        world.store.do(lambda conn: record(conn, NOW, [Note(kind="notice", text="one")]))
        assert (await anext(texts)).startswith("event: part")
        later = [await anext(texts) for _ in range(stream.IDLE // stream.KEEP_ALIVE)]
        assert later[0] == ": keep-alive\n\n"
        assert later[-1].startswith("event: part")


async def test_streams_are_bounded_and_end_at_once_when_the_bot_stops(world):
    async def work(asking):
        held = []
        for _ in range(stream.MOST):
            held.append(events(asking, "overview"))
            assert await anext(held[-1]) == ("open", None)
        full = await asking.get("/api/v1/stream?topic=overview")
        assert full.status_code == 503
        assert (await asking.head("/api/v1/stream?topic=queue")).status_code == 503
        began = asyncio.get_running_loop().time()
        world.hub.closing.set()
        for each in held:
            assert [event async for event in each] == []
        assert asyncio.get_running_loop().time() - began < 5

    await served(world, work)
    assert world.hub.open == 0


@pytest.mark.parametrize("topic", ["", "nothing", "rule", "rule:", "overview:x", "rule:unknown"])
async def test_an_unknown_topic_is_refused(world, topic):
    async with world.ask() as asking:
        answer = await asking.get("/api/v1/stream", params={"topic": topic})
        assert answer.status_code in (404, 422)


async def test_head_of_a_stream_ends(world):
    async with world.ask() as asking:
        answer = await asking.head("/api/v1/stream?topic=overview")
        assert answer.status_code == 200
        assert answer.content == b""
    assert world.hub.open == 0
