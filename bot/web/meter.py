"""What the daemon did since it started: API requests by hour and by route, and polls."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from mouseflow.client import Sent

HOURS = 24
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, float("inf"))
"""Upper bounds of the durations that are counted, in seconds."""


@dataclass(slots=True)
class _Hour:
    number: int
    requests: int = 0
    refused: int = 0
    websites: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Meter:
    """Counts each attempt that `AsyncMouseflow` reports. Its size is bounded by the API's routes.

    `requests` counts (method, route, status); status is "none" without an answer. `retries`
    counts repeated attempts by the error before. `durations` holds a histogram of each route.
    `polls` counts (kind, whether it went well), and `poll_seconds` adds up how long they took.
    `last_success` is when the poll of (kind, website's id) went well last, or when the bot began to
    poll that, in seconds since 1970; it has what this bot polls now.
    """

    clock: Callable[[], float] = monotonic
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    durations: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    polls: Counter[tuple[str, bool]] = field(default_factory=Counter)
    poll_seconds: dict[str, float] = field(default_factory=dict)
    last_success: dict[tuple[str, str], float] = field(default_factory=dict)
    _hours: deque[_Hour] = field(default_factory=lambda: deque(maxlen=HOURS + 1))
    _began: float | None = None

    def observe(self, sent: Sent) -> None:
        """Count one attempt."""
        status = "none" if sent.status is None else str(sent.status)
        route = sent.route.partition(" ")[2]
        self.requests[sent.method, route, status] += 1
        counts = self.durations.setdefault(route, [0] * len(BUCKETS))
        counts[next(place for place, top in enumerate(BUCKETS) if sent.seconds <= top)] += 1
        self.seconds[route] = self.seconds.get(route, 0.0) + sent.seconds
        if sent.repeats:
            self.retries[sent.repeats] += 1
        hour = self._hour()
        hour.requests += 1
        hour.refused += sent.status == 429
        if sent.website:
            hour.websites[sent.website] += 1

    def begin(self, kind: str, website: str, at: datetime) -> None:
        """The website is polled from now on."""
        self.last_success[kind, website] = at.timestamp()

    def end(self, kind: str, website: str) -> None:
        """The website is no longer polled by this bot, or at all."""
        self.last_success.pop((kind, website), None)

    def observe_poll(
        self, kind: str, website: str, well: bool, seconds: float, at: datetime
    ) -> None:
        """Count one poll of a website; `website` is empty for what is polled for all of them."""
        self.polls[kind, well] += 1
        self.poll_seconds[kind] = self.poll_seconds.get(kind, 0.0) + seconds
        if well and (kind, website) in self.last_success:
            self.last_success[kind, website] = at.timestamp()

    def per_second(self) -> float | None:
        """Requests per second in the last 24 h, or since the start; None before the first."""
        if self._began is None:
            return None
        self._hour()
        passed = min(self.clock() - self._began, HOURS * 3600.0)
        return sum(hour.requests for hour in self._hours) / max(passed, 1.0)

    def per_hour(self, website: str) -> float | None:
        """Requests an hour about this website, over the same time; None before the first."""
        if self._began is None:
            return None
        self._hour()
        passed = min(self.clock() - self._began, HOURS * 3600.0) / 3600
        return sum(hour.websites[website] for hour in self._hours) / max(passed, 1 / 60)

    def refused(self) -> int:
        """How many requests were answered with 429 in the last 24 h."""
        self._hour()
        return sum(hour.refused for hour in self._hours)

    def _hour(self) -> _Hour:
        now = self.clock()
        self._began = now if self._began is None else self._began
        number = int(now // 3600)
        if not self._hours or self._hours[-1].number != number:
            self._hours.append(_Hour(number))
        while self._hours[0].number <= number - HOURS:
            self._hours.popleft()
        return self._hours[-1]
