"""Show budgets: what is used per day, which steps have acted, and the forecast.

Reads the daemon's store and changes nothing.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from bot.messages.text import counted

if TYPE_CHECKING:
    from bot.budgets.state import BudgetMark, SiteLine
    from bot.store import Connection

EXAMPLE = "mouseflow-bot budget\nmouseflow-bot budget monthly-credits --json"
WIDTH = 30
"""Characters of a bar."""


@dataclass(frozen=True, slots=True)
class BudgetView:
    """A budget as the daemon saw it last, and the recordings per day of its websites."""

    id: str
    mark: "BudgetMark"
    days: Mapping[date, int]


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("id", nargs="?", help="one budget (default: all)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: Namespace) -> int:
    """Show them; 1 for a budget that the daemon does not know."""
    from bot.cli import context, output
    from bot.cli.main import known_name

    configured = context.settings(args, offline=True)
    with context.existing_store(configured, read_only=True) as store:
        views = store.do(gather)
    if args.id:
        names = [each.id for each in views]
        there = f"known budgets: {', '.join(names)}" if names else "the daemon knows none yet"
        name = known_name(args.id, names, "unknown budget", there)
        views = [each for each in views if each.id == name]
    if args.json:
        output.document({"data": [as_json(each) for each in views]})
        return 0
    for each in views:
        show(each, datetime.now(UTC))
    if not views:
        output.line("no budgets configured (key `budgets` in a rule file), or none checked yet")
    return 0


def gather(conn: "Connection") -> list[BudgetView]:
    """Every budget that the daemon has checked, with the figures of its period."""
    from bot.budgets.state import budget_marks
    from bot.store.budgets import used

    found = []
    marks = {name: mark for name, mark in budget_marks(conn).items() if not mark.removed}
    for name, mark in marks.items():
        first, end = date.fromisoformat(mark.first), date.fromisoformat(mark.end)
        counts = used(conn, [site.id for site in mark.websites], first, end)
        days: dict[date, int] = {}
        for by_day in counts.values():
            for day, count in by_day.items():
                if day < end:
                    days[day] = days.get(day, 0) + count
        found.append(BudgetView(name, mark, dict(sorted(days.items()))))
    return found


def as_json(view: BudgetView) -> dict[str, Any]:
    """The budget as values for JSON."""
    import msgspec

    days = {day.isoformat(): count for day, count in view.days.items()}
    mark = {
        name: msgspec.to_builtins(value, builtin_types=(datetime,))
        for name, value in msgspec.structs.asdict(view.mark).items()
    }
    return {"id": view.id, **mark, "percent": round(share(view.mark), 2), "days": days}


def share(mark: "BudgetMark") -> float:
    """The used share, in percent."""
    return 100 * mark.used / mark.recordings


def bar(percent: float, width: int = WIDTH) -> str:
    """`██████····`, full at 100 %."""
    full = min(width, round(width * percent / 100))
    return "█" * full + "·" * (width - full)


def headline(name: str, mark: "BudgetMark") -> str:
    """The budget on one line."""
    figure = f"{mark.used:,} of {mark.recordings:,} ({share(mark):,.1f} %)"
    return f"{name}  {bar(share(mark))}  {figure}, {mark.first} to {mark.end}"


def outlook(mark: "BudgetMark") -> str:
    """The forecast: when it is used up at the current rate."""
    from bot.cli import output

    if mark.ends is None:
        return f"at the current rate it lasts: about {mark.expected:,.0f} by the end of the period"
    if mark.ends <= mark.at:
        return "it is used up"
    return f"at the current rate it is used up at {output.moment(mark.ends)}"


def site_line(site: "SiteLine", mark: "BudgetMark") -> str:
    """A website of the budget: its status, who set it, and whether the bot leaves it alone."""
    from bot.cli import output

    rate = "" if site.rate is None else f" at {site.rate} %"
    read_only = ", read-only" if site.read_only else ""
    owner = f", set by {site.owner}" if site.owner else ""
    aside = ""
    if site.left_alone is not None:
        since = output.moment(site.left_alone)
        aside = f"; changed by someone else at {since}, the bot leaves it alone until {mark.end}"
    return f"{site.name}: {site.status or 'unknown status'}{rate}{read_only}{owner}{aside}"


def next_period(mark: "BudgetMark") -> str:
    """What the bot undoes when the next period begins."""
    if not mark.resume:
        return "the bot undoes nothing"
    others = [site.name for site in mark.websites if site.left_alone and not site.owner]
    if not others:
        return "the bot undoes its changes"
    if len(others) == len(mark.websites):
        return "the bot undoes nothing, since someone else changed what it had set"
    return f"the bot undoes its changes, except on {', '.join(others)}"


def show(view: BudgetView, now: datetime) -> None:
    """Print one budget."""
    from bot.cli import output

    mark = view.mark
    output.line(headline(view.id, mark))
    output.line(f"  {outlook(mark)}; checked {output.ago(mark.at, now)}")
    for site in mark.websites:
        output.line(f"  {site_line(site, mark)}")
    output.line("  steps")
    for step in mark.steps:
        acted = f"acted {output.ago(step.acted, now)}" if step.acted else _next(mark, step.at)
        output.line(f"    {step.at:g}%: {step.does}: {acted}")
    if mark.pace:
        output.line("    pace: the bot adjusts the recording rate so that the budget lasts")
    output.line(f"  next period from {mark.end}: {next_period(mark)}")
    output.line("  recordings per day")
    most = max(view.days.values(), default=0) or 1
    output.table(
        ((day.isoformat(), f"{count:,}", bar(100 * count / most, 20))
         for day, count in view.days.items()),
        indent="    ",
    )  # fmt: skip
    output.line()


def _next(mark: "BudgetMark", at: float) -> str:
    left = mark.recordings * at / 100 - mark.used
    return f"in {left:,.0f} recordings" if left > 0 else "due"


def summary(found: "Sequence[BudgetView]") -> None:
    """Print all budgets as `status` shows them."""
    from bot.cli import output

    if found:
        output.line()
        output.line(counted(len(found), "budget"))
    for view in found:
        output.line(f"  {headline(view.id, view.mark)}")
        output.line(f"    {outlook(view.mark)}")
        for site in view.mark.websites:
            output.line(f"    {site_line(site, view.mark)}")
