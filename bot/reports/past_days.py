"""Past figures of a website's recordings, counted from the API's own rows.

So that rules compare with the usual on the first day, and know what came while the bot was down.
"""

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from functools import partial

from msgspec import Struct

from bot.domain.subjects import Site
from bot.errors import GiveUp, TryLater
from bot.fields.reports import RECORDINGS, RECORDINGS_TODAY
from bot.polling.context import PollContext
from bot.polling.list_reader import ROW_CAP, of_days, read
from bot.polling.session import account_offset, aware
from bot.reports import sources
from bot.reports.site_poll import SitePoll, same_hours
from bot.reports.sources import Question, Tried
from bot.rules.operators.past import USUAL_WEEKS
from bot.store import Connection
from bot.store.alert_states import GRAIN, add_figures, figure_between, grain
from bot.store.schema import ms
from mouseflow import recordings


class Day(Struct, frozen=True):
    """When the recordings of a day were made, in ms, ascending. `begin` is its midnight."""

    begin: datetime
    end: datetime
    made: "array[int]"

    def until(self, at: datetime) -> int:
        """How many were made before then."""
        return bisect_left(self.made, ms(at))


Days = Mapping[date, Day | None]
"""Days that were read; None for one that was not read whole."""


async def backfill_counts(
    question: Question,
    series: str,
    site_poll: SitePoll,
    names: Collection[str],
    context: PollContext,
    tried: Tried,
) -> Tried:
    """Read the past days whose figures rules compare with; keep the figures in the history.

    `names` are the figures that are compared. Returns the days that were tried.
    """
    work = partial(_lacking, series=series, site_poll=site_poll, names=names)
    for day in await context.store.run(work):
        if ("websites", question, day) in tried:
            continue
        try:
            days = {
                each: await read_day(site_poll.site, each, site_poll.zone, context)
                for each in _with_the_day_before(day, question, site_poll)
            }
            this = days[day]
            if this is not None and this.made:  # a day without any is one before the website was
                await _keep(
                    site_poll.site,
                    question,
                    series,
                    day,
                    days,
                    site_poll.now,
                    site_poll.zone,
                    context,
                )
        except TryLater:
            return tried  # the present figures were read: the past can wait
        tried |= {("websites", question, day)}
    return tried


def _lacking(
    conn: Connection, series: str, site_poll: SitePoll, names: Collection[str]
) -> list[date]:
    """The days of past weeks of which the history has no figure at this time of day."""
    lacking: list[date] = []
    site = site_poll.site
    spans = list(same_hours(site_poll, site_poll.now, from_midnight=True))
    for first, last in spans[:USUAL_WEEKS]:
        found = (figure_between(conn, series, site.id, site.id, it, first, last) for it in names)
        if None in found:
            lacking.append(last.date())
    return lacking


def _with_the_day_before(day: date, question: Question, site_poll: SitePoll) -> Iterator[date]:
    """The days to read for a day's figure at this time: parts of a day may begin the day before."""
    local = site_poll.now.astimezone(site_poll.zone)
    since_midnight = timedelta(hours=local.hour, minutes=local.minute)
    if question.part_of_a_day and question.over_last and question.over_last > since_midnight:
        yield day - timedelta(days=1)
    yield day


async def read_day(site: Site, day: date, zone: tzinfo, context: PollContext) -> Day | None:
    """When the recordings of a day in the zone were made: one call.

    None if not all of them were read, or if the account's day is another than the zone's.
    """
    window = of_days(day, day + timedelta(days=1))
    try:
        listing = await read(context.mouseflow, site.id, window, ROW_CAP, brief=True)
    except GiveUp:
        return None
    times = [aware(row.created) for row in listing.rows if row.created is not None]
    if not listing.whole or len(times) < listing.count:
        return None
    offset = account_offset(listing.rows, zone)
    if offset and not offset.fits:
        return None
    begin, end = (_midnight(it, zone) for it in (day, day + timedelta(days=1)))
    return Day(begin, end, array("q", sorted(map(ms, times))))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return grain(datetime.combine(day, time(), zone))


async def _keep(
    site: Site, question: Question, series: str, day: date, read_days: Days, now: datetime,
    zone: tzinfo, context: PollContext,
) -> None:  # fmt: skip
    """Add a day's figures to the history, as polls each quarter of an hour would have."""
    this, before = read_days.get(day), read_days.get(day - timedelta(days=1))
    if this is None:
        return
    earlier = None
    if not question.part_of_a_day:
        earlier = await _days_before(site, question, this, zone, context)
    figures: dict[datetime, dict[str, float]] = {}
    at = this.begin
    while at < min(this.end, now):
        figures[at] = {RECORDINGS_TODAY.name: this.until(at)}
        if question.part_of_a_day:
            made = _in_part(this, before, at - (question.over_last or timedelta()), at)
        else:
            made = None if earlier is None else earlier + this.until(at)
        if made is not None:
            figures[at][RECORDINGS.name] = made
        at += GRAIN

    def work(conn: Connection) -> None:
        for at, values in figures.items():
            add_figures(conn, series, site.id, site.id, values, at)

    await context.store.run(work)


def _in_part(this: Day, before: Day | None, then: datetime, at: datetime) -> int | None:
    """How many recordings were made between two moments, the later one in `this` day."""
    if then >= this.begin:
        return this.until(at) - this.until(then)
    if before is None or then < before.begin:
        return None
    return len(before.made) - before.until(then) + this.until(at)


async def _days_before(
    site: Site, question: Question, this: Day, zone: tzinfo, context: PollContext
) -> int | None:
    """How many recordings the days of `over_last` before this one have: one call, or none.

    None if Mouseflow refuses to say.
    """
    first, _ = sources.days(question, this.begin, zone)
    today = this.begin.astimezone(zone).date()
    if first == today:
        return 0
    asked = recordings.list(site.id, of_days(first, today), limit=1)
    try:
        return (await context.mouseflow.send(asked)).count
    except GiveUp:
        return None


async def made_since(
    site: Site, question: Question, series: str, then: datetime, now: datetime,
    zone: tzinfo, context: PollContext,
) -> int | None:  # fmt: skip
    """How many recordings were made since then, by the API's rows; None if they don't tell.

    `zone` is that of the account's days. Keeps the figures of the days read, so that the next
    poll need not ask again.
    """
    first = then.astimezone(zone).date()
    today = now.astimezone(zone).date()
    read_days = {it: await read_day(site, it, zone, context) for it in {first, today}}
    for day in sorted(read_days):
        await _keep(site, question, series, day, read_days, now, zone, context)
    each = [day for day in read_days.values() if day is not None]
    if len(each) < len(read_days):
        return None
    return sum(len(day.made) - day.until(max(then, day.begin)) for day in each)
