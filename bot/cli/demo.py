"""Shows the bot at work: a simulated account, the daemon, and the rule files in `rules/`.

Needs no account, no configuration and no network, and leaves nothing behind.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bot.cli import output
from bot.errors import StoreError

if TYPE_CHECKING:
    from bot.store import Store
    from bot.store.audit import Entry
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.cli.output import as_text, counted
from bot.store.audit import history
from bot.store.dead_letters import dead_letters, steps_of
from bot.store.matches import matches_of
from bot.store.recordings import known_recordings, website_names

if TYPE_CHECKING:
    from datetime import datetime

    from bot.rules.model import Rule, RuleSet
    from bot.store import Connection
    from bot.store.dead_letters import StepState
    from mouseflow.simulator.server import Simulator
import signal
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.cli.main import positive

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.rules.model import RuleSet
    from mouseflow.simulator.server import Simulator


LOOK = 0.25
"""Seconds between two looks at the store."""
LINES = 40
"""Events shown; what comes after them is only counted."""
SHOWN = ("match", "step.dead", "rule.paused")
STARTS_WITHIN = 30.0
"""Seconds that a slow machine may take until the first poll; they do not count."""
SUMMARY = 5.0
"""Seconds between two lines of counts where there is no terminal."""

Say = Callable[[str], None]
Advance = Callable[[float, str], None]


async def watch(url: str, stop: asyncio.Event, seconds: float) -> None:
    """Show events until `stop`, or for so many seconds from the first poll."""
    with _screen(seconds) as (say, advance):
        store = await _polled(url, stop)
        if store is not None:
            with store:
                await _follow(store, stop, seconds, say, advance)


async def _polled(url: str, stop: asyncio.Event) -> "Store | None":
    """The store once the daemon has polled, None if it does not come to that."""
    from bot.store.recordings import all_watermarks

    end = time.monotonic() + STARTS_WITHIN
    store = None
    while not stop.is_set() and time.monotonic() < end:
        store = store or _opened(url)
        marks = await store.run(all_watermarks) if store is not None else {}
        if marks:
            return store
        await asyncio.sleep(LOOK)
    return store


async def _follow(
    store: "Store", stop: asyncio.Event, seconds: float, say: Say, advance: Advance
) -> None:
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
            if entry.kind in SHOWN and sum(counts[kind] for kind in SHOWN) <= LINES:
                say(event(entry, names))
        matches, actions = counts["match"], counts["step.done"]
        advance(
            passed,
            f"{output.counted(matches, 'match', 'matches')}, "
            f"{output.counted(actions, 'action')} done",
        )
        await asyncio.sleep(LOOK)


def event(entry: "Entry", names: Mapping[str, str]) -> str:
    """An entry of the audit log as one line; `names` has websites by id."""
    at, subject = f"{entry.at:%H:%M:%S}", short(entry.subject, names)
    if entry.kind == "match":
        return f"{at}  {entry.rule} matched {subject}: {entry.text}"
    action = entry.step.rpartition("/")[2].rpartition("-")[0]
    outcome = "given up" if entry.kind == "step.dead" else entry.kind
    return f"{at}  {' '.join(filter(None, (entry.rule, action, outcome, subject)))}: {entry.text}"


def short(subject: str, names: Mapping[str, str]) -> str:
    """A website's name, or enough of another id to tell it from others on the screen."""
    if subject in names:
        return names[subject]
    return f"{subject[:8]}…" if len(subject) > 20 and subject.isalnum() else subject


def _opened(url: str) -> "Store | None":
    """The store, None while the daemon has not made it yet."""
    from bot.store import open_store

    try:
        return open_store(url, read_only=True)
    except StoreError:
        return None


@contextmanager
def _screen(seconds: float) -> Iterator[tuple[Say, Advance]]:
    """Lines, and on a terminal a bar below them."""
    if not sys.stdout.isatty():
        yield output.line, _now_and_then()
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


