"""Funnels: how many visitors reached each step; list and report are the same (L2217, L2320)."""

from collections.abc import Iterable

from bot.mouseflow.models import Funnel
from bot.subjects import FunnelStep, FunnelSubject, Site


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
