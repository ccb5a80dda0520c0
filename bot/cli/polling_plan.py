"""The polling plan in `status`: what polls request, how often, and what each rule costs."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.domain.subjects import Site
    from bot.rules.model import RuleSet
    from bot.rules.needs import Plan
    from bot.scheduler import PollPace
    from bot.store import Connection

_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Cost:
    """The API calls that a rule needed in the last 24 h, and on how many websites."""

    rule: str
    calls: int
    websites: int


@dataclass(frozen=True, slots=True)
class PollingPlan:
    """What the bot requests from the account.

    `plans` are those of the current rule files, each with the websites that share it; there are
    none if the files are `faulty`. `edited` files are not loaded yet. `round` is how often
    recordings are polled: as the daemon measured last, or else the best that the rate allows.
    """

    plans: "Mapping[Plan, Sequence[Site]]"
    costs: Sequence[Cost]
    round: "PollPace | None"
    faulty: bool = False
    edited: bool = False


def plan_rules(args: Namespace, settings: "Settings") -> "RuleSet | None":
    """The rules in the files now, None if they have errors."""
    from bot.cli import context
    from bot.errors import ConfigError, RuleErrors

    try:
        return context.rules(args, settings, offline=True)
    except (ConfigError, RuleErrors):
        return None


def gather_plan(
    conn: "Connection", rules: "RuleSet | None", settings: "Settings", now: datetime
) -> PollingPlan:
    """The plan for the websites that the daemon knows, and the calls of the last 24 h."""
    from bot.rules.needs import plans

    costs = _costs(conn, now - timedelta(days=1))
    if rules is None:
        return PollingPlan({}, costs, _round(conn, settings, None), faulty=True)
    found = plans(rules.rules, _sites(conn))
    websites = sum(map(len, found.values()))
    return PollingPlan(
        found, costs, _round(conn, settings, websites), edited=_is_edited(conn, rules)
    )


def _sites(conn: "Connection") -> "list[Site]":
    from bot.domain.subjects import Site
    from bot.store.recordings import website_names

    return [Site(id=key, name=name) for key, name in website_names(conn).items()]


def _is_edited(conn: "Connection", rules: "RuleSet") -> bool:
    from bot.store.audit import history

    loaded = history(conn, kind="rules.loaded", limit=1)
    return bool(loaded) and loaded[0].details.get("digest") != rules.digest


def _round(conn: "Connection", settings: "Settings", websites: int | None) -> "PollPace | None":
    from bot.scheduler import measure_pace, read_pace
    from bot.store.recordings import ROUNDS, watermark

    rate, wished = settings.mouseflow.requests_per_second, settings.poll.recordings
    text = watermark(conn, ROUNDS, "")
    seen = read_pace(text)
    if seen and (seen.rate, seen.wished) == (rate, wished) and websites in (None, seen.websites):
        return seen
    return measure_pace(websites, rate, wished, timedelta(), was_slow=False) if websites else None


def _costs(conn: "Connection", since: datetime) -> list[Cost]:
    from bot.store.audit import history

    calls: dict[str, dict[str, int]] = {}
    for note in history(conn, kind="poll.cost", since=since, limit=_MOST):
        for rule, number in note.details.items():
            sites = calls.setdefault(rule, {})
            sites[note.website] = sites.get(note.website, 0) + int(number)
    costs = [Cost(rule, sum(sites.values()), len(sites)) for rule, sites in calls.items()]
    return sorted(costs, key=lambda cost: (-cost.calls, cost.rule))


def show_plan(polling: PollingPlan) -> None:
    """Print the plan; websites with the same plan share their lines."""
    from bot.cli import output
    from bot.messages.text import lasting
    from bot.rules.needs import lines, some
    from bot.scheduler import slow_poll_lines

    if not (polling.plans or polling.costs or polling.faulty):
        return
    output.line()
    output.line(
        "polling plan" + (" of the changed rule files (not loaded yet)" if polling.edited else "")
    )
    if polling.faulty:
        output.line("  the rule files have errors; `mouseflow-bot check` lists them")
    if polling.round is not None:
        now = polling.round
        least = now.websites / now.wished.total_seconds()
        output.line(
            f"  {output.counted(now.websites, 'website')} every {lasting(now.wished)}: "
            f"at least {least:.3g} requests/s (limit {now.rate:g})"
        )
        if now.slow:
            output.line(f"  {slow_poll_lines(now)[0]}")
    for plan, sites in polling.plans.items():
        output.line(f"  {some([site.name for site in sites])}")
        for text in lines(plan):
            output.line(f"    {text}")
    if polling.costs:
        output.line(
            "API calls per rule in the last 24 h (a call that several rules needed counts for each)"
        )
        output.table(
            (
                cost.rule,
                output.counted(cost.calls, "call"),
                output.counted(cost.websites, "website"),
            )
            for cost in polling.costs
        )


def plan_json(polling: PollingPlan) -> dict[str, Any]:
    """The plan as values for JSON: durations in seconds, websites by id."""
    from dataclasses import asdict

    return {
        "plans": [
            {**asdict(plan), "calls": plan.calls, "websites": [site.id for site in sites]}
            for plan, sites in polling.plans.items()
        ],
        "costs": [asdict(cost) for cost in polling.costs],
        "round": asdict(polling.round) if polling.round else None,
        "faulty": polling.faulty,
        "edited": polling.edited,
    }
