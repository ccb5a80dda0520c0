"""The webhook's body and headers: versioned, signed, without personal data or secrets."""

import json
import math

import msgspec
import pytest
from action_world import World, again, reread, task

from bot.actions.webhook import Body, Webhook, body
from bot.domain.subjects import Band
from bot.errors import GiveUp
from bot.fields.catalogue import KINDS, text_fields

HOOK = Webhook(url="https://example.com/in/t0ken?x=1", secret="correct horse")


async def called(action=HOOK, made=None):
    world = World()
    done = await reread(action).as_in_rule([action]).perform(made or task(), world.ports)
    (call,) = world.webhook.calls
    return done, *call


async def test_a_repeated_call_has_the_same_key_and_body():
    _, _, first, headers, _ = await called()
    _, _, second, later, _ = await called(made=again(task()))
    assert first == second
    assert headers["Idempotency-Key"] == later["Idempotency-Key"]


async def test_a_key_with_a_page_of_a_visitor_is_fit_for_a_header():
    made = task("pages", key="rule/w1//a\r\nX: y/ü")
    _, _, _, headers, _ = await called(made=made)
    assert headers["Idempotency-Key"] == "rule/w1//a%0D%0AX:%20y/%C3%BC"


@pytest.mark.parametrize("secret", [None, "correct horse", "env:HOOK_SECRET"])
async def test_signing_is_left_to_the_port(secret):
    _, url, _, headers, signs_with = await called(Webhook(url=HOOK.url, secret=secret))
    assert (url, signs_with) == (HOOK.url, secret)
    assert headers.keys() == {"Content-Type", "Idempotency-Key", "Mouseflow-Bot-Timestamp"}


def test_a_secret_that_the_rule_spells_out_is_not_stored():
    assert "correct horse" not in HOOK.stored()
    assert "env:HOOK_SECRET" in Webhook(url=HOOK.url, secret="env:HOOK_SECRET").stored()


def test_the_url_is_not_stored_and_found_again_in_the_rule():
    stored = HOOK.stored()
    assert "t0ken" not in stored
    assert "https://example.com/ " in stored
    assert reread(HOOK).stored() == stored
    others = [Webhook(url=f"{HOOK.url}{n}", secret="correct horse") for n in range(3)]
    assert reread(HOOK).as_in_rule([*others, HOOK]).url == HOOK.url


def test_a_url_that_only_a_broken_rule_file_has_is_asked_for():
    kept = Webhook(url="https://example.com/URL_NOT_IN_THE_STORE")
    with pytest.raises(GiveUp, match="in a rule file with errors"):
        reread(kept).as_in_rule([kept])


def test_a_secret_that_is_no_longer_in_the_rule_is_asked_for():
    other = Webhook(url="https://example.com/other", secret="battery staple")
    with pytest.raises(GiveUp, match="no longer in its rule") as refused:
        reread(HOOK).as_in_rule([other])
    assert "put it back into the rule" in refused.value.remedy


def test_a_rotated_secret_signs_what_waited():
    rotated = Webhook(url=HOOK.url, secret="battery staple")
    assert reread(HOOK).as_in_rule([rotated]).secret == "battery staple"


async def test_neither_address_nor_secret_is_in_what_people_see():
    done, *_ = await called()
    shown = f"{done.note} {HOOK!r} {HOOK.lane(task().subject, '')}"
    assert "t0ken" not in shown
    assert "correct horse" not in shown


@pytest.mark.parametrize("kind", KINDS)
def test_every_body_is_of_the_documented_shape_and_has_no_personal_data(kind):
    content = body(task(kind), World().addresses)
    read = msgspec.json.decode(content, type=Body)
    assert (read.version, read.kind) == (1, kind)
    personal = {name for name, field in text_fields(kind).items() if field.personal}
    assert not personal & set(read.subject)
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


def test_each_url_has_a_lane_of_its_own_that_does_not_name_it():
    lanes = {
        action.lane(task().subject, "")
        for action in (
            HOOK,
            Webhook(url="https://example.com/in/another"),
            Webhook(url=HOOK.url, secret="env:HOOK_SECRET"),
        )
    }
    assert len(lanes) == 3
    assert all(lane.startswith("webhook:example.com ") for lane in lanes)
    assert HOOK.lane(task().subject, "") == Webhook(url=HOOK.url).lane(task().subject, "")
    assert "t0ken" not in "".join(lanes)
