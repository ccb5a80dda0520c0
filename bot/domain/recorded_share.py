"""Which share of its visitors a website recorded over time, as far as polls have seen it."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct

from bot.domain.budget import LATE

ALMOST = 0.9
"""A time counts as recorded in one way if this part of it was."""

_NOT_RECORDED = frozenset({"stopped", "paused"})

Time = tuple[datetime, datetime]


def share(status: str | None, rate: int | None, before: float | None) -> float:
    """The share in percent by a website's switches; `before` is that of the last look.

    A list has no rate. A website whose script is gone still counts: nothing was switched off.
    """
    if (status or "").casefold() in _NOT_RECORDED:
        return 0.0
    if rate is not None:
        return float(rate)
    return 100.0 if before is None else before


class RecordedShare(Struct, frozen=True):
    """`looks` are the moments of polls, oldest first, with the share in percent seen then."""

    looks: tuple[tuple[datetime, float], ...] = ()

    def is_known(self, time: Time) -> bool:
        """Whether a poll has looked before the end of that time."""
        return bool(self.looks) and self.looks[0][0] < time[1]

    def is_current(self, now: datetime, gap: timedelta) -> bool:
        """Whether the last look is no older than that; also if there never was one."""
        return not self.looks or now - self.looks[-1][0] <= gap

    def seen_until(self, now: datetime) -> datetime:
        """When a poll has looked last; now, if there never was one."""
        return min(now, self.looks[-1][0]) if self.looks else now

    def rate(self, time: Time) -> float | None:
        """The share of almost all of that time; None if it varied, or nothing is known."""
        parts = self._parts(time)
        if not parts:
            return None
        main, longest = max(parts.items(), key=lambda it: it[1])
        return main if longest >= ALMOST * sum(parts.values()) else None

    def least(self, time: Time) -> float | None:
        """The lowest share in that time; None if nothing is known."""
        return min(self._parts(time), default=None)

    def most(self, time: Time) -> float | None:
        """The highest share in that time; None if nothing is known."""
        return max(self._parts(time), default=None)

    def was_off(self, time: Time) -> bool:
        """Whether more than a little of that time was not recorded at all."""
        parts = self._parts(time)
        return parts.get(0.0, 0.0) > (1 - ALMOST) * sum(parts.values())

    def factor(self, then: Time, now: Time) -> float | None:
        """By what a count of an earlier time is multiplied to be like one of now.

        None if one of both was not recorded in one way. What was before the first poll counts as
        recorded like what came first.
        """
        if not self.is_known(now):
            return 1.0
        today = self.rate(now)
        if not today:
            return None
        if not self.is_known(then):
            first = next((seen for _, seen in self.looks if seen), today)
            return 1.0 if first == today else None
        before = self.rate(then)
        return today / before if before else None

    def _parts(self, time: Time) -> Mapping[float, float]:
        """How many seconds of that time each share was recorded."""
        parts: dict[float, float] = {}
        for begin, end, seen in self._spans(time[1]):
            seconds = (min(end, time[1]) - max(begin, time[0])) / timedelta(seconds=1)
            if seconds > 0:
                parts[seen] = parts.get(seen, 0.0) + seconds
        return parts

    def _spans(self, until: datetime) -> Iterator[tuple[datetime, datetime, float]]:
        """The times between two looks, each with the lower share of both, and since the last."""
        looks = list(self._in_effect())
        for (begin, before), (end, after) in pairwise(looks):
            yield begin, end, min(before, after)
        if looks:
            last, seen = looks[-1]
            yield last, max(last, until), seen

    def _in_effect(self) -> Iterator[tuple[datetime, float]]:
        """The looks; a higher share reaches visitors late."""
        last: tuple[datetime, float] | None = None
        for at, seen in self.looks:
            if last is not None:
                at = max(last[0], at + LATE if seen > last[1] else at)
            last = at, seen
            yield last


NOTHING_SEEN = RecordedShare()
