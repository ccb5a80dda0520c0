"""What people mark on sessions that have ended: tags, stars, watched marks, variables, names.

Marks are no activity, so the list does not show them at its top. The rows of `poll.marks` are read
once an hour and compared with the marks that each recording had when it was decided. Marks that
the API can filter by (stars, watched marks, a site's own tags) are asked for every five minutes.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from bot.errors import GiveUp, TryLater
from bot.polling.filter_checks import concerns_all
from bot.polling.list_reader import LEAST, ROW_CAP, deeper, of_days, reaches, read
from bot.polling.server_facts import TRACKER_TAGS
from bot.polling.session import days_to_ask, is_due, last_activity, marked_anew, marks, settled
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
    if is_due(read_at.get(ALL), SWEEP, now):
        return frozenset({ALL})
    return frozenset(it for it in questions if is_due(read_at.get(it), ASK, now))


async def marked(
    mouseflow: Mouseflow,
    store: Store,
    website: str,
    asked: Iterable[SessionFilters],
    since: datetime,
    settle: timedelta,
    now: datetime,
    own_tags: Set[str],
) -> list[tuple[Recording, frozenset[str]]]:
    """The decided recordings with activity since then whose marks have changed since, and which.

    A question that fails is left out; the next sweep answers it. Raises what concerns them all.
    """
    found: dict[str, tuple[Recording, frozenset[str]]] = {}

    async def sift(known: Mapping[str, str] | None, rows: Sequence[Recording]) -> list[Recording]:
        """Keep the rows whose marks differ from the known ones, which else the store tells."""
        ended = [row for row in rows if _has_ended(row, since, settle, now)]
        if known is None:
            ids = [row.id for row in ended]
            known = await store.read(partial(decided_marks, website=website, ids=ids))
        for row in ended:
            before = known.get(row.id)  # empty: not known
            if before and before != (after := marks(row, own_tags)):
                found[row.id] = row, marked_anew(before, after)
        return []

    async def ask(filters: SessionFilters, limit: int, known: Mapping[str, str] | None) -> None:
        listing = await read(mouseflow, website, filters, limit)
        await sift(known, listing.rows)
        del known
        while not listing.whole and not reaches(listing.rows, listing.order, since):
            before = listing = listing.without_rows()
            listing = await deeper(mouseflow, website, filters, before, partial(sift, None), since)
            if listing is before or listing.exhausted:
                return
            await sift(None, listing.rows)

    window = of_days(*days_to_ask(now, since))
    decided = partial(marks_decided_since, website=website, since=since)
    for each in asked:
        filters = replace(each, fromdate=window.fromdate, todate=window.todate)
        try:
            if each == ALL:
                # 10,000 rows take 20 MB. What they are compared with is read before, so that
                # nothing is waited for, and no other poll reads as many, while they are there.
                await ask(filters, ROW_CAP, await store.read(decided))
            else:
                await ask(filters, LEAST, None)
        except (GiveUp, TryLater) as error:
            if each == ALL or concerns_all(error):
                raise
    return list(found.values())


def _has_ended(row: Recording, since: datetime, settle: timedelta, now: datetime) -> bool:
    at = last_activity(row, now)
    return at is not None and at >= since and settled(row, now, settle)
