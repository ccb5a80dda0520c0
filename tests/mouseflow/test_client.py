"""The client sends what may be sent, as fast as it may, and fails in ways a caller can use."""

import asyncio
import gc
import gzip
import logging
import subprocess
import sys
import traceback
import tracemalloc
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from http_server import cut, half, held, reply

from mouseflow import SessionFilters, errors, recordings, websites
from mouseflow.call_queue import CallQueue, Priority
from mouseflow.client import AsyncMouseflow
from mouseflow.rate_limit import TokenBucket

SITES = websites.list()
STAR = recordings.star("w", "r")
SHARE = recordings.share("w", "r")
PAGE = b'{"count": 0, "recordings": []}'


# Every status has its class, and each class its family.


@pytest.mark.parametrize(
    ("status", "kind", "family", "root"),
    [
        (302, errors.InvalidRequest, errors.InvalidRequest, errors.Rejected),
        (400, errors.InvalidRequest, errors.InvalidRequest, errors.Rejected),
        (401, errors.BadCredentials, errors.Denied, errors.Rejected),
        (403, errors.Forbidden, errors.Denied, errors.Rejected),
        (404, errors.NotFound, errors.Gone, errors.Rejected),
        (405, errors.InvalidRequest, errors.InvalidRequest, errors.Rejected),
        (406, errors.InvalidRequest, errors.InvalidRequest, errors.Rejected),
        (409, errors.InvalidRequest, errors.InvalidRequest, errors.Rejected),
        (410, errors.Removed, errors.Gone, errors.Rejected),
        (418, errors.InvalidRequest, errors.InvalidRequest, errors.Rejected),
        (422, errors.InvalidRequest, errors.InvalidRequest, errors.Rejected),
        (408, errors.Unavailable, errors.Unavailable, errors.Unavailable),
        (425, errors.Unavailable, errors.Unavailable, errors.Unavailable),
        (429, errors.TooManyRequests, errors.Unavailable, errors.Unavailable),
        (500, errors.ServerError, errors.Unavailable, errors.Unavailable),
        (502, errors.ServerError, errors.Unavailable, errors.Unavailable),
        (503, errors.Maintenance, errors.Unavailable, errors.Unavailable),
        (504, errors.ServerError, errors.Unavailable, errors.Unavailable),
    ],
)
async def test_a_status_becomes_an_error_that_says_what_to_do(
    status, kind, family, root, api, wire
):
    wire.otherwise = reply(status, b"{\x00\r\n  why\x1b[31m}" + b"x" * 900)
    with pytest.raises(kind) as caught:
        await api.send(STAR)
    error = caught.value
    assert type(error) is kind
    assert isinstance(error, family)
    assert isinstance(error, root)
    assert (error.method, error.status) == ("POST", status)
    assert error.path == "/websites/w/recordings/r/star"
    assert error.body.startswith("{ why [31m}xxx")
    assert len(error.body) <= 500
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 410, 418])
async def test_what_cannot_succeed_is_sent_once(status, api, wire):
    wire.otherwise = reply(status)
    with pytest.raises(errors.Rejected):
        await api.send(SITES)
    assert len(wire.got) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_is_success(status, api, wire):
    wire.otherwise = reply(status, b"")
    assert await api.send(STAR) is None


# Retries.


@pytest.mark.parametrize(
    "trouble",
    [
        reply(500),
        reply(502, b"<html>"),
        reply(503),
        reply(408),
        reply(425),
        reply(429),
        cut,
        half,
        reply(200, b"<html>sorry</html>"),
        reply(200, b'[{"id": "a'),
        reply(200, b""),
    ],
    ids=["500", "502", "503", "408", "425", "429", "cut", "half", "html", "half-json", "empty"],
)
async def test_a_passing_trouble_is_not_noticed(trouble, api, wire):
    wire.answers.extend([trouble, trouble])
    wire.otherwise = reply(200, b'[{"id": "a"}]')
    (site,) = await api.send(SITES)
    assert (site.id, len(wire.got)) == ("a", 3)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (reply(500), "500 internal server error"),
        (reply(503), "503 offline for maintenance"),
        (reply(200, b"<html>sorry</html>"), "HTML instead of JSON"),
        (reply(200, b'[{"id": "a'), "truncated JSON"),
        (cut, "GET /websites: RemoteProtocolError"),
        (half, "GET /websites: RemoteProtocolError"),
    ],
)
async def test_a_lasting_trouble_ends_after_a_few_tries_with_clear_text(trouble, said, api, wire):
    wire.otherwise = trouble
    with pytest.raises(errors.Unavailable, match=said) as caught:
        await api.send(SITES)
    assert len(wire.got) == 3
    assert caught.value.outcome_unknown is False


