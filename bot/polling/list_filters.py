"""Filtered lists instead of details: one question about a tag or a page tells of many recordings.

The API's filters for tags and for pages seen (`funnel`) answer some conditions as a detail would.
Each is used only after it has shown on this website that it works, and a recording that it leaves
out is a no only while the list could be read that deep.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import datetime, timedelta
from itertools import islice
from typing import assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from bot.domain.subjects import RecordingSubject
from bot.errors import GiveUp, TryLater
from bot.fields.field import Field, TextKind
from bot.fields.recordings import SAW_PAGE, TAGS
from bot.polling.filter_checks import concerns_all
from bot.polling.list_reader import read
from bot.polling.server_facts import TRACKER_TAGS, ListFilterName, Question, members
from bot.ports import Mouseflow
from bot.rules.evaluate import answer, field_of
from bot.rules.model import Journey, Leaf, OneItem, Rule, Test, leaves
from bot.rules.operators.base import Operator
from bot.rules.operators.texts import Every
from bot.rules.value_tests import Answer, both
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording

ASK_AGAIN = timedelta(hours=1)
"""How soon to try again whether a filter works."""

SERVED: Mapping[ListFilterName, Field] = {
    ListFilterName(it.served.name): it for it in (TAGS, SAW_PAGE)
}
"""The fields whose tests filters decide, by the name of the filter."""


class Witness(Struct, frozen=True):
    """A recording with a value that its row lacks, and one like it that it lacks as well."""

    row: Recording
    value: str
    other: str


class ListFilter(Struct, frozen=True):
    """What is known of a filter. Losing it costs a few calls, no match.

    `works`: it has returned a recording for a value that only the detail shows, and left it out
    for a beginning of that value. Rules ignore case and the API may not: a value is asked for only
    after the API has counted it as the rule spells it, and never if a detail has shown it
    `otherwise` spelled. `asked` has when what was tried, `depths` how deep the answers were,
    `checked` when an answer was last compared with a detail, `honoured` when it last
    showed that it still works.
    """

    works: bool = False
    spelled: frozenset[str] = frozenset()
    otherwise: frozenset[str] = frozenset()
    asked: Mapping[str, datetime] = field(default_factory=dict)
    depths: Mapping[str, int] = field(default_factory=dict)
    witness: Witness | None = None
    checked: datetime | None = None
    honoured: datetime | None = None

    def trusted(self, value: str) -> bool:
        """Whether the filter tells the truth about this value."""
        return self.works and value in self.spelled and value not in self.otherwise

    def may_ask(self, value: str, now: datetime) -> bool:
        """Whether the last try is long enough ago."""
        asked = self.asked.get(value)
        return asked is None or now - asked >= ASK_AGAIN

    def check_is_due(self, now: datetime) -> bool:
        """Whether to compare one of its answers with a detail."""
        return self.checked is None or now - self.checked >= ASK_AGAIN

    def proof_is_due(self, now: datetime, *, matters: bool) -> bool:
        """Whether to have it show that it still works; if it matters, at this very moment."""
        if self.honoured is None or matters:
            return self.honoured != now
        return now - self.honoured >= ASK_AGAIN

    def failed(self, value: str, now: datetime) -> "ListFilter":
        """What is known after a failed query: the filter is not used for an hour."""
        return replace(self, works=False, witness=None).asking("", now).asking(value, now)

    def asking(self, value: str, now: datetime) -> "ListFilter":
        """Note that this value is tried now."""
        return replace(self, asked={**self.asked, value: now})

    def answered(self, value: str, depth: int) -> "ListFilter":
        """Note how deep the answer for this value was."""
        return replace(self, depths={**self.depths, value: max(depth, 1)})


Filters = Mapping[ListFilterName, ListFilter]


def untried() -> Filters:
    """Both filters, before anything is known of them."""
    return {
        ListFilterName.TAGS: ListFilter(spelled=TRACKER_TAGS),
        ListFilterName.PAGES: ListFilter(),
    }


def learn(known: Filters, row: Recording, detail: Recording, asked: Set[Question]) -> Filters:
    """What is known of the filters after this recording's detail was read.

    `asked` are the questions of the rules: a page that is spelled otherwise than they ask for it
    can't be asked for.
    """
    found = dict(known)
    for name, each in known.items():
        if each.witness is not None or each.works:
            continue
        hidden, all_of_them = _hidden(name, row, detail)
        if hidden:
            value = min(hidden)
            cuts = (value[:n] for n in range(len(value) - 1, 0, -1))
            other = next((cut for cut in cuts if cut not in all_of_them), "-")
            found[name] = replace(each, witness=Witness(row, value, other))
    pages = {view.website_page or view.uri or "" for view in detail.page_views or ()}
    normal = {page for page in pages if SAW_PAGE.served.take(page) != page}
    otherwise = {SAW_PAGE.normal(page) for page in normal}
    wrong = {it.value for it in asked if it.name is ListFilterName.PAGES and it.value in otherwise}
    if wrong:
        pages_seen = found[ListFilterName.PAGES]
        found[ListFilterName.PAGES] = replace(pages_seen, otherwise=pages_seen.otherwise | wrong)
    return found


def _hidden(name: ListFilterName, row: Recording, detail: Recording) -> tuple[set[str], set[str]]:
    """The values that the detail shows and the row does not, and all of the detail's values."""
    views = detail.page_views or ()
    match name:
        case ListFilterName.TAGS:
            session = {*row.tags, *detail.tags}
            tags = {tag for view in views for tag in view.tags}
            askable = {tag for tag in tags if TAGS.served.take(tag) == tag}
            return askable - session, tags | session
        case ListFilterName.PAGES:
            pages = {view.website_page for view in views if view.website_page}
            first = SAW_PAGE.normal(row.entry_page or row.entry or "")
            askable = {it for it in pages if SAW_PAGE.served.take(it) == it}
            return {it for it in askable if SAW_PAGE.normal(it) != first}, pages
        case _:
            assert_never(name)


