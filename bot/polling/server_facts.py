"""Asks what only the server can judge: friction bands and whether a visitor came back.

Friction thresholds are asked in ascending order, each once for all rules and recordings, and
only while some recording that may still reach it needs it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, assert_never

import msgspec

from bot.actions.tag import Tag
from bot.domain.subjects import Band
from bot.fields.catalogue import field as field_named
from bot.fields.field import TextKind
from bot.polling.list_reader import Listing, deeper, narrowed, read
from bot.ports import Mouseflow
from bot.rules.evaluate import field_of
from bot.rules.model import All, AnyOf, Condition, Journey, Leaf, Not, OneItem, Rule, Test, leaves
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording

VisitorType = Literal["first", "returning"]

IMPOSSIBLE_FRICTION = 1_000_000_000.0
"""No session is that frustrated: a server that counts one ignores the filter."""

SPARE = 10
"""Rows to ask for beyond those in question."""


@dataclass(frozen=True, slots=True)
class Wanting:
    """A recording whose friction is in question: what is known, and the thresholds that matter."""

    row: Recording
    band: Band
    thresholds: frozenset[float]

    def open_at(self, threshold: float) -> bool:
        """Is it unknown whether the recording reaches it, and of use to ask?"""
        return self.band.low < threshold < self.band.high and threshold <= max(self.thresholds)

    def told(self, threshold: float, reached: bool) -> "Wanting":
        """The same with the answer."""
        band = Band(threshold, self.band.high) if reached else Band(self.band.low, threshold)
        return replace(self, band=band)


async def friction_bands(
    mouseflow: Mouseflow, website: str, window: SessionFilters, wanting: Iterable[Wanting]
) -> dict[str, Band]:
    """The band of each recording's friction, by its id, as narrow as its thresholds want it."""
    found = {each.row.id: each for each in wanting if each.thresholds}
    for threshold in sorted({it for each in found.values() for it in each.thresholds}):
        asking = {key: each for key, each in found.items() if each.open_at(threshold)}
        if not any(threshold in each.thresholds for each in asking.values()):
            continue
        filters = narrowed(window, friction=threshold)
        rows = [each.row for each in asking.values()]
        reached = await members(mouseflow, website, filters, rows)
        for key, each in asking.items():
            found[key] = each.told(threshold, key in reached)
    return {key: each.band for key, each in found.items()}


