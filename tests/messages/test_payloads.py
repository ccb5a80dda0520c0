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


def _texts(blocks):
    for block in blocks:
        if block["type"] == "section":
            yield block["text"]
        if block["type"] == "context":
            yield from block["elements"]