async def test_nobody_there_is_unavailable_and_nothing_was_done(make):
    api = make("http://127.0.0.1:9")
    with pytest.raises(errors.Unreachable, match="ConnectError") as caught:
        await api.send(STAR)
    assert caught.value.outcome_unknown is False
    assert caught.value.status is None


async def test_an_answer_that_does_not_come_is_unavailable(make, wire):
    release = asyncio.Event()
    api = make(tries=1)
    await api.send(SITES)  # connects: under load this can take longer than 20 ms
    wire.otherwise = held(release, reply())
    with pytest.raises(errors.Unreachable, match="ReadTimeout") as caught:
        await api.send(STAR, timeout=0.02)
    assert caught.value.outcome_unknown is True
    release.set()


async def test_an_answer_that_drips_is_cut_off(make, wire, time):
    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"[")
            await writer.drain()
            time.seconds += 6
            await asyncio.sleep(0.001)

    wire.otherwise = drip
    with pytest.raises(errors.Unreachable, match="too slowly"):
        await make(timeout=5.0, tries=1).send(SITES)


@pytest.mark.parametrize("trouble", [reply(500), reply(502), reply(408), cut, half])
async def test_what_would_take_effect_twice_is_not_repeated(trouble, api, wire):
    wire.otherwise = trouble
    with pytest.raises(errors.Unavailable) as caught:
        await api.send(SHARE)
    assert len(wire.got) == 1
    assert caught.value.outcome_unknown is True


async def test_a_share_whose_token_is_lost_is_not_repeated(api, wire):
    wire.otherwise = reply(200, b"<html>")
    with pytest.raises(errors.UnreadableAnswer) as caught:
        await api.send(SHARE)
    assert (len(wire.got), caught.value.outcome_unknown) == (1, True)


async def test_a_call_that_the_api_did_not_take_is_repeated_whatever_it_is(api, wire):
    wire.answers.append(reply(429, Retry_After="1"))
    wire.otherwise = reply(200, b'"token"')
    assert await api.send(SHARE) == "token"


async def test_an_earlier_unknown_outcome_is_not_forgotten(api, wire):
    wire.answers.extend([reply(500), reply(425), reply(425)])
    with pytest.raises(errors.Unavailable) as caught:
        await api.send(STAR)
    assert caught.value.status == 425
    assert caught.value.outcome_unknown is True


async def test_tries_are_further_and_further_apart(make, wire, time):
    wire.otherwise = reply(500)
    api = make(tries=5, random=lambda: 1.0)
    with pytest.raises(errors.ServerError):
        await api.send(SITES)
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


async def test_patience_ends(make, wire, time):
    wire.otherwise = reply(500)
    api = make(tries=100, patience=10.0, random=lambda: 1.0)
    with pytest.raises(errors.ServerError):
        await api.send(SITES)
    assert sum(time.slept) <= 10


async def test_a_retry_after_of_maintenance_is_kept(make, wire, time):
    wire.answers.append(reply(503, Retry_After="7"))
    await make(random=lambda: 0.0).send(SITES)
    assert time.slept == [7.0]


# One pause for the whole account.


async def test_after_a_429_the_whole_account_rests_as_long_as_asked(api, wire, time):
    wire.answers.append(reply(429, Retry_After="30"))
    await asyncio.gather(api.send(SITES), api.send(STAR))
    started = time.seconds
    await api.send(SITES)
    assert sum(time.slept) == pytest.approx(30, abs=1)
    assert time.seconds == pytest.approx(started, abs=1)


async def test_a_retry_after_may_be_a_date(make, wire, time):
    wire.answers.append(reply(429, Retry_After="Sun, 01 Mar 2026 12:00:20 GMT"))
    await make().send(SITES)
    assert sum(time.slept) == pytest.approx(20, abs=1)


