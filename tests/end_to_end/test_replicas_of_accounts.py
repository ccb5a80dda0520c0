"""Two processes share two accounts on PostgreSQL: a press reaches either of them."""

import time

import pytest
from daemon_world import Daemon
from postgres_server import connected

from bot.store import location_of
from mouseflow.simulator import scenarios
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Planted, website

RULES = """
version: 1
rules:
  trouble:
    watch: recordings
    when: {friction: {min: 2.5}}
    do: {slack: {channel: "#alerts"}}
"""
NAMES = ("shop", "outlet")


def simulated(name: str) -> Simulator:
    site, now = website(f"{name}-1", f"{name}.com"), int(time.time() * 1000)
    site.planted += [Planted(now - 40 * 60_000, scenarios.checkout_friction())]
    return Simulator(sites=[site])


@pytest.fixture
def sims():
    with simulated("shop") as shop, simulated("outlet") as outlet:
        for name in ("alerts", "ops"):
            outlet.slack.add_channel(name)
        yield shop, outlet


@pytest.fixture
def stores(postgres_url):
    """A schema of one database for each account."""
    with connected(postgres_url) as admin:
        for name in NAMES:
            admin.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}")
    yield {name: f"{postgres_url}?options=-csearch_path%3D{name}" for name in NAMES}
    with connected(postgres_url) as admin:
        for name in NAMES:
            admin.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def bots(tmp_path, sims, stores):
    shop, outlet = sims
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        bot = Daemon(
            tmp_path / name, outlet, RULES,
            BOT_SLACK__APP_TOKEN=outlet.slack.app_token,
            BOT_ACCOUNTS__OUTLET__STORE__URL=stores["outlet"],
            BOT_ACCOUNTS__SHOP__STORE__URL=stores["shop"],
            BOT_ACCOUNTS__OUTLET__MOUSEFLOW__API_KEY=outlet.api_key,
            BOT_ACCOUNTS__SHOP__MOUSEFLOW__API_KEY=shop.api_key,
            BOT_ACCOUNTS__SHOP__MOUSEFLOW__BASE_URL=shop.mouseflow_url,
        )  # fmt: skip
        del bot.environment["BOT_MOUSEFLOW__API_KEY"]
        made.append(bot)
    yield made
    for bot in made:
        if bot.process is not None:
            bot.kill()


def test_a_press_reaches_its_account_by_the_bot_that_does_not_lead(sims, bots, stores):
    _, outlet = sims
    first, second = bots
    first.start()
    outlet.wait_until(lambda: len(outlet.slack.in_channel("alerts")) == 2, 60)
    second.start()
    outlet.wait_until(
        lambda: all(len(location_of(it).replicas()) == 2 for it in stores.values()), 60
    )
    outlet.wait_until(lambda: len(second.events("daemon.started")) == 2, 60)
    outlet.wait_until(lambda: outlet.socket_mode.connected == 2, 60)
    for post in outlet.slack.in_channel("alerts"):
        outlet.socket_mode.press(post, "Snooze rule for 1 h")  # over the newest connection
    outlet.wait_until(
        lambda: all("End snooze" in str(it.blocks) for it in outlet.slack.in_channel("alerts")), 60
    )
    assert len(outlet.socket_mode.confirmed) == 2
    assert {str(it["account"]) for it in first.events("slack.pressed")} == set(NAMES)
    assert not second.events("slack.press_not_kept")
    for bot in bots:
        assert bot.stop() == 0
