"""The real command as a process of its own, beside a simulated account."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import bot_process

from mouseflow.simulator.server import Simulator

RULE = """
version: 1
rules:
  checkout-friction:
    summary: Frustrated visitors in the checkout
    watch: recordings
    when: {friction: {min: 2.5}, saw_page: /checkout*, duration: {over: 60s}}
    do:
      tag: [friction, checkout]
      star: true
      share: {expires: 7d}
      slack: {channel: "#checkout-alerts"}
"""


class Daemon:
    """A folder with configuration and rules, and the bot that runs in it."""

    def __init__(self, folder: Path, sim: Simulator, rules: str = RULE, **settings: str) -> None:
        self.folder = folder
        self.rule_file = folder / "rules" / "checkout.yaml"
        self.rule_file.parent.mkdir()
        self.rule_file.write_text(rules)
        self.environment = {
            "PATH": os.environ["PATH"],
            "BOT_MOUSEFLOW__BASE_URL": sim.mouseflow_url,
            "BOT_MOUSEFLOW__EMAIL": sim.email,
            "BOT_MOUSEFLOW__API_KEY": sim.api_key,
            "BOT_MOUSEFLOW__TIME_ZONE": sim.quirks.time_zone,
            "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "50",
            "BOT_SLACK__BASE_URL": sim.slack_url,
            "BOT_SLACK__BOT_TOKEN": sim.slack.token,
            "BOT_SLACK__CHANNEL": "#mouseflow",
            "BOT_SLACK__OPS_CHANNEL": "#ops",
            "BOT_POLL__RECORDINGS": "500ms",
            "BOT_POLL__START": "1h",
            "BOT_WEB__LISTEN": "",
            "BOT_LOG__FORMAT": "json",
        } | settings
        self.log = folder / "log.jsonl"
        self.program: tuple[str, ...] = ("-m", "bot")
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself."""
        return bot_process.run(
            [sys.executable, "-m", "bot", *arguments], cwd=self.folder, env=self.environment
        )

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = bot_process.Popen(
                [sys.executable, *self.program, "run"],
                cwd=self.folder,
                env=self.environment,
                stderr=log,
                stdout=log,
            )

    def kill(self) -> None:
        """As a power cut would end it."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def tell(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(120)
        self.process = None
        return code

    def events(self, name: str = "") -> list[dict[str, object]]:
        """The log's lines, or those of one event."""
        if not self.log.exists():
            return []
        whole = self.log.read_text().rpartition("\n")[0]  # the last line may be half written
        lines = [line for line in whole.splitlines() if line.startswith("{")]
        told = [json.loads(line) for line in lines]
        return [line for line in told if not name or name in (line.get("event"), line.get("msg"))]
