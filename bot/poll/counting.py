"""Counts a website's recordings by day, in a call or two, without reading them.

The API tells no credits, so the bot counts for itself: with explicit dates, since the window
that the API takes by itself is not documented, and with the least rows it can ask for.
"""

from collections.abc import Collection, Mapping
from datetime import date, timedelta

from bot.mouseflow import recordings
from bot.mouseflow.filters import SessionFilters
from bot.ports import Mouseflow
from bot.sources.questions import LONG_AGO

DAY = timedelta(days=1)

FEW = 8
"""Calls that one look makes at most where the API tells no count per day."""

HISTORY = timedelta(days=28)
"""How far back the first look counts, for the forecast."""

STRAGGLERS = timedelta(days=1)
"""Days before the last look that may still have grown: sessions arrive late."""


def first_day(known: Collection[date], begins: date, today: date, last: date | None) -> date:
    """The first day to count: the first unknown one of the period, else from the last look on.

    At first sight (no last look) the days before the period are counted too.
    """
    if last is None:
        return min(begins, today - HISTORY)
    day = begins
    while day < last and day in known:
        day += DAY
    return min(day, last - STRAGGLERS, today)


async def count_days(
    mouseflow: Mouseflow, website: str, first: date, today: date, known: Collection[date]
) -> Mapping[date, int]:
    """Recordings by day, from `first` to `today`; raises the errors of the calls.

    Where the chart is missing or does not add up to the count, single days are asked for:
    the newest, then those not `known` yet, as many as the patience of one look allows.
    """
    end = today + DAY
    page = await mouseflow.send(
        recordings.list(website, SessionFilters(fromdate=first, todate=end), limit=1)
    )
    chart = {day: count for day, count in page.chart.items() if first <= day < end}
    days = [first + n * DAY for n in range((end - first).days)]
    if sum(chart.values()) == page.count:
        return {day: chart.get(day, 0) for day in days}
    found = {}
    wanted = [day for day in reversed(days) if day >= today - STRAGGLERS or day not in known]
    for day in wanted[:FEW]:
        filters = SessionFilters(fromdate=day, todate=day + DAY)
        answer = await mouseflow.send(recordings.list(website, filters, limit=1))
        found[day] = answer.count
    return found


async def dates_are_ignored(mouseflow: Mouseflow, website: str) -> bool:
    """Does the API count recordings of a day before there were any? Then it heeds no dates."""
    filters = SessionFilters(fromdate=LONG_AGO[0], todate=LONG_AGO[1])
    return (await mouseflow.send(recordings.list(website, filters, limit=1))).count > 0
