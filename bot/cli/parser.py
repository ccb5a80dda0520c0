"""The command line: its options, and which file holds which command.

Light on purpose: a command's own module is imported when that command is asked for, and
imports what is heavy only when it runs.
"""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from bot import __version__

COMMANDS = {
    "run": "the daemon: watches until it is told to stop",
    "once": "polls every source once, performs what is due, exits",
    "demo": "shows the bot at work on a simulated account",
    "simulate": "serves the simulated Mouseflow API and Slack",
    "init": "writes a first config.toml, rule file and JSON Schema",
    "check": "validates configuration and rules, every problem at once",
    "test": "runs the tests written in rule files",
    "explain": "why a rule matches a recording or not, and what came of it",
    "replay": "judges past recordings by the present rules",
    "plan": "the rule files against the running rules over the last days",
    "tune": "how many matches a day at other thresholds",
    "schema": "prints the JSON Schema of rule files",
    "status": "what the daemon knows: websites, rules, queue, dead letters",
    "budget": "explains budgets: figures per day, steps done, what comes next",
    "history": "the audit log: what was done, and why or why not",
    "retry": "requeues steps that were given up",
    "snooze": "mutes a rule's posts for a while",
    "backup": "writes a copy of the store while the daemon runs",
    "healthcheck": "exits 0 while the daemon is alive",
}
"""Every command with its line in `--help`; the module of a command has its name."""

EPILOG = """\
exit codes: 0 success, 1 a problem was found, 2 wrong usage, 3 a fault of the program's own

  mouseflow-bot demo            see it work, nothing needed
  mouseflow-bot init            start with your own account
  mouseflow-bot COMMAND --help  what a command does, with an example
"""


class Command(Protocol):
    """What a module of a command offers."""

    EXAMPLE: str

    def options(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code, raises BotError for a problem to be told."""
        ...


def command(name: str) -> Command:
    """The module of that command."""
    return cast(Command, importlib.import_module(f"bot.cli.{name}"))


def parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these arguments; only the command they name has its options filled in."""
    whole = argparse.ArgumentParser(
        prog="mouseflow-bot",
        description="Watches a Mouseflow account by rules: tags, stars, shares, posts to Slack.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"mouseflow-bot {__version__}")
    _add_config(whole, default=None)
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in argv if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        if name == asked:
            _add(commands, name, summary)
        else:
            commands.add_parser(name, help=summary, add_help=False)
    return whole


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> None:
    module = command(name)
    one = commands.add_parser(
        name,
        help=summary,
        description=(module.__doc__ or summary).strip(),
        epilog="example:\n" + "\n".join(f"  {line}" for line in module.EXAMPLE.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Also understood before the command, whose own default must not wipe it out.
    _add_config(one, default=argparse.SUPPRESS)
    module.options(one)


def _add_config(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=default,
        help="the configuration (default: BOT_CONFIG, else config.toml)",
    )
