"""The bot's own messages: what they say, and what they keep to themselves."""

import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from bot.domain.subjects import Band
from bot.messages import message as messages
from bot.messages.template_check import SAMPLES
from bot.ports import Addresses

APP = Addresses(share_url="https://share.example/{token}")
TASK = SAMPLES["recordings"]


def test_a_recordings_message_says_what_where_how_bad_who_and_why():
    message = messages.match(TASK, APP)
    head, facts, why, links, foot = message.blocks
    assert head == {
        "type": "header",
        "text": {"type": "plain_text", "text": "A sample", "emoji": True},
    }
    assert [field["text"] for field in facts["fields"]] == [
        "*Website*\nmyshop.com",
        "*Saw*\n/cart → /checkout/pay",
        "*Friction*\n2.5 to 5",
        "*Active*\n1 min 35 s on 2 pages",
        "*Visitor*\nreturning · DE · Phone · Safari 17 · iOS 17.2",
        "*Started*\n2 Mar 2026 12:00 (UTC)",
        "*Tags*\nclick-rage",
    ]
    assert why["text"]["text"] == "*Why*\n• a reason"
    assert [(b["text"]["text"], b["url"]) for b in links["elements"]] == [
        ("Watch the recording", "https://app.mouseflow.com/websites/w1/recordings/r1/play"),
        ("Public link", "https://share.example/T0KEN"),
    ]
    assert foot["elements"][0]["text"] == "Rule sample-rule · 2 Mar 2026 12:00 (UTC)"
    assert message.text.startswith("A sample: website myshop.com, saw /cart → /checkout/pay")


@pytest.mark.parametrize("kind", sorted(SAMPLES.keys() - {"recordings"}))
def test_what_is_no_recording_tells_its_time_in_the_accounts_zone_too(kind):
    account = replace(APP, zone="Europe/Copenhagen")
    *_, foot = messages.match(SAMPLES[kind], account).blocks
    assert foot["elements"][0]["text"].endswith(" · 2 Mar 2026 13:00 (Europe/Copenhagen)")


@pytest.mark.parametrize(
    "personal", ["192.0.2.7", "Example Visitor", "cart-value", "Example Net", "https://myshop.com"]
)
def test_personal_data_is_in_no_built_in_message(personal):
    assert personal not in json.dumps(messages.match(TASK, APP).blocks)


def test_without_a_share_or_a_public_address_there_is_no_public_link():
    for task, addresses in ((TASK, Addresses()), (replace(TASK, results={}), APP)):
        assert "Public link" not in json.dumps(messages.match(task, addresses).blocks)


def test_facts_that_are_unknown_are_left_out_or_a_dash():
    recording = msgspec.structs.replace(
        TASK.subject.recording, page_views=None, entry=None, entry_page=None, tags=(), country=None
    )
    subject = msgspec.structs.replace(TASK.subject, recording=recording, friction=None)
    facts = messages.match(replace(TASK, subject=subject), APP).blocks[1]["fields"]
    labels = [field["text"].split("\n")[0] for field in facts]
    assert labels == ["*Website*", "*Saw*", "*Active*", "*Visitor*", "*Started*"]
    assert facts[1]["text"] == "*Saw*\n–"


def test_a_visit_whose_pages_nobody_asked_for_is_not_said_to_have_seen_one_page_only():
    recording = msgspec.structs.replace(TASK.subject.recording, page_views=None, pages=4)
    subject = msgspec.structs.replace(TASK.subject, recording=recording)
    facts = messages.match(replace(TASK, subject=subject), APP).blocks[1]["fields"]
    assert facts[1]["text"] == "*Entry page*\n/cart"


def test_the_start_is_told_in_the_accounts_zone():
    subject = msgspec.structs.replace(TASK.subject, zone="Europe/Copenhagen")
    facts = messages.match(replace(TASK, subject=subject), APP).blocks[1]["fields"]
    assert facts[5]["text"] == "*Started*\n2 Mar 2026 13:00 (Europe/Copenhagen)"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("feedback", "*New responses*\n3"),
        ("funnels", "*Conversion*\n15 %"),
        ("forms", "*Most drop-offs*\nPhone: 35"),
        ("pages", "*Render time*\n3.5 s"),
        ("websites", "*Budget used*\n82.5 %"),
    ],
)
def test_every_level_has_a_message_of_its_own(kind, said):
    message = messages.match(SAMPLES[kind], APP)
    assert said in [field["text"] for field in message.blocks[1]["fields"]]
    assert "Watch the recording" not in json.dumps(message.blocks)


def test_many_reasons_are_counted():
    task = replace(TASK, why=tuple(f"reason {n}" for n in range(12)))
    assert "• and 4 more reasons" in messages.match(task, APP).blocks[2]["text"]["text"]


def test_a_digest_of_one_match_is_not_many():
    message = messages.digest(
        TASK,
        APP,
        total=1,
        reasons={"outside the rule's working hours": 1},
        since=TASK.matched - timedelta(hours=2),
        worst=[msgspec.structs.replace(TASK.subject, friction=Band(2.5))],
    )
    texts = [block.get("text", {}).get("text") for block in message.blocks]
    assert texts[:3] == [
        "1 more match: A sample",
        "1 outside the rule's working hours",
        "1. *myshop.com/cart* friction 2.5 or more, active 1 min 35 s, pages 2"
        " · <https://app.mouseflow.com/websites/w1/recordings/r1/play|watch>",
    ]
    assert len(texts) == 4


def test_a_notice_of_the_bot_itself_lists_its_lines():
    message = messages.notice("Rules not loaded", [f"line {n}" for n in range(25)])
    assert "and 5 more lines" in message.blocks[1]["text"]["text"]
    assert message.text.startswith("Rules not loaded: line 0; line 1")


def test_a_message_lists_the_actions_that_are_not_done_yet():
    task = replace(TASK, missing=("tag", "star"))
    templated = messages.from_template(task, APP, "own text", linked=True)
    for message in (messages.match(task, APP), templated):
        assert "Not done yet: tag, star" in json.dumps(message.blocks)
    assert "Not done yet" not in json.dumps(messages.match(TASK, APP).blocks)
