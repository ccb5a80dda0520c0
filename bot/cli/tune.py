"""Show how many matches per day a rule would have at other thresholds.

Varies the rule's friction threshold, else that of duration or pages. Conditions without an API
filter cannot be counted; then the numbers are upper limits.
"""

import asyncio
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from bot.cli.history_context import moment

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.replay.tune import Knob, Rung
    from bot.rules.model import Rule

EXAMPLE = (
    "mouseflow-bot tune checkout-friction\n"
    "mouseflow-bot tune checkout-friction --since 14d --rungs 2,2.5,3 --json"
)


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("rule", metavar="RULE", help="the rule's id")
    parser.add_argument(
        "--since", type=moment, metavar="WHEN", help="start; whole days are counted (default: 7d)"
    )
    parser.add_argument(
        "--field",
        default="",
        metavar="FIELD",
        help="threshold to vary: friction, duration or pages (default: the first the rule has)",
    )
    parser.add_argument(
        "--rungs",
        type=rungs,
        default=(),
        metavar="N,N",
        help="thresholds, such as 2,2.5,3 or 30s,60s",
    )
    parser.add_argument(
        "--website", action="append", default=[], metavar="W", help="name or id; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(paths=[], usage_error=parser.error)


def rungs(text: str) -> tuple[float, ...]:
    """Numbers, or durations in milliseconds."""
    from datetime import timedelta

    from bot.messages import duration

    found = []
    for word in text.split(","):
        try:
            found.append(float(word))
        except ValueError:
            try:
                found.append(duration(word) / timedelta(milliseconds=1))
            except ValueError:
                raise ArgumentTypeError("write numbers such as 2,2.5,3 or 30s,60s") from None
    if not all(0 <= it < float("inf") for it in found):
        raise ArgumentTypeError("a threshold cannot be negative")
    return tuple(found)


def run(args: Namespace) -> int:
    """Count and show; returns the exit code."""
    from bot import logs
    from bot.cli import context, output
    from bot.replay import tune
    from bot.replay.select import chosen_rules

    if args.field and args.field not in tune.TUNABLE:
        args.usage_error(f"--field is one of {', '.join(tune.TUNABLE)}")
    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    (rule,) = chosen_rules(context.rules(args, settings).written, [args.rule])
    knob = tune.knob(rule, args.field)
    with output.busy(f"counting matches of {rule.id}"):
        curve, calls, days = asyncio.run(_curve(args, settings, rule, knob))
    _show(args, rule, knob, curve, calls, days)
    return 0


async def _curve(
    args: Namespace, settings: "Settings", rule: "Rule", knob: "Knob"
) -> "tuple[list[Rung], int, int]":
    from datetime import timedelta
    from zoneinfo import ZoneInfo

    from bot.cli.history_context import account, utc
    from bot.errors import ConfigError
    from bot.polling.list_reader import of_days
    from bot.polling.server_facts import friction_is_ignored
    from bot.replay import tune
    from bot.replay.select import chosen_sites
    from bot.rules.needs import asks_friction
    from mouseflow import recordings, websites

    now, zone = utc(), ZoneInfo(settings.mouseflow.time_zone)
    days = tune.whole_days(args.since or now - timedelta(days=7), now, zone)
    length = (days[1] - days[0]).days
    curve = []
    async with account(settings) as api:
        rows = await api.send(websites.list())
        sites = chosen_sites(rows, [rule], args.website)
        for site in sites if asks_friction(rule) else ():
            if await friction_is_ignored(api, site.id, of_days(*days)):
                raise ConfigError(f"{site.name}: the API ignores the friction filter")
        for threshold in tune.rungs(knob, args.rungs):
            filters = tune.filters(rule, knob, threshold, days)
            total = 0
            for site in sites:
                page = await api.send(recordings.list(site.id, filters, limit=1))
                total += page.count
            curve.append(tune.Rung(threshold, total / length, present=threshold == knob.present))
        return curve, api.calls, length


def _show(
    args: Namespace, rule: "Rule", knob: "Knob", curve: "list[Rung]", calls: int, days: int
) -> None:
    from dataclasses import asdict

    from bot.cli import output
    from bot.replay import tune

    uncounted = tune.uncounted(rule)
    if args.json:
        output.document(
            {
                "rule": rule.id, "field": knob.field, "side": knob.side, "days": days,
                "curve": [asdict(rung) for rung in curve], "not_counted": uncounted, "calls": calls,
            }
        )  # fmt: skip
        return
    output.line(f"{rule.id}: matches per day by {knob.field}, over {output.counted(days, 'day')}")
    for text in tune.chart(knob, curve):
        output.line(f"  {text}")
    if uncounted:
        output.line(
            f"Mouseflow can't count {', '.join(uncounted)}, so these are upper limits; "
            "`mouseflow-bot replay` gives exact numbers"
        )
    output.line(output.counted(calls, "API call"))
