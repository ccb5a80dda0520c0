"""A real process: buttons are pressed, twice, across a kill; its heartbeat stops with it."""

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from daemon_world import Daemon

from bot.store import location_of
from mouseflow.simulator import scenarios
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Planted, website

RULES = """
version: 1
rules:
  trouble:
    summary: Trouble on the site
    watch: recordings
    when: {friction: {min: 2.5}}
    do: {slack: {channel: "#alerts"}}
"""


@pytest.fixture
def beats():
    """Each call of the heartbeat's address sets the event."""
    called = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()
            called.set()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    called.url = f"http://127.0.0.1:{server.server_port}/beat"
    yield called
    server.shutdown()
    server.server_close()


def test_buttons_are_pressed_twice_across_a_kill_and_the_heart_beats(tmp_path, beats):
    site, now = website("w1", "myshop.com"), int(time.time() * 1000)
    site.planted += [Planted(now - 40 * 60_000, scenarios.checkout_friction())]
    with Simulator(sites=[site]) as sim:
        for name in ("alerts", "ops"):
            sim.slack.add_channel(name)
        daemon = Daemon(
            tmp_path, sim, RULES,
            BOT_SLACK__APP_TOKEN=sim.slack.app_token,
            BOT_HEARTBEAT__URL=beats.url,
            BOT_HEARTBEAT__EVERY="200ms",
        )  # fmt: skip
        daemon.start()
        try:
            sim.wait_until(lambda: sim.slack.in_channel("alerts") and sim.socket_mode.connected)
            assert beats.wait(60)
            [post] = sim.slack.in_channel("alerts")
            star = sim.socket_mode.press(post, "Star recording")
            snooze = sim.socket_mode.press(post, "Snooze rule for 1 h")
            sim.wait_until(lambda: "End snooze" in str(post.blocks))
            sim.wait_until(lambda: sim.effect(_recording(post)).starred)
            daemon.kill()
            beats.clear()
            sim.wait_until(lambda: not sim.socket_mode.connected)
            assert not beats.is_set()
            daemon.start()
            sim.wait_until(lambda: sim.socket_mode.connected)
            for envelope in (star, snooze):
                sim.socket_mode.send(envelope)
            sim.wait_until(lambda: len(sim.socket_mode.confirmed) == 4)
            calls = len(sim.calls)
            sim.wait_until(lambda: len(sim.calls) > calls + 4)
            assert beats.wait(60)
        finally:
            if daemon.process is not None:
                daemon.stop()
        assert sim.effect(_recording(post)).calls["star"] == 1
        assert str(post.blocks).count("<@U1>") == 2
        presses = daemon.run("history", "--kind", "press").stdout
        assert presses.count("pressed") == 2


def test_of_bots_on_one_store_one_takes_presses_and_another_after_it_was_killed(
    tmp_path, postgres_url
):
    now = int(time.time() * 1000)
    sites = [website(f"w{n}", f"shop-{n}.com") for n in range(2)]
    sites[0].planted += [Planted(now - 40 * 60_000, scenarios.checkout_friction())]
    with Simulator(sites=sites) as sim:
        for name in ("alerts", "ops"):
            sim.slack.add_channel(name)
        bots = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            token = sim.slack.app_token
            bots.append(
                Daemon(tmp_path / name, sim, RULES, BOT_STORE__URL=postgres_url,
                       BOT_SLACK__APP_TOKEN=token)
            )  # fmt: skip
        try:
            for bot in bots:
                bot.start()
            sim.wait_until(lambda: len(location_of(postgres_url).replicas()) == 2)
            sim.wait_until(lambda: sim.slack.in_channel("alerts") and sim.socket_mode.connected)
            [post] = sim.slack.in_channel("alerts")
            star = sim.socket_mode.press(post, "Star recording")
            sim.wait_until(lambda: sim.effect(_recording(post)).starred)
            sim.wait_until(lambda: "<@U1>" in str(post.blocks))
            assert sim.socket_mode.connected == 1
            [leading] = [it.process for it in location_of(postgres_url).replicas() if it.leads]
            first, second = bots if bots[0].process.pid == leading else reversed(bots)
            first.kill()
            sim.wait_until(lambda: second.events("replica.leads") and sim.socket_mode.connected)
            sim.socket_mode.send(star)
            sim.wait_until(lambda: len(sim.socket_mode.confirmed) == 2)
            sim.socket_mode.press(post, "Mark watched")
            sim.wait_until(lambda: sim.effect(_recording(post)).watched)
            sim.wait_until(lambda: str(post.blocks).count("<@U1>") == 2)
            assert sim.socket_mode.connected == 1
        finally:
            for bot in bots:
                if bot.process is not None:
                    bot.kill()
        assert sim.effect(_recording(post)).calls == {"star": 1, "watched": 1}
        assert second.run("history", "--kind", "press").stdout.count("pressed") == 2


def _recording(post):
    return re.search(r"/recordings/([^/|]+)/play", str(post.blocks))[1]
