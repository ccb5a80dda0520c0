"""Run a command; every error it raises becomes a message and an exit code."""

import argparse
import codecs
import errno
import importlib
import io
import os
import re
import select
import signal
import sys
import textwrap
from argparse import ArgumentTypeError
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol, cast

from bot import __version__
from bot.errors import BotError, ConfigError

COMMANDS = {
    "run": "run the daemon until it is stopped",
    "once": "poll every source once, perform what is due, exit",
    "demo": "show the bot at work on a simulated account",
    "simulate": "serve a simulated Mouseflow API and Slack",
    "init": "write a first config.toml, rule file and JSON Schema",
    "check": "check configuration and rules, list every problem",
    "test": "run the tests in rule files",
    "explain": "show why a rule matches a recording or not",
    "replay": "evaluate past recordings with the current rules",
    "plan": "compare the rule files with the running rules",
    "tune": "show matches per day at other thresholds",
    "learn": "make tests of recordings that people called not useful",
    "fmt": "format rule files, comments and all",
    "schema": "print the JSON Schema of rule files",
    "slack-manifest": "print the manifest of the Slack app, with its scopes",
    "status": "show websites, rules, queue and dead letters",
    "budget": "show budgets: figures per day, steps, forecast",
    "history": "show the audit log: what the bot did and why",
    "retry": "requeue dead letters, resume paused rules",
    "cancel": "cancel actions that wait",
    "snooze": "mute a rule's posts for a while",
    "backup": "copy the store, also while the daemon runs",
    "restore": "put a backup in the store's place, without posting twice",
    "move": "carry the store over into another database",
    "export": "write recordings or reports to CSV or JSON Lines",
    "api": "send one request to the Mouseflow API, print its JSON",
    "completion": "print completion for bash, zsh or fish",
    "healthcheck": "exit 0 while the daemon runs, and polls and deliveries move",
}
"""Every command with its line in `--help`; the command's module has the same name, with `_`."""

WITHOUT_ACCOUNT = frozenset(
    {"run", "demo", "simulate", "init", "fmt", "schema", "slack-manifest", "completion"}
)
"""Commands that concern all accounts, or none."""

EPILOG = """\
exit codes: 0 success, 1 a problem was found, 2 wrong usage, 3 internal error

  mouseflow-bot demo          see it work, no account needed
  mouseflow-bot init          start with your own account
  mouseflow-bot help COMMAND  what a command does, with an example
"""
ASCII = str.maketrans({
    "✓": "+", "✗": "x", "…": "...", "·": "-", "×": "x", "→": "->", "•": "*", "█": "#", "─": "-",
    "│": "|", "┌": "+", "└": "+", "∗": "*", "≥": ">=", "–": "-", "’": "'",
})  # fmt: skip
"""What replaces a symbol that the output's encoding lacks."""

_OUTSIDE = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
    errno.EMFILE, errno.ENFILE, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG,
})  # fmt: skip
"""Errors of files that are no bug: a full disk, a file that may not be written."""

