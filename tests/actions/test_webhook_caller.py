"""Calling a webhook's receiver: signed, once, never redirected, every answer judged."""

import asyncio
import hashlib
import hmac
import logging
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.actions.webhook import SIGNATURE, TIMESTAMP, signature
from bot.delivery.webhook import WebhookCaller, secret_from
from bot.errors import GiveUp, TryLater

HEADERS = {"Content-Type": "application/json", TIMESTAMP: "1772452980"}
BODY = b'{"version":1}'


class Receiver:
    """Answers as it is told, and remembers what it was sent."""

    def __init__(self):
        self.got = []
        self.answer = web.Response(status=204)
        self.drops = False
        self.url = ""
        self.gone = asyncio.Event()
        self.hangs = False

    async def take(self, request):
        self.got.append((request.path, await request.read(), dict(request.headers)))
        if self.drops:
            request.transport.abort()
        if self.hangs:
            await self.gone.wait()
        return self.answer


@pytest.fixture
async def receiver():
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{tail:.*}", made.take)
    server = TestServer(app)
    await server.start_server()
    made.url = str(server.make_url("/hook/t0ken"))
    yield made
    made.gone.set()
    await server.close()


@pytest.fixture
async def caller():
    made = WebhookCaller(trust_env=False, secrets={"env:HOOK": "correct horse"}.get)
    yield made
    await made.close()


async def test_a_call_arrives_as_it_is(receiver, caller):
    await caller.call(receiver.url, BODY, HEADERS | {"Idempotency-Key": "k"})
    ((path, body, headers),) = receiver.got
    assert (path, body, headers["Idempotency-Key"]) == ("/hook/t0ken", BODY, "k")


@pytest.mark.parametrize("secret", ["correct horse", "env:HOOK"])
async def test_the_signature_covers_timestamp_and_body(receiver, caller, secret):
    await caller.call(receiver.url, BODY, HEADERS, secret)
    ((_, content, headers),) = receiver.got
    signed = headers[TIMESTAMP].encode() + b"." + content
    expected = hmac.new(b"correct horse", signed, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={expected}"
    assert not [value for value in headers.values() if secret in value]
    assert signature(b"other", "1", content) != signature(b"other", "2", content)


async def test_without_a_secret_nothing_is_signed(receiver, caller):
    await caller.call(receiver.url, BODY, HEADERS)
    ((_, _, headers),) = receiver.got
    assert SIGNATURE not in headers


async def test_a_secret_that_is_not_there_stops_the_call(receiver, caller):
    with pytest.raises(GiveUp, match="env:OTHER"):
        await caller.call(receiver.url, BODY, HEADERS, "env:OTHER")
    assert receiver.got == []


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
async def test_a_receiver_in_trouble_is_tried_again(receiver, caller, status):
    receiver.answer = web.Response(status=status, headers={"Retry-After": "7"})
    with pytest.raises(TryLater) as raised:
        await caller.call(receiver.url, BODY, HEADERS)
    assert raised.value.after == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("2.5", 2.5), ("Sun, 01 Mar 2015 12:00:20 GMT", 0), ("999999", 3600), ("soon", None)],
)
async def test_a_receiver_may_ask_in_fractions_and_dates(receiver, caller, asked, seconds):
    receiver.answer = web.Response(status=503, headers={"Retry-After": asked})
    with pytest.raises(TryLater) as raised:
        await caller.call(receiver.url, BODY, HEADERS)
    assert raised.value.after == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410])
async def test_a_refusal_or_a_redirect_is_final(receiver, caller, status):
    receiver.answer = web.Response(status=status, headers={"Location": "/elsewhere"})
    with pytest.raises(GiveUp):
        await caller.call(receiver.url, BODY, HEADERS)
    assert len(receiver.got) == 1


async def test_a_dropped_call_may_have_arrived(receiver, caller):
    receiver.drops = True
    with pytest.raises(TryLater) as raised:
        await caller.call(receiver.url, BODY, HEADERS)
    assert (raised.value.unknown, len(receiver.got)) == (True, 1)


async def test_a_receiver_that_hangs_is_not_waited_for(receiver):
    hasty = WebhookCaller(timeout=timedelta(milliseconds=50), trust_env=False)
    receiver.hangs = True
    with pytest.raises(TryLater, match="did not answer in time") as raised:
        await hasty.call(receiver.url, BODY, HEADERS)
    assert raised.value.unknown
    await hasty.close()


async def test_a_receiver_that_cannot_be_reached_has_surely_got_nothing(caller):
    with pytest.raises(TryLater) as raised:
        await caller.call("http://127.0.0.1:9/hook/t0ken", BODY, HEADERS)
    assert not raised.value.unknown
    assert "t0ken" not in str(raised.value)


async def test_no_error_or_log_line_has_the_address_or_the_secret(receiver, caller, caplog):
    caplog.set_level(logging.CRITICAL, "aiohttp.access")  # the pretend server's own
    caplog.set_level(logging.DEBUG)  # last, since it is the level of what is kept, too
    receiver.answer = web.Response(status=400, text="correct horse")
    with pytest.raises(GiveUp) as raised:
        await caller.call(receiver.url, BODY, HEADERS, "env:HOOK")
    shown = f"{raised.value} {caplog.text} {caller!r}"
    assert "t0ken" not in shown
    assert "correct horse" not in shown


def test_secrets_are_read_from_files_and_the_environment(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("HOOK_SECRET", "from the environment")
    assert secret_from(f"file:{tmp_path}/secret") == "from a file"
    assert secret_from("env:HOOK_SECRET") == "from the environment"
    assert secret_from(f"file:{tmp_path}/none") is None
    monkeypatch.setenv("HOOK_SECRET", "\udcff")  # not UTF-8: it can't sign
    assert secret_from("env:HOOK_SECRET") is None
    assert secret_from("env:NO_SUCH_SECRET") is None


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".com", "ü" * 70 + ".de"])
async def test_a_host_that_no_name_can_have_is_given_up(caller, host):
    with pytest.raises(GiveUp, match="is not valid"):
        await caller.call(f"https://{host}/", b"{}", {})
