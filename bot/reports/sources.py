"""What a level rule asks of the API: figures over which days, for which visitors.

Rules that ask the same share one request. Every question has contrasts: the same question
with one filter changed so that no visitor can be in both answers. An API that answers a
contrast with the same figures ignores that filter.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from bot.domain.budget import BUDGET, WebsiteState
from bot.domain.subjects import (
    CampaignSubject,
    FormField,
    FormSubject,
    FunnelStep,
    FunnelSubject,
    Kind,
    PageSubject,
    Site,
    WebsiteSubject,
)
from bot.fields.catalogue import VISITOR_FILTERS, FilterValue, Span
from bot.fields.field import WEEKDAYS, ApiFilter
from mouseflow import models
from mouseflow.filters import PageFilters, SessionFilters
from mouseflow.models import Campaign, Funnel, HeatmapPage, WebsiteDetail


def read_campaigns(site: Site, campaigns: Iterable[Campaign]) -> list[CampaignSubject]:
    """The campaigns as subjects. What is new differs from rule to rule."""
    return [
        CampaignSubject(
            website=site,
            id=campaign.id,
            name=campaign.name or "",
            enabled=campaign.enabled,
            trigger=campaign.trigger_type,
            locked=campaign.is_locked,
            responses=campaign.report.responses if campaign.report else None,
            impressions=campaign.report.impressions if campaign.report else None,
        )
        for campaign in campaigns
    ]


def read_forms(site: Site, forms: Iterable[models.Form]) -> list[FormSubject]:
    """The forms of a list (L2655) or of reports (L2802) as subjects."""
    return [
        FormSubject(
            website=site,
            id=form.id,
            name=form.alias or form.target or "",
            url=form.url or "",
            visits=form.visits,
            interactions=form.interactions,
            submits=form.submits,
            success=form.success,
            fields=tuple(map(_field, form.fields)),
        )
        for form in forms
    ]


def form_counters(subjects: Iterable[FormSubject]) -> dict[str, int]:
    """What two answers are compared by."""
    return {
        f"{subject.id}/{name}": value
        for subject in subjects
        for name, value in (("visits", subject.visits), ("interactions", subject.interactions))
        if value is not None
    }


def _field(field: models.FormField) -> FormField:
    return FormField(
        name=field.alias or field.target or "",
        type=field.type or "",
        interactions=field.interactions,
        time=field.duration,
        refills=field.refills,
        blanks=field.blanks,
        dropped=field.dropped,
        start=field.start_time,
    )


def read_funnels(site: Site, funnels: Iterable[Funnel]) -> list[FunnelSubject]:
    """The funnels as subjects. One with a step that lacks its count has no steps at all: a
    conversion would be that of another funnel."""
    return [
        FunnelSubject(website=site, id=each.id, name=each.name or "", steps=_steps(each))
        for each in funnels
    ]


def funnel_counters(subjects: Iterable[FunnelSubject]) -> dict[str, int]:
    """What two answers are compared by."""
    return {
        f"{subject.id}/{number}": step.count
        for subject in subjects
        for number, step in enumerate(subject.steps)
    }


def _steps(funnel: Funnel) -> tuple[FunnelStep, ...]:
    if any(step.count is None for step in funnel.steps):
        return ()
    return tuple(
        FunnelStep(step.name or step.url or "", step.url or "", step.count or 0)
        for step in funnel.steps
    )


MOST_PAGES = 1_000
"""How many pages are asked for at once; the API returns 50 by default (L1845)."""


def read_pages(site: Site, pages: Iterable[HeatmapPage]) -> list[PageSubject]:
    """The pages as subjects, without those that lack their path."""
    return [
        PageSubject(
            website=site,
            path=page.display_url,
            title=page.title or "",
            views=page.views,
            visit_time=page.visit_time,
            engagement_time=page.engagement_time,
            clicks=page.clicks,
            render_time=page.render_time,
            scroll=page.scroll,
            fold=page.fold,
            height=page.height,
            size=page.size,
            shared=bool(page.token),
        )
        for page in pages
        if page.display_url
    ]


def page_counters(subjects: Iterable[PageSubject]) -> dict[str, int]:
    """What two answers are compared by."""
    return {subject.path: subject.views for subject in subjects if subject.views is not None}


USUAL = timedelta(days=30)
"""How far back figures go by default; the API's own window is undocumented."""

