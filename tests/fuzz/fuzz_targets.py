"""What is fuzzed: each target takes bytes and raises where the bot has a fault.

An input of `rules` and `config` begins with a line that says what it is; one of `api` and `slack`
with the name of the answer that it replaces.
"""

import asyncio
import json
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from document_samples import READERS, SAMPLES
from fuzzer import FINDS, ROOT, Target
from structlog.testing import capture_logs
from virtual_world import Prompt

from bot.account import meaning
from bot.config.load import load
from bot.config.settings import variable
from bot.delivery.buttons import pressed
from bot.delivery.http import Connections, Reply
from bot.delivery.slack import AppClient, SlackPoster, WebhookPoster
from bot.delivery.webhook import WebhookCaller
from bot.errors import BotError, ConfigError, RuleErrors
from bot.polling.context import PollContext
from bot.polling.record_matches import Routing
from bot.ports import CannotLook, SlackPost
from bot.rules.files.actions import Allowed
from bot.rules.files.load import read
from bot.rules.model import RuleSet
from bot.store import in_memory_copy
from bot.watcher import Watcher
from bot.written import Secret
from mouseflow.errors import BadAnswer, unreadable
from mouseflow.rate_limit import retry_after


class Surprise(Exception):
    """The bot logged a fault of its own."""


def finds(name: str) -> list[bytes]:
    """The inputs that once were finds."""
    return [path.read_bytes() for path in sorted((FINDS / name).glob("*"))]


# Rule files


def rules(data: bytes) -> None:
    kind, _, content = data.partition(b"\n\n")
    suffix = ".toml" if kind.startswith(b"toml") else ".yaml"
    try:
        read([(f"x{suffix}", content)], allowed=Allowed(delete=True), tested=True)
    except RuleErrors as error:
        lines = content.count(b"\n") + content.count(b"\r") + 2
        for fault in error.faults:
            str(fault).encode()
            if "internal error" in fault.message or not 1 <= fault.line <= lines:
                raise Surprise(str(fault)) from error


def rule_seeds() -> list[bytes]:
    folders = (ROOT / "rules", ROOT / "tests" / "rules" / "files" / "broken")
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return [
        path.suffix[1:].encode() + b"\n\n" + path.read_bytes()
        for path in files
        if path.suffix in (".yaml", ".toml")
    ]


# Configuration


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="bot-fuzz-"))


def config(data: bytes) -> None:
    """The lines before the first empty one are variables, the rest is config.toml."""
    head, _, content = data.partition(b"\n\n")
    path = _folder() / "config.toml"
    path.write_bytes(content)
    environ = {}
    for line in head.decode("utf-8", "surrogateescape").splitlines():
        name, _, value = line.partition("=")
        environ |= {name.replace("\0", ""): value.replace("\0", "")} if name else {}
    for offline in (False, True):
        try:
            settings = load(path, environ, offline=offline)
        except ConfigError as error:
            str(error).encode()
        else:
            settings.quiet.calendar(settings.mouseflow.time_zone)
            settings.secrets()


def config_seeds() -> list[bytes]:
    example = (ROOT / "config.example.toml").read_bytes()
    whole = re.sub(rb"(?m)^# (?=\w+ = )", b"", example)
    variables = {
        variable(("poll", "recordings")): "60s",
        variable(("slack", "channel")): "#a",
        variable(("notify", "oncall")): "json://localhost",
        variable(("quiet", "hours")): "mon-fri 22:00-06:00",
        "HTTPS_PROXY": "http://user:word@proxy.example:3128",
        "NO_PROXY": "localhost,10.0.0.0/8,[::1]:80,.example.com",
        "ALL_PROXY": "socks5://proxy.example:1080",
        "SSL_CERT_FILE": "/nowhere.pem",
    }
    head = "\n".join(f"{name}={value}" for name, value in variables.items()).encode()
    return [head + b"\n\n" + example, b"\n\n" + whole, head + b"\n\n" + whole]


# Answers of Mouseflow

