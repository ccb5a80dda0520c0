"""Fetches the figures that a website's level rules ask for, each question once.

To see whether the API honours `over_last` and `visitors`, the bot asks for the opposite. A rule
whose filter is ignored, or can't be proved to work, is on hold: its figures may be of other
visitors. Before a rule fires, its filters are proved again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Literal, assert_never

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from bot.domain.recorded_share import RecordedShare
from bot.domain.subjects import FormField, FormSubject, Kind, Site, Subject
from bot.errors import BadCredentials, GiveUp, TryLater
from bot.fields.catalogue import KINDS, SUBJECTS, fields
from bot.fields.field import Source
from bot.fields.reports import FORM_FIELD, RECORDINGS_TODAY
from bot.polling.context import PollContext
from bot.polling.session import ZONE_ROWS, account_offset, days_to_ask, is_due
from bot.reports import sources
from bot.reports.past_days import made_since
from bot.reports.sources import (
    MOST_PAGES,
    Question,
    Tried,
    form_counters,
    funnel_counters,
    is_stopped,
    page_counters,
    read_campaigns,
    read_forms,
    read_funnels,
    read_pages,
    read_website,
)
from bot.rules.evaluate import answer
from bot.rules.model import Condition, Journey, OneItem, Rule, Test, leaves
from bot.rules.needs import texts_read
from bot.store import Connection
from bot.store.alert_states import figure_between, note_share, recorded_share
from bot.store.budgets import forget_left, who_stopped
from bot.store.recordings import watermark
from mouseflow import feedback, forms, funnels, heatmaps, recordings, websites
from mouseflow.decode import Rows
from mouseflow.filters import SessionFilters
from mouseflow.models import RecordingPage, WebsiteDetail

log = structlog.get_logger(__name__)

Window = tuple[date, date]
Fields = tuple[FormField, ...]

PROBE_AGAIN = timedelta(days=1)
"""How long to rely on a check of a filter."""

UNSURE = timedelta(hours=1)
"""How soon to check again a filter that is not known to work."""

COUNTED = frozenset(it.name for it in fields("websites") if it.source is Source.DETAIL)
"""Figures of a website that cost a call of their own."""

BUDGETED = frozenset(it.name for it in fields("websites") if it.of_budget)
"""Figures of a website that the budgets know."""

MOST_FORMS = 50
"""Forms whose report is read in one poll, if a rule asks for more than the list has. With more
forms each has its turn, and counts with its last report in between."""


class Verdict(Struct, frozen=True):
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
    is on hold, as the store has it; `said` what people were told; `budget_used` the highest
    percentage of any budget, None if no budget counts the website; `website` its settings as last
    read; `reports` by question and form when its report was read, and the fields in it;
    `tried` the past days whose figures were asked for.
    """

    website: tuple[datetime, WebsiteDetail] | None = None
    verdicts: dict[tuple[Kind, Question, str], Verdict] = field(default_factory=dict)
    held: dict[Kind, Mapping[str, str]] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    budget_used: float | Literal["unknown"] | None = None
    reports: dict[tuple[Question, str], tuple[datetime, Fields | None]] = field(
        default_factory=dict
    )
    tried: Tried = frozenset()


class Limited(Struct, frozen=True):
    """What a poll has left out, for people: once, by `about`."""

    about: str
    title: str
    line: str


class Figures(Struct, frozen=True):
    """The subjects that answer one question, and the rules that ask it.

    `series` names the figures' history, `window` is the time that they are taken over. `whole`:
    no subject is missing. `usual` are figures of past weeks by subject and name, the latest first.
    `earlier` are the counts of campaigns as an earlier version of the bot has stored them.
    """

    series: str
    question: Question
    rules: Sequence[Rule]
    subjects: Sequence[Subject]
    whole: bool
    unread: int
    said: set[str]
    window: timedelta = sources.USUAL
    earlier: Mapping[str, int] = msgspec.field(default_factory=dict)
    usual: Mapping[tuple[str, str], tuple[float, ...]] = msgspec.field(default_factory=dict)


class Fetched(Struct, frozen=True):
    """All answers of one poll. `failed` is the error of the first question that failed, if any.

    `held` are the filters that hold rules back, with the reason; `unread` are the forms whose
    report can't be read, with the reason; `limited` is what was left out.
    """

    answered: Sequence[Figures]
    failed: Exception | None
    held: Mapping[str, str] = msgspec.field(default_factory=dict)
    unread: Mapping[str, Exception] = msgspec.field(default_factory=dict)
    limited: tuple[Limited, ...] = ()


