"""Hooks that have the bot poll at once, badges, and the streams of open pages."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import count
from unittest.mock import AsyncMock
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs
from web_world import NOW, TOKEN, WebWorld

from bot.errors import StoreError
from bot.store import open_store
from bot.store.audit import Note, record
from bot.store.recordings import save_read_time, set_watermark, set_websites
from bot.store.rules import pause_rule
from bot.web import shared, stream
from bot.web.facts import StoreBusy
from bot.web.safety import FREE_TRIES
from bot.web.server import bound, serving, url_of
from bot.web.shared import PAUSE, Pace

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
        assert world.polled == ["feedback"]  # the next poll serves all that came after it
        world.seconds += 2 * PAUSE
        answer = await asking.post(f"/hooks/feedback/{SECRET}")
        assert answer.json() == {"polls": 3, "websites": None}
        assert world.polled == ["feedback", "feedback"]
        large = await asking.post(f"/hooks/feedback/{SECRET}", content=b"x" * 100_000)
        assert large.status_code == 413


NAMED = {"w1": "shop.example", "w2": "outlet.example", "w3": "shop.example"}


@pytest.mark.parametrize(
    ("query", "body", "websites"),
    [
        ("", {"websiteId": "w2", "score": 1}, ["w2"]),
        ("", {"data": {"website": {"id": "W2", "name": "Outlet"}}}, ["w2"]),
        ("", {"campaign": {"id": "c-1", "name": "How was it?"}}, ["w2"]),
        ("", {"Campaign-Id": "c-1"}, ["w2"]),
        ("", {"site": "shop.example"}, ["w1", "w3"]),  # two websites of one name
        ("", {"campaignId": "c-new", "site": "w1"}, ["w1"]),
        ("", b"website_id=w1&answer=outlet.example", ["w1"]),
        ("?website=outlet.example", {"any": "thing"}, ["w2"]),
        ("?website=outlet.example", b"\xff", ["w2"]),
        ("", {"answer": "outlet.example", "url": "https://outlet.example/"}, None),
        ("", {"campaignId": "c-new"}, None),  # of a website that has not been polled since
        ("", [[[{"siteId": 17}]], None, 9**30], None),
        ("", b"[" * 50_000, None),
        ("", b'{"siteId": ' + b"9" * 6_000 + b"}", None),
        ("?website=none.example", b"", None),
    ],
)
async def test_a_hook_polls_the_feedback_that_it_names_else_all(world, query, body, websites):
    world.write(set_websites, NAMED, {}, NOW)
    world.write(save_read_time, "feedback", "w2", {"c-1", "c-2"}, NOW)
    world.write(set_watermark, "looked:feedback", "w1", "{}", NOW)  # of an earlier version
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with world.ask() as asking:
        answer = await asking.post(f"/hooks/feedback/{SECRET}{query}", content=content)
        assert answer.status_code == 202
        assert answer.json()["websites"] == websites
        assert world.polled == [f"feedback {it}".strip() for it in websites or [""]]
        again = await asking.post(f"/hooks/feedback/{SECRET}{query}", content=content)
        assert again.json()["polls"] == 0  # each website has its own pace
    assert len(world.polled) == len(websites or [""])


async def test_a_hook_polls_all_while_the_store_cannot_say_what_it_names(world, monkeypatch):
    async with world.ask() as asking:
        monkeypatch.setattr(world.reader, "read", AsyncMock(side_effect=StoreBusy("busy")))
        answer = await asking.post(f"/hooks/feedback/{SECRET}?website=w1")
        assert answer.json() == {"polls": 3, "websites": None}


async def test_what_comes_right_after_a_poll_has_one_of_its_own(world, monkeypatch):
    monkeypatch.setattr(shared, "PAUSE", 0.01)
    async with world.ask() as asking:
        polls = [(await asking.post(f"/hooks/feedback/{SECRET}")).json()["polls"] for _ in range(4)]
        assert polls == [3, 0, 0, 0]
        async with asyncio.timeout(60):
            while len(world.polled) < 2:  # noqa: ASYNC110 - the loop's own timer
                await asyncio.sleep(0.01)
    assert world.polled == ["feedback", "feedback"]


def test_hooks_begin_one_poll_in_so_many_seconds_and_lose_none():
    now = 0.0
    pace = Pace(lambda: now)
    assert pace.wait("feedback") == 0
    now = 4.0
    assert pace.wait("feedback") == PAUSE - 4
    assert pace.wait("feedback") is None
    assert pace.wait("recordings") == 0
    now = PAUSE + 1
    assert pace.wait("feedback") == PAUSE - 1


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


TEXTS = st.text(max_size=20)
NOTIFICATIONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["websiteId", "campaign", "id", "name"]) | TEXTS, inner, max_size=5
        )
    ),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)
@given(
    path=st.sampled_from(
        [
            *("/hooks/feedback/", f"/hooks/feedback/{SECRET}?website=", "/hooks/poll", "/login"),
            *("/queue/retry", "/queue/cancel", "/logout", "/rules/checkout-friction/snooze?"),
        ]
    ),
    rest=st.text(max_size=40),
    body=st.binary(max_size=200) | NOTIFICATIONS.map(lambda it: json.dumps(it).encode()),
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
    async with asking.stream("GET", f"/api/v1/stream?topic={topic}", timeout=120) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("retry:"):
                yield "open", None
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


async def served(world, work, proxies=()):
    """Do the work with a client of the page behind a real socket."""
    async with world.ask() as inner:
        listening = bound("127.0.0.1", 0)
        url = url_of(listening)
        async with (
            serving(inner._transport.app, listening, proxies),
            httpx.AsyncClient(base_url=url) as asking,
        ):
            try:
                async with asyncio.timeout(120):
                    await work(asking)
            finally:
                world.hub.closing.set()


@pytest.mark.parametrize(
    ("proxies", "other"), [(["127.0.0.0/8"], 202), (["10.0.0.0/8"], 429), ([], 429)]
)
async def test_behind_a_trusted_proxy_only_who_is_wrong_has_to_wait(world, proxies, other):
    async def work(asking):
        async def hook(secret, address):
            headers = {"x-forwarded-for": address}
            return (await asking.post(f"/hooks/feedback/{secret}", headers=headers)).status_code

        for _ in range(FREE_TRIES):
            assert await hook("wrong", "203.0.113.9") == 404
        assert await hook(SECRET, "203.0.113.9") == 429
        assert await hook(SECRET, "198.51.100.7") == other

    await served(world, work, proxies)


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


async def test_the_server_sleeps_while_nobody_asks_and_answers_have_a_date(world, monkeypatch):
    wakes = AsyncMock(side_effect=AssertionError("it wakes"))
    monkeypatch.setattr(uvicorn.Server, "on_tick", wakes)

    async def work(asking):
        answer = await asking.get("/")
        assert answer.status_code == 200
        age = datetime.now(UTC) - parsedate_to_datetime(answer.headers["date"])
        assert abs(age) < timedelta(minutes=1)

    await served(world, work)
    assert not wakes.called


async def test_a_server_that_fails_is_in_the_log_and_ends_nothing():
    listening = bound("127.0.0.1", 0)
    listening.close()
    with capture_logs() as logs:
        async with serving(None, listening), asyncio.timeout(120):
            while "web.stopped" not in [it["event"] for it in logs]:
                await asyncio.to_thread(lambda: None)


class Pages:
    """Pages of a name each, which count how often they were read and how often encoded."""

    def __init__(self, monkeypatch):
        self.read, self.encoded = [], []
        self.broken, self.looks = "", "same"
        encode = stream._event
        monkeypatch.setattr(stream, "_event", lambda *it: self.encoded.append(it) or encode(*it))

    def page(self, name, rule=""):
        return stream.Shown(lambda _world: self._read(name), lambda view: {"state": view}, rule)

    def _read(self, name):
        self.read.append(name)
        if name == self.broken:
            raise ValueError(name)
        return f"{name} {len(self.read) if self.looks == 'new' else ''}"


@pytest.fixture
def looked(monkeypatch, often):
    """Pages that are read for news alone; a stream hears of each look without an event."""
    monkeypatch.setattr(stream, "IDLE", 1_000_000)
    monkeypatch.setattr(stream, "KEEP_ALIVE", 1)
    return Pages(monkeypatch)


async def opened(hub, *shown):
    """A new stream of each page, which has got the whole page."""
    streams = [hub.events(str(id(each)), each) for each in shown]
    for each in streams:
        assert (await anext(each)).startswith(b"retry: ")
    for each in streams:
        assert b"event: part" in await anext(each)
    return streams


async def looks_until_news(events):
    """How many looks sent nothing before the next event."""
    looks = 0
    while b"event: " not in (sent := await anext(events)):
        looks += sent.count(b": keep-alive")
    return looks


def note(world, kind="notice", rule=""):
    world.store.do(lambda conn: record(conn, NOW, [Note(kind=kind, text="one", rule=rule)]))


async def test_many_streams_of_a_page_cost_one_read_and_one_encoding(world, looked):
    async with world.ask():
        page = looked.page("overview")
        looked.looks = "new"
        streams = await opened(world.hub, *[page] * stream.MOST)
        assert (looked.read, len(looked.encoded)) == (["overview"], 1)
        note(world)
        for each in streams:
            await looks_until_news(each)
        assert (len(looked.read), len(looked.encoded)) == (2, 2)


async def test_nothing_new_reads_no_page_and_what_looks_the_same_is_not_sent(world, looked):
    async with world.ask():
        (events,) = await opened(world.hub, looked.page("queue"))
        for _ in range(5):
            assert await anext(events) == b": keep-alive\n\n"
        assert looked.read == ["queue"]
        note(world)
        while len(looked.read) < 2:
            assert await anext(events) == b": keep-alive\n\n"
        assert len(looked.encoded) == 1


@pytest.mark.parametrize(("idle_bot", "looks"), [(False, 3), (True, 8)])
async def test_a_page_is_read_again_now_and_then_without_news(
    world, looked, monkeypatch, idle_bot, looks
):
    monkeypatch.setattr(stream, "IDLE", 4)
    monkeypatch.setattr(stream, "MOST_IDLE", 9)
    async with world.ask():
        looked.looks = "new"
        world.hub.cpu = count(0.0, 1.0).__next__  # a page takes two seconds
        world.hub.spent = (lambda: 1.0) if idle_bot else count(0.0, 100.0).__next__
        (events,) = await opened(world.hub, looked.page("overview"))
        assert await looks_until_news(events) == looks


async def test_the_store_is_read_when_the_bot_has_written_and_now_and_then_for_commands(
    world, looked, monkeypatch
):
    async with world.ask():
        looked.looks = "new"
        (events,) = await opened(world.hub, looked.page("overview"))
        monkeypatch.setattr(stream, "OTHERS", 1_000_000)
        with open_store(world.settings.store.url, exclusive=False) as command:
            command.do(lambda conn: record(conn, NOW, [Note(kind="notice", text="one")]))
        for _ in range(5):
            assert await anext(events) == b": keep-alive\n\n"
        note(world)
        await looks_until_news(events)
        assert world.hub._tail.entries == 2
        monkeypatch.setattr(stream, "OTHERS", 3)
        with open_store(world.settings.store.url, exclusive=False) as command:
            command.do(lambda conn: record(conn, NOW, [Note(kind="notice", text="one")]))
        assert await looks_until_news(events) <= 3


async def test_new_matches_wait_while_costly_pages_rest_and_troubles_do_not(world, looked):
    async with world.ask():
        looked.looks = "new"
        world.hub.cpu = count(0.0, 1.0).__next__  # a second from one question to the next
        (events,) = await opened(world.hub, looked.page("overview"))
        note(world, "match")
        assert stream.MOST_REST - 2 <= await looks_until_news(events) < stream.MOST_REST
        note(world, "trouble")
        assert await looks_until_news(events) < 3


async def test_news_of_another_rule_leave_the_page_of_a_rule_alone(world, looked):
    async with world.ask():
        looked.looks = "new"
        (events,) = await opened(world.hub, looked.page("one", "one"))
        note(world, "match", "other")
        for _ in range(5):
            assert await anext(events) == b": keep-alive\n\n"
        note(world, "match", "one")
        await looks_until_news(events)


async def test_a_browser_that_does_not_read_has_its_stream_ended(world, looked):
    async with world.ask():
        looked.looks = "new"
        page = looked.page("overview")
        reads, sleeps = await opened(world.hub, page, page)
        for _ in range(stream.BACKLOG + 1):
            note(world)
            await looks_until_news(reads)
        assert [each async for each in sleeps] == []
        assert world.hub.open == 1


async def test_a_page_that_cannot_be_read_ends_no_stream_of_another(world, looked):
    async with world.ask():
        looked.looks = "new"
        good, bad = await opened(world.hub, looked.page("good"), looked.page("bad"))
        looked.broken = "bad"
        note(world)
        with capture_logs() as logs:
            await looks_until_news(good)
            assert b"event: " not in b"".join([each async for each in bad])
        assert [it["event"] for it in logs] == ["web.internal_error"]
        note(world)
        await looks_until_news(good)


async def test_streams_are_bounded_and_end_at_once_when_the_bot_stops(world, monkeypatch):
    monkeypatch.setattr(stream, "EVERY", 3600.0)

    async def work(asking):
        held = []
        for _ in range(stream.MOST):
            held.append(events(asking, "overview"))
            assert await anext(held[-1]) == ("open", None)
        full = await asking.get("/api/v1/stream?topic=overview")
        assert full.status_code == 503
        assert (await asking.head("/api/v1/stream?topic=queue")).status_code == 503
        world.hub.closing.set()
        for each in held:
            assert [event async for event in each] == []

    await served(world, work)
    assert world.hub.open == 0


async def test_pages_that_take_too_long_together_are_read_one_by_one(world, looked, monkeypatch):
    async with world.ask(), asyncio.timeout(120):
        reading = world.reader.read

        async def read(work):
            before = len(looked.read)
            found = await reading(work)
            if len(looked.read) > before + 1 or looked.read[before:] == ["slow"]:
                raise StoreBusy("the store did not answer")
            return found

        monkeypatch.setattr(world.reader, "read", read)
        slow = world.hub.events("slow", looked.page("slow"))
        assert (await anext(slow)).startswith(b"retry: ")
        await opened(world.hub, looked.page("one"), looked.page("other"))
        assert world.hub.open == 3


async def test_more_streams_than_places_that_begin_at_once_end_again(world, looked):
    async with world.ask():
        streams = await opened(world.hub, *[looked.page("overview")] * stream.MOST)
        more = [world.hub.events("more", looked.page("more")) for _ in range(3)]
        for each in more:
            assert [event async for event in each] == [b"retry: 3000\n\n"]
        assert world.hub.open == len(streams)


async def test_pages_open_their_streams_also_while_the_store_is_busy(world, monkeypatch):
    async with world.ask() as asking:
        monkeypatch.setattr(world.reader, "read", AsyncMock(side_effect=StoreError("busy")))
        for topic in ("overview", "queue", "rules", "rule:checkout-friction"):
            assert (await asking.head(f"/api/v1/stream?topic={topic}")).status_code == 200


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
