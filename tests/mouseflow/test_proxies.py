"""Proxies and certificate authorities of the environment."""

import os
import socketserver
import ssl
from threading import Thread

import pytest

from mouseflow.errors import ConfigurationError
from mouseflow.proxies import from_environment, problems

EU = "https://api-eu.mouseflow.com/websites"


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, EU, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, EU, "http://proxy:3128"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://high:2"}, EU, "http://low:1"),
        ({"ALL_PROXY": "http://all:3"}, EU, "http://all:3"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "http://all:3"}, EU, "http://all:3"),
        ({"HTTP_PROXY": "http://plain:4"}, EU, None),
        ({"HTTP_PROXY": "http://plain:4"}, "http://hooks.lan/x", "http://plain:4"),
        ({"HTTPS_PROXY": "proxy:3128"}, EU, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://u:p@proxy:3128"}, EU, "http://u:p@proxy:3128"),
        ({"HTTPS_PROXY": "http://[fd00::1]:3128"}, EU, "http://[fd00::1]:3128"),
        ({"ALL_PROXY": "http://p:1"}, "http://127.0.0.1:8700/x", None),
        ({"ALL_PROXY": "http://p:1"}, "http://[::1]:8700/x", None),
        ({"ALL_PROXY": "http://p:1"}, "http://localhost/x", None),
    ],
)
def test_the_proxy_of_an_address(environ, url, proxy):
    assert from_environment(environ).of(url) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "slack.com", True),
        ("slack.com", "slack.com", True),
        ("slack.com", "hooks.slack.com", True),
        (".slack.com", "hooks.slack.com", True),
        ("*.slack.com", "hooks.slack.com", True),
        ("slack.com", "notslack.com", False),
        ("SLACK.com", "Slack.COM", True),
        ("a.com slack.com", "slack.com", True),
        ("a.com,,slack.com", "slack.com", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "[fd00::5]", True),
        ("[fd00::5]", "[fd00::5]", True),
        ("fd00::5", "[fd00::5]", True),
        ("localhost,127.0.0.1,[::1],fd00::/8", "api.example", False),
        ("slack.com:443", "slack.com", True),
        ("slack.com:8080", "slack.com", False),
        ("[fd00::5]:443", "[fd00::5]", True),
        ("[fd00::5]:80", "[fd00::5]", False),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("[", "slack.com", False),
        (".", "slack.com", False),
    ],
)
def test_what_no_proxy_covers(no_proxy, host, direct):
    found = from_environment({"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy})
    assert (found.of(f"https://{host}/x") is None) == direct


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HTTPS_PROXY", "socks5://127.0.0.1:9", "SOCKS proxies are not supported"),
        ("ALL_PROXY", "socks5h://127.0.0.1:9", "SOCKS proxies are not supported"),
        ("HTTPS_PROXY", "foo://127.0.0.1:9", "begins with http://, not foo://"),
        ("https_proxy", "http://proxy corp:99999", "not a number up to 65535"),
        ("HTTP_PROXY", "http://proxy:port", "not a number up to 65535"),
        ("HTTPS_PROXY", "http://proxy:0", "not an address"),
        ("HTTPS_PROXY", "http://", "not an address"),
        ("HTTPS_PROXY", "://", "not"),
        ("HTTPS_PROXY", "http://[::1", "not a URL"),
        ("HTTPS_PROXY", "http://my proxy/", "not an address"),
        ("HTTPS_PROXY", "http://a\x00b:1", "not an address"),
        ("SSL_CERT_FILE", "/no/such.pem", "SSL_CERT_FILE: /no/such.pem can't be used (No such"),
        ("SSL_CERT_FILE", "/etc", "SSL_CERT_FILE: /etc can't be used"),
        ("SSL_CERT_FILE", "/etc/hostname", "it holds no certificate"),
        ("SSL_CERT_FILE", "/etc/a\x00b", "SSL_CERT_FILE: not a path"),
        ("SSL_CERT_DIR", "/no/such", "SSL_CERT_DIR: /no/such is no folder"),
    ],
)
def test_a_variable_that_cant_be_used_is_named_without_a_password(variable, value, says):
    (said,) = problems({variable: value})
    assert said.startswith(f"{variable}: ")
    assert says in said
    hidden = value.replace("://", "://user:hunter2@", 1)
    assert "hunter2" not in "".join(problems({variable: hidden}))


def test_the_certificates_of_this_machine_are_fine():
    if (file := ssl.get_default_verify_paths().cafile) is not None:
        assert list(problems({"SSL_CERT_FILE": file})) == []


def test_certificates_are_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pem")
    (said,) = problems({"SSL_CERT_FILE": f"{tmp_path}/pipe.pem"})
    assert "can't be used (it is no file)" in said


def test_a_client_whose_proxy_cant_be_used_says_so_when_it_is_made(monkeypatch):
    from mouseflow import AsyncMouseflow

    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY: SOCKS"):
        AsyncMouseflow("eu", "ops@example.com", "key")
    AsyncMouseflow("http://127.0.0.1:1", "ops@example.com", "key")


class Proxy(socketserver.ThreadingTCPServer):
    """Keeps the first line of each request, and refuses it."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Refuse)


class _Refuse(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.server.lines.append(self.rfile.readline().strip())
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def proxy(monkeypatch):
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = Proxy()
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{server.server_address[1]}")
    yield server
    server.shutdown()
    server.server_close()


async def test_mouseflow_slack_and_webhooks_use_the_same_proxy(proxy):
    from bot.delivery.slack import SlackPoster
    from bot.delivery.webhook import WebhookCaller
    from bot.errors import TryLater
    from bot.ports import SlackPost
    from bot.written import Secret
    from mouseflow import AsyncMouseflow, websites
    from mouseflow.errors import Unreachable

    async with AsyncMouseflow("eu", "ops@example.com", "key", tries=1) as client:
        with pytest.raises(Unreachable):
            await client.send(websites.list())
    slack, caller = SlackPoster(Secret("xoxb-1")), WebhookCaller()
    try:
        with pytest.raises(TryLater, match="proxy") as refused:
            await slack.post(SlackPost("#a", "text"))
        assert not refused.value.unknown
        with pytest.raises(TryLater, match=r"the proxy for hooks\.example answered 407") as refused:
            await caller.call("https://hooks.example/x", b"{}", {})
        assert not refused.value.unknown
    finally:
        await slack.close()
        await caller.close()
    hosts = {line.split()[1] for line in proxy.lines}
    assert hosts == {b"api-eu.mouseflow.com:443", b"slack.com:443", b"hooks.example:443"}
