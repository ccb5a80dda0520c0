"""A webhook's secret signs the call and is nowhere in the store."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from daemon_world import Daemon

from bot.actions.webhook import signature
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

SECRET = "correct horse battery staple"


@pytest.fixture
def sim():
    site = website("8fc2ace2-75bc-8ba4-b424-c8916670b990", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site]) as simulator:
        yield simulator


@pytest.fixture
def receiver():
    calls = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls.append((self.headers, body))
            self.send_response(503 if len(calls) == 1 else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    server.calls = calls
    yield server
    server.shutdown()
    server.server_close()


def test_a_secret_in_the_rule_signs_also_what_waited_and_is_not_stored(tmp_path, sim, receiver):
    rule = f"""
version: 1
rules:
  checkout:
    watch: recordings
    when: {{saw_page: /checkout*}}
    do:
      webhook: {{url: "http://127.0.0.1:{receiver.server_port}/in", secret: {SECRET}}}
"""
    daemon = Daemon(tmp_path, sim, rule)
    sim.add("myshop.com", "checkout-friction", start=-79.5, calm_for=80)
    daemon.run("once")
    files = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    assert b"checkout" in files
    assert SECRET.encode() not in files
    daemon.rule_file.write_text(rule.replace(SECRET, "a rotated secret"))
    daemon.start()
    sim.wait_until(lambda: len(receiver.calls) == 2)
    assert daemon.stop() == 0
    for (headers, body), secret in zip(receiver.calls, (SECRET, "a rotated secret"), strict=True):
        signed = signature(secret.encode(), headers["Mouseflow-Bot-Timestamp"], body)
        assert headers["Mouseflow-Bot-Signature"] == signed
