"""Feedback campaigns: the widgets that ask visitors, and how many responses they got."""

from collections.abc import Mapping
from typing import Any

from mouseflow import decode
from mouseflow.decode import Rows
from mouseflow.errors import BadAnswer
from mouseflow.filters import SessionFilters, session_pairs
from mouseflow.models import Campaign
from mouseflow.request import Request, build

_ALL = "/websites/{website-id}/feedback"
_ONE = "/websites/{website-id}/feedback/{feedback-id}"


def list(website: str, filters: SessionFilters | None = None) -> Request[Rows[Campaign]]:
    """The campaigns with their counters (L3431).

    L3433 claims that filters work, but documents no effect on the counters: compare two
    windows before you trust them.
    """
    read = decode.rows(Campaign, "campaignId")
    return build("GET", _ALL, read, query=session_pairs(filters), website_id=website)


def detail(website: str, campaign: str) -> Request[Campaign]:
    """One campaign (L3540)."""
    return build("GET", _ONE, decode.one(Campaign), website_id=website, feedback_id=campaign)


def create(website: str, campaign: Mapping[str, Any]) -> Request[Campaign | None]:
    """Create a campaign (L3668, L3792) from an object in the API's own names (L3729-3790).

    No answer is documented: returns the new campaign if the API sends it, else None.
    Not repeatable: sending it twice creates two.
    """
    return build(
        "POST", _ALL, _read_created, body=campaign, repeatable=False, website_id=website
    )  # fmt: skip


def update(website: str, campaign: str, content: Mapping[str, Any]) -> Request[None]:
    """Replace a campaign's settings (L3844, L3968) with an object in the API's own names.

    The document does not say that a part is enough, as it is for websites (L636): send the
    whole campaign, without `report`. Repeatable: it sets values.
    """
    return build(
        "PUT", _ONE, decode.nothing, body=content, website_id=website, feedback_id=campaign
    )  # fmt: skip


def delete(website: str, campaign: str) -> Request[None]:
    """Delete a campaign (the path of L4020; L4070 omits the website). Repeatable."""
    return build("DELETE", _ONE, decode.nothing, website_id=website, feedback_id=campaign)


_read_campaign = decode.one(Campaign)


def _read_created(body: bytes) -> Campaign | None:
    try:
        return _read_campaign(body)
    except BadAnswer:
        return None
