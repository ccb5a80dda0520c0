"""Forecasts: when a budget will be used up, and which recording rate makes it last.

Everything is counted in visitors: what would be recorded at a rate of 100 %. A history has the
visitors of each hour in which the website recorded; other hours are left out.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from statistics import fmean, stdev
from zoneinfo import ZoneInfo

from msgspec import Struct

HOUR = timedelta(hours=1)

LOOK_BACK = timedelta(days=28)
"""The history that weekdays and hours are learned from."""

A_WEEK = 7 * 24 * 0.9
"""Hours of history from which weekdays are learned."""

LATELY, SINCE_YESTERDAY = 8, 24
"""Hours for the present level: the higher one counts, so that a surge shows soon."""

FULL = 0.992
"""The share of the budget that pacing aims at; the rest is a reserve."""

DEAD_BAND = 0.04
"""A rate is not changed if the better one differs by no more than this share of it."""

OFTEN = timedelta(hours=1)
"""The least time between two changes of a rate."""

Hours = Mapping[datetime, float]
"""Visitors by the hour (its beginning, UTC)."""


class Traffic(Struct, frozen=True):
    """A website's expected visitors. `level` multiplies the usual profile."""

    zone: ZoneInfo
    mean: float
    weekdays: tuple[float, ...]
    hours: tuple[float, ...]
    level: float

    def usual(self, hour: datetime) -> float:
        """The usual number of visitors in such an hour."""
        weekday, of_day = _local(hour, self.zone)
        return self.mean * self.weekdays[weekday] * self.hours[of_day]

    def expected(self, hour: datetime) -> float:
        """The expected visitors in the hour that begins then."""
        return self.usual(hour) * self.level


@lru_cache(maxsize=8_192)
def _local(hour: datetime, zone: ZoneInfo) -> tuple[int, int]:
    """The weekday (0 = Monday) and the hour of the day there."""
    local = hour.astimezone(zone)
    return local.weekday(), local.hour


def full_hour(now: datetime) -> datetime:
    """The start of the hour, in UTC."""
    return now.replace(minute=0, second=0, microsecond=0)


def traffic(history: Hours, now: datetime, zone: ZoneInfo) -> Traffic:
    """Learn from the history: hours of the day at once, weekdays after a week.

    From whole hours alone, so what is learned stays the same until the next full hour.
    """
    this = full_hour(now)
    known = {at: count for at, count in history.items() if this - LOOK_BACK <= at < this}
    mean = sum(known.values()) / len(known) if known else 0.0
    flat = Traffic(zone, mean, (1.0,) * 7, (1.0,) * 24, 1.0)
    if mean <= 0:
        return flat
    # One average hour is added to each, so that a single unusual one does not dominate.
    of_days, of_hours = [[mean, 1.0] for _ in range(7)], [[mean, 1.0] for _ in range(24)]
    for at, count in known.items():
        weekday, hour = _local(at, zone)
        for group in (of_days[weekday], of_hours[hour]):
            group[0] += count
            group[1] += 1
    hours = _factors(of_hours, mean)
    weekdays = _factors(of_days, mean) if len(known) >= A_WEEK else flat.weekdays
    learned = Traffic(zone, mean, weekdays, hours, 1.0)
    return Traffic(zone, mean, weekdays, hours, _level(learned, known))


def _factors(groups: Iterable[Sequence[float]], mean: float) -> tuple[float, ...]:
    """How much the hours of each group, (visitors, hours), differ from the average hour."""
    return tuple(visitors / (hours * mean) for visitors, hours in groups)


def _level(learned: Traffic, known: Hours) -> float:
    newest = sorted(known)[-SINCE_YESTERDAY:]
    return max(_ratio(learned, known, newest), _ratio(learned, known, newest[-LATELY:]))


def _ratio(learned: Traffic, known: Hours, hours: Iterable[datetime]) -> float:
    hours = list(hours)
    usual = sum(map(learned.usual, hours))
    return sum(known[at] for at in hours) / usual if usual > 0 else 1.0


