"""How many matches a day a rule would have at other thresholds, from calls that only count.

It turns the rule's friction threshold, else that of duration or pages. What the API has no
filter for cannot be counted and is said: there are at most as many matches as it shows.
"""

import asyncio
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from bot.cli.looking_back import moment

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.replay.tuning import Knob, Rung
    from bot.rulebook.rules import Rule

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
        choices=("friction", "duration", "pages"),
        help="what to turn (default: what the rule asks first of these)",
    )
    parser.add_argument(
        "--rungs", type=rungs, default=(), metavar="N,N", help="these thresholds (durations: 90s)"
    )
    parser.add_argument(
        "--website", action="append", default=[], metavar="W", help="name or id; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="the curve as JSON")
    parser.set_defaults(paths=[])


def rungs(text: str) -> tuple[float, ...]:
    """Numbers, or durations in milliseconds."""
    from datetime import timedelta

    from bot.wording import duration

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
    from bot.cli import given
    from bot.replay import tuning
    from bot.replay.choosing import chosen

    settings = given.settings(args)
    logs.configure(settings.log.format, settings.log.level)
    (rule,) = chosen(given.rules(args, settings).rules, [args.rule])
    turned = tuning.knob(rule, args.field)
    curve, calls, days = asyncio.run(_curve(args, settings, rule, turned))
    _show(args, rule, turned, curve, calls, days)
    return 0


async def _curve(
    args: Namespace, settings: "Settings", rule: "Rule", turned: "Knob"
) -> "tuple[list[Rung], int, int]":
    from datetime import timedelta
    from zoneinfo import ZoneInfo

    from bot.cli.looking_back import account, utc
    from bot.errors import ConfigError
    from bot.mouseflow import recordings, websites
    from bot.poll.facts import friction_is_ignored
    from bot.poll.listing import of_days
    from bot.replay import tuning
    from bot.replay.choosing import looked_at
    from bot.rulebook.queries import asks_friction

    now, zone = utc(), ZoneInfo(settings.mouseflow.time_zone)
    days = tuning.whole_days(args.since or now - timedelta(days=7), now, zone)
    length = (days[1] - days[0]).days
    curve = []
    async with account(settings) as api:
        rows = await api.send(websites.list())
        sites = looked_at(rows, [rule], args.website)
        for site in sites if asks_friction(rule) else ():
            if await friction_is_ignored(api, site.id, of_days(*days)):
                raise ConfigError(f"{site.name}: the API ignores the friction filter there")
        for threshold in tuning.rungs(turned, args.rungs):
            filters = tuning.filters(rule, turned, threshold, days)
            total = 0
            for site in sites:
                page = await api.send(recordings.list(site.id, filters, limit=1))
                total += page.count
            curve.append(
                tuning.Rung(threshold, total / length, present=threshold == turned.present)
            )
        return curve, api.calls, length


def _show(
    args: Namespace, rule: "Rule", turned: "Knob", curve: "list[Rung]", calls: int, days: int
) -> None:
    from dataclasses import asdict

    from bot.cli import show
    from bot.replay import tuning

    left = tuning.uncounted(rule)
    if args.json:
        show.document(
            {
                "rule": rule.id, "field": turned.field, "side": turned.side, "days": days,
                "curve": [asdict(rung) for rung in curve], "not_counted": left, "calls": calls,
            }
        )  # fmt: skip
        return
    show.line(f"{rule.id}: matches a day by {turned.field}, over {show.counted(days, 'day')}")
    for text in tuning.chart(turned, curve):
        show.line(f"  {text}")
    for part in left:
        show.line(f"not counted, there is no filter for it: {part}")
    if left:
        show.line("so there are at most as many matches; `mouseflow-bot replay` counts exactly")
    show.line(show.counted(calls, "call"))