def _now_and_then() -> Advance:
    """A line of counts every few seconds."""
    told = 0.0

    def advance(done: float, text: str) -> None:
        nonlocal told
        if done - told >= SUMMARY:
            told = done
            output.line(f"   … {done:.0f} s: {text}")
        sys.stdout.flush()

    return advance


EXAMPLES = 2
"""Matches shown of each rule."""
MESSAGES = 2
"""Messages shown of each channel, of different kinds if there are: the rest is counted."""
WIDTH = 78


@dataclass(frozen=True, slots=True)
class Action:
    """An action of one rule: how many took effect, wait, or were given up or withheld."""

    kind: str
    done: int
    waiting: int = 0
    failed: int = 0
    withheld: int = 0


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule did. `examples` are (subject, why) of some of its matches."""

    rule: str
    summary: str
    file: str
    matches: int
    actions: Sequence[Action] = ()
    examples: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Posted:
    """A Slack message, as its text."""

    channel: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that the report tells. `calls` are (what, how often), `faults` went wrong for good."""

    seconds: float
    websites: int
    recordings: int
    rules: Sequence[RuleOutcome]
    posts: Sequence[Posted]
    calls: Sequence[tuple[str, int]]
    faults: Sequence[str] = ()


def report(outcome: Outcome) -> list[str]:
    """The report, line by line, for somebody who sees the bot for the first time."""
    return [
        *_heading("What the bot did"),
        *_summary(outcome),
        "",
        *_heading("Rule by rule"),
        *(line for rule in outcome.rules for line in _rule(rule)),
        *_heading("What the team saw in Slack"),
        *_posts(outcome.posts),
        *_heading("What it cost"),
        *_calls(outcome),
        *_faults(outcome.faults),
        *_heading("What to do next"),
        "  mouseflow-bot init              write a config.toml and a first rule of your own",
        "  mouseflow-bot check             validate them, every problem at once",
        "  mouseflow-bot once --dry-run    see what would happen on your account",
        "  mouseflow-bot run               the daemon",
    ]


def _heading(title: str) -> list[str]:
    return [title, "─" * len(title)]


def _summary(outcome: Outcome) -> Iterator[str]:
    matches = sum(rule.matches for rule in outcome.rules)
    fired = sum(1 for rule in outcome.rules if rule.matches)
    acted = sum(action.done for rule in outcome.rules for action in rule.actions)
    yield (
        f"  In {outcome.seconds:.0f} s it looked at {counted(outcome.recordings, 'recording')} of "
        f"{counted(outcome.websites, 'website')} of a simulated account."
    )
    yield (
        f"  {fired} of {counted(len(outcome.rules), 'rule')} fired: "
        f"{counted(matches, 'match', 'matches')}, {counted(acted, 'action')}, "
        f"{counted(len(outcome.posts), 'Slack message')}."
    )


def _rule(rule: RuleOutcome) -> Iterator[str]:
    yield f"  {rule.rule}  ({rule.file})"
    if rule.summary:
        yield f"    {rule.summary}"
    did = ", ".join(_action(action) for action in rule.actions)
    yield f"    {counted(rule.matches, 'match', 'matches')}" + (f": {did}" if did else "")
    for subject, why in rule.examples[:EXAMPLES]:
        yield f"      {subject}: {why}" if why else f"      {subject}"
    yield ""


def _action(action: Action) -> str:
    more = [
        f"{number} {word}"
        for number, word in (
            (action.waiting, "to come"),
            (action.withheld, "in a digest"),
            (action.failed, "given up"),
        )
        if number
    ]
    done = [str(action.done)] if action.done or not more else []
    return " ".join((action.kind, *done, *([f"({', '.join(more)})"] if more else [])))


