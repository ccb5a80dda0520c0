"""What the daemon says about itself beside the store, for `healthcheck` and `status`.

Only the standard library: `healthcheck` runs every few seconds.
"""

import json

from msgspec import Struct

STORE_PATIENCE = 60.0
"""Seconds of trouble with the store before it counts: a copy job may lock it for a while."""

POLL_PATIENCE = 600.0
"""Seconds in which a running poll gets an answer, or none because a request timed out."""

DELIVERY_PATIENCE = 180.0
"""Seconds between two rounds of delivery; it takes one every 15 s."""


class Pulse(Struct, frozen=True):
    """When polls and deliveries last moved, in seconds since 1970.

    `polled` is when the running poll that is stuck the longest last got an answer, good or bad:
    an outage of Mouseflow moves it, too. `store` is why the store can't be written since
    `store_since`, empty if it can.
    """

    polled: float
    delivered: float
    store: str = ""
    store_since: float = 0.0

    def fault(self, now: float) -> str | None:
        """What a restart or a person must fix, None if nothing."""
        if self.store and now - self.store_since > STORE_PATIENCE:
            return f"the store can't be written for {now - self.store_since:.0f} s: {self.store}"
        if now - self.polled > POLL_PATIENCE:
            return f"polls are stuck: one had no answer for {now - self.polled:.0f} s"
        if now - self.delivered > DELIVERY_PATIENCE:
            return f"deliveries are stuck: no round for {now - self.delivered:.0f} s"
        return None

    def written(self) -> str:
        """As one line of text."""
        return json.dumps({name: getattr(self, name) for name in self.__struct_fields__})


def read(text: str) -> Pulse | None:
    """A pulse that was written; None if there is none, or another version wrote it."""
    try:
        return Pulse(**json.loads(text))
    except (ValueError, TypeError):
        return None


class Sign(Struct, frozen=True):
    """Of the daemon that holds the store: its pulse as text, and how old that is in seconds.

    `host` is where it runs, empty for this one. `shares`: it is one of several that share the work.
    `older`: it is of a version with an older format of the store, so one of this version waits.
    """

    age: float
    text: str
    host: str = ""
    shares: bool = False
    older: bool = False

    def fault(self, now: float, within: float) -> str | None:
        """Why the daemon is unhealthy, None if it is healthy."""
        if self.age > within:
            return f"no heartbeat for {self.age:.0f} s"
        pulse = read(self.text)
        return pulse.fault(now) if pulse else None
