"""Runs a command and turns whatever it raises into words and an exit code."""

import os
import select
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from bot.errors import BotError

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
    from bot.cli.parser import command, parser

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