async def test_a_long_pause_is_told_instead_of_waited_for(api, wire, time):
    wire.otherwise = reply(429, Retry_After="86400")
    with pytest.raises(errors.TooManyRequests) as caught:
        await api.send(SITES)
    assert caught.value.retry_after == timedelta(hours=1)
    assert api.pause_until == time.clock() + timedelta(hours=1)
    with pytest.raises(errors.TooManyRequests, match="not sent") as caught:
        await api.send(STAR)
    assert (len(wire.got), caught.value.account_wide) == (1, True)
    time.seconds += 3601
    wire.otherwise = reply()
    await api.send(SITES)


async def test_those_in_line_are_told_of_a_long_pause(make, wire):
    release = asyncio.Event()
    wire.answers.append(held(release, reply(429, Retry_After="300")))
    api = make(concurrency=1)
    calls = [asyncio.create_task(api.send(SITES)) for _ in range(4)]
    await wire.requests(1)
    release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [errors.TooManyRequests] * 4
    assert len(wire.got) == 1


async def test_without_a_retry_after_the_pauses_grow(make, wire, time):
    wire.otherwise = reply(429)
    with pytest.raises(errors.TooManyRequests):
        await make(tries=4, random=lambda: 1.0).send(SITES)
    assert [round(seconds) for seconds in time.slept] == [5, 10, 20]


async def test_a_pause_can_be_kept_and_restored(make, wire, time):
    api = make()
    api.pause_until = time.clock() + timedelta(seconds=40)
    await api.send(SITES)
    assert sum(time.slept) == pytest.approx(40)


async def test_a_clock_that_was_set_back_does_not_make_the_pause_longer(make, time):
    api = make(patience=1000.0)
    api.pause_until = time.clock() + timedelta(hours=9)
    with pytest.raises(errors.TooManyRequests) as caught:
        await make_impatient(api).send(SITES)
    assert caught.value.retry_after == timedelta(hours=1)


@pytest.mark.parametrize("ahead", [timedelta(minutes=20), timedelta(hours=5)])
async def test_a_pause_ends_when_it_should_though_the_clock_was_ahead(make, wire, time, ahead):
    wall = [ahead]
    api = make(clock=lambda: time.clock() + wall[0], tries=1)
    wire.answers.append(reply(429, Retry_After="30"))
    with pytest.raises(errors.TooManyRequests):
        await api.send(SITES)
    wall[0] = timedelta()  # it is put right
    await api.send(SITES)
    assert sum(time.slept) == pytest.approx(30, abs=1)
    assert api.pause_until is None
    wire.answers.append(reply(429, Retry_After="30"))
    with pytest.raises(errors.TooManyRequests):
        await api.send(SITES)
    assert api.pause_until is not None  # the next pause counts from the right time


def make_impatient(api: AsyncMouseflow) -> AsyncMouseflow:
    api._patience = 1.0
    return api


async def test_several_refusals_at_once_are_one(make, wire, time):
    release = asyncio.Event()
    wire.answers.extend(held(release, reply(429)) for _ in range(4))
    api = make(concurrency=4, random=lambda: 1.0)
    started = time.clock()
    calls = [asyncio.create_task(api.send(SITES)) for _ in range(4)]
    await wire.requests(4)
    release.set()
    await asyncio.gather(*calls)
    assert time.clock() - started == pytest.approx(timedelta(seconds=5), abs=timedelta(seconds=1))


async def test_a_shorter_pause_does_not_cut_a_longer_one(make, time):
    api = make()
    long = time.clock() + timedelta(seconds=50)
    api.pause_until = long
    api._state.pause(timedelta(seconds=2))
    assert api.pause_until == long


# Wrong credentials.


async def test_after_a_401_nothing_is_sent_for_a_growing_while(api, wire, time):
    wire.otherwise = reply(401)
    for round_, seconds in enumerate([60, 120, 240], start=1):
        with pytest.raises(errors.BadCredentials):
            await api.send(SITES)
        for _ in range(5):
            with pytest.raises(errors.BadCredentials, match="not sent"):
                await api.send(STAR)
        assert len(wire.got) == round_
        time.seconds += seconds - 1
        with pytest.raises(errors.BadCredentials, match="not sent"):
            await api.send(SITES)
        time.seconds += 2


async def test_several_401_at_once_are_one(make, wire, time):
    release = asyncio.Event()
    wire.answers.extend(held(release, reply(401)) for _ in range(4))
    api = make(concurrency=4)
    calls = [asyncio.create_task(api.send(SITES)) for _ in range(4)]
    await wire.requests(4)
    release.set()
    await asyncio.gather(*calls, return_exceptions=True)
    time.seconds += 61
    await api.send(SITES)


