"""False alarms and delays of rules against the usual: python -m bench.unusual [--write].

Simulated quarters of seasonal traffic, polled every 15 minutes by the rule `recordings:
{below_usual: …}` over two hours. Visitors come at random by hour and weekday, days differ by a
tenth, hours by a twentieth, and the traffic grows. `--write` puts the table into
docs/explanation/performance.md.
"""

import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median

from bench.report import write
from bot.domain.alert_state import Level, advance
from bot.domain.subjects import Site, WebsiteSubject
from bot.rules import model as c
from bot.rules.evaluate import answer
from bot.rules.operators.past import USUAL_WEEKS, Unusual

QUARTER = timedelta(minutes=15)
WEEK = timedelta(weeks=1) // QUARTER
WINDOW = 8
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
SITE = Site("w1", "myshop.com")
HELD = timedelta(minutes=30)
WEEKS = 17
DROPS = 40


def shape(quarter: int) -> float:
    """The share of a day's visitors in this quarter of an hour: days, evenings, weekends."""
    hour = quarter % 96 / 4
    by_hour = 0.15 + max(0.0, math.sin((hour - 6) / 18 * math.pi)) ** 1.5
    return by_hour * (1.3 if quarter // 96 % 7 in (5, 6) else 1.0)


TOTAL = sum(map(shape, range(96)))


def traffic(per_day: float, seed: int, weeks: int = WEEKS) -> list[int]:
    """Recordings in each quarter of an hour."""
    dice, made, day, hour = Random(seed), [], 1.0, 1.0
    for quarter in range(weeks * WEEK):
        if quarter % 96 == 0:
            day = dice.lognormvariate(0, 0.1)
        if quarter % 4 == 0:
            hour = dice.lognormvariate(0, 0.05)
        growth = 1.02 ** (quarter / WEEK)
        made.append(_poisson(dice, per_day * shape(quarter) / TOTAL * day * hour * growth))
    return made


def _poisson(dice: Random, mean: float) -> int:
    if mean > 60:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), dice.random(), 0
    while product > limit:
        product *= dice.random()
        count += 1
    return count


@dataclass
class Past:
    """The figures of the same quarter of an hour in the last weeks."""

    figures: list[int]
    at: int

    def __call__(self, _field, _ago):
        return None

    def usual(self, _field):
        weeks = (self.at - WEEK * n for n in range(1, USUAL_WEEKS + 1))
        return tuple(self.figures[it] for it in weeks if it >= 0)


def fired(made: list[int], condition: c.Test, first: int, last: int) -> list[int]:
    """The quarters of an hour in which the rule fires."""
    figures = [sum(made[max(0, it - WINDOW + 1) : it + 1]) for it in range(len(made))]
    level, found = Level(), []
    for at in range(first, last):
        website = WebsiteSubject(website=SITE, recordings=figures[at])
        holds = answer(condition, website, Past(figures, at))
        ended = None if holds is None else not holds
        level, event = advance(level, holds, ended, MONDAY + at * QUARTER, HELD)
        if event == "fired":
            found.append(at)
    return found


def delays(made: list[int], condition: c.Test, left: float, seed: int) -> list[float]:
    """Hours from a fall to this share until the rule fires; 24 where it does not in a day."""
    dice, found = Random(seed), []
    for _ in range(DROPS):
        begin = dice.randrange(5 * WEEK, len(made) - 96)
        begin += (dice.randrange(8 * 4, 21 * 4) - begin) % 96  # between 8:00 and 21:00
        end = min(begin + 96, len(made))
        fallen = [sum(dice.random() < left for _ in range(it)) for it in made[begin:end]]
        cut = made[begin - 5 * WEEK : begin] + fallen
        hits = fired(cut, condition, 5 * WEEK - 4, len(cut))
        hits = [it - 5 * WEEK for it in hits if it >= 5 * WEEK]
        found.append((hits[0] + 1) / 4 if hits else 24.0)
    return found


def row(share: float, per_day: int) -> str:
    """One line of the table."""
    condition = c.Test("recordings", Unusual(below_usual=share))
    made = traffic(per_day, per_day)
    first = USUAL_WEEKS * WEEK
    alarms = len(fired(made, condition, first, len(made))) / (WEEKS - USUAL_WEEKS)
    half = delays(made, condition, 0.5, 1)
    gone = delays(made, condition, 0.0, 2)
    caught = 100 * sum(it < 24 for it in half) / DROPS
    return (
        f"| {share:g} % | {per_day:,} | {alarms:.2f} | {median(half):.2g} h | {caught:.0f} % "
        f"| {median(gone):.2g} h |"
    )


def main() -> None:
    """Measure, print, and write where asked to."""
    lines = [
        "| `below_usual` | recordings a day | false alarms a week | half is gone: median delay "
        "| noticed within a day | all is gone: median delay |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for share in (50, 60, 70):
        lines += [row(share, per_day) for per_day in (200, 1_000, 5_000, 20_000)]
    table = "\n".join(lines)
    print(table)
    if "--write" in sys.argv[1:]:
        write("unusual", table)


if __name__ == "__main__":
    main()
