"""Feedback campaigns: counters only, since single answers are not in the API (L3484-3486)."""

from collections.abc import Iterable, Mapping

from bot.mouseflow.models import Campaign
from bot.subjects import CampaignSubject, Site


def growth(before: int | None, after: int | None) -> int | None:
    """By how much a counter has grown; None at first sight, or where it fell or is missing.

    Counters fall when the vendor's window rolls on or a campaign is reset (L3376 against
    L3378-3380): a fall is a new baseline, never news.
    """
    if before is None or after is None or after < before:
        return None
    return after - before


def read_campaigns(
    site: Site, campaigns: Iterable[Campaign], before: Mapping[str, int]
) -> list[CampaignSubject]:
    """The campaigns as subjects; `before` holds the responses at the last look, by id."""
    return [_subject(site, campaign, before.get(campaign.id)) for campaign in campaigns]


def baselines(campaigns: Iterable[Campaign]) -> dict[str, int]:
    """Responses by campaign id: what the next look counts from."""
    return {
        campaign.id: campaign.report.responses
        for campaign in campaigns
        if campaign.report and campaign.report.responses is not None
    }


def _subject(site: Site, campaign: Campaign, before: int | None) -> CampaignSubject:
    report = campaign.report
    responses = report.responses if report else None
    return CampaignSubject(
        website=site,
        id=campaign.id,
        name=campaign.name or "",
        enabled=campaign.enabled,
        responses=responses,
        impressions=report.impressions if report else None,
        new_responses=growth(before, responses),
    )