class _Answer(Struct, frozen=True):
    subjects: Sequence[Any]
    unread: int = 0
    whole: bool = True
    failed: Mapping[str, Exception] = msgspec.field(default_factory=dict)
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
    if memory.budget_used == "unknown":
        rules = [rule for rule in rules if not asks_budget(rule)]
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
            if verdict is not None and verdict.at != now:
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
    series = series_of(kind, question)
    subjects = _one_of_each(kind, answer.subjects)
    twice, about = len(answer.subjects) - len(subjects), f"{series} listed twice"
    if twice and about not in memory.said:
        memory.said.add(about)
        website = subjects[0].website.name
        log.warning("poll.listed_twice", website=website, kind=kind, rows=twice)
    window = question.over_last or sources.USUAL
    return Figures(
        series, question, rules, subjects, answer.whole, answer.unread, memory.said, window
    )


def series_of(kind: Kind, question: Question) -> str:
    """The name of the history of figures that answer the question."""
    return f"{kind}?{question.text}" if question.text else kind


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
    window = _window(question, now, context)
    match kind:
        case "websites":
            return await _website(site, question, rules, context, memory, now)
        case "forms":
            listed = await _forms(site, question, window, context)
            return await _with_reports(site, question, rules, listed, context, memory, now)
        case "funnels" | "pages":
            return await LISTS[kind](site, question, window, context)
        case "recordings" | "feedback":
            raise ValueError(f"{kind} have no reports")
        case _:
            assert_never(kind)


def _window(question: Question, now: datetime, context: PollContext) -> Window:
    """The question's days until now, and one more while the account's zone was not seen: its day
    may have begun already."""
    first, end = sources.days(question, now, context.days)
    return first, end if context.seen_zone else end + timedelta(days=1)


async def _website(
    site: Site,
    question: Question,
    rules: Sequence[Rule],
    context: PollContext,
    memory: LevelMemory,
    now: datetime,
) -> _Answer:
    """The website, with its recordings if a rule asks for them: one more call."""
    if memory.website is None or memory.website[0] != now:
        before = memory.website and is_stopped(memory.website[1])
        memory.website = (now, await context.mouseflow.send(websites.detail(site.id)))
        if before is not False and not is_stopped(memory.website[1]):
            await context.store.run(partial(forget_left, recording=(site.id,)))
    at, window = now.astimezone(context.zone), question.over_last or sources.USUAL
    detail = memory.website[1]
    # Rules that ask for an unknown share are not evaluated.
    used = None if memory.budget_used == "unknown" else memory.budget_used
    asked = partial(who_stopped, website=site.id, now=now)
    owner = await context.store.run(asked) if is_stopped(detail) else None
    website = read_website(site, detail, used, owner, at)
    if any(map(_asks_recordings, rules)):
        switches = detail.status, detail.recording_rate
        share = await context.store.run(partial(_share, site=site, switches=switches, now=now))
        made, today = await _recordings(site, question, context, now)
        if question.part_of_a_day and share.was_off((now - window, now)):
            made = None  # so few came because nothing was recorded
        website = msgspec.structs.replace(website, recordings=made, recordings_today=today)
    return _Answer([website])


async def note_switches(site: Site, context: PollContext, now: datetime) -> None:
    """Note what the website records of its visitors now: one call. Raises GiveUp or TryLater."""
    detail = await context.mouseflow.send(websites.detail(site.id))
    switches = detail.status, detail.recording_rate
    await context.store.run(partial(_share, site=site, switches=switches, now=now))


def _share(
    conn: Connection, site: Site, switches: tuple[str | None, int | None], now: datetime
) -> RecordedShare:
    """What the website recorded of its visitors, also as this poll sees it."""
    note_share(conn, site.id, *switches, now)
    return recorded_share(conn, site.id)


