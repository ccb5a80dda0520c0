"""What a level rule asks of the API: figures over which days, for which visitors.

Rules that ask the same share one request. Every question has contrasts: the same question
with one filter changed so that no visitor can be in both answers. An API that answers a
contrast with the same figures ignores that filter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bot.domain.subjects import (
    CampaignSubject,
    FormField,
    FormSubject,
    FunnelStep,
    FunnelSubject,
    PageSubject,
    Site,
    WebsiteSubject,
)
from bot.fields.catalogue import VISITOR_FILTERS
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


@dataclass(frozen=True, slots=True)
class Question:
    """The time that figures are taken over (None: the usual) and the visitors they count."""

    over_last: timedelta | None = None
    visitors: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The question as a short text that names it in the store; empty for the plain one."""
        back = () if self.over_last is None else ((DATES, f"{self.over_last.total_seconds():g}s"),)
        return "&".join(f"{name}={value}" for name, value in (*back, *self.visitors))

    @property
    def aspects(self) -> tuple[str, ...]:
        """The filters that the question depends on, by the names that rules have for them."""
        dates = () if self.over_last is None else (DATES,)
        return (*dates, *(name for name, _value in self.visitors))


def question(over_last: timedelta | None, visitors: Mapping[str, str]) -> Question:
    """The question of a rule's `over_last` and `visitors`."""
    return Question(over_last, tuple(sorted(visitors.items())))


def days(asked: Question, now: datetime, zone: ZoneInfo) -> tuple[date, date]:
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
    given |= {VISITOR_FILTERS[name].served.name: value for name, value in asked.visitors}
    return given


def contrast(
    asked: Question, window: tuple[date, date], aspect: str
) -> tuple[Question, tuple[date, date]]:
    """The question with one filter changed so that no visitor can be in both answers."""
    if aspect == DATES:
        return asked, LONG_AGO
    changed = tuple(
        (name, _other(name, value) if name == aspect else value) for name, value in asked.visitors
    )
    return replace(asked, visitors=changed), window


def _other(name: str, value: str) -> str:
    contrast = VISITOR_FILTERS[name].served.contrast
    return next(other for other in contrast if other != value)


def without(
    asked: Question, window: tuple[date, date], aspect: str
) -> tuple[Question, tuple[date, date]]:
    """The question without this filter, so that it counts all that the filter leaves out."""
    if aspect == DATES:
        return asked, (window[0] - USUAL, window[1])
    kept = tuple((name, value) for name, value in asked.visitors if name != aspect)
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


def read_website(site: Site, detail: WebsiteDetail, budget_used: float | None) -> WebsiteSubject:
    """The website as a subject; `budget_used` in percent, None where no budget counts it."""
    return WebsiteSubject(
        website=site,
        status=detail.status,
        recording_rate=detail.recording_rate,
        budget_used=budget_used,
    )
