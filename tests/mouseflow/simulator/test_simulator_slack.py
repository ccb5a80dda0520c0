"""The pretend Slack takes and refuses what Slack does."""

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from mouseflow.simulator.scenarios import CHANNELS
from mouseflow.simulator.server import running_simulator


@pytest.fixture
async def sim():
    async with running_simulator(sites=[]) as it:
        yield it


@pytest.fixture
async def slack(sim):
    async with aiohttp.ClientSession() as session:
        yield AsyncWebClient(
            sim.slack.token, base_url=sim.slack_url, session=session, retry_handlers=[]
        )


def section(text):
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


async def refusal(call):
    with pytest.raises(SlackApiError) as caught:
        await call
    return caught.value.response["error"]


async def test_the_token_is_checked(sim, slack):
    assert (await slack.auth_test())["user"] == "mouseflow-bot"
    slack.token = "xoxb-wrong"
    assert await refusal(slack.auth_test()) == "invalid_auth"
    async with aiohttp.ClientSession() as http, http.post(f"{sim.slack_url}auth.test") as answer:
        assert (await answer.json())["error"] == "not_authed"


async def test_a_post_arrives_with_blocks_and_metadata(sim, slack):
    metadata = {"event_type": "match", "event_payload": {"key": "k1"}}
    answer = await slack.chat_postMessage(
        channel="#ops", text="hello", blocks=[section("*hi*")], metadata=metadata
    )
    (message,) = sim.slack.messages
    assert (message.channel, message.text, message.blocks) == ("ops", "hello", [section("*hi*")])
    assert message.metadata == metadata
    assert answer["ts"] == message.ts
    assert answer["channel"] == message.channel_id


async def test_history_shows_metadata_only_when_asked(sim, slack):
    metadata = {"event_type": "match", "event_payload": {"key": "k1"}}
    channel = (await slack.chat_postMessage(channel="ops", text="x", metadata=metadata))["channel"]
    with_it = await slack.conversations_history(channel=channel, include_all_metadata=True)
    assert with_it["messages"][0]["metadata"] == metadata
    without = await slack.conversations_history(channel=channel)
    assert "metadata" not in without["messages"][0]


async def test_history_is_newest_first_and_in_pages(sim, slack):
    stamps = [(await slack.chat_postMessage(channel="ops", text=f"{n}"))["ts"] for n in range(5)]
    assert stamps == sorted(set(stamps))
    channel = sim.slack.channel("ops").id
    texts, cursor = [], ""
    while True:
        page = await slack.conversations_history(channel=channel, limit=2, cursor=cursor)
        texts += [message["text"] for message in page["messages"]]
        cursor = page["response_metadata"]["next_cursor"]
        if not page["has_more"]:
            break
    assert texts == ["4", "3", "2", "1", "0"]
    late = await slack.conversations_history(channel=channel, oldest=stamps[2])
    assert [message["text"] for message in late["messages"]] == ["4", "3"]
    late = await slack.conversations_history(channel=channel, oldest=stamps[2], inclusive=True)
    assert [message["text"] for message in late["messages"]] == ["4", "3", "2"]
    early = await slack.conversations_history(channel=channel, latest=stamps[1])
    assert [message["text"] for message in early["messages"]] == ["0"]


async def test_history_wants_an_id_and_a_scope(sim, slack):
    assert await refusal(slack.conversations_history(channel="ops")) == "channel_not_found"
    sim.slack.scopes = frozenset({"chat:write"})
    with pytest.raises(SlackApiError) as caught:
        await slack.conversations_history(channel=sim.slack.channel("ops").id)
    assert caught.value.response["error"] == "missing_scope"
    assert caught.value.response["needed"] == "channels:history"
    assert caught.value.response["provided"] == "chat:write"


