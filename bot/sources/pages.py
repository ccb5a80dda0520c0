"""Heatmap pages: each page with the averages of its views (L1840)."""

from collections.abc import Iterable

from bot.mouseflow.models import HeatmapPage
from bot.subjects import PageSubject, Site

MOST_PAGES = 1_000
"""How many pages are asked for at once; the API gives 50 where nothing is said (L1845)."""


def read_pages(site: Site, pages: Iterable[HeatmapPage]) -> list[PageSubject]:
    """The pages as subjects; a page without its path cannot be told from another."""
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
