"""How fast a service takes calls: on each of its lanes, and on all of them together.

Kept in memory: after a restart the first calls may go in a burst again.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from msgspec import Struct

from bot.domain.causes import SLACK, service
from mouseflow.rate_limit import TokenBucket


class Pace(Struct, frozen=True):
    """What one lane of a service takes, and the whole service."""

    lane: TokenBucket
    service: TokenBucket


NO_PACE: Mapping[str, Pace] = MappingProxyType({})

SLACK_PACE: Mapping[str, Pace] = MappingProxyType(
    {SLACK: Pace(lane=TokenBucket(1.0, burst=5), service=TokenBucket(5.0, burst=60))}
)
"""Slack documents a message a second in each channel and several hundred a minute in a workspace,
with short bursts beyond that (docs.slack.dev/apis/web-api/rate-limits, chat.postMessage)."""


class Paces:
    """When each lane may make its next call. `monotonic` returns seconds.

    A lane is at one of `bots`, a service at all of them: each takes its part of what that allows.
    """

    def __init__(self, paces: Mapping[str, Pace], monotonic: Callable[[], float]) -> None:
        self._paces = paces
        self._monotonic = monotonic
        self._buckets: dict[str, TokenBucket] = {}

    def wait(self, lane: str, bots: int = 1) -> float:
        """Seconds until the lane may call, 0 if it may now."""
        now = self._monotonic()
        return max((bucket.wait(now) for bucket in self._of(lane, bots).values()), default=0.0)

    def take(self, lane: str, bots: int = 1) -> None:
        """Count a call that goes now."""
        now = self._monotonic()
        for name, bucket in self._of(lane, bots).items():
            self._buckets[name] = bucket.after_call(now)

    def end_bursts(self, lane: str) -> None:
        """No more bursts on that lane: the other side allows fewer than it documents."""
        if (pace := self._paces.get(service(lane))) is not None:
            rate = pace.lane.rate
            self._buckets[lane] = TokenBucket(rate, 1, self._monotonic() + 1 / rate)

    def _of(self, lane: str, bots: int) -> dict[str, TokenBucket]:
        of = service(lane)
        if (pace := self._paces.get(of)) is None:
            return {}
        whole = pace.service
        full = self._buckets.get(of, whole).full
        part = TokenBucket(whole.rate / bots, max(1, whole.burst // bots), full)
        return {lane: self._buckets.get(lane, pace.lane), of: part}