async def visitor_types(
    mouseflow: Mouseflow,
    website: str,
    window: SessionFilters,
    rows: Collection[Recording],
    depth: int = 0,
) -> dict[str, VisitorType]:
    """Whether each row's visitor came back, by recording id.

    `depth` is how deep in the whole list the rows stand, where that is known: about half of
    what stands above them may have come back, too.
    """
    if not rows:
        return {}
    filters = narrowed(window, returning=True)
    found = await members(mouseflow, website, filters, rows, depth // 2)
    return {row.id: "returning" if row.id in found else "first" for row in rows}


async def friction_is_ignored(mouseflow: Mouseflow, website: str, window: SessionFilters) -> bool:
    """Does the server count recordings of an impossible friction?

    Then it ignores the filter, and every recording would seem frustrated.
    """
    filters = narrowed(window, friction=IMPOSSIBLE_FRICTION)
    return (await read(mouseflow, website, filters, limit=1)).count > 0


async def members(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    rows: Collection[Recording],
    depth: int = 0,
) -> frozenset[str]:
    """Which of the rows the filter lets through; reads until each one is decided.

    What is newer than these rows is mostly among them, so hardly more rows are asked for,
    or `depth` of them if that is more.
    """
    wanted = frozenset(row.id for row in rows)

    async def sift(some: Sequence[Recording]) -> list[Recording]:
        return [row for row in some if row.id in wanted]

    limit = max(len(rows), depth) + SPARE
    listing = await read(mouseflow, website, filters, limit, brief=True)
    while not _decided(listing, rows):
        further = await deeper(mouseflow, website, filters, listing, sift)
        if further is listing:
            break
        listing = further
    return frozenset(row.id for row in listing.rows)


def _decided(listing: Listing, rows: Collection[Recording]) -> bool:
    seen = {row.id for row in listing.rows}
    return all(row.id in seen or listing.covers(row) for row in rows)


IMPOSSIBLE_TAG = "mouseflow-bot-no-such-tag"
ASK_AGAIN = timedelta(hours=1)
"""How soon a filter that has not been seen to cover pages is tried again."""

TRACKER_TAGS = frozenset({
    "404", "bounce", "click-error", "click-rage", "dead-click", "form-interact", "mobility",
    "mouse-out", "shared", "speed-browsing", "submit", "submit-failure",
})  # fmt: skip
"""Tags that Mouseflow itself sets, whose spelling is known."""


@dataclass(slots=True)
class TagFilter:
    """Whether the server's tag filter covers the tags of pages, as far as it has been seen.

    Rules compare without regard to case and the server may not: a tag of the site's own is
    asked for only once the server has counted it as it is written in the rule.
    """

    covers_pages: bool = False
    spelled: set[str] = field(default_factory=lambda: set(TRACKER_TAGS))
    asked: dict[str, datetime] = field(default_factory=dict)
    witness: tuple[Recording, str] | None = None

    def learn(self, row: Recording, detail: Recording) -> None:
        """A recording with a tag on a page that its row lacks can show what the filter covers."""
        if self.witness is None and not self.covers_pages:
            tags = {tag for view in detail.page_views or () for tag in view.tags}
            hidden = sorted(tags - set(row.tags) - set(detail.tags))
            if hidden and not set(hidden[0]) & set(",*"):
                self.witness = row, hidden[0]

    async def trusted(
        self, mouseflow: Mouseflow, website: str, window: SessionFilters, tag: str, now: datetime
    ) -> bool:
        """May a recording that the filter leaves out be taken to lack the tag everywhere?"""
        if not self.covers_pages and self.witness is not None and self._may_ask("", now):
            row, hidden = self.witness
            self.witness = None
            there = await members(mouseflow, website, replace(window, tags=(hidden,)), [row])
            nobody = await members(
                mouseflow, website, replace(window, tags=(IMPOSSIBLE_TAG,)), [row]
            )
            self.covers_pages = row.id in there and row.id not in nobody
        if tag not in self.spelled and self._may_ask(tag, now):
            found = await read(mouseflow, website, replace(window, tags=(tag,)), 1)
            if found.count:
                self.spelled.add(tag)
        return self.covers_pages and tag in self.spelled

    def _may_ask(self, tag: str, now: datetime) -> bool:
        asked = self.asked.get(tag)
        if asked is not None and now - asked < ASK_AGAIN:
            return False
        self.asked[tag] = now
        return True


def own_tags(rules: Iterable[Rule]) -> frozenset[str]:
    """The tags that these rules put on recordings, in lower case."""
    return frozenset(
        action.tag.casefold() for rule in rules for action in rule.do if isinstance(action, Tag)
    )


def named_tags(rules: Iterable[Rule]) -> frozenset[str]:
    """The tags that conditions of these rules spell out, in lower case; globs name none."""
    return frozenset(tag.casefold() for rule in rules for tag in _spelled(rule))


def without(recording: Recording, unheeded: frozenset[str]) -> Recording:
    """The recording as if nobody had put these tags on it."""
    tags = tuple(tag for tag in recording.tags if tag.casefold() not in unheeded)
    if len(tags) == len(recording.tags):
        return recording
    return msgspec.structs.replace(recording, tags=tags)


def _spelled(rule: Rule) -> Iterator[str]:
    for leaf in leaves(rule.condition):
        for test in _tag_tests(leaf):
            yield from test.operator.spelled


def _tag_tests(leaf: Leaf) -> Iterator[Test]:
    """The tests of tags: of the session, or of one of its pages."""
    about = field_of(leaf, "recordings")
    match leaf:
        case Test():
            yield from (leaf,) if about.text is TextKind.TAG else ()
        case OneItem(_, tests):
            yield from (it for it in tests if about.part(it.field).text is TextKind.TAG)
        case Journey():
            pass
        case _:
            assert_never(leaf)


def required_tags(rule: Rule) -> frozenset[str]:
    """Tags without which the rule can't match: on the session or on one of its pages."""
    return frozenset(_required(rule.condition, True))


def _required(condition: Condition, wanted: bool) -> Iterator[str]:
    match condition:
        case Not(part):
            yield from _required(part, not wanted)
        case All(parts) if wanted:
            for part in parts:
                yield from _required(part, wanted)
        case AnyOf(parts) if not wanted:
            for part in parts:
                yield from _required(part, wanted)
        case OneItem() | Test() if wanted:
            for test in _tag_tests(condition):
                yield from _named(test)


def _named(test: Test) -> Iterable[str]:
    """The tags that a recording must have to meet the test."""
    filters = dict(test.operator.filters(field_named("recordings", "tags")))
    return tuple(filters.get("tags", ()))
