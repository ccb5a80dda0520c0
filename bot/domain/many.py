"""Many subjects in one message: how many, since when, where they concentrate, the worst few."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from bot.domain.limits import SHOWN_IN_A_DIGEST, badness
from bot.domain.subjects import Subject

MOST_NAMES = 50
"""How many websites, pages and devices are counted apart; the others count together."""
OTHERS = ""
"""The name under which they do."""


class Spread(Struct, frozen=True, omit_defaults=True):
    """How many of them there are by website, page and kind of device; unknown ones are left out."""

    websites: Mapping[str, int] = {}
    pages: Mapping[str, int] = {}
    devices: Mapping[str, int] = {}

    def plus(self, website: str, page: str, device: str) -> "Spread":
        """The counts with one match more."""
        return Spread(
            _counted(self.websites, website),
            _counted(self.pages, page),
            _counted(self.devices, device),
        )

    def and_(self, other: "Spread") -> "Spread":
        """Both together."""
        return Spread(
            _together(self.websites, other.websites),
            _together(self.pages, other.pages),
            _together(self.devices, other.devices),
        )


NOWHERE = Spread()


class Many(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The matches that one match of a rule with `count` summarises.

    The rule asks for so many (`asked`) `within` a time. `since` and `until` are the times of the
    first and the last one, `worst` the worst few as far as a list shows them, worst first. All
    have the value `group` in the field `by` that the rule counts by; it is empty if personal.
    """

    asked: int
    within: timedelta
    total: int
    since: datetime
    until: datetime
    spread: Spread = NOWHERE
    worst: tuple[Subject, ...] = ()
    by: str = "website"
    group: str = ""


def worst(subjects: Iterable[Subject]) -> tuple[Subject, ...]:
    """The worst few, worst first."""
    return tuple(sorted(subjects, key=lambda each: -badness(each)))[:SHOWN_IN_A_DIGEST]


def _counted(known: Mapping[str, int], name: str, times: int = 1) -> Mapping[str, int]:
    if not name:
        return known
    kept = name if name in known or len(known) < MOST_NAMES else OTHERS
    return {**known, kept: known.get(kept, 0) + times}


def _together(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    for name, times in other.items():
        one = _counted(one, name, times)
    return one