def _posts(posts: Sequence[Posted]) -> Iterator[str]:
    if not posts:
        yield "  nothing"
        yield ""
    for channel in dict.fromkeys(post.channel for post in posts):
        those = [post for post in posts if post.channel == channel]
        yield f"  #{channel.lstrip('#')}: {counted(len(those), 'message')}"
        shown = _different(those)[:MESSAGES]
        for post in shown:
            yield "    ┌" + "─" * (WIDTH - 6)
            yield from (f"    │ {line}" for line in post.text.splitlines())
            yield "    └" + "─" * (WIDTH - 6)
        if len(those) > len(shown):
            yield f"    and {len(those) - len(shown)} more"
        yield ""


def _different(posts: Sequence[Posted]) -> list[Posted]:
    """First one of each title, then the others."""
    firsts: dict[str, Posted] = {}
    others = []
    for post in posts:
        title = post.text.partition("\n")[0]
        if firsts.setdefault(title, post) is not post:
            others.append(post)
    return [*firsts.values(), *others]


def _calls(outcome: Outcome) -> Iterator[str]:
    total = sum(number for _, number in outcome.calls)
    yield f"  {counted(total, 'request')} in {outcome.seconds:.0f} s"
    for what, number in outcome.calls:
        yield f"  {number:5}  {what}"
    yield ""


def _faults(faults: Sequence[str]) -> Iterator[str]:
    if faults:
        yield from _heading("What went wrong")
        for fault, times in Counter(faults).items():
            yield f"  {fault}" + (f" ({times} times)" if times > 1 else "")
        yield ""


_ID = re.compile(r"/(?=[^/]*\d)[\w.-]{6,}(?=/|$)|/[0-9a-f-]{12,}(?=/|$)")


def grouped(calls: Iterable[tuple[str, str, str]]) -> list[tuple[str, int]]:
    """(side, method, path) -> what was asked how often, ids left out, the most frequent first."""
    counts = Counter(
        f"{side.capitalize():9}  {method:6} {_ID.sub('/{id}', path)}"
        for side, method, path in calls
    )
    return counts.most_common()


_MOST = 100_000


def gathered(
    conn: "Connection",
    simulator: "Simulator",
    book: "RuleSet",
    log: str,
    *,
    seconds: float,
    since: "datetime",
) -> Outcome:
    """The outcome so far. `since` is how far back the bot looked, `log` its log as JSON lines."""
    names = website_names(conn)
    known = [known_recordings(conn, site, since) for site in simulator.world.sites]
    return Outcome(
        seconds=seconds,
        websites=sum(1 for seen in known if seen),
        recordings=sum(map(len, known)),
        rules=[_rule_facts(conn, rule, names) for rule in book.rules],
        posts=[
            Posted(message.channel, as_text(message.text, message.blocks))
            for message in simulator.slack.messages
        ],
        calls=grouped((call.side, call.method, call.path) for call in simulator.calls),
        faults=[
            *(f"{step.rule}: {step.action}: {step.fault}" for step in dead_letters(conn)),
            *troubles(log),
        ],
    )


def troubles(log: str) -> list[str]:
    """What the log warns of; what became of single steps is told elsewhere."""
    found = []
    for line in log.splitlines():
        entry = json.loads(line)
        event = entry.get("event", "")
        if entry.get("level") in {"warning", "error"} and not event.startswith("deliver."):
            about = [str(entry[key]) for key in ("website", "what", "reason") if entry.get(key)]
            found.append(": ".join([event, *about]))
    return found


def _rule_facts(conn: "Connection", rule: "Rule", names: Mapping[str, str]) -> RuleOutcome:
    matches = matches_of(conn, rule=rule.id, limit=_MOST)
    steps = [step for match in matches for step in steps_of(conn, match.key)]
    reasons = history(conn, rule=rule.id, kind="match", limit=2)
    return RuleOutcome(
        rule=rule.id,
        summary=rule.summary,
        file=rule.file,
        matches=len(matches),
        actions=_actions(steps),
        examples=[(short(entry.subject, names), entry.text) for entry in reasons],
    )


