"""Websites: whether and how much they record (L307), and what of their budget is used."""

from bot.mouseflow.models import WebsiteDetail
from bot.subjects import Site, WebsiteSubject


def read_website(site: Site, detail: WebsiteDetail, budget_used: float | None) -> WebsiteSubject:
    """The website as a subject; `budget_used` in percent, None where no budget counts it."""
    return WebsiteSubject(
        website=site,
        status=detail.status,
        recording_rate=detail.recording_rate,
        budget_used=budget_used,
    )
