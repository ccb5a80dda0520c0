"""Facts that only the server knows: friction, whether a visitor came back, tags of pages.

The API answers them by filters alone. Friction thresholds are asked in ascending order, each
once for all rules and recordings, and only while some recording may still reach it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar, assert_never

import msgspec
from msgspec import Struct

from bot.actions.tag import Tag
from bot.domain.subjects import Band, RecordingSubject
from bot.fields.field import TextKind
from bot.fields.normal import folded
from bot.polling.list_reader import Listing, deeper, narrowed, read
from bot.polling.session import aware
from bot.ports import Mouseflow
from bot.rules.evaluate import field_of
from bot.rules.model import Journey, Leaf, OneItem, Rule, Test, leaves
from bot.store import Connection
from bot.store.recordings import set_watermark, watermark
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording

VisitorType = Literal["first", "returning"]

T = TypeVar("T")

IMPOSSIBLE_FRICTION = 1_000_000_000.0
"""No session reaches this friction: a server that counts one ignores the filter."""

SPARE = 10
"""Rows to ask for beyond those in question."""


class Membership(Struct, frozen=True):
    """Which recordings a filter returns. `unknown` are those that the server would not show.

    All others in question are known to be left out by the filter. `count` is how many
    recordings of the window the filter returns, `depth` how many of them are as new as those in
    question.
    """

    there: frozenset[str]
    unknown: frozenset[str] = frozenset()
    count: int = 0
    depth: int = 0


class ListFilterName(StrEnum):
    """The filters that answer what else only details tell: tags, and pages seen (L4306)."""

    TAGS = "tags"
    PAGES = "funnel"


class Question(NamedTuple):
    """What the API can filter a list by: a tag, or a page that was seen."""

    name: ListFilterName
    value: str

    def of(self, window: SessionFilters) -> SessionFilters:
        """The window, narrowed to the recordings of which the answer is yes."""
        match self.name:
            case ListFilterName.TAGS:
                return replace(window, tags=(self.value,))
            case ListFilterName.PAGES:
                return replace(window, funnel=self.value)
            case _:
                assert_never(self.name)


@dataclass(frozen=True, slots=True)
class FilterAnswer(Generic[T]):
    """What a filter told about recordings, by id.

    `counts` is how many recordings of the window each query returned, if that is known.
    """

    by_id: Mapping[str, T]
    counts: tuple[int, ...] = ()


class FrictionQuestion(Struct, frozen=True):
    """A recording whose friction matters: what is known of it, and the thresholds to ask."""

    row: Recording
    band: Band
    thresholds: frozenset[float]

    def open_at(self, threshold: float) -> bool:
        """Whether it is unknown if the recording reaches the threshold, and useful to ask."""
        return self.band.low < threshold < self.band.high and threshold <= max(self.thresholds)

    def answered(self, threshold: float, reached: bool) -> "FrictionQuestion":
        """The question, narrowed by whether friction reached the threshold."""
        band = Band(threshold, self.band.high) if reached else Band(self.band.low, threshold)
        return msgspec.structs.replace(self, band=band)


class ServerFacts(Protocol):
    """Answers what only the server knows about recordings of one website."""

    async def friction(self, questions: Sequence[FrictionQuestion]) -> FilterAnswer[Band]:
        """The friction of each recording, by id, as far as its thresholds ask."""
        ...

    async def visitor_types(
        self, subjects: Sequence[RecordingSubject], depth: int
    ) -> FilterAnswer[VisitorType]:
        """Whether each visitor came back, by recording id. Unknown ones are left out.

        `depth` is how deep in the whole list the recordings are, 0 if that is unknown.
        """
        ...

    async def searches(
        self, subjects: Sequence[RecordingSubject], texts: Sequence[str]
    ) -> FilterAnswer[tuple[str, ...]]:
        """By which of the texts the API finds each recording. Unknown ones are left out."""
        ...

    async def answers(
        self, question: Question, rows: Sequence[Recording], depth: int
    ) -> Membership:
        """Which of the rows the filter returns. `depth`: how many rows that took before."""
        ...

    def calls_for(self, question: Question) -> int:
        """How many calls `answers` may take."""
        ...


class PollFacts(Struct, frozen=True):
    """Asks about the recordings of the window that a poll reads."""

    mouseflow: Mouseflow
    website: str
    window: SessionFilters

    async def friction(self, questions: Sequence[FrictionQuestion]) -> FilterAnswer[Band]:
        """Ask each threshold at most once."""
        counts = []
        found = {each.row.id: each for each in questions if each.thresholds}
        for threshold in sorted({it for each in found.values() for it in each.thresholds}):
            asking = {key: each for key, each in found.items() if each.open_at(threshold)}
            if not any(threshold in each.thresholds for each in asking.values()):
                continue
            rows = [each.row for each in asking.values()]
            reached = await self._members(narrowed(self.window, friction=threshold), rows)
            counts.append(reached.count)
            for key, each in asking.items():
                if key not in reached.unknown:
                    found[key] = each.answered(threshold, key in reached.there)
        return FilterAnswer({key: each.band for key, each in found.items()}, tuple(counts))

    async def visitor_types(
        self, subjects: Sequence[RecordingSubject], depth: int = 0
    ) -> FilterAnswer[VisitorType]:
        """Ask once; about half of the visitors above the recordings may have come back, too."""
        if not subjects:
            return FilterAnswer({})
        rows = [subject.recording for subject in subjects]
        found = await self._members(narrowed(self.window, visitor="returning"), rows, depth // 2)
        types: dict[str, VisitorType] = {
            row.id: "returning" if row.id in found.there else "first"
            for row in rows
            if row.id not in found.unknown
        }
        return FilterAnswer(types, (found.count,))

    async def searches(
        self, subjects: Sequence[RecordingSubject], texts: Sequence[str]
    ) -> FilterAnswer[tuple[str, ...]]:
        """Ask each text once."""
        rows = [subject.recording for subject in subjects]
        found = {
            text: await self._members(narrowed(self.window, search=text), rows) for text in texts
        }
        return found_by(found, {row.id for row in rows})

    async def answers(
        self, question: Question, rows: Sequence[Recording], depth: int
    ) -> Membership:
        """Ask once for all rows, a quarter deeper than before."""
        return await self._members(question.of(self.window), rows, depth + depth // 4)

    def calls_for(self, question: Question) -> int:
        """One as a rule: the rows are rarely deeper than the first call reads."""
        return 1

    async def _members(
        self, filters: SessionFilters, rows: Collection[Recording], depth: int = 0
    ) -> Membership:
        return await members(self.mouseflow, self.website, filters, rows, depth)


def found_by(
    found: Mapping[str, Membership], ids: Collection[str]
) -> FilterAnswer[tuple[str, ...]]:
    """By which of the texts each recording is found; those of which some answer is unknown are
    left out."""
    told = {
        key: tuple(text for text, it in found.items() if key in it.there)
        for key in ids
        if not any(key in it.unknown for it in found.values())
    }
    return FilterAnswer(told, tuple(it.count for it in found.values()))


IMPOSSIBLE = "mouseflow-bot finds nobody"
"""No session has this text: a server that finds one ignores the filter."""


async def search_is_ignored(mouseflow: Mouseflow, website: str, window: SessionFilters) -> bool:
    """Whether the server finds recordings by a text that none has, so ignores the filter."""
    return await _finds_some(mouseflow, website, narrowed(window, search=IMPOSSIBLE))


async def friction_is_ignored(mouseflow: Mouseflow, website: str, window: SessionFilters) -> bool:
    """Whether the server counts recordings of an impossible friction, so ignores the filter."""
    return await _finds_some(mouseflow, website, narrowed(window, friction=IMPOSSIBLE_FRICTION))


async def _finds_some(mouseflow: Mouseflow, website: str, filters: SessionFilters) -> bool:
    return (await read(mouseflow, website, filters, limit=1)).count > 0


async def members(
    mouseflow: Mouseflow,
    website: str,
    filters: SessionFilters,
    rows: Collection[Recording],
    depth: int = 0,
) -> Membership:
    """Which of the rows the filter returns; reads until each one is decided.

    Most newer recordings are among these rows, so hardly more rows are asked for, or `depth`
    of them if that is more.
    """
    wanted = frozenset(row.id for row in rows)

    async def sift(some: Sequence[Recording]) -> list[Recording]:
        return [row for row in some if row.id in wanted]

    limit = max(len(rows), depth) + SPARE
    listing = await read(mouseflow, website, filters, limit, brief=True)
    while undecided := _undecided(listing, rows):
        further = await deeper(mouseflow, website, filters, listing, sift)
        if further is listing:
            break
        listing = further
    there = frozenset(row.id for row in listing.rows)
    return Membership(there, undecided, listing.count, _as_new(listing, rows))


def _as_new(listing: Listing, rows: Collection[Recording]) -> int:
    oldest = min((aware(row.last_activity) for row in rows if row.last_activity), default=None)
    return sum(
        oldest is not None and row.last_activity is not None and aware(row.last_activity) >= oldest
        for row in listing.rows
    )


def _undecided(listing: Listing, rows: Collection[Recording]) -> frozenset[str]:
    seen = {row.id for row in listing.rows}
    return frozenset(row.id for row in rows if row.id not in seen and not listing.covers(row))


TRACKER_TAGS = frozenset({
    "404", "bounce", "click-error", "click-rage", "dead-click", "form-interact", "mobility",
    "mouse-out", "shared", "speed-browsing", "submit", "submit-failure",
})  # fmt: skip
"""Tags that Mouseflow itself sets, whose spelling is known."""


def own_tags(rules: Iterable[Rule]) -> frozenset[str]:
    """The tags that these rules put on recordings, in normal form."""
    return frozenset(
        folded(action.tag) for rule in rules for action in rule.do if isinstance(action, Tag)
    )


OWN_TAGS = "own tags"
"""The source under which the store keeps the tags that rules set, for no website."""

REMEMBERED = timedelta(days=30)
"""How long the tags of a rule that is gone are still the bot's own."""


