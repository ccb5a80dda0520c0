"""Show the bot at work: a simulated account, the daemon, and the rule packs.

Needs no account, no configuration and no network, and leaves nothing behind.
"""

import asyncio
import json
import re
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bot.cli.init import example_rules
from bot.cli.main import positive
from bot.errors import StoreError
from bot.messages.text import counted, instant

if TYPE_CHECKING:
    from bot.cli.status import Status
    from bot.config import Settings
    from bot.domain.step import StepStatus
    from bot.rules.model import RuleSet
    from bot.store import Connection, Store
    from bot.store.audit import Entry
    from mouseflow.simulator.server import Simulator

EXAMPLE = (
    "mouseflow-bot demo\n"
    "mouseflow-bot demo --seconds 60 --rules my-rules\n"
    "mouseflow-bot demo --keep"
)
START = timedelta(hours=2)
"""How far back the first poll looks."""
REFRESH = 0.25
"""Seconds between two reads of the store."""
MOST_EVENTS = 40
"""Events shown live; later ones are only counted."""
SHOWN = ("match", "step.dead", "rule.paused")
START_TIMEOUT = 30.0
"""Seconds that a slow machine may take until the first poll; they are not part of --seconds."""
PROGRESS_EVERY = 5.0
"""Seconds between two lines of progress without a terminal."""
MOST_MATCHES = 10_000
LATEST = 12
"""Entries of the audit log in the report."""
MESSAGES = 2
"""Messages shown of each channel, of different kinds if possible; the rest is counted."""
WIDTH = 78


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--seconds", type=positive, default=25, metavar="N", help="how long to run (default: 25)"
    )
    parser.add_argument("--rules", type=Path, metavar="PATH", help="other rule files")
    parser.add_argument("--keep", action="store_true", help="keep running until Ctrl-C")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed (default: 1)")


def run(args: Namespace) -> int:
    """Run for a while, then report what happened; returns the exit code."""
    from tempfile import TemporaryDirectory

    from bot import logs

    rules = args.rules or example_rules()
    with TemporaryDirectory(prefix="mouseflow-bot-demo-") as name:
        folder = Path(name)
        with (folder / "bot.log").open("w", encoding="utf-8") as log:
            logs.configure("json", "info", log)
            asyncio.run(_demo(args, rules, folder))
            logs.configure("text", "warning")
    return 0


async def _demo(args: Namespace, rules: Path, folder: Path) -> None:
    from bot import daemon
    from bot.cli import output
    from bot.config.settings import allowed
    from bot.rules.files.load import load
    from mouseflow.simulator.server import Simulator

    stop, reload = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulator, began = Simulator(seed=args.seed), time.monotonic()
    async with simulator.serving():
        settings = demo_settings(simulator, rules, folder, page=args.keep)
        rule_set = load(settings.rules.paths, allowed(settings))
        _introduce(rules, len(rule_set.rules), args.seconds)
        urls: list[str] = []
        work = asyncio.create_task(daemon.run(settings, stop=stop, reload=reload, page=urls.append))
        work.add_done_callback(lambda _: stop.set())
        await _watch(settings.store.url, stop, args.seconds)
        if args.keep and not stop.is_set():
            await _report(simulator, settings, rule_set, folder, time.monotonic() - began)
            output.line()
            output.line(f"Still running until Ctrl-C. Status page: {' '.join(urls)}")
            output.line(f"Store and log: {folder}")
            output.line(f"Account: {simulator.mouseflow_url}  Slack: {simulator.slack_url}")
            sys.stdout.flush()
            await stop.wait()
        stop.set()
        await work
        await _report(simulator, settings, rule_set, folder, time.monotonic() - began)


