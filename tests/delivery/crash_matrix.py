"""Every point at which the bot can die, for every kind of action, in a world that remembers.

python tests/delivery/crash_matrix.py            prints the table of docs/delivery.md
python tests/delivery/crash_matrix.py --write    puts it there
"""

import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bot.simulator.server import Simulator

POLL_POINTS = {
    "poll.before": "before the poll's transaction",
    "poll.inside": "in it, all rows written, not committed",
    "poll.after": "committed, nothing begun",
}
STEP_POINTS = {
    "claim.before": "the step is due, not yet claimed",
    "claim.after": "claimed, the call not prepared",
    "call.before": "the call is about to go out",
    "call.after": "the call has taken effect, nobody knows",
    "settle.before": "about to settle",
    "settle.inside": "in the settling transaction, not committed",
    "settle.after": "settled",
}
POINTS = POLL_POINTS | STEP_POINTS
NEXT = {
    "no match": "the poll sees the recording again and matches it",
    "pending": "it is performed as if nothing had happened",
    "sending": "an attempt with an unknown outcome: looked up or safely repeated",
    "done": "nothing is left to do",
}
HOUR, WEEK = 3600, 7 * 24 * 3600
DOCS = Path(__file__).parents[2] / "docs" / "delivery.md"
BEGIN, END = "<!-- crash matrix: generated -->", "<!-- end of the crash matrix -->"


@dataclass(frozen=True)
class Effect:
    """What the world knows: how often it took effect, and how many calls that took."""

    times: int
    calls: int


@dataclass(frozen=True)
class Scenario:
    """An action to die in. `first` makes it run once before (an hour or a week earlier)."""

    actions: list[tuple[str, dict[str, Any]]]
    effect: Callable[["World", "Cell"], Effect]
    recordings: int = 1
    step: str = ""
    first: int = 0

    @property
    def points(self) -> dict[str, str]:
        return STEP_POINTS if self.first else POINTS


@dataclass
class Cell:
    """One death: where, in which store, on which recordings; and what was seen after it."""

    kind: str
    point: str
    store: Path
    recordings: list[str]
    channel: str
    killed: int = 0
    on_disk: str = ""
    effect: Effect = field(default_factory=lambda: Effect(0, 0))
    left: Counter = field(default_factory=Counter)


def recording_effect(call: str, holds: Callable[[Any], bool]) -> Callable[["World", Cell], Effect]:
    def effect(world: "World", cell: Cell) -> Effect:
        seen = world.sim.effect(cell.recordings[0])
        return Effect(int(holds(seen)), seen.calls.get(call, 0))

    return effect


def variables_effect(world: "World", cell: Cell) -> Effect:
    site, visit, _ = world.sim.world.truth(cell.recordings[0])
    marks = site.marks[visit.ref]
    return Effect(int((marks.variables or {}).get("found") == "yes"), marks.calls["variables"])


def slack_effect(expected: int) -> Callable[["World", Cell], Effect]:
    def effect(world: "World", cell: Cell) -> Effect:
        posts = [m for m in world.sim.slack.messages if m.channel == cell.channel.lstrip("#")]
        keys = {str(message.metadata) for message in posts}
        # Those that an earlier run posted are not this death's.
        return Effect(len(posts) - expected + 1 if len(keys) == len(posts) else 99, len(posts))

    return effect


def webhook_effect(world: "World", cell: Cell) -> Effect:
    calls = [key for key in world.hooks if f"/{cell.recordings[0]}/" in key]
    return Effect(len(set(calls)), len(calls))


LIMITED = {"channel": "", "at_most": {"times": 1, "window_ms": HOUR * 1000}}
SITE = "myshop.com"
SCENARIOS: dict[str, Scenario] = {
    "tag": Scenario(
        [("tag", {"tag": "seen"})],
        recording_effect("tag seen", lambda seen: "seen" in seen.tags),
    ),
    "star": Scenario([("star", {})], recording_effect("star", lambda seen: bool(seen.starred))),
    "variables": Scenario(
        [("variables", {"values": {"found": "yes"}})],
        variables_effect,
    ),
    "share": Scenario([("share", {})], recording_effect("share", lambda seen: bool(seen.token))),
    "unshare (later)": Scenario(
        [("share", {"expires": "P7D"})],
        recording_effect("unshare", lambda seen: not seen.token),
        first=WEEK,
    ),
    "slack": Scenario([("slack", {"channel": ""})], slack_effect(1)),
    "webhook": Scenario([("webhook", {"url": ""})], webhook_effect),
    "digest": Scenario([("slack", LIMITED)], slack_effect(2), recordings=3, first=HOUR),
}


