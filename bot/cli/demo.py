"""Shows the bot at work: a simulated account, the daemon, and the rule files in `rules/`.

Needs no account, no configuration and no network, and leaves nothing behind.
"""

import asyncio
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bot.cli.numbers import positive
from bot.errors import ConfigError

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.rulebook.rules import RuleSet
    from bot.simulator.server import Simulator

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

    rules = args.rules or rules_directory()
    with TemporaryDirectory(prefix="mouseflow-bot-demo-") as name:
        folder = Path(name)
        with (folder / "bot.log").open("w", encoding="utf-8") as log:
            logs.configure("json", "info", log)
            asyncio.run(_demo(args, rules, folder))
            logs.configure("text", "warning")
    return 0


def rules_directory() -> Path:
    """`rules/` here, beside the package (a checkout), or where the container keeps it."""
    places = (
        Path("rules"),
        Path(__file__).parents[2] / "rules",
        Path(sys.prefix) / "share" / "mouseflow-bot" / "rules",
    )
    for place in places:
        if place.is_dir():
            return place
    raise ConfigError(
        "there is no folder rules here; name one with --rules, or `mouseflow-bot init` writes one"
    )


async def _demo(args: Namespace, rules: Path, folder: Path) -> None:
    from bot import daemon
    from bot.cli.demo_progress import watch
    from bot.simulator.server import Simulator

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
    from bot.config.allowed import allowed
    from bot.rule_files import contents
    from bot.rulebook.read import read

    return read(contents(settings.rules.paths), allowed=allowed(settings))


def _introduce(rules: Path, count: int, seconds: float) -> None:
    print("mouseflow-bot watches a Mouseflow account by rules and acts: it tags, stars, shares,")
    print("and posts to Slack. Here it watches a simulated shop, so nothing real is touched.")
    print(f"For {seconds:.0f} seconds, with {count} rules from {rules}/:\n", flush=True)


async def _tell(
    simulator: "Simulator", settings: "Settings", book: "RuleSet", folder: Path, seconds: float
) -> None:
    from bot.cli import show
    from bot.cli.demo_facts import gathered
    from bot.cli.demo_report import report
    from bot.store import open_store

    log = (folder / "bot.log").read_text(encoding="utf-8")
    since = datetime.now(UTC) - BACK - timedelta(seconds=seconds)
    with open_store(settings.store.url, read_only=True) as store:
        outcome = await store.run(
            lambda conn: gathered(conn, simulator, book, log, seconds=seconds, since=since)
        )
    print()
    for line in report(outcome):
        show.line(line)
