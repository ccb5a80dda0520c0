"""The simulator's clock: real time, shifted and scaled, or a clock of the caller."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Now = Callable[[], datetime]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def real() -> datetime:
    """The machine's time."""
    return datetime.fromtimestamp(time.time(), UTC)


class Clock:
    """The time in the simulated account; `speed` makes it run faster than `now`."""

    def __init__(self, now: Now = real, *, speed: float = 1.0) -> None:
        self._now = now
        self._speed = speed
        self._origin = now()
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The time, aware."""
        now = self._now()
        if self._speed != 1:
            now = self._origin + (now - self._origin) * self._speed
        return now + self._ahead

    def advance(self, by: timedelta) -> None:
        """Move the clock; a negative `by` sets it back."""
        self._ahead += by


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(ms: int) -> datetime:
    """The UTC time `ms` milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=ms)
