"""The polling plan that `status` shows: what the bot requests for the rules, and its cost."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bot.messages.text import counted

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.domain.subjects import Site
    from bot.rules.model import RuleSet
    from bot.rules.needs import IntervalCost, Plan
    from bot.scheduler import PollPace
    from bot.store import Connection


@dataclass(frozen=True, slots=True)
class Cost:
    """The API calls that a rule needed in the last 24 h, and on how many websites."""

    rule: str
    calls: int
    websites: int


@dataclass(frozen=True, slots=True)
class PollingPlan:
    """What the bot requests from the account.

    `plans` are those of the current rule files, or of the active rules if the files are `faulty`,
    each with the websites that share it. `edited` files are not loaded yet. `round` is how often
    recordings are polled: as the daemon measured last, or else the best that the rate allows.
    """

    plans: "Mapping[Plan, Sequence[Site]]"
    costs: Sequence[Cost]
    round: "PollPace | None"
    faulty: bool = False
    edited: bool = False

    @property
    def intervals(self) -> "Sequence[IntervalCost]":
        """What intervals of polls cost for a website with the most expensive plan."""
        from bot.rules.needs import interval_costs

        calls = max((plan.calls for plan in self.plans), default=0)
        return interval_costs(calls, self.round.wished, self.round.rate) if self.round else ()


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
    """The plan for the websites that the daemon knows, and the calls of the last 24 h.

    Without `rules`, since the files have errors, it is that of the active rules.
    """
    from bot.rules.needs import plans

    costs = _costs(conn, now - timedelta(days=1))
    used = rules or _kept_rules(conn, settings)
    if used is None:
        return PollingPlan({}, costs, _round(conn, settings, None), faulty=True)
    found = plans(used.rules, known_sites(conn))
    return PollingPlan(
        found,
        costs,
        _round(conn, settings, sum(map(len, found.values()))),
        faulty=rules is None,
        edited=rules is not None and _is_edited(conn, rules),
    )


def active_rules(
    conn: "Connection", files: "RuleSet | None", settings: "Settings"
) -> "RuleSet | None":
    """The rules that the daemon runs: those of the `files` if it has loaded them."""
    return files if files and not _is_edited(conn, files) else _kept_rules(conn, settings)


def _kept_rules(conn: "Connection", settings: "Settings") -> "RuleSet | None":
    """The rules that the daemon used last; None if they can't be read any more."""
    from bot.config.settings import allowed
    from bot.errors import RuleErrors
    from bot.rules.files.load import read
    from bot.store.rules import kept_rule_files

    files = kept_rule_files(conn)
    try:
        return read(files, allowed=allowed(settings, offline=True)) if files else None
    except RuleErrors:
        return None


def known_sites(conn: "Connection") -> "list[Site]":
    """The websites that the daemon knows."""
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
    for note in history(conn, kind="poll.cost", since=since, limit=100_000):
        for rule, number in note.details.items():
            sites = calls.setdefault(rule, {})
            sites[note.website] = sites.get(note.website, 0) + int(number)
    costs = [Cost(rule, sum(sites.values()), len(sites)) for rule, sites in calls.items()]
    return sorted(costs, key=lambda cost: (-cost.calls, cost.rule))


def show_plan(polling: PollingPlan) -> None:
    """Print the plan; websites with the same plan share their lines."""
    from bot.cli import output
    from bot.messages.text import lasting
    from bot.rules.needs import interval_lines, lines, some
    from bot.scheduler import slow_poll_lines

    if not (polling.plans or polling.costs or polling.faulty):
        return
    output.line()
    output.line(
        "polling plan" + (" of the changed rule files (not loaded yet)" if polling.edited else "")
    )
    if polling.faulty:
        active = ". This is the plan of the active rules" if polling.plans else ""
        output.line(f"  the rule files have errors; `mouseflow-bot check` lists them{active}")
    if polling.round is not None:
        now = polling.round
        least = now.websites / now.wished.total_seconds()
        output.line(
            f"  {counted(now.websites, 'website')} every {lasting(now.wished)}: "
            f"at least {least:.3g} requests/s (limit {now.rate:g})"
        )
        if now.slow:
            output.line(f"  {slow_poll_lines(now)[0]}")
        chosen = [it for it in polling.intervals if it.every == now.wished]
        for text in interval_lines(chosen, now.wished):
            output.line(f"  {text}")
        if chosen:
            output.line("  mouseflow-bot check --cost compares intervals")
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
                counted(cost.calls, "call"),
                counted(cost.websites, "website"),
            )
            for cost in polling.costs
        )


def interval_json(cost: "IntervalCost") -> dict[str, Any]:
    """The cost of an interval as values for JSON, the interval in seconds."""
    return {**asdict(cost), "share_percent": cost.shares, "websites_that_fit": cost.fits}


def plan_json(polling: PollingPlan) -> dict[str, Any]:
    """The plan as values for JSON: durations in seconds, websites by id."""
    return {
        "plans": [
            {**asdict(plan), "calls": plan.calls, "websites": [site.id for site in sites]}
            for plan, sites in polling.plans.items()
        ],
        "costs": [asdict(cost) for cost in polling.costs],
        "round": asdict(polling.round) if polling.round else None,
        "intervals": [interval_json(it) for it in polling.intervals],
        "faulty": polling.faulty,
        "edited": polling.edited,
    }
