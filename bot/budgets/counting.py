"""Count the recordings that a website has used, and learn how many visitors come."""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from bot.budgets.state import (
    SiteMark,
    learned,
)
from bot.domain import forecast
from bot.domain.budget import (
    LATE,
    RECORDING,
    DayCount,
    WebsiteState,
    confirmed,
    is_jump,
    midnight,
)
from bot.domain.forecast import Traffic
from bot.ports import Mouseflow
from bot.reports.sources import LONG_AGO
from bot.store import Connection
from bot.store.budgets import (
    add_visitors,
    drop_visitors,
    used,
)
from mouseflow import recordings
from mouseflow.filters import SessionFilters

DAY = timedelta(days=1)

FEW = 8
"""The most requests per poll and website where the API returns no count per day."""

HISTORY = timedelta(days=28)
"""How far back the first poll counts, for the forecast."""

STRAGGLERS = timedelta(days=1)
"""Days before the last poll that may still have grown: sessions arrive late."""


def first_day(known: Collection[date], begins: date, today: date, last: date | None) -> date:
    """The first day to count: the first unknown one of the period, else from the last poll on.

    The first poll (`last` None) counts the days before the period too.
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
    """Recordings by day, from `first` to `today`; raises the errors of the requests.

    Tomorrow too, if it has or had some: the account's day may begin before the bot's.

    If the chart is missing or does not add up to the count, single days are requested: the
    newest, then those not `known` yet, at most `FEW` in one poll.
    """
    end = today + 2 * DAY
    page = await mouseflow.send(
        recordings.list(website, SessionFilters(fromdate=first, todate=end), limit=1)
    )
    chart = {day: count for day, count in page.chart.items() if first <= day < end}
    days = [first + n * DAY for n in range((end - first).days)]
    if sum(chart.values()) == page.count:
        return _without_empty_tomorrow({day: chart.get(day, 0) for day in days}, today, known)
    found = {}
    wanted = [day for day in reversed(days) if day >= today - STRAGGLERS or day not in known]
    for day in wanted[:FEW]:
        filters = SessionFilters(fromdate=day, todate=day + DAY)
        answer = await mouseflow.send(recordings.list(website, filters, limit=1))
        found[day] = answer.count
    return _without_empty_tomorrow(found, today, known)


def _without_empty_tomorrow(
    days: Mapping[date, int], today: date, known: Collection[date]
) -> dict[date, int]:
    return {day: count for day, count in days.items() if count or day <= today or day in known}


async def dates_are_ignored(mouseflow: Mouseflow, website: str) -> bool:
    """Whether the API ignores dates: it counts recordings on a day before there were any."""
    filters = SessionFilters(fromdate=LONG_AGO[0], todate=LONG_AGO[1])
    return (await mouseflow.send(recordings.list(website, filters, limit=1))).count > 0


class Counting(Struct, frozen=True):
    """What one answer comes to: recordings used by day, and the counts to compare with next.

    `fresh` were made since the last poll. `doubted` are counts that have jumped; a second
    answer must confirm them. `deleted` are those in `days` that the bot itself deleted.
    """

    used: Mapping[date, int]
    days: dict[date, DayCount]
    doubted: dict[date, int]
    deleted: dict[date, int]
    fresh: int = 0


def count_up(
    conn: Connection,
    website: str,
    days: Mapping[date, int],
    deleted: Mapping[date, int],
    perhaps: int,
    mark: SiteMark | None,
    now: datetime,
    zone: ZoneInfo,
    traffic: Traffic | None,
) -> Counting:
    """Add what the answer has more than the last one to what is used.

    Used never falls: recordings that are deleted stay used, and those made after that count. What
    the bot itself has `deleted` is among `days`, so it hides nothing; what people delete does.
    A count is not lower for the recordings that the bot `perhaps` has deleted beside these.
    `traffic` is what the last poll expected, None if that is not known any more.
    """
    recent = now.astimezone(zone).date() - 3 * DAY
    own = {day: count for day, count in deleted.items() if day >= recent}
    if mark is None:
        newest = {day: DayCount(n) for day, n in days.items() if day >= recent}
        return Counting(days, newest, {}, own)
    known = used(conn, [website], min(days), max(days)).get(website, {})
    before = {day: DayCount(count) for day, count in known.items()} | mark.days
    last = mark.at.astimezone(zone).date()
    # Other days are counted for the first time, after a downtime or an edit.
    watched = [day for day in days if day in before or day >= last]
    days = dict(days)
    for day in watched:
        held = max(0, min(perhaps, before.get(day, DayCount(0)).count - days[day]))
        days[day] += held
        perhaps -= held
    grown = sum(max(0, days[day] - before.get(day, DayCount(0)).count) for day in watched)
    jumped = is_jump(grown, 0)
    if jumped:  # learning is the costly part, and few websites need it
        traffic = traffic or learned(conn, website, now, zone)
        jumped = is_jump(grown, forecast.coming([(traffic, 100.0)], min(mark.at, now), now))
    accepted = confirmed(days, before, mark.doubted) if jumped else days
    after = {day: before.get(day, DayCount(0)).then(count) for day, count in accepted.items()}
    rises = {day: rise for day, (_each, rise) in after.items()}
    # Where the API's days begin at another time, a deletion lowers the day beside its own.
    fallen = sum(before[day].fall(count) for day, count in accepted.items() if day in mark.days)
    for day in watched:
        fresh = deleted.get(day, 0) - mark.deleted.get(day, 0)
        beside = max(0, min(fallen, fresh, rises.get(day, 0)))
        if beside:
            rises[day] -= beside
            fallen -= beside
    kept = {day: each for day, each in mark.days.items() if day >= recent}
    kept |= {day: each for day, (each, _rise) in after.items() if day >= recent}
    return Counting(
        used={day: known.get(day, 0) + rise for day, rise in rises.items()},
        days=kept,
        doubted=dict(days) if jumped else {},
        deleted=own,
        fresh=sum(rise for day, rise in rises.items() if day in watched),
    )


HOUR = timedelta(hours=1)

LONGEST_GAP = 6 * HOUR
"""After a longer gap between two polls nothing is known about the single hours."""


def learn_visitors(
    conn: Connection,
    website: str,
    counting: Counting,
    mark: SiteMark | None,
    state: WebsiteState | None,
    now: datetime,
    zone: ZoneInfo,
) -> None:
    """Learn how many visitors come in an hour from the recordings since the last poll."""
    if mark is None:
        rate = state.rate if state and state.rate else 100
        add_visitors(conn, website, _by_day(counting.used, 100 / rate, now, zone))
        return
    if not _records(mark.status) or state is None or not state.is_recording:
        drop_visitors(conn, website, mark.at, now)
        return
    if not timedelta() < now - mark.at <= LONGEST_GAP:
        return
    add_visitors(conn, website, _spread(mark.at, now, counting.fresh * 100 / _rate(mark, now)))


def _records(status: str | None) -> bool:
    return (status or "").casefold() == RECORDING


def _rate(mark: SiteMark, now: datetime) -> int:
    """The rate at which visitors were recorded; a lower rate reaches them late."""
    rate = mark.rate or 100
    if mark.former and mark.changed and timedelta() <= now - mark.changed <= 2 * LATE:
        return max(rate, mark.former)
    return rate


def _by_day(
    days: Mapping[date, int], factor: float, now: datetime, zone: ZoneInfo
) -> dict[datetime, float]:
    """Whole days spread evenly over their hours. Days before the first visit are left out,
    since the website may not have existed."""
    found: dict[datetime, float] = {}
    since = min((day for day, count in days.items() if count), default=now.astimezone(zone).date())
    for day, count in ((day, count) for day, count in days.items() if day >= since):
        begins = midnight(day, zone)
        ends = min(midnight(day + timedelta(days=1), zone), now)
        for hour, value in _spread(begins, ends, count * factor).items():
            found[hour] = found.get(hour, 0.0) + value
    return found


def _spread(start: datetime, end: datetime, total: float) -> dict[datetime, float]:
    """The total, spread evenly over the hours between."""
    found: dict[datetime, float] = {}
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        share = (min(hour + HOUR, end) - max(hour, start)) / (end - start)
        found[hour] = total * share
        hour += HOUR
    return found