DATES = "over_last"
"""The name of the filter by dates, as rules write it."""

LONG_AGO = (date(2000, 1, 1), date(2000, 1, 2))
"""Days without any visitor: Mouseflow did not exist yet."""

ENOUGH = 20
"""With fewer visitors than this, two answers can be the same by chance."""


class Question(Struct, frozen=True):
    """The time that figures are taken over (None: the usual) and the visitors they count."""

    over_last: timedelta | None = None
    visitors: tuple[tuple[str, FilterValue], ...] = ()

    @property
    def text(self) -> str:
        """The question as a short text that names it in the store; empty for the plain one."""
        back = () if self.over_last is None else ((DATES, f"{self.over_last.total_seconds():g}s"),)
        given = ((name, _spelled(value)) for name, value in self.visitors)
        return "&".join(f"{name}={value}" for name, value in (*back, *given))

    @property
    def part_of_a_day(self) -> bool:
        """Whether `over_last` is less than whole days can tell."""
        return self.over_last is not None and self.over_last < timedelta(days=1)

    @property
    def aspects(self) -> tuple[str, ...]:
        """The filters that the question depends on, by the names that rules have for them."""
        dates = () if self.over_last is None else (DATES,)
        return (*dates, *(it for name, value in self.visitors for it in _aspects(name, value)))


Tried = frozenset[tuple[Kind, Question, date]]
"""The past days whose figures were asked for."""

_MIN, _MAX = " min", " max"
"""How the aspects of a range end, after the filter's name: each bound is one."""


def _aspects(name: str, value: FilterValue) -> Iterator[str]:
    if not isinstance(value, Span):
        yield name
        return
    if value.low is not None:
        yield f"{name}{_MIN}"
    if value.high is not None:
        yield f"{name}{_MAX}"


def _spelled(value: FilterValue) -> str:
    match value:
        case Span(low, high):
            return f"{'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
        case str() | bool():
            return str(value)
        case tuple():
            return ",".join(it if isinstance(it, str) else "=".join(it) for it in value)
        case _:
            assert_never(value)


def question(over_last: timedelta | None, visitors: Mapping[str, FilterValue]) -> Question:
    """The question of a rule's `over_last` and `visitors`."""
    return Question(over_last, tuple(sorted(visitors.items())))


def days(asked: Question, now: datetime, zone: tzinfo) -> tuple[date, date]:
    """The first day, and the first one no longer included (L4132-4133).

    The API knows whole days in the account's zone alone, so the window is `over_last` and
    what the day it begins in has more.
    """
    today = now.astimezone(zone)
    # By the clock on the wall: days are shorter and longer where the clocks change.
    return (today - (asked.over_last or USUAL)).date(), today.date() + timedelta(days=1)


def session_filters(asked: Question, window: tuple[date, date]) -> SessionFilters:
    """The question as filters of whole sessions (funnels, forms)."""
    return SessionFilters(**_given(asked, window))


def page_filters(asked: Question, window: tuple[date, date]) -> PageFilters:
    """The question as filters of a page list, where each view counts for itself."""
    return PageFilters(**_given(asked, window))


def _given(asked: Question, window: tuple[date, date]) -> dict[str, Any]:
    given: dict[str, Any] = {"fromdate": window[0], "todate": window[1]}
    for name, value in asked.visitors:
        given |= _filters(VISITOR_FILTERS[name].served, value)
    return given


def _filters(served: ApiFilter, value: FilterValue) -> dict[str, Any]:
    """The API's filters for a value under `visitors`."""
    if not isinstance(value, Span):
        is_variables = isinstance(value, tuple) and not served.is_list
        return {served.name: dict(value) if is_variables else value}  # type: ignore[arg-type]
    bounds = zip(served.names, (value.low, value.high), strict=True)
    return {name: served.take(bound) for name, bound in bounds if bound is not None}


