"""A real process meets each fault of an account or channel: one message when it begins, one when
it ends, everything delivered once in between, and no command by hand."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
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

HASTY = """
import sys
from datetime import timedelta

import msgspec

from bot.actions import slack
from bot.delivery import attempt, troubles, worker
from bot.domain import backoff
from bot.polling import outages
from bot.store import matches
from mouseflow import rate_limit

matches.POSTS_WAIT_MS = 2000
rate_limit.lockout_length = lambda _: timedelta(seconds=1)
troubles.QUIET = outages.QUIET = timedelta(seconds=3)
backoff.PROBE = backoff.CEILING = backoff.LANE_CEILING = timedelta(seconds=1)
slack.SETTLING = attempt.SETTLING = worker.SETTLING = timedelta(seconds=1)
worker.TEND = timedelta(milliseconds=200)
msgspec.structs.force_setattr(worker.DEFAULT_TIMING, "idle", timedelta(milliseconds=500))

from bot.cli.main import main

sys.exit(main())
"""
"""The bot, but people hear of what lasts seconds, not minutes, and it tries again each second."""


class Story:
    """A daemon whose rule has matched `matches` recordings, and a workspace with two channels."""

    def __init__(self, folder, sim, matches, rules=RULES):
        self.sim, self.matches = sim, matches
        self.alerts = sim.slack.add_channel("alerts")
        self.ops = sim.slack.channel("ops")
        (folder / "config.toml").write_text(
            f'[mouseflow]\napi_key = "{sim.api_key}"\n[slack]\nbot_token = "{sim.slack.token}"\n'
        )
        self.config = folder / "config.toml"
        self.daemon = Daemon(folder, sim, rules)
        self.daemon.program = ("-c", HASTY)
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


class Receiver:
    """A receiver of webhooks: it answers with `status`, and keeps the keys of what it took."""

    def __init__(self):
        self.status, self.keys, self.refused = 204, [], 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                if outer.status == 204:
                    outer.keys.append(self.headers["Idempotency-Key"])
                else:
                    outer.refused += 1
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/t0ken"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Fault:
    """What breaks, how it is mended, and what must be said of it.

    `waits` is what waits meanwhile; all else goes out. `began` begins the message of its
    beginning: empty if none can arrive, since Slack is what fails. `says` is in it or, without
    one, in the message of its end, which begins with `ended`.
    """

    name: str
    breaks: Callable[["Everything"], None]
    mends: Callable[["Everything"], None]
    waits: tuple[str, ...]
    ended: str
    began: str = ""
    says: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


class Everything(Story):
    """A daemon whose rule tags, posts and calls a receiver."""

    def __init__(self, folder, sim, receiver, settings):
        rules = RULES.replace("tag: seen,", f"tag: seen, webhook: {{url: '{receiver.url}'}},")
        super().__init__(folder, sim, 0, rules)
        self.receiver = receiver
        self.daemon.environment |= settings
        if "BOT_SLACK__WEBHOOK_URL" in settings:
            self.config.write_text(f'[mouseflow]\napi_key = "{sim.api_key}"\n')
            self.daemon.environment["BOT_SLACK__WEBHOOK_URL"] = self.webhook
            sim.slack.webhook_channel = "alerts"

    @property
    def webhook(self):
        return self.sim.slack_url.replace("/api/", self.sim.slack.webhook_path)

    def visits(self, number):
        for _ in range(number):
            self.sim.add("myshop.com", "checkout-friction", start=-3000)
        self.matches += number

    def posts(self):
        return [it for it in self.sim.slack.messages if "Trouble on the site" in it.text]

    def told(self):
        posts = self.posts()
        others = [it for it in self.sim.slack.messages if it not in posts]
        return [f"{it.text} {it.blocks}" for it in others]

    def delivered(self):
        found = {"tags": self.tags(), "calls": self.receiver.keys, "posts": self.posts()}
        return {name: len(what) for name, what in found.items()}

    def wait_for(self, *names):
        self.sim.wait_until(
            lambda: all(self.delivered()[name] >= self.matches for name in names), timeout=60
        )


def fails(**fault):
    """Each call that matches fails so until the faults are cleared."""
    return lambda it: it.sim.fail("status", times=10**6, **fault)


def works(it):
    it.sim.faults.clear()


def sets(what, value):
    """Sets an attribute of the simulated account or Slack, or of the story: `alerts.archived`."""
    *path, name = what.split(".")

    def change(it):
        for each in path:
            it = getattr(it, each)
        setattr(it, name, value)

    return change


def scope(name, given):
    def change(it):
        it.sim.slack.scopes = it.sim.slack.scopes - {name} | ({name} if given else set())

    return change


def leaves(it):
    scope("chat:write.public", given=False)(it)
    it.alerts.member = False


FAULTS = [
    Fault(
        "token revoked",
        sets("sim.slack.token", "xoxb-none"),
        sets("sim.slack.token", "xoxb-simulator-token"),
        ("posts",),
        ended="✅ Slack accepts messages again after",
        says=("Slack rejected the bot token",),
    ),
    Fault(
        "key refused",
        lambda it: it.sim.users.update({it.sim.email: "another-key"}),
        lambda it: it.sim.users.update({it.sim.email: it.sim.api_key}),
        ("tags", "calls", "posts"),
        began="🛑 Mouseflow rejected the API key: nothing is being polled since",
        ended="✅ Mouseflow is reachable again after",
        says=("mouseflow.api_key",),
    ),
    Fault(
        "channel archived",
        sets("alerts.archived", value=True),
        sets("alerts.archived", value=False),
        ("posts",),
        began="🔶 Slack channel #alerts is archived",
        ended="✅ Slack channel #alerts works again after",
        says=("Unarchive the channel",),
    ),
    Fault(
        "channel renamed and named so again",
        sets("alerts.name", "alarms"),
        sets("alerts.name", "alerts"),
        ("posts",),
        began="🔶 Slack channel #alerts does not exist for the bot",
        ended="✅ Slack channel #alerts works again after",
    ),
    Fault(
        "bot left the channel",
        leaves,
        sets("alerts.member", value=True),
        ("posts",),
        began="🔶 The bot is not in Slack channel #alerts",
        ended="✅ Slack channel #alerts works again after",
        says=("/invite",),
    ),
    Fault(
        "scope missing",
        scope("chat:write", given=False),
        scope("chat:write", given=True),
        ("posts",),
        ended="✅ Slack accepts messages again after",
        says=("The Slack app lacks a scope",),
    ),
    Fault(
        "webhook gone",
        sets("receiver.status", 410),
        sets("receiver.status", 204),
        ("calls",),
        began="🔶 127.0.0.1 rejects webhook calls: ",
        ended="✅ 127.0.0.1 accepts webhook calls again after",
    ),
    Fault(
        "incoming webhook of Slack gone",
        sets("sim.slack.webhook_path", "/services/T1/B1/another"),
        sets("sim.slack.webhook_path", "/services/T00000000/B00000000/simulatorwebhook"),
        ("posts",),
        ended="✅ Slack accepts messages again after",
        says=("Slack rejected the incoming webhook",),
        settings=(("BOT_SLACK__WEBHOOK_URL", ""),),
    ),
    Fault(
        "writes refused",
        fails(status=403, method="POST", path="/tag"),
        works,
        ("tags",),
        began="🔶 Mouseflow refuses tag on myshop.com: ",
        ended="✅ Mouseflow accepts tag on myshop.com again after",
    ),
    Fault(
        "Mouseflow answers 503",
        fails(status=503),
        works,
        ("tags", "calls", "posts"),
        began="🛑 Mouseflow can't be reached since",
        ended="✅ Mouseflow is reachable again after",
        says=("503",),
    ),
    Fault(
        "Mouseflow answers 500 to writes",
        fails(status=500, method="POST", path="/tag"),
        works,
        ("tags",),
        began="🛑 Mouseflow does not accept actions: ",
        ended="✅ Mouseflow accepts actions again after",
    ),
    Fault(
        "Slack answers 503",
        fails(status=503, side="slack"),
        works,
        ("posts",),
        ended="✅ Slack accepts messages again after",
        says=("Slack does not accept messages",),
    ),
    Fault(
        "receiver answers 502",
        sets("receiver.status", 502),
        sets("receiver.status", 204),
        ("calls",),
        began="🔶 127.0.0.1 does not accept webhook calls: ",
        ended="✅ 127.0.0.1 accepts webhook calls again after",
    ),
]


@pytest.fixture
def everything(tmp_path, request):
    receiver = Receiver()
    with Simulator(sites=[website("w1", "myshop.com")]) as sim:
        made = Everything(tmp_path, sim, receiver, dict(request.param.settings))
        yield made
        if made.daemon.process is not None:
            assert made.daemon.stop() == 0
    receiver.close()


def known(it, fault):
    """Whether people were told, or the log says what can't be told."""
    return it.told() if fault.began else trouble(it)


