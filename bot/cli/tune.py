"""How many matches a day a rule would have at other thresholds, from calls that only count.

It turns the rule's friction threshold, else that of duration or pages. What the API has no
filter for cannot be counted and is said: there are at most as many matches as it shows.
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
        "--since", type=moment, metavar="WHEN", help="whole days from then (default: 7d)"
    )
    parser.add_argument(
        "--field",
        default="",
        metavar="FIELD",
        help="friction, duration or pages (default: what the rule asks first of these)",
    )
    parser.add_argument(
        "--rungs", type=rungs, default=(), metavar="N,N", help="these thresholds (durations: 90s)"
    )
    parser.add_argument(
        "--website", action="append", default=[], metavar="W", help="name or id; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="the curve as JSON")
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
        raise ArgumentTypeError("thresholds are not negative")
    return tuple(found)


def run(args: Namespace) -> int:
    """Count and show."""
    from bot import logs
    from bot.cli import context
    from bot.replay import tune
    from bot.replay.select import chosen_rules

    if args.field and args.field not in tune.TUNABLE:
        args.usage_error(f"--field is one of {', '.join(tune.TUNABLE)}")
    settings = context.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    (rule,) = chosen_rules(context.rules(args, settings).rules, [args.rule])
    turned = tune.knob(rule, args.field)
    curve, calls, days = asyncio.run(_curve(args, settings, rule, turned))
    _show(args, rule, turned, curve, calls, days)
    return 0


async def _curve(
    args: Namespace, settings: "Settings", rule: "Rule", turned: "Knob"
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
                raise ConfigError(f"{site.name}: the API ignores the friction filter there")
        for threshold in tune.rungs(turned, args.rungs):
            filters = tune.filters(rule, turned, threshold, days)
            total = 0
            for site in sites:
                page = await api.send(recordings.list(site.id, filters, limit=1))
                total += page.count
            curve.append(tune.Rung(threshold, total / length, present=threshold == turned.present))
        return curve, api.calls, length


def _show(
    args: Namespace, rule: "Rule", turned: "Knob", curve: "list[Rung]", calls: int, days: int
) -> None:
    from dataclasses import asdict

    from bot.cli import output
    from bot.replay import tune

    left = tune.uncounted(rule)
    if args.json:
        output.document(
            {
                "rule": rule.id, "field": turned.field, "side": turned.side, "days": days,
                "curve": [asdict(rung) for rung in curve], "not_counted": left, "calls": calls,
            }
        )  # fmt: skip
        return
    output.line(f"{rule.id}: matches a day by {turned.field}, over {output.counted(days, 'day')}")
    for text in tune.chart(turned, curve):
        output.line(f"  {text}")
    for part in left:
        output.line(f"not counted, there is no filter for it: {part}")
    if left:
        output.line("so there are at most as many matches; `mouseflow-bot replay` counts exactly")
    output.line(output.counted(calls, "call"))