RULES: Mapping[str, str] = {
    "recordings": """
rules:
  friction: {watch: recordings, when: {duration: {over: 1s}, tags: {not: x}}, do: {tag: a}}
  page: {watch: recordings, when: {saw_page: "*", browser: {exists: true}}, do: {slack: {}}}
  many: {watch: recordings, when: {country: {exists: true}}, count: {at_least: 2, within: 9d},
         do: {slack: {text: "{{ country }} {{ duration }} {{ entry_page }}"}}}
  few: {watch: recordings, when: {pages: {min: 1}}, count: {at_most: 0, within: 2h},
        do: {slack: {}}}
""",
    "funnels": """
rules:
  funnel: {watch: funnels, when: {conversion: {under: 99%}}, do: {slack: {}}}
  fall: {watch: funnels, when: {conversion: {drops_by: 1%, against: 7d}}, do: {slack: {}}}
""",
    "forms": """
rules:
  form: {watch: forms, when: {completion: {under: 99%}}, do: {slack: {}}}
  field: {watch: forms, when: {field: {dropped: {min: 0}}}, do: {slack: {}}}
""",
    "pages": "rules: {pages: {watch: pages, when: {views: {over: 1}}, do: {slack: {}}}}",
    "feedback": "rules: {campaign: {watch: feedback, when: {enabled: true}, do: {slack: {}}}}",
    "websites": """
rules:
  site: {watch: websites, when: {status: {exists: true}}, do: {slack: {}}}
  traffic: {watch: websites, over_last: 2d, when: {recordings: {min: 0}}, do: {slack: {}}}
""",
    "budgets": """
budgets:
  credits: {websites: ["*"], recordings: 10, period: month, steps: {80%: {slack: {}}}}
""",
    "reports": "reports: {weekly: {at: mon 09:00, do: {slack: {}}}}",
}
NOW = datetime(2015, 9, 23, 8, 30, tzinfo=UTC)
"""Shortly after the recordings of the samples: nothing must be read day by day."""
BUGS = {"poll.internal_error", "websites.internal_error", "report.failed", "match.not_stored"}
PLACES: Mapping[str, str] = {
    r"/websites": "websites_list",
    r"/websites/[^/]+": "website_detail",
    r".*/recordings": "recordings_list",
    r".*/recordings/[^/]+": "recording_detail",
    r".*/recordings/[^/]+/share": "share",
    r".*/tags": "tags",
    r".*/variables": "variables",
    r".*/pagelist": "pages",
    r".*/pagelist/urls.*": "page_urls",
    r".*/page": "page",
    r".*/funnels": "funnels",
    r".*/funnels/[^/]+": "funnel",
    r".*/forms": "forms",
    r".*/forms/[^/]+": "form",
    r".*/feedback": "campaigns",
    r".*/feedback/[^/]+": "campaign",
}


@cache
def _answer(path: str) -> str:
    return next((it for known, it in PLACES.items() if re.fullmatch(known, path)), "tags")


@cache
def _sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


class Answers:
    """An account that answers as the document's samples do, but for the answer `name`."""

    def __init__(self, name: str, body: bytes) -> None:
        self.name, self.body = name, body
        self.asked = False

    async def send(self, request: Any) -> Any:
        found = _answer(request.path)
        if found == self.name:
            self.asked = True
        body = self.body if found == self.name else _sample(found)
        try:
            return request.read(body)
        except BadAnswer as problem:
            error = unreadable(request, 200, body, problem)
            raise meaning(error) from error


@cache
def _rules(parts: frozenset[str]) -> RuleSet:
    files = [(f"{part}.yaml", f"version: 1\n{RULES[part]}".encode()) for part in sorted(parts)]
    return read(files, allowed=Allowed(delete=True))


