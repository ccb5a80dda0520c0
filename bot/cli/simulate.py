"""Serve a simulated Mouseflow API and Slack on this machine, until Ctrl-C.

Prints the configuration for a bot that uses them, and on standard error each Slack message that
it gets. With --plant it adds one session to a simulator that is already running, and exits.
"""

import asyncio
import errno
import re
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from bot.cli.main import known_name, port, positive
from bot.domain.accounts import ACCOUNT
from bot.errors import ConfigError

if TYPE_CHECKING:
    from mouseflow.simulator.server import Simulator

EXAMPLE = (
    "mouseflow-bot simulate\n"
    "mouseflow-bot simulate > simulator.toml             # messages stay visible\n"
    "mouseflow-bot run --config simulator.toml           # in a second terminal\n"
    "mouseflow-bot simulate --plant checkout-friction    # in a third\n"
    "mouseflow-bot simulate --account shop --account outlet > simulator.toml"
)
PER_MINUTE = 12
PLANTED_START = -90
"""Seconds: a planted session has just met its trouble, so that a rule soon matches it."""

LOOK = 0.3
"""Seconds between two looks for new Slack messages."""
LONGEST = 500
"""Most characters of a message's line."""

Shown = dict[tuple[str, str], int]
"""How often each Slack message was edited, by channel and timestamp."""


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
        "--visitors",
        type=positive,
        default=PER_MINUTE,
        metavar="N",
        help=f"visitors of myshop.com per minute (default: {PER_MINUTE})",
    )
    parser.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="NAME",
        help="one more Slack channel, for your own rules; may be repeated",
    )
    parser.add_argument(
        "--account",
        action="append",
        default=[],
        metavar="NAME",
        type=account,
        help="simulate an account of that name, of several; repeat it for each",
    )
    parser.add_argument(
        "--plant",
        metavar="SCENARIO",
        help="add a session to the running simulator and exit; an unknown name lists all",
    )
    parser.add_argument(
        "--website",
        default="myshop.com",
        metavar="NAME",
        help="website of the planted session (default: myshop.com)",
    )


def account(text: str) -> str:
    """The name of an account."""
    if not ACCOUNT.fullmatch(text):
        raise ArgumentTypeError(f"{text}: write a name of small letters, digits, - and single _")
    return text


def run(args: Namespace) -> int:
    """Serve until SIGTERM or SIGINT, or plant a session; returns the exit code."""
    if args.plant is not None:
        return _plant(args.plant, args.website, args.port)
    from mouseflow.simulator.clock import real
    from mouseflow.simulator.scenarios import busy_sites
    from mouseflow.simulator.server import Simulator

    simulators = {}
    for number, its in enumerate(dict.fromkeys(args.account or [""])):
        seed = args.seed + number
        simulators[its] = simulator = Simulator(
            seed=seed,
            sites=busy_sites(real(), seed, args.visitors),
            port=0 if number else args.port,
            slack_port=0 if number else args.slack_port,
        )
        for name in args.channel:
            if simulator.slack.channel(name) is None:
                simulator.slack.add_channel(name)
    try:
        asyncio.run(_serve(simulators))
    except OSError as error:
        raise ConfigError(_listen_error(error, args.port)) from None
    return 0


def _plant(scenario: str, website: str, port: int) -> int:
    """Add a session to the simulator at that port."""
    import json
    from urllib.request import ProxyHandler, build_opener

    from mouseflow.simulator.scenarios import SCENARIOS

    name = known_name(
        scenario, SCENARIOS, "there is no such scenario", f"known: {', '.join(SCENARIOS)}"
    )
    opener = build_opener(ProxyHandler({}))

    def ask(path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{port}/_simulator/{path}"
        with opener.open(url, data, timeout=10) as answer:
            return json.load(answer)

    try:
        sites = ask("state")["websites"]
        if website not in {site["id"] for site in sites}:
            names = [site["name"] for site in sites]
            known = f"known: {', '.join(names)}"
            website = known_name(website, names, "the simulator has no such website", known)
        added = {"website": website, "scenario": name, "start": PLANTED_START}
        recording = ask("recordings", added)["id"]
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"no simulator answers on port {port}; start one with `mouseflow-bot simulate`, or "
            "name its port with --port"
        ) from None
    print(f"added a {name} session to {website}: recording {recording}")
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