async def test_a_401_ends_the_line(make, wire):
    release = asyncio.Event()
    wire.otherwise = held(release, reply(401))
    api = make(concurrency=2)
    calls = [asyncio.create_task(api.send(SITES)) for _ in range(20)]
    await wire.requests(2)
    release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {errors.BadCredentials}
    assert len(wire.got) == 2


async def test_mended_credentials_are_welcome_again(api, wire, time):
    wire.answers.append(reply(401))
    with pytest.raises(errors.BadCredentials):
        await api.send(SITES)
    time.seconds += 61
    await api.send(SITES)
    wire.answers.append(reply(401))
    with pytest.raises(errors.BadCredentials):
        await api.send(SITES)
    time.seconds += 61  # a minute again, not two
    await api.send(SITES)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refused_start_hints_at_the_other_region(status, api, wire):
    wire.otherwise = reply(status)
    with pytest.raises(errors.Rejected, match="region"):
        await api.send(SITES)


async def test_a_forbidden_write_hints_at_a_read_only_website(api, wire):
    wire.otherwise = reply(403)
    with pytest.raises(errors.Forbidden, match="read-only"):
        await api.send(STAR)
    with pytest.raises(errors.Forbidden) as caught:
        await api.send(recordings.list("w"))
    assert "region" not in str(caught.value)


# Rate, order, and bounds.


async def test_calls_keep_to_the_rate(make, time):
    api = make(requests_per_second=2.0, burst=3)
    started = time.seconds
    await asyncio.gather(*(api.send(SITES) for _ in range(13)))
    assert time.seconds - started == pytest.approx(5.0)  # 3 at once, 10 at two a second


async def test_another_rate_holds_for_what_waits_and_keeps_what_was_sent(make, time):
    api = make(requests_per_second=4.0, burst=3)
    await asyncio.gather(*(api.send(SITES) for _ in range(3)))
    api.use_rate(2.0, 1)
    started = time.seconds
    await asyncio.gather(*(api.send(SITES) for _ in range(10)))
    # 0.75 s for those that went, then two a second.
    assert time.seconds - started == pytest.approx(5.25)


async def test_no_more_than_the_allowed_number_is_in_flight(make, wire):
    release = asyncio.Event()
    wire.otherwise = held(release, reply())
    api = make(concurrency=3)
    calls = [asyncio.create_task(api.send(SITES)) for _ in range(9)]
    await wire.requests(3)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(api._in_flight) == len(wire.got) == 3
    release.set()
    await asyncio.gather(*calls)
    assert len(wire.got) == 9


async def test_actions_go_before_polling_and_polling_before_the_background(make, wire):
    release = asyncio.Event()
    wire.answers.append(held(release, reply()))
    api = make(concurrency=1)
    first = asyncio.create_task(api.send(SITES))
    await wire.requests(1)
    wire.otherwise = reply(200, PAGE)
    calls = [
        api.send(recordings.list("background"), priority=Priority.BACKGROUND),
        api.send(recordings.list("poll-1")),
        api.send(recordings.star("action-1", "r")),
        api.send(recordings.list("poll-2")),
        api.send(recordings.list("urgent"), priority=Priority.ACTION),
    ]
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(first, *tasks)
    order = [got.target.split("/")[2] for got in wire.got[1:]]
    assert order == ["action-1", "urgent", "poll-1", "poll-2", "background"]


async def test_who_leaves_the_line_costs_nobody_a_place(make, wire, time):
    release = asyncio.Event()
    wire.answers.append(held(release, reply()))
    api = make(concurrency=1)
    first = asyncio.create_task(api.send(SITES))
    await wire.requests(1)
    leaving = [asyncio.create_task(api.send(STAR)) for _ in range(5)]
    staying = asyncio.create_task(api.send(SITES))
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    release.set()
    await asyncio.gather(first, staying)
    assert len(wire.got) == 2


# Cancellation: a request in flight ends by itself.


async def test_a_cancelled_caller_leaves_no_leak_behind(make, wire, sent):
    """httpx loses a pool slot for each cancelled request; ours are never cancelled."""
    api = make(concurrency=2)
    for number in range(1, 21):
        release = asyncio.Event()
        wire.answers.append(held(release, reply()))
        call = asyncio.create_task(api.send(SITES))
        await wire.requests(number)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        release.set()
    await api.send(SITES)
    assert [one.status for one in sent].count(200) >= 20