def contrast(
    asked: Question, window: tuple[date, date], aspect: str
) -> tuple[Question, tuple[date, date]]:
    """The question with one filter changed so that no visitor can be in both answers."""
    if aspect == DATES:
        return asked, LONG_AGO
    name = aspect.removesuffix(_MIN).removesuffix(_MAX)
    changed = tuple(
        (it, _other(it, value, aspect) if it == name else value) for it, value in asked.visitors
    )
    return replace(asked, visitors=changed), window


def _other(name: str, value: FilterValue, aspect: str) -> FilterValue:
    """A value that no visitor has who has this one."""
    contrast = VISITOR_FILTERS[name].served.contrast
    match value:
        case Span():
            low, high = contrast
            return Span(low=low) if aspect.endswith(_MIN) else Span(high=high)
        case str() | bool():
            other: str | bool = next(it for it in contrast if it != value)
            return other
        case tuple():
            none: str = contrast[0]
            pairs = tuple((it[0], none) for it in value if not isinstance(it, str))
            return pairs or (none,)
        case _:
            assert_never(value)


def with_one_bound(asked: Question, aspect: str) -> Question:
    """The question with the one bound of a range that the aspect is about, if it has two.

    Only such a question differs from its contrast in nothing else.
    """

    def one(name: str, value: FilterValue) -> FilterValue:
        if not isinstance(value, Span) or name != aspect.removesuffix(_MIN).removesuffix(_MAX):
            return value
        return Span(low=value.low) if aspect.endswith(_MIN) else Span(high=value.high)

    return replace(asked, visitors=tuple((name, one(name, it)) for name, it in asked.visitors))


def without(
    asked: Question, window: tuple[date, date], aspect: str
) -> tuple[Question, tuple[date, date]]:
    """The question without this filter, so that it counts all that the filter leaves out."""
    if aspect == DATES:
        return asked, (window[0] - USUAL, window[1])
    left_out = aspect.removesuffix(_MIN).removesuffix(_MAX)
    kept = tuple((name, value) for name, value in asked.visitors if name != left_out)
    return replace(asked, visitors=kept), window


def apart(answer: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether two answers differ by more than came in between the two questions."""
    names = answer.keys() | other.keys()
    total = sum(abs(answer.get(name, 0) - other.get(name, 0)) for name in names)
    return total > max(2, sum(answer.values()) / 200)


def honoured(answer: Mapping[str, int], other: Mapping[str, int]) -> bool | None:
    """Whether the API honours the filter in which two questions differ, by their counters.

    None if the answers are alike, but count too few visitors to tell.
    """
    if apart(answer, other):
        return True
    return None if sum(answer.values()) < ENOUGH else False


def is_stopped(detail: WebsiteDetail) -> bool:
    """Whether somebody stopped the website, the bot or a person."""
    return WebsiteState(detail.id, detail.status, detail.recording_rate).is_stopped


def read_website(
    site: Site,
    detail: WebsiteDetail,
    budget_used: float | None,
    stopped_by: str | None,
    at: datetime,
) -> WebsiteSubject:
    """The website as a subject; `budget_used` in percent, None where no budget counts it.

    `stopped_by` is the rule or budget that stopped it, None if somebody else did. `at` is the
    time of the look in the account's zone.
    """
    who: tuple[str, ...] = ("person",) if is_stopped(detail) else ()
    if who and stopped_by is not None:
        kind = "budget" if stopped_by.startswith(BUDGET) else "rule"
        who = (f"{kind} {stopped_by.removeprefix(BUDGET)}", "bot")
    return WebsiteSubject(
        website=site,
        status=detail.status,
        recording_rate=detail.recording_rate,
        budget_used=budget_used,
        hour=at.hour,
        weekday=WEEKDAYS[at.weekday()],
        demo=detail.is_demo,
        anonymize_ips=detail.anonymize_ips,
        disable_keystrokes=detail.disable_keystrokes,
        excluded_ips=detail.excluded_ips,
        merge_urls=detail.merge_urls,
        domains=detail.domains,
        stopped_by=who,
    )
