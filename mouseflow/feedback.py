"""Feedback campaigns: the widgets that ask visitors, and how often they were answered."""

from collections.abc import Mapping
from typing import Any

from mouseflow import decode
from mouseflow.decode import Rows
from mouseflow.errors import BadAnswer
from mouseflow.filters import SessionFilters
from mouseflow.models import Campaign
from mouseflow.request import Request, json_body, place

_ALL = "/websites/{website-id}/feedback"
_ONE = "/websites/{website-id}/feedback/{feedback-id}"


def list(website: str, filters: SessionFilters | None = None) -> Request[Rows[Campaign]]:
    """The campaigns with their counters (L3431).

    Filters are claimed (L3433) but no effect on the counters is documented: compare two
    windows before you trust them.
    """
    path = place(_ALL, website_id=website)
    query = filters.pairs() if filters else ()
    return Request("GET", path, f"GET {_ALL}", decode.rows(Campaign, "campaignId"), query)


def detail(website: str, campaign: str) -> Request[Campaign]:
    """One campaign (L3540)."""
    return Request("GET", _path(website, campaign), f"GET {_ONE}", decode.one(Campaign))


def create(website: str, campaign: Mapping[str, Any]) -> Request[Campaign | None]:
    """Makes a campaign (L3668, L3792) from an object in the API's own names (L3729-3790).

    No answer is documented: gives the new campaign where the API sends it, else None.
    Not repeatable: twice makes two.
    """
    path = place(_ALL, website_id=website)
    body = json_body(campaign)
    return Request("POST", path, f"POST {_ALL}", _made, body=body, repeatable=False)


def update(website: str, campaign: str, content: Mapping[str, Any]) -> Request[None]:
    """Replaces a campaign's settings (L3844, L3968) by an object in the API's own names.

    Nothing says that a part is enough, as it is for websites (L636): send the whole
    campaign, without `report`. Repeatable: it sets.
    """
    body = json_body(content)
    path = _path(website, campaign)
    return Request("PUT", path, f"PUT {_ONE}", decode.nothing, body=body)


def delete(website: str, campaign: str) -> Request[None]:
    """Deletes a campaign (the path of L4020; L4070 leaves the website out). Repeatable."""
    return Request("DELETE", _path(website, campaign), f"DELETE {_ONE}", decode.nothing)


_campaign = decode.one(Campaign)


def _made(body: bytes) -> Campaign | None:
    try:
        return _campaign(body)
    except BadAnswer:
        return None


def _path(website: str, campaign: str) -> str:
    return place(_ONE, website_id=website, feedback_id=campaign)
