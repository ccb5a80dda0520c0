"""Page views of many recordings in one call, if the server is known to return them.

`expand=true` adds its page views to each row of the list. It is undocumented, so the bot uses it
only after expanded rows have agreed with details that it needed anyway. While it uses them, it
compares one with its detail every hour, and believes no row that contradicts itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.errors import GiveUp, TryLater
from bot.fields.normal import path
from bot.polling.list_reader import MOST_EXPANDED, page_views, read
from bot.polling.server_facts import SPARE
from bot.polling.session import aware
from bot.ports import Mouseflow
from mouseflow.filters import SessionFilters
from mouseflow.models import PageView, Recording

TRUST = timedelta(days=1)
"""How long one successful comparison with details counts."""

SPOT_CHECK = timedelta(hours=1)
"""How often one row that is used is compared with its detail."""

CLOCKS = timedelta(minutes=2)
"""By how much page views may begin before their session, or after its last activity."""

TRY_AGAIN = timedelta(hours=1)
"""How soon to compare again after a failed or impossible comparison."""

BUSY = timedelta(hours=1)
"""How long to expand the list itself after a poll that needed several details."""

SEVERAL = 2
"""An expanded list is worth its bytes if it replaces this many details."""

ROWS_A_CALL = 100
"""Read up to this many rows with page views to save one call."""


class Expansion(Struct, frozen=True):
    """What is known of a server's expanded rows. Losing it costs a few calls, no match.

    `agreed` is when rows last agreed with details, `checked` when that was last tested.
    `wrong_since` is set when trusted rows turn out to be wrong: the time since which recordings
    may have been decided by them.
    """

    trusted_until: datetime | None = None
    tried: datetime | None = None
    busy_until: datetime | None = None
    misplaced: datetime | None = None
    agreed: datetime | None = None
    checked: datetime | None = None
    wrong_since: datetime | None = None

    def check_is_due(self, now: datetime) -> bool:
        """Whether to compare a row that is used with its detail."""
        return self.trusted(now) and (self.checked is None or now - self.checked >= SPOT_CHECK)

    def trusted(self, now: datetime) -> bool:
        """Whether expanded rows may replace details."""
        return self.trusted_until is not None and now < self.trusted_until

    def of_lists(self, now: datetime) -> bool:
        """Whether to ask for page views with the list itself."""
        return self.trusted(now) and self.busy_until is not None and now < self.busy_until

    def needed(self, recordings: int, now: datetime) -> "Expansion":
        """What is known after a poll that needed the page views of so many recordings."""
        return replace(self, busy_until=now + BUSY) if recordings >= SEVERAL else self

    def may_try(self, now: datetime) -> bool:
        """Whether it is time to compare expanded rows with details."""
        untried = self.tried is None or now - self.tried >= TRY_AGAIN
        return untried and not self.trusted(now)

    def compared(
        self,
        rows: Iterable[Recording],
        details: Mapping[str, Recording],
        tags_matter: bool,
        now: datetime,
    ) -> "Expansion":
        """What is known after a comparison: trusted if the rows have all that the details had.

        A comparison that proves nothing (page views without tags where tags matter) makes no
        trust.
        """
        pairs = [(row, _ended(details[row.id], row)) for row in rows if row.id in details]
        if not pairs:
            return replace(self, tried=now)  # no row had page views
        agree = all((row.page_views or ())[: len(views)] == views for row, views in pairs)
        if not agree:
            wrong = self.agreed if self.trusted(now) else self.wrong_since
            return replace(self.contradicted(now), wrong_since=wrong)
        if not _show([view for _row, views in pairs for view in views], tags_matter):
            return replace(self, checked=now)
        return replace(
            self, tried=now, trusted_until=now + TRUST, agreed=now, checked=now, wrong_since=None
        )

    def contradicted(self, now: datetime) -> "Expansion":
        """No longer trusted, because an answer contradicts itself or a detail."""
        return replace(self, trusted_until=None, tried=now)

    def missed(self) -> "Expansion":
        """No longer trusted, because the server left out page views that it used to return."""
        return replace(self, trusted_until=None)

    def lost(self, now: datetime) -> "Expansion":
        """Do without offsets for a while: one led to other rows than expected."""
        return replace(self, misplaced=now)

    def anywhere(self, now: datetime) -> bool:
        """Whether to ask for parts of the list that do not begin at its top."""
        return self.misplaced is None or now - self.misplaced >= TRY_AGAIN

    def refused(self, now: datetime) -> "Expansion":
        """No longer trusted, because the server rejected a request for a list with page views."""
        return replace(self, trusted_until=None, tried=now)


class Stretch(Struct, frozen=True):
    """A part of a list, from its first to its last row, that holds these recordings."""

    first: int
    last: int
    keys: frozenset[str]


def telling(details: Iterable[Recording], tags_matter: bool) -> bool:
    """Whether these details hold something that expanded rows could lack."""
    return _show([view for detail in details for view in detail.page_views or ()], tags_matter)


def stretches(places: Mapping[str, int], deepest: int, *, anywhere: bool) -> list[Stretch]:
    """Parts of the list that are worth one call each instead of the details in them.

    `places` tells where the recordings are, counted from 1. Each part holds at least two of
    them and reads at most `ROWS_A_CALL` rows for each detail it replaces, `deepest` in all.
    Unless `anywhere` is possible, it begins with the first row of the list.
    """
    found = []
    order = sorted(places, key=places.__getitem__)
    while order:
        first = places[order[0]] if anywhere else 1
        best = 0
        for count, key in enumerate(order, 1):
            rows = places[key] - first + 1
            if rows > deepest:
                break
            if count >= SEVERAL and rows <= ROWS_A_CALL * count:
                best = count
        if best:
            found.append(Stretch(first, places[order[best - 1]], frozenset(order[:best])))
        if not anywhere:
            break
        order = order[best or 1 :]
    return found


def contradicts(rows: Iterable[Recording]) -> bool:
    """Whether the page views of some row can't be its own."""
    seen: set[object] = set()
    for row in rows:
        views = row.page_views or ()
        own = [view.id or (view.start_time, view.uri) for view in views]
        ids = {view.id for view in views if view.id}
        if len(set(own)) < len(own) or not seen.isdisjoint(ids):
            return True
        seen |= ids
        if views and (len(views) != (row.pages or len(views)) or _elsewhere(row, views)):
            return True
    return False


