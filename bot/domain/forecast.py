"""Forecasts: when a budget will be used up, and which recording rate makes it last.

Everything is counted in visitors: what would be recorded at a rate of 100 %. A history has the
visitors of each hour in which the website recorded; other hours are left out.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from statistics import fmean, stdev
from zoneinfo import ZoneInfo

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


@dataclass(frozen=True, slots=True)
class Traffic:
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


def traffic(history: Hours, now: datetime, zone: ZoneInfo) -> Traffic:
    """Learn from the history: hours of the day at once, weekdays after a week."""
    since = now - LOOK_BACK
    known = {at: count for at, count in history.items() if since <= at and at + HOUR <= now}
    mean = sum(known.values()) / len(known) if known else 0.0
    flat = Traffic(zone, mean, (1.0,) * 7, (1.0,) * 24, 1.0)
    if mean <= 0:
        return flat
    hours = _factors(known, lambda at: _local(at, zone)[1], 24, mean)
    weekdays: tuple[float, ...] = (1.0,) * 7
    if len(known) >= A_WEEK:
        weekdays = _factors(known, lambda at: _local(at, zone)[0], 7, mean)
    learned = Traffic(zone, mean, weekdays, hours, 1.0)
    return Traffic(zone, mean, weekdays, hours, _level(learned, known))


def _factors(
    known: Hours, group: Callable[[datetime], int], count: int, mean: float
) -> tuple[float, ...]:
    """How much the hours of each group differ from the average hour."""
    sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for at, value in known.items():
        pair = sums[group(at)]
        pair[0] += value
        pair[1] += 1
    # One average hour is added, so that a single unusual one does not dominate.
    return tuple(
        (sums[index][0] + mean) / ((sums[index][1] + 1) * mean) if index in sums else 1.0
        for index in range(count)
    )


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


def _recorded(websites: Iterable[tuple[Traffic, float]]) -> Callable[[datetime], float]:
    """The same for many hours: those of one weekday and hour of the day are alike."""
    websites = list(websites)
    zones = {traffic.zone for traffic, _ in websites}
    known: dict[tuple[tuple[int, int], ...], float] = {}

    def at(hour: datetime) -> float:
        alike = tuple(_local(hour, zone) for zone in zones)
        if alike not in known:
            known[alike] = recorded(websites, hour)
        return known[alike]

    return at


def coming(websites: Iterable[tuple[Traffic, float]], now: datetime, end: datetime) -> float:
    """The recordings expected from now on."""
    at = _recorded(websites)
    return sum(share * at(hour) for hour, share in _hours(now, end))


def runs_out(
    websites: Iterable[tuple[Traffic, float]], left: float, now: datetime, end: datetime
) -> datetime | None:
    """When `left` more recordings will have been made; None if not before the end."""
    if left <= 0:
        return now
    at = _recorded(websites)
    for hour, share in _hours(now, end):
        expected = at(hour) * share
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


def _hours(now: datetime, end: datetime) -> Iterable[tuple[datetime, float]]:
    """The hours from now to the end, each with the fraction of it in between."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        after = hour + HOUR
        whole = hour >= now and after <= end
        yield hour, 1.0 if whole else (min(after, end) - max(hour, now)) / HOUR
        hour = after


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
