"""Feedback campaigns: the widgets that ask visitors, and how many responses they got."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from mouseflow import decode
from mouseflow.decode import Rows
from mouseflow.errors import BadAnswer
from mouseflow.filters import SessionFilters, session_pairs
from mouseflow.models import Campaign
from mouseflow.request import Request, build

_ALL = "/websites/{website-id}/feedback"
_ONE = "/websites/{website-id}/feedback/{feedback-id}"


def list(website: str, filters: SessionFilters | None = None) -> Request[Rows[Campaign]]:
    """The campaigns with their counters.

    The document claims that filters work, but documents no effect on the counters: compare two
    windows before you trust them.

    >>> responses = {each.name: each.report.responses for each in api.send(feedback.list(site))}
    """
    # The API document, L3431, L3433.
    read = decode.rows(Campaign, "campaignId")
    return build("GET", _ALL, read, query=session_pairs(filters), website_id=website)


def detail(website: str, campaign: str) -> Request[Campaign]:
    """One campaign.

    >>> enabled = api.send(feedback.detail(site, campaign)).enabled
    """
    # The API document, L3540.
    return build("GET", _ONE, decode.one(Campaign), website_id=website, feedback_id=campaign)


def create(website: str, campaign: Campaign | Mapping[str, Any]) -> Request[Campaign | None]:
    """Create a campaign: a copy of one that was read, or an object in the API's own
    names.

    No answer is documented: returns the new campaign if the API sends it, else None.
    Not repeatable: sending it twice creates two.

    >>> made = api.send(feedback.create(site, {"name": "Exit survey", "steps": []}))
    """
    # The API document, L3668, L3792, L3729-3790.
    return build(
        "POST", _ALL, _read_created, body=_body(campaign), repeatable=False, website_id=website
    )  # fmt: skip


def update(website: str, campaign: str, content: Campaign | Mapping[str, Any]) -> Request[None]:
    """Replace a campaign's settings with a campaign as it was read and changed, or
    with an object in the API's own names, which keeps keys that this package does not know.

    The document does not say that a part is enough, as it is for websites: send the
    whole campaign, without `report`. Repeatable: it sets values.

    >>> api.send(feedback.update(site, campaign, msgspec.structs.replace(read, enabled=False)))
    """
    # The API document, L3844, L3968, L636.
    return build(
        "PUT", _ONE, decode.nothing, body=_body(content), website_id=website, feedback_id=campaign
    )  # fmt: skip


def delete(website: str, campaign: str) -> Request[None]:
    """Delete a campaign. Repeatable.

    >>> api.send(feedback.delete(site, campaign))
    """
    # The API document, L4020, L4070.
    return build("DELETE", _ONE, decode.nothing, website_id=website, feedback_id=campaign)


_NOT_SETTINGS = ("campaignId", "report", "isLocked")


def _body(campaign: Campaign | Mapping[str, Any]) -> dict[str, Any]:
    """What can be set of a campaign, in the API's names and without what is None."""
    if isinstance(campaign, Campaign):
        return {key: item for key, item in _api(campaign).items() if key not in _NOT_SETTINGS}
    if not isinstance(campaign, Mapping):
        raise ValueError("a campaign: expected a Campaign or a dictionary in the API's names")
    return dict(campaign)


def _api(part: Struct) -> dict[str, Any]:
    return {
        field.encode_name: _value(value)
        for field in msgspec.structs.fields(part)
        if field.name != "bad_values" and (value := getattr(part, field.name)) is not None
    }


def _value(value: Any) -> Any:
    if isinstance(value, Struct):
        return _api(value)
    return [_value(item) for item in value] if isinstance(value, tuple) else value


_read_campaign = decode.one(Campaign)


def _read_created(body: bytes) -> Campaign | None:
    try:
        return _read_campaign(body)
    except BadAnswer:
        return None
