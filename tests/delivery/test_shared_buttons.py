"""Accounts of one Slack app share its connection: a press goes to the one that posted."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from posting_world import ZONE, posting, visit
from structlog.testing import capture_logs

from bot.delivery.buttons import Buttons, PressConnection
from bot.store import open_store
from bot.store.audit import history
from bot.store.presses import TOO_OLD
from bot.written import Secret

RULE = """
friction:
  watch: recordings
  when: {friction: {min: 2.5}}
  do: {slack: {}}
"""


class App:
    """One Slack app, the store of an account that has posted, and that of another one."""

    def __init__(self, world, other) -> None:
        self.world, self.stores = world, {"posted": world.store, "other": other}
        self.socket = world.sim.socket_mode
        self.connection = PressConnection(
            Secret(world.sim.slack.app_token), world.sim.slack_url, lambda: world.now, 2
        )

    @asynccontextmanager
    async def running(self, *accounts):
        """The connection, and these accounts at work."""
        tasks = [asyncio.create_task(self.connection.stay_connected())]
        for account in accounts:
            receiving = self.buttons(account).receive_presses(self.connection)
            tasks.append(asyncio.create_task(receiving))
        try:
            await self.until(lambda: self.socket.connected)
            yield
        finally:
            await ended(tasks)

    def buttons(self, account):
        return Buttons(
            self.world.poster, self.stores[account],
            users=(), zone=ZONE, clock=lambda: self.world.now, wake=lambda: None,
        )  # fmt: skip

    async def until(self, holds) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await self.world.store.run(lambda conn: None)

    def told(self, account):
        store = self.stores[account]
        return [it.text for it in store.do(lambda conn: history(conn, kind="press"))]


async def ended(tasks) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def app(tmp_path):
    async with posting(RULE, buttons=True) as world:
        world.match(visit("r1", "/CART", friction=5))
        await world.deliver()
        with open_store(f"sqlite:///{tmp_path}/other.db") as other:
            yield App(world, other)


async def test_a_press_is_done_by_the_account_that_posted(app):
    async with app.running("other", "posted"):
        app.socket.press(app.world.posts()[0], "Not useful")
        await app.until(lambda: app.told("posted"))
    assert len(app.socket.confirmed) == 1
    assert app.told("other") == []


async def test_a_press_that_reaches_a_bot_that_does_not_lead_is_done_by_the_one_that_does(app):
    app.world.store.sharing.shares = True
    follower, leader = app.buttons("posted"), app.buttons("posted")
    tasks = [asyncio.create_task(follower.keep_presses(app.connection))]
    async with app.running("other"):
        tasks.append(asyncio.create_task(leader.do_presses()))
        app.socket.press(app.world.posts()[0], "Not useful")
        await app.until(lambda: app.told("posted"))
    await ended(tasks)
    assert len(app.socket.confirmed) == 1


async def test_a_press_that_may_be_for_an_account_that_does_not_run_is_not_confirmed(app):
    with capture_logs() as logs:
        async with app.running("other"):
            envelope = app.socket.press(app.world.posts()[0], "Not useful")
            await app.until(lambda: [it for it in logs if it["event"] == "slack.press_not_kept"])
        assert app.socket.confirmed == []
        async with app.running("other", "posted"):
            app.socket.send(envelope)
            await app.until(lambda: app.told("posted"))
    assert app.told("other") == []


async def test_a_press_on_a_message_that_no_account_has_is_told_to_be_too_old(app):
    post = app.world.posts()[0]
    for block in post.blocks:
        for element in block.get("elements", ()):
            if "value" in element:
                element["value"] = f"{element['value'].partition(':')[0]}:gone"
            for option in element.get("options", ()):
                option["value"] = f"{option['value'].partition(':')[0]}:gone"
    async with app.running("other", "posted"):
        app.socket.press(post, "Not useful")
        await app.until(lambda: app.told("other") + app.told("posted"))
    [told] = app.told("other") + app.told("posted")
    assert told.endswith(TOO_OLD)
