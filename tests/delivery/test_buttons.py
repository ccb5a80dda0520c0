"""Presses come over a real connection: confirmed, done once, also across a restart."""

import asyncio
import threading
from datetime import timedelta

import pytest
from posting_world import NOW, Bot, posting, visit
from structlog.testing import capture_logs

from bot.delivery import buttons
from bot.delivery.buttons import pressed
from bot.delivery.slack import AppClient
from bot.domain.press import Press
from bot.store.presses import receive, waiting
from bot.store.statements import execute
from bot.written import Secret

RULE = """
friction:
  summary: Frustrated visitor
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {}}
"""


@pytest.fixture
async def bot():
    async with posting(RULE, buttons=True) as world:
        world.match(visit("r1", "/CART", friction=5))
        await world.deliver()
        yield Bot(world)


async def test_a_press_is_confirmed_done_and_shown(bot):
    async with bot.connected():
        await bot.is_connected()
        envelope = bot.socket.press(bot.post, "Snooze rule for 1 h")
        await bot.until(lambda: bot.socket.confirmed)
        assert bot.socket.confirmed == [envelope["envelope_id"]]
        await bot.woken.wait()
        await bot.world.deliver()
    assert bot.snoozed() is not None
    assert "<@U1> snoozed rule friction" in str(bot.post.blocks)
    assert bot.sim.slack.whispers == []


async def test_an_envelope_that_comes_twice_also_after_a_restart_is_done_once(bot):
    async with bot.connected():
        await bot.is_connected()
        envelope = bot.socket.press(bot.post, "Not useful")
        bot.socket.send(envelope)
        await bot.until(lambda: len(bot.socket.confirmed) == 2)
        await bot.until(bot.audited)
    async with bot.connected():
        await bot.is_connected()
        bot.socket.send(envelope)
        await bot.until(lambda: len(bot.socket.confirmed) == 3)
    assert bot.audited() == ["kim pressed Not useful: done"]


async def test_a_press_that_was_kept_is_done_after_a_restart(bot):
    async with bot.connected():
        await bot.is_connected()
        bot.sim.fail("status", side="slack", status=503, path="conversations.members", times=50)
        bot.socket.press(bot.post, "Snooze rule for 1 h")
        await bot.until(lambda: bot.socket.confirmed)
    assert bot.snoozed() is None
    assert len(bot.world.store.do(waiting)) == 1
    bot.sim.faults.clear()
    async with bot.connected():
        await bot.until(bot.snoozed)
    assert bot.world.store.do(waiting) == []


async def test_a_press_that_a_bug_prevents_does_not_hold_up_the_others(bot):
    store, channel = bot.world.store, bot.post.channel_id
    store.do(lambda conn: execute(conn, "UPDATE posts SET shows = ''", {}))
    key = bot.post.metadata["event_payload"]["key"]
    odd = Press(
        id="0", button="frown", post=key, user="U1", name="kim", channel=channel, at=NOW
    )  # fmt: skip
    store.do(lambda conn: receive(conn, odd))
    async with bot.connected():
        await bot.is_connected()
        bot.socket.press(bot.post, "Snooze rule for 1 h")
        await bot.until(bot.snoozed)
        assert bot.socket.opened == 1
    assert store.do(waiting) == []
    assert any("this is a bug in the bot" in said for _, _, said in bot.sim.slack.whispers)


async def test_a_press_that_was_kept_too_late_to_confirm_is_done_all_the_same(bot):
    busy, free = threading.Event(), threading.Event()

    def work(_conn):
        busy.set()
        free.wait(30)

    async with bot.connected():
        await bot.is_connected()
        slow = asyncio.create_task(bot.world.store.run(work))
        await asyncio.to_thread(busy.wait)
        with capture_logs() as logs:
            bot.socket.press(bot.post, "Snooze rule for 1 h")
            async with asyncio.timeout(60):
                while "slack.press_not_kept" not in [it["event"] for it in logs]:
                    await asyncio.to_thread(lambda: None)
        free.set()
        await slow
        await bot.until(bot.snoozed)
    assert bot.socket.confirmed == []


