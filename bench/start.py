"""What `--help` and the daemon's start cost, and how much memory a resting daemon needs.

    python -m bench.start [--runs 9] [--against PYTHON] [--write]

The daemon runs with ten rules against the simulator, until its first request for recordings and
then for five polls more. Times are processor time, which a busy machine does not change much.
--against measures another version's interpreter in the same rounds. --write puts the table into
docs/explanation/performance.md. Linux only: figures come from /proc.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.report import met, write
from bench.stalls import environment_of
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULE = """\
  friction-{n}:
    watch: recordings
    when: {{friction: {{min: 2.5}}, saw_page: /checkout/{n}*, duration: {{over: {n}s}}}}
    do: {{tag: friction, slack: {{channel: "#checkout-alerts"}}}}
"""
GOALS = {
    "`--help`, s": 0.15,
    "`run` to the first poll, s": 0.9,
    "resident memory after five polls, MB": 70,
}


def help_shown(python: str) -> float:
    """Seconds that `--help` takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-m", "bot", "--help"], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def started(python: str, folder: Path) -> tuple[float, float]:
    """Seconds to the first poll, and MB after some polls."""
    quiet = website("8fc2ace2-75bc-8ba4-b424-c8916670b990", "myshop.com", plan=Plan(per_day=0))
    with Simulator(seed=3, sites=[quiet]) as sim:
        environment = environment_of(sim) | {
            "PATH": os.environ["PATH"],
            "BOT_SLACK__CHANNEL": "#mouseflow",
            "BOT_POLL__RECORDINGS": "1s",
        }

        def polls() -> int:
            return sum(call.path.endswith("/recordings") for call in sim.calls)

        daemon = subprocess.Popen(
            [python, "-m", "bot", "run"], cwd=folder, env=environment, stderr=subprocess.DEVNULL
        )
        try:
            sim.wait_until(polls)
            took = processor_time(daemon.pid)
            sim.wait_until(lambda: polls() > 5)
            return took, resident(daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait(30)


def processor_time(pid: int) -> float:
    """Seconds that the process has computed so far."""
    return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it


def resident(pid: int) -> float:
    """MB of the process in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1000


def measured(python: str) -> tuple[float, ...]:
    """One round of all figures, in the order of the goals."""
    with tempfile.TemporaryDirectory() as name:
        ten_rules(Path(name))
        return (help_shown(python), *started(python, Path(name)))


def ten_rules(folder: Path) -> None:
    """Write them where the daemon looks by default."""
    (folder / "rules").mkdir()
    text = "version: 1\nrules:\n" + "".join(RULE.format(n=n) for n in range(1, 11))
    (folder / "rules" / "rules.yaml").write_text(text)


def table(rounds: list[tuple[float, ...]], before: list[tuple[float, ...]]) -> list[str]:
    """The medians beside their goals, as Markdown."""
    head = ["", "goal", "measured", *(["another version"] if before else []), ""]
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 2) + "|---|"]
    for n, (what, goal) in enumerate(GOALS.items()):
        figures = [median(each[n] for each in them) for them in (rounds, before) if them]
        shown = [f"{it:.1f}" if goal > 10 else f"{it:.2f}" for it in figures]
        lines.append(f"| {what} | < {goal:g} | {' | '.join(shown)} | {met(figures[0] < goal)} |")
    return [f"Processor time; the median of {len(rounds)} rounds.", "", *lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--against", metavar="PYTHON", help="another version's interpreter")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rounds, before = [], []
    for _ in range(options.runs):
        rounds.append(measured(sys.executable))
        if options.against:
            before.append(measured(options.against))
    lines = table(rounds, before)
    print("\n".join(lines))
    if options.write:
        write("start", "\n".join(lines))


if __name__ == "__main__":
    main()