async def _serve(simulators: "Mapping[str, Simulator]") -> None:
    from bot.cli.output import error

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as serving:
        for each in simulators.values():
            await serving.enter_async_context(each.serving())
        alone = simulators.get("")
        print(configuration(alone) if alone else configuration_of(simulators), flush=True)
        if not sys.stdout.isatty():  # the configuration went into a file
            where = " and ".join(
                f"Mouseflow at {it.mouseflow_url} and Slack at {it.slack_url}"
                for it in simulators.values()
            )
            error(f"serving {where} until Ctrl-C; Slack messages appear here")
        shown: dict[str, Shown] = {}
        while not stop.is_set():
            for name, each in simulators.items():
                shown[name] = show_posts(each, shown.get(name, {}), name)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK)


def show_posts(simulator: "Simulator", shown: Shown, name: str) -> Shown:
    """Print the Slack messages that are new or edited on standard error; returns what it saw."""
    of = f"{name}: " if name else ""
    from bot.cli.output import as_text, error
    from bot.logs import neutral

    seen = dict(shown)
    for post in simulator.slack.messages:
        key = (post.channel_id, post.ts)
        if seen.get(key) == post.edits:
            continue
        edited = " (edited)" if key in seen else ""
        seen[key] = post.edits
        lines = as_text(post.text, post.blocks).splitlines()
        error(f"\n{of}#{post.channel.lstrip('#')}{edited}")
        for line in lines:
            error(neutral(line, LONGEST), "  │ ")
    return seen


def configuration_of(simulators: "Mapping[str, Simulator]") -> str:
    """Configuration of a bot that uses all of them, as its accounts."""
    first = next(iter(simulators.values()))
    accounts = "".join(
        f"[accounts.{name}.mouseflow]\n"
        f'base_url = "{each.mouseflow_url}"\n'
        f'email = "{each.email}"\n'
        f'api_key = "{each.api_key}"\n'
        f'time_zone = "{each.quirks.time_zone}"\n'
        f"[accounts.{name}.slack]\n"
        f'base_url = "{each.slack_url}"\n'
        f'bot_token = "{each.slack.token}"\n'
        for name, each in simulators.items()
    )
    port = first.mouseflow_url.rpartition(":")[2]
    return (
        "# Serving until Ctrl-C. Configuration of a bot that uses them:\n"
        "[mouseflow]\n"
        "requests_per_second = 20\n"
        "[slack]\n"
        'channel = "#mouseflow"\n'
        'ops_channel = "#ops"\n'
        f"{_polls(first)}"
        f"{accounts}"
        "# Add a session from a second terminal, with the port of its account:\n"
        f"#   mouseflow-bot simulate --plant checkout-friction --port {port}"
    )


def _polls(simulator: "Simulator") -> str:
    return (
        "[poll]\n"
        'recordings = "5s"\n'
        'settle = "1m"\n'
        "[store]\n"
        f'url = "sqlite:///data/simulator-{simulator.clock.now():%m%d-%H%M%S}.db"\n'
    )


def configuration(simulator: "Simulator") -> str:
    """Configuration of a bot that uses the simulator: quick polls, sessions final in a minute.

    Each start is a new account, whose ids repeat those of the one before: it gets a store.
    """
    channels = ", ".join(f"#{channel.name}" for channel in simulator.slack.channels.values())
    return (
        "# Serving until Ctrl-C. Configuration of a bot that uses it:\n"
        "[mouseflow]\n"
        f'base_url = "{simulator.mouseflow_url}"\n'
        f'email = "{simulator.email}"\n'
        f'api_key = "{simulator.api_key}"\n'
        f'time_zone = "{simulator.quirks.time_zone}"\n'
        "requests_per_second = 20\n"
        "[slack]\n"
        f'base_url = "{simulator.slack_url}"\n'
        f'bot_token = "{simulator.slack.token}"\n'
        'channel = "#mouseflow"\n'
        'ops_channel = "#ops"\n'
        f"# all channels: {channels} (more: --channel NAME)\n"
        f"{_polls(simulator)}"
        "# Add a session from a second terminal: mouseflow-bot simulate --plant checkout-friction"
    )
