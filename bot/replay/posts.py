"""How many messages a rule's posts come to: what goes out alone, what is folded, what is dropped.

The same limits as the delivery's (`bot.limits`), on times that are given.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from bot.actions.slack import Slack
from bot.limits import Held, Limit, Posting, Window, admit

Fate = Literal["alone", "digest", "folded", "dropped"]
"""A message of its own, the first of a digest, one more of a digest, or none at all."""


class Posts(msgspec.Struct):
    """The state of all limits, by rule and lane. `digests` has when the open ones are due."""

    windows: dict[str, Window] = {}
    digests: dict[str, datetime] = {}

    def fate(
        self, key: str, action: Slack, posting: Posting, happened: datetime, now: datetime
    ) -> Fate:
        """What becomes of one post; `key` names its rule and lane. Posts come in order of `now`."""
        limit = _limit(action)
        verdict = admit(
            now,
            happened=happened,
            posting=posting,
            limit=limit,
            window=self.windows.get(key),
            snoozed_until=None,
        )
        if not isinstance(verdict, Held):
            if verdict.window is not None:
                self.windows[key] = verdict.window
            return "alone"
        if verdict.drop:
            return "dropped"
        due = self.digests.get(key)
        if due is not None and (now < due or due == verdict.until):
            return "folded"
        self.digests[key] = verdict.until
        return "digest"


def _limit(action: Slack) -> Limit | None:
    if action.at_most is None:
        return None
    window = timedelta(milliseconds=action.at_most.window_ms)
    return Limit(action.at_most.times, window, action.overflow)