@pytest.mark.parametrize(
    ("everything", "fault"), [(it, it) for it in FAULTS], indirect=["everything"],
    ids=[it.name for it in FAULTS],
)  # fmt: skip
def test_a_fault_is_told_when_it_begins_and_ends_and_nothing_is_lost(everything, fault):
    it = everything
    rest = {"tags", "calls", "posts"} - set(fault.waits)
    it.visits(2)
    it.daemon.start()
    it.wait_for("tags", "calls", "posts")
    assert it.told() == []

    fault.breaks(it)
    it.visits(3)
    it.sim.wait_until(lambda: known(it, fault), timeout=60)
    it.wait_for(*rest)
    it.goes_on()
    assert {name: it.delivered()[name] for name in fault.waits} == dict.fromkeys(fault.waits, 2)
    began = it.told()
    assert len(began) == bool(fault.began), began

    fault.mends(it)
    it.wait_for("tags", "calls", "posts")
    it.sim.wait_until(lambda: len(it.told()) == 1 + bool(fault.began), timeout=60)
    it.goes_on()
    assert it.delivered() == dict.fromkeys(("tags", "calls", "posts"), 5)
    told = [*began, *it.told()[len(began) :]]  # the first one is edited at the end
    assert len(told) == 1 + bool(fault.began), told
    assert told[0].startswith(fault.began or fault.ended), told
    assert told[-1].startswith(fault.ended), told
    assert all(text in told[0] for text in fault.says), told
    twice = [it.tags(), it.receiver.keys, [at.blocks for at in it.posts()]]
    assert all(Counter(map(str, each)).most_common(1)[0][1] == 1 for each in twice)
    assert "t0ken" not in str(told)
    assert "0 dead letters" in it.daemon.run("status").stdout
    logged = [at["event"] for at in it.daemon.events() if at["level"] in ("warning", "error")]
    assert len(logged) <= 4, logged


