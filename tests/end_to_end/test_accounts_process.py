"""A real process with two accounts: what fails in one never touches the other."""

import signal
import time

import httpx
import pytest
from daemon_world import Daemon
from hostile_files import NAMES, make

from mouseflow.simulator import scenarios
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Planted, website

RULES = """
version: 1
rules:
  trouble:
    watch: recordings
    when: {friction: {min: 2.5}}
    do: {tag: friction, slack: {channel: "#alerts"}}
  of-the-outlet:
    accounts: [outlet]
    watch: recordings
    when: {friction: {min: 2.5}}
    do: {star: true}
"""


def simulated(name: str) -> Simulator:
    site, now = website(f"{name}-1", f"{name}.com"), int(time.time() * 1000)
    site.planted += [Planted(now - 40 * 60_000, scenarios.checkout_friction())]
    return Simulator(sites=[site])


@pytest.fixture
def sims():
    with simulated("shop") as shop, simulated("outlet") as outlet:
        for sim in (shop, outlet):
            sim.slack.add_channel("alerts")
            sim.slack.add_channel("ops")
        yield shop, outlet


def bot_of(folder, shop, outlet, **settings) -> Daemon:
    """The process: the common settings are the outlet's, the shop has an API and a Slack of its
    own, and its API key comes from a secret file."""
    secrets = folder / "secrets"
    secrets.mkdir()
    daemon = Daemon(folder, outlet, RULES, CREDENTIALS_DIRECTORY=str(secrets), **settings)
    key = daemon.environment.pop("BOT_MOUSEFLOW__API_KEY")
    daemon.environment |= {
        "BOT_ACCOUNTS__OUTLET__MOUSEFLOW__API_KEY": key,
        "BOT_ACCOUNTS__SHOP__MOUSEFLOW__BASE_URL": shop.mouseflow_url,
        "BOT_ACCOUNTS__SHOP__MOUSEFLOW__EMAIL": shop.email,
        "BOT_ACCOUNTS__SHOP__SLACK__BASE_URL": shop.slack_url,
    }
    (secrets / "bot_accounts__shop__mouseflow__api_key").write_text(shop.api_key)
    return daemon


def test_an_account_with_a_rejected_key_and_no_slack_leaves_the_other_alone(tmp_path, sims):
    shop, outlet = sims
    daemon = bot_of(tmp_path, shop, outlet)
    daemon.environment["BOT_ACCOUNTS__SHOP__SLACK__BASE_URL"] = "http://127.0.0.1:9/api/"
    key = tmp_path / "secrets" / "bot_accounts__shop__mouseflow__api_key"
    key.write_text("revoked")
    daemon.start()
    try:
        outlet.wait_until(lambda: outlet.slack.in_channel("alerts"))
        outlet.wait_until(lambda: outlet.slack.in_channel("ops"))
        [told] = outlet.slack.in_channel("ops")
        assert "shop: The account does not run" in told.text
        [acted] = outlet.effects()
        assert acted.starred
        key.write_text(shop.api_key)
        daemon.tell(signal.SIGHUP)
        shop.wait_until(lambda: any(call.method != "GET" for call in shop.calls), 30)
        outlet.wait_until(lambda: len(outlet.slack.in_channel("ops")) == 2)
        shop.wait_until(lambda: any(each.tags for each in shop.effects()), 30)
        assert not any(each.starred for each in shop.effects())
        again = outlet.slack.in_channel("ops")[1]
        assert "shop: The account runs again" in again.text
    finally:
        assert daemon.stop() == 0
    failed = daemon.events("account.failed")
    assert [each["account"] for each in failed] == ["shop"]
    assert {each["account"] for each in daemon.events("daemon.started")} == {"shop", "outlet"}
    assert {each["account"] for each in daemon.events("daemon.stopped")} == {"shop", "outlet"}
    assert all((tmp_path / "data" / f"bot-{name}.db").exists() for name in ("shop", "outlet"))


