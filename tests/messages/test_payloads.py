"""One message of each main kind as it is posted, kept as files and within Slack's limits."""

import json
import re
from collections import Counter

from real_payloads import FILES, payloads
from slack_sdk.models.blocks import Block

KEPT = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES.iterdir()}

EDIT = re.compile(r"^after-(?!quiet)|-acknowledged$|-resolved$")


async def test_each_kind_of_message_is_posted_as_kept():
    # `python tests/messages/real_payloads.py` writes them; read the diff.
    assert await payloads() == KEPT


def test_each_kind_keeps_slacks_limits_and_the_designs():
    for name, body in KEPT.items():
        assert 0 < len(body["text"]) <= 150, name
        if name != "recording-own-text":  # what the author wrote, as it is
            assert not re.search(r"[<>*]|https?:", body["text"]), name
        assert len(body["blocks"]) <= 50, name
        for block in Block.parse_all(body["blocks"]):
            block.validate_json()
        ids = Counter(
            element["action_id"]
            for block in body["blocks"]
            if block["type"] == "actions"
            for element in block["elements"]
        )
        assert set(ids.values()) <= {1}, name
        assert len(ids) <= 3 + ("open_1" in ids), name  # the public link of a share
        for text in _texts(body["blocks"]):
            assert text["verbatim"], name
            # An edit notifies nobody, so only there people are named by a mention.
            mention = r"<!(?!date)" if EDIT.search(name) else r"<[!@](?!date)"
            assert not re.search(mention, text["text"]), name


NO_GREY_LINE = {"ops-outage", "ops-key-rejected", "ops-store-over"}
"""Their headline says since when, and no rule is concerned."""


def test_each_kind_has_the_parts_of_the_design_in_their_order():
    """Headline and why; visit, items or other rules; people; buttons; one grey line."""
    order = re.compile("(section )(context )?(section ){0,2}(context )?(actions )?(context )?")
    for name, body in KEPT.items():
        if name.startswith("only-you"):
            continue
        kinds = "".join(f"{block['type']} " for block in body["blocks"])
        assert order.fullmatch(kinds), name
        head, _, why = body["blocks"][0]["text"]["text"].partition("\n")
        plain = re.sub(r"<[^|>]*\|?([^>]*)>", r"\1", head)
        assert name == "recording-own-text" or plain[:2].strip() in "🔵🔶🛑✅📊", name
        assert len(plain) <= 235, name  # the icon, 150 of headline, 80 of website
        assert why.count("\n") <= 6, name
        is_answer = name.endswith(("-answer", "-reminder", "-over"))
        if not (is_answer or name in NO_GREY_LINE):
            assert kinds.endswith("context "), name
            assert kinds.rpartition("actions")[2].count("context") <= 1, name


def _texts(blocks):
    for block in blocks:
        if block["type"] == "section":
            yield block["text"]
        if block["type"] == "context":
            yield from block["elements"]