SUCCESS, PROBLEM, USAGE, INTERNAL_ERROR, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of that command line (default: this process's)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return copy_context().run(_main, arguments)  # what one command is about ends with it


def _main(arguments: list[str]) -> int:
    _exit_on_sigterm()
    _open_closed_streams()
    _print_any_text()
    try:
        return _run(arguments)
    except BotError as error:
        _print_error(str(error))
        return PROBLEM
    except KeyboardInterrupt:
        _print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        if _pipe_was_closed():
            return SUCCESS
        _report_internal_error(arguments)
        return INTERNAL_ERROR
    except OSError as error:
        if error.errno not in _OUTSIDE:
            _report_internal_error(arguments)
            return INTERNAL_ERROR
        if error.filename is None:
            _drop_output()
        _print_error(f"{error.filename or 'the output'}: {error.strerror}")
        return PROBLEM
    except Exception:
        _report_internal_error(arguments)
        return INTERNAL_ERROR


def _run(arguments: list[str]) -> int:
    if odd := next((each for each in arguments if _is_odd(each)), None):
        raise ConfigError(f"the argument {odd!a} is not valid UTF-8")
    if arguments[:1] == ["help"]:
        about = [it for it in arguments[1:2] if it != "help" and not it.startswith("-")]
        arguments = [*about, "--help"]
    try:
        whole = parser(arguments)
        if "_ARGCOMPLETE" in os.environ:
            _complete()
        if not arguments:
            whole.print_help(sys.stderr)
            return USAGE
        first = arguments[0].partition("=")[0]
        if first.startswith("-") and first not in whole.option_names():
            whole.reject("", arguments)
        args, unknown = whole.parse_known_args(arguments)
        if unknown:
            whole.reject(args.command, unknown)
    finally:
        sys.stdout.flush()  # after --help, while a broken pipe can still be handled
    code = command(args.command).run(args)
    sys.stdout.flush()
    return code


def _is_odd(argument: str) -> bool:
    """Whether it has bytes that are not UTF-8, or half of a character."""
    return any("\ud800" <= letter <= "\udfff" for letter in argument)


def _open_closed_streams() -> None:
    """Open what was closed (`>&-`): else the next file, such as the store, takes its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
    sys.stderr = sys.stderr or io.TextIOWrapper(io.FileIO(2, "w", closefd=False))


def _print_any_text() -> None:
    """Let no output fail for its encoding: replace what a Latin-1 or ASCII terminal lacks."""
    codecs.register_error("ascii-symbols", _ascii_symbols)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ascii-symbols")


def _ascii_symbols(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = lacking.translate(ASCII)
    return "".join(each if each.isascii() else "?" for each in plain), error.end


def _complete() -> None:
    """Print what the shell may complete the line with, and exit."""
    import argcomplete

    words = os.environ.get("COMP_LINE", "").split()
    argcomplete.autocomplete(parser(words[1:]))


def _exit_on_sigterm() -> None:
    """As PID 1 of a container SIGTERM has no effect without a handler."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def _pipe_was_closed() -> bool:
    """Whether the reader of standard output has gone, as in `history | head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLERR)
    closed = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if closed:
        _drop_output()
    return closed


def _drop_output() -> None:
    """Give up what can't be written: Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(text: str) -> None:
    from bot.cli import output

    output.error(text)


def _report_internal_error(arguments: list[str]) -> None:
    """All that a bug report needs, without values of variables and without secrets."""
    import platform
    import traceback

    _print_error(
        "mouseflow-bot: Internal error. Please report it with this text:\n"
        f"  version {__version__}, Python {platform.python_version()}, {platform.system()}\n"
        f"  command {' '.join(arguments[:1])}\n"
        f"{traceback.format_exc()}"
    )


# The parser.


class Command(Protocol):
    """What the module of a command has."""

    EXAMPLE: str

    def options(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Run it; returns the exit code, raises BotError with a message for the user."""
        ...


def command(name: str) -> Command:
    """The module of that command."""
    return cast(Command, importlib.import_module(f"bot.cli.{name.replace('-', '_')}"))


class _Help(argparse.HelpFormatter):
    """Wraps paragraphs at words, and examples so that they can be pasted."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for each in re.split(r"\n(?=[ \n])|(?<=\n)\n|(?<=:)\n", text):
            lines += self._example(each, width) if each[:1] == " " else self._paragraph(each, width)
        return "\n".join(lines)

    def _paragraph(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width) or [""]

    def _example(self, line: str, width: int) -> list[str]:
        """The command, ended by a backslash where it goes on; its comment first."""
        command, mark, comment = line.rstrip().partition("  #")
        if len(line) <= width:
            return [line]
        if mark:
            return [*self._example(f"  #{comment}", width), *self._example(command.rstrip(), width)]
        columns = re.match(r" *\S.*?  +", line)
        hanging = " " * columns.end() if columns else "      "
        more = "" if columns or line.startswith("  #") else " \\"
        wrapper = textwrap.TextWrapper(
            width - len(more), subsequent_indent=hanging, break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip
        return f"{more}\n".join(wrapper.wrap(line)).split("\n")


class Parser(argparse.ArgumentParser):
    """A parser that suggests the closest command or option for a misspelt one."""

    commands: "argparse._SubParsersAction[Parser] | None" = None

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and exit with 2."""
        if self.commands and (
            wrong := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message)
        ):
            message = f"there is no command {wrong[1]}{suggest(wrong[1], COMMANDS)}"
        elif wrong := re.match(
            r"argument .+?: invalid choice: '(.*?)' \(choose from (.*)\)", message
        ):
            known = wrong[2].replace("'", "")
            message = f"{wrong[1]}: write one of {known}{suggest(wrong[1], known.split(', '))}"
        self.print_usage(sys.stderr)
        end = " See" if message.endswith("?") else "; see"
        _print_error(f"{self.prog}: {message}{end} {self.prog} --help")
        self.exit(USAGE)

    def reject(self, command: str, unknown: Sequence[str]) -> NoReturn:
        """Exit with 2: the command (empty: the program) has no such options or arguments."""
        own = self.commands.choices[command] if self.commands and command else self
        word = unknown[0]
        if not word.startswith("-"):
            own.error(f"unexpected argument {word}")
        own.error(f"there is no option {word}{suggest(word.partition('=')[0], own.option_names())}")

    def option_names(self) -> Iterable[str]:
        """Its options, such as `-h` and `--json`."""
        return self._option_string_actions


def parser(argv: Sequence[str]) -> Parser:
    """The parser for these arguments; only the command that they name is imported."""
    whole = Parser(
        prog="mouseflow-bot",
        description="Watches a Mouseflow account by rules: tags, stars, shares, posts to Slack.",
        epilog=EPILOG,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"mouseflow-bot {__version__}")
    _add_config(whole, default=None)
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    whole.commands = commands
    named = next((word for word in argv if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        if name == named:
            _add_command(commands, name, summary)
        else:
            commands.add_parser(name, help=summary, add_help=False)
    return whole


def _add_command(commands: "argparse._SubParsersAction[Parser]", name: str, summary: str) -> None:
    module = command(name)
    added = commands.add_parser(
        name,
        help=summary,
        description=(module.__doc__ or summary).strip(),
        epilog="example:\n" + "\n".join(f"  {line}" for line in module.EXAMPLE.splitlines()),
        formatter_class=_Help,
        allow_abbrev=False,
    )
    # The option may also be before the command; the command's default must not overwrite it.
    _add_config(added, default=argparse.SUPPRESS)
    if name not in WITHOUT_ACCOUNT:
        added.add_argument(
            "--account",
            metavar="NAME",
            help="which account, if the configuration has several",
        )
    module.options(added)


def _add_config(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=default,
        help="configuration file (default: BOT_CONFIG, else config.toml)",
    )


# Values of options.


def port(text: str) -> int:
    """A port to listen on; 0 means any free one."""
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


# Names that may be misspelt.


def suggest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """`; did you mean X?`, else `otherwise` after a semicolon, if there is any."""
    by_fold = {each.casefold(): each for each in known}
    low = name.casefold()
    turned = [each for each in by_fold if _words(each) == _words(low)]
    near = turned or get_close_matches(low, by_fold, 1)
    if near:
        return f"; did you mean {by_fold[near[0]]}?"
    return f"; {otherwise}" if otherwise else ""


def _words(name: str) -> list[str]:
    return sorted(re.split(r"[\s_-]+", name))


def known_name(name: str, known: Iterable[str], error: str, otherwise: str = "") -> str:
    """The known name that is `name`, whatever its capitals.

    Raises ConfigError that starts with `name` and `error`, and suggests the closest one.
    """
    names = list(known)
    if name in names:
        return name
    for each in names:
        if each.casefold() == name.casefold():
            return each
    raise ConfigError(f"{name}: {error}{suggest(name, names, otherwise)}")
