"""When to retry: exponential backoff with full jitter, a ceiling, and an end."""

from collections.abc import Callable
from datetime import datetime, timedelta

from bot.errors import GiveUp, TryLater

FIRST = timedelta(seconds=2)
CEILING = timedelta(minutes=15)
LANE_CEILING = timedelta(minutes=5)
PROBE = timedelta(seconds=30)
"""How long a refused lane waits at least: a person must act first."""
LONGEST_ASKED = timedelta(hours=1)
"""The longest wait that is respected if the other side asks for one."""
PATIENCE = timedelta(days=3)
"""A step that has failed for this long becomes a dead letter."""
BUG_TRIES = 5
"""After this many internal errors a step becomes a dead letter: waiting won't fix a bug."""


def next_try(
    error: Exception,
    attempts: int,
    now: datetime,
    random: Callable[[], float],
    *,
    first_tried: datetime,
) -> datetime | None:
    """When to retry after the `attempts`-th try failed; None to give up.

    GiveUp gives up at once. TryLater is retried for 3 days, never before the time that the
    other side asked for. Anything else is a bug: five tries. `random` returns numbers from 0
    to 1.
    """
    if isinstance(error, GiveUp):
        return None
    if isinstance(error, TryLater):
        if now - first_tried >= PATIENCE:
            return None
        return now + max(_asked(error), _jittered(attempts, CEILING, random))
    if attempts >= BUG_TRIES:
        return None
    return now + _jittered(attempts, CEILING, random)


def lane_opens(
    error: TryLater | GiveUp, failures: int, now: datetime, random: Callable[[], float]
) -> datetime:
    """When the lane may be used again after `failures` failures in a row.

    While the other side is down or refuses, one step retries now and then, and the others wait
    behind it.
    """
    return now + max(_asked(error), _jittered(failures, LANE_CEILING, random))


def _asked(error: TryLater | GiveUp) -> timedelta:
    if isinstance(error, GiveUp):
        return PROBE
    return min(max(error.after or timedelta(), timedelta()), LONGEST_ASKED)


def _jittered(attempts: int, ceiling: timedelta, random: Callable[[], float]) -> timedelta:
    # Full jitter spreads bots that met the same outage; 2**20 is beyond any ceiling.
    doublings = min(max(attempts - 1, 0), 20)
    longest = min(FIRST * (1 << doublings), ceiling)
    return max(longest * random(), timedelta(milliseconds=100))