def test_hostile_rule_files_of_one_account_never_stop_the_other(tmp_path, sims):
    shop, outlet = sims
    daemon = bot_of(tmp_path, shop, outlet)
    own = tmp_path / "rules-of-the-shop"
    own.mkdir()
    good = RULES.replace("accounts: [outlet]\n    ", "")
    (own / "good.yaml").write_text(good)
    daemon.environment["BOT_ACCOUNTS__SHOP__RULES__PATHS"] = str(own)
    at_start, later = NAMES[::6], NAMES[1::6]
    for name in at_start:
        make(name, own)
    daemon.start()  # at the very first start the shop has the rules of its good file
    try:
        outlet.wait_until(lambda: any(each.starred for each in outlet.effects()))
        shop.wait_until(lambda: any(each.starred for each in shop.effects()))
        rejected = len(daemon.events("rules.reload_failed"))  # the bot also looks by itself
        for name in later:
            make(name, own)
        daemon.tell(signal.SIGHUP)
        outlet.wait_until(lambda: len(daemon.events("rules.reload_failed")) > rejected)
        for sim, site in ((outlet, "outlet.com"), (shop, "shop.com")):
            who = sim.add(site, "checkout-friction", start=-2500)
            sim.wait_until(lambda sim=sim, who=who: sim.effect(who).starred)
        assert "shop: " in shop.slack.in_channel("ops")[0].text
        assert not outlet.slack.in_channel("ops")
    finally:
        assert daemon.stop() == 0
    assert {each["account"] for each in daemon.events("rules.reload_failed")} == {"shop"}
    assert "Traceback" not in daemon.log.read_text()
    checked = daemon.run("check")
    assert checked.returncode == 1
    assert all(name in checked.stdout for name in (*at_start, *later))


def test_presses_reach_the_account_that_posted_and_the_page_shows_both(tmp_path, sims):
    shop, outlet = sims
    daemon = bot_of(tmp_path, shop, outlet, BOT_WEB__LISTEN="127.0.0.1:0")
    daemon.environment |= {  # one Slack app and one channel for both
        "BOT_ACCOUNTS__SHOP__SLACK__BASE_URL": outlet.slack_url,
        "BOT_SLACK__APP_TOKEN": outlet.slack.app_token,
    }
    daemon.start()
    try:
        outlet.wait_until(lambda: len(outlet.slack.in_channel("alerts")) == 2, 60)
        outlet.wait_until(lambda: outlet.socket_mode.connected, 60)
        for post in outlet.slack.in_channel("alerts"):
            outlet.socket_mode.press(post, "Snooze rule for 1 h")
        outlet.wait_until(
            lambda: all("End snooze" in str(it.blocks) for it in outlet.slack.in_channel("alerts")),
            60,
        )
        [started] = daemon.events("web.started")
        url = str(started["url"])
        assert "outlet.com" in httpx.get(f"{url}/accounts/outlet/", timeout=60).text
        assert "shop.com" in httpx.get(f"{url}/accounts/shop/", timeout=60).text
        assert 'account="shop"' in httpx.get(f"{url}/metrics", timeout=60).text
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    finally:
        assert daemon.stop() == 0
    pressed = daemon.events("slack.pressed")
    assert sorted(str(each["account"]) for each in pressed) == ["outlet", "shop"]


def test_the_process_ends_if_no_account_can_run(tmp_path, sims):
    shop, outlet = sims
    daemon = bot_of(tmp_path, shop, outlet)
    daemon.environment["BOT_ACCOUNTS__OUTLET__MOUSEFLOW__API_KEY"] = "revoked-too"
    (tmp_path / "secrets" / "bot_accounts__shop__mouseflow__api_key").write_text("revoked")
    ended = daemon.run("run")
    assert ended.returncode == 1
    assert "No account can run." in ended.stderr
    assert "shop: " in ended.stderr
    assert "outlet: " in ended.stderr
