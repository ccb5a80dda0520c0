"""Fetches the figures that a website's level rules ask for, each question once.

To see whether the API honours `over_last` and `visitors`, the bot asks for the opposite. A rule
whose filter is ignored is suspended: its figures would be of other visitors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Literal, assert_never

import msgspec
import structlog

from bot.domain.subjects import CampaignSubject, Kind, Site, Subject
from bot.errors import GiveUp, TryLater
from bot.fields.catalogue import KINDS, SUBJECTS, fields
from bot.polling.recordings import PollContext
from bot.reports import sources
from bot.reports.sources import (
    MOST_PAGES,
    Question,
    baselines,
    form_counters,
    funnel_counters,
    page_counters,
    read_campaigns,
    read_forms,
    read_funnels,
    read_pages,
    read_website,
)
from bot.rules.model import Journey, OneItem, Rule, leaves
from bot.store.audit import Note
from bot.store.recordings import watermark
from mouseflow import feedback, forms, funnels, heatmaps, websites
from mouseflow.decode import Rows

log = structlog.get_logger(__name__)

Window = tuple[date, date]

PROBE_AGAIN = timedelta(days=1)
"""How long to rely on a check of a filter."""

UNSURE = timedelta(hours=1)
"""How soon to check again if there were too few visitors to tell."""

MOST_FORMS = 50
"""Forms whose report is read in one poll, if a rule asks for more than the list has."""


@dataclass(slots=True)
class LevelMemory:
    """What helps from poll to poll and may be lost.

    `honoured` holds by kind and filter whether the API honours it (None: unknown) and when to
    check again; `said` what people were told. `budget_used` is the highest percentage of any
    budget, None if no budget counts the website.
    """

    honoured: dict[tuple[Kind, str], tuple[bool | None, datetime]] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    budget_used: float | Literal["unknown"] | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The subjects that answer one question, and the rules that ask it.

    `series` names the figures' history. `whole`: no subject is missing.
    """

    series: str
    rules: Sequence[Rule]
    subjects: Sequence[Subject]
    whole: bool
    unread: int
    said: set[str]


@dataclass(frozen=True, slots=True)
class Fetched:
    """All answers of one poll. `failed` is the error of the first question that failed, if any."""

    answered: Sequence[Figures]
    watermark: str | None
    ignored: tuple[str, ...]
    failed: Exception | None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    subjects: Sequence[Any]
    unread: int = 0
    whole: bool = True


async def fetch(
    kind: Kind,
    site: Site,
    rules: Sequence[Rule],
    context: PollContext,
    memory: LevelMemory,
    now: datetime,
) -> Fetched:
    """Fetch what the rules ask for. Raises the first error if no question was answered."""
    if kind == "feedback":
        return await _campaigns(site, rules, context, memory)
    if memory.budget_used == "unknown":
        rules = [rule for rule in rules if not asks_budget(rule)]
    groups: dict[Question, list[Rule]] = {}
    for rule in rules:
        groups.setdefault(sources.question(rule.over_last, rule.visitors), []).append(rule)
    answered: list[Figures] = []
    ignored: list[str] = []
    failed: Exception | None = None
    for question, asking in groups.items():
        try:
            answer = await _ask(kind, site, question, asking, context, memory, now)
            bad = await _ignored(kind, site, question, answer, context, memory, now)
        except (GiveUp, TryLater) as error:
            failed = failed or error
            continue
        if bad:
            ignored += bad
        else:
            answered.append(_answered(kind, question, asking, answer, memory))
    if failed and not answered:
        raise failed
    return Fetched(
        answered, None, tuple(dict.fromkeys(ignored)), failed, _notes(site, ignored, kind)
    )


def _notes(site: Site, ignored: Sequence[str], kind: Kind) -> tuple[Note, ...]:
    return tuple(
        Note(kind="level.held", website=site.id,
             text=f"rules for {kind} with {name} are held: the API ignores that filter")
        for name in dict.fromkeys(ignored)
    )  # fmt: skip


def _answered(
    kind: Kind, question: Question, rules: Sequence[Rule], answer: _Answer, memory: LevelMemory
) -> Figures:
    series = f"{kind}?{question.text}" if question.text else kind
    subjects = _one_of_each(kind, answer.subjects)
    twice, about = len(answer.subjects) - len(subjects), f"{series} listed twice"
    if twice and about not in memory.said:
        memory.said.add(about)
        website = subjects[0].website.name
        log.warning("poll.listed_twice", website=website, kind=kind, rows=twice)
    return Figures(series, rules, subjects, answer.whole, answer.unread, memory.said)


def _one_of_each(kind: Kind, subjects: Sequence[Subject]) -> Sequence[Subject]:
    """One subject for each key: of rows with the same key, the one with the highest figures."""
    numeric = [field for field in fields(kind) if field.numeric]

    def figures(subject: Subject) -> tuple[list[float], str]:
        values = (field.get(subject) for field in numeric)
        return [v if isinstance(v, int | float) else -1.0 for v in values], repr(subject)

    found: dict[str, Subject] = {}
    for each in subjects:
        other = found.setdefault(each.key, each)
        if other is not each and figures(each) > figures(other):
            found[each.key] = each
    return list(found.values())


