"""Post to Slack and look up posts, over one shared connection pool.

slack_sdk's own retries are off: its default sends a message twice when the answer is lost.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from pydantic import SecretStr
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.errors import BotError, GiveUp, StoreError, TryLater
from bot.ports import CannotLook, NoChannel, NotInChannel, Slack, SlackPost
from bot.store import Store
from bot.store.recordings import set_blind_channels

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
    }
)
"""Error codes after which the message may have been posted anyway."""

BUSY = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})

DEFAULT_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)


def failure(
    status: int, code: str, headers: Mapping[str, Any], scope: str = ""
) -> GiveUp | TryLater:
    """The error for an answer that is not a success.

    `code` is Slack's error code, empty if there is none; `scope` the missing scope.
    """
    if status == 429 or code in BUSY:
        return TryLater("Slack rate limit reached", after=pause(headers), lane=True)
    if status >= 500 or code in UNKNOWN or (not code and status < 400):
        reason = f"Slack answered {status}" + (f" {code}" if code else "")
        return TryLater(reason, after=_retry_after(headers), unknown=True)
    remedy = REMEDIES.get(code, "see Slack's list of errors for chat.postMessage")
    if code == "missing_scope" and scope:
        remedy = f"give the Slack app the scope {scope} and install it again"
    meaning = f" ({MEANINGS[code]})" if code in MEANINGS else ""
    return GiveUp(f"Slack rejected the request: {code or status}{meaning}", remedy)


def pause(headers: Mapping[str, Any]) -> timedelta:
    """How long Slack asks the bot to wait: between a second and an hour."""
    return _retry_after(headers) or DEFAULT_PAUSE


def _retry_after(headers: Mapping[str, Any]) -> timedelta | None:
    given = next((v for k, v in headers.items() if k.lower() == "retry-after"), None)
    text = str(given[0] if isinstance(given, list | tuple) and given else given or "")
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return min(max(timedelta(seconds=int(text)), timedelta(seconds=1)), LONGEST_PAUSE)


SLACK = "https://slack.com/api/"
TIMEOUT = timedelta(seconds=15)
EVENT = "mouseflow_alert"
_MARGIN = timedelta(seconds=60)
_PAGES, _PAGE = 20, 200
_UNREADABLE = {
    "missing_scope": "the Slack app lacks the scope {scope}",
    "no_permission": "Slack does not let the bot read there (no_permission)",
}

_NO_CHANNEL = (
    "there is no channel {channel}, or it is archived, or it is private and the bot is not in it"
)


class SlackPoster:
    """Posts with a bot token: implements `bot.ports.Slack`.

    Each message carries its key as metadata, by which `find` finds it again. Close it when
    done. The token is in no repr, log or error.
    """

    def __init__(
        self,
        token: SecretStr,
        *,
        base_url: str = SLACK,
        timeout: timedelta = TIMEOUT,
        trust_env: bool = True,
    ) -> None:
        self._token = token
        self._base_url = base_url
        self._pool = _Pool(timeout, trust_env and not _loopback(base_url))
        self._ids: dict[str, str] = {}
        self._names: set[str] = set()

    async def scopes(self) -> frozenset[str] | None:
        """The token's scopes, None if Slack does not say; raises GiveUp for a wrong token."""
        answer = await _response(self._client().api_call("auth.test"), sends=False)
        told = {name.lower(): value for name, value in answer.headers.items()}
        listed = str(told.get("x-oauth-scopes") or "")
        return frozenset(each.strip() for each in listed.split(",") if each.strip()) or None

    async def post(self, post: SlackPost) -> str:
        """The message's timestamp; raises GiveUp, or TryLater (`unknown`: it may be posted)."""
        if not post.channel:
            raise GiveUp(
                "there is no channel to post to",
                "set a channel in the rule, or slack.channel",
            )
        body: dict[str, Any] = {
            "channel": post.channel,
            "text": post.text,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if post.blocks:
            body["blocks"] = list(post.blocks)
        if post.key:
            body["metadata"] = {"event_type": EVENT, "event_payload": {"key": post.key}}
            # Undocumented as an argument, though Slack's errors name it: an extra safeguard.
            body["client_msg_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, post.key))
        answer = await _json_of(self._client().api_call("chat.postMessage", json=body), sends=True)
        self._remember(post.channel, answer.get("channel"))
        return str(answer.get("ts") or "")

    async def find(self, channel: str, key: str, since: datetime) -> str | None:
        """The timestamp of the message with that key, posted after `since` or shortly before.

        Raises CannotLook if the app may not read the channel (NoChannel: there is none of that
        name for it), TryLater if Slack does not answer.
        """
        asked: dict[str, Any] = {
            "channel": await self._id(channel),
            "oldest": f"{(since - _MARGIN).timestamp():.6f}",
            "limit": _PAGE,
            "include_all_metadata": "true",
        }
        for _ in range(_PAGES):
            answer = await self._read("conversations.history", asked)
            for message in answer.get("messages") or ():
                if _key(message) == key:
                    return str(message["ts"])
            asked["cursor"] = _next(answer)
            if not asked["cursor"]:
                return None
        raise CannotLook(f"more than {_PAGES * _PAGE} messages since then")

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    def _client(self) -> AsyncWebClient:
        client = AsyncWebClient(
            token=self._token.get_secret_value(),
            base_url=self._base_url,
            session=self._pool.session(),
            retry_handlers=[],
            logger=_QUIET,
        )
        client.proxy = None  # the session handles proxies
        return client

    async def _read(self, method: str, asked: dict[str, Any]) -> dict[str, Any]:
        call = self._client().api_call(method, http_verb="GET", params=asked)
        try:
            return await _json_of(call, sends=False)
        except GiveUp as refused:
            cause = refused.__cause__
            if not isinstance(cause, SlackApiError):
                raise
            code = _code(cause)
            if code == "channel_not_found":
                raise NoChannel(_NO_CHANNEL.format(channel=asked.get("channel"))) from refused
            if code == "not_in_channel":
                raise NotInChannel("the bot is not in the channel; /invite it there") from refused
            if code in _UNREADABLE:
                scope = _needed(cause) or "channels:history or channels:read"
                raise CannotLook(_UNREADABLE[code].format(scope=scope)) from refused
            raise

    async def _id(self, channel: str) -> str:
        """The channel's id, which the history needs: from an earlier post or from the list."""
        if not channel.startswith("#"):
            return channel
        if channel not in self._ids:
            await self._find_id(channel)
        if channel not in self._ids:
            near = get_close_matches(channel, self._names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise NoChannel(_NO_CHANNEL.format(channel=channel) + hint)
        return self._ids[channel]

    async def _find_id(self, channel: str) -> None:
        """Find the channel's id; without the scope for private channels, among public ones."""
        try:
            await self._search(channel, "public_channel,private_channel")
        except CannotLook:
            await self._search(channel, "public_channel")
            if channel not in self._ids:
                raise CannotLook(
                    f"there is no public channel {channel}; to see private ones the Slack app "
                    "needs the scope groups:read, and the bot must be in the channel"
                ) from None

    async def _search(self, channel: str, types: str) -> None:
        asked: dict[str, Any] = {"limit": 1000, "exclude_archived": "true", "types": types}
        for _ in range(_PAGES):
            answer = await self._read("conversations.list", asked)
            for known in answer.get("channels") or ():
                self._names.add(f"#{known.get('name')}")
                if f"#{known.get('name')}" == channel:
                    self._remember(channel, known.get("id"))
                    return
            asked["cursor"] = _next(answer)
            if not asked["cursor"]:
                return

    def _remember(self, channel: str, identity: object) -> None:
        if channel.startswith("#") and isinstance(identity, str) and identity:
            self._ids[channel] = identity


class WebhookPoster:
    """Posts to an incoming webhook: implements `bot.ports.Slack`, but can't look up posts.

    The webhook decides the channel, and returns no timestamp: delivery is at-least-once.
    """

    def __init__(
        self, url: SecretStr, *, timeout: timedelta = TIMEOUT, trust_env: bool = True
    ) -> None:
        self._url = url
        local = _loopback(url.get_secret_value())
        self._pool = _Pool(timeout, trust_env and not local)

    async def post(self, post: SlackPost) -> str:
        """Always "": a webhook returns no timestamp."""
        client = AsyncWebhookClient(
            self._url.get_secret_value(),
            session=self._pool.session(),
            retry_handlers=[],
            logger=_QUIET,
        )
        client.proxy = None
        body: dict[str, Any] = {"text": post.text, "unfurl_links": False, "unfurl_media": False}
        if post.blocks:
            body["blocks"] = list(post.blocks)
        try:
            answer = await client.send_dict(body)
        except aiohttp.ClientConnectorError as error:
            raise TryLater(_dropped(error)) from None
        except _DROPPED as error:
            raise TryLater(_dropped(error), unknown=True) from None
        if answer.status_code != 200:
            code = (answer.body or "").strip()
            known = code if code.isascii() and code.isidentifier() and len(code) < 60 else ""
            raise failure(answer.status_code, known, answer.headers)
        return ""

    async def find(self, channel: str, key: str, since: datetime) -> str | None:
        """Always raises CannotLook."""
        raise CannotLook("an incoming webhook can't read the channel")

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()


# slack_sdk's debug logs contain whole messages, and a webhook's secret URL.
_QUIET = logging.getLogger("bot.slack.sdk")
_QUIET.setLevel(logging.WARNING)


class _Pool:
    """One aiohttp session, created when first needed, since it belongs to a running loop."""

    def __init__(self, timeout: timedelta, trust_env: bool) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=self._trust_env)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


_DROPPED = (aiohttp.ClientError, TimeoutError, OSError)


async def _json_of(call: Awaitable[Any], *, sends: bool) -> dict[str, Any]:
    """Slack's answer as a mapping; every failure as GiveUp or TryLater."""
    answer = await _response(call, sends=sends)
    return dict(answer.data) if isinstance(answer.data, dict) else {}


async def _response(call: Awaitable[Any], *, sends: bool) -> Any:
    try:
        return await call
    except SlackApiError as refused:
        error = failure(_status(refused), _code(refused), _headers(refused), _needed(refused))
        raise error from refused
    except aiohttp.ClientConnectorError as error:
        # No connection was made, so nothing was sent.
        raise TryLater(_dropped(error)) from None
    except (*_DROPPED, SlackClientError, AttributeError) as error:
        # slack_sdk raises AttributeError for an answer that is plain text.
        raise TryLater(_dropped(error), unknown=sends) from None


def _dropped(error: Exception) -> str:
    """What happened to the connection, without the URL: a webhook's is a secret."""
    if isinstance(error, TimeoutError):
        return "Slack did not answer in time"
    return f"the connection to Slack failed ({type(error).__name__})"


def _loopback(address: str) -> bool:
    """Whether the URL is on this machine, which no proxy can reach."""
    return urlsplit(address).hostname in {"127.0.0.1", "::1", "localhost"}


def _code(refused: SlackApiError) -> str:
    return str(_data(refused).get("error") or "")


def _needed(refused: SlackApiError) -> str:
    return str(_data(refused).get("needed") or "")


def _data(refused: SlackApiError) -> dict[str, Any]:
    data = getattr(refused.response, "data", None)
    return data if isinstance(data, dict) else {}


def _status(refused: SlackApiError) -> int:
    # If the body was not JSON, slack_sdk returns aiohttp's response.
    answer = refused.response
    return int(getattr(answer, "status_code", None) or getattr(answer, "status", 0) or 0)


def _headers(refused: SlackApiError) -> dict[str, Any]:
    return dict(getattr(refused.response, "headers", None) or {})


def _key(message: dict[str, Any]) -> str | None:
    metadata = message.get("metadata") or {}
    payload = metadata.get("event_payload") or {} if metadata.get("event_type") == EVENT else {}
    key = payload.get("key")
    return key if isinstance(key, str) else None


def _next(answer: dict[str, Any]) -> str | None:
    return (answer.get("response_metadata") or {}).get("next_cursor") or None


log = structlog.get_logger(__name__)

RECHECK = timedelta(minutes=5)
"""How soon a channel that could not be checked is checked again."""


class SlackLookup:
    """Which channels the bot can read, saved for `status`. `channels` returns those in use."""

    def __init__(
        self,
        slack: Slack,
        store: Store,
        channels: Callable[[], Iterable[str]],
        clock: Callable[[], datetime],
    ) -> None:
        self._slack = slack
        self._store = store
        self._channels = channels
        self._clock = clock
        self._changed = asyncio.Event()
        self._blind: frozenset[str] = frozenset()
        self._failing: dict[str, str] = {}

    def check_again(self) -> None:
        """Check all channels again: others may be in use, or the bot may have been invited."""
        self._changed.set()

    async def run(self) -> None:
        """Check every channel, and again those that failed; runs until it is cancelled."""
        while True:
            self._changed.clear()
            await self._check(sorted(self._channels()))
            while self._failing and not self._changed.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK.total_seconds()):
                        await self._changed.wait()
                if not self._changed.is_set():
                    await self._check(sorted(self._failing))
            await self._changed.wait()

    async def _check(self, channels: Iterable[str]) -> None:
        blind, failing = set(self._blind).intersection(self._channels()), dict[str, str]()
        for channel in channels:
            try:
                await self._slack.find(channel, "no such key", self._clock())
            except NoChannel as error:
                blind.discard(channel)
                failing[channel] = self._warn("slack.no_channel", channel, str(error))
            except CannotLook:
                blind.add(channel)
            except BotError as error:
                failing[channel] = self._warn("slack.check_failed", channel, str(error))
            else:
                blind.discard(channel)
        if blind - self._blind:
            log.warning("slack.at_least_once", channels=sorted(blind))
        self._blind, self._failing = frozenset(blind), failing
        try:
            work = partial(set_blind_channels, channels=sorted(blind), at=self._clock())
            await self._store.run(work)
        except StoreError as error:
            self._failing = dict.fromkeys(channels, str(error))

    def _warn(self, event: str, channel: str, reason: str) -> str:
        """The reason; logged when it changes."""
        if self._failing.get(channel) != reason:
            log.warning(event, channel=channel, reason=reason)
        return reason
