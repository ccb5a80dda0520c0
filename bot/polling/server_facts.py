"""Facts that only the server knows: friction, whether a visitor came back, tags of pages.

The API answers them by filters alone. Friction thresholds are asked in ascending order, each
once for all rules and recordings, and only while some recording may still reach it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, Literal, Protocol, TypeVar, assert_never

import msgspec

from bot.actions.tag import Tag
from bot.domain.subjects import Band, RecordingSubject
from bot.fields.field import TextKind
from bot.fields.normal import folded
from bot.fields.recordings import TAGS
from bot.polling.list_reader import Listing, deeper, narrowed, read
from bot.ports import Mouseflow
from bot.rules.evaluate import answer, field_of
from bot.rules.model import All, AnyOf, Condition, Journey, Leaf, Not, OneItem, Rule, Test, leaves
from bot.rules.value_tests import Answer, both
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

CALLS_A_TAG = 2
"""Calls that a query for a tag may take: its rows may be deeper than the first call reads."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Which recordings a filter returns. `unknown` are those that the server would not show.

    All others in question are known to be left out by the filter. `count` is how many
    recordings of the window the filter returns.
    """

    there: frozenset[str]
    unknown: frozenset[str] = frozenset()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What a filter told about recordings, by id.

    `counts` is how many recordings of the window each query returned, if that is known.
    """

    by_id: Mapping[str, T]
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FrictionQuestion:
    """A recording whose friction matters: what is known of it, and the thresholds to ask."""

    row: Recording
    band: Band
    thresholds: frozenset[float]

    def open_at(self, threshold: float) -> bool:
        """Whether it is unknown if the recording reaches the threshold, and useful to ask."""
        return self.band.low < threshold < self.band.high and threshold <= max(self.thresholds)

    def answered(self, threshold: float, reached: bool) -> "FrictionQuestion":
        """The same with the answer for that threshold."""
        band = Band(threshold, self.band.high) if reached else Band(self.band.low, threshold)
        return replace(self, band=band)


class ServerFacts(Protocol):
    """Answers what only the server knows about recordings of one website."""

    async def friction(self, questions: Sequence[FrictionQuestion]) -> Told[Band]:
        """The friction of each recording, by id, as far as its thresholds ask."""
        ...

    async def visitor_types(
        self, subjects: Sequence[RecordingSubject], depth: int
    ) -> Told[VisitorType]:
        """Whether each visitor came back, by recording id. Unknown ones are left out.

        `depth` is how deep in the whole list the recordings are, 0 if that is unknown.
        """
        ...

    async def with_tag(self, tag: str, rows: Sequence[Recording]) -> Membership:
        """Which of the rows the tag filter returns."""
        ...

    def calls_for_tag(self, tag: str) -> int:
        """How many calls `with_tag` may take."""
        ...