def api(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    name = head.decode("latin-1")
    if name not in READERS:
        return
    try:
        READERS[name].read(body)
    except BadAnswer:
        return
    if name in PLACES.values() and (asking := _asking(name)):
        _loop().run(_polls(Answers(name, body), _rules(asking)))


@cache
def _loop() -> asyncio.Runner:
    return asyncio.Runner()


@cache
def _empty() -> tuple[Prompt, bytes]:
    """A store in memory, and what an empty one looks like: to open one takes 50 ms."""
    store = Prompt(in_memory_copy("sqlite:////nowhere/at/all.db"))
    return store, store.do(lambda conn: conn.connection.driver_connection.serialize())


def _store() -> Prompt:
    store, empty = _empty()
    store._connection.connection.driver_connection.deserialize(empty)
    return store


@cache
def _asking(name: str) -> frozenset[str]:
    """The rules for which this answer is read: without the others most of the time is saved."""
    asking = set()
    for part in RULES:
        account = Answers(name, _sample(name))
        _loop().run(_polls(account, _rules(frozenset({part}))))
        asking |= {part} if account.asked else set()
    return frozenset(asking)


async def _polls(account: Answers, rules: RuleSet) -> None:
    """A daemon's polls, twice."""
    context = PollContext(
        account, _store(), ZoneInfo("Europe/Copenhagen"), timedelta(minutes=35),
        timedelta(hours=1), Routing("#a", "UTC", ops="#ops"),
    )  # fmt: skip
    now = [NOW]
    watcher = Watcher(context, rules, ops="#ops", wake=lambda: None, clock=lambda: now[0])
    with capture_logs() as logged:
        await watcher.use_rules(rules)
        for _ in range(2):
            try:
                await watcher.find_sites()
            except BotError:
                continue
            await watcher.poll_budgets()
            for each in list(watcher.watched.values())[:1]:
                await watcher.poll_recordings(each.site)
                await watcher.poll_feedback(each.site)
                await watcher.poll_reports(each.site)
            await watcher.post_reports()
            now[0] += timedelta(minutes=20)
    for each in logged:
        if each["event"] in BUGS:
            error = each.get("exc_info")
            raise error if isinstance(error, Exception) else Surprise(str(each))


def api_seeds() -> list[bytes]:
    return [name.encode() + b"\n\n" + _sample(name) for name in READERS]


# Answers of Slack and of webhooks

OK: dict[str, Any] = {"ok": True}
SLACK: Mapping[str, dict[str, Any]] = {
    "chat.postMessage": {**OK, "ts": "1443002768.000100", "channel": "C0123ABCD"},
    "chat.update": OK,
    "chat.postEphemeral": OK,
    "auth.test": {**OK, "team": "shop", "user": "bot", "bot_id": "B1"},
    "conversations.members": {
        **OK, "members": ["U1"], "response_metadata": {"next_cursor": ""},
    },
    "conversations.list": {
        **OK, "channels": [{"id": "C0123ABCD", "name": "alerts"}, {"id": "C2", "name": "b"}],
        "response_metadata": {"next_cursor": ""},
    },
    "conversations.history": {
        **OK, "has_more": False, "response_metadata": {"next_cursor": ""},
        "messages": [
            {"ts": "1443002768.0002", "bot_id": "B1", "text": "a"},
            {"ts": "1443002768.0001", "bot_id": "B1", "metadata":
             {"event_type": "mouseflow_alert", "event_payload": {"key": "k"}}},
        ],
    },
    "apps.connections.open": {**OK, "url": "wss://127.0.0.1:1/link"},
}  # fmt: skip
PRESS = {
    "type": "block_actions", "team": {"id": "T1"}, "channel": {"id": "C1"},
    "user": {"id": "U1", "name": "anna", "team_id": "T1"}, "message": {"ts": "1443002768.0001"},
    "actions": [{"action_ts": "1.1", "value": "snooze:abc", "selected_option": None}],
}  # fmt: skip


class Exchange:
    """In the place of the bot's connections: one method answers as the input says."""

    def __init__(self, method: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        after = retry_after(headers.get("Retry-After"), NOW)
        self.method, self.reply = method, Reply(status, headers, body, True, after)
        self.calls = 0

    async def exchange(self, _method: str, _peer: str, url: str, *_: Any, **_more: Any) -> Reply:
        self.calls += 1
        name = url.rpartition("/")[2]
        if name == self.method or self.method == "any":
            return self.reply
        return Reply(200, {}, json.dumps(SLACK.get(name, OK)).encode(), True, None)

    def proxy_of(self, _url: str) -> None:
        return None

    async def close(self) -> None: ...


def slack(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    method, _, rest = head.decode("latin-1").partition(" ")
    status, *headers = rest.split("\n")
    named = {k: v for k, _, v in (each.partition(": ") for each in headers)}
    if method == "press":
        _press(body)
        return
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 200
    asyncio.run(_calls(Exchange(method, max(200, code), named, body)))


def _press(body: bytes) -> None:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return
    if isinstance(payload, dict):
        pressed(payload, NOW)


async def _calls(exchange: Exchange) -> None:
    poster, webhook = SlackPoster(Secret("xoxb-1")), WebhookPoster(Secret("https://x.y/z"))
    app, caller = AppClient(Secret("xapp-1"), "https://slack.com/api/"), WebhookCaller()
    for each in (poster, webhook, app, caller):
        for name, value in vars(each).items():
            if isinstance(value, Connections):
                setattr(each, name, exchange)
        client = getattr(each, "_client", None) or getattr(each, "client", None)
        if client is not None:
            client.session._connections = exchange
    post = SlackPost(channel="#alerts", text="a", key="k")
    for call in (
        lambda: poster.post(post),
        lambda: poster.find("#alerts", "other", NOW),
        lambda: poster.find("#alerts", "k", NOW, thread="1443002768.0001"),
        lambda: poster.update(post, "1443002768.0001"),
        lambda: poster.check_channel("#b"),
        lambda: poster.is_member("C1", "U2"),
        lambda: poster.whisper("C1", "U1", "no"),
        poster.identity,
        app.socket_address,
        lambda: webhook.post(post),
        lambda: caller.call("https://x.y/z", b"{}", {}),
    ):
        try:
            await call()
        except (BotError, CannotLook) as error:
            str(error).encode()
    if exchange.calls > 1000:
        raise Surprise("more than 1,000 calls")


def slack_seeds() -> list[bytes]:
    stamp = "Date: Wed, 23 Sep 2015 12:00:00 GMT\nRetry-After: 3\nx-oauth-scopes: chat:write"
    seeds = [
        f"{name} 200\n{stamp}\n\n{json.dumps(answer)}".encode() for name, answer in SLACK.items()
    ]
    refused = {"ok": False, "error": "missing_scope", "needed": "chat:write"}
    seeds += [f"any {code}\n{stamp}\n\n{json.dumps(refused)}".encode() for code in (200, 429, 503)]
    return [*seeds, b"any 200\n\nok", b"press 200\n\n" + json.dumps(PRESS).encode()]


TARGETS: Mapping[str, Target] = {
    "rules": Target(rules, rule_seeds),
    "config": Target(config, config_seeds),
    "api": Target(api, api_seeds),
    "slack": Target(slack, slack_seeds),
}
