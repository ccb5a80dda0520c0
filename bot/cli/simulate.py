"""Serve a simulated Mouseflow API and Slack on this machine, until Ctrl-C.

Prints the configuration for a bot that uses them.
"""

import asyncio
import errno
import re
import signal
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from bot.cli.main import port, positive
from bot.errors import ConfigError

if TYPE_CHECKING:
    from mouseflow.simulator.server import Simulator

EXAMPLE = "mouseflow-bot simulate --port 8700 --slack-port 8701"


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--port",
        type=port,
        default=8700,
        metavar="P",
        help="port of the API (default: 8700, 0: any free one)",
    )
    parser.add_argument(
        "--slack-port",
        type=port,
        default=8701,
        metavar="P",
        help="port of Slack (default: 8701, 0: any free one)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed (default: 1)")
    parser.add_argument(
        "--speed", type=positive, default=1.0, metavar="X", help="times real speed (default: 1)"
    )


def run(args: Namespace) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    from mouseflow.simulator.server import Simulator

    simulator = Simulator(
        seed=args.seed, speed=args.speed, port=args.port, slack_port=args.slack_port
    )
    try:
        asyncio.run(_serve(simulator))
    except OSError as error:
        raise ConfigError(_listen_error(error, args.port)) from None
    return 0


_LISTEN_ERRORS = {
    errno.EADDRINUSE: "another program uses it (another simulator?)",
    errno.EACCES: "this user may not listen on it",
}


def _listen_error(error: OSError, port: int) -> str:
    """Which port cannot be used, why, and which option sets another one."""
    # asyncio has the address in the text alone: ('127.0.0.1', 8700).
    found = re.search(r"', (\d+)\)", str(error))
    failed = int(found[1]) if found else port
    option = "--port" if failed == port else "--slack-port"
    why = _LISTEN_ERRORS.get(error.errno or 0, "the system does not allow it")
    return f"cannot listen on port {failed}: {why}; choose another with {option} (0: any free one)"


async def _serve(simulator: "Simulator") -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with simulator.serving():
        print(configuration(simulator), flush=True)
        await stop.wait()


def configuration(simulator: "Simulator") -> str:
    """A config.toml for a bot that uses the simulator."""
    return (
        "# Serving until Ctrl-C. config.toml for a bot that uses it:\n"
        "[mouseflow]\n"
        f'base_url = "{simulator.mouseflow_url}"\n'
        f'email = "{simulator.email}"\n'
        f'api_key = "{simulator.api_key}"\n'
        f'time_zone = "{simulator.quirks.time_zone}"\n'
        "[slack]\n"
        f'base_url = "{simulator.slack_url}"\n'
        f'bot_token = "{simulator.slack.token}"\n'
        'channel = "#mouseflow"\n'
        "[poll]\n"
        'recordings = "5s"'
    )
