"""A dry run tells every call that changes something in words, and shows no secret."""

import pytest

from bot.delivery.dry_run import DryRunLog, DryWebhook, in_words
from mouseflow import feedback, heatmaps, recordings, websites
from mouseflow.request import Request

NAMES = {"w1": "myshop.com"}
SAID = [
    (recordings.tag("w1", "r1", "friction"), "tag r1 on myshop.com with friction"),
    (recordings.untag("w1", "r1", "old news"), "take the tag old news off r1 on myshop.com"),
    (recordings.star("w1", "r1"), "star r1 on myshop.com"),
    (recordings.unstar("w1", "r1"), "take the star off r1 on myshop.com"),
    (recordings.watch("w1", "r1"), "mark r1 on myshop.com as watched"),
    (recordings.unwatch("w1", "r1"), "mark r1 on myshop.com as not watched"),
    (recordings.edit_variables("w1", "r1", {"a": "x", "n": 1}), "set a, n of r1 on myshop.com"),
    (recordings.share("w1", "r1"), "share r1 on myshop.com"),
    (recordings.unshare("w1", "r1"), "end the share of r1 on myshop.com"),
    (recordings.delete("w1", "r1"), "delete r1 on myshop.com, for good"),
    (heatmaps.share("w1", "/a"), "share the heatmap of /a on myshop.com"),
    (heatmaps.unshare("w1", "/a"), "end the share of the heatmap of /a on myshop.com"),
    (websites.set_recording_status("w1", "Stopped"),
     "set recordingStatus of myshop.com to Stopped"),
    (websites.update("w1", recording_rate=25), "set recordingRate of myshop.com to 25"),
    (feedback.update("w1", "c1", {"enabled": False}), "switch campaign c1 on myshop.com off"),
    (recordings.tag("w9", "a/b", "x"), "tag a/b on w9 with x"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "words"), SAID)
def test_a_call_is_told_in_words(request_: Request[object], words: str) -> None:
    assert in_words(request_, NAMES) == words


def test_a_call_without_words_is_told_as_it_would_go_out() -> None:
    assert in_words(feedback.delete("w1", "c1"), NAMES) == "send DELETE /websites/w1/feedback/c1"


async def test_of_a_webhook_only_its_host_is_shown() -> None:
    dry_run_log = DryRunLog()
    url = "https://user:pw@hooks.example.com:8443/services/T0/secret?key=secret"
    await DryWebhook(dry_run_log).call(url, b"", {}, None)
    assert dry_run_log.hooks == ["https://hooks.example.com"]