def _actions(steps: "Sequence[StepState]") -> list[Action]:
    states: Counter[tuple[str, str]] = Counter((step.action, step.state) for step in steps)
    return [
        Action(
            kind=kind,
            done=states[kind, "done"],
            waiting=states[kind, "pending"] + states[kind, "sending"],
            failed=states[kind, "dead"],
            withheld=states[kind, "folded"] + states[kind, "withheld"],
        )
        for kind in dict.fromkeys(step.action for step in steps)
    ]


EXAMPLE = (
    "mouseflow-bot demo\n"
    "mouseflow-bot demo --seconds 60 --rules my-rules\n"
    "mouseflow-bot demo --keep"
)
BACK = timedelta(hours=2)
"""How far back the first poll looks."""


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--seconds", type=positive, default=25, metavar="N", help="how long to watch (25)"
    )
    parser.add_argument("--rules", type=Path, metavar="PATH", help="other rule files")
    parser.add_argument("--keep", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which traffic (1)")


def run(args: Namespace) -> int:
    """Watch for a while, then tell what was seen."""
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


def example_rules() -> Path:
    """`rules/` in the working directory, else the example rules of the wheel or the checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "example_rules"
    own = Path("rules")
    if own.is_dir():
        return own
    return shipped if shipped.is_dir() else package.parent / "rules"


async def _demo(args: Namespace, rules: Path, folder: Path) -> None:
    from bot import daemon

    # DROPPED
    from mouseflow.simulator.server import Simulator

    stop, reload = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulator, began = Simulator(seed=args.seed), time.monotonic()
    async with simulator.serving():
        settings = demo_settings(simulator, rules, folder)
        book = _book(settings)
        _introduce(rules, len(book.rules), args.seconds)
        work = asyncio.create_task(daemon.run(settings, stop=stop, reload=reload))
        work.add_done_callback(lambda _: stop.set())
        await watch(settings.store.url, stop, args.seconds)
        if args.keep and not stop.is_set():
            await _tell(simulator, settings, book, folder, time.monotonic() - began)
            print(f"\nIt goes on; Ctrl-C ends it. Its store and log are in {folder},")
            print(
                f"the account is {simulator.mouseflow_url}, Slack {simulator.slack_url}", flush=True
            )
            await stop.wait()
        stop.set()
        await work
        await _tell(simulator, settings, book, folder, time.monotonic() - began)


def demo_settings(simulator: "Simulator", rules: Path, folder: Path) -> "Settings":
    """A configuration for the simulator: impatient, and on a store that will be thrown away."""
    from bot.config import load
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
            "BOT_POLL__START": f"{BACK // timedelta(hours=1)}h",
            "BOT_STORE__URL": f"sqlite:///{folder / 'bot.db'}",
            "BOT_WEB__LISTEN": "",
        },
    )
    scrubber.register(settings.secrets())
    return settings


def _book(settings: "Settings") -> "RuleSet":
    from bot.config.settings import allowed
    from bot.rules.files.load import contents, read

    return read(contents(settings.rules.paths), allowed=allowed(settings))


def _introduce(rules: Path, count: int, seconds: float) -> None:
    print("mouseflow-bot watches a Mouseflow account by rules and acts: it tags, stars, shares,")
    print("and posts to Slack. Here it watches a simulated shop, so nothing real is touched.")
    print(f"For {seconds:.0f} seconds, with {count} rules from {rules}/:\n", flush=True)


async def _tell(
    simulator: "Simulator", settings: "Settings", book: "RuleSet", folder: Path, seconds: float
) -> None:
    from bot.cli import output

    # DROPPED
    # DROPPED
    from bot.store import open_store

    log = (folder / "bot.log").read_text(encoding="utf-8")
    since = datetime.now(UTC) - BACK - timedelta(seconds=seconds)
    with open_store(settings.store.url, read_only=True) as store:
        outcome = await store.run(
            lambda conn: gathered(conn, simulator, book, log, seconds=seconds, since=since)
        )
    print()
    for line in report(outcome):
        output.line(line)