@dataclass(frozen=True, slots=True)
class PollFacts:
    """Asks about the recordings of the window that a poll reads."""

    mouseflow: Mouseflow
    website: str
    window: SessionFilters

    async def friction(self, questions: Sequence[FrictionQuestion]) -> Told[Band]:
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
        return Told({key: each.band for key, each in found.items()}, tuple(counts))

    async def visitor_types(
        self, subjects: Sequence[RecordingSubject], depth: int = 0
    ) -> Told[VisitorType]:
        """Ask once; about half of the visitors above the recordings may have come back, too."""
        if not subjects:
            return Told({})
        rows = [subject.recording for subject in subjects]
        found = await self._members(narrowed(self.window, visitor="returning"), rows, depth // 2)
        types: dict[str, VisitorType] = {
            row.id: "returning" if row.id in found.there else "first"
            for row in rows
            if row.id not in found.unknown
        }
        return Told(types, (found.count,))

    async def with_tag(self, tag: str, rows: Sequence[Recording]) -> Membership:
        """Ask once for all rows."""
        return await self._members(replace(self.window, tags=(tag,)), rows)

    def calls_for_tag(self, tag: str) -> int:
        """Two at most: the rows may be deeper than the first call reads."""
        return CALLS_A_TAG

    async def _members(
        self, filters: SessionFilters, rows: Collection[Recording], depth: int = 0
    ) -> Membership:
        return await members(self.mouseflow, self.website, filters, rows, depth)


async def friction_is_ignored(mouseflow: Mouseflow, website: str, window: SessionFilters) -> bool:
    """Whether the server counts recordings of an impossible friction, so ignores the filter."""
    filters = narrowed(window, friction=IMPOSSIBLE_FRICTION)
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
    return Membership(frozenset(row.id for row in listing.rows), undecided, listing.count)


def _undecided(listing: Listing, rows: Collection[Recording]) -> frozenset[str]:
    seen = {row.id for row in listing.rows}
    return frozenset(row.id for row in rows if row.id not in seen and not listing.covers(row))


ASK_AGAIN = timedelta(hours=1)
"""How soon to try again whether the tag filter covers pages."""

TRACKER_TAGS = frozenset({
    "404", "bounce", "click-error", "click-rage", "dead-click", "form-interact", "mobility",
    "mouse-out", "shared", "speed-browsing", "submit", "submit-failure",
})  # fmt: skip
"""Tags that Mouseflow itself sets, whose spelling is known."""


@dataclass(frozen=True, slots=True)
class TagFilter:
    """Whether the server's tag filter covers the tags of pages, as far as that is known.

    Rules ignore case and the server may not: a tag of the site's own is used as a filter only
    after the server has counted it in the rule's spelling. `asked` has when what was tried.
    `witness` is a recording with a page tag that its row lacks.
    """

    covers_pages: bool = False
    spelled: frozenset[str] = TRACKER_TAGS
    asked: Mapping[str, datetime] = field(default_factory=dict)
    witness: tuple[Recording, str] | None = None

    def learn(self, row: Recording, detail: Recording) -> "TagFilter":
        """The same with a witness, if this recording has a page tag that its row lacks."""
        if self.witness is not None or self.covers_pages:
            return self
        tags = {tag for view in detail.page_views or () for tag in view.tags}
        hidden = sorted(tags - set(row.tags) - set(detail.tags))
        if not hidden or set(hidden[0]) & set(",*"):
            return self
        return replace(self, witness=(row, hidden[0]))

    def trusted(self, tag: str) -> bool:
        """Whether a recording that the filter leaves out has the tag on none of its pages."""
        return self.covers_pages and tag in self.spelled

    def may_ask(self, tag: str, now: datetime) -> bool:
        """Whether the last try is long enough ago."""
        asked = self.asked.get(tag)
        return asked is None or now - asked >= ASK_AGAIN

    def failed(self, tag: str, now: datetime) -> "TagFilter":
        """The same after a query for the tag failed: do without the filter for a while."""
        known = replace(self, covers_pages=False, witness=None)
        return known.asking("", now).asking(tag, now)

    def asking(self, tag: str, now: datetime) -> "TagFilter":
        """The same, tried now."""
        return replace(self, asked={**self.asked, tag: now})


async def probe_tag_filter(
    known: TagFilter,
    mouseflow: Mouseflow,
    website: str,
    window: SessionFilters,
    tag: str,
    now: datetime,
) -> TagFilter:
    """Find out whether the filter can be trusted for the tag, if a try is due."""
    if not known.covers_pages and known.witness is not None and known.may_ask("", now):
        row, hidden = known.witness
        there = await members(mouseflow, website, replace(window, tags=(hidden,)), [row])
        other = replace(window, tags=(_like(hidden, row),))
        nobody = await members(mouseflow, website, other, [row])
        covers = row.id in there.there and row.id not in nobody.there | nobody.unknown
        known = replace(known.asking("", now), covers_pages=covers, witness=None)
    if tag not in known.spelled and known.may_ask(tag, now):
        found = await read(mouseflow, website, replace(window, tags=(tag,)), 1)
        known = known.asking(tag, now)
        if found.count:
            known = replace(known, spelled=known.spelled | {tag})
    return known


def _like(tag: str, row: Recording) -> str:
    """A tag that the recording lacks and that begins like one it has: a filter that returns the
    recording ignores what is asked, or compares beginnings."""
    return next((cut for n in range(len(tag) - 1, 0, -1) if (cut := tag[:n]) not in row.tags), "-")


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
    tags = tuple(tag for tag in recording.tags if folded(tag) not in ignored)
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


def askable_tags(rule: Rule) -> frozenset[str]:
    """Tags that the filter can tell, and on which the rule's outcome depends."""
    return frozenset(
        taken
        for leaf in leaves(rule.condition)
        for test in _tag_tests(leaf)
        for tag in test.operator.spelled
        if (taken := TAGS.served.take(tag)) is not None
    )


def leaf_told(leaf: Leaf, subject: RecordingSubject, told: Mapping[str, bool]) -> Answer:
    """The leaf's answer if the tag filter has told which tags the recording has.

    A tag is on the session or on one of its pages, so it says of a single page only what it lacks.
    """
    known = answer(leaf, subject)
    if known is not None:
        return known
    there = {folded(tag) for tag in subject.recording.tags}

    def has(tag: str) -> Answer:
        return True if folded(tag) in there else told.get(tag)

    tests = tuple(_tag_tests(leaf))
    said = [test.operator.by_values(has) for test in tests]
    if isinstance(leaf, Test):
        return both(said) if tests else None
    lacking = zip(tests, said, strict=True)
    needed = (it is False and test.operator.needs_data(TAGS) for test, it in lacking)
    return False if any(needed) else None


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
    return tuple(dict(test.operator.filters(TAGS)).get(TAGS.served.name, ()))
