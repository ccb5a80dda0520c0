"""Posting to Slack: once, with every refusal explained, and looked up when the answer is lost."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from slack_world import PretendSlack, serving

from bot.delivery.slack import EVENT, SlackPoster, WebhookPoster
from bot.delivery.slack_errors import MOVING, REMEDIES
from bot.errors import GiveUp, OddAnswer, TryLater
from bot.ports import CannotLook, NoChannel, SlackPost
from bot.written import Secret

TOKEN = Secret("xoxb-s3cret")
SINCE = datetime(2026, 3, 2, 12, tzinfo=UTC)
POST = SlackPost(
    channel="#alerts", text="hello", blocks=({"type": "section"},), key="0123456789abcdef"
)


@pytest.fixture
async def slack():
    async with serving(PretendSlack()) as world:
        yield world


@pytest.fixture
async def poster(slack):
    made = SlackPoster(TOKEN, base_url=f"{slack.url}api/", timeout=timedelta(seconds=60))
    yield made
    await made.close()


@pytest.fixture
async def hook(slack):
    made = WebhookPoster(Secret(f"{slack.url}services/T1/B1/s3cret"))
    yield made
    await made.close()


async def test_a_post_carries_its_key_and_unfurls_nothing(slack, poster):
    assert await poster.post(POST) == "1772452800.000100"
    (message,) = slack.messages
    assert message["metadata"] == {
        "event_type": "mouseflow_alert",
        "event_payload": {"key": POST.key},
    }
    assert (message["unfurl_links"], message["unfurl_media"]) == (False, False)
    assert message["blocks"] == [{"type": "section"}]
    assert message["client_msg_id"]


async def test_a_bot_token_needs_a_channel_and_a_webhook_does_not(poster, hook):
    post = SlackPost("", "hello")
    with pytest.raises(GiveUp) as raised:
        await poster.post(post)
    assert "slack.channel" in raised.value.remedy
    assert await hook.post(post) == ""


async def test_twenty_lost_answers_make_twenty_posts_and_each_is_found(slack, poster):
    slack.troubles = ["drop after"] * 20
    for number in range(20):
        post = SlackPost("#alerts", "hello", key=f"key-{number}")
        with pytest.raises(TryLater) as raised:
            await poster.post(post)
        assert raised.value.unknown
        assert await poster.find("#alerts", post.key, SINCE) == slack.messages[number]["ts"]
    assert len(slack.messages) == 20


async def test_what_never_arrived_is_not_found(slack, poster):
    slack.troubles = ["drop before"]
    with pytest.raises(TryLater) as raised:
        await poster.post(POST)
    assert raised.value.unknown
    assert await poster.find("#alerts", POST.key, SINCE) is None


async def test_a_timeout_leaves_the_outcome_unknown(slack):
    hasty = SlackPoster(TOKEN, base_url=f"{slack.url}api/", timeout=timedelta(milliseconds=50))
    slack.troubles = ["hang"]
    with pytest.raises(TryLater, match="did not answer in time") as raised:
        await hasty.post(POST)
    assert raised.value.unknown
    await hasty.close()


async def test_a_slack_that_cannot_be_reached_has_surely_posted_nothing():
    alone = SlackPoster(TOKEN, base_url="http://127.0.0.1:9/api/")
    with pytest.raises(TryLater) as raised:
        await alone.post(POST)
    assert not raised.value.unknown
    await alone.close()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("0", 1), ("999999", 3600), ("soon", 30), (None, 30), ("2.5", 2.5)],
)
async def test_a_rate_limit_pauses_the_channel_for_as_long_as_slack_asks(
    slack, poster, header, seconds
):
    headers = {"Retry-After": header} if header else {}
    slack.troubles = [
        web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
    ]
    with pytest.raises(TryLater) as raised:
        await poster.post(POST)
    error = raised.value
    assert (error.after, error.lane, error.unknown) == (timedelta(seconds=seconds), True, False)
    assert slack.messages == []


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "text": "oops"},
        {"status": 503, "text": "<html>", "content_type": "text/html"},
        {"status": 200, "text": "<html>", "content_type": "text/html"},
        {"status": 200, "text": '{"ok": tr', "content_type": "application/json"},
        {"status": 200, "text": "plain"},
    ],
)
async def test_an_answer_that_is_not_slacks_leaves_the_outcome_unknown(slack, poster, answer):
    slack.troubles = [web.Response(**answer)]
    with pytest.raises(TryLater) as raised:
        await poster.post(POST)
    assert raised.value.unknown


@pytest.mark.parametrize("code", ["duplicate_message_not_found", "internal_error", "fatal_error"])
async def test_a_refusal_that_may_hide_a_post_leaves_the_outcome_unknown(slack, poster, code):
    slack.refuses["chat.postMessage"] = {"error": code}
    with pytest.raises(TryLater) as raised:
        await poster.post(POST)
    assert raised.value.unknown


@pytest.mark.parametrize("code", [*REMEDIES, "something_new"])
async def test_a_refusal_is_given_up_with_what_to_do(slack, poster, code):
    slack.refuses["chat.postMessage"] = {"error": code}
    with pytest.raises(GiveUp, match=code) as raised:
        await poster.post(POST)
    assert raised.value.remedy


async def test_a_missing_scope_is_named(slack, poster):
    slack.refuses["chat.postMessage"] = {"error": "missing_scope", "needed": "chat:write.public"}
    with pytest.raises(GiveUp) as raised:
        await poster.post(POST)
    assert "chat:write.public" in raised.value.remedy


async def test_the_invitation_is_the_remedy_for_a_channel_that_the_bot_is_not_in(slack, poster):
    slack.refuses["chat.postMessage"] = {"error": "not_in_channel"}
    with pytest.raises(GiveUp) as raised:
        await poster.post(POST)
    assert "/invite" in raised.value.remedy


async def test_a_message_is_found_on_a_later_page_of_the_history(slack, poster):
    for number in range(7):
        await poster.post(SlackPost("#alerts", "hello", key=f"key-{number}"))
    assert await poster.find("#alerts", "key-0", SINCE) == slack.messages[0]["ts"]
    asked = [query for method, query in slack.asked if method == "conversations.history"]
    assert len(asked) == 4
    assert all(query["include_all_metadata"] == "true" for query in asked)


async def test_a_post_by_a_clock_that_was_up_to_an_hour_ahead_is_found(slack, poster):
    await poster.post(POST)
    assert await poster.find("#alerts", POST.key, SINCE + timedelta(minutes=59)) is not None
    assert await poster.find("#alerts", POST.key, SINCE + timedelta(minutes=61)) is None


async def test_a_clock_of_slack_that_is_behind_hides_no_post(slack):
    slack.behind = timedelta(minutes=30)
    slack.troubles = ["drop after"]
    fresh = SlackPoster(TOKEN, base_url=f"{slack.url}api/")
    with pytest.raises(TryLater):
        await fresh.post(POST)
    assert await fresh.find("C0123ABCD", POST.key, SINCE) == slack.messages[0]["ts"]
    await fresh.close()


async def test_a_message_that_shows_no_key_is_no_proof_of_absence(slack, poster):
    slack.shows_metadata = False
    await poster.post(POST)
    for _ in range(2):
        with pytest.raises(CannotLook, match="does not show the metadata"):
            await poster.find("#alerts", POST.key, SINCE)
        with pytest.raises(CannotLook, match="does not show the metadata"):
            await poster.check_channel("#alerts")
    assert [method for method, _ in slack.asked].count("auth.test") == 1


async def test_a_message_of_another_bot_needs_no_key(slack, poster):
    slack.shows_metadata = False
    await poster.post(POST)
    slack.messages[0]["bot_id"] = "B2"
    assert await poster.find("#alerts", POST.key, SINCE) is None
    await poster.check_channel("#alerts")


async def test_a_key_that_shows_proves_that_others_would(slack, poster):
    await poster.post(POST)
    assert await poster.find("#alerts", "another", SINCE) is None
    assert "auth.test" not in [method for method, _ in slack.asked]


async def test_a_slow_history_is_read_on_where_the_last_call_stopped(slack, poster):
    for number in range(9):
        await poster.post(SlackPost("#alerts", "hello", key=f"key-{number}"))
    slack.busy = 3
    for _ in range(3):
        with pytest.raises(TryLater):
            await poster.find("#alerts", "key-0", SINCE)
    found = await poster.find("#alerts", "key-0", SINCE)
    assert found == slack.messages[0]["ts"]
    cursors = [q.get("cursor") for m, q in slack.asked if m == "conversations.history"]
    assert cursors.count(None) == 1


async def test_a_history_that_is_cut_off_is_no_proof_of_absence(slack, poster):
    slack.odd["conversations.history"] = '{"ok": true, "messages": [], "has_more": true}'
    with pytest.raises(CannotLook, match="cut off"):
        await poster.find("#alerts", POST.key, SINCE)


async def test_a_channel_is_resolved_from_a_post_without_asking_for_the_list(slack, poster):
    await poster.post(POST)
    await poster.find("#alerts", POST.key, SINCE)
    assert "conversations.list" not in [method for method, _ in slack.asked]


async def test_after_a_restart_the_channel_is_looked_up_in_the_list_once(slack, poster):
    await poster.find("#alerts", POST.key, SINCE)
    await poster.find("#alerts", POST.key, SINCE)
    methods = [method for method, _ in slack.asked]
    assert methods.count("conversations.list") == 2  # two pages, one time
    assert methods.count("conversations.history") == 2


async def test_without_the_scope_for_private_channels_the_public_ones_are_still_found(
    slack, poster
):
    slack.public_only = True
    await poster.post(POST)
    fresh = SlackPoster(TOKEN, base_url=f"{slack.url}api/")
    assert await fresh.find("#alerts", POST.key, SINCE) == slack.messages[0]["ts"]
    await fresh.close()


@pytest.mark.parametrize("method", ["conversations.history", "conversations.list"])
@pytest.mark.parametrize("code", ["missing_scope", "not_in_channel"])
async def test_without_the_scope_to_look_it_says_that_it_cannot(slack, poster, method, code):
    slack.refuses[method] = {"error": code}
    with pytest.raises(CannotLook):
        await poster.find("#alerts", POST.key, SINCE)


async def test_a_scope_that_is_missing_is_named(slack, poster):
    slack.refuses["conversations.history"] = {"error": "missing_scope", "needed": "groups:history"}
    with pytest.raises(CannotLook, match="lacks the scope groups:history"):
        await poster.find("#alerts", POST.key, SINCE)


async def test_a_channel_that_is_not_there_is_told_as_that_with_the_nearest(slack, poster):
    with pytest.raises(NoChannel, match=r"no channel #alrets, .*; did you mean #alerts\?"):
        await poster.find("#alrets", POST.key, SINCE)
    with pytest.raises(NoChannel, match="no channel C0MISSING"):
        await poster.find("C0MISSING", POST.key, SINCE)
    slack.refuses["chat.postMessage"] = {"error": "channel_not_found"}
    with pytest.raises(GiveUp, match="there is no such channel, or it is private"):
        await poster.post(POST)


async def test_a_private_channel_that_may_not_be_listed_may_be_there(slack, poster):
    slack.public_only = True
    with pytest.raises(CannotLook, match="needs the scope groups:read") as raised:
        await poster.find("#secret", POST.key, SINCE)
    assert not isinstance(raised.value, NoChannel)


async def test_a_channel_that_nobody_can_see_cannot_be_looked_at(poster):
    with pytest.raises(CannotLook, match="#nowhere"):
        await poster.find("#nowhere", POST.key, SINCE)


async def test_no_log_line_error_or_repr_has_the_token_or_the_message(slack, poster, caplog):
    caplog.set_level(logging.CRITICAL, "aiohttp.access")  # the pretend server's own
    caplog.set_level(logging.DEBUG)  # last, since it is the level of what is kept, too
    slack.refuses["chat.postMessage"] = {"error": "invalid_auth"}
    with pytest.raises(GiveUp) as raised:
        await poster.post(POST)
    shown = f"{caplog.text} {raised.value} {poster!r} {vars(poster)!r}"
    assert "s3cret" not in shown
    assert "hello" not in caplog.text


async def test_a_webhook_posts_and_says_that_it_cannot_look(slack, hook):
    assert await hook.post(POST) == ""
    assert slack.asked[0][1]["text"] == "hello"
    with pytest.raises(CannotLook):
        await hook.find("#alerts", POST.key, SINCE)


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (429, "rate_limited", TryLater),
        (500, "rollup_error", TryLater),
        (404, "no_service", GiveUp),
        (403, "invalid_token", GiveUp),
        (410, "channel_is_archived", GiveUp),
        (400, "<html>a page</html>", GiveUp),
    ],
)
async def test_a_webhooks_refusals_are_told_apart(slack, hook, caplog, status, text, error):
    caplog.set_level(logging.CRITICAL, "aiohttp.access")  # the pretend server's own
    caplog.set_level(logging.DEBUG)  # last, since it is the level of what is kept, too
    slack.troubles = [web.Response(status=status, text=text)]
    with pytest.raises(error) as raised:
        await hook.post(POST)
    assert "s3cret" not in f"{raised.value} {caplog.text} {hook!r} {vars(hook)!r}"
    assert "<html>" not in str(raised.value)


async def test_a_webhooks_lost_answer_leaves_the_outcome_unknown(slack, hook):
    slack.troubles = ["drop after"]
    with pytest.raises(TryLater) as raised:
        await hook.post(POST)
    assert raised.value.unknown
    assert "s3cret" not in str(raised.value)


# Only Slack's own answer is a success.

PAGE = "<!doctype html><title>Sign in to the network</title>"


@pytest.mark.parametrize("text", [PAGE, "", "invalid_token", "OK", "okay", '{"ok": true}'])
async def test_a_webhook_has_posted_only_if_the_answer_is_ok(slack, hook, text):
    slack.troubles = [web.Response(text=text)]
    with pytest.raises(OddAnswer) as raised:
        await hook.post(POST)
    assert raised.value.unknown
    assert await hook.post(POST) == ""


@pytest.mark.parametrize(
    "answer",
    ["[1]", '"ok"', "{}", '{"ok": "true"}', '{"ok": true}', '{"ok": true, "ts": 5}', "\xff" * 9],
)
async def test_an_answer_of_another_shape_leaves_the_outcome_unknown(slack, poster, answer):
    slack.troubles = [web.Response(text=answer, content_type="application/json")]
    with pytest.raises(OddAnswer) as raised:
        await poster.post(POST)
    assert raised.value.unknown


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(slack, poster, hook, status):
    for made in (poster, hook):
        slack.troubles = [web.Response(status=status, headers={"Location": f"{slack.url}spy"})]
        with pytest.raises(OddAnswer, match="follows no redirects") as raised:
            await made.post(POST)
        assert raised.value.unknown
    assert [path for path, _ in slack.asked if path == "spy"] == []


async def test_of_a_large_answer_only_the_start_is_read(slack, poster, hook):
    for made, path in ((poster, "flood"), (hook, "flood")):
        slack.troubles = [path]
        with pytest.raises(TryLater) as raised:
            await made.post(POST)
        assert raised.value.unknown
    assert slack.flooded < 64 * 1024 * 1024


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/gzip"])
async def test_the_body_tells_what_slack_says_and_not_the_content_type(slack, poster, kind):
    said = [
        b"\x1f\x8b\x08",
        b'{"ok": false, "error": "invalid_auth"}',
        b'{"ok": true, "ts": "1.2"}',
    ]
    slack.troubles = [web.Response(body=body, content_type=kind) for body in said]
    with pytest.raises(OddAnswer):
        await poster.post(POST)
    with pytest.raises(GiveUp, match="invalid_auth"):
        await poster.post(POST)
    assert await poster.post(POST) == "1.2"


async def test_of_the_history_a_megabyte_is_read(slack, poster):
    await poster.post(POST)
    for size in (900, 200):
        assert await poster.find("#alerts", POST.key, SINCE) is not None
        await poster.post(SlackPost("#alerts", "x" * 1024 * size))
    with pytest.raises(OddAnswer):
        await poster.find("#alerts", POST.key, SINCE)


# One attempt, by the way that the bot chose.


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_one_post_is_one_request(slack, poster, hook, status):
    for made in (poster, hook):
        slack.asked.clear()
        slack.troubles = [web.Response(status=status)]
        with pytest.raises(TryLater):
            await made.post(POST)
        assert len(slack.asked) == 1


async def test_a_proxy_in_the_environment_is_not_used_on_this_machine(slack, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    poster = SlackPoster(TOKEN, base_url=f"{slack.url}api/")
    hook = WebhookPoster(Secret(f"{slack.url}services/T1/B1/s3cret"))
    for made in (poster, hook):
        await made.post(POST)
        await made.close()


# Refusals that pass by themselves.


@pytest.mark.parametrize("code", sorted(MOVING))
async def test_a_workspace_that_is_being_moved_is_waited_for(slack, poster, code):
    slack.refuses["chat.postMessage"] = {"error": code}
    with pytest.raises(TryLater, match=code) as raised:
        await poster.post(POST)
    assert (raised.value.unknown, raised.value.lane) == (False, True)
    slack.refuses.clear()
    assert await poster.post(POST)


# Odd answers to a look-up.

ODD = [
    ("conversations.list", '{"ok": true, "channels": ["x"]}'),
    ("conversations.list", '{"ok": true}'),
    ("conversations.list", "[1]"),
    ("conversations.history", '{"ok": true, "messages": ["x"]}'),
    ("conversations.history", '{"ok": true, "messages": 5}'),
    ("conversations.history", '{"ok": true, "messages": [], "response_metadata": "x"}'),
    (
        "conversations.history",
        '{"ok": true, "messages": [], "response_metadata": {"next_cursor": 7}}',
    ),
    ("conversations.history", "[1]"),
    ("conversations.history", PAGE),
]


@pytest.mark.parametrize(("method", "answer"), ODD)
async def test_a_look_up_with_an_odd_answer_proves_nothing(slack, poster, method, answer):
    slack.odd[method] = answer
    with pytest.raises(OddAnswer):
        await poster.find("#alerts", POST.key, SINCE)


async def test_odd_metadata_is_nobodys_key(slack, poster):
    stamp = f"{SINCE.timestamp() + 9:.6f}"
    for metadata in ("x", 5, [], {"event_type": EVENT}, {"event_type": EVENT, "event_payload": 5}):
        slack.messages.append({"ts": stamp, "metadata": metadata})
    assert await poster.find("#alerts", POST.key, SINCE) is None


# What Slack answers is foreign text.


async def test_only_a_short_word_is_an_error_code(slack, poster):
    for code in ("Authorization: Bearer xoxb-s3cret", "x" * 61, "a b", 5, None, ["x"]):
        slack.troubles = [web.json_response({"ok": False, "error": code}, status=400)]
        with pytest.raises(GiveUp) as raised:
            await poster.post(POST)
        assert raised.value.reason == "Slack rejected the request: 400"
    slack.refuses["chat.postMessage"] = {"error": "missing_scope", "needed": "xoxb-s3cret\n" * 99}
    with pytest.raises(GiveUp) as raised:
        await poster.post(POST)
    assert "s3cret" not in str(raised.value)