async def test_closing_waits_for_what_is_in_flight_and_refuses_the_rest(make, wire, sent):
    release = asyncio.Event()
    wire.answers.append(held(release, reply()))
    api = make(concurrency=1)
    flying = asyncio.create_task(api.send(SITES))
    await wire.requests(1)
    waiting = asyncio.create_task(api.send(STAR))
    await asyncio.sleep(0)
    closing = asyncio.create_task(api.aclose())
    with pytest.raises(errors.Unavailable, match="closed"):
        await waiting
    assert not closing.done()
    release.set()
    await closing
    assert list(await flying) == []
    with pytest.raises(errors.Unavailable, match="closed"):
        await api.send(SITES)
    await api.aclose()


async def test_what_is_abandoned_at_the_end_leaves_no_connection_open(transport, wire):
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    release = asyncio.Event()
    wire.otherwise = held(release, reply())
    api = AsyncMouseflow(wire.url, "a@b.c", "key", transport=transport and transport(wire.url))
    call = asyncio.create_task(api.send(SITES))
    await wire.requests(1)
    await api.aclose(within=0.01)
    await asyncio.gather(call, return_exceptions=True)
    del api, call
    gc.collect()
    release.set()
    await asyncio.wait(wire.serving)
    assert complaints == []


async def test_a_cancelled_call_that_fails_leaves_no_warning(make, wire):
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    release = asyncio.Event()
    wire.answers.append(held(release, reply(500)))
    api = make()
    call = asyncio.create_task(api.send(SITES))
    await wire.requests(1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    release.set()
    await api.aclose()
    del call
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_a_client_that_hangs_is_thrown_away(make, wire):
    """Beyond all time-outs only a wedged client can be the cause; the next call has a new one."""
    release = asyncio.Event()
    wire.answers.append(held(release, reply()))
    api = make(timeout=100.0, longest=0.01, tries=1)
    with pytest.raises(errors.Unreachable, match="within all timeouts") as caught:
        await api.send(STAR)
    assert caught.value.outcome_unknown is True
    release.set()
    api._transport._longest = 100.0
    await api.send(SITES)


async def test_a_hung_request_that_fails_when_cancelled_leaves_no_warning(make):
    class Hangs(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise httpx.ReadError("closed while it was read") from None

    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    api = make(transport=Hangs(), longest=0.01, tries=1)
    with pytest.raises(errors.Unreachable, match="within all timeouts"):
        await api.send(SITES)
    await api.aclose()
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


# Nothing secret leaves.


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_no_credential_is_ever_in_an_error(status, make, wire):
    api = make(tries=1)

    async def echo(writer):
        head = wire.got[-1].headers["authorization"]
        body = f"you sent {head} that is my@email.com:token1234".encode()
        await reply(status, body)(writer)

    wire.otherwise = echo
    with pytest.raises((errors.Rejected, errors.Unavailable)) as caught:
        await api.send(SITES)
    basic = wire.got[-1].headers["authorization"].removeprefix("Basic ")
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    for secret in ("token1234", basic, "my@email.com"):
        assert secret not in told
    assert "you sent" in told


async def test_no_credential_is_in_a_repr(api):
    assert "token1234" not in repr(api)
    assert "token1234" not in repr(api._transport) + repr(api)


async def test_nothing_of_a_request_is_logged(api, wire, caplog):
    caplog.set_level(logging.INFO)
    wire.otherwise = reply(200, PAGE)
    await api.send(recordings.list("w", limit=7))
    assert caplog.text == ""


async def test_the_credentials_do_not_follow_a_redirect(api, wire):
    wire.otherwise = reply(302, b"", Location=f"{wire.url}/elsewhere")
    with pytest.raises(errors.InvalidRequest, match="redirects"):
        await api.send(SITES)
    assert [got.target for got in wire.got] == ["/websites"]


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu", "https://api-eu.mouseflow.com"),
        ("us", "https://api-us.mouseflow.com"),
        ("https://example.com/api/", "https://example.com/api"),
        ("http://127.0.0.1:8700", "http://127.0.0.1:8700"),
        ("http://localhost:8700/", "http://localhost:8700"),
        ("http://[::1]:8700", "http://[::1]:8700"),
    ],
)
def test_a_region_or_an_address_is_taken(region, url):
    assert AsyncMouseflow(region, "a@b.c", "key").base_url == url


