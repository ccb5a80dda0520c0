"""Every point at which the bot can die, for every kind of action, in a world that remembers.

python tests/delivery/crash_matrix.py            prints the table of docs/explanation/delivery.md
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
from typing import Any, Literal

from sqlalchemy import select

from bot.store import open_store
from bot.store.schema import steps
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import Campaign, website

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
    "save.before": "about to settle",
    "save.inside": "in the settling transaction, not committed",
    "save.after": "settled",
}
EACH_STEP = STEP_POINTS.keys() - {"claim.before"}
"""Points that each step of a lane passes."""
UNKNOWN = {"call.after", "save.before", "save.inside"}
"""Points at which it has taken effect and the store does not know that."""
REPLAY_POINTS = {
    "slice.before": "a replay has written a day, not yet that it is done with it",
    "slice.after": "it has, and has not begun the next",
}
CANCEL_POINTS = {
    "cancel.before": "`cancel` is about to take a step back",
    "cancel.inside": "in its transaction, not committed",
    "cancel.after": "committed",
}
POINTS = POLL_POINTS | REPLAY_POINTS | STEP_POINTS | CANCEL_POINTS
NEXT = {
    "no match": "the poll sees the recording again and matches it",
    "pending": "it is performed as if nothing had happened",
    "sending": "an attempt with an unknown outcome: looked up or safely repeated",
    "done": "nothing is left to do",
    "withheld": "nothing is left to do: it was taken back",
}
HOUR, WEEK = 3600, 7 * 24 * 3600
DOCS = Path(__file__).parents[2] / "docs" / "explanation" / "delivery.md"
BEGIN, END = "<!-- crash matrix: generated -->", "<!-- end of the crash matrix -->"


@dataclass(frozen=True)
class Effect:
    """What the world knows: how often it took effect, and how many calls that took."""

    times: int
    calls: int


@dataclass(frozen=True)
class Scenario:
    """An action to die in. `first` makes it run once before (an hour or a week earlier).
    `before` is how many steps are performed before it. `makes` is the kind of the step to die in
    if the store makes it. `quiet`: the first run is in a quiet time. `repeats`: nobody can look up
    what has arrived, so that it may arrive twice.

    `about` is what it is done to; all but recordings of the shop have a website of their own,
    which has the status `status`. `budget` is the step of a budget that is used up. `marked`
    recordings have a tag, a star and a share, and are watched, before anything happens.
    """

    actions: list[tuple[str, dict[str, Any]]]
    effect: Callable[["World", "Cell"], Effect]
    recordings: int = 1
    first: int = 0
    before: int = 0
    about: Literal["recording", "website", "campaign"] = "recording"
    source: Literal["matches", "alert", "budget", "replay", "cancel"] = "matches"
    status: str = "Recording"
    budget: str = ""
    marked: bool = False
    makes: str = ""
    quiet: bool = False
    repeats: bool = False

    @property
    def points(self) -> dict[str, str]:
        if self.source == "replay":
            return POLL_POINTS | REPLAY_POINTS  # its steps are like all others
        if self.source == "cancel":
            return CANCEL_POINTS
        return STEP_POINTS if self.first else POLL_POINTS | STEP_POINTS


@dataclass
class Cell:
    """One death: where, in which store, on which recordings; and what was seen after it."""

    kind: str
    point: str
    store: Path
    recordings: list[str]
    channel: str
    website: str
    killed: int = 0
    on_disk: str = ""
    effect: Effect = field(default_factory=lambda: Effect(0, 0))
    left: Counter = field(default_factory=Counter)
    elsewhere: str = ""
    quiet: list[tuple[int, int]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.elsewhere or f"sqlite:///{self.store}"


def recording_effect(call: str, holds: Callable[[Any], bool]) -> Callable[["World", Cell], Effect]:
    def effect(world: "World", cell: Cell) -> Effect:
        seen = world.sim.effect(cell.recordings[0])
        return Effect(int(holds(seen)), seen.calls.get(call, 0))

    return effect


def variables_effect(world: "World", cell: Cell) -> Effect:
    site, visit, _ = world.sim.world.inspect(cell.recordings[0])
    marks = site.marks[visit.ref]
    return Effect(int((marks.variables or {}).get("found") == "yes"), marks.calls["variables"])


def slack_effect(expected: int) -> Callable[["World", Cell], Effect]:
    def effect(world: "World", cell: Cell) -> Effect:
        posts = [m for m in world.sim.slack.messages if m.channel == cell.channel.lstrip("#")]
        keys = {str(message.metadata) for message in posts}
        # Those that an earlier run posted are not this death's.
        return Effect(len(posts) - expected + 1 if len(keys) == len(posts) else 99, len(posts))

    return effect


def edit_effect(world: "World", cell: Cell) -> Effect:
    post = next(m for m in world.sim.slack.messages if m.channel == cell.channel.lstrip("#"))
    return Effect(int(post.edits > 0), post.edits)


def answer_effect(world: "World", cell: Cell) -> Effect:
    posts = [m for m in world.sim.slack.messages if m.channel == cell.channel.lstrip("#")]
    answers = sum(m.thread_ts is not None for m in posts)
    return Effect(answers, answers)


def webhook_effect(world: "World", cell: Cell) -> Effect:
    calls = [key for key in world.hooks if f"/{cell.recordings[0]}/" in key]
    return Effect(len(set(calls)), len(calls))


def notify_effect(world: "World", cell: Cell) -> Effect:
    calls = world.hooks.count(f"/{cell.channel.lstrip('#')}")
    return Effect(calls, calls)


def writes(world: "World", cell: Cell) -> int:
    """The calls that changed something on the website."""
    site = f"/websites/{cell.website}/"
    return sum(call.method != "GET" and site in f"{call.path}/" for call in world.sim.calls)


def website_effect(holds: Callable[[Any], bool]) -> Callable[["World", Cell], Effect]:
    def effect(world: "World", cell: Cell) -> Effect:
        return Effect(int(holds(world.sim.world.site(cell.website))), writes(world, cell))

    return effect


def replay_effect(world: "World", cell: Cell) -> Effect:
    """Each recording tagged, and posted once: the posts of one recording, if all are alike."""
    tags = [world.sim.effect(each).calls.get("tag seen", 0) for each in cell.recordings]
    posted = slack_effect(len(cell.recordings))(world, cell)
    return Effect(posted.times if tags == [1] * len(tags) else 99, 1)


def deleted_effect(world: "World", cell: Cell) -> Effect:
    seen = world.sim.effect(cell.recordings[0])
    return Effect(int(seen.deleted), seen.calls.get("delete", 0))


def cancelled_effect(world: "World", cell: Cell) -> Effect:
    """Taken back once, and nothing of it has happened."""
    seen = world.sim.effect(cell.recordings[0])
    with contextlib.closing(sqlite3.connect(cell.store)) as raw:
        rows = raw.execute("SELECT count(*) FROM audit WHERE kind = 'step.cancelled'").fetchone()
    return Effect(rows[0] // 2 if not seen.calls and not seen.deleted else 99, 1)


LIMITED = {"channel": "", "at_most": {"times": 1, "window_ms": HOUR * 1000}}
SITE, CAMPAIGN = "myshop.com", "campaign"
BEGAN = "2026-01-01T00:00:00Z"
SCENARIOS: dict[str, Scenario] = {
    "tag": Scenario(
        [("tag", {"tag": "seen"})],
        recording_effect("tag seen", lambda seen: "seen" in seen.tags),
    ),
    "untag": Scenario(
        [("untag", {"tag": "seen"})],
        recording_effect("untag seen", lambda seen: "seen" not in seen.tags),
        marked=True,
    ),
    "star": Scenario([("star", {})], recording_effect("star", lambda seen: bool(seen.starred))),
    "star: false": Scenario(
        [("star", {"on": False})],
        recording_effect("unstar", lambda seen: not seen.starred),
        marked=True,
    ),
    "variables": Scenario(
        [("variables", {"values": {"found": "yes"}})],
        variables_effect,
    ),
    "share": Scenario([("share", {})], recording_effect("share", lambda seen: bool(seen.token))),
    "share: false": Scenario(
        [("unshare", {})], recording_effect("unshare", lambda seen: not seen.token), marked=True
    ),
    "unshare (later)": Scenario(
        [("share", {"expires": "P7D"})],
        recording_effect("unshare", lambda seen: not seen.token),
        first=WEEK,
    ),
    "slack": Scenario([("slack", {"channel": ""})], slack_effect(1)),
    "webhook": Scenario([("webhook", {"url": ""})], webhook_effect),
    "watched": Scenario(
        [("watched", {})], recording_effect("watched", lambda seen: bool(seen.watched))
    ),
    "watched: false": Scenario(
        [("watched", {"on": False})],
        recording_effect("unwatched", lambda seen: not seen.watched),
        marked=True,
    ),
    "delete": Scenario([("delete", {})], deleted_effect),
    "recording: stop": Scenario(
        [("recording", {"to": "stop"})],
        website_effect(lambda site: site.status == "Stopped"),
        about="website",
    ),
    "recording: start": Scenario(
        [("recording", {"to": "start"})],
        website_effect(lambda site: site.status == "Recording"),
        about="website",
        status="Stopped",
    ),
    "recording_rate": Scenario(
        [("recording_rate", {"rate": 25})],
        website_effect(lambda site: site.recorded == 25),
        about="website",
    ),
    "enabled": Scenario(
        [("enabled", {"on": False})],
        website_effect(lambda site: not site.campaigns[CAMPAIGN].settings["enabled"]),
        about="campaign",
    ),
    "resolved": Scenario(
        [("resolved", {"channel": "", "began": BEGAN})],
        slack_effect(1),
        about="website",
    ),
    "edit": Scenario(
        [("slack", {"channel": ""}), ("edit", {"channel": "", "post": ""})],
        edit_effect,
        before=1,
    ),
    "answer": Scenario(
        [
            ("slack", {"channel": ""}),
            ("answer", {"channel": "", "post": "", "title": "Not starred", "line": ""}),
        ],
        answer_effect,
        before=1,
    ),
    "ended": Scenario(
        [
            ("slack", {"channel": ""}),
            ("resolved", {"channel": "", "began": BEGAN, "digest_at": "09:00"}),
        ],
        edit_effect,
        before=1,
        about="website",
        source="alert",
        makes="ended",
    ),
    "notify": Scenario([("notify", {"channel": ""})], notify_effect, repeats=True),
    "notify_resolved": Scenario(
        [("notify_resolved", {"channel": "", "began": BEGAN})],
        notify_effect,
        about="website",
        repeats=True,
    ),
    "weekly": Scenario(
        [("weekly", {"channel": "", "week": {"since": BEGAN, "until": "2026-01-08T00:00:00Z"}})],
        slack_effect(1),
        about="website",
    ),
    "notice": Scenario(
        [("notice", {"channel": "", "title": "News"})], slack_effect(1), about="website"
    ),
    "budget: stop": Scenario(
        [],
        website_effect(lambda site: site.status == "Stopped"),
        about="website",
        source="budget",
        budget="{recording: stop}",
    ),
    "budget: post": Scenario(
        [],
        slack_effect(1),
        about="website",
        source="budget",
        budget="{slack: {channel: '#CHANNEL'}}",
    ),
    "replay": Scenario([], replay_effect, recordings=2, about="website", source="replay"),
    "cancel": Scenario(
        [("tag", {"tag": "seen"}), ("delete", {})], cancelled_effect, source="cancel"
    ),
    "digest": Scenario(
        [("slack", LIMITED)], slack_effect(2), recordings=3, first=HOUR, makes="digest"
    ),
    "after_quiet": Scenario(
        [("slack", {"channel": ""})],
        slack_effect(1),
        recordings=4,
        first=HOUR,
        quiet=True,
        makes="after_quiet",
    ),
}


class World:
    """A pretend Mouseflow and Slack, a receiver of webhooks, and a bot that dies as told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sim = Simulator(seed=1)
        self.hooks: list[str] = []
        self.hook_faults: list[str] = []
        self.hook_url = ""
        self._made = 0

    @contextlib.contextmanager
    def open(self) -> Iterator["World"]:
        hooks = ThreadingHTTPServer(("127.0.0.1", 0), _receiver(self.hooks, self.hook_faults))
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
        if scenario.quiet:
            now = self.sim.clock.now()
            minute = now.hour * 60 + now.minute
            for cell in cells:
                cell.quiet = [((minute - 5) % 1440, (minute + 30) % 1440)]
        if scenario.first:
            self.run([self.job(cell, scenario) for cell in cells])
            self.sim.advance(scenario.first)
        killed = self.run(
            [
                self.job(
                    cell,
                    scenario,
                    kill_at=cell.point,
                    passes=scenario.before if cell.point in EACH_STEP else 0,
                )
                for cell in cells
            ]
        )
        for cell, signal in zip(cells, killed, strict=True):
            cell.killed = signal
            cell.on_disk = next(iter(step_states(cell.url)[::-1]), "no match")
        self.sim.advance(60)
        self.run([self.job(cell, scenario, polls=2) for cell in cells])
        for cell in cells:
            cell.left = Counter(step_states(cell.url))
            cell.effect = scenario.effect(self, cell)
        return cells

    def job(self, cell: Cell, scenario: Scenario, **more: Any) -> dict[str, Any]:
        here = {"channel": cell.channel, "url": self.hook_url}
        actions = [
            (kind, params | {name: here[name] for name in here.keys() & params.keys()})
            for kind, params in scenario.actions
        ]
        return {
            "store": cell.url,
            "mouseflow": self.sim.mouseflow_url,
            "email": self.sim.email,
            "api_key": self.sim.api_key,
            "slack": self.sim.slack_url,
            "slack_token": self.sim.slack.token,
            "ahead": (self.sim.clock.now() - datetime.now(UTC)).total_seconds(),
            "source": scenario.source,
            "website": cell.website,
            "about": scenario.about,
            "status": scenario.status,
            "channel": cell.channel,
            "url": self.hook_url,
            "quiet": cell.quiet,
            "budget": scenario.budget.replace("#CHANNEL", cell.channel),
            "rule": "rule",
            "recordings": cell.recordings,
            "actions": actions,
        } | more

    def run(self, jobs: list[dict[str, Any]]) -> list[int]:
        """Run bots, side by side; the signal that ended each, or 0."""
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        failed = [job for job, code in zip(jobs, codes, strict=True) if code > 0]
        assert not failed, f"bots failed, for the reasons on standard error: {failed}"
        return [-code for code in codes]

    def recordings(self, count: int, site: str = SITE) -> list[str]:
        """New sessions, over and done, each a day older than the next."""
        days = range(count) if site != SITE else [0] * count
        starts = [-3600 - day * 24 * 3600 for day in days]
        return [self.sim.add(site, "checkout-friction", start=start) for start in starts]

    def website(self, status: str) -> str:
        """A new website where nobody comes by, with a campaign."""
        self._made += 1
        site = website(f"site-{self._made}", f"site-{self._made}.example", status=status)
        site.campaigns[CAMPAIGN] = Campaign(CAMPAIGN, {"name": "Asked", "enabled": True})
        self.sim.world.sites[site.id] = site
        return site.id

    def channel(self) -> str:
        """A new channel."""
        self._made += 1
        return f"#{self.sim.slack.add_channel(f'c{self._made}').name}"

    def _cell(self, kind: str, point: str, scenario: Scenario) -> Cell:
        channel = self.channel()
        store = self.folder / f"{channel[1:]}.db"
        if scenario.about == "recording":
            shop = self.sim.world.site(SITE).id
            recordings = self.recordings(scenario.recordings)
            if scenario.marked:
                self._mark(recordings)
            return Cell(kind, point, store, recordings, channel, shop)
        site = self.website(scenario.status)
        recordings = [CAMPAIGN]
        if scenario.about == "website":
            recordings = self.recordings(scenario.recordings, site)
        return Cell(kind, point, store, recordings, channel, site)

    def _mark(self, recordings: list[str]) -> None:
        """Somebody has used every mark on them."""
        world = self.sim.world
        for recording in recordings:
            site, visit, _ = world.inspect(recording)
            world.tag(site, visit, "seen", on=True)
            world.share(site, visit)
            marks = world.marks(site, visit)
            marks.starred.add(self.sim.email)
            marks.watched.add(self.sim.email)


def _receiver(keys: list[str], faults: list[str]) -> type[BaseHTTPRequestHandler]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            fault = faults.pop() if faults else ""
            self.close_connection = True
            if fault == "close":
                return
            if fault != "status":
                keys.append(self.headers["Idempotency-Key"] or self.path)
            if fault != "close_after":
                self.send_response(503 if fault == "status" else 204)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Receiver


STATES = select(steps.c.state).order_by(steps.c.id)


def step_states(url: str) -> list[str]:
    with open_store(url, read_only=True) as store:
        return list(store.do(lambda conn: conn.execute(STATES)).scalars())


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
            repeated = cell.effect.calls > max(cell.effect.times, SCENARIOS[cell.kind].recordings)
            return f"{took}, 2 calls" if repeated and cell.kind != "digest" else took
    return "–"


def documented() -> str:
    """The matrix as `docs/explanation/delivery.md` has it."""
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
