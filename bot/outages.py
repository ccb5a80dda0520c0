"""Says once that something fails, once that it works again, and stays silent in between."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

log = structlog.get_logger(__name__)

QUIET = timedelta(minutes=5)
"""While one thing fails in several ways by turns, a line about it comes this often at most."""

MANY = 10
"""While more than these fail, no line tells of each: something larger is out of order."""


@dataclass(slots=True)
class Outages:
    """What fails at present: name -> (kind of failure, since when, how often).

    `told` is when a line told of each; `silent` are those that none has told of, because very
    many fail: since the first of `wide`, and as many as the second says.
    """

    failing: dict[str, tuple[str, datetime, int]] = field(default_factory=dict)
    told: dict[str, datetime] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    wide: tuple[datetime, int] | None = None

    def failed(self, name: str, error: Exception, now: datetime) -> bool:
        """Note a failure; true where it is news: the first one, or another kind of it."""
        kind = type(error).__name__
        known = self.failing.get(name)
        since, times = (known[1], known[2]) if known else (now, 0)
        self.failing[name] = (kind, since, times + 1)
        if known and (known[0] == kind or now - self.told.get(name, since) < QUIET):
            return False
        if len(self.failing) > MANY:
            if known is None:
                self.silent.add(name)
            self._widely(str(error), now)
            return False
        self.told[name] = now
        log.warning("poll.failing", what=name, reason=str(error))
        return True

    def works(self, name: str, now: datetime) -> bool:
        """Note a success; true where it ends an outage."""
        known = self.failing.pop(name, None)
        if known is None:
            return False
        _kind, since, times = known
        if name not in self.silent:
            log.info("poll.recovered", what=name, failures=times, seconds=_seconds(now - since))
        self.silent.discard(name)
        if self.wide and len(self.failing) <= MANY // 2:
            since, things = self.wide
            log.info("poll.recovered_widely", things=things, seconds=_seconds(now - since),
                     still=sorted(self.failing))  # fmt: skip
            self.wide = None
            self.silent.clear()
        return True

    def _widely(self, reason: str, now: datetime) -> None:
        if self.wide is None:
            log.warning("poll.failing_widely", things=len(self.failing), reason=reason)
        since, things = self.wide or (now, 0)
        self.wide = (since, max(things, len(self.failing)))


def _seconds(length: timedelta) -> int:
    return round(length.total_seconds())