async def test_a_channel_must_be_there_open_and_joined(sim, slack):
    assert await refusal(slack.chat_postMessage(channel="#none", text="x")) == "channel_not_found"
    ops = sim.slack.channel("ops")
    ops.archived = True
    assert await refusal(slack.chat_postMessage(channel="#ops", text="x")) == "is_archived"
    ops.archived, ops.member = False, False
    await slack.chat_postMessage(channel="#ops", text="x")  # chat:write.public
    sim.slack.scopes -= {"chat:write.public"}
    assert await refusal(slack.chat_postMessage(channel="#ops", text="x")) == "not_in_channel"
    assert await refusal(slack.conversations_history(channel=ops.id)) == "not_in_channel"
    ops.private = True
    assert await refusal(slack.chat_postMessage(channel="#ops", text="x")) == "channel_not_found"
    sim.slack.scopes = frozenset()
    assert await refusal(slack.chat_postMessage(channel="#ops", text="x")) == "missing_scope"


def button(text="Open", **more):
    return {"type": "actions", "elements": [
        {"type": "button", "text": {"type": "plain_text", "text": text}, **more}]}  # fmt: skip


GOOD = [
    [section("x" * 3000)],
    [section("x")] * 50,
    [{"type": "header", "text": {"type": "plain_text", "text": "h" * 150}}, {"type": "divider"}],
    [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}]}],
    [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2000}] * 10}],
    [button(url="https://app.mouseflow.com/", value="v" * 2000)],
]
BAD = [
    "text",
    ["text"],
    [section("x" * 3001)],
    [section("")],
    [section("x")] * 51,
    [{"type": "section"}],
    [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}],
    [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}],
    [{"type": "header", "text": {"type": "plain_text", "text": "h" * 151}}],
    [{"type": "header", "text": {"type": "mrkdwn", "text": "h"}}],
    [{"type": "context", "elements": []}],
    [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}],
    [{"type": "nonsense"}],
    [button("b" * 76)],
    [button(url="https://e.example/" + "x" * 3000)],
    [button(value="v" * 2001)],
    [{**section("x"), "block_id": "same"}, {**section("y"), "block_id": "same"}],
]


@pytest.mark.parametrize("blocks", GOOD)
async def test_blocks_within_slacks_limits_are_taken(sim, slack, blocks):
    assert (await slack.chat_postMessage(channel="ops", text="x", blocks=blocks))["ok"]


@pytest.mark.parametrize("blocks", BAD)
async def test_blocks_beyond_slacks_limits_are_refused(sim, slack, blocks):
    call = slack.api_call("chat.postMessage", json={"channel": "ops", "blocks": blocks})
    assert await refusal(call) == "invalid_blocks"
    assert sim.slack.messages == []


@pytest.mark.parametrize(
    ("message", "error"),
    [({}, "no_text"), ({"text": ""}, "no_text"), ({"text": "x" * 40_001}, "msg_too_long"),
     ({"text": "x", "metadata": {"event_type": "e"}}, "invalid_metadata_format"),
     ({"text": "x", "metadata": {"event_type": "e", "event_payload": {"k": "v" * 16_000}}},
      "metadata_too_large")],
)  # fmt: skip
async def test_a_message_must_make_sense(sim, slack, message, error):
    call = slack.api_call("chat.postMessage", json={"channel": "ops", **message})
    assert await refusal(call) == error


async def test_form_bodies_are_read_like_json_ones(sim, slack):
    await slack.api_call(
        "chat.postMessage",
        data={"channel": "ops", "text": "ä&b", "blocks": '[{"type": "divider"}]'},
    )
    (message,) = sim.slack.messages
    assert (message.text, message.blocks) == ("ä&b", [{"type": "divider"}])


async def test_a_message_can_be_changed(sim, slack):
    posted = await slack.chat_postMessage(channel="ops", text="one")
    await slack.chat_update(channel=posted["channel"], ts=posted["ts"], text="two")
    (message,) = sim.slack.messages
    assert (message.text, message.edits) == ("two", 1)
    call = slack.chat_update(channel=posted["channel"], ts="1.000000", text="x")
    assert await refusal(call) == "message_not_found"


