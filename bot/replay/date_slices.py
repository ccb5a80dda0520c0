"""Which days of which websites a look back goes through, as plain values."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.domain.subjects import Site
from bot.polling.session import aware
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` up to `until`, which is not within."""

    since: datetime
    until: datetime

    def holds(self, row: Recording) -> bool:
        """Was the recording made within? One without a time is taken to be."""
        return row.created is None or self.since <= aware(row.created) < self.until

    def share(self, day: date, zone: ZoneInfo) -> float:
        """How much of that day lies within, from 0 to 1."""
        first = datetime.combine(day, time(), zone).astimezone(UTC)
        end = datetime.combine(day + _DAY, time(), zone).astimezone(UTC)
        within = min(end, self.until) - max(first, self.since)
        return max(0.0, within / (end - first))

    @property
    def days(self) -> float:
        """The length in days."""
        return (self.until - self.since) / _DAY


@dataclass(frozen=True, slots=True)
class Slice:
    """One website's day, as the account counts days."""

    site: Site
    day: date

    @property
    def filters(self) -> SessionFilters:
        """The API's filter for it: `todate` is not included (API document, L4133)."""
        return SessionFilters(fromdate=self.day, todate=self.day + _DAY)

    @property
    def name(self) -> str:
        """Names the slice in the file that keeps the progress."""
        return f"{self.site.id}/{self.day.isoformat()}"


def days(span: Span, zone: ZoneInfo) -> Iterator[date]:
    """The days to ask for, oldest first, one too many on either side.

    The API counts days in the account's zone (L4132). Should the configured zone be another
    one, the days around it still hold every recording of the span.
    """
    day = span.since.astimezone(zone).date() - _DAY
    last = span.until.astimezone(zone).date() + _DAY
    while day <= last:
        yield day
        day += _DAY


def slices(sites: Iterable[Site], span: Span, zone: ZoneInfo) -> tuple[Slice, ...]:
    """Every website's days; a day of all websites comes before the next one, so that rules
    that count over time see things in their order."""
    sites = tuple(sites)
    return tuple(Slice(site, day) for day in days(span, zone) for site in sites)


def window(span: Span, zone: ZoneInfo) -> SessionFilters:
    """All days of the span as one filter."""
    each = tuple(days(span, zone))
    return SessionFilters(fromdate=each[0], todate=each[-1] + _DAY)
