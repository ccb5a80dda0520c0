"""Says once that something fails, once that it works again, and stays silent in between."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

log = structlog.get_logger(__name__)

QUIET = timedelta(minutes=5)
"""While one thing fails in several ways by turns, a line about it comes this often at most."""


@dataclass(slots=True)
class Outages:
    """What fails at present: name -> (kind of failure, since when, how often)."""

    failing: dict[str, tuple[str, datetime, int]] = field(default_factory=dict)
    told: dict[str, datetime] = field(default_factory=dict)

    def failed(self, name: str, error: Exception, now: datetime) -> bool:
        """Note a failure; true where it is news: the first one, or another kind of it."""
        kind = type(error).__name__
        known = self.failing.get(name)
        since, times = (known[1], known[2]) if known else (now, 0)
        self.failing[name] = (kind, since, times + 1)
        if known and (known[0] == kind or now - self.told.get(name, since) < QUIET):
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
        log.info(
            "poll.recovered",
            what=name,
            failures=times,
            seconds=round((now - since).total_seconds()),
        )
        return True