async def _campaigns(
    site: Site, rules: Sequence[Rule], context: PollContext, memory: LevelMemory
) -> Fetched:
    rows = await context.mouseflow.send(feedback.list(site.id))
    text = await context.store.run(partial(watermark, source="feedback", website=site.id))
    before = msgspec.json.decode(text, type=dict[str, int]) if text else {}
    subjects: list[CampaignSubject] = read_campaigns(site, rows, before)
    # A campaign that is missing once keeps its baseline: it may come back.
    after = before | baselines(rows)
    answer = _Answer(subjects, len(rows.unreadable), not rows.unreadable)
    answered = _answered("feedback", Question(), rules, answer, memory)
    return Fetched([answered], msgspec.json.encode(after).decode(), (), None)


async def _ask(
    kind: Kind,
    site: Site,
    question: Question,
    rules: Sequence[Rule],
    context: PollContext,
    memory: LevelMemory,
    now: datetime,
) -> _Answer:
    window = sources.days(question, now, context.zone)
    match kind:
        case "websites":
            detail = await context.mouseflow.send(websites.detail(site.id))
            # Rules that ask for an unknown share are not evaluated.
            used = None if memory.budget_used == "unknown" else memory.budget_used
            return _Answer([read_website(site, detail, used)])
        case "forms":
            listed = await _forms(site, question, window, context)
            if any(map(_asks_fields, rules)):
                return await _reports(site, question, window, listed, context)
            return listed
        case "funnels" | "pages":
            return await _LISTS[kind](site, question, window, context)
        case "recordings" | "feedback":
            raise ValueError(f"{kind} have no reports")
        case _:
            assert_never(kind)


async def _funnels(site: Site, question: Question, window: Window, context: PollContext) -> _Answer:
    filters = sources.session_filters(question, window)
    rows = await context.mouseflow.send(funnels.list(site.id, filters))
    return _rows(read_funnels(site, rows), rows)


async def _forms(site: Site, question: Question, window: Window, context: PollContext) -> _Answer:
    filters = sources.session_filters(question, window)
    rows = await context.mouseflow.send(forms.list(site.id, filters))
    return _rows(read_forms(site, rows), rows)


async def _reports(
    site: Site, question: Question, window: Window, listed: _Answer, context: PollContext
) -> _Answer:
    """The forms of the list with the figures of their fields: one call each."""
    filters = sources.session_filters(question, window)
    found = [
        await context.mouseflow.send(forms.report(site.id, form.id, filters))
        for form in listed.subjects[:MOST_FORMS]
    ]
    rest = listed.subjects[MOST_FORMS:]
    return _Answer([*read_forms(site, found), *rest], listed.unread, listed.whole)


async def _pages(site: Site, question: Question, window: Window, context: PollContext) -> _Answer:
    filters = sources.page_filters(question, window)
    listed = await context.mouseflow.send(
        heatmaps.pages(site.id, filters, limit=MOST_PAGES)
    )  # fmt: skip
    missing = max(0, listed.count - len(listed.pages))
    return _Answer(read_pages(site, listed.pages), missing, not missing)


def _rows(subjects: Sequence[Subject], rows: Rows[Any]) -> _Answer:
    return _Answer(subjects, len(rows.unreadable), not rows.unreadable)


def asks_budget(rule: Rule) -> bool:
    """Whether the rule depends on the share of a budget that is used."""
    asked = (*leaves(rule.condition), *leaves(rule.until))
    return rule.watch == "websites" and any(
        leaf.field == "budget_used" for leaf in asked if not isinstance(leaf, Journey)
    )


def _asks_fields(rule: Rule) -> bool:
    return any(isinstance(leaf, OneItem) for leaf in leaves(rule.condition))


async def _ignored(
    kind: Kind,
    site: Site,
    question: Question,
    answer: _Answer,
    context: PollContext,
    memory: LevelMemory,
    now: datetime,
) -> list[str]:
    """The question's filters that the API is known to ignore."""
    bad = []
    for aspect in question.aspects:
        known, until = memory.honoured.get((kind, aspect), (None, now))
        if now >= until:
            known = await _probe(kind, site, question, answer, aspect, context, now)
            again = UNSURE if known is None else PROBE_AGAIN
            memory.honoured[kind, aspect] = (known, now + again)
        if known is False:
            bad.append(aspect)
    return bad


async def _probe(
    kind: Kind,
    site: Site,
    question: Question,
    answer: _Answer,
    aspect: str,
    context: PollContext,
    now: datetime,
) -> bool | None:
    count: Callable[[Sequence[Any]], dict[str, int]] = _COUNTERS[kind]
    counters = count(answer.subjects)
    if sum(counters.values()) < sources.ENOUGH:
        return None
    window = sources.days(question, now, context.zone)
    other = await _LISTS[kind](site, *sources.contrast(question, window, aspect), context)
    return sources.honoured(counters, count(other.subjects))


_LISTS = {"funnels": _funnels, "forms": _forms, "pages": _pages}
_COUNTERS: dict[str, Callable[[Any], dict[str, int]]] = {
    "funnels": funnel_counters,
    "forms": form_counters,
    "pages": page_counters,
}
_OVER_TIME = {kind for kind in KINDS if SUBJECTS[kind].over_time}
if not _LISTS.keys() == _COUNTERS.keys() == _OVER_TIME:
    raise TypeError(f"_LISTS and _COUNTERS must have {', '.join(sorted(_OVER_TIME))}")
