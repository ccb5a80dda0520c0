"""What people mark on sessions that have ended: tags, stars, watched marks, variables, names.

Marks are no activity, so the list does not show them at its top. The rows of `poll.marks` are read
once an hour and compared with the marks that each recording had when it was decided. Marks that
the API can filter by (stars, watched marks, a site's own tags) are asked for every five minutes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

from bot.errors import GiveUp, TryLater
from bot.polling.filter_checks import concerns_all
from bot.polling.list_reader import LEAST, ROW_CAP, deeper, of_days, reaches, read
from bot.polling.server_facts import TRACKER_TAGS
from bot.polling.session import days_to_ask, last_activity, marks, settled
from bot.ports import Mouseflow
from bot.rules.model import Rule
from bot.rules.needs import likely
from bot.store.database import Store
from bot.store.recordings import decided_marks, marks_decided_since
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording

SWEEP = timedelta(hours=1)
"""How often to read all rows: some marks can't be asked for, and a filter may ignore one."""

ASK = timedelta(minutes=5)
"""How often to ask for the marks that the API can filter by."""

ALL = SessionFilters()


def question(rule: Rule) -> SessionFilters | None:
    """The filter that returns the sessions with a mark that the rule requires; None: none does."""
    about = likely(rule)
    tags = tuple(tag for tag in about.tags if tag not in TRACKER_TAGS)
    asked = SessionFilters(star=about.star or None, watched=about.watched or None, tags=tags)
    return None if asked == ALL else asked


def due(
    questions: Iterable[SessionFilters], read_at: Mapping[SessionFilters, datetime], now: datetime
) -> frozenset[SessionFilters]:
    """Which questions to ask now; `ALL` reads all rows, which answers every question."""
    if _is_due(read_at.get(ALL), SWEEP, now):
        return frozenset({ALL})
    return frozenset(it for it in questions if _is_due(read_at.get(it), ASK, now))


def _is_due(at: datetime | None, every: timedelta, now: datetime) -> bool:
    return at is None or not timedelta() <= now - at < every


async def marked(
    mouseflow: Mouseflow,
    store: Store,
    website: str,
    asked: Iterable[SessionFilters],
    since: datetime,
    settle: timedelta,
    now: datetime,
) -> list[Recording]:
    """The decided recordings with activity since then whose marks have changed since.

    A question that fails is left out; the next sweep answers it. Raises what concerns them all.
    """
    found: dict[str, Recording] = {}

    async def sift(known: Mapping[str, str] | None, rows: Sequence[Recording]) -> list[Recording]:
        ended = [row for row in rows if _has_ended(row, since, settle, now)]
        if known is None:
            ids = [row.id for row in ended]
            known = await store.read(partial(decided_marks, website=website, ids=ids))
        changed = [row for row in ended if known.get(row.id) not in (None, "", marks(row))]
        found.update((row.id, row) for row in changed)
        return []

    days = days_to_ask(now, since)
    window = of_days(*days)
    for each in asked:
        # 10,000 rows take 20 MB: what they are compared with is read before, so that nothing is
        # waited for while they are there, and those of several websites are not there at once.
        all_known = partial(marks_decided_since, website=website, since=_before(days[0]))
        compare = partial(sift, await store.read(all_known) if each == ALL else None)
        filters = replace(each, fromdate=window.fromdate, todate=window.todate)
        try:
            listing = await read(mouseflow, website, filters, ROW_CAP if each == ALL else LEAST)
            await compare(listing.rows)
            while not listing.whole and not reaches(listing.rows, listing.order, since):
                listing = listing.without_rows()
                further = await deeper(mouseflow, website, filters, listing, compare, since)
                if further is listing or further.exhausted:
                    break
                listing = further
                await compare(listing.rows)
        except (GiveUp, TryLater) as error:
            if each == ALL or concerns_all(error):
                raise
    return list(found.values())


def _before(day: date) -> datetime:
    """An instant at which that day has begun in no time zone."""
    return datetime.combine(day, time(), UTC) - timedelta(days=1)


def _has_ended(row: Recording, since: datetime, settle: timedelta, now: datetime) -> bool:
    at = last_activity(row, now)
    return at is not None and at >= since and settled(row, now, settle)
