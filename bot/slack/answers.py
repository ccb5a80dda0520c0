"""What Slack's refusals mean for the bot: wait, mend something, or an outcome nobody knows."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bot.errors import GiveUp, TryLater

_INVITE = "invite the bot to the channel: /invite @mouseflow-bot"
_TOKEN = "mend slack.bot_token, or install the Slack app again"  # noqa: S105 - words, no token
_REPORT = "the message is wrong; look at the rule's text"

REMEDIES: Mapping[str, str] = {
    "channel_not_found": f"mend the channel's name; if it is private, {_INVITE}",
    "not_in_channel": _INVITE,
    "is_archived": "unarchive the channel, or choose another",
    "restricted_action": "the workspace lets only some people post in this channel",
    "restricted_action_read_only_channel": "the channel is read-only; choose another",
    "restricted_action_thread_only_channel": "the channel takes only replies; choose another",
    "ekm_access_denied": "the workspace's administrators have stopped posting",
    "team_access_not_granted": _TOKEN,
    "invalid_auth": _TOKEN,
    "not_authed": _TOKEN,
    "account_inactive": _TOKEN,
    "token_revoked": _TOKEN,
    "token_expired": _TOKEN,
    "not_allowed_token_type": "slack.bot_token must be a bot token (xoxb-...)",
    "missing_scope": "give the Slack app the scope chat:write and install it again",
    "no_permission": "give the Slack app the scope chat:write and install it again",
    "invalid_blocks": _REPORT,
    "invalid_blocks_format": _REPORT,
    "msg_too_long": _REPORT,
    "no_text": _REPORT,
    "metadata_too_large": _REPORT,
    "no_service": "the incoming webhook is switched off; make a new one",
    "no_service_id": "mend slack.webhook_url",
    "no_team": "mend slack.webhook_url",
    "invalid_token": "mend slack.webhook_url",
    "action_prohibited": "the workspace's administrators have stopped posting",
    "channel_is_archived": "unarchive the channel, or choose another",
}
"""What a person can do about each refusal (Slack's own error codes)."""

MEANINGS: Mapping[str, str] = {
    "channel_not_found": "there is no such channel, or it is private and the bot is not in it",
    "invalid_auth": "the token is wrong",
}
"""What a code means where it does not say so itself."""

UNKNOWN = frozenset(
    {
        "duplicate_message_not_found",
        "duplicate_channel_not_found",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
    }
)
"""Refusals after which the message may be there all the same."""

BUSY = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})

DEFAULT_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)


def failure(
    status: int, code: str, headers: Mapping[str, Any], scope: str = ""
) -> GiveUp | TryLater:
    """The error for an answer that is not a success.

    `code` is Slack's word for it, empty where there is none; `scope` the scope it misses.
    """
    if status == 429 or code in BUSY:
        return TryLater("Slack is rate limiting", after=pause(headers), lane=True)
    if status >= 500 or code in UNKNOWN or (not code and status < 400):
        reason = f"Slack answered {status}" + (f" {code}" if code else "")
        return TryLater(reason, after=_retry_after(headers), unknown=True)
    remedy = REMEDIES.get(code, "see Slack's list of errors for chat.postMessage")
    if code == "missing_scope" and scope:
        remedy = f"give the Slack app the scope {scope} and install it again"
    meaning = f" ({MEANINGS[code]})" if code in MEANINGS else ""
    return GiveUp(f"Slack refuses: {code or status}{meaning}", remedy)


def pause(headers: Mapping[str, Any]) -> timedelta:
    """How long Slack asks us to wait: between a second and an hour."""
    return _retry_after(headers) or DEFAULT_PAUSE


def _retry_after(headers: Mapping[str, Any]) -> timedelta | None:
    given = next((v for k, v in headers.items() if k.lower() == "retry-after"), None)
    text = str(given[0] if isinstance(given, list | tuple) and given else given or "")
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return min(max(timedelta(seconds=int(text)), timedelta(seconds=1)), LONGEST_PAUSE)