def _elsewhere(row: Recording, views: Sequence[PageView]) -> bool:
    """Whether the views begin with another page, or at other times, than the session."""
    first = {path(it) for it in (views[0].website_page, views[0].uri) if it}
    if row.entry_page and first and path(row.entry_page) not in first:
        return True
    starts = [aware(view.start_time) for view in views if view.start_time]
    begins, ends = row.created, row.last_activity
    return any(
        (begins is not None and at < aware(begins) - CLOCKS)
        or (ends is not None and at > aware(ends) + CLOCKS)
        for at in starts
    )


def without_untagged(rows: Iterable[Recording], own_tags: Set[str]) -> Iterator[Recording]:
    """The rows, without the page views of tagged sessions whose pages have no tag at all.

    The session alone may have the tags, or the page views lack theirs: a detail tells.
    """
    for row in rows:
        views = row.page_views
        bare = views is not None and not any(view.tags for view in views)
        odd = bare and set(row.tags) - own_tags
        yield msgspec.structs.replace(row, page_views=None) if odd else row


def _ended(detail: Recording, row: Recording) -> tuple[PageView, ...]:
    """The detail's page views that can't have changed before the row was read."""
    views = detail.page_views or ()
    return views if row.last_activity == detail.last_activity else views[:-1]


def _show(views: Sequence[PageView], tags_matter: bool) -> bool:
    return any(view.tags for view in views) if tags_matter else bool(views)


MOST_AT_ONCE = 300
"""Rows of one call where offsets work: memory stays flat."""


class ExpandedLists(Struct, frozen=True, kw_only=True):
    """A website's list of one window, read with page views.

    `places` tells where recordings are in it, counted from 1; those left out can't be asked
    for. `anywhere`: the server may honour offsets. `tags_matter`: some rule reads tags.
    `own_tags` are those that the bot itself sets on sessions.
    """

    mouseflow: Mouseflow
    website: str
    window: SessionFilters
    places: Mapping[str, int]
    anywhere: bool
    tags_matter: bool
    now: datetime
    own_tags: Set[str] = frozenset()

    async def page_views(
        self, keys: Iterable[str], known: Expansion
    ) -> tuple[dict[str, Recording], Expansion]:
        """Rows with page views for as many of these recordings as are worth it, by id."""
        found: dict[str, Recording] = {}
        for stretch in self._stretches(keys):
            if not known.trusted(self.now):
                break
            rows, known = await self._read(stretch, known)
            found |= rows
        return found, known

    async def compare(self, details: Mapping[str, Recording], known: Expansion) -> Expansion:
        """Compare expanded rows with details that were just fetched.

        Makes a call only when a comparison is due and these details can prove something.
        """
        if known.may_try(self.now) and telling(details.values(), self.tags_matter):
            for stretch in self._stretches(details)[:1]:
                rows, known = await self._read(stretch, known)
                known = known.compared(rows.values(), details, self.tags_matter, self.now)
        return known

    def _stretches(self, keys: Iterable[str]) -> list[Stretch]:
        places = {key: self.places[key] for key in keys if key in self.places}
        deepest = MOST_AT_ONCE if self.anywhere else MOST_EXPANDED - SPARE
        return stretches(places, deepest, anywhere=self.anywhere)

    async def _read(
        self, stretch: Stretch, known: Expansion
    ) -> tuple[dict[str, Recording], Expansion]:
        """The rows that have page views. New recordings may have moved them down meanwhile."""
        skipped = max(0, stretch.first - 1 - SPARE)
        try:
            rows = await page_views(
                self.mouseflow,
                self.website,
                self.window,
                limit=stretch.last - skipped + SPARE,
                offset=skipped,
                only=stretch.keys,
            )
        except (GiveUp, TryLater):
            # If the API is down, this raises too; otherwise fall back to details.
            await read(self.mouseflow, self.website, self.window, 1)
            return {}, known.refused(self.now)
        whole = [row for row in rows if row.page_views is not None]
        if rows and not whole:
            known = known.missed()
        if contradicts(whole):
            return {}, known.contradicted(self.now)
        if self.tags_matter:
            whole = list(without_untagged(whole, self.own_tags))
        found = {row.id: row for row in whole if row.page_views is not None}
        if skipped and not rows:
            known = known.lost(self.now)
        return found, known
