"""How fast an account may be asked: the rate budget, backoff, and what Retry-After means.

All of it is arithmetic on times that the caller gives.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import IntEnum

LONGEST_PAUSE = timedelta(minutes=5)


class Priority(IntEnum):
    """Whose turn comes first: what people wait for, then polling, then what may take its time."""

    ACTION = 0
    POLL = 1
    BACKGROUND = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """A token bucket: `rate` calls a second, `burst` of them at once after a quiet time.

    `full` is the moment (in seconds of a monotonic clock) at which the bucket is full again.
    The API names no limit (L4455), so the rate is the account's own choice.
    """

    rate: float
    burst: int
    full: float = -math.inf

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.burst >= 1):
            raise ValueError("a rate budget needs a rate above 0 and a burst of at least 1")

    def wait(self, now: float) -> float:
        """Seconds until the next call may go, 0 if it may go now."""
        return max(0.0, self.full - now - (self.burst - 1) / self.rate)

    def spent(self, now: float) -> "Budget":
        """The budget after a call that goes now."""
        return Budget(self.rate, self.burst, max(self.full, now) + 1 / self.rate)


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """What a Retry-After header asks: seconds or an HTTP date, at most five minutes.

    None where there is none or it says nothing sensible. `now` is aware.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        if seconds >= LONGEST_PAUSE.total_seconds():
            return LONGEST_PAUSE
        return timedelta(seconds=seconds)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta(0)), LONGEST_PAUSE)


def backoff(attempt: int, chance: float, *, first: float = 0.5, longest: float = 20.0) -> float:
    """Seconds before the next try: doubling, with full jitter.

    `attempt` counts from 1, `chance` is random in 0..1.
    """
    return float(chance * min(longest, first * 2 ** min(attempt - 1, 32)))


def pause_without_hint(times: int, chance: float) -> timedelta:
    """How long the account rests after the `times`-th 429 in a row that named no time.

    From five seconds to a minute; never less than half of it, whatever `chance` (0..1).
    """
    seconds = min(60.0, 5.0 * 2 ** min(times - 1, 32))
    return timedelta(seconds=seconds * (1 + chance) / 2)


def lockout(times: int) -> timedelta:
    """How long nothing is asked after the `times`-th 401 in a row: a minute, up to an hour."""
    return timedelta(minutes=min(60, 2 ** min(times - 1, 6)))
