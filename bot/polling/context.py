"""What every poll of an account works with."""

from datetime import timedelta, tzinfo
from zoneinfo import ZoneInfo

from msgspec import Struct

from bot.domain.alert_state import GAP
from bot.domain.calendar import ALWAYS_LOUD, Calendar, Days
from bot.polling.record_matches import Routing
from bot.ports import Mouseflow
from bot.store.database import Store


class PollContext(Struct, frozen=True):
    """What every poll of an account works with.

    What people mark on a session counts for `marks` after it has ended.
    `start` is how far back the first poll looks. `expand` lets the list be asked for page
    views, if the server is known to return them. `gap` is how long a time without a poll of
    reports may be for an alert's condition to have held in it. `holidays` are days with which no
    figure is compared; in `quiet` times posts wait. `seen_zone` is the account's
    zone as its recordings show it: `zone`, or a fixed offset where that doesn't fit.
    """

    mouseflow: Mouseflow
    store: Store
    zone: ZoneInfo
    settle: timedelta
    start: timedelta
    routing: Routing
    expand: bool = True
    marks: timedelta = timedelta()
    gap: timedelta = GAP
    holidays: tuple[Days, ...] = ()
    quiet: Calendar = ALWAYS_LOUD
    seen_zone: tzinfo | None = None

    @property
    def days(self) -> tzinfo:
        """The zone in which the account's days begin, as far as the bot knows."""
        return self.seen_zone or self.zone
