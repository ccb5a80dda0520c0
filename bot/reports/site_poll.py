"""One poll of a website by the clock of its account, and the times in the past that are like it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from bot.domain.alert_state import GAP
from bot.domain.calendar import ALWAYS_LOUD, Calendar, Days, covers
from bot.domain.recorded_share import NOTHING_SEEN, RecordedShare
from bot.domain.subjects import Site

WEEKS_BACK = 6
"""How far back to look for the weeks that make the usual, where some have no figure."""


class SitePoll(Struct, frozen=True):
    """One poll of a website: when, and by which clock. `gap` is how long a time without a poll
    may be for a condition to have held in it. `holidays` are days with which nothing is compared,
    in `quiet` times posts wait, `recorded` is what the website recorded of its visitors."""

    site: Site
    now: datetime
    zone: ZoneInfo
    gap: timedelta = GAP
    holidays: tuple[Days, ...] = ()
    quiet: Calendar = ALWAYS_LOUD
    recorded: RecordedShare = NOTHING_SEEN

    def is_holiday(self, at: datetime) -> bool:
        """Whether the moment is on a holiday, in the account's zone."""
        day = at.astimezone(self.zone).date()
        return any(covers(days, day) for days in self.holidays)


def same_hours(
    site_poll: SitePoll, now: datetime, *, from_midnight: bool
) -> Iterator[tuple[datetime, datetime]]:
    """The times in past weeks whose figures are like those of now, the latest first.

    None on a holiday, and none of one. Figures `from_midnight` are alike on the same day only.
    """
    today = now.astimezone(site_poll.zone)
    if site_poll.is_holiday(now):
        return
    for week in range(1, WEEKS_BACK + 1):
        # The same time on the clock, also across a change of the clocks.
        last = today - timedelta(weeks=week)
        if site_poll.is_holiday(last):
            continue
        first = last.astimezone(UTC) - site_poll.gap
        midnight = last.replace(hour=0, minute=0, second=0, microsecond=0)
        yield max(midnight, first) if from_midnight else first, last
