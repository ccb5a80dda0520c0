"""Asks by tag, so that a recording's detail is fetched only where the tag may be on a page.

A row names the session's tags, not those of its pages (API document, L929-944 against
L963-966). The `tags` filter may cover both, but the document does not say so (L4372). It is
used only where it has been seen to: an answer had a recording whose row lacks the tag, and an
impossible tag counts nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bot.mouseflow.filters import SessionFilters
from bot.poll.listing import read
from bot.ports import Mouseflow
from bot.rulebook.conditions import All, AnyOf, Condition, Every, Not, OneItem, OneOf, Test
from bot.rulebook.evaluate import whole
from bot.rulebook.rules import Rule

IMPOSSIBLE = "mouseflow-bot-no-such-tag"
ASK_AGAIN = timedelta(hours=1)
"""How soon a filter that has not been seen to cover pages is tried again."""

SAMPLE = 50
"""Rows to look through for a proof."""


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

    async def trusted(
        self, mouseflow: Mouseflow, website: str, window: SessionFilters, tag: str, now: datetime
    ) -> bool:
        """May a recording that the filter leaves out be taken to lack the tag everywhere?"""
        asked = self.asked.get(tag)
        if not self._proven(tag) and (asked is None or now - asked >= ASK_AGAIN):
            self.asked[tag] = now
            await self._try(mouseflow, website, window, tag)
        return self._proven(tag)

    def _proven(self, tag: str) -> bool:
        return self.covers_pages and tag in self.spelled

    async def _try(
        self, mouseflow: Mouseflow, website: str, window: SessionFilters, tag: str
    ) -> None:
        found = await read(mouseflow, website, replace(window, tags=(tag,)), SAMPLE)
        if not found.rows:
            return
        nobody = await read(mouseflow, website, replace(window, tags=(IMPOSSIBLE,)), 1)
        if nobody.count:
            return
        self.spelled.add(tag)
        self.covers_pages |= any(tag not in row.tags for row in found.rows)


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