@pytest.mark.parametrize(
    "address",
    [
        "",
        "de",
        "http://api-eu.mouseflow.com",
        "http://192.168.1.2",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "https://me:secret@example.com",
        "https://example.com?key=secret",
        "ftp://example.com",
        "https://",
        "http://[::1",
        "https://example.com:port",
    ],
)
def test_an_address_that_would_show_the_key_is_refused(address):
    with pytest.raises(errors.ConfigurationError) as caught:
        AsyncMouseflow(address, "a@b.c", "key")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("email", "key"), [("", "k"), ("a@b.c", ""), ("a:b", "k")])
def test_credentials_that_can_not_be_right_are_refused(email, key):
    with pytest.raises(errors.ConfigurationError, match="email"):
        AsyncMouseflow("eu", email, key)


# What was sent can be watched.


async def test_each_attempt_is_observed_by_route(api, wire, sent):
    wire.answers.extend([reply(500), cut, reply(200, PAGE)])
    await api.send(recordings.list("secret-site", limit=5))
    assert [(one.status, one.attempt, one.problem) for one in sent] == [
        (500, 1, "ServerError"),
        (None, 2, "Unreachable"),
        (200, 3, ""),
    ]
    assert {one.route for one in sent} == {"GET /websites/{website-id}/recordings"}
    assert all(one.seconds >= 0 for one in sent)


async def test_a_closed_connection_between_two_calls_is_not_noticed(api, wire):
    async def reply_and_close(writer):
        await reply(200, b"[]")(writer)
        writer.close()

    wire.otherwise = reply_and_close
    for _ in range(3):
        assert await api.send(SITES) == ()


def test_aware_time_is_the_default():
    assert AsyncMouseflow("eu", "a@b.c", "k")._clock() <= datetime.now(UTC)


async def test_an_answer_is_let_go_once_it_is_given(api):
    """Nothing that was sent is kept, or a daemon's memory would grow with every call."""

    class Thing:
        """Can be referred to weakly."""

    thing = await api.send(replace(SITES, read=lambda _body: Thing()))
    seen = weakref.ref(thing)
    del thing
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("steps", range(8))
async def test_a_turn_is_not_lost_when_its_taker_leaves_in_that_instant(steps):
    bucket = TokenBucket(1000.0, 100)
    queue = CallQueue(bucket, 1, pause=float, monotonic=float, sleep=asyncio.sleep)
    assert await queue.acquire(queue.new_call(Priority.POLL))
    leaving = asyncio.create_task(queue.acquire(queue.new_call(Priority.POLL)))
    await _steps(3)
    queue.release()
    await _steps(steps)
    gone = leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    if not gone:
        queue.release()
    following = asyncio.create_task(queue.acquire(queue.new_call(Priority.POLL)))
    await _steps(10)
    assert following.done()


async def _steps(number):
    for _ in range(number):
        await asyncio.sleep(0)


# Manners of a library.


async def test_an_observer_that_raises_breaks_no_call_and_is_logged_once(make, wire, caplog):
    def observe(_sent):
        raise KeyError("a bug in my metrics")

    wire.otherwise = reply(200, b'"tok"')
    api = make(observe=observe)
    assert await api.send(recordings.share("w", "r")) == "tok"
    assert await api.send(recordings.share("w", "r")) == "tok"
    assert [it.name for it in caplog.records] == ["mouseflow"]
    assert "a bug in my metrics" in caplog.text


async def test_retries_and_pauses_are_logged_without_a_query(api, wire, caplog):
    caplog.set_level(logging.DEBUG, "mouseflow")
    wire.answers.extend([reply(500), reply(429, Retry_After="1"), reply(200, PAGE)])
    await api.send(recordings.list("site", SessionFilters(search="secret")))
    assert "GET /websites/{website-id}/recordings: status 500; retry in" in caplog.text
    assert "429, paused for 1 s" in caplog.text
    assert "200 in" in caplog.text
    assert "secret" not in caplog.text


async def test_one_call_may_have_its_own_tries(api, wire):
    wire.otherwise = reply(500)
    with pytest.raises(errors.ServerError):
        await api.send(SITES, tries=1)
    assert len(wire.got) == 1