def earlier_tags(conn: Connection) -> frozenset[str]:
    """The tags that rules set or have set, in normal form."""
    return frozenset(_remembered(conn))


def remember_tags(conn: Connection, rules: Iterable[Rule], now: datetime) -> None:
    """Keep the tags that these rules set, beside those of rules that are gone."""
    known = _remembered(conn)
    gone = {tag: since or now for tag, since in known.items()}
    kept: dict[str, datetime | None] = {
        tag: since for tag, since in gone.items() if now - since < REMEMBERED
    }
    kept |= dict.fromkeys(own_tags(rules))
    if kept != known:
        set_watermark(conn, OWN_TAGS, "", msgspec.json.encode(kept).decode(), now)


def _remembered(conn: Connection) -> dict[str, datetime | None]:
    """Each tag with the time since when no rule sets it any more, None if one does."""
    text = watermark(conn, OWN_TAGS, "")
    return msgspec.json.decode(text, type=dict[str, datetime | None]) if text else {}


def named_tags(rules: Iterable[Rule]) -> frozenset[str]:
    """The tags that conditions of these rules spell out, in normal form; globs name none."""
    return frozenset(folded(tag) for rule in rules for tag in _spelled(rule))


def without_tags(recording: Recording, ignored: frozenset[str]) -> Recording:
    """The recording without these tags."""
    if not ignored or ignored.isdisjoint(map(folded, recording.tags)):
        return recording
    tags = tuple(tag for tag in recording.tags if folded(tag) not in ignored)
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
