"""Asks by tag, so that a recording's detail is fetched only where the tag may be on a page.

A row names the session's tags, not those of its pages (API document, L929-944 against
L963-966). The `tags` filter may cover both, but the document does not say so (L4372). It is
used only where it has been seen to: it let a recording through that has the tag on a page
alone, and an impossible tag kept the same recording out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec

from bot.actions.tag import Tag
from bot.mouseflow.filters import SessionFilters
from bot.mouseflow.models import Recording
from bot.poll.facts import members
from bot.poll.listing import read
from bot.ports import Mouseflow
from bot.rulebook.conditions import (
    All,
    AnyOf,
    Condition,
    Every,
    NoneOf,
    Not,
    OneItem,
    OneOf,
    Test,
)
from bot.rulebook.evaluate import whole
from bot.rulebook.rules import Rule

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
            nobody = await members(mouseflow, website, replace(window, tags=(IMPOSSIBLE_TAG,)), [row])
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
    return frozenset(tag.casefold() for rule in rules for tag in _spelled(whole(rule)))


def without(recording: Recording, unheeded: frozenset[str]) -> Recording:
    """The recording as if nobody had put these tags on it."""
    tags = tuple(tag for tag in recording.tags if tag.casefold() not in unheeded)
    if len(tags) == len(recording.tags):
        return recording
    return msgspec.structs.replace(recording, tags=tags)


def _spelled(condition: Condition) -> Iterator[str]:
    match condition:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from _spelled(part)
        case Not(part):
            yield from _spelled(part)
        case OneItem(tests=tests):
            for test in tests:
                yield from _spelled(test)
        case Test(field="tags", wants=OneOf(values) | NoneOf(values) | Every(values)):
            yield from (value for value in values if "*" not in value)


def required_tags(rule: Rule) -> frozenset[str]:
    """Tags without which the rule can't match: on the session or on one of its pages."""
    return frozenset(_required(whole(rule), True))


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
        case Test() if wanted:
            yield from _named(condition)
        case OneItem(field="page", tests=tests) if wanted:
            for test in tests:
                yield from _named(test)


def _named(test: Test) -> Iterable[str]:
    if test.field != "tags":
        return ()
    match test.wants:
        case OneOf((only,)) if not set(only) & set(",*"):
            return (only,)
        case Every(values):
            return tuple(value for value in values if not set(value) & set(",*"))
    return ()
