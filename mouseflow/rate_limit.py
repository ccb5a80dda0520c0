"""How fast an account may send: the token bucket, backoff, the pause after a 429, the lockout
after a 401.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from mouseflow.errors import BadCredentials, TooManyRequests
from mouseflow.request import Request

MAX_PAUSE = timedelta(hours=1)
"""The longest `Retry-After` that is respected."""
OTHER_REGION = "check the email, the API key and the region: a key works in one region only"


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """`rate` calls a second, `burst` of them at once after a quiet time.

    `full` is the moment (in seconds of a monotonic clock) at which the bucket is full again.
    The API names no limit (L4455), so the rate is the account's own choice.
    """

    rate: float
    burst: int
    full: float = -math.inf

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.burst >= 1):
            raise ValueError("the rate must be above 0 and the burst at least 1")

    def wait(self, now: float) -> float:
        """Seconds until the next call may go, 0 if it may go now."""
        return max(0.0, self.full - now - (self.burst - 1) / self.rate)

    def after_call(self, now: float) -> "TokenBucket":
        """The bucket after a call that goes now."""
        return TokenBucket(self.rate, self.burst, max(self.full, now) + 1 / self.rate)


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """How long a Retry-After header asks to wait: seconds, a fraction or an HTTP date,
    at most an hour.

    None if there is no header or no sensible value. `now` is aware.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        if seconds >= MAX_PAUSE.total_seconds():
            return MAX_PAUSE
        return timedelta(seconds=seconds)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta(0)), MAX_PAUSE)


def backoff(attempt: int, chance: float, *, first: float = 0.5, longest: float = 20.0) -> float:
    """Seconds before the next try: exponential, with full jitter.

    `attempt` counts from 1, `chance` is random in 0..1.
    """
    return float(chance * min(longest, first * 2 ** min(attempt - 1, 32)))


def pause_length(times: int, chance: float) -> timedelta:
    """How long to pause after the `times`-th 429 in a row that had no Retry-After.

    From 5 seconds to a minute; never less than half of it, whatever `chance` (0..1).
    """
    seconds = min(60.0, 5.0 * 2 ** min(times - 1, 32))
    return timedelta(seconds=seconds * (1 + chance) / 2)


def lockout_length(times: int) -> timedelta:
    """How long to send nothing after the `times`-th 401 in a row: a minute, up to an hour."""
    return timedelta(minutes=min(60, 2 ** min(times - 1, 6)))


class AccountState:
    """Whether the account may send: free, paused after a 429, or locked out after a 401.

    `clock` gives aware wall time, because a pause may be kept in a store; `monotonic` gives
    seconds, by which a pause ends though the clock was wrong; `random` is in 0..1.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._clock, self._monotonic, self._random = clock, monotonic, random
        self._pause_until: datetime | None = None
        self._pause_ends = float("-inf")
        self._pauses_in_a_row = 0
        self._lockouts_in_a_row = 0
        self._locked_until = float("-inf")

    @property
    def pause_until(self) -> datetime | None:
        """When the pause ends, None if there is none. May be set to what was kept in a store."""
        return self._pause_until if self.paused_for() > 0 else None

    @pause_until.setter
    def pause_until(self, moment: datetime | None) -> None:
        left = timedelta(0) if moment is None else min(moment - self._clock(), MAX_PAUSE)
        self._pause_until = moment
        self._pause_ends = self._monotonic() + left.total_seconds()

    def succeeded(self) -> None:
        """The API accepted a request: pauses and lockouts start at their shortest again."""
        self._pauses_in_a_row = self._lockouts_in_a_row = 0

    def pause(self, after: timedelta | None) -> timedelta:
        """Pause after a 429, for as long as the API asked or for a growing time; the length."""
        if self.paused_for() <= 0:  # several in flight count as one
            self._pauses_in_a_row += 1
        if after is None:
            after = pause_length(self._pauses_in_a_row, self._random())
        if self.paused_for() < after.total_seconds():
            self.pause_until = self._clock() + after
        return after

    def lock_out(self) -> None:
        """Send nothing for a growing time, after a 401."""
        now = self._monotonic()
        if now >= self._locked_until:  # several in flight count as one
            self._lockouts_in_a_row += 1
            length = lockout_length(self._lockouts_in_a_row)
            self._locked_until = now + length.total_seconds()

    def unlock(self) -> None:
        """End the lockout: the credentials are new."""
        self._lockouts_in_a_row, self._locked_until = 0, float("-inf")

    def paused_for(self) -> float:
        """Seconds until the pause ends, 0 if there is none."""
        if self._pause_until is None:
            return 0.0
        # A clock that is put right meanwhile must not make the pause longer.
        left = (self._pause_until - self._clock()).total_seconds()
        return max(0.0, min(left, self._pause_ends - self._monotonic()))

    def lockout_error(self, request: Request[Any]) -> BadCredentials | None:
        """The error for a request that may not be sent now, None while there is no lockout."""
        left = self._locked_until - self._monotonic()
        if left <= 0:
            return None
        return BadCredentials(
            f"not sent: the API rejected the email and key, next try in {left:.0f} s",
            OTHER_REGION,
            request=request,
        )

    def pause_error(self, request: Request[Any], *, outcome_unknown: bool) -> TooManyRequests:
        """The error for a request that was not sent because the account is paused."""
        return TooManyRequests(
            "not sent: the account is paused after too many requests",
            retry_after=timedelta(seconds=self.paused_for()),
            outcome_unknown=outcome_unknown,
            account_wide=True,
            request=request,
        )