def demo_settings(
    simulator: "Simulator", rules: Path, folder: Path, *, page: bool = False
) -> "Settings":
    """Settings for the simulator, with short intervals and a store in `folder`.

    `page`: serve the status page on a free port.
    """
    from bot.config.load import load
    from bot.logs import scrubber

    settings = load(
        None,
        {
            "BOT_MOUSEFLOW__BASE_URL": simulator.mouseflow_url,
            "BOT_MOUSEFLOW__EMAIL": simulator.email,
            "BOT_MOUSEFLOW__API_KEY": simulator.api_key,
            "BOT_MOUSEFLOW__TIME_ZONE": simulator.quirks.time_zone,
            "BOT_MOUSEFLOW__REQUESTS_PER_SECOND": "60",
            "BOT_SLACK__BASE_URL": simulator.slack_url,
            "BOT_SLACK__BOT_TOKEN": simulator.slack.token,
            "BOT_SLACK__CHANNEL": "#mouseflow",
            "BOT_SLACK__OPS_CHANNEL": "#ops",
            "BOT_RULES__PATHS": str(rules),
            "BOT_POLL__RECORDINGS": "2s",
            "BOT_POLL__FEEDBACK": "6s",
            "BOT_POLL__REPORTS": "5s",
            "BOT_POLL__START": f"{START // timedelta(hours=1)}h",
            "BOT_STORE__URL": f"sqlite:///{folder / 'bot.db'}",
            "BOT_WEB__LISTEN": "127.0.0.1:0" if page else "",
        },
    )
    scrubber.register(settings.secrets())
    return settings


def _introduce(rules: Path, count: int, seconds: float) -> None:
    from bot.cli import output

    output.line(
        "mouseflow-bot watches a Mouseflow account by rules: it tags, stars and posts to Slack."
    )
    output.line("This demo uses a simulated shop, so nothing real is changed.")
    name = "the rule packs" if rules == example_rules() else str(rules)
    output.line(f"It runs for {seconds:.0f} seconds with {count} rules of {name}:")
    output.line()
    sys.stdout.flush()


# Live view.

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


async def _watch(url: str, stop: asyncio.Event, seconds: float) -> None:
    """Show events until `stop`, or for so many seconds from the first poll."""
    with _screen(seconds) as (say, advance):
        store = await _polled_store(url, stop)
        if store is not None:
            with store:
                await _follow(store, stop, seconds, say, advance)


async def _polled_store(url: str, stop: asyncio.Event) -> "Store | None":
    """The store once the daemon has polled, None if it does not get there."""
    from bot.store import open_store
    from bot.store.recordings import all_watermarks

    end = time.monotonic() + START_TIMEOUT
    store = None
    while not stop.is_set() and time.monotonic() < end:
        try:
            store = store or open_store(url, read_only=True)
        except StoreError:  # the daemon has not created it yet
            pass
        else:
            if await store.run(all_watermarks):
                return store
        await asyncio.sleep(REFRESH)
    return store


async def _follow(
    store: "Store", stop: asyncio.Event, seconds: float, say: Say, advance: Advance
) -> None:
    from bot.messages.text import counted
    from bot.store.audit import history
    from bot.store.recordings import website_names

    seen, counts = 0, Counter[str]()
    begin = time.monotonic()
    while not stop.is_set() and (passed := time.monotonic() - begin) < seconds:
        entries = await store.run(lambda conn: history(conn, limit=500))
        names = await store.run(website_names)
        for entry in reversed([entry for entry in entries if entry.id > seen]):
            seen = entry.id
            counts[entry.kind] += 1
            if entry.kind in SHOWN and sum(counts[kind] for kind in SHOWN) <= MOST_EVENTS:
                say(event(entry, names))
        matches = counted(counts["match"], "match", "matches")
        advance(passed, f"{matches}, {counted(counts['step.done'], 'action')} done")
        await asyncio.sleep(REFRESH)


def event(entry: "Entry", names: Mapping[str, str]) -> str:
    """An entry of the audit log as one short line; `names` has websites by id."""
    at, subject = instant(entry.at)[11:], short(entry.subject, names)
    if entry.kind == "match":
        return f"{at}  {entry.rule} matched {subject}: {entry.text}"
    action = entry.step.rpartition("/")[2].rpartition("-")[0]
    outcome = "failed" if entry.kind == "step.dead" else entry.kind
    return f"{at}  {' '.join(filter(None, (entry.rule, action, outcome, subject)))}: {entry.text}"


def short(subject: str, names: Mapping[str, str]) -> str:
    """A website's name, or the start of another id."""
    if subject in names:
        return names[subject]
    return f"{subject[:8]}…" if len(subject) > 20 and subject.isalnum() else subject


