"""How much of a paced budget is used at the end of the month: python -m bench.pace [--write].

Simulated months on a virtual clock: visitors by hour and weekday, surges of three times as many,
changes that reach visitors half an hour late. `--write` puts the table into
docs/explanation/performance.md.
"""

import asyncio
import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/budgets"))

from budget_world import ZONE, Shop, World  # noqa: E402
from test_budget_pace import PACED, seasonal  # noqa: E402

from bench.report import write  # noqa: E402

BUDGET = 30_000


def _surge(day: int, days: int) -> tuple[datetime, datetime]:
    begin = datetime(2026, 3, day, 9, tzinfo=UTC)
    return begin, begin + timedelta(days=days)


MONTHS = {
    "steady, 1.5 times the budget": (1500, None),
    "steady, 3 times the budget": (3000, None),
    "a surge of 3 days, early": (1500, _surge(4, 3)),
    "a surge of 7 days, in the middle": (1300, _surge(12, 7)),
    "a surge of 3 days, to the end": (1500, _surge(29, 3)),
}


async def month(per_day: float, surge: tuple[datetime, datetime] | None) -> tuple[float, int, int]:
    """Percent used at the end, changes of the rate, and stops."""
    shop = Shop("myshop.com", per_day, shape=seasonal(surge), delay=timedelta(minutes=30))
    bot = World(PACED, shop, start=datetime(2026, 2, 28, 23, tzinfo=UTC))
    every = timedelta(minutes=15)
    await bot.run(every=every, days=32, until=lambda: bot.now.astimezone(ZONE).month == 4)
    used = sum(shop.true_count(day) for day in shop.made if day.month == 3)
    march = [what for at, _who, what in shop.log if at.astimezone(ZONE).month == 3]
    bot.close()
    stops = march.count("Stopped")
    return 100 * used / BUDGET, len(march) - stops, stops


def main() -> None:
    """Measure, print, and write where asked to."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    lines = ["| month | used at the end | changes of the rate | stops |", "|---|---:|---:|---:|"]
    for name, (per_day, surge) in MONTHS.items():
        used, changes, stops = asyncio.run(month(per_day, surge))
        lines.append(f"| {name} | {used:.1f} % | {changes} | {stops} |")
    table = "\n".join(lines)
    print(table)
    if "--write" in sys.argv[1:]:
        write("pace", table)


if __name__ == "__main__":
    main()