class World:
    """A pretend Mouseflow and Slack, a receiver of webhooks, and a bot that dies as told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sim = Simulator(seed=1)
        self.hooks: list[str] = []
        self.hook_url = ""
        self._made = 0

    @contextlib.contextmanager
    def open(self) -> Iterator["World"]:
        hooks = ThreadingHTTPServer(("127.0.0.1", 0), _receiver(self.hooks))
        threading.Thread(target=hooks.serve_forever, daemon=True).start()
        self.hook_url = f"http://127.0.0.1:{hooks.server_port}/"
        command = [sys.executable, str(Path(__file__).with_name("crash_process.py"))]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with self.sim, process:
            self._process = process
            yield self
            process.stdin.close()
        hooks.shutdown()
        hooks.server_close()

    def deaths(self, kind: str) -> list[Cell]:
        """Die at each point once, start again, and look at what the world has seen."""
        scenario = SCENARIOS[kind]
        cells = [self._cell(kind, point, scenario) for point in scenario.points]
        if scenario.first:
            self.run([self.job(cell, scenario) for cell in cells])
            self.sim.advance(scenario.first)
        killed = self.run([self.job(cell, scenario, kill_at=cell.point) for cell in cells])
        for cell, signal in zip(cells, killed, strict=True):
            cell.killed = signal
            cell.on_disk = next(iter(step_states(cell.store)[::-1]), "no match")
        self.sim.advance(60)
        self.run([self.job(cell, scenario, polls=2) for cell in cells])
        for cell in cells:
            cell.left = Counter(step_states(cell.store))
            cell.effect = scenario.effect(self, cell)
        return cells

    def job(self, cell: Cell, scenario: Scenario, **more: Any) -> dict[str, Any]:
        here = {"channel": cell.channel, "url": self.hook_url}
        actions = [
            (kind, params | {name: here[name] for name in here.keys() & params.keys()})
            for kind, params in scenario.actions
        ]
        return {
            "store": f"sqlite:///{cell.store}",
            "mouseflow": self.sim.mouseflow_url,
            "email": self.sim.email,
            "api_key": self.sim.api_key,
            "slack": self.sim.slack_url,
            "slack_token": self.sim.slack.token,
            "ahead": (self.sim.clock.now() - datetime.now(UTC)).total_seconds(),
            "website": self.sim.world.site(SITE).id,
            "rule": "rule",
            "recordings": cell.recordings,
            "actions": actions,
        } | more

    def run(self, jobs: list[dict[str, Any]]) -> list[int]:
        """Run bots, side by side; the signal that ended each, or 0."""
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def recordings(self, count: int) -> list[str]:
        """New sessions, over and done."""
        return [self.sim.add(SITE, "checkout-friction", start=-3600) for _ in range(count)]

    def channel(self) -> str:
        """A new channel."""
        self._made += 1
        return f"#{self.sim.slack.add_channel(f'c{self._made}').name}"

    def _cell(self, kind: str, point: str, scenario: Scenario) -> Cell:
        channel = self.channel()
        store = self.folder / f"{channel[1:]}.db"
        return Cell(kind, point, store, self.recordings(scenario.recordings), channel)


def _receiver(keys: list[str]) -> type[BaseHTTPRequestHandler]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["Idempotency-Key"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Receiver


def step_states(store: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(store)) as raw:
        return [state for (state,) in raw.execute("SELECT state FROM steps ORDER BY id")]


def table(cells: dict[str, list[Cell]]) -> str:
    """The matrix as Markdown: what a death leaves on the disk, and what each action did."""
    on_disk = {cell.point: cell.on_disk for column in cells.values() for cell in column}
    lines = ["| killed | on disk | what the next start does |", "|---|---|---|"]
    lines += [
        f"| `{point}`: {what} | {on_disk.get(point, '–')} | {NEXT.get(on_disk.get(point), '–')} |"
        for point, what in POINTS.items()
    ]
    lines += ["", f"| killed | {' | '.join(cells)} |", f"|---|{'---|' * len(cells)}"]
    for point in POINTS:
        row = [_shown(column, point) for column in cells.values()]
        lines.append(f"| `{point}` | {' | '.join(row)} |")
    return "\n".join(lines)


def _shown(column: list[Cell], point: str) -> str:
    for cell in column:
        if cell.point == point:
            took = "once" if cell.effect.times == 1 else f"{cell.effect.times} times"
            repeated = cell.effect.calls > SCENARIOS[cell.kind].recordings
            return f"{took}, 2 calls" if repeated and cell.kind != "digest" else took
    return "–"


def documented() -> str:
    """The matrix as `docs/delivery.md` has it."""
    return DOCS.read_text().split(BEGIN)[1].split(END)[0].strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)).open() as world:
        made = table({kind: world.deaths(kind) for kind in SCENARIOS})
    if sys.argv[1:] == ["--write"]:
        text = DOCS.read_text()
        before, rest = text.split(BEGIN)
        DOCS.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}")
    else:
        print(made)


if __name__ == "__main__":
    main()