@contextmanager
def _screen(seconds: float) -> Iterator[tuple[Say, Advance]]:
    """Functions that print a line and show progress: a bar on a terminal, else lines."""
    from bot.cli import output

    if not sys.stdout.isatty():
        yield output.line, _progress_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    from bot.logs import neutral

    console = Console(highlight=False)
    columns = (BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=seconds)

        def say(text: str) -> None:
            line = Text(neutral(text, output.WIDEST), overflow="ellipsis", no_wrap=True)
            console.print(line)

        def advance(done: float, text: str) -> None:
            progress.update(bar, completed=done, description=text)

        yield say, advance


def _progress_lines() -> Advance:
    from bot.cli import output

    printed = 0.0

    def advance(done: float, text: str) -> None:
        nonlocal printed
        if done - printed >= PROGRESS_EVERY:
            printed = done
            output.line(f"   … {done:.0f} s: {text}")
        sys.stdout.flush()

    return advance


# Report: the views of `status` and `history`, and what only the simulator knows.


@dataclass(frozen=True, slots=True)
class Report:
    """What the demo shows at its end.

    `rules` counts all rules, `status` has those that ran. `actions` are (rule, what became of its
    actions), `posts` (channel, text), `calls` (request, how often); `names` are the
    websites' by their ids, `warnings` the log's.
    """

    seconds: float
    websites: int
    recordings: int
    rules: int
    status: "Status"
    actions: Sequence[tuple[str, str]]
    entries: "Sequence[Entry]"
    names: "Mapping[str, str]"
    posts: Sequence[tuple[str, str]]
    calls: Sequence[tuple[str, int]]
    warnings: Sequence[str] = ()


async def _report(
    simulator: "Simulator", settings: "Settings", rules: "RuleSet", folder: Path, seconds: float
) -> None:
    from bot.store import open_store

    log = (folder / "bot.log").read_text(encoding="utf-8")
    with open_store(settings.store.url, read_only=True) as store:
        report = await store.run(
            lambda conn: _gather(conn, simulator, len(rules.rules), log, seconds)
        )
    print()
    show(report)


def _gather(
    conn: "Connection", simulator: "Simulator", rules: int, log: str, seconds: float
) -> Report:
    from bot.cli import status
    from bot.cli.output import as_text
    from bot.store.audit import history
    from bot.store.recordings import known_recordings, website_names

    now = datetime.now(UTC)
    since = now - START - timedelta(seconds=seconds)
    known = [known_recordings(conn, site, since) for site in simulator.world.sites]
    return Report(
        seconds=seconds,
        websites=sum(1 for seen in known if seen),
        recordings=sum(map(len, known)),
        rules=rules,
        status=status.gather(conn, now, status.ALIVE),
        actions=_actions(conn),
        entries=[
            *history(conn, kind="match", limit=LATEST),
            *history(conn, kind="step.done", limit=LATEST),
        ],
        names=website_names(conn),
        posts=[
            (post.channel, as_text(post.text, post.blocks)) for post in simulator.slack.messages
        ],
        calls=grouped((call.side, call.method, call.path) for call in simulator.calls),
        warnings=warnings(log),
    )


def _actions(conn: "Connection") -> list[tuple[str, str]]:
    from bot.store.dead_letters import steps_of
    from bot.store.matches import matches_of

    counts: dict[str, Counter[tuple[str, StepStatus]]] = {}
    for match in matches_of(conn, limit=MOST_MATCHES):
        steps = counts.setdefault(match.rule, Counter())
        steps.update((step.action, step.state) for step in steps_of(conn, match.key))
    return [(rule, action_counts(steps)) for rule, steps in sorted(counts.items()) if steps]


def action_counts(steps: "Mapping[tuple[str, StepStatus], int]") -> str:
    """`tag: 3 done, star: 2 done, 1 waiting` for (action, state) with how often."""
    from bot.cli.output import step_status

    words: dict[str, list[str]] = {}
    for (action, state), number in steps.items():
        words.setdefault(action, []).append(f"{number} {step_status(state)}")
    return ", ".join(f"{action}: {', '.join(states)}" for action, states in words.items())


