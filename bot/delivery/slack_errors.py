"""What Slack's error codes mean, and what a person can do about them."""

from collections.abc import Mapping
from datetime import timedelta

from bot.delivery.http import Reply
from bot.errors import OddAnswer, RateLimited, Refused, TryLater

_INVITE = "invite the bot to the channel: /invite @mouseflow-bot"
_TOKEN = "fix slack.bot_token, or install the Slack app again"  # noqa: S105 - words, no token
_REPORT = "Slack can't show this message; check the rule's text"

REMEDIES: Mapping[str, str] = {
    "channel_not_found": f"fix the channel's name. If it is private: {_INVITE}",
    "not_in_channel": _INVITE,
    "is_archived": "unarchive the channel, or choose another one",
    "restricted_action": "only some people may post in this channel; choose another one",
    "restricted_action_read_only_channel": "the channel is read-only; choose another one",
    "restricted_action_thread_only_channel": "the channel allows only replies; choose another one",
    "ekm_access_denied": "the workspace's administrators have disabled posting; ask them",
    "team_access_not_granted": _TOKEN,
    "invalid_auth": _TOKEN,
    "not_authed": _TOKEN,
    "account_inactive": _TOKEN,
    "token_revoked": _TOKEN,
    "token_expired": _TOKEN,
    "not_allowed_token_type": "set slack.bot_token to a bot token (xoxb-...)",
    "missing_scope": "give the Slack app the scope chat:write and install it again",
    "no_permission": "give the Slack app the scope chat:write and install it again",
    "invalid_blocks": _REPORT,
    "invalid_blocks_format": _REPORT,
    "msg_too_long": _REPORT,
    "no_text": _REPORT,
    "metadata_too_large": _REPORT,
    "no_service": "the incoming webhook is disabled; create a new one",
    "no_service_id": "fix slack.webhook_url",
    "no_team": "fix slack.webhook_url",
    "invalid_token": "fix slack.webhook_url",
    "action_prohibited": "the workspace's administrators have disabled posting; ask them",
    "channel_is_archived": "unarchive the channel, or choose another one",
    "accesslimited": "Slack refuses this network address; ask the workspace's administrators",
    "access_denied": "ask the workspace's administrators to let the Slack app post",
}
"""What a person can do about each of Slack's error codes."""

MEANINGS: Mapping[str, str] = {
    "channel_not_found": "there is no such channel, or it is private and the bot is not in it",
    "invalid_auth": "the token is wrong",
}
"""What a code means, if its name does not say so."""

UNKNOWN = frozenset(
    {
        "duplicate_message_not_found",
        "duplicate_channel_not_found",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "rollup_error",
    }
)
"""Error codes after which the message may have been posted anyway."""

BUSY = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
"""Error codes of a rate limit: nothing was posted."""

MOVING = frozenset(
    {
        "team_added_to_org",
        "org_login_required",
        "migration_in_progress",
        "external_channel_migrating",
    }
)
"""Error codes that pass by themselves: Slack is moving the workspace. Nothing was posted."""

DEFAULT_PAUSE = timedelta(seconds=30)
SHORTEST_PAUSE = timedelta(seconds=1)


class SlackRefused(Refused):
    """Slack refuses, with its error code. `needed` is the scope that is missing, if any."""

    def __init__(self, reason: str, remedy: str, code: str, needed: str) -> None:
        super().__init__(reason, remedy, code=code)
        self.needed = needed


def failure(reply: Reply, code: str = "", needed: str = "") -> SlackRefused | TryLater:
    """The error for an answer that is not a success.

    `code` is Slack's error code, empty if there is none; `needed` the missing scope.
    """
    status = reply.status
    if status == 429 or code in BUSY:
        after = DEFAULT_PAUSE if reply.after is None else max(reply.after, SHORTEST_PAUSE)
        return RateLimited("Slack rate limit reached", after=after, lane=True)
    if code in MOVING:
        return TryLater(f"Slack is moving the workspace ({code})", after=reply.after, lane=True)
    if status >= 500 or code in UNKNOWN:
        reason = f"Slack answered {status}" + (f" {code}" if code else "")
        return TryLater(reason, after=reply.after, unknown=True)
    if 300 <= status < 400:
        return OddAnswer(f"Slack's address redirects ({status}); the bot follows no redirects")
    if status < 300 and not code:
        return OddAnswer(
            f"Slack's address answered {status} with {_kind(reply)}, not as Slack does"
        )
    remedy = REMEDIES.get(code, _NO_REMEDY)
    if code == "missing_scope" and needed:
        remedy = f"give the Slack app the scope {needed} and install it again"
    meaning = f" ({MEANINGS[code]})" if code in MEANINGS else ""
    code = code or str(status)
    return SlackRefused(f"Slack rejected the request: {code}{meaning}", remedy, code, needed)


_NO_REMEDY = "ask whoever manages the Slack app what this code means, fix that, then retry the step"


def _kind(reply: Reply) -> str:
    start = reply.body.lstrip()[:1]
    if not start:
        return "an empty body"
    return "a web page" if start == b"<" else "another body"
