"""How long from a poll that could see a recording to its Slack post, with the real daemon.

    python -m bench.latency [--write]      # 20 recordings, polls every five seconds

The daemon runs as a process of its own against the simulator on loopback, with the default
rate budget. Each session is frustrated from the moment it becomes visible; the time is taken
from the first list call after that to the arrival of the message at Slack.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.report import write
from bench.stalls import environment_of
from mouseflow.simulator.clock import milliseconds
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.slack import SlackMessage
from mouseflow.simulator.traffic import Plan

RULE = """
version: 1
rules:
  checkout-friction:
    watch: recordings
    when: {friction: {min: 2.5}, saw_page: /checkout*, duration: {over: 60s}}
    do: {tag: friction, slack: {channel: "#checkout-alerts"}}
"""
RECORDINGS = 20


def main() -> None:
    site = website("8fc2ace2-75bc-8ba4-b424-c8916670b990", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[site]) as sim, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules").mkdir()
        (folder / "rules" / "checkout.yaml").write_text(RULE)
        environment = environment_of(sim) | {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "BOT_SLACK__CHANNEL": "#mouseflow",
            "BOT_POLL__RECORDINGS": "5s",
        }
        daemon = subprocess.Popen(
            [sys.executable, "-m", "bot", "run"],
            cwd=folder, env=environment, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            text = told(measured(sim))
            print(text)
            if "--write" in sys.argv[1:]:
                write("latency", text)
        finally:
            daemon.terminate()
            daemon.wait(30)


def measured(sim: Simulator) -> list[float]:
    """Seconds from the poll to the post, for each recording."""
    taken = []

    def posts() -> list[SlackMessage]:
        return sim.slack.in_channel("#checkout-alerts")

    sim.wait_until(lambda: any(call.path.endswith("/recordings") for call in sim.calls))
    for number in range(RECORDINGS):
        sim.add("myshop.com", "checkout-friction", start=-85, calm_for=80)
        visible = milliseconds(sim.clock.now())
        sim.wait_until(lambda posted=number + 1: len(posts()) == posted)
        post = posts()[number]
        poll = next(
            call.at
            for call in list(sim.calls)
            if call.path.endswith("/recordings") and call.at >= visible
        )
        taken.append(float(post.ts) - poll / 1000)
    return taken


def told(taken: list[float]) -> str:
    high = sorted(taken)[int(len(taken) * 0.95)]
    return (
        f"From poll to post: median {statistics.median(taken):.3f} s (goal under 0.3), "
        f"95 % within {high:.3f} s, {len(taken)} recordings."
    )


if __name__ == "__main__":
    main()
