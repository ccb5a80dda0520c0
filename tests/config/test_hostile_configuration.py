"""Whatever stands in configuration, environment and secrets: exit 1 with a line that names it."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from daemon_world import Daemon

from bot.cli.main import main
from bot.config.load import load
from bot.errors import ConfigError
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

GOOD = """
[mouseflow]
region = "eu"
email = "ops@example.com"
api_key = "a-key-of-the-account"
"""
MiB = 2**20


def text(content: str) -> Callable[[Path], None]:
    return lambda path: (path / "config.toml").write_text(content)


def data(content: bytes) -> Callable[[Path], None]:
    return lambda path: (path / "config.toml").write_bytes(content) and None


def more(content: str) -> Callable[[Path], None]:
    return text(GOOD + content)


def address(url: str) -> Callable[[Path], None]:
    return text(GOOD.replace('region = "eu"', f'base_url = "{url}"'))


def shop(content: str, name: str = "shop") -> Callable[[Path], None]:
    """A good account, and one that has this."""
    good = "[accounts.outlet.mouseflow]\napi_key = 'the-key-of-the-outlet'\n"
    return more(f"{good}[accounts.{name}.mouseflow]\n{content}\n")


def folder(path: Path) -> None:
    (path / "config.toml").mkdir()


def dangling(path: Path) -> None:
    (path / "config.toml").symlink_to(path / "nowhere")


def itself(path: Path) -> None:
    (path / "config.toml").symlink_to(path / "config.toml")


FILES = {
    "empty": (text(""), "mouseflow"),
    "only a comment": (text("# nothing\n"), "mouseflow"),
    "a folder": (folder, "config.toml"),
    "a link to nothing": (dangling, "config.toml"),
    "a link to itself": (itself, "config.toml"),
    "nul": (data(b"\0" * 100), "config.toml:1:1"),
    "not utf-8": (data(b"[mouseflow]\nemail = '\xff'\n"), "config.toml:2"),
    "utf-16": (data(GOOD.encode("utf-16")), "config.toml:1:1"),
    "a program": (data(b"\x7fELF" + bytes(range(256)) * 8), "config.toml:"),
    "json": (text('{"mouseflow": {"region": "eu"}}'), "config.toml:1"),
    "yaml": (text("mouseflow:\n  region: eu\n"), "config.toml:1"),
    "arrays nested 2,000 deep": (more(f"x = {'[' * 2000}{']' * 2000}\n"), "config.toml:6"),
    "tables nested 2,000 deep": (more(f"x = {'{a=' * 2000}1{'}' * 2000}\n"), "config.toml:6"),
    "a dotted key of 5,000 parts": (more(f"{'.'.join('a' * 5000)} = 1\n"), "config.toml"),
    "a number of 5,000 digits": (more(f"x = {'9' * 5000}\n"), "config.toml:6"),
    "a number with a huge exponent": (more("requests_per_second = 1e999999\n"), "config.toml:6"),
    "20 MB of comments": (data(b"# nothing\n" * (2 * MiB)), "config.toml"),
    "one line of 2 MB": (data(b"x = '" + b"a" * (2 * MiB) + b"'\n"), "config.toml"),
    "a key twice": (more('region = "us"\n'), "config.toml:6"),
    "a table twice": (more("[mouseflow]\n"), "config.toml:6"),
    "an unclosed text": (more('app_url = "https\n'), "config.toml:6"),
    "an unknown section": (more("[slac]\n"), "slac"),
    "an unknown key": (more('[slack]\nchanel = "#a"\n'), "slack.chanel"),
    "an unknown key that may be a secret": (more('"xoxb-1234567890-abcdef" = 1\n'), "config.toml"),
    "a section that is a text": (text('slack = "x"\n' + GOOD), "slack"),
    "a section that is a list": (text("slack = []\n" + GOOD), "slack"),
    "a list of sections": (more("[[slack]]\n[[slack]]\n"), "slack"),
    "a number for a key": (text(GOOD.replace('"a-key-of-the-account"', "12345")), "api_key"),
    "a table for a key": (text(GOOD.replace('"a-key-of-the-account"', "{a = 1}")), "api_key"),
    "an unknown region": (text(GOOD.replace('"eu"', '"moon"')), "region"),
    "a region and an address": (more('base_url = "http://127.0.0.1:1"\n'), "base_url"),
    "plain http": (address("http://example.com"), "https"),
    "an address with a password": (address("https://u:p@example.com"), "base_url"),
    "an address that is none": (address("https://[::1"), "base_url"),
    "a host that no name can have": (address("https://a..b"), "base_url"),
    "a host whose label is too long": (address(f"https://{'a' * 64}.com"), "base_url"),
    "a host that is too long": (address("https://" + ("a" * 60 + ".") * 5 + "com"), "base_url"),
    "a heartbeat's host that no name can have": (
        more('[heartbeat]\nurl = "https://.a/"\n'), "heartbeat.url",
    ),
    "an unknown time zone": (more('time_zone = "Mars/Olympus"\n'), "time_zone"),
    "a path as time zone": (more('time_zone = "../../etc/passwd"\n'), "time_zone"),
    "a folder as time zone": (more('time_zone = "Europe"\n'), "time_zone"),
    "not a number": (more("requests_per_second = nan\n"), "requests_per_second"),
    "infinitely many requests": (more("requests_per_second = inf\n"), "requests_per_second"),
    "no requests": (more("requests_per_second = 0\n"), "requests_per_second"),
    "a date for a number": (more("requests_per_second = 2026-01-01\n"), "requests_per_second"),
    "a duration without a unit": (more('[poll]\nrecordings = "60"\n'), "poll.recordings"),
    "a negative duration": (more('[poll]\nrecordings = "-5s"\n'), "poll.recordings"),
    "a huge duration": (more('[poll]\nrecordings = "99999999999999999d"\n'), "poll.recordings"),
    "a duration in odd digits": (more('[poll]\nrecordings = "٦٠s"\n'), "poll.recordings"),
    "a duration that is a list": (more("[poll]\nrecordings = [60]\n"), "poll.recordings"),
    "no store": (more('[store]\nurl = ""\n'), "store.url"),
    "another database": (more('[store]\nurl = "mysql://db/bot"\n'), "store.url"),
    "a store in memory": (more('[store]\nurl = "sqlite:///:memory:"\n'), "store.url"),
    "a store that is a path": (more('[store]\nurl = "data/bot.db"\n'), "store.url"),
    "a store that is no address": (more('[store]\nurl = "://["\n'), "store.url"),
    "a short keep": (more('[store]\nkeep = "1h"\n'), "store.keep"),
    "no rules": (more("[rules]\npaths = []\n"), "rules.paths"),
    "rules that are not there": (more('[rules]\npaths = ["nowhere"]\n'), "nowhere"),
    "a path with nul": (more('[rules]\npaths = ["a\\u0000b"]\n'), "a"),
    "a path of 5,000 characters": (more(f'[rules]\npaths = ["{"a" * 5000}"]\n'), "aaaa"),
    "rules that are a number": (more("[rules]\npaths = 3\n"), "rules.paths"),
    "a text for a switch": (more('[rules]\nallow_delete = "perhaps"\n'), "allow_delete"),
    "an odd channel": (more('[slack]\nchannel = "two words"\n'), "slack.channel"),
    "a line break in a token": (more('[slack]\nbot_token = "xoxb-1\\nx"\n'), "slack.bot_token"),
    "token and webhook": (
        more('[slack]\nbot_token = "xoxb-1"\nwebhook_url = "https://a.b/c"\n'),
        "slack",
    ),
    "a port that is too high": (more('[web]\nlisten = "127.0.0.1:99999"\n'), "web.listen"),
    "a log format of another program": (more('[log]\nformat = "logfmt"\n'), "log.format"),
    "accounts that are a number": (text(f"accounts = 3\n{GOOD}"), "accounts"),
    "accounts that are a list": (more("[[accounts]]\n"), "accounts"),
    "accounts without one": (more("[accounts]\n"), "accounts"),
    "an account that is a text": (text(f'accounts.shop = "x"\n{GOOD}'), "shop"),
    "an account twice": (shop("[accounts.shop.mouseflow]\n"), "config.toml:9"),
    "an account whose name is a path": (shop("", '"../../etc"'), "etc"),
    "an account without a name": (shop("", '""'), "accounts"),
    "an account whose name is very long": (shop("", "a" * 5000), "accounts.aaa"),
    "an account whose name is an emoji": (shop("", '"\U0001f600"'), "accounts"),
    "an account with an unknown section": (shop("[accounts.shop.slac]"), "accounts.shop.slac"),
    "an account with an unknown key": (shop("reqion = 'eu'"), "accounts.shop.mouseflow.reqion"),
    "an account with an unknown region": (shop("region = 'moon'"), "accounts.shop"),
    "an account with a wrong time zone": (shop("time_zone = 'Mars'"), "accounts.shop"),
    "an account with the other's key": (shop("api_key = 'the-key-of-the-outlet'"), "api_key"),
    "an account with what all share": (shop("[accounts.shop.web]\nlisten = ''"), "shop.web"),
    "an account with the other's store": (
        shop("[accounts.shop.store]\nurl = 'sqlite:///data/bot-outlet.db'"), "store",
    ),
    "accounts nested 2,000 deep": (
        more(f"[accounts.{'.'.join('a' * 2000)}]\nx = 1\n"), "config.toml:6",
    ),
}  # fmt: skip
ACCOUNTS = [name for name in FILES if name.startswith(("account", "an account"))]

VARIABLES = {
    "BOT_SLACK__CHANNEL": "#\udcff",
    "BOT_SLACK__CHANEL": "#a",
    "BOT_FOO": "1",
    "BOT_POLL__RECORDINGS": "soon",
    "BOT_MOUSEFLOW__REGION": "moon",
    "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "nan",
    "BOT_MOUSEFLOW__TIME_ZONE": "x" * 100_000,
    "BOT_RULES__PATHS": ",",
    "BOT_RULES__ALLOW_DELETE": "perhaps",
    "BOT_STORE__URL": "oracle://x",
    "BOT_WEB__LISTEN": "here",
    "BOT_LOG__LEVEL": "chatty",
    "BOT_MOUSEFLOW": "{",
    "BOT_ACCOUNTS__SHOP__MOUSEFLOW__REGION": "moon",
    "BOT_ACCOUNTS__SHOP__SLAC__CHANNEL": "#a",
    "BOT_ACCOUNTS__SHOP": "{",
    "BOT_ACCOUNTS__": "1",
    "HTTPS_PROXY": "socks5://127.0.0.1:9",
    "HTTP_PROXY": "foo://x",
    "ALL_PROXY": "http://proxy corp:99999",
    "https_proxy": "http://[::1",
    "http_proxy": "http://a..b:80",
    "SSL_CERT_FILE": "/no/such/file.pem",
    "SSL_CERT_DIR": "/no/such/folder",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("BOT_") or name.upper().endswith("_PROXY") or "SSL_CERT" in name:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "one.yaml").write_text(
        "version: 1\nrules:\n  a:\n    watch: recordings\n"
        "    when: {device: phone}\n    do: {tag: phone}\n"
    )
    return tmp_path


def refused(capsys, *names: str, within: float = 5) -> None:
    """`check` and `once` both end with 1, soon, and name it; neither shows a traceback."""
    for arguments in (["check"], ["once", "--dry-run"]):
        began = time.process_time()
        code = main(arguments)
        took = time.process_time() - began
        shown = capsys.readouterr()
        said = shown.err + shown.out
        assert code == 1, (arguments, said)
        assert "Traceback" not in said
        assert any(name in said for name in names), (arguments, said)
        assert len(max(said.splitlines(), key=len)) < 20_000
        assert took < within


def test_the_tables_are_long_enough():
    assert len(FILES) >= 60
    assert len(VARIABLES) >= 20
    assert len(ACCOUNTS) >= 15


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_with_its_place(place, capsys, name):
    spoil, says = FILES[name]
    spoil(place)
    refused(capsys, says)
    assert not (place / "data").exists()


@pytest.mark.parametrize("name", VARIABLES)
def test_a_hostile_variable_is_refused_by_its_name(place, capsys, monkeypatch, name):
    text(GOOD)(place)
    monkeypatch.setenv(name, VARIABLES[name])
    section, _, key = name.removeprefix("BOT_").lower().partition("__")
    refused(capsys, name, f"{section}.{key}")


def secret(place, monkeypatch, make) -> None:
    folder = place / "secrets"
    folder.mkdir()
    text(GOOD.replace('api_key = "a-key-of-the-account"\n', ""))(place)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    make(folder / "bot_mouseflow__api_key")


@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.mkdir(),
        lambda file: file.touch(),
        lambda file: file.symlink_to("nowhere"),
        lambda file: file.symlink_to(file),
        lambda file: file.write_bytes(b"\xff\xfe\x00"),
        lambda file: file.write_text(" \n"),
        lambda file: os.mkfifo(file),
        lambda file: file.write_bytes(b"\0" * 50),
        lambda file: file.write_text("two\nlines"),
        lambda file: file.write_text("a" * 100_000),
        lambda file: file.symlink_to("/dev/zero"),
    ],
    ids=[
        "folder", "empty", "dangling", "loop", "bytes", "blank", "pipe", "nul", "two lines", "big",
        "device",
    ],
)  # fmt: skip
def test_a_secret_that_cant_be_used_is_named(place, capsys, monkeypatch, make):
    secret(place, monkeypatch, make)
    code = main(["once", "--dry-run"])
    said = "".join(capsys.readouterr())
    assert code == 1, said
    assert f"{place}/secrets/bot_mouseflow__api_key: " in said
    assert "Traceback" not in said


def test_what_a_setting_can_not_be_named_after_is_no_secret(place, monkeypatch, capsys):
    secret(place, monkeypatch, lambda file: file.write_text("a-key"))
    (place / "secrets" / "bot_backup").mkdir()
    assert main(["check"]) == 0, capsys.readouterr()


@pytest.mark.parametrize("argument", ["\udcff", "a\x00b", "x" * 5000, "", "/dev/null/x", "/"])
def test_a_hostile_name_of_the_configuration_is_refused(place, capsys, argument):
    code = main(["check", "--config", argument])
    said = "".join(capsys.readouterr())
    assert code in (1, 2), said
    assert "Traceback" not in said


def test_a_configuration_from_a_pipe_is_read_once_and_never_waited_for(place, capsys):
    os.mkfifo(place / "pipe")
    assert main(["check", "--config", "pipe"]) == 1
    assert "pipe: can't be read: nobody writes into this pipe" in "".join(capsys.readouterr())
    assert main(["healthcheck", "--config", "pipe"]) == 1
    assert "not running" in "".join(capsys.readouterr())
    reader = os.open(place / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(place / "pipe", os.O_WRONLY)
    later = threading.Timer(0.2, lambda: (os.write(writer, GOOD.encode()), os.close(writer)))
    later.start()
    assert main(["check", "--config", "pipe"]) == 0, capsys.readouterr()
    later.join()
    os.close(reader)


def test_a_configuration_without_an_end_is_refused(place, capsys):
    for command in ("check", "status"):
        assert main([command, "--config", "/dev/zero"]) == 1
        assert "the file is too big" in "".join(capsys.readouterr())
    assert main(["healthcheck", "--config", "/dev/zero"]) == 1


SLOW = {"20 MB of comments", "one line of 2 MB", "a dotted key of 5,000 parts"}
"""What takes seconds to write and to read."""


def test_whatever_the_file_becomes_beside_a_daemon_it_goes_on(tmp_path):
    rule = "{watch: recordings, when: {device: phone}, do: {tag: good}}"
    with Simulator(seed=3, sites=[website("w1", "myshop.com", plan=Plan(per_day=0))]) as sim:
        daemon = Daemon(tmp_path, sim, f"version: 1\nrules: {{good: {rule}}}\n")
        config = tmp_path / "config.toml"
        good = (
            f'[mouseflow]\nbase_url = "{sim.mouseflow_url}"\nemail = "{sim.email}"\n'
            f'api_key = "{sim.api_key}"\ntime_zone = "{sim.quirks.time_zone}"\n'
            '[poll]\nrecordings = "500ms"\nstart = "1h"\n[web]\nlisten = ""\n'
            '[log]\nformat = "json"\n'
        )
        config.write_text(good)
        daemon.environment = {"PATH": os.environ["PATH"]}
        daemon.start()
        sim.wait_until(lambda: daemon.events("daemon.started"))
        refused = 0
        for name in sorted(FILES.keys() - SLOW):
            shutil.rmtree(config) if config.is_dir() else config.unlink()
            FILES[name][0](tmp_path)
            with suppress(ConfigError):
                load(config, {})
                continue
            refused += 1
            daemon.tell(signal.SIGHUP)
            sim.wait_until(lambda many=refused: len(daemon.events("secrets.not_loaded")) == many)
        assert refused >= 55
        shutil.rmtree(config) if config.is_dir() else config.unlink()
        config.write_text(good.replace("500ms", "1s"))
        daemon.tell(signal.SIGHUP)
        who = sim.add("myshop.com", "phone-bounce", start=-10)
        sim.wait_until(lambda: "tag good" in sim.effect(who).calls)
        assert "Traceback" not in daemon.log.read_text()
        assert daemon.stop() == 0