async def _recordings(
    site: Site, question: Question, context: PollContext, now: datetime
) -> tuple[int | None, int]:
    """How many recordings were made in `over_last`, and how many today.

    The API counts whole days. Parts of a day are the difference to what the bot itself counted
    then, or shortly before. After a start or a downtime, and while the configured zone is wrong,
    the API's rows are counted instead: unknown if they are not all returned.
    """
    before = None
    window = question.over_last or sources.USUAL
    then = now - window
    series = series_of("websites", question)
    if question.part_of_a_day:
        before = await context.store.run(
            partial(
                figure_between,
                kind=series,
                website=site.id,
                subject=site.id,
                name=RECORDINGS_TODAY.name,
                first=then - max(context.gap / 3, window / 8),
                last=then,
            )
        )
        begins = before[0] if before else now
    else:
        begins = now.astimezone(context.zone) - window  # by the clock on the wall
    counted = await _counted(site, begins, now, context)
    if not question.part_of_a_day:
        return counted.since, counted.today
    if before is None or counted.zone is not context.zone:
        made = await made_since(site, question, series, then, now, counted.zone, context)
        return made, counted.today
    return max(0, counted.since - round(before[1])), counted.today


class _Counted(Struct, frozen=True):
    """Recordings from a first day on, and those of today; `zone` is that of the account's days."""

    since: int
    today: int
    zone: tzinfo


async def _counted(site: Site, begins: datetime, now: datetime, context: PollContext) -> _Counted:
    """Recordings from the account's day on in which `begins` is. Days that have begun in the
    account alone count as today, if no row tells its zone."""

    async def page(first: date, end: date) -> RecordingPage:
        filters = SessionFilters(fromdate=first, todate=end)
        asked = recordings.list(site.id, filters, limit=ZONE_ROWS, brief=True)
        return await context.mouseflow.send(asked)

    asked, end = days_to_ask(now, begins)
    answer = await page(asked, end)
    if not answer.count:
        return _Counted(0, 0, context.zone)
    offset = account_offset(answer.recordings, context.zone)
    zone = offset.days_of(context.zone) if offset else context.zone
    first, today = begins.astimezone(zone).date(), now.astimezone(zone).date()
    if sum(answer.chart.values()) == answer.count:
        since, so_far = (
            sum(count for day, count in answer.chart.items() if start <= day < end)
            for start in (first, today)
        )
        return _Counted(since, so_far, zone)
    since = (await page(first, end)).count
    return _Counted(since, since if first == today else (await page(today, end)).count, zone)


def _asks_recordings(rule: Rule) -> bool:
    names = {
        leaf.field
        for condition in (rule.condition, rule.until)
        for leaf in leaves(condition)
        if isinstance(leaf, Test)
    }
    return not names.isdisjoint(COUNTED) or not texts_read(rule).isdisjoint(COUNTED)


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
    # A time in the future is that of a clock that was ahead.
    known = {id_: never if report[0] > now else report for id_, report in known.items()}
    turn = sorted(wanted, key=lambda form: known[form.id][0])[:MOST_FORMS]
    filters = sources.session_filters(question, _window(question, now, context))
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


def asks_budget(rule: Rule) -> bool:
    """Whether the rule depends on the share of a budget that is used."""
    asked = (*leaves(rule.condition), *leaves(rule.until))
    return rule.watch == "websites" and any(
        leaf.field in BUDGETED for leaf in asked if not isinstance(leaf, Journey)
    )


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
    if not subjects or kind not in LISTS:
        return found  # nothing can fire, or the days are checked in the answer
    for aspect in question.aspects:
        key = (kind, question, aspect)
        verdict = memory.verdicts.get(key)
        again = PROBE_AGAIN if verdict and verdict.honoured else UNSURE
        if verdict is None or is_due(verdict.at, again, now):
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
    window = _window(question, now, context)
    plain = sources.with_one_bound(question, aspect)
    if plain != question:
        counters = count((await LISTS[kind](site, plain, window, context)).subjects)
    other = await LISTS[kind](site, *sources.contrast(question, window, aspect), context)
    known = sources.honoured(counters, count(other.subjects))
    if known is None:
        every = await LISTS[kind](site, *sources.without(question, window, aspect), context)
        known = sources.apart(counters, count(every.subjects)) or None
    return known


LISTS = {"funnels": _funnels, "forms": _forms, "pages": _pages}
_COUNTERS: dict[str, Callable[[Any], dict[str, int]]] = {
    "funnels": funnel_counters,
    "forms": form_counters,
    "pages": page_counters,
}
_OVER_TIME = {kind for kind in KINDS if SUBJECTS[kind].over_time}
if not LISTS.keys() == _COUNTERS.keys() == _OVER_TIME:
    raise TypeError(f"LISTS and _COUNTERS must have {', '.join(sorted(_OVER_TIME))}")