async def test_the_raw_answer_has_status_headers_and_keys_that_no_model_has(api, wire):
    wire.otherwise = reply(200, b'[{"id": "a", "new": 1}]', X_Seen="yes")
    answer = await api.with_raw(SITES)
    assert (answer.status, answer.headers["x-seen"], answer.value[0].id) == (200, "yes", "a")
    assert answer.json() == [{"id": "a", "new": 1}]


async def test_cookies_are_ignored_and_the_application_is_named(make, wire):
    api = make(app="shop-tools/1.0")
    wire.otherwise = reply(200, b"[]", Set_Cookie="session=1; Path=/")
    await api.send(SITES)
    await api.send(SITES)
    assert [got.headers.get("cookie") for got in wire.got] == [None, None]
    assert wire.got[0].headers["user-agent"].startswith("shop-tools/1.0 mouseflow")


async def test_an_answer_in_gzip_is_unpacked_and_one_packed_twice_is_refused(make, wire):
    api = make(tries=1)
    wire.otherwise = reply(200, gzip.compress(b'[{"id": "a"}]'), Content_Encoding="gzip")
    assert (await api.send(SITES))[0].id == "a"
    twice = gzip.compress(gzip.compress(b"[]"))
    wire.otherwise = reply(200, twice, Content_Encoding="gzip, gzip")
    with pytest.raises(errors.Unreachable, match="not asked for"):
        await api.send(SITES)


async def test_a_bomb_is_refused_while_it_is_unpacked_and_not_asked_for_again(make, wire):
    bomb = gzip.compress(b" " * (200 << 20), 9)
    wire.otherwise = reply(200, bomb, Content_Encoding="gzip")
    tracemalloc.start()
    try:
        with pytest.raises(errors.TooLarge, match="32 MB"):
            await make().send(SITES)
        assert tracemalloc.get_traced_memory()[1] < 110 << 20
    finally:
        tracemalloc.stop()
    assert len(wire.got) == 1


async def test_what_follows_the_gzip_or_unpacks_to_nothing_is_bounded(make, wire):
    api = make(tries=1)
    wire.otherwise = reply(200, gzip.compress(b"[]") + b"junk" * 99, Content_Encoding="gzip")
    with pytest.raises(errors.Unreachable, match="after the end of its gzip"):
        await api.send(SITES)
    empty = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * (7 << 20)  # blocks of no bytes
    wire.otherwise = reply(200, empty, Content_Encoding="gzip")
    with pytest.raises(errors.TooLarge, match="32 MB"):
        await api.send(SITES)


def test_other_peoples_loggers_are_left_alone():
    code = (
        "import logging; logging.getLogger('httpx').setLevel(10); import mouseflow;"
        "mouseflow.Mouseflow; print(logging.getLogger('httpx').level)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "10"


async def test_a_function_in_place_of_its_request_is_a_clear_error(api):
    with pytest.raises(TypeError, match=r"call it first: list\(\.\.\.\)"):
        await api.send(websites.list)
    with pytest.raises(TypeError, match="expected a request, got a str"):
        await api.send("/websites")


@pytest.mark.parametrize("prefix", ["MOUSEFLOW_", "BOT_MOUSEFLOW__"])
def test_the_environment_gives_address_and_credentials(prefix, monkeypatch):
    monkeypatch.setenv(f"{prefix}REGION", "us")
    monkeypatch.setenv(f"{prefix}EMAIL", "a@b.c")
    with pytest.raises(errors.ConfigurationError, match="set MOUSEFLOW_API_KEY"):
        AsyncMouseflow.from_env()
    monkeypatch.setenv(f"{prefix}API_KEY", "key")
    assert AsyncMouseflow.from_env(tries=1).base_url == "https://api-us.mouseflow.com"
    monkeypatch.setenv(f"{prefix}BASE_URL", "http://127.0.0.1:8700")
    assert AsyncMouseflow.from_env().base_url == "http://127.0.0.1:8700"


async def test_many_requests_are_answered_in_order_and_the_first_error_ends_them(make, wire):
    api = make(concurrency=2, tries=1)
    wire.otherwise = reply(200, b'["a"]')
    asked = [recordings.tags("w") for _ in range(9)]
    assert [tuple(names) async for names in api.send_all(asked)] == [("a",)] * 9
    wire.otherwise = reply(404)
    with pytest.raises(errors.NotFound):
        async for _ in api.send_all(recordings.tags("w") for _ in range(1_000)):
            pass
    assert len(wire.got) < 30
