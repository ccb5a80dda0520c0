"""The state of an alert: it fires when its condition becomes true, and is resolved later.

Recordings match once. The condition on any other subject (a campaign, a funnel, a website) can
be true for a while, end, and come back.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

Event = Literal["fired", "resolved"]


@dataclass(frozen=True, slots=True)
class Level:
    """The alert state of one rule and one subject.

    `true_since` is when the condition last became true, None while it is false. `fired` is
    when this episode fired, None while it has not. `episode` numbers the firings.
    """

    true_since: datetime | None = None
    fired: datetime | None = None
    episode: int = 0


def advance(
    before: Level,
    holds: bool,
    ended: bool,
    now: datetime,
    held_for: timedelta = timedelta(),
) -> tuple[Level, Event | None]:
    """The next state after one poll of the subject, and what happened.

    `holds` is the rule's condition, `ended` whether the episode is over once it has fired
    (its `until`, or the condition being false). `held_for` is how long the condition must
    have held before it fires.
    """
    since = (before.true_since or now) if holds else None
    level = replace(before, true_since=since)
    if level.fired is not None:
        if ended:
            return replace(level, fired=None), "resolved"
        return level, None
    if since is not None and now - since >= held_for and not ended:
        return replace(level, fired=now, episode=level.episode + 1), "fired"
    return level, None
