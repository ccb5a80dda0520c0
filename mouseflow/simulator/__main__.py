"""`python -m mouseflow.simulator`: the simulated Mouseflow and Slack in their own process."""

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Sequence

from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.server import MOUSEFLOW_PORT, SLACK_PORT, Simulator, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status."""
    options = _parser().parse_args(arguments)

    def ready(sim: Simulator) -> None:
        print(_addresses(sim, as_json=options.print_ready), flush=True)  # noqa: T201

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            serve(
                port=options.port, slack_port=options.slack_port, seed=options.seed,
                quirks=Quirks(time_zone=options.time_zone), speed=options.speed, ready=ready,
            )  # fmt: skip
        except OSError as error:
            print(f"cannot listen: {error}", file=sys.stderr)  # noqa: T201
            return 1
    return 0


def _addresses(sim: Simulator, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(
            {
                "mouseflow": sim.mouseflow_url,
                "slack": sim.slack_url,
                "webhook": sim.webhook_url,
                "email": sim.email,
                "api_key": sim.api_key,
                "slack_token": sim.slack.token,
            }
        )
    return (
        f"Mouseflow  {sim.mouseflow_url}  (email {sim.email}, API key {sim.api_key})\n"
        f"Slack      {sim.slack_url}  (bot token {sim.slack.token})\n"
        f"Webhook    {sim.webhook_url}\n"
        f"Control    {sim.mouseflow_url}/_simulator/state"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mouseflow.simulator",
        description="Serves a simulated Mouseflow API and a simulated Slack on loopback.",
        epilog="example: python -m mouseflow.simulator --port 0 --slack-port 0 --print-ready",
    )
    parser.add_argument("--port", type=int, default=MOUSEFLOW_PORT, help="0 for any free port")
    parser.add_argument("--slack-port", type=int, default=SLACK_PORT, help="0 for any free port")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same visitors")
    parser.add_argument("--speed", type=float, default=1.0, help="how fast time passes")
    parser.add_argument("--time-zone", default="Europe/Copenhagen", help="the account's time zone")
    parser.add_argument(
        "--print-ready", action="store_true", help="print the addresses as one line of JSON"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
