"""The state of an alert: it fires when its condition becomes true, and is resolved later.

Recordings match once. The condition on any other subject (a campaign, a funnel, a website) can
be true for a while, end, and come back. A poll that brings no data changes nothing.
"""

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

Event = Literal["fired", "reminded", "resolved"]

Effect = Literal["none", "in_force", "undone"]
"""What became of the fields that a firing rule sets: not seen as set yet, as set, or changed
since by a person or another rule."""

NEWS = "new_responses "
"""How the reason of a match begins that tells of new answers: news, and no alert."""

REMINDED = "-reminded"
RESOLVED = "-resolved"
"""How the key of the match that says an episode's end goes on after the episode's name."""

USUAL_NOW = " is usual now"
"""Says why an alert about a change has ended though its figure is not back."""

UNKNOWN_NOW = ": not known to be back"
"""Says that it has ended though nobody knows whether its figure is back."""

GAP = timedelta(hours=1)
"""A longer time without a poll is not time in which a condition held."""

FALL_HOLDS = timedelta(hours=1)
"""How long a counter must stay lower before the lower count is believed."""


class Counter(Struct, frozen=True):
    """A counter beside what a rule has told of it: `new` is the growth since the rule fired.

    `base` is the count that was told, `highest` the highest one seen. Servers that are not in
    step answer with older counts. So a lower count is no news and no new beginning until it has
    held for an hour: `fell` is since when it is lower, `lowest` the lowest count since then.
    """

    base: int
    highest: int
    lowest: int | None = None
    fell: datetime | None = None

    @property
    def new(self) -> int:
        """The growth that was not told yet."""
        return self.highest - self.base

    def counted(self, count: int, now: datetime) -> "Counter":
        """The counter after one more answer."""
        if count >= self.highest:
            return Counter(self.base, count)
        lowest = count if self.lowest is None else min(count, self.lowest)
        fell = min(self.fell or now, now)
        if now - fell >= FALL_HOLDS:
            return Counter(lowest - self.new, count)
        return Counter(self.base, self.highest, lowest, fell)

    def told(self) -> "Counter":
        """The counter after all of its growth was told."""
        return replace(self, base=self.highest)


class Level(Struct, frozen=True):
    """The alert state of one rule and one subject.

    `true_since` is since when the condition has held, without the time in which nobody knew;
    None while it is false. `fired` is when this episode fired, None while it has not. `episode`
    numbers the firings. `known` is the last poll that knew whether the condition held, `polled`
    the last one that saw the subject. `ending` is the first poll that said that it is over.
    `told`: the firing was not held back by a pause; `reminded` is the last post that it still
    lasts. `counter` is for figures of what is new.
    """

    true_since: datetime | None = None
    fired: datetime | None = None
    episode: int = 0
    known: datetime | None = None
    polled: datetime | None = None
    ending: datetime | None = None
    told: bool = True
    effect: Effect = "none"
    counter: Counter | None = None
    reminded: datetime | None = None

    @property
    def lives(self) -> bool:
        """Whether something is true now, or was when the subject was last seen."""
        return self.true_since is not None or self.fired is not None

    def over(self) -> "Level":
        """The state after the end of an episode."""
        return Level(episode=self.episode, polled=self.polled, counter=self.counter)


def advance(
    before: Level,
    holds: bool | None,
    ended: bool | None,
    now: datetime,
    held_for: timedelta = timedelta(),
    *,
    gap: timedelta = GAP,
    paused: bool = False,
    remind: bool = False,
) -> tuple[Level, Event | None]:
    """The next state after one poll of the subject, and what happened.

    `holds` is the rule's condition, `ended` whether the episode is over once it has fired
    (its `until`, or the condition being false); None where there is no data. An episode ends
    when two polls say so. `held_for` is how long the condition must have held before it fires;
    more than `gap` without a poll begins that time anew. While the rule is `paused` a firing
    is not told; if it still holds afterwards, it fires then. `remind`: it is time to
    remind people of it, if it still holds.
    """
    level = replace(before, polled=now)
    if before.ending and before.polled and before.ending > before.polled:
        level = replace(level, ending=None)  # a list lacked the subject, and it is there again
    if level.fired is not None:
        if (level.reminded or level.fired) > now:
            level = replace(level, reminded=now)  # the clock was ahead: reminders count from now
        return _firing(level, holds, ended, now, remind=remind, paused=paused)
    if holds is None:
        return level, None
    if not holds:
        return replace(level, true_since=None, known=now, ending=None), None
    since = _held_since(before, now, gap)
    level = replace(level, true_since=since, known=now, ending=None)
    if now - since < held_for or ended is True:
        return level, None
    return _fire(level, now, told=not paused), "fired"


def gone(before: Level, now: datetime) -> tuple[Level, Event | None]:
    """The next state after a poll that lacks the subject; gone is what two polls lack."""
    if before.ending is None:
        return replace(before, ending=now), None
    return before.over(), "resolved" if before.fired and before.told else None


def _firing(
    level: Level,
    holds: bool | None,
    ended: bool | None,
    now: datetime,
    *,
    remind: bool,
    paused: bool,
) -> tuple[Level, Event | None]:
    if ended and level.ending not in (None, now):  # one poll may advance it twice
        over = replace(level.over(), true_since=now if holds else None, known=now)
        return over, "resolved" if level.told else None
    if ended is not None:
        level = replace(level, known=now, ending=now if ended else None)
    if holds and not ended and not level.told and not paused:
        return _fire(level, now, told=True), "fired"
    if remind and holds and not ended and not paused:
        return replace(level, reminded=now), "reminded"
    return level, None


def _fire(level: Level, now: datetime, *, told: bool) -> Level:
    return replace(
        level,
        fired=now,
        episode=level.episode + 1,
        told=told,
        reminded=None,
        ending=None,
        effect="none",
    )


def _held_since(before: Level, now: datetime, gap: timedelta) -> datetime:
    """Since when the condition has held, as far as polls knew."""
    if before.true_since is None or before.true_since > now:  # the clock may have been ahead
        return now
    if before.polled is None or before.known is None:
        return before.true_since
    if now - before.polled > gap:
        return now
    if before.polled > before.known:  # polls without data: that time does not count
        return before.true_since + max(now - before.known, timedelta())
    return before.true_since
