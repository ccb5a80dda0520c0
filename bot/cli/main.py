"""Runs a command and turns whatever it raises into words and an exit code."""

import argparse
import importlib
import os
import select
import signal
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Protocol, cast

from bot import __version__
from bot.errors import BotError, ConfigError


def hint(wanted: str, known: Iterable[str], otherwise: str = "") -> str:
    """`; did you mean X?`, else `otherwise` after a semicolon, if there is any."""
    by_fold = {name.casefold(): name for name in known}
    near = get_close_matches(wanted.casefold(), by_fold, 1)
    if near:
        return f"; did you mean {by_fold[near[0]]}?"
    return f"; {otherwise}" if otherwise else ""


def one_of(wanted: str, known: Iterable[str], what: str, otherwise: str = "") -> str:
    """The known name that differs from `wanted` in capitals at most.

    Raises ConfigError that begins with `wanted` and says `what` where there is none.
    """
    names = list(known)
    if wanted in names:
        return wanted
    for name in names:
        if name.casefold() == wanted.casefold():
            return name
    raise ConfigError(f"{wanted}: {what}{hint(wanted, names, otherwise)}")


def port(text: str) -> int:
    """A port to listen on; 0 stands for any free one."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 5 or int(text) > 65535:
        raise ArgumentTypeError(f"{text}: a port is a number from 0 to 65535 (0: any free one)")
    return int(text)


def positive(text: str) -> float:
    """A number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text}: write a number above 0, such as 1 or 2.5")
    return number


def count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise ArgumentTypeError(f"{text}: write a whole number from 1, such as 100")
    return int(text)


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


SUCCESS, PROBLEM, USAGE, FAULT, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of that command line (default: the process's own)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _heed_termination()
    try:
        return _run(arguments)
    except BotError as error:
        _say(str(error))
        return PROBLEM
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        if _reader_left():
            return SUCCESS
        _report_fault(arguments)
        return FAULT
    except Exception:
        _report_fault(arguments)
        return FAULT


def _run(arguments: list[str]) -> int:
    # DROPPED

    try:
        args = parser(arguments).parse_args(arguments)
    finally:
        sys.stdout.flush()  # after --help, while a broken pipe can still be handled
    code = command(args.command).run(args)
    sys.stdout.flush()
    return code


def _heed_termination() -> None:
    """As PID 1 of a container SIGTERM is ignored by the kernel until somebody handles it."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def _reader_left() -> bool:
    """After `history | head` the reader has what it wanted: not a fault, whoever raised it."""
    watched = select.poll()
    watched.register(sys.stdout.fileno(), select.POLLERR)
    left = any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))
    if left:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return left


def _say(text: str) -> None:
    from bot.logs import presentable

    print(presentable(text), file=sys.stderr)


def _report_fault(arguments: list[str]) -> None:
    """All that a bug report needs, without values of variables and without secrets."""
    import platform
    import traceback

    from bot import __version__

    _say(
        "mouseflow-bot: this is a fault of its own, not yours. Please report what follows:\n"
        f"  version {__version__}, Python {platform.python_version()}, {platform.system()}\n"
        f"  command {' '.join(arguments[:1])}\n"
        f"{traceback.format_exc()}"
    )