async def test_channels_are_listed_in_pages_and_described(sim, slack):
    names, cursor = [], ""
    while True:
        page = await slack.conversations_list(limit=2, cursor=cursor)
        names += [channel["name"] for channel in page["channels"]]
        cursor = page["response_metadata"]["next_cursor"]
        if not cursor:
            break
    assert names == list(CHANNELS)
    info = await slack.conversations_info(channel=sim.slack.channel("ux").id)
    assert info["channel"]["name"] == "ux"
    assert await refusal(slack.conversations_info(channel="C1")) == "channel_not_found"
    sim.slack.scopes = frozenset({"chat:write"})
    assert await refusal(slack.conversations_list()) == "missing_scope"


async def test_an_unknown_method_is_said(slack):
    assert await refusal(slack.api_call("chat.sing")) == "unknown_method"


async def test_an_incoming_webhook_posts_to_its_channel(sim):
    async with aiohttp.ClientSession() as http:

        async def post(body, url=sim.webhook_url):
            async with http.post(url, data=body) as answer:
                return answer.status, await answer.text()

        assert await post('{"text": "hi"}') == (200, "ok")
        assert [(m.channel, m.text, m.via) for m in sim.slack.messages] == [
            ("mouseflow", "hi", "webhook")
        ]
        assert await post("{}") == (400, "no_text")
        assert await post("{") == (400, "invalid_payload")
        assert await post("[]") == (400, "invalid_payload")
        assert await post('{"blocks": [{"type": "x"}]}') == (400, "invalid_blocks")
        assert await post('{"text": "hi"}', sim.webhook_url + "x") == (404, "no_service")
        sim.slack.channel("mouseflow").archived = True
        assert await post('{"text": "hi"}') == (410, "channel_is_archived")
        sim.slack.webhook_channel = "none"
        assert await post('{"text": "hi"}') == (404, "channel_not_found")


async def test_a_busy_slack_says_when_to_come_back(sim, slack):
    sim.fail("status", side="slack", status=429, retry_after=30, path="chat.postMessage")
    with pytest.raises(SlackApiError) as caught:
        await slack.chat_postMessage(channel="ops", text="x")
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["retry-after"] == "30"
    assert caught.value.response["error"] == "ratelimited"
    await slack.chat_postMessage(channel="ops", text="x")
    assert len(sim.slack.messages) == 1


async def test_a_channel_takes_so_many_messages_a_second(sim, slack):
    sim.slack.rate, sim.slack.burst = 0.01, 2
    for _ in range(2):
        await slack.chat_postMessage(channel="#ops", text="x")
    with pytest.raises(SlackApiError) as caught:
        await slack.chat_postMessage(channel="#ops", text="x")
    assert caught.value.response.status_code == 429
    assert 90 <= int(caught.value.response.headers["retry-after"]) <= 100
    await slack.chat_postMessage(channel="#ux", text="x")
    assert len(sim.slack.messages) == 3


async def test_one_channel_can_be_busy_alone(sim, slack):
    sim.fail("status", side="slack", status=429, body='"#ux"', times=5)
    await slack.chat_postMessage(channel="#ops", text="x")
    with pytest.raises(SlackApiError):
        await slack.chat_postMessage(channel="#ux", text="x")


async def test_a_post_may_be_taken_and_the_connection_dropped_before_the_answer(sim, slack):
    sim.fail("close_after", side="slack", path="chat.postMessage", times=2)
    for _ in range(2):
        with pytest.raises(aiohttp.ClientError):
            await slack.chat_postMessage(channel="ops", text="x")
    assert len(sim.slack.messages) == 2
    sim.fail("close", side="slack")
    with pytest.raises(aiohttp.ClientError):
        await slack.chat_postMessage(channel="ops", text="x")
    assert len(sim.slack.messages) == 2
