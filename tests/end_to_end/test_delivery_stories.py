"""A real process meets each fault of an account or channel: one message when it begins, one when
it ends, everything delivered once in between, and no command by hand."""

import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from daemon_world import Daemon

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
    do: {tag: seen, slack: {channel: "#alerts"}}
"""


class Story:
    """A daemon whose rule has matched `matches` recordings, and a workspace with two channels."""

    def __init__(self, folder, sim, matches):
        self.sim, self.matches = sim, matches
        self.alerts = sim.slack.add_channel("alerts")
        self.ops = sim.slack.add_channel("ops")
        (folder / "config.toml").write_text(
            f'[mouseflow]\napi_key = "{sim.api_key}"\n[slack]\nbot_token = "{sim.slack.token}"\n'
        )
        self.config = folder / "config.toml"
        self.daemon = Daemon(folder, sim, RULES)
        for name in ("BOT_MOUSEFLOW__API_KEY", "BOT_SLACK__BOT_TOKEN"):
            del self.daemon.environment[name]

    def told(self):
        return [f"{it.text} {it.blocks}" for it in self.sim.slack.in_channel("ops")]

    def posts(self):
        return self.sim.slack.in_channel("alerts")

    def tags(self):
        done = [call for call in self.sim.calls if call.path.endswith("/tag")]
        return [call.path for call in done if call.status == 200]

    def hup(self):
        self.daemon.tell(signal.SIGHUP)

    def goes_on(self):
        """Some more polls: nothing more is to happen."""
        calls = len(self.sim.calls)
        self.sim.wait_until(lambda: len(self.sim.calls) >= calls + 4)

    def ends_well(self):
        """Everything is delivered, once."""
        self.sim.wait_until(
            lambda: len(self.posts()) >= self.matches and len(self.tags()) >= self.matches
        )
        self.sim.wait_until(lambda: any("again after" in text for text in self.told()))
        self.goes_on()
        keys = [message.metadata["event_payload"]["key"] for message in self.posts()]
        assert len(keys) == len(set(keys)) == self.matches
        assert len(self.tags()) == len(set(self.tags())) == self.matches
        assert "0 dead letters" in self.daemon.run("status").stdout


@pytest.fixture
def story(tmp_path):
    site, now = website("w1", "myshop.com"), int(time.time() * 1000)
    site.planted += [
        Planted(now - ago * 60_000, scenarios.checkout_friction()) for ago in (40, 45, 50)
    ]
    with Simulator(sites=[site]) as sim:
        made = Story(tmp_path, sim, 3)
        yield made
        if made.daemon.process is not None:
            assert made.daemon.stop() == 0


def trouble(story):
    return "deliver.trouble" in {str(line.get("event")) for line in story.daemon.events()}


def test_an_archived_channel_is_told_and_mended_without_a_command(story):
    story.alerts.archived = True
    story.daemon.start()
    story.sim.wait_until(lambda: story.told())
    (told,) = story.told()
    assert told.startswith("🔶 Slack channel #alerts is archived")
    assert "Unarchive the channel" in told
    story.sim.wait_until(lambda: len(story.tags()) == 3)
    story.alerts.archived = False
    story.ends_well()
    assert len(story.told()) == 2
    assert story.told()[1].startswith("✅")


def test_a_rotated_token_is_taken_up_by_a_signal_and_told_when_it_is_over(story):
    story.sim.slack.token = "xoxb-another"
    story.daemon.start()
    story.sim.wait_until(lambda: trouble(story))
    status = story.daemon.run("status").stdout
    assert "Slack rejected the bot token: " in status
    alive = story.daemon.run("healthcheck").stdout
    assert alive.startswith("alive, but actions wait: slack token rejected (")
    story.config.write_text(
        story.config.read_text().replace("xoxb-simulator-token", "xoxb-another")
    )
    story.hup()
    story.ends_well()
    (told,) = story.told()
    assert "again after" in told
    assert "Slack rejected the bot token" in told
    assert "xoxb" not in story.daemon.log.read_text()


def test_a_scope_that_is_missing_is_told_when_it_is_over(story):
    story.sim.slack.scopes -= {"chat:write"}
    story.daemon.start()
    story.sim.wait_until(lambda: trouble(story))
    story.sim.slack.scopes |= {"chat:write"}
    story.hup()
    story.ends_well()
    (told,) = story.told()
    assert "The Slack app lacks a scope" in told


def test_a_channel_that_the_bot_has_left_is_told_twice(story):
    story.sim.slack.scopes -= {"chat:write.public"}
    story.alerts.member = False
    story.daemon.start()
    story.sim.wait_until(lambda: story.told())
    (told,) = story.told()
    assert told.startswith("🔶 The bot is not in Slack channel #alerts")
    assert "/invite" in told
    story.alerts.member = True
    story.ends_well()
    assert len(story.told()) == 2


def test_a_channel_that_is_renamed_is_followed_by_an_edit_of_the_rule(story):
    story.alerts.name = "alarms"
    story.daemon.start()
    story.sim.wait_until(lambda: story.told())
    assert "Slack channel #alerts does not exist for the bot" in story.told()[0]
    story.daemon.rule_file.write_text(RULES.replace("#alerts", "#alarms"))
    story.sim.wait_until(lambda: len(story.sim.slack.in_channel("alarms")) >= 3)
    story.sim.wait_until(lambda: len(story.told()) == 2)
    assert story.told()[1].startswith("🔵 Nothing waits any more: Slack channel #alerts")
    story.goes_on()
    assert len(story.sim.slack.in_channel("alarms")) == 3
    assert "0 dead letters" in story.daemon.run("status").stdout


def test_refused_writes_hold_the_writes_and_are_told_twice(story):
    story.sim.fail("status", status=403, method="POST", path="/tag", times=10_000)
    story.daemon.start()
    story.sim.wait_until(lambda: story.told())
    (told,) = story.told()
    assert told.startswith("🔶 Mouseflow refuses tag on myshop.com: ")
    story.sim.faults.clear()
    story.hup()
    story.ends_well()
    assert len(story.told()) == 2


@pytest.fixture
def receiver():
    """A webhook's receiver: it answers with `status`, and keeps the keys of what it took."""

    class Receiver(BaseHTTPRequestHandler):
        status, keys, refused = 410, [], 0

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            if Receiver.status == 204:
                Receiver.keys.append(self.headers["Idempotency-Key"])
            else:
                Receiver.refused += 1
            self.send_response(Receiver.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Receiver.url = f"http://127.0.0.1:{server.server_port}/t0ken"
    yield Receiver
    server.shutdown()
    server.server_close()


def test_a_webhook_that_is_gone_holds_its_calls_and_is_told_twice(story, receiver):
    story.daemon.rule_file.write_text(
        RULES.replace("tag: seen,", f"tag: seen, webhook: {{url: '{receiver.url}'}},")
    )
    story.daemon.start()
    story.sim.wait_until(lambda: story.told())
    assert story.told()[0].startswith("🔶 127.0.0.1 rejects webhook calls: ")
    assert "t0ken" not in story.told()[0]
    story.sim.wait_until(lambda: len(story.posts()) == 3)
    assert receiver.refused <= 3
    receiver.status = 204
    story.hup()
    story.ends_well()
    assert len(receiver.keys) == len(set(receiver.keys)) == 3
    assert len(story.told()) == 2


def test_a_rotated_api_key_is_taken_up_by_a_signal(story):
    story.daemon.start()
    story.sim.wait_until(lambda: len(story.posts()) == 3)
    story.sim.users[story.sim.email] = "another-key"
    story.sim.wait_until(lambda: any("rejected the API key" in text for text in story.told()))
    story.sim.add("myshop.com", "checkout-friction", start=-3000)
    story.config.write_text(story.config.read_text().replace(story.sim.api_key, "another-key"))
    story.hup()
    story.matches = 4
    story.sim.wait_until(lambda: len(story.posts()) == len(story.tags()) == 4)
    story.sim.wait_until(lambda: len(story.told()) == 2)
    assert "Mouseflow is reachable again" in story.told()[1]
    assert "another-key" not in story.daemon.log.read_text()


def test_a_new_secret_that_needs_a_restart_is_named(story):
    story.daemon.start()
    story.sim.wait_until(lambda: len(story.posts()) == 3)
    added = '\n[heartbeat]\nurl = "http://127.0.0.1:9/another-secret"\n'
    story.config.write_text(story.config.read_text() + added)
    story.hup()
    story.sim.wait_until(lambda: story.daemon.events("secrets.need_restart"))
    assert story.daemon.events("secrets.need_restart")[0]["secrets"] == ["heartbeat.url"]
    assert "another-secret" not in story.daemon.log.read_text()


def test_a_flood_of_signals_is_one_reload_and_no_call(story):
    story.daemon.start()
    story.sim.wait_until(lambda: len(story.posts()) == 3)
    calls = sum(call.side == "slack" for call in story.sim.calls)
    for _ in range(200):
        story.hup()
    story.goes_on()
    assert len(story.daemon.events("rules.loaded")) == 1
    assert sum(call.side == "slack" for call in story.sim.calls) == calls
