"""Show how many matches per day a rule would have at other thresholds.

Varies the rule's friction threshold, else that of duration or pages. Conditions without an API
filter cannot be counted; then the numbers are upper limits. If people called messages of the
rule not useful, it suggests the threshold that would have avoided most of them.
"""

import asyncio
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from bot.cli.history_context import moment
from bot.messages.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.config import Settings
    from bot.domain.subjects import RecordingSubject
    from bot.ports import Mouseflow
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
    wrong = _called_not_useful(settings, rule)
    with output.busy(f"counting matches of {rule.id}"):
        curve, values, calls, days = asyncio.run(_curve(args, settings, rule, knob, wrong))
    _show(args, rule, knob, curve, values, calls, days)
    return 0


def _called_not_useful(settings: "Settings", rule: "Rule") -> "Sequence[tuple[str, str]]":
    """The latest recordings of which people called the rule's message not useful."""
    from bot.cli import context
    from bot.errors import StoreError
    from bot.replay.tune import MOST_ASKED
    from bot.store.presses import useless

    try:
        with context.existing_store(settings, read_only=True) as store:
            return store.do(lambda conn: useless(conn, rule.id))[-MOST_ASKED:]
    except StoreError:  # the bot has not run here
        return ()


async def _curve(
    args: Namespace,
    settings: "Settings",
    rule: "Rule",
    knob: "Knob",
    wrong: "Sequence[tuple[str, str]]",
) -> "tuple[list[Rung], list[float], int, int]":
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
        asking = tune.asks_all(rule, knob, [rung.threshold for rung in curve])
        values = [
            value
            for website, recording in wrong
            if (seen := await _subject(api, website, recording, asking, zone.key)) is not None
            and (value := tune.value(knob, seen)) is not None
        ]
        return curve, values, api.calls, length


async def _subject(
    api: "Mouseflow", website: str, recording: str, rule: "Rule", zone: str
) -> "RecordingSubject | None":
    """The recording with what the rule asks about it; None if it is gone."""
    from bot.cli.history_context import utc
    from bot.domain.subjects import Site
    from bot.errors import Gone
    from bot.replay.explain_one import ask
    from mouseflow import recordings

    try:
        detail = await api.send(recordings.detail(website, recording))
    except Gone:
        return None
    return (await ask(api, Site(website, ""), detail, rule, frozenset(), zone, utc())).subject


def _show(
    args: Namespace,
    rule: "Rule",
    knob: "Knob",
    curve: "list[Rung]",
    values: "list[float]",
    calls: int,
    days: int,
) -> None:
    from dataclasses import asdict

    from bot.cli import output
    from bot.replay import tune

    uncounted = tune.uncounted(rule)
    if args.json:
        output.document(
            {
                "rule": rule.id, "field": knob.field, "side": knob.side, "days": days,
                "curve": [
                    asdict(rung) | {"avoids": tune.avoided(knob, rung.threshold, values)}
                    for rung in curve
                ],
                "not_useful": len(values),
                "suggested": getattr(tune.suggestion(knob, curve, values), "threshold", None),
                "not_counted": uncounted, "calls": calls,
            }
        )  # fmt: skip
        return
    output.line(f"{rule.id}: matches per day by {knob.field}, over {counted(days, 'day')}")
    for text in tune.chart(knob, curve):
        output.line(f"  {text}")
    for text in tune.said(knob, curve, values):
        output.line(text)
    if uncounted:
        output.line(
            f"Mouseflow can't count {', '.join(uncounted)}, so these are upper limits; "
            "`mouseflow-bot replay` gives exact numbers"
        )
    output.line(counted(calls, "API call"))