async def test_only_members_of_the_channel_or_those_on_the_list_may_press(bot):
    async with bot.connected():
        await bot.is_connected()
        bot.socket.press(bot.post, "Not useful", user="U7", name="eve")
        await bot.until(lambda: bot.sim.slack.whispers)
    async with bot.connected(users=["U7"]):
        await bot.is_connected()
        bot.socket.press(bot.post, "Star recording", user="U1")
        await bot.until(lambda: len(bot.sim.slack.whispers) == 2)
        bot.socket.press(bot.post, "Mark watched", user="U7", name="eve")
        await bot.until(lambda: len(bot.audited()) == 3)
    assert {user for _, user, _ in bot.sim.slack.whispers} == {"U7", "U1"}
    said = [text for *_, text in bot.sim.slack.whispers]
    assert said[0].startswith("Only people in this channel may press “Not useful”. Ask one of them")
    assert said[1].startswith("Not everybody may press “Star recording”. Ask somebody who runs")
    assert [text.partition(": ")[2][:7] for text in bot.audited()] == [
        "asked f",
        "Not eve",
        "Only pe",
    ]


async def test_where_the_bot_may_not_see_the_members_nobody_may_press(bot):
    bot.sim.slack.scopes -= {"channels:read", "groups:read"}
    async with bot.connected():
        await bot.is_connected()
        bot.socket.press(bot.post, "Not useful")
        await bot.until(lambda: bot.sim.slack.whispers)
    [(_, _, said)] = bot.sim.slack.whispers
    assert "lacks the scope channels:read" in said


async def test_a_link_is_confirmed_and_does_nothing(bot):
    async with bot.connected():
        await bot.is_connected()
        bot.socket.press(bot.post, "Watch recording")
        await bot.until(lambda: bot.socket.confirmed)
    assert bot.audited() == []


async def test_a_new_connection_follows_when_slack_asks_for_one(bot):
    async with bot.connected():
        await bot.is_connected()
        bot.socket.disconnect()
        await bot.until(lambda: (bot.socket.opened, bot.socket.connected) == (2, 1))
        bot.socket.press(bot.post, "Not useful")
        await bot.until(bot.audited)


async def test_a_stop_does_not_wait_for_a_connection_that_is_dead(bot, monkeypatch):
    monkeypatch.setattr(buttons, "CLOSE", timedelta(seconds=0.1))
    loop = asyncio.get_running_loop()
    async with bot.connected():
        await bot.is_connected()
        bot.socket.silent = True
        stopped = loop.time()
    assert loop.time() - stopped < 10  # aiohttp alone waits for 10 s


async def test_a_wrong_token_is_said_once_and_hangs_nothing(bot):
    with capture_logs() as logs:
        async with bot.connected(token="xapp-wrong"):
            await bot.until(lambda: any("connections" in call.path for call in bot.sim.calls))
            await bot.until(lambda: "slack.buttons_disconnected" in [it["event"] for it in logs])
    assert bot.socket.connected == 0


async def test_an_outage_of_the_address_ends_by_itself(bot):
    bot.sim.fail("status", side="slack", status=503, path="apps.connections.open")
    async with bot.connected():
        await bot.is_connected()


@pytest.mark.parametrize(
    "change",
    [
        {"actions": []},
        {"actions": [{"value": "drop:1", "action_ts": "1"}]},
        {"actions": [{"value": "star:", "action_ts": "1"}]},
        {"actions": [{"value": 7}]},
        {"user": {"id": "U1", "team_id": "T9"}},
        {"user": None},
        {"channel": None},
        {"message": {}},
    ],
)
def test_what_is_no_press_of_ours_is_left_alone(change):
    payload = {
        "actions": [{"value": "star:1", "action_ts": "1"}],
        "user": {"id": "U1", "name": "kim", "team_id": "T1"},
        "team": {"id": "T1"},
        "channel": {"id": "C1"},
        "message": {"ts": "1.0"},
    }
    assert pressed(payload, None).button == "star"
    assert pressed(payload | change, None) is None


@pytest.mark.parametrize(
    ("without", "proxy"), [("", "http://proxy.example:3128"), (".slack.com", None)]
)
async def test_the_connection_takes_the_proxy_that_all_others_take(monkeypatch, without, proxy):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", without)
    client = AppClient(Secret("xapp-1"), "https://slack.com/api/")
    assert client.proxy_of("wss://wss-primary.slack.com/link/?ticket=1") == proxy
    await client.close()
