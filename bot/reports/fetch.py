"""Fetches the figures that a website's level rules ask for, each question once.

To see whether the API honours `over_last` and `visitors`, the bot asks for the opposite. A rule
whose filter is ignored, or can't be proved to work, is on hold: its figures may be of other
visitors. Before a rule fires, its filters are proved again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, assert_never

import msgspec

from bot.domain.subjects import FormField, FormSubject, Kind, Site, Subject
from bot.errors import BadCredentials, GiveUp, TryLater
from bot.fields.catalogue import KINDS, SUBJECTS
from bot.fields.reports import FORM_FIELD
from bot.polling.recordings import PollContext
from bot.reports import sources
from bot.reports.sources import (
    MOST_PAGES,
    Question,
    form_counters,
    funnel_counters,
    page_counters,
    read_campaigns,
    read_forms,
    read_funnels,
    read_pages,
    read_website,
)
from bot.rules.evaluate import answer
from bot.rules.model import Condition, OneItem, Rule, leaves
from bot.rules.needs import texts_read
from bot.store.recordings import watermark
from mouseflow import feedback, forms, funnels, heatmaps, websites
from mouseflow.decode import Rows

Window = tuple[date, date]
Fields = tuple[FormField, ...]

PROBE_AGAIN = timedelta(days=1)
"""How long to rely on a check of a filter."""

UNSURE = timedelta(hours=1)
"""How soon to check again a filter that is not known to work."""

MOST_FORMS = 50
"""Forms whose report is read in one poll, if a rule asks for more than the list has. With more
forms each has its turn, and counts with its last report in between."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the API honours a filter, as of then; None if too few visitors came to tell."""

    honoured: bool | None
    at: datetime


TOO_FEW = "too few visitors to tell whether the API applies the filter"
IGNORED = "the API ignores the filter"
"""Why rules are on hold."""


