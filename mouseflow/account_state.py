"""How an account stands with the API after its latest answers: free, resting, or locked out."""

from collections.abc import Callable
from datetime import datetime, timedelta

from mouseflow.errors import Asked, BadCredentials, TooManyRequests
from mouseflow.rate_limit import LONGEST_PAUSE, lockout, pause_without_hint

OTHER_REGION = "check the email, the key, and the region: each key works in one region only"


class Standing:
    """One pause for the whole account after a 429, one lock after a 401.

    `clock` gives aware wall time, since a pause may be kept in a store; `monotonic` seconds
    for the lock; `random` is in 0..1.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.pause_until: datetime | None = None
        self._clock, self._monotonic, self._random = clock, monotonic, random
        self._busy_in_a_row = 0
        self._wrong_in_a_row = 0
        self._locked_until = float("-inf")

    def welcomed(self) -> None:
        """The API took a request: refusals are counted from the start again."""
        self._busy_in_a_row = self._wrong_in_a_row = 0

    def rest(self, after: timedelta | None) -> timedelta:
        """A 429 came: everybody waits, as long as the API asked or a growing while."""
        if self.paused_for() <= 0:  # several in flight are one refusal
            self._busy_in_a_row += 1
        if after is None:
            after = pause_without_hint(self._busy_in_a_row, self._random())
        until = self._clock() + after
        if self.pause_until is None or until > self.pause_until:
            self.pause_until = until
        return after

    def lock(self) -> None:
        """A 401 came: nothing is sent for a growing while."""
        now = self._monotonic()
        if now >= self._locked_until:  # several in flight are one refusal
            self._wrong_in_a_row += 1
            self._locked_until = now + lockout(self._wrong_in_a_row).total_seconds()

    def paused_for(self) -> float:
        """Seconds that the account still rests."""
        if self.pause_until is None:
            return 0.0
        # Capped, for a clock that was set back must not make the pause longer.
        left = min(self.pause_until - self._clock(), LONGEST_PAUSE)
        return max(0.0, left.total_seconds())

    def locked(self, asked: Asked) -> BadCredentials | None:
        """Why this may not be sent now, if the credentials were refused lately."""
        left = self._locked_until - self._monotonic()
        if left <= 0:
            return None
        reason = "not sent: the API refused the email and key"
        error = BadCredentials(
            f"{asked.method} {asked.path}: {reason}, next try in {left:.0f} s", OTHER_REGION
        )
        error.method, error.path = asked.method, asked.path
        return error

    def resting(self, asked: Asked) -> TooManyRequests:
        """Why this was not sent while the account rests."""
        reason = "not sent: the account rests after too many requests"
        after = timedelta(seconds=self.paused_for())
        error = TooManyRequests(f"{asked.method} {asked.path}: {reason}", after=after, lane=True)
        error.method, error.path = asked.method, asked.path
        return error
