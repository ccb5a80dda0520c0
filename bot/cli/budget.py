"""Explains budgets: what is used day by day, which steps have acted, and what comes next.

Read from the daemon's store without disturbing it.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bot.budgets.state import BudgetMark, SiteLine
    from bot.store import Connection

EXAMPLE = "mouseflow-bot budget\nmouseflow-bot budget monthly-credits --json"
WIDTH = 30
"""Characters of a bar."""


@dataclass(frozen=True, slots=True)
class Told:
    """One budget: as it was at the last look, and its recordings by day of all websites."""

    id: str
    mark: "BudgetMark"
    days: Mapping[date, int]


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("id", nargs="?", help="one budget (default: all)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: Namespace) -> int:
    """Explain it; a budget that the daemon has not looked at is a problem."""
    from zoneinfo import ZoneInfo

    from bot.cli import context, output
    from bot.cli.main import one_of

    configured = context.settings(args, offline=True)
    with context.stored(configured, read_only=True) as store:
        told = store.do(gathered)
    if args.id:
        names = [each.id for each in told]
        there = f"there are {', '.join(names)}" if names else "it has looked at none yet"
        name = one_of(args.id, names, "the daemon has looked at no such budget", there)
        told = [each for each in told if each.id == name]
    if args.json:
        output.document([plain(each) for each in told])
        return 0
    zone = ZoneInfo(configured.mouseflow.time_zone)
    for each in told:
        explained(each, datetime.now(UTC), zone)
    if not told:
        output.line("no budget was looked at yet; rule files set them under `budgets`")
    return 0


def gathered(conn: "Connection") -> list[Told]:
    """Every budget that the daemon has looked at, with the figures of its period."""
    from bot.budgets.state import budget_marks
    from bot.store.budgets import used

    found = []
    for name, mark in budget_marks(conn).items():
        first, end = date.fromisoformat(mark.first), date.fromisoformat(mark.end)
        counts = used(conn, [site.id for site in mark.websites], first, end)
        days: dict[date, int] = {}
        for by_day in counts.values():
            for day, count in by_day.items():
                if day < end:
                    days[day] = days.get(day, 0) + count
        found.append(Told(name, mark, dict(sorted(days.items()))))
    return found


def plain(told: Told) -> dict[str, Any]:
    """The budget as JSON's own values."""
    import msgspec

    days = {day.isoformat(): count for day, count in told.days.items()}
    mark: dict[str, Any] = msgspec.to_builtins(told.mark)
    return {"id": told.id, **mark, "percent": round(share(told.mark), 2), "days": days}


def share(mark: "BudgetMark") -> float:
    """What is used, in percent."""
    return 100 * mark.used / mark.recordings


def bar(percent: float, width: int = WIDTH) -> str:
    """`██████····`, full at 100 %."""
    full = min(width, round(width * percent / 100))
    return "█" * full + "·" * (width - full)


def headline(name: str, mark: "BudgetMark") -> str:
    """The budget on one line."""
    figure = f"{mark.used:,} of {mark.recordings:,} ({share(mark):.1f} %)"
    return f"{name}  {bar(share(mark))}  {figure}, {mark.first} to {mark.end}"


def outlook(mark: "BudgetMark", zone: Any) -> str:
    """When it ends at the present rates."""
    if mark.ends is None:
        return f"at the present rates it lasts: about {mark.expected:,.0f} at the period's end"
    if mark.ends <= mark.at:
        return "it is used up"
    local = mark.ends.astimezone(zone)
    return f"at the present rates it ends on {local:%A} {local.day} {local:%b %H:%M}"


def standing(site: "SiteLine") -> str:
    """How a website of the budget stands, and who made it so."""
    rate = "" if site.rate is None else f" at {site.rate} %"
    read_only = ", read-only" if site.read_only else ""
    owner = f", set by {site.owner}" if site.owner else ""
    return f"{site.name}: {site.status or 'not known'}{rate}{read_only}{owner}"


def explained(told: Told, now: datetime, zone: Any) -> None:
    """The budget as text."""
    from bot.cli import output

    mark = told.mark
    output.line(headline(told.id, mark))
    output.line(f"  {outlook(mark, zone)}; looked at {output.ago(mark.at, now)}")
    for site in mark.websites:
        output.line(f"  {standing(site)}")
    output.line("  steps")
    for step in mark.steps:
        acted = f"acted {output.ago(step.acted, now)}" if step.acted else _next(mark, step.at)
        output.line(f"    {step.at:g}%: {step.does}: {acted}")
    if mark.pace:
        output.line("    pace: the recording rate is steered so that the budget lasts")
    resume = "sets back what the bot did" if mark.resume else "sets nothing back"
    output.line(f"  the next period, from {mark.end}, {resume}")
    output.line("  recordings by day")
    most = max(told.days.values(), default=0) or 1
    output.table(
        ((day.isoformat(), f"{count:,}", bar(100 * count / most, 20))
         for day, count in told.days.items()),
        indent="    ",
    )  # fmt: skip
    output.line()


def _next(mark: "BudgetMark", at: float) -> str:
    left = mark.recordings * at / 100 - mark.used
    return f"in {left:,.0f} recordings" if left > 0 else "due"


def summary(found: "Sequence[Told]", zone: Any) -> None:
    """All budgets as `status` shows them."""
    from bot.cli import output

    if found:
        output.line()
        output.line(output.counted(len(found), "budget"))
    for told in found:
        output.line(f"  {headline(told.id, told.mark)}")
        output.line(f"    {outlook(told.mark, zone)}")
        for site in told.mark.websites:
            output.line(f"    {standing(site)}")