@dataclass(slots=True)
class LevelMemory:
    """What helps from poll to poll and may be lost.

    `verdicts` holds by kind, question and filter whether the API honours it; `held` by kind what
    is on hold, as the store has it; `said` what people were told; `budget_used` the website's
    percentage; `reports` by question and form when its report was read, and the fields in it.
    """

    verdicts: dict[tuple[Kind, Question, str], Verdict] = field(default_factory=dict)
    held: dict[Kind, Mapping[str, str]] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    budget_used: float | None = None
    reports: dict[tuple[Question, str], tuple[datetime, Fields | None]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class Limited:
    """What a poll has left out, for people: once, by `about`."""

    about: str
    title: str
    line: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The subjects that answer one question, and the rules that ask it.

    `series` names the figures' history, `window` is the time that they are taken over. `whole`:
    no subject is missing. `earlier` are the counts of campaigns as an earlier version of the bot
    has stored them.
    """

    series: str
    question: Question
    rules: Sequence[Rule]
    subjects: Sequence[Subject]
    whole: bool
    unread: int
    said: set[str]
    window: timedelta = sources.USUAL
    earlier: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fetched:
    """All answers of one poll. `failed` is the error of the first question that failed, if any.

    `held` are the filters that hold rules back, with the reason; `unread` are the forms whose
    report can't be read, with the reason; `limited` is what was left out.
    """

    answered: Sequence[Figures]
    failed: Exception | None
    held: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, Exception] = field(default_factory=dict)
    limited: tuple[Limited, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    subjects: Sequence[Any]
    unread: int = 0
    whole: bool = True
    failed: Mapping[str, Exception] = field(default_factory=dict)
    limited: Limited | None = None


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
    groups: dict[Question, list[Rule]] = {}
    for rule in rules:
        groups.setdefault(sources.question(rule.over_last, rule.visitors), []).append(rule)
    answered: list[Figures] = []
    held: dict[str, str] = {}
    failed: Exception | None = None
    unread: dict[str, Exception] = {}
    limited: list[Limited] = []
    for question, asking in groups.items():
        try:
            answer = await _ask(kind, site, question, asking, context, memory, now)
            doubts = await _doubts(kind, site, question, answer.subjects, context, memory, now)
        except (GiveUp, TryLater) as error:
            failed = failed or error
            continue
        held |= doubts
        if not doubts:
            answered.append(_answered(kind, question, asking, answer, memory))
            unread |= answer.failed
            limited += [answer.limited] if answer.limited else []
    if failed and not answered:
        raise failed
    return Fetched(answered, failed, held, unread, tuple(limited))


async def proved(
    kind: Kind,
    site: Site,
    fetched: Fetched,
    firing: Sequence[Figures],
    context: PollContext,
    memory: LevelMemory,
    now: datetime,
) -> Fetched:
    """The answers without those by which a rule would fire though a filter no longer works."""
    held = dict(fetched.held)
    failed = fetched.failed
    bad: list[Figures] = []
    for each in firing:
        for aspect in each.question.aspects:
            key = (kind, each.question, aspect)
            verdict = memory.verdicts.get(key)
            if verdict is not None and verdict.at < now:
                del memory.verdicts[key]
        try:
            doubts = await _doubts(kind, site, each.question, each.subjects, context, memory, now)
        except (GiveUp, TryLater) as error:
            failed = failed or error
            bad.append(each)
            continue
        if doubts:
            held |= doubts
            bad.append(each)
    answered = [each for each in fetched.answered if not any(each is it for it in bad)]
    return replace(fetched, answered=answered, held=held, failed=failed)


def _answered(
    kind: Kind, question: Question, rules: Sequence[Rule], answer: _Answer, memory: LevelMemory
) -> Figures:
    series = f"{kind}?{question.text}" if question.text else kind
    subjects, odd = _once_each(answer.subjects)
    whole, unread = answer.whole and not odd, answer.unread + odd
    window = question.over_last or sources.USUAL
    return Figures(series, question, rules, subjects, whole, unread, memory.said, window)


def _once_each(subjects: Sequence[Subject]) -> tuple[list[Subject], int]:
    """Each subject once, without those whose rows contradict each other, and how many rows."""
    found: dict[str, Subject] = {}
    odd: set[str] = set()
    for subject in subjects:
        if found.setdefault(subject.key, subject) != subject:
            odd.add(subject.key)
    return [it for key, it in found.items() if key not in odd], len(odd)


async def _campaigns(
    site: Site, rules: Sequence[Rule], context: PollContext, memory: LevelMemory
) -> Fetched:
    rows = await context.mouseflow.send(feedback.list(site.id))
    text = await context.store.run(partial(watermark, source="feedback", website=site.id))
    earlier = msgspec.json.decode(text, type=dict[str, int]) if text else {}
    answered = _answered(
        "feedback", Question(), rules, _rows(read_campaigns(site, rows), rows), memory
    )
    return Fetched([replace(answered, earlier=earlier)], None)


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
            return _Answer([read_website(site, detail, memory.budget_used)])
        case "forms":
            listed = await _forms(site, question, window, context)
            return await _with_reports(site, question, rules, listed, context, memory, now)
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
    return _rows([msgspec.structs.replace(it, fields=None) for it in read_forms(site, rows)], rows)


async def _with_reports(
    site: Site,
    question: Question,
    rules: Sequence[Rule],
    listed: _Answer,
    context: PollContext,
    memory: LevelMemory,
    now: datetime,
) -> _Answer:
    """The forms of the list, with the fields of those on which some rule depends.

    They cost one call each. A report that fails leaves only its own form without fields.
    """
    wanted = [form for form in listed.subjects if _depends_on_report(form, rules)]
    never = (now - timedelta(days=1), None)
    known = {form.id: memory.reports.get((question, form.id), never) for form in wanted}
    turn = sorted(wanted, key=lambda form: known[form.id][0])[:MOST_FORMS]
    filters = sources.session_filters(question, sources.days(question, now, context.zone))
    failed: dict[str, Exception] = {}
    for form in turn:
        fields = None
        try:
            report = await context.mouseflow.send(forms.report(site.id, form.id, filters))
            (read,) = read_forms(site, [report])
            fields = read.fields
        except BadCredentials:
            raise
        except (GiveUp, TryLater) as error:
            failed[form.name or form.id] = error
        known[form.id] = (now, fields)
    for key in [key for key in memory.reports if key[0] == question]:
        del memory.reports[key]
    memory.reports |= {(question, id_): report for id_, report in known.items()}
    fresh = {id_: fields for id_, (at, fields) in known.items() if now - at <= context.gap}
    subjects = [msgspec.structs.replace(it, fields=fresh.get(it.id)) for it in listed.subjects]
    limited = _in_turn(site, len(wanted)) if len(wanted) > MOST_FORMS else None
    return replace(listed, subjects=subjects, failed=failed, limited=limited)


def _in_turn(site: Site, count: int) -> Limited:
    return Limited(
        "forms/turn",
        f"Reports of {count} forms of {site.name} are read in turn",
        f"A poll reads {MOST_FORMS}, so each form is read in every {-(-count // MOST_FORMS)}th "
        "poll. Name the forms that matter under form: in the rules.",
    )


def _depends_on_report(form: FormSubject, rules: Sequence[Rule]) -> bool:
    """Whether some rule depends on the form's fields: in its condition, or in what it posts."""
    return any(
        answer(condition, form) is None
        for rule in rules
        for condition in (rule.condition, rule.until)
        if condition is not None and _asks_fields(condition)
    ) or any(
        answer(rule.condition, form) is not False
        for rule in rules
        if FORM_FIELD.text_name in texts_read(rule)
    )


async def _pages(site: Site, question: Question, window: Window, context: PollContext) -> _Answer:
    filters = sources.page_filters(question, window)
    listed = await context.mouseflow.send(
        heatmaps.pages(site.id, filters, limit=MOST_PAGES)
    )  # fmt: skip
    missing = max(0, listed.count - len(listed.pages))
    limited = None
    if len(listed.pages) >= MOST_PAGES and missing:
        limited = Limited(
            "pages/most",
            f"Rules about pages see {MOST_PAGES:,} of {listed.count:,} pages of {site.name}",
            "The bot asks for no more at once. The other pages match no rule.",
        )
    return _Answer(read_pages(site, listed.pages), missing, not missing, limited=limited)


def _rows(subjects: Sequence[Subject], rows: Rows[Any]) -> _Answer:
    return _Answer(subjects, len(rows.unreadable), not rows.unreadable)


def _asks_fields(condition: Condition) -> bool:
    return any(isinstance(leaf, OneItem) for leaf in leaves(condition))


async def _doubts(
    kind: Kind,
    site: Site,
    question: Question,
    subjects: Sequence[Any],
    context: PollContext,
    memory: LevelMemory,
    now: datetime,
) -> dict[str, str]:
    """The question's filters that are not known to work, with the reason."""
    found: dict[str, str] = {}
    if not subjects:
        return found  # nothing can fire
    for aspect in question.aspects:
        key = (kind, question, aspect)
        verdict = memory.verdicts.get(key)
        again = PROBE_AGAIN if verdict and verdict.honoured else UNSURE
        if verdict is None or now - verdict.at >= again:
            known = await _probe(kind, site, question, subjects, aspect, context, now)
            verdict = memory.verdicts[key] = Verdict(known, now)
        if not verdict.honoured:
            found[aspect] = TOO_FEW if verdict.honoured is None else IGNORED
    return found


async def _probe(
    kind: Kind,
    site: Site,
    question: Question,
    subjects: Sequence[Any],
    aspect: str,
    context: PollContext,
    now: datetime,
) -> bool | None:
    """Ask for the opposite; with few visitors also for all, who are more than those asked for."""
    count: Callable[[Sequence[Any]], dict[str, int]] = _COUNTERS[kind]
    counters = count(subjects)
    window = sources.days(question, now, context.zone)
    other = await _LISTS[kind](site, *sources.contrast(question, window, aspect), context)
    known = sources.honoured(counters, count(other.subjects))
    if known is None:
        every = await _LISTS[kind](site, *sources.without(question, window, aspect), context)
        known = sources.apart(counters, count(every.subjects)) or None
    return known


_LISTS = {"funnels": _funnels, "forms": _forms, "pages": _pages}
_COUNTERS: dict[str, Callable[[Any], dict[str, int]]] = {
    "funnels": funnel_counters,
    "forms": form_counters,
    "pages": page_counters,
}
_OVER_TIME = {kind for kind in KINDS if SUBJECTS[kind].over_time}
if not _LISTS.keys() == _COUNTERS.keys() == _OVER_TIME:
    raise TypeError(f"_LISTS and _COUNTERS must have {', '.join(sorted(_OVER_TIME))}")