@pytest.mark.parametrize("everything", FAULTS[:1], indirect=True, ids=["no fault"])
def test_what_the_ops_channel_could_not_show_is_told_when_it_is_back(everything):
    it = everything
    it.ops.archived = True
    fails(status=500, method="POST", path="/tag")(it)
    it.visits(2)
    it.daemon.start()
    archived = "Slack channel #ops is archived"
    it.sim.wait_until(lambda: archived in str(it.daemon.events("deliver.trouble")), timeout=60)
    alive = it.daemon.run("healthcheck").stdout
    assert "mouseflow down (2 actions wait); channel archived #ops (1 action waits)" in alive
    assert archived in it.daemon.run("status").stdout
    works(it)
    it.wait_for("tags", "calls", "posts")
    assert it.told() == []
    it.ops.archived = False
    it.sim.wait_until(lambda: len(it.told()) == 3, timeout=60)
    it.goes_on()
    told = sorted(text.partition(" after ")[0] for text in it.told())
    ends = "✅ Mouseflow accepts actions again", "✅ Slack channel #ops works again"
    assert told == [ends[0], *ends]
    assert it.delivered() == dict.fromkeys(("tags", "calls", "posts"), 2)


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
    token = f'bot_token = "{story.sim.slack.token}"'
    hook = f'webhook_url = "{story.sim.slack_url}another-secret"'
    story.config.write_text(story.config.read_text().replace(token, hook))
    story.hup()
    story.sim.wait_until(lambda: len(story.daemon.events("secrets.need_restart")) == 2)
    secrets = ["slack.bot_token", "slack.webhook_url", "heartbeat.url"]
    assert story.daemon.events("secrets.need_restart")[1]["secrets"] == secrets
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