async def probe(
    known: ListFilter,
    mouseflow: Mouseflow,
    website: str,
    window: SessionFilters,
    question: Question,
    now: datetime,
) -> ListFilter:
    """Find out whether the filter can be trusted for the question, if a try is due."""
    name, value = question
    if not known.works and (seen := known.witness) is not None and known.may_ask("", now):
        rows = [seen.row]
        there = await members(mouseflow, website, Question(name, seen.value).of(window), rows)
        other = await members(mouseflow, website, Question(name, seen.other).of(window), rows)
        works = seen.row.id in there.there and seen.row.id not in other.there | other.unknown
        known = replace(known.asking("", now), works=works, witness=None)
    if known.works and value not in known.spelled and known.may_ask(value, now):
        found = await read(mouseflow, website, question.of(window), 1)
        known = known.asking(value, now)
        if found.count:
            known = replace(known, spelled=known.spelled | {value})
    return known


async def still_works(
    mouseflow: Mouseflow,
    website: str,
    window: SessionFilters,
    name: ListFilterName,
    rows: Iterable[Recording],
    finds: bool,
) -> bool | None:
    """Whether the filter still tells recordings apart; None if that can't be seen now.

    If it `finds` recordings, it must find none by a value that none has; if not, some by one of two
    values that rows show.
    """
    if finds:
        values = [SERVED[name].served.contrast[0]]
    else:
        values = list(islice(dict.fromkeys(filter(None, (_shown(name, it) for it in rows))), 2))
    found = None
    for value in values:
        try:
            count = (await read(mouseflow, website, Question(name, value).of(window), 1)).count
        except (GiveUp, TryLater) as error:
            if concerns_all(error):
                raise
            return None
        if found := (count > 0) is not finds:
            return True
    return found


def _shown(name: ListFilterName, row: Recording) -> str | None:
    """A value that the filter must find, as the recording's row spells it."""
    match name:
        case ListFilterName.TAGS:
            return next((tag for tag in row.tags if TAGS.served.take(tag) == tag), None)
        case ListFilterName.PAGES:
            page = row.entry_page
            return page if page and SAW_PAGE.served.take(page) == page else None
        case _:
            assert_never(name)


# What rules ask


def askable(rule: Rule) -> frozenset[Question]:
    """The questions on which the rule's outcome may depend."""
    return frozenset(
        question
        for leaf in leaves(rule.condition)
        for about, operator in _tests(leaf)
        for value in operator.spelled
        if (question := _question(about, value)) is not None
    )


def is_answered(question: Question, subject: RecordingSubject) -> bool:
    """Whether the recording is known to have that tag, or to have seen that page."""
    return _has(SERVED[question.name], question.value, subject)


def leaf_told(leaf: Leaf, subject: RecordingSubject, told: Mapping[Question, bool]) -> Answer:
    """The leaf's answer if filters have told these answers about the recording.

    They are about the whole session, so they say of a single page only what it can't be.
    """
    known = answer(leaf, subject)
    if known is not None:
        return known

    def met(about: Field, operator: Operator) -> Answer:
        return operator.by_values(lambda value: _told(about, value, subject, told))

    tests = tuple(_tests(leaf))
    if isinstance(leaf, Test):
        return both(met(*test) for test in tests) if tests else None
    needed = (met(about, it) is False and it.needs_data(about) for about, it in tests)
    return False if any(needed) else None


def _told(
    about: Field, value: str, subject: RecordingSubject, told: Mapping[Question, bool]
) -> Answer:
    if _has(about, value, subject):
        return True
    question = _question(about, value)
    return None if question is None else told.get(question)


def _has(about: Field, value: str, subject: RecordingSubject) -> bool:
    there = about.get(subject)
    return isinstance(there, tuple) and about.normal(value) in map(about.normal, there)


def _question(about: Field, value: str) -> Question | None:
    taken = None if "*" in value else about.served.take(value)
    return None if taken is None else Question(ListFilterName(about.served.name), taken)


def _tests(leaf: Leaf) -> Iterator[tuple[Field, Operator]]:
    """The tests of tags and of paths, by the field that a filter serves."""
    about = field_of(leaf, "recordings")
    match leaf:
        case Journey(paths):
            yield SAW_PAGE, Every(paths)
        case OneItem(_, tests):
            for test in tests:
                kind = about.part(test.field).text
                if kind is TextKind.TAG or kind is TextKind.PATH:
                    yield (TAGS if kind is TextKind.TAG else SAW_PAGE), test.operator
        case Test(_, operator):
            if about is TAGS or about is SAW_PAGE:
                yield about, operator
        case _:
            assert_never(leaf)
