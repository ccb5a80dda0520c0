"""`notify:` reaches other places through Apprise: what arrives, what fails, what is never told."""

import json
import logging.handlers
import socketserver
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from delivery_world import HOUR, NOW, until
from msgspec.structs import replace
from test_edited_rules import Editing

from bot.actions import ACTIONS
from bot.actions.notify import Notify, NotifyResolved
from bot.cli.main import main
from bot.config.load import load
from bot.delivery import Delivery, notify
from bot.delivery.notify import Places, problems
from bot.domain.calendar import Calendar
from bot.domain.causes import Cause
from bot.domain.limits import Hours
from bot.errors import ConfigError, RateLimited, Refused, TryLater
from bot.logs import Scrubber
from bot.messages.plain_text import harmless
from bot.messages.template_check import SAMPLES
from bot.ports import Addresses, Ports
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read
from bot.store.audit import history
from bot.store.dead_letters import waiting_steps
from bot.store.lineage import mark_restored
from bot.store.overview import lanes_now
from bot.written import Secret


@dataclass
class Heard:
    """What a local server was sent; it answers `statuses`, then 200, each after `pause` is set."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    pause: threading.Event | None = None

    @property
    def letters(self):
        return [json.loads(each) for each in self.bodies]


@pytest.fixture
def web():
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            if heard.pause is not None:
                heard.pause.wait(60)
            self.send_response(heard.statuses.pop(0) if heard.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield heard
        server.shutdown()
        thread.join()


@pytest.fixture
def mail():
    heard = Heard()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline().strip().upper():
                if line.startswith(b"DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    heard.bodies.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                self.wfile.write(b"221 bye\r\n" if line == b"QUIT" else b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        heard.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield heard
        server.shutdown()
        thread.join()


def places(limit=timedelta(seconds=30), **urls):
    return Places({name: Secret(url) for name, url in urls.items()}, limit=limit)


def task(kind="recordings", tags=None, **changes):
    made = SAMPLES[kind]
    if tags is not None:
        recording = msgspec.structs.replace(made.subject.recording, tags=tags)
        changes["subject"] = msgspec.structs.replace(made.subject, recording=recording)
    return replace(made, now=NOW, **changes)


async def sent(action, made, to):
    stored = type(action).restored(action.stored())
    return await stored.perform(made, Ports(None, None, None, Addresses(), to))


async def test_a_match_arrives_with_title_reason_and_link(web):
    done = await sent(
        Notify(channel="oncall"),
        task(severity="critical", summary="Frustrated visitor", why=("rage clicks on /cart",)),
        places(oncall=f"json://user:s3cret-word@127.0.0.1:{web.port}/a"),
    )
    assert done.note == "sent to oncall (JSON)"
    (letter,) = web.letters
    assert letter["title"] == "🛑 Frustrated visitor · myshop.\u2060com"
    assert letter["type"] == "failure"
    lines = letter["message"].splitlines()
    assert lines[0] == "Rage clicks on /cart."
    assert "Watch recording: https://app.mouseflow.com/websites/w1/recordings/r1/play" in lines


async def test_a_message_follows_though_the_thread_of_the_last_one_has_not_ended(web, monkeypatch):
    tell, ends = notify._tell, threading.Event()

    def slow(*outcome):
        tell(*outcome)
        ends.wait(60)

    monkeypatch.setattr(notify, "_tell", slow)
    to = places(oncall=f"json://127.0.0.1:{web.port}/a")
    try:
        for _ in range(2):
            assert (
                await sent(Notify(channel="oncall"), task(), to)
            ).note == "sent to oncall (JSON)"
    finally:
        ends.set()
    assert len(web.bodies) == 2


async def test_ntfy_and_a_mail_server_take_the_same_message(web, mail):
    to = places(
        phone=f"ntfy://127.0.0.1:{web.port}/shop",
        mail=f"mailto://127.0.0.1:{mail.port}/?from=bot@example.com&to=ops@example.com&mode=insecure",
    )
    made = task(summary="Slow checkout")
    assert (await sent(Notify(channel="phone"), made, to)).note == "sent to phone (ntfy)"
    assert (await sent(Notify(channel="mail"), made, to)).note == "sent to mail (E-Mail)"
    assert web.letters[0]["topic"] == "shop"
    assert web.letters[0]["title"].startswith("🔶 Slow checkout")
    read_mail = message_from_bytes(mail.bodies[0], policy=policy.default)
    assert str(read_mail["Subject"]).startswith("🔶 Slow checkout")
    assert "recordings/r1/play" in read_mail.get_body().get_content()


async def test_the_rules_own_text_is_plain_and_its_values_are_harmless(web):
    text = "*{{ summary }}* {{ tags }}: <{{ url }}|watch> {{ link }} {{ entry_page }}"
    made = task(summary="S & T", tags=("<!here>", "[x](http://evil.example)", "@all"))
    await sent(Notify(channel="a", text=text), made, places(a=f"json://127.0.0.1:{web.port}"))
    first = web.letters[0]["message"].splitlines()[0]
    url = "https://app.mouseflow.com/websites/w1/recordings/r1/play"
    assert first.startswith("*S & T* ")
    assert f"watch ({url}) recording ({url}) /cart" in first
    for live in ("<!here>", "](", "http://", "@all", "evil.example"):
        assert live not in first


@pytest.mark.parametrize(
    "live", ["@everyone", "<@U1>", "a](b", "https://e.example", "**b**", "`c`"]
)
def test_what_a_visitor_wrote_can_do_nothing(live):
    assert live not in harmless(f"x {live} y")


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Refused), (404, Refused), (429, RateLimited), (503, TryLater), (302, Refused)],
)
async def test_each_answer_means_what_it_says_and_tells_no_address(web, monkeypatch, status, error):
    web.statuses = [status]
    told = logging.handlers.BufferingHandler(1000)
    monkeypatch.setattr(logging.root, "handlers", [told])
    monkeypatch.setattr(logging.root, "level", logging.CRITICAL)  # as with log.level
    with pytest.raises(error) as raised:
        await sent(
            Notify(channel="a"), task(), places(a=f"json://u:s3cret-word@127.0.0.1:{web.port}/p4th")
        )
    assert str(raised.value).startswith(f"a (JSON) answered {status}")
    assert "s3cret-word" not in str(raised.value)
    assert "apprise" not in {each.name for each in told.buffer}  # its log names addresses


async def test_a_place_that_is_away_or_slow_is_tried_again_and_may_have_the_message(web):
    with pytest.raises(TryLater) as raised:
        await sent(Notify(channel="a"), task(), places(a="json://127.0.0.1:1/"))
    assert raised.value.unknown
    web.pause = threading.Event()
    slow = places(a=f"json://127.0.0.1:{web.port}/", limit=timedelta(seconds=0.05))
    with pytest.raises(TryLater, match="a did not answer in time") as raised:
        await sent(Notify(channel="a"), task(), slow)
    assert raised.value.unknown
    with pytest.raises(TryLater, match="not yet answered") as raised:
        await sent(Notify(channel="a"), task(), slow)
    assert not raised.value.unknown  # nothing was sent a second time
    await until(lambda: web.bodies)
    assert len(web.bodies) == 1
    web.pause.set()
    await until(lambda: "notify-a" not in [each.name for each in threading.enumerate()])
    done = await sent(
        Notify(channel="a"), task(attempted=NOW), places(a=f"json://127.0.0.1:{web.port}/")
    )
    assert done.note == "sent to a (JSON); an earlier attempt may have sent it too"


async def test_an_end_says_how_long_it_lasted(web):
    ended = NotifyResolved(channel="a", began=NOW - 2 * HOUR)
    made = task("funnels", summary="Checkout funnel", matched=NOW)
    await sent(ended, made, places(a=f"json://127.0.0.1:{web.port}"))
    assert web.letters[0]["title"].startswith("✅ Resolved after 2 h: Checkout funnel")
    assert web.letters[0]["type"] == "success"


# In the daemon


@pytest.fixture
def editing(store, web):
    made = Editing(store, "#usual")
    to = places(oncall=f"json://127.0.0.1:{web.port}", mail="env:NO_SUCH_VARIABLE_HERE")
    ports = Ports(made.account, made.slack, None, Addresses(channel="#usual"), to)
    made.delivery = Delivery(store, ports, ACTIONS, clock=lambda: made.now, chance=lambda: 1.0)
    return made


async def test_over_at_most_one_digest_follows(editing, web):
    await editing.use("{notify: {to: oncall, at_most: 1 per hour}}")
    editing.matched("a", "b", "c")
    await editing.delivery.drain()
    editing.now += HOUR
    await editing.delivery.drain()
    titles = [letter["title"] for letter in web.letters]
    assert len(titles) == 2
    assert "2 more" in titles[1]


async def test_limits_hold_also_after_the_store_was_restored(editing, web):
    await editing.use("{notify: {to: oncall, at_most: 1 per hour}}")
    editing.matched(*"abcdef")
    editing.do(mark_restored, 100, editing.now)
    await editing.delivery.drain()
    assert len(web.letters) == 1


async def test_what_waited_in_a_quiet_time_is_one_message_of_the_place(editing, web):
    await editing.use("{notify: oncall}")
    day = Hours(frozenset(range(7)), 0, 23 * 60, "UTC")
    editing.delivery = Delivery(
        editing.store, editing.delivery._ports, ACTIONS, clock=lambda: editing.now,
        calendar=Calendar(hours=(day,)),
    )  # fmt: skip
    editing.matched(*"abcde")
    await editing.delivery.drain()
    assert web.letters == []
    editing.now = NOW.replace(hour=23)
    await editing.delivery.drain()
    [letter] = web.letters
    assert "5 while it was quiet" in letter["title"]


async def test_a_place_that_refuses_holds_its_own_lane_and_goes_on_by_itself(editing, web, store):
    await editing.use("{slack: {}, notify: oncall}")
    web.statuses = [401]
    editing.matched("a")
    await editing.delivery.drain()
    (lane,) = [each for each in editing.do(lanes_now, editing.now) if each.cause]
    assert (lane.lane, lane.cause) == ("notify:oncall", Cause.PLACE_REFUSES)
    assert [each.action for each in editing.do(waiting_steps)] == ["notify"]
    assert len(editing.slack.messages) == 1
    editing.now += HOUR
    await editing.delivery.drain()
    assert len(web.bodies) == 2
    assert "sent to oncall (JSON)" in [each.text for each in editing.do(history)]
    assert not editing.do(waiting_steps)


async def test_a_digest_follows_its_rule_to_another_place_and_never_into_slack(editing, web):
    await editing.use("{slack: {}, notify: {to: mail, at_most: 1 per hour}}")
    editing.matched("a", "b")
    await editing.delivery.drain()
    assert web.bodies == []
    await editing.use("{slack: {}, notify: {to: oncall, at_most: 1 per hour}}")
    editing.now += HOUR
    await editing.delivery.drain()
    assert len(web.bodies) == 2
    assert len(editing.slack.messages) == 2


# What is written


def faults(do, allowed):
    text = f"version: 1\nrules: {{r: {{watch: recordings, when: {{pages: 1}}, do: {do}}}}}"
    try:
        read([("r.yaml", text.encode())], allowed=allowed)
    except Exception as error:
        return str(error)
    return ""


def test_a_rule_may_name_only_places_of_the_configuration():
    assert faults("{notify: oncall}", Allowed(places=("oncall",))) == ""
    assert faults("{notify: oncall}", Allowed()) == ""  # it is not known which there are
    said = faults("{notify: [oncal, {to: oncall}]}", Allowed(places=("oncall",)))
    assert "there is no place oncal under [notify]" in said
    assert "did you mean oncall?" in said
    assert "write the name of a place" in faults("{notify: 'mailto://x'}", Allowed())


def test_a_text_with_personal_data_is_a_warning_there_too():
    do = "{notify: {to: a, text: '{{ ip }}'}}"
    text = f"version: 1\nrules: {{r: {{watch: recordings, when: {{pages: 1}}, do: {do}}}}}"
    found = read([("r.yaml", text.encode())], allowed=Allowed())
    assert [each.lint for each in found.warnings if each.lint == "personal-data"]


NOTIFY = """\
[mouseflow]
region = "eu"
email = "ops@example.com"
api_key = "key"
[notify]
oncall = "json://127.0.0.1/integration-key-of-it"
kept = "env:NO_SUCH_VARIABLE_HERE"
"""


def test_places_come_from_file_variable_or_secret_file_and_are_never_shown(tmp_path):
    (tmp_path / "config.toml").write_text(NOTIFY)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "bot_notify__mail").write_text("mailto://u:password-of-it@example.com")
    found = load(
        tmp_path / "config.toml",
        {"BOT_NOTIFY__CHAT": "ntfy://topic-of-it-all"},
        [tmp_path / "secrets"],
    )
    assert sorted(found.notify) == ["chat", "kept", "mail", "oncall"]
    for secret in ("integration-key-of-it", "password-of-it", "topic-of-it-all"):
        assert secret not in repr(found)
        assert Scrubber(found.secrets()).text(f"see {secret}") == "see [redacted]"
    with pytest.raises(ConfigError, match="notify: write a name of small letters"):
        load(None, {"BOT_NOTIFY__9": "x", "BOT_MOUSEFLOW__REGION": "eu"})


def test_check_says_what_is_wrong_with_a_place(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(NOTIFY + 'odd = "nothing://x"\n')
    (tmp_path / "rules").mkdir()
    rule = "version: 1\nrules: {r: {watch: recordings, when: {pages: 1}, do: {notify: oncall}}}"
    (tmp_path / "rules" / "a.yaml").write_text(rule)
    assert main(["check"]) == 1
    said = capsys.readouterr().out
    assert "notify.odd: Apprise does not understand this address" in said
    assert "notify.kept: the address is not set here" in said
    assert "notify.oncall" not in said
    assert "nothing://" not in said


def test_without_the_extra_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr("bot.delivery.notify.find_spec", lambda _name: None)
    (said,) = problems({"a": Secret("json://127.0.0.1")})
    assert said.endswith("install it with pip install 'mouseflow-bot[notify]'")
    assert problems({}) == []