def show(report: Report) -> None:
    """Print the report, for somebody who sees the bot for the first time."""
    from bot.cli import history, output, status
    from bot.messages.text import counted

    matches = sum(line.matches for line in report.status.rules)
    _heading("What the bot did")
    output.line(
        f"  In {report.seconds:.0f} s: {counted(report.recordings, 'recording')} of "
        f"{counted(report.websites, 'website')}, {counted(matches, 'match', 'matches')} of "
        f"{counted(report.rules, 'rule')}, {counted(len(report.posts), 'Slack message')}."
    )
    output.line()
    _heading("Rule by rule (mouseflow-bot status)")
    matched = [it for it in report.status.rules if it.matches]
    others = report.rules - len(matched)
    lines = [(it.rule, counted(it.matches, "match", "matches")) for it in matched]
    lines += [(counted(others, "other rule"), "no match")] if others else []
    output.table(lines)
    output.line("actions")
    output.table(report.actions)
    output.line()
    _heading("Latest matches and actions (mouseflow-bot history)")
    latest = sorted(report.entries, key=lambda entry: -entry.id)[:LATEST]
    history.show(latest, report.names, indent="  ")
    output.line()
    _heading("What the team saw in Slack")
    _show_posts(report.posts)
    waiting = report.status.queue.pending
    if waiting > len(report.posts):
        longer = max(60, 2 * round(report.seconds))
        output.line(
            f"  {counted(waiting, 'action still waits', 'actions still wait')}: this machine is "
            f"slow. Try mouseflow-bot demo --seconds {longer}"
        )
        output.line()
    _heading("API requests")
    total = sum(number for _, number in report.calls)
    output.line(f"  {counted(total, 'request')} in {report.seconds:.0f} s")
    for request, number in report.calls:
        output.line(f"  {number:5}  {request}")
    output.line()
    if report.status.failing or report.status.dead or report.warnings:
        _heading("What went wrong")
        status.show_failing(report.status)
        if report.status.dead:
            status.show_dead_letters(report.status)
        for warning, times in Counter(report.warnings).items():
            output.line(f"  {warning}" + (f" ({times} times)" if times > 1 else ""))
        output.line()
    _heading("Next steps")
    output.table(
        [
            ("mouseflow-bot init", "write a config.toml and a first rule of your own"),
            ("mouseflow-bot check", "check them"),
            ("mouseflow-bot simulate", "without an account: serve a simulated one to try them on"),
            ("mouseflow-bot once --dry-run", "see what would happen on your account"),
            ("mouseflow-bot run", "run the daemon"),
        ]
    )


def _heading(title: str) -> None:
    from bot.cli import output

    output.line(title)
    output.line("─" * len(title))


def _show_posts(posts: Sequence[tuple[str, str]]) -> None:
    from bot.cli import output
    from bot.logs import width

    if not posts:
        output.line("  nothing")
        output.line()
    for channel in dict.fromkeys(channel for channel, _ in posts):
        texts = [text for to, text in posts if to == channel]
        output.line(f"  #{channel.lstrip('#')}: {counted(len(texts), 'message')}")
        # One of each title first.
        titles = dict.fromkeys(text.partition("\n")[0] for text in texts)
        firsts = [next(text for text in texts if text.startswith(title)) for title in titles]
        chosen = [*firsts, *(text for text in texts if text not in firsts)][:MESSAGES]
        for text in chosen:
            edge = "─" * (min(WIDTH, width(sys.stdout)) - 6)
            output.line(f"    ┌{edge}")
            for line in text.splitlines():
                output.line(line, "    │ ")
            output.line(f"    └{edge}")
        if len(texts) > len(chosen):
            output.line(f"    and {len(texts) - len(chosen)} more")
        output.line()


_ID = re.compile(r"/(?=[^/]*\d)[\w.-]{6,}(?=/|$)|/[0-9a-f-]{12,}(?=/|$)")


def grouped(calls: Iterable[tuple[str, str, str]]) -> list[tuple[str, int]]:
    """(side, method, path) as (request without ids, how often), the most frequent first."""
    counts = Counter(
        f"{side.capitalize():9}  {method:6} {_ID.sub('/{id}', path)}"
        for side, method, path in calls
    )
    return counts.most_common()


def warnings(log: str) -> list[str]:
    """Warnings and errors of the log; those of single actions are shown as dead letters."""
    found = []
    for line in log.splitlines():
        entry = json.loads(line)
        event = entry.get("event", "")
        if entry.get("level") in {"warning", "error"} and not event.startswith("deliver."):
            about = [str(entry[key]) for key in ("website", "what", "reason") if entry.get(key)]
            found.append(": ".join([event, *about]))
    return found
