"""What each failure of an attempt means: the only place that classifies outcomes."""

from collections.abc import Mapping

from bot.domain.causes import SERVICES, Cause, service
from bot.errors import BadCredentials, Forbidden, GiveUp, RateLimited, Refused, TryLater

_BY_SLACK: Mapping[Cause, frozenset[str]] = {
    Cause.TOKEN_REJECTED: frozenset(
        {
            "account_inactive",
            "invalid_auth",
            "not_allowed_token_type",
            "not_authed",
            "token_expired",
            "token_revoked",
        }
    ),
    Cause.SCOPE_MISSING: frozenset({"missing_scope", "no_permission"}),
    Cause.WORKSPACE_REFUSES: frozenset(
        {
            "access_denied",
            "accesslimited",
            "action_prohibited",
            "ekm_access_denied",
            "team_access_not_granted",
        }
    ),
    Cause.SLACK_WEBHOOK_GONE: frozenset(
        {"invalid_token", "no_service", "no_service_id", "no_team"}
    ),
    Cause.SLACK_NOT_SET: frozenset({"no_slack"}),
    Cause.CHANNEL_MISSING: frozenset({"channel_not_found", "no_channel"}),
    Cause.CHANNEL_ARCHIVED: frozenset({"channel_is_archived", "is_archived"}),
    Cause.CHANNEL_LEFT: frozenset({"not_in_channel"}),
    Cause.CHANNEL_CLOSED: frozenset(
        {
            "restricted_action",
            "restricted_action_read_only_channel",
            "restricted_action_thread_only_channel",
        }
    ),
}
_CODES = {code: cause for cause, codes in _BY_SLACK.items() for code in codes}
"""Slack's error codes that concern more than one message. Any other is about that message."""

_OF_THE_REQUEST = frozenset({"400", "406", "409", "411", "412", "413", "415", "422"})
"""Statuses by which one request is refused; any other concerns them all."""


def cause_of(error: Exception, lane: str) -> Cause:
    """The cause of the error that an attempt on this lane raised."""
    if isinstance(error, Refused):
        return _refused(error.code, service(lane))
    behind = error.__cause__ or error  # actions put it into their own words
    if isinstance(behind, BadCredentials):
        return Cause.KEY_REJECTED
    if isinstance(behind, Forbidden):
        return Cause.WRITES_REFUSED
    if isinstance(error, GiveUp):
        return Cause.STEP
    if isinstance(behind, RateLimited):
        return Cause.BUSY
    return SERVICES[service(lane)].down if isinstance(error, TryLater) else Cause.BUG


def _refused(code: str, by: str) -> Cause:
    if code == "no_secret":
        return Cause.SECRET_MISSING
    if code == "no_place":
        return Cause.PLACE_NOT_SET
    if code.isdigit():
        return Cause.STEP if code in _OF_THE_REQUEST else SERVICES[by].refuses
    return _CODES.get(code, Cause.STEP)
