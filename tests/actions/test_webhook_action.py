"""The webhook's body and headers: versioned, signed, without personal data or secrets."""

import hashlib
import hmac
import json
import math

import msgspec
import pytest
from action_world import World, again, reread, task

from bot.actions.slack import ALL
from bot.actions.webhook import Body, Webhook, body, signature
from bot.subjects import Band
from bot.wording.names import PERSONAL

HOOK = Webhook(url="https://example.com/in/t0ken?x=1", secret="correct horse")


async def called(action=HOOK, made=None):
    world = World()
    done = await reread(action).perform(made or task(), world.ports)
    (call,) = world.webhook.calls
    return done, *call


async def test_the_signature_covers_timestamp_and_body():
    _, url, content, headers = await called()
    signed = headers["Mouseflow-Bot-Timestamp"].encode() + b"." + content
    expected = hmac.new(b"correct horse", signed, hashlib.sha256).hexdigest()
    assert url == HOOK.url
    assert headers["Mouseflow-Bot-Signature"] == f"sha256={expected}"
    assert signature(b"other", "1", content) != signature(b"other", "2", content)


async def test_a_repeated_call_has_the_same_key_and_body():
    _, _, first, headers = await called()
    _, _, second, later = await called(made=again(task()))
    assert first == second
    assert headers["Idempotency-Key"] == later["Idempotency-Key"]


async def test_a_key_with_a_page_of_a_visitor_is_fit_for_a_header():
    made = task("pages", key="rule/w1//a\r\nX: y/ü")
    _, _, _, headers = await called(made=made)
    assert headers["Idempotency-Key"] == "rule/w1//a%0D%0AX:%20y/%C3%BC"


async def test_a_secret_by_reference_is_left_to_the_port():
    _, _, _, headers = await called(Webhook(url=HOOK.url, secret="env:HOOK_SECRET"))
    assert headers["Mouseflow-Bot-Sign-With"] == "env:HOOK_SECRET"
    assert "Mouseflow-Bot-Signature" not in headers


async def test_neither_address_nor_secret_is_in_what_people_see():
    done, *_ = await called()
    shown = f"{done.note} {HOOK!r} {HOOK.lane(task().subject, '')}"
    assert "t0ken" not in shown
    assert "correct horse" not in shown


@pytest.mark.parametrize("kind", ALL)
def test_every_body_is_of_the_documented_shape_and_has_no_personal_data(kind):
    content = body(task(kind), World().addresses)
    read = msgspec.json.decode(content, type=Body)
    assert (read.version, read.kind) == (1, kind)
    assert not PERSONAL & set(read.subject)
    assert b"192.0.2.7" not in content
    assert b"Example Visitor" not in content


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        (None, None),
        (Band(2.5, math.inf), {"at_least": 2.5, "below": None}),
        (Band(-math.inf, 2.5), {"at_least": None, "below": 2.5}),
    ],
)
def test_friction_is_given_as_far_as_it_is_known(band, expected):
    content = body(task(subject={"friction": band}), World().addresses)
    assert json.loads(content)["subject"]["friction"] == expected