def recorded(websites: Iterable[tuple[Traffic, float]], hour: datetime) -> float:
    """The recordings expected in the hour that begins then: (traffic, rate in percent) each."""
    return sum(traffic.expected(hour) * rate / 100 for traffic, rate in websites)


def _recorded(
    websites: Iterable[tuple[Traffic, float]], now: datetime, end: datetime
) -> Iterator[tuple[datetime, float, float]]:
    """The hours from now to the end: each with its fraction in between, and what is recorded.

    Those of one weekday and hour of the day are alike.
    """
    websites = list(websites)
    zones = tuple({traffic.zone for traffic, _ in websites})
    known: dict[Alike, float] = {}
    hours = _hours(full_hour(now), end, zones)
    for place, (hour, alike) in enumerate(hours, 1):
        expected = known.get(alike)
        if expected is None:
            expected = known[alike] = recorded(websites, hour)
        whole = 1 < place < len(hours)
        share = 1.0 if whole else (min(hour + HOUR, end) - max(hour, now)) / HOUR
        yield hour, share, share * expected


def coming(websites: Iterable[tuple[Traffic, float]], now: datetime, end: datetime) -> float:
    """The recordings expected from now on."""
    return sum(expected for _hour, _share, expected in _recorded(websites, now, end))


def runs_out(
    websites: Iterable[tuple[Traffic, float]], left: float, now: datetime, end: datetime
) -> datetime | None:
    """When `left` more recordings will have been made; None if not before the end."""
    if left <= 0:
        return now
    for hour, share, expected in _recorded(websites, now, end):
        if expected >= left:
            return max(hour, now) + HOUR * share * (left / expected)
        left -= expected
    return None


MOST_LIKELY = 1.28
"""Standard errors to both sides within which the pace is in four of five cases."""
FEWEST_DAYS = 3


def range_of_end(
    per_day: Sequence[int], left: float, ends: datetime | None, now: datetime, end: datetime
) -> tuple[datetime | None, datetime | None]:
    """When `left` more recordings will have been made at the earliest and at the latest.

    In four of five cases, by how much whole days differ; None: not before the end, or not known.
    `ends` is the forecast.
    """
    mean = fmean(per_day) if per_day else 0.0
    if len(per_day) < FEWEST_DAYS or left <= 0 or mean <= 0:
        return None, None
    error = MOST_LIKELY * stdev(per_day) / math.sqrt(len(per_day))
    takes = ends - now if ends else timedelta(days=min(left / mean, 10_000))

    def at(pace: float) -> datetime | None:
        moment = now + takes * min(mean / pace, 1_000) if pace > 0 else end
        return moment if moment < end else None

    return at(mean + error), at(mean - error)


Alike = tuple[tuple[int, int], ...]
"""The weekday and the hour of the day in each time zone."""


@lru_cache(maxsize=64)
def _hours(
    first: datetime, end: datetime, zones: tuple[ZoneInfo, ...]
) -> tuple[tuple[datetime, Alike], ...]:
    """The hours from the first to the end: polls ask for the same ones again and again."""
    hours: list[tuple[datetime, Alike]] = []
    while first < end:
        hours.append((first, tuple([_local(first, zone) for zone in zones])))
        first += HOUR
    return tuple(hours)


def paced_rate(
    websites: Iterable[Traffic],
    left: float,
    now: datetime,
    end: datetime,
    low: float,
    high: float,
) -> int | None:
    """The rate in percent at which `left` recordings last to the end; None without history."""
    expected = coming([(each, 100.0) for each in websites], now, end)
    if expected <= 0:
        return None
    return round(max(low, min(high, 100 * left / expected)))


def worth_changing(rate: int | None, better: int) -> bool:
    """Whether the better rate differs enough from the present one."""
    return rate is None or abs(better - rate) >= max(1, better * DEAD_BAND)
